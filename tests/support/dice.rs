//! Random numbers that come again with their seed.

/// SplitMix64: small, and the same everywhere.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        (self.roll() >> 16) % n
    }
}

/// The seed that this environment variable gives, or one of the moment.
pub fn seed(variable: &str) -> u64 {
    let given = std::env::var(variable).ok().filter(|text| !text.is_empty());
    given.map_or_else(
        || std::time::UNIX_EPOCH.elapsed().expect("a clock").as_nanos() as u64,
        |text| {
            text.parse()
                .unwrap_or_else(|_| panic!("{variable} is a number"))
        },
    )
}
