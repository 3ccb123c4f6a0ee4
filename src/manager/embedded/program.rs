//! The server program: which one, with which settings, and until it listens.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use super::{LOCALHOST, failed};
use crate::clock::Deadline;
use crate::config::{EmbeddedServer, Secret};
use crate::error::Result;
use crate::sys;

const NAMES: [&str; 2] = ["redis-server", "valkey-server"];
/// Where servers live that are not on everybody's PATH.
const PLACES: &str = "/usr/local/bin:/usr/bin:/usr/sbin:/usr/local/sbin:/opt/homebrew/bin";
const START: Duration = Duration::from_secs(10);
/// How long a folder of data may still be in the hands of a server that is being killed.
const HANDOVER: Duration = Duration::from_secs(2);
/// A unix socket's path holds 107 bytes; this much goes to the folder's own name and the socket's.
const LONGEST_PATH: usize = 107 - 42;

/// What a private server begins with; the user's own lines follow, and may say otherwise.
const LINES: &str = "save \"\"\nappendonly no\nloglevel warning\n";

/// `$1`: the folder. Nobody writes into the pipe: the read ends when the last holder of its other end has gone.
const JANITOR: &str = r#"read -r _; rm -rf "$1""#;

pub(super) struct Program {
    file: PathBuf,
    lines: Option<Secret>,
    data: Option<Data>,
}

/// A folder in which data are kept, and the file by which the server that has them tells all others.
struct Data {
    folder: PathBuf,
    lock: File,
}

impl Program {
    pub(super) fn new(options: &EmbeddedServer) -> Result<Program> {
        Ok(Program {
            file: find(options.server.as_deref())?,
            lines: options.config.clone(),
            data: options.data.as_deref().map(Data::take).transpose()?,
        })
    }

    /// Starts it, and waits until it listens.
    pub(super) fn start(self, folder: &Path, socket: &Path, port: u16) -> Result<Child> {
        let mut server = self.spawn(folder, socket, port)?;
        let deadline = Deadline::after(START);
        while UnixStream::connect(socket).is_err() {
            if deadline.passed() || !matches!(server.try_wait(), Ok(None)) {
                end(&mut server);
                let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
                return Err(failed(format!(
                    "the embedded server did not start: {}",
                    complaint(&log)
                )));
            }
            thread::sleep(Duration::from_micros(200));
        }
        Ok(server)
    }

    fn spawn(self, folder: &Path, socket: &Path, port: u16) -> Result<Child> {
        let write =
            |error| failed("the embedded server's folder cannot be written").caused_by(error);
        let config = folder.join("config");
        let lines = self.lines.as_ref().map_or("", Secret::reveal);
        fs::write(&config, format!("{LINES}{lines}\n")).map_err(write)?;
        let log = File::create(folder.join("log")).map_err(write)?;
        let complaints = log.try_clone().map_err(write)?;
        let mut command = Command::new(&self.file);
        command
            .arg(config)
            .args(["--port", &port.to_string(), "--bind", LOCALHOST])
            .args(["--unixsocketperm", "700", "--unixsocket"])
            .arg(socket)
            .args(["--daemonize", "no", "--logfile", ""]);
        match self.data {
            None => command.arg("--dir").arg(folder).stdin(Stdio::null()),
            // Every write is in the file before its answer is sent, so that no way to end the server loses it. The
            // lock, held open as its input, is free when the server is gone, and not before.
            Some(data) => command
                .args(["--appendonly", "yes", "--dir"])
                .arg(data.folder)
                .stdin(data.lock),
        };
        command.stdout(log).stderr(complaints);
        sys::set_apart(&mut command, true);
        command
            .spawn()
            .map_err(|error| failed("the embedded server could not be started").caused_by(error))
    }
}

impl Data {
    fn take(folder: &Path) -> Result<Data> {
        let told = |what: &str, error| {
            failed(format!("embedded_data: {} {what}", folder.display())).caused_by(error)
        };
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(folder);
        made.map_err(|error| told("cannot be made", error))?;
        let folder = fs::canonicalize(folder).map_err(|error| told("cannot be found", error))?;
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(folder.join("redkeep.lock"));
        let lock = lock.map_err(|error| told("cannot be written", error))?;
        let deadline = Deadline::after(HANDOVER);
        while !sys::lock_file(lock.as_fd()).map_err(|error| told("cannot be locked", error))? {
            if deadline.passed() {
                return Err(failed(format!(
                    "embedded_data: {} is in use by another embedded server",
                    folder.display()
                )));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(Data { folder, lock })
    }
}

/// The named one, or whichever is found first.
fn find(named: Option<&str>) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places: Vec<PathBuf> = std::env::split_paths(&path)
        .chain(std::env::split_paths(PLACES))
        .collect();
    let look = |name: &str| {
        // Joined to a place, an absolute path stays what it is.
        let mut files = places.iter().map(|place| place.join(name));
        files.find(|file| sys::executable(file))
    };
    match named {
        Some(name) if name.contains('/') => Some(PathBuf::from(name)).filter(|it| sys::executable(it)),
        Some(name) => look(name),
        None => {
            return NAMES.iter().find_map(|name| look(name)).ok_or_else(|| {
                failed(
                    "embedded:// needs redis-server or valkey-server on this machine, and found neither; install one \
                     of them (on Debian and Ubuntu: apt-get install redis-server)",
                )
            });
        }
    }
    .ok_or_else(|| {
        let name = named.unwrap_or_default();
        failed(format!(
            "embedded_server: there is no program {name} that can be run"
        ))
    })
}

/// What a server that did not start said last; of a line of its settings that it did not take, the name alone.
fn complaint(log: &str) -> String {
    let last = log.lines().last().unwrap_or("it said nothing").trim();
    let line = log
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix(">>> '"));
    match line.and_then(|line| line.split([' ', '\'']).next()) {
        Some(name) => format!("embedded_config: {name}: {last}"),
        None => last.to_owned(),
    }
}

/// A folder that nobody else can look into.
pub(super) fn make_folder() -> io::Result<PathBuf> {
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

/// Without one, a killed owner's folder stays behind; that is no reason to refuse the server.
pub(super) fn janitor(folder: &Path) -> io::Result<Child> {
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

/// What it keeps, if anything, is in its file already, so there is nothing for it to put in order first.
pub(super) fn end(process: &mut Child) {
    let _ = process.kill();
    let _ = process.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_is_refused_is_named_without_its_value() {
        let log = "\n*** FATAL CONFIG FILE ERROR (Redis 7.0.15) ***\nReading the configuration file, at line 4\n\
                   >>> 'requirepass a b'\nwrong number of arguments\n";
        assert_eq!(
            complaint(log),
            "embedded_config: requirepass: wrong number of arguments"
        );
        assert_eq!(complaint("a\nFailed listening\n"), "Failed listening");
        assert_eq!(complaint(""), "it said nothing");
    }
}
