//! Commands that change the state of their connection: refused where connections are shared, allowed on a lease, and
//! never felt by the next one who gets that connection.

mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redkeep::{Config, ErrorKind, Manager, Outcome};
use support::{Fault, PATIENCE, Proxy, Server, Way, collect_logs, logged, wait_until};

fn open(server: &Server) -> Manager {
    Manager::open(&server.url()).expect("a url of ours")
}

fn opened(keep: &Manager) -> u64 {
    keep.fetch_pool_status().nodes[0].pools[0].opened
}

fn closed(keep: &Manager) -> u64 {
    keep.fetch_pool_status().nodes[0].pools[0].closed
}

#[test]
fn stateful_commands_are_refused_before_anything_is_sent() {
    let server = Server::start();
    let keep = open(&server);
    let refused = [
        "MULTI",
        "EXEC",
        "DISCARD",
        "WATCH a",
        "UNWATCH",
        "SELECT 1",
        "SUBSCRIBE a",
        "PSUBSCRIBE a",
        "SSUBSCRIBE a",
        "UNSUBSCRIBE",
        "PUNSUBSCRIBE a",
        "SUNSUBSCRIBE a",
        "MONITOR",
        "CLIENT REPLY OFF",
        "CLIENT TRACKING ON",
        "CLIENT CACHING YES",
        "CLIENT SETNAME x",
        "CLIENT SETINFO LIB-NAME x",
        "CLIENT NO-EVICT ON",
        "CLIENT NO-TOUCH ON",
        "AUTH a b",
        "HELLO 2",
        "RESET",
        "QUIT",
        "SYNC",
        "PSYNC ? -1",
        "REPLCONF a b",
        "READONLY",
        "READWRITE",
        "ASKING",
        "SCRIPT DEBUG YES",
    ];
    for text in refused {
        let mixed: String = (text.chars().enumerate())
            .map(|(n, c)| {
                if n % 2 == 0 {
                    c.to_ascii_lowercase()
                } else {
                    c
                }
            })
            .collect();
        for text in [text.to_owned(), text.to_lowercase(), mixed] {
            let words: Vec<&str> = text.split(' ').collect();
            let errors = [
                keep.command::<()>(&words).unwrap_err(),
                keep.client().command::<()>(&words).unwrap_err(),
                keep.command_within::<()>(&words, Duration::from_secs(1))
                    .unwrap_err(),
            ];
            for error in errors {
                assert_eq!(error.kind(), ErrorKind::Stateful, "{text}");
                assert_eq!(error.outcome(), Outcome::NotSent, "{text}");
                assert!(
                    error.message().contains(&words[0].to_uppercase()),
                    "{error}"
                );
                assert!(error.message().contains("get_client"), "{error}");
            }
        }
    }
    assert_eq!(server.connections(), 0);
    // Their harmless relatives are not.
    let _: i64 = keep.command(("CLIENT", "ID")).unwrap();
    let _: String = keep.command(("client", "getname")).unwrap();
    let _: String = keep.command(("SCRIPT", "LOAD", "return 1")).unwrap();
    assert_eq!(
        server.command_calls("multi") + server.command_calls("quit"),
        1
    );
}

#[test]
fn a_lease_runs_a_transaction() {
    let server = Server::start();
    let keep = open(&server);
    let mut one = keep.client().dedicated().unwrap();
    let queued: String = {
        one.command::<()>("MULTI").unwrap();
        one.command(("INCR", "n")).unwrap()
    };
    assert_eq!(queued, "QUEUED");
    one.command::<()>(("SET", "m", "x")).unwrap();
    assert_eq!(keep.get::<i64>("n").unwrap(), None);
    let (n, ok): (i64, String) = one.command("EXEC").unwrap();
    assert_eq!((n, ok.as_str()), (1, "OK"));
    assert_eq!(keep.get::<i64>("n").unwrap(), Some(1));

    one.command::<()>("MULTI").unwrap();
    one.command::<()>(("INCR", "n", "too", "many")).unwrap_err();
    let error = one.command::<Option<Vec<i64>>>("EXEC").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ExecAbort, "{error}");
    assert_eq!(error.outcome(), Outcome::Refused);
}

#[test]
fn a_watched_key_that_changes_ends_the_transaction() {
    let server = Server::start();
    let keep = open(&server);
    let mut one = keep.client().dedicated().unwrap();
    for meddle in [true, false] {
        one.command::<()>(("WATCH", "n")).unwrap();
        if meddle {
            keep.set("n", 5).unwrap();
        }
        one.command::<()>("MULTI").unwrap();
        one.command::<()>(("INCR", "n")).unwrap();
        let done: Option<Vec<i64>> = one.command("EXEC").unwrap();
        assert_eq!(done, if meddle { None } else { Some(vec![6]) });
    }
    one.command::<()>(("WATCH", "n")).unwrap();
    one.command::<()>("UNWATCH").unwrap();
}

#[test]
fn a_database_selected_on_a_lease_stays_there() {
    let server = Server::start();
    let config = Config::new()
        .url(server.url())
        .max_connections(1)
        .shared_lines(0);
    let keep = Manager::open_config(&config).unwrap();
    keep.set("a", "home").unwrap();
    for select in ["SELECT", "select", "SeLeCt"] {
        let mut one = keep.client().dedicated().unwrap();
        one.command::<()>((select, 5)).unwrap();
        assert_eq!(one.command::<Option<String>>(("GET", "a")).unwrap(), None);
        drop(one);
        assert_eq!(keep.get::<String>("a").unwrap().as_deref(), Some("home"));
    }
    assert_eq!((opened(&keep), closed(&keep)), (4, 3));
}

#[test]
fn a_lease_that_changed_something_is_closed_and_another_one_reused() {
    let server = Server::start();
    let keep = open(&server);
    for _ in 0..5 {
        let mut one = keep.client().dedicated().unwrap();
        one.command::<()>(("SET", "a", 1)).unwrap();
        one.command::<()>(("INCR", "no", "such", "form"))
            .unwrap_err();
    }
    assert_eq!((opened(&keep), closed(&keep)), (1, 0));
    for change in [
        &["MULTI"][..],
        &["WATCH", "a"],
        &["CLIENT", "TRACKING", "ON"],
        &["HELLO", "2"],
        &["RESET"],
        &["QUIT"],
        &["CLIENT", "SETNAME", "me"],
    ] {
        let before = closed(&keep);
        let mut one = keep.client().dedicated().unwrap();
        let _ = one.command::<redkeep::redis::Value>(change).unwrap();
        drop(one);
        assert_eq!(closed(&keep), before + 1, "{change:?}");
    }
    assert_eq!(keep.incr("a", 1).unwrap(), 2);
    wait_until(PATIENCE, || server.connections() == 1);
}

#[test]
fn a_lease_dropped_in_the_middle_of_a_transaction_leaves_nothing_behind() {
    let server = Server::start();
    let config = Config::new().url(server.url()).max_connections(1);
    let keep = Manager::open_config(&config).unwrap();
    for _ in 0..10 {
        let mut one = keep.client().dedicated().unwrap();
        one.command::<()>("MULTI").unwrap();
        one.command::<()>(("SET", "a", "never")).unwrap();
        drop(one);
        assert_eq!(keep.get::<String>("a").unwrap(), None);
        assert_eq!(keep.incr("n", 1).unwrap(), 1);
        keep.delete("n").unwrap();
    }
}

/// A manager for each protocol.
fn both(server: &Server) -> Vec<Manager> {
    let open = |protocol| {
        let config = Config::new().url(server.url()).max_connections(2);
        let config = config.protocol(protocol);
        Manager::open_config(&config).unwrap()
    };
    vec![open(3), open(2)]
}

type Message = (String, String, String);

fn publish(keep: &Manager, channel: &str, data: impl redkeep::redis::ToRedisArgs) {
    let heard: i64 = keep.command(("PUBLISH", channel, data)).unwrap();
    assert_eq!(heard, 1);
}

const SOON: Duration = Duration::from_secs(5);

#[test]
fn a_lease_subscribes_receives_and_unsubscribes() {
    let server = Server::start();
    for keep in both(&server) {
        let mut one = keep.client().dedicated().unwrap();
        let error = one.receive::<Message>(SOON).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Stateful, "{error}");
        let last: (String, String, i64) = one.command(("SUBSCRIBE", "a", "b", "a")).unwrap();
        assert_eq!(last, ("subscribe".into(), "a".into(), 2));
        assert_eq!(one.receive::<Message>(Duration::ZERO).unwrap(), None);
        assert_eq!(
            one.receive::<Message>(Duration::from_millis(30)).unwrap(),
            None
        );
        for n in 0..100 {
            publish(&keep, if n % 2 == 0 { "a" } else { "b" }, n);
        }
        let last: (String, String, i64) = one.command(("PSUBSCRIBE", "c*")).unwrap();
        assert_eq!(last, ("psubscribe".into(), "c*".into(), 3));
        for n in 0..100 {
            let channel = if n % 2 == 0 { "a" } else { "b" };
            let message: Message = one.receive(SOON).unwrap().unwrap();
            assert_eq!(message, ("message".into(), channel.into(), n.to_string()));
        }
        publish(&keep, "cat", "miaow");
        let message: Vec<String> = one.receive(SOON).unwrap().unwrap();
        assert_eq!(message, ["pmessage", "c*", "cat", "miaow"]);
        // Messages that come before a reply are kept; RESP2 allows no other command than these.
        publish(&keep, "a", "kept");
        let left: (String, Option<String>, i64) = one.command("UNSUBSCRIBE").unwrap();
        assert_eq!((&*left.0, left.2), ("unsubscribe", 1));
        let message: Message = one.receive(SOON).unwrap().unwrap();
        assert_eq!(message.2, "kept");
        let error = one
            .pipeline()
            .command("PING")
            .unwrap()
            .execute()
            .map(drop)
            .unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Stateful, Outcome::NotSent)
        );
        let before = closed(&keep);
        drop(one);
        assert_eq!(closed(&keep), before + 1);
        assert_eq!(server.ask::<Vec<String>>(&["PUBSUB", "CHANNELS"]), [""; 0]);
    }
}

#[test]
fn replies_and_messages_on_one_lease_do_not_mix() {
    let server = Server::start();
    let keep = open(&server);
    let mut one = keep.client().dedicated().unwrap();
    one.command::<()>(("SUBSCRIBE", "a")).unwrap();
    let _: i64 = keep
        .command(("RPUSH", "list", "message", "a", "b"))
        .unwrap();
    for n in 0..50 {
        publish(&keep, "a", n);
        assert_eq!(one.command::<i64>(("INCR", "n")).unwrap(), n + 1);
        let list: Vec<String> = one.command(("LRANGE", "list", 0, -1)).unwrap();
        assert_eq!(list, ["message", "a", "b"]);
    }
    for n in 0..50 {
        let message: Message = one.receive(SOON).unwrap().unwrap();
        assert_eq!(message.2, n.to_string());
    }
    // A refusal is that command's own.
    let error = one.command::<()>("SUBSCRIBE").unwrap_err();
    assert!(error.message().contains("wrong number"), "{error}");
    assert_eq!(one.command::<i64>(("INCR", "n")).unwrap(), 51);
}

#[test]
fn a_lease_monitors() {
    let server = Server::start();
    let keep = open(&server);
    let mut one = keep.client().dedicated().unwrap();
    one.command::<()>("MONITOR").unwrap();
    keep.set("seen", 1).unwrap();
    let mut line = String::new();
    wait_until(PATIENCE, || {
        line = one.receive(SOON).unwrap().unwrap();
        line.contains("seen")
    });
    assert!(line.contains("\"SET\""), "{line}");
    let error = one.command::<()>("PING").unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Stateful, Outcome::NotSent)
    );
    drop(one);
    keep.set("seen", 2).unwrap();
}

#[test]
fn a_lease_hears_what_client_tracking_tells() {
    let server = Server::start();
    let keep = open(&server);
    let mut one = keep.client().dedicated().unwrap();
    one.command::<()>(("CLIENT", "TRACKING", "ON")).unwrap();
    assert_eq!(one.command::<Option<i64>>(("GET", "n")).unwrap(), None);
    keep.set("n", 1).unwrap();
    let (what, keys): (String, Vec<String>) = one.receive(SOON).unwrap().unwrap();
    assert_eq!((&*what, &*keys[0]), ("invalidate", "n"));
}

#[test]
fn replies_that_are_switched_off_are_not_waited_for() {
    let server = Server::start();
    let keep = open(&server);
    let mut one = keep.client().dedicated().unwrap();
    one.command::<()>(("CLIENT", "REPLY", "SKIP")).unwrap();
    assert_eq!(one.command::<Option<i64>>(("INCR", "n")).unwrap(), None);
    assert_eq!(one.command::<i64>(("INCR", "n")).unwrap(), 2);
    one.command::<()>(("client", "reply", "off")).unwrap();
    for _ in 0..10 {
        assert_eq!(one.command::<Option<i64>>(("INCR", "n")).unwrap(), None);
    }
    one.command::<()>(("CLIENT", "REPLY", "SKIP")).unwrap();
    one.command::<()>(("INCR", "n")).unwrap();
    for words in [&["SUBSCRIBE", "a"][..], &["MONITOR"]] {
        let error = one.command::<()>(words).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Stateful, "{error}");
    }
    let error = one
        .pipeline()
        .command("PING")
        .unwrap()
        .execute()
        .map(drop)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stateful, "{error}");
    one.command::<()>(("CLIENT", "REPLY", "ON")).unwrap();
    assert_eq!(one.command::<i64>(("INCR", "n")).unwrap(), 14);
    let error = one.command::<()>(("CLIENT", "REPLY", "MAYBE")).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Refused, "{error}");
    let before = closed(&keep);
    drop(one);
    assert_eq!(closed(&keep), before + 1);
}

#[test]
fn a_replication_stream_is_refused_on_a_lease_too() {
    let server = Server::start();
    let keep = open(&server);
    let mut one = keep.client().dedicated().unwrap();
    for words in [&["SYNC"][..], &["psync", "?", "-1"]] {
        let error = one.command::<()>(words).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Stateful, "{words:?}");
    }
    for words in [
        &["SUBSCRIBE", "a"][..],
        &["MONITOR"],
        &["CLIENT", "REPLY", "OFF"],
    ] {
        let mut pipe = one.pipeline();
        let error = pipe.command(words).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Stateful, "{words:?}");
    }
    assert_eq!(one.command::<String>("PING").unwrap(), "PONG");
    assert_eq!(
        server.command_calls("sync") + server.command_calls("monitor"),
        0
    );
}

#[test]
fn whoever_receives_ends_with_the_connection_and_by_the_deadline() {
    let server = Server::start();
    let keep = open(&server);
    let mut one = keep.client().dedicated().unwrap();
    one.command::<()>(("SUBSCRIBE", "a")).unwrap();
    server.freeze();
    let begun = Instant::now();
    assert_eq!(
        one.receive::<Message>(Duration::from_millis(200)).unwrap(),
        None
    );
    assert!(begun.elapsed() < Duration::from_millis(450));
    let error = one
        .command_within::<()>("PING", Duration::from_millis(200))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(begun.elapsed() < Duration::from_millis(900));
    server.thaw();
    assert_eq!(
        one.receive::<Message>(SOON).unwrap_err().kind(),
        ErrorKind::Io
    );
    drop(one);

    let mut one = keep.client().dedicated().unwrap();
    one.command::<()>(("SUBSCRIBE", "a")).unwrap();
    let killed: i64 = server.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    assert_eq!(killed, 1);
    let error = one.receive::<Message>(SOON).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    drop(one);

    let mut one = keep.client().dedicated().unwrap();
    one.command::<()>(("SUBSCRIBE", "a")).unwrap();
    let closer = std::thread::spawn({
        let keep = keep.clone();
        move || {
            std::thread::sleep(Duration::from_millis(50));
            keep.close(SOON)
        }
    });
    let begun = Instant::now();
    let error = one.receive::<Message>(PATIENCE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    assert!(begun.elapsed() < SOON);
    closer.join().unwrap().unwrap();
}

#[test]
fn a_lease_whose_connection_broke_says_so_and_sends_nothing_more() {
    let server = Server::start();
    let keep = open(&server);
    let mut one = keep.client().dedicated().unwrap();
    one.command::<()>(("SELECT", 3)).unwrap();
    server.kill_clients();
    let first = one.command::<()>(("SET", "a", 1)).unwrap_err();
    assert_eq!(first.kind(), ErrorKind::Io, "{first}");
    let second = one.command::<()>(("SET", "a", 1)).unwrap_err();
    assert_eq!(
        (second.kind(), second.outcome()),
        (ErrorKind::Io, Outcome::NotSent)
    );
    assert!(second.message().contains("lease another"), "{second}");
    assert_eq!(server.command_calls("set"), 0);
    drop(one);
    keep.set("a", 1).unwrap();
    assert_eq!(keep.fetch_pool_status().nodes[0].pools[0].in_use, 0);
}

#[test]
fn a_lease_that_timed_out_never_hears_the_late_reply() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let config = Config::new().url(proxy.url()).max_connections(1);
    let keep = Manager::open_config(&config).unwrap();
    keep.set("a", "late").unwrap();
    let mut one = keep.client().dedicated().unwrap();
    proxy.set(Way::ToClient, Fault::StallAfter(0));
    let time = Duration::from_millis(80);
    let error = one
        .command_within::<String>(("GET", "a"), time)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    proxy.heal();
    assert!(one.command::<String>(("ECHO", "mine")).is_err());
    drop(one);
    let mut one = keep.client().dedicated().unwrap();
    assert_eq!(one.command::<String>(("ECHO", "mine")).unwrap(), "mine");
}

#[test]
fn the_third_lease_of_two_ends_by_its_deadline() {
    let server = Server::start();
    let config = Config::new()
        .url(server.url())
        .max_connections(2)
        .shared_lines(0);
    let keep = Manager::open_config(&config).unwrap();
    let url = server.url();
    let first = keep.get_client(&url).unwrap();
    let second = keep.get_client(&url).unwrap();
    for time in [Duration::ZERO, Duration::from_millis(120)] {
        let started = Instant::now();
        let error = keep.get_client_within(&url, time).unwrap_err();
        let took = started.elapsed();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::PoolTimeout, Outcome::NotSent)
        );
        assert!(
            took >= time && took < time + Duration::from_millis(400),
            "{took:?}"
        );
    }
    // A command waits in the same queue.
    let error = keep.command_within::<()>("PING", Duration::from_millis(50));
    assert_eq!(error.unwrap_err().kind(), ErrorKind::PoolTimeout);
    let waiting = std::thread::scope(|scope| {
        let third = scope.spawn(|| keep.get_client_within(&url, PATIENCE).map(drop));
        wait_until(PATIENCE, || {
            keep.fetch_pool_status().nodes[0].pools[0].waiting == 1
        });
        drop(first);
        third.join().unwrap()
    });
    waiting.unwrap();
    drop(second);
    assert_eq!(server.connections(), 2);
}

#[test]
fn a_lease_from_a_dead_node_fails_with_the_cause() {
    let mut server = Server::start();
    let url = server.url();
    let keep = open(&server);
    let mut one = keep.get_client(&url).unwrap();
    server.kill();
    assert_eq!(one.command::<()>("PING").unwrap_err().kind(), ErrorKind::Io);
    let error = keep.get_client(&url).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    let error = keep.get_client(&url).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoHealthyPools);
    assert!(error.to_string().contains("refused"), "{error}");
    drop(one);
    server.restart();
    wait_until(PATIENCE, || keep.get_client(&url).is_ok());
}

#[test]
fn a_lease_outlives_purge_and_close_of_its_node() {
    let server = Server::start();
    let keep = open(&server);
    let url = server.url();
    let mut one = keep.get_client(&url).unwrap();
    keep.disconnect();
    assert_eq!(one.command::<String>("PING").unwrap(), "PONG");
    keep.close_node_pools(&url).unwrap();
    assert_eq!(one.command::<String>("PING").unwrap(), "PONG");
    drop(one);
    wait_until(PATIENCE, || server.connections() == 0);
    keep.add_node_pool(&url).unwrap();
    let mut one = keep.get_client(&url).unwrap();
    drop(keep);
    assert_eq!(
        one.command::<()>("PING").unwrap_err().kind(),
        ErrorKind::Closed
    );
    drop(one);
    wait_until(PATIENCE, || server.connections() == 0);
}

fn oldest(keep: &Manager) -> Option<Duration> {
    keep.fetch_pool_status().nodes[0].pools[0].oldest_lease
}

#[test]
fn the_status_tells_the_age_of_the_oldest_lease() {
    let server = Server::start();
    let keep = open(&server);
    keep.ping().unwrap();
    assert_eq!(oldest(&keep), None);
    let asked = Instant::now();
    let first = keep.client().dedicated().unwrap();
    let had = Instant::now();
    let age = Duration::from_millis(30);
    wait_until(PATIENCE, || had.elapsed() >= age);
    let second = keep.client().dedicated().unwrap();
    // A look lies between the moments before and after it.
    let least = had.elapsed();
    let seen = oldest(&keep).unwrap();
    assert!(seen >= least && seen <= asked.elapsed(), "{seen:?}");
    let shown = keep.stats()["pools"]["nodes"][0]["pools"][0]["oldest_lease_ms"].as_f64();
    assert!(shown.unwrap() >= least.as_secs_f64() * 1e3, "{shown:?}");
    // A command on a connection of the pool is no lease.
    keep.ping().unwrap();
    drop(first);
    let seen = oldest(&keep).unwrap();
    assert!(seen <= had.elapsed() - age, "{seen:?}");
    drop(second);
    assert_eq!(oldest(&keep), None);
    let none = &keep.stats()["pools"]["nodes"][0]["pools"][0]["oldest_lease_ms"];
    assert!(none.is_null(), "{none}");
}

#[test]
fn a_lease_held_for_too_long_is_reported_once_with_its_age() {
    collect_logs();
    let server = Server::start();
    let warnings = |server: &Server| {
        let lines = logged();
        let about = |line: &&str| line.contains("leased for") && line.contains(&server.address());
        let lines = lines.lines().filter(about);
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let round = Duration::from_millis(5);
    let config = Config::new().url(server.url()).cleanup_interval(round);
    let limit = Duration::from_millis(40);
    let keep = Manager::open_config(&config.clone().lease_warning(limit)).unwrap();
    let asked = Instant::now();
    let first = keep.client().dedicated().unwrap();
    wait_until(PATIENCE, || !warnings(&server).is_empty());
    assert!(asked.elapsed() >= limit);
    // Other leases are reported, this one is not again.
    let second = keep.client().dedicated().unwrap();
    wait_until(PATIENCE, || warnings(&server).len() == 2);
    let third = keep.client().dedicated().unwrap();
    wait_until(PATIENCE, || warnings(&server).len() == 3);
    drop((first, second, third));

    let other = Server::start();
    let silent = config.url(other.url()).lease_warning(Duration::ZERO);
    let off = Manager::open_config(&silent).unwrap();
    let _held = off.client().dedicated().unwrap();
    let _reported = keep.client().dedicated().unwrap();
    wait_until(PATIENCE, || warnings(&server).len() == 4);
    assert_eq!(warnings(&other).len(), 0);
}

#[test]
fn ten_thousand_leases_of_sixteen_slots_end_by_their_deadlines() {
    const THREADS: usize = 40;
    const EACH: usize = 250;
    let server = Server::start();
    let config = Config::new().url(server.unix_url()).max_connections(16);
    let keep = Manager::open_config(&config).unwrap();
    let url = server.unix_url();
    let (had, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for n in 0..THREADS {
            let (keep, url, had, refused) = (&keep, &url, &had, &refused);
            scope.spawn(move || {
                for round in 0..EACH {
                    let time = Duration::from_millis((n + round) as u64 % 4);
                    let started = Instant::now();
                    let lease = keep.get_client_within(url, time);
                    let took = started.elapsed();
                    // 40 threads share the machine with whatever else runs on it.
                    assert!(took < time + Duration::from_secs(2), "{took:?}");
                    match lease {
                        Ok(mut one) => {
                            let tag = format!("{n} {round}");
                            match one.command::<String>(("ECHO", &tag)) {
                                Ok(back) => assert_eq!(back, tag),
                                Err(error) => panic!("{error:?}"),
                            }
                            had.fetch_add(1, Ordering::Relaxed);
                        }
                        // A slot came in time, but was not open yet.
                        Err(error) if error.kind() == ErrorKind::Timeout => {
                            assert_eq!(error.outcome(), Outcome::NotSent, "{error:?}");
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::PoolTimeout, "{error:?}");
                            assert_eq!(error.outcome(), Outcome::NotSent, "{error:?}");
                            assert!(took >= time, "{took:?} of {time:?}");
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    let (had, refused) = (had.into_inner(), refused.into_inner());
    assert_eq!(had + refused, (THREADS * EACH) as u64);
    assert!(had > 0 && refused > 0, "{had} had, {refused} refused");
    let pool = keep.fetch_pool_status().nodes[0].pools[0];
    assert_eq!((pool.in_use, pool.waiting, pool.oldest_lease), (0, 0, None));
    assert!(server.connections() <= 16);
}

#[test]
fn close_wakes_a_lease_that_blocks_without_end() {
    let server = Server::start();
    let keep = open(&server);
    let mut one = keep.client().dedicated().unwrap();
    std::thread::scope(|scope| {
        let blocked = scope.spawn(move || {
            let error = one
                .command::<Option<(String, String)>>(("BLPOP", "nothing", 0))
                .unwrap_err();
            let after = one.command::<()>("PING").unwrap_err();
            (error, after)
        });
        wait_until(PATIENCE, || {
            server.info("clients", "blocked_clients") == "1"
        });
        let started = Instant::now();
        keep.close(PATIENCE).unwrap();
        let (error, after) = blocked.join().unwrap();
        assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
        assert_eq!(error.kind(), ErrorKind::Closed, "{error:?}");
        assert_eq!(after.outcome(), Outcome::NotSent, "{after:?}");
    });
    wait_until(PATIENCE, || server.connections() == 0);
}
