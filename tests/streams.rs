//! Senders and consumers: names and fields, handlers, what fails, what is taken over, what is cleaned up, the end.

mod home;
mod support;

mod streams {
    mod bounds;
    mod consuming;
    mod ends;
    mod failures;
    mod groups;
    mod handlers;
}

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use home::Home;
use redkeep::{
    ChannelOptions, Config, Consumer, Delivery, ErrorKind, Manager, Message, Received, StartAt,
    Trim,
};
use support::{PATIENCE, alone, threads, wait_for, wait_until};

const MOMENT: Duration = Duration::from_millis(20);
const NOT_LONG: Duration = Duration::from_millis(300);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn open(server: &Home) -> Manager {
    server.open()
}

/// Options with which nothing takes long.
fn quick() -> ChannelOptions {
    ChannelOptions::new()
        .backoff(ms(1), ms(10))
        .claim_idle(ms(200))
}

fn send(keep: &Manager, channel: &str, bodies: impl IntoIterator<Item = usize>) {
    let messages: Vec<Message> = bodies
        .into_iter()
        .map(|n| Message::new("n", &n).unwrap())
        .collect();
    let sender = keep.sender().register_channel(channel);
    sender.send_many(channel, &messages).unwrap();
}

/// How many messages are pending; -1 while there is no such group.
fn pending(server: &Home, channel: &str, group: &str) -> i64 {
    let groups: Vec<BTreeMap<String, redis::Value>> = server.ask(&["XINFO", "GROUPS", channel]);
    let field = |of: &BTreeMap<String, redis::Value>, name: &str| of[name].clone();
    let mut groups = groups.iter();
    let found =
        groups.find(|one| redis::from_redis_value(field(one, "name")) == Ok(group.to_owned()));
    found.map_or(-1, |one| {
        redis::from_redis_value(field(one, "pending")).unwrap()
    })
}

/// What a handler saw, in order.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    /// A consumer of `orders` that notes what it handles.
    fn consumer(&self, keep: &Manager, listener: &str, options: ChannelOptions) -> Consumer {
        keep.consumer(listener)
            .register_channel("orders", options)
            .register_handler("orders", self.handler())
    }

    fn handler(&self) -> impl Fn(&Received) -> Result<(), String> + Send + Sync + 'static {
        let seen = self.clone();
        move |message: &Received| {
            seen.0.lock().unwrap().push(message.body().to_owned());
            Ok(())
        }
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// In the background, without a rest.
fn begin(consumer: &Consumer) {
    consumer
        .start_with(Duration::ZERO, Duration::from_secs(1))
        .unwrap();
}

fn numbers(n: usize) -> Vec<String> {
    (0..n).map(|n| n.to_string()).collect()
}

fn count(consumer: &Consumer, name: &str) -> i64 {
    let stats = consumer.stats().unwrap();
    stats["channels"][0][name].as_i64().unwrap_or(-1)
}
