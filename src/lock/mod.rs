//! Locks that programs on many machines share: with a lease, a queue and a fence.

mod held;
mod hold;
mod keeper;
mod keys;
mod line;
mod redlock;
mod scripts;
mod shared;
mod wake;
mod watchdog;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use redis::{FromRedisValue, ToRedisArgs};

use crate::client::{Client, Pipeline, Script};
use crate::clock::{Deadline, Moment};
use crate::error::{Error, ErrorKind, Result};
use crate::manager::Manager;
pub use held::Held;
use hold::Hold;
use keeper::Keeper;
use keys::Keys;
pub use redlock::{Redlock, RedlockHeld};
use scripts::Scripts;

/// A lock by its name: what it is to be like, and how to get it. It is held by one at a time, of all threads and
/// programs that use the same server, for as long as its lease: a holder that dies holds nobody up for longer.
///
/// ```
/// # fn main() -> redkeep::Result<()> {
/// use std::time::Duration;
///
/// let keep = redkeep::Manager::open("embedded://")?;
/// let held = keep.lock("report").lease(Duration::from_secs(30)).acquire(Duration::from_secs(5))?;
/// // ... held.fence() grows with every acquisition: a store can refuse what comes late.
/// assert!(held.is_held());
/// assert!(held.release()?);
/// # Ok(()) }
/// ```
///
/// The key is `lock:{name}`; it holds a random token, set with NX and PX and deleted only by its owner, as the `Lock` of
/// redis-py does it: both respect each other's locks. Such a holder does not tell when it leaves, and is looked for
/// every 10 to 50 ms. Our own waiters are woken: threads of one process one after the other, processes through a queue
/// in the server and a message; should a message be lost, they wait until the lease is over.
///
/// While it is held, the lock is renewed every third of its lease, by one thread for all locks of the manager. A lock is
/// lost when the server cannot be reached for a whole lease, when the process stands still for as long, or when
/// somebody deletes its key: see [`on_lost`](Lock::on_lost) and [`Held::is_held`].
///
/// A lock holds what the server holds: if a server that loses writes in a crash or a failover loses this one, two may
/// have it. [`Held::fence`] is for what must not bear that.
#[derive(Clone)]
pub struct Lock {
    client: Client,
    kind: Kind,
    name: Arc<str>,
    lease: Duration,
    /// For how long the server may be asked, if not `command_timeout`.
    within: Option<Duration>,
    renew: bool,
    max_hold: Option<Duration>,
    fair: bool,
    reentrant: bool,
    on_lost: Option<Arc<OnLost>>,
}

/// How many may hold it at once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Exclusive,
    Read,
    Write,
    Semaphore(u32),
}

impl Kind {
    fn keys(self, name: &str) -> Result<Keys> {
        match self {
            Kind::Exclusive => Keys::new("lock", name, &["fence", "queue"]),
            Kind::Read | Kind::Write => Keys::new("rwlock", name, &["fence", "queue", "readers"]),
            Kind::Semaphore(_) => Keys::new("semaphore", name, &["fence", "queue"]),
        }
    }
}

type OnLost = dyn Fn(&str) + Send + Sync;

/// Where nothing else was asked for.
pub(crate) const LEASE: Duration = Duration::from_secs(10);

/// What was asked for, checked.
pub(crate) struct Terms {
    kind: Kind,
    name: Arc<str>,
    keys: Keys,
    lease: Duration,
    /// For how long the server may be asked, if not `command_timeout`.
    within: Option<Duration>,
    renew: bool,
    max_hold: Option<Duration>,
    fair: bool,
    on_lost: Option<Arc<OnLost>>,
}

impl Terms {
    /// The lease to begin with.
    fn first_lease(&self) -> Duration {
        self.max_hold
            .map_or(self.lease, |most| most.min(self.lease))
    }
}

impl Manager {
    /// A lock of this name: `lock:{name}` on the server. Nothing is sent before it is acquired.
    pub fn lock(&self, name: &str) -> Lock {
        Lock::new(self, name, Kind::Exclusive)
    }
}

impl Lock {
    fn new(manager: &Manager, name: &str, kind: Kind) -> Lock {
        Lock {
            client: manager.client(),
            kind,
            name: name.into(),
            lease: LEASE,
            within: None,
            renew: true,
            max_hold: None,
            fair: false,
            reentrant: false,
            on_lost: None,
        }
    }

    /// For how long the server keeps the lock when nothing more is heard of its holder. At least 1 ms. Defaults to
    /// 10 s.
    pub fn lease(mut self, time: Duration) -> Lock {
        self.lease = time;
        self
    }

    pub(crate) fn max_hold_is(mut self, most: Option<Duration>) -> Lock {
        self.max_hold = most;
        self
    }

    pub(crate) fn within(mut self, time: Duration) -> Lock {
        self.within = Some(time);
        self
    }

    /// Whether the lease is renewed, every third of it, while the lock is held. Defaults to true.
    pub fn renew(mut self, on: bool) -> Lock {
        self.renew = on;
        self
    }

    /// The longest time for which it may be held; it is not renewed beyond that, and so is lost. Defaults to no limit.
    pub fn max_hold(mut self, time: Duration) -> Lock {
        self.max_hold = Some(time);
        self
    }

    /// Whether those who wait get the lock in the order in which they came, whichever process they are in; all users of
    /// the lock must say so. Without it, threads of one process come one after the other, a few times in a row while
    /// others wait, which is quicker. Defaults to false.
    pub fn fair(mut self, on: bool) -> Lock {
        self.fair = on;
        self
    }

    /// Whether the thread that holds the lock may acquire it again: it then has two guards, and the lock is released
    /// with the last. Without it, a second attempt of the same thread waits like any other. Defaults to false.
    pub fn reentrant(mut self, on: bool) -> Lock {
        self.reentrant = on;
        self
    }

    /// Called with the name of the lock when it was lost while it was held, at the latest one lease after it was last
    /// renewed. It runs in a thread of its own, `redkeep-lost`, one call after the other. Not called after
    /// [`release`](Held::release).
    pub fn on_lost(mut self, call: impl Fn(&str) + Send + Sync + 'static) -> Lock {
        self.on_lost = Some(Arc::new(call));
        self
    }

    /// The lock if it is to be had at this moment, without waiting for anybody.
    pub fn try_acquire(&self) -> Result<Option<Held>> {
        self.get(None)
    }

    /// Waits at most `wait` for the lock; with none, tries once. Then the error is of kind
    /// [`LockTimeout`](ErrorKind::LockTimeout). What is sent to the server has `command_timeout` of its own, whatever
    /// the wait.
    pub fn acquire(&self, wait: Duration) -> Result<Held> {
        let held = match wait.is_zero() {
            true => self.get(None)?,
            false => self.get(Some(Deadline::after(wait)))?,
        };
        match held {
            Some(held) => Ok(held),
            None => Err(Error::new(
                ErrorKind::LockTimeout,
                format!(
                    "Could not acquire lock: {}",
                    self.kind.keys(&self.name)?.main
                ),
            )),
        }
    }

    fn get(&self, deadline: Option<Deadline>) -> Result<Option<Held>> {
        let terms = Arc::new(self.terms()?);
        let site = Site::of(&self.client)?;
        let key = &terms.keys.main;
        if self.reentrant
            && let Some(hold) = site.keeper.owned(self.kind, key)
        {
            return Ok(Some(Held::again(hold)));
        }
        // Who insists on the order across processes waits in the server's queue alone, and so do those who share.
        let line = match self.fair || self.kind != Kind::Exclusive {
            true => Arc::default(),
            false => site.keeper.line(key),
        };
        let began = Moment::now();
        let hold = match deadline {
            None => line.try_acquire(&site, &terms),
            Some(deadline) => line.acquire(&site, &terms, deadline),
        };
        let hold = hold?;
        let counters = &self.client.dispatch()?.counters;
        match (&hold, deadline) {
            (Some(_), _) => counters.lock_waits.took(began.elapsed()),
            (None, Some(_)) => counters.lock_timeouts.add(),
            (None, None) => {}
        }
        let Some(hold) = hold else {
            site.keeper.tidy(key, &line);
            return Ok(None);
        };
        if self.reentrant {
            site.keeper.own(&hold);
        }
        let held = Held::new(hold);
        held.guard()?;
        Ok(Some(held))
    }

    /// Whether it can be acquired at all.
    pub(crate) fn valid(&self) -> Result<()> {
        self.terms().map(drop)
    }

    fn terms(&self) -> Result<Terms> {
        let times = [("lease", Some(self.lease)), ("max_hold", self.max_hold)];
        for (what, time) in times {
            if let Some(time) = time.filter(|time| !TIMES.contains(time)) {
                return Err(Error::argument(format!(
                    "{what}: {time:?} is not allowed; it takes from 1 ms to 10 years"
                )));
            }
        }
        if self.kind == Kind::Semaphore(0) {
            return Err(Error::argument(
                "most: 0 is not allowed; it takes at least 1",
            ));
        }
        Ok(Terms {
            kind: self.kind,
            name: self.name.clone(),
            keys: self.kind.keys(&self.name)?,
            lease: self.lease,
            within: self.within,
            renew: self.renew,
            max_hold: self.max_hold,
            fair: self.fair,
            on_lost: self.on_lost.clone(),
        })
    }
}

impl std::fmt::Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lock({})", self.name)
    }
}

/// What a lease may be.
const TIMES: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(10 * 365 * 24 * 3600);

/// Where locks are taken: a manager's way to the server, and what it keeps for its locks in this process.
#[derive(Clone)]
pub(crate) struct Site {
    client: Client,
    keeper: Arc<Keeper>,
}

impl Site {
    fn of(client: &Client) -> Result<Site> {
        Ok(Site {
            client: client.clone(),
            keeper: Keeper::of(client)?,
        })
    }

    fn scripts(&self, terms: &Terms) -> &Scripts {
        self.keeper.scripts(terms.kind)
    }

    /// Whether a waiter for this lock can be told.
    fn hears(&self, terms: &Terms) -> bool {
        self.keeper.ears.hear(&self.client, &terms.keys.main)
    }

    /// Makes sure of that, where it is possible.
    fn listen(&self, terms: &Terms, deadline: Deadline) -> bool {
        let Ok(time) = self.client.timeout() else {
            return false;
        };
        let (key, id) = (&terms.keys.main, &self.keeper.id);
        let deadline = deadline.within(time);
        self.keeper.ears.open(&self.client, key, id, deadline)
    }

    fn call<T: FromRedisValue>(
        &self,
        terms: &Terms,
        script: &Script,
        args: impl ToRedisArgs,
    ) -> Result<T> {
        let time = self.client.timeout()?;
        let time = terms.within.map_or(time, |within| within.min(time));
        self.client.eval_within(script, &terms.keys, args, time)
    }

    fn ask_for(&self, terms: &Terms, token: &str, queue: bool) -> Result<(i64, i64, i64)> {
        let queue = if queue { "queue" } else { "" };
        let fair = if terms.fair { "fair" } else { "" };
        let lease = milliseconds(terms.first_lease());
        let most = match terms.kind {
            Kind::Semaphore(most) => most,
            _ => 1,
        };
        let args = (token, lease, queue, fair, most);
        self.call(terms, &self.scripts(terms).acquire, args)
    }

    fn give_back(
        &self,
        hold: &Hold,
        next: Option<(&str, &Arc<Terms>)>,
        stay: bool,
    ) -> Result<(i64, i64)> {
        let stay = if stay { "stay" } else { "" };
        let (heir, lease) = match next {
            Some((token, terms)) => (token, milliseconds(terms.first_lease())),
            None => ("", 0),
        };
        let ours = milliseconds(hold.terms.lease);
        let args = (hold.token.as_str(), heir, lease, stay, ours);
        self.call(&hold.terms, &self.scripts(&hold.terms).release, args)
    }

    fn add_renewal(&self, pipe: &mut Pipeline<'_>, hold: &Hold, lease: Duration) -> Result<()> {
        let args = (hold.token.as_str(), milliseconds(lease));
        pipe.eval(&self.scripts(&hold.terms).renew, &hold.terms.keys, args)?;
        Ok(())
    }

    fn leave(&self, terms: &Terms, token: &str) -> Result<()> {
        self.call(terms, &self.scripts(terms).leave, token)
    }
}

/// Never more than the whole ones, so that what counts here ends no later than what counts there.
fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 4)
}
