//! A proxy that spoils the bytes between a client and a server, in chosen ways, at chosen places.
//!
//! One thread owns every socket and serves them all by poll(2), so a change of fault falls between two bytes and not
//! in the middle of a race, and dropping the proxy closes everything.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

mod lane;
mod wheel;

use wheel::{Change, Wheel};

use super::lines::with_lines_as_asked;

/// Which bytes a fault is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    ToServer,
    ToClient,
    Both,
}

/// What happens to the bytes of one direction. The `k` bytes are counted for each connection and each direction from
/// the moment the fault is set; on a connection that comes later, from its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing happens to them.
    Pass,
    /// They come that much later, with as many under way at once as are sent. With `Way::Both`, a round trip takes
    /// twice that much longer.
    Delay(Duration),
    /// `k` bytes come through, and then none, until another fault is set: those held back follow then.
    StallAfter(u64),
    /// They come one by one.
    Drip { every: Duration },
    /// `k` bytes come through, and the connection is reset on both sides. With 0, when the first byte wants through.
    ResetAfter(u64),
    /// `k` bytes come through, and the connection is closed in good order on both sides. With 0, when the first byte
    /// wants through.
    CloseAfter(u64),
    /// Byte number `k`, counted from 0, is this one instead.
    CorruptAt(u64, u8),
    /// They are taken, and never seen again. The end of the stream is not told either.
    BlackHole,
}

#[derive(Default)]
struct Counters {
    accepted: AtomicU64,
    refused: AtomicU64,
    live: AtomicU64,
    to_server: AtomicU64,
    to_client: AtomicU64,
}

/// Listens on a port of its own. All connections are cut when it is dropped.
pub struct Proxy {
    port: u16,
    counters: Arc<Counters>,
    changes: Sender<(Change, Sender<()>)>,
    bell: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// In front of `host:port` (an address of numbers), or of a unix socket when it begins with a slash.
    pub fn to(upstream: impl AsRef<str>) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound address").port();
        let (bell, rung) = UnixStream::pair().expect("a pair of sockets");
        let (changes, inbox) = channel();
        let counters = Arc::new(Counters::default());
        let upstream = Upstream::parse(upstream.as_ref());
        let wheel = Wheel::new(listener, upstream, rung, inbox, counters.clone());
        let thread = std::thread::Builder::new()
            .name("test-proxy".to_owned())
            .spawn(move || wheel.turn())
            .expect("a thread");
        Proxy {
            port,
            counters,
            changes,
            bell,
            thread: Some(thread),
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `redis://127.0.0.1:port`.
    pub fn url(&self) -> String {
        with_lines_as_asked(format!("redis://{}", self.address()))
    }

    /// Sets the fault of a direction, for the connections there are and those to come. It holds on return; the other
    /// direction keeps the one it has.
    pub fn set(&self, way: Way, fault: Fault) {
        self.change(Change::Fault(way, fault));
    }

    /// Lets everything pass again, new connections too.
    pub fn heal(&self) {
        self.set(Way::Both, Fault::Pass);
        self.refuse_new(false);
    }

    /// New connections are accepted and reset at once. (That nobody listens at all can only be had by a port that
    /// nobody listens on.)
    pub fn refuse_new(&self, refuse: bool) {
        self.change(Change::Refuse(refuse));
    }

    /// Resets every live connection, on both sides.
    pub fn cut_all(&self) {
        self.change(Change::Cut);
    }

    /// How many connections were let in since the beginning.
    pub fn accepted(&self) -> u64 {
        self.counters.accepted.load(Ordering::SeqCst)
    }

    /// How many were turned away, because of `refuse_new` or because the server could not be reached.
    pub fn refused(&self) -> u64 {
        self.counters.refused.load(Ordering::SeqCst)
    }

    /// How many connections there are now.
    pub fn live(&self) -> u64 {
        self.counters.live.load(Ordering::SeqCst)
    }

    pub fn bytes_to_server(&self) -> u64 {
        self.counters.to_server.load(Ordering::SeqCst)
    }

    pub fn bytes_to_client(&self) -> u64 {
        self.counters.to_client.load(Ordering::SeqCst)
    }

    fn change(&self, change: Change) {
        let (done, made) = channel();
        self.changes.send((change, done)).expect("the proxy runs");
        self.ring();
        made.recv().expect("the proxy runs");
    }

    fn ring(&self) {
        use std::io::Write;
        (&self.bell).write_all(b"!").expect("the proxy runs");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The thread ends at the end of this stream.
        let _ = self.bell.shutdown(std::net::Shutdown::Both);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the proxy's thread panicked");
        }
    }
}

enum Upstream {
    Tcp(SocketAddr),
    Unix(String),
}

impl Upstream {
    fn parse(text: &str) -> Upstream {
        match text.starts_with('/') {
            true => Upstream::Unix(text.to_owned()),
            false => Upstream::Tcp(text.parse().expect("an address of numbers, or a path")),
        }
    }

    fn connect(&self) -> std::io::Result<Socket> {
        let (domain, address) = match self {
            Upstream::Tcp(address) => (Domain::for_address(*address), SockAddr::from(*address)),
            Upstream::Unix(path) => (Domain::UNIX, SockAddr::unix(path)?),
        };
        let socket = Socket::new(domain, Type::STREAM, None)?;
        // A server that accepts no more must not hold up the connections there are.
        socket.connect_timeout(&address, Duration::from_secs(1))?;
        Ok(socket)
    }
}
