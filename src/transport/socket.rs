//! A blocking stream socket whose every wait ends at a deadline.
//!
//! The socket stays in blocking mode. A read with the whole patience before it sleeps in recv(2) under
//! SO_RCVTIMEO, which costs nothing extra; only when less time is left than that, or when a reply comes in pieces,
//! is poll(2) asked first.

use std::io::{self, ErrorKind as Io};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use socket2::{Domain, SockAddr, TcpKeepalive, Type};

use crate::clock::Deadline;
use crate::fork::lock;
use crate::sys::{self, READABLE, Sleep, WRITABLE};
use crate::tls::Session;

/// A read may sleep this much past its deadline rather than spend a system call on being exact.
const SLACK: Duration = Duration::from_millis(20);
/// How long a full backlog of a unix socket is given before the next try (the kernel offers no way to wait for it).
const BACKLOG_PAUSE: Duration = Duration::from_millis(2);

/// All sockets of one node, so that close() can wake whoever sleeps on one of them.
#[derive(Default)]
pub(crate) struct Lifeline {
    live: Mutex<Live>,
}

#[derive(Default)]
struct Live {
    cut: bool,
    sockets: Vec<std::sync::Weak<socket2::Socket>>,
}

impl Lifeline {
    /// Shuts every socket down, those still to come included. Sleeping reads return at once.
    pub(crate) fn cut(&self) {
        let mut live = lock(&self.live);
        live.cut = true;
        for socket in live.sockets.drain(..).filter_map(|weak| weak.upgrade()) {
            // It may be gone already, which is as good.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn is_cut(&self) -> bool {
        lock(&self.live).cut
    }

    fn hold(&self, socket: &Arc<socket2::Socket>) -> io::Result<()> {
        let mut live = lock(&self.live);
        if live.cut {
            return Err(Io::NotConnected.into());
        }
        live.sockets.retain(|weak| weak.strong_count() > 0);
        live.sockets.push(Arc::downgrade(socket));
        Ok(())
    }
}

/// Where to connect to: one address, already looked up.
pub(crate) enum Peer<'a> {
    Tcp(SocketAddr),
    Unix(&'a Path),
}

pub(crate) struct Socket {
    inner: Arc<socket2::Socket>,
    /// What SO_RCVTIMEO is set to.
    patience: Duration,
    tls: Option<Box<Session>>,
}

impl Socket {
    /// Begins to connect, without waiting. `Ok(true)` in the second place: it is connected already.
    pub(crate) fn begin(
        peer: &Peer<'_>,
        patience: Duration,
        lifeline: &Lifeline,
    ) -> io::Result<(Socket, bool)> {
        let (address, domain) = match peer {
            Peer::Tcp(address) => (SockAddr::from(*address), Domain::for_address(*address)),
            Peer::Unix(path) => (SockAddr::unix(path)?, Domain::UNIX),
        };
        let kind = Type::STREAM.nonblocking();
        let inner = Arc::new(socket2::Socket::new(domain, kind, None)?);
        lifeline.hold(&inner)?;
        if let Peer::Tcp(_) = peer {
            inner.set_tcp_nodelay(true)?;
            inner.set_tcp_keepalive(
                &TcpKeepalive::new()
                    .with_time(Duration::from_secs(15))
                    .with_interval(Duration::from_secs(5))
                    .with_retries(3),
            )?;
            // A peer that no longer acknowledges is given up when keepalive would give it up: 15 + 3 x 5 s.
            inner.set_tcp_user_timeout(Some(Duration::from_secs(30)))?;
        }
        let connected = match inner.connect(&address) {
            Ok(()) => true,
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => false,
            Err(error) => return Err(error),
        };
        let tls = None;
        Ok((
            Socket {
                inner,
                patience,
                tls,
            },
            connected,
        ))
    }

    /// The outcome of a connect that was begun, once the socket is writable.
    pub(crate) fn connected(&self) -> io::Result<()> {
        match self.inner.take_error()? {
            Some(error) => Err(error),
            // A shutdown while connecting leaves no error behind, and no peer either.
            None => self.inner.peer_addr().map(|_| ()),
        }
    }

    /// Connects, and is done by the deadline.
    pub(crate) fn connect(
        peer: &Peer<'_>,
        patience: Duration,
        lifeline: &Lifeline,
        deadline: Deadline,
    ) -> io::Result<Socket> {
        let (socket, connected) = loop {
            match Socket::begin(peer, patience, lifeline) {
                Err(error) if error.kind() == Io::WouldBlock && !deadline.passed() => {
                    thread::sleep(BACKLOG_PAUSE);
                }
                Err(error) if error.kind() == Io::WouldBlock => return Err(Io::TimedOut.into()),
                other => break other?,
            }
        };
        if !connected {
            socket.wait(WRITABLE, deadline)?;
            socket.connected()?;
        }
        socket.inner.set_nonblocking(false)?;
        socket
            .inner
            .set_read_timeout(Some(patience.max(Duration::from_millis(1))))?;
        Ok(socket)
    }

    /// Speaks TLS from here on, once the handshake is over.
    pub(crate) fn begin_tls(&mut self, session: Session) {
        self.tls = Some(Box::new(session));
    }

    /// Goes on with the TLS handshake as far as it goes without waiting; true when it is over.
    pub(crate) fn shake(&self) -> io::Result<bool> {
        match &self.tls {
            None => Ok(true),
            Some(tls) => tls.shake(self.inner.as_fd()),
        }
    }

    /// The whole TLS handshake, by the deadline.
    pub(crate) fn finish_tls(&self, deadline: Deadline) -> io::Result<()> {
        while !self.shake()? {
            self.wait(READABLE, deadline)?;
        }
        Ok(())
    }

    /// Whether bytes that were taken over to be sent are still here: then a wait for anything waits for them too.
    fn has_unsent(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.has_unsent())
    }

    /// Waits until something can be sent or received.
    pub(crate) fn wait_either(&self, deadline: Deadline) -> io::Result<()> {
        self.wait(READABLE | WRITABLE, deadline)
    }

    /// Waits until something can be received.
    pub(crate) fn wait_readable(&self, deadline: Deadline) -> io::Result<()> {
        self.wait(READABLE, deadline)
    }

    /// From now on, waits end only once so many bytes have arrived, or the stream's end.
    pub(crate) fn wake_at(&self, bytes: usize) {
        if self.tls.is_none() {
            // What is refused is only a wake-up too many.
            let _ = sys::low_water(self.inner.as_fd(), bytes);
        }
    }

    /// Waits until the socket is ready; an error or a hang-up counts, since the next call will tell which.
    fn wait(&self, events: i16, deadline: Deadline) -> io::Result<()> {
        loop {
            let Some(left) = deadline.remaining() else {
                return Err(Io::TimedOut.into());
            };
            match sys::poll(&mut [self.poll_entry(events)], Some(left)) {
                Ok(0) => {}
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == Io::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends what the kernel takes at once; 0 if it takes nothing now. Over TLS some may be taken over that goes a
    /// little later, with whatever is called next.
    pub(crate) fn send_some(&self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(tls) = &self.tls {
            return tls.write(self.inner.as_fd(), bytes);
        }
        loop {
            match sys::send(self.inner.as_fd(), bytes, Sleep::Never) {
                Err(error) if error.kind() == Io::Interrupted => {}
                Err(error) if error.kind() == Io::WouldBlock => return Ok(0),
                other => return other,
            }
        }
    }

    /// Sends all of it. `sent` tells how much had gone when it failed.
    pub(crate) fn send_all(
        &self,
        bytes: &[u8],
        deadline: Deadline,
        sent: &mut usize,
    ) -> io::Result<()> {
        while *sent < bytes.len() {
            match self.send_some(&bytes[*sent..])? {
                0 => self.wait(WRITABLE, deadline)?,
                n => *sent += n,
            }
        }
        match &self.tls {
            None => Ok(()),
            Some(tls) => {
                while !tls.flush(self.inner.as_fd())? {
                    self.wait(WRITABLE, deadline)?;
                }
                Ok(())
            }
        }
    }

    /// Receives what has arrived, without waiting; WouldBlock if nothing has. An end of the stream is an error.
    pub(crate) fn recv_some(&self, to: &mut Vec<u8>, max: usize) -> io::Result<usize> {
        self.recv_once(to, max, Sleep::Never)
    }

    /// Receives at least one byte by the deadline.
    pub(crate) fn recv(
        &self,
        to: &mut Vec<u8>,
        max: usize,
        deadline: Deadline,
    ) -> io::Result<usize> {
        if deadline.leaves(self.patience.saturating_sub(SLACK)) && !self.has_unsent() {
            match self.recv_once(to, max, Sleep::Allowed) {
                // SO_RCVTIMEO ran out; the loop below settles what is left of the deadline.
                Err(error) if error.kind() == Io::WouldBlock => {}
                other => return other,
            }
        }
        while !deadline.passed() {
            let waited = self.wait(READABLE, deadline);
            match self.recv_once(to, max, Sleep::Never) {
                Err(error) if error.kind() == Io::WouldBlock => waited?,
                // Or the time is over, and these were too few to end the wait.
                other => return other,
            }
        }
        Err(Io::TimedOut.into())
    }

    fn recv_once(&self, to: &mut Vec<u8>, max: usize, sleep: Sleep) -> io::Result<usize> {
        loop {
            let received = match &self.tls {
                None => sys::recv(self.inner.as_fd(), to, max, sleep),
                Some(tls) => tls.read(self.inner.as_fd(), to, max, sleep),
            };
            match received {
                Ok(0) => return Err(Io::UnexpectedEof.into()),
                // Restarting would begin SO_RCVTIMEO anew, so the caller decides by its deadline.
                Err(error) if error.kind() == Io::Interrupted && sleep == Sleep::Allowed => {
                    return Err(Io::WouldBlock.into());
                }
                Err(error) if error.kind() == Io::Interrupted => {}
                other => return other,
            }
        }
    }

    /// Ends the connection now, copies of the descriptor in forked children included.
    pub(crate) fn hang_up(&self) {
        // It may be gone already, which is as good.
        let _ = self.inner.shutdown(Shutdown::Both);
    }

    pub(crate) fn poll_entry(&self, events: i16) -> sys::PollFd {
        let events = match self.has_unsent() {
            true => events | WRITABLE,
            false => events,
        };
        sys::poll_entry(self.inner.as_fd(), events)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(tls) = &self.tls {
            tls.say_goodbye(self.inner.as_fd());
        }
    }
}
