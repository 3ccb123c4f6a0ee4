//! The sentinels' own word that the primary has changed: `+switch-master`, subscribed to at each of them. A message may
//! be lost, so the map is asked for by the clock as well.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::clock::Deadline;
use crate::config::Endpoint;
use crate::fork::lock;
use crate::node::listener::{Kind, Listener, Message, Sink, Subscription};
use crate::node::{Condition, Fleet};
use crate::transport::Lifeline;

const CHANNEL: &[u8] = b"+switch-master";

/// A sentinel that has just answered confirms at once; one that does not is tried again in the next round.
const PATIENCE: Duration = Duration::from_millis(200);

#[derive(Default)]
pub(super) struct Watches {
    all: Mutex<Vec<Watch>>,
}

/// One sentinel that is listened to.
struct Watch {
    sentinel: Endpoint,
    /// Above what it is a subscription of, so that it goes first.
    _subscription: Subscription,
    listener: Listener,
    /// Cut, it ends a dial under way.
    lifeline: Arc<Lifeline>,
}

fn end(listener: &Listener, lifeline: &Lifeline) {
    lifeline.cut();
    listener.close();
}

/// Passes the news on.
struct News<F> {
    master: String,
    tell: F,
}

impl<F: Fn() + Send + Sync> Sink for News<F> {
    /// `name old-ip old-port new-ip new-port`
    fn message(&self, message: &Message<'_>) {
        let mut words = message.data.split(|b| *b == b' ');
        if words.next() == Some(self.master.as_bytes()) {
            (self.tell)();
        }
    }

    fn gap(&self) {
        (self.tell)();
    }

    fn closed(&self) {}
}

impl Watches {
    /// Listens to this sentinel from now on, if it is not listened to yet.
    pub(super) fn begin(
        &self,
        fleet: &Fleet,
        sentinel: &Endpoint,
        master: &str,
        tell: impl Fn() + Send + Sync + 'static,
    ) {
        if (lock(&self.all).iter()).any(|watch| watch.sentinel == *sentinel) {
            return;
        }
        let name: Arc<str> = sentinel.address.to_string().into();
        let lifeline = Arc::<Lifeline>::default();
        let dialer = fleet.sentinel_dialer(sentinel.clone(), &lifeline);
        let condition = Arc::new(Condition::new(name.clone()));
        let listener = Listener::new(&name, &dialer, &condition);
        let news = Arc::new(News {
            master: master.to_owned(),
            tell,
        });
        match listener.subscribe(Kind::Channel, CHANNEL, news, Deadline::after(PATIENCE)) {
            Ok(subscription) => lock(&self.all).push(Watch {
                sentinel: sentinel.clone(),
                _subscription: subscription,
                listener,
                lifeline,
            }),
            Err(error) => {
                log::debug!(target: "redkeep", "sentinel {name} is not listened to yet: {error}");
                end(&listener, &lifeline);
                listener.join(Deadline::after(PATIENCE));
            }
        }
    }

    /// Ends it all. False if a thread still ran at the deadline.
    pub(super) fn close(&self, deadline: Deadline) -> bool {
        let all = std::mem::take(&mut *lock(&self.all));
        for watch in &all {
            end(&watch.listener, &watch.lifeline);
        }
        // Every one of them, also behind one that was late.
        let late = all.iter().filter(|watch| !watch.listener.join(deadline));
        late.count() == 0
    }
}
