//! Sessions on a real server: what is stored, how long it lives, and who finds it again.

mod home;
mod support;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use home::Home;
use redkeep::{ErrorKind, Manager, Outcome, Sessions};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use support::{CANARY_KEY, CANARY_VALUE, Fault, Proxy, Server, Way};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn what_is_stored_is_flat_as_others_store_it() {
    let server = Home::start();
    let keep = server.open();
    let sessions = keep.sessions(Sessions::TTL);
    let before = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    let id = sessions
        .create("user:1", &json!({"theme": "dark", "n": 1.50}))
        .unwrap();
    assert_eq!(id.len(), 36);
    let text: String = server.ask(&["GET", &format!("session:{id}")]);
    let stored: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(stored["user_id"], "user:1");
    assert_eq!(stored["theme"], "dark");
    assert_eq!(stored.as_object().unwrap().len(), 4);
    let created = stored["created_at"].as_f64().unwrap();
    assert!(created >= before && created < before + 10.0);
    let left: i64 = server.ask(&["TTL", &format!("session:{id}")]);
    assert!((86_390..=86_400).contains(&left), "{left}");

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Login {
        user_id: String,
        created_at: f64,
        theme: String,
    }
    let login: Login = sessions.get(&id).unwrap().unwrap();
    assert_eq!(
        (login.user_id.as_str(), login.theme.as_str()),
        ("user:1", "dark")
    );
    // One that another program stored.
    server.ask::<()>(&[
        "SET",
        "session:abc123",
        r#"{"user_id": 7, "created_at": 1.25, "a": []}"#,
    ]);
    let other: Value = sessions.get("abc123").unwrap().unwrap();
    assert_eq!(other["user_id"], 7);
    assert!(sessions.touch("abc123").unwrap());
    assert_eq!(sessions.all_of("7").unwrap(), ["abc123"]);
    assert_eq!(sessions.get::<Value>("none").unwrap(), None);
}

#[test]
fn an_update_leaves_the_rest_as_it_was() {
    let server = Home::start();
    let keep = server.open();
    let sessions = keep.sessions(seconds(1000));
    let id = sessions
        .create("u", &json!({"a": 1, "b": {"c": 2}}))
        .unwrap();
    let key = format!("session:{id}");
    let first: Value = sessions.get(&id).unwrap().unwrap();
    server.ask::<()>(&["EXPIRE", &key, "500"]);
    assert!(
        sessions
            .update(&id, &json!({"b": null, "d": [1], "a": "x"}))
            .unwrap()
    );
    let second: Value = sessions.get(&id).unwrap().unwrap();
    let expected = json!({"user_id": "u", "created_at": first["created_at"], "a": "x", "d": [1]});
    assert_eq!(second, expected);
    let left: i64 = server.ask(&["TTL", &key]);
    assert!(
        (490..=500).contains(&left),
        "the time left is not touched: {left}"
    );
    assert!(!sessions.update("none", &json!({"a": 1})).unwrap());
    assert!(server.ask::<i64>(&["EXISTS", "session:none"]) == 0);
    // What others wrote stays as they wrote it, to the last digit.
    let exact = r#"{"user_id":"u","created_at":1763700000.1234567890123,"big":123456789012345678901234567890,"e":[]}"#;
    server.ask::<()>(&["SET", &key, exact]);
    assert!(sessions.update(&id, &json!({"z": 1})).unwrap());
    let text: String = server.ask(&["GET", &key]);
    for part in [
        "1763700000.1234567890123",
        "123456789012345678901234567890",
        "[]",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn updates_at_the_same_time_lose_nothing() {
    let server = Home::start();
    let keep = server.open();
    let sessions = keep.sessions(seconds(1000));
    let id = sessions.create("u", &json!({})).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (sessions, id) = (&sessions, &id);
            scope.spawn(move || {
                for i in 0..25 {
                    let name = format!("{thread}-{i}");
                    assert!(sessions.update(id, &json!({name: i})).unwrap());
                }
            });
        }
    });
    let all: Value = sessions.get(&id).unwrap().unwrap();
    assert_eq!(all.as_object().unwrap().len(), 2 + 100);
}

#[test]
fn a_touch_lets_it_live_again() {
    let server = Home::start();
    let keep = server.open();
    let sessions = keep.sessions(seconds(100));
    let id = sessions.create("u", &json!({"a": 1})).unwrap();
    let key = format!("session:{id}");
    server.ask::<()>(&["EXPIRE", &key, "5"]);
    server.ask::<()>(&["EXPIRE", "user_sessions:u", "5"]);
    assert!(sessions.touch(&id).unwrap());
    let left: i64 = server.ask(&["TTL", &key]);
    assert!((95..=100).contains(&left), "{left}");
    // The note of it lives for twice as long: one that was missed harms nothing.
    let left: i64 = server.ask(&["TTL", "user_sessions:u"]);
    assert!((195..=200).contains(&left), "{left}");
    let keep_short = keep.sessions(seconds(1));
    assert!(keep_short.touch(&id).unwrap());
    let left: i64 = server.ask(&["TTL", "user_sessions:u"]);
    assert!(left > 190, "a shorter life takes no note away: {left}");
    assert!(!sessions.touch("none").unwrap());
    sessions.delete(&id).unwrap();
    assert!(!sessions.touch(&id).unwrap());
}

#[test]
fn a_user_finds_all_sessions_and_ends_them() {
    let server = Home::start();
    let keep = server.open();
    let sessions = keep.sessions(seconds(1000));
    let mut ids: Vec<String> = (0..5)
        .map(|_| sessions.create("u", &json!({})).unwrap())
        .collect();
    let other = sessions.create("v", &json!({})).unwrap();
    ids.sort();
    let all = |user: &str| {
        let mut all = sessions.all_of(user).unwrap();
        all.sort();
        all
    };
    assert_eq!(all("u"), ids);
    assert_eq!(all("v"), [other.as_str()]);
    assert!(all("w").is_empty());
    assert!(sessions.delete(&ids[0]).unwrap());
    assert!(!sessions.delete(&ids[0]).unwrap());
    assert_eq!(server.ask::<i64>(&["ZCARD", "user_sessions:u"]), 4);
    // One that has expired is not live, though it may be noted still.
    server.ask::<()>(&["DEL", &format!("session:{}", ids[1])]);
    assert_eq!(all("u"), ids[2..]);
    assert_eq!(sessions.delete_all_of("u").unwrap(), 3);
    assert_eq!(sessions.delete_all_of("u").unwrap(), 0);
    assert!(all("u").is_empty());
    assert_eq!(all("v"), [other.as_str()]);
    assert!(sessions.delete(&other).unwrap());
    assert_eq!(server.ask::<i64>(&["DBSIZE"]), 0, "nothing is left behind");
}

#[test]
fn notes_of_dead_sessions_go() {
    let server = Home::start();
    let keep = server.open();
    let brief = keep.sessions(Duration::from_millis(20));
    for _ in 0..10 {
        brief.create("u", &json!({})).unwrap();
    }
    std::thread::sleep(Duration::from_millis(60));
    assert!(brief.all_of("u").unwrap().is_empty());
    let id = keep.sessions(seconds(100)).create("u", &json!({})).unwrap();
    assert_eq!(
        server.ask::<Vec<String>>(&["ZRANGE", "user_sessions:u", "0", "-1"]),
        [id]
    );
}

#[test]
fn a_session_is_noted_before_it_exists() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let url = format!("{}?command_timeout=300ms&retries=0", proxy.url());
    let keep = Manager::open(&url).unwrap();
    let sessions = keep.sessions(seconds(100));
    let id = sessions.create("u", &json!({})).unwrap();
    proxy.set(Way::ToServer, Fault::BlackHole);
    let error = sessions.create("u", &json!({})).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown);
    assert!(
        sessions.delete(&id).is_err(),
        "what was not done is not called done"
    );
    proxy.heal();
    proxy.cut_all();
    support::wait_until(support::PATIENCE, || sessions.all_of("u").is_ok());
    assert_eq!(sessions.all_of("u").unwrap(), [id]);
}

#[test]
fn bad_input_is_named_and_not_repeated() {
    let server = Home::start();
    let keep = server.open();
    let sessions = keep.sessions(seconds(100));
    let odd = [
        "",
        "a b",
        "a*",
        "{x}",
        "a\r\nDEL x",
        "a\0",
        "é",
        "../x",
        &"x".repeat(129),
        &format!("{CANARY_KEY} "),
    ];
    for id in odd {
        for error in [
            sessions.get::<Value>(id).unwrap_err(),
            sessions.touch(id).unwrap_err(),
            sessions.delete(id).unwrap_err(),
            sessions.update(id, &json!({})).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Argument, "{id:?}: {error}");
            assert!(error.message().starts_with("id: "), "{error}");
            assert!(!error.to_string().contains(CANARY_KEY), "{error}");
        }
    }
    for name in ["user_id", "created_at"] {
        let mine = sessions.create("u", &json!({name: 1})).unwrap_err();
        assert_eq!(mine.kind(), ErrorKind::Argument);
        assert!(mine.message().contains(name), "{mine}");
        let id = sessions.create("u", &json!({})).unwrap();
        assert!(sessions.update(&id, &json!({name: CANARY_VALUE})).is_err());
        sessions.delete(&id).unwrap();
    }
    for data in [json!([1]), json!(CANARY_VALUE), json!(null), json!(1)] {
        let error = sessions.create("u", &data).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Json, "{data}");
        assert!(!error.to_string().contains(CANARY_VALUE), "{error}");
    }
    let nobody = sessions.create("", &json!({})).unwrap_err();
    assert!(nobody.message().starts_with("user_id: "), "{nobody}");
    for ttl in [Duration::ZERO, Duration::MAX] {
        let error = keep.sessions(ttl).create("u", &json!({})).unwrap_err();
        assert!(error.message().starts_with("ttl: "), "{error}");
    }
    server.ask::<()>(&["SET", "session:text", "no JSON"]);
    assert_eq!(
        sessions.get::<Value>("text").unwrap_err().kind(),
        ErrorKind::StoredJson
    );
    assert_eq!(
        sessions.update("text", &json!({})).unwrap_err().kind(),
        ErrorKind::StoredJson
    );
    assert!(sessions.delete("text").unwrap());
    server.ask::<()>(&["LPUSH", "session:list", "x"]);
    assert_eq!(
        sessions.get::<Value>("list").unwrap_err().kind(),
        ErrorKind::WrongType
    );
    assert_eq!(server.ask::<i64>(&["DBSIZE"]), 1);
}
