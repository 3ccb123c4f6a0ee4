//! All nodes of one manager, and the two threads that look after them.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use crate::clock::Deadline;
use crate::config::{Endpoint, Settings};
use crate::error::{Error, ErrorKind, Result};
use crate::fork::lock;
use crate::node::Node;
use crate::node::condition::State;
use crate::node::health::{Health, Watch};
use crate::node::lines::Callers;
use crate::node::reaper::Reaper;
use crate::node::residents::Residents;
use crate::node::roll::Roll;
use crate::node::slot_maker::SlotMaker;
use crate::node::witnesses::Witnesses;
use crate::transport::{Dialer, Lifeline, Resolver};
use crate::worker::Latch;

pub(crate) struct Fleet {
    pub(crate) settings: Arc<Settings>,
    resolver: Arc<Resolver>,
    slot_maker: Arc<SlotMaker>,
    watch: Arc<Watch>,
    callers: Arc<Callers>,
    nodes: Arc<Roll>,
    adding: Mutex<()>,
    /// Nodes that have gone, some of which are still in use.
    gone: Mutex<Vec<Weak<Node>>>,
    health: Mutex<Option<Health>>,
    reaper: Mutex<Option<Reaper>>,
    /// What the features keep for as long as the manager lives.
    pub(crate) residents: Residents,
    /// Who wants to know what is written through the manager.
    pub(crate) witnesses: Arc<Witnesses>,
    /// Opened when everything ends.
    pub(crate) closing: Arc<Latch>,
}

impl Fleet {
    /// Without nodes yet; the threads run from here on, unless their interval is 0.
    pub(crate) fn new(settings: Arc<Settings>) -> Result<Fleet> {
        let fleet = Fleet {
            settings,
            resolver: Arc::default(),
            slot_maker: SlotMaker::shared(),
            watch: Arc::default(),
            callers: Arc::default(),
            nodes: Arc::default(),
            adding: Mutex::new(()),
            gone: Mutex::default(),
            health: Mutex::new(None),
            reaper: Mutex::new(None),
            residents: Residents::default(),
            witnesses: Arc::default(),
            closing: Arc::default(),
        };
        if fleet.settings.health_check_interval.is_some() {
            fleet.start_health_checks()?;
        }
        if fleet.settings.cleanup_interval.is_some() {
            fleet.start_cleanup()?;
        }
        Ok(fleet)
    }

    /// The nodes that the program named and the same tasks, made anew for a forked child. Reads nothing of the parent's
    /// that a lock guards.
    pub(crate) fn renewed(parent: &Fleet) -> Result<Fleet> {
        let fleet = Fleet::new(parent.settings.clone())?;
        // What the servers named they will name again.
        for place in (parent.nodes.places().iter()).filter(|place| place.is_wanted()) {
            let mine = fleet.add(place.node.dialer.endpoint.clone())?;
            if place.node.condition.state() == State::Closed {
                mine.close();
            }
        }
        if parent.closing.is_open() {
            fleet.close(Deadline::after(MOMENT));
        }
        Ok(fleet)
    }

    /// The node of this endpoint, which the program named: made if it is new, opened again if its pools were closed.
    pub(crate) fn add(&self, endpoint: Endpoint) -> Result<Arc<Node>> {
        let _adding = lock(&self.adding);
        if let Some(known) = self.nodes.find(&endpoint) {
            known.want();
            known.node.reopen();
            return Ok(known.node.clone());
        }
        self.make(endpoint, true)
    }

    /// The node of this endpoint, which the servers named: made if it is new, and otherwise left as it is.
    pub(crate) fn appoint(&self, endpoint: Endpoint) -> Result<Arc<Node>> {
        let _adding = lock(&self.adding);
        match self.nodes.find(&endpoint) {
            Some(known) => Ok(known.node.clone()),
            None => self.make(endpoint, false),
        }
    }

    /// The servers name this node no more: unless the program named it, it goes. Idle connections are closed now,
    /// those in use when they come back.
    pub(crate) fn dismiss(&self, node: &Arc<Node>) {
        let _adding = lock(&self.adding);
        match self.nodes.find(&node.dialer.endpoint) {
            Some(place) if place.is_wanted() => node.purge(),
            _ => {
                node.close();
                self.nodes.remove(node);
                self.watch.ring();
                let mut gone = lock(&self.gone);
                gone.retain(|one| one.strong_count() > 0);
                gone.push(Arc::downgrade(node));
                drop(gone);
                // Behind this, close() would not see it any more.
                if self.closing.is_open() {
                    node.shut_down();
                }
            }
        }
    }

    /// Under the lock `adding`.
    fn make(&self, endpoint: Endpoint, wanted: bool) -> Result<Arc<Node>> {
        let node = Arc::new(self.stranger(endpoint)?);
        // Behind this, close() would not see it any more.
        if self.closing.is_open() {
            node.shut_down();
        }
        self.nodes.push(node.clone(), wanted);
        self.watch.ring();
        Ok(node)
    }

    /// A node that is not one of the fleet's, and that nobody looks after.
    pub(crate) fn stranger(&self, endpoint: Endpoint) -> Result<Node> {
        Node::new(
            endpoint,
            &self.settings,
            &self.resolver,
            &self.slot_maker,
            &self.watch,
            &self.callers,
            &self.witnesses,
        )
    }

    /// What opens connections to an endpoint outside of all pools: to a server of this fleet.
    pub(crate) fn dialer(&self, endpoint: Endpoint, lifeline: &Arc<Lifeline>) -> Dialer {
        Dialer {
            endpoint,
            settings: self.settings.clone(),
            resolver: self.resolver.clone(),
            lifeline: lifeline.clone(),
        }
    }

    /// The same to a sentinel, which has a login of its own or none, and is not to see that of the servers.
    pub(crate) fn sentinel_dialer(&self, endpoint: Endpoint, lifeline: &Arc<Lifeline>) -> Dialer {
        let settings = Settings {
            credentials: None,
            ..Settings::clone(&self.settings)
        };
        Dialer {
            settings: Arc::new(settings),
            ..self.dialer(endpoint, lifeline)
        }
    }

    pub(crate) fn find(&self, endpoint: &Endpoint) -> Option<Arc<Node>> {
        self.nodes.find(endpoint).map(|place| place.node.clone())
    }

    /// A node at this place, which the servers named, for a url that says nothing of user and password.
    pub(crate) fn find_greeted_otherwise(&self, endpoint: &Endpoint) -> Option<Arc<Node>> {
        if endpoint.username.is_some() || endpoint.password.is_some() {
            return None;
        }
        let places = self.nodes.places();
        let found = places.iter().find(|place| {
            place.node.dialer.endpoint.address == endpoint.address && !place.is_wanted()
        });
        found.map(|place| place.node.clone())
    }

    /// Every node whose pools are open.
    pub(crate) fn nodes(&self) -> Vec<Arc<Node>> {
        let mut nodes = self.nodes.nodes();
        nodes.retain(|node| node.condition.state() != State::Closed);
        nodes
    }

    pub(crate) fn start_health_checks(&self) -> Result<()> {
        let interval = self
            .settings
            .health_check_interval
            .ok_or_else(|| off("health_check_interval"))?;
        let mut health = lock(&self.health);
        // Under the lock, behind which close() looks for threads to end.
        if self.closing.is_open() {
            return Err(Error::closed());
        }
        if health.is_none() {
            *health = Some(Health::start(&self.watch, &self.nodes, interval)?);
        }
        Ok(())
    }

    pub(crate) fn stop_health_checks(&self, deadline: Deadline) -> bool {
        let Some(health) = lock(&self.health).take() else {
            return true;
        };
        health.stop();
        health.join(deadline)
    }

    pub(crate) fn start_cleanup(&self) -> Result<()> {
        let interval = self
            .settings
            .cleanup_interval
            .ok_or_else(|| off("cleanup_interval"))?;
        let mut reaper = lock(&self.reaper);
        // Under the lock, behind which close() looks for threads to end.
        if self.closing.is_open() {
            return Err(Error::closed());
        }
        if reaper.is_none() {
            let (max_idle, warning) = (self.settings.max_idle_time, self.settings.lease_warning);
            *reaper = Some(Reaper::start(&self.nodes, interval, max_idle, warning)?);
        }
        Ok(())
    }

    pub(crate) fn stop_cleanup(&self, deadline: Deadline) -> bool {
        let Some(reaper) = lock(&self.reaper).take() else {
            return true;
        };
        reaper.stop();
        reaper.join(deadline)
    }

    /// Whether both tasks run: health checks, clean-up.
    pub(crate) fn tasks(&self) -> (bool, bool) {
        (lock(&self.health).is_some(), lock(&self.reaper).is_some())
    }

    /// Ends every call and every thread, for good. False if a thread still ran at the deadline.
    pub(crate) fn close(&self, deadline: Deadline) -> bool {
        self.closing.open();
        self.residents.stop();
        let nodes = {
            let _adding = lock(&self.adding);
            let mut nodes = self.nodes.nodes();
            nodes.extend(lock(&self.gone).iter().filter_map(Weak::upgrade));
            nodes.iter().for_each(|node| node.shut_down());
            nodes
        };
        // Both are told before either is waited for.
        if let Some(reaper) = &*lock(&self.reaper) {
            reaper.stop();
        }
        let health = self.stop_health_checks(deadline);
        let cleanup = self.stop_cleanup(deadline);
        // All are waited for, also after one that was late.
        let late = nodes.iter().filter(|node| !node.join(deadline));
        let residents = self.residents.join(deadline);
        late.count() == 0 && residents && cleanup && health
    }
}

/// The threads end within moments; the limit is for a machine that is out of breath.
const MOMENT: Duration = Duration::from_secs(1);

impl Drop for Fleet {
    fn drop(&mut self) {
        self.close(Deadline::after(MOMENT));
    }
}

fn off(property: &str) -> Error {
    Error::new(
        ErrorKind::BadValue,
        format!("{property} is 0, which keeps this task off; open the manager with an interval"),
    )
}
