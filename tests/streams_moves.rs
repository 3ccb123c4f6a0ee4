//! Streams while the nodes change under them: slots that move, replicas that take over. The long forms by
//! `make soak-streams`.

mod support;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use redkeep::{ChannelOptions, Config, Consumer, Manager, Message, Received};
use support::{
    Cluster, PATIENCE, Proxy, Sentinels, alone, key_in, slot, threads, wait_for, wait_until,
};

/// A failover may take its time on a machine that is busy.
const LONG: Duration = Duration::from_secs(120);
const NONE: Duration = Duration::ZERO;
const SECOND: Duration = Duration::from_secs(1);

fn open(url: String) -> Manager {
    Manager::open_config(&Config::new().url(url)).unwrap()
}

fn options() -> ChannelOptions {
    ChannelOptions::new()
        .count(64)
        .claim_idle(Duration::from_millis(500))
        .max_deliveries(1_000_000)
        .backoff(Duration::from_millis(10), Duration::from_millis(100))
}

fn message(n: usize) -> Message {
    Message::new("n", &n).unwrap()
}

/// Which messages were handled, of any channel, and how often something was.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Notes>>);

#[derive(Default)]
struct Notes {
    which: HashSet<(String, usize)>,
    calls: usize,
}

impl Seen {
    fn note(&self, message: &Received) {
        let mut seen = self.0.lock().unwrap();
        seen.which
            .insert((message.channel().to_owned(), message.json().unwrap()));
        seen.calls += 1;
    }

    fn has(&self, channel: &str, n: usize) -> bool {
        self.0
            .lock()
            .unwrap()
            .which
            .contains(&(channel.to_owned(), n))
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().which.len()
    }

    fn calls(&self) -> usize {
        self.0.lock().unwrap().calls
    }

    fn handler(&self) -> impl Fn(&Received) -> Result<(), String> + Send + Sync + 'static {
        let seen = self.clone();
        move |message: &Received| {
            seen.note(message);
            Ok(())
        }
    }
}

fn consumer(keep: &Manager, listener: &str, channels: &[String], seen: &Seen) -> Consumer {
    let mut consumer = keep.consumer(listener);
    for channel in channels {
        consumer = consumer
            .register_channel(channel, options())
            .register_handler(channel, seen.handler());
    }
    consumer
}

/// Ends the others, also when a check has failed: a scope waits for all its threads.
struct End<'a>(&'a AtomicBool, Option<&'a Consumer>);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        if let Some(consumer) = self.1 {
            consumer.stop(LONG).expect("it ends");
        }
    }
}

/// Nothing of the channel waits to be acknowledged.
fn all_done(keep: &Manager, channel: &str) -> bool {
    type Group = HashMap<String, redis::Value>;
    let groups = keep.command::<Vec<Group>>(("XINFO", "GROUPS", channel));
    let pending = |group: &Group| redis::from_redis_value::<i64>(group["pending"].clone()).unwrap();
    groups.is_ok_and(|groups| groups.iter().all(|group| pending(group) == 0))
}

#[test]
fn what_could_not_begin_may_begin_later() {
    let all = Sentinels::of(1, 1, &[], "");
    let proxy = Proxy::to(all.sentinels[0].address());
    proxy.refuse_new(true);
    let keep = open(format!(
        "redis+sentinel://{}/mymaster?command_timeout=300ms",
        proxy.address()
    ));
    let seen = Seen::default();
    let started = consumer(&keep, "started", &["orders".to_owned()], &seen);
    let polled = keep
        .consumer("polled")
        .register_channel("orders", options());
    let begin = || started.start_with(NONE, SECOND);
    for _ in 0..2 {
        for error in [begin().unwrap_err(), polled.poll(NONE).unwrap_err()] {
            let text = error.to_string();
            assert!(text.contains("no sentinel told"), "{text}");
        }
    }
    proxy.refuse_new(false);
    wait_until(PATIENCE, || begin().is_ok());
    wait_until(PATIENCE, || {
        keep.sender()
            .register_channel("orders")
            .send("orders", &message(1))
            .is_ok()
    });
    let polled = wait_for(PATIENCE, || polled.poll(SECOND).ok().flatten());
    assert_eq!(polled.json::<usize>().unwrap(), 1);
    wait_until(PATIENCE, || seen.has("orders", 1));
}

#[test]
fn a_channel_is_followed_from_node_to_node_and_holds_up_no_other() {
    if !alone("a_channel_is_followed_from_node_to_node_and_holds_up_no_other") {
        return;
    }
    let cluster = Cluster::start();
    let keep = open(cluster.url());
    let (first, second) = (0..5461, 5462..10922);
    // Two of one node, in different slots, and one of another.
    let channels = [
        key_in(first.clone(), "a"),
        key_in(first, "b"),
        key_in(second, "c"),
    ];
    let mut sender = keep.sender();
    for channel in &channels {
        sender = sender.register_channel(channel);
    }
    let send = |n: usize| {
        for channel in &channels {
            sender.send(channel, &message(n)).unwrap();
        }
    };
    let seen = Seen::default();
    let started = consumer(&keep, "started", &channels, &seen);
    started.start_with(NONE, Duration::from_secs(30)).unwrap();
    let readers = || {
        let all = threads();
        all.iter().filter(|name| *name == "redkeep-read").count()
    };
    send(0);
    let handled = |n: usize| channels.iter().all(|channel| seen.has(channel, n));
    wait_until(LONG, || handled(0));
    assert_eq!(readers(), 2, "one for each node");

    let polled = {
        let mut polled = keep.consumer("polled");
        for channel in &channels {
            polled = polled.register_channel(channel, options());
        }
        polled
    };
    let (got, there) = (Seen::default(), Seen::default());
    let persisting = consumer(&keep, "persisting", &channels, &there);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = End(&stop, Some(&persisting));
        scope.spawn(|| persisting.persist_consume_all_channels(NONE, SECOND));
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                if let Some(message) = polled.poll(Duration::from_millis(50)).unwrap() {
                    got.note(&message);
                    message.ack().unwrap();
                }
            }
        });
        let everywhere = |n: usize| {
            let has = |seen: &Seen| channels.iter().all(|channel| seen.has(channel, n));
            has(&seen) && has(&got) && has(&there)
        };
        // To a node that serves one of the channels already, to one that serves none, and back.
        let mut at = 0;
        for (n, to) in [1, 2, 0].into_iter().enumerate() {
            cluster.move_slot(slot(&channels[0]), at, to);
            at = to;
            send(n + 1);
            wait_until(LONG, || everywhere(n + 1));
        }
        // While it moves: the old node answers ASK, and its keys are with the new one.
        cluster.begin_to_move(slot(&channels[0]), 0, 2);
        cluster.move_keys(slot(&channels[0]), 0, 2);
        send(4);
        wait_until(LONG, || everywhere(4));
        send(5);
        wait_until(LONG, || everywhere(5));
        cluster.end_move(slot(&channels[0]), 2);
        send(6);
        wait_until(LONG, || everywhere(6));
    });
    for channel in &channels {
        wait_until(LONG, || all_done(&keep, channel));
    }
    started.stop(PATIENCE).unwrap();
    polled.stop(PATIENCE).unwrap();
    wait_until(PATIENCE, || readers() == 0);
}

#[test]
fn a_batch_that_is_sent_while_its_slot_moves_arrives_whole_and_once() {
    let cluster = Cluster::start();
    let keep = open(cluster.url());
    let channel = key_in(0..5461, "batch");
    let sender = keep.sender().register_channel(&channel);
    let stop = AtomicBool::new(false);
    let (sent, in_order) = thread::scope(|scope| {
        let _end = End(&stop, None);
        let sending = scope.spawn(|| {
            let mut sent = 0;
            let mut in_order = true;
            while !stop.load(Ordering::Relaxed) {
                let batch: Vec<Message> = (sent..sent + 50).map(message).collect();
                let ids = sender.send_many(&channel, &batch).unwrap();
                let parts = |id: &String| {
                    let (ms, n) = id.split_once('-').unwrap();
                    (ms.parse::<u64>().unwrap(), n.parse::<u64>().unwrap())
                };
                let ids: Vec<_> = ids.iter().map(parts).collect();
                in_order &= ids.len() == 50 && ids.is_sorted();
                sent += 50;
            }
            (sent, in_order)
        });
        for (from, to) in [(0, 1), (1, 2), (2, 0), (0, 2)] {
            cluster.move_slot(slot(&channel), from, to);
            // Something is sent in between.
            let before = cluster.nodes[to].command_calls("xadd");
            wait_until(LONG, || cluster.nodes[to].command_calls("xadd") > before);
        }
        stop.store(true, Ordering::Relaxed);
        sending.join().unwrap()
    });
    assert!(in_order);
    let entries: Vec<(String, Vec<String>)> = keep.command(("XRANGE", &channel, "-", "+")).unwrap();
    let bodies: Vec<usize> = entries
        .iter()
        .map(|(_, fields)| fields[3].parse().unwrap())
        .collect();
    assert_eq!(bodies, (0..sent).collect::<Vec<_>>());
}

/// Sends messages one after the other, each until a copy of it is with a replica.
fn send_with_copies(keep: &Manager, channel: &str, url: &dyn Fn() -> Option<String>, n: usize) {
    let deadline = Duration::from_secs(2);
    wait_for(LONG, || {
        let mut one = keep
            .get_client_within(&url()?, deadline)
            .inspect_err(|_| thread::sleep(Duration::from_millis(20)))
            .ok()?;
        let mut pipe = one.pipeline();
        pipe.within(deadline);
        let body = n.to_string();
        pipe.command(("XADD", channel, "*", "name", "n", "body", body))
            .unwrap();
        pipe.command(("WAIT", 1, 1000)).unwrap();
        let sent: Option<(String, i64)> = pipe.query().ok();
        sent.filter(|(_, copies)| *copies >= 1).map(drop)
    });
}

/// A stream goes through what `trouble` does to its servers, with three consumers at it.
fn through(
    keep: &Manager,
    channel: &str,
    total: usize,
    url: &(dyn Fn() -> Option<String> + Sync),
    troubles: usize,
    mut trouble: impl FnMut(usize),
) {
    let seen = Seen::default();
    let channels = [channel.to_owned()];
    let consumers: Vec<Consumer> = (0..3)
        .map(|_| {
            let one = consumer(keep, "l", &channels, &seen);
            one.start_with(NONE, SECOND).unwrap();
            one
        })
        .collect();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= total {
                        return;
                    }
                    send_with_copies(keep, channel, url, n);
                }
            });
        }
        for nth in 0..troubles {
            let from = total * (nth + 1) / (troubles + 2);
            wait_until(LONG, || seen.len() >= from);
            trouble(nth);
        }
    });
    wait_until(LONG, || seen.len() == total);
    wait_until(LONG, || all_done(keep, channel));
    for consumer in consumers {
        consumer.stop(LONG).unwrap();
    }
    let again = seen.calls() - total;
    println!("{total} messages through {troubles} failovers, {again} handled again");
}

fn through_sentinel_failovers(total: usize, failovers: usize) {
    let mut all = Sentinels::start();
    let keep = open(all.url());
    let primary = Mutex::new(all.nodes[all.primary()].url());
    let url = || Some(primary.lock().unwrap().clone());
    through(&keep, "orders", total, &url, failovers, |nth| {
        let next = match nth % 2 {
            // A death, and a hand-over.
            0 => {
                let old = all.primary();
                all.nodes[old].kill();
                wait_until(LONG, || all.primary() != old);
                let next = all.primary();
                all.nodes[old].restart();
                next
            }
            _ => all.fail_over(),
        };
        *primary.lock().unwrap() = all.nodes[next].url();
        all.settle();
    });
}

#[test]
fn a_stream_goes_through_a_sentinel_failover() {
    through_sentinel_failovers(1_500, 1);
}

#[test]
#[ignore = "long: make soak-streams"]
fn twenty_thousand_messages_go_through_sentinel_failovers() {
    through_sentinel_failovers(20_000, 4);
}

fn through_cluster_failovers(total: usize, failovers: usize) {
    let mut cluster = Cluster::start();
    let keep = open(cluster.url());
    let channel = key_in(0..5461, "orders");
    let primary = Mutex::new(cluster.nodes[0].url());
    let mut at = 0;
    let url = || Some(primary.lock().unwrap().clone());
    through(&keep, &channel, total, &url, failovers, |nth| {
        let replica = cluster.replica_of(at);
        match nth % 2 {
            0 => {
                cluster.nodes[at].kill();
                let node = &cluster.nodes[replica];
                wait_until(LONG, || node.info("replication", "role") == "master");
                cluster.nodes[at].restart();
            }
            _ => cluster.fail_over_to(replica),
        }
        at = replica;
        *primary.lock().unwrap() = cluster.nodes[at].url();
        cluster.settle();
    });
}

#[test]
fn a_stream_goes_through_a_cluster_failover() {
    through_cluster_failovers(1_500, 1);
}

#[test]
#[ignore = "long: make soak-streams"]
fn twenty_thousand_messages_go_through_cluster_failovers() {
    through_cluster_failovers(20_000, 4);
}
