//! Rounds of reading, one after the other, in one thread.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Deadline, tell};
use crate::error::{Error, Result};
use crate::node::Node;
use crate::stream::channel::Channel;
use crate::stream::reader::{Reader, Way};
use crate::stream::shared::Shared;

/// After a failed round there is always some rest.
const SHORTEST_REST: Duration = Duration::from_millis(100);
/// Where several nodes are read by one thread, it waits at each of them for this long in turn.
const TURN: Duration = Duration::from_millis(50);

/// How rounds follow one another.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    /// After an empty or a failed round.
    pub(super) rest: Duration,
    /// How long a round waits for messages.
    pub(super) block: Duration,
}

/// How a round ended.
pub(super) enum Round {
    Found(usize),
    /// Something has changed: the next one begins at once.
    Changed,
    /// There is nothing left to read.
    Over,
}

/// Rounds until the consumer is stopped or the manager is closed, or there is nothing left to read.
pub(super) fn keep_reading(
    shared: &Shared,
    rest: Duration,
    mut round: impl FnMut() -> Result<Round>,
) -> Result<()> {
    let mut failures = 0u32;
    let mut last = None;
    while !shared.stopping.is_open() && !shared.is_over() {
        match round() {
            Ok(Round::Over) => return Ok(()),
            Ok(Round::Found(0)) => {
                failures = 0;
                shared.stopping.sleep(rest);
            }
            Ok(_) => failures = 0,
            Err(error) if shared.stopping.is_open() || shared.is_over() => last = Some(error),
            Err(error) => {
                // Once, and then now and again: a server that is away for long is told of by its node.
                if failures.is_multiple_of(20) {
                    tell!(Warn, "consumer {}: a round failed: {error}", shared.name);
                }
                shared.stopping.sleep(rest_after(shared, rest, failures));
                failures += 1;
            }
        }
    }
    match (shared.is_over(), last) {
        (true, Some(error)) => Err(error),
        (true, None) => Err(Error::closed()),
        _ => Ok(()),
    }
}

/// Where another node may take over, it does so within moments: the first rests are short.
fn rest_after(shared: &Shared, rest: Duration, failures: u32) -> Duration {
    let dispatch = shared.client.dispatch();
    let longest = rest.max(SHORTEST_REST);
    match dispatch.is_ok_and(|it| it.topology.may_change()) {
        true => longest.min(SHORTEST_REST * (1 << failures.min(6))),
        false => longest,
    }
}

/// The channels that one node serves.
pub(super) type OfNode = (Arc<Node>, Vec<Arc<Channel>>);

/// Channels by the node that serves them.
pub(super) fn by_node(shared: &Shared, channels: Vec<Arc<Channel>>) -> Result<Vec<OfNode>> {
    let deadline = Deadline::after(shared.client.timeout()?);
    let mut nodes: Vec<OfNode> = Vec::new();
    for channel in channels {
        let node = channel.home(deadline)?;
        match nodes.iter_mut().find(|(it, _)| Arc::ptr_eq(it, &node)) {
            Some((_, all)) => all.push(channel),
            None => nodes.push((node, vec![channel])),
        }
    }
    Ok(nodes)
}

/// Reads channels and handles what comes in the caller's thread, wherever they are served.
pub(super) struct Tour<'a> {
    shared: &'a Arc<Shared>,
    channels: Vec<Arc<Channel>>,
    /// None before the first round, and after a change of nodes.
    readers: Vec<Reader>,
}

impl Tour<'_> {
    pub(super) fn new(shared: &Arc<Shared>, channels: Vec<Arc<Channel>>) -> Tour<'_> {
        Tour {
            shared,
            channels,
            readers: Vec::new(),
        }
    }

    /// Waits for messages for `block` at most, and handles what comes; returns how many.
    pub(super) fn round(&mut self, block: Duration) -> Result<usize> {
        let deadline = Deadline::after(block);
        let mut first = true;
        loop {
            if self.readers.is_empty() || self.has_strayed() {
                self.readers.clear();
                self.readers = self.all()?;
            }
            let left = deadline.remaining().unwrap_or_default();
            let turn = match self.readers.len() {
                1 => left,
                // First what is there already, wherever it is.
                _ if first => Duration::ZERO,
                _ => left.min(TURN),
            };
            first = false;
            let found = self.read(turn)?;
            if found > 0 || deadline.passed() || self.shared.stopping.is_open() {
                return Ok(found);
            }
        }
    }

    /// Once from each node. One that fails does not keep the others from being read.
    fn read(&mut self, time: Duration) -> Result<usize> {
        let (mut found, mut failure) = (0, None);
        for reader in &mut self.readers {
            match reader.round(time) {
                Ok(more) => found += more,
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if found == 0 => Err(error),
            _ => Ok(found),
        }
    }

    pub(super) fn go_on(&mut self, pace: Pace) -> Result<()> {
        let shared = self.shared;
        let result = keep_reading(shared, pace.rest, || {
            self.round(pace.block).map(Round::Found)
        });
        self.finish();
        result
    }

    fn all(&self) -> Result<Vec<Reader>> {
        let nodes = by_node(self.shared, self.channels.clone())?;
        let reader = |(node, channels)| Reader::new(self.shared, &node, channels, Way::Here);
        Ok(nodes.into_iter().map(reader).collect())
    }

    fn has_strayed(&self) -> bool {
        self.readers.iter().any(Reader::has_strayed)
    }

    /// What was handled is acknowledged, and what was not begun is given back.
    pub(super) fn finish(&mut self) {
        if self.readers.is_empty() {
            self.readers = self.all().unwrap_or_default();
        }
        self.readers.iter_mut().for_each(Reader::finish);
    }
}
