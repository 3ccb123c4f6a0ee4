//! The thread that finds out where the nodes are: when asked, and from time to time. Callers never ask the servers
//! themselves; they wait for the end of a round that begins after their question, each until its own deadline, so
//! that a thousand of them make one round.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::clock::{Deadline, Moment};
use crate::config::Endpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::fork::lock;
use crate::node::{Fleet, Node, State};
use crate::topology::map::Map;
use crate::topology::sentinel::{Heard, Watchmen};
use crate::topology::watch::Watches;
use crate::topology::{cluster, sentinel};
use crate::transport::Lifeline;
use crate::worker::Worker;

/// Rounds are at least this far apart.
const REST: Duration = Duration::from_millis(40);
/// While a primary is down or nobody gives a good answer: the time between rounds, at first and later.
const TROUBLED: Duration = Duration::from_millis(200);
const STILL_TROUBLED: Duration = Duration::from_secs(1);
/// How many rounds of trouble are near each other.
const SOON: u32 = 50;
/// Where no health checks are made, the map is asked for this often.
const USUALLY: Duration = Duration::from_secs(10);
/// An error of the last round holds for this long: whoever comes meanwhile is told at once.
const STALE: Duration = Duration::from_millis(200);

/// Who is told when the map may have changed.
pub(crate) trait Follower: Send + Sync {
    /// Called on any thread, without a lock; hands over to a thread of its own whatever takes long.
    fn look(self: Arc<Self>);
}

/// How the map is found.
pub(crate) enum Way {
    Cluster(Vec<Endpoint>),
    Sentinel(Watchmen),
}

pub(crate) struct Scout {
    shared: Arc<Shared>,
    worker: Mutex<Option<Worker>>,
}

struct Shared {
    fleet: Arc<Fleet>,
    map: Arc<ArcSwap<Map>>,
    way: Way,
    book: Mutex<Book>,
    bell: Condvar,
    news: Condvar,
    /// Held while the map is changed: a slot that was learned is not lost to another.
    changing: Mutex<()>,
    watches: Watches,
    followers: Mutex<Vec<Weak<dyn Follower>>>,
}

#[derive(Default)]
struct Book {
    /// The round that was asked for, the one that began last, and the one that ended last.
    asked: u64,
    begun: u64,
    done: u64,
    failure: Option<(Error, Moment)>,
    heard: Vec<Heard>,
    /// Cuts the round that is under way.
    lifeline: Option<Arc<Lifeline>>,
    over: bool,
}

impl Scout {
    pub(crate) fn new(fleet: &Arc<Fleet>, map: &Arc<ArcSwap<Map>>, way: Way) -> Scout {
        Scout {
            shared: Arc::new(Shared {
                fleet: fleet.clone(),
                map: map.clone(),
                way,
                book: Mutex::default(),
                bell: Condvar::new(),
                news: Condvar::new(),
                changing: Mutex::new(()),
                watches: Watches::default(),
                followers: Mutex::default(),
            }),
            worker: Mutex::new(None),
        }
    }

    pub(crate) fn way(&self) -> &Way {
        &self.shared.way
    }

    /// Tells this one of every change from now on.
    pub(crate) fn tell(&self, follower: Weak<dyn Follower>) {
        lock(&self.shared.followers).push(follower);
    }

    /// What the sentinels said last.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.shared.book().heard.clone()
    }

    /// Asks for a round that begins after now; its number.
    pub(crate) fn ask(&self) -> Result<u64> {
        {
            let mut book = self.shared.book();
            let round = book.begun + 1;
            if book.over {
                return Err(Error::closed());
            }
            if book.asked < round {
                book.asked = round;
                self.shared.bell.notify_all();
            }
            // The thread was started for the first round.
            if round > 1 {
                return Ok(round);
            }
        }
        let mut worker = lock(&self.worker);
        // Under the lock, behind which close() looks for the thread.
        if worker.is_none() && !self.shared.book().over {
            let shared = self.shared.clone();
            *worker = Some(Worker::start("redkeep-scout", move || shared.run())?);
        }
        Ok(1)
    }

    /// Waits until that round has ended. Its error, if it found nothing.
    pub(crate) fn wait(&self, round: u64, deadline: Deadline) -> Result<()> {
        let shared = &self.shared;
        let mut book = shared.book();
        loop {
            if book.over {
                return Err(Error::closed());
            }
            if book.done >= round {
                return match &book.failure {
                    Some((error, _)) => Err(error.clone()),
                    None => Ok(()),
                };
            }
            let Some(left) = deadline.remaining() else {
                let late = Error::new(ErrorKind::Timeout, shared.late());
                return Err(match &book.failure {
                    Some((error, _)) => late.caused_by(error.clone()),
                    None => late,
                });
            };
            book = shared.wait(&shared.news, book, left);
        }
    }

    /// A round's error that is still fresh.
    pub(crate) fn failure(&self) -> Option<Error> {
        let book = self.shared.book();
        let (error, at) = book.failure.as_ref()?;
        (at.elapsed() < STALE && book.done == book.begun).then(|| error.clone())
    }

    /// Puts a slot into a node's hands, as that slot's last owner said, and has the rest looked at.
    pub(crate) fn learn(&self, slot: u16, node: &Arc<Node>) -> Result<()> {
        {
            let _changing = lock(&self.shared.changing);
            let map = self.shared.map.load();
            let known = map.shard_of(slot);
            if known.is_some_and(|shard| Arc::ptr_eq(&shard.primary, node)) {
                return Ok(());
            }
            let changed = map.with_slot(slot, node);
            self.shared.map.store(Arc::new(changed));
            if let Some(shard) = known {
                shard.primary.lost_keys();
            }
        }
        self.shared.tell();
        self.ask().map(drop)
    }

    /// Ends every wait, and has the thread end.
    pub(crate) fn stop(&self) {
        let mut book = self.shared.book();
        book.over = true;
        if let Some(lifeline) = &book.lifeline {
            lifeline.cut();
        }
        self.shared.bell.notify_all();
        self.shared.news.notify_all();
    }

    /// Waits for the thread's end. False if it still ran at the deadline.
    pub(crate) fn join(&self, deadline: Deadline) -> bool {
        let worker = lock(&self.worker).take();
        let thread = worker.is_none_or(|worker| worker.join(deadline));
        self.shared.watches.close(deadline) && thread
    }
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }

    fn wait<'b>(
        &self,
        on: &Condvar,
        book: MutexGuard<'b, Book>,
        time: Duration,
    ) -> MutexGuard<'b, Book> {
        on.wait_timeout(book, time)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }

    fn tell(&self) {
        let followers = {
            let mut followers = lock(&self.followers);
            followers.retain(|one| one.strong_count() > 0);
            followers.clone()
        };
        for follower in followers.iter().filter_map(Weak::upgrade) {
            follower.look();
        }
    }

    fn run(self: &Arc<Shared>) {
        let mut trouble = 0;
        while self.sleep(trouble) {
            let limit =
                (self.fleet.settings.connect_timeout).min(self.fleet.settings.command_timeout);
            let mut heard = Vec::new();
            let found = self.find(&mut heard, Deadline::after(limit));
            let failure = found.and_then(|map| self.publish(map)).err();
            let troubled = failure.is_some() || self.a_primary_is_down();
            trouble = if troubled { trouble + 1 } else { 0 };
            // Whoever listens to the log is called without a lock.
            if let Some(error) = &failure {
                log::debug!(target: "redkeep", "no news of the nodes: {error}");
            }
            let mut book = self.book();
            if !heard.is_empty() {
                book.heard = heard;
            }
            book.failure = failure.map(|error| (error, Moment::now()));
            book.done = book.begun;
            book.lifeline = None;
            self.news.notify_all();
            drop(book);
            self.listen();
        }
    }

    /// Listens to those sentinels that have answered, from now on.
    fn listen(self: &Arc<Shared>) {
        let Way::Sentinel(watchmen) = &self.way else {
            return;
        };
        let answered: Vec<String> = (self.book().heard.iter())
            .filter(|heard| heard.said.is_ok())
            .map(|heard| heard.sentinel.clone())
            .collect();
        for sentinel in &watchmen.sentinels {
            if self.book().over || !answered.contains(&sentinel.address.to_string()) {
                continue;
            }
            let shared = Arc::downgrade(self);
            (self.watches).begin(&self.fleet, sentinel, &watchmen.master, move || {
                if let Some(shared) = shared.upgrade() {
                    shared.ring();
                }
            });
        }
    }

    /// Has a round begin that sees what happened before now.
    fn ring(&self) {
        let mut book = self.book();
        book.asked = book.begun + 1;
        self.bell.notify_all();
    }

    /// Until a round is due; false at the end of all rounds.
    fn sleep(&self, trouble: u32) -> bool {
        let usual = self.fleet.settings.health_check_interval.unwrap_or(USUALLY);
        let pause = match trouble {
            0 => usual,
            1..SOON => usual.min(TROUBLED),
            _ => usual.min(STILL_TROUBLED),
        };
        let now = Moment::now();
        // Callers ask again and again while nothing gets better; the servers are asked ever more seldom.
        let rest = REST * (trouble + 1).min(5);
        let (earliest, due) = (now + rest, now + pause.max(rest));
        let mut book = self.book();
        loop {
            if book.over {
                return false;
            }
            let now = Moment::now();
            // The first round begins at once.
            let at = match book.asked > book.begun {
                true if book.begun == 0 => now,
                true => earliest,
                false => due,
            };
            if now >= at {
                book.begun += 1;
                return true;
            }
            book = self.wait(&self.bell, book, at.since(now));
        }
    }

    fn find(&self, heard: &mut Vec<Heard>, deadline: Deadline) -> Result<Map> {
        match &self.way {
            Way::Cluster(seeds) => {
                let known = self.map.load_full();
                cluster::find(&self.fleet, seeds, &known, &self.lifeline(), deadline)
            }
            Way::Sentinel(watchmen) => {
                let mut lifelines = || self.lifeline();
                sentinel::find(&self.fleet, watchmen, &mut lifelines, heard, deadline)
            }
        }
    }

    /// A new one for each inquiry, which close() can cut.
    fn lifeline(&self) -> Arc<Lifeline> {
        let lifeline = Arc::<Lifeline>::default();
        let mut book = self.book();
        if book.over {
            lifeline.cut();
        }
        book.lifeline = Some(lifeline.clone());
        lifeline
    }

    /// Puts the new map in the place of the old one. What served before and does so no more loses its connections.
    fn publish(&self, map: Map) -> Result<()> {
        let new = Arc::new(map);
        let old = {
            let _changing = lock(&self.changing);
            self.map.swap(new.clone())
        };
        // Before connections are purged: whoever is to leave a node does not renew anything there.
        self.tell();
        // At first everything is news, and so nothing is.
        let fresh = |node: &&Arc<Node>| !old.is_empty() && !old.has(node);
        for node in new.nodes().filter(fresh) {
            log::info!(target: "redkeep", "node {} has come, says {}", node.name, new.told_by);
        }
        for node in old.nodes() {
            if !new.has(node) {
                log::info!(target: "redkeep", "node {} has gone, says {}", node.name, new.told_by);
                self.fleet.dismiss(node);
            } else if old.is_primary(node) && !new.is_primary(node) {
                log::info!(target: "redkeep", "node {} is a replica now, says {}", node.name, new.told_by);
                node.purge();
            }
        }
        for node in old.losers(&new) {
            node.lost_keys();
        }
        Ok(())
    }

    fn a_primary_is_down(&self) -> bool {
        let map = self.map.load();
        let mut primaries = map.shards.iter().map(|shard| &shard.primary);
        primaries.any(|node| node.condition.state() == State::Down)
    }

    fn late(&self) -> &'static str {
        match self.way {
            Way::Cluster(_) => "no node of the cluster told its slot map in time",
            Way::Sentinel(_) => "no sentinel told where the primary is in time",
        }
    }
}
