//! Walking over all keys.

use std::collections::VecDeque;

use crate::client::{Client, typed};
use crate::dispatch::Class;
use crate::error::Result;

/// How many keys the server looks at in one step.
const STEP: i64 = 512;

/// All keys that match a pattern, one after the other: an iterator. The server promises that a key that is there from
/// the beginning to the end comes; one that comes or goes meanwhile may come or not; and a key may come twice.
///
/// ```
/// # fn main() -> redkeep::Result<()> {
/// # let keep = redkeep::Manager::open("embedded://")?;
/// keep.mset([("user:1", "Ann"), ("user:2", "Bob"), ("other", "")])?;
/// let mut users = keep.scan(Some("user:*")).collect::<redkeep::Result<Vec<_>>>()?;
/// users.sort();
/// assert_eq!(users, [b"user:1", b"user:2"]);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Scan {
    client: Client,
    pattern: Option<Vec<u8>>,
    /// None when the server has come to its end.
    cursor: Option<Vec<u8>>,
    keys: VecDeque<Vec<u8>>,
}

impl Client {
    /// Walks over the whole keyspace of the configured node; without a pattern, over all keys.
    pub fn scan(&self, pattern: Option<&str>) -> Scan {
        Scan {
            client: self.clone(),
            pattern: pattern.map(|pattern| pattern.as_bytes().to_vec()),
            cursor: Some(b"0".to_vec()),
            keys: VecDeque::new(),
        }
    }
}

impl Scan {
    fn step(&mut self, cursor: &[u8]) -> Result<()> {
        let pattern = &self.pattern;
        let (next, keys): (Vec<u8>, Vec<Vec<u8>>) = self.client.run(
            "SCAN",
            Class::Read,
            |to| {
                to.bytes(cursor);
                if let Some(pattern) = pattern {
                    to.bytes(b"MATCH");
                    to.bytes(pattern);
                }
                to.bytes(b"COUNT");
                to.number(STEP);
                Ok(())
            },
            typed,
        )?;
        self.cursor = (next != b"0").then_some(next);
        self.keys = keys.into();
        Ok(())
    }
}

impl Iterator for Scan {
    type Item = Result<Vec<u8>>;

    /// The next key. After an error, the walk goes on where it was.
    fn next(&mut self) -> Option<Result<Vec<u8>>> {
        while self.keys.is_empty() {
            let cursor = self.cursor.clone()?;
            if let Err(error) = self.step(&cursor) {
                return Some(Err(error));
            }
        }
        self.keys.pop_front().map(Ok)
    }
}
