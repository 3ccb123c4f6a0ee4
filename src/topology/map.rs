//! Who serves what, at one moment. A map is never changed: a new one takes its place.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::Guard;

use crate::config::ReadFrom;
use crate::node::{Node, State};
use crate::topology::slots::{SLOTS, slot};

/// A slot that nobody serves.
const NOBODY: u16 = u16::MAX;

/// A primary and what follows it.
pub(crate) struct Shard {
    pub(crate) primary: Arc<Node>,
    pub(crate) replicas: Vec<Arc<Node>>,
    /// Replicas are read from in turn.
    turn: AtomicUsize,
}

pub(crate) struct Map {
    pub(crate) shards: Vec<Shard>,
    /// The shard of each slot; none where one shard has everything.
    slots: Option<Box<[u16]>>,
    /// Who said so, for errors.
    pub(crate) told_by: Arc<str>,
}

/// One node's place on a map.
#[derive(Clone, Copy)]
pub(crate) struct At {
    shard: usize,
    replica: Option<usize>,
}

impl Shard {
    pub(crate) fn new(primary: Arc<Node>, replicas: Vec<Arc<Node>>) -> Shard {
        Shard {
            primary,
            replicas,
            turn: AtomicUsize::new(0),
        }
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        std::iter::once(&self.primary).chain(&self.replicas)
    }

    fn copied(&self) -> Shard {
        Shard::new(self.primary.clone(), self.replicas.clone())
    }

    /// The replica to read from; none: the primary.
    fn reader(&self, from: ReadFrom) -> Option<usize> {
        let count = self.replicas.len();
        match from {
            ReadFrom::Primary => None,
            _ if count == 0 => None,
            ReadFrom::Replica => {
                let first = self.turn.fetch_add(1, Ordering::Relaxed);
                (0..count)
                    .map(|i| first.wrapping_add(i) % count)
                    .find(|&i| can_answer(&self.replicas[i]))
            }
            // One that was never measured is farther than any that was.
            ReadFrom::Nearest => {
                let distance = |node: &Node| node.condition.distance().unwrap_or(u64::MAX);
                let nearest = (0..count)
                    .filter(|&i| can_answer(&self.replicas[i]))
                    .min_by_key(|&i| distance(&self.replicas[i]))?;
                let nearer = distance(&self.replicas[nearest]) < distance(&self.primary);
                (nearer || !can_answer(&self.primary)).then_some(nearest)
            }
        }
    }
}

fn can_answer(node: &Node) -> bool {
    matches!(node.condition.state(), State::Untried | State::Up)
}

impl Map {
    /// Nothing is known yet.
    pub(crate) fn empty() -> Map {
        Map {
            shards: Vec::new(),
            slots: None,
            told_by: "".into(),
        }
    }

    /// One shard has everything.
    pub(crate) fn whole(shard: Shard, told_by: Arc<str>) -> Map {
        Map {
            shards: vec![shard],
            slots: None,
            told_by,
        }
    }

    /// `slots`: first slot, last slot, shard.
    pub(crate) fn dealt(
        shards: Vec<Shard>,
        slots: impl IntoIterator<Item = (u16, u16, usize)>,
        told_by: Arc<str>,
    ) -> Map {
        let mut map = vec![NOBODY; SLOTS].into_boxed_slice();
        for (first, last, shard) in slots {
            map[usize::from(first)..=usize::from(last)].fill(shard as u16);
        }
        Map {
            shards,
            slots: Some(map),
            told_by,
        }
    }

    /// The same with one slot in this node's hands.
    pub(crate) fn with_slot(&self, slot: u16, node: &Arc<Node>) -> Map {
        let mut map = Map {
            shards: self.shards.iter().map(Shard::copied).collect(),
            slots: self.slots.clone(),
            told_by: self.told_by.clone(),
        };
        let known = map
            .shards
            .iter()
            .position(|shard| Arc::ptr_eq(&shard.primary, node));
        let shard = known.unwrap_or_else(|| {
            map.shards.push(Shard::new(node.clone(), Vec::new()));
            map.shards.len() - 1
        });
        if let Some(slots) = &mut map.slots {
            slots[usize::from(slot)] = shard as u16;
        }
        map
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.shards.is_empty()
    }

    /// The shard of a slot.
    pub(crate) fn shard_of(&self, slot: u16) -> Option<&Shard> {
        match &self.slots {
            None => self.shards.first(),
            Some(slots) => self.shards.get(usize::from(slots[usize::from(slot)])),
        }
    }

    /// The primaries of which this map gives a slot to, and the new one gives it to another.
    pub(crate) fn losers(&self, new: &Map) -> Vec<&Arc<Node>> {
        let mut losers: Vec<&Arc<Node>> = Vec::new();
        for slot in (0..SLOTS).filter(|_| self.slots.is_some()) {
            let Some(old) = self.shard_of(slot as u16).map(|shard| &shard.primary) else {
                continue;
            };
            let new = new.shard_of(slot as u16).map(|shard| &shard.primary);
            let kept = new.is_some_and(|new| Arc::ptr_eq(old, new));
            if !kept && !losers.iter().any(|known| Arc::ptr_eq(known, old)) {
                losers.push(old);
            }
        }
        losers
    }

    /// The node for a command on this key; without a key, any primary will do.
    pub(crate) fn place(&self, key: Option<&[u8]>, from: ReadFrom) -> Option<At> {
        let shard = match (&self.slots, key) {
            (None, _) => 0,
            (Some(slots), Some(key)) => usize::from(slots[usize::from(slot(key))]),
            (Some(_), None) => self
                .shards
                .iter()
                .position(|shard| can_answer(&shard.primary))
                .unwrap_or(0),
        };
        let replica = match key {
            None => None,
            Some(_) => self.shards.get(shard)?.reader(from),
        };
        (shard < self.shards.len()).then_some(At { shard, replica })
    }

    fn at(&self, at: At) -> &Arc<Node> {
        let shard = &self.shards[at.shard];
        match at.replica {
            None => &shard.primary,
            Some(i) => &shard.replicas[i],
        }
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.shards.iter().flat_map(Shard::nodes)
    }

    pub(crate) fn is_primary(&self, node: &Arc<Node>) -> bool {
        let mut primaries = self.shards.iter().map(|shard| &shard.primary);
        primaries.any(|primary| Arc::ptr_eq(primary, node))
    }

    pub(crate) fn has(&self, node: &Arc<Node>) -> bool {
        self.nodes().any(|known| Arc::ptr_eq(known, node))
    }

    /// The slots of a primary, as first and last of each stretch.
    pub(crate) fn slots_of(&self, node: &Arc<Node>) -> Vec<(u16, u16)> {
        let mut stretches: Vec<(u16, u16)> = Vec::new();
        let is_it = |shard: &Shard| Arc::ptr_eq(&shard.primary, node);
        let (Some(slots), Some(shard)) = (&self.slots, self.shards.iter().position(is_it)) else {
            return stretches;
        };
        for slot in (0..SLOTS).filter(|slot| usize::from(slots[*slot]) == shard) {
            let slot = slot as u16;
            match stretches.last_mut() {
                Some((_, last)) if *last + 1 == slot => *last = slot,
                _ => stretches.push((slot, slot)),
            }
        }
        stretches
    }
}

/// A node that was picked; it stays usable however the map changes meanwhile.
pub(crate) enum Picked<'a> {
    /// Without a look at the map.
    Known(&'a Arc<Node>),
    OnMap(Guard<Arc<Map>>, At),
    /// Named by another node's redirection, or by the caller.
    Named(Arc<Node>),
}

impl Picked<'_> {
    pub(crate) fn is_replica(&self) -> bool {
        matches!(self, Picked::OnMap(_, at) if at.replica.is_some())
    }

    /// To be kept for as long as one likes.
    pub(crate) fn kept(self) -> Picked<'static> {
        match self {
            Picked::Known(node) => Picked::Named(node.clone()),
            Picked::OnMap(map, at) => Picked::OnMap(map, at),
            Picked::Named(node) => Picked::Named(node),
        }
    }
}

impl Deref for Picked<'_> {
    type Target = Arc<Node>;

    fn deref(&self) -> &Arc<Node> {
        match self {
            Picked::Known(node) => node,
            Picked::OnMap(map, at) => map.at(*at),
            Picked::Named(node) => node,
        }
    }
}
