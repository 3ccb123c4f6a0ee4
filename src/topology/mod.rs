//! Which node serves a request.
//!
//! ```text
//!   pick ──► Map: the slot of the key ─► shard ─► primary, or a replica to read from
//!             ▲ replaced whole
//!   Scout, a thread: asks the cluster's nodes or the sentinels; when a caller has met something odd, and by the clock
//! ```

mod cluster;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod inquiry;
mod map;
mod scout;
mod sentinel;
mod slots;
mod standalone;
mod watch;

use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::clock::Deadline;
use crate::config::{Address, Endpoint, ReadFrom, Settings, Target};
use crate::error::{Error, ErrorKind, Result};
use crate::node::{Fleet, Node, State};
use scout::{Scout, Way};
use sentinel::Watchmen;

pub(crate) use map::{Map, Picked};
pub(crate) use scout::Follower;
pub(crate) use sentinel::Heard;
pub(crate) use slots::{SLOTS, slot};

/// Between two looks for a slot that nobody serves.
const GLANCE: Duration = Duration::from_millis(100);

/// The nodes of one manager, and the rule by which one of them is picked.
pub(crate) struct Topology {
    pub(crate) fleet: Arc<Fleet>,
    map: Arc<ArcSwap<Map>>,
    /// Where there is one node, and never another, the map need not be looked at.
    only: Option<Arc<Node>>,
    read_from: ReadFrom,
    /// None where the one node never changes.
    scout: Option<Scout>,
}

/// What the topology is.
pub(crate) enum Shape<'a> {
    Standalone,
    Cluster,
    /// The primary's name, and what the sentinels said last.
    Sentinel(&'a str, Vec<Heard>),
}

impl Topology {
    pub(crate) fn new(target: &Target, settings: Arc<Settings>) -> Result<Topology> {
        let fleet = Fleet::new(settings)?;
        Topology::over(fleet, target)
    }

    /// The same for a forked child.
    pub(crate) fn renewed(parent: &Topology, target: &Target) -> Result<Topology> {
        Topology::over(Fleet::renewed(&parent.fleet)?, target)
    }

    fn over(fleet: Fleet, target: &Target) -> Result<Topology> {
        let fleet = Arc::new(fleet);
        let (map, way) = match target {
            Target::One(endpoint) => (standalone::map(&fleet, endpoint)?, None),
            Target::Cluster { seeds } => (Map::empty(), Some(Way::Cluster(seeds.clone()))),
            Target::Sentinel {
                sentinels,
                master,
                sentinel_username,
                sentinel_password,
                db,
                username,
                password,
                tls,
            } => {
                let greet = |address: &Address| Endpoint {
                    address: address.clone(),
                    db: 0,
                    username: sentinel_username.clone(),
                    password: sentinel_password.clone(),
                    tls: *tls,
                };
                let sentinels: Vec<Endpoint> = sentinels.iter().map(greet).collect();
                let like = Endpoint {
                    db: *db,
                    username: username.clone(),
                    password: password.clone(),
                    ..sentinels[0].clone()
                };
                let watchmen = Watchmen {
                    sentinels,
                    master: master.clone(),
                    like,
                };
                (Map::empty(), Some(Way::Sentinel(watchmen)))
            }
            Target::Embedded => {
                return Err(Error::new(
                    ErrorKind::Internal,
                    "an embedded server has an address once it runs",
                ));
            }
        };
        let only = match way {
            None => map.nodes().next().cloned(),
            Some(_) => None,
        };
        let map = Arc::new(ArcSwap::from_pointee(map));
        let topology = Topology {
            only,
            read_from: fleet.settings.read_from,
            scout: way.map(|way| Scout::new(&fleet, &map, way)),
            map,
            fleet,
        };
        // A forked child of a manager that was closed.
        if let (true, Some(scout)) = (topology.fleet.closing.is_open(), &topology.scout) {
            scout.stop();
        }
        Ok(topology)
    }

    /// The node for a request on `key`, or, without a key, any that takes writes. `reads`: the request changes
    /// nothing, and may be answered by a replica where the configuration says so.
    pub(crate) fn pick(
        &self,
        key: Option<&[u8]>,
        reads: bool,
        deadline: Deadline,
    ) -> Result<Picked<'_>> {
        if let Some(node) = &self.only {
            return Ok(Picked::Known(node));
        }
        let from = match reads {
            true => self.read_from,
            false => ReadFrom::Primary,
        };
        let map = self.map.load();
        match map.place(key, from) {
            Some(at) => Ok(Picked::OnMap(map, at)),
            None => self.pick_later(key, from, deadline),
        }
    }

    /// The map has no answer yet: it is waited for.
    #[cold]
    fn pick_later(
        &self,
        key: Option<&[u8]>,
        from: ReadFrom,
        deadline: Deadline,
    ) -> Result<Picked<'_>> {
        let scout = self.scout.as_ref().expect("one node serves everything");
        loop {
            let was_empty = self.map.load().is_empty();
            if was_empty && let Some(error) = scout.failure() {
                return Err(error);
            }
            let round = scout.ask()?;
            let found = scout.wait(round, deadline);
            let map = self.map.load();
            if let Some(at) = map.place(key, from) {
                return Ok(Picked::OnMap(map, at));
            }
            if map.is_empty() {
                found?;
            }
            if deadline.remaining().is_none_or(|left| left <= GLANCE) {
                let slot = key.map(slot).unwrap_or_default();
                return Err(Error::new(
                    ErrorKind::Cluster,
                    format!(
                        "no node serves slot {slot}, by the slot map of {}",
                        map.told_by
                    ),
                ));
            }
            self.fleet.closing.sleep(GLANCE);
            if self.fleet.closing.is_open() {
                return Err(Error::closed());
            }
        }
    }

    /// The node that the manager was configured with: the primary, or one of the primaries.
    pub(crate) fn home(&self, deadline: Deadline) -> Result<Arc<Node>> {
        self.pick(None, false, deadline).map(|node| node.clone())
    }

    /// The same, if it is known without asking.
    pub(crate) fn home_if_known(&self) -> Option<Arc<Node>> {
        let map = self.map.load();
        let at = map.place(None, ReadFrom::Primary)?;
        Some(Picked::OnMap(map, at).clone())
    }

    /// Whether any primary answered last time.
    pub(crate) fn is_up(&self) -> bool {
        let map = self.map.load();
        let mut primaries = map.shards.iter().map(|shard| &shard.primary);
        primaries.any(|node| node.condition.state() == State::Up)
    }

    pub(crate) fn map(&self) -> Arc<Map> {
        self.map.load_full()
    }

    /// Makes sure that the map is known.
    pub(crate) fn known(&self, deadline: Deadline) -> Result<Arc<Map>> {
        self.home(deadline)?;
        Ok(self.map())
    }

    /// Keys are dealt out to nodes by their slots.
    pub(crate) fn is_cluster(&self) -> bool {
        let scout = self.scout.as_ref();
        scout.is_some_and(|scout| matches!(scout.way(), Way::Cluster(_)))
    }

    /// Another node may take this one's place.
    pub(crate) fn may_change(&self) -> bool {
        self.scout.is_some()
    }

    pub(crate) fn shape(&self) -> Shape<'_> {
        match &self.scout {
            None => Shape::Standalone,
            Some(scout) => match scout.way() {
                Way::Cluster(_) => Shape::Cluster,
                Way::Sentinel(watchmen) => Shape::Sentinel(&watchmen.master, scout.heard()),
            },
        }
    }

    /// Tells this one whenever the map may have changed.
    pub(crate) fn follow(&self, follower: Weak<dyn Follower>) {
        if let Some(scout) = &self.scout {
            scout.tell(follower);
        }
    }

    /// Something does not fit the map: it is looked at anew, and nobody waits for that.
    pub(crate) fn doubt(&self) {
        if let Some(scout) = &self.scout {
            let _ = scout.ask();
        }
    }

    /// Has the map looked at anew, and waits for it.
    pub(crate) fn look_again(&self, deadline: Deadline) -> Result<()> {
        match &self.scout {
            None => Ok(()),
            Some(scout) => scout.wait(scout.ask()?, deadline),
        }
    }

    /// Where a MOVED or ASK of this node leads; from a MOVED, the map learns. None where it leads nowhere.
    pub(crate) fn redirected(&self, from: &Node, error: &Error) -> Result<Option<Arc<Node>>> {
        let Some(scout) = self.scout.as_ref().filter(|_| self.is_cluster()) else {
            return Ok(None);
        };
        let endpoint = &from.dialer.endpoint;
        let Some((slot, address)) = cluster::destination(error.message(), &endpoint.address) else {
            return Ok(None);
        };
        let node = self.fleet.appoint(Endpoint {
            address,
            ..endpoint.clone()
        })?;
        if error.code() == Some("MOVED") {
            scout.learn(slot, &node)?;
        }
        Ok(Some(node))
    }

    /// Ends every call and every thread, for good. False if a thread still ran at the deadline.
    pub(crate) fn close(&self, deadline: Deadline) -> bool {
        self.fleet.closing.open();
        // All are told before one is waited for.
        if let Some(scout) = &self.scout {
            scout.stop();
        }
        let fleet = self.fleet.close(deadline);
        let scout = self.scout.as_ref();
        scout.is_none_or(|scout| scout.join(deadline)) && fleet
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        self.close(Deadline::after(Duration::from_secs(1)));
    }
}
