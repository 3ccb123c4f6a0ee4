//! Scripts, walking over keys, and the redis crate's own commands on our connections.

mod home;
mod support;

use std::collections::HashSet;

use home::Home;
use redkeep::redis::{self, Commands};
use redkeep::{ErrorKind, Manager, Outcome, Script};
use support::Server;

#[test]
fn a_script_is_sent_once_and_called_by_its_digest() {
    let server = Home::start();
    let keep = server.open();
    let add = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    for i in 1..=5 {
        assert_eq!(keep.eval::<i64>(&add, "n", 2).unwrap(), 2 * i);
    }
    assert_eq!(server.command_calls("eval"), 1);
    assert_eq!(server.command_calls("evalsha"), 5);
    // Forgotten by the server, it is brought again.
    server.ask::<()>(&["SCRIPT", "FLUSH"]);
    assert_eq!(keep.eval::<i64>(&add, "n", 1).unwrap(), 11);
    assert_eq!(server.command_calls("eval"), 2);
}

#[test]
fn a_script_in_a_pipeline_is_always_known() {
    let server = Home::start();
    let keep = server.open();
    let add = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    for atomic in [false, true] {
        server.ask::<()>(&["SCRIPT", "FLUSH"]);
        keep.delete("n").unwrap();
        let mut pipe = keep.pipeline();
        pipe.atomic(atomic);
        for _ in 0..3 {
            pipe.eval(&add, "n", 5).unwrap();
        }
        assert_eq!(pipe.query::<Vec<i64>>().unwrap(), [5, 10, 15]);
    }
}

#[test]
fn a_script_with_no_keys_with_many_and_with_errors() {
    let server = Home::start();
    let keep = server.open();
    let none: &[&str] = &[];
    let echo = Script::new("return {#KEYS, #ARGV}");
    assert_eq!(keep.eval::<Vec<i64>>(&echo, none, none).unwrap(), [0, 0]);
    let keys = ["{t}a", "{t}b"];
    assert_eq!(
        keep.eval::<Vec<i64>>(&echo, &keys, &[1, 2, 3]).unwrap(),
        [2, 3]
    );

    let syntax = keep
        .eval::<()>(&Script::new("return ("), none, none)
        .unwrap_err();
    assert!(syntax.to_string().contains("compiling script"), "{syntax}");
    // Half of it was executed before its error: nobody may say that it was not.
    let half = Script::new("redis.call('SET', KEYS[1], 'x') return redis.call('INCR', KEYS[1])");
    let error = keep.eval::<()>(&half, "half", none).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown);
    assert_eq!(keep.get::<String>("half").unwrap().as_deref(), Some("x"));
}

#[test]
fn a_scan_finds_every_key_once_it_is_there() {
    let server = Home::start();
    let keep = server.open();
    let pairs = (0..3000).map(|i| (format!("key:{i}"), i));
    keep.mset(pairs).unwrap();
    keep.set("other", 1).unwrap();
    let found: HashSet<Vec<u8>> = keep.scan(Some("key:*")).collect::<Result<_, _>>().unwrap();
    assert_eq!(found.len(), 3000);
    assert_eq!(
        keep.scan(None)
            .map(Result::unwrap)
            .collect::<HashSet<_>>()
            .len(),
        3001
    );
    assert!(keep.scan(Some("none*")).next().is_none());
    keep.close(std::time::Duration::from_secs(1)).unwrap();
    let error = keep.scan(None).next().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}

#[test]
fn the_redis_crates_own_commands_work() {
    let server = Server::start();
    for protocol in [2, 3] {
        let keep = Manager::open(&format!("{}?protocol={protocol}", server.url())).unwrap();
        let mut client = keep.client();
        let mut unlink = redis::cmd("UNLINK");
        let _: () = unlink
            .arg(&["m", "n", "scores"])
            .query(&mut client)
            .unwrap();
        let _: () = client.zadd("scores", "ann", 3).unwrap();
        let _: () = client.zadd("scores", "bob", 5).unwrap();
        let top: Vec<(String, f64)> = client.zrevrange_withscores("scores", 0, 9).unwrap();
        assert_eq!(top, [("bob".into(), 5.0), ("ann".into(), 3.0)]);
        let (a, b): (i64, i64) = redis::pipe()
            .incr("n", 1)
            .incr("n", 1)
            .query(&mut client)
            .unwrap();
        assert_eq!((a, b), (1, 2));
        let ((), c): ((), i64) = redis::pipe()
            .atomic()
            .set("m", 7)
            .incr("m", 1)
            .query(&mut client)
            .unwrap();
        assert_eq!(c, 8);
        let script = redis::Script::new("return ARGV[1]");
        let said: String = script.arg("hello").invoke(&mut client).unwrap();
        assert_eq!(said, "hello");
        let mut keys: Vec<String> = Commands::scan(&mut client)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        keys.sort();
        assert_eq!(keys, ["m", "n", "scores"]);
    }
}

#[test]
fn the_redis_crate_gets_its_own_errors() {
    let server = Home::start();
    let keep = server.open();
    let mut client = keep.client();
    let _: () = Commands::set(&mut client, "text", "x").unwrap();
    let error = client.lpush::<_, _, i64>("text", 1).unwrap_err();
    assert_eq!(error.code(), Some("WRONGTYPE"));
    let error = redis::pipe()
        .incr("text", 1)
        .query::<(i64,)>(&mut client)
        .unwrap_err();
    assert!(error.to_string().contains("not an integer"), "{error}");
    for stateful in ["MULTI", "SELECT", "SUBSCRIBE", "AUTH"] {
        let error = redis::cmd(stateful)
            .arg("1")
            .query::<()>(&mut client)
            .unwrap_err();
        assert!(error.to_string().contains("get_client"), "{error}");
    }
    let error = redis::ConnectionLike::req_packed_command(&mut client, b"hello").unwrap_err();
    assert!(
        error.to_string().contains("not one whole command"),
        "{error}"
    );
    let error = redis::ConnectionLike::req_packed_commands(&mut client, b"*1\r\n$4\r\nPI", 0, 1)
        .unwrap_err();
    assert!(error.to_string().contains("not packed commands"), "{error}");
    let away = Manager::open("redis://127.0.0.1:1").unwrap();
    let error = Commands::get::<_, String>(&mut away.client(), "x").unwrap_err();
    assert!(error.is_connection_refusal(), "{error}");
}

#[test]
fn a_leased_connection_takes_the_redis_crates_transactions() {
    let server = Home::start();
    let keep = server.open();
    let mut one = keep.client().dedicated().unwrap();
    let n: (i64,) = redis::transaction(&mut one, &["n"], |connection, pipe| {
        pipe.atomic().incr("n", 3).query(connection)
    })
    .unwrap();
    assert_eq!(n, (3,));
}
