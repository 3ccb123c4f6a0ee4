//! How much one place may say in the log.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::clock::Moment;

/// So many lines at most in each stretch of so many seconds.
const LINES: u64 = 10;
const SECONDS: u64 = 10;

/// Of one place that may have much to say. Atomic, so that a fork finds it whole.
pub(crate) struct Limit {
    /// Which stretch of time it is, and how much was said in it: `stretch: 32 | lines: 32`.
    word: AtomicU64,
    left_out: AtomicU64,
}

impl Limit {
    pub(crate) const fn new() -> Limit {
        Limit {
            word: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
        }
    }

    /// Whether one more line may be said: then what is to be added to it, about those that were left out before.
    pub(crate) fn may(&self) -> Option<String> {
        self.may_at(Moment::now().nanos() / 1_000_000_000 / SECONDS)
    }

    fn may_at(&self, stretch: u64) -> Option<String> {
        let next = |word: u64| match word >> 32 {
            same if same == stretch && word as u32 as u64 >= LINES => None,
            same if same == stretch => Some(word + 1),
            _ => Some(stretch << 32 | 1),
        };
        if self.word.fetch_update(Relaxed, Relaxed, next).is_err() {
            self.left_out.fetch_add(1, Relaxed);
            return None;
        }
        Some(match self.left_out.swap(0, Relaxed) {
            0 => String::new(),
            n => format!(" (and {n} more that were not logged)"),
        })
    }
}

/// Says it in the log, if this place may. One function, so that a place takes few instructions.
#[cold]
pub(crate) fn say(limit: &Limit, level: log::Level, what: fmt::Arguments<'_>) {
    if let Some(others) = limit.may() {
        log::log!(target: "redkeep", level, "{what}{others}");
    }
}

/// Says something in the log, from a place that may have it to say again and again: `tell!(Warn, "{what} failed")`. A limit
/// of one's own, where each of many is to be heard, stands first: `tell!(limit: limit, Warn, ...)`.
macro_rules! tell {
    (limit: $limit:expr, $level:ident, $($text:tt)+) => {
        $crate::clock::say(&$limit, log::Level::$level, format_args!($($text)+))
    };
    ($level:ident, $($text:tt)+) => {{
        static LIMIT: $crate::clock::Limit = $crate::clock::Limit::new();
        $crate::clock::tell!(limit: LIMIT, $level, $($text)+);
    }};
}
pub(crate) use tell;

impl Default for Limit {
    fn default() -> Limit {
        Limit::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_told_with_the_next_line() {
        let limit = Limit::new();
        let said = (0..15).filter(|_| limit.may_at(1).is_some()).count();
        assert_eq!(said, 10);
        let next = limit.may_at(2).unwrap();
        assert_eq!(next, " (and 5 more that were not logged)");
        assert_eq!(limit.may_at(2).unwrap(), "");
    }
}
