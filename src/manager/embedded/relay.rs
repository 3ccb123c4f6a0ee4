//! Stands before an embedded server and makes it fail when it is told to: one thread that owns every connection and
//! serves all of them by poll(2), so that a fault falls between two bytes, and for all of them at once.
//!
//! ```text
//!  client ── up ──► server       at once
//!         ◄─ down ─              slow: each piece that much later
//!                                freeze: neither is read nor written; drop: both are closed, new ones too
//! ```

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use socket2::{Domain, SockAddr, Socket, Type};

use super::failed;
use super::fault::Fault;
use super::flow::Flow;
use crate::clock::Deadline;
use crate::error::{Error, Result};
use crate::fork;
use crate::sys::{self, Flag, PollFd, READABLE, WRITABLE};
use crate::worker::Worker;

/// How long the thread may take to obey, which never waits for anything else.
const OBEYS: Duration = Duration::from_secs(5);
const BACKLOG: i32 = 511;

enum Order {
    Fail(Fault, Sender<Result<()>>),
    End,
}

pub(super) struct Relay {
    orders: Sender<Order>,
    bell: Arc<Flag>,
    thread: Mutex<Option<Worker>>,
}

impl Relay {
    /// Listens at a unix socket, for the server at another.
    pub(super) fn at_socket(socket: &Path, server: PathBuf) -> Result<Relay> {
        let listener = SockAddr::unix(socket).and_then(|address| listen(Domain::UNIX, &address));
        Relay::start(listener, server)
    }

    /// Listens at a port (0: a free one), and tells which.
    pub(super) fn at_port(port: u16, server: PathBuf) -> Result<(Relay, u16)> {
        let address = SockAddr::from(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let listener = listen(Domain::IPV4, &address);
        let found = listener.as_ref().ok();
        let found = found.and_then(|it| it.local_addr().ok()?.as_socket());
        Ok((
            Relay::start(listener, server)?,
            found.map_or(port, |it| it.port()),
        ))
    }

    fn start(listener: io::Result<Socket>, server: PathBuf) -> Result<Relay> {
        let cannot = |error| failed("the embedded server cannot be reached").caused_by(error);
        let listener = listener.map_err(cannot)?;
        let bell = Arc::new(Flag::new().map_err(cannot)?);
        let (orders, inbox) = unbounded();
        let mut wheel = Wheel {
            listener,
            server: SockAddr::unix(server).map_err(cannot)?,
            inbox,
            bell: bell.clone(),
            fault: Fault::None,
            pairs: Vec::new(),
        };
        let thread = Worker::start("redkeep-relay", move || wheel.turn())?;
        Ok(Relay {
            orders,
            bell,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// It holds on return.
    pub(super) fn fail(&self, fault: Fault) -> Result<()> {
        let (done, obeyed) = bounded(1);
        self.tell(Order::Fail(fault, done));
        obeyed
            .recv_timeout(OBEYS)
            .unwrap_or_else(|_| Err(Error::closed()))
    }

    /// Closes every connection; false if the thread still ran at the deadline.
    pub(super) fn end(&self, deadline: Deadline) -> bool {
        self.tell(Order::End);
        let thread = fork::lock(&self.thread).take();
        thread.is_none_or(|thread| thread.join(deadline))
    }

    fn tell(&self, order: Order) {
        // Nobody listens any more where the thread has ended.
        let _ = self.orders.send(order);
        self.bell.raise();
    }
}

fn listen(domain: Domain, address: &SockAddr) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::STREAM, None)?;
    if domain != Domain::UNIX {
        socket.set_reuse_address(true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A client, and its connection to the server.
struct Pair {
    client: Socket,
    server: Socket,
    up: Flow,
    down: Flow,
    /// The server knows that the client has nothing more to send.
    told: bool,
}

impl Pair {
    fn entries(&self) -> [PollFd; 2] {
        [
            entry(&self.client, self.up.wants(), self.down.blocked),
            entry(&self.server, self.down.wants(), self.up.blocked),
        ]
    }

    /// Moves what can be moved. An error, or true, is the end of it.
    fn serve(&mut self, came: [bool; 2], now: Instant, due: Instant) -> io::Result<bool> {
        if came[0] && self.up.wants() {
            self.up.read(&self.client, now)?;
        }
        if came[1] && self.down.wants() {
            self.down.read(&self.server, due)?;
        }
        self.up.write(&self.server, now)?;
        self.down.write(&self.client, now)?;
        if self.up.is_over() && !self.told {
            self.told = true;
            self.server.shutdown(Shutdown::Write)?;
        }
        Ok(self.down.is_over())
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // A forked child may hold copies of both, which closing ours would leave open.
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }
}

/// Without anything to wait for it is left out: a peer's end would wake us again and again.
fn entry(socket: &Socket, reads: bool, writes: bool) -> PollFd {
    let events = if reads { READABLE } else { 0 } | if writes { WRITABLE } else { 0 };
    let mut entry = sys::poll_entry(socket.as_fd(), events);
    if events == 0 {
        entry.fd = -1;
    }
    entry
}

struct Wheel {
    listener: Socket,
    server: SockAddr,
    inbox: Receiver<Order>,
    bell: Arc<Flag>,
    fault: Fault,
    pairs: Vec<Pair>,
}

impl Wheel {
    fn turn(&mut self) {
        let mut entries = Vec::new();
        while self.obey() {
            entries.clear();
            entries.push(sys::poll_entry(self.bell.as_fd(), READABLE));
            let mut wakes = None;
            // Whoever connects while it is frozen is let in by the system, and waits.
            if self.fault != Fault::Freeze {
                entries.push(sys::poll_entry(self.listener.as_fd(), READABLE));
                entries.extend(self.pairs.iter().flat_map(Pair::entries));
                let next = |pair: &Pair| [pair.up.next(), pair.down.next()];
                wakes = self.pairs.iter().flat_map(next).flatten().min();
            }
            let wait = wakes.map(|at| at.saturating_duration_since(Instant::now()));
            match sys::poll(&mut entries, wait) {
                Ok(_) if self.fault != Fault::Freeze => self.serve(&entries[1..]),
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    log::error!(target: "redkeep", "the relay of an embedded server ended: {error}");
                    return;
                }
                _ => {}
            }
        }
    }

    /// False at the end.
    fn obey(&mut self) -> bool {
        self.bell.lower();
        while let Ok(order) = self.inbox.try_recv() {
            let Order::Fail(fault, done) = order else {
                return false;
            };
            self.fault = fault;
            match fault {
                Fault::Drop => self.pairs.clear(),
                Fault::None => {
                    let now = Instant::now();
                    self.pairs
                        .iter_mut()
                        .for_each(|pair| pair.down.release(now));
                }
                _ => {}
            }
            let _ = done.send(Ok(()));
        }
        true
    }

    fn serve(&mut self, entries: &[PollFd]) {
        let now = Instant::now();
        let due = match self.fault {
            Fault::Slow(time) => now + time,
            _ => now,
        };
        let mut came = entries.iter().map(|entry| entry.revents != 0);
        let knocked = came.next().unwrap_or(false);
        self.pairs.retain_mut(|pair| {
            let both = [came.next().unwrap_or(false), came.next().unwrap_or(false)];
            matches!(pair.serve(both, now, due), Ok(false))
        });
        if knocked {
            self.let_in();
        }
    }

    fn let_in(&mut self) {
        loop {
            let client = match self.listener.accept() {
                Ok((client, _)) => client,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Out of descriptors, say: whoever waits goes on waiting, and we do not ask without a pause.
                Err(_) => return thread::sleep(Duration::from_millis(1)),
            };
            if self.fault == Fault::Drop {
                let _ = client.shutdown(Shutdown::Both);
                continue;
            }
            // Of a server that is gone, or takes no more, the client is told by the end of its connection.
            if let Ok(pair) = self.pair(client) {
                self.pairs.push(pair);
            }
        }
    }

    fn pair(&self, client: Socket) -> io::Result<Pair> {
        let server = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        server.set_nonblocking(true)?;
        server.connect(&self.server)?;
        if client.domain()? != Domain::UNIX {
            client.set_tcp_nodelay(true)?;
        }
        Ok(Pair {
            client,
            server,
            up: Flow::default(),
            down: Flow::default(),
            told: false,
        })
    }
}

impl Drop for Wheel {
    fn drop(&mut self) {
        // As for the connections.
        let _ = self.listener.shutdown(Shutdown::Both);
    }
}
