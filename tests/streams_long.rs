//! Streams for a long time, and very large messages: what is cleaned up while groups read at their own paces, memory,
//! 100 MB. The short forms run always; the long ones by `make soak-streams`.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use redkeep::{ChannelOptions, Consumer, Manager, Message, Received};
use support::{Server, wait_until};

const LONG: Duration = Duration::from_secs(120);

fn options() -> ChannelOptions {
    ChannelOptions::new().claim_idle(Duration::from_secs(5))
}

fn send(keep: &Manager, numbers: std::ops::Range<usize>) {
    let sender = keep.sender().register_channel("orders");
    for begin in numbers.clone().step_by(1_000) {
        let end = numbers.end.min(begin + 1_000);
        let messages: Vec<Message> = (begin..end)
            .map(|n| Message::new("n", &n).unwrap())
            .collect();
        sender.send_many("orders", &messages).unwrap();
    }
}

/// Three listeners read at different paces while a cleaner deletes what all of them have acknowledged. What is sent
/// stays a bounded step ahead of the slowest.
fn cleaned_up(total: usize) {
    const AHEAD: usize = 2_000;
    let server = Server::start();
    let keep = Manager::open(&server.unix_url()).unwrap();
    let listeners = ["fast", "slow", "slower"];
    let pauses = [0, 20, 60];
    let cleaning = Duration::from_millis(20);
    // How often each message was handled, by listener.
    let handled: Vec<Arc<Vec<AtomicUsize>>> = listeners
        .iter()
        .map(|_| Arc::new((0..total).map(|_| AtomicUsize::new(0)).collect()))
        .collect();
    let counts: Vec<Arc<AtomicUsize>> = listeners.iter().map(|_| Arc::default()).collect();
    let consumers: Vec<Consumer> = (0..3)
        .map(|i| {
            let (handled, count) = (handled[i].clone(), counts[i].clone());
            let consumer = keep
                .consumer(listeners[i])
                .register_channel(
                    "orders",
                    options()
                        .consumers(listeners)
                        .message_cleanup(true)
                        .cleanup_interval(cleaning),
                )
                .register_handler("orders", move |message: &Received| {
                    handled[message.json::<usize>().unwrap()].fetch_add(1, Ordering::Relaxed);
                    let n = count.fetch_add(1, Ordering::Relaxed);
                    if pauses[i] > 0 && n.is_multiple_of(100) {
                        thread::sleep(Duration::from_micros(pauses[i] * 100));
                    }
                    Ok::<(), String>(())
                });
            consumer
                .start_with(Duration::ZERO, Duration::from_secs(1))
                .unwrap();
            consumer
        })
        .collect();
    let slowest = || {
        let counts = counts.iter().map(|count| count.load(Ordering::Relaxed));
        counts.min().unwrap()
    };
    let mut longest = 0;
    for begin in (0..total).step_by(1_000) {
        wait_until(LONG, || slowest() + AHEAD >= begin);
        send(&keep, begin..begin + 1_000);
        // What is acknowledged by all goes within some turns of the cleaner.
        let mut length = 0;
        wait_until(LONG, || {
            length = server.ask::<usize>(&["XLEN", "orders"]);
            length <= AHEAD + 3_000
        });
        longest = longest.max(length);
    }
    wait_until(LONG, || slowest() >= total);
    wait_until(LONG, || server.ask::<usize>(&["XLEN", "orders"]) == 0);
    for consumer in consumers {
        consumer.stop(LONG).unwrap();
    }
    for (listener, handled) in listeners.iter().zip(&handled) {
        let lost = handled
            .iter()
            .filter(|n| n.load(Ordering::Relaxed) == 0)
            .count();
        assert_eq!(lost, 0, "{listener}");
    }
    println!(
        "{total} entries cleaned up under three groups, none lost; at most {longest} at a time"
    );
}

#[test]
fn nothing_is_deleted_that_a_group_has_not_handled() {
    cleaned_up(6_000);
}

#[test]
#[ignore = "long: make soak-streams"]
fn of_two_hundred_thousand_nothing_is_deleted_that_a_group_has_not_handled() {
    cleaned_up(200_000);
}

/// A message of so many bytes goes in and comes out, polled and handled.
fn large(bytes: usize) {
    let server = Server::start();
    let keep = Manager::open(&server.unix_url()).unwrap();
    let body = format!("\"{}\"", "x".repeat(bytes - 2));
    let message = Message::from_json("large", &body).unwrap();
    let sender = keep.sender().register_channel("orders");
    sender.send("orders", &message).unwrap();
    sender
        .send_many("orders", std::slice::from_ref(&message))
        .unwrap();
    let polled = keep
        .consumer("polled")
        .register_channel("orders", options());
    let begun = std::time::Instant::now();
    for _ in 0..2 {
        let got = polled.poll(LONG).unwrap().expect("the message");
        assert!(got.body() == body, "not what was sent");
        got.ack().unwrap();
    }
    println!("{bytes} bytes twice, in {:?}", begun.elapsed());
    polled.stop(LONG).unwrap();
    let came = Arc::new(AtomicUsize::new(0));
    let (counted, wanted) = (came.clone(), body);
    let handling = keep
        .consumer("handling")
        .register_channel("orders", options())
        .register_handler("orders", move |message: &Received| {
            let same = message.body() == wanted;
            counted.fetch_add(usize::from(same), Ordering::Relaxed);
            Ok::<(), String>(())
        });
    let none = Duration::ZERO;
    handling.start_with(none, Duration::from_secs(1)).unwrap();
    wait_until(LONG, || came.load(Ordering::Relaxed) == 2);
    handling.stop(LONG).unwrap();
}

#[test]
fn a_message_of_ten_megabytes_goes_in_and_comes_out() {
    large(10_000_000);
}

#[test]
#[ignore = "long: make soak-streams"]
fn a_message_of_a_hundred_megabytes_goes_in_and_comes_out() {
    large(100_000_000);
}

/// Resident memory of this process, in KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let words = line.unwrap().split_whitespace();
    words.filter_map(|word| word.parse().ok()).next().unwrap()
}

fn memory_is_flat(total: usize) {
    let server = Server::start();
    let keep = Manager::open(&server.unix_url()).unwrap();
    let handled = Arc::new(Mutex::new(0));
    let counted = handled.clone();
    let consumer = keep
        .consumer("l")
        .register_channel("orders", options().count(128).message_cleanup(true))
        .register_handler("orders", move |_: &Received| {
            let mut handled = counted.lock().unwrap();
            *handled += 1;
            // Slow, now and then.
            if usize::is_multiple_of(*handled, 500) {
                thread::sleep(Duration::from_millis(1));
            }
            Ok::<(), String>(())
        });
    let none = Duration::ZERO;
    consumer.start_with(none, Duration::from_secs(1)).unwrap();
    let mut after_a_tenth = 0;
    for tenth in 1..=10 {
        let tenth_of = total / 10;
        send(&keep, (tenth - 1) * tenth_of..tenth * tenth_of);
        wait_until(LONG * 10, || *handled.lock().unwrap() >= total * tenth / 10);
        consumer.clean_up_consumed_messages().unwrap();
        if tenth == 1 {
            after_a_tenth = resident();
        }
    }
    consumer.stop(LONG).unwrap();
    let grown = resident().saturating_sub(after_a_tenth);
    println!("{total} messages: {after_a_tenth} KiB after a tenth, {grown} KiB more at the end");
    assert!(grown < 4_096, "{grown} KiB more");
}

#[test]
fn memory_stays_flat() {
    if support::alone("memory_stays_flat") {
        memory_is_flat(100_000);
    }
}

#[test]
#[ignore = "takes many minutes"]
fn memory_stays_flat_over_ten_million() {
    memory_is_flat(10_000_000);
}
