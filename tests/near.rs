//! The near cache: reads without the network, and never an old value where a new one is promised.

mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use redkeep::{Config, ErrorKind, Manager, NearCache, ReadFrom, Script};
use support::{
    Cluster, Fault, PATIENCE, Proxy, Sentinels, Server, Way, alone, collect_logs, key_in, logged,
    slot, threads, wait_until,
};

const ROOM: usize = 16 << 20;

/// With time enough for the first read to wait for the server's word on a loaded machine.
fn with(url: &str, change: impl FnOnce(Config) -> Config) -> Manager {
    let config = Config::new().url(url).command_timeout(PATIENCE * 2);
    Manager::open_config(&change(config)).expect("a config of ours")
}

fn open(url: &str) -> Manager {
    with(url, |config| config)
}

fn text(near: &NearCache, key: &str) -> Option<String> {
    near.get(key).unwrap()
}

fn hits(near: &NearCache) -> u64 {
    near.stats().unwrap().hits
}

fn misses(near: &NearCache) -> u64 {
    near.stats().unwrap().misses
}

fn set(server: &Server, key: &str, value: &str) {
    server.ask::<()>(&["SET", key, value]);
}

/// The connections on which the server tells of changes.
fn trackers(server: &Server) -> Vec<String> {
    let list: String = server.ask(&["CLIENT", "LIST"]);
    let flags = |line: &str| {
        let flags = line.split(' ').find_map(|word| word.strip_prefix("flags="));
        flags.is_some_and(|flags| flags.contains('t'))
    };
    let lines = list.lines().filter(|line| flags(line));
    let ids = lines.filter_map(|line| line.strip_prefix("id=")?.split(' ').next());
    ids.map(str::to_owned).collect()
}

#[test]
fn what_was_read_once_is_read_from_here_until_somebody_changes_it() {
    let server = Server::start();
    for lines in [0, 2] {
        let keep = with(&server.url(), |config| config.shared_lines(lines));
        let near = keep.near_cache(ROOM);
        set(&server, "a", "1");
        let before = server.command_calls("get");
        for _ in 0..100 {
            assert_eq!(text(&near, "a").as_deref(), Some("1"));
        }
        assert_eq!(server.command_calls("get") - before, 1);
        let stats = near.stats().unwrap();
        assert_eq!((stats.hits, stats.misses, stats.entries), (99, 1, 1));
        assert_eq!((stats.nodes, stats.max_bytes), (1, ROOM as u64));
        assert!(stats.bytes > 0);
        // One connection hears of changes, whatever reads.
        assert_eq!(trackers(&server).len(), 1);

        set(&server, "a", "2");
        wait_until(PATIENCE, || text(&near, "a").as_deref() == Some("2"));
        assert_eq!(near.stats().unwrap().invalidations, 1);
        server.ask::<()>(&["DEL", "a"]);
        wait_until(PATIENCE, || text(&near, "a").is_none());
        let before = hits(&near);
        assert_eq!(text(&near, "a"), None);
        assert_eq!(hits(&near), before + 1, "that there is none is known");
        server.ask::<()>(&["APPEND", "a", "3"]);
        wait_until(PATIENCE, || text(&near, "a").as_deref() == Some("3"));
        server.ask::<()>(&["FLUSHALL"]);
        wait_until(PATIENCE, || text(&near, "a").is_none());
        keep.close(PATIENCE).unwrap();
        wait_until(PATIENCE, || trackers(&server).is_empty());
    }
}

#[test]
fn a_value_is_shared_and_json_is_read() {
    let server = Server::start();
    let keep = open(&server.url());
    let near = keep.near_cache(ROOM);
    keep.set("a", "shared").unwrap();
    let first = near.get_shared("a").unwrap().unwrap();
    let second = near.clone().get_shared("a").unwrap().unwrap();
    let third = near.get_shared("a").unwrap().unwrap();
    assert_eq!(&*first, b"shared");
    assert!(Arc::ptr_eq(&second, &third));
    keep.set("n", 17).unwrap();
    assert_eq!(near.get::<i64>("n").unwrap(), Some(17));
    let error = near.get::<i64>("a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReplyType);
    assert!(!error.to_string().contains("shared"), "{error}");

    keep.set_json("json", &("x", 1)).unwrap();
    for _ in 0..2 {
        let value: Option<(String, i64)> = near.get_json("json").unwrap();
        assert_eq!(value, Some(("x".to_owned(), 1)));
    }
    assert_eq!(near.get_json::<i64>("none").unwrap(), None);
    let error = near.get_json::<i64>("a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoredJson);
    let binary = [0u8, 13, 10, 255];
    keep.set(&binary[..], &binary[..]).unwrap();
    assert_eq!(&*near.get_shared(binary).unwrap().unwrap(), binary);
    keep.set("", "empty").unwrap();
    assert_eq!(text(&near, "").as_deref(), Some("empty"));
    keep.set("empty", "").unwrap();
    assert_eq!(text(&near, "empty").as_deref(), Some(""));
}

#[test]
fn several_keys_are_asked_for_together() {
    let server = Server::start();
    let keep = open(&server.url());
    let near = keep.near_cache(ROOM);
    keep.mset((0..50).map(|i| (format!("k{i}"), i))).unwrap();
    keep.hset("hash", "f", "v").unwrap();
    assert_eq!(near.get::<i64>("k7").unwrap(), Some(7));
    let keys: Vec<String> = (0..50).map(|i| format!("k{i}")).collect();
    for round in 0..2 {
        let values = near.mget::<i64, _>(&keys).unwrap();
        assert!(values.iter().copied().eq((0..50).map(Some)));
        let expected = if round == 0 { (1, 50) } else { (51, 50) };
        assert_eq!((hits(&near), misses(&near)), expected);
    }
    let some = near.mget::<i64, _>(["k1", "none", "hash", "k1"]).unwrap();
    assert_eq!(some, [Some(1), None, None, Some(1)]);
    assert!(near.mget::<i64, &str>([]).unwrap().is_empty());
    keep.mset([("k1", 100), ("k2", 200)]).unwrap();
    let some = near.mget::<i64, _>(["k3", "k2", "k1"]).unwrap();
    assert_eq!(some, [Some(3), Some(200), Some(100)]);
}

#[test]
fn fields_of_hashes_are_kept_as_they_are_asked_for() {
    let server = Server::start();
    let keep = open(&server.url());
    let near = keep.near_cache(ROOM);
    keep.hset_many("h", [("a", "1"), ("b", "2")]).unwrap();
    let field = |name: &str| near.hget::<String>("h", name).unwrap();
    for _ in 0..2 {
        assert_eq!(field("a").as_deref(), Some("1"));
        assert_eq!(field("b").as_deref(), Some("2"));
        assert_eq!(field("none"), None);
    }
    assert_eq!((hits(&near), misses(&near)), (3, 3));
    let all = || near.hgetall::<HashMap<String, String>>("h").unwrap();
    for _ in 0..2 {
        assert_eq!(all().len(), 2);
    }
    assert_eq!((hits(&near), misses(&near)), (4, 4));
    assert_eq!(field("another"), None);
    assert_eq!(hits(&near), 5, "there are no others than all");
    server.ask::<()>(&["HSET", "h", "a", "3", "another", "4"]);
    wait_until(PATIENCE, || field("another").is_some());
    assert_eq!(field("a").as_deref(), Some("3"));
    assert_eq!(all().len(), 3);
    keep.delete("h").unwrap();
    assert_eq!((field("a"), all().len()), (None, 0));
    // The server's own word of that comes later, and is obeyed as well.
    wait_until(PATIENCE, || {
        let before = hits(&near);
        assert_eq!((field("a"), all().len()), (None, 0));
        hits(&near) == before + 2
    });
    assert_eq!(near.stats().unwrap().entries, 1);
}

#[test]
fn what_is_written_here_is_seen_at_once() {
    let server = Server::start();
    for lines in [0, 2] {
        let keep = with(&server.url(), |config| config.shared_lines(lines));
        let near = keep.near_cache(ROOM);
        thread::scope(|scope| {
            for thread in 0..4 {
                let (keep, near) = (keep.clone(), &near);
                scope.spawn(move || own_writes(&keep, near, &format!("{lines}-{thread}")));
            }
        });
        assert!(hits(&near) > 0);
    }
}

fn own_writes(keep: &Manager, near: &NearCache, key: &str) {
    let script = Script::new("return redis.call('SET', KEYS[1], ARGV[1])");
    for i in 0..150i64 {
        let old = near.get::<i64>(key).unwrap();
        assert_eq!(near.get::<i64>(key).unwrap(), old);
        match i % 9 {
            0 => keep.set(key, i).unwrap(),
            1 => assert_eq!(keep.incr(key, 1).unwrap(), i),
            2 => keep.mset([("other", 0), (key, i)]).unwrap(),
            3 => keep.eval(&script, key, i).unwrap(),
            4 => keep
                .command::<()>(("APPEND", key, ""))
                .and(keep.set(key, i))
                .unwrap(),
            5 | 6 => {
                let mut pipe = keep.pipeline();
                pipe.atomic(i % 9 == 6);
                pipe.command(("SET", key, i)).unwrap();
                pipe.command(("PING",)).unwrap();
                pipe.execute().map(drop).unwrap();
            }
            7 => keep
                .client()
                .dedicated()
                .unwrap()
                .command(("SET", key, i))
                .unwrap(),
            _ => {
                let mut one = keep.client().dedicated().unwrap();
                one.command::<()>("MULTI").unwrap();
                one.command::<()>(("SET", key, i)).unwrap();
                assert_eq!(near.get::<i64>(key).unwrap(), Some(i - 1));
                one.command::<()>("EXEC").unwrap();
            }
        }
        assert_eq!(near.get::<i64>(key).unwrap(), Some(i));
    }
    keep.delete(key).unwrap();
    assert_eq!(near.get::<i64>(key).unwrap(), None);
    keep.set(key, 1).unwrap();
    assert_eq!(near.get::<i64>(key).unwrap(), Some(1));
}

#[test]
fn a_flush_of_ones_own_is_seen_at_once() {
    let server = Server::start();
    let keep = open(&server.url());
    let near = keep.near_cache(ROOM);
    for i in 0..50i64 {
        keep.set("a", i).unwrap();
        assert_eq!(near.get::<i64>("a").unwrap(), Some(i));
        keep.command::<()>("FLUSHDB").unwrap();
        assert_eq!(near.get::<i64>("a").unwrap(), None);
    }
}

#[test]
fn a_key_that_expires_is_gone_here_too() {
    let server = Server::with(&["--enable-debug-command", "yes"]);
    // Otherwise the server might tell of it.
    server.ask::<()>(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]);
    let keep = open(&server.url());
    let near = keep.near_cache(ROOM);
    server.ask::<()>(&["SET", "a", "1", "PX", "300"]);
    server.ask::<()>(&["HSET", "h", "f", "1"]);
    server.ask::<()>(&["PEXPIRE", "h", "300"]);
    // On a slow machine it may be gone already.
    let _ = (text(&near, "a"), near.hget::<String>("h", "f").unwrap());
    wait_until(PATIENCE, || text(&near, "a").is_none());
    wait_until(PATIENCE, || {
        near.hget::<String>("h", "f").unwrap().is_none()
    });

    // And one that does not, after the time that it may be kept.
    let near = keep.near_cache(ROOM).ttl(Duration::from_millis(50));
    keep.set("b", 1).unwrap();
    text(&near, "b");
    wait_until(PATIENCE, || {
        thread::sleep(Duration::from_millis(60));
        text(&near, "b");
        misses(&near) >= 3
    });
}

#[test]
fn with_prefixes_only_those_keys_are_kept_and_told() {
    let server = Server::start();
    let keep = open(&server.url());
    let near = keep.near_cache(ROOM).prefix("user:").prefix("page:");
    let all = keep.near_cache(ROOM);
    let keys = ["user:1", "page:1", "other"];
    // Before the server tells of changes, even of those that are known.
    keep.mset(keys.map(|key| (key, 1))).unwrap();
    for key in keys {
        text(&near, key);
        text(&near, key);
    }
    assert_eq!((hits(&near), misses(&near)), (2, 4));
    let info = || server.info("clients", "tracking_clients");
    assert_eq!(info(), "1");
    assert_eq!(server.info("stats", "tracking_total_prefixes"), "2");
    // Another one, of the same manager, wants them all: on the same connection.
    assert_eq!(text(&all, "other").as_deref(), Some("1"));
    wait_until(PATIENCE, || {
        server.info("stats", "tracking_total_prefixes") == "1"
    });
    assert_eq!(info(), "1");
    wait_until(PATIENCE, || {
        text(&near, "user:1");
        let before = hits(&near);
        text(&near, "user:1");
        hits(&near) > before
    });
    for key in ["user:1", "other"] {
        set(&server, key, "2");
        wait_until(PATIENCE, || text(&near, key).as_deref() == Some("2"));
        wait_until(PATIENCE, || text(&all, key).as_deref() == Some("2"));
    }
    drop(all);
    set(&server, "user:1", "3");
    wait_until(PATIENCE, || text(&near, "user:1").as_deref() == Some("3"));
    drop(near);
    wait_until(PATIENCE, || info() == "0");
}

#[test]
fn where_nobody_keeps_copies_any_more_the_server_stops_telling() {
    let server = Server::start();
    let keep = open(&server.url());
    // The connection goes on for the sake of these.
    let subscriber = keep.subscriber();
    subscriber.add("news").unwrap();
    let near = keep.near_cache(ROOM);
    text(&near, "a");
    assert_eq!(trackers(&server).len(), 1);
    drop(near);
    wait_until(PATIENCE, || trackers(&server).is_empty());
    assert_eq!(keep.publish("news", "x").unwrap(), 1);
    assert!(subscriber.poll(PATIENCE).unwrap().is_some());
}

#[test]
fn the_memory_is_bounded_and_what_is_too_large_is_read_each_time() {
    let server = Server::start();
    let keep = open(&server.url());
    let near = keep.near_cache(1 << 20);
    let keys: Vec<String> = (0..2000).map(|i| format!("key{i}")).collect();
    let value = "x".repeat(1000);
    keep.mset(keys.iter().map(|key| (key, &value))).unwrap();
    for key in &keys {
        assert_eq!(text(&near, key).as_deref(), Some(&*value));
        assert!(near.stats().unwrap().bytes <= 1 << 20);
    }
    let stats = near.stats().unwrap();
    assert!(stats.evictions > 500 && stats.entries > 500, "{stats:?}");

    keep.set("large", vec![b'x'; 2 << 20]).unwrap();
    let before = misses(&near);
    for _ in 0..3 {
        assert_eq!(near.get_shared("large").unwrap().unwrap().len(), 2 << 20);
    }
    assert_eq!(misses(&near), before + 3);
    assert!(near.stats().unwrap().bytes <= 1 << 20);

    // Without room, nothing is kept, and nobody asks the server to tell.
    let none = open(&server.url()).near_cache(0);
    assert_eq!(text(&none, "key1").as_deref(), Some(&*value));
    assert_eq!(text(&none, "key1").as_deref(), Some(&*value));
    let stats = none.stats().unwrap();
    assert_eq!((stats.misses, stats.entries, stats.nodes), (2, 0, 0));
    let by_property = with(&server.url(), |config| config.near_cache_bytes(ROOM)).near_cache(0);
    text(&by_property, "key1");
    text(&by_property, "key1");
    let stats = by_property.stats().unwrap();
    assert_eq!((stats.hits, stats.max_bytes), (1, ROOM as u64));
    by_property.clear().unwrap();
    assert_eq!(by_property.stats().unwrap().entries, 0);
}

#[test]
fn what_is_of_another_type_is_an_error_and_not_kept() {
    let server = Server::start();
    let keep = open(&server.url());
    let near = keep.near_cache(ROOM);
    keep.set("text", "1").unwrap();
    keep.hset("hash", "f", "1").unwrap();
    for _ in 0..2 {
        let wrong = [
            near.get::<String>("hash").unwrap_err(),
            near.hget::<String>("text", "f").unwrap_err(),
            near.hgetall::<HashMap<String, String>>("text").unwrap_err(),
        ];
        for error in wrong {
            assert_eq!(error.kind(), ErrorKind::WrongType, "{error}");
        }
        assert_eq!(text(&near, "text").as_deref(), Some("1"));
        assert_eq!(
            near.hget::<String>("hash", "f").unwrap().as_deref(),
            Some("1")
        );
    }
    keep.delete("hash").unwrap();
    keep.set("hash", "now a text").unwrap();
    assert_eq!(text(&near, "hash").as_deref(), Some("now a text"));
    let bad = keep.near_cache(ROOM).ttl(Duration::ZERO);
    let error = bad.get::<String>("a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Argument);
    assert!(error.message().contains("ttl"), "{error}");
}

#[test]
fn the_loss_of_the_connection_empties_it_and_it_fills_again() {
    let server = Server::start();
    let keep = open(&server.url());
    let near = keep.near_cache(ROOM);
    for round in 0..10 {
        let old = format!("old{round}");
        set(&server, "a", &old);
        wait_until(PATIENCE, || text(&near, "a").as_deref() == Some(&*old));
        wait_until(PATIENCE, || {
            let before = hits(&near);
            text(&near, "a");
            hits(&near) > before
        });
        let emptied = near.stats().unwrap().emptied;
        for id in trackers(&server) {
            server.ask::<i64>(&["CLIENT", "KILL", "ID", &id]);
        }
        // Nobody is told of this one.
        set(&server, "a", "new");
        wait_until(PATIENCE, || text(&near, "a").as_deref() == Some("new"));
        // A read that found the cache deaf may have been first.
        wait_until(PATIENCE, || near.stats().unwrap().emptied > emptied);
        wait_until(PATIENCE, || near.stats().unwrap().nodes == 1);
    }
}

#[test]
fn a_connection_that_dies_without_a_sign_is_noticed() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let short = Duration::from_millis(500);
    let keep = with(&proxy.url(), |config| {
        config.connect_timeout(short).command_timeout(short)
    });
    let near = keep.near_cache(ROOM);
    set(&server, "a", "1");
    // The first read may have found too little time to wait for the server's word.
    wait_until(PATIENCE, || {
        let _ = near.get::<String>("a");
        near.stats().unwrap().entries == 1
    });
    proxy.set(Way::ToClient, Fault::BlackHole);
    set(&server, "a", "2");
    wait_until(PATIENCE, || near.stats().unwrap().nodes == 0);
    assert_eq!(near.stats().unwrap().entries, 0);
    assert!(near.get::<String>("a").is_err());
    proxy.cut_all();
    proxy.heal();
    wait_until(PATIENCE, || {
        near.get::<String>("a").ok().flatten().as_deref() == Some("2")
    });
    wait_until(PATIENCE, || {
        let _ = near.get::<String>("a");
        near.stats().unwrap().entries == 1
    });
}

#[test]
fn of_a_server_that_does_not_tell_nothing_is_kept_and_the_log_says_so_once() {
    if !alone("of_a_server_that_does_not_tell_nothing_is_kept_and_the_log_says_so_once") {
        return;
    }
    collect_logs();
    let server = Server::start();
    let rules = [
        "reset",
        "on",
        "nopass",
        "~*",
        "&*",
        "+@all",
        "-client|tracking",
    ];
    server.ask::<()>(&[&["ACL", "SETUSER", "plain"], &rules[..]].concat());
    let forbidden = server.url().replace("redis://", "redis://plain:x@");
    let interval = Duration::from_millis(50);
    let keeps = [
        // It is asked again and again, and says no each time.
        with(&forbidden, |config| config.health_check_interval(interval)),
        with(&server.url(), |config| config.protocol(2)),
    ];
    for (keep, why) in keeps.iter().zip(["NOPERM", "RESP2"]) {
        let before = logged().len();
        let near = keep.near_cache(ROOM);
        for i in 0..5i64 {
            server.ask::<()>(&["SET", "a", &i.to_string()]);
            assert_eq!(near.get::<i64>("a").unwrap(), Some(i));
            assert_eq!(near.mget::<i64, _>(["a", "b"]).unwrap(), [Some(i), None]);
            thread::sleep(interval * 2);
        }
        let stats = near.stats().unwrap();
        assert_eq!((stats.hits, stats.entries, stats.nodes), (0, 0, 0));
        let lines = logged().split_off(before);
        let told: Vec<_> = (lines.lines())
            .filter(|line| line.contains("does not tell which keys change"))
            .collect();
        assert_eq!(told.len(), 1, "{lines:?}");
        assert!(told[0].contains(why), "{told:?}");
    }
    // Allowed at last, it is asked once more.
    server.ask::<()>(&["ACL", "SETUSER", "plain", "+client|tracking"]);
    let near = keeps[0].near_cache(ROOM);
    text(&near, "a");
    wait_until(PATIENCE, || {
        text(&near, "a");
        hits(&near) > 0
    });
}

#[test]
fn a_server_that_is_away_is_an_error_and_comes_back() {
    let mut server = Server::start();
    let interval = Duration::from_millis(100);
    let keep = with(&server.url(), |config| {
        config.health_check_interval(interval)
    });
    let near = keep.near_cache(ROOM);
    set(&server, "a", "1");
    text(&near, "a");
    server.kill();
    wait_until(PATIENCE, || near.stats().unwrap().nodes == 0);
    assert!(near.get::<String>("a").is_err());
    server.restart();
    wait_until(PATIENCE, || matches!(near.get::<String>("a"), Ok(None)));
    wait_until(PATIENCE, || near.stats().unwrap().nodes == 1);
    let refused = Manager::open("redis://localhost:1").unwrap();
    let error = refused.near_cache(ROOM).get::<String>("a").unwrap_err();
    assert_eq!(error.outcome(), redkeep::Outcome::NotSent, "{error}");
}

#[test]
fn it_ends_with_its_manager() {
    if !alone("it_ends_with_its_manager") {
        return;
    }
    let server = Server::start();
    let keep = open(&server.url());
    let near = keep.near_cache(ROOM);
    keep.set("a", 1).unwrap();
    assert_eq!(text(&near, "a").as_deref(), Some("1"));
    keep.close(PATIENCE).unwrap();
    assert_eq!(near.get::<i64>("a").unwrap_err().kind(), ErrorKind::Closed);
    let error = near.mget::<i64, _>(["a"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(near.stats().unwrap_err().kind(), ErrorKind::Closed);
    drop((keep, near));
    wait_until(PATIENCE, || threads().is_empty());

    // It keeps its manager alive, and lets it go.
    let near = open(&server.url()).near_cache(ROOM);
    assert_eq!(text(&near, "a").as_deref(), Some("1"));
    assert_eq!(text(&near, "a").as_deref(), Some("1"));
    drop(near);
    wait_until(PATIENCE, || {
        threads().is_empty() && server.connections() == 0
    });
}

#[test]
fn on_a_cluster_slots_move_and_primaries_fail() {
    let cluster = Cluster::start();
    let keep = with(&cluster.url(), |config| config.read_from(ReadFrom::Replica));
    let other = open(&cluster.url());
    let near = keep.near_cache(ROOM);
    let keys = [0..5461, 5461..10922, 10922..16384].map(|slots| key_in(slots, "near"));
    for key in &keys {
        other.set(key, 1).unwrap();
    }
    for round in 0..2 {
        assert_eq!(near.mget::<i64, _>(&keys).unwrap(), [Some(1); 3]);
        assert_eq!((hits(&near), misses(&near)), (3 * round, 3));
    }
    assert_eq!(near.stats().unwrap().nodes, 3);
    for (i, key) in keys.iter().enumerate() {
        other.set(key, i).unwrap();
        wait_until(PATIENCE, || near.get::<usize>(key).unwrap() == Some(i));
        keep.set(key, 2).unwrap();
        assert_eq!(near.get::<i64>(key).unwrap(), Some(2));
    }
    // Nobody could tell that another node makes it.
    let before = misses(&near);
    for _ in 0..2 {
        assert_eq!(near.get::<i64>("none").unwrap(), None);
    }
    for _ in 0..2 {
        assert_eq!(near.hget::<i64>("none", "field").unwrap(), None);
    }
    assert_eq!(misses(&near), before + 4);

    let of = slot(&keys[0]);
    let (from, to) = (cluster.primary_of(of), cluster.primary_of(slot(&keys[1])));
    cluster.begin_to_move(of, from, to);
    assert_eq!(near.get::<i64>(&keys[0]).unwrap(), Some(2));
    cluster.move_keys(of, from, to);
    // Its new home answers now, by way of ASK.
    wait_until(PATIENCE, || near.get::<i64>(&keys[0]).unwrap() == Some(2));
    other.set(&keys[0], 3).unwrap();
    wait_until(PATIENCE, || near.get::<i64>(&keys[0]).unwrap() == Some(3));
    cluster.end_move(of, to);
    for i in 4..20 {
        other.set(&keys[0], i).unwrap();
        wait_until(PATIENCE, || near.get::<i64>(&keys[0]).unwrap() == Some(i));
    }
    wait_until(PATIENCE, || {
        let before = hits(&near);
        near.get::<i64>(&keys[0]).unwrap();
        hits(&near) > before
    });

    let primary = cluster.primary_of(slot(&keys[2]));
    assert_eq!(near.get::<i64>(&keys[2]).unwrap(), Some(2));
    cluster.fail_over_to(cluster.replica_of(primary));
    other.set(&keys[2], 7).unwrap();
    wait_until(PATIENCE * 2, || {
        near.get::<i64>(&keys[2]).ok().flatten() == Some(7)
    });
    wait_until(PATIENCE * 2, || {
        let before = hits(&near);
        let _ = near.get::<i64>(&keys[2]);
        hits(&near) > before
    });
    other.set(&keys[2], 8).unwrap();
    wait_until(PATIENCE, || near.get::<i64>(&keys[2]).unwrap() == Some(8));
}

#[test]
fn behind_sentinels_the_new_primary_is_believed() {
    let all = Sentinels::start();
    let keep = with(&all.url(), |config| config.read_from(ReadFrom::Nearest));
    let near = keep.near_cache(ROOM);
    keep.set("a", 1).unwrap();
    for _ in 0..2 {
        assert_eq!(near.get::<i64>("a").unwrap(), Some(1));
    }
    assert_eq!(hits(&near), 1);
    let next = all.fail_over();
    let other = open(&all.url());
    wait_until(PATIENCE * 2, || other.set("a", 2).is_ok());
    wait_until(PATIENCE * 2, || {
        near.get::<i64>("a").ok().flatten() == Some(2)
    });
    wait_until(PATIENCE * 2, || {
        let before = hits(&near);
        let _ = near.get::<i64>("a");
        hits(&near) > before
    });
    // Until the manager knows, the old one may have answered, as a replica.
    wait_until(PATIENCE * 2, || {
        let _ = near.get::<i64>("a");
        trackers(&all.nodes[next]).len() == 1
    });
    set(&all.nodes[next], "a", "3");
    wait_until(PATIENCE, || near.get::<i64>("a").unwrap() == Some(3));
}
