//! Which servers a walk over all keys has still to visit. A slot is done when one server was walked over from the
//! beginning to the end and had the slot all the while; what has moved meanwhile is walked over again where it is now.

use std::sync::Arc;

use crate::clock::Deadline;
use crate::config::Endpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::node::Node;
use crate::topology::{Map, SLOTS, Topology};

/// A cluster that moves its slots all the time would be walked over for ever.
const ROUNDS: u32 = 8;

#[derive(Default)]
pub(super) struct Walk {
    stage: Stage,
    /// Of each slot, who was walked over while he had it: a number in `servers`.
    done: Vec<Option<usize>>,
    servers: Vec<Endpoint>,
    rounds: u32,
}

#[derive(Default)]
enum Stage {
    #[default]
    Beginning,
    /// The one server there is.
    Alone,
    /// This one, a number in `servers`, for the sake of these slots.
    At(usize, Box<[bool]>),
    Between,
    End,
}

/// Where the next step is made.
pub(super) struct Stop {
    /// None: wherever commands without a key go.
    pub(super) node: Option<Arc<Node>>,
    /// It begins at the beginning.
    pub(super) is_new: bool,
}

impl Walk {
    /// The server for the next step; none at the end.
    pub(super) fn node(
        &mut self,
        topology: &Topology,
        beginning: bool,
        deadline: Deadline,
    ) -> Result<Option<Stop>> {
        let alone = Stop {
            node: None,
            is_new: false,
        };
        match &self.stage {
            Stage::End => return Ok(None),
            Stage::Alone => return Ok(Some(alone)),
            Stage::Beginning if !topology.is_cluster() => {
                self.stage = Stage::Alone;
                return Ok(Some(alone));
            }
            Stage::Beginning => {
                self.done = vec![None; SLOTS];
            }
            Stage::At(server, _) => {
                let node = topology.fleet.find(&self.servers[*server]);
                if let Some(node) = node.filter(|node| topology.map().has(node)) {
                    return Ok(Some(Stop {
                        node: Some(node),
                        is_new: beginning,
                    }));
                }
                // It has gone in the middle; what it had is elsewhere.
            }
            Stage::Between => {}
        }
        self.next(topology, deadline)
    }

    fn next(&mut self, topology: &Topology, deadline: Deadline) -> Result<Option<Stop>> {
        let mut map = topology.known(deadline)?;
        let mut node = self.unfinished(&map);
        if node.is_none() {
            // As far as was known. Whether it is still so decides whether this is the end.
            topology.look_again(deadline)?;
            map = topology.map();
            self.rounds += 1;
            node = match self.rounds < ROUNDS {
                true => self.unfinished(&map),
                false => None,
            };
        }
        let Some(node) = node else {
            self.stage = Stage::End;
            return match self.done.iter().position(Option::is_none) {
                None => Ok(None),
                Some(slot) => Err(Error::new(
                    ErrorKind::Cluster,
                    format!(
                        "the keys of slot {slot} and perhaps others were not seen: no node serves it, or it moved all the time"
                    ),
                )),
            };
        };
        let server = self.number(&node.dialer.endpoint);
        let slots = (0..SLOTS as u16).map(|slot| {
            let owner = map.shard_of(slot).map(|shard| &shard.primary);
            self.done[usize::from(slot)].is_none() && owner.is_some_and(|it| Arc::ptr_eq(it, &node))
        });
        self.stage = Stage::At(server, slots.collect());
        Ok(Some(Stop {
            node: Some(node),
            is_new: true,
        }))
    }

    /// Slots that went elsewhere are not done any more; the owner of the first that is not.
    fn unfinished(&mut self, map: &Map) -> Option<Arc<Node>> {
        let mut first = None;
        for slot in 0..SLOTS {
            let Some(shard) = map.shard_of(slot as u16) else {
                continue;
            };
            let by = self.done[slot].map(|server| &self.servers[server]);
            if by.is_some_and(|by| *by != shard.primary.dialer.endpoint) {
                self.done[slot] = None;
            }
            if self.done[slot].is_none() {
                first.get_or_insert(&shard.primary);
            }
        }
        first.cloned()
    }

    fn number(&mut self, endpoint: &Endpoint) -> usize {
        let known = self.servers.iter().position(|server| server == endpoint);
        known.unwrap_or_else(|| {
            self.servers.push(endpoint.clone());
            self.servers.len() - 1
        })
    }

    /// Whether a key of this slot was not walked over before.
    pub(super) fn wants(&self, slot: impl FnOnce() -> u16) -> bool {
        match &self.stage {
            Stage::At(_, slots) => slots[usize::from(slot())],
            _ => true,
        }
    }

    /// The server has shown all that it has.
    pub(super) fn arrived(&mut self, topology: &Topology) {
        let Stage::At(server, slots) = std::mem::replace(&mut self.stage, Stage::Between) else {
            self.stage = Stage::End;
            return;
        };
        let map = topology.map();
        let endpoint = &self.servers[server];
        for (slot, _) in slots.iter().enumerate().filter(|(_, wanted)| **wanted) {
            let owner = map.shard_of(slot as u16).map(|shard| &shard.primary);
            if owner.is_some_and(|node| node.dialer.endpoint == *endpoint) {
                self.done[slot] = Some(server);
            }
        }
    }
}
