//! What one subscriber listens to, and at which node. Where nodes take over from one another, the subscriptions follow:
//! a thread moves them, and ends when all are where they belong.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use crate::clock::{self, Deadline};
use crate::dispatch::Threads;
use crate::error::{Error, ErrorKind, Result};
use crate::fork::lock;
use crate::manager::Manager;
use crate::node::listener::Kind;
use crate::node::{Node, State};
use crate::pubsub::Mouth;
use crate::pubsub::place::{Held, Place};
use crate::topology::{Follower, Topology};

/// Between two attempts of what could not be done.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Roll {
    pub(super) manager: Manager,
    names: Mutex<Names>,
    moving: Mutex<Moving>,
}

#[derive(Default)]
pub(super) struct Names {
    pub(super) all: HashMap<Name, Held>,
    /// It has been polled.
    pub(super) polled: bool,
    /// The topology tells of changes.
    follows: bool,
}

/// The number of its kind, and the name.
type Name = (u8, Box<[u8]>);

#[derive(Default)]
struct Moving {
    running: bool,
    /// There is news that the thread may not have seen.
    again: bool,
}

impl Names {
    pub(super) fn may_have_handlers(&self, what: &str) -> Result<()> {
        match self.polled || !self.all.is_empty() {
            false => Ok(()),
            true => Err(Error::new(
                ErrorKind::Conflict,
                format!("{what}: it is set before anything is added or polled"),
            )),
        }
    }
}

impl Roll {
    pub(super) fn new(manager: Manager) -> Arc<Roll> {
        Arc::new(Roll {
            manager,
            names: Mutex::default(),
            moving: Mutex::default(),
        })
    }

    pub(super) fn names(&self) -> MutexGuard<'_, Names> {
        lock(&self.names)
    }

    /// Subscribes at the node that serves this name, wherever that turns out to be.
    pub(super) fn subscribe(
        self: &Arc<Self>,
        kind: Kind,
        name: &[u8],
        mouth: Arc<dyn Mouth>,
    ) -> Result<Held> {
        let dispatch = self.manager.dispatch()?;
        let topology = &dispatch.topology;
        if topology.may_change() && !std::mem::replace(&mut self.names().follows, true) {
            let own: Weak<Roll> = Arc::downgrade(self);
            topology.follow(own);
        }
        let deadline = Deadline::after(self.manager.timeout()?);
        loop {
            let node = match kind {
                Kind::Sharded => topology.pick(Some(name), false, deadline)?.clone(),
                Kind::Channel | Kind::Pattern => topology.home(deadline)?,
            };
            let error = match self.attach(kind, name, &mouth, &node, false, deadline) {
                Ok(held) => return Ok(held),
                Err(error) => error,
            };
            let passes = topology.may_change() && may_pass(&error);
            if !passes || deadline.remaining().is_none_or(|left| left <= PAUSE) {
                return Err(error);
            }
            dispatch.met(&node, &error);
            if dispatch.sent_on(&node, &error)?.is_none() {
                topology.fleet.closing.sleep(PAUSE);
            }
        }
    }

    fn attach(
        self: &Arc<Self>,
        kind: Kind,
        name: &[u8],
        mouth: &Arc<dyn Mouth>,
        node: &Arc<Node>,
        takes_over: bool,
        deadline: Deadline,
    ) -> Result<Held> {
        let place = Place::new(mouth.clone(), node, self, takes_over);
        let sink = place.clone();
        let subscription = node.listener()?.subscribe(kind, name, sink, deadline)?;
        Ok(Held {
            mouth: mouth.clone(),
            place,
            _subscription: subscription,
            node: node.clone(),
        })
    }

    /// A node does not take a subscription any more.
    pub(super) fn refused(self: &Arc<Self>, node: &Arc<Node>, error: &Error) {
        let Ok(dispatch) = self.manager.dispatch() else {
            return;
        };
        if !dispatch.topology.may_change() {
            return;
        }
        if error.code().is_none() {
            // The listener has tried more than once.
            node.judge(error, true);
        }
        dispatch.met(node, error);
        // What it tells of the slot goes into the map.
        let _ = dispatch.sent_on(node, error);
        self.catch_up();
    }

    /// Leaves every place that is no longer the right one, and has what was left moved.
    pub(super) fn catch_up(self: &Arc<Self>) {
        let Ok(dispatch) = self.manager.dispatch() else {
            return;
        };
        let topology = &dispatch.topology;
        if !topology.may_change() {
            return;
        }
        let mut homeless = false;
        for ((kind, name), held) in &self.names().all {
            if where_to(topology, *kind, name, &held.node).is_some() {
                held.place.leave();
            }
            homeless |= held.place.is_left();
        }
        if !homeless {
            return;
        }
        let mut moving = lock(&self.moving);
        moving.again = true;
        if !moving.running {
            let own = self.clone();
            // Where no thread can be had, the next news tries again.
            let stop = &topology.fleet.closing;
            let started = Threads::of(dispatch)
                .and_then(|threads| threads.start(stop, "redkeep-move", move || own.run()));
            moving.running = started.is_ok();
        }
    }

    fn run(self: &Arc<Self>) {
        loop {
            lock(&self.moving).again = false;
            let closing = match self.manager.dispatch() {
                Ok(dispatch) => dispatch.topology.fleet.closing.clone(),
                Err(_) => return,
            };
            let all_moved = self.move_all();
            let time = if all_moved { Duration::ZERO } else { PAUSE };
            let over = closing.is_open() || closing.sleep(clock::between(time / 2, time));
            let mut moving = lock(&self.moving);
            if over || (all_moved && !moving.again) {
                moving.running = false;
                return;
            }
        }
    }

    /// Subscribes anew to what has no right place any more. False if something is left over.
    fn move_all(self: &Arc<Self>) -> bool {
        let Ok(dispatch) = self.manager.dispatch() else {
            return true;
        };
        let topology = &dispatch.topology;
        let homeless: Vec<(Name, Arc<dyn Mouth>)> = {
            let names = self.names();
            let left = names.all.iter().filter(|(_, held)| held.place.is_left());
            left.map(|(name, held)| (name.clone(), held.mouth.clone()))
                .collect()
        };
        // Nobody waits twice for a node that does not answer.
        let mut silent: Vec<Arc<Node>> = Vec::new();
        let mut all_moved = true;
        for ((number, name), mouth) in homeless {
            if topology.fleet.closing.is_open() {
                return true;
            }
            let kind = Kind::ALL[usize::from(number)];
            let deadline = Deadline::after(self.manager.timeout().unwrap_or_default());
            let node = match kind {
                Kind::Sharded => home_of(topology, &name),
                Kind::Channel | Kind::Pattern => topology.home_if_known(),
            };
            let node = node.filter(|node| !silent.iter().any(|it| Arc::ptr_eq(it, node)));
            let Some(node) = node else {
                all_moved = false;
                continue;
            };
            match self.attach(kind, &name, &mouth, &node, true, deadline) {
                Ok(held) => self.settle((number, name), held),
                Err(error) => {
                    log::debug!(target: "redkeep", "a subscription has not moved to {} yet: {error}", node.name);
                    all_moved = false;
                    dispatch.met(&node, &error);
                    let sent_on = dispatch.sent_on(&node, &error);
                    if error.code().is_none() && !matches!(sent_on, Ok(Some(_))) {
                        silent.push(node);
                    }
                }
            }
        }
        all_moved
    }

    /// It has a new place, unless it was removed meanwhile.
    fn settle(&self, name: Name, held: Held) {
        let place = held.place.clone();
        let gone = {
            let mut names = self.names();
            match names.all.get_mut(&name) {
                Some(known) if Arc::ptr_eq(&known.mouth, &held.mouth) => {
                    std::mem::replace(known, held)
                }
                _ => held,
            }
        };
        if !Arc::ptr_eq(&gone.place, &place) {
            place.tell_gap();
        }
    }
}

impl Follower for Roll {
    fn look(self: Arc<Self>) {
        self.catch_up();
    }
}

/// The node of a sharded channel, if it is known without asking.
fn home_of(topology: &Topology, name: &[u8]) -> Option<Arc<Node>> {
    let none = Deadline::after(Duration::ZERO);
    let picked = topology.pick(Some(name), false, none).ok()?;
    Some(picked.clone())
}

/// The node that a subscription should be moved to; none if it is where it belongs, or nothing better is known.
fn where_to(topology: &Topology, kind: u8, name: &[u8], at: &Arc<Node>) -> Option<Arc<Node>> {
    let home = match Kind::ALL[usize::from(kind)] {
        Kind::Sharded => home_of(topology, name),
        // In a cluster every node has every message.
        _ if topology.is_cluster() && topology.map().has(at) && is_well(at) => None,
        _ => topology.home_if_known(),
    };
    home.filter(|home| !Arc::ptr_eq(home, at))
}

fn is_well(node: &Node) -> bool {
    !matches!(node.condition.state(), State::Down | State::Closed)
}

/// Another node, or this one in a moment, may take the subscription.
fn may_pass(error: &Error) -> bool {
    use ErrorKind::{Cluster, Connect, Io, Loading, NoHealthyPools, UnknownNode};
    matches!(
        error.kind(),
        Cluster | Connect | Io | Loading | NoHealthyPools | UnknownNode
    )
}
