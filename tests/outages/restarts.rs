//! Servers that stop and come back, and what is dialled meanwhile.

use crate::*;

/// Opens that many connections and leaves them idle.
fn fill(keep: &Manager, count: usize) {
    let all: Vec<_> = (0..count)
        .map(|_| keep.client().dedicated().unwrap())
        .collect();
    drop(all);
}

#[test]
fn a_stopped_server_is_told_at_once_and_used_again_when_it_is_back() {
    for checks in [true, false] {
        let mut server = Server::start();
        let keep = open(&server.url());
        if !checks {
            keep.stop_health_checks();
        }
        server.kill();
        let deadline = Duration::from_secs(5);
        let started = Instant::now();
        let first = keep.set("a", 1).unwrap_err();
        assert_eq!(
            what(&first),
            (ErrorKind::Connect, Outcome::NotSent),
            "{first}"
        );
        assert!(started.elapsed() < deadline / 5);
        for _ in 0..20 {
            let started = Instant::now();
            let error = keep.get::<String>("a").unwrap_err();
            let took = started.elapsed();
            assert_eq!(what(&error), (ErrorKind::NoHealthyPools, Outcome::NotSent));
            assert!(error.to_string().contains("refused"), "{error}");
            assert!(std::error::Error::source(&error).is_some());
            assert!(took < deadline / 50, "{took:?}");
        }
        assert!(!keep.is_enabled());
        let status = keep.fetch_pool_status();
        assert_eq!(status.nodes[0].state, NodeState::Down);
        assert!(
            status.nodes[0]
                .last_error
                .as_ref()
                .unwrap()
                .contains("refused")
        );
        server.restart();
        let back = Instant::now();
        wait_until(PATIENCE, || keep.set("a", 1).is_ok());
        let took = back.elapsed();
        println!("health checks {checks}: back after {took:?}");
        assert!(took < Duration::from_secs(3), "{took:?}");
        assert_eq!(keep.get::<i64>("a").unwrap(), Some(1));
        assert!(keep.is_enabled());
    }
}

#[test]
fn a_node_comes_back_without_any_call() {
    let mut server = Server::start();
    let keep = open(&server.url());
    server.kill();
    assert!(keep.ping().is_err());
    server.restart();
    wait_until(PATIENCE, || keep.is_enabled());
    keep.ping().unwrap();
    assert_eq!(keep.stats()["retries"], keep.stats()["retries"]);
}

#[test]
fn a_server_restarted_between_two_calls_is_not_noticed() {
    let mut server = Server::start();
    let keep = open(&server.url());
    for round in 0..3 {
        keep.set("a", round).unwrap();
        // Every connection there can be, all of them used a moment ago.
        fill(&keep, 10);
        server.restart();
        keep.set("a", round).unwrap();
        fill(&keep, 10);
        server.restart();
        assert_eq!(keep.get::<String>("a").unwrap(), None);
    }
    assert_eq!(keep.fetch_pool_status().nodes[0].state, NodeState::Up);
}

#[test]
fn idle_connections_that_the_server_closed_are_not_noticed() {
    let server = Server::start();
    let keep = with(&server.url(), |config| config.max_connections(30));
    keep.set("a", 1).unwrap();
    for _ in 0..3 {
        fill(&keep, 30);
        server.kill_clients();
        assert_eq!(keep.get::<i64>("a").unwrap(), Some(1));
        fill(&keep, 30);
        server.kill_clients();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(keep.get::<i64>("a").unwrap(), Some(1)));
            }
        });
    }
}

#[test]
fn a_wrong_password_is_told_and_not_tried_in_a_storm() {
    let server = Server::with(&["--requirepass", "right"]);
    for interval in [Duration::ZERO, Duration::from_secs(10)] {
        let proxy = Proxy::to(server.address());
        let url = format!("redis://:wrong@{}", proxy.address());
        let keep = with(&url, |config| config.health_check_interval(interval));
        let first = keep.ping().unwrap_err();
        assert_eq!(what(&first), (ErrorKind::Auth, Outcome::NotSent), "{first}");
        assert!(first.message().contains("WRONGPASS"), "{first}");
        let tries = hammer(&keep, Duration::from_secs(2), || proxy.accepted());
        assert!(tries <= 6, "{tries}");
    }
}

#[test]
fn a_node_that_is_down_is_dialled_about_twice_a_second() {
    let server = Server::start();
    for interval in [Duration::ZERO, Duration::from_secs(10)] {
        let proxy = Proxy::to(server.address());
        let keep = with(&proxy.url(), |config| {
            config.health_check_interval(interval)
        });
        keep.ping().unwrap();
        proxy.refuse_new(true);
        proxy.cut_all();
        assert!(keep.incr("a", 1).is_err() && keep.ping().is_err());
        let tries = hammer(&keep, Duration::from_secs(2), || proxy.refused());
        assert!((2..=8).contains(&tries), "{tries}");
        proxy.heal();
        wait_until(PATIENCE, || keep.ping().is_ok());
    }
}

/// Calls from many threads for that time; how often the network saw it.
fn hammer(keep: &Manager, time: Duration, count: impl Fn() -> u64) -> u64 {
    let before = count();
    let end = Instant::now() + time;
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while Instant::now() < end {
                    assert!(keep.ping().is_err());
                    thread::sleep(Duration::from_micros(200));
                }
            });
        }
    });
    count() - before
}

#[test]
fn one_connection_broken_off_in_its_greeting_is_an_accident() {
    let first = std::sync::atomic::AtomicBool::new(true);
    let peer = Peer::answer(move |request: &[Vec<u8>]| {
        if first.swap(false, std::sync::atomic::Ordering::SeqCst) {
            return Answer::Last(Vec::new());
        }
        match support::polite(request) {
            Some(reply) => Answer::from(reply),
            None => Answer::from("$1\r\n1\r\n"),
        }
    });
    let keep = open(&peer.url());
    // Not even INCR is in doubt: nothing of it had been sent.
    assert_eq!(keep.command::<i64>(("INCR", "n")).unwrap(), 1);
    assert!(keep.is_enabled());
    assert_eq!(peer.accepted(), 2);
}
