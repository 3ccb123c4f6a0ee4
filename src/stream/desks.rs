//! Reading in the background: a thread for each node, which reads the channels that the node serves. When a channel
//! moves to another node, the thread of the old one hands it to that of the new one, which is started if there is none.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::clock::{Deadline, tell};
use crate::dispatch::Threads;
use crate::error::{ErrorKind, Result};
use crate::fork::lock;
use crate::node::Node;
use crate::stream::channel::Channel;
use crate::stream::reader::{Reader, Way};
use crate::stream::rounds::{OfNode, Pace, Round, keep_reading};
use crate::stream::shared::Shared;
use crate::worker::Latch;

pub(super) struct Desks {
    shared: Arc<Shared>,
    way: Way,
    pace: Pace,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    all: Vec<Arc<Desk>>,
    /// Of each thread, also of those whose channels have gone: open when it has ended.
    threads: Vec<Arc<Latch>>,
}

/// Where the channels of one node are read.
struct Desk {
    node: Arc<Node>,
    channels: Mutex<Vec<Arc<Channel>>>,
    /// They are others than its thread knows.
    changed: AtomicBool,
}

impl Desk {
    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Channel>>)) {
        change(&mut lock(&self.channels));
        self.changed.store(true, Ordering::Release);
    }

    fn channels(&self) -> Vec<Arc<Channel>> {
        lock(&self.channels).clone()
    }
}

impl Desks {
    pub(super) fn new(shared: &Arc<Shared>, way: Way, pace: Pace) -> Arc<Desks> {
        Arc::new(Desks {
            shared: shared.clone(),
            way,
            pace,
            state: Mutex::default(),
        })
    }

    pub(super) fn begin(self: &Arc<Self>, nodes: Vec<OfNode>) -> Result<()> {
        let mut state = lock(&self.state);
        nodes
            .into_iter()
            .try_for_each(|(node, channels)| self.open(&mut state, node, channels))
    }

    /// Whether nobody has begun to read.
    pub(super) fn are_none(&self) -> bool {
        lock(&self.state).all.is_empty()
    }

    /// Waits for the end of all threads, after the consumer was stopped. False if one still ran at the deadline.
    pub(super) fn wait(&self, deadline: Deadline) -> bool {
        let threads = lock(&self.state).threads.clone();
        threads.iter().all(|thread| thread.wait(deadline))
    }

    /// Begins to read these channels of a node.
    fn open(
        self: &Arc<Self>,
        state: &mut State,
        node: Arc<Node>,
        channels: Vec<Arc<Channel>>,
    ) -> Result<()> {
        let desk = Arc::new(Desk {
            node,
            channels: Mutex::new(channels),
            changed: AtomicBool::new(false),
        });
        let (desks, own) = (self.clone(), desk.clone());
        let body = move || desks.attend(&own);
        let threads = Threads::of(self.shared.client.dispatch()?)?;
        let ended = threads.start(&self.shared.stopping, "redkeep-read", body)?;
        state.threads.retain(|thread| !thread.is_open());
        state.threads.push(ended);
        state.all.push(desk);
        Ok(())
    }

    /// The life of a thread.
    fn attend(self: &Arc<Self>, desk: &Arc<Desk>) {
        let shared = &self.shared;
        let mut reader = Reader::new(shared, &desk.node, desk.channels(), self.way.clone());
        let result = keep_reading(shared, self.pace.rest, || {
            if reader.has_strayed() {
                self.hand_on(desk)?;
            }
            if desk.changed.swap(false, Ordering::AcqRel) {
                let channels = desk.channels();
                if channels.is_empty() {
                    return Ok(Round::Over);
                }
                reader.attend_to(channels);
            }
            let found = reader.round(self.pace.block)?;
            let changed = desk.changed.load(Ordering::Acquire) || reader.has_strayed();
            Ok(match found {
                0 if changed => Round::Changed,
                found => Round::Found(found),
            })
        });
        if let Err(error) = &result
            && error.kind() != ErrorKind::Closed
        {
            tell!(Warn, "consumer {}: {error}", shared.name);
        }
        if !shared.stopping.is_open() && !shared.is_over() {
            return;
        }
        reader.finish();
        if let Way::Inbox(inbox) = &self.way {
            inbox.close();
        }
    }

    /// Channels that another node serves now go to its desk.
    fn hand_on(self: &Arc<Self>, desk: &Arc<Desk>) -> Result<()> {
        let mut joined = false;
        {
            let mut state = lock(&self.state);
            for channel in desk.channels() {
                if self.shared.stopping.is_open() || !channel.is_elsewhere(&desk.node) {
                    continue;
                }
                let node = channel.home(Deadline::after(self.shared.client.timeout()?))?;
                let known = state.all.iter().find(|it| Arc::ptr_eq(&it.node, &node));
                match known {
                    Some(other) => {
                        other.change(|channels| channels.push(channel.clone()));
                        joined = true;
                    }
                    None => self.open(&mut state, node, vec![channel.clone()])?,
                }
                desk.change(|channels| channels.retain(|it| !Arc::ptr_eq(it, &channel)));
            }
            if desk.channels().is_empty() {
                state.all.retain(|it| !Arc::ptr_eq(it, desk));
            }
        }
        if joined {
            // They may be waiting in their servers.
            self.shared.rouse();
        }
        Ok(())
    }
}
