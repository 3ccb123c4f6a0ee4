//! What is written, expires or is flushed, here and elsewhere.

use crate::*;

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
