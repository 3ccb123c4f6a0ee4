//! Servers that stop, freeze, come back, refuse or hang up: what callers are told, what is sent again, and how often.

mod support;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use redkeep::{Config, Error, ErrorKind, Manager, NodeState, Outcome, SetOptions};
use support::{Answer, Fault, PATIENCE, Pauses, Peer, Proxy, Server, Way, polite, wait_until};

fn with(url: &str, change: impl FnOnce(Config) -> Config) -> Manager {
    Manager::open_config(&change(Config::new().url(url))).expect("a config of ours")
}

fn open(url: &str) -> Manager {
    with(url, |config| config)
}

fn what(error: &Error) -> (ErrorKind, Outcome) {
    (error.kind(), error.outcome())
}

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
fn an_incr_is_never_executed_twice_and_an_unknown_fate_is_told() {
    let server = Server::start();
    let keep = with(&server.url(), |config| config.max_connections(4));
    let (sure, unknown) = (AtomicI64::new(0), AtomicI64::new(0));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    match keep.incr("n", 1) {
                        Ok(_) => sure.fetch_add(1, Ordering::Relaxed),
                        // Killed in the middle of its greeting, which the others then hear of.
                        Err(error) if error.outcome() == Outcome::NotSent => 0,
                        Err(error) => {
                            assert_eq!(what(&error), (ErrorKind::Io, Outcome::Unknown), "{error}");
                            unknown.fetch_add(1, Ordering::Relaxed)
                        }
                    };
                }
            });
        }
        for _ in 0..60 {
            server.kill_clients();
            let before = sure.load(Ordering::Relaxed);
            wait_until(PATIENCE, || sure.load(Ordering::Relaxed) > before);
        }
        over.store(true, Ordering::Relaxed);
    });
    let (sure, unknown) = (sure.into_inner(), unknown.into_inner());
    let done: i64 = server.ask(&["GET", "n"]);
    assert!(
        (sure..=sure + unknown).contains(&done),
        "{sure} + {unknown}: {done}"
    );
    assert!(unknown > 0);
    assert_eq!(server.command_calls("incrby") as i64, done);
    support::figure(format!(
        "60 cuts: {sure} acknowledged and {unknown} unknown, {done} counted by the server"
    ));
}

#[test]
fn a_set_that_may_have_been_executed_is_not_called_unsent() {
    let mut server = Server::start();
    let proxy = Proxy::to(server.address());
    let keep = open(&proxy.url());
    keep.set("a", "before").unwrap();
    // The request arrives, its answer does not, and then nobody is there any more.
    proxy.set(Way::ToClient, Fault::ResetAfter(0));
    proxy.refuse_new(true);
    let error = keep.set("a", "after").unwrap_err();
    assert_eq!(server.ask::<String>(&["GET", "a"]), "after");
    assert_eq!(error.outcome(), Outcome::Unknown, "{error:?}");
    server.kill();
}

#[test]
fn a_refusal_after_an_unknown_fate_is_still_unknown() {
    let sets = AtomicUsize::new(0);
    let peer = Peer::after_handshake(move |request| match request[0].as_slice() {
        b"SET" if sets.fetch_add(1, Ordering::SeqCst) == 0 => Answer::Last(Vec::new()),
        _ => "-OOM command not allowed when used memory > 'maxmemory'.\r\n".into(),
    });
    let keep = open(&peer.url());
    let error = keep.set("a", 1).unwrap_err();
    assert_eq!(
        what(&error),
        (ErrorKind::OutOfMemory, Outcome::Unknown),
        "{error}"
    );
    // A read is as unexecuted as ever.
    let error = keep.get::<String>("a").unwrap_err();
    assert_eq!(what(&error), (ErrorKind::OutOfMemory, Outcome::Refused));
}

/// Calls by what may be repeated: its name, whether it may, the call.
type Call = fn(&Manager) -> redkeep::Result<()>;
const CALLS: &[(&str, bool, Call)] = &[
    ("GET", true, |keep| keep.get::<String>("a").map(drop)),
    ("MGET", true, |keep| keep.mget::<String>("a").map(drop)),
    ("EXISTS", true, |keep| keep.exists("a").map(drop)),
    ("TTL", true, |keep| keep.ttl("a").map(drop)),
    ("HGET", true, |keep| keep.hget::<String>("a", "f").map(drop)),
    ("SET", true, |keep| keep.set("a", 1)),
    ("MSET", true, |keep| keep.mset([("a", 1)])),
    ("EXPIRE", true, |keep| keep.expire("a", 9).map(drop)),
    ("PEXPIREAT", true, |keep| {
        keep.command(("PEXPIREAT", "a", 99))
    }),
    ("ZRANGE", true, |keep| keep.command(("zrange", "a", 0, 1))),
    ("INCRBY", false, |keep| keep.incr("a", 1).map(drop)),
    ("DEL", false, |keep| keep.delete("a").map(drop)),
    ("HSET", false, |keep| keep.hset("a", "f", 1).map(drop)),
    ("SET", false, |keep| {
        keep.set_with("a", 1, SetOptions::new().nx()).map(drop)
    }),
    ("SET", false, |keep| {
        keep.set_with("a", 1, SetOptions::new().xx()).map(drop)
    }),
    ("SET", false, |keep| keep.command(("SET", "a", 1, "get"))),
    ("EXPIRE", false, |keep| keep.expire("a", 0).map(drop)),
    ("EXPIRE", false, |keep| {
        keep.command(("EXPIRE", "a", 9, "nx"))
    }),
    ("EXPIRE", false, |keep| keep.command(("EXPIRE", "a", -1))),
    ("PEXPIRE", false, |keep| {
        keep.command(("PEXPIRE", "a", 9, "GT"))
    }),
    ("LTRIM", false, |keep| keep.command(("LTRIM", "a", 1, -1))),
    ("ZUNIONSTORE", false, |keep| {
        keep.command(("ZUNIONSTORE", "a", 2, "a", "b"))
    }),
    ("BITOP", false, |keep| {
        keep.command(("BITOP", "NOT", "a", "a"))
    }),
    ("LPUSH", false, |keep| keep.command(("LPUSH", "a", 1))),
    ("EVAL", false, |keep| keep.command(("EVAL", "return 1", 0))),
    ("FCALL", false, |keep| keep.command(("FCALL", "f", 0))),
    ("NOSUCH", false, |keep| keep.command("NOSUCH")),
];

#[test]
fn what_may_be_repeated_is_repeated_and_nothing_else() {
    for (name, may, call) in CALLS {
        let peer = Peer::after_handshake(|_| Answer::Last(Vec::new()));
        let keep = open(&peer.url());
        let error = call(&keep).unwrap_err();
        assert_eq!(
            what(&error),
            (ErrorKind::Io, Outcome::Unknown),
            "{name}: {error}"
        );
        let times = if *may { 4 } else { 1 };
        assert_eq!(peer.requests(name), times, "{name} {may}");
        assert_eq!(keep.stats()["retries"], times - 1, "{name}");
    }
    let once = CALLS.iter().filter(|(_, may, _)| !may).count();
    support::figure(format!(
        "{} commands, {once} of them sent once",
        CALLS.len()
    ));
    let peer = Peer::after_handshake(|_| Answer::Last(Vec::new()));
    let keep = with(&peer.url(), |config| config.retries(0));
    keep.get::<String>("a").unwrap_err();
    assert_eq!(peer.requests("GET"), 1);
}

#[test]
fn a_refusal_is_repeated_when_it_may_pass() {
    use ErrorKind::*;
    for (text, kind, gets, incrs) in [
        (
            "READONLY You can't write against a read only replica.",
            ReadOnly,
            4,
            4,
        ),
        (
            "NOREPLICAS Not enough good replicas to write.",
            NoWrites,
            4,
            4,
        ),
        ("MISCONF Redis is configured to save", NoWrites, 1, 1),
        ("BUSY Redis is busy running a script.", Busy, 1, 1),
        ("OOM command not allowed", OutOfMemory, 1, 1),
        ("NOPERM this user has no permissions", NoPermission, 1, 1),
        ("NOAUTH Authentication required.", Auth, 1, 1),
        ("NOSCRIPT No matching script.", NoScript, 1, 1),
        (
            "CROSSSLOT Keys don't hash to the same slot",
            CrossSlot,
            1,
            1,
        ),
        ("WRONGTYPE Operation against a key", WrongType, 1, 1),
        (
            "ERR value is not an integer or out of range",
            NotANumber,
            1,
            1,
        ),
        ("EXECABORT Transaction discarded", ExecAbort, 1, 1),
        ("SOMETHING new", Server, 1, 1),
        ("no code at all", Server, 1, 1),
        ("", Server, 1, 1),
    ] {
        let line = format!("-{text}\r\n");
        let peer = Peer::after_handshake(move |_| line.clone());
        let keep = open(&peer.url());
        let errors = [
            keep.get::<String>("a").unwrap_err(),
            keep.incr("a", 1).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(what(&error), (kind, Outcome::Refused), "{text}: {error}");
            let said = match text {
                "" => "ERR the server refused it without saying why",
                text => text,
            };
            assert_eq!(error.message(), said);
            let code = match kind {
                Server if text.starts_with("SOME") => "SOMETHING",
                Server | NotANumber => "ERR",
                _ => text.split(' ').next().unwrap(),
            };
            assert_eq!(error.code(), Some(code));
            assert_eq!(error.node(), Some(peer.address().as_str()));
        }
        let sent = (peer.requests("GET"), peer.requests("INCRBY"));
        assert_eq!(sent, (gets, incrs), "{text}");
    }
}

#[test]
fn a_server_that_is_loading_is_waited_for_within_the_deadline() {
    for text in [
        "LOADING Redis is loading",
        "MASTERDOWN Link with MASTER is down",
    ] {
        let (line, asked) = (format!("-{text}\r\n"), AtomicUsize::new(0));
        let peer = Peer::after_handshake(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
            0..8 => line.clone(),
            _ => ":7\r\n".to_owned(),
        });
        let keep = open(&peer.url());
        assert_eq!(keep.incr("a", 1).unwrap(), 7);
        assert_eq!(peer.requests("INCRBY"), 9);

        let line = format!("-{text}\r\n");
        let peer = Peer::after_handshake(move |_| line.clone());
        let time = Duration::from_millis(200);
        let keep = with(&peer.url(), |config| config.command_timeout(time));
        let started = Instant::now();
        let error = keep.incr("a", 1).unwrap_err();
        // The last try may be under way at the deadline.
        let ends = [
            (ErrorKind::Loading, Outcome::Refused),
            (ErrorKind::Timeout, Outcome::Unknown),
        ];
        assert!(ends.contains(&what(&error)), "{error:?}");
        assert!(started.elapsed() < time + Duration::from_millis(400));
        assert!(peer.requests("INCRBY") > 1);
    }
}

#[test]
fn a_write_refused_by_a_former_primary_goes_through_on_a_new_connection() {
    let asked = AtomicUsize::new(0);
    let peer = Peer::after_handshake(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => "-READONLY You can't write against a read only replica.\r\n",
        _ => ":1\r\n",
    });
    let keep = open(&peer.url());
    assert_eq!(keep.incr("a", 1).unwrap(), 1);
    assert_eq!((peer.requests("INCRBY"), peer.accepted()), (2, 2));
}

#[test]
fn a_real_replica_refuses_writes_and_serves_reads() {
    let primary = Server::start();
    let port = primary.port().to_string();
    let replica = Server::with(&["--replicaof", "127.0.0.1", &port]);
    wait_until(PATIENCE, || {
        replica.info("replication", "master_link_status") == "up"
    });
    let keep = open(&replica.url());
    assert_eq!(keep.get::<String>("a").unwrap(), None);
    let error = keep.set("a", 1).unwrap_err();
    assert_eq!(what(&error), (ErrorKind::ReadOnly, Outcome::Refused));
    assert_eq!(
        keep.health_check(None).unwrap().role.as_deref(),
        Some("slave")
    );
}

#[test]
fn a_script_that_runs_for_too_long_is_told_as_busy() {
    let server = Server::with(&["--busy-reply-threshold", "20"]);
    let keep = open(&server.url());
    keep.set("a", 1).unwrap();
    let forever = "while true do end";
    thread::scope(|scope| {
        let call = scope.spawn(|| keep.command_within::<()>(("EVAL", forever, 0), PATIENCE));
        wait_until(
            PATIENCE,
            || matches!(keep.get::<String>("a"), Err(error) if error.kind() == ErrorKind::Busy),
        );
        let error = keep.incr("a", 1).unwrap_err();
        assert_eq!(what(&error), (ErrorKind::Busy, Outcome::Refused));
        assert!(error.is_retriable());
        keep.command::<()>(("SCRIPT", "KILL")).unwrap();
        // Half of a script may have been executed.
        let error = call.join().unwrap().unwrap_err();
        assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    });
}

#[test]
fn a_frozen_node_delays_no_other() {
    let servers: Vec<Server> = (0..4).map(|_| Server::start()).collect();
    let interval = Duration::from_millis(100);
    let keep = with(&servers[0].url(), |config| {
        config
            .health_check_interval(interval)
            .command_timeout(Duration::from_secs(2))
            .connect_timeout(Duration::from_secs(2))
    });
    for server in &servers[1..] {
        keep.add_node_pool(&server.url()).unwrap();
    }
    wait_until(PATIENCE, || {
        keep.fetch_pool_status()
            .nodes
            .iter()
            .all(|node| node.latency.is_some())
    });
    servers[2].freeze();
    let pings = |n: usize| servers[n].command_calls("ping");
    let before: Vec<u64> = [0, 1, 3].map(pings).into();
    let frozen = Instant::now();
    // Several checks of the others in the time that the frozen one is waited for.
    wait_until(PATIENCE, || {
        [0, 1, 3]
            .iter()
            .zip(&before)
            .all(|(n, before)| pings(*n) >= before + 5)
    });
    let took = frozen.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    support::figure(format!("five checks of each of the others within {took:?}"));
    for n in [0, 1, 3] {
        let mut lease = keep.get_client(&servers[n].url()).unwrap();
        let started = Instant::now();
        assert_eq!(lease.command::<String>("PING").unwrap(), "PONG");
        assert!(started.elapsed() < Duration::from_secs(1));
    }
    wait_until(PATIENCE, || {
        keep.fetch_pool_status().nodes[2].state == NodeState::Down
    });
    let status = keep.fetch_pool_status();
    for n in [0, 1, 3] {
        assert_eq!(status.nodes[n].state, NodeState::Up);
        let latency = status.nodes[n].latency.unwrap();
        assert!(latency < Duration::from_secs(1), "{latency:?}");
    }
    assert_eq!(
        keep.get_client(&servers[2].url()).unwrap_err().kind(),
        ErrorKind::NoHealthyPools
    );
    servers[2].thaw();
    wait_until(PATIENCE, || keep.get_client(&servers[2].url()).is_ok());
}

#[test]
fn a_full_server_says_so_and_open_connections_go_on() {
    let server = Server::with(&["--maxclients", "12"]);
    let keep = with(&server.url(), |config| config.max_connections(4));
    let mut held = keep.client().dedicated().unwrap();
    keep.set("a", 1).unwrap();
    // One connection is held, one is idle, and strangers take the rest. One place stays free for our own questions.
    let mut strangers: Vec<std::net::TcpStream> = Vec::new();
    let idle = keep.client().dedicated().unwrap();
    let error = loop {
        match keep.client().dedicated() {
            Ok(_) => {}
            Err(error) => break error,
        }
        strangers.push(std::net::TcpStream::connect(server.address()).unwrap());
        assert!(strangers.len() < 100);
        keep.disconnect();
    };
    assert_eq!(
        what(&error),
        (ErrorKind::Connect, Outcome::NotSent),
        "{error}"
    );
    assert!(
        error.to_string().contains("max number of clients"),
        "{error}"
    );
    assert_eq!(held.command::<String>("PING").unwrap(), "PONG");
    drop((idle, strangers));
    let freed = Instant::now();
    wait_until(PATIENCE, || keep.get::<i64>("a").is_ok());
    support::figure(format!(
        "served again {:?} after there was room",
        freed.elapsed()
    ));
}

#[test]
fn one_connection_too_many_does_not_take_the_others_down() {
    let server = Server::with(&["--maxclients", "10"]);
    let keep = with(&server.url(), |config| {
        config
            .max_connections(20)
            .health_check_interval(Duration::ZERO)
    });
    keep.set("a", 1).unwrap();
    let mut leases = Vec::new();
    let error = loop {
        match keep.client().dedicated() {
            Ok(lease) => leases.push(lease),
            Err(error) => break error,
        }
    };
    assert!(
        error.to_string().contains("max number of clients"),
        "{error}"
    );
    let before = keep.fetch_pool_status().nodes[0].pools[0].opened;
    // Some come back, and serve: the server answers those that it has.
    leases.truncate(2);
    for _ in 0..20 {
        assert_eq!(keep.get::<i64>("a").unwrap(), Some(1));
    }
    let pool = keep.fetch_pool_status().nodes[0].pools[0];
    assert_eq!((pool.opened, pool.closed), (before, 0));
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
fn a_timeout_of_a_call_does_not_take_the_node_down() {
    let server = Server::start();
    let keep = open(&server.url());
    keep.set("a", 1).unwrap();
    let time = Duration::from_millis(50);
    let error = keep.command_within::<()>(("BLPOP", "nothing", 5), time);
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(keep.get::<i64>("a").unwrap(), Some(1));
    assert!(keep.is_enabled());
}

#[test]
fn an_idle_frozen_connection_does_not_use_up_the_deadline() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let keep = open(&proxy.url());
    keep.set("a", 1).unwrap();
    // A firewall forgets the connection, new ones work. Only time makes it idle.
    thread::sleep(Duration::from_millis(1050));
    proxy.set(Way::Both, Fault::StallAfter(0));
    thread::scope(|scope| {
        let call = scope.spawn(|| keep.get::<i64>("a"));
        wait_until(PATIENCE, || proxy.accepted() == 2);
        proxy.heal();
        assert_eq!(call.join().unwrap().unwrap(), Some(1));
    });
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

#[test]
fn what_lives_on_another_node_is_told_at_once() {
    for line in ["-MOVED 1 127.0.0.1:1\r\n", "-ASK 1 127.0.0.1:1\r\n"] {
        let peer = Peer::after_handshake(move |_| line);
        let keep = open(&peer.url());
        let error = keep.get::<String>("a").unwrap_err();
        assert_eq!(what(&error), (ErrorKind::Cluster, Outcome::Refused));
        assert_eq!(peer.requests("GET"), 1);
    }
}

#[test]
fn a_script_that_the_server_does_not_know_has_one_deadline() {
    let peer = Peer::after_handshake(|request| match request[0].as_slice() {
        b"EVALSHA" => {
            std::thread::sleep(Duration::from_millis(300));
            "-NOSCRIPT No matching script.\r\n"
        }
        _ => "",
    });
    let time = Duration::from_millis(500);
    let keep = with(&peer.url(), |config| config.command_timeout(time));
    let (pauses, started) = (Pauses::measure(), Instant::now());
    let script = redkeep::Script::new("return 1");
    let error = keep.eval::<i64>(&script, "a", 1).unwrap_err();
    assert_eq!(what(&error), (ErrorKind::Timeout, Outcome::Unknown));
    let took = started.elapsed();
    assert!(took < pauses.beside(time + Duration::from_millis(100)));
}

#[test]
fn the_doubt_of_an_atomic_pipeline_outlives_its_next_attempt() {
    let greeted = AtomicUsize::new(0);
    let peer = Peer::answer(move |request| match request[0].as_slice() {
        b"AUTH" if greeted.fetch_add(1, Ordering::SeqCst) > 0 => "-WRONGPASS no\r\n".into(),
        b"EXEC" => Answer::Last(Vec::new()),
        _ => Answer::from(polite(request).unwrap_or_default()),
    });
    let keep = open(&peer.url().replace("redis://", "redis://:secret@"));
    let mut pipe = keep.pipeline();
    pipe.atomic(true).command(("SET", "a", 1)).unwrap();
    let error = pipe.execute().unwrap_err();
    assert_eq!(what(&error), (ErrorKind::Auth, Outcome::Unknown));
    assert_eq!(pipe.outcome(0), Some(Outcome::Unknown));
}
