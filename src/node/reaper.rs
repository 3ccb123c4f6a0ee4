//! The reaper thread: closes connections that nobody has needed for a while, and reports leases that do not end.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Deadline;
use crate::error::Result;
use crate::node::roll::Roll;
use crate::worker::{Latch, Worker};

pub(crate) struct Reaper {
    stop: Arc<Latch>,
    worker: Worker,
}

impl Reaper {
    /// Every `interval`, closes what has been idle for longer than `max_idle`, or is too old, and reports what has been leased for
    /// longer than `lease_warning`.
    pub(crate) fn start(
        nodes: &Arc<Roll>,
        interval: Duration,
        max_idle: Option<Duration>,
        lease_warning: Option<Duration>,
    ) -> Result<Reaper> {
        let stop = Arc::new(Latch::default());
        let (nodes, latch) = (nodes.clone(), stop.clone());
        let worker = Worker::start("redkeep-reaper", move || {
            while !latch.sleep(interval) {
                for node in nodes.nodes() {
                    node.reap(max_idle);
                    if let Some(limit) = lease_warning {
                        node.report_leases(limit);
                    }
                }
            }
        })?;
        Ok(Reaper { stop, worker })
    }

    pub(crate) fn stop(&self) {
        self.stop.open();
    }

    pub(crate) fn join(self, deadline: Deadline) -> bool {
        self.worker.join(deadline)
    }
}
