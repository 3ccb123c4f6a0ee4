//! The health thread: all probes of all nodes in one poll(2), so that a slow node delays no other.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::clock::{Deadline, Moment};
use crate::config::ReadFrom;
use crate::error::{Error, ErrorKind, Result};
use crate::fork::lock;
use crate::node::condition::State;
use crate::node::probe::Probe;
use crate::node::roll::Roll;
use crate::sys::{self, READABLE, Sleep};
use crate::worker::Worker;

/// How nodes reach the health thread.
#[derive(Default)]
pub(crate) struct Watch {
    on: AtomicBool,
    bell: Mutex<Option<UnixStream>>,
}

impl Watch {
    /// Whether health checks run, so that a down node is tried by them and by nobody else.
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Wakes the health thread: a node has come, gone down, or everything is to end.
    pub(crate) fn ring(&self) {
        if let Some(bell) = &*lock(&self.bell) {
            // A full pipe has enough rings in it already. Older versions of std raise SIGPIPE where nobody listens
            // any more.
            let ring = || sys::send(bell.as_fd(), &[1], Sleep::Never);
            // One that was interrupted was not heard.
            while ring().is_err_and(|error| error.kind() == io::ErrorKind::Interrupted) {}
        }
    }
}

/// The running thread.
pub(crate) struct Health {
    watch: Arc<Watch>,
    stop: Arc<AtomicBool>,
    worker: Worker,
}

impl Health {
    pub(crate) fn start(
        watch: &Arc<Watch>,
        nodes: &Arc<Roll>,
        interval: Duration,
    ) -> Result<Health> {
        let pair = UnixStream::pair().and_then(|(near, far)| {
            near.set_nonblocking(true)?;
            far.set_nonblocking(true)?;
            Ok((near, far))
        });
        let (near, far) = pair.map_err(|error| {
            Error::new(ErrorKind::System, "no descriptors for health checks").caused_by(error)
        })?;
        let stop = Arc::new(AtomicBool::new(false));
        let rounds = Rounds {
            watch: watch.clone(),
            nodes: nodes.clone(),
            bell: far,
            stop: stop.clone(),
            interval,
            probes: Vec::new(),
        };
        // Before the thread looks around for the first time: a ring in between would be lost.
        *lock(&watch.bell) = Some(near);
        let worker = Worker::start("redkeep-health", move || rounds.run())?;
        watch.on.store(true, Ordering::Relaxed);
        Ok(Health {
            watch: watch.clone(),
            stop,
            worker,
        })
    }

    /// Tells the thread to end. `join` then waits for it.
    pub(crate) fn stop(&self) {
        self.watch.on.store(false, Ordering::Relaxed);
        self.stop.store(true, Ordering::Release);
        self.watch.ring();
    }

    pub(crate) fn join(self, deadline: Deadline) -> bool {
        self.worker.join(deadline)
    }
}

/// The inside of the thread.
struct Rounds {
    watch: Arc<Watch>,
    nodes: Arc<Roll>,
    bell: UnixStream,
    stop: Arc<AtomicBool>,
    interval: Duration,
    probes: Vec<Probe>,
}

impl Drop for Rounds {
    /// However it ends: nodes that are down are now tried by their callers.
    fn drop(&mut self) {
        self.watch.on.store(false, Ordering::Relaxed);
    }
}

impl Rounds {
    fn run(mut self) {
        while !self.stop.load(Ordering::Acquire) {
            self.muster();
            let now = Moment::now();
            for probe in &mut self.probes {
                probe.step(now, self.interval);
            }
            self.sleep();
        }
    }

    /// Takes up nodes that have come, and lets go of those that have gone or whose pools were closed.
    fn muster(&mut self) {
        let now = Moment::now();
        let next = now + self.interval;
        let places = self.nodes.places();
        let known =
            |probe: &Probe| (places.iter()).any(|place| Arc::ptr_eq(&place.node, &probe.node));
        self.probes.retain(known);
        for place in places.iter() {
            let node = &place.node;
            if !(self.probes.iter()).any(|probe| Arc::ptr_eq(&probe.node, node)) {
                // Which one is nearest cannot be said before all were asked.
                let measured = node.dialer.settings.read_from == ReadFrom::Nearest;
                let first = if measured { now } else { next };
                self.probes.push(Probe::new(node.clone(), first));
            }
        }
        for probe in &mut self.probes {
            match probe.node.condition.state() {
                State::Closed => probe.withdraw(next),
                _ => probe.hurry(now),
            }
        }
    }

    /// Until a socket is ready, a probe is due, or the bell rings.
    fn sleep(&mut self) {
        let mut entries = vec![sys::poll_entry(self.bell.as_fd(), READABLE)];
        entries.extend(self.probes.iter().filter_map(Probe::poll_entry));
        let next = self.probes.iter().map(Probe::wakes).min();
        let time = next.map(|at| at.since(Moment::now()));
        if sys::poll(&mut entries, time).is_ok() && entries[0].revents != 0 {
            let mut rings = [0; 64];
            // WouldBlock ends it; there is nothing else to learn from the bell.
            while self.bell.read(&mut rings).is_ok_and(|n| n == rings.len()) {}
        }
    }
}
