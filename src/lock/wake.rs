//! How those who wait are told: each process has a channel of its own, on each node where it waits for a lock.
//!
//! The messages: `grant {token}`, the lock was handed to that token; `look {milliseconds} {token}`, whoever has the lock
//! has it for so long without a further sign, so look then.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use crate::client::Client;
use crate::clock::{Deadline, Moment, tell};
use crate::fork::lock;
use crate::lock::line::Line;
use crate::lock::scripts::channel;
use crate::node::listener::{Kind, Message, Sink, Subscription};
use crate::node::{Node, State};

/// After a failed attempt to listen, those who wait poll for so long before the next.
const PAUSE: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(crate) struct Ears {
    /// By the names of the nodes.
    nodes: Mutex<HashMap<Arc<str>, Ear>>,
    seats: Arc<Seats>,
}

enum Ear {
    Opening,
    /// The node itself, and not another that bears its name: one that left the cluster, and came back.
    Open(Arc<Node>, #[allow(dead_code)] Subscription),
    /// Not before this moment again.
    Deaf(Moment),
}

impl Ear {
    fn hears(&self, node: &Arc<Node>) -> bool {
        matches!(self, Ear::Open(known, _) if Arc::ptr_eq(known, node))
    }

    /// Nothing will ever come from there again.
    fn is_of_the_gone(&self) -> bool {
        matches!(self, Ear::Open(node, _) if node.condition.state() == State::Closed)
    }
}

impl Ears {
    /// Whether messages about this key come in. Only then may its waiters stand in a queue of the server's.
    pub(crate) fn hear(&self, client: &Client, key: &str) -> bool {
        let Ok(dispatch) = client.dispatch() else {
            return false;
        };
        // If it is not known where the key lives, nothing comes in.
        let now = Deadline::after(Duration::ZERO);
        let Ok(node) = dispatch.topology.pick(Some(key.as_bytes()), false, now) else {
            return false;
        };
        let nodes = lock(&self.nodes);
        nodes.get(&node.name).is_some_and(|ear| ear.hears(&node))
    }

    /// Makes sure of that, where it is possible. While another thread does, or after a failure, it is not: false.
    pub(crate) fn open(&self, client: &Client, key: &str, id: &str, deadline: Deadline) -> bool {
        let Ok(dispatch) = client.dispatch() else {
            return false;
        };
        let Ok(node) = dispatch
            .topology
            .pick(Some(key.as_bytes()), false, deadline)
        else {
            return false;
        };
        // What was there before is dropped outside of the lock.
        let before = {
            let mut nodes = lock(&self.nodes);
            match nodes.get(&node.name) {
                Some(ear) if ear.hears(&node) => return true,
                Some(Ear::Opening) => return false,
                Some(Ear::Deaf(until)) if *until > Moment::now() => return false,
                _ => {
                    let mut before: Vec<Ear> = nodes
                        .extract_if(|_, ear| ear.is_of_the_gone())
                        .map(|(_, ear)| ear)
                        .collect();
                    before.extend(nodes.insert(node.name.clone(), Ear::Opening));
                    before
                }
            }
        };
        drop(before);
        let subscribed = node.listener().and_then(|listener| {
            listener.subscribe(
                Kind::Channel,
                channel(id).as_bytes(),
                self.seats.clone(),
                deadline,
            )
        });
        let ear = match subscribed {
            Ok(subscription) => Ear::Open(node.clone(), subscription),
            Err(error) => {
                // The caller's own deadline says nothing about the node.
                if !deadline.passed() {
                    tell!(Warn, "those who wait for locks poll: {error}");
                }
                Ear::Deaf(match deadline.passed() {
                    true => Moment::now(),
                    false => Moment::now() + PAUSE,
                })
            }
        };
        let open = ear.hears(&node);
        let before = lock(&self.nodes).insert(node.name.clone(), ear);
        drop(before);
        open
    }

    /// From here on, messages for this token reach the line.
    pub(crate) fn seat(&self, token: &str, line: &Arc<Line>) {
        lock(&self.seats.lines).insert(token.to_owned(), Arc::downgrade(line));
    }

    pub(crate) fn unseat(&self, token: &str) {
        lock(&self.seats.lines).remove(token);
    }

    /// Every line that waits for a message.
    pub(crate) fn lines(&self) -> Vec<Arc<Line>> {
        let lines = lock(&self.seats.lines);
        lines.values().filter_map(Weak::upgrade).collect()
    }
}

/// Who is to be told when a message comes for a token.
#[derive(Default)]
struct Seats {
    lines: Mutex<HashMap<String, Weak<Line>>>,
}

impl Sink for Seats {
    fn message(&self, message: &Message<'_>) {
        let Ok(text) = std::str::from_utf8(message.data) else {
            return;
        };
        let mut words = text.split(' ');
        let (verb, token) = (words.next(), words.next_back());
        let line = token.and_then(|token| lock(&self.lines).get(token).and_then(Weak::upgrade));
        let Some(line) = line else { return };
        match (verb, words.next().and_then(|time| time.parse().ok())) {
            (Some("grant"), None) => line.look_now(),
            (Some("look"), Some(time)) => line.look_in(Duration::from_millis(time)),
            _ => {}
        }
    }

    fn gap(&self) {
        let lines: Vec<_> = lock(&self.lines).values().cloned().collect();
        lines
            .iter()
            .filter_map(Weak::upgrade)
            .for_each(|line| line.look_now());
    }

    /// The manager wakes those who wait itself.
    fn closed(&self) {}
}
