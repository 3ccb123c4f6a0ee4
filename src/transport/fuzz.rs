//! Replies, as bytes that come in pieces.

use super::fault::Limits;
use super::oracle::{Outcome, read, same, same_replies};
use super::reply::{Entry, Reply};
use crate::error::Error;
use crate::fuzz::Choices;

/// Caps so low that they are met.
const SMALL: Limits = Limits {
    max_bytes: 100,
    max_elements: 10,
    max_line: 50,
    max_depth: 4,
};

/// Two bytes say how the rest is read. However it is cut up, the same comes out of it: what the redis crate's parser
/// makes of it too, or nothing; and it takes no more memory than its length explains.
pub fn replies(bytes: &[u8]) {
    let (how, wire) = bytes.split_at(bytes.len().min(2));
    let mut choices = Choices::new(how);
    let limits = match choices.one_in(4) {
        true => SMALL,
        false => Limits::default(),
    };
    let most = 1 + choices.below(40);
    let whole = read(wire, limits, || usize::MAX);
    let drip = read(wire, limits, || 1);
    let mut cuts = Choices::new(wire);
    let pieces = read(wire, limits, || 1 + cuts.below(most));
    for other in [&drip, &pieces] {
        assert!(same_replies(&whole, other), "{}", wire.escape_ascii());
        // Which of two faults is found first may differ.
        assert_eq!(end(&whole), end(other), "{}", wire.escape_ascii());
    }
    for outcome in [&whole, &drip, &pieces] {
        is_in_proportion(outcome, wire.len());
    }
    for (_, reply) in &whole.replies {
        if let Some(text) = reply.error_text() {
            assert!(!Error::from_server(text).to_string().is_empty());
        }
        let ours = reply.to_value().expect("it was understood");
        let taken = reply.clone().into_value().expect("it was understood");
        assert!(same(&ours, &taken), "{}", wire.escape_ascii());
        let _ = reply.clone().into_bytes();
    }
    // What the oracle does not understand, or understands with an attribute, is told at the top of oracle.rs.
    if let Some((_, reply)) = whole.replies.first()
        && let Ok(theirs) = redis::parse_redis_value(wire)
        && !format!("{theirs:?}").contains("attribute")
    {
        let ours = reply.to_value().expect("it was understood");
        let text = wire.escape_ascii();
        assert!(same(&ours, &theirs), "{text}: {ours:?}, not {theirs:?}");
    }
}

/// Whether a stream could be read to its end, and whether that is within a reply.
fn end(outcome: &Outcome) -> Option<bool> {
    let under_way = outcome.reader.under_way();
    outcome.fault.is_none().then_some(under_way)
}

/// A string that was announced has its memory reserved, in pages that nobody touches: it counts for nothing here.
fn is_in_proportion(outcome: &Outcome, len: usize) {
    let table = |entries: usize| entries * size_of::<Entry>();
    let kept: usize = outcome
        .replies
        .iter()
        .map(|(_, reply)| table(reply.entries.len()) + reply.bytes.len())
        .sum();
    let rest = table(outcome.rest.entries.capacity()) + outcome.rest.bytes.len();
    // The shortest value has three bytes on the wire; tables double when they grow.
    let fair = (64 << 10) + len * size_of::<Entry>();
    let all = kept.max(rest).max(outcome.reader.reserved());
    assert!(all <= fair, "{all} bytes of memory for {len} on the wire");
}

/// The reply of which these are all the bytes, if they are one.
pub(crate) fn read_whole(wire: &[u8]) -> Option<Reply> {
    let mut outcome = read(wire, Limits::default(), || usize::MAX);
    let whole = outcome.fault.is_none() && !outcome.reader.under_way();
    outcome.replies.truncate(1);
    let (_, reply) = outcome.replies.pop().filter(|_| whole)?;
    Some(reply)
}

#[cfg(test)]
mod tests {
    use super::super::oracle::several;

    /// Replies of which some bytes are not what they were, and how to read them.
    fn changed(seed: u64) -> Vec<u8> {
        const MARKS: &[u8] = b"\r\n$*:-0129|>%_";
        let (mut rng, mut wire) = several(seed);
        wire.truncate(4000);
        for _ in 0..rng.below(4) {
            let at = rng.below(wire.len());
            match rng.below(4) {
                0 => wire[at] ^= 1 << rng.below(8),
                1 => wire[at] = MARKS[rng.below(MARKS.len())],
                2 => wire.insert(at, MARKS[rng.below(MARKS.len())]),
                _ if wire.len() > 1 => _ = wire.remove(at),
                _ => {}
            }
        }
        let how = [rng.next() as u8, rng.next() as u8];
        [&how[..], &wire].concat()
    }

    #[test]
    fn fuzz_replies() {
        // An error without a text.
        super::replies(b"\0\0-\r\n");
        crate::fuzz::seeded("fuzz_replies", changed, super::replies);
    }
}
