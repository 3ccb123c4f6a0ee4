//! What was registered, in order.

use std::sync::OnceLock;

/// A list that only grows, and is read without a lock: so a forked child can read it whatever the parent's threads
/// were doing.
pub(super) struct Shelf<T> {
    first: OnceLock<Box<Place<T>>>,
}

struct Place<T> {
    item: T,
    next: OnceLock<Box<Place<T>>>,
}

impl<T> Default for Shelf<T> {
    fn default() -> Shelf<T> {
        Shelf {
            first: OnceLock::new(),
        }
    }
}

impl<T> Shelf<T> {
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        let first = self.first.get();
        std::iter::successors(first, |place| place.next.get()).map(|place| &place.item)
    }

    pub(super) fn push(&self, item: T) {
        let next = OnceLock::new();
        let mut place = Box::new(Place { item, next });
        let mut end = &self.first;
        while let Err(back) = end.set(place) {
            place = back;
            end = &end.get().expect("set() has just refused").next;
        }
    }
}
