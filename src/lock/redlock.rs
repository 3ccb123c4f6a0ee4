//! One lock over several servers that know nothing of each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::clock::{self, Deadline};
use crate::error::{Error, ErrorKind, Result};
use crate::fork;
use crate::lock::{Held, Kind, LEASE, Lock, OnLost};
use crate::manager::Manager;
use crate::sys;

/// A lock over several independent servers: it is held by whoever has it on more than half of them, and so survives
/// the loss of the others. Replicas of one server are not independent.
///
/// ```
/// # fn main() -> redkeep::Result<()> {
/// use std::time::Duration;
/// use redkeep::{Manager, Redlock};
///
/// let servers = [Manager::open("embedded://")?, Manager::open("embedded://")?, Manager::open("embedded://")?];
/// let held = Redlock::new(&servers, "report").lease(Duration::from_secs(10)).acquire(Duration::from_secs(5))?;
/// assert!(held.is_held());
/// assert!(held.release()?);
/// # Ok(()) }
/// ```
///
/// All servers are asked at once, each for a tenth of the lease at most. Of the lease, 1 % and 2 ms are given away,
/// because the servers' clocks may run faster than ours. Who does not get it tries again after 10 to 50 ms, at random:
/// nobody is woken, and no order is kept. Renewal is that of [`Lock`], on each server by itself.
///
/// It holds as long as clocks run at about the same speed and no server forgets its keys within a lease: one that
/// restarts without them has to stay away for as long. There is no fence: no server sees every acquisition.
#[derive(Clone)]
pub struct Redlock {
    locks: Vec<Lock>,
    name: Arc<str>,
    lease: Duration,
    on_lost: Option<Arc<OnLost>>,
}

impl Redlock {
    /// The lock of this name on all of these servers: an odd number, of at least 3. Nothing is sent before it is
    /// acquired.
    pub fn new(managers: &[Manager], name: &str) -> Redlock {
        let lock = |manager| Lock::new(manager, name, Kind::Exclusive);
        Redlock {
            locks: managers.iter().map(lock).collect(),
            name: name.into(),
            lease: LEASE,
            on_lost: None,
        }
        .lease(LEASE)
    }

    /// For how long the servers keep the lock when nothing more is heard of its holder. At least 20 ms. Defaults to
    /// 10 s.
    pub fn lease(mut self, time: Duration) -> Redlock {
        self.lease = time;
        self.with(|lock| lock.lease(time).within(time / 10))
    }

    /// Whether the lease is renewed while the lock is held. Defaults to true.
    pub fn renew(self, on: bool) -> Redlock {
        self.with(|lock| lock.renew(on))
    }

    /// The longest time for which it may be held. Defaults to no limit.
    pub fn max_hold(self, time: Duration) -> Redlock {
        self.with(|lock| lock.max_hold(time))
    }

    pub(crate) fn max_hold_is(self, most: Option<Duration>) -> Redlock {
        self.with(|lock| lock.max_hold_is(most))
    }

    /// Called with the name of the lock when it was lost on so many servers that it is not held any more, once. See
    /// [`Lock::on_lost`].
    pub fn on_lost(mut self, call: impl Fn(&str) + Send + Sync + 'static) -> Redlock {
        self.on_lost = Some(Arc::new(call));
        self
    }

    fn with(mut self, change: impl Fn(Lock) -> Lock) -> Redlock {
        self.locks = self.locks.into_iter().map(change).collect();
        self
    }

    /// The lock if it is to be had at this moment. The error of a server counts only if the others are too few to say.
    pub fn try_acquire(&self) -> Result<Option<RedlockHeld>> {
        self.check()?;
        let losses = Arc::new(AtomicUsize::new(0));
        let most = self.locks.len() - self.quorum();
        let answers = side_by_side(&self.locks, |lock| {
            let Some(on_lost) = self.on_lost.clone() else {
                return lock.try_acquire();
            };
            let losses = losses.clone();
            let watched = lock.clone().on_lost(move |name| {
                if losses.fetch_add(1, Ordering::AcqRel) == most {
                    on_lost(name);
                }
            });
            watched.try_acquire()
        });
        let (mut guards, mut errors, mut refused) = (Vec::new(), Vec::new(), 0);
        for answer in answers {
            match answer {
                Ok(Some(held)) => guards.push(held),
                Ok(None) => refused += 1,
                Err(error) => errors.push(error),
            }
        }
        // Where it is not had, it is as good as lost.
        losses.fetch_add(self.locks.len() - guards.len(), Ordering::AcqRel);
        let held = RedlockHeld {
            guards,
            quorum: self.quorum(),
            drift: self.drift(),
            name: self.name.clone(),
            generation: fork::generation(),
        };
        if held.is_held() {
            return Ok(Some(held));
        }
        let too_few = refused + held.guards.len() < self.quorum();
        drop(held);
        match errors.into_iter().next() {
            Some(error) if too_few => Err(error),
            _ => Ok(None),
        }
    }

    /// Waits at most `wait` for the lock; with none, tries once. Then the error is of kind
    /// [`LockTimeout`](ErrorKind::LockTimeout).
    pub fn acquire(&self, wait: Duration) -> Result<RedlockHeld> {
        let deadline = Deadline::after(wait);
        loop {
            if let Some(held) = self.try_acquire()? {
                return Ok(held);
            }
            let pause = clock::between(Duration::from_millis(10), Duration::from_millis(50));
            match deadline.remaining() {
                Some(left) => thread::sleep(pause.min(left)),
                None => {
                    return Err(Error::new(
                        ErrorKind::LockTimeout,
                        format!("Could not acquire lock: lock:{}", self.name),
                    ));
                }
            }
        }
    }

    fn quorum(&self) -> usize {
        self.locks.len() / 2 + 1
    }

    fn drift(&self) -> Duration {
        self.lease / 100 + Duration::from_millis(2)
    }

    pub(crate) fn check(&self) -> Result<()> {
        let n = self.locks.len();
        if n < 3 || n.is_multiple_of(2) {
            return Err(Error::argument(format!(
                "managers: {n} are not allowed; it takes an odd number, of at least 3"
            )));
        }
        if self.lease < Duration::from_millis(20) {
            return Err(Error::argument(format!(
                "lease: {:?} is not allowed; it takes at least 20 ms",
                self.lease
            )));
        }
        Ok(())
    }
}

impl std::fmt::Debug for Redlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redlock({}, {} servers)", self.name, self.locks.len())
    }
}

/// A [`Redlock`] that is held; released when dropped. In a forked child it stays the parent's.
pub struct RedlockHeld {
    guards: Vec<Held>,
    quorum: usize,
    drift: Duration,
    name: Arc<str>,
    generation: u64,
}

impl RedlockHeld {
    /// The name that the lock was asked for by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is still ours on more than half of the servers, as far as can be known without asking them. See
    /// [`Held::is_held`].
    pub fn is_held(&self) -> bool {
        let held = self.guards.iter().filter(|one| one.is_held_for(self.drift));
        held.count() >= self.quorum
    }

    /// Gives the lock back on all servers. True if it was still ours on more than half of them; an error only if it
    /// cannot be said.
    pub fn release(mut self) -> Result<bool> {
        self.let_go()
    }

    fn let_go(&mut self) -> Result<bool> {
        let guards = std::mem::take(&mut self.guards);
        let answers = side_by_side(guards, Held::release);
        let held = answers.iter().filter(|answer| matches!(answer, Ok(true)));
        let held = held.count();
        let errors = answers.into_iter().filter_map(Result::err);
        match errors.last() {
            Some(error) if held < self.quorum => Err(error),
            _ => Ok(held >= self.quorum),
        }
    }
}

impl Drop for RedlockHeld {
    fn drop(&mut self) {
        if self.generation == fork::generation() && !self.guards.is_empty() {
            let _ = self.let_go();
        }
    }
}

impl std::fmt::Debug for RedlockHeld {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RedlockHeld({})", self.name)
    }
}

/// Does the same with all of them at once, each in a thread of its own: none waits for another's server.
fn side_by_side<I: Send, T: Send>(
    all: impl IntoIterator<Item = I>,
    work: impl Fn(I) -> Result<T> + Sync,
) -> Vec<Result<T>> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = all
            .into_iter()
            .map(|one| {
                thread::Builder::new()
                    .name("redkeep-redlock".to_owned())
                    .spawn_scoped(scope, move || {
                        sys::block_signals();
                        work(one)
                    })
            })
            .collect();
        let answer = |thread: thread::ScopedJoinHandle<'_, Result<T>>| {
            let panicked = || Error::new(ErrorKind::Internal, "a thread of a Redlock panicked");
            thread.join().unwrap_or_else(|_| Err(panicked()))
        };
        threads
            .into_iter()
            .map(|thread| match thread {
                Ok(thread) => answer(thread),
                Err(error) => {
                    let text = "no thread for a Redlock";
                    Err(Error::new(ErrorKind::System, text).caused_by(error))
                }
            })
            .collect()
    })
}
