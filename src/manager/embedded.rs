//! A private server for `embedded://`: found on the machine, reached by a unix socket in a folder of its own, and
//! gone together with its owner, however that ends.
//!
//! The kernel kills the server when its owner dies (PR_SET_PDEATHSIG). It watches the *thread* that started the
//! server, so that thread lives exactly as long as the server is wanted. A small shell waits at the end of a pipe
//! that only the owner holds, and removes the folder, which a killed owner no longer can.

use std::fs::{self, DirBuilder};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};

use crate::clock::Deadline;
use crate::config::{Address, Endpoint};
use crate::error::{Error, ErrorKind, Result};
use crate::fork;
use crate::sys;
use crate::worker::{Latch, Worker};

const NAMES: [&str; 2] = ["redis-server", "valkey-server"];
/// Where servers live that are not on everybody's PATH.
const PLACES: &str = "/usr/local/bin:/usr/bin:/usr/sbin:/usr/local/sbin:/opt/homebrew/bin";
const START: Duration = Duration::from_secs(10);
/// A unix socket's path holds 107 bytes.
const LONGEST_PATH: usize = 90;

/// `$1`: the folder. Nobody writes into the pipe: the read ends when the last holder of its other end has gone.
const JANITOR: &str = r#"read -r _; rm -rf "$1""#;

pub(crate) struct Embedded {
    folder: PathBuf,
    stop: Arc<Latch>,
    keeper: Mutex<Option<Worker>>,
    generation: u64,
}

impl Embedded {
    pub(crate) fn start() -> Result<Embedded> {
        let server = find().ok_or_else(|| {
            failed(
                "embedded:// needs redis-server or valkey-server on this machine, and found neither; install one of \
                 them (on Debian and Ubuntu: apt-get install redis-server)",
            )
        })?;
        let folder = make_folder()
            .map_err(|error| failed("no folder for the embedded server").caused_by(error))?;
        let stop = Arc::new(Latch::default());
        let (told, started) = bounded(1);
        let (path, latch) = (folder.clone(), stop.clone());
        let keeper = Worker::start("redkeep-server", move || {
            let server = spawn(&server, &path);
            let janitor = janitor(&path);
            match server.and_then(|server| wait_until_up(server, &path)) {
                Ok(mut server) => {
                    let _ = told.send(Ok(()));
                    latch.wait_for_ever();
                    end(&mut server);
                }
                Err(error) => {
                    let _ = told.send(Err(error));
                }
            }
            let _ = fs::remove_dir_all(&path);
            if let Ok(mut janitor) = janitor {
                // Nothing is left for it to do. Closing the pipe would not end it while a forked child holds it too.
                end(&mut janitor);
            }
        })?;
        let embedded = Embedded {
            folder,
            stop,
            keeper: Mutex::new(Some(keeper)),
            generation: fork::generation(),
        };
        outcome(&started)?;
        Ok(embedded)
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint {
            address: Address::Unix(socket(&self.folder)),
            db: 0,
            username: None,
            password: None,
            tls: false,
        }
    }

    /// Ends the server and removes its folder. In a forked child nothing happens: it is the parent's.
    pub(crate) fn stop(&self, deadline: Deadline) -> bool {
        if self.generation != fork::generation() {
            return true;
        }
        self.stop.open();
        let keeper = fork::lock(&self.keeper).take();
        keeper.is_none_or(|keeper| keeper.join(deadline))
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if self.generation != fork::generation() {
            // Detaching a thread of the parent's could hit one of the child's, which got the same stack.
            std::mem::forget(fork::lock(&self.keeper).take());
            return;
        }
        self.stop(Deadline::after(Duration::from_secs(2)));
    }
}

fn outcome(started: &Receiver<Result<()>>) -> Result<()> {
    started
        .recv()
        .unwrap_or_else(|_| Err(failed("the embedded server's thread ended early")))
}

fn failed(message: &str) -> Error {
    Error::new(ErrorKind::Embedded, message)
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("socket")
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places: Vec<PathBuf> = std::env::split_paths(&path)
        .chain(std::env::split_paths(PLACES))
        .collect();
    NAMES
        .iter()
        .flat_map(|name| places.iter().map(move |place| place.join(name)))
        .find(|file| sys::executable(file))
}

/// A folder that nobody else can look into.
fn make_folder() -> io::Result<PathBuf> {
    let wanted = std::env::temp_dir();
    let base = match wanted.as_os_str().len() {
        ..LONGEST_PATH => wanted,
        _ => PathBuf::from("/tmp"),
    };
    loop {
        let random = RandomState::new().build_hasher().finish();
        let folder = base.join(format!("redkeep-{}-{random:08x}", std::process::id()));
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other.map(|()| folder),
        }
    }
}

fn spawn(server: &Path, folder: &Path) -> Result<Child> {
    let log = fs::File::create(folder.join("log"))
        .map_err(|error| failed("the embedded server's log cannot be written").caused_by(error))?;
    let mut command = Command::new(server);
    command
        .args(["--port", "0", "--unixsocketperm", "700", "--save", ""])
        .args(["--appendonly", "no", "--daemonize", "no"])
        .args(["--loglevel", "warning"])
        .arg("--unixsocket")
        .arg(socket(folder))
        .arg("--dir")
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(Stdio::null());
    sys::set_apart(&mut command, true);
    command
        .spawn()
        .map_err(|error| failed("the embedded server could not be started").caused_by(error))
}

/// Without one, a killed owner's folder stays behind; that is no reason to refuse the server.
fn janitor(folder: &Path) -> io::Result<Child> {
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", JANITOR, "redkeep"])
        .arg(folder)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    sys::set_apart(&mut shell, false);
    shell.spawn()
}

fn wait_until_up(mut server: Child, folder: &Path) -> Result<Child> {
    let deadline = Deadline::after(START);
    let path = socket(folder);
    while UnixStream::connect(&path).is_err() {
        if deadline.passed() || !matches!(server.try_wait(), Ok(None)) {
            end(&mut server);
            let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
            let last = log.lines().last().unwrap_or("it said nothing").trim();
            return Err(failed(&format!(
                "the embedded server did not start: {last}"
            )));
        }
        thread::sleep(Duration::from_micros(200));
    }
    Ok(server)
}

/// It keeps nothing, so there is nothing for it to put in order first.
fn end(process: &mut Child) {
    let _ = process.kill();
    let _ = process.wait();
}
