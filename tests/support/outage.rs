//! What callers notice of an outage, and how long it lasts.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::pauses::Pauses;
use super::wait::{PATIENCE, wait_until};

/// Ends the others, also when a check has failed: a scope waits for all its threads.
pub struct End<'a>(pub &'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Calls that took longer than they may on a machine that does not stand still.
pub struct Punctual {
    most: Duration,
    pauses: Pauses,
    longer: Mutex<Vec<(Instant, Instant)>>,
}

impl Punctual {
    /// Calls with that deadline.
    pub fn by(deadline: Duration) -> Punctual {
        Punctual {
            most: deadline + Duration::from_millis(250),
            pauses: Pauses::measure(),
            longer: Mutex::default(),
        }
    }

    pub fn timed<T>(&self, call: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let result = call();
        let ended = Instant::now();
        if ended - started > self.most {
            self.longer.lock().unwrap().push((started, ended));
        }
        result
    }

    /// Fails if a call was late, and the machine did not stand still meanwhile.
    #[track_caller]
    pub fn check(&self) {
        // What stood still a moment ago has been told by now.
        thread::sleep(Duration::from_millis(50));
        for (started, ended) in &*self.longer.lock().unwrap() {
            let (took, allowed) = (
                *ended - *started,
                self.pauses.then(*started, *ended, self.most),
            );
            assert!(took <= allowed, "{took:?}, not {allowed:?}");
        }
    }
}

/// From now until `ours` holds, and until the servers have agreed on who replaces one that was killed. They may lose an
/// election on a busy machine, and hold the next one many seconds later: that is not ours to mend. So it may take `most`,
/// and where they took as long themselves, a second more than they did.
#[track_caller]
pub fn back(
    most: Duration,
    agreed: impl FnMut() -> bool + Send,
    ours: impl FnMut() -> bool,
) -> Duration {
    let (pauses, killed) = (Pauses::measure(), Instant::now());
    let (agreed, back) = thread::scope(|scope| {
        let servers = scope.spawn(|| {
            wait_until(PATIENCE * 6, agreed);
            killed.elapsed()
        });
        wait_until(PATIENCE * 6, ours);
        let back = killed.elapsed();
        (servers.join().expect("they agree"), back)
    });
    println!("the servers agreed after {agreed:?}, callers were back after {back:?}");
    let allowed = pauses.beside(most.max(agreed + Duration::from_secs(1)));
    assert!(
        back < allowed,
        "{back:?}, not {allowed:?}; the servers took {agreed:?}"
    );
    back
}
