//! Deadlines. Durations come in from the caller once; what is handed down is the moment at which it all ends.

mod limit;
pub(crate) mod times;

use std::ops::{Add, AddAssign};
use std::time::Duration;

use crate::sys;

pub(crate) use limit::{Limit, say, tell};
pub use times::CommandTimes;

/// A moment of this machine's monotonic clock, in nanoseconds. std's Instant keeps seconds and nanoseconds apart, which
/// makes each sum and each difference of two as dear as reading the clock itself; a GET has half a dozen of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

impl Moment {
    pub(crate) fn now() -> Moment {
        Moment(sys::monotonic())
    }

    /// The time since an earlier moment; zero if it is a later one.
    pub(crate) fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// To be kept where threads meet.
    pub(crate) fn nanos(self) -> u64 {
        self.0
    }

    pub(crate) fn elapsed(self) -> Duration {
        Moment::now().since(self)
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, time: Duration) -> Moment {
        // 584 years after the start of the machine, the last moment is "never".
        let nanos = time.as_secs().saturating_mul(1_000_000_000);
        let nanos = nanos.saturating_add(u64::from(time.subsec_nanos()));
        Moment(self.0.saturating_add(nanos))
    }
}

impl AddAssign<Duration> for Moment {
    fn add_assign(&mut self, time: Duration) {
        *self = *self + time;
    }
}

/// The moment by which a call must have returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Deadline(Moment);

/// Far enough to mean "never", near enough that adding to it does not overflow.
const FOREVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

impl Deadline {
    pub(crate) fn after(time: Duration) -> Deadline {
        Deadline::at(Moment::now(), time)
    }

    /// As `after`, counted from a moment already known.
    pub(crate) fn at(start: Moment, time: Duration) -> Deadline {
        Deadline(start + time.min(FOREVER))
    }

    pub(crate) fn never() -> Deadline {
        Deadline::after(FOREVER)
    }

    /// What is left, or none when it has passed.
    pub(crate) fn remaining(self) -> Option<Duration> {
        let left = self.0.since(Moment::now());
        (!left.is_zero()).then_some(left)
    }

    /// Whether more than this is left.
    pub(crate) fn leaves(self, time: Duration) -> bool {
        self.0 > Moment::now() + time
    }

    pub(crate) fn passed(self) -> bool {
        self.0 <= Moment::now()
    }

    /// The earlier of this one and `time` from now.
    pub(crate) fn within(self, time: Duration) -> Deadline {
        self.min(Deadline::after(time))
    }
}

/// A random number above 0, up to 1.
pub(crate) fn share() -> f64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    // The standard library seeds each of these anew; all that is needed here is that they differ.
    let random = RandomState::new().build_hasher().finish() >> 11;
    (random + 1) as f64 / (1u64 << 53) as f64
}

/// A time picked at random between two, so that many clients do not act in step.
pub(crate) fn between(least: Duration, most: Duration) -> Duration {
    least + most.saturating_sub(least).mul_f64(share())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_std_s_and_do_not_run_over() {
        let (begun, theirs) = (Moment::now(), std::time::Instant::now());
        std::thread::sleep(Duration::from_millis(2));
        let (ours, theirs) = (begun.elapsed(), theirs.elapsed());
        assert!(ours >= Duration::from_millis(2) && ours <= theirs + Duration::from_secs(1));
        let later = begun + Duration::from_nanos(1_500_000_001);
        assert_eq!(later.since(begun), Duration::from_nanos(1_500_000_001));
        assert_eq!(begun.since(later), Duration::ZERO);
        assert!(begun + Duration::MAX > later);
    }

    #[test]
    fn a_deadline_leaves_what_it_leaves() {
        let soon = Deadline::after(Duration::from_secs(60));
        assert!(soon.leaves(Duration::from_secs(30)) && !soon.leaves(Duration::from_secs(61)));
        assert!(!soon.passed() && soon.remaining().is_some());
        let now = Deadline::after(Duration::ZERO);
        assert!(!now.leaves(Duration::ZERO) && now.passed() && now.remaining().is_none());
        assert!(Deadline::after(Duration::MAX).leaves(Duration::from_secs(3600)));
        assert!(soon.within(Duration::ZERO).passed() && !soon.within(Duration::MAX).passed());
    }
}
