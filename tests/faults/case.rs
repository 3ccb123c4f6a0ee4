//! The rules that hold in every case.

use std::panic::PanicHookInfo;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use redkeep::Result;

use crate::support::{Dice, PATIENCE, Pauses, alone, came_true, descriptors, seed, threads};

/// So much later than its deadline a call may end where little happens beside it.
pub const QUIET: Duration = Duration::from_millis(100);
/// And where many calls are under way.
pub const BUSY: Duration = Duration::from_millis(250);

/// Panics but for those `on purpose`.
static PANICS: AtomicU64 = AtomicU64::new(0);

/// Whether everything is to be run, and for long.
pub fn whole() -> bool {
    std::env::var_os("REDKEEP_FAULTS").is_some_and(|text| text == "all")
}

/// One case, in a process of its own.
pub struct Case {
    name: &'static str,
    seed: u64,
    started: Instant,
    pauses: Pauses,
    calls: AtomicU64,
    /// The longest time by which a call ended after its deadline, and which one that was.
    latest: Mutex<(Duration, String)>,
    mismatches: Mutex<Vec<String>>,
}

impl Case {
    /// None in the process that only starts it. `name` is the test's own, as `cargo test` prints it.
    #[track_caller]
    pub fn alone(name: &'static str) -> Option<Case> {
        if !alone(name) {
            return None;
        }
        let seed = seed("REDKEEP_TEST_SEED");
        println!("{name}: REDKEEP_TEST_SEED={seed}");
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !on_purpose(info) {
                PANICS.fetch_add(1, Relaxed);
                print(info);
            }
        }));
        Some(Case {
            name,
            seed,
            started: Instant::now(),
            pauses: Pauses::measure(),
            calls: AtomicU64::new(0),
            latest: Mutex::default(),
            mismatches: Mutex::default(),
        })
    }

    /// Others for each `n`, and for each case.
    pub fn dice(&self, n: u64) -> Dice {
        let name = self.name.bytes().fold(n, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(u64::from(byte))
        });
        let mut dice = Dice(self.seed.wrapping_add(name));
        dice.roll();
        dice
    }

    /// A call that is to end by that time.
    pub fn call<T>(
        &self,
        what: &str,
        deadline: Duration,
        call: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let started = Instant::now();
        let result = call();
        let late = started.elapsed().saturating_sub(deadline);
        self.calls.fetch_add(1, Relaxed);
        if !late.is_zero() {
            let mut latest = self.latest.lock().unwrap();
            if late > latest.0 {
                let end = result.as_ref().err().map(|error| format!("{error:?}"));
                *latest = (late, format!("{what}: {end:?}"));
            }
        }
        result
    }

    /// The reply carries the tag of its request.
    pub fn same(&self, what: &str, got: &str, tag: &str) {
        if got != tag {
            self.mismatch(format!("{what}: {got:?}, not {tag:?}"));
        }
    }

    pub fn mismatch(&self, text: String) {
        self.mismatches.lock().unwrap().push(text);
    }

    /// What must have held on this combination, before the next one begins.
    #[track_caller]
    pub fn so_far(&self) {
        let mismatches = self.mismatches.lock().unwrap();
        println!(
            "{} calls in {:.1} s, {} mismatches",
            self.calls.load(Relaxed),
            self.started.elapsed().as_secs_f64(),
            mismatches.len()
        );
        let some = &mismatches[..mismatches.len().min(10)];
        assert!(some.is_empty(), "seed {}: {some:#?}", self.seed);
    }

    /// What must have held all along. `margin` is what calls may take beyond their deadlines, if the machine lets them.
    #[track_caller]
    pub fn end(self, margin: Duration) {
        self.so_far();
        let (late, what) = self.latest.into_inner().unwrap();
        let allowed = self.pauses.beside(margin);
        println!(
            "{}: the latest {late:?} after its deadline (allowed {allowed:?})",
            self.name
        );
        assert!(
            late <= allowed,
            "seed {}: {late:?} too late: {what}",
            self.seed
        );
        assert_eq!(PANICS.load(Relaxed), 0, "seed {}: panics", self.seed);
    }
}

fn on_purpose(info: &PanicHookInfo<'_>) -> bool {
    let text = info.payload().downcast_ref::<&str>();
    text.is_some_and(|text| text.contains("on purpose"))
}

/// Ends the threads of a scope that look at it, also when a check fails beside them.
pub struct Ending<'a>(pub &'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// What the process had before: descriptors, and threads of redkeep's.
pub struct Baseline(usize, Vec<String>);

impl Baseline {
    pub fn now() -> Baseline {
        Baseline(descriptors(), threads())
    }

    /// Fails the test if something is left over.
    #[track_caller]
    pub fn is_back(&self) {
        let back = || descriptors() <= self.0 && threads() == self.1;
        assert!(
            came_true(PATIENCE, back),
            "left over: {} descriptors, not {}; threads {:?}, not {:?}",
            descriptors(),
            self.0,
            threads(),
            self.1
        );
    }
}
