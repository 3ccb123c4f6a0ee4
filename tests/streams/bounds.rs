//! What is checked, what is too large or out of place, and what is counted.

use crate::*;

#[test]
fn senders_check_what_they_are_given() {
    let server = Home::start();
    let keep = open(&server);
    let sender = keep
        .sender()
        .register_channel("orders")
        .register_channel_with("short", Trim::ExactLength(10))
        .register_channel_with("young", Trim::ExactAge(Duration::from_secs(3600)));
    let message = Message::new("n", &1).unwrap();
    let error = sender.send("others", &message).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Argument);
    assert!(error.message().contains("others"));
    assert_eq!(
        sender.send_many("others", &[]).unwrap_err().kind(),
        ErrorKind::Argument
    );
    assert!(sender.send_many("orders", &[]).unwrap().is_empty());
    let many = vec![message.clone(); 1_000];
    let ids = sender.send_many("short", &many).unwrap();
    assert_eq!(
        (ids.len(), server.ask::<i64>(&["XLEN", "short"])),
        (1_000, 10)
    );
    let _: String = server.ask(&["XADD", "young", "1-1", "name", "old", "body", "1"]);
    sender.send("young", &message).unwrap();
    assert_eq!(server.ask::<i64>(&["XLEN", "young"]), 1);
    // The same key is sent once.
    let first = sender.send_once("orders", &message, "payment-7").unwrap();
    assert_eq!(
        sender.send_once("orders", &message, "payment-7").unwrap(),
        first
    );
    assert_ne!(
        sender.send_once("orders", &message, "payment-8").unwrap(),
        first
    );
    assert_eq!(server.ask::<i64>(&["XLEN", "orders"]), 2);
    let left: i64 = server.ask(&["PTTL", "{orders}:sent:payment-7"]);
    assert!(left > 86_000_000);
    // An entry from the future makes the server refuse earlier ids; its own stay ahead.
    let _: String = server.ask(&[
        "XADD",
        "orders",
        "9999999999999-5",
        "name",
        "x",
        "body",
        "1",
    ]);
    assert!(
        sender
            .send("orders", &message)
            .unwrap()
            .starts_with("9999999999999-")
    );
    let _: String = server.ask(&[
        "XADD",
        "full",
        "18446744073709551615-18446744073709551615",
        "a",
        "b",
    ]);
    let full = keep.sender().register_channel("full");
    let error = full.send_many("full", &many[..3]).unwrap_err();
    assert!(error.message().starts_with("3 of 3 messages"), "{error}");
    assert_eq!(error.outcome(), redkeep::Outcome::Refused);
}

#[test]
fn ids_from_the_future_are_consumed_and_cleaned_up_like_others() {
    let server = Home::start();
    let keep = open(&server);
    for id in ["5-1", "9999999999999-1", "18446744073709551614-7"] {
        let _: String = server.ask(&["XADD", "orders", id, "name", "n", "body", "1"]);
    }
    let seen = Seen::default();
    let consumer = seen.consumer(&keep, "l", quick().message_cleanup(true));
    assert_eq!(consumer.consume_all_channels(MOMENT).unwrap(), 3);
    assert_eq!(consumer.clean_up_consumed_messages().unwrap(), 3);
}

#[test]
fn a_message_that_is_too_large_is_put_away_and_holds_up_nothing() {
    let server = Home::start();
    let keep = Manager::open(&server.url_with("max_reply_bytes=1048576")).unwrap();
    send(&keep, "orders", 0..10);
    let large = format!("\"{}\"", "x".repeat(3 << 20));
    let _: String = server.ask(&["XADD", "orders", "*", "name", "large", "body", &large]);
    send(&keep, "orders", 10..20);
    let seen = Seen::default();
    let consumer = seen.consumer(&keep, "l", quick());
    begin(&consumer);
    wait_until(PATIENCE, || seen.len() == 20);
    let dead = || server.ask::<i64>(&["XLEN", "{orders}:dead"]);
    wait_until(PATIENCE, || dead() == 1);
    wait_until(PATIENCE, || pending(&server, "orders", "orders:l:cg") == 0);
    let bytes: i64 = server.ask(&["MEMORY", "USAGE", "{orders}:dead"]);
    assert!(bytes > 3 << 20, "it stands there whole");
    let mut all = seen.all();
    all.sort_by_key(|body| body.parse::<usize>().unwrap());
    assert_eq!(all, numbers(20));
}

#[test]
fn registrations_are_checked() {
    let server = Home::start();
    let keep = open(&server);
    let handler = |_: &Received| Ok::<(), String>(());
    let told = |consumer: Consumer, named: &str| {
        let error = consumer.consume_all_channels(MOMENT).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Argument, "{error}");
        assert!(error.message().contains(named), "{error}");
    };
    let consumer = || keep.consumer("l");
    told(consumer(), "no channel");
    told(keep.consumer("").register_channel("a", quick()), "listener");
    told(consumer().register_channel("", quick()), "channel");
    told(consumer().register_channel("a}b", quick()), "a}b");
    told(consumer().register_channel("a", quick().count(0)), "count");
    told(
        consumer().register_channel("a", quick()),
        "\"a\" has no handler",
    );
    told(consumer().register_handler("a", handler), "not registered");
    let twice = consumer()
        .register_channel("a", quick())
        .register_channel("a", quick());
    told(twice, "registered already");
    let twice = consumer().register_channel("a", quick());
    told(
        twice
            .register_handler("a", handler)
            .register_handler("a", handler),
        "handler already",
    );
    // Two consumers of one name are two of one group.
    let (one, two) = (consumer(), consumer());
    assert_ne!(one.name(), two.name());
}

#[test]
fn statistics_tell_lag_and_pending() {
    let server = Home::start();
    let keep = open(&server);
    send(&keep, "orders", 0..5);
    let consumer = keep
        .consumer("l")
        .register_channel(
            "orders",
            quick()
                .count(2)
                .claim_idle(PATIENCE)
                .backoff(PATIENCE, PATIENCE),
        )
        .register_handler("orders", |message: &Received| match message.body() {
            "0" => Err("no"),
            _ => Ok(()),
        });
    assert_eq!(consumer.consume_all_channels(MOMENT).unwrap(), 2);
    let stats = consumer.stats().unwrap();
    let channel = &stats["channels"][0];
    for (name, wanted) in [
        ("lag", 3),
        ("pending", 1),
        ("delivered", 2),
        ("handled", 1),
        ("failed", 1),
    ] {
        assert_eq!(channel[name], wanted, "{name} in {stats}");
    }
    assert_eq!(channel["handler_time"]["buckets"][14]["count"], 2);
    let text = consumer.stats_prometheus().unwrap();
    assert!(
        text.contains("redkeep_stream_lag{channel=\"orders\",group=\"orders:l:cg\"} 3\n"),
        "{text}"
    );

    // The manager tells the same, for all of them, from what they know.
    let other = keep
        .consumer("l")
        .register_channel("orders", quick())
        .register_handler("orders", |_: &Received| Ok::<(), String>(()));
    assert_eq!(other.consume_all_channels(MOMENT).unwrap(), 3);
    let stats = keep.stats();
    let told = stats["consumers"].as_array().unwrap();
    assert_eq!(told.len(), 2, "{stats}");
    let own = told.iter().find(|it| it["consumer"] == consumer.name());
    assert_eq!(own.unwrap()["channels"][0]["handled"], 1);
    assert_eq!(own.unwrap()["channels"][0]["lag"], 3);
    let text = keep.stats_prometheus();
    for line in [
        "redkeep_stream_delivered_total{channel=\"orders\",group=\"orders:l:cg\"} 5\n",
        "redkeep_stream_handler_seconds_count{channel=\"orders\",group=\"orders:l:cg\"} 5\n",
        "# TYPE redkeep_calls_total counter\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    // In the background they look for themselves.
    let background = keep
        .consumer("b")
        .register_channel("orders", quick().read_messages(true).claim_idle(ms(60)));
    assert!(background.poll(PATIENCE).unwrap().is_some());
    wait_until(PATIENCE, || {
        let stats = keep.stats();
        let all = stats["consumers"].as_array().unwrap().clone();
        let own = all.iter().find(|it| it["consumer"] == background.name());
        own.is_some_and(|it| it["channels"][0]["pending"].as_i64() == Some(5))
    });
    drop((consumer, other, background));
    assert_eq!(keep.stats()["consumers"].as_array().unwrap().len(), 0);
}
