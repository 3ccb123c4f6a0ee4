//! Senders and consumers: names and fields, handlers, what fails, what is taken over, what is cleaned up, the end.

mod home;
mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use home::Home;
use redkeep::{
    ChannelOptions, Config, Consumer, Delivery, ErrorKind, Manager, Message, Received, StartAt,
    Trim,
};
use support::{PATIENCE, alone, threads, wait_for, wait_until};

const MOMENT: Duration = Duration::from_millis(20);
const NOT_LONG: Duration = Duration::from_millis(300);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn open(server: &Home) -> Manager {
    server.open()
}

/// Options with which nothing takes long.
fn quick() -> ChannelOptions {
    ChannelOptions::new()
        .backoff(ms(1), ms(10))
        .claim_idle(ms(200))
}

fn send(keep: &Manager, channel: &str, bodies: impl IntoIterator<Item = usize>) {
    let messages: Vec<Message> = bodies
        .into_iter()
        .map(|n| Message::new("n", &n).unwrap())
        .collect();
    let sender = keep.sender().register_channel(channel);
    sender.send_many(channel, &messages).unwrap();
}

/// How many messages are pending; -1 while there is no such group.
fn pending(server: &Home, channel: &str, group: &str) -> i64 {
    let groups: Vec<BTreeMap<String, redis::Value>> = server.ask(&["XINFO", "GROUPS", channel]);
    let field = |of: &BTreeMap<String, redis::Value>, name: &str| of[name].clone();
    let mut groups = groups.iter();
    let found =
        groups.find(|one| redis::from_redis_value(field(one, "name")) == Ok(group.to_owned()));
    found.map_or(-1, |one| {
        redis::from_redis_value(field(one, "pending")).unwrap()
    })
}

/// What a handler saw, in order.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    fn handler(&self) -> impl Fn(&Received) -> Result<(), String> + Send + Sync + 'static {
        let seen = self.clone();
        move |message: &Received| {
            seen.0.lock().unwrap().push(message.body().to_owned());
            Ok(())
        }
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

fn numbers(n: usize) -> Vec<String> {
    (0..n).map(|n| n.to_string()).collect()
}

fn count(consumer: &Consumer, name: &str) -> i64 {
    let stats = consumer.stats().unwrap();
    stats["channels"][0][name].as_i64().unwrap_or(-1)
}

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
    let consumer = keep
        .consumer("billing")
        .register_channel(
            "orders",
            quick().delivery(Delivery::Ledger).claim_idle(PATIENCE),
        )
        .register_handler("orders", seen.handler());
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
    let consumer = keep
        .consumer("billing")
        .register_channel("orders", quick())
        .register_handler("orders", seen.handler());
    consumer
        .start_with(Duration::ZERO, Duration::from_secs(1))
        .unwrap();
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
        let consumer = keep
            .consumer("twin")
            .register_channel("orders", quick())
            .register_handler("orders", seen.handler());
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
    let mut consumer = keep.consumer("l");
    for channel in ["a", "b", "c"] {
        consumer = consumer
            .register_channel(channel, quick())
            .register_handler(channel, seen.handler());
    }
    let long = Duration::from_secs(30);
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
    consumer
        .start_with(Duration::ZERO, Duration::from_secs(1))
        .unwrap();
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
    let consumer = keep
        .consumer("l")
        .register_channel("orders", quick())
        .register_handler("orders", seen.handler());
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
    consumer
        .start_with(Duration::ZERO, Duration::from_secs(1))
        .unwrap();
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
    consumer
        .start_with(Duration::ZERO, Duration::from_secs(1))
        .unwrap();
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
        consumer
            .start_with(Duration::ZERO, Duration::from_secs(1))
            .unwrap();
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
    consumer
        .start_with(Duration::ZERO, Duration::from_secs(1))
        .unwrap();
    wait_until(PATIENCE, || calls.load(SeqCst) == 3);
    let _: i64 = server.ask(&["XTRIM", "orders", "MAXLEN", "0"]);
    wait_until(PATIENCE, || count(&consumer, "trimmed") == 3);
    wait_until(PATIENCE, || pending(&server, "orders", "orders:l:cg") == 0);
    assert_eq!(calls.load(SeqCst), 3);
}

#[test]
fn a_group_that_is_deleted_is_made_again() {
    let server = Home::start();
    let keep = open(&server);
    let seen = Seen::default();
    let consumer = keep
        .consumer("l")
        .register_channel("orders", quick())
        .register_handler("orders", seen.handler());
    consumer
        .start_with(Duration::ZERO, Duration::from_secs(1))
        .unwrap();
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
    let consumer = keep
        .consumer("l")
        .register_channel("orders", options)
        .register_handler("orders", seen.handler());
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
    let consumer = keep
        .consumer("l")
        .register_channel("orders", options.claim_idle(PATIENCE))
        .register_handler("orders", seen.handler());
    // In the background, and without removing itself.
    consumer
        .start_with(Duration::ZERO, Duration::from_secs(1))
        .unwrap();
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

#[test]
fn stopping_waits_for_the_handler_under_way_and_gives_the_rest_back() {
    let server = Home::start();
    let keep = open(&server);
    send(&keep, "orders", 0..10);
    let (running, go) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let (tell, wait) = (running.clone(), go.clone());
    let consumer = keep
        .consumer("l")
        .register_channel("orders", quick().claim_idle(PATIENCE))
        .register_handler("orders", move |_: &Received| {
            tell.store(true, SeqCst);
            wait_until(PATIENCE, || wait.load(SeqCst));
            Ok::<(), String>(())
        });
    consumer
        .start_with(Duration::ZERO, Duration::from_secs(1))
        .unwrap();
    wait_until(PATIENCE, || running.load(SeqCst));
    let started = Instant::now();
    let error = consumer.stop(ms(100)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(started.elapsed() < ms(100) + ms(250));
    assert_eq!(
        pending(&server, "orders", "orders:l:cg"),
        10,
        "nothing was acknowledged"
    );
    go.store(true, SeqCst);
    consumer.stop(PATIENCE).unwrap();
    assert_eq!(
        pending(&server, "orders", "orders:l:cg"),
        9,
        "one was handled"
    );
    // The others are there for anybody, at once, and as if they had never been delivered.
    let seen = Seen::default();
    let fine = seen.handler();
    let other = keep
        .consumer("l")
        .register_channel("orders", quick().claim_idle(PATIENCE))
        .register_handler("orders", move |message: &Received| {
            assert_eq!(message.deliveries(), 1);
            fine(message)
        });
    other
        .start_with(Duration::ZERO, Duration::from_secs(1))
        .unwrap();
    wait_until(PATIENCE, || seen.len() == 9);
    wait_until(PATIENCE, || pending(&server, "orders", "orders:l:cg") == 0);
    assert_eq!(seen.all(), numbers(10)[1..]);
}

#[test]
fn handlers_of_several_channels_run_on_the_pool_and_one_that_blocks_holds_up_no_other() {
    let server = Home::start();
    let keep = open(&server);
    let (seen, go) = (Seen::default(), Arc::new(AtomicBool::new(false)));
    let (fine, wait) = (seen.handler(), go.clone());
    let consumer = keep
        .consumer("l")
        .register_channel("slow", quick().count(4))
        .register_channel("fast", quick())
        .register_handler("slow", move |_: &Received| {
            wait_until(PATIENCE, || wait.load(SeqCst));
            Ok::<(), String>(())
        })
        .register_handler("fast", move |message: &Received| {
            let name = thread::current().name().unwrap_or_default().to_owned();
            assert!(name.starts_with("redkeep-work-"), "{name}");
            fine(message)
        });
    consumer
        .start_with(Duration::ZERO, Duration::from_secs(1))
        .unwrap();
    send(&keep, "slow", 0..10);
    send(&keep, "fast", 0..300);
    wait_until(PATIENCE, || seen.len() == 300);
    wait_until(PATIENCE, || pending(&server, "fast", "fast:l:cg") == 0);
    assert_eq!(
        pending(&server, "slow", "slow:l:cg"),
        4,
        "no more are read than can be handled"
    );
    assert_eq!(
        consumer.stop(ms(50)).unwrap_err().kind(),
        ErrorKind::Timeout
    );
    go.store(true, SeqCst);
    consumer.stop(PATIENCE).unwrap();
    assert_eq!(pending(&server, "slow", "slow:l:cg"), 3, "one was handled");
    assert_eq!(seen.all(), numbers(300));
}

#[test]
fn a_slow_handler_does_not_hold_back_acknowledgements() {
    let server = Home::start();
    let keep = open(&server);
    send(&keep, "orders", 0..10);
    let go = Arc::new(AtomicBool::new(false));
    let wait = go.clone();
    let consumer = keep
        .consumer("l")
        .register_channel("orders", quick())
        .register_handler("orders", move |message: &Received| {
            thread::sleep(ms(10));
            let last = message.body() == "9";
            wait_until(PATIENCE, || !last || wait.load(SeqCst));
            Ok::<(), String>(())
        });
    consumer
        .start_with(Duration::ZERO, Duration::from_secs(1))
        .unwrap();
    // The group is made by the thread that reads.
    let groups = || server.ask::<Vec<redis::Value>>(&["XINFO", "GROUPS", "orders"]);
    wait_until(PATIENCE, || !groups().is_empty());
    wait_until(PATIENCE, || pending(&server, "orders", "orders:l:cg") == 1);
    go.store(true, SeqCst);
    consumer.stop(PATIENCE).unwrap();
    assert_eq!(pending(&server, "orders", "orders:l:cg"), 0);
}

#[test]
fn a_handler_may_stop_its_own_consumer() {
    let server = Home::start();
    let keep = open(&server);
    send(&keep, "orders", 0..3);
    let slot: Arc<Mutex<Option<Consumer>>> = Arc::default();
    let mine = slot.clone();
    let consumer = keep
        .consumer("l")
        .register_channel("orders", quick())
        .register_handler("orders", move |_: &Received| {
            // The last handle, perhaps: it is dropped on the library's own thread.
            match mine.lock().unwrap().take() {
                Some(consumer) => consumer.stop(PATIENCE).map_err(|error| error.to_string()),
                None => Err("one message was enough".to_owned()),
            }
        });
    *slot.lock().unwrap() = Some(consumer.clone());
    consumer
        .start_with(Duration::ZERO, Duration::from_secs(1))
        .unwrap();
    wait_until(PATIENCE, || slot.lock().unwrap().is_none());
    drop(consumer);
    wait_until(PATIENCE, || pending(&server, "orders", "orders:l:cg") == 2);
}

#[test]
fn polling_with_a_descriptor() {
    let server = Home::start();
    let keep = open(&server);
    let consumer = keep.consumer("l").register_channel("orders", quick());
    let fd = consumer.descriptor().unwrap();
    let readable = || {
        let mut poll = libc::pollfd {
            fd: std::os::fd::AsRawFd::as_raw_fd(&fd),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one live entry.
        unsafe { libc::poll(&mut poll, 1, 0) == 1 }
    };
    assert!(consumer.poll(MOMENT).unwrap().is_none() && !readable());
    // What cannot be read wakes nobody.
    let _: String = server.ask(&["XADD", "orders", "*", "no", "message"]);
    wait_until(PATIENCE, || count(&consumer, "dead") == 1);
    assert!(!readable());
    send(&keep, "orders", 0..4);
    wait_until(PATIENCE, readable);
    let first = consumer.poll(Duration::ZERO).unwrap().unwrap();
    assert_eq!(
        (first.body(), first.channel(), first.name()),
        ("0", "orders", "n")
    );
    first.ack().unwrap();
    assert_eq!(
        first.ack().unwrap_err().kind(),
        ErrorKind::Argument,
        "only once"
    );
    let second = consumer.poll(PATIENCE).unwrap().unwrap();
    second.fail("not today").unwrap();
    // Dropped without a word: it comes again when it has been silent for long enough.
    drop(consumer.poll(PATIENCE).unwrap().unwrap());
    let mut rest = Vec::new();
    while rest.len() < 3 {
        let message = consumer.poll(PATIENCE).unwrap().expect("all come again");
        rest.push((message.body().to_owned(), message.deliveries()));
        message.ack().unwrap();
    }
    rest.sort();
    assert_eq!(rest, [("1".into(), 2), ("2".into(), 2), ("3".into(), 1)]);
    wait_until(PATIENCE, || pending(&server, "orders", "orders:l:cg") == 0);
    assert!(!readable());
    let held = {
        send(&keep, "orders", [9]);
        consumer.poll(PATIENCE).unwrap().unwrap()
    };
    consumer.stop(PATIENCE).unwrap();
    assert!(readable(), "the end is news");
    assert_eq!(
        consumer.poll(PATIENCE).unwrap_err().kind(),
        ErrorKind::Closed
    );
    // What is in somebody's hands may be acknowledged after the end.
    held.ack().unwrap();
    wait_until(PATIENCE, || pending(&server, "orders", "orders:l:cg") == 0);
}

#[test]
fn as_many_handlers_as_asked_for_and_in_order_by_key() {
    let server = Home::start();
    let keep = Manager::open_config(&Config::new().url(server.url()).workers(4)).unwrap();
    let total = 200;
    let messages: Vec<Message> = (0..total)
        .map(|n| Message::new("n", &serde_json::json!({"who": n % 7, "n": n})).unwrap())
        .collect();
    let sender = keep.sender().register_channel("orders");
    sender.send_many("orders", &messages).unwrap();
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let order: Arc<Mutex<BTreeMap<u64, Vec<u64>>>> = Arc::default();
    let (within, peak, noted) = (inside.clone(), most.clone(), order.clone());
    let options = quick().concurrency(3).order_by("/who");
    let consumer = keep
        .consumer("l")
        .register_channel("orders", options)
        .register_handler("orders", move |message: &Received| {
            peak.fetch_max(within.fetch_add(1, SeqCst) + 1, SeqCst);
            let body: serde_json::Value = message.json().map_err(|error| error.to_string())?;
            let who = body["who"].as_u64().unwrap();
            noted
                .lock()
                .unwrap()
                .entry(who)
                .or_default()
                .push(body["n"].as_u64().unwrap());
            thread::sleep(ms(1));
            within.fetch_sub(1, SeqCst);
            Ok::<(), String>(())
        });
    consumer
        .start_with(Duration::ZERO, Duration::from_secs(1))
        .unwrap();
    let done = || order.lock().unwrap().values().map(Vec::len).sum::<usize>() == total;
    wait_until(PATIENCE, done);
    wait_until(PATIENCE, || pending(&server, "orders", "orders:l:cg") == 0);
    assert!(order.lock().unwrap().values().all(|list| list.is_sorted()));
    assert!((2..=3).contains(&most.load(SeqCst)), "{most:?}");
}

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
    let consumer = keep
        .consumer("l")
        .register_channel("orders", quick().message_cleanup(true))
        .register_handler("orders", seen.handler());
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
    let consumer = keep
        .consumer("l")
        .register_channel("orders", quick())
        .register_handler("orders", seen.handler());
    consumer
        .start_with(Duration::ZERO, Duration::from_secs(1))
        .unwrap();
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

#[test]
fn closing_the_manager_ends_its_consumers() {
    if !alone("closing_the_manager_ends_its_consumers") {
        return;
    }
    let server = Home::start();
    let keep = open(&server);
    let seen = Seen::default();
    let started = keep
        .consumer("l")
        .register_channel("orders", quick())
        .register_handler("orders", seen.handler());
    started
        .start_with(Duration::ZERO, Duration::from_secs(30))
        .unwrap();
    let polled = keep.consumer("p").register_channel("orders", quick());
    let persisting = keep
        .consumer("q")
        .register_channel("orders", quick())
        .register_handler("orders", seen.handler());
    let other = persisting.clone();
    let rest = Duration::from_secs(60);
    let persist =
        thread::spawn(move || other.persist_consume_messages("orders", None, rest, MOMENT));
    let waiting = {
        let polled = polled.clone();
        thread::spawn(move || polled.poll(Duration::from_secs(60)))
    };
    send(&keep, "orders", [1]);
    wait_until(PATIENCE, || seen.len() == 2);
    waiting.join().unwrap().unwrap().unwrap().ack().unwrap();
    assert!(threads().iter().any(|name| name == "redkeep-read"));
    thread::sleep(ms(100));
    let begun = Instant::now();
    keep.close(PATIENCE).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1));
    let own = |name: &String| {
        name.starts_with("redkeep-read")
            || name.starts_with("redkeep-work")
            || name.starts_with("redkeep-strea")
    };
    assert!(!threads().iter().any(own), "{:?}", threads());
    wait_for(PATIENCE, || persist.is_finished().then_some(()));
    assert_eq!(polled.poll(MOMENT).unwrap_err().kind(), ErrorKind::Closed);
    assert!(started.consume_all_channels(MOMENT).is_err());
}

#[test]
fn a_fork_may_send_and_makes_consumers_of_its_own() {
    if !alone("a_fork_may_send_and_makes_consumers_of_its_own") {
        return;
    }
    let server = Home::start();
    let keep = open(&server);
    let sender = keep.sender().register_channel("orders");
    let seen = Seen::default();
    let consumer = keep
        .consumer("l")
        .register_channel("orders", quick())
        .register_handler("orders", seen.handler());
    consumer
        .start_with(Duration::ZERO, Duration::from_secs(1))
        .unwrap();
    let message = Message::new("n", &1).unwrap();
    sender.send("orders", &message).unwrap();
    wait_until(PATIENCE, || seen.len() == 1);
    // SAFETY: the child calls what the library says may be called, and leaves by _exit.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let foreign = consumer
            .stop(PATIENCE)
            .is_err_and(|error| error.kind() == ErrorKind::Closed);
        drop(consumer);
        let sent = sender.send("orders", &message).is_ok();
        let mine = Seen::default();
        let own = keep
            .consumer("child")
            .register_channel("orders", quick())
            .register_handler("orders", mine.handler());
        let handled = own
            .start_with(Duration::ZERO, Duration::from_secs(1))
            .is_ok()
            && support::came_true(PATIENCE, || mine.len() == 2);
        let stopped = own.stop(PATIENCE).is_ok();
        let well = foreign && sent && handled && stopped;
        // SAFETY: nothing else is to be done here.
        unsafe { libc::_exit(i32::from(!well)) };
    }
    let mut status = 0;
    // SAFETY: our own child, once.
    unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!(status, 0);
    wait_until(PATIENCE, || seen.len() == 2);
    consumer.stop(PATIENCE).unwrap();
}
