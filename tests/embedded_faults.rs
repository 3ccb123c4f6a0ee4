//! `embedded_fault`: users' tests make their server hang, end, and answer late.

mod support;

use std::thread;
use std::time::{Duration, Instant};

use redkeep::{Config, ErrorKind, Event, Fault, Manager, Outcome};
use support::{PATIENCE, alone, descriptors, named_server, threads, wait_until};

const SHORT: Duration = Duration::from_millis(300);

fn config() -> Config {
    let config = Config::new()
        .url("embedded://")
        .embedded_faults(true)
        .command_timeout(SHORT);
    match named_server() {
        Some(program) => config.embedded_server(program),
        None => config,
    }
}

fn open() -> Manager {
    Manager::open_config(&config()).expect("a server on this machine")
}

/// The fault ends, and the server is found again.
fn heal(keep: &Manager) {
    keep.embedded_fault(Fault::None).unwrap();
    keep.wait_for_ready(None, PATIENCE, Duration::from_millis(10), 10_000)
        .unwrap();
}

#[test]
fn without_a_fault_everything_passes() {
    let keep = open();
    let large = vec![7u8; 20 << 20];
    let patient = Duration::from_secs(10);
    keep.command_within::<()>(("SET", "large", &large[..]), patient)
        .unwrap();
    let back: Vec<u8> = keep.command_within(("GET", "large"), patient).unwrap();
    assert!(back == large);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| (0..200).for_each(|_| assert!(keep.incr("n", 1).unwrap() > 0)));
        }
    });
    assert_eq!(keep.get::<i64>("n").unwrap(), Some(3200));
}

#[test]
fn frozen_it_answers_nothing_and_goes_on_afterwards() {
    let keep = open();
    keep.set("n", 0).unwrap();
    let mut held = keep.client().dedicated().unwrap();
    held.command::<()>("PING").unwrap();
    keep.embedded_fault(Fault::Freeze).unwrap();
    let started = Instant::now();
    let error = held.command::<i64>(("INCR", "n")).unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Timeout, Outcome::Unknown)
    );
    assert!(started.elapsed() >= SHORT);
    // A new connection is accepted, and hears nothing either.
    let error = keep
        .client()
        .dedicated()
        .and_then(|mut it| it.command::<String>("PING"));
    let error = error.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Timeout | ErrorKind::NoHealthyPools),
        "{error}"
    );
    heal(&keep);
    // What was sent to a server that hung is executed when it goes on.
    wait_until(PATIENCE, || keep.get::<i64>("n").ok() == Some(Some(1)));
}

#[test]
fn dropped_connections_are_closed_those_that_wait_too() {
    let keep = open();
    let subscriber = keep.subscriber();
    subscriber.add("news").unwrap();
    keep.set("kept", 1).unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| keep.command::<Option<(String, String)>>(("BLPOP", "q", 0)));
        wait_until(PATIENCE, || {
            let list: String = keep.command(("CLIENT", "LIST")).unwrap_or_default();
            list.contains("cmd=blpop")
        });
        keep.embedded_fault(Fault::Drop).unwrap();
        let error = waiting.join().unwrap().unwrap_err();
        assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    });
    let error = keep.incr("kept", 1).unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotSent, "{error}");
    heal(&keep);
    assert_eq!(keep.get::<i64>("kept").unwrap(), Some(1));
    let event = subscriber.poll(PATIENCE).unwrap();
    assert!(matches!(event, Some(Event::Gap(_))), "{event:?}");
    keep.publish("news", "again").unwrap();
    let event = subscriber.poll(PATIENCE).unwrap();
    assert!(matches!(event, Some(Event::Message(_))), "{event:?}");
}

#[test]
fn a_short_interruption_is_borne_by_reads() {
    let keep = open();
    keep.set("a", 1).unwrap();
    for _ in 0..20 {
        keep.embedded_fault(Fault::Drop).unwrap();
        keep.embedded_fault(Fault::None).unwrap();
        assert_eq!(keep.get::<i64>("a").unwrap(), Some(1));
    }
}

#[test]
fn slow_it_answers_that_much_later() {
    let late = Duration::from_millis(80);
    let keep = open();
    let subscriber = keep.subscriber();
    subscriber.add("news").unwrap();
    keep.set("a", 1).unwrap();
    keep.embedded_fault(Fault::Slow(late)).unwrap();
    let started = Instant::now();
    assert_eq!(keep.get::<i64>("a").unwrap(), Some(1));
    assert!(started.elapsed() >= late);
    // Its answers together, and not one after the other: twenty in a row would take longer than the deadline.
    let mut pipe = keep.pipeline();
    for _ in 0..20 {
        pipe.command(("INCR", "n")).unwrap();
    }
    let started = Instant::now();
    let counts: Vec<i64> = pipe.query().unwrap();
    assert!(started.elapsed() >= late);
    assert_eq!(counts, (1..=20).collect::<Vec<i64>>());
    let started = Instant::now();
    keep.publish("news", "x").unwrap();
    let event = subscriber.poll(PATIENCE).unwrap();
    assert!(matches!(event, Some(Event::Message(_))), "{event:?}");
    assert!(started.elapsed() >= late);

    keep.embedded_fault(Fault::Slow(SHORT * 4)).unwrap();
    let error = keep.incr("n", 1).unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Timeout, Outcome::Unknown)
    );
    heal(&keep);
    assert_eq!(keep.get::<i64>("n").unwrap(), Some(21));
}

#[test]
fn the_end_of_a_slow_fault_lets_go_what_it_held() {
    let keep = Manager::open_config(&config().command_timeout(PATIENCE)).unwrap();
    keep.ping().unwrap();
    keep.embedded_fault(Fault::Slow(PATIENCE * 10)).unwrap();
    thread::scope(|scope| {
        let call = scope.spawn(|| keep.incr("n", 1));
        // It is on its way: the server has done it.
        let socket = keep.fetch_pool_status().nodes[0].address.clone();
        let server = Manager::open(&format!("unix://{}", socket.replace("/socket", "/server")));
        let server = server.unwrap();
        wait_until(PATIENCE, || server.get::<i64>("n").unwrap() == Some(1));
        keep.embedded_fault(Fault::None).unwrap();
        assert_eq!(call.join().unwrap().unwrap(), 1);
    });
}

#[test]
fn it_works_at_a_port_for_everybody() {
    let keep = Manager::open_config(&config().embedded_port(0)).unwrap();
    let address = keep.fetch_pool_status().nodes[0].address.clone();
    let other = format!("redis://{address}?command_timeout=300ms&retries=0");
    let other = Manager::open(&other).unwrap();
    other.set("a", 1).unwrap();
    keep.embedded_fault(Fault::Freeze).unwrap();
    assert_eq!(other.ping().unwrap_err().kind(), ErrorKind::Timeout);
    keep.embedded_fault(Fault::Drop).unwrap();
    assert!(other.ping().is_err());
    heal(&keep);
    heal_other(&other);
    assert_eq!(other.get::<i64>("a").unwrap(), Some(1));
}

fn heal_other(other: &Manager) {
    other
        .wait_for_ready(None, PATIENCE, Duration::from_millis(10), 10_000)
        .unwrap();
}

#[test]
fn who_did_not_ask_for_it_is_told() {
    let plain = Manager::open_config(&config().embedded_faults(false)).unwrap();
    let error = plain.embedded_fault(Fault::Freeze).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Embedded);
    assert!(error.to_string().contains("embedded_faults"), "{error}");
    let elsewhere = Manager::open("redis://localhost:1").unwrap();
    let error = elsewhere.embedded_fault(Fault::None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Embedded);
    let keep = open();
    let endless = Fault::Slow(Duration::from_secs(25 * 3600));
    let error = keep.embedded_fault(endless).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Argument);
    keep.close(PATIENCE).unwrap();
    let error = keep.embedded_fault(Fault::None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}

#[test]
fn a_frozen_server_is_gone_at_the_end_all_the_same() {
    for fault in [Fault::Freeze, Fault::Drop, Fault::Slow(PATIENCE * 10)] {
        let keep = open();
        keep.ping().unwrap();
        keep.embedded_fault(fault).unwrap();
        let _ = keep.ping();
        let started = Instant::now();
        keep.close(PATIENCE).unwrap();
        assert!(started.elapsed() < PATIENCE / 2);
    }
}

#[test]
fn nothing_is_left() {
    if !alone("nothing_is_left") {
        return;
    }
    drop(open());
    wait_until(PATIENCE, || threads().is_empty());
    let before = descriptors();
    for _ in 0..5 {
        let keep = open();
        keep.ping().unwrap();
        keep.embedded_fault(Fault::Drop).unwrap();
        keep.embedded_fault(Fault::None).unwrap();
        let _ = keep.ping();
    }
    wait_until(PATIENCE, || threads().is_empty());
    assert_eq!(descriptors(), before);
}

#[test]
fn a_forked_child_cannot_and_holds_nothing_open() {
    if !alone("a_forked_child_cannot_and_holds_nothing_open") {
        return;
    }
    let keep = open();
    let mut held = keep.client().dedicated().unwrap();
    held.command::<()>("PING").unwrap();
    // SAFETY: the child only uses the manager, which is made for it, and leaves by _exit().
    match unsafe { libc::fork() } {
        0 => {
            let works = keep.incr("n", 1).is_ok();
            let error = keep.embedded_fault(Fault::Drop).unwrap_err();
            let told = error.kind() == ErrorKind::Embedded;
            let ended = keep
                .command_within::<()>(("BLPOP", "q", 0), PATIENCE)
                .is_err();
            drop(keep);
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(if works && told && ended { 0 } else { 1 }) }
        }
        pid => {
            wait_until(PATIENCE, || {
                let list: String = keep.command(("CLIENT", "LIST")).unwrap();
                list.contains("cmd=blpop")
            });
            // What a child holds open does not keep a connection alive that its parent's relay closes.
            keep.embedded_fault(Fault::Drop).unwrap();
            let error = held.command::<()>("PING").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Io, "{error}");
            let mut status = 0;
            // SAFETY: our own child.
            unsafe { libc::waitpid(pid, &mut status, 0) };
            assert_eq!(status, 0);
        }
    }
}
