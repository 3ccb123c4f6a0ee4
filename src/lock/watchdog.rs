//! One thread that renews all locks of a manager, notices which are lost, and gives back what nobody could. A second
//! one, started with the first loss, tells their users.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::clock::{Deadline, tell};
use crate::error::{ErrorKind, Result};
use crate::fork::lock;
use crate::lock::hold::{self, Hold, nanos};
use crate::lock::{Site, Terms};
use crate::worker::Worker;

/// After an error, the next attempt to renew comes after a twelfth of the lease, but not later than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The pause between two attempts to give a token back.
const AGAIN: Duration = Duration::from_millis(200);

/// Even when nothing is due: a look around now and then costs nothing.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

#[derive(Default)]
pub(crate) struct Watchdog {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    book: Mutex<Book>,
    watch: Condvar,
    call: Condvar,
}

#[derive(Default)]
struct Book {
    /// By the address of the hold, which nobody else has while it is known here.
    holds: HashMap<usize, Entry>,
    orphans: Vec<Orphan>,
    losses: Vec<Arc<Terms>>,
    /// When the thread wakes by itself; 0 while it is at work.
    wakes: u64,
    stopped: bool,
    watcher: Option<Worker>,
    caller: Option<Worker>,
}

struct Entry {
    hold: Weak<Hold>,
    due: u64,
    /// As the hold's own: to look there would mean to hold it, and perhaps to end it, under the lock.
    until: u64,
}

/// A token that may still be in the server, and belongs to nobody. It keeps its manager until its lease is over.
struct Orphan {
    site: Site,
    terms: Arc<Terms>,
    token: String,
    due: u64,
    end: u64,
}

impl Watchdog {
    /// From now on the lock is renewed, and its loss is noticed.
    pub(crate) fn guard(&self, hold: &Arc<Hold>) -> Result<()> {
        let entry = Entry {
            hold: Arc::downgrade(hold),
            due: due(hold),
            until: hold.until(),
        };
        let mut book = lock(&self.shared.book);
        let due = entry.due;
        book.holds.insert(key(hold), entry);
        self.awake(&mut book, due)
    }

    pub(crate) fn forget(&self, hold: &Arc<Hold>) {
        lock(&self.shared.book).holds.remove(&key(hold));
    }

    /// Gives a token back as soon as the server can be reached; after its lease there is nothing to give back.
    pub(crate) fn give_back(&self, site: &Site, terms: &Arc<Terms>, token: &str) {
        let now = hold::now();
        let mut book = lock(&self.shared.book);
        // Once it has ended nobody would take it out again, and it keeps its manager.
        if book.stopped {
            return;
        }
        book.orphans.push(Orphan {
            site: site.clone(),
            terms: terms.clone(),
            token: token.to_owned(),
            due: now,
            end: now.saturating_add(nanos(terms.lease)),
        });
        // Without a thread the lease ends by itself.
        if self.awake(&mut book, now).is_err() {
            book.orphans.pop();
        }
    }

    /// The thread runs, and wakes at `due` or before.
    fn awake(&self, book: &mut MutexGuard<'_, Book>, due: u64) -> Result<()> {
        if book.watcher.is_none() && !book.stopped {
            let shared = self.shared.clone();
            book.watcher = Some(Worker::start("redkeep-watch", move || shared.run())?);
        }
        if due < book.wakes {
            self.shared.watch.notify_one();
        }
        Ok(())
    }

    pub(crate) fn stop(&self) {
        let mut book = lock(&self.shared.book);
        book.stopped = true;
        book.losses.clear();
        self.shared.watch.notify_one();
        self.shared.call.notify_one();
    }

    pub(crate) fn join(&self, deadline: Deadline) -> bool {
        let (watcher, caller) = {
            let mut book = lock(&self.shared.book);
            (book.watcher.take(), book.caller.take())
        };
        let watcher = watcher.is_none_or(|worker| worker.join(deadline));
        caller.is_none_or(|worker| worker.join(deadline)) && watcher
    }
}

fn key(hold: &Arc<Hold>) -> usize {
    Arc::as_ptr(hold).addr()
}

/// When something has to be done about a lock: a third of its lease after it was last asked for, or at its end.
fn due(hold: &Hold) -> u64 {
    let lease = nanos(hold.terms.lease);
    let until = hold.until();
    match hold.may_renew() {
        true => until.saturating_sub(lease - lease / 3),
        false => until,
    }
}

impl Shared {
    fn run(self: Arc<Shared>) {
        while let Some((holds, orphans)) = self.collect() {
            let (held, over): (Vec<_>, Vec<_>) = holds
                .into_iter()
                .partition(|hold| hold::now() < hold.until());
            over.iter().for_each(|hold| self.lose(hold));
            self.renew(&held);
            for orphan in orphans {
                self.give_back(orphan);
            }
        }
        // Outside of the lock: with an orphan, its manager may end.
        let orphans = std::mem::take(&mut lock(&self.book).orphans);
        drop(orphans);
    }

    /// Waits for something to do; none when all is over.
    fn collect(&self) -> Option<(Vec<Arc<Hold>>, Vec<Orphan>)> {
        let mut book = lock(&self.book);
        loop {
            if book.stopped {
                return None;
            }
            let now = hold::now();
            book.wakes = 0;
            let due = book.holds.values().filter(|entry| entry.due <= now);
            let due: Vec<Arc<Hold>> = due.filter_map(|entry| entry.hold.upgrade()).collect();
            book.holds.retain(|_, entry| entry.hold.strong_count() > 0);
            let (orphans, later) = std::mem::take(&mut book.orphans)
                .into_iter()
                .partition::<Vec<_>, _>(|orphan| orphan.due <= now);
            book.orphans = later;
            if !due.is_empty() || !orphans.is_empty() {
                return Some((due, orphans));
            }
            let holds = book.holds.values().map(|entry| entry.due);
            let next = holds
                .chain(book.orphans.iter().map(|orphan| orphan.due))
                .min();
            let longest = now.saturating_add(nanos(LONGEST_SLEEP));
            book.wakes = next.unwrap_or(longest).min(longest);
            let sleep = Duration::from_nanos(book.wakes - now);
            book = self
                .watch
                .wait_timeout(book, sleep)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Renews all of them in one go.
    fn renew(self: &Arc<Shared>, holds: &[Arc<Hold>]) {
        let asked = hold::now();
        let (mut renewing, mut pipe) = (Vec::new(), None);
        for hold in holds {
            let Some(lease) = hold.next_lease(asked) else {
                // From here on it only ends.
                self.due(hold, hold.until());
                continue;
            };
            let pipe = pipe.get_or_insert_with(|| hold.site.client.pipeline());
            match hold.site.add_renewal(pipe, hold, lease) {
                Ok(()) => renewing.push((hold, lease)),
                Err(_) => self.due(hold, hold.until()),
            }
        }
        let Some(mut pipe) = pipe else { return };
        pipe.within(self.patience(asked));
        let replies = match pipe.execute() {
            Ok(replies) => replies,
            Err(error) => {
                tell!(
                    Warn,
                    "locks could not be renewed, and are tried again until their leases are over: {error}"
                );
                renewing.iter().for_each(|(hold, _)| self.again(hold));
                return;
            }
        };
        for (i, (hold, lease)) in renewing.iter().enumerate() {
            match replies.get::<i64>(i) {
                Ok(1) => {
                    hold.renewed(asked, *lease);
                    self.due(hold, due(hold));
                }
                Ok(_) => self.lose(hold),
                // The key holds another type by now: ours is not in it.
                Err(error) if error.kind() == ErrorKind::WrongType => self.lose(hold),
                Err(_) => self.again(hold),
            }
        }
    }

    /// How long the thread may be away: the loss of another lock is not to be noticed late.
    fn patience(&self, now: u64) -> Duration {
        let book = lock(&self.book);
        let ends = book.holds.values().map(|entry| entry.until);
        let next = ends.filter(|until| *until > now).min();
        Duration::from_nanos(next.unwrap_or(now) - now).max(Duration::from_millis(1))
    }

    fn due(&self, hold: &Arc<Hold>, due: u64) {
        if let Some(entry) = lock(&self.book).holds.get_mut(&key(hold)) {
            (entry.due, entry.until) = (due, hold.until());
        }
    }

    /// It is tried again soon, or found lost at its end.
    fn again(&self, hold: &Arc<Hold>) {
        let pause = (hold.terms.lease / 12).min(LONGEST_PAUSE);
        self.due(
            hold,
            hold::now().saturating_add(nanos(pause)).min(hold.until()),
        );
    }

    fn lose(self: &Arc<Shared>, hold: &Arc<Hold>) {
        lock(&self.book).holds.remove(&key(hold));
        if !hold.lost() {
            return;
        }
        tell!(
            Warn,
            "a lock was lost: its lease was over, or its key was taken away"
        );
        hold.line.lost();
        if hold.terms.on_lost.is_none() {
            return;
        }
        let mut book = lock(&self.book);
        if book.stopped {
            return;
        }
        book.losses.push(hold.terms.clone());
        if book.caller.is_none() {
            let shared = self.clone();
            match Worker::start("redkeep-lost", move || shared.call()) {
                Ok(caller) => book.caller = Some(caller),
                Err(error) => {
                    tell!(Warn, "the loss of a lock cannot be told: {error}")
                }
            }
        }
        self.call.notify_one();
    }

    /// Tells the users, one after the other, with no lock held.
    fn call(&self) {
        loop {
            let losses = {
                let mut book = lock(&self.book);
                while book.losses.is_empty() && !book.stopped {
                    book = self.call.wait(book).unwrap_or_else(PoisonError::into_inner);
                }
                if book.stopped {
                    return;
                }
                std::mem::take(&mut book.losses)
            };
            for terms in losses {
                if let Some(on_lost) = &terms.on_lost {
                    // A panic of the program's own has been reported by the panic hook.
                    let _ = catch_unwind(AssertUnwindSafe(|| on_lost(&terms.name)));
                }
            }
        }
    }

    fn give_back(&self, orphan: Orphan) {
        let left = orphan.site.leave(&orphan.terms, &orphan.token);
        let now = hold::now();
        if left.is_err() && now < orphan.end {
            let mut book = lock(&self.book);
            if !book.stopped {
                let due = now.saturating_add(nanos(AGAIN));
                book.orphans.push(Orphan { due, ..orphan });
            }
        }
    }
}
