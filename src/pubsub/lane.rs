//! One name of a subscriber with handlers: its events are handled one after the other, on whichever worker is free.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};

use crate::clock::tell;
use crate::error::Result;
use crate::fork::lock;
use crate::node::listener::{Kind, Message, Sink};
use crate::pubsub::handlers::{Both, Handlers};
use crate::pubsub::queue::Queue;
use crate::pubsub::{Event, Gap, Mouth, Published, Shared};
use crate::worker::{Crew, run};

/// So many events of one name are handled before others have their turn.
const TURN: usize = 64;

pub(super) struct Lane {
    /// Itself, for the jobs that it hands to the crew.
    me: Weak<Lane>,
    kind: Kind,
    name: Box<[u8]>,
    shared: Arc<Shared>,
    handlers: Arc<Handlers>,
    crew: Arc<Crew>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    queue: Queue,
    live: bool,
    /// A worker is at it, or will be.
    busy: bool,
}

impl Lane {
    pub(super) fn new(
        kind: Kind,
        name: &[u8],
        shared: &Arc<Shared>,
        handlers: &Arc<Handlers>,
        crew: &Arc<Crew>,
    ) -> Arc<Lane> {
        Arc::new_cyclic(|me| Lane {
            me: me.clone(),
            kind,
            name: name.into(),
            shared: shared.clone(),
            handlers: handlers.clone(),
            crew: crew.clone(),
            state: Mutex::default(),
        })
    }

    fn push(&self, event: impl FnOnce() -> Event) {
        let mut state = lock(&self.state);
        if !state.live {
            return;
        }
        let Shared { limits, counts, .. } = &*self.shared;
        let more = state.queue.push(event(), limits, counts);
        if more && !state.busy {
            // Where there are no workers any more, the manager was closed.
            state.busy = self.hand_over().is_ok();
        }
        drop(state);
        counts.tell_of_drops();
    }

    fn hand_over(&self) -> Result<()> {
        let Some(me) = self.me.upgrade() else {
            return Ok(());
        };
        self.crew.submit(Box::new(move || me.work()))
    }

    fn work(&self) {
        for _ in 0..TURN {
            let event = {
                let mut state = lock(&self.state);
                let Some(event) = state.queue.pop(&self.shared.counts) else {
                    state.busy = false;
                    return;
                };
                event
            };
            match self.handlers.enter() {
                Some(inside) => self.handle(&event, &inside.both),
                None => break,
            }
        }
        let mut state = lock(&self.state);
        state.busy = !state.queue.is_empty() && self.hand_over().is_ok();
    }

    fn handle(&self, event: &Event, both: &Both) {
        let mut failed = true;
        run(|| {
            let error = match event {
                Event::Message(message) => both.message.as_ref().and_then(|it| it(message)),
                Event::Gap(gap) => both.gap.as_ref().and_then(|it| it(gap)),
            };
            failed = error.is_some();
            if let Some(text) = error {
                tell!(Error, "a subscriber's handler failed, and goes on: {text}");
            }
        });
        let counts = &self.shared.counts;
        counts.delivered.fetch_add(1, Ordering::Relaxed);
        if failed {
            counts.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Sink for Lane {
    fn message(&self, message: &Message<'_>) {
        self.push(|| Event::Message(Published::new(message)));
    }

    fn gap(&self) {
        self.push(|| Event::Gap(Gap::new(self.kind, &self.name)));
    }

    fn closed(&self) {
        self.end();
    }
}

impl Mouth for Lane {
    fn begin(&self) {
        lock(&self.state).live = true;
    }

    fn end(&self) {
        let mut state = lock(&self.state);
        state.live = false;
        state.queue.retain(|_| false, &self.shared.counts);
    }
}
