//! The list of a manager's nodes.

use std::sync::{Arc, OnceLock};

use crate::node::Node;

/// The nodes in the order in which they came. It only grows, and is read without a lock: a forked child reads
/// here which nodes its parent had, whatever the parent's other threads were doing at that moment. A node whose
/// pools were closed keeps its place, for when it is added again.
#[derive(Default)]
pub(crate) struct Roll {
    first: OnceLock<Box<Line>>,
}

struct Line {
    node: Arc<Node>,
    next: OnceLock<Box<Line>>,
}

impl Roll {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Node>> {
        let first = self.first.get();
        std::iter::successors(first, |line| line.next.get()).map(|line| &line.node)
    }

    /// One caller at a time.
    pub(crate) fn push(&self, node: Arc<Node>) {
        let mut line = Box::new(Line {
            node,
            next: OnceLock::new(),
        });
        let mut end = &self.first;
        while let Err(back) = end.set(line) {
            line = back;
            end = &end.get().expect("set() has just refused").next;
        }
    }
}
