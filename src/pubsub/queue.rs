//! Events that wait, within limits.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::pubsub::Event;
use crate::pubsub::counts::Counts;

/// What happens to a message for which a queue has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// The oldest ones in the queue are dropped for it. The default.
    #[default]
    DropOldest,
    /// It is dropped itself.
    DropNewest,
}

/// What a queue may hold. May be changed at any time.
pub(super) struct Limits {
    pub(super) messages: AtomicUsize,
    pub(super) bytes: AtomicUsize,
    pub(super) newest: AtomicBool,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            messages: AtomicUsize::new(10_000),
            bytes: AtomicUsize::new(64 << 20),
            newest: AtomicBool::new(false),
        }
    }
}

/// Events in the order in which they came. A gap is not dropped; only where as many of them wait as messages may, no
/// more are added.
#[derive(Default)]
pub(super) struct Queue {
    events: VecDeque<Event>,
    messages: usize,
    bytes: usize,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Appends an event. False if there is no room for it.
    pub(super) fn push(&mut self, event: Event, limits: &Limits, counts: &Counts) -> bool {
        let Event::Message(message) = &event else {
            counts.gaps.fetch_add(1, Ordering::Relaxed);
            let gaps = self.events.len() - self.messages;
            let room = gaps < limits.messages.load(Ordering::Relaxed);
            if room {
                self.append(event, counts);
            }
            return room;
        };
        counts.received.fetch_add(1, Ordering::Relaxed);
        let weight = message.weight();
        let messages = limits.messages.load(Ordering::Relaxed);
        let bytes = limits.bytes.load(Ordering::Relaxed);
        // One message has room in an empty queue, however large it is.
        while self.messages > 0 && (self.messages >= messages || self.bytes + weight > bytes) {
            counts.dropped.fetch_add(1, Ordering::Relaxed);
            if limits.newest.load(Ordering::Relaxed) {
                return false;
            }
            self.drop_oldest(counts);
        }
        self.messages += 1;
        self.bytes += weight;
        self.append(event, counts);
        true
    }

    fn append(&mut self, event: Event, counts: &Counts) {
        counts.waiting.fetch_add(1, Ordering::Relaxed);
        self.events.push_back(event);
    }

    pub(super) fn pop(&mut self, counts: &Counts) -> Option<Event> {
        let event = self.events.pop_front()?;
        self.forget(&event, counts);
        if self.events.is_empty() && self.events.capacity() > KEEP {
            self.events = VecDeque::new();
        }
        Some(event)
    }

    fn drop_oldest(&mut self, counts: &Counts) {
        let oldest = self
            .events
            .iter()
            .position(|event| matches!(event, Event::Message(_)));
        if let Some(event) = oldest.and_then(|at| self.events.remove(at)) {
            self.forget(&event, counts);
        }
    }

    /// Lets go of everything that is not kept by `keep`.
    pub(super) fn retain(&mut self, keep: impl Fn(&Event) -> bool, counts: &Counts) {
        let all = std::mem::take(&mut self.events);
        for event in all {
            match keep(&event) {
                true => self.events.push_back(event),
                false => self.forget(&event, counts),
            }
        }
    }

    fn forget(&mut self, event: &Event, counts: &Counts) {
        counts.waiting.fetch_sub(1, Ordering::Relaxed);
        if let Event::Message(message) = event {
            self.messages -= 1;
            self.bytes -= message.weight();
        }
    }
}

/// An empty queue with room for more events than this gives the room back.
const KEEP: usize = 1024;
