//! The reader against the parser of the `redis` crate, on random replies under every chunking.
//!
//! Where the two differ, and why the replies made here leave it out:
//!
//! - Attributes: the oracle hands them out, and every caller has to unwrap them. The oracle gets the same reply without
//!   them.
//! - Statuses and errors that are not UTF-8: a fault to the oracle, which then closes a sound connection. Ours keeps
//!   the bytes.
//! - `_` with text behind it, blanks around numbers, a lone `\n` in a line, big numbers without digits, lengths with a
//!   sign, `$-2`, `~-1`: the oracle takes them, or part of them. They are no RESP, so the stream has lost its place.
//! - A verbatim string's format of another length than three: the same.
//! - A push inside a reply: taken by the oracle, though the protocol forbids it. A push whose first element is no
//!   word: a fault to the oracle; ours keeps it, for it is well formed.
//! - More than 32 levels: the oracle goes to 100, recursing.

// What makes replies is for the tests alone; libFuzzer makes its own.
#![cfg_attr(not(test), allow(dead_code))]

use redis::Value;

use super::fault::{Fault, Limits};
use super::reader::{Progress, Reader};
use super::reply::Reply;

/// A xorshift generator: what a seed makes is the same for ever.
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }
}

/// What came out of a stream: its replies and pushes, and the fault that ended it, if one did.
pub(super) struct Outcome {
    pub(super) replies: Vec<(Progress, Reply)>,
    pub(super) fault: Option<Fault>,
    pub(super) reader: Reader,
    /// The reply that was under way at the end.
    pub(super) rest: Reply,
}

/// Reads a stream to its end, in pieces of the sizes that `chunk` gives.
pub(super) fn read(wire: &[u8], limits: Limits, mut chunk: impl FnMut() -> usize) -> Outcome {
    let (mut reader, mut reply) = (Reader::new(limits), Reply::new());
    let (mut replies, mut fault) = (Vec::new(), None);
    let mut left = wire;
    loop {
        match reader.advance(&mut reply) {
            Ok(Progress::More) if left.is_empty() => break,
            Ok(Progress::More) => {
                let filled = reader.fill(&mut reply, |out, max| {
                    assert!(max > 0);
                    let (now, later) = left.split_at(chunk().clamp(1, max).min(left.len()));
                    out.extend_from_slice(now);
                    left = later;
                    Ok(now.len())
                });
                assert!(filled.is_ok_and(|n| n > 0));
            }
            Ok(done) => {
                assert!(!reader.under_way());
                replies.push((done, reply.clone()));
            }
            Err(found) => {
                fault = Some(found);
                break;
            }
        }
    }
    Outcome {
        replies,
        fault,
        reader,
        rest: reply,
    }
}

/// Makes random replies, on the wire and once more without attributes.
struct Maker {
    rng: Rng,
    resp3: bool,
    wire: Vec<u8>,
    plain: Vec<u8>,
    in_attribute: bool,
}

impl Maker {
    fn new(seed: u64) -> Maker {
        let mut rng = Rng::new(seed);
        let resp3 = rng.below(3) > 0;
        Maker {
            rng,
            resp3,
            wire: Vec::new(),
            plain: Vec::new(),
            in_attribute: false,
        }
    }

    fn put(&mut self, bytes: impl AsRef<[u8]>) {
        self.wire.extend_from_slice(bytes.as_ref());
        if !self.in_attribute {
            self.plain.extend_from_slice(bytes.as_ref());
        }
    }

    fn reply(&mut self) {
        let depth = if self.rng.below(20) == 0 {
            30
        } else {
            self.rng.below(5)
        };
        self.value(depth);
    }

    fn push(&mut self) {
        let more = self.rng.below(4);
        self.put(format!(">{}\r\n", more + 1));
        let words = ["message", "invalidate", "ssubscribe", "pmessage", "news"];
        let word = self.rng.pick(&words);
        if self.rng.below(2) == 0 {
            self.put(format!("+{word}\r\n"));
        } else {
            self.put(format!("${}\r\n{word}\r\n", word.len()));
        }
        for _ in 0..more {
            self.value(2);
        }
    }

    fn value(&mut self, depth: usize) {
        if self.resp3 && depth > 0 && self.rng.below(12) == 0 {
            let outer = std::mem::replace(&mut self.in_attribute, true);
            let pairs = self.rng.below(3);
            self.put(format!("|{pairs}\r\n"));
            self.values(pairs * 2, depth);
            self.in_attribute = outer;
        }
        let kinds = if self.resp3 { 17 } else { 8 };
        match self.rng.below(kinds) {
            0 | 1 => self.bulk(b'$', b""),
            2 => self.line(b'+'),
            3 => self.line(b'-'),
            4 => {
                let shift = self.rng.below(64);
                let n = (self.rng.next() << 16 | self.rng.next()) as i64 >> shift;
                self.put(format!(":{n}\r\n"));
            }
            5 => {
                let nil = self.rng.pick(&["$-1\r\n", "*-1\r\n"]);
                self.put(nil);
            }
            6..=8 => self.aggregate(b'*', 1, depth),
            9 => self.aggregate(b'~', 1, depth),
            10 => self.aggregate(b'%', 2, depth),
            11 => self.put("_\r\n"),
            12 => self.double(),
            13 => {
                let truth = self.rng.pick(&["#t\r\n", "#f\r\n"]);
                self.put(truth);
            }
            14 => {
                let digits = self.rng.below(40) + 1;
                let sign = self.rng.pick(&["", "-"]);
                self.put(format!("({sign}{}\r\n", "9".repeat(digits)));
            }
            15 => self.bulk(b'!', b"ERR "),
            _ => {
                let format = self.rng.pick(&["txt:", "mkd:", "abc:"]);
                self.bulk(b'=', format.as_bytes());
            }
        }
    }

    fn double(&mut self) {
        let text = match self.rng.below(6) {
            0 => self
                .rng
                .pick(&["inf", "-inf", "nan", "1e300", "-1.5E-7", "0"])
                .to_owned(),
            1 => f64::from_bits(self.rng.next() << 16).to_string(),
            _ => (self.rng.next() as f64 / 1000.0).to_string(),
        };
        self.put(format!(",{}\r\n", text.replace("NaN", "nan")));
    }

    fn bulk(&mut self, sigil: u8, start: &[u8]) {
        let len = match self.rng.below(200) {
            0 => 16_000 + self.rng.below(60_000),
            1..20 => self.rng.below(300),
            _ => self.rng.below(12),
        };
        let mut bytes = start.to_vec();
        for _ in 0..len {
            // Line ends and bytes that are not UTF-8 are frequent.
            let byte = match self.rng.below(8) {
                0 => b'\r',
                1 => b'\n',
                2 => self.rng.next() as u8,
                _ => b'a' + self.rng.below(26) as u8,
            };
            bytes.push(byte);
        }
        self.put([sigil]);
        self.put(format!("{}\r\n", bytes.len()));
        self.put(&bytes);
        self.put("\r\n");
    }

    fn line(&mut self, sigil: u8) {
        let starts = [
            "OK",
            "",
            "ERR ",
            "WRONGTYPE ",
            "MOVED 1 a:1",
            "LOADING",
            "QUEUED",
            "é",
            " ",
        ];
        let text = self.rng.pick(&starts).to_owned();
        let len = if self.rng.below(30) == 0 {
            700
        } else {
            self.rng.below(9)
        };
        let tail = if text == "OK" {
            String::new()
        } else {
            "x \r-"[..].repeat(len / 4)
        };
        // A `\r` before the line's end would end it early for the oracle's search, but not for the protocol.
        let tail = tail.trim_end_matches('\r');
        self.put([sigil]);
        self.put(format!("{text}{tail}\r\n"));
    }

    fn aggregate(&mut self, sigil: u8, per_element: usize, depth: usize) {
        let count = match depth {
            0 => 0,
            1..10 if self.rng.below(60) == 0 => 40,
            1..10 => self.rng.below(5),
            _ => 1,
        };
        self.put([sigil]);
        self.put(format!("{count}\r\n"));
        if depth >= 10 && per_element == 1 {
            // Deep and thin: anything else would not end.
            self.aggregate(b'*', 1, depth - 1);
        } else {
            self.values(count * per_element, depth.min(10));
        }
    }

    fn values(&mut self, count: usize, depth: usize) {
        let depth = if count > 10 {
            0
        } else {
            depth.saturating_sub(1)
        };
        for _ in 0..count {
            self.value(depth);
        }
    }
}

/// A few replies and pushes.
pub(super) fn several(seed: u64) -> (Rng, Vec<u8>) {
    let mut maker = Maker::new(seed);
    for _ in 0..1 + maker.rng.below(3) {
        if maker.rng.below(4) == 0 {
            maker.push();
        }
        maker.reply();
    }
    (maker.rng, maker.wire)
}

/// NaN is not equal to itself, but looks the same.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    a == b || format!("{a:?}") == format!("{b:?}")
}

pub(super) fn same_replies(a: &Outcome, b: &Outcome) -> bool {
    let same = |(a, b): (&(Progress, Reply), &(Progress, Reply))| {
        a.0 == b.0 && a.1.root == b.1.root && a.1.entries == b.1.entries && a.1.bytes == b.1.bytes
    };
    a.replies.len() == b.replies.len() && a.replies.iter().zip(&b.replies).all(same)
}

#[test]
fn random_replies_are_what_the_oracle_says_under_every_chunking() {
    for seed in 0..4000 {
        let mut maker = Maker::new(seed);
        let replies = 1 + maker.rng.below(4);
        for _ in 0..replies {
            if maker.resp3 && maker.rng.below(4) == 0 {
                maker.push();
            }
            maker.reply();
        }
        let Maker {
            mut rng,
            wire,
            plain,
            ..
        } = maker;
        let limits = Limits::default();

        let whole = read(&wire, limits, || usize::MAX);
        assert_eq!(whole.fault, None, "seed {seed}: {}", wire.escape_ascii());
        assert!(
            !whole.reader.under_way() && whole.reader.buffered() == 0,
            "seed {seed}"
        );
        assert_eq!(
            whole
                .replies
                .iter()
                .filter(|r| r.0 == Progress::Reply)
                .count(),
            replies
        );
        let (mut oracle, mut left) = (redis::Parser::new(), &plain[..]);
        for (progress, reply) in &whole.replies {
            let theirs = oracle.parse_value(&mut left).unwrap();
            let ours = reply.to_value().unwrap();
            assert!(
                same(&ours, &theirs),
                "seed {seed}: ours {ours:?}, theirs {theirs:?}"
            );
            assert_eq!(
                matches!(theirs, Value::Push { .. }),
                *progress == Progress::Push
            );
            let ours = reply.clone().into_value().unwrap();
            assert!(
                same(&ours, &theirs),
                "seed {seed}: ours {ours:?}, theirs {theirs:?}"
            );
        }

        let drip = read(&wire, limits, || 1);
        assert!(same_replies(&whole, &drip), "seed {seed}, byte by byte");
        for round in 0..3 {
            let most = [7, 300, 20_000][round];
            let pieces = read(&wire, limits, || 1 + rng.below(most));
            assert!(
                same_replies(&whole, &pieces),
                "seed {seed}, pieces up to {most}"
            );
        }
        if wire.len() <= 200 {
            for at in 1..wire.len() {
                let mut sizes = [at, usize::MAX].into_iter();
                let halves = read(&wire, limits, || sizes.next().unwrap_or(usize::MAX));
                assert!(same_replies(&whole, &halves), "seed {seed}, split at {at}");
            }
        }
    }
}

#[test]
fn a_changed_reply_is_read_as_the_oracle_reads_it_or_not_at_all() {
    let (mut agreed, mut refused) = (0, 0);
    for seed in 0..20_000 {
        let mut maker = Maker::new(seed);
        maker.reply();
        let Maker {
            mut rng, mut wire, ..
        } = maker;
        if wire.len() > 2000 {
            continue;
        }
        for _ in 0..1 + rng.below(2) {
            let at = rng.below(wire.len());
            match rng.below(4) {
                0 => wire[at] ^= 1 << rng.below(8),
                1 => wire[at] = rng.pick(&[b"\r\n$*:-0129|>%_".as_slice()])[rng.below(14)],
                2 => wire.insert(
                    at,
                    rng.pick(&[b"\r\n$*:-0129|>%_".as_slice()])[rng.below(14)],
                ),
                _ => drop(wire.remove(at)),
            }
            if wire.is_empty() {
                wire.push(b'x');
            }
        }
        let outcome = read(&wire, Limits::default(), || usize::MAX);
        let drip = read(&wire, Limits::default(), || 1);
        assert!(
            same_replies(&outcome, &drip),
            "seed {seed}: {}",
            wire.escape_ascii()
        );
        assert_eq!(outcome.fault.is_some(), drip.fault.is_some(), "seed {seed}");
        let Some((_, reply)) = outcome.replies.first() else {
            refused += 1;
            continue;
        };
        let ours = reply.to_value().unwrap();
        match redis::parse_redis_value(&wire) {
            // What the oracle does not understand, or understands with an attribute, is told at the top.
            Err(_) => refused += 1,
            Ok(theirs) if format!("{theirs:?}").contains("attribute") => {}
            Ok(theirs) => {
                agreed += 1;
                let text = wire.escape_ascii();
                assert!(
                    same(&ours, &theirs),
                    "seed {seed}: {text}: {ours:?}, not {theirs:?}"
                );
            }
        }
    }
    assert!(agreed > 500 && refused > 500, "{agreed} {refused}");
}
