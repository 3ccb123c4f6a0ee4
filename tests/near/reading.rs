//! What is read from here, and what is kept.

use crate::*;

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
