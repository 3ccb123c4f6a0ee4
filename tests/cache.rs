//! The cache on a real server: computed once, kept as long as said, forgotten at once.

mod home;
mod support;

use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Barrier, mpsc};
use std::time::{Duration, Instant};

use home::Home;
use redkeep::{Cache, Config, Error, ErrorKind, Manager, Operator};
use serde_json::{Value, json};
use support::{PATIENCE, Server, is_alone, myself, wait_until};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A function that counts how often it runs, and what it made.
#[derive(Default)]
struct Work(AtomicU32);

impl Work {
    fn run(&self) -> redkeep::Result<u32> {
        Ok(self.0.fetch_add(1, Ordering::SeqCst) + 1)
    }

    fn runs(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

fn never() -> redkeep::Result<u32> {
    panic!("it is kept, and not computed")
}

/// The keys of values, without the namespaces' versions and the locks' helpers.
fn values(server: &Home) -> Vec<String> {
    server
        .keys("cache:*")
        .into_iter()
        .filter(|key| !key.ends_with(":version"))
        .collect()
}

#[test]
fn a_value_is_computed_once_and_then_kept() {
    let server = Home::start();
    let keep = server.open();
    let cache = keep.cache("rows").expire(seconds(100));
    let work = Work::default();
    let args = json!({"a": 1, "b": [2, 3]});
    for _ in 0..3 {
        assert_eq!(cache.get_or_compute(&args, || work.run()).unwrap(), 1);
    }
    // The order of keys does not matter, the values do.
    let same: Value = serde_json::from_str(r#"{"b": [2, 3], "a": 1}"#).unwrap();
    assert_eq!(cache.get_or_compute(&same, never).unwrap(), 1);
    let other = json!({"a": 1, "b": [3, 2]});
    assert_eq!(cache.get_or_compute(&other, || work.run()).unwrap(), 2);
    // Another namespace, and another manager.
    assert_eq!(
        keep.cache("other")
            .get_or_compute(&args, || work.run())
            .unwrap(),
        3
    );
    let second = server.open();
    assert_eq!(
        second.cache("rows").get_or_compute(&args, never).unwrap(),
        1
    );
    for key in values(&server) {
        assert!(
            key.starts_with("cache:{rows}:") || key.starts_with("cache:{other}:"),
            "{key}"
        );
        let left: i64 = server.ask(&["TTL", &key]);
        assert!((95..=3600).contains(&left), "{left}");
    }
    // Nothing is there for ever but the namespaces' versions.
    let all: Vec<String> = server.ask(&["KEYS", "*"]);
    let lasting = all
        .iter()
        .filter(|key| server.ask::<i64>(&["TTL", key]) == -1);
    assert!(
        lasting.clone().all(|key| key.ends_with(":version")),
        "{:?}",
        lasting.collect::<Vec<_>>()
    );
}

#[test]
fn a_hit_is_one_round_trip() {
    let server = Home::start();
    let keep = server.open();
    let cache = keep.cache("rows");
    let work = Work::default();
    cache.get_or_compute(&1, || work.run()).unwrap();
    let calls = || -> u64 {
        let stats: String = server.ask(&["INFO", "commandstats"]);
        let lines = stats
            .lines()
            .filter(|line| !line.contains("_info:") && !line.contains("client|"));
        let calls = lines.filter_map(|line| {
            line.split("calls=")
                .nth(1)?
                .split(',')
                .next()?
                .parse::<u64>()
                .ok()
        });
        calls.sum()
    };
    let before = (calls(), server.command_calls("mget"));
    for _ in 0..20 {
        assert_eq!(cache.get_or_compute(&1, never).unwrap(), 1);
    }
    assert_eq!(
        (calls(), server.command_calls("mget")),
        (before.0 + 20, before.1 + 20)
    );
}

#[test]
fn any_type_goes_in_and_comes_out() {
    #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Row {
        id: u64,
        name: Option<String>,
    }
    let server = Home::start();
    let keep = server.open();
    let cache = keep.cache("rows");
    let rows = vec![
        Row {
            id: 1,
            name: Some("ä".into()),
        },
        Row {
            id: u64::MAX,
            name: None,
        },
    ];
    for _ in 0..2 {
        let got: Vec<Row> = cache
            .get_or_compute("all", || Ok::<_, Error>(rows.clone()))
            .unwrap();
        assert_eq!(got, rows);
    }
    // What is kept is of another type than is asked for now: it is computed anew.
    assert_eq!(
        cache
            .get_or_compute("all", || Ok::<_, Error>(5u32))
            .unwrap(),
        5
    );
    assert_eq!(cache.get_or_compute("all", never).unwrap(), 5);
    // So is what is nobody's.
    let key = values(&server).remove(0);
    for foreign in ["text", "", "rk1 x - 0 0\n7", "rk1 x\n7"] {
        server.ask::<()>(&["SET", &key, foreign]);
        assert_eq!(
            cache
                .get_or_compute("all", || Ok::<_, Error>(6u32))
                .unwrap(),
            6
        );
        assert_eq!(cache.get_or_compute("all", never).unwrap(), 6);
    }
    server.ask::<()>(&["DEL", &key]);
    server.ask::<()>(&["LPUSH", &key, "x"]);
    assert_eq!(
        cache
            .get_or_compute("all", || Ok::<_, Error>(8u32))
            .unwrap(),
        8
    );
}

#[test]
fn arguments_that_do_not_matter_are_left_out() {
    let server = Home::start();
    let keep = server.open();
    let cache = keep.cache("rows").skip_cache_keys(["db", "request"]);
    let work = Work::default();
    let first = json!({"id": 1, "db": "a"});
    assert_eq!(cache.get_or_compute(&first, || work.run()).unwrap(), 1);
    assert_eq!(
        cache
            .get_or_compute(&json!({"request": 5, "id": 1}), never)
            .unwrap(),
        1
    );
    assert_eq!(
        cache
            .get_or_compute(&json!({"id": {"db": 1}}), || work.run())
            .unwrap(),
        2
    );
    assert_eq!(
        cache
            .get_or_compute(&json!({"id": {"db": 2}}), || work.run())
            .unwrap(),
        3
    );
}

#[test]
fn only_what_meets_the_conditions_is_kept() {
    let server = Home::start();
    let keep = server.open();
    let cache = keep
        .cache("rows")
        .cache_only_for("state", Operator::In, ["used", "new"])
        .cache_only_for("n", Operator::Less, 10);
    let work = Work::default();
    for args in [
        json!({"state": "sold", "n": 1}),
        json!({"state": "used", "n": 10}),
        json!({}),
        json!([1]),
    ] {
        let before = work.runs();
        for i in 1..=2 {
            assert_eq!(
                cache.get_or_compute(&args, || work.run()).unwrap(),
                before + i
            );
        }
    }
    assert_eq!(server.ask::<i64>(&["DBSIZE"]), 0);
    let args = json!({"state": "used", "n": 9});
    let first = cache.get_or_compute(&args, || work.run()).unwrap();
    assert_eq!(cache.get_or_compute(&args, never).unwrap(), first);
}

#[test]
fn an_empty_result_is_kept_only_if_asked() {
    let server = Home::start();
    let keep = server.open();
    let cache = keep.cache("rows");
    let runs = AtomicU32::new(0);
    let none = |value: Value| {
        runs.fetch_add(1, Ordering::SeqCst);
        Ok::<_, Error>(value)
    };
    for empty in [json!(null), json!(""), json!([]), json!({})] {
        runs.store(0, Ordering::SeqCst);
        for _ in 0..2 {
            assert_eq!(
                cache
                    .get_or_compute(&empty, || none(empty.clone()))
                    .unwrap(),
                empty
            );
        }
        assert_eq!(runs.load(Ordering::SeqCst), 2, "{empty}");
        let negative = cache.clone().negative(seconds(5));
        for _ in 0..2 {
            assert_eq!(
                negative
                    .get_or_compute(&empty, || none(empty.clone()))
                    .unwrap(),
                empty
            );
        }
        assert_eq!(runs.load(Ordering::SeqCst), 3, "{empty}");
    }
    for key in values(&server) {
        assert!((1..=5).contains(&server.ask::<i64>(&["TTL", &key])));
    }
    for full in [json!(0), json!(false), json!(" "), json!([null])] {
        cache.get_or_compute(&full, || none(full.clone())).unwrap();
        assert_eq!(
            cache
                .get_or_compute(&full, || -> Result<Value, Error> { panic!() })
                .unwrap(),
            full
        );
    }
}

#[test]
fn a_value_expires_a_little_earlier_each() {
    let server = Home::start();
    let keep = server.open();
    let cache = keep.cache("rows").expire(seconds(1000)).jitter(0.5);
    for i in 0..20 {
        cache.get_or_compute(&i, || Ok::<_, Error>(i)).unwrap();
    }
    let lives: std::collections::BTreeSet<i64> = values(&server)
        .iter()
        .map(|key| server.ask(&["TTL", key]))
        .collect();
    assert!(lives.len() > 10, "{lives:?}");
    assert!(
        lives.iter().all(|life| (498..=1000).contains(life)),
        "{lives:?}"
    );

    let brief = keep.cache("brief").expire(ms(50));
    let work = Work::default();
    assert_eq!(brief.get_or_compute(&1, || work.run()).unwrap(), 1);
    wait_until(PATIENCE, || {
        brief.get_or_compute(&1, || work.run()).unwrap() == 2
    });
}

#[test]
fn one_caller_computes_it_anew_before_it_expires() {
    let server = Home::start();
    let keep = server.open();
    let cache = keep.cache("rows").expire(seconds(100));
    let work = Work::default();
    let slow = || {
        std::thread::sleep(ms(20));
        work.run()
    };
    cache.get_or_compute(&1, slow).unwrap();
    // Never, and with such a time before it, practically never.
    for _ in 0..50 {
        assert_eq!(cache.get_or_compute(&1, never).unwrap(), 1);
        assert_eq!(
            cache.clone().early(1.0).get_or_compute(&1, never).unwrap(),
            1
        );
    }
    // A tenth of a second is left, and computing takes a fifth of that: one in a hundred and fifty is due, at first.
    let eager = cache.clone().early(1.0);
    let key = values(&server).remove(0);
    server.ask::<()>(&["PEXPIRE", &key, "100"]);
    let until = Instant::now() + ms(95);
    let mut found = 1;
    while found == 1 && Instant::now() < until {
        found = eager.get_or_compute(&1, slow).unwrap();
    }
    assert!(work.runs() <= 2);
    wait_until(PATIENCE, || {
        eager.get_or_compute(&1, || work.run()).unwrap() == 2
    });
    assert!(
        server.ask::<i64>(&["TTL", &key]) > 90,
        "its whole time begins again"
    );
    // A function that fails then does no harm.
    let failing = cache.early(1000.0);
    server.ask::<()>(&["PEXPIRE", &key, "2000"]);
    let ran = AtomicU32::new(0);
    for _ in 0..20 {
        let got: u32 = failing
            .get_or_compute(&1, || {
                ran.fetch_add(1, Ordering::SeqCst);
                Err::<u32, _>("the database is down")
            })
            .unwrap();
        assert_eq!(got, 2);
    }
    assert!(ran.load(Ordering::SeqCst) > 5);
}

#[test]
fn a_stale_value_is_served_on_an_error_if_asked() {
    let server = Home::start();
    let keep = server.open();
    let cache = keep.cache("rows").expire(ms(40)).stale(seconds(100));
    let fail = || Err::<u32, _>("the database is down");
    let error = cache.get_or_compute(&1, fail).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Compute);
    assert_eq!(
        cache.get_or_compute(&1, || Ok::<_, Error>(7u32)).unwrap(),
        7
    );
    std::thread::sleep(ms(60));
    assert_eq!(cache.get_or_compute(&1, fail).unwrap(), 7);
    assert_eq!(
        cache.get_or_compute(&1, || Ok::<_, Error>(8u32)).unwrap(),
        8,
        "stale is not fresh"
    );
    std::thread::sleep(ms(60));
    assert_eq!(cache.get_or_compute(&1, fail).unwrap(), 8);
    // But not what was said to be wrong.
    cache.invalidate(&1).unwrap();
    assert!(cache.get_or_compute(&1, fail).is_err());
    let plain = keep.cache("plain").expire(ms(40));
    plain.get_or_compute(&1, || Ok::<_, Error>(7u32)).unwrap();
    std::thread::sleep(ms(60));
    assert!(plain.get_or_compute(&1, fail).is_err());
}

#[test]
fn an_error_of_the_function_is_handed_on_and_not_kept() {
    let server = Home::start();
    let keep = server.open();
    let cache = keep.cache("rows");
    let theirs = || std::fs::read_to_string("/no/such/file").map(|_| 1u32);
    let error = cache.get_or_compute(&1, theirs).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Compute);
    assert!(error.to_string().contains("No such file"), "{error}");
    let source = std::error::Error::source(&error).expect("a source");
    assert!(source.downcast_ref::<std::io::Error>().is_some());
    let ours = || keep.command::<u32>(("NOSUCHCOMMAND",));
    assert_eq!(
        cache.get_or_compute(&1, ours).unwrap_err().kind(),
        ErrorKind::Server
    );
    assert_eq!(
        cache.get_or_compute(&1, || Ok::<_, Error>(2u32)).unwrap(),
        2
    );
}

#[test]
fn one_value_and_all_values_are_forgotten_at_once() {
    let server = Home::start();
    let keep = server.open();
    let cache = keep.cache("rows");
    let work = Work::default();
    for i in 0..3 {
        assert_eq!(cache.get_or_compute(&i, || work.run()).unwrap(), i + 1);
    }
    let calls = server.command_calls("keys");
    cache.invalidate(&1).unwrap();
    assert_eq!(cache.get_or_compute(&0, never).unwrap(), 1);
    assert_eq!(cache.get_or_compute(&1, || work.run()).unwrap(), 4);
    assert_eq!(cache.get_or_compute(&1, never).unwrap(), 4);
    cache.invalidate_all().unwrap();
    for i in 0..3 {
        assert_eq!(cache.get_or_compute(&i, || work.run()).unwrap(), i + 5);
        assert_eq!(cache.get_or_compute(&i, never).unwrap(), i + 5);
    }
    assert_eq!(
        server.command_calls("keys") + server.command_calls("scan"),
        calls
    );
    // A version that is lost (evicted, say) brings nothing back.
    server.ask::<()>(&["DEL", "cache:{rows}:version"]);
    assert_eq!(cache.get_or_compute(&0, || work.run()).unwrap(), 8);
    cache.invalidate_all().unwrap();
    server.ask::<()>(&["DEL", "cache:{rows}:version"]);
    assert_eq!(cache.get_or_compute(&0, || work.run()).unwrap(), 9);
}

/// While a function runs, what it computes is invalidated: it is not stored, and who asks afterwards does not get it.
fn outdated(cache: &Cache, invalidate: impl Fn()) {
    let (started, has_started) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let old = scope.spawn(move || {
            cache.get_or_compute(&1, || {
                started.send(()).unwrap();
                may_go_on.recv().unwrap();
                Ok::<_, Error>("old".to_owned())
            })
        });
        has_started.recv_timeout(PATIENCE).unwrap();
        invalidate();
        let new = cache
            .get_or_compute(&1, || Ok::<_, Error>("new".to_owned()))
            .unwrap();
        assert_eq!(new, "new");
        go_on.send(()).unwrap();
        assert_eq!(old.join().unwrap().unwrap(), "old");
    });
    let kept: String = cache.get_or_compute(&1, || Err("it is kept")).unwrap();
    assert_eq!(kept, "new");
}

#[test]
fn what_is_invalidated_while_it_is_computed_is_not_stored() {
    let server = Home::start();
    let keep = server.open();
    let second = server.open();
    let cache = keep.cache("rows");
    for round in 0..4 {
        outdated(&cache, || match round {
            0 => cache.invalidate(&1).unwrap(),
            1 => cache.invalidate_all().unwrap(),
            // As another process would.
            2 => second.cache("rows").invalidate(&1).unwrap(),
            _ => second.cache("rows").invalidate_all().unwrap(),
        });
        cache.invalidate(&1).unwrap();
    }
}

#[test]
fn all_threads_that_ask_at_once_get_what_one_computes() {
    let server = Home::start();
    let keep = server.open();
    for across in [false, true] {
        let work = Work::default();
        let together = Barrier::new(64);
        std::thread::scope(|scope| {
            for _ in 0..64 {
                scope.spawn(|| {
                    together.wait();
                    // Made anew each time: it is the manager's all the same.
                    let cache = keep.cache("rows").across_processes(across);
                    let got = cache.get_or_compute(&across, || {
                        std::thread::sleep(ms(30));
                        work.run()
                    });
                    assert_eq!(got.unwrap(), 1);
                });
            }
        });
        assert_eq!(work.runs(), 1);
    }
    support::figure("64 threads at once, twice: computed once each");
    // Also when nothing is kept: those who wait have it from the one who computes.
    let cache = keep.cache("empty");
    let together = Barrier::new(16);
    let work = Work::default();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                together.wait();
                let got = cache.get_or_compute(&1, || {
                    std::thread::sleep(ms(300));
                    work.run().map(|_| Vec::<u8>::new())
                });
                assert_eq!(got.unwrap(), Vec::<u8>::new());
            });
        }
    });
    assert_eq!(work.runs(), 1);
}

#[test]
fn a_function_that_fails_or_panics_wakes_all_with_the_error() {
    let server = Home::start();
    let keep = server.open();
    let cache = keep.cache("rows");
    for panics in [false, true] {
        let runs = AtomicU32::new(0);
        let together = Barrier::new(16);
        let started = Instant::now();
        let results: Vec<Option<Error>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16)
                .map(|_| {
                    scope.spawn(|| {
                        together.wait();
                        cache
                            .get_or_compute(&panics, || {
                                runs.fetch_add(1, Ordering::SeqCst);
                                std::thread::sleep(ms(300));
                                match panics {
                                    true => panic!("a panic of the test's own"),
                                    false => Err::<u32, _>("the database is down"),
                                }
                            })
                            .unwrap_err()
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().ok())
                .collect()
        });
        assert!(
            started.elapsed() < seconds(5),
            "nobody waits longer than the function ran"
        );
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        let errors: Vec<&Error> = results.iter().flatten().collect();
        assert_eq!(
            errors.len(),
            if panics { 15 } else { 16 },
            "its own thread panics"
        );
        let text = if panics {
            "panicked"
        } else {
            "the database is down"
        };
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::Compute);
            assert!(error.to_string().contains(text), "{error}");
        }
        assert_eq!(
            cache
                .get_or_compute(&panics, || Ok::<_, Error>(1u32))
                .unwrap(),
            1,
            "and it goes on"
        );
    }
}

#[test]
fn a_function_that_asks_for_itself_is_told() {
    let server = Home::start();
    let keep = server.open();
    let cache = keep.cache("rows");
    let started = Instant::now();
    let error = cache
        .get_or_compute(&1, || cache.get_or_compute(&1, || Ok::<_, Error>(1u32)))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadlock);
    // By way of another key.
    let error = cache
        .get_or_compute(&1, || {
            cache.get_or_compute(&2, || cache.get_or_compute(&1, never))
        })
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadlock);
    // By way of another thread: one of the two is told, and so both go on.
    let both = Barrier::new(2);
    let one = |mine: u32, other: u32| {
        cache.get_or_compute(&mine, || {
            both.wait();
            cache.get_or_compute(&other, || Ok::<_, Error>(other))
        })
    };
    let (a, b) = std::thread::scope(|scope| {
        let a = scope.spawn(|| one(3, 4));
        let b = scope.spawn(|| one(4, 3));
        (a.join().unwrap(), b.join().unwrap())
    });
    for result in [a, b] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Deadlock);
    }
    assert!(started.elapsed() < seconds(5), "nobody waits for that");
    // Other keys may be asked for.
    let nested = cache.get_or_compute(&5, || cache.get_or_compute(&6, || Ok::<_, Error>(6u32)));
    assert_eq!(nested.unwrap(), 6);
    // Without Redis it is the same.
    let off = Manager::open_config(&Config::new().enabled(false))
        .unwrap()
        .cache("rows");
    let error = off
        .get_or_compute(&1, || off.get_or_compute(&1, never))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadlock);
}

#[test]
fn nobody_waits_longer_than_said() {
    let server = Home::start();
    let keep = server.open();
    let cache = keep.cache("rows").wait(ms(100));
    let (started, has_started) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let slow = move || {
        started.send(()).unwrap();
        may_go_on.recv().unwrap();
        Ok::<_, Error>(1u32)
    };
    let cache = &cache;
    std::thread::scope(|scope| {
        let first = scope.spawn(move || cache.get_or_compute(&1, slow).unwrap());
        has_started.recv_timeout(PATIENCE).unwrap();
        let asked = Instant::now();
        let error = cache.get_or_compute(&1, never).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(asked.elapsed() >= ms(100) && asked.elapsed() < ms(100 + 250));
        // Another process computes for itself when it has waited long enough.
        let second = server.open();
        let other = second.cache("rows").wait(ms(100));
        assert_eq!(
            other.get_or_compute(&1, || Ok::<_, Error>(2u32)).unwrap(),
            2
        );
        go_on.send(()).unwrap();
        assert_eq!(first.join().unwrap(), 1);
    });
}

#[test]
fn closing_wakes_those_who_wait() {
    let server = Home::start();
    let keep = server.open();
    let cache = keep.cache("rows");
    let (started, has_started) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let (cache, started) = (&cache, started);
        let first = scope.spawn(move || {
            cache.get_or_compute(&1, || {
                started.send(()).unwrap();
                may_go_on.recv().unwrap();
                Ok::<_, Error>(1u32)
            })
        });
        has_started.recv_timeout(PATIENCE).unwrap();
        let waiter = scope.spawn(|| cache.get_or_compute(&1, never));
        // It cannot be seen from outside that it waits; if it does not yet, it is refused all the same.
        std::thread::sleep(ms(50));
        let closed = Instant::now();
        keep.close(seconds(5)).unwrap();
        assert_eq!(
            waiter.join().unwrap().unwrap_err().kind(),
            ErrorKind::Closed
        );
        assert!(closed.elapsed() < seconds(1));
        go_on.send(()).unwrap();
        assert_eq!(first.join().unwrap().unwrap(), 1);
    });
    assert_eq!(
        cache.get_or_compute(&2, never).unwrap_err().kind(),
        ErrorKind::Closed
    );
}

#[test]
fn the_function_runs_when_redis_is_away() {
    let mut server = Server::start();
    let keep = Manager::open(&format!("{}?command_timeout=300ms", server.url())).unwrap();
    let cache = keep.cache("rows").stale(seconds(5)).early(1.0);
    let work = Work::default();
    assert_eq!(cache.get_or_compute(&1, || work.run()).unwrap(), 1);
    server.kill();
    for i in 2..4 {
        assert_eq!(cache.get_or_compute(&1, || work.run()).unwrap(), i);
    }
    assert!(
        cache.invalidate(&1).is_err(),
        "what was not done is not called done"
    );
    assert!(cache.invalidate_all().is_err());
    assert!(keep.stats()["swallowed"].as_u64().unwrap() >= 2);
    // Still once for all who ask at once.
    let together = Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                together.wait();
                let got = cache.get_or_compute(&1, || {
                    std::thread::sleep(ms(500));
                    work.run()
                });
                assert_eq!(got.unwrap(), 4);
            });
        }
    });
    server.restart();
    wait_until(PATIENCE, || keep.ping().is_ok());
    let first = cache.get_or_compute(&1, || work.run()).unwrap();
    assert_eq!(cache.get_or_compute(&1, never).unwrap(), first);
    // It goes while the function runs.
    let got = cache.get_or_compute(&2, || {
        server.kill();
        work.run()
    });
    assert_eq!(got.unwrap(), first + 1);

    let off = Manager::open_config(&Config::new().enabled(false)).unwrap();
    assert_eq!(
        off.cache("rows")
            .get_or_compute(&1, || Ok::<_, Error>(5u32))
            .unwrap(),
        5
    );
}

#[test]
fn bad_input_is_named() {
    let server = Home::start();
    let keep = server.open();
    let refused = |cache: Cache, starts: &str| {
        let error = cache.get_or_compute(&1, never).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Argument, "{error}");
        assert!(error.message().starts_with(starts), "{error}");
    };
    refused(keep.cache(""), "namespace: ");
    refused(keep.cache("a{b}"), "namespace: \"a{b}\" is not allowed");
    let cache = keep.cache("rows");
    refused(
        cache.clone().expire(Duration::ZERO),
        "expire: 0ns is not allowed",
    );
    refused(cache.clone().expire(Duration::MAX), "expire: ");
    refused(cache.clone().stale(Duration::ZERO), "stale: ");
    refused(cache.clone().negative(Duration::ZERO), "negative: ");
    refused(cache.clone().jitter(1.5), "jitter: 1.5 is not allowed");
    refused(cache.clone().early(f64::NAN), "early: ");
    refused(
        cache.clone().cache_only_for("x", Operator::In, 5),
        "only_for: x ",
    );
    let map = std::collections::HashMap::from([((1, 2), 3)]);
    let error = cache.get_or_compute(&map, never).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Json);
    let error = cache
        .get_or_compute(&1, || Ok::<_, Error>(map.clone()))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Json);
    assert!(error.message().contains("result"), "{error}");
}

/// A server in cluster mode refuses keys of different slots, even if it serves all slots.
#[test]
fn keys_that_are_used_together_share_a_slot() {
    let server = Server::with(&["--cluster-enabled", "yes"]);
    server.ask::<()>(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    wait_until(PATIENCE, || {
        server
            .ask::<String>(&["CLUSTER", "INFO"])
            .contains("cluster_state:ok")
    });
    let keep = Manager::open(&server.url()).unwrap();
    let cache = keep.cache("rows").stale(seconds(5)).early(1.0);
    let work = Work::default();
    for _ in 0..2 {
        assert_eq!(cache.get_or_compute(&1, || work.run()).unwrap(), 1);
    }
    cache.invalidate(&1).unwrap();
    assert_eq!(cache.get_or_compute(&1, || work.run()).unwrap(), 2);
    cache.invalidate_all().unwrap();
    assert_eq!(cache.get_or_compute(&1, || work.run()).unwrap(), 3);
    assert_eq!(keep.stats()["swallowed"], 0, "nothing was refused");

    for limiter in [
        keep.limiter(5, seconds(60)),
        keep.limiter(5, seconds(60)).gcra(),
    ] {
        assert!(limiter.check("user:1").unwrap().allowed);
        limiter.reset("user:1").unwrap();
    }
    let sessions = keep.sessions(seconds(60));
    let id = sessions.create("u", &json!({})).unwrap();
    assert!(sessions.touch(&id).unwrap());
    assert_eq!(sessions.all_of("u").unwrap(), [id]);
    assert_eq!(sessions.delete_all_of("u").unwrap(), 1);
}

/// Where the child processes find the server.
const URL: &str = "REDKEEP_TEST_CACHE";

#[test]
fn many_processes_on_one_cold_key_compute_it_once() {
    if is_alone() {
        return ask_at_once();
    }
    let server = Home::start();
    let spawn = |_| -> Child {
        let mut command = myself("many_processes_on_one_cold_key_compute_it_once");
        command.env(URL, server.url()).stdout(Stdio::null());
        command.spawn().expect("ourselves")
    };
    let mut children: Vec<Child> = (0..4).map(spawn).collect();
    wait_until(PATIENCE, || {
        server.ask::<Option<u64>>(&["GET", "ready"]) == Some(4)
    });
    server.ask::<()>(&["SET", "go", "1"]);
    for child in &mut children {
        assert!(child.wait().expect("our own child").success());
    }
    // With the lock, once overall; without it, once in each process at most.
    let runs = |key: &str| server.ask::<u64>(&["GET", key]);
    assert_eq!(runs("runs:true"), 1);
    assert!(
        (1..=4).contains(&runs("runs:false")),
        "{}",
        runs("runs:false")
    );
}

/// A child: 64 threads ask for one key.
fn ask_at_once() {
    let keep = Manager::open(&std::env::var(URL).expect("a url")).unwrap();
    keep.incr("ready", 1).unwrap();
    wait_until(PATIENCE, || keep.exists("go").unwrap());
    for across in [true, false] {
        let here = AtomicU32::new(0);
        let together = Barrier::new(64);
        std::thread::scope(|scope| {
            for _ in 0..64 {
                scope.spawn(|| {
                    together.wait();
                    let cache = keep.cache("cold").across_processes(across);
                    let got: String = cache
                        .get_or_compute(&across, || {
                            here.fetch_add(1, Ordering::SeqCst);
                            keep.incr(format!("runs:{across}"), 1)?;
                            std::thread::sleep(ms(50));
                            Ok::<_, Error>("computed".to_owned())
                        })
                        .unwrap();
                    assert_eq!(got, "computed");
                });
            }
        });
        assert!(here.load(Ordering::SeqCst) <= 1);
    }
}
