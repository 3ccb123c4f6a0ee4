//! Walking over all keys.

use std::collections::VecDeque;

use crate::client::walk::Walk;
use crate::client::{Client, Packer, Scratch, typed};
use crate::clock::Deadline;
use crate::dispatch::{Class, Request};
use crate::error::Result;
use crate::topology::slot;

/// How many keys the server looks at in one step.
const STEP: i64 = 512;

/// All keys that match a pattern, one after the other: an iterator. The server promises that a key that is there from
/// the beginning to the end comes; one that comes or goes meanwhile may come or not; and a key may come twice. On a
/// cluster it walks over all of it, and once more over slots that went to another node meanwhile.
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
pub struct Scan {
    client: Client,
    pattern: Option<Vec<u8>>,
    cursor: Vec<u8>,
    keys: VecDeque<Vec<u8>>,
    walk: Walk,
}

impl Client {
    /// Walks over the whole keyspace of the configured node, or of the whole cluster; without a pattern, over all keys.
    pub fn scan(&self, pattern: Option<&str>) -> Scan {
        Scan {
            client: self.clone(),
            pattern: pattern.map(|pattern| pattern.as_bytes().to_vec()),
            cursor: b"0".to_vec(),
            keys: VecDeque::new(),
            walk: Walk::default(),
        }
    }
}

impl Scan {
    /// False when the walk has come to its end.
    fn step(&mut self) -> Result<bool> {
        let dispatch = self.client.dispatch()?;
        let time = self.client.timeout()?;
        let deadline = Deadline::after(time);
        let beginning = self.cursor == b"0";
        let Some(node) = self.walk.node(&dispatch.topology, beginning, deadline)? else {
            return Ok(false);
        };
        // Cursors are each server's own.
        if node.is_new {
            self.cursor = b"0".to_vec();
        }
        let (next, keys): (Vec<u8>, Vec<Vec<u8>>) = Scratch::with(|scratch| {
            let mut packer = Packer::begin(&mut scratch.request, "SCAN");
            packer.bytes(&self.cursor);
            if let Some(pattern) = &self.pattern {
                packer.bytes(b"MATCH");
                packer.bytes(pattern);
            }
            packer.bytes(b"COUNT");
            packer.number(STEP);
            let request = Request::new(packer.finish().0, Class::Read, None, time);
            match &node.node {
                Some(node) => dispatch.call_on(node, &request, &mut scratch.reply)?,
                None => dispatch.call(&request, &mut scratch.reply)?,
            }
            typed(&mut scratch.reply)
        })?;
        self.keys = keys.into();
        let walk = &self.walk;
        self.keys.retain(|key| walk.wants(|| slot(key)));
        self.cursor = next;
        if self.cursor == b"0" {
            self.walk.arrived(&dispatch.topology);
        }
        Ok(true)
    }
}

impl Iterator for Scan {
    type Item = Result<Vec<u8>>;

    /// The next key. After an error, the walk goes on where it was.
    fn next(&mut self) -> Option<Result<Vec<u8>>> {
        while self.keys.is_empty() {
            match self.step() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
        self.keys.pop_front().map(Ok)
    }
}

/// Shows no key, and no pattern, which may be one.
impl std::fmt::Debug for Scan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scan({} keys at hand)", self.keys.len())
    }
}
