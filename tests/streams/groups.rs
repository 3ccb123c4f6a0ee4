//! Groups that are made, made again and cleaned up behind.

use crate::*;

#[test]
fn a_group_that_is_deleted_is_made_again() {
    let server = Home::start();
    let keep = open(&server);
    let seen = Seen::default();
    let consumer = seen.consumer(&keep, "l", quick());
    begin(&consumer);
    send(&keep, "orders", [1]);
    wait_until(PATIENCE, || seen.len() == 1);
    // While it waits in the server; and then the stream with all its groups.
    let _: i64 = server.ask(&["XGROUP", "DESTROY", "orders", "orders:l:cg"]);
    send(&keep, "orders", [2]);
    wait_until(PATIENCE, || seen.all().contains(&"2".to_owned()));
    let _: i64 = server.ask(&["DEL", "orders"]);
    send(&keep, "orders", [3]);
    wait_until(PATIENCE, || seen.all().contains(&"3".to_owned()));
    consumer.stop(PATIENCE).unwrap();
}

#[test]
fn from_now_on_and_the_groups_of_all_listeners() {
    let server = Home::start();
    let keep = open(&server);
    send(&keep, "orders", 0..2);
    let seen = Seen::default();
    let options = quick().from(StartAt::Now).consumers(["l", "audit"]);
    let consumer = seen.consumer(&keep, "l", options);
    let groups: Vec<Vec<redis::Value>> = server.ask(&["XINFO", "GROUPS", "orders"]);
    assert_eq!(groups.len(), 2, "made at registration");
    send(&keep, "orders", [5]);
    assert_eq!(consumer.consume_all_channels(MOMENT).unwrap(), 1);
    assert_eq!(seen.all(), ["5"]);
}

#[test]
fn a_channel_that_is_no_stream_is_named_and_stops_no_other() {
    let server = Home::start();
    let keep = open(&server);
    keep.set("broken", "a string").unwrap();
    let seen = Seen::default();
    let consumer = keep
        .consumer("l")
        .register_channel("broken", quick())
        .register_channel("orders", quick())
        .register_handler("broken", seen.handler())
        .register_handler("orders", seen.handler());
    let error = consumer
        .consume_messages("broken", None, MOMENT)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongType);
    assert!(error.message().contains("broken"), "{error}");
    send(&keep, "orders", [1]);
    assert_eq!(consumer.consume_all_channels(MOMENT).unwrap(), 1);
    let error = keep
        .sender()
        .register_channel("broken")
        .send("broken", &Message::new("n", &1).unwrap());
    assert_eq!(error.unwrap_err().kind(), ErrorKind::WrongType);
}

#[test]
fn clean_up_deletes_what_all_groups_have_acknowledged_and_nothing_else() {
    let server = Home::start();
    let keep = open(&server);
    let listeners = ["fast", "slow", "lazy"];
    let options = || quick().consumers(listeners).message_cleanup(true).count(50);
    let cleaner = keep
        .consumer("cleaner")
        .register_channel("orders", options().read_messages(false));
    let total = 5_000;
    let mut sent = 0;
    let seen: Vec<Seen> = listeners.iter().map(|_| Seen::default()).collect();
    let consumers: Vec<Consumer> = listeners
        .iter()
        .zip(&seen)
        .map(|(listener, seen)| {
            let consumer = keep.consumer(listener);
            let consumer = consumer.register_channel("orders", options());
            consumer.register_handler("orders", seen.handler())
        })
        .collect();
    let mut longest = 0;
    let mut round = 0;
    while seen.iter().any(|it| it.len() < total) {
        if sent < total {
            send(&keep, "orders", sent..sent + 50);
            sent += 50;
        }
        round += 1;
        consumers[0].consume_all_channels(Duration::ZERO).unwrap();
        // One of them reads late, but as much; the laziest one twice as late.
        for (late, consumer) in [(2, &consumers[1]), (4, &consumers[2])] {
            if round % late == 0 {
                for _ in 0..late {
                    consumer.consume_all_channels(Duration::ZERO).unwrap();
                }
            }
        }
        cleaner.clean_up_consumed_messages().unwrap();
        longest = longest.max(server.ask::<i64>(&["XLEN", "orders"]));
    }
    for seen in &seen {
        assert_eq!(seen.all(), numbers(total));
    }
    assert!(longest <= 250, "{longest} entries at once");
    assert_eq!(server.ask::<i64>(&["XLEN", "orders"]), 0);
    // One that is pending stays, and what is around it goes.
    send(&keep, "orders", 0..300);
    for (listener, consumer) in listeners.iter().zip(&consumers) {
        if *listener == "lazy" {
            let _: redis::Value = server.ask(&[
                "XREADGROUP",
                "GROUP",
                "orders:lazy:cg",
                "x",
                "COUNT",
                "150",
                "STREAMS",
                "orders",
                ">",
            ]);
            let ids: Vec<(String, Vec<String>)> =
                server.ask(&["XRANGE", "orders", "-", "+", "COUNT", "150"]);
            let mut ack = vec!["XACK", "orders", "orders:lazy:cg"];
            ack.extend(
                ids.iter()
                    .enumerate()
                    .filter(|(i, _)| *i != 70)
                    .map(|(_, it)| &*it.0),
            );
            let _: i64 = server.ask(&ack);
            continue;
        }
        while consumer.consume_all_channels(Duration::ZERO).unwrap() > 0 {}
    }
    assert_eq!(cleaner.clean_up_consumed_messages().unwrap(), 149);
    let left: Vec<(String, Vec<String>)> = server.ask(&["XRANGE", "orders", "-", "+"]);
    assert_eq!(
        (left.len(), &*left[0].1[3], &*left[1].1[3]),
        (151, "70", "150")
    );
    // Nothing is deleted while a group is missing, nor without any.
    let _: i64 = server.ask(&["XGROUP", "DESTROY", "orders", "orders:lazy:cg"]);
    assert_eq!(cleaner.clean_up_consumed_messages().unwrap(), 0);
    send(&keep, "nobody", 0..3);
    let other = keep
        .consumer("l")
        .register_channel("nobody", quick().read_messages(false).message_cleanup(true))
        .register_channel(
            "not there",
            quick().read_messages(false).message_cleanup(true),
        );
    assert_eq!(other.clean_up_consumed_messages().unwrap(), 0);
    assert_eq!(server.ask::<i64>(&["XLEN", "nobody"]), 3);
}

#[test]
fn consumers_that_are_gone_are_removed_unless_something_of_theirs_is_pending() {
    let server = Home::start();
    let keep = open(&server);
    send(&keep, "orders", 0..2);
    let _: String = server.ask(&["XGROUP", "CREATE", "orders", "orders:l:cg", "0"]);
    for (name, count) in [("idle", "0"), ("pending", "1")] {
        let _: i64 = server.ask(&["XGROUP", "CREATECONSUMER", "orders", "orders:l:cg", name]);
        if count == "1" {
            let _: redis::Value = server.ask(&[
                "XREADGROUP",
                "GROUP",
                "orders:l:cg",
                name,
                "COUNT",
                count,
                "STREAMS",
                "orders",
                ">",
            ]);
        }
    }
    thread::sleep(ms(60));
    let options = quick()
        .message_cleanup(true)
        .consumer_idle(ms(50))
        .cleanup_interval(ms(30));
    let seen = Seen::default();
    let consumer = seen.consumer(&keep, "l", options.claim_idle(PATIENCE));
    // In the background, and without removing itself.
    begin(&consumer);
    let names = || {
        let all: Vec<BTreeMap<String, redis::Value>> =
            server.ask(&["XINFO", "CONSUMERS", "orders", "orders:l:cg"]);
        let names = all
            .iter()
            .map(|it| redis::from_redis_value(it["name"].clone()).unwrap());
        names.collect::<Vec<String>>()
    };
    wait_until(PATIENCE, || names().len() == 2);
    thread::sleep(ms(150));
    let mut left = names();
    left.retain(|name| name != consumer.name());
    assert_eq!(left, ["pending"]);
    consumer.stop(PATIENCE).unwrap();
}
