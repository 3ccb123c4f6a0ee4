//! One greeted connection: a request goes out, its reply comes back.
//!
//! A call that ends in an error leaves the connection in an unknown state: whoever owns it drops it, which closes
//! the socket. A complete error reply of the server is no such error; it is a reply.

use std::io;

use crate::clock::{CommandTimes, Deadline, Moment, times};
use crate::config::Settings;
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::sys::PollFd;
use crate::tls::Failure;
use crate::transport::encode;
use crate::transport::fault::Limits;
use crate::transport::handshake::Handshake;
use crate::transport::reader::{Progress, Reader};
use crate::transport::reply::Reply;
use crate::transport::socket::Socket;

/// While a batch has twice as much to come as this, a wait for it does not end with each few replies.
const LONG: usize = 512;
/// But with so many bytes. A server that reads 16 KiB of requests at a time answers 160 SETs with 800 bytes: a pipeline of
/// 10,000 on the server's processor took 3 to 8 % less time with this, and as long with half or twice as much.
const WORTH_WAKING: usize = 8 << 10;

/// How far a batch had come when it ended.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reached {
    /// Bytes that had gone out.
    pub(crate) sent: usize,
    /// Replies that had come, complete.
    pub(crate) answered: usize,
}

pub(crate) struct Connection {
    socket: Socket,
    reader: Reader,
    version: Option<String>,
    resp3: bool,
    /// Whether anybody wants to know how long calls take.
    timed: bool,
    /// A wait for the socket ends with so many bytes.
    low_water: usize,
}

impl Connection {
    pub(crate) fn new(socket: Socket, settings: &Settings) -> Connection {
        Connection {
            socket,
            reader: Reader::new(Limits {
                max_bytes: settings.max_reply_bytes,
                ..Limits::default()
            }),
            version: None,
            resp3: false,
            timed: settings.watch(),
            low_water: 1,
        }
    }

    pub(crate) fn is_timed(&self) -> bool {
        self.timed
    }

    /// The server's version, as it told in its greeting.
    pub(crate) fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Whether the server agreed to RESP3.
    pub(crate) fn speaks_resp3(&self) -> bool {
        self.resp3
    }

    pub(crate) fn greet(&mut self, mut handshake: Handshake, deadline: Deadline) -> Result<()> {
        // Whatever becomes of the greeting, the caller's command has not been sent.
        let not_sent = |error: Error| refused_tls(error).outcome_is(Outcome::NotSent);
        self.send(handshake.bytes(), deadline).map_err(not_sent)?;
        let mut reply = Reply::new();
        while !handshake.is_done() {
            self.receive(&mut reply, deadline)
                .map_err(|error| not_sent(handshake.explain(error)))?;
            handshake.absorb(&reply)?;
        }
        (self.version, self.resp3) = handshake.found();
        Ok(())
    }

    /// Sends one packed request and reads its reply, by the deadline.
    pub(crate) fn call(
        &mut self,
        request: &[u8],
        reply: &mut Reply,
        deadline: Deadline,
    ) -> Result<()> {
        self.settle(reply)?;
        if self.timed {
            return self.call_timed(request, reply, deadline);
        }
        self.send(request, deadline)?;
        self.receive(reply, deadline)
    }

    /// The same, for who watches.
    #[cold]
    fn call_timed(&mut self, request: &[u8], reply: &mut Reply, deadline: Deadline) -> Result<()> {
        let began = Moment::now();
        self.send(request, deadline)?;
        self.receive_timed(began, reply, deadline)
    }

    /// As `receive`, after what began to be sent at that time has gone out just now.
    #[cold]
    fn receive_timed(
        &mut self,
        began: Moment,
        reply: &mut Reply,
        deadline: Deadline,
    ) -> Result<()> {
        let sent = Moment::now();
        let mut heard = None;
        let result = loop {
            match self.advance(reply) {
                Ok(false) => {}
                Ok(true) => break Ok(()),
                Err(error) => break Err(error),
            }
            if let Err(error) = self.await_more(reply, deadline) {
                break Err(error);
            }
            heard.get_or_insert_with(Moment::now);
        };
        let now = Moment::now();
        let heard = heard.unwrap_or(now);
        let (write, server, read) = (sent.since(began), heard.since(sent), now.since(heard));
        times::note(CommandTimes::exchanging(write, server, read));
        result
    }

    /// What came after the last reply may only be pushes: anything else would be taken for the next reply.
    fn nothing_left_over(&mut self, reply: &mut Reply) -> Result<()> {
        loop {
            match self.reader.advance(reply) {
                Ok(Progress::Push) => {}
                Ok(Progress::More) => return Ok(()),
                Ok(Progress::Reply) => return Err(unasked()),
                Err(fault) => return Err(Error::from(fault).outcome_is(Outcome::NotSent)),
            }
        }
    }

    /// Sends packed requests and reads their replies, which become the elements of one array; on an error, those
    /// that had come. What has arrived is read while the rest is sent, so that neither side can end up waiting for
    /// the other.
    pub(crate) fn call_many(
        &mut self,
        requests: &[u8],
        count: usize,
        replies: &mut Reply,
        deadline: Deadline,
        reached: &mut Reached,
    ) -> Result<()> {
        *reached = Reached::default();
        self.settle(replies)?;
        self.reader.begin_batch(count, replies);
        let began = self.timed.then(Moment::now);
        let result = self
            .send_many(requests, replies, deadline, &mut reached.sent)
            .and_then(|()| match began {
                None => self.receive(replies, deadline),
                Some(began) => self.receive_timed(began, replies, deadline),
            });
        // Nothing is to come any more: whoever waits next may wait for a single byte.
        self.set_low_water();
        reached.answered = match result {
            Ok(()) => count,
            Err(_) => self.reader.abandon_batch(replies),
        };
        result.map_err(|error| match reached.sent {
            0 => error.outcome_is(Outcome::NotSent),
            _ => error.outcome_is(Outcome::Unknown),
        })
    }

    fn send_many(
        &mut self,
        requests: &[u8],
        replies: &mut Reply,
        deadline: Deadline,
        sent: &mut usize,
    ) -> Result<()> {
        let io = |error| broken(error, "the pipeline could not be sent in time");
        while *sent < requests.len() {
            match self.socket.send_some(&requests[*sent..]).map_err(io)? {
                0 => {
                    self.set_low_water();
                    let waited = self.socket.wait_either(deadline);
                    // What has come counts, also when the time is over.
                    self.take_in(replies).map_err(io)?;
                    if self.reader.advance(replies)? != Progress::More {
                        return Err(unasked());
                    }
                    waited.map_err(io)?;
                }
                n => *sent += n,
            }
        }
        Ok(())
    }

    /// Reads what has arrived, if anything has.
    fn take_in(&mut self, reply: &mut Reply) -> io::Result<()> {
        let socket = &self.socket;
        match self.reader.fill(reply, |to, max| socket.recv_some(to, max)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            other => other.map(drop),
        }
    }

    /// Sends packed requests, all of them. Replies to some may arrive meanwhile; they wait in the kernel.
    pub(crate) fn send(&mut self, bytes: &[u8], deadline: Deadline) -> Result<()> {
        let mut sent = 0;
        self.socket
            .send_all(bytes, deadline, &mut sent)
            .map_err(|error| {
                let outcome = match sent {
                    0 => Outcome::NotSent,
                    _ => Outcome::Unknown,
                };
                broken(error, "the request could not be sent in time").outcome_is(outcome)
            })
    }

    /// Reads the next reply. Pushes that come before it are set aside: this connection asked for none.
    pub(crate) fn receive(&mut self, reply: &mut Reply, deadline: Deadline) -> Result<()> {
        loop {
            match self.reader.advance(reply)? {
                Progress::Reply => return Ok(()),
                Progress::Push => {}
                Progress::More => self.await_more(reply, deadline)?,
            }
        }
    }

    /// The next step towards a reply or a push that can be made without waiting: one is complete, or more of it has
    /// come (`More`), or there is nothing to be had now (none). `reply` must be the same until one is complete.
    pub(crate) fn arrived(&mut self, reply: &mut Reply) -> Result<Option<Progress>> {
        match self.reader.advance(reply)? {
            Progress::More => {}
            whole => return Ok(Some(whole)),
        }
        let socket = &self.socket;
        match self.reader.fill(reply, |to, max| socket.recv_some(to, max)) {
            Ok(_) => Ok(Some(Progress::More)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(broken(error, "nothing came in time")),
        }
    }

    /// Reads whatever comes next, a reply or a push, into `incoming`, which is the same from one call to the next. False
    /// if it is not complete by the deadline: what there is of it stays, and the connection is none the worse.
    pub(crate) fn next(&mut self, incoming: &mut Reply, deadline: Deadline) -> Result<bool> {
        loop {
            match self.arrived(incoming)? {
                Some(Progress::More) => {}
                Some(Progress::Reply | Progress::Push) => return Ok(true),
                None => match self.socket.wait_readable(deadline) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ok(false),
                    Err(error) => return Err(broken(error, "nothing came in time")),
                },
            }
        }
    }

    /// Whether a reply has begun to arrive and is not whole.
    pub(crate) fn under_way(&self) -> bool {
        self.reader.under_way()
    }

    /// What its socket waits for in poll(2).
    pub(crate) fn poll_entry(&self, events: i16) -> PollFd {
        self.socket.poll_entry(events)
    }

    /// Ends the connection now, copies of the descriptor in forked children included.
    pub(crate) fn hang_up(&self) {
        self.socket.hang_up();
    }

    /// Makes sure that the next reply will be that of the next request. `reply` is a place for pushes.
    pub(crate) fn settle(&mut self, reply: &mut Reply) -> Result<()> {
        match self.reader.buffered() {
            0 => Ok(()),
            _ => self.nothing_left_over(reply),
        }
    }

    /// Sends what the kernel takes at once; 0 if it takes nothing now.
    pub(crate) fn send_some(&self, bytes: &[u8]) -> Result<usize> {
        (self.socket.send_some(bytes))
            .map_err(|error| broken(error, "the request could not be sent in time"))
    }

    /// Waits until something can be sent or received.
    pub(crate) fn wait_either(&self, deadline: Deadline) -> Result<()> {
        (self.socket.wait_either(deadline))
            .map_err(|error| broken(error, "the request could not be sent in time"))
    }

    /// Reads what has arrived, without waiting. `reply` is the one under way.
    pub(crate) fn take(&mut self, reply: &mut Reply) -> Result<()> {
        self.take_in(reply)
            .map_err(|error| broken(error, "no reply came in time"))
    }

    /// Parses what was read: true when the reply is complete. Pushes are set aside.
    pub(crate) fn advance(&mut self, reply: &mut Reply) -> Result<bool> {
        loop {
            match self.reader.advance(reply)? {
                Progress::Reply => return Ok(true),
                Progress::Push => {}
                Progress::More => return Ok(false),
            }
        }
    }

    /// Reads more, by the deadline. `reply` is the one under way, and may go on after a timeout.
    pub(crate) fn await_more(&mut self, reply: &mut Reply, deadline: Deadline) -> Result<()> {
        self.set_low_water();
        let socket = &self.socket;
        self.reader
            .fill(reply, |to, max| socket.recv(to, max, deadline))
            .map(drop)
            .map_err(|error| broken(error, "no reply came in time"))
    }

    /// How many bytes end the next wait: never more than half of what is sure to come. The kernel counts anew behind what a
    /// sleeping recv(2) has taken already, so that one may end with twice as many.
    #[inline]
    fn set_low_water(&mut self) {
        let bytes = match self.reader.to_come() / 2 {
            few if few < LONG => 1,
            many => many.min(WORTH_WAKING),
        };
        if bytes != self.low_water {
            self.low_water = bytes;
            self.socket.wake_at(bytes);
        }
    }

    /// True if the server answers a PING by the deadline.
    pub(crate) fn is_alive(&mut self, deadline: Deadline) -> bool {
        let mut ping = Vec::with_capacity(16);
        encode::command(&mut ping, &[b"PING"]);
        let mut reply = Reply::new();
        // NOPERM and the like come from a living server too.
        self.call(&ping, &mut reply, deadline).is_ok()
    }
}

pub(crate) fn unasked() -> Error {
    Error::new(
        ErrorKind::Protocol,
        "the server sent a reply that nobody had asked for",
    )
}

/// In TLS 1.3 a server refuses our certificate, or that there is none, only when the handshake is over for us. And a
/// server that speaks nothing but TLS answers a plain greeting with an alert.
fn refused_tls(error: Error) -> Error {
    if let Some(failure) = error.cause::<io::Error>().and_then(Failure::inside) {
        return Error::new(ErrorKind::Tls, failure.to_string());
    }
    match error.kind() {
        ErrorKind::Protocol if error.message().contains("\"\\x15\\x03") => Error::new(
            ErrorKind::Tls,
            "the server speaks TLS on this port: it takes rediss:// or the property ssl",
        ),
        _ => error,
    }
}

/// Names what ended a connection, with an outcome of Unknown: part of a request may have been executed.
fn broken(error: io::Error, late: &str) -> Error {
    let named = match error.kind() {
        io::ErrorKind::TimedOut => Error::new(ErrorKind::Timeout, late),
        io::ErrorKind::UnexpectedEof => Error::new(
            ErrorKind::Io,
            match error.get_ref() {
                Some(how) => how.to_string(),
                None => "the server closed the connection".to_owned(),
            },
        ),
        io::ErrorKind::OutOfMemory => Error::new(ErrorKind::System, "no memory for the reply"),
        _ => Error::new(ErrorKind::Io, "the connection broke").caused_by(error),
    };
    named.outcome_is(Outcome::Unknown)
}
