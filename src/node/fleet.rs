//! All nodes of one manager, and the two threads that look after them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::clock::Deadline;
use crate::config::{Endpoint, Settings};
use crate::error::{Error, ErrorKind, Result};
use crate::fork::lock;
use crate::node::Node;
use crate::node::condition::State;
use crate::node::health::{Health, Watch};
use crate::node::reaper::Reaper;
use crate::node::residents::Residents;
use crate::node::roll::Roll;
use crate::node::slot_maker::SlotMaker;
use crate::transport::Resolver;
use crate::worker::Latch;

pub(crate) struct Fleet {
    pub(crate) settings: Arc<Settings>,
    resolver: Arc<Resolver>,
    slot_maker: Arc<SlotMaker>,
    watch: Arc<Watch>,
    nodes: Arc<Roll>,
    adding: Mutex<()>,
    health: Mutex<Option<Health>>,
    reaper: Mutex<Option<Reaper>>,
    /// What the features keep for as long as the manager lives.
    pub(crate) residents: Residents,
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
            nodes: Arc::default(),
            adding: Mutex::new(()),
            health: Mutex::new(None),
            reaper: Mutex::new(None),
            residents: Residents::default(),
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

    /// The same nodes and the same tasks, made anew for a forked child. Reads nothing of the parent's that a lock
    /// guards.
    pub(crate) fn renewed(parent: &Fleet) -> Result<Fleet> {
        let fleet = Fleet::new(parent.settings.clone())?;
        for node in parent.nodes.iter() {
            let mine = fleet.add(node.dialer.endpoint.clone())?;
            if node.condition.state() == State::Closed {
                mine.close();
            }
        }
        if parent.closing.is_open() {
            fleet.close(Deadline::after(MOMENT));
        }
        Ok(fleet)
    }

    /// The node of this endpoint, made if it is new, opened again if its pools were closed.
    pub(crate) fn add(&self, endpoint: Endpoint) -> Result<Arc<Node>> {
        let _adding = lock(&self.adding);
        if let Some(known) = self.find(&endpoint) {
            known.reopen();
            return Ok(known.clone());
        }
        let node = Arc::new(Node::new(
            endpoint,
            &self.settings,
            &self.resolver,
            &self.slot_maker,
            &self.watch,
        )?);
        self.nodes.push(node.clone());
        self.watch.ring();
        Ok(node)
    }

    pub(crate) fn find(&self, endpoint: &Endpoint) -> Option<&Arc<Node>> {
        self.nodes
            .iter()
            .find(|node| node.dialer.endpoint == *endpoint)
    }

    /// Every node whose pools are open.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes
            .iter()
            .filter(|node| node.condition.state() != State::Closed)
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
        for node in self.nodes.iter() {
            node.shut_down();
        }
        // Both are told before either is waited for.
        if let Some(reaper) = &*lock(&self.reaper) {
            reaper.stop();
        }
        let health = self.stop_health_checks(deadline);
        let cleanup = self.stop_cleanup(deadline);
        // All are waited for, also after one that was late.
        let late = self.nodes.iter().filter(|node| !node.join(deadline));
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
