//! The thread of a proxy: all sockets in one poll(2).

use std::io::{ErrorKind, Read};
use std::net::{Shutdown, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use libc::{POLLERR, POLLHUP, POLLIN, POLLOUT, pollfd};
use socket2::Socket;

use super::lane::{Fate, Lane, has_something};
use super::{Counters, Fault, Upstream, Way};

pub enum Change {
    Fault(Way, Fault),
    Refuse(bool),
    Cut,
}

pub struct Wheel {
    listener: TcpListener,
    upstream: Upstream,
    bell: UnixStream,
    changes: Receiver<(Change, Sender<()>)>,
    counters: Arc<Counters>,
    to_server: Fault,
    to_client: Fault,
    refuse: bool,
    pairs: Vec<Pair>,
}

/// A client's connection and the one to the server that belongs to it.
struct Pair {
    client: Socket,
    server: Socket,
    to_server: Lane,
    to_client: Lane,
    /// Both sides were told the end; it lasts until the client has noticed.
    closing: bool,
}

impl Wheel {
    pub fn new(
        listener: TcpListener,
        upstream: Upstream,
        bell: UnixStream,
        changes: Receiver<(Change, Sender<()>)>,
        counters: Arc<Counters>,
    ) -> Wheel {
        listener.set_nonblocking(true).expect("a plain socket");
        bell.set_nonblocking(true).expect("a plain socket");
        Wheel {
            listener,
            upstream,
            bell,
            changes,
            counters,
            to_server: Fault::Pass,
            to_client: Fault::Pass,
            refuse: false,
            pairs: Vec::new(),
        }
    }

    /// Until the other end of the bell is closed.
    pub fn turn(mut self) {
        // Delays are kept to the microsecond, and not to the kernel's usual fifty.
        // SAFETY: it sets a number of this thread's.
        unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
        loop {
            let mut fds = vec![
                wait_on(self.bell.as_raw_fd(), POLLIN),
                wait_on(self.listener.as_raw_fd(), POLLIN),
            ];
            fds.extend(self.pairs.iter().flat_map(Pair::interests));
            let times = self.pairs.iter().filter_map(Pair::next_time);
            poll(&mut fds, times.min());
            if fds[0].revents != 0 && !self.hear_bell() {
                return;
            }
            let ready = fds[2..]
                .chunks_exact(2)
                .map(|two| [two[0].revents, two[1].revents]);
            let ready: Vec<[i16; 2]> = ready.collect();
            // Before anything is accepted: `ready` counts the pairs there were.
            self.serve(&ready);
            if fds[1].revents != 0 {
                self.accept();
            }
            while let Ok((change, done)) = self.changes.try_recv() {
                self.make(change);
                let _ = done.send(());
            }
            let live = self.pairs.len() as u64;
            self.counters.live.store(live, Ordering::SeqCst);
        }
    }

    fn hear_bell(&mut self) -> bool {
        match self.bell.read(&mut [0; 64]) {
            Ok(0) => false,
            Ok(_) => true,
            Err(e) => matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }

    fn serve(&mut self, ready: &[[i16; 2]]) {
        let now = Instant::now();
        let mut ready = ready.iter();
        self.pairs.retain_mut(|pair| {
            let revents = ready.next().copied().unwrap_or_default();
            pair.serve(revents, now, &self.counters)
        });
    }

    fn accept(&mut self) {
        while let Ok((client, _)) = self.listener.accept() {
            let client = Socket::from(client);
            let server = match self.refuse {
                true => None,
                false => self.upstream.connect().ok(),
            };
            let Some(server) = server else {
                self.counters.refused.fetch_add(1, Ordering::SeqCst);
                reset(client);
                continue;
            };
            for socket in [&client, &server] {
                socket.set_nonblocking(true).expect("a plain socket");
                // Not for a unix socket, which has no such delay.
                let _ = socket.set_tcp_nodelay(true);
            }
            self.counters.accepted.fetch_add(1, Ordering::SeqCst);
            self.pairs.push(Pair {
                client,
                server,
                to_server: Lane::new(self.to_server),
                to_client: Lane::new(self.to_client),
                closing: false,
            });
        }
    }

    fn make(&mut self, change: Change) {
        match change {
            Change::Refuse(refuse) => self.refuse = refuse,
            Change::Cut => {
                // Those that wait to be accepted are connections too, to whoever dialled them.
                self.accept();
                self.pairs.drain(..).for_each(Pair::reset);
                self.counters.live.store(0, Ordering::SeqCst);
            }
            Change::Fault(way, fault) => {
                if way != Way::ToClient {
                    self.to_server = fault;
                    self.pairs.iter_mut().for_each(|p| p.to_server.set(fault));
                }
                if way != Way::ToServer {
                    self.to_client = fault;
                    self.pairs.iter_mut().for_each(|p| p.to_client.set(fault));
                }
            }
        }
    }
}

impl Pair {
    fn interests(&self) -> [pollfd; 2] {
        if self.closing {
            return [wait_on(self.client.as_raw_fd(), POLLIN), wait_on(-1, 0)];
        }
        let events = |reads: &Lane, writes: &Lane| {
            let input = if reads.wants_bytes() { POLLIN } else { 0 };
            input | if writes.blocked { POLLOUT } else { 0 }
        };
        let client = events(&self.to_server, &self.to_client);
        let server = events(&self.to_client, &self.to_server);
        // poll reports a hang-up whether asked or not, which would turn the wheel for ever where nothing is wanted.
        let fd = |socket: &Socket, events| if events == 0 { -1 } else { socket.as_raw_fd() };
        [
            wait_on(fd(&self.client, client), client),
            wait_on(fd(&self.server, server), server),
        ]
    }

    fn next_time(&self) -> Option<Instant> {
        if self.closing {
            return None;
        }
        let times = [self.to_server.next_time(), self.to_client.next_time()];
        times.into_iter().flatten().min()
    }

    /// False when it is over, and then everything is closed.
    fn serve(&mut self, revents: [i16; 2], now: Instant, counters: &Counters) -> bool {
        if self.closing {
            return !has_something(&self.client);
        }
        match self.move_bytes(revents, now, counters) {
            Ok(Fate::Lives) => {}
            Ok(Fate::Close) => {
                let _ = self.client.shutdown(Shutdown::Write);
                let _ = self.server.shutdown(Shutdown::Write);
                self.closing = true;
                return true;
            }
            // An error is a reset by one side, and the other shall hear of it as such.
            Ok(Fate::Reset) | Err(_) => {
                self.linger_no_more();
                return false;
            }
        }
        let ends_known = self.to_server.is_over() && self.to_client.is_over();
        let ends_told = self.to_server.end_is_told() && self.to_client.end_is_told();
        // What a black hole keeps to itself is told nobody, and yet both sides have gone.
        let swallowed = |lane: &Lane| lane.fault == Fault::BlackHole;
        !(ends_told || ends_known && (swallowed(&self.to_server) || swallowed(&self.to_client)))
    }

    fn move_bytes(
        &mut self,
        [client, server]: [i16; 2],
        now: Instant,
        counters: &Counters,
    ) -> std::io::Result<Fate> {
        let readable = POLLIN | POLLHUP | POLLERR;
        if client & readable != 0 && self.to_server.wants_bytes() {
            self.to_server.read(&self.client, now)?;
        }
        if server & readable != 0 && self.to_client.wants_bytes() {
            self.to_client.read(&self.server, now)?;
        }
        let fate = self
            .to_server
            .flush(&self.server, now, &counters.to_server)?;
        if fate != Fate::Lives {
            return Ok(fate);
        }
        self.to_client.flush(&self.client, now, &counters.to_client)
    }

    fn reset(self) {
        self.linger_no_more();
    }

    /// From here on, closing the sockets sends RST in place of FIN.
    fn linger_no_more(&self) {
        for socket in [&self.client, &self.server] {
            let _ = socket.set_linger(Some(Duration::ZERO));
        }
    }
}

fn reset(client: Socket) {
    let _ = client.set_linger(Some(Duration::ZERO));
}

fn wait_on(fd: i32, events: i16) -> pollfd {
    pollfd {
        fd,
        events,
        revents: 0,
    }
}

fn poll(fds: &mut [pollfd], until: Option<Instant>) {
    let left = until.map(|until| until.saturating_duration_since(Instant::now()));
    let left = left.map(|left| libc::timespec {
        tv_sec: left.as_secs() as _,
        tv_nsec: left.subsec_nanos().into(),
    });
    let time = left
        .as_ref()
        .map_or(std::ptr::null(), |left| left as *const _);
    // SAFETY: the pointer and the length are those of one live slice; the time lives for the whole call, or is NULL.
    let count = unsafe {
        libc::ppoll(
            fds.as_mut_ptr(),
            fds.len() as libc::nfds_t,
            time,
            std::ptr::null(),
        )
    };
    if count < 0 {
        fds.iter_mut().for_each(|fd| fd.revents = 0);
    }
}
