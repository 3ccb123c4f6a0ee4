//! Publish and subscribe: what comes, in which order, what is told of what does not, and how it ends.

mod home;
mod support;

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use home::Home;
use redkeep::{Config, ErrorKind, Event, Manager, Overflow, Published, Subscriber};
use support::{PATIENCE, Proxy, Server, alone, descriptors, threads, wait_until};

fn open(url: &str) -> Manager {
    Manager::open(url).expect("a url of ours")
}

fn with(url: &str, change: impl FnOnce(Config) -> Config) -> Manager {
    Manager::open_config(&change(Config::new().url(url))).expect("a config of ours")
}

#[track_caller]
fn next(subscriber: &Subscriber) -> Event {
    let event = subscriber.poll(PATIENCE).expect("no error");
    event.expect("an event")
}

#[track_caller]
fn message(subscriber: &Subscriber) -> Published {
    match next(subscriber) {
        Event::Message(message) => message,
        other => panic!("{other:?}"),
    }
}

fn nothing_comes(subscriber: &Subscriber) -> bool {
    subscriber
        .poll(Duration::from_millis(50))
        .unwrap()
        .is_none()
}

#[test]
fn channels_patterns_and_sharded_channels_are_added_and_removed_while_it_runs() {
    let server = Home::start();
    for protocol in [2, 3] {
        let keep = with(&server.url(), |config| config.protocol(protocol));
        let subscriber = keep.subscriber();
        assert!(nothing_comes(&subscriber));
        subscriber.add("news").unwrap();
        subscriber.add("news").unwrap();
        assert_eq!(keep.publish("news", "a\r\n\0b").unwrap(), 1);
        let first = message(&subscriber);
        assert_eq!(first.channel(), "news");
        assert_eq!(first.data(), b"a\r\n\0b");
        assert_eq!(first.pattern(), None);
        assert!(!first.is_sharded());

        subscriber.add_pattern("n?ws").unwrap();
        subscriber.add_sharded("news").unwrap();
        assert_eq!(keep.publish("news", "b").unwrap(), 2);
        let both = [message(&subscriber), message(&subscriber)];
        let patterns = both.each_ref().map(|m| m.pattern().map(|p| p.into_owned()));
        assert!(patterns.contains(&None) && patterns.contains(&Some("n?ws".to_owned())));
        assert_eq!(keep.publish_sharded("news", "c").unwrap(), 1);
        let own = message(&subscriber);
        assert!(own.is_sharded() && own.data() == b"c");

        assert_eq!(subscriber.stats().unwrap().subscriptions, 3);
        assert!(subscriber.remove("news").unwrap());
        assert!(!subscriber.remove("news").unwrap());
        assert!(subscriber.remove_sharded("news").unwrap());
        wait_until(PATIENCE, || keep.publish("news", "d").unwrap() == 1);
        assert!(message(&subscriber).pattern().is_some());
        assert!(subscriber.remove_pattern("n?ws").unwrap());
        wait_until(PATIENCE, || keep.publish("news", "e").unwrap() == 0);
        assert!(nothing_comes(&subscriber));
        assert_eq!(subscriber.stats().unwrap().gaps, 0);
    }
}

#[test]
fn what_waits_of_a_removed_channel_is_forgotten() {
    let server = Home::start();
    let keep = open(&server.url());
    let subscriber = keep.subscriber();
    subscriber.add("a").unwrap();
    subscriber.add("b").unwrap();
    for i in 0..10 {
        keep.publish(["a", "b"][i % 2], i).unwrap();
    }
    wait_until(PATIENCE, || subscriber.stats().unwrap().waiting == 10);
    subscriber.remove("a").unwrap();
    assert_eq!(subscriber.stats().unwrap().waiting, 5);
    for i in [1, 3, 5, 7, 9] {
        assert_eq!(message(&subscriber).data(), i.to_string().as_bytes());
    }
    assert!(nothing_comes(&subscriber));
}

#[test]
fn json_goes_in_and_comes_out_and_what_is_none_is_said() {
    let server = Home::start();
    let keep = open(&server.url());
    let subscriber = keep.subscriber();
    subscriber.add("news").unwrap();
    assert_eq!(keep.publish_json("news", &("login", 123)).unwrap(), 1);
    let got: (String, i64) = message(&subscriber).json().unwrap();
    assert_eq!(got, ("login".to_owned(), 123));
    let error = {
        keep.publish_json("news", &1).unwrap();
        message(&subscriber).json::<String>().unwrap_err()
    };
    assert_eq!(error.kind(), ErrorKind::StoredJson);
    keep.publish("news", support::CANARY_VALUE).unwrap();
    let bad = message(&subscriber);
    let error = bad.json::<String>().unwrap_err();
    assert!(error.to_string().contains("not JSON"), "{error}");
    for text in [error.to_string(), format!("{bad:?}")] {
        assert!(!text.contains(support::CANARY_VALUE), "{text}");
    }
    assert_eq!(keep.lenient().publish_json("news", &"x"), 1);
    assert_eq!(open("redis://localhost:1").lenient().publish("a", "b"), 0);
}

/// What came between two gaps is without a hole and without a repetition.
fn unbroken(numbers: &[u64]) -> bool {
    numbers.windows(2).all(|two| two[1] == two[0] + 1)
}

/// Publishes 0, 1, 2, … until told to stop.
fn flood(server: &Server, channel: &str, stop: &AtomicBool) {
    let mut admin = server.admin();
    let mut i = 0u64;
    while !stop.load(Ordering::Relaxed) {
        let mut pipe = redis::pipe();
        for _ in 0..20 {
            pipe.cmd("PUBLISH").arg(channel).arg(i).ignore();
            i += 1;
        }
        pipe.query::<()>(&mut admin).unwrap();
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn fifty_cuts_under_load_are_fifty_gaps_and_order_is_kept_between_them() {
    const CUTS: usize = 50;
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let keep = open(&proxy.url());
    let subscriber = keep.subscriber();
    subscriber.add("news").unwrap();
    let stop = AtomicBool::new(false);
    let slowest = thread::scope(|scope| {
        scope.spawn(|| flood(&server, "news", &stop));
        let mut slowest = Duration::ZERO;
        let mut numbers: Vec<u64> = Vec::new();
        for cut in 1..=CUTS {
            wait_for_some(&subscriber, &mut numbers, 10);
            proxy.cut_all();
            let since = Instant::now();
            while let Event::Message(message) = next(&subscriber) {
                numbers.push(number(&message));
            }
            assert!(unbroken(&numbers), "before cut {cut}: {numbers:?}");
            numbers.clear();
            wait_for_some(&subscriber, &mut numbers, 1);
            slowest = slowest.max(since.elapsed());
        }
        stop.store(true, Ordering::Relaxed);
        slowest
    });
    support::figure(format!(
        "the slowest of {CUTS} was there again after {slowest:?}"
    ));
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    let stats = subscriber.stats().unwrap();
    assert_eq!((stats.gaps, stats.dropped), (CUTS as u64, 0));
    // None of them was told twice.
    while let Ok(Some(event)) = subscriber.poll(Duration::from_millis(100)) {
        assert!(matches!(event, Event::Message(_)), "{event:?}");
    }
}

fn number(message: &Published) -> u64 {
    std::str::from_utf8(message.data())
        .unwrap()
        .parse()
        .unwrap()
}

fn wait_for_some(subscriber: &Subscriber, numbers: &mut Vec<u64>, count: usize) {
    for _ in 0..count {
        numbers.push(number(&message(subscriber)));
    }
}

#[test]
fn gaps_come_to_their_handler_in_their_place() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let keep = open(&proxy.url());
    let seen: Arc<Mutex<Vec<Option<u64>>>> = Arc::default();
    let subscriber = keep.subscriber();
    let to = seen.clone();
    subscriber
        .on_message(move |message| to.lock().unwrap().push(Some(number(message))))
        .unwrap();
    let to = seen.clone();
    subscriber
        .on_gap(move |gap| {
            assert_eq!(gap.pattern().as_deref(), Some("n*"));
            to.lock().unwrap().push(None);
        })
        .unwrap();
    subscriber.add_pattern("n*").unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| flood(&server, "news", &stop));
        for cut in 1..=10 {
            proxy.cut_all();
            wait_until(PATIENCE, || {
                let seen = seen.lock().unwrap();
                let gaps = seen.iter().filter(|one| one.is_none()).count();
                gaps == cut && seen.last().is_some_and(Option::is_some)
            });
        }
        stop.store(true, Ordering::Relaxed);
    });
    let seen = seen.lock().unwrap();
    for part in seen.split(Option::is_none) {
        let numbers: Vec<u64> = part.iter().flatten().copied().collect();
        assert!(unbroken(&numbers), "{numbers:?}");
    }
    assert_eq!(subscriber.stats().unwrap().failed, 0);
}

#[test]
fn handlers_keep_the_order_of_a_channel_and_run_beside_those_of_others() {
    let server = Home::start();
    let keep = with(&server.url(), |config| config.workers(2));
    let subscriber = keep.subscriber();
    let seen: Arc<Mutex<Vec<(String, u64)>>> = Arc::default();
    let together = Arc::new(Barrier::new(2));
    let (to, met) = (seen.clone(), together.clone());
    subscriber
        .on_message(move |message| {
            assert!(
                thread::current()
                    .name()
                    .unwrap()
                    .starts_with("redkeep-work")
            );
            let number = number(message);
            if number == 0 {
                // Returns only if both channels' handlers run at the same time.
                met.wait();
            }
            to.lock()
                .unwrap()
                .push((message.channel().into_owned(), number));
        })
        .unwrap();
    for name in ["a", "b"] {
        subscriber.add(name).unwrap();
    }
    for i in 0..500 {
        for name in ["a", "b"] {
            assert_eq!(keep.publish(name, i).unwrap(), 1);
        }
    }
    wait_until(PATIENCE, || seen.lock().unwrap().len() == 1000);
    for name in ["a", "b"] {
        let seen = seen.lock().unwrap();
        let numbers = seen.iter().filter(|(channel, _)| channel == name);
        let numbers: Vec<u64> = numbers.map(|(_, number)| *number).collect();
        assert_eq!(numbers, (0..500).collect::<Vec<u64>>());
    }
    let stats = subscriber.stats().unwrap();
    assert_eq!(
        (stats.received, stats.delivered, stats.waiting),
        (1000, 1000, 0)
    );
}

#[test]
fn an_error_and_a_panic_of_a_handler_are_counted_and_the_next_message_comes() {
    let server = Home::start();
    let keep = open(&server.url());
    let subscriber = keep.subscriber();
    let (to, seen) = channel();
    subscriber
        .on_message(move |message| {
            let number = number(message);
            to.send(number).unwrap();
            match number {
                0 => Err("on purpose"),
                1 => panic!("on purpose"),
                _ => Ok(()),
            }
        })
        .unwrap();
    subscriber.add("news").unwrap();
    for i in 0..4 {
        keep.publish("news", i).unwrap();
    }
    let got: Vec<u64> = (0..4)
        .map(|_| seen.recv_timeout(PATIENCE).unwrap())
        .collect();
    assert_eq!(got, [0, 1, 2, 3]);
    wait_until(PATIENCE, || subscriber.stats().unwrap().delivered == 4);
    assert_eq!(subscriber.stats().unwrap().failed, 2);
}

#[test]
fn it_is_polled_or_has_handlers_and_they_are_set_first() {
    let server = Home::start();
    let keep = open(&server.url());
    let kind = |result: redkeep::Result<()>| result.unwrap_err().kind();

    let handled = keep.subscriber();
    handled.on_message(|_| ()).unwrap();
    assert_eq!(kind(handled.on_message(|_| ())), ErrorKind::Conflict);
    assert_eq!(
        kind(handled.poll(Duration::ZERO).map(|_| ())),
        ErrorKind::Conflict
    );
    assert_eq!(kind(handled.fd().map(|_| ())), ErrorKind::Conflict);
    handled.add("a").unwrap();
    assert_eq!(kind(handled.on_gap(|_| ())), ErrorKind::Conflict);

    let polled = keep.subscriber();
    polled.poll(Duration::ZERO).unwrap();
    assert_eq!(kind(polled.on_message(|_| ())), ErrorKind::Conflict);

    let added = keep.subscriber();
    added.add("a").unwrap();
    assert_eq!(kind(added.on_message(|_| ())), ErrorKind::Conflict);

    let gaps_only = keep.subscriber();
    gaps_only.on_gap(|_| ()).unwrap();
    assert_eq!(kind(gaps_only.add("a")), ErrorKind::Argument);
    gaps_only.on_message(|_| ()).unwrap();
    gaps_only.add("a").unwrap();

    assert_eq!(kind(polled.queue_limit(0)), ErrorKind::BadValue);
    assert_eq!(kind(polled.queue_bytes(0)), ErrorKind::BadValue);
}

fn is_readable(fd: i32) -> bool {
    let mut entry = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one live entry.
    unsafe { libc::poll(&raw mut entry, 1, 0) == 1 }
}

#[test]
fn the_descriptor_is_readable_exactly_while_there_is_something() {
    let server = Home::start();
    let keep = open(&server.url());
    let subscriber = keep.subscriber();
    subscriber.add("news").unwrap();
    keep.publish("news", "early").unwrap();
    wait_until(PATIENCE, || subscriber.stats().unwrap().waiting == 1);
    let fd = subscriber.fd().unwrap().as_raw_fd();
    assert_eq!(fd, subscriber.fd().unwrap().as_raw_fd());
    assert!(is_readable(fd));
    message(&subscriber);
    assert!(!is_readable(fd));
    for round in 0..20 {
        for i in 0..=round % 3 {
            keep.publish("news", i).unwrap();
        }
        for i in 0..=round % 3 {
            wait_until(PATIENCE, || is_readable(fd));
            assert_eq!(number(&message(&subscriber)), i);
        }
        assert!(!is_readable(fd));
        assert!(subscriber.poll(Duration::ZERO).unwrap().is_none());
        assert!(!is_readable(fd));
    }
    keep.publish("news", "late").unwrap();
    wait_until(PATIENCE, || is_readable(fd));
    subscriber.remove("news").unwrap();
    assert!(!is_readable(fd));
    subscriber.add("news").unwrap();
    keep.close(PATIENCE).unwrap();
    assert!(is_readable(fd));
    let error = subscriber.poll(PATIENCE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(is_readable(fd));
}

#[test]
fn a_full_queue_drops_the_oldest_or_the_newest_and_counts_them() {
    let server = Home::start();
    let keep = open(&server.url());
    for (overflow, left) in [
        (Overflow::DropOldest, [95, 96, 97, 98, 99]),
        (Overflow::DropNewest, [0, 1, 2, 3, 4]),
    ] {
        let subscriber = keep.subscriber();
        subscriber.queue_limit(5).unwrap();
        subscriber.overflow(overflow).unwrap();
        subscriber.add("news").unwrap();
        for i in 0..100 {
            keep.publish("news", i).unwrap();
        }
        wait_until(PATIENCE, || subscriber.stats().unwrap().received == 100);
        let stats = subscriber.stats().unwrap();
        assert_eq!((stats.dropped, stats.waiting), (95, 5));
        for i in left {
            assert_eq!(number(&message(&subscriber)), i);
        }
        assert!(nothing_comes(&subscriber));
    }
    let subscriber = keep.subscriber();
    subscriber.queue_bytes(100_000).unwrap();
    subscriber.add("big").unwrap();
    for size in [10, 60_000, 60_000, 300_000] {
        keep.publish("big", vec![b'x'; size]).unwrap();
    }
    wait_until(PATIENCE, || subscriber.stats().unwrap().received == 4);
    // One message may wait, however large it is.
    assert_eq!(message(&subscriber).data().len(), 300_000);
    assert!(nothing_comes(&subscriber));
}

#[test]
fn a_slow_handler_holds_up_its_own_queue_only_and_memory_is_bounded() {
    let server = Home::start();
    let keep = open(&server.url());
    let slow = keep.subscriber();
    slow.queue_limit(10).unwrap();
    let (begun, has_begun) = channel();
    let (go, may_go) = channel::<()>();
    let may_go = Mutex::new(may_go);
    slow.on_message(move |message| {
        begun.send(number(message)).unwrap();
        let _ = may_go.lock().unwrap().recv();
    })
    .unwrap();
    slow.add("news").unwrap();
    let quick = keep.subscriber();
    quick.add("news").unwrap();
    for i in 0..1000 {
        keep.publish("news", i).unwrap();
        assert_eq!(number(&message(&quick)), i);
    }
    wait_until(PATIENCE, || slow.stats().unwrap().received == 1000);
    assert_eq!(slow.stats().unwrap().waiting, 10);
    drop(go);
    assert_eq!(has_begun.recv_timeout(PATIENCE), Ok(0));
    let rest: Vec<u64> = (0..10)
        .map(|_| has_begun.recv_timeout(PATIENCE).unwrap())
        .collect();
    assert_eq!(rest, (990..1000).collect::<Vec<u64>>());
    assert_eq!(slow.stats().unwrap().dropped, 989);
}

/// A subscriber whose handler waits until it is told to go, and tells when it has begun and when it ends.
fn held_up(
    keep: &Manager,
) -> (
    Subscriber,
    Receiver<()>,
    std::sync::mpsc::Sender<()>,
    Arc<AtomicBool>,
) {
    let subscriber = keep.subscriber();
    let (begun, has_begun) = channel();
    let (go, may_go) = channel();
    let may_go = Mutex::new(may_go);
    let ended = Arc::new(AtomicBool::new(false));
    let over = ended.clone();
    subscriber
        .on_message(move |_| {
            begun.send(()).unwrap();
            let _ = may_go.lock().unwrap().recv_timeout(PATIENCE);
            over.store(true, Ordering::SeqCst);
        })
        .unwrap();
    subscriber.add("news").unwrap();
    (subscriber, has_begun, go, ended)
}

#[test]
fn dropping_it_waits_for_the_handler_that_runs() {
    let server = Home::start();
    let keep = open(&server.url());
    let (subscriber, has_begun, go, ended) = held_up(&keep);
    keep.publish("news", "a").unwrap();
    keep.publish("news", "b").unwrap();
    has_begun.recv_timeout(PATIENCE).unwrap();
    let dropping = thread::spawn(move || drop(subscriber));
    thread::sleep(Duration::from_millis(50));
    assert!(!dropping.is_finished());
    go.send(()).unwrap();
    dropping.join().unwrap();
    assert!(ended.load(Ordering::SeqCst));
    // What waited is not handled any more.
    assert!(has_begun.recv_timeout(Duration::from_millis(50)).is_err());
}

#[test]
fn it_may_be_dropped_in_its_own_handler() {
    struct Told(std::sync::mpsc::Sender<&'static str>);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.send("dropped").unwrap();
        }
    }
    let server = Home::start();
    let keep = open(&server.url());
    let place: Arc<Mutex<Option<Subscriber>>> = Arc::default();
    let subscriber = keep.subscriber();
    let (tell, told) = channel();
    let (mine, owned) = (place.clone(), Told(tell.clone()));
    subscriber
        .on_message(move |_| {
            drop(mine.lock().unwrap().take().expect("only once"));
            owned.0.send("handled").unwrap();
        })
        .unwrap();
    subscriber.add("news").unwrap();
    *place.lock().unwrap() = Some(subscriber);
    keep.publish("news", "a").unwrap();
    // What the handler owns lives until the handler has returned.
    assert_eq!(told.recv_timeout(PATIENCE), Ok("handled"));
    assert_eq!(told.recv_timeout(PATIENCE), Ok("dropped"));
    wait_until(PATIENCE, || keep.publish("news", "b").unwrap() == 0);
}

#[test]
fn closing_the_manager_wakes_polls_and_ends_in_time() {
    let server = Home::start();
    for listens in [true, false] {
        let keep = open(&server.url());
        let subscriber = keep.subscriber();
        if listens {
            subscriber.add("news").unwrap();
        }
        let (polling, other) = (subscriber.clone(), subscriber.clone());
        let waiting = [
            thread::spawn(move || polling.poll(Duration::MAX).unwrap_err().kind()),
            thread::spawn(move || other.poll(Duration::MAX).unwrap_err().kind()),
        ];
        thread::sleep(Duration::from_millis(50));
        let started = Instant::now();
        keep.close(PATIENCE).unwrap();
        for one in waiting {
            assert_eq!(one.join().unwrap(), ErrorKind::Closed);
        }
        assert!(started.elapsed() < Duration::from_secs(1));
        assert_eq!(
            subscriber.add("more").unwrap_err().kind(),
            ErrorKind::Closed
        );
        assert_eq!(
            subscriber.poll(PATIENCE).unwrap_err().kind(),
            ErrorKind::Closed
        );
    }
    // A handler that takes its time: close() comes back at its deadline and says so.
    let keep = open(&server.url());
    let (_subscriber, has_begun, go, _) = held_up(&keep);
    keep.publish("news", "a").unwrap();
    has_begun.recv_timeout(PATIENCE).unwrap();
    let started = Instant::now();
    let error = keep.close(Duration::from_millis(100)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(started.elapsed() < Duration::from_millis(350));
    go.send(()).unwrap();
}

#[test]
fn a_manager_may_be_closed_and_dropped_in_a_handler() {
    let server = Home::start();
    let keep = open(&server.url());
    let (tell, told) = channel();
    let subscriber = keep.subscriber();
    let mine = Mutex::new(Some(keep.clone()));
    subscriber
        .on_message(move |_| {
            let keep = mine.lock().unwrap().take().unwrap();
            tell.send(keep.close(PATIENCE)).unwrap();
        })
        .unwrap();
    subscriber.add("news").unwrap();
    open(&server.url()).publish("news", "a").unwrap();
    drop(keep);
    told.recv_timeout(PATIENCE).unwrap().unwrap();
}

#[test]
fn a_subscriber_outlives_the_manager_s_other_handles() {
    let server = Server::start();
    let subscriber = open(&server.url()).subscriber();
    subscriber.add("news").unwrap();
    server.ask::<i64>(&["PUBLISH", "news", "a"]);
    assert_eq!(message(&subscriber).data(), b"a");
    drop(subscriber);
    wait_until(PATIENCE, || server.connections() == 0);
}

#[test]
fn errors_name_what_was_wrong() {
    let mut server = Server::start();
    let _: () = server.ask(&["ACL", "SETUSER", "ann", "on", ">x", "+@all", "&a"]);
    let keep = open(&server.url().replace("redis://", "redis://ann:x@"));
    let subscriber = keep.subscriber();
    subscriber.add("a").unwrap();
    let error = subscriber.add("b").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoPermission, "{error}");
    assert_eq!(error.node(), Some(server.address().as_str()));
    keep.publish("a", "x").unwrap();
    assert_eq!(message(&subscriber).data(), b"x");
    assert_eq!(subscriber.stats().unwrap().subscriptions, 1);

    server.kill();
    let fresh = open(&server.url());
    let started = Instant::now();
    let error = fresh.subscriber().add("a").unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Connect | ErrorKind::NoHealthyPools),
        "{error}"
    );
    assert!(started.elapsed() < Duration::from_secs(1));
    let off = with(&server.url(), |config| config.enabled(false));
    let error = off.subscriber().add("a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disabled);
    let error = off.subscriber().poll(Duration::ZERO).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disabled);
}

#[test]
fn a_frozen_server_cannot_stretch_the_deadline() {
    let server = Server::start();
    let keep = with(&server.url(), |config| {
        config.command_timeout(Duration::from_millis(300))
    });
    let subscriber = keep.subscriber();
    subscriber.add("a").unwrap();
    server.freeze();
    let started = Instant::now();
    let error = subscriber.add("b").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(started.elapsed() < Duration::from_millis(550));
    server.thaw();
    wait_until(PATIENCE, || server.ask::<i64>(&["PUBLISH", "a", "x"]) == 1);
}

#[test]
fn every_message_is_polled_by_one_of_several_threads() {
    let server = Home::start();
    let keep = open(&server.url());
    let subscriber = keep.subscriber();
    subscriber.add("news").unwrap();
    let seen = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while seen.load(Ordering::SeqCst) < 2000 {
                    if let Some(Event::Message(_)) =
                        subscriber.poll(Duration::from_millis(20)).unwrap()
                    {
                        seen.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
        for i in 0..2000 {
            keep.publish("news", i).unwrap();
        }
    });
    assert_eq!(seen.load(Ordering::SeqCst), 2000);
}

#[test]
fn one_name_added_and_removed_by_many_threads_is_right_in_the_end() {
    let server = Home::start();
    let keep = open(&server.url());
    let subscriber = keep.subscriber();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    subscriber.add("news").unwrap();
                    subscriber.remove("news").unwrap();
                }
            });
        }
    });
    subscriber.add("news").unwrap();
    keep.publish("news", "once").unwrap();
    assert_eq!(message(&subscriber).data(), b"once");
    assert!(nothing_comes(&subscriber));
    subscriber.remove("news").unwrap();
    wait_until(PATIENCE, || keep.publish("news", "x").unwrap() == 0);
}

#[test]
fn a_thousand_lives_leave_nothing_behind() {
    if !alone("a_thousand_lives_leave_nothing_behind") {
        return;
    }
    let server = Home::start();
    let keep = open(&server.url());
    let life = |i: usize| {
        let subscriber = keep.subscriber();
        match i % 2 {
            0 => subscriber.on_message(|_| ()).unwrap(),
            _ => drop(subscriber.fd().unwrap()),
        }
        subscriber.add(format!("channel:{i}")).unwrap();
    };
    life(0);
    life(1);
    let settled = || {
        server
            .ask::<Vec<String>>(&["PUBSUB", "CHANNELS", "channel:*"])
            .is_empty()
    };
    wait_until(PATIENCE, settled);
    let (fds, running) = (descriptors(), threads().len());
    for i in 0..1000 {
        life(i);
    }
    wait_until(PATIENCE, settled);
    // The listener and the server's answers come and go by themselves, one at a time.
    wait_until(PATIENCE, || descriptors() <= fds + 2);
    wait_until(PATIENCE, || threads().len() <= running + 1);
    drop(keep);
    wait_until(PATIENCE, || threads().is_empty());
}

#[test]
fn a_fork_has_subscribers_of_its_own() {
    if !alone("a_fork_has_subscribers_of_its_own") {
        return;
    }
    let server = Server::start();
    let keep = open(&server.url());
    let subscriber = keep.subscriber();
    subscriber.add("news").unwrap();
    let handled = keep.subscriber();
    // Some forks fall into a call of it: what is under way there is nothing that a child could wait for.
    handled
        .on_message(|_| thread::sleep(Duration::from_millis(1)))
        .unwrap();
    handled.add("news").unwrap();
    let mut handled = Some(handled);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| flood(&server, "news", &stop));
        for _ in 0..10 {
            // SAFETY: the child uses only what a fork may use, which is what is tested, and leaves by _exit().
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                let ok = in_child(&keep, &subscriber, handled.take().unwrap());
                // SAFETY: ends the child at once.
                unsafe { libc::_exit(i32::from(!ok)) };
            }
            let mut status = 0;
            // SAFETY: our own child, and a live place for its status.
            assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
            assert_eq!(status, 0);
        }
        stop.store(true, Ordering::Relaxed);
    });
    // The parent has lost nothing.
    let handled = handled.expect("taken only in the children");
    handled.remove("news").unwrap();
    let mut numbers = Vec::new();
    while let Some(Event::Message(message)) = subscriber.poll(Duration::from_millis(100)).unwrap() {
        numbers.push(number(&message));
    }
    let stats = subscriber.stats().unwrap();
    assert!(unbroken(&numbers) && !numbers.is_empty());
    assert_eq!(stats.gaps, 0);
}

fn in_child(keep: &Manager, subscriber: &Subscriber, other: Subscriber) -> bool {
    let refused = |error: redkeep::Error| {
        error.kind() == ErrorKind::Closed && error.to_string().contains("fork")
    };
    let told = subscriber.poll(Duration::ZERO).is_err_and(refused)
        && subscriber.add("more").is_err_and(refused)
        && other.remove("news").is_err_and(refused);
    drop(other);
    let own = keep.subscriber();
    let (tell, hear) = channel();
    let set = own.on_message(move |message| tell.send(message.data().to_vec()));
    if set.is_err() || own.add("child").is_err() || keep.publish("child", "x").is_err() {
        return false;
    }
    told && hear.recv_timeout(PATIENCE) == Ok(b"x".to_vec()) && keep.close(PATIENCE).is_ok()
}
