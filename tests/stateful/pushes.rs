//! Leases that receive what nobody asked for.

use crate::*;

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

fn sends_no_pipeline(one: &mut Lease) {
    let mut pipe = one.pipeline();
    pipe.command("PING").unwrap();
    let error = pipe.execute().map(drop).unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Stateful, Outcome::NotSent),
        "{error}"
    );
}

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
        sends_no_pipeline(&mut one);
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
    sends_no_pipeline(&mut one);
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
