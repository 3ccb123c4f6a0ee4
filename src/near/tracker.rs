//! Which nodes tell of changes. One that does not is read from as if there were no near cache.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::clock::Deadline;
use crate::fork::lock;
use crate::near::shelf::{Mark, Shelf};
use crate::node::listener::{Prefixes, Watch, Watcher};
use crate::node::{Node, State};

/// One node's part of the shelf.
struct Tracker {
    shelf: Arc<Shelf>,
    cell: usize,
    /// 0 while nothing is told.
    epoch: AtomicU64,
}

impl Tracker {
    fn mark(&self) -> Option<Mark> {
        match self.epoch.load(Ordering::Acquire) {
            0 => None,
            epoch => Some(Mark {
                cell: self.cell,
                epoch,
            }),
        }
    }
}

impl Watcher for Tracker {
    fn begun(&self) {
        self.lost();
        self.epoch
            .store(self.shelf.begin(self.cell), Ordering::Release);
    }

    fn lost(&self) {
        if let Some(mark) = self.mark() {
            self.epoch.store(0, Ordering::Release);
            self.shelf.end(mark);
        }
    }

    fn changed(&self, key: &[u8]) {
        self.shelf.changed(key);
    }

    fn all_changed(&self) {
        if self.mark().is_some() {
            self.begun();
        }
    }
}

struct Tracked {
    node: Arc<Node>,
    tracker: Arc<Tracker>,
    _watch: Watch,
}

pub(super) struct Trackers {
    shelf: Arc<Shelf>,
    prefixes: Prefixes,
    all: Mutex<Vec<Tracked>>,
}

impl Trackers {
    pub(super) fn new(shelf: &Arc<Shelf>, prefixes: Prefixes) -> Trackers {
        Trackers {
            shelf: shelf.clone(),
            prefixes,
            all: Mutex::default(),
        }
    }

    /// Under what the node's answers may be kept. The first to ask waits for the server to agree, for a part of its time.
    pub(super) fn mark(&self, node: &Arc<Node>, deadline: Deadline) -> Option<Mark> {
        let (tracker, answered) = {
            let mut all = lock(&self.all);
            if let Some(known) = all.iter().find(|one| Arc::ptr_eq(&one.node, node)) {
                return known.tracker.mark();
            }
            // Nodes that were replaced.
            all.retain(|one| one.node.condition.state() != State::Closed);
            let tracker = Arc::new(Tracker {
                shelf: self.shelf.clone(),
                cell: self.shelf.new_cell(),
                epoch: AtomicU64::new(0),
            });
            let listener = node.listener().ok()?;
            let (watch, answered) = listener
                .watch(self.prefixes.clone(), tracker.clone())
                .ok()?;
            all.push(Tracked {
                node: node.clone(),
                tracker: tracker.clone(),
                _watch: watch,
            });
            (tracker, answered)
        };
        let time = deadline.remaining().unwrap_or_default() / 2;
        // What was answered, the tracker knows as well.
        let _ = answered.recv_timeout(time);
        tracker.mark()
    }

    /// Whether changes of this key would be told.
    pub(super) fn cover(&self, key: &[u8]) -> bool {
        let mut prefixes = self.prefixes.iter();
        self.prefixes.is_empty() || prefixes.any(|prefix| key.starts_with(prefix))
    }

    /// How many nodes tell of changes.
    pub(super) fn count(&self) -> u64 {
        let all = lock(&self.all);
        all.iter()
            .filter(|one| one.tracker.mark().is_some())
            .count() as u64
    }
}
