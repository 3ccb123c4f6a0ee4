//! The list of a manager's nodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;

use crate::config::Endpoint;
use crate::node::Node;

/// The nodes in the order in which they came. The list is replaced whole and read without a lock: a forked child
/// reads here which nodes its parent had, whatever the parent's other threads were doing at that moment. A node whose
/// pools were closed keeps its place, for when it is added again.
#[derive(Default)]
pub(crate) struct Roll {
    places: ArcSwap<Vec<Arc<Place>>>,
}

/// One node's place.
pub(crate) struct Place {
    pub(crate) node: Arc<Node>,
    /// The program named it, so that it stays when the servers name it no more.
    wanted: AtomicBool,
}

impl Place {
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    pub(crate) fn want(&self) {
        self.wanted.store(true, Ordering::Relaxed);
    }
}

impl Roll {
    pub(crate) fn places(&self) -> Arc<Vec<Arc<Place>>> {
        self.places.load_full()
    }

    pub(crate) fn nodes(&self) -> Vec<Arc<Node>> {
        let places = self.places.load();
        places.iter().map(|place| place.node.clone()).collect()
    }

    pub(crate) fn find(&self, endpoint: &Endpoint) -> Option<Arc<Place>> {
        let places = self.places.load();
        let found = places
            .iter()
            .find(|place| place.node.dialer.endpoint == *endpoint);
        found.cloned()
    }

    /// One caller at a time.
    pub(crate) fn push(&self, node: Arc<Node>, wanted: bool) {
        let mut places = Vec::clone(&self.places.load());
        places.push(Arc::new(Place {
            node,
            wanted: AtomicBool::new(wanted),
        }));
        self.places.store(Arc::new(places));
    }

    /// One caller at a time.
    pub(crate) fn remove(&self, node: &Arc<Node>) {
        let mut places = Vec::clone(&self.places.load());
        places.retain(|place| !Arc::ptr_eq(&place.node, node));
        self.places.store(Arc::new(places));
    }
}
