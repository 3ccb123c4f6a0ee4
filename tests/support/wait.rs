//! Waiting for something to become true, in place of sleeping and hoping.

use std::time::{Duration, Instant};

/// Long enough for anything that will happen at all, on a loaded machine too.
pub const PATIENCE: Duration = Duration::from_secs(10);

const STEP: Duration = Duration::from_millis(2);

/// Asks each 2 ms until there is something, and hands it over; fails the test when there is nothing in time.
#[track_caller]
pub fn wait_for<T>(within: Duration, ask: impl FnMut() -> Option<T>) -> T {
    match ask_until(within, ask) {
        Some(found) => found,
        None => panic!("did not come within {within:?}"),
    }
}

/// Waits until `condition` holds; fails the test when it does not in time.
#[track_caller]
pub fn wait_until(within: Duration, condition: impl FnMut() -> bool) {
    assert!(
        came_true(within, condition),
        "did not become true within {within:?}"
    );
}

/// Whether `condition` comes to hold within that time.
#[must_use]
pub fn came_true(within: Duration, mut condition: impl FnMut() -> bool) -> bool {
    ask_until(within, || condition().then_some(())).is_some()
}

fn ask_until<T>(within: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + within;
    loop {
        // The time is read first, so that the last question is asked after the deadline and not before it.
        let over = Instant::now() >= deadline;
        if let Some(found) = ask() {
            return Some(found);
        }
        if over {
            return None;
        }
        std::thread::sleep(STEP);
    }
}
