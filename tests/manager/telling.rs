//! What it tells of itself.

use crate::*;

#[test]
fn health_is_what_the_server_says_of_itself() {
    let mut server = Server::start();
    let keep = open(&server);
    for url in [None, Some(server.url())] {
        let health = keep.health_check(url.as_deref()).unwrap();
        assert!(health.healthy && health.error.is_none());
        assert_eq!(health.version, Some(server.version()));
        assert_eq!(health.role.as_deref(), Some("master"));
        // Ours, and for a moment one of the test's own.
        assert!((1..=3).contains(&health.connected_clients.unwrap()));
        assert!(health.latency.unwrap() < PATIENCE);
        let json = serde_json::to_value(&health).unwrap();
        assert_eq!(json["status"], "healthy");
        assert_eq!(json["role"], "master");
        assert!(json["latency_ms"].is_number());
    }
    server.kill();
    let health = keep.health_check(None).unwrap();
    assert!(!health.healthy && health.version.is_none());
    let json = serde_json::to_value(&health).unwrap();
    assert_eq!(json["status"], "unhealthy");
    assert!(
        json["error"].as_str().unwrap().contains(&server.address()),
        "{json}"
    );
    let error = keep.health_check(Some(&nobody())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownNode);
    assert!(keep.health_check(Some("redis://a:99999")).is_err());
}

#[test]
fn background_tasks_start_and_stop_any_number_of_times() {
    let server = Server::start();
    let keep = with(&server.url(), |config| {
        config.health_check_interval(Duration::from_millis(20))
    });
    let tasks = || {
        let status = keep.fetch_pool_status();
        (status.health_checks, status.cleanup)
    };
    assert_eq!(tasks(), (true, true));
    for _ in 0..2 {
        keep.stop_health_checks();
        keep.stop_health_checks();
        assert_eq!(tasks(), (false, true));
        let before = server.command_calls("ping");
        assert!(!support::came_true(Duration::from_millis(150), || {
            server.command_calls("ping") > before
        }));
        keep.stop_cleanup();
        keep.stop_cleanup();
        assert_eq!(tasks(), (false, false));
        for _ in 0..2 {
            keep.start_health_checks().unwrap();
            keep.start_cleanup().unwrap();
        }
        assert_eq!(tasks(), (true, true));
        wait_until(PATIENCE, || server.command_calls("ping") > before);
    }
    wait_until(PATIENCE, || {
        keep.fetch_pool_status().nodes[0].latency.is_some()
    });
    assert!(keep.is_enabled());
    let off = with(&server.url(), |config| {
        config
            .health_check_interval(Duration::ZERO)
            .cleanup_interval(Duration::ZERO)
    });
    assert!(!off.fetch_pool_status().health_checks && !off.fetch_pool_status().cleanup);
    let error = off.start_health_checks().unwrap_err();
    assert!(error.message().contains("health_check_interval"), "{error}");
    assert!(off.start_cleanup().is_err());
    off.ping().unwrap();
}

#[test]
fn a_node_that_callers_hear_from_is_not_asked_and_needs_no_connection_for_it() {
    const INTERVAL: Duration = Duration::from_millis(300);
    let server = Server::start();
    let open = |lines| {
        with(&server.url(), |config| {
            let config = config.command_timeout(Duration::from_secs(1));
            config.health_check_interval(INTERVAL).shared_lines(lines)
        })
    };
    let latency = |keep: &Manager| keep.fetch_pool_status().nodes[0].latency;
    // Calls for so long; the longest time without an answer.
    let calls = |keep: &Manager| {
        let (started, mut heard, mut longest) = (Instant::now(), Instant::now(), Duration::ZERO);
        while started.elapsed() < INTERVAL * 5 {
            keep.get::<i64>("key").unwrap();
            longest = longest.max(heard.elapsed());
            heard = Instant::now();
        }
        longest
    };
    let keep = open(1);
    let asked = (0..10).find_map(|_| {
        let before = server.command_calls("ping");
        // A machine that holds us up for so long makes us ask.
        let whole = calls(&keep) < INTERVAL - INTERVAL / 10;
        whole.then(|| (server.command_calls("ping") - before, server.connections()))
    });
    assert_eq!(asked.expect("ten tries"), (0, 1), "checks, and connections");
    assert!(latency(&keep).is_some());
    // An idle one is asked, one that is frozen is down.
    let before = server.command_calls("ping");
    wait_until(PATIENCE, || server.command_calls("ping") > before + 1);
    calls(&keep);
    server.freeze();
    let state = || keep.fetch_pool_status().nodes[0].state;
    wait_until(PATIENCE, || state() == NodeState::Down);
    server.thaw();
    wait_until(PATIENCE, || state() == NodeState::Up);
    drop(keep);
    // Calls that go by the pool are not counted.
    let keep = open(0);
    let before = server.command_calls("ping");
    calls(&keep);
    wait_until(PATIENCE, || server.command_calls("ping") > before);
}

#[test]
fn the_counts_are_what_happened() {
    let mut server = Server::start();
    let keep = open(&server);
    let stats = keep.stats();
    for name in [
        "version",
        "enabled",
        "calls",
        "errors",
        "timeouts",
        "retries",
        "swallowed",
        "pools",
    ] {
        assert!(!stats[name].is_null(), "{name}: {stats}");
    }
    assert_eq!(
        (&stats["calls"], &stats["enabled"]),
        (&0.into(), &false.into())
    );
    keep.set("a", "x").unwrap();
    keep.incr("a", 1).unwrap_err();
    keep.command_within::<()>(("BLPOP", "b", 9), Duration::from_millis(20))
        .unwrap_err();
    keep.lenient().incr("a", 1);
    let stats = keep.stats();
    for (name, count) in [
        ("calls", 4),
        ("errors", 3),
        ("timeouts", 1),
        ("swallowed", 1),
        ("retries", 0),
    ] {
        assert_eq!(stats[name], count, "{name}: {stats}");
    }
    let node = &stats["pools"]["nodes"][0];
    assert_eq!(node["state"], "up");
    assert_eq!(node["address"], server.address());
    let pool = &node["pools"][0];
    assert_eq!(
        (&pool["size"], &pool["opened"], &pool["in_use"]),
        (&10.into(), &1.into(), &0.into())
    );
    // What blocks went by the pool, and the rest by the first line, which was idle each time.
    assert_eq!(node["calls_by_pool"], 1);
    for (field, count) in [
        ("opened", 1),
        ("closed", 0),
        ("batches", 3),
        ("commands", 3),
        ("waiting", 0),
    ] {
        assert_eq!(node["lines"][0][field], count, "{field}: {node}");
    }
    assert_eq!(node["lines"][0]["open"], true);
    assert_eq!(node["lines"][1]["opened"], 0);
    server.restart();
    keep.get::<String>("a").unwrap();
    assert_eq!(keep.stats()["retries"], 1);
}

#[test]
fn a_clone_is_the_same_manager() {
    let server = Server::start();
    let keep = open(&server);
    let clone = keep.clone();
    keep.ping().unwrap();
    assert!(clone.is_enabled());
    assert_eq!(clone.stats()["calls"], 1);
    drop(keep);
    clone.ping().unwrap();
    let third = clone.clone();
    clone.close(PATIENCE).unwrap();
    assert_eq!(third.ping().unwrap_err().kind(), ErrorKind::Closed);
}
