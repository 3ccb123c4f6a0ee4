//! What a manager tells of itself: the statistics and their documentation, slow calls, the command hook.

mod support;

use std::collections::{BTreeSet, HashMap};
use std::thread;
use std::time::{Duration, Instant};

use redkeep::{ChannelOptions, Config, ErrorKind, Manager, Message, Received};
use serde_json::Value;
use support::{
    CANARY_KEY, CANARY_VALUE, Fault, PATIENCE, Proxy, Sentinels, Server, Way, collect_logs,
    is_alone, logged, myself, wait_for, wait_until,
};

const SCHEMA: &str = include_str!("../src/stats/schema.md");

fn with(url: &str, change: impl FnOnce(Config) -> Config) -> Manager {
    let config = Config::new().url(url).command_timeout(PATIENCE);
    Manager::open_config(&change(config)).expect("a config of ours")
}

/// The first words of the rows of the table below this heading, and what stands in the cell of this number.
fn rows(heading: &str, cell: usize) -> Vec<(String, String)> {
    let below = SCHEMA.split(&format!("## {heading}\n")).nth(1);
    let below = below.expect("the heading").split("\n## ").next();
    let lines = below.into_iter().flat_map(str::lines);
    let rows = lines.filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let (name, rest) = row.split_once('`').expect("a name in quotes");
        let cells: Vec<&str> = rest.split('|').map(str::trim).collect();
        assert!(!cells[cells.len() - 2].is_empty(), "{name} has no meaning");
        (name.to_owned(), cells[cell].to_owned())
    })
    .collect()
}

/// The way to every value that is no object and no array of objects.
fn paths(json: &Value, so_far: &str, found: &mut BTreeSet<String>) {
    values(json, so_far, &mut |path, _| {
        found.insert(path.to_owned());
    });
}

fn values<'a>(json: &'a Value, so_far: &str, found: &mut dyn FnMut(&str, &'a Value)) {
    match json {
        Value::Object(fields) => {
            for (name, value) in fields {
                let dot = if so_far.is_empty() { "" } else { "." };
                values(value, &format!("{so_far}{dot}{name}"), found);
            }
        }
        // Nothing is known of what is in it.
        Value::Array(all) if all.is_empty() => {}
        Value::Array(all) if all[0].is_object() => {
            for one in all {
                values(one, &format!("{so_far}[]"), found);
            }
        }
        value => found(so_far, value),
    }
}

/// Managers on which everything has been used that is counted.
fn busy() -> (Server, Vec<Manager>) {
    let server = Server::start();
    let keep = with(&server.url(), |config| {
        config.health_check_interval(Duration::from_millis(50))
    });
    keep.set("key", 1).unwrap();
    let near = keep.near_cache(1 << 20);
    assert_eq!(near.get::<i64>("key").unwrap(), Some(1));
    drop(keep.lock("report").acquire(Duration::from_secs(5)).unwrap());
    let sender = keep.sender().register_channel("orders");
    let consumer = keep
        .consumer("billing")
        // Its third is how soon the server is asked where the group stands.
        .register_channel(
            "orders",
            ChannelOptions::new().claim_idle(Duration::from_millis(150)),
        )
        .register_handler("orders", |_: &Received| Ok::<(), String>(()));
    let message = Message::from_json("made", "1").unwrap();
    sender.send("orders", &message).unwrap();
    let worker = consumer.start().unwrap();
    wait_until(PATIENCE, || {
        let channel = &keep.stats()["consumers"][0]["channels"][0];
        channel["handled"] == 1 && channel["lag"].is_i64() && channel["pending"].is_i64()
    });
    // A lease now, a health check that has been made, and sentinels that cannot be reached.
    wait_until(PATIENCE, || {
        keep.stats()["pools"]["nodes"][0]["latency_ms"].is_f64()
    });
    let behind = with("redis+sentinel://127.0.0.1:1/mymaster", |config| {
        config.command_timeout(Duration::from_millis(300))
    });
    assert!(behind.get::<String>("key").is_err());
    // They end with their managers, which is soon enough.
    std::mem::forget((near, worker));
    (server, vec![keep, behind])
}

#[test]
fn every_field_and_metric_is_documented_and_every_documented_one_is_there() {
    let (_server, managers) = busy();
    let lease = managers[0].client().dedicated().unwrap();
    let mut found = BTreeSet::new();
    for keep in &managers {
        paths(&keep.stats(), "", &mut found);
    }
    // A standalone server has no slots.
    found.insert("pools.nodes[].slots".to_owned());
    let documented: BTreeSet<String> = rows("As JSON", 0).into_iter().map(|row| row.0).collect();
    assert_eq!(
        found, documented,
        "left: what there is; right: src/stats/schema.md"
    );

    let text = managers[0].stats_prometheus();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut metrics: BTreeSet<(String, String)> = BTreeSet::new();
    for (name, kind) in types.filter_map(|line| line.split_once(' ')) {
        let beginning = |line: &&str| {
            let rest = line.strip_prefix(name)?;
            let rest = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| rest.strip_prefix(end))
                .unwrap_or(rest);
            rest.starts_with(['{', ' ']).then_some(rest.to_owned())
        };
        let sample = text.lines().find_map(|line| beginning(&line));
        let sample = sample.unwrap_or_else(|| panic!("{name} has no value"));
        let labels = sample
            .strip_prefix('{')
            .and_then(|rest| rest.split_once('}'));
        let labels = labels.map_or("", |labels| labels.0);
        let names = labels.split(',').filter_map(|pair| pair.split_once('='));
        let names: Vec<&str> = names
            .map(|pair| pair.0)
            .filter(|name| *name != "le")
            .collect();
        metrics.insert((name.to_owned(), format!("{kind}: {}", names.join(", "))));
    }
    let kinds = rows("For Prometheus", 1);
    let labels = rows("For Prometheus", 2).into_iter().map(|row| row.1);
    let documented = kinds.into_iter().zip(labels);
    let documented: BTreeSet<(String, String)> = documented
        .map(|((name, kind), labels)| (name, format!("{kind}: {labels}")))
        .collect();
    assert_eq!(
        metrics, documented,
        "left: what there is; right: src/stats/schema.md"
    );
    drop(lease);
}

#[test]
fn the_example_of_the_documentation_has_every_field_and_each_is_of_the_kind_that_it_is() {
    let example = SCHEMA.split("```json\n").nth(1).unwrap();
    let example: Value = serde_json::from_str(example.split("```").next().unwrap()).unwrap();
    let mut shown = BTreeSet::new();
    paths(&example, "", &mut shown);
    // It has none behind sentinels.
    assert!(example["pools"]["nodes"][0]["slots"].is_array());
    shown.insert("pools.nodes[].slots".to_owned());
    let documented: BTreeSet<String> = rows("As JSON", 0).into_iter().map(|row| row.0).collect();
    assert_eq!(shown, documented, "left: the example; right: the table");

    let (_server, managers) = busy();
    let kind = |value: &Value| match value {
        Value::Null => None,
        Value::Bool(_) => Some("a truth"),
        Value::Number(number) if number.is_f64() => Some("a number with a fraction"),
        Value::Number(_) => Some("a whole number"),
        Value::String(_) => Some("a text"),
        _ => Some("a list"),
    };
    let mut kinds = HashMap::new();
    for keep in &managers {
        values(&keep.stats(), "", &mut |path, value| {
            kind(value).map(|kind| kinds.insert(path.to_owned(), kind));
        });
    }
    values(&example, "", &mut |path, value| {
        if let (Some(shown), Some(real)) = (kind(value), kinds.get(path)) {
            assert_eq!(shown, *real, "{path}");
        }
    });
}

#[test]
fn the_fields_that_may_be_null_are_those_that_say_so() {
    let meanings = rows("As JSON", 1).into_iter();
    let documented: BTreeSet<String> = meanings
        .filter(|row| row.1.contains("`null`"))
        .map(|row| row.0)
        .collect();
    let mut found = BTreeSet::new();
    let mut look = |stats: Value| {
        values(&stats, "", &mut |path, value| {
            value.is_null().then(|| found.insert(path.to_owned()));
        });
    };
    let (server, managers) = busy();
    managers.iter().for_each(|keep| look(keep.stats()));
    // Before the first contact, and before the server has told of a group.
    let fresh = with(&server.url(), |config| config);
    look(fresh.stats());
    let consumer = fresh
        .consumer("new")
        .register_channel("orders", ChannelOptions::new());
    assert!(consumer.poll(Duration::ZERO).unwrap().is_none());
    look(fresh.stats());
    // A sentinel that has named a primary has no error.
    let sentinels = Sentinels::of(1, 1, &[], "");
    let behind = with(&sentinels.url(), |config| config);
    behind.ping().unwrap();
    let told = &behind.stats()["pools"]["sentinels"][0]["address"];
    assert!(sentinels.url().contains(told.as_str().unwrap()), "{told}");
    look(behind.stats());
    assert_eq!(
        found, documented,
        "left: what was null; right: src/stats/schema.md"
    );
}

#[test]
fn what_is_in_hand_what_was_lost_on_the_way_and_how_long_a_batch_takes_is_told() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let keep = with(&server.url(), |config| config);
    let far = with(&proxy.url(), |config| config);
    let consumer = far
        .consumer("billing")
        .register_channel("orders", ChannelOptions::new().message_cleanup(true));
    let told = |name: &str| far.stats()["consumers"][0]["channels"][0][name].clone();
    let sender = keep.sender().register_channel("orders");
    let send = || {
        let message = Message::from_json("made", "1").unwrap();
        sender.send("orders", &message).unwrap();
    };
    let pending = || {
        let all = keep.command(("XPENDING", "orders", "orders:billing:cg", "-", "+", 10));
        all.map_or(0, |all: Vec<redis::Value>| all.len())
    };
    send();
    let first = consumer.poll(PATIENCE).unwrap().expect("the message");
    assert_eq!(told("in_hand"), 1);
    first.ack().unwrap();
    wait_until(PATIENCE, || told("in_hand") == 0 && pending() == 0);

    // The server has given it out, and nobody has got it: it is asked for again.
    proxy.set(Way::ToClient, Fault::BlackHole);
    send();
    wait_until(PATIENCE, || pending() == 1);
    // Cut first: what is still on its way would come through.
    proxy.cut_all();
    proxy.heal();
    let second = consumer.poll(PATIENCE).unwrap().expect("the message");
    assert_eq!(told("recovered"), 1);
    second.ack().unwrap();
    wait_until(PATIENCE, || {
        consumer.clean_up_consumed_messages().unwrap();
        told("cleaned") == 2
    });

    let slow = Duration::from_millis(30);
    proxy.set(Way::ToClient, Fault::Delay(slow));
    let batch = || far.stats()["pools"]["nodes"][0]["batch_ms"].as_f64();
    wait_until(PATIENCE, || {
        far.set("key", 1).unwrap();
        batch() >= Some(20.0)
    });
    let away = with("redis://127.0.0.1:1", |config| config);
    assert!(away.ping().is_err());
    let error = away.stats()["pools"]["nodes"][0]["last_error"].clone();
    assert!(error.as_str().unwrap().contains("refused"), "{error}");
}

#[test]
fn who_waits_for_a_connection_or_a_lock_is_counted_by_how_long() {
    let server = Server::start();
    let keep = with(&server.url(), |config| {
        config.shared_lines(0).max_connections(1)
    });
    let stats = || keep.stats();
    keep.set("key", 1).unwrap();
    let waits = |stats: &Value, le: usize| {
        stats["pools"]["nodes"][0]["pool_waits"]["buckets"][le]["count"].clone()
    };
    assert_eq!(waits(&stats(), 14), 0, "who need not wait is not counted");
    let lease = keep.client().dedicated().unwrap();
    let other = keep.clone();
    let waiter = thread::spawn(move || other.get::<i64>("key").unwrap());
    wait_until(PATIENCE, || {
        stats()["pools"]["nodes"][0]["pools"][0]["waiting"] == 1
    });
    thread::sleep(Duration::from_millis(20));
    drop(lease);
    assert_eq!(waiter.join().unwrap(), Some(1));
    assert_eq!(waits(&stats(), 14), 1);
    assert_eq!(waits(&stats(), 6), 0, "it waited for more than 10 ms");
    let waited = &stats()["pools"]["nodes"][0]["pool_waits"];
    assert!(waited["seconds"].as_f64() > Some(0.01), "{waited}");
    assert_eq!(waited["buckets"][6]["le"], 0.01, "{waited}");
    let lease = keep.client().dedicated().unwrap();
    let error = keep
        .command_within::<String>(("GET", "key"), Duration::from_millis(20))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PoolTimeout);
    assert_eq!(stats()["timeouts"], 1, "it ended at its deadline");
    drop(lease);

    let held = keep.lock("report").acquire(Duration::from_secs(5)).unwrap();
    let error = keep
        .lock("report")
        .acquire(Duration::from_millis(20))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LockTimeout);
    assert!(keep.lock("report").try_acquire().unwrap().is_none());
    drop(held);
    let stats = stats();
    assert_eq!(stats["lock_waits"]["buckets"][14]["count"], 1);
    assert_eq!(stats["lock_timeouts"], 1, "only who waited in vain");
}

#[test]
fn how_long_a_lock_was_waited_for_is_told() {
    let server = Server::start();
    let keep = with(&server.url(), |config| config);
    let held = keep.lock("report").acquire(PATIENCE).unwrap();
    let other = with(&server.url(), |config| config);
    let stats = other.clone();
    let waiter = thread::spawn(move || drop(other.lock("report").acquire(PATIENCE).unwrap()));
    // Whoever waits has asked to be woken.
    wait_until(PATIENCE, || {
        !server
            .ask::<Vec<String>>(&["PUBSUB", "CHANNELS"])
            .is_empty()
    });
    thread::sleep(Duration::from_millis(20));
    drop(held);
    waiter.join().unwrap();
    let waits = &stats.stats()["lock_waits"];
    assert_eq!(waits["buckets"][6]["le"], 0.01, "{waits}");
    assert_eq!(waits["buckets"][14]["count"], 1, "{waits}");
    assert!(waits["seconds"].as_f64() > Some(0.01), "{waits}");
    assert!(
        waits["seconds"].as_f64() < Some(PATIENCE.as_secs_f64()),
        "{waits}"
    );
}

#[test]
fn how_long_handlers_take_is_told() {
    let server = Server::start();
    let keep = with(&server.url(), |config| config);
    let consumer = keep
        .consumer("billing")
        .register_channel("orders", ChannelOptions::new())
        .register_handler("orders", |_: &Received| {
            thread::sleep(Duration::from_millis(20));
            Ok::<(), String>(())
        });
    let sender = keep.sender().register_channel("orders");
    let message = Message::from_json("made", "1").unwrap();
    sender.send("orders", &message).unwrap();
    assert_eq!(consumer.consume_all_channels(PATIENCE).unwrap(), 1);
    let handlers = &keep.stats()["consumers"][0]["channels"][0]["handler_time"];
    assert_eq!(handlers["buckets"][6]["le"], 0.01, "{handlers}");
    assert_eq!(handlers["buckets"][14]["count"], 1, "{handlers}");
    assert_eq!(
        handlers["buckets"][6]["count"], 0,
        "it took more than 10 ms"
    );
    assert!(handlers["seconds"].as_f64() > Some(0.01), "{handlers}");
}

#[test]
fn calls_on_leased_connections_are_counted() {
    let server = Server::start();
    let keep = with(&server.url(), |config| config);
    let mut lease = keep.client().dedicated().unwrap();
    lease.command::<()>("PING").unwrap();
    assert!(lease.command::<()>("INCR").is_err());
    let mut pipe = lease.pipeline();
    pipe.command("PING").unwrap().command("PING").unwrap();
    pipe.execute().unwrap();
    let stats = keep.stats();
    assert_eq!((&stats["calls"], &stats["errors"]), (&3.into(), &1.into()));
}

#[test]
fn a_near_cache_is_counted_as_long_as_it_lives() {
    let server = Server::start();
    let keep = with(&server.url(), |config| config);
    assert_eq!(keep.stats()["near"], Value::Array(Vec::new()));
    keep.set("key", 1).unwrap();
    let near = keep.near_cache(1 << 20);
    for _ in 0..3 {
        near.get::<i64>("key").unwrap();
    }
    keep.set("key", 2).unwrap();
    near.get::<i64>("key").unwrap();
    let told = keep.stats()["near"][0].clone();
    assert_eq!((&told["hits"], &told["misses"]), (&2.into(), &2.into()));
    assert!(told["invalidations"].as_u64() >= Some(1));
    let number = &told["cache"];
    let line = format!("redkeep_near_hits_total{{cache=\"{number}\"}} 2\n");
    assert!(keep.stats_prometheus().contains(&line));
    drop(near);
    assert_eq!(keep.stats()["near"], Value::Array(Vec::new()));
}

/// The milliseconds behind this word.
fn after(line: &str, word: &str) -> f64 {
    let rest = line.split(word).nth(1).expect("the word");
    let number: String = rest
        .trim_start()
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == '.')
        .collect();
    number.parse().expect("a number")
}

#[test]
fn slow_calls_are_told_by_name_with_what_their_time_went_to() {
    collect_logs();
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let keep = with(&proxy.url(), |config| {
        config.slow_call(Duration::from_millis(30))
    });
    keep.set(CANARY_KEY, CANARY_VALUE).unwrap();
    let told = || -> Vec<String> {
        let lines = logged();
        let mine = lines.lines().filter(|line| line.contains(&proxy.address()));
        mine.filter(|line| line.starts_with("slow: "))
            .map(str::to_owned)
            .collect()
    };
    let before = told().len();
    proxy.set(Way::ToClient, Fault::Delay(Duration::from_millis(60)));
    let _: Option<String> = keep.get(CANARY_KEY).unwrap();
    let lines = told();
    assert_eq!(lines.len(), before + 1, "{lines:?}");
    let line = &lines[before];
    assert!(
        line.starts_with(&format!("slow: GET to {} took ", proxy.address())),
        "{line}"
    );
    assert!(
        after(line, "took") >= 55.0 && after(line, "server") >= 55.0,
        "{line}"
    );
    let parts = ["wait", "connect", "write", "server", "read"];
    let sum: f64 = parts
        .iter()
        .map(|part| after(line, &format!("{part} ")))
        .sum();
    assert!((sum - after(line, "took")).abs() < 1.0, "{line}");

    // Many at once, by shared lines: to each, the server is what was slow.
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let keep = keep.clone();
            thread::spawn(move || keep.get::<String>(CANARY_KEY).unwrap())
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| drop(thread.join().unwrap()));
    // And in a pipeline, and on a connection of one's own, which is opened first.
    let mut pipe = keep.pipeline();
    pipe.command("PING").unwrap().command("PING").unwrap();
    pipe.execute().unwrap();
    let lines = told();
    let slow = lines
        .iter()
        .filter(|line| line.starts_with("slow: GET"))
        .skip(1);
    for line in slow {
        assert!(after(line, "server ") >= 25.0, "{line}");
    }
    for _ in 0..10 {
        let _: Option<String> = keep.get(CANARY_KEY).unwrap();
    }
    let count = told().len();
    assert!(count <= 20, "{count} lines: ten in ten seconds at most");
    assert!(
        keep.stats()["slow"].as_u64().unwrap() >= 20,
        "counted, told or not"
    );

    // What blocks by its own wish is not slow.
    proxy.heal();
    let slow = keep.stats()["slow"].as_u64();
    let _: Option<(String, String)> = keep.command(("BLPOP", "nothing", 0.1)).unwrap();
    assert_eq!(keep.stats()["slow"].as_u64(), slow);
    let all = logged();
    assert!(!all.contains(CANARY_KEY) && !all.contains(CANARY_VALUE));
}

#[test]
fn a_slow_connect_is_told_as_such() {
    collect_logs();
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    proxy.set(Way::ToClient, Fault::Delay(Duration::from_millis(60)));
    let keep = with(&proxy.url(), |config| {
        config.slow_call(Duration::from_millis(30))
    });
    keep.set("key", 1).unwrap();
    let lines = logged();
    let mine = lines
        .lines()
        .find(|line| line.starts_with("slow: SET") && line.contains(&proxy.address()));
    let line = mine.expect("a line");
    assert!(
        after(line, "connect ") >= 55.0 && after(line, "server ") >= 55.0,
        "{line}"
    );
    assert!(after(line, "wait ") < 250.0, "{line}");
}

#[test]
fn what_goes_wrong_again_and_again_does_not_fill_the_log() {
    collect_logs();
    let server = Server::start();
    let keep = with(&server.url(), |config| config);
    let subscriber = keep.subscriber();
    subscriber
        .on_message(|_: &redkeep::Published| Err::<(), String>("of this test".into()))
        .unwrap();
    subscriber.add("news").unwrap();
    for _ in 0..100 {
        keep.publish("news", "x").unwrap();
    }
    wait_until(PATIENCE, || subscriber.stats().unwrap().failed == 100);
    let lines = logged();
    let lines = lines.lines().filter(|line| line.contains("of this test"));
    let count = lines.count();
    assert!(
        (1..=20).contains(&count),
        "{count}: ten in ten seconds at most"
    );
}

/// What each round of a consumer finds wrong again, with every one of its channels.
#[test]
fn channels_that_cannot_be_read_do_not_fill_the_log() {
    collect_logs();
    let server = Server::start();
    let keep = with(&server.url(), |config| config);
    let began = Instant::now();
    let mut consumer = keep.consumer("billing");
    for number in 0..25 {
        let name = format!("of-the-wrong-type:{number}");
        keep.set(&name, "no stream").unwrap();
        consumer = consumer
            .register_channel(&name, ChannelOptions::new())
            .register_handler(&name, |_: &Received| Ok::<(), String>(()));
    }
    let worker = consumer.start().unwrap();
    let told = || -> Vec<String> {
        let lines = logged();
        let mine = lines
            .lines()
            .filter(|line| line.contains("channel of-the-wrong-type:"));
        mine.map(str::to_owned).collect()
    };
    let others = |line: &String| {
        let rest = line.split(" (and ").nth(1)?;
        rest.strip_suffix(" more that were not logged)")?
            .parse()
            .ok()
    };
    let left_out: u64 = wait_for(3 * PATIENCE, || told().iter().find_map(others));
    let lines = told();
    // Whoever counts from any moment on may see the end of one stretch of ten seconds and the beginning of another.
    let stretches = 2 + began.elapsed().as_secs() / 10;
    assert!(lines.len() as u64 <= 10 * stretches, "{lines:#?}");
    assert!(
        left_out + lines.len() as u64 >= 25,
        "{left_out} more than {lines:#?}"
    );
    drop(worker);
}

#[test]
fn errors_that_nobody_sees_do_not_fill_the_log() {
    const NAME: &str = "errors_that_nobody_sees_do_not_fill_the_log";
    if !is_alone() {
        let status = myself(NAME).env("REDIS_URL", "nonsense://").status();
        assert!(status.unwrap().success());
        return;
    }
    collect_logs();
    let server = Server::start();
    let keep = with(&server.url(), |config| config);
    keep.close(PATIENCE).unwrap();
    // One that was closed, and one that could not be opened.
    for (keep, why) in [(&keep, "closed"), (Manager::global(), "environment")] {
        for _ in 0..100 {
            assert_eq!(keep.lenient().get::<i64>("key"), None);
        }
        let lines = logged();
        let count = lines.lines().filter(|line| line.contains(why)).count();
        assert!((1..=20).contains(&count), "{count}: {lines}");
    }
}
