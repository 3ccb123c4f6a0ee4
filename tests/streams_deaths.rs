//! Streams while processes die: consumers between handler and acknowledgement, and the server itself. The short forms
//! run always; the long ones by `cargo test --release --test streams_deaths -- --ignored`.

mod support;

use std::collections::HashMap;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use redkeep::{ChannelOptions, Delivery, Manager, Message, Received};
use support::{Server, is_alone, myself, wait_until};

const LONG: Duration = Duration::from_secs(120);
const BATCH: usize = 64;
const URL: &str = "REDKEEP_TEST_URL";
const HOW: &str = "REDKEEP_TEST_DELIVERY";

fn options() -> ChannelOptions {
    ChannelOptions::new()
        .count(BATCH)
        .claim_idle(Duration::from_millis(500))
        .max_deliveries(1_000_000)
        .backoff(Duration::from_millis(10), Duration::from_millis(100))
}

fn send(keep: &Manager, total: usize) {
    let sender = keep.sender().register_channel("orders");
    let numbers: Vec<usize> = (0..total).collect();
    for numbers in numbers.chunks(1_000) {
        let messages: Vec<Message> = numbers
            .iter()
            .map(|n| Message::new("n", n).unwrap())
            .collect();
        sender.send_many("orders", &messages).unwrap();
    }
}

/// Nothing is unread, and nothing unacknowledged.
fn all_done(server: &Server) -> bool {
    let groups: Vec<HashMap<String, redis::Value>> = server.ask(&["XINFO", "GROUPS", "orders"]);
    // The consumer makes the group, and may not have come to it.
    let Some(group) = groups.first() else {
        return false;
    };
    let number = |name: &str| redis::from_redis_value::<Option<i64>>(group[name].clone());
    number("lag").ok().flatten() == Some(0) && number("pending").ok().flatten() == Some(0)
}

/// What a child process does until it is killed: it counts each message in the server, as its handling.
fn consume_until_killed() -> ! {
    let keep = Manager::open(&std::env::var(URL).unwrap()).unwrap();
    let delivery = match std::env::var(HOW).unwrap().as_str() {
        "ledger" => Delivery::Ledger,
        _ => Delivery::AtLeastOnce,
    };
    let client = keep.client();
    let consumer = keep
        .consumer("l")
        .register_channel("orders", options().delivery(delivery))
        .register_handler("orders", move |message: &Received| {
            let counted = client.command::<i64>(("HINCRBY", "handled", message.body(), 1));
            counted.map(drop)
        });
    let none = Duration::ZERO;
    consumer.start_with(none, Duration::from_secs(1)).unwrap();
    loop {
        thread::sleep(Duration::from_secs(60));
    }
}

fn consumers_die(test: &str, delivery: &str, total: usize, kills: usize) {
    if is_alone() {
        consume_until_killed();
    }
    let server = Server::start();
    let keep = Manager::open(&server.unix_url()).unwrap();
    send(&keep, total);
    let begin = || -> Child {
        let mut command = myself(test);
        command
            .arg("--include-ignored")
            .env(URL, server.unix_url())
            .env(HOW, delivery)
            .stdout(Stdio::null());
        command.spawn().unwrap()
    };
    let handled = || server.ask::<usize>(&["HLEN", "handled"]);
    let mut children: Vec<Child> = (0..3).map(|_| begin()).collect();
    for kill in 0..kills {
        // Spread over the whole run.
        let from = total * (kill + 1) / (kills + 2);
        wait_until(LONG, || handled() >= from);
        let child = &mut children[kill % 3];
        child.kill().unwrap();
        child.wait().unwrap();
        *child = begin();
    }
    wait_until(LONG, || all_done(&server));
    for mut child in children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let counts: Vec<usize> = server.ask(&["HVALS", "handled"]);
    let again: usize = counts.iter().map(|n| n - 1).sum();
    support::figure(format!(
        "{delivery}: {} of {total} handled, {again} of them again, {kills} kills",
        counts.len()
    ));
    match delivery {
        "ledger" => {
            assert_eq!(again, 0);
            // One that a process had entered and not begun when it was killed is not handled.
            assert!(counts.len() + kills >= total, "{} of {total}", counts.len());
        }
        _ => {
            assert_eq!(counts.len(), total);
            assert!(again <= kills * BATCH, "{again} handled again");
        }
    }
}

#[test]
fn consumers_that_are_killed_lose_nothing() {
    consumers_die(
        "consumers_that_are_killed_lose_nothing",
        "at_least_once",
        3_000,
        4,
    );
}

#[test]
fn with_a_ledger_nothing_is_handled_twice() {
    consumers_die("with_a_ledger_nothing_is_handled_twice", "ledger", 2_000, 3);
}

#[test]
#[ignore = "takes minutes"]
fn fifty_consumers_that_are_killed_lose_nothing() {
    consumers_die(
        "fifty_consumers_that_are_killed_lose_nothing",
        "at_least_once",
        100_000,
        50,
    );
}

#[test]
#[ignore = "takes minutes"]
fn with_a_ledger_nothing_is_handled_twice_though_fifty_are_killed() {
    let name = "with_a_ledger_nothing_is_handled_twice_though_fifty_are_killed";
    consumers_die(name, "ledger", 100_000, 50);
}

fn the_server_dies(total: usize, kills: usize) {
    let mut server = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let keep = Manager::open(&server.unix_url()).unwrap();
    send(&keep, total);
    let handled: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let counted = handled.clone();
    let consumer = keep
        .consumer("l")
        .register_channel("orders", options())
        .register_handler("orders", move |message: &Received| {
            thread::sleep(Duration::from_micros(50));
            *counted
                .lock()
                .unwrap()
                .entry(message.body().to_owned())
                .or_default() += 1;
            Ok::<(), String>(())
        });
    let none = Duration::ZERO;
    consumer.start_with(none, Duration::from_secs(1)).unwrap();
    for kill in 0..kills {
        let from = total * (kill + 1) / (kills + 2);
        wait_until(LONG, || handled.lock().unwrap().len() >= from);
        server.restart();
    }
    wait_until(LONG, || all_done(&server));
    consumer.stop(LONG).unwrap();
    let handled = handled.lock().unwrap();
    let again: usize = handled.values().map(|n| n - 1).sum();
    support::figure(format!(
        "{} of {total} handled, {again} of them again, {kills} kills of the server",
        handled.len()
    ));
    assert_eq!(handled.len(), total);
    assert!(again <= kills * BATCH, "{again} handled again");
}

#[test]
fn a_server_that_is_killed_loses_nothing() {
    the_server_dies(4_000, 3);
}

#[test]
#[ignore = "takes minutes"]
fn a_server_that_is_killed_twenty_times_loses_nothing() {
    the_server_dies(100_000, 20);
}

/// A log that panics once, in a thread of the consumer.
struct Panics(AtomicBool);

impl log::Log for Panics {
    fn enabled(&self, _: &log::Metadata) -> bool {
        true
    }

    fn log(&self, record: &log::Record) {
        if record.args().to_string().contains("made again") && !self.0.swap(true, SeqCst) {
            panic!("on purpose");
        }
    }

    fn flush(&self) {}
}

static PANICS: Panics = Panics(AtomicBool::new(false));

#[test]
fn a_panic_in_the_thread_that_reads_does_not_end_the_consumer() {
    log::set_logger(&PANICS).expect("no other logger");
    log::set_max_level(log::LevelFilter::Warn);
    let server = Server::start();
    let keep = Manager::open(&server.unix_url()).unwrap();
    let sum = Arc::new(AtomicUsize::new(0));
    let counted = sum.clone();
    let consumer = keep
        .consumer("l")
        .register_channel("orders", options())
        .register_handler("orders", move |message: &Received| {
            counted.fetch_add(message.body().len(), SeqCst);
            Ok::<(), redkeep::Error>(())
        });
    consumer
        .start_with(Duration::ZERO, Duration::from_secs(1))
        .unwrap();
    send(&keep, 10);
    wait_until(LONG, || all_done(&server));
    server.ask::<i64>(&["XGROUP", "DESTROY", "orders", "orders:l:cg"]);
    wait_until(LONG, || PANICS.0.load(SeqCst));
    send(&keep, 10);
    wait_until(LONG, || sum.load(SeqCst) >= 20);
    consumer.stop(LONG).unwrap();
}
