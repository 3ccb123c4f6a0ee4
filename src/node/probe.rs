//! The health check of one node, which never waits: it does what can be done at once and says what it waits for.
//!
//! ```text
//!            due                 looked up            connected          TLS agreed          greeted
//!  Resting ───────► Resolving ─────────► Connecting ─────────► Securing ─────────► Greeting ───────► Asking ──► PONG
//!     │    due, and the connection of the last time is still there                                     ▲
//!     └────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock::Moment;
use crate::config::{Address, ReadFrom};
use crate::error::{Error, ErrorKind, Result};
use crate::node::Node;
use crate::node::condition::State;
use crate::sys::{PollFd, READABLE, WRITABLE};
use crate::transport::{
    Asked, Handshake, Limits, Lookup, Peer, Progress, Reader, Reply, Socket, command,
    connect_error, tls_error,
};

/// A probe reads nothing larger than a greeting's answer.
const LIMIT: usize = 64 * 1024;
/// How often a lookup under way is looked at.
const GLANCE: Duration = Duration::from_millis(20);

/// The probe's own connection, kept from one check to the next.
struct Link {
    socket: Socket,
    reader: Reader,
    reply: Reply,
}

enum Stage {
    Resting,
    /// The name, where there is one, and the credentials, where they are asked for.
    Resolving(Option<Arc<Lookup>>),
    Connecting(Socket, Vec<SocketAddr>),
    Securing(Socket),
    Greeting(Link, Box<Handshake>),
    Asking(Link),
}

pub(crate) struct Probe {
    pub(crate) node: Arc<Node>,
    stage: Stage,
    link: Option<Link>,
    /// The node's generation when the link was made.
    generation: u64,
    login: Option<Arc<Asked>>,
    /// When the next check begins, while resting.
    due: Moment,
    /// When the check under way has failed, otherwise.
    limit: Moment,
    asked: Moment,
    /// The check under way began with the connection of the last time, whose loss alone proves nothing.
    on_old_link: bool,
    version: Option<String>,
}

impl Probe {
    pub(crate) fn new(node: Arc<Node>, first: Moment) -> Probe {
        Probe {
            node,
            stage: Stage::Resting,
            link: None,
            generation: 0,
            login: None,
            due: first,
            limit: first,
            asked: first,
            on_old_link: false,
            version: None,
        }
    }

    /// When it wants to be called again, whatever its socket does.
    pub(crate) fn wakes(&self) -> Moment {
        match self.stage {
            Stage::Resting => self.due,
            Stage::Resolving(_) => self.limit.min(Moment::now() + GLANCE),
            _ => self.limit,
        }
    }

    /// What its socket waits for.
    pub(crate) fn poll_entry(&self) -> Option<PollFd> {
        match &self.stage {
            Stage::Connecting(socket, _) => Some(socket.poll_entry(WRITABLE)),
            Stage::Securing(socket) => Some(socket.poll_entry(READABLE)),
            Stage::Greeting(link, _) | Stage::Asking(link) => {
                Some(link.socket.poll_entry(READABLE))
            }
            Stage::Resting | Stage::Resolving(_) => None,
        }
    }

    /// Forgets the connection: the node's pools were closed.
    pub(crate) fn withdraw(&mut self, next: Moment) {
        self.stage = Stage::Resting;
        self.link = None;
        self.due = next;
    }

    /// A caller found the node down: the next check comes soon.
    pub(crate) fn hurry(&mut self, now: Moment) {
        if matches!(self.stage, Stage::Resting) && self.node.condition.state() == State::Down {
            self.due = self.due.min(now + self.node.condition.pause());
        }
    }

    /// Does what can be done now. `interval` lies between checks of a node that is up.
    pub(crate) fn step(&mut self, now: Moment, interval: Duration) {
        if matches!(self.stage, Stage::Resting) {
            if now < self.due {
                return;
            }
            if let Some(ago) = self.heard(now, interval) {
                // Callers ask it all the time: there is no need to, nor for a connection of one's own.
                self.link = None;
                self.node
                    .condition
                    .up(None, Some(self.node.lines.distance()));
                self.due = now + (interval - ago);
                return;
            }
            let settings = &self.node.dialer.settings;
            self.limit = now + settings.connect_timeout.min(settings.command_timeout);
            let generation = self.node.generation.load(Ordering::Acquire);
            if std::mem::replace(&mut self.generation, generation) != generation {
                self.link = None;
            }
            self.on_old_link = self.link.is_some();
        } else if now >= self.limit {
            let late = Error::new(ErrorKind::Timeout, "no answer to a health check in time");
            return self.failed(late, now);
        }
        match self.advance(now) {
            Ok(false) => {}
            Ok(true) => {
                self.node
                    .condition
                    .up(self.version.as_deref(), Some(now.since(self.asked)));
                self.due = now + interval;
            }
            Err(_) if self.on_old_link => {
                // Servers close idle connections as they please. Only a new one that fails tells of a fault.
                self.on_old_link = false;
                self.stage = Stage::Resting;
                self.link = None;
                self.step(now, interval);
            }
            Err(error) => self.failed(error, now),
        }
    }

    /// How long ago callers had an answer by the node's lines, if no check was due since.
    fn heard(&self, now: Moment, interval: Duration) -> Option<Duration> {
        // Which one is nearest is found by asking all of them the same.
        let compared = self.node.dialer.settings.read_from == ReadFrom::Nearest;
        if compared || self.node.condition.state() != State::Up {
            return None;
        }
        let ago = self.node.lines.silent_for(now);
        ago.filter(|&ago| ago < interval)
    }

    fn failed(&mut self, error: Error, now: Moment) {
        self.node.judge(&error.on_node(&self.node.name), true);
        self.withdraw(now + self.node.condition.pause());
    }

    /// Goes from stage to stage until one has to wait (false), or the node has answered (true).
    fn advance(&mut self, now: Moment) -> Result<bool> {
        loop {
            match std::mem::replace(&mut self.stage, Stage::Resting) {
                Stage::Resting => self.stage = self.begin(now)?,
                Stage::Resolving(lookup) => match self.looked_up(lookup.as_deref()) {
                    Some(found) if self.has_login() => self.stage = self.connect(found?)?,
                    _ => {
                        self.stage = Stage::Resolving(lookup);
                        return Ok(false);
                    }
                },
                Stage::Connecting(socket, rest) => match ready(&socket)? {
                    false => {
                        self.stage = Stage::Connecting(socket, rest);
                        return Ok(false);
                    }
                    true => match socket.connected() {
                        Ok(()) => self.stage = self.connected(socket)?,
                        Err(error) if rest.is_empty() => return Err(connect_error(error)),
                        Err(_) => self.stage = self.connect(rest)?,
                    },
                },
                Stage::Securing(socket) => match socket.shake().map_err(tls_error)? {
                    false => {
                        self.stage = Stage::Securing(socket);
                        return Ok(false);
                    }
                    true => self.stage = self.greet(socket, now)?,
                },
                Stage::Greeting(mut link, mut handshake) => {
                    while !handshake.is_done() {
                        if !link.reply_came().map_err(|e| handshake.explain(e))? {
                            self.stage = Stage::Greeting(link, handshake);
                            return Ok(false);
                        }
                        handshake.absorb(&link.reply)?;
                    }
                    self.version = handshake.found().0;
                    self.node.condition.dialled(Ok(()));
                    // The PING went out together with the greeting.
                    self.stage = Stage::Asking(link);
                }
                Stage::Asking(mut link) => {
                    if !link.reply_came()? {
                        self.stage = Stage::Asking(link);
                        return Ok(false);
                    }
                    // Any answer will do: NOPERM and LOADING come from the living too.
                    self.link = Some(link);
                    return Ok(true);
                }
            }
        }
    }

    fn begin(&mut self, now: Moment) -> Result<Stage> {
        if let Some(mut link) = self.link.take() {
            link.send(&ping())?;
            self.asked = now;
            return Ok(Stage::Asking(link));
        }
        let dialer = &self.node.dialer;
        self.login = dialer.begin_login();
        Ok(Stage::Resolving(match &dialer.endpoint.address {
            Address::Unix(_) => None,
            Address::Tcp { host, .. } => Some(dialer.resolver.begin(host)),
        }))
    }

    fn looked_up(&self, lookup: Option<&Lookup>) -> Option<Result<Vec<SocketAddr>>> {
        match (&self.node.dialer.endpoint.address, lookup) {
            (Address::Tcp { host, port }, Some(lookup)) => lookup.answer(host, *port),
            _ => Some(Ok(Vec::new())),
        }
    }

    /// Whether the credentials are there, or none are wanted.
    fn has_login(&self) -> bool {
        self.login
            .as_ref()
            .is_none_or(|asked| asked.answer().is_some())
    }

    /// Begins to connect to the first address that does not fail at once.
    fn connect(&mut self, mut found: Vec<SocketAddr>) -> Result<Stage> {
        let dialer = &self.node.dialer;
        loop {
            let next = (!found.is_empty()).then(|| found.remove(0));
            let peer = match (&dialer.endpoint.address, next) {
                (Address::Unix(path), _) => Peer::Unix(path),
                (Address::Tcp { .. }, Some(address)) => Peer::Tcp(address),
                (Address::Tcp { .. }, None) => {
                    return Err(Error::new(ErrorKind::Resolve, "the name has no address"));
                }
            };
            match Socket::begin(&peer, dialer.settings.command_timeout, &dialer.lifeline) {
                Ok((socket, true)) => return self.connected(socket),
                Ok((socket, false)) => return Ok(Stage::Connecting(socket, found)),
                Err(error) if found.is_empty() => return Err(connect_error(error)),
                Err(_) => {}
            }
        }
    }

    fn connected(&self, mut socket: Socket) -> Result<Stage> {
        if let Some(session) = self.node.dialer.session()? {
            socket.begin_tls(session);
        }
        Ok(Stage::Securing(socket))
    }

    fn greet(&mut self, socket: Socket, now: Moment) -> Result<Stage> {
        let given = self.login.take().and_then(|asked| asked.answer());
        let handshake = self.node.dialer.handshake(given.transpose()?.as_ref());
        let mut link = Link {
            socket,
            reader: Reader::new(Limits {
                max_bytes: LIMIT,
                ..Limits::default()
            }),
            reply: Reply::new(),
        };
        let mut bytes = handshake.bytes().to_vec();
        bytes.extend_from_slice(&ping());
        link.send(&bytes)?;
        self.asked = now;
        Ok(Stage::Greeting(link, Box::new(handshake)))
    }
}

impl Link {
    /// A probe's few bytes always fit into a socket that is not stuck.
    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        match self.socket.send_some(bytes) {
            Ok(n) if n == bytes.len() => Ok(()),
            Ok(_) => Err(Error::new(
                ErrorKind::Timeout,
                "the connection takes no more bytes",
            )),
            Err(error) => Err(Error::new(ErrorKind::Io, "the connection broke").caused_by(error)),
        }
    }

    /// Reads what has arrived; true if that completes a reply.
    fn reply_came(&mut self) -> Result<bool> {
        loop {
            match self.reader.advance(&mut self.reply)? {
                Progress::Reply => return Ok(true),
                Progress::Push => {}
                Progress::More => {
                    let socket = &self.socket;
                    let read = self
                        .reader
                        .fill(&mut self.reply, |to, max| socket.recv_some(to, max));
                    match read {
                        Ok(_) => {}
                        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                            return Ok(false);
                        }
                        Err(error) => {
                            return Err(Error::new(
                                ErrorKind::Io,
                                "the server closed the connection during a health check",
                            )
                            .caused_by(error));
                        }
                    }
                }
            }
        }
    }
}

fn ping() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16);
    command(&mut bytes, &[b"PING"]);
    bytes
}

/// Whether a connect that was begun has come to an end.
fn ready(socket: &Socket) -> Result<bool> {
    crate::sys::poll(&mut [socket.poll_entry(WRITABLE)], Some(Duration::ZERO))
        .map(|n| n > 0)
        .or_else(|error| match error.kind() {
            std::io::ErrorKind::Interrupted => Ok(false),
            _ => Err(connect_error(error)),
        })
}
