//! A command hook: each before has its after, whatever became of the command and whoever sent it.

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use redkeep::{ChannelOptions, Config, Fault, Manager, Message, Received, Script};
use support::PATIENCE;

/// What is open, by number, and how often each command ended well and badly.
#[derive(Clone, Default)]
struct Book {
    next: Arc<AtomicU64>,
    open: Arc<Mutex<BTreeMap<u64, String>>>,
    ended: Arc<Mutex<BTreeMap<String, (u32, u32)>>>,
}

impl Book {
    fn keep(&self, url: &str, change: impl FnOnce(Config) -> Config) -> Manager {
        let (begun, ended) = (self.clone(), self.clone());
        let config = Config::new().url(url).command_hook(
            move |start| {
                let number = begun.next.fetch_add(1, SeqCst);
                begun
                    .open
                    .lock()
                    .unwrap()
                    .insert(number, start.name.to_owned());
                number
            },
            move |number, end| {
                let begun = ended.open.lock().unwrap().remove(&number);
                assert_eq!(
                    begun.as_deref(),
                    Some(end.name),
                    "once, and of the same name"
                );
                let times = end.times;
                let parts = times.wait + times.connect + times.write + times.server + times.read;
                assert_eq!(parts, end.duration, "{}", end.name);
                let mut counts = ended.ended.lock().unwrap();
                let counts = counts.entry(end.name.to_owned()).or_default();
                match end.error {
                    None => counts.0 += 1,
                    Some(_) => counts.1 += 1,
                }
            },
        );
        Manager::open_config(&change(config)).unwrap()
    }

    fn well(&self, name: &str) -> u32 {
        self.ended
            .lock()
            .unwrap()
            .get(name)
            .copied()
            .unwrap_or_default()
            .0
    }

    fn badly(&self, name: &str) -> u32 {
        self.ended
            .lock()
            .unwrap()
            .get(name)
            .copied()
            .unwrap_or_default()
            .1
    }

    #[track_caller]
    fn nothing_is_open(&self) {
        let open = self.open.lock().unwrap();
        assert!(open.is_empty(), "a before without its after: {open:?}");
    }
}

#[test]
fn failures_pipelines_locks_streams_and_many_threads_are_told_in_pairs() {
    let book = Book::default();
    let keep = book.keep("embedded://?embedded_faults=on", |config| {
        config.command_timeout(Duration::from_millis(300))
    });
    keep.set("key", "word").unwrap();
    assert!(keep.incr("key", 1).is_err());
    assert_eq!((book.well("SET"), book.badly("INCRBY")), (1, 1));
    // What is refused before anything is sent, too, is told twice or not at all.
    assert!(keep.command::<()>("MULTI").is_err());
    assert!(keep.command::<()>(("FLUSHALL", "no such word")).is_err());
    book.nothing_is_open();

    let mut pipe = keep.pipeline();
    pipe.command(("GET", "key"))
        .unwrap()
        .command(("INCR", "key"))
        .unwrap();
    pipe.execute().unwrap();
    assert!(
        keep.transaction::<()>("key", |tx| tx.read::<i64>(("INCR", "key")).map(drop))
            .is_err()
    );
    keep.eval::<i64>(&Script::new("return 1"), "key", 1)
        .unwrap();
    book.nothing_is_open();

    // What a lock, a stream, a limiter, a session and a cache send is told as what it is.
    let before = book.next.load(SeqCst);
    drop(keep.lock("report").acquire(PATIENCE).unwrap());
    let sender = keep.sender().register_channel("orders");
    sender
        .send("orders", &Message::from_json("made", "1").unwrap())
        .unwrap();
    let consumer = keep
        .consumer("billing")
        .register_channel("orders", ChannelOptions::new())
        .register_handler("orders", |_: &Received| Ok::<(), String>(()));
    assert_eq!(
        consumer
            .consume_all_channels(Duration::from_secs(1))
            .unwrap(),
        1
    );
    assert!(
        keep.limiter(1, Duration::from_secs(60))
            .check("ann")
            .unwrap()
            .allowed
    );
    let near = keep.near_cache(1 << 20);
    near.get::<String>("key").unwrap();
    assert!(book.next.load(SeqCst) > before + 3);
    assert!(
        book.well("EVALSHA") + book.badly("EVALSHA") > 0,
        "a lock is a script"
    );
    book.nothing_is_open();

    // Threads, while the server hangs, drops connections, and comes back.
    let threads: Vec<_> = (0..8)
        .map(|n| {
            let keep = keep.clone();
            thread::spawn(move || {
                for _ in 0..50 {
                    let _ = keep.incr(format!("counter:{n}"), 1);
                    let mut pipe = keep.pipeline();
                    let both = pipe.command(("GET", "key")).unwrap();
                    both.command(("INCR", "pipelines")).unwrap();
                    let _ = pipe.execute();
                    let _ = keep.lock("busy").try_acquire();
                    thread::sleep(Duration::from_millis(10));
                }
            })
        })
        .collect();
    for fault in [Fault::Freeze, Fault::None, Fault::Drop, Fault::None] {
        thread::sleep(Duration::from_millis(100));
        keep.embedded_fault(fault).unwrap();
    }
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    book.nothing_is_open();
    assert!(book.well("INCRBY") > 0 && book.badly("INCRBY") > 1);
    assert!(book.well("PIPELINE") > 1 && book.badly("PIPELINE") > 0);

    // Calls that closing ends.
    let waiting = keep.clone();
    let waiter = thread::spawn(move || waiting.command::<redis::Value>(("BLPOP", "never", 0)));
    support::wait_until(PATIENCE, || !book.open.lock().unwrap().is_empty());
    keep.close(PATIENCE).unwrap();
    assert!(waiter.join().unwrap().is_err());
    assert!(keep.get::<String>("key").is_err());
    book.nothing_is_open();
}

#[test]
fn on_a_cluster_what_is_taken_apart_is_told_in_pairs_too() {
    let cluster = support::Cluster::small();
    let book = Book::default();
    let keep = book.keep(&cluster.url(), |config| config.command_timeout(PATIENCE));
    let keys: Vec<String> = (0..30).map(|n| format!("key:{n}")).collect();
    let pairs: Vec<(&str, i32)> = keys.iter().map(|key| (key.as_str(), 1)).collect();
    keep.mset(pairs).unwrap();
    let values: Vec<Option<i64>> = keep.mget(&keys).unwrap();
    assert!(values.iter().all(|value| *value == Some(1)));
    let mut pipe = keep.pipeline();
    for key in &keys {
        pipe.command(("INCR", key)).unwrap();
    }
    pipe.execute().unwrap();
    assert!(
        keep.command::<()>(("SUNION", "a", "b")).is_err(),
        "in two slots"
    );
    book.nothing_is_open();
    // What is taken apart goes as pipelines do.
    assert_eq!((book.well("PIPELINE"), book.badly("PIPELINE")), (3, 0));
}
