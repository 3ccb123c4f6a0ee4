//! Giving way: letting other threads run for a moment instead of going to sleep.
//!
//! Whoever waits for a reply that another thread is about to bring saves a sleep and a wake-up that way, which cost more
//! than everything else about a small command. But a program that computes on the same processor keeps it for its whole
//! slice, which is milliseconds; who sleeps and is woken gets it back at once. So it is tried only as long as it is
//! cheap, and where it was not, now and then by one thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::clock::Moment;

/// Longer than hundreds of callers take to run in turn, shorter than most slices.
const DEAR: Duration = Duration::from_millis(2);
/// It is tried again after so many times as long as it took.
const REST: u64 = 64;
/// While one thread tries it, the others do not, for this long at most.
const TRIAL: Duration = Duration::from_millis(20);

pub(crate) struct Courtesy {
    start: Moment,
    /// In nanoseconds since the start: when it is tried again. 0: anybody may at any time.
    again: AtomicU64,
}

impl Courtesy {
    pub(crate) fn new() -> Courtesy {
        Courtesy {
            start: Moment::now(),
            again: AtomicU64::new(0),
        }
    }

    /// Gives way once. False where that is too dear at present, or just was.
    pub(crate) fn give_way(&self) -> bool {
        let before = self.start.elapsed();
        if !self.may(before) {
            return false;
        }
        thread::yield_now();
        let after = self.start.elapsed();
        self.took(after - before, after)
    }

    fn may(&self, now: Duration) -> bool {
        match self.again.load(Ordering::Relaxed) {
            0 => true,
            again if nanos(now) < again => false,
            again => {
                let (order, trial) = (Ordering::Relaxed, nanos(now + TRIAL));
                let mine = self.again.compare_exchange(again, trial, order, order);
                mine.is_ok()
            }
        }
    }

    /// Whether that was cheap.
    fn took(&self, time: Duration, now: Duration) -> bool {
        let cheap = time <= DEAR;
        let again = match cheap {
            true => 0,
            false => nanos(now).saturating_add(nanos(time).saturating_mul(REST)),
        };
        // Mostly it is 0 and stays so, and is not written by everybody all the time.
        if self.again.load(Ordering::Relaxed) != again {
            self.again.store(again, Ordering::Relaxed);
        }
        cheap
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(time: u64) -> Duration {
        Duration::from_millis(time)
    }

    #[test]
    fn it_is_tried_by_one_now_and_then_where_it_is_dear_and_by_all_where_it_is_cheap() {
        let courtesy = Courtesy::new();
        assert!(courtesy.may(ms(1)) && courtesy.may(ms(1)));
        assert!(!courtesy.took(ms(3), ms(4)));
        assert!(!courtesy.may(ms(5)) && !courtesy.may(ms(195)));
        // One tries, and it is as dear as before.
        assert!(courtesy.may(ms(197)));
        assert!(!courtesy.may(ms(197)) && !courtesy.may(ms(216)));
        courtesy.took(ms(3), ms(198));
        assert!(!courtesy.may(ms(389)));
        // Once more, and it is cheap.
        assert!(courtesy.may(ms(391)));
        assert!(courtesy.took(Duration::from_micros(2), ms(391)));
        assert!(courtesy.may(ms(392)) && courtesy.may(ms(392)));
        // Who tried never came back.
        courtesy.took(ms(3), ms(400));
        assert!(courtesy.may(ms(593)) && !courtesy.may(ms(610)));
        assert!(courtesy.may(ms(614)));
    }
}
