//! Publish and subscribe: what comes, in which order, what is told of what does not, and how it ends.

mod home;
mod support;

mod pubsub {
    mod ends;
    mod gaps;
    mod handlers;
    mod receiving;
}

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use home::Home;
use redkeep::{Config, ErrorKind, Event, Manager, Overflow, Published, Subscriber};
use support::{PATIENCE, Proxy, Server, alone, descriptors, threads, wait_until};

fn open(url: &str) -> Manager {
    Manager::open(url).expect("a url of ours")
}

fn with(url: &str, change: impl FnOnce(Config) -> Config) -> Manager {
    Manager::open_config(&change(Config::new().url(url))).expect("a config of ours")
}

#[track_caller]
fn next(subscriber: &Subscriber) -> Event {
    let event = subscriber.poll(PATIENCE).expect("no error");
    event.expect("an event")
}

#[track_caller]
fn message(subscriber: &Subscriber) -> Published {
    match next(subscriber) {
        Event::Message(message) => message,
        other => panic!("{other:?}"),
    }
}

fn nothing_comes(subscriber: &Subscriber) -> bool {
    subscriber
        .poll(Duration::from_millis(50))
        .unwrap()
        .is_none()
}

/// What came between two gaps is without a hole and without a repetition.
fn unbroken(numbers: &[u64]) -> bool {
    numbers.windows(2).all(|two| two[1] == two[0] + 1)
}

/// Publishes 0, 1, 2, … until told to stop.
fn flood(server: &Server, channel: &str, stop: &AtomicBool) {
    let mut admin = server.admin();
    let mut i = 0u64;
    while !stop.load(Ordering::Relaxed) {
        let mut pipe = redis::pipe();
        for _ in 0..20 {
            pipe.cmd("PUBLISH").arg(channel).arg(i).ignore();
            i += 1;
        }
        pipe.query::<()>(&mut admin).unwrap();
        thread::sleep(Duration::from_millis(1));
    }
}

fn number(message: &Published) -> u64 {
    std::str::from_utf8(message.data())
        .unwrap()
        .parse()
        .unwrap()
}

/// A subscriber whose handler waits until it is told to go, and tells when it has begun and when it ends.
fn held_up(
    keep: &Manager,
) -> (
    Subscriber,
    Receiver<()>,
    std::sync::mpsc::Sender<()>,
    Arc<AtomicBool>,
) {
    let subscriber = keep.subscriber();
    let (begun, has_begun) = channel();
    let (go, may_go) = channel();
    let may_go = Mutex::new(may_go);
    let ended = Arc::new(AtomicBool::new(false));
    let over = ended.clone();
    subscriber
        .on_message(move |_| {
            begun.send(()).unwrap();
            let _ = may_go.lock().unwrap().recv_timeout(PATIENCE);
            over.store(true, Ordering::SeqCst);
        })
        .unwrap();
    subscriber.add("news").unwrap();
    (subscriber, has_begun, go, ended)
}
