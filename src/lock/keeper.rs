//! What one manager keeps for its locks in this process.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use crate::client::Client;
use crate::clock::Deadline;
use crate::error::{Error, Result};
use crate::fork::lock;
use crate::lock::Kind;
use crate::lock::hold::Hold;
use crate::lock::keys::{new_id, new_token};
use crate::lock::line::Line;
use crate::lock::scripts::Scripts;
use crate::lock::wake::Ears;
use crate::lock::watchdog::Watchdog;
use crate::node::Resident;

pub(crate) struct Keeper {
    /// By which the servers' queues know this process.
    pub(crate) id: String,
    exclusive: Scripts,
    read: Scripts,
    write: Scripts,
    semaphore: Scripts,
    pub(crate) watchdog: Watchdog,
    /// The lines of locks that are held or waited for here, by their main keys.
    lines: Mutex<HashMap<String, Arc<Line>>>,
    pub(crate) ears: Ears,
    /// Locks that may be taken again by the thread that has them.
    owned: Mutex<Vec<Weak<Hold>>>,
    closed: AtomicBool,
}

impl Keeper {
    /// The manager's, in this process.
    pub(crate) fn of(client: &Client) -> Result<Arc<Keeper>> {
        client.dispatch()?.topology.fleet.residents.get(|| {
            Ok(Keeper {
                id: new_id()?,
                exclusive: Scripts::exclusive(),
                read: Scripts::read(),
                write: Scripts::write(),
                semaphore: Scripts::semaphore(),
                watchdog: Watchdog::default(),
                lines: Mutex::default(),
                ears: Ears::default(),
                owned: Mutex::default(),
                closed: AtomicBool::new(false),
            })
        })
    }

    pub(crate) fn live(&self) -> Result<()> {
        match self.closed.load(Ordering::Acquire) {
            true => Err(Error::closed()),
            false => Ok(()),
        }
    }

    pub(crate) fn scripts(&self, kind: Kind) -> &Scripts {
        match kind {
            Kind::Exclusive => &self.exclusive,
            Kind::Read => &self.read,
            Kind::Write => &self.write,
            Kind::Semaphore(_) => &self.semaphore,
        }
    }

    pub(crate) fn token(&self) -> Result<String> {
        new_token(&self.id)
    }

    /// The line for a lock, which all of this process's threads share.
    pub(crate) fn line(&self, key: &str) -> Arc<Line> {
        let mut lines = lock(&self.lines);
        match lines.get(key) {
            Some(line) => line.clone(),
            None => {
                let line = Arc::new(Line::default());
                lines.insert(key.to_owned(), line.clone());
                line
            }
        }
    }

    /// Forgets a line that nobody uses. Called by whoever still holds one reference to it, and is done with it.
    pub(crate) fn tidy(&self, key: &str, line: &Arc<Line>) {
        let mut lines = lock(&self.lines);
        let known = lines.get(key).is_some_and(|known| Arc::ptr_eq(known, line));
        // The map's, and the caller's: new ones come only from the map, whose lock is held.
        if known && Arc::strong_count(line) <= 2 && line.is_idle() {
            lines.remove(key);
        }
    }

    /// The lock that this thread has under this key already, if it may be taken again.
    pub(crate) fn owned(&self, kind: Kind, key: &str) -> Option<Arc<Hold>> {
        let owned = lock(&self.owned);
        let mut holds = owned.iter().filter_map(Weak::upgrade);
        holds.find(|hold| {
            hold.terms.kind == kind
                && hold.terms.keys.main == key
                && hold.is_of_this_thread()
                && hold.is_held()
        })
    }

    pub(crate) fn own(&self, hold: &Arc<Hold>) {
        let mut owned = lock(&self.owned);
        owned.retain(|other| other.strong_count() > 0);
        owned.push(Arc::downgrade(hold));
    }
}

impl Resident for Keeper {
    fn stop(&self) {
        self.closed.store(true, Ordering::Release);
        let lines: Vec<_> = lock(&self.lines).values().cloned().collect();
        let seated = self.ears.lines();
        lines.iter().chain(&seated).for_each(|line| line.ring());
        self.watchdog.stop();
    }

    fn join(&self, deadline: Deadline) -> bool {
        self.watchdog.join(deadline)
    }
}
