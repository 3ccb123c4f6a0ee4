// Only from in here can the listener be had without the features that hang on it.
#[path = "../../../tests/support/mod.rs"]
#[allow(unsafe_code)]
mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use support::{Fault, PATIENCE, Peer, Proxy, Server, Way, alone, threads, wait_for, wait_until};

use super::{Kind, Message, Sink, Subscription};
use crate::clock::{Deadline, Moment};
use crate::config::{Config, Target};
use crate::error::{Error, ErrorKind, Result};
use crate::node::{Fleet, Node};

/// What came, in order: `channel=data`, `pattern>channel=data`, `gap`, `closed`.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Heard {
    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn count(&self, what: &str) -> usize {
        self.all().iter().filter(|one| *one == what).count()
    }
}

impl Sink for Heard {
    fn message(&self, message: &Message<'_>) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let pattern = message.pattern.map_or(String::new(), |p| text(p) + ">");
        let line = format!("{pattern}{}={}", text(message.channel), text(message.data));
        self.0.lock().unwrap().push(line);
    }

    fn gap(&self) {
        self.0.lock().unwrap().push("gap".to_owned());
    }

    fn closed(&self) {
        self.0.lock().unwrap().push("closed".to_owned());
    }
}

struct Home {
    fleet: Fleet,
    node: Arc<Node>,
}

/// With health checks off: what is seen is the listener's own doing.
fn home(url: &str, change: impl FnOnce(Config) -> Config) -> Home {
    let config = change(Config::new().url(url));
    let resolved = config.resolve().unwrap();
    let Target::One(endpoint) = resolved.target else {
        panic!("one node");
    };
    let fleet = Fleet::new(Arc::new(resolved.settings)).unwrap();
    fleet.stop_health_checks(Deadline::after(PATIENCE));
    let node = fleet.add(endpoint).unwrap();
    Home { fleet, node }
}

fn plain(url: &str) -> Home {
    home(url, |config| config)
}

impl Home {
    fn try_subscribe(
        &self,
        kind: Kind,
        name: &str,
        within: Duration,
    ) -> (Result<Subscription>, Arc<Heard>) {
        let heard = Arc::new(Heard::default());
        let listener = self.node.listener().unwrap();
        let deadline = Deadline::after(within);
        let made = listener.subscribe(kind, name.as_bytes(), heard.clone(), deadline);
        (made, heard)
    }

    #[track_caller]
    fn subscribe(&self, kind: Kind, name: &str) -> (Subscription, Arc<Heard>) {
        let (made, heard) = self.try_subscribe(kind, name, PATIENCE);
        (made.unwrap(), heard)
    }

    fn refused(&self, kind: Kind, name: &str, within: Duration) -> Error {
        let (made, _) = self.try_subscribe(kind, name, within);
        made.err().expect("an error")
    }
}

fn publish(server: &Server, channel: &str, data: &str) -> i64 {
    server.ask(&["PUBLISH", channel, data])
}

#[test]
fn messages_come_to_whoever_subscribed_in_resp2_and_resp3() {
    let server = Server::start();
    for protocol in [2, 3] {
        let home = home(&server.url(), |config| config.protocol(protocol));
        let (one, heard) = home.subscribe(Kind::Channel, "news");
        let (_all, all) = home.subscribe(Kind::Pattern, "ne*");
        let (_own, own) = home.subscribe(Kind::Sharded, "news");
        assert_eq!(publish(&server, "news", "a\r\nb"), 2);
        assert_eq!(server.ask::<i64>(&["SPUBLISH", "news", "c"]), 1);
        wait_until(PATIENCE, || !own.all().is_empty());
        assert_eq!(heard.all(), ["news=a\r\nb"]);
        assert_eq!(all.all(), ["ne*>news=a\r\nb"]);
        assert_eq!(own.all(), ["news=c"]);
        drop(one);
        wait_until(PATIENCE, || publish(&server, "news", "d") == 1);
        assert_eq!(heard.all().last().unwrap(), "news=a\r\nb");
    }
}

#[test]
fn subscriptions_to_one_name_are_one_on_the_server() {
    let server = Server::start();
    let home = plain(&server.url());
    let all: Vec<_> = (0..10)
        .map(|_| home.subscribe(Kind::Channel, "news"))
        .collect();
    assert_eq!(server.command_calls("subscribe"), 1);
    assert_eq!(server.connections(), 1);
    publish(&server, "news", "a");
    for (_, heard) in &all {
        wait_until(PATIENCE, || heard.all() == ["news=a"]);
    }
    let mut all = all.into_iter();
    let last = all.next();
    drop(all);
    let (_other, _) = home.subscribe(Kind::Channel, "other");
    assert_eq!(publish(&server, "news", "b"), 1);
    assert_eq!(server.command_calls("unsubscribe"), 0);
    drop(last);
    wait_until(PATIENCE, || publish(&server, "news", "c") == 0);
}

#[test]
fn one_name_taken_and_left_in_quick_turns_is_right_in_the_end() {
    let server = Server::start();
    let home = plain(&server.url());
    let (_keep, _) = home.subscribe(Kind::Channel, "other");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for turn in 0..200 {
                    let (_one, heard) = home.subscribe(Kind::Channel, "news");
                    // Whoever is told that he is subscribed gets what is published from then on.
                    if turn % 8 == 0 {
                        assert!(publish(&server, "news", "x") > 0);
                        wait_until(PATIENCE, || heard.count("news=x") > 0);
                    }
                }
            });
        }
    });
    wait_until(PATIENCE, || publish(&server, "news", "x") == 0);
}

#[test]
fn thread_and_socket_end_a_moment_after_the_last_subscription() {
    if !alone("node::listener::tests::thread_and_socket_end_a_moment_after_the_last_subscription") {
        return;
    }
    let server = Server::start();
    let home = plain(&server.url());
    let running = || threads().iter().filter(|t| *t == "redkeep-listen").count();
    assert_eq!(running(), 0);
    for _ in 0..2 {
        let (one, _) = home.subscribe(Kind::Channel, "news");
        assert_eq!(running(), 1);
        drop(one);
        wait_until(PATIENCE, || server.connections() == 0);
        wait_until(PATIENCE, || running() == 0);
    }
}

#[test]
fn every_cut_is_one_gap_for_everybody_and_order_holds_between_gaps() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let home = plain(&proxy.url());
    let subscriptions: Vec<_> = (0..3)
        .map(|i| home.subscribe(Kind::Channel, ["a", "a", "b"][i]))
        .collect();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut admin = server.admin();
            let mut i = 0;
            while !done.load(Ordering::Relaxed) {
                for name in ["a", "b"] {
                    let _: i64 = redis::cmd("PUBLISH")
                        .arg(name)
                        .arg(i)
                        .query(&mut admin)
                        .unwrap();
                }
                i += 1;
            }
        });
        for cut in 1..=20 {
            let before: Vec<_> = subscriptions.iter().map(|(_, h)| h.all().len()).collect();
            proxy.cut_all();
            let since = Moment::now();
            for ((_, heard), before) in subscriptions.iter().zip(before) {
                wait_for(PATIENCE, || (heard.count("gap") == cut).then_some(()));
                wait_until(PATIENCE, || heard.all().len() > before + 1);
            }
            assert!(
                since.elapsed() < Duration::from_secs(1),
                "{cut}: {:?}",
                since.elapsed()
            );
        }
        done.store(true, Ordering::Relaxed);
    });
    for (_, heard) in &subscriptions {
        let all = heard.all();
        assert_eq!(heard.count("gap"), 20);
        // Between gaps, nothing is missing and nothing comes twice.
        for part in all.split(|one| one == "gap") {
            let numbers: Vec<u64> = part.iter().map(|one| one[2..].parse().unwrap()).collect();
            assert!(
                numbers.windows(2).all(|two| two[1] == two[0] + 1),
                "{part:?}"
            );
        }
    }
}

#[test]
fn a_killed_client_and_a_server_that_comes_back_are_a_gap_each() {
    let mut server = Server::start();
    let home = plain(&server.url());
    let (_one, heard) = home.subscribe(Kind::Pattern, "*");
    let _: i64 = server.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    wait_until(PATIENCE, || heard.all() == ["gap"]);
    server.restart();
    wait_until(PATIENCE, || heard.all() == ["gap", "gap"]);
    assert_eq!(publish(&server, "x", "y"), 1);
    wait_until(PATIENCE, || heard.all() == ["gap", "gap", "*>x=y"]);
}

#[test]
fn a_purged_node_is_subscribed_to_anew_at_once() {
    let server = Server::start();
    let home = plain(&server.url());
    let (_one, heard) = home.subscribe(Kind::Channel, "a");
    home.node.purge();
    wait_until(Duration::from_secs(1), || heard.all() == ["gap"]);
    assert_eq!(publish(&server, "a", "b"), 1);
}

#[test]
fn closed_pools_end_the_connection_until_they_are_opened_again() {
    let server = Server::start();
    let home = plain(&server.url());
    let (_one, heard) = home.subscribe(Kind::Channel, "a");
    home.node.close();
    wait_until(PATIENCE, || server.connections() == 0);
    let refused = home.node.listener().err().expect("closed");
    assert_eq!(refused.kind(), ErrorKind::UnknownNode);
    home.fleet.add(home.node.dialer.endpoint.clone()).unwrap();
    wait_until(PATIENCE, || heard.all() == ["gap"]);
}

fn quick(config: Config) -> Config {
    config
        .health_check_interval(Duration::from_millis(100))
        .connect_timeout(Duration::from_millis(300))
}

#[test]
fn a_socket_into_a_black_hole_is_found_out() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let home = home(&proxy.url(), quick);
    let (_one, heard) = home.subscribe(Kind::Channel, "a");
    // That a new connection is tried, in vain, shows that the old one was given up.
    proxy.set(Way::ToClient, Fault::BlackHole);
    let first = proxy.accepted();
    wait_until(PATIENCE, || proxy.accepted() > first);
    assert_eq!(heard.all(), Vec::<String>::new());
    proxy.heal();
    wait_until(PATIENCE, || heard.all() == ["gap"]);
}

#[test]
fn a_silent_connection_with_a_living_server_is_left_alone() {
    let server = Server::start();
    for protocol in [2, 3] {
        let home = home(&server.url(), |config| quick(config).protocol(protocol));
        let (_one, heard) = home.subscribe(Kind::Channel, "a");
        let pings = server.command_calls("ping");
        wait_until(PATIENCE, || server.command_calls("ping") >= pings + 5);
        assert_eq!(heard.all(), Vec::<String>::new());
        assert_eq!(publish(&server, "a", "b"), 1);
        wait_until(PATIENCE, || heard.all() == ["a=b"]);
    }
}

#[test]
fn a_frozen_server_that_thaws_is_a_gap() {
    let server = Server::start();
    let home = home(&server.url(), quick);
    let (_one, heard) = home.subscribe(Kind::Channel, "a");
    server.freeze();
    let started = Moment::now();
    let error = home.refused(Kind::Channel, "b", Duration::from_millis(400));
    let took = started.elapsed();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(took < Duration::from_millis(650), "{took:?}");
    // Long enough for the connection to be given up.
    thread::sleep(Duration::from_millis(500));
    server.thaw();
    wait_until(PATIENCE, || heard.count("gap") >= 1);
    wait_until(PATIENCE, || publish(&server, "a", "b") == 1);
    wait_until(PATIENCE, || heard.count("a=b") == 1);
    assert_eq!(publish(&server, "b", "c"), 0, "given up");
}

#[test]
fn a_refusal_is_the_error_of_that_subscriber_alone() {
    let server = Server::start();
    for protocol in [2, 3] {
        let _: () = server.ask(&[
            "ACL", "SETUSER", "ann", "reset", "on", ">x", "+@all", "&a", "&b",
        ]);
        let url = server.url().replace("redis://", "redis://ann:x@");
        let home = home(&url, |config| quick(config).protocol(protocol));
        let (_one, heard) = home.subscribe(Kind::Channel, "a");
        let (_two, other) = home.subscribe(Kind::Channel, "b");
        let error = home.refused(Kind::Channel, "c", PATIENCE);
        assert_eq!(error.kind(), ErrorKind::NoPermission, "{error}");
        assert!(error.node().is_some());
        publish(&server, "a", "x");
        wait_until(PATIENCE, || heard.all() == ["a=x"]);
        // Taken away later: the server closes the connection; one name is granted again after a while.
        let _: () = server.ask(&["ACL", "SETUSER", "ann", "resetchannels", "&b"]);
        wait_until(PATIENCE, || other.all() == ["gap"]);
        let _: () = server.ask(&["ACL", "SETUSER", "ann", "&a"]);
        wait_until(PATIENCE, || heard.all() == ["a=x", "gap"]);
        assert_eq!(other.all(), ["gap"]);
    }
}

#[test]
fn a_late_confirmation_is_none_for_who_subscribes_anew() {
    let times = AtomicUsize::new(0);
    let peer = Peer::after_handshake(move |request| {
        let again = request[0] == b"SUBSCRIBE" && times.fetch_add(1, Ordering::SeqCst) > 0;
        // The first question's answer comes behind the second question.
        match again {
            true => "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n",
            false => "",
        }
    });
    let home = plain(&peer.url());
    for _ in 0..2 {
        let error = home.refused(Kind::Channel, "a", Duration::from_millis(300));
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    }
}

#[test]
fn a_node_that_cannot_be_reached_is_told_soon() {
    let mut server = Server::start();
    server.kill();
    let home = plain(&server.url());
    for _ in 0..3 {
        let started = Moment::now();
        let error = home.refused(Kind::Channel, "a", PATIENCE);
        assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
        assert!(started.elapsed() < Duration::from_secs(1));
    }
    server.restart();
    // Not an error of a moment ago: the server is there now.
    home.subscribe(Kind::Channel, "a");
}

#[test]
fn closing_wakes_whoever_waits_and_tells_every_sink() {
    let server = Server::start();
    let home = plain(&server.url());
    let (_one, heard) = home.subscribe(Kind::Channel, "a");
    server.freeze();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| home.refused(Kind::Channel, "b", PATIENCE * 2));
        thread::sleep(Duration::from_millis(50));
        let started = Moment::now();
        assert!(home.fleet.close(Deadline::after(PATIENCE)));
        let error = waiting.join().unwrap();
        assert_eq!(error.kind(), ErrorKind::Closed);
        assert!(started.elapsed() < Duration::from_secs(1));
    });
    assert_eq!(heard.all(), ["closed"]);
    let error = home
        .node
        .listener
        .subscribe(Kind::Channel, b"a", heard, Deadline::after(PATIENCE));
    assert_eq!(error.err().unwrap().kind(), ErrorKind::Closed);
}

#[test]
fn closing_does_not_wait_for_a_dial_under_way() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    proxy.set(Way::ToServer, Fault::BlackHole);
    let home = plain(&proxy.url());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| home.refused(Kind::Channel, "b", PATIENCE * 2));
        wait_until(PATIENCE, || proxy.accepted() > 0);
        let started = Moment::now();
        assert!(home.fleet.close(Deadline::after(PATIENCE)));
        assert_eq!(waiting.join().unwrap().kind(), ErrorKind::Closed);
        assert!(started.elapsed() < Duration::from_secs(1));
    });
}

#[test]
fn a_sharded_channel_that_the_server_lets_go_of_is_subscribed_to_anew() {
    let confirmed = "*3\r\n$10\r\nssubscribe\r\n$1\r\na\r\n:1\r\n";
    let dropped = "*3\r\n$12\r\nsunsubscribe\r\n$1\r\na\r\n:0\r\n";
    let message = "*3\r\n$8\r\nsmessage\r\n$1\r\na\r\n$1\r\nx\r\n";
    let asked = AtomicUsize::new(0);
    let peer = Peer::after_handshake(move |_| match asked.fetch_add(1, Ordering::Relaxed) {
        0 => format!("{confirmed}{message}{dropped}"),
        _ => format!("{confirmed}{message}"),
    });
    let home = plain(&peer.url());
    let (_one, heard) = home.subscribe(Kind::Sharded, "a");
    wait_until(PATIENCE, || heard.all() == ["a=x", "gap", "a=x"]);
    assert_eq!((peer.accepted(), peer.requests("SSUBSCRIBE")), (1, 2));
}

#[test]
fn an_answer_to_nothing_ends_the_connection_and_not_the_subscription() {
    let confirmed = |name: &[u8]| {
        let name = String::from_utf8_lossy(name).into_owned();
        format!(
            "*3\r\n$9\r\nsubscribe\r\n${}\r\n{name}\r\n:1\r\n",
            name.len()
        )
    };
    let asked = AtomicUsize::new(0);
    let peer = Peer::after_handshake(move |request| match asked.fetch_add(1, Ordering::Relaxed) {
        0 => confirmed(&request[1]) + "+OK\r\n",
        1 => confirmed(b"another"),
        _ => confirmed(&request[1]),
    });
    let home = plain(&peer.url());
    let (_one, heard) = home.subscribe(Kind::Channel, "a");
    wait_until(PATIENCE, || heard.all() == ["gap"]);
    assert_eq!(peer.accepted(), 3);
}
