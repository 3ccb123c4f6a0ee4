//! A subscription's place at one node.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use crate::error::Error;
use crate::fork::lock;
use crate::node::Node;
use crate::node::listener::{Message, Sink, Subscription};
use crate::pubsub::Mouth;
use crate::pubsub::roll::Roll;

/// One name that was subscribed to, and where.
pub(super) struct Held {
    pub(super) mouth: Arc<dyn Mouth>,
    pub(super) place: Arc<Place>,
    /// Above the node, so that it ends first.
    pub(super) _subscription: Subscription,
    pub(super) node: Arc<Node>,
}

/// What the node calls. What comes from a place that was left does not count any more.
pub(super) struct Place {
    mouth: Arc<dyn Mouth>,
    left: AtomicBool,
    /// It took over from another place, and the gap in between has still to be told.
    gap: Mutex<bool>,
    node: Weak<Node>,
    roll: Weak<Roll>,
}

impl Place {
    pub(super) fn new(
        mouth: Arc<dyn Mouth>,
        node: &Arc<Node>,
        roll: &Arc<Roll>,
        takes_over: bool,
    ) -> Arc<Place> {
        Arc::new(Place {
            mouth,
            left: AtomicBool::new(false),
            gap: Mutex::new(takes_over),
            node: Arc::downgrade(node),
            roll: Arc::downgrade(roll),
        })
    }

    pub(super) fn leave(&self) {
        self.left.store(true, Ordering::Release);
    }

    pub(super) fn is_left(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }

    /// Tells the gap, if it is still to be told: before the first message, whoever comes first.
    pub(super) fn tell_gap(&self) {
        let mut gap = lock(&self.gap);
        if std::mem::take(&mut *gap) {
            self.mouth.gap();
        }
    }
}

impl Sink for Place {
    fn message(&self, message: &Message<'_>) {
        if !self.is_left() {
            self.tell_gap();
            self.mouth.message(message);
        }
    }

    fn gap(&self) {
        if !self.is_left() {
            *lock(&self.gap) = false;
            self.mouth.gap();
        }
    }

    fn refused(&self, error: &Error) {
        if self.is_left() {
            return;
        }
        if let (Some(node), Some(roll)) = (self.node.upgrade(), self.roll.upgrade()) {
            roll.refused(&node, error);
        }
    }

    fn closed(&self) {
        if !self.is_left() {
            self.mouth.closed();
        }
    }
}
