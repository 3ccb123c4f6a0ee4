//! A command hook: each before has its after, whatever became of the command and whoever sent it.

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use redkeep::{
    ChannelOptions, CommandTimes, Config, ErrorKind, Fault, Manager, Message, Outcome, Received,
    Script,
};
use support::{PATIENCE, Proxy, Server, Way, wait_until};

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

    /// How many of this name ended well, and how many badly.
    fn counts(&self, name: &str) -> (u32, u32) {
        let ended = self.ended.lock().unwrap();
        ended.get(name).copied().unwrap_or_default()
    }

    fn well(&self, name: &str) -> u32 {
        self.counts(name).0
    }

    fn badly(&self, name: &str) -> u32 {
        self.counts(name).1
    }

    #[track_caller]
    fn nothing_is_open(&self) {
        let open = self.open.lock().unwrap();
        assert!(open.is_empty(), "a before without its after: {open:?}");
    }
}

fn with(url: &str, change: impl FnOnce(Config) -> Config) -> Manager {
    let config = Config::new().url(url).command_timeout(PATIENCE);
    Manager::open_config(&change(config)).expect("a config of ours")
}

/// By a pipeline.
fn get_and_increment(keep: &Manager) {
    let mut pipe = keep.pipeline();
    pipe.command(("GET", "key"))
        .unwrap()
        .command(("INCR", "key"))
        .unwrap();
    pipe.execute().unwrap();
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

    get_and_increment(&keep);
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

type Told = (
    String,
    usize,
    Option<String>,
    Option<ErrorKind>,
    u32,
    Duration,
    CommandTimes,
    String,
);

#[test]
fn a_hook_is_told_of_every_command_before_and_after() {
    let server = Server::start();
    let all: Arc<Mutex<Vec<Told>>> = Arc::default();
    let keeper: Arc<OnceLock<Manager>> = Arc::default();
    let (told, inside) = (all.clone(), keeper.clone());
    let keep = with(&server.url(), |config| {
        config.command_hook(
            |start| (start.name.to_owned(), thread::current().id()),
            move |(name, thread), end| {
                assert_eq!(thread, thread::current().id());
                let node = end.node.map(str::to_owned);
                let error = end.error.map(|error| error.kind());
                let one = (
                    end.name.to_owned(),
                    end.commands,
                    node,
                    error,
                    end.tries,
                    end.duration,
                    end.times,
                    name,
                );
                told.lock().unwrap().push(one);
                // What a hook calls is not told, or this would never end.
                if let Some(keep) = inside.get() {
                    keep.set("of the hook", 1).unwrap();
                }
            },
        )
    });
    keeper.set(keep.clone()).unwrap();
    keep.set("key", "word").unwrap();
    assert!(keep.incr("key", 1).is_err());
    get_and_increment(&keep);
    keep.transaction("key", |tx| tx.command(("GET", "key")).map(drop))
        .map(|_: (String,)| ())
        .unwrap();
    let mut lease = keep.client().dedicated().unwrap();
    assert!(lease.command::<i64>(("INCRBY", "key", 1)).is_err());
    drop(lease);
    assert_eq!(keep.get::<i64>("of the hook").unwrap(), Some(1));

    let all = std::mem::take(&mut *all.lock().unwrap());
    let names: Vec<(&str, usize, bool)> = all
        .iter()
        .map(|one| (one.0.as_str(), one.1, one.3.is_some()))
        .collect();
    assert_eq!(
        names,
        [
            ("SET", 1, false),
            ("INCRBY", 1, true),
            ("PIPELINE", 2, false),
            ("WATCH", 1, false),
            ("MULTI", 3, false),
            ("INCRBY", 1, true),
            ("GET", 1, false),
        ]
    );
    for (name, _, node, _, tries, duration, times, span) in &all {
        assert_eq!(node.as_deref(), Some(server.address().as_str()), "{name}");
        assert_eq!((*tries, span), (1, name));
        let sum = times.wait + times.connect + times.write + times.server + times.read;
        assert_eq!(sum, *duration, "{name}");
        assert!(times.server > Duration::ZERO, "{name}");
    }
    assert_eq!(all[1].3, Some(ErrorKind::NotANumber));
}

#[test]
fn a_hook_that_panics_harms_nobody_and_one_is_told_of_failures() {
    let server = Server::start();
    let after = Arc::new(Mutex::new(0));
    let told = after.clone();
    let keep = with(&server.url(), |config| {
        config.command_hook(
            |start| assert_ne!(start.name, "GET", "of the test"),
            move |(), end| {
                *told.lock().unwrap() += 1;
                assert_ne!(end.name, "SET", "of the test");
            },
        )
    });
    keep.set("key", 1).unwrap();
    assert_eq!(keep.get::<i64>("key").unwrap(), Some(1));
    assert_eq!(
        *after.lock().unwrap_or_else(|poison| poison.into_inner()),
        1,
        "after only what came before"
    );
    let nowhere = with("redis://127.0.0.1:1", |config| {
        let told = after.clone();
        config.command_hook(
            |_| (),
            move |(), end| {
                let error = end.error.expect("nobody listens there");
                assert_eq!(
                    (error.kind(), error.outcome()),
                    (ErrorKind::Connect, Outcome::NotSent)
                );
                *told.lock().unwrap_or_else(|poison| poison.into_inner()) += 10 * end.tries;
            },
        )
    });
    assert!(nowhere.set("key", 1).is_err());
    let count = *after.lock().unwrap_or_else(|poison| poison.into_inner());
    assert!(count >= 11, "{count}");
}

/// Much longer than the machine's pauses: in it, whichever part it belongs to is the largest.
const HELD: Duration = Duration::from_secs(2);

/// A manager that keeps the times of its commands, each with its name.
fn timed(url: &str, lines: usize) -> (Manager, impl Fn(&str) -> CommandTimes + use<>) {
    let all: Arc<Mutex<BTreeMap<String, CommandTimes>>> = Arc::default();
    let told = all.clone();
    let keep = with(url, |config| {
        let config = config.shared_lines(lines).max_connections(1);
        let config = config.health_check_interval(Duration::ZERO);
        config.command_hook(
            |_| (),
            move |(), end| {
                assert!(end.error.is_none(), "{end:?}");
                told.lock().unwrap().insert(end.name.to_owned(), end.times);
            },
        )
    });
    (keep, move |name| all.lock().unwrap()[name])
}

/// The part of the times that is the largest.
fn largest(times: &CommandTimes) -> (&'static str, Duration) {
    let parts = [
        ("wait", times.wait),
        ("connect", times.connect),
        ("write", times.write),
        ("server", times.server),
        ("read", times.read),
    ];
    parts.into_iter().max_by_key(|part| part.1).unwrap()
}

#[test]
fn a_wait_for_a_connection_is_told_as_such() {
    let server = Server::start();
    let (keep, times) = timed(&server.url(), 0);
    let lease = keep.client().dedicated().unwrap();
    let other = keep.clone();
    let waiter = thread::spawn(move || other.set("key", 1));
    wait_until(PATIENCE, || {
        keep.stats()["pools"]["nodes"][0]["pools"][0]["waiting"] == 1
    });
    thread::sleep(HELD);
    drop(lease);
    waiter.join().unwrap().unwrap();
    let (part, time) = largest(&times("SET"));
    assert!(part == "wait" && time >= HELD, "{:?}", times("SET"));
}

/// Holds back what goes this way after its first bytes, while the call is under way.
fn held_back(
    lines: usize,
    way: Way,
    name: &str,
    call: impl FnOnce(&Manager) + Send,
) -> CommandTimes {
    const FIRST: u64 = 100_000;
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let (keep, times) = timed(&proxy.url(), lines);
    keep.set("key", vec![b'x'; 30 << 20]).unwrap();
    proxy.set(way, support::Fault::StallAfter(FIRST));
    let passed = || match way {
        Way::ToClient => proxy.bytes_to_client(),
        _ => proxy.bytes_to_server(),
    };
    let before = passed();
    thread::scope(|scope| {
        let call = scope.spawn(|| call(&keep));
        wait_until(PATIENCE, || passed() >= before + FIRST);
        thread::sleep(HELD);
        proxy.heal();
        call.join().unwrap();
    });
    times(name)
}

#[test]
fn a_reply_that_comes_slowly_is_time_spent_reading() {
    for lines in [0, 1] {
        let times = held_back(lines, Way::ToClient, "GET", |keep| {
            let value: Option<Vec<u8>> = keep.get("key").unwrap();
            assert_eq!(value.map(|it| it.len()), Some(30 << 20));
        });
        assert_eq!(largest(&times).0, "read", "{lines} lines: {times:?}");
    }
}

#[test]
fn a_value_that_is_taken_slowly_is_time_spent_writing() {
    for lines in [0, 1] {
        let times = held_back(lines, Way::ToServer, "SET", |keep| {
            keep.set("key", vec![b'y'; 30 << 20]).unwrap();
        });
        assert_eq!(largest(&times).0, "write", "{lines} lines: {times:?}");
    }
}
