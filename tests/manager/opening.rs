//! What it is opened with, and from when on it can be used.

use crate::*;

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
fn a_host_and_a_port_do_in_place_of_a_url() {
    let server = Server::start();
    let on = |host: &str| {
        let config = Config::new().host(host).port(server.port());
        Manager::open_config(&config).unwrap()
    };
    on("127.0.0.1").set("a", 1).unwrap();
    // The server listens on 127.0.0.1 only.
    let error = on("127.0.0.2").set("a", 2).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    assert!(error.to_string().contains("127.0.0.2"), "{error}");
    assert_eq!(open(&server).get::<i64>("a").unwrap(), Some(1));
}

#[test]
fn the_environment_opens_it() {
    const NAME: &str = "manager::opening::the_environment_opens_it";
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
