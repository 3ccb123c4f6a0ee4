//! Every command of the client, over TCP and unix sockets, in RESP2 and RESP3, with good input and bad.

mod home;
mod support;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use home::Home;
use redkeep::{ErrorKind, Manager, Outcome, SetOptions};
use serde::{Deserialize, Serialize};
use support::{CANARY_KEY, CANARY_VALUE, Peer, Server};

fn open(url: &str) -> Manager {
    Manager::open(url).expect("a url of ours")
}

/// The same over each way there is, on an empty server each time.
fn each_way(test: impl Fn(&Manager)) {
    let server = Server::start();
    for url in [server.url(), server.unix_url()] {
        for protocol in [2, 3] {
            let _: String = server.ask(&["FLUSHALL"]);
            test(&open(&format!("{url}?protocol={protocol}")));
        }
    }
}

fn all_bytes() -> Vec<u8> {
    (0..=255).collect()
}

#[test]
fn a_value_comes_back_as_it_was_set() {
    each_way(|keep| {
        let big: Vec<u8> = (0..1u32 << 20).map(|n| (n * 7 + n / 256) as u8).collect();
        for value in [all_bytes(), Vec::new(), b"\r\n$-1\r\n".to_vec(), big] {
            keep.set("key", &value).unwrap();
            assert!(keep.get::<Vec<u8>>("key").unwrap() == Some(value));
        }
        for key in [all_bytes(), Vec::new(), b"*1\r\n$4\r\nPING\r\n".to_vec()] {
            keep.set(&key, "here").unwrap();
            assert_eq!(keep.get::<String>(&key).unwrap().as_deref(), Some("here"));
            assert_eq!(keep.delete(&key).unwrap(), 1);
        }
        keep.set("number", -5i64).unwrap();
        assert_eq!(keep.get::<i64>("number").unwrap(), Some(-5));
        keep.set("number", 2.5f64).unwrap();
        assert_eq!(keep.get::<f64>("number").unwrap(), Some(2.5));
        assert_eq!(keep.get::<String>("no such key").unwrap(), None);
    });
}

#[test]
fn a_value_of_64_mib_comes_back() {
    let server = Server::start();
    let keep = open(&server.url());
    let value: Vec<u8> = (0..64u32 << 20).map(|n| (n ^ (n >> 11)) as u8).collect();
    let minute = Duration::from_secs(60);
    keep.command_within::<()>(("SET", "big", &value), minute)
        .unwrap();
    let back: Vec<u8> = keep.command_within(("GET", "big"), minute).unwrap();
    assert!(back == value);
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_reply_larger_than_allowed_is_an_error_and_the_next_call_is_right() {
    let server = Home::start();
    let keep = open(&server.url_with("max_reply_bytes=1KiB"));
    keep.set("fits", vec![b'x'; 1024]).unwrap();
    keep.set("big", vec![b'x'; 1025]).unwrap();
    assert!(keep.get::<Vec<u8>>("fits").unwrap().is_some());
    let error = keep.get::<Vec<u8>>("big").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReplyTooLarge, "{error}");
    assert_eq!(keep.get::<Vec<u8>>("fits").unwrap().unwrap().len(), 1024);
}

#[test]
fn set_keeps_to_its_options() {
    each_way(|keep| {
        let new = SetOptions::new;
        assert!(keep.set_with("a", 1, new().nx()).unwrap());
        assert!(!keep.set_with("a", 2, new().nx()).unwrap());
        assert!(keep.set_with("a", 3, new().xx()).unwrap());
        assert!(!keep.set_with("b", 4, new().xx()).unwrap());
        assert_eq!(keep.get::<i64>("a").unwrap(), Some(3));
        assert_eq!(keep.get::<i64>("b").unwrap(), None);
        assert!(keep.set_with("a", 5, new().ex(100)).unwrap());
        assert!((90..=100).contains(&keep.ttl("a").unwrap()));
        assert!(keep.set_with("a", 6, new().keep_ttl()).unwrap());
        assert!((90..=100).contains(&keep.ttl("a").unwrap()));
        assert!(keep.set_with("a", 7, new().px(500_000).xx()).unwrap());
        assert!((490..=500).contains(&keep.ttl("a").unwrap()));
        keep.set("a", 8).unwrap();
        assert_eq!(keep.ttl("a").unwrap(), -1);
        assert!(keep.set_with("soon", 1, new().px(1)).unwrap());
        support::wait_until(support::PATIENCE, || !keep.exists("soon").unwrap());
    });
}

#[test]
fn options_that_exclude_each_other_are_named_and_nothing_is_sent() {
    let server = Server::start();
    let keep = open(&server.url());
    let new = SetOptions::new;
    for (options, names) in [
        (new().ex(1).px(1), ["ex", "px"]),
        (new().nx().xx(), ["nx", "xx"]),
        (new().ex(1).keep_ttl(), ["ex", "keep_ttl"]),
        (new().px(1).keep_ttl(), ["px", "keep_ttl"]),
    ] {
        let error = keep.set_with("k", "v", options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert_eq!(error.outcome(), Outcome::NotSent);
        assert!(names.iter().all(|name| error.message().contains(name)));
    }
    for options in [new().ex(0), new().px(-1), new().ex(i64::MIN)] {
        let error = keep.set_with("k", "v", options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Argument, "{error}");
    }
    let error = keep.set_json_with("k", &1, new().nx().xx()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(server.connections(), 0);
    let error = keep.set_with("k", "v", new().ex(i64::MAX)).unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Server, Outcome::Refused)
    );
}

#[test]
fn delete_counts_what_was_there() {
    each_way(|keep| {
        keep.mset([("a", 1), ("b", 2), ("c", 3)]).unwrap();
        assert_eq!(keep.delete("a").unwrap(), 1);
        assert_eq!(keep.delete("a").unwrap(), 0);
        assert_eq!(keep.delete(&["a", "b", "c", "c"]).unwrap(), 2);
        assert_eq!(keep.delete(Vec::<String>::new()).unwrap(), 0);
        assert_eq!(keep.delete(vec!["x".to_owned()]).unwrap(), 0);
    });
}

#[test]
fn calls_without_anything_to_do_send_nothing() {
    let server = Server::start();
    let keep = open(&server.url());
    let nothing: [(&str, &str); 0] = [];
    assert_eq!(keep.delete(Vec::<&str>::new()).unwrap(), 0);
    assert_eq!(keep.hset_many("h", nothing).unwrap(), 0);
    assert_eq!(
        keep.hset_with("h", None::<(&str, &str)>, nothing).unwrap(),
        0
    );
    keep.mset(nothing).unwrap();
    assert_eq!(keep.mget::<String>(Vec::<&str>::new()).unwrap(), []);
    assert_eq!(server.connections(), 0);
}

#[test]
fn keys_exist_expire_and_tell_their_time() {
    each_way(|keep| {
        assert!(!keep.exists("a").unwrap());
        assert_eq!(keep.ttl("a").unwrap(), -2);
        assert!(!keep.expire("a", 10).unwrap());
        keep.set("a", 1).unwrap();
        assert!(keep.exists("a").unwrap());
        assert_eq!(keep.ttl("a").unwrap(), -1);
        assert!(keep.expire("a", 1000).unwrap());
        assert!((990..=1000).contains(&keep.ttl("a").unwrap()));
        assert!(keep.expire("a", 0).unwrap());
        assert!(!keep.exists("a").unwrap());
        keep.set("a", 1).unwrap();
        assert!(keep.expire("a", -5).unwrap());
        assert!(!keep.exists("a").unwrap());
    });
}

#[test]
fn incr_adds_and_says_why_it_cannot() {
    each_way(|keep| {
        assert_eq!(keep.incr("n", 1).unwrap(), 1);
        assert_eq!(keep.incr("n", 41).unwrap(), 42);
        assert_eq!(keep.incr("n", -50).unwrap(), -8);
        keep.set("n", i64::MAX).unwrap();
        assert_eq!(keep.incr("n", 0).unwrap(), i64::MAX);
        let overflow = keep.incr("n", 1).unwrap_err();
        assert_eq!(overflow.kind(), ErrorKind::NotANumber, "{overflow}");
        assert_eq!(overflow.outcome(), Outcome::Refused);
        keep.set("n", i64::MIN).unwrap();
        assert!(keep.incr("n", i64::MIN).is_err());
        keep.set("n", "ten").unwrap();
        assert_eq!(keep.incr("n", 1).unwrap_err().kind(), ErrorKind::NotANumber);
        keep.hset("h", "f", 1).unwrap();
        let wrong = keep.incr("h", 1).unwrap_err();
        assert_eq!(wrong.kind(), ErrorKind::WrongType);
        assert_eq!(wrong.code(), Some("WRONGTYPE"));
        assert_eq!(wrong.outcome(), Outcome::Refused);
        assert!(wrong.node().is_some() && !wrong.is_retriable());
    });
}

#[test]
fn hashes_take_one_field_many_or_both() {
    each_way(|keep| {
        assert_eq!(keep.hset("h", "a", 1).unwrap(), 1);
        assert_eq!(keep.hset("h", "a", 2).unwrap(), 0);
        let many = [("a", "x"), ("b", "y"), ("c", "z")];
        assert_eq!(keep.hset_many("h", many).unwrap(), 2);
        let map = HashMap::from([("e".to_owned(), all_bytes()), ("f".to_owned(), vec![])]);
        assert_eq!(keep.hset_with("h", Some(("d", 4)), &map).unwrap(), 3);
        assert_eq!(keep.hget::<String>("h", "a").unwrap().as_deref(), Some("x"));
        assert_eq!(keep.hget::<i64>("h", "d").unwrap(), Some(4));
        assert_eq!(keep.hget::<Vec<u8>>("h", "e").unwrap(), Some(all_bytes()));
        assert_eq!(keep.hget::<Vec<u8>>("h", "f").unwrap(), Some(Vec::new()));
        assert_eq!(keep.hget::<String>("h", "no").unwrap(), None);
        assert_eq!(keep.hget::<String>("no", "no").unwrap(), None);
        let all: HashMap<String, Vec<u8>> = keep.command(("HGETALL", "h")).unwrap();
        assert_eq!(all.len(), 6);
        keep.set("s", 1).unwrap();
        let error = keep.hset("s", "f", 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongType);
    });
}

#[test]
fn many_keys_at_once_keep_their_order() {
    each_way(|keep| {
        keep.mset([("a", "1"), ("c", "3")]).unwrap();
        let got: Vec<Option<i64>> = keep.mget(&["a", "b", "c", "a"]).unwrap();
        assert_eq!(got, [Some(1), None, Some(3), Some(1)]);
        assert_eq!(keep.mget::<i64>("c").unwrap(), [Some(3)]);
        let pairs: Vec<(String, Vec<u8>)> = (0..2000)
            .map(|n| (format!("k{n}"), vec![n as u8; 9]))
            .collect();
        keep.mset(pairs.iter().map(|(k, v)| (k, v))).unwrap();
        let keys: Vec<&String> = pairs.iter().map(|(k, _)| k).collect();
        let values: Vec<Option<Vec<u8>>> = keep.mget(&keys[..]).unwrap();
        let expected: Vec<Option<Vec<u8>>> = pairs.iter().map(|(_, v)| Some(v.clone())).collect();
        assert!(values == expected);
    });
}

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
struct User {
    id: u64,
    name: String,
    tags: Vec<Option<bool>>,
}

#[test]
fn any_serde_type_goes_through_json() {
    each_way(|keep| {
        let user = User {
            id: u64::MAX,
            name: "Ä \u{0} \u{1f600} \"".to_owned(),
            tags: vec![Some(true), None],
        };
        keep.set_json("u", &user).unwrap();
        assert_eq!(keep.get_json("u").unwrap(), Some(user.clone()));
        assert_eq!(keep.get_json::<User>("no").unwrap(), None);
        keep.set_json("u", "text").unwrap();
        assert_eq!(
            keep.get::<String>("u").unwrap().as_deref(),
            Some("\"text\"")
        );
        keep.set_json("u", &None::<i32>).unwrap();
        assert_eq!(keep.get_json::<Option<i32>>("u").unwrap(), Some(None));
        let nx = SetOptions::new().nx().ex(50);
        assert!(!keep.set_json_with("u", &user, nx).unwrap());
        assert!(keep.set_json_with("new", &user, nx).unwrap());
        assert!(keep.ttl("new").unwrap() > 0);
    });
}

#[test]
fn json_errors_quote_no_value() {
    let server = Home::start();
    let keep = open(&server.url());
    for stored in [
        CANARY_VALUE.to_owned(),
        format!("{{\"id\": \"{CANARY_VALUE}\", \"name\": 1, \"tags\": []}}"),
        format!("{{\"{CANARY_VALUE}\": 1}}"),
        format!("{{\"id\": 1, \"name\": \"{CANARY_VALUE}\", \"tags\": [\"{CANARY_VALUE}\"]}}"),
        String::new(),
        "{".to_owned(),
    ] {
        keep.set("j", &stored).unwrap();
        let error = keep.get_json::<User>("j").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StoredJson);
        let text = format!("{error} {error:?} {:?}", std::error::Error::source(&error));
        assert!(!text.contains(CANARY_VALUE), "{text}");
    }
    keep.set("j", vec![b'"', 0xff, b'"']).unwrap();
    let error = keep.get_json::<String>("j").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoredJson);
    keep.hset("h", "f", 1).unwrap();
    let error = keep.get_json::<User>("h").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongType);

    let keys_that_are_no_text = HashMap::from([(vec![1], CANARY_VALUE)]);
    let error = keep.set_json("j", &keys_that_are_no_text).unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Json, Outcome::NotSent)
    );
    assert!(!format!("{error:?}").contains(CANARY_VALUE));
}

#[test]
fn a_reply_of_another_type_is_an_error_that_quotes_no_value() {
    each_way(|keep| {
        keep.set("k", CANARY_VALUE).unwrap();
        let _: i64 = keep.command(("RPUSH", "l", CANARY_VALUE)).unwrap();
        let errors = [
            keep.get::<i64>("k").unwrap_err(),
            keep.mget::<i64>("k").unwrap_err(),
            keep.command::<Vec<i64>>(("LRANGE", "l", 0, -1))
                .unwrap_err(),
            keep.command::<HashMap<String, i64>>(("GET", "k"))
                .unwrap_err(),
            keep.command::<bool>(("GET", "k")).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::ReplyType, "{error}");
            assert!(
                !format!("{error} {error:?}").contains(CANARY_VALUE),
                "{error}"
            );
        }
        keep.set("k", vec![0xffu8, 0xfe]).unwrap();
        let error = keep.get::<String>("k").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ReplyType);
        assert_eq!(keep.get::<Vec<u8>>("k").unwrap(), Some(vec![0xff, 0xfe]));
    });
}

#[test]
fn an_unknown_command_is_told_without_its_arguments() {
    each_way(|keep| {
        let error = keep.command::<()>(("NOSUCH", CANARY_KEY, CANARY_VALUE));
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Server);
        assert_eq!(error.outcome(), Outcome::Refused);
        let text = format!("{error} {error:?}");
        assert!(text.contains("NOSUCH"), "{text}");
        assert!(!text.contains(CANARY_VALUE), "{text}");
    });
}

#[test]
fn any_command_takes_any_arguments() {
    each_way(|keep| {
        let added: i64 = keep
            .command(("ZADD", "z", 1.5, "a", 2, all_bytes()))
            .unwrap();
        assert_eq!(added, 2);
        let score: f64 = keep.command(vec!["zscore", "z", "a"]).unwrap();
        assert_eq!(score, 1.5);
        let none: Option<f64> = keep.command(("ZSCORE", "z", "no")).unwrap();
        assert_eq!(none, None);
        let scores: Vec<(Vec<u8>, f64)> =
            keep.command(("ZRANGE", "z", 0, -1, "WITHSCORES")).unwrap();
        assert_eq!(scores, [(b"a".to_vec(), 1.5), (all_bytes(), 2.0)]);
        let args: Vec<String> = ["RPUSH".to_owned(), "l".to_owned()]
            .into_iter()
            .chain((0..5000).map(|n| n.to_string()))
            .collect();
        assert_eq!(keep.command::<i64>(args).unwrap(), 5000);
        let back: Vec<i64> = keep.command(("LRANGE", "l", 0, -1)).unwrap();
        assert_eq!(back, (0..5000).collect::<Vec<_>>());
        let lua = "return {1, 'two', false, {3, {4}}, {ok = 'fine'}}";
        let (one, two, three, four, five): (i64, String, Option<i64>, (i64, Vec<i64>), String) =
            keep.command(("EVAL", lua, 0)).unwrap();
        assert_eq!((one, two.as_str(), three), (1, "two", None));
        assert_eq!((four, five.as_str()), ((3, vec![4]), "fine"));
        let echo: Vec<u8> = keep.command((b"ECHO".to_vec(), all_bytes())).unwrap();
        assert_eq!(echo, all_bytes());
        keep.ping().unwrap();
    });
}

#[test]
fn the_types_of_resp3_arrive_as_what_they_are() {
    use redkeep::redis::Value;
    let server = Server::with(&["--enable-debug-command", "yes"]);
    let keep = open(&server.url());
    let ask = |kind: &str| keep.command::<Value>(("DEBUG", "PROTOCOL", kind)).unwrap();
    assert!(matches!(ask("string"), Value::BulkString(_)));
    assert!(matches!(ask("integer"), Value::Int(_)));
    assert!(matches!(ask("double"), Value::Double(_)));
    assert!(matches!(ask("null"), Value::Nil));
    assert!(matches!(ask("array"), Value::Array(_)));
    assert!(matches!(ask("set"), Value::Set(_)));
    assert!(matches!(ask("map"), Value::Map(_)));
    assert!(matches!(ask("verbatim"), Value::VerbatimString { .. }));
    assert!(matches!(ask("bignum"), Value::BigNumber(_)));
    assert!(matches!(ask("true"), Value::Boolean(true)));
    assert!(matches!(ask("false"), Value::Boolean(false)));
    // An attribute before the reply, and a push between two, change nothing about the reply.
    let _ = ask("attrib");
    let _ = keep.command_within::<Value>(("DEBUG", "PROTOCOL", "push"), Duration::from_millis(50));
    keep.set("after", 1).unwrap();
    assert_eq!(keep.get::<i64>("after").unwrap(), Some(1));
}

#[test]
fn a_command_without_a_name_or_with_too_many_keys_is_refused() {
    let server = Server::start();
    let keep = open(&server.url());
    let empty: Vec<String> = Vec::new();
    let errors = [
        keep.command::<()>(empty).unwrap_err(),
        keep.get::<String>(&["a", "b"]).unwrap_err(),
        keep.set("a", None::<String>).unwrap_err(),
        keep.set(("a", "b"), 1).unwrap_err(),
        keep.hset("a", "f", vec!["v", "w"]).unwrap_err(),
        keep.mset([("a", vec!["v", "w"])]).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Argument, "{error}");
        assert_eq!(error.outcome(), Outcome::NotSent);
    }
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_command_within_its_own_time_keeps_to_it() {
    let server = Home::start();
    let keep = open(&server.url());
    keep.ping().unwrap();
    let time = Duration::from_millis(100);
    let started = Instant::now();
    let error = keep.command_within::<()>(("BLPOP", "nothing", 30), time);
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Timeout);
    let took = started.elapsed();
    assert!(
        took >= time && took < time + Duration::from_millis(400),
        "{took:?}"
    );
    // Its own time, and command_timeout beyond that: nil comes from the server.
    let none: Option<(String, String)> = keep.command(("BLPOP", "nothing", 0.1)).unwrap();
    assert_eq!(none, None);
}

#[test]
fn a_database_of_the_url_is_used_on_every_connection() {
    let server = Server::start();
    for url in [
        format!("{}/3", server.url()),
        format!("{}?db=3", server.url()),
    ] {
        let keep = open(&url);
        let leases: Vec<_> = (0..3).map(|_| keep.client().dedicated().unwrap()).collect();
        drop(leases);
        keep.set("here", 1).unwrap();
        let (size, other): (i64, i64) =
            (keep.command(("DBSIZE",)).unwrap(), server.ask(&["DBSIZE"]));
        assert_eq!((size, other), (1, 0));
    }
    let error = open(&format!("{}/9999", server.url())).ping().unwrap_err();
    assert!(error.message().contains("DB index"), "{error}");
    assert_eq!(error.outcome(), Outcome::NotSent);
}

#[test]
fn a_user_is_let_in_by_password_and_held_to_its_permissions() {
    let server = Server::start();
    let _: String = server.ask(&[
        "ACL",
        "SETUSER",
        "ann",
        "on",
        ">p@ss:/word",
        "~*",
        "+get",
        "+set",
    ]);
    let address = server.address();
    let keep = open(&format!("redis://ann:p%40ss%3A%2Fword@{address}"));
    keep.set("a", 1).unwrap();
    let error = keep.incr("a", 1).unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::NoPermission, Outcome::Refused)
    );
    // It may neither PING nor ask INFO, and is connected all the same.
    assert!(keep.initialize());
    assert!(keep.is_redis_connected(None).0);
    assert!(keep.health_check(None).unwrap().healthy);
    keep.add_node_pool(&format!("redis://ann:p%40ss%3A%2Fword@{address}"))
        .unwrap();
    // Another database it may not use at all.
    let other = open(&format!("redis://ann:p%40ss%3A%2Fword@{address}/1"));
    assert!(!other.initialize() && !other.is_redis_connected(None).0);
    assert_eq!(other.ping().unwrap_err().outcome(), Outcome::NotSent);
    let wrong = open(&format!("redis://ann:wrong@{address}")).get::<String>("a");
    assert_eq!(wrong.unwrap_err().kind(), ErrorKind::Auth);
}

#[test]
fn a_missing_password_is_an_error_of_its_own() {
    let server = Server::with(&["--requirepass", "open sesame"]);
    for protocol in [2, 3] {
        let keep = open(&format!("{}?protocol={protocol}", server.url()));
        let error = keep.get::<String>("a").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
    }
    let keep = open(&format!("redis://:open%20sesame@{}", server.address()));
    keep.ping().unwrap();
}

#[test]
fn the_lenient_view_gives_the_same_while_the_server_is_there() {
    let server = Home::start();
    let keep = open(&server.url());
    let easy = keep.lenient();
    let nothing = Vec::<&str>::new();
    assert!(easy.set("a", 1));
    assert_eq!(easy.get::<i64>("a"), Some(1));
    assert!(!easy.set_with("a", 2, SetOptions::new().nx()));
    assert_eq!(easy.incr("a", 4), Some(5));
    assert!(easy.exists("a") && easy.expire("a", 50) && easy.ttl("a") > 40);
    assert_eq!(easy.delete(&["a", "b"]), 1);
    assert_eq!(easy.delete(&nothing[..]), 0);
    assert_eq!(easy.hset("h", "a", 1) + easy.hset_many("h", [("b", 2)]), 2);
    assert_eq!(easy.hget::<i64>("h", "b"), Some(2));
    assert!(easy.mset([("x", 1)]));
    assert_eq!(easy.mget::<i64>(&["x", "y"]), [Some(1), None]);
    assert!(easy.set_json("j", &[1, 2], SetOptions::new()));
    assert_eq!(easy.get_json::<Vec<i32>>("j"), Some(vec![1, 2]));
    assert_eq!(easy.command::<i64>(("HLEN", "h")), Some(2));
    assert_eq!(keep.stats()["swallowed"], 0);
    assert_eq!(easy.incr("h", 1), None);
    assert_eq!(keep.stats()["swallowed"], 1);
}

#[test]
fn the_lenient_view_is_neutral_when_redis_is_away() {
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let keep = open(&format!("redis://{nobody}"));
    let disabled = redkeep::Config::new().enabled(false);
    let disabled = Manager::open_config(&disabled).unwrap();
    for keep in [keep, disabled] {
        let easy = keep.lenient();
        assert!(!easy.set("a", 1));
        assert_eq!(easy.get::<i64>("a"), None);
        assert_eq!(easy.incr("a", 4), None);
        assert!(!easy.exists("a") && !easy.expire("a", 50));
        assert_eq!((easy.ttl("a"), easy.delete("a")), (-2, 0));
        assert_eq!(easy.hset("h", "a", 1) + easy.hset_many("h", [("b", 2)]), 0);
        assert_eq!(easy.hget::<i64>("h", "b"), None);
        assert!(!easy.mset([("x", 1)]));
        assert_eq!(easy.mget::<i64>(&["x", "y"]), [None, None]);
        assert!(!easy.set_json("j", &[1, 2], SetOptions::new()));
        assert_eq!(easy.get_json::<Vec<i32>>("j"), None);
        assert_eq!(easy.command::<i64>(("DBSIZE",)), None);
        assert!(!keep.is_enabled());
    }
}

#[test]
fn printing_shows_no_data_and_makes_no_contact() {
    let server = Server::start();
    let keep = open(&server.url());
    for text in [
        format!("{keep:?}"),
        format!("{:?}", keep.client()),
        format!("{:?}", keep.lenient()),
        format!("{:?}", SetOptions::new().ex(5).nx()),
    ] {
        assert!(!text.is_empty());
    }
    assert_eq!(server.connections(), 0);
    let lease = keep.client().dedicated().unwrap();
    assert_eq!(format!("{lease:?}"), format!("Lease({})", server.address()));
    assert_eq!(lease.node(), server.address());
}

#[test]
fn a_reply_that_is_no_resp_ends_the_connection_and_not_the_manager() {
    let peer = Peer::after_handshake(|request| match request[0].as_slice() {
        b"GET" => "?what\r\n",
        _ => ":1\r\n",
    });
    let keep = open(&peer.url());
    let error = keep.get::<String>("a").unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Protocol, Outcome::Unknown)
    );
    assert_eq!(peer.requests("GET"), 1);
    assert_eq!(keep.incr("a", 1).unwrap(), 1);
    assert_eq!(peer.accepted(), 2);
}

#[test]
fn a_reply_too_many_is_not_taken_for_the_next_one() {
    let peer = Peer::after_handshake(|request| match request[0].as_slice() {
        b"GET" => "$5\r\nfirst\r\n$6\r\nsecond\r\n",
        _ => ":1\r\n",
    });
    let keep = open(&peer.url());
    let first: Option<String> = keep.get("a").unwrap();
    assert_eq!(first.as_deref(), Some("first"));
    match keep.incr("a", 1) {
        Ok(n) => assert_eq!(n, 1),
        Err(error) => assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Protocol, Outcome::NotSent)
        ),
    }
}
