//! Who holds connections of a pool as leases, and since when.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use crate::clock::Moment;
use crate::fork::lock;

#[derive(Default)]
struct Book {
    next: u64,
    /// By the numbers that they were given, and so the oldest first.
    taken: BTreeMap<u64, Taken>,
}

struct Taken {
    since: Moment,
    reported: bool,
}

#[derive(Default)]
pub(crate) struct Leases {
    book: Mutex<Book>,
}

impl Leases {
    /// The number under which it ends.
    pub(crate) fn begin(&self) -> u64 {
        let mut book = lock(&self.book);
        let number = book.next;
        book.next += 1;
        let since = Moment::now();
        let reported = false;
        book.taken.insert(number, Taken { since, reported });
        number
    }

    pub(crate) fn end(&self, number: u64) {
        lock(&self.book).taken.remove(&number);
    }

    /// For how long the oldest one has been held.
    pub(crate) fn oldest(&self) -> Option<Duration> {
        let book = lock(&self.book);
        let (_, first) = book.taken.first_key_value()?;
        Some(first.since.elapsed())
    }

    /// The ages of those held for at least `limit`. Each is told once.
    pub(crate) fn overdue(&self, limit: Duration) -> Vec<Duration> {
        let mut book = lock(&self.book);
        let late = book.taken.values_mut().filter(|taken| !taken.reported);
        let mut ages = Vec::new();
        for taken in late {
            let age = taken.since.elapsed();
            if age < limit {
                break;
            }
            taken.reported = true;
            ages.push(age);
        }
        ages
    }
}
