//! Deadlines. Durations come in from the caller once; what is handed down is the moment at which it all ends.

use std::time::{Duration, Instant};

/// The moment by which a call must have returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Deadline(Instant);

/// Far enough to mean "never", near enough that adding to it does not overflow.
const FOREVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

impl Deadline {
    pub(crate) fn after(time: Duration) -> Deadline {
        Deadline::at(Instant::now(), time)
    }

    /// As `after`, counted from a moment already known.
    pub(crate) fn at(start: Instant, time: Duration) -> Deadline {
        Deadline(start + time.min(FOREVER))
    }

    pub(crate) fn never() -> Deadline {
        Deadline::after(FOREVER)
    }

    /// What is left, or none when it has passed.
    pub(crate) fn remaining(self) -> Option<Duration> {
        let left = self.0.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    pub(crate) fn passed(self) -> bool {
        self.remaining().is_none()
    }

    /// The earlier of this one and `time` from now.
    pub(crate) fn within(self, time: Duration) -> Deadline {
        self.min(Deadline::after(time))
    }
}

/// A random number above 0, up to 1.
pub(crate) fn share() -> f64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let random = RandomState::new().build_hasher().finish() >> 11;
    (random + 1) as f64 / (1u64 << 53) as f64
}

/// A time picked at random between two, so that many clients do not act in step.
pub(crate) fn between(least: Duration, most: Duration) -> Duration {
    use std::hash::{BuildHasher, Hasher, RandomState};
    // The standard library seeds each of these anew; all that is needed here is that they differ.
    let random = RandomState::new().build_hasher().finish();
    let share = (random % 1024) as u32;
    least + most.saturating_sub(least) * share / 1024
}
