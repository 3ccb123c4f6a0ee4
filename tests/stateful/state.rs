//! What changes a connection: transactions, databases, and what is refused elsewhere.

use crate::*;

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
