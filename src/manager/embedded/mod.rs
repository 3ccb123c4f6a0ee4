//! A private server for `embedded://`: found on the machine, reached by a unix socket in a folder of its own (or by a
//! port, where one is asked for), and gone together with its owner, however that ends.
//!
//! ```text
//!  clients ──► socket ──► server           embedded_faults:   clients ──► socket ──► relay ──► server
//! ```
//!
//! The kernel kills the server when its owner dies (PR_SET_PDEATHSIG). It watches the *thread* that started the
//! server, so that thread lives exactly as long as the server is wanted. A small shell waits at the end of a pipe
//! that only the owner holds, and removes the folder, which a killed owner no longer can.

mod fault;
mod flow;
mod program;
mod relay;

use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};

use crate::clock::Deadline;
use crate::config::{Address, EmbeddedServer, Endpoint};
use crate::error::{Error, ErrorKind, Result};
use crate::fork;
use crate::worker::{Latch, Worker};

pub use fault::Fault;
use program::{Program, end, janitor, make_folder};
use relay::Relay;

const LOCALHOST: &str = "127.0.0.1";
/// How often a free port is looked for: somebody else may take it before the server does.
const TRIES: usize = 5;

pub(super) struct Embedded {
    folder: PathBuf,
    address: Address,
    stop: Arc<Latch>,
    keeper: Mutex<Option<Worker>>,
    relay: Option<Relay>,
    generation: u64,
}

impl Embedded {
    pub(super) fn start(options: &EmbeddedServer) -> Result<Embedded> {
        if options.faults || options.port != Some(0) {
            return Embedded::start_at(options, options.port.unwrap_or(0));
        }
        let mut last = None;
        for _ in 0..TRIES {
            match Embedded::start_at(options, free_port()?) {
                Err(error) if error.message().contains("Failed listening") => last = Some(error),
                other => return other,
            }
        }
        Err(last.expect("it was tried"))
    }

    /// At this port, if it is not 0.
    fn start_at(options: &EmbeddedServer, port: u16) -> Result<Embedded> {
        let program = Program::new(options)?;
        let folder = make_folder()
            .map_err(|error| failed("no folder for the embedded server").caused_by(error))?;
        let socket = folder.join("socket");
        // With a relay, the server stands behind it, and it is the relay that others find.
        let (behind, server_port) = match options.faults {
            true => (folder.join("server"), 0),
            false => (socket.clone(), port),
        };
        let mut embedded = Embedded {
            address: match port {
                0 => Address::Unix(socket.clone()),
                port => local(port),
            },
            stop: Arc::new(Latch::default()),
            keeper: Mutex::default(),
            relay: None,
            generation: fork::generation(),
            folder,
        };
        embedded.keep(program, behind.clone(), server_port)?;
        if options.faults {
            let (relay, port) = match options.port {
                None => (Relay::at_socket(&socket, behind)?, 0),
                Some(port) => Relay::at_port(port, behind)?,
            };
            if port != 0 {
                embedded.address = local(port);
            }
            embedded.relay = Some(relay);
        }
        Ok(embedded)
    }

    /// Starts the server, in a thread that keeps it until it is to end.
    fn keep(&mut self, program: Program, socket: PathBuf, port: u16) -> Result<()> {
        let (told, started) = bounded(1);
        let (folder, latch) = (self.folder.clone(), self.stop.clone());
        let keeper = Worker::start("redkeep-server", move || {
            let server = program.start(&folder, &socket, port);
            let janitor = janitor(&folder);
            match server {
                Ok(mut server) => {
                    let _ = told.send(Ok(()));
                    latch.wait_for_ever();
                    end(&mut server);
                }
                Err(error) => {
                    let _ = told.send(Err(error));
                }
            }
            tidy(&folder, janitor);
        });
        match keeper {
            Ok(keeper) => self.keeper = Mutex::new(Some(keeper)),
            Err(error) => {
                let _ = fs::remove_dir_all(&self.folder);
                return Err(error);
            }
        }
        outcome(&started)
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        Endpoint {
            address: self.address.clone(),
            db: 0,
            username: None,
            password: None,
            tls: false,
        }
    }

    /// Makes it fail in this way from now on.
    pub(super) fn fail(&self, fault: Fault) -> Result<()> {
        if self.generation != fork::generation() {
            return Err(failed(
                "the embedded server is the parent's: a forked child cannot make it fail",
            ));
        }
        match &self.relay {
            Some(relay) => relay.fail(fault),
            None => Err(failed(
                "nothing stands before the embedded server that could make it fail; open it with the property \
                 embedded_faults, as in embedded://?embedded_faults=on",
            )),
        }
    }

    /// Ends the server and removes its folder. In a forked child nothing happens: it is the parent's.
    pub(super) fn stop(&self, deadline: Deadline) -> bool {
        if self.generation != fork::generation() {
            return true;
        }
        self.stop.open();
        let relay = self.relay.as_ref().is_none_or(|it| it.end(deadline));
        let keeper = fork::lock(&self.keeper).take();
        keeper.is_none_or(|keeper| keeper.join(deadline)) && relay
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if self.generation != fork::generation() {
            // Detaching a thread of the parent's could hit one of the child's, which got the same stack.
            std::mem::forget(std::mem::take(&mut self.keeper));
            std::mem::forget(self.relay.take());
            return;
        }
        self.stop(Deadline::after(Duration::from_secs(2)));
    }
}

fn tidy(folder: &Path, janitor: io::Result<Child>) {
    let _ = fs::remove_dir_all(folder);
    if let Ok(mut janitor) = janitor {
        // Nothing is left for it to do. Closing the pipe would not end it while a forked child holds it too.
        end(&mut janitor);
    }
}

fn outcome(started: &Receiver<Result<()>>) -> Result<()> {
    started
        .recv()
        .unwrap_or_else(|_| Err(failed("the embedded server's thread ended early")))
}

fn failed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Embedded, message)
}

fn local(port: u16) -> Address {
    Address::Tcp {
        host: LOCALHOST.to_owned(),
        port,
    }
}

fn free_port() -> Result<u16> {
    let port = TcpListener::bind((LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    port.map(|address| address.port())
        .map_err(|error| failed("no free port for the embedded server").caused_by(error))
}
