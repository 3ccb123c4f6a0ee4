//! A consumer started, called, or made to persist, and what it shares with others of its listener.

use crate::*;

#[test]
fn names_and_fields_are_those_of_the_seed() {
    let server = Home::start();
    let keep = open(&server);
    let sender = keep.sender().register_channel("orders");
    let body = serde_json::json!({"id": 1});
    let id = sender
        .send_message("orders", &Message::new("order.created", &body).unwrap())
        .unwrap();
    let entries: Vec<(String, Vec<String>)> = server.ask(&["XRANGE", "orders", "-", "+"]);
    let wanted = ["name", "order.created", "body", r#"{"id":1}"#].map(str::to_owned);
    assert_eq!(entries, [(id.clone(), wanted.to_vec())]);

    // A program on the framework of the seed, in the same group.
    let _: String = server.ask(&["XGROUP", "CREATE", "orders", "orders:billing:cg", "0"]);
    let _: redis::Value = server.ask(&[
        "XREADGROUP",
        "GROUP",
        "orders:billing:cg",
        "python",
        "COUNT",
        "1",
        "STREAMS",
        "orders",
        ">",
    ]);
    let _: String = server.ask(&["XADD", "orders", "*", "name", "theirs", "body", "\"two\""]);

    let seen = Seen::default();
    let consumer = seen.consumer(
        &keep,
        "billing",
        quick().delivery(Delivery::Ledger).claim_idle(PATIENCE),
    );
    assert_eq!(
        consumer.consume_messages("orders", None, MOMENT).unwrap(),
        1
    );
    assert_eq!(seen.all(), ["\"two\""]);
    // Theirs is still theirs; ours is acknowledged, and in the ledger.
    assert_eq!(pending(&server, "orders", "orders:billing:cg"), 1);
    let ledger = "stream:orders:group:orders:billing:cg:processed";
    let entered: Vec<(String, f64)> = server.ask(&["ZRANGE", ledger, "0", "-1", "WITHSCORES"]);
    let now: (i64, i64) = server.ask(&["TIME"]);
    assert_eq!(entered.len(), 1);
    assert!((now.0 as f64 * 1000.0 - entered[0].1).abs() < 60_000.0);
    let members: Vec<Vec<redis::Value>> =
        server.ask(&["XINFO", "CONSUMERS", "orders", "orders:billing:cg"]);
    assert_eq!(members.len(), 2);
    let parts: Vec<&str> = consumer.name().rsplitn(3, '.').collect();
    assert!(consumer.name().starts_with("billing."));
    assert_eq!(
        (parts[0].len(), parts[1]),
        (8, &*std::process::id().to_string())
    );
}

#[test]
fn a_started_consumer_handles_what_comes_and_acknowledges_it() {
    let server = Home::start();
    let keep = open(&server);
    send(&keep, "orders", 0..500);
    let seen = Seen::default();
    let consumer = seen.consumer(&keep, "billing", quick());
    begin(&consumer);
    assert!(
        consumer.start_with(Duration::ZERO, MOMENT).is_err(),
        "twice"
    );
    wait_until(PATIENCE, || seen.len() == 500);
    send(&keep, "orders", 500..700);
    wait_until(PATIENCE, || seen.len() == 700);
    assert_eq!(seen.all(), numbers(700));
    // Also while the reader waits in the server.
    wait_until(PATIENCE, || {
        pending(&server, "orders", "orders:billing:cg") == 0
    });
    let started = Instant::now();
    consumer.stop(PATIENCE).unwrap();
    assert!(
        started.elapsed() < Duration::from_millis(700),
        "it was called back"
    );
    consumer.stop(MOMENT).unwrap();
}

#[test]
fn consumers_of_one_listener_have_names_of_their_own_and_share_the_messages() {
    let server = Home::start();
    let keep = open(&server);
    let seen = Seen::default();
    let twins = [(); 2].map(|()| {
        let consumer = seen.consumer(&keep, "twin", quick());
        consumer.start().unwrap()
    });
    assert_ne!(twins[0].name(), twins[1].name());
    send(&keep, "orders", 0..200);
    wait_until(PATIENCE, || {
        seen.len() == 200 && pending(&server, "orders", "orders:twin:cg") == 0
    });
    let mut all: Vec<usize> = seen.all().iter().map(|n| n.parse().unwrap()).collect();
    all.sort_unstable();
    assert_eq!(all, (0..200).collect::<Vec<_>>());
    for twin in &twins {
        twin.stop(PATIENCE).unwrap();
    }
}

#[test]
fn consuming_in_the_callers_thread() {
    let server = Home::start();
    let keep = open(&server);
    send(&keep, "a", 0..3);
    send(&keep, "b", 0..2);
    let me = thread::current().id();
    let seen = Seen::default();
    let inner = seen.handler();
    let consumer = keep
        .consumer("l")
        .register_channel("a", quick().count(2))
        .register_channel("b", quick())
        .register_channel("c", quick().read_messages(false))
        .register_handler("a", move |message: &Received| {
            assert_eq!(thread::current().id(), me);
            inner(message)
        })
        .register_handler("b", seen.handler());
    // One batch at a time.
    assert_eq!(consumer.consume_messages("a", None, MOMENT).unwrap(), 2);
    assert_eq!(pending(&server, "a", "a:l:cg"), 0);
    assert_eq!(consumer.consume_all_channels(MOMENT).unwrap(), 3);
    assert_eq!(consumer.consume_all_channels(MOMENT).unwrap(), 0);
    assert_eq!(seen.len(), 5);
    // A group of another name has everything before it once more.
    assert_eq!(
        consumer
            .consume_messages("a", Some("other"), MOMENT)
            .unwrap(),
        2
    );
    assert_eq!(pending(&server, "a", "other"), 0);
    let exists: i64 = server.ask(&["EXISTS", "c"]);
    assert_eq!(exists, 0, "it is not read");
    for error in [
        consumer.consume_messages("d", None, MOMENT).unwrap_err(),
        consumer.consume_messages("c", None, MOMENT).unwrap_err(),
        consumer.clone().start().unwrap_err(),
        consumer.poll(MOMENT).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Argument, "{error}");
    }
}

#[test]
fn persisting_ends_when_it_is_stopped_and_several_channels_share_one_wait() {
    // How channels of one node are waited for; on a cluster these three are not of one.
    let server = Home::alone();
    let keep = open(&server);
    let seen = Seen::default();
    // Looking after the messages of others would wake it, too, as often as three channels do so.
    let long = Duration::from_secs(30);
    let mut consumer = keep.consumer("l");
    for channel in ["a", "b", "c"] {
        consumer = consumer
            .register_channel(channel, quick().claim_idle(long))
            .register_handler(channel, seen.handler());
    }
    let other = consumer.clone();
    let persisting =
        thread::spawn(move || other.persist_consume_all_channels(Duration::ZERO, long));
    wait_until(PATIENCE, || server.command_calls("xread") > 0);
    for (i, channel) in ["c", "a", "b"].into_iter().enumerate() {
        send(&keep, channel, [i]);
        wait_until(PATIENCE, || seen.len() == i + 1);
    }
    // It does not run in circles when nothing comes.
    let reads = server.command_calls("xreadgroup");
    thread::sleep(ms(200));
    assert!(server.command_calls("xreadgroup") - reads <= 3);
    let started = Instant::now();
    consumer.stop(PATIENCE).unwrap();
    persisting.join().unwrap().unwrap();
    assert!(started.elapsed() < Duration::from_millis(700));
    for channel in ["a", "b", "c"] {
        assert_eq!(pending(&server, channel, &format!("{channel}:l:cg")), 0);
    }
    let error = consumer.consume_all_channels(MOMENT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}

#[test]
fn rests_are_only_after_empty_rounds() {
    let server = Home::start();
    let keep = open(&server);
    send(&keep, "a", 0..300);
    let seen = Seen::default();
    let consumer = keep
        .consumer("l")
        .register_channel("a", quick().count(10))
        .register_handler("a", seen.handler());
    consumer
        .start_with(Duration::from_secs(60), MOMENT)
        .unwrap();
    wait_until(PATIENCE, || seen.len() == 300);
    thread::sleep(ms(100));
    send(&keep, "a", [7]);
    thread::sleep(ms(200));
    assert_eq!(seen.len(), 300, "it rests");
    consumer.stop(PATIENCE).unwrap();
}
