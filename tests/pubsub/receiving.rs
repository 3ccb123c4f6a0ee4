//! What is subscribed to, and how it is received.

use crate::*;

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
