//! The manager: opening, nodes, health, status, life and death.

mod support;

use std::thread;
use std::time::{Duration, Instant};

use redkeep::{Config, ErrorKind, Manager, NodeState, Outcome};
use support::{
    Fault, PATIENCE, Peer, Proxy, Server, Way, alone, descriptors, is_alone, myself, threads,
    wait_until,
};

fn open(server: &Server) -> Manager {
    Manager::open(&server.url()).expect("a url of ours")
}

fn with(url: &str, change: impl FnOnce(Config) -> Config) -> Manager {
    Manager::open_config(&change(Config::new().url(url))).expect("a config of ours")
}

/// A port that nobody listens on.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("redis://{}", listener.local_addr().unwrap())
}

#[test]
fn bad_configurations_do_not_open() {
    for (url, kind) in [
        ("nosuch://host", ErrorKind::Url),
        ("redis://host:99999", ErrorKind::Url),
        ("redis://host?max_connections=0", ErrorKind::BadValue),
        ("redis://host?nosuch=1", ErrorKind::UnknownProperty),
        ("redis://host?command_timeout=soon", ErrorKind::BadValue),
        ("", ErrorKind::Url),
    ] {
        let error = Manager::open(url).unwrap_err();
        assert_eq!(error.kind(), kind, "{url}: {error}");
        assert_eq!(error.outcome(), Outcome::NotSent);
        assert!(!error.message().is_empty());
    }
    let error = Manager::open_config(&Config::new().max_connections(0)).unwrap_err();
    assert!(error.message().contains("max_connections"), "{error}");
}

#[test]
fn the_environment_opens_it() {
    const NAME: &str = "the_environment_opens_it";
    if is_alone() {
        let global = Manager::global();
        let answer = match (Manager::from_env(), global.ping()) {
            (Ok(keep), Ok(())) => {
                let mut lease = keep.client().dedicated().unwrap();
                let info: String = lease.command(("CLIENT", "INFO")).unwrap();
                let db = info.split("db=").nth(1).unwrap().split(' ').next().unwrap();
                let size = keep.fetch_pool_status().nodes[0].pools[0].size;
                format!("up db={db} size={size} enabled={}", global.is_enabled())
            }
            (Ok(_), Err(error)) => format!("open {:?}", error.kind()),
            (Err(error), Err(global)) => {
                format!("error {:?} {:?} {error}", error.kind(), global.kind())
            }
            (Err(error), Ok(())) => format!("only global is up {error}"),
        };
        println!("\nanswer: {answer}");
        return;
    }
    let server = Server::start();
    let port = server.port().to_string();
    let url = format!("{}/3", server.url());
    let bad_port = [("REDIS_PORT", "99999")];
    for (variables, expected) in [
        (
            &[("REDIS_URL", url.as_str()), ("REDIS_MAX_CONNECTIONS", "7")][..],
            "up db=3 size=7 enabled=true",
        ),
        (
            &[
                ("REDIS_HOST", "127.0.0.1"),
                ("REDIS_PORT", &port),
                ("REDIS_DB", "2"),
            ],
            "up db=2 size=10 enabled=true",
        ),
        (
            &[("REDIS_URL", &url), ("ENABLE_REDIS", "false")],
            "open Disabled",
        ),
        (&bad_port, "error BadValue Config"),
    ] {
        let mut command = myself(NAME);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("REDIS_")) {
            command.env_remove(name);
        }
        let output = command
            .env_remove("ENABLE_REDIS")
            .envs(variables.iter().copied())
            .output();
        let text = String::from_utf8(output.unwrap().stdout).unwrap();
        let answer = text.lines().find_map(|line| line.strip_prefix("answer: "));
        assert!(
            answer.unwrap_or(&text).starts_with(expected),
            "{variables:?}: {text}"
        );
    }
}

#[test]
fn one_that_is_switched_off_does_nothing_and_says_so() {
    let config = Config::new().url(nobody()).enabled(false);
    let keep = Manager::open_config(&config).unwrap();
    assert!(!keep.is_enabled() && !keep.initialize());
    let url = "redis://localhost:1";
    let brief = Duration::from_millis(1);
    for error in [
        keep.ping().unwrap_err(),
        keep.get::<String>("a").unwrap_err(),
        keep.command::<()>("PING").unwrap_err(),
        keep.add_node_pool(url).unwrap_err(),
        keep.get_client(url).map(drop).unwrap_err(),
        keep.client().dedicated().map(drop).unwrap_err(),
        keep.close_node_pools(url).unwrap_err(),
        keep.start_health_checks().unwrap_err(),
        keep.start_cleanup().unwrap_err(),
        keep.wait_for_ready(None, brief, brief, 1).unwrap_err(),
        keep.is_redis_connected(None).1.unwrap(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Disabled);
        assert!(error.message().contains("ENABLE_REDIS"), "{error}");
    }
    assert!(!keep.health_check(None).unwrap().healthy);
    keep.disconnect();
    keep.close_all_pools();
    keep.stop_health_checks();
    keep.stop_cleanup();
    assert!(keep.fetch_pool_status().nodes.is_empty());
    assert_eq!(keep.stats()["enabled"], false);
    keep.close(Duration::ZERO).unwrap();
}

#[test]
fn enabled_follows_what_is_known() {
    let mut server = Server::start();
    let keep = open(&server);
    assert!(!keep.is_enabled());
    assert_eq!(keep.fetch_pool_status().nodes[0].state, NodeState::Untried);
    assert!(keep.initialize());
    assert!(keep.is_enabled());
    let node = keep.fetch_pool_status().nodes.remove(0);
    assert_eq!(node.state, NodeState::Up);
    assert_eq!(node.address, server.address());
    assert_eq!(node.version.unwrap(), server.version());
    keep.disconnect();
    assert!(!keep.is_enabled());
    keep.ping().unwrap();
    assert!(keep.is_enabled());
    server.kill();
    assert!(keep.ping().is_err());
    assert!(!keep.is_enabled() && !keep.initialize());
    let (connected, why) = keep.is_redis_connected(None);
    assert!(!connected && why.is_some());
}

#[test]
fn nodes_are_added_used_closed_and_added_again() {
    let (one, two) = (Server::start(), Server::start());
    let keep = open(&one);
    let unknown = keep.get_client(&two.url()).unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::UnknownNode);
    assert!(unknown.message().contains("add_node_pool"), "{unknown}");
    assert!(unknown.message().contains(&one.address()), "{unknown}");
    for _ in 0..3 {
        keep.add_node_pool(&two.url()).unwrap();
    }
    assert_eq!(keep.fetch_pool_status().nodes.len(), 2);
    let mut lease = keep.get_client(&two.url()).unwrap();
    assert_eq!(lease.node(), two.address());
    lease.command::<()>(("SET", "where", "two")).unwrap();
    assert_eq!(keep.get::<String>("where").unwrap(), None);
    assert_eq!(two.ask::<String>(&["GET", "where"]), "two");
    drop(lease);
    assert_eq!(keep.get_client(&one.url()).unwrap().node(), one.address());

    keep.close_node_pools(&two.url()).unwrap();
    wait_until(PATIENCE, || two.connections() == 0);
    for error in [
        keep.get_client(&two.url()).map(drop).unwrap_err(),
        keep.close_node_pools(&two.url()).unwrap_err(),
        keep.health_check(Some(&two.url())).map(drop).unwrap_err(),
        keep.is_redis_connected(Some(&two.url())).1.unwrap(),
    ] {
        assert_eq!(error.kind(), ErrorKind::UnknownNode);
    }
    keep.ping().unwrap();
    keep.add_node_pool(&two.url()).unwrap();
    keep.get_client(&two.url()).unwrap();

    keep.close_all_pools();
    wait_until(PATIENCE, || one.connections() + two.connections() == 0);
    let error = keep.ping().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownNode);
    assert!(error.message().contains("add_node_pool"), "{error}");
    assert!(!keep.is_enabled());
    keep.add_node_pool(&one.url()).unwrap();
    keep.ping().unwrap();
    assert!(keep.is_enabled());
}

#[test]
fn one_server_by_two_databases_is_two_nodes() {
    let server = Server::start();
    let keep = open(&server);
    let other = format!("{}/5", server.url());
    keep.add_node_pool(&other).unwrap();
    let mut lease = keep.get_client(&other).unwrap();
    lease.command::<()>(("SET", "a", 1)).unwrap();
    drop(lease);
    assert_eq!(keep.get::<String>("a").unwrap(), None);
    assert_eq!(keep.fetch_pool_status().nodes.len(), 2);
}

#[test]
fn a_node_that_does_not_answer_is_added_and_comes_in_later() {
    let (server, mut late) = (Server::start(), Server::start());
    late.kill();
    let keep = open(&server);
    let error = keep.add_node_pool(&late.url()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    let status = keep.fetch_pool_status();
    assert_eq!(
        (status.nodes.len(), status.nodes[1].state),
        (2, NodeState::Down)
    );
    late.restart();
    wait_until(PATIENCE, || keep.get_client(&late.url()).is_ok());
    // Nobody looks after it now; adding it once more asks it again.
    keep.stop_health_checks();
    late.kill();
    assert!(keep.add_node_pool(&late.url()).is_err());
    late.restart();
    keep.add_node_pool(&late.url()).unwrap();
    for url in [
        "nosuch://a",
        "redis://a:99999",
        "embedded://",
        "redis://a?max_connections=5",
        "",
    ] {
        let error = keep.add_node_pool(url).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Url, "{url}: {error}");
    }
    assert_eq!(keep.fetch_pool_status().nodes.len(), 2);
}

#[test]
fn callers_in_the_queue_of_a_node_that_is_closed_are_told() {
    let server = Server::start();
    let keep = with(&server.url(), |config| {
        config.max_connections(1).shared_lines(0)
    });
    let held = keep.client().dedicated().unwrap();
    thread::scope(|scope| {
        let calls: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| keep.ping().unwrap_err()))
            .collect();
        wait_until(PATIENCE, || {
            keep.fetch_pool_status().nodes[0].pools[0].waiting == 4
        });
        let started = Instant::now();
        keep.close_all_pools();
        for call in calls {
            let error = call.join().unwrap();
            assert_eq!(error.kind(), ErrorKind::UnknownNode, "{error}");
            assert_eq!(error.outcome(), Outcome::NotSent);
        }
        assert!(started.elapsed() < Duration::from_secs(2));
    });
    drop(held);
    keep.add_node_pool(&server.url()).unwrap();
    keep.ping().unwrap();
}

#[test]
fn closing_and_adding_under_load_loses_no_connection() {
    let server = Server::start();
    let keep = with(&server.url(), |config| config.max_connections(3));
    let url = server.url();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..300 {
                    match keep.incr("n", 1) {
                        Ok(_) => {}
                        Err(error) => assert_eq!(error.kind(), ErrorKind::UnknownNode, "{error}"),
                    }
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..60 {
                keep.close_all_pools();
                let _ = keep.add_node_pool(&url);
            }
        });
    });
    keep.add_node_pool(&url).unwrap();
    // All three are there, and no more than three; and those of the lines, where a caller came after the last closing.
    let leases: Vec<_> = (0..3).map(|_| keep.client().dedicated().unwrap()).collect();
    let status = keep.fetch_pool_status();
    let lines = status.nodes[0].lines.iter().filter(|line| line.open);
    let all = leases.len() + lines.count();
    wait_until(PATIENCE, || server.connections() == all);
    drop(leases);
    keep.close_all_pools();
    wait_until(PATIENCE, || server.connections() == 0);
}

#[test]
fn nodes_closed_and_added_by_many_at_once_are_one_or_the_other() {
    let server = Server::start();
    let keep = with(&server.url(), |config| config.max_connections(2));
    let url = server.url();
    for _ in 0..40 {
        thread::scope(|scope| {
            for n in 0..6 {
                let (keep, url) = (&keep, &url);
                scope.spawn(move || match n % 3 {
                    0 => (0..10).for_each(|_| drop(keep.add_node_pool(url))),
                    1 => (0..10).for_each(|_| drop(keep.close_node_pools(url))),
                    _ => (0..10).for_each(|_| drop(keep.ping())),
                });
            }
        });
        keep.add_node_pool(&url).unwrap();
        keep.ping().unwrap();
        keep.close_all_pools();
        wait_until(PATIENCE, || server.connections() == 0);
        assert!(!keep.is_enabled());
        keep.add_node_pool(&url).unwrap();
    }
}

#[test]
fn ready_tells_how_long_it_took_or_ends_at_whichever_comes_first() {
    let mut server = Server::start();
    let keep = open(&server);
    let (step, long) = (Duration::from_millis(20), PATIENCE);
    let took = keep.wait_for_ready(None, long, step, 5).unwrap();
    assert!(took < long);
    keep.wait_for_ready(Some(&server.url()), long, step, 0)
        .unwrap();
    server.kill();
    let started = Instant::now();
    let error = keep.wait_for_ready(None, long, step, 3).unwrap_err();
    assert!(error.message().contains("4 tries"), "{error}");
    assert!(started.elapsed() >= step * 3 && started.elapsed() < long / 2);
    let time = Duration::from_millis(150);
    let started = Instant::now();
    let error = keep.wait_for_ready(None, time, step, 1000).unwrap_err();
    assert!(
        started.elapsed() < time + Duration::from_millis(400),
        "{error}"
    );
    // Nothing overflows.
    let error = keep
        .wait_for_ready(None, long, Duration::MAX, 5)
        .unwrap_err();
    assert!(error.message().contains("1 tries"), "{error}");
    let error = keep
        .wait_for_ready(None, Duration::ZERO, step, 5)
        .unwrap_err();
    assert!(error.is_retriable(), "{error}");
    let error = keep
        .wait_for_ready(Some(&nobody()), long, step, 5)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownNode);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| keep.wait_for_ready(None, long, step, u32::MAX));
        server.restart();
        waiting.join().unwrap().unwrap();
    });
    assert!(keep.is_enabled());
    server.freeze();
    let started = Instant::now();
    keep.wait_for_ready(None, time, step, 5).unwrap_err();
    assert!(started.elapsed() < time + Duration::from_millis(400));
    server.thaw();
}

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

#[test]
fn after_close_every_call_says_so() {
    let server = Server::start();
    let keep = open(&server);
    keep.set("a", 1).unwrap();
    let (url, brief) = (server.url(), Duration::from_millis(10));
    let client = keep.client();
    keep.close(PATIENCE).unwrap();
    keep.close(PATIENCE).unwrap();
    wait_until(PATIENCE, || server.connections() == 0);
    for error in [
        keep.get::<i64>("a").map(drop).unwrap_err(),
        client.set("a", 1).unwrap_err(),
        keep.command::<()>("PING").unwrap_err(),
        client.dedicated().map(drop).unwrap_err(),
        keep.get_client(&url).map(drop).unwrap_err(),
        keep.add_node_pool(&url).unwrap_err(),
        keep.add_node_pool(&nobody()).unwrap_err(),
        keep.close_node_pools(&url).unwrap_err(),
        keep.start_health_checks().unwrap_err(),
        keep.start_cleanup().unwrap_err(),
        keep.wait_for_ready(None, PATIENCE, brief, 9)
            .map(drop)
            .unwrap_err(),
        keep.is_redis_connected(None).1.unwrap(),
    ] {
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Closed, Outcome::NotSent),
            "{error}"
        );
    }
    assert_eq!(keep.lenient().get::<i64>("a"), None);
    assert!(!keep.is_enabled() && !keep.initialize());
    assert!(!keep.health_check(None).unwrap().healthy);
    keep.disconnect();
    keep.stop_cleanup();
    keep.stop_health_checks();
    keep.close_all_pools();
    assert!(keep.stats()["calls"].as_u64() >= Some(1));
    assert_eq!(keep.ping().unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn close_wakes_everybody() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let keep = with(&proxy.url(), |config| {
        config
            .max_connections(2)
            .shared_lines(0)
            .command_timeout(PATIENCE * 3)
            .connect_timeout(PATIENCE * 3)
    });
    thread::scope(|scope| {
        // One blocks in the server, one in its greeting, and the others wait for a connection.
        let blocking = scope.spawn(|| keep.command::<()>(("BLPOP", "nothing", 0)).unwrap_err());
        wait_until(PATIENCE, || {
            server.info("clients", "blocked_clients") == "1"
        });
        proxy.set(Way::Both, Fault::BlackHole);
        let mut calls = vec![blocking];
        for _ in 0..4 {
            calls.push(scope.spawn(|| keep.ping().unwrap_err()));
        }
        wait_until(PATIENCE, || {
            keep.fetch_pool_status().nodes[0].pools[0].waiting == 3
        });
        let ready = scope.spawn(|| {
            keep.wait_for_ready(None, PATIENCE * 3, Duration::from_secs(1), 99)
                .unwrap_err()
        });
        let started = Instant::now();
        keep.close(Duration::from_millis(500)).unwrap();
        for call in calls {
            assert_eq!(call.join().unwrap().kind(), ErrorKind::Closed);
        }
        assert_eq!(ready.join().unwrap().kind(), ErrorKind::Closed);
        let took = started.elapsed();
        assert!(took < Duration::from_secs(2), "{took:?}");
        support::figure(format!("closed, with six calls under way, after {took:?}"));
    });
}

#[test]
fn close_wakes_a_call_that_waits_before_it_tries_again() {
    let peer = Peer::after_handshake(|_| "-LOADING Redis is loading\r\n");
    let keep = with(&peer.url(), |config| config.command_timeout(PATIENCE * 3));
    thread::scope(|scope| {
        let call = scope.spawn(|| keep.incr("a", 1).unwrap_err());
        wait_until(PATIENCE, || peer.requests("INCRBY") > 5);
        let started = Instant::now();
        keep.close(Duration::from_millis(500)).unwrap();
        assert_eq!(call.join().unwrap().kind(), ErrorKind::Closed);
        assert!(started.elapsed() < Duration::from_secs(2));
    });
}

#[test]
fn threads_end_with_close_and_with_drop() {
    if !alone("threads_end_with_close_and_with_drop") {
        return;
    }
    let server = Server::start();
    assert_eq!(threads(), Vec::<String>::new());
    let keep = open(&server);
    keep.ping().unwrap();
    // A thread names itself, a moment after it was started.
    wait_until(PATIENCE, || {
        threads() == ["redkeep-health", "redkeep-reaper", "redkeep-slots"]
    });
    keep.close(PATIENCE).unwrap();
    // close() has joined them; the kernel lists a thread for a moment longer.
    let left = || threads().iter().all(|name| name == "redkeep-slots");
    wait_until(PATIENCE, left);
    drop(keep);
    wait_until(PATIENCE, || threads().is_empty());
    drop(open(&server));
    wait_until(PATIENCE, || threads().is_empty());
    let keep = open(&server);
    keep.stop_health_checks();
    keep.stop_cleanup();
    wait_until(PATIENCE, left);
}

#[test]
fn opening_and_closing_leaves_no_descriptor() {
    if !alone("opening_and_closing_leaves_no_descriptor") {
        return;
    }
    let server = Server::start();
    let round = |n: usize| {
        let keep = with(&server.url(), |config| {
            config.health_check_interval(Duration::from_millis(1))
        });
        keep.incr("n", 1).unwrap();
        let lease = keep.client().dedicated().unwrap();
        match n % 3 {
            0 => keep.close(PATIENCE).unwrap(),
            1 => keep.close_all_pools(),
            _ => {}
        }
        drop(keep);
        drop(lease);
    };
    round(0);
    wait_until(PATIENCE, || threads().is_empty());
    let before = descriptors();
    (0..100).for_each(round);
    wait_until(PATIENCE, || threads().is_empty());
    assert_eq!(descriptors(), before);
    wait_until(PATIENCE, || server.connections() == 0);
    support::figure(
        "opened and closed 100 times: 0 descriptors, threads and connections left over",
    );
}

#[test]
fn four_nodes_without_traffic_need_few_threads() {
    if !alone("four_nodes_without_traffic_need_few_threads") {
        return;
    }
    let servers: Vec<Server> = (0..4).map(|_| Server::start()).collect();
    let count = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let before = count();
    let keep = open(&servers[0]);
    for server in &servers[1..] {
        keep.add_node_pool(&server.url()).unwrap();
    }
    // The issue allows five in all, the program's own one among them.
    assert!(1 + count() - before <= 5, "{:?}", threads());
    assert!(threads().len() <= 4, "{:?}", threads());
}

#[test]
fn idle_threads_hardly_wake() {
    if !alone("idle_threads_hardly_wake") {
        return;
    }
    let server = Server::start();
    let keep = open(&server);
    keep.ping().unwrap();
    let wakes = || -> u64 {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        tasks
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("status")).ok())
            .filter(|status| status.starts_with("Name:\tredkeep-"))
            .filter_map(|status| {
                let line = status
                    .lines()
                    .find(|l| l.starts_with("voluntary_ctxt_switches"))?;
                line.split_whitespace().nth(1)?.parse::<u64>().ok()
            })
            .sum()
    };
    wait_until(PATIENCE, || threads().len() == 3);
    let before = wakes();
    // What is measured is what happens while time goes by.
    thread::sleep(Duration::from_secs(2));
    let woke = wakes() - before;
    assert!(woke <= 6, "{woke} in two seconds");
}

#[test]
fn a_broken_bell_ends_no_process() {
    if !alone("a_broken_bell_ends_no_process") {
        return;
    }
    // As in a program in C: nobody ignores SIGPIPE for us.
    // SAFETY: alone in this process.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let mut server = Server::start();
    let other = Server::start();
    for _ in 0..50 {
        let keep = open(&server);
        keep.ping().unwrap();
        keep.stop_health_checks();
        keep.add_node_pool(&other.url()).unwrap();
    }
    let keep = open(&server);
    keep.ping().unwrap();
    keep.stop_health_checks();
    server.kill();
    assert!(keep.ping().is_err());
    assert!(keep.ping().is_err());
}

#[test]
fn a_socket_that_the_server_closed_raises_no_sigpipe() {
    if !alone("a_socket_that_the_server_closed_raises_no_sigpipe") {
        return;
    }
    // SAFETY: alone in this process.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let server = Server::start();
    for url in [server.url(), server.unix_url()] {
        let keep = Manager::open(&url).unwrap();
        keep.set("a", 1).unwrap();
        for _ in 0..20 {
            server.kill_clients();
            assert_eq!(keep.get::<i64>("a").unwrap(), Some(1));
        }
    }
    support::figure("40 closed connections written to: 0 SIGPIPE, 0 errors");
}
