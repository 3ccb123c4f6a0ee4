//! What is kept, and under which keys.

use crate::*;

#[test]
fn a_value_is_computed_once_and_then_kept() {
    let server = Home::start();
    let keep = server.open();
    let cache = keep.cache("rows").expire(seconds(100));
    let work = Work::default();
    let args = json!({"a": 1, "b": [2, 3]});
    for _ in 0..3 {
        assert_eq!(cache.get_or_compute(&args, || work.run()).unwrap(), 1);
    }
    // The order of keys does not matter, the values do.
    let same: Value = serde_json::from_str(r#"{"b": [2, 3], "a": 1}"#).unwrap();
    assert_eq!(cache.get_or_compute(&same, never).unwrap(), 1);
    let other = json!({"a": 1, "b": [3, 2]});
    assert_eq!(cache.get_or_compute(&other, || work.run()).unwrap(), 2);
    // Another namespace, and another manager.
    assert_eq!(
        keep.cache("other")
            .get_or_compute(&args, || work.run())
            .unwrap(),
        3
    );
    let second = server.open();
    assert_eq!(
        second.cache("rows").get_or_compute(&args, never).unwrap(),
        1
    );
    for key in values(&server) {
        assert!(
            key.starts_with("cache:{rows}:") || key.starts_with("cache:{other}:"),
            "{key}"
        );
        let left: i64 = server.ask(&["TTL", &key]);
        assert!((95..=3600).contains(&left), "{left}");
    }
    // Nothing is there for ever but the namespaces' versions.
    let all: Vec<String> = server.ask(&["KEYS", "*"]);
    let lasting = all
        .iter()
        .filter(|key| server.ask::<i64>(&["TTL", key]) == -1);
    assert!(
        lasting.clone().all(|key| key.ends_with(":version")),
        "{:?}",
        lasting.collect::<Vec<_>>()
    );
}

#[test]
fn a_hit_is_one_round_trip() {
    let server = Home::start();
    let keep = server.open();
    let cache = keep.cache("rows");
    let work = Work::default();
    cache.get_or_compute(&1, || work.run()).unwrap();
    let calls = || -> u64 {
        let stats: String = server.ask(&["INFO", "commandstats"]);
        let lines = stats
            .lines()
            .filter(|line| !line.contains("_info:") && !line.contains("client|"));
        let calls = lines.filter_map(|line| {
            line.split("calls=")
                .nth(1)?
                .split(',')
                .next()?
                .parse::<u64>()
                .ok()
        });
        calls.sum()
    };
    let before = (calls(), server.command_calls("mget"));
    for _ in 0..20 {
        assert_eq!(cache.get_or_compute(&1, never).unwrap(), 1);
    }
    assert_eq!(
        (calls(), server.command_calls("mget")),
        (before.0 + 20, before.1 + 20)
    );
}

#[test]
fn any_type_goes_in_and_comes_out() {
    #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Row {
        id: u64,
        name: Option<String>,
    }
    let server = Home::start();
    let keep = server.open();
    let cache = keep.cache("rows");
    let rows = vec![
        Row {
            id: 1,
            name: Some("ä".into()),
        },
        Row {
            id: u64::MAX,
            name: None,
        },
    ];
    for _ in 0..2 {
        let got: Vec<Row> = cache
            .get_or_compute("all", || Ok::<_, Error>(rows.clone()))
            .unwrap();
        assert_eq!(got, rows);
    }
    // What is kept is of another type than is asked for now: it is computed anew.
    assert_eq!(
        cache
            .get_or_compute("all", || Ok::<_, Error>(5u32))
            .unwrap(),
        5
    );
    assert_eq!(cache.get_or_compute("all", never).unwrap(), 5);
    // So is what is nobody's.
    let key = values(&server).remove(0);
    for foreign in ["text", "", "rk1 x - 0 0\n7", "rk1 x\n7"] {
        server.ask::<()>(&["SET", &key, foreign]);
        assert_eq!(
            cache
                .get_or_compute("all", || Ok::<_, Error>(6u32))
                .unwrap(),
            6
        );
        assert_eq!(cache.get_or_compute("all", never).unwrap(), 6);
    }
    server.ask::<()>(&["DEL", &key]);
    server.ask::<()>(&["LPUSH", &key, "x"]);
    assert_eq!(
        cache
            .get_or_compute("all", || Ok::<_, Error>(8u32))
            .unwrap(),
        8
    );
}

#[test]
fn arguments_that_do_not_matter_are_left_out() {
    let server = Home::start();
    let keep = server.open();
    let cache = keep.cache("rows").skip_cache_keys(["db", "request"]);
    let work = Work::default();
    let first = json!({"id": 1, "db": "a"});
    assert_eq!(cache.get_or_compute(&first, || work.run()).unwrap(), 1);
    assert_eq!(
        cache
            .get_or_compute(&json!({"request": 5, "id": 1}), never)
            .unwrap(),
        1
    );
    assert_eq!(
        cache
            .get_or_compute(&json!({"id": {"db": 1}}), || work.run())
            .unwrap(),
        2
    );
    assert_eq!(
        cache
            .get_or_compute(&json!({"id": {"db": 2}}), || work.run())
            .unwrap(),
        3
    );
}

#[test]
fn only_what_meets_the_conditions_is_kept() {
    let server = Home::start();
    let keep = server.open();
    let cache = keep
        .cache("rows")
        .cache_only_for("state", Operator::In, ["used", "new"])
        .cache_only_for("n", Operator::Less, 10);
    let work = Work::default();
    for args in [
        json!({"state": "sold", "n": 1}),
        json!({"state": "used", "n": 10}),
        json!({}),
        json!([1]),
    ] {
        let before = work.runs();
        for i in 1..=2 {
            assert_eq!(
                cache.get_or_compute(&args, || work.run()).unwrap(),
                before + i
            );
        }
    }
    assert_eq!(server.ask::<i64>(&["DBSIZE"]), 0);
    let args = json!({"state": "used", "n": 9});
    let first = cache.get_or_compute(&args, || work.run()).unwrap();
    assert_eq!(cache.get_or_compute(&args, never).unwrap(), first);
}

#[test]
fn an_empty_result_is_kept_only_if_asked() {
    let server = Home::start();
    let keep = server.open();
    let cache = keep.cache("rows");
    let runs = AtomicU32::new(0);
    let none = |value: Value| {
        runs.fetch_add(1, Ordering::SeqCst);
        Ok::<_, Error>(value)
    };
    for empty in [json!(null), json!(""), json!([]), json!({})] {
        runs.store(0, Ordering::SeqCst);
        for _ in 0..2 {
            assert_eq!(
                cache
                    .get_or_compute(&empty, || none(empty.clone()))
                    .unwrap(),
                empty
            );
        }
        assert_eq!(runs.load(Ordering::SeqCst), 2, "{empty}");
        let negative = cache.clone().negative(seconds(5));
        for _ in 0..2 {
            assert_eq!(
                negative
                    .get_or_compute(&empty, || none(empty.clone()))
                    .unwrap(),
                empty
            );
        }
        assert_eq!(runs.load(Ordering::SeqCst), 3, "{empty}");
    }
    for key in values(&server) {
        assert!((1..=5).contains(&server.ask::<i64>(&["TTL", &key])));
    }
    for full in [json!(0), json!(false), json!(" "), json!([null])] {
        cache.get_or_compute(&full, || none(full.clone())).unwrap();
        assert_eq!(
            cache
                .get_or_compute(&full, || -> Result<Value, Error> { panic!() })
                .unwrap(),
            full
        );
    }
}

#[test]
fn bad_input_is_named() {
    let server = Home::start();
    let keep = server.open();
    let refused = |cache: Cache, starts: &str| {
        let error = cache.get_or_compute(&1, never).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Argument, "{error}");
        assert!(error.message().starts_with(starts), "{error}");
    };
    refused(keep.cache(""), "namespace: ");
    refused(keep.cache("a{b}"), "namespace: \"a{b}\" is not allowed");
    let cache = keep.cache("rows");
    refused(
        cache.clone().expire(Duration::ZERO),
        "expire: 0ns is not allowed",
    );
    refused(cache.clone().expire(Duration::MAX), "expire: ");
    refused(cache.clone().stale(Duration::ZERO), "stale: ");
    refused(cache.clone().negative(Duration::ZERO), "negative: ");
    refused(cache.clone().jitter(1.5), "jitter: 1.5 is not allowed");
    refused(cache.clone().early(f64::NAN), "early: ");
    refused(
        cache.clone().cache_only_for("x", Operator::In, 5),
        "only_for: x ",
    );
    let map = std::collections::HashMap::from([((1, 2), 3)]);
    let error = cache.get_or_compute(&map, never).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Json);
    let error = cache
        .get_or_compute(&1, || Ok::<_, Error>(map.clone()))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Json);
    assert!(error.message().contains("result"), "{error}");
}

/// A server in cluster mode refuses keys of different slots, even if it serves all slots.
#[test]
fn keys_that_are_used_together_share_a_slot() {
    let server = Server::with(&["--cluster-enabled", "yes"]);
    server.ask::<()>(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    wait_until(PATIENCE, || {
        server
            .ask::<String>(&["CLUSTER", "INFO"])
            .contains("cluster_state:ok")
    });
    let keep = Manager::open(&server.url()).unwrap();
    let cache = keep.cache("rows").stale(seconds(5)).early(1.0);
    let work = Work::default();
    for _ in 0..2 {
        assert_eq!(cache.get_or_compute(&1, || work.run()).unwrap(), 1);
    }
    cache.invalidate(&1).unwrap();
    assert_eq!(cache.get_or_compute(&1, || work.run()).unwrap(), 2);
    cache.invalidate_all().unwrap();
    assert_eq!(cache.get_or_compute(&1, || work.run()).unwrap(), 3);
    assert_eq!(keep.stats()["swallowed"], 0, "nothing was refused");

    for limiter in [
        keep.limiter(5, seconds(60)),
        keep.limiter(5, seconds(60)).gcra(),
    ] {
        assert!(limiter.check("user:1").unwrap().allowed);
        limiter.reset("user:1").unwrap();
    }
    let sessions = keep.sessions(seconds(60));
    let id = sessions.create("u", &json!({})).unwrap();
    assert!(sessions.touch(&id).unwrap());
    assert_eq!(sessions.all_of("u").unwrap(), [id]);
    assert_eq!(sessions.delete_all_of("u").unwrap(), 1);
}
