//! What must hold whatever others write: each room that reads what a stranger wrote has a function of bytes in its
//! `fuzz.rs`, which fails when something does not. The unit tests call it with inputs made from seeds, for a moment
//! each; fuzz/ hands the same functions to libFuzzer.

/// Decisions, taken from bytes: the same bytes decide the same. When they are used up, it is always the first way.
pub(crate) struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Choices<'a> {
        Choices(bytes)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        let high = match n > 256 {
            true => usize::from(self.byte()) << 8,
            false => 0,
        };
        (high | usize::from(self.byte())) % n
    }

    /// True one time in `n`; never when the bytes are used up.
    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    pub(crate) fn pick<'t, T: ?Sized>(&mut self, of: &[&'t T]) -> &'t T {
        of[self.below(of.len())]
    }

    /// At most so many of the bytes themselves.
    pub(crate) fn raw(&mut self, most: usize) -> &'a [u8] {
        let count = self.below(most + 1).min(self.0.len());
        let (now, later) = self.0.split_at(count);
        self.0 = later;
        now
    }

    /// Text of these bytes, whatever they are.
    pub(crate) fn text(&mut self, most: usize) -> String {
        String::from_utf8_lossy(self.raw(most)).into_owned()
    }
}

/// SplitMix64: small, and the same everywhere.
#[cfg(test)]
fn mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Bytes of this seed, at most so many; short ones are frequent.
#[cfg(test)]
pub(crate) fn random(seed: u64, most: usize) -> Vec<u8> {
    let mut state = seed;
    let most = 1 + mix(&mut state) as usize % most;
    let count = 1 + mix(&mut state) as usize % most;
    (0..count).map(|_| (mix(&mut state) >> 24) as u8).collect()
}

/// Calls the target with one input after the other for REDKEEP_FUZZ_SECONDS, 2 by default. The seed of the first is
/// REDKEEP_TEST_SEED, or by the clock; that of an input that fails is printed.
#[cfg(test)]
pub(crate) fn seeded(name: &str, make: impl Fn(u64) -> Vec<u8>, target: impl Fn(&[u8])) {
    use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

    struct Report<'a>(&'a str, u64);
    impl Drop for Report<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                let Report(name, seed) = self;
                eprintln!("{name} failed; again: REDKEEP_TEST_SEED={seed} cargo test --lib {name}");
            }
        }
    }
    let number = |name| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().expect("a whole number"))
    };
    let clock = || {
        let time = SystemTime::now().duration_since(UNIX_EPOCH);
        time.map_or(0, |time| time.as_millis() as u64)
    };
    let first = number("REDKEEP_TEST_SEED").unwrap_or_else(clock);
    let time = Duration::from_secs(number("REDKEEP_FUZZ_SECONDS").unwrap_or(2));
    println!("{name}: REDKEEP_TEST_SEED={first}");
    let started = Instant::now();
    let mut seed = first;
    while seed == first || started.elapsed() < time {
        let _report = Report(name, seed);
        target(&make(seed));
        seed += 1;
    }
    println!("{name}: {} inputs", seed - first);
}
