//! Messages that fail, cannot be read, are lost by others, or come twice.

use crate::*;

#[test]
fn a_poisonous_message_is_delivered_so_often_and_stands_in_the_dead_letter_stream_whole() {
    let server = Home::start();
    let keep = open(&server);
    let (calls, good) = (Arc::new(AtomicUsize::new(0)), Seen::default());
    let sender = keep.sender().register_channel("orders");
    let id = sender
        .send(
            "orders",
            &Message::from_json("poison", r#"{"a": [1, 2]}"#).unwrap(),
        )
        .unwrap();
    send(&keep, "orders", 0..20);
    let (counted, fine) = (calls.clone(), good.handler());
    let consumer = keep
        .consumer("l")
        .register_channel("orders", quick().max_deliveries(4))
        .register_handler("orders", move |message: &Received| {
            if message.name() != "poison" {
                return fine(message);
            }
            let before = counted.fetch_add(1, SeqCst) as u32;
            assert_eq!(message.deliveries(), before + 1);
            match before {
                1 => panic!("a panic is a failure like any other"),
                _ => Err("it is poisonous".to_owned()),
            }
        });
    begin(&consumer);
    let length = || server.ask::<i64>(&["XLEN", "{orders}:dead"]);
    wait_until(PATIENCE, || length() == 1);
    wait_until(PATIENCE, || pending(&server, "orders", "orders:l:cg") == 0);
    thread::sleep(NOT_LONG);
    assert_eq!((calls.load(SeqCst), good.len()), (4, 20));
    let dead: Vec<(String, Vec<String>)> = server.ask(&["XRANGE", "{orders}:dead", "-", "+"]);
    let wanted = [
        "name",
        "poison",
        "body",
        r#"{"a": [1, 2]}"#,
        "reason",
        "max_deliveries",
        "error",
        "it is poisonous",
        "id",
        &id,
        "group",
        "orders:l:cg",
        "count",
        "4",
    ];
    assert_eq!(dead[0].1, wanted);
    assert_eq!(
        (count(&consumer, "failed"), count(&consumer, "dead")),
        (4, 1)
    );
    consumer.stop(PATIENCE).unwrap();

    assert_eq!(sender.redrive("orders", 10).unwrap(), 1);
    assert_eq!(length(), 0);
    let last: Vec<(String, Vec<String>)> =
        server.ask(&["XREVRANGE", "orders", "+", "-", "COUNT", "1"]);
    assert_eq!(last[0].1, wanted[..4]);
    assert_eq!(sender.redrive("orders", 10).unwrap(), 0);
}

#[test]
fn what_cannot_be_read_goes_to_the_dead_letter_stream_at_once() {
    let server = Home::start();
    let keep = open(&server);
    for fields in [
        &["name", "x", "body", "{not json"][..],
        &["name", "x"],
        &["body", "1"],
        &["something", "else", "entirely", "different"],
        &["name", "good", "body", "1", "more", "is ignored"],
    ] {
        let _: String = server.ask(&[&["XADD", "orders", "*"], fields].concat());
    }
    let words = ["XADD", "orders", "*", "name", "x", "body"];
    let _: String = keep.command((&words, &b"\"\xff\""[..])).unwrap();
    let seen = Seen::default();
    let consumer = seen.consumer(&keep, "l", quick());
    assert_eq!(consumer.consume_all_channels(MOMENT).unwrap(), 6);
    assert_eq!(seen.all(), ["1"]);
    let dead: Vec<(String, Vec<String>)> =
        server.ask(&["XRANGE", "{orders}:dead", "-", "+", "COUNT", "4"]);
    let why = |fields: &[String]| fields[fields.len() - 9..fields.len() - 6].join(" ");
    let reasons: Vec<String> = dead.iter().map(|(_, fields)| why(fields)).collect();
    assert_eq!(
        reasons,
        [
            "undecodable error its body is not JSON",
            "undecodable error it has no field \"body\"",
            "undecodable error it has no field \"name\"",
            "undecodable error it has no field \"name\"",
        ]
    );
    assert_eq!(server.ask::<i64>(&["XLEN", "{orders}:dead"]), 5);
    assert_eq!(pending(&server, "orders", "orders:l:cg"), 0);
    assert_eq!(count(&consumer, "dead"), 5);
}

#[test]
fn a_failed_message_is_tried_again_after_a_pause() {
    let server = Home::start();
    let keep = open(&server);
    send(&keep, "orders", [1]);
    let times: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let noted = times.clone();
    let consumer = keep
        .consumer("l")
        .register_channel("orders", quick().backoff(ms(100), ms(400)))
        .register_handler("orders", move |_: &Received| {
            let mut times = noted.lock().unwrap();
            times.push(Instant::now());
            match times.len() {
                1 | 2 => Err("not yet"),
                _ => Ok(()),
            }
        });
    begin(&consumer);
    wait_until(PATIENCE, || times.lock().unwrap().len() == 3);
    wait_until(PATIENCE, || pending(&server, "orders", "orders:l:cg") == 0);
    let times = times.lock().unwrap().clone();
    assert!(times[1] - times[0] >= ms(50) && times[2] - times[1] >= ms(100));
    assert!(
        times[2] - times[0] < Duration::from_secs(2),
        "it waited for nothing else"
    );
}

#[test]
fn the_ledger_lets_nothing_pass_twice() {
    let server = Home::start();
    let keep = open(&server);
    send(&keep, "orders", 0..3);
    let ids: Vec<(String, Vec<String>)> = server.ask(&["XRANGE", "orders", "-", "+"]);
    // Somebody has handled the second one, and died before it could be acknowledged.
    let ledger = "stream:orders:group:orders:l:cg:processed";
    let _: String = server.ask(&["XGROUP", "CREATE", "orders", "orders:l:cg", "0"]);
    let _: redis::Value = server.ask(&[
        "XREADGROUP",
        "GROUP",
        "orders:l:cg",
        "gone",
        "COUNT",
        "2",
        "STREAMS",
        "orders",
        ">",
    ]);
    let now: (i64, i64) = server.ask(&["TIME"]);
    let _: i64 = server.ask(&["ZADD", ledger, &format!("{}", now.0 * 1000), &ids[1].0]);
    // And something else so long ago that it is forgotten.
    let _: i64 = server.ask(&["ZADD", ledger, "5", "1-1"]);
    let (calls, seen) = (AtomicUsize::new(0), Seen::default());
    let fine = seen.handler();
    let consumer = keep
        .consumer("l")
        .register_channel(
            "orders",
            quick().delivery(Delivery::Ledger).claim_idle(ms(60)),
        )
        .register_handler("orders", move |message: &Received| {
            // A failure of our own does not make it handled.
            match calls.fetch_add(1, SeqCst) {
                0 => Err("once".to_owned()),
                _ => fine(message),
            }
        });
    begin(&consumer);
    wait_until(PATIENCE, || {
        pending(&server, "orders", "orders:l:cg") == 0 && seen.len() == 2
    });
    let mut all = seen.all();
    all.sort();
    assert_eq!(all, ["0", "2"]);
    assert_eq!(count(&consumer, "repeated"), 1);
    let entered: Vec<String> = server.ask(&["ZRANGE", ledger, "0", "-1"]);
    assert_eq!(entered.len(), 3, "{entered:?}");
    consumer.stop(PATIENCE).unwrap();
}

#[test]
fn the_ledger_lets_another_handle_what_failed_here() {
    let server = Home::start();
    let keep = open(&server);
    send(&keep, "orders", 0..1);
    let options = || quick().delivery(Delivery::Ledger);
    let first = keep
        .consumer("l")
        .register_channel("orders", options().backoff(PATIENCE, PATIENCE))
        .register_handler("orders", |_: &Received| Err("not here"));
    assert_eq!(first.consume_messages("orders", None, MOMENT).unwrap(), 1);
    first.stop(PATIENCE).unwrap();
    let seen = Seen::default();
    let second = seen.consumer(&keep, "l", options());
    wait_until(PATIENCE, || {
        second.consume_messages("orders", None, MOMENT).unwrap();
        pending(&server, "orders", "orders:l:cg") == 0
    });
    assert_eq!(seen.all(), ["0"]);
}

#[test]
fn at_most_once_is_acknowledged_when_it_is_read() {
    let server = Home::start();
    let keep = open(&server);
    send(&keep, "orders", 0..3);
    let seen = Seen::default();
    let fine = seen.handler();
    let observer = keep.client();
    let consumer = keep
        .consumer("l")
        .register_channel("orders", quick().delivery(Delivery::AtMostOnce))
        .register_handler("orders", move |message: &Received| {
            let summary: (i64, Option<String>, Option<String>, redis::Value) = observer
                .command(("XPENDING", "orders", "orders:l:cg"))
                .unwrap();
            assert_eq!(summary.0, 0);
            fine(message)?;
            match message.body() {
                "1" => Err("never again".to_owned()),
                _ => Ok(()),
            }
        });
    assert_eq!(consumer.consume_all_channels(MOMENT).unwrap(), 3);
    assert_eq!(consumer.consume_all_channels(NOT_LONG).unwrap(), 0);
    assert_eq!(seen.all(), numbers(3));
    let dead: Vec<(String, Vec<String>)> = server.ask(&["XRANGE", "{orders}:dead", "-", "+"]);
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].1[..4], ["name", "n", "body", "1"]);
}

#[test]
fn messages_of_dead_consumers_are_taken_over_and_those_of_slow_ones_are_not() {
    let server = Home::start();
    let keep = open(&server);
    send(&keep, "orders", 0..4);
    let _: String = server.ask(&["XGROUP", "CREATE", "orders", "orders:l:cg", "0"]);
    let _: redis::Value = server.ask(&[
        "XREADGROUP",
        "GROUP",
        "orders:l:cg",
        "dead",
        "COUNT",
        "2",
        "STREAMS",
        "orders",
        ">",
    ]);
    let seen: Arc<Mutex<BTreeMap<String, Vec<u32>>>> = Arc::default();
    let consumer = || {
        let seen = seen.clone();
        let options = quick().claim_idle(ms(150)).count(1);
        let consumer = keep
            .consumer("l")
            .register_channel("orders", options)
            .register_handler("orders", move |message: &Received| {
                let mut all = seen.lock().unwrap();
                let mine = all.entry(message.body().to_owned()).or_default();
                mine.push(message.deliveries());
                drop(all);
                // Four times as long as a silent consumer is waited for.
                if message.body() == "3" {
                    thread::sleep(ms(600));
                }
                Ok::<(), String>(())
            });
        begin(&consumer);
        consumer
    };
    let both = [consumer(), consumer()];
    wait_until(PATIENCE, || seen.lock().unwrap().len() == 4);
    wait_until(PATIENCE, || pending(&server, "orders", "orders:l:cg") == 0);
    let seen = seen.lock().unwrap().clone();
    assert_eq!(
        (&seen["0"][..], &seen["1"][..]),
        (&[2][..], &[2][..]),
        "taken over once"
    );
    assert_eq!(
        (&seen["2"][..], &seen["3"][..]),
        (&[1][..], &[1][..]),
        "nobody took them"
    );
    let reclaimed: i64 = both.iter().map(|it| count(it, "reclaimed")).sum();
    assert_eq!(reclaimed, 2);
    both.iter().for_each(|it| it.stop(PATIENCE).unwrap());
}

#[test]
fn what_was_trimmed_while_it_was_pending_is_reported_and_acknowledged() {
    let server = Home::start();
    let keep = open(&server);
    send(&keep, "orders", 0..3);
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let consumer = keep
        .consumer("l")
        .register_channel("orders", quick().backoff(ms(200), ms(200)))
        .register_handler("orders", move |_: &Received| {
            counted.fetch_add(1, SeqCst);
            Err("not yet")
        });
    begin(&consumer);
    wait_until(PATIENCE, || calls.load(SeqCst) == 3);
    let _: i64 = server.ask(&["XTRIM", "orders", "MAXLEN", "0"]);
    wait_until(PATIENCE, || count(&consumer, "trimmed") == 3);
    wait_until(PATIENCE, || pending(&server, "orders", "orders:l:cg") == 0);
    assert_eq!(calls.load(SeqCst), 3);
}
