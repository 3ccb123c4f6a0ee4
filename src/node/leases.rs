//! Who holds connections of a pool as leases, and since when.

use std::sync::Mutex;
use std::time::Duration;

use crate::clock::Moment;
use crate::fork::lock;

#[derive(Default)]
struct Book {
    next: u64,
    /// By the numbers that they were given, and so the oldest first.
    taken: Vec<Taken>,
}

struct Taken {
    number: u64,
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
        book.taken.push(Taken {
            number,
            since: Moment::now(),
            reported: false,
        });
        number
    }

    pub(crate) fn end(&self, number: u64) {
        let taken = &mut lock(&self.book).taken;
        if let Ok(at) = taken.binary_search_by_key(&number, |one| one.number) {
            taken.remove(at);
        }
    }

    /// For how long the oldest one has been held.
    pub(crate) fn oldest(&self) -> Option<Duration> {
        let book = lock(&self.book);
        Some(book.taken.first()?.since.elapsed())
    }

    /// The ages of those held for at least `limit`. Each is told once.
    pub(crate) fn overdue(&self, limit: Duration) -> Vec<Duration> {
        let mut book = lock(&self.book);
        let late = book.taken.iter_mut().filter(|taken| !taken.reported);
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
