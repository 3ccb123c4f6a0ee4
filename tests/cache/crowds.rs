//! Many who ask at the same time, and what they are told when it goes wrong.

use crate::*;

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

/// Where the child processes find the server.
const URL: &str = "REDKEEP_TEST_CACHE";

#[test]
fn many_processes_on_one_cold_key_compute_it_once() {
    if is_alone() {
        return ask_at_once();
    }
    let server = Home::start();
    let spawn = |_| -> Child {
        let mut command = myself("cache::crowds::many_processes_on_one_cold_key_compute_it_once");
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
