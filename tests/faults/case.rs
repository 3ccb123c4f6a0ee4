//! The rules that hold in every case.

use std::panic::PanicHookInfo;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use redkeep::Result;

use crate::support::{
    Dice, PATIENCE, Pauses, alone, came_true, descriptors, figure, seed, threads,
};

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

/// A call that ended later than any margin.
struct Late {
    what: String,
    by: Duration,
    began: Instant,
    ended: Instant,
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
    /// Those that need an excuse.
    late: Mutex<Vec<Late>>,
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
            late: Mutex::default(),
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
        let began = Instant::now();
        let result = call();
        let ended = Instant::now();
        let by = (ended - began).saturating_sub(deadline);
        self.calls.fetch_add(1, Relaxed);
        if !by.is_zero() {
            let end = || result.as_ref().err().map(|error| format!("{error:?}"));
            let mut latest = self.latest.lock().unwrap();
            if by > latest.0 {
                *latest = (by, format!("{what}: {:?}", end()));
            }
            drop(latest);
            if by > QUIET {
                let what = format!("{what}: {:?}", end());
                let mut late = self.late.lock().unwrap();
                late.push(Late {
                    what,
                    by,
                    began,
                    ended,
                });
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

    /// How many calls there were so far.
    pub fn calls(&self) -> u64 {
        self.calls.load(Relaxed)
    }

    /// What must have held all along. `margin` is what calls may take beyond their deadlines; a call may take longer
    /// where the machine itself stood still while it was under way.
    #[track_caller]
    pub fn end(self, margin: Duration) {
        self.so_far();
        // What stood still a moment ago has been told by now.
        std::thread::sleep(Duration::from_millis(50));
        let late = self.late.into_inner().unwrap();
        let late: Vec<&Late> = late.iter().filter(|call| call.by > margin).collect();
        for call in &late {
            let allowed = self.pauses.then(call.began, call.ended, margin);
            assert!(
                call.by <= allowed,
                "seed {}: {:?} too late, not {allowed:?}: {}",
                self.seed,
                call.by,
                call.what
            );
        }
        let (latest, what) = self.latest.into_inner().unwrap();
        figure(format!(
            "{}: {} calls, the latest {latest:?} after its deadline ({what}); {} later than {margin:?}, while the \
             machine stood still for up to {:?}",
            self.name,
            self.calls.into_inner(),
            late.len(),
            self.pauses.longest()
        ));
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
