//! The TLS of one socket: records on the one side, the bytes of RESP on the other.
//!
//! It owns no descriptor and never waits by itself: whoever owns the socket hands it over with each call, and waits
//! under its own deadline. What is decrypted goes out whole, so that nothing is ever left behind in here while
//! somebody asks poll(2) about the socket.

use std::io::{self, ErrorKind as Io};
use std::os::fd::BorrowedFd;
use std::sync::Mutex;

use rustls::client::UnbufferedClientConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};

use super::Failure;
use crate::fork::{self, lock};
use crate::sys::{self, Sleep};

/// What one read asks for: the largest record, and a little.
const READ: usize = 17 << 10;
/// What it asks for at most, while a big reply is under way.
const MOST: usize = 64 << 10;
/// How much is encrypted ahead of what the kernel has taken.
const AHEAD: usize = 64 << 10;
/// A record holds at most this much, and carries at most so much besides.
const RECORD: usize = 16 << 10;
const RECORD_MORE: usize = 64;
/// An empty buffer larger than this is given back.
const KEEP: usize = 32 << 10;

pub(crate) struct Session {
    /// Where records land while a thread sleeps for them. Not under the other lock, so that others can write.
    landing: Mutex<Vec<u8>>,
    core: Mutex<Core>,
    /// A forked child says nothing on its parent's sockets.
    generation: u64,
}

struct Core {
    connection: UnbufferedClientConnection,
    /// Received, and not a whole record yet.
    incoming: Vec<u8>,
    /// Encrypted; what stands before `gone` has been sent.
    outgoing: Vec<u8>,
    gone: usize,
    /// Decrypted at a time when nobody read.
    early: Vec<u8>,
    /// The handshake is over.
    agreed: bool,
    /// The peer has said that it ends.
    ended: bool,
    /// Something was wrong, and nothing goes any more.
    broken: bool,
    /// What ended the session behind bytes that had to be delivered first.
    fault: Option<io::Error>,
}

impl Session {
    pub(super) fn new(connection: UnbufferedClientConnection) -> Session {
        Session {
            landing: Mutex::default(),
            core: Mutex::new(Core {
                connection,
                incoming: Vec::new(),
                outgoing: Vec::new(),
                gone: 0,
                early: Vec::new(),
                agreed: false,
                ended: false,
                broken: false,
                fault: None,
            }),
            generation: fork::generation(),
        }
    }

    /// Goes on with the handshake as far as it goes without waiting; true when it is over. Our last part of it goes
    /// out together with the first request.
    pub(crate) fn shake(&self, fd: BorrowedFd<'_>) -> io::Result<bool> {
        let mut core = lock(&self.core);
        loop {
            core.digest(fd)?;
            if core.agreed {
                return Ok(true);
            }
            core.flush(fd)?;
            match core.receive(fd) {
                Ok(()) => {}
                Err(error) if error.kind() == Io::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Appends what has arrived to `to`, at least one byte. WouldBlock if that is not enough for a record; it may be
    /// more than `max`, which is what the caller has room for.
    pub(crate) fn read(
        &self,
        fd: BorrowedFd<'_>,
        to: &mut Vec<u8>,
        max: usize,
        sleep: Sleep,
    ) -> io::Result<usize> {
        let mut landing = lock(&self.landing);
        loop {
            if let Some(had) = lock(&self.core).had(fd, to)? {
                return Ok(had);
            }
            landing.clear();
            match sys::recv(fd, &mut landing, max.clamp(READ, MOST), sleep) {
                Ok(0) => return Err(cut_off()),
                Ok(_) => {}
                Err(error) => return Err(error),
            }
            let mut core = lock(&self.core);
            match core.incoming.is_empty() {
                true => std::mem::swap(&mut core.incoming, &mut *landing),
                false => core.incoming.extend_from_slice(&landing),
            }
            let got = core.deliver(fd, to)?;
            if landing.capacity() > KEEP {
                *landing = Vec::new();
            }
            if got > 0 {
                return Ok(got);
            }
            if sleep == Sleep::Allowed {
                // To sleep again would begin the socket's timeout anew.
                return Err(Io::WouldBlock.into());
            }
        }
    }

    /// Takes bytes over to be sent, and sends what the kernel takes at once; 0 if neither goes now. What was taken
    /// over and has not gone yet goes with the next call, whichever that is.
    pub(crate) fn write(&self, fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
        let mut core = lock(&self.core);
        if core.waiting() >= AHEAD {
            core.flush(fd)?;
            if core.waiting() >= AHEAD {
                return Ok(0);
            }
        }
        let bytes = &bytes[..bytes.len().min(AHEAD)];
        let records = core.encrypt(bytes)?;
        match core.flush(fd) {
            Ok(_) => Ok(bytes.len()),
            // Some of it has gone: that must be known, and the error comes with the next call.
            Err(error) if core.waiting() < records => {
                core.fault = Some(error);
                Ok(bytes.len())
            }
            Err(error) => Err(error),
        }
    }

    /// Sends what was taken over, as far as that goes; true if nothing is left.
    pub(crate) fn flush(&self, fd: BorrowedFd<'_>) -> io::Result<bool> {
        lock(&self.core).flush(fd)
    }

    pub(crate) fn has_unsent(&self) -> bool {
        lock(&self.core).waiting() > 0
    }

    /// Tells the peer that nothing more comes, if that goes at once.
    pub(crate) fn say_goodbye(&self, fd: BorrowedFd<'_>) {
        let mut core = lock(&self.core);
        if self.generation == fork::generation() && core.agreed && !core.broken {
            core.close(fd);
        }
    }
}

impl Core {
    fn waiting(&self) -> usize {
        self.outgoing.len() - self.gone
    }

    /// What need not be read any more: bytes that are there, the end, or what went wrong before.
    fn had(&mut self, fd: BorrowedFd<'_>, to: &mut Vec<u8>) -> io::Result<Option<usize>> {
        if !self.early.is_empty() {
            let had = self.early.len();
            to.append(&mut self.early);
            return Ok(Some(had));
        }
        self.usable()?;
        if self.ended {
            return Err(Io::UnexpectedEof.into());
        }
        if self.waiting() > 0 {
            self.flush(fd)?;
        }
        Ok(None)
    }

    /// Decrypts what has arrived: how many bytes that gave. What went wrong behind them is told next time.
    fn deliver(&mut self, fd: BorrowedFd<'_>, to: &mut Vec<u8>) -> io::Result<usize> {
        let before = to.len();
        std::mem::swap(&mut self.early, to);
        let result = self.digest(fd);
        std::mem::swap(&mut self.early, to);
        let got = to.len() - before;
        match result {
            Err(error) if got == 0 => return Err(error),
            Err(error) => self.fault = Some(error),
            Ok(()) if got == 0 && self.ended => return Err(Io::UnexpectedEof.into()),
            // An answer to the peer, such as new keys, that does not go now goes later.
            Ok(()) => self.fault = self.flush(fd).err(),
        }
        Ok(got)
    }

    /// Lets rustls look at what has arrived, until it wants more. What it decrypts is appended to `early`, what it
    /// answers to `outgoing`.
    fn digest(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.usable()?;
        let mut used = 0;
        let result = loop {
            let UnbufferedStatus { discard, state } = self
                .connection
                .process_tls_records(&mut self.incoming[used..]);
            let mut more = 0;
            let goes_on = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
                    match traffic.next_record() {
                        None => break Ok(true),
                        Some(Ok(record)) => {
                            more += record.discard;
                            if self.early.try_reserve(record.payload.len()).is_err() {
                                break Err(Io::OutOfMemory.into());
                            }
                            self.early.extend_from_slice(record.payload);
                        }
                        Some(Err(error)) => break Err(failure(error)),
                    }
                },
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    let at = self.outgoing.len();
                    let mut written = data.encode(&mut []);
                    if let Err(EncodeError::InsufficientSize(size)) = &written {
                        self.outgoing.resize(at + size.required_size, 0);
                        written = data.encode(&mut self.outgoing[at..]);
                    }
                    let result = written.map(|n| self.outgoing.truncate(at + n));
                    result.map(|()| true).map_err(io::Error::other)
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    // It goes out in the order of `outgoing`.
                    data.done();
                    Ok(true)
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.ended = true;
                    Ok(true)
                }
                Ok(ConnectionState::WriteTraffic(_)) => {
                    self.agreed = true;
                    Ok(false)
                }
                Ok(_) => Ok(false),
                Err(error) => Err(failure(error)),
            };
            used += discard + more;
            match goes_on {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.incoming.drain(..used.min(self.incoming.len()));
        if self.incoming.is_empty() && self.incoming.capacity() > KEEP {
            self.incoming = Vec::new();
        }
        if result.is_err() {
            self.object(fd);
            self.broken = true;
        }
        result
    }

    fn usable(&mut self) -> io::Result<()> {
        match self.fault.take() {
            Some(fault) => Err(fault),
            None if self.broken => Err(Io::NotConnected.into()),
            None => Ok(()),
        }
    }

    /// Tells the peer what was wrong with it, as far as that goes at once.
    fn object(&mut self, fd: BorrowedFd<'_>) {
        let mut alert = [0; 256];
        while let Ok(ConnectionState::EncodeTlsData(mut data)) =
            self.connection.process_tls_records(&mut []).state
        {
            match data.encode(&mut alert) {
                Ok(n) => self.outgoing.extend_from_slice(&alert[..n]),
                Err(_) => break,
            }
        }
        while let Ok(n) = sys::send(fd, &self.outgoing[self.gone..], Sleep::Never) {
            self.gone += n;
            if self.waiting() == 0 {
                break;
            }
        }
    }

    /// Appends `bytes` to `outgoing` as records: how many bytes these have.
    fn encrypt(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.usable()?;
        let at = self.outgoing.len();
        let mut room = bytes.len() + (bytes.len() / RECORD + 1) * RECORD_MORE;
        loop {
            self.outgoing.resize(at + room, 0);
            let UnbufferedStatus { discard, state } =
                self.connection.process_tls_records(&mut self.incoming);
            let written = match state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    traffic.encrypt(bytes, &mut self.outgoing[at..])
                }
                other => {
                    self.outgoing.truncate(at);
                    return Err(match other {
                        Err(error) => failure(error),
                        Ok(state) => io::Error::other(format!("TLS cannot send now: {state:?}")),
                    });
                }
            };
            self.incoming.drain(..discard);
            match written {
                Ok(n) => {
                    self.outgoing.truncate(at + n);
                    return Ok(n);
                }
                Err(EncryptError::InsufficientSize(size)) if size.required_size > room => {
                    room = size.required_size;
                }
                Err(error) => {
                    self.outgoing.truncate(at);
                    return Err(io::Error::other(error));
                }
            }
        }
    }

    /// Sends what is encrypted, as far as that goes at once; true if nothing is left.
    fn flush(&mut self, fd: BorrowedFd<'_>) -> io::Result<bool> {
        while self.waiting() > 0 {
            match sys::send(fd, &self.outgoing[self.gone..], Sleep::Never) {
                Ok(n) => self.gone += n,
                Err(error) if error.kind() == Io::Interrupted => {}
                Err(error) if error.kind() == Io::WouldBlock => return Ok(false),
                Err(error) => {
                    let error = self.last_words(fd).unwrap_or(error);
                    self.broken = true;
                    return Err(error);
                }
            }
        }
        self.outgoing.clear();
        self.gone = 0;
        if self.outgoing.capacity() > 2 * AHEAD {
            self.outgoing = Vec::new();
        }
        Ok(true)
    }

    /// Why the peer hung up, if it said so before.
    fn last_words(&mut self, fd: BorrowedFd<'_>) -> Option<io::Error> {
        while self.receive(fd).is_ok() {
            if let Err(error) = self.digest(fd) {
                return Some(error);
            }
        }
        None
    }

    /// Takes in what has arrived, without waiting.
    fn receive(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        loop {
            match sys::recv(fd, &mut self.incoming, READ, Sleep::Never) {
                Ok(0) => return Err(cut_off()),
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == Io::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn close(&mut self, fd: BorrowedFd<'_>) {
        let mut record = [0; 128];
        let status = self.connection.process_tls_records(&mut self.incoming);
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) = status.state
            && let Ok(n) = traffic.queue_close_notify(&mut record)
        {
            self.outgoing.extend_from_slice(&record[..n]);
            // Whoever closes a connection does not wait for the peer to take this.
            let _ = sys::send(fd, &self.outgoing[self.gone..], Sleep::Never);
        }
    }
}

fn failure(error: rustls::Error) -> io::Error {
    io::Error::other(Failure::from(error))
}

/// The stream ended, and nobody said that it would: whoever is on the way may have cut it short.
fn cut_off() -> io::Error {
    io::Error::new(
        Io::UnexpectedEof,
        "the connection was cut off: TLS ended without its close_notify",
    )
}
