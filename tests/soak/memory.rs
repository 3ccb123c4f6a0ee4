//! Whether memory grows with the calls or with the time: the bytes that the program itself holds, counted exactly, in
//! moments of rest, when no call is under way and no connection is open that need not be. What is held then differs by
//! little unless something leaks; so a line is laid through these moments, those of the warm-up left out, and its error
//! tells what it is worth: in a long run it sees fine leaks, in a short one coarse ones, and in neither what is none.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::support::{descriptors, threads};

/// Those of the whole process: the library's, the test's and its proxy's.
static HELD: AtomicI64 = AtomicI64::new(0);

struct Counted;

#[global_allocator]
static ALLOCATOR: Counted = Counted;

// SAFETY: everything is the system allocator's doing, and only counted here.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size() as i64, Relaxed);
        // SAFETY: the caller's layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size() as i64, Relaxed);
        // SAFETY: the caller's layout.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size() as i64, Relaxed);
        // SAFETY: what this allocator gave, with its layout.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        HELD.fetch_add(size as i64 - layout.size() as i64, Relaxed);
        // SAFETY: what this allocator gave, with its layout.
        unsafe { System.realloc(memory, layout, size) }
    }
}

/// What there was in a moment of rest.
#[derive(Clone, Copy)]
struct Moment {
    seconds: f64,
    calls: f64,
    bytes: f64,
    resident: f64,
    descriptors: usize,
    threads: usize,
}

/// All the moments of a run. There is room for them from the beginning, so that looking on takes no memory either.
pub struct Watch {
    started: Instant,
    moments: Vec<Moment>,
    /// So many moments are left out after each that is kept.
    skips: usize,
    turn: usize,
}

const MOST: usize = 2_000;
/// Of the run, which warms up.
const WARM_UP: f64 = 0.25;
const FEWEST: usize = 6;

/// A leak that is larger fails the run, when it is larger by more than three times the error: in bytes for a thousand
/// calls, and in bytes for an hour.
pub const FOR_CALLS: f64 = 50.0;
pub const FOR_AN_HOUR: f64 = (1 << 20) as f64;

impl Watch {
    pub fn begin() -> Watch {
        Watch {
            started: Instant::now(),
            moments: Vec::with_capacity(MOST),
            skips: 0,
            turn: 0,
        }
    }

    /// Now everything rests, but for what goes on in the background: the least of a few looks.
    pub fn look(&mut self, calls: u64) {
        self.turn += 1;
        if !self.turn.is_multiple_of(self.skips + 1) {
            return;
        }
        if self.moments.len() == MOST {
            let mut n = 0;
            self.moments.retain(|_| {
                n += 1;
                n % 2 == 0
            });
            self.skips = self.skips * 2 + 1;
        }
        let mut bytes = f64::MAX;
        for _ in 0..30 {
            bytes = bytes.min(HELD.load(Relaxed) as f64);
            std::thread::sleep(Duration::from_millis(1));
        }
        // What the allocator keeps for later is not held by anybody.
        // SAFETY: plain.
        unsafe { libc::malloc_trim(0) };
        self.moments.push(Moment {
            seconds: self.started.elapsed().as_secs_f64(),
            calls: calls as f64,
            bytes,
            resident: resident(),
            descriptors: descriptors(),
            threads: threads().len(),
        });
    }

    pub fn end(self) -> Growth {
        let first = (self.moments.len() as f64 * WARM_UP) as usize;
        Growth::of(&self.moments[first..])
    }
}

/// A line's slope, and its standard error.
#[derive(Clone, Copy)]
pub struct Slope(pub f64, pub f64);

impl Slope {
    /// By least squares.
    fn through(points: &[(f64, f64)]) -> Slope {
        let n = points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
        let (x, y) = (mean(|point| point.0), mean(|point| point.1));
        let wide: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
        let both = |point: &(f64, f64)| (point.0 - x) * (point.1 - y);
        let slope = points.iter().map(both).sum::<f64>() / wide;
        let off = |point: &(f64, f64)| (point.1 - y - slope * (point.0 - x)).powi(2);
        let rest: f64 = points.iter().map(off).sum();
        Slope(slope, (rest / (n - 2.0) / wide).sqrt())
    }

    /// So much at least, as good as certainly.
    pub fn surely(&self) -> f64 {
        self.0 - 3.0 * self.1
    }
}

pub struct Growth {
    moments: usize,
    /// Of the bytes held, for a thousand calls.
    pub for_calls: Slope,
    /// Of the bytes held, for an hour.
    pub for_an_hour: Slope,
    /// Of what the system counts as this process's memory, for an hour.
    pub resident: Slope,
    /// The least of the first third, and of the last.
    pub descriptors: (usize, usize),
    pub threads: (usize, usize),
    pub held: f64,
}

impl Growth {
    fn of(moments: &[Moment]) -> Growth {
        assert!(moments.len() >= FEWEST, "only {} moments", moments.len());
        let slope = |x: fn(&Moment) -> f64, y: fn(&Moment) -> f64| {
            Slope::through(&moments.iter().map(|it| (x(it), y(it))).collect::<Vec<_>>())
        };
        let third = moments.len() / 3;
        let ends = |of: fn(&Moment) -> usize| {
            let least = |some: &[Moment]| some.iter().map(of).min().expect("some");
            (
                least(&moments[..third]),
                least(&moments[moments.len() - third..]),
            )
        };
        Growth {
            moments: moments.len(),
            for_calls: slope(|it| it.calls / 1000.0, |it| it.bytes),
            for_an_hour: slope(|it| it.seconds / 3600.0, |it| it.bytes),
            resident: slope(|it| it.seconds / 3600.0, |it| it.resident),
            descriptors: ends(|it| it.descriptors),
            threads: ends(|it| it.threads),
            held: moments[moments.len() - 1].bytes,
        }
    }

    pub fn is_a_leak(&self) -> bool {
        self.for_calls.surely() > FOR_CALLS || self.for_an_hour.surely() > FOR_AN_HOUR
    }

    pub fn is_flat(&self) -> bool {
        let few = |(first, last): (usize, usize)| last <= first + 8;
        few(self.descriptors) && few(self.threads)
    }
}

impl std::fmt::Display for Growth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const MIB: f64 = (1 << 20) as f64;
        write!(
            f,
            "{:.1} ± {:.1} bytes for 1,000 calls, {:.3} ± {:.3} MiB for an hour, of {:.2} MiB held (resident: {:.2} ± \
             {:.2} MiB for an hour), in {} moments of rest; descriptors {} and then {}, threads {} and then {}",
            self.for_calls.0,
            self.for_calls.1,
            self.for_an_hour.0 / MIB,
            self.for_an_hour.1 / MIB,
            self.held / MIB,
            self.resident.0 / MIB,
            self.resident.1 / MIB,
            self.moments,
            self.descriptors.0,
            self.descriptors.1,
            self.threads.0,
            self.threads.1
        )
    }
}

/// In bytes.
fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = text.split(' ').nth(1).expect("a number of pages");
    pages.parse::<f64>().expect("a number") * 4096.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::Dice;

    /// Ten minutes of 2,000 calls a second, with a rest every five seconds, and so many bytes leaked by 1,000 calls.
    fn run(leak: f64, seed: u64) -> Growth {
        let mut dice = Dice(seed);
        let moment = |n: u64| {
            let (seconds, calls) = (n as f64 * 5.0, n as f64 * 10_000.0);
            Moment {
                seconds,
                calls,
                bytes: 5e5 + dice.below(40_000) as f64 + calls / 1000.0 * leak,
                resident: 1e7,
                descriptors: 40 + dice.below(9) as usize,
                threads: 12,
            }
        };
        Growth::of(&(30..120).map(moment).collect::<Vec<_>>())
    }

    #[test]
    fn a_hundred_bytes_in_a_thousand_calls_are_seen_and_none_are_not() {
        for seed in 0..50 {
            let (clean, leaks) = (run(0.0, seed), run(100.0, seed));
            assert!(!clean.is_a_leak(), "{clean}");
            assert!(leaks.is_a_leak(), "{leaks}");
            assert!((leaks.for_calls.0 - 100.0).abs() < 20.0, "{leaks}");
            assert!(clean.is_flat());
        }
    }

    #[test]
    fn what_is_held_is_counted() {
        let before = HELD.load(Relaxed);
        let kept = vec![0u8; 1 << 24];
        assert!(HELD.load(Relaxed) - before > 1 << 23);
        drop(kept);
        assert!(HELD.load(Relaxed) - before < 1 << 23);
    }
}
