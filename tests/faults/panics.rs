//! A program that panics wherever redkeep calls it: it gets an error, or its call ends, and all connections and threads
//! are there afterwards.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use redkeep::redis::{FromRedisValue, ParsingError, Value};
use redkeep::{
    ChannelOptions, Config, Credentials, ErrorKind, Manager, Message, Published, Received,
};

use super::case::{BUSY, Baseline, Case};
use crate::support::{PATIENCE, Server, threads, wait_until};

const TIMES: usize = 100;
const SLOTS: usize = 4;
const TIME: Duration = Duration::from_secs(5);

fn open(server: &Server, change: impl FnOnce(Config) -> Config) -> Manager {
    let config = Config::new().url(server.url()).max_connections(SLOTS);
    let config = config
        .command_timeout(TIME)
        .health_check_interval(Duration::ZERO);
    Manager::open_config(&change(config)).expect("a config of ours")
}

/// The call panics, and that is all.
fn panics<T>(call: impl FnOnce() -> T) {
    assert!(catch_unwind(AssertUnwindSafe(call)).is_err(), "no panic");
}

/// Every connection can be had, and as many are open as are counted.
#[track_caller]
fn capacity_is_whole(case: &Case, keep: &Manager, server: &Server) {
    let take = || keep.client().dedicated();
    let all: Vec<_> = (0..SLOTS)
        .map(|_| case.call("lease", TIME, take).unwrap())
        .collect();
    drop(all);
    let node = &keep.fetch_pool_status().nodes[0];
    let pool = node.pools[0];
    assert_eq!((pool.in_use, pool.waiting, pool.oldest_lease), (0, 0, None));
    let lines: u64 = node
        .lines
        .iter()
        .map(|line| line.opened - line.closed)
        .sum();
    let counted = (pool.opened - pool.closed + lines) as usize;
    wait_until(PATIENCE, || server.connections() == counted);
}

struct Bad;

impl FromRedisValue for Bad {
    fn from_redis_value(_: Value) -> Result<Bad, ParsingError> {
        panic!("on purpose");
    }
}

#[test]
fn a_panic_in_a_call_costs_no_connection() {
    let Some(case) = Case::alone("faults::panics::a_panic_in_a_call_costs_no_connection") else {
        return;
    };
    let server = Server::start();
    let before = Baseline::now();
    let keep = open(&server, |config| config);
    keep.set("a", 1).unwrap();
    for n in 0..TIMES {
        // A conversion, by whichever way the command went.
        panics(|| keep.get::<Bad>("a"));
        panics(|| keep.command_within::<Bad>(("GET", "a"), TIME * 2));
        panics(|| {
            let mut pipe = keep.pipeline();
            pipe.command(("GET", "a")).unwrap();
            pipe.query::<(Bad,)>()
        });
        // A transaction, before and after what it reads.
        panics(|| {
            keep.transaction::<()>("a", |tx| {
                if n % 2 == 0 {
                    let _: i64 = tx.read(("GET", "a"))?;
                }
                tx.command(("INCR", "a"))?;
                panic!("on purpose");
            })
        });
        // A lease, in a state that nobody may find it in.
        panics(|| {
            let mut lease = keep.client().dedicated().unwrap();
            match n % 4 {
                0 => lease.command::<()>("MULTI").unwrap(),
                1 => lease.command::<()>(("SUBSCRIBE", "c")).unwrap(),
                2 => lease.command::<()>(("SELECT", 1)).unwrap(),
                _ => {}
            }
            panic!("on purpose");
        });
    }
    assert_eq!(keep.get::<i64>("a").unwrap(), Some(1));
    capacity_is_whole(&case, &keep, &server);
    keep.close(PATIENCE).unwrap();
    drop(keep);
    before.is_back();
    case.end(BUSY);
}

#[test]
fn a_panic_in_a_callback_is_an_error_and_the_next_one_is_called() {
    let name = "faults::panics::a_panic_in_a_callback_is_an_error_and_the_next_one_is_called";
    let Some(case) = Case::alone(name) else {
        return;
    };
    let server = Server::start();
    let before = Baseline::now();
    let keep = open(&server, |config| config);
    keep.set("a", 1).unwrap();

    // A function whose result is to be cached.
    let cache = keep.cache("panics");
    for n in 0..TIMES {
        panics(|| cache.get_or_compute(&n, || -> Result<i64, String> { panic!("on purpose") }));
        // Nobody waits for what will not come.
        let compute = || cache.get_or_compute(&n, || Ok::<_, String>(n));
        assert_eq!(case.call("compute", TIME, compute).unwrap(), n);
    }

    // Handlers of messages, on the workers: they go on.
    let (heard, handled) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let subscriber = keep.subscriber();
    let count = heard.clone();
    let handler = move |_: &Published| {
        if count.fetch_add(1, SeqCst) < TIMES {
            panic!("on purpose");
        }
    };
    subscriber.on_message(handler).unwrap();
    subscriber.add("news").unwrap();
    for n in 0..TIMES + 1 {
        keep.publish("news", n.to_string()).unwrap();
    }
    wait_until(PATIENCE, || heard.load(SeqCst) == TIMES + 1);
    drop(subscriber);

    // Handlers of streams: the message is delivered again, and handled in the end.
    let sender = keep.sender().register_channel("orders");
    sender
        .send("orders", &Message::new("n", &1).unwrap())
        .unwrap();
    let count = handled.clone();
    let none = Duration::ZERO;
    let options = ChannelOptions::new()
        .backoff(none, none)
        .max_deliveries(TIMES as u32 * 2);
    let consumer = keep
        .consumer("l")
        .register_channel("orders", options)
        .register_handler("orders", move |_: &Received| {
            if count.fetch_add(1, SeqCst) < TIMES {
                panic!("on purpose");
            }
            Ok::<(), String>(())
        });
    consumer
        .start_with(none, Duration::from_millis(100))
        .unwrap();
    wait_until(PATIENCE * 6, || handled.load(SeqCst) > TIMES);
    consumer.stop(PATIENCE).unwrap();
    drop((consumer, sender));

    // A lock that is lost: all of them are told, though each one panics.
    let lost = Arc::new(AtomicUsize::new(0));
    let held: Vec<_> = (0..TIMES)
        .map(|n| {
            let count = lost.clone();
            let lock = keep
                .lock(&format!("lock {n}"))
                .lease(Duration::from_millis(600));
            let lock = lock.on_lost(move |_| {
                count.fetch_add(1, SeqCst);
                panic!("on purpose");
            });
            lock.acquire(TIME).unwrap()
        })
        .collect();
    server.ask::<()>(&["FLUSHALL"]);
    wait_until(PATIENCE * 2, || lost.load(SeqCst) == TIMES);
    drop(held);
    let names = threads();
    assert_eq!(
        names.iter().filter(|name| name.contains("work")).count(),
        2,
        "{names:?}"
    );

    keep.set("a", 1).unwrap();
    keep.close(PATIENCE).unwrap();
    drop((keep, cache));
    before.is_back();
    case.end(BUSY);
}

#[test]
fn a_panic_while_connecting_is_an_error_and_the_next_connect_works() {
    let name = "faults::panics::a_panic_while_connecting_is_an_error_and_the_next_connect_works";
    let Some(case) = Case::alone(name) else {
        return;
    };
    let server = Server::start();
    server.ask::<()>(&["ACL", "SETUSER", "app", "on", ">secret", "~*", "+@all"]);
    let before = Baseline::now();
    for lines in [0, 2] {
        let broken = Arc::new(AtomicBool::new(false));
        let (ask, panicked) = (broken.clone(), Arc::new(AtomicUsize::new(0)));
        let count = panicked.clone();
        let keep = open(&server, |config| {
            config.shared_lines(lines).credentials_provider(move || {
                if ask.load(SeqCst) {
                    count.fetch_add(1, SeqCst);
                    panic!("on purpose");
                }
                Ok(Credentials::new("secret").username("app"))
            })
        });
        keep.set("n", 0).unwrap();
        for n in 0..TIMES as i64 {
            broken.store(true, SeqCst);
            keep.disconnect();
            let error = case.call("incr", TIME, || keep.incr("n", 1)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Auth, "{error:?}");
            broken.store(false, SeqCst);
            keep.disconnect();
            assert_eq!(
                case.call("incr", TIME, || keep.incr("n", 1)).unwrap(),
                n + 1
            );
        }
        assert!(panicked.load(SeqCst) >= TIMES);
        capacity_is_whole(&case, &keep, &server);
        keep.close(PATIENCE).unwrap();
        drop(keep);
    }
    before.is_back();
    case.end(BUSY);
}

#[test]
fn a_panic_in_a_hook_changes_no_call() {
    let Some(case) = Case::alone("faults::panics::a_panic_in_a_hook_changes_no_call") else {
        return;
    };
    let server = Server::start();
    let before = Baseline::now();
    for (lines, early) in [(0, true), (0, false), (2, true), (2, false)] {
        let panicked = Arc::new(AtomicUsize::new(0));
        let (first, last) = (panicked.clone(), panicked.clone());
        let panic = |count: &AtomicUsize| {
            count.fetch_add(1, SeqCst);
            panic!("on purpose");
        };
        let keep = open(&server, |config| {
            config.shared_lines(lines).command_hook(
                move |_| {
                    if early {
                        panic(&first);
                    }
                },
                move |(), _| panic(&last),
            )
        });
        keep.set("n", 0).unwrap();
        for n in 0..TIMES as i64 {
            let incr = case.call("incr", TIME, || keep.incr("n", 1));
            assert_eq!(incr.unwrap(), n + 1);
            let mut pipe = keep.pipeline();
            pipe.command(("GET", "n")).unwrap();
            let (got,): (i64,) = case.call("pipeline", TIME, || pipe.query()).unwrap();
            assert_eq!(got, n + 1);
        }
        assert!(panicked.load(SeqCst) >= 2 * TIMES);
        capacity_is_whole(&case, &keep, &server);
        keep.close(PATIENCE).unwrap();
        drop(keep);
    }
    before.is_back();
    case.end(BUSY);
}
