//! Every call ends by its deadline, whatever the server or the network does, and what comes too late harms nobody.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use redkeep::{Config, Error, ErrorKind, Manager, Outcome, Result};
use support::{
    Fault, Full, PATIENCE, Pauses, Peer, Proxy, Server, Signals, Way, alone, came_true, figure,
    wait_until,
};

/// So much later than its deadline a call may end, if the machine lets it.
const MARGIN: Duration = Duration::from_millis(100);

fn with(url: &str, change: impl FnOnce(Config) -> Config) -> Manager {
    Manager::open_config(&change(Config::new().url(url))).expect("a config of ours")
}

fn quick(url: &str, time: Duration) -> Manager {
    with(url, |config| config.command_timeout(time))
}

/// Runs the call, which must end in an error no sooner than by its deadline and no later than the margin allows.
#[track_caller]
fn ends_at<T: std::fmt::Debug>(deadline: Duration, call: impl FnOnce() -> Result<T>) -> Error {
    let (pauses, started) = (Pauses::measure(), Instant::now());
    let error = call().unwrap_err();
    let took = started.elapsed();
    let most = pauses.beside(deadline + MARGIN);
    assert!(took < most, "{took:?}, not {most:?}: {error:?}");
    let late = took.saturating_sub(deadline);
    figure(format!("{late:?} after its deadline of {deadline:?}"));
    assert!(
        took + Duration::from_millis(25) >= deadline,
        "{took:?}: {error:?}"
    );
    error
}

/// What was given half a second to close is closed, and the calls have ended.
#[track_caller]
fn closed_in_time(pauses: Pauses, started: Instant) {
    let took = started.elapsed();
    let most = pauses.beside(Duration::from_millis(500) + MARGIN);
    assert!(took < most, "{took:?}, not {most:?}");
    figure(format!("closed after {took:?}"));
}

const TIME: Duration = Duration::from_millis(150);

#[test]
fn a_frozen_server_holds_no_call_and_no_close() {
    let server = Server::start();
    let keep = quick(&server.url(), TIME);
    keep.set("a", 1).unwrap();
    server.freeze();
    let error = ends_at(TIME, || keep.get::<String>("a"));
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Timeout, Outcome::Unknown)
    );
    let error = ends_at(TIME, || keep.set("a", 2));
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let short = Duration::from_millis(40);
    let error = ends_at(short, || keep.command_within::<()>(("INCR", "a"), short));
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Timeout, Outcome::NotSent)
    );
    let error = ends_at(TIME, || keep.client().dedicated());
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let (pauses, started) = (Pauses::measure(), Instant::now());
    keep.close(Duration::from_millis(500)).unwrap();
    closed_in_time(pauses, started);
    server.thaw();
}

#[test]
fn close_is_on_time_with_calls_under_way_on_a_frozen_server() {
    let server = Server::start();
    let keep = with(&server.url(), |config| {
        config.command_timeout(PATIENCE * 3).shared_lines(0)
    });
    drop(
        (0..3)
            .map(|_| keep.client().dedicated().unwrap())
            .collect::<Vec<_>>(),
    );
    server.freeze();
    let begun = AtomicU64::new(0);
    thread::scope(|scope| {
        let calls: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    begun.fetch_add(1, Ordering::SeqCst);
                    keep.get::<String>("a").unwrap_err()
                })
            })
            .collect();
        wait_until(PATIENCE, || {
            keep.fetch_pool_status().nodes[0].pools[0].in_use == 3
        });
        let (pauses, started) = (Pauses::measure(), Instant::now());
        keep.close(Duration::from_millis(500)).unwrap();
        for call in calls {
            assert_eq!(call.join().unwrap().kind(), ErrorKind::Closed);
        }
        closed_in_time(pauses, started);
    });
    assert_eq!(keep.ping().unwrap_err().kind(), ErrorKind::Closed);
    server.thaw();
}

#[test]
fn a_slow_drip_does_not_defeat_a_deadline() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let time = Duration::from_millis(100);
    let every = Duration::from_millis(80);
    let keep = quick(&proxy.url(), time);
    keep.set("a", "a value of some length").unwrap();
    for way in [Way::ToClient, Way::ToServer, Way::Both] {
        proxy.set(way, Fault::Drip { every });
        let error = ends_at(time, || keep.get::<String>("a"));
        assert_eq!(error.kind(), ErrorKind::Timeout, "{way:?}");
        // Now the greeting drips.
        let error = ends_at(time, || keep.get::<String>("a"));
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Timeout, Outcome::NotSent)
        );
        proxy.heal();
        assert!(keep.get::<String>("a").unwrap().is_some());
    }
}

#[test]
fn a_black_hole_in_either_direction_ends_at_the_deadline() {
    let server = Server::start();
    for way in [Way::ToServer, Way::ToClient, Way::Both] {
        let proxy = Proxy::to(server.address());
        let keep = quick(&proxy.url(), TIME);
        keep.set("a", 1).unwrap();
        proxy.set(way, Fault::BlackHole);
        let error = ends_at(TIME, || keep.incr("a", 1));
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Timeout, Outcome::Unknown)
        );
        let error = ends_at(TIME, || keep.incr("a", 1));
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Timeout, Outcome::NotSent)
        );
        proxy.heal();
        keep.set("a", 1).unwrap();
    }
}

#[test]
fn a_stall_in_the_middle_of_a_reply_ends_at_the_deadline() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let keep = quick(&proxy.url(), TIME);
    keep.set("a", "x".repeat(1000)).unwrap();
    for bytes in [1, 5, 7, 500, 1008] {
        proxy.set(Way::ToClient, Fault::StallAfter(bytes));
        let error = ends_at(TIME, || keep.get::<String>("a"));
        assert_eq!(error.kind(), ErrorKind::Timeout, "{bytes}");
        proxy.heal();
        assert_eq!(keep.get::<String>("a").unwrap().unwrap().len(), 1000);
    }
}

#[test]
fn a_connect_that_hangs_ends_at_the_deadline() {
    let full = Full::new();
    let keep = quick(&full.url(), TIME);
    let error = ends_at(TIME, || keep.get::<String>("a"));
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Timeout, Outcome::NotSent)
    );
    // connect_timeout only shortens one dial within the deadline, and then the node is known to be away.
    let keep = with(&full.url(), |config| {
        config.connect_timeout(TIME).command_timeout(PATIENCE)
    });
    let error = ends_at(TIME, || keep.get::<String>("a"));
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert_eq!(
        keep.get::<String>("a").unwrap_err().kind(),
        ErrorKind::NoHealthyPools
    );
}

#[test]
fn whether_a_timeout_is_the_end_is_said_by_a_property() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    proxy.set(Way::ToClient, Fault::BlackHole);
    for (again, tries) in [(true, 1), (false, 0)] {
        let keep = with(&proxy.url(), |config| {
            let config = config.connect_timeout(TIME).command_timeout(PATIENCE);
            config
                .health_check_interval(Duration::ZERO)
                .retry_on_timeout(again)
        });
        let error = keep.get::<String>("a").unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Timeout, Outcome::NotSent)
        );
        assert_eq!(keep.stats()["retries"], tries, "{error}");
    }
}

#[test]
fn close_wakes_a_call_that_is_connecting() {
    let full = Full::new();
    let keep = with(&full.url(), |config| {
        config
            .shared_lines(0)
            .connect_timeout(PATIENCE * 3)
            .command_timeout(PATIENCE * 3)
    });
    thread::scope(|scope| {
        let call = scope.spawn(|| keep.ping().unwrap_err());
        wait_until(PATIENCE, || {
            keep.fetch_pool_status().nodes[0].pools[0].in_use == 1
        });
        // The dial begins a moment after the slot was taken; either way it must end.
        assert!(!came_true(Duration::from_millis(50), || call.is_finished()));
        let (pauses, started) = (Pauses::measure(), Instant::now());
        keep.close(Duration::from_millis(500)).unwrap();
        assert_eq!(call.join().unwrap().kind(), ErrorKind::Closed);
        closed_in_time(pauses, started);
    });
}

#[test]
fn a_peer_that_stops_reading_ends_a_large_set_with_its_fate_unknown() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let keep = with(&proxy.url(), |config| {
        config
            .command_timeout(TIME * 2)
            .max_connections(1)
            .shared_lines(0)
            .health_check_interval(Duration::ZERO)
    });
    keep.set("a", "before").unwrap();
    proxy.set(Way::ToServer, Fault::StallAfter(100_000));
    let big = vec![b'x'; 30 << 20];
    let error = ends_at(TIME * 2, || keep.set("a", &big));
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Timeout, Outcome::Unknown)
    );
    // The proxy hands on what it and the kernel held back, and then the end of the stream: nothing was added, and
    // the server, with half a command in its hands, executed nothing.
    proxy.heal();
    wait_until(PATIENCE, || proxy.live() == 0);
    assert!(proxy.bytes_to_server() < big.len() as u64);
    assert_eq!(keep.get::<String>("a").unwrap().as_deref(), Some("before"));
    assert_eq!(server.command_calls("set"), 1);
}

#[test]
fn a_call_that_blocks_for_ever_is_woken_by_close() {
    let server = Server::start();
    let keep = with(&server.url(), |config| config);
    thread::scope(|scope| {
        let calls: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| keep.command::<()>(("BLPOP", "nothing", 0)).unwrap_err()))
            .collect();
        wait_until(PATIENCE, || {
            server.info("clients", "blocked_clients") == "3"
        });
        let (pauses, started) = (Pauses::measure(), Instant::now());
        keep.close(Duration::from_millis(500)).unwrap();
        for call in calls {
            let error = call.join().unwrap();
            assert_eq!(
                (error.kind(), error.outcome()),
                (ErrorKind::Closed, Outcome::Unknown)
            );
        }
        closed_in_time(pauses, started);
    });
}

#[test]
fn a_blocking_call_outlasts_the_command_timeout() {
    let server = Server::start();
    let keep = quick(&server.url(), TIME);
    thread::scope(|scope| {
        let call = scope.spawn(|| keep.command::<(String, String)>(("BLPOP", "list", 0)));
        wait_until(PATIENCE, || {
            server.info("clients", "blocked_clients") == "1"
        });
        assert!(!came_true(TIME * 3, || call.is_finished()));
        keep.command::<()>(("RPUSH", "list", "x")).unwrap();
        assert_eq!(call.join().unwrap().unwrap().1, "x");
    });
    // Its own time and command_timeout on top.
    server.freeze();
    let own = Duration::from_millis(300);
    let error = ends_at(own + TIME, || keep.command::<()>(("BLPOP", "list", 0.3)));
    assert_eq!(error.kind(), ErrorKind::Timeout);
    server.thaw();
}

#[test]
fn waiting_for_a_connection_counts() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let keep = with(&proxy.url(), |config| {
        let config = config.shared_lines(0).max_connections(1);
        config.command_timeout(TIME)
    });
    keep.set("a", 1).unwrap();
    let held = keep.client().dedicated().unwrap();
    let error = ends_at(TIME, || keep.get::<String>("a"));
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::PoolTimeout, Outcome::NotSent)
    );
    // Half of the time in the queue, the other half on a line that says nothing.
    proxy.set(Way::ToClient, Fault::BlackHole);
    thread::scope(|scope| {
        let call = scope.spawn(|| ends_at(TIME, || keep.get::<String>("a")));
        wait_until(PATIENCE, || {
            keep.fetch_pool_status().nodes[0].pools[0].waiting == 1
        });
        let _ = came_true(TIME / 2, || call.is_finished());
        drop(held);
        let error = call.join().unwrap();
        assert!(matches!(
            error.kind(),
            ErrorKind::Timeout | ErrorKind::PoolTimeout
        ));
    });
}

#[test]
fn a_name_that_cannot_be_looked_up_is_told_by_the_deadline() {
    let keep = quick("redis://no-such-host.invalid", PATIENCE);
    let started = Instant::now();
    let error = keep.ping().unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Resolve | ErrorKind::Timeout),
        "{error}"
    );
    assert_eq!(error.outcome(), Outcome::NotSent);
    assert!(
        error.to_string().contains("no-such-host.invalid"),
        "{error}"
    );
    assert!(started.elapsed() < PATIENCE + MARGIN);
}

#[test]
fn adding_a_node_that_stalls_after_its_greeting_takes_no_longer_than_asked() {
    let server = Server::start();
    let peer = Peer::answer(|request| match request[0].as_slice() {
        b"HELLO" => "-ERR unknown command\r\n",
        b"CLIENT" => "+OK\r\n",
        _ => "",
    });
    let keep = with(&server.url(), |config| config);
    let url = format!("redis://{}", peer.address());
    let error = ends_at(TIME, || keep.add_node_pool_within(&url, TIME));
    assert_eq!(error.kind(), ErrorKind::Timeout);
    // One whose greeting takes most of the time leaves the rest to its sign of life.
    let proxy = Proxy::to(server.address());
    proxy.set(Way::Both, Fault::Delay(TIME / 3));
    let url = format!("redis://{}", proxy.address());
    let error = ends_at(TIME, || keep.add_node_pool_within(&url, TIME));
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

#[test]
fn a_late_reply_never_reaches_another_caller() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let keep = with(&proxy.url(), |config| {
        config
            .max_connections(4)
            .command_timeout(Duration::from_millis(60))
            .connect_timeout(PATIENCE)
            .health_check_interval(Duration::ZERO)
    });
    let (answers, timeouts) = (AtomicU64::new(0), AtomicU64::new(0));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for n in 0..12 {
            let (keep, answers, timeouts, over) = (&keep, &answers, &timeouts, &over);
            scope.spawn(move || {
                for round in 0.. {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    let tag = format!("{n}:{round}:{}", "x".repeat(round % 300));
                    match keep.command::<String>(("ECHO", &tag)) {
                        Ok(back) => {
                            assert_eq!(back, tag);
                            answers.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => {
                            let late = [ErrorKind::Timeout, ErrorKind::PoolTimeout];
                            assert!(late.contains(&error.kind()), "{error:?}");
                            timeouts.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
        let enough =
            || timeouts.load(Ordering::Relaxed) >= 30 && answers.load(Ordering::Relaxed) >= 1000;
        let deadline = Instant::now() + PATIENCE;
        let mut seed = 12345u64;
        while !enough() && Instant::now() < deadline {
            // Stalls of random length at random places in the stream.
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            proxy.set(Way::ToClient, Fault::StallAfter((seed >> 33) % 700));
            thread::sleep(Duration::from_millis((seed >> 45) % 90));
            proxy.heal();
            thread::sleep(Duration::from_millis((seed >> 50) % 30));
        }
        over.store(true, Ordering::Relaxed);
        assert!(enough(), "{answers:?} answers, {timeouts:?} timeouts");
    });
}

#[test]
fn a_thread_that_is_signalled_all_the_time_sees_no_error() {
    // Alone, since the handler is the whole process's.
    if !alone("a_thread_that_is_signalled_all_the_time_sees_no_error") {
        return;
    }
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    proxy.set(Way::Both, Fault::Delay(Duration::from_millis(3)));
    let keep = with(&proxy.url(), |config| {
        config.max_connections(2).shared_lines(0)
    });
    let signals = Signals::to_this_thread();
    let big = vec![b'x'; 3 << 20];
    keep.set("big", &big).unwrap();
    for n in 0..60 {
        assert_eq!(keep.incr("n", 1).unwrap(), n + 1);
        if n % 20 == 0 {
            keep.disconnect();
            assert!(keep.get::<Vec<u8>>("big").unwrap().unwrap() == big);
        }
    }
    let none: Option<(String, String)> = keep.command(("BLPOP", "nothing", 0.3)).unwrap();
    assert_eq!(none, None);
    // Waiting for a connection, and a deadline, are no different.
    let held: Vec<_> = (0..2).map(|_| keep.client().dedicated().unwrap()).collect();
    let time = Duration::from_millis(100);
    let error = ends_at(time, || keep.command_within::<()>("PING", time));
    assert_eq!(error.kind(), ErrorKind::PoolTimeout);
    drop(held);
    server.freeze();
    let error = ends_at(time, || keep.command_within::<()>("PING", time));
    assert_eq!(error.kind(), ErrorKind::Timeout);
    server.thaw();
    drop(signals);
    figure("60 calls and what they wait for, signalled each millisecond: 0 errors");
}
