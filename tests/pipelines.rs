//! Pipelines and transactions.

mod home;
mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use home::Home;
use redkeep::{Config, ErrorKind, Manager, Outcome, TopologyKind};
use support::{
    Answer, Fault, PATIENCE, Peer, Proxy, Server, Way, alone, figure, forget_peak, peak,
};

#[test]
fn replies_come_in_order_and_errors_stay_with_their_commands() {
    let server = Home::start();
    for protocol in [2, 3] {
        let keep = Manager::open(&server.url_with(&format!("protocol={protocol}"))).unwrap();
        let mut pipe = keep.pipeline();
        for i in 0..100 {
            pipe.command(("SET", format!("k{i}"), i)).unwrap();
        }
        pipe.command(("LPUSH", "k5", "x")).unwrap();
        for i in 0..100 {
            pipe.command(("GET", format!("k{i}"))).unwrap();
        }
        let replies = pipe.execute().unwrap();
        assert_eq!(replies.len(), 201);
        let error = replies.get::<i64>(100).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongType);
        for i in 0..100 {
            assert_eq!(replies.get::<usize>(101 + i).unwrap(), i);
        }
        assert!(pipe.is_empty());
        assert_eq!(pipe.execute().unwrap().len(), 0);
    }
}

#[test]
fn a_pipeline_is_one_round_trip_and_its_memory_serves_again() {
    let server = Server::start();
    let keep = Manager::open(&server.url()).unwrap();
    let proxy = Proxy::to(server.address());
    let slow = Manager::open(&proxy.url()).unwrap();
    slow.ping().unwrap();
    proxy.set(Way::Both, Fault::Delay(Duration::from_millis(30)));
    let mut pipe = slow.pipeline();
    for round in 0..3 {
        for i in 0..500 {
            pipe.command(("INCRBY", format!("n{i}"), round)).unwrap();
        }
        let started = Instant::now();
        assert_eq!(pipe.execute().unwrap().len(), 500);
        // 500 round trips would take 30 s.
        assert!(started.elapsed() < Duration::from_secs(3));
    }
    assert_eq!(keep.get::<i64>("n7").unwrap(), Some(3));
}

#[test]
fn a_million_commands_in_one_pipeline() {
    const COUNT: usize = 1_000_000;
    /// Of memory for each: the command itself, where it ends and what may be done with it, and its reply.
    const EACH: usize = 192;
    /// On a cluster it is kept once more with those of its node, with the place of its reply.
    const EACH_OF_CLUSTER: usize = 4 * EACH;
    const LEFT: usize = 32 << 20;
    // Alone, since the memory is the whole process's.
    if !alone("a_million_commands_in_one_pipeline") {
        return;
    }
    let server = Home::start();
    let keep = server.open();
    let mut pipe = keep.pipeline();
    pipe.command(("SET", "a", 1)).unwrap();
    pipe.execute().unwrap();
    pipe.within(Duration::from_secs(120));
    let held = forget_peak();
    for i in 0..COUNT {
        pipe.command(("SET", i % 1000, i)).unwrap();
    }
    let replies = pipe.execute().unwrap();
    assert_eq!(replies.len(), COUNT);
    assert_eq!(replies.get::<String>(COUNT - 1).unwrap(), "OK");
    let took = peak().saturating_sub(held);
    assert_eq!(keep.get::<usize>(999).unwrap(), Some(COUNT - 1));
    // The next use gives back what it does not need.
    pipe.command(("SET", "a", 1)).unwrap();
    pipe.execute().unwrap();
    let left = forget_peak().saturating_sub(held);
    figure(format!(
        "{COUNT} commands in one pipeline: {} bytes of memory each at most, {:.1} MiB after the next use",
        took / COUNT,
        left as f64 / f64::from(1 << 20)
    ));
    let each = match keep.fetch_pool_status().topology == TopologyKind::Cluster {
        true => EACH_OF_CLUSTER,
        false => EACH,
    };
    assert!(took <= each * COUNT && left <= LEFT, "{took}, {left}");
}

#[test]
fn a_long_pipeline_waits_for_no_more_than_what_comes() {
    // The shortest replies that there are: each at once, or all of them with the last.
    for at_once in [true, false] {
        let peer = Peer::after_handshake(move |request| match request {
            [_, count, last] if last == b"last" && !at_once => {
                let count = std::str::from_utf8(count).unwrap().parse().unwrap();
                "_\r\n".repeat(count)
            }
            _ if at_once => "_\r\n".to_owned(),
            _ => String::new(),
        });
        let watched = Config::new().slow_call(Duration::from_secs(60));
        for config in [Config::new(), watched] {
            let config = config.url(peer.url()).command_timeout(PATIENCE * 2);
            let keep = Manager::open_config(&config).unwrap();
            let mut one = keep.client().dedicated().unwrap();
            for count in [600, 690, 1_200, 4_000, 6_000] {
                let started = Instant::now();
                let mut pipe = one.pipeline();
                for _ in 1..count {
                    pipe.command(("LPOP", count, "one")).unwrap();
                }
                pipe.command(("LPOP", count, "last")).unwrap();
                let replies = pipe.execute().unwrap();
                assert_eq!(replies.len(), count);
                assert_eq!(replies.get::<Option<i64>>(count - 1).unwrap(), None);
                // The next reply has seven bytes: the wait for it does not last until there are more.
                one.command::<String>("PING").unwrap();
                // At their deadlines all of them would have found what they waited for.
                assert!(started.elapsed() < PATIENCE, "{count}");
            }
        }
    }
}

#[test]
fn large_replies_come_while_large_requests_still_go() {
    let server = Home::start();
    let keep = server.open();
    keep.set("big", vec![b'x'; 1 << 20]).unwrap();
    let mut pipe = keep.pipeline();
    pipe.within(Duration::from_secs(60));
    for i in 0..60 {
        pipe.command(("GET", "big")).unwrap();
        pipe.command(("SET", format!("b{i}"), vec![b'y'; 1 << 20]))
            .unwrap();
    }
    let replies = pipe.execute().unwrap();
    for i in 0..60 {
        assert_eq!(replies.get::<Vec<u8>>(2 * i).unwrap().len(), 1 << 20);
    }
}

#[test]
fn an_atomic_pipeline_is_all_or_nothing() {
    let server = Server::start();
    let keep = Manager::open(&server.url()).unwrap();
    let mut pipe = keep.pipeline();
    pipe.atomic(true);
    pipe.command(("SET", "a", "text")).unwrap();
    pipe.command(("INCR", "a")).unwrap();
    pipe.command(("GET", "a")).unwrap();
    let replies = pipe.execute().unwrap();
    assert_eq!(replies.len(), 3);
    // An error while it runs is the answer to its own command.
    assert_eq!(
        replies.get::<i64>(1).unwrap_err().kind(),
        ErrorKind::NotANumber
    );
    assert_eq!(replies.get::<String>(2).unwrap(), "text");

    pipe.atomic(true);
    pipe.command(("SET", "a", "other")).unwrap();
    pipe.command(("GET", "too", "many", "words")).unwrap();
    let error = pipe.execute().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ExecAbort);
    assert_eq!(error.outcome(), Outcome::Refused);
    assert!(error.to_string().contains("command 1"), "{error}");
    assert_eq!(error.node(), Some(server.address().as_str()));
    assert_eq!(pipe.outcome(0), Some(Outcome::Refused));
    assert_eq!(keep.get::<String>("a").unwrap().as_deref(), Some("text"));
    // The error is over: the pipeline serves again.
    pipe.command(("GET", "a")).unwrap();
    assert_eq!(pipe.execute().unwrap().get::<String>(0).unwrap(), "text");
}

#[test]
fn a_stateful_command_is_refused_when_it_is_added() {
    let server = Home::start();
    let keep = server.open();
    let mut pipe = keep.pipeline();
    for bad in ["MULTI", "exec", "WATCH", "SUBSCRIBE"] {
        assert_eq!(pipe.command(bad).unwrap_err().kind(), ErrorKind::Stateful);
    }
    assert_eq!(
        pipe.command(Vec::<String>::new()).unwrap_err().kind(),
        ErrorKind::Argument
    );
    assert!(pipe.is_empty());
    let mut one = keep.client().dedicated().unwrap();
    let error = one.pipeline().command("EXEC").unwrap().query::<()>();
    assert_eq!(error.unwrap_err().message(), "ERR EXEC without MULTI");
    let mut pipe = one.pipeline();
    pipe.command("MULTI").unwrap();
    pipe.command(("INCR", "n")).unwrap();
    pipe.command("EXEC").unwrap();
    let (_, _, (n,)): (String, String, (i64,)) = pipe.query().unwrap();
    assert_eq!(n, 1);
}

#[test]
fn a_frozen_server_holds_no_pipeline_past_its_deadline() {
    let server = Server::start();
    let keep = Manager::open(&format!("{}?shared_lines=0", server.url())).unwrap();
    keep.ping().unwrap();
    server.freeze();
    let mut pipe = keep.pipeline();
    pipe.within(Duration::from_millis(200));
    for i in 0..1000 {
        pipe.command(("INCR", i)).unwrap();
    }
    let started = Instant::now();
    let error = pipe.execute().unwrap_err();
    assert!(started.elapsed() < Duration::from_millis(600));
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(pipe.outcome(0), Some(Outcome::Unknown));
}

#[test]
fn replies_that_had_come_when_the_time_was_over_count() {
    // Fewer bytes than a long pipeline wakes anybody for, whether all of it could be sent or not.
    for size in [1, 16 << 10] {
        let (answered, count) = (500, 3_000);
        let peer = Peer::after_handshake(move |request| {
            let number: usize = std::str::from_utf8(&request[1]).unwrap().parse().unwrap();
            match number.cmp(&answered) {
                std::cmp::Ordering::Less => "+OK\r\n",
                std::cmp::Ordering::Equal => {
                    // It reads nothing more for a while.
                    thread::sleep(Duration::from_millis(1200));
                    ""
                }
                std::cmp::Ordering::Greater => "",
            }
        });
        let keep = Manager::open(&peer.url()).unwrap();
        let value = vec![b'x'; size];
        let mut pipe = keep.pipeline();
        pipe.within(Duration::from_secs(1));
        for i in 0..count {
            pipe.command(("SET", i, &value)).unwrap();
        }
        let error = pipe.execute().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        let answers = (0..count).filter(|&i| pipe.outcome(i).is_none()).count();
        assert_eq!(answers, answered, "{size}");
        assert_eq!(pipe.outcome(answered), Some(Outcome::Unknown));
    }
}

#[test]
fn a_pipeline_that_breaks_tells_what_became_of_each_command() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let keep = Manager::open(&format!("{}?shared_lines=0", proxy.url())).unwrap();
    keep.ping().unwrap();
    // Three replies of `:1\r\n` come, and half of the fourth.
    proxy.set(Way::ToClient, Fault::CloseAfter(14));
    let mut pipe = keep.pipeline();
    for i in 0..10 {
        pipe.command(("INCR", format!("n{i}"))).unwrap();
    }
    let error = pipe.execute().unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown);
    for i in 0..10 {
        let expected = (i >= 3).then_some(Outcome::Unknown);
        assert_eq!(pipe.outcome(i), expected, "command {i}");
    }
    proxy.heal();
    // Nothing was sent twice.
    for i in 0..10 {
        assert_eq!(keep.get::<i64>(format!("n{i}")).unwrap(), Some(1));
    }
    support::figure("of 10 commands 3 answered, 7 unknown; each executed once");
}

#[test]
fn what_was_sent_once_is_in_doubt_however_far_the_next_attempt_came() {
    // The first time everything is read, the second time the first command alone.
    let first = AtomicBool::new(true);
    let peer = Peer::after_handshake(move |request| match (request[1].as_slice(), &first) {
        (b"c", first) => {
            first.store(false, Ordering::SeqCst);
            Answer::Last(Vec::new())
        }
        (_, first) if first.load(Ordering::SeqCst) => Answer::Bytes(Vec::new()),
        _ => Answer::Last(Vec::new()),
    });
    let keep = Manager::open(&format!("{}?retries=1", peer.url())).unwrap();
    let mut pipe = keep.pipeline();
    pipe.command(("SET", "a", 1)).unwrap();
    // More than the kernel takes of what nobody reads.
    pipe.command(("SET", "b", vec![b'x'; 32 << 20])).unwrap();
    pipe.command(("SET", "c", 1)).unwrap();
    let error = pipe.execute().unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown, "{error:?}");
    assert_eq!(peer.accepted(), 2);
    for i in 0..3 {
        assert_eq!(pipe.outcome(i), Some(Outcome::Unknown), "command {i}");
    }
}

#[test]
fn a_pipeline_of_reads_survives_a_lost_connection() {
    let server = Server::start();
    let keep = Manager::open(&server.url()).unwrap();
    keep.set("a", 1).unwrap();
    server.kill_clients();
    let mut pipe = keep.pipeline();
    pipe.command(("GET", "a")).unwrap();
    pipe.command(("SET", "b", 2)).unwrap();
    assert_eq!(pipe.execute().unwrap().get::<i64>(0).unwrap(), 1);
}

#[test]
fn a_transaction_begins_anew_when_a_watched_key_changes() {
    let server = Home::start();
    let keep = server.open();
    keep.set("n", 1).unwrap();
    let mut rounds = 0;
    let (n,): (i64,) = keep
        .transaction("n", |tx| {
            let n: i64 = tx.read(("GET", "n"))?;
            rounds += 1;
            if rounds < 4 {
                keep.incr("n", 10)?;
            }
            tx.command(("INCRBY", "n", n))?;
            Ok(())
        })
        .unwrap();
    assert_eq!((rounds, n), (4, 62));
}

#[test]
fn a_watch_that_never_wins_ends() {
    let server = Home::start();
    let keep = server.open();
    let error = keep
        .transaction::<()>("n", |tx| {
            keep.incr("n", 1)?;
            tx.command(("SET", "n", "mine"))?;
            Ok(())
        })
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Watched);
    assert_eq!(error.outcome(), Outcome::Refused);
    assert!(error.to_string().contains("16 times"), "{error}");
    assert_eq!(keep.get::<i64>("n").unwrap(), Some(16));
}

#[test]
fn a_watch_that_never_wins_ends_by_its_deadline() {
    let server = Home::start();
    let keep = Manager::open(&server.url_with("command_timeout=200ms")).unwrap();
    let mut rounds = 0;
    let error = keep
        .transaction::<()>("n", |tx| {
            rounds += 1;
            keep.incr("n", 1)?;
            std::thread::sleep(Duration::from_millis(120));
            tx.command(("SET", "n", "mine"))?;
            Ok(())
        })
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Watched, "{error}");
    assert_eq!(rounds, 2);
}

#[test]
fn a_transaction_does_not_fail_for_a_connection_that_the_server_had_closed() {
    let server = Server::start();
    let keep = Manager::open(&format!("{}?max_connections=1", server.url())).unwrap();
    keep.set("n", 1).unwrap();
    for _ in 0..5 {
        server.kill_clients();
        let (n,): (i64,) = keep
            .transaction("n", |tx| tx.command(("GET", "n")).map(drop))
            .unwrap();
        assert_eq!(n, 1);
    }
}

#[test]
fn a_transaction_leaves_no_watch_behind_whichever_way_it_ends() {
    let server = Home::start();
    let keep = Manager::open(&server.url_with("max_connections=1")).unwrap();
    let failing = keep.transaction::<()>("n", |tx| {
        tx.read::<Option<i64>>(("GET", "n"))?;
        tx.command("MULTI").map(drop)
    });
    assert_eq!(failing.unwrap_err().kind(), ErrorKind::Stateful);
    keep.transaction::<()>("n", |_| Ok(())).unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        keep.transaction::<()>("n", |_| panic!("on purpose"))
    }));
    assert!(panicked.is_err());
    // Were the key still watched, this would come back nil.
    keep.set("n", 5).unwrap();
    let mut pipe = keep.pipeline();
    pipe.atomic(true).command(("GET", "n")).unwrap();
    assert_eq!(pipe.query::<(i64,)>().unwrap(), (5,));
    // A first connection, and one more in place of the one that was left in the middle of a panic.
    let pool = keep.fetch_pool_status().nodes[0].pools[0];
    assert!(pool.opened <= 2, "{pool:?}");
}

#[test]
fn eight_threads_lose_no_update() {
    let server = Home::start();
    let keep = server.open();
    keep.set("n", 0).unwrap();
    let won = std::sync::atomic::AtomicI64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let result = keep.transaction::<()>("n", |tx| {
                        let n: i64 = tx.read(("GET", "n"))?;
                        tx.command(("SET", "n", n + 1))?;
                        Ok(())
                    });
                    match result {
                        Ok(()) => drop(won.fetch_add(1, std::sync::atomic::Ordering::Relaxed)),
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Watched),
                    }
                }
            });
        }
    });
    assert_eq!(keep.get::<i64>("n").unwrap(), Some(won.into_inner()));
}

#[test]
fn a_refused_multi_does_not_pass_for_a_refused_transaction() {
    let server = Server::start();
    let keep = Manager::open(&server.url()).unwrap();
    keep.command::<()>((
        "ACL", "SETUSER", "u", "on", "nopass", "~*", "+@all", "-multi",
    ))
    .unwrap();
    let url = server.url().replace("redis://", "redis://u:x@");
    let theirs = Manager::open(&url).unwrap();
    let mut pipe = theirs.pipeline();
    pipe.atomic(true).command(("INCR", "n")).unwrap();
    let error = pipe.execute().unwrap_err();
    assert_eq!(error.code(), Some("NOPERM"));
    // It was executed, outside of any transaction.
    assert_eq!(keep.get::<i64>("n").unwrap(), Some(1));
    assert_eq!(error.outcome(), Outcome::Unknown);
    assert_eq!(pipe.outcome(0), Some(Outcome::Unknown));
}

#[test]
fn a_transactions_reads_cannot_end_its_watch() {
    let server = Home::start();
    let keep = server.open();
    for bad in ["UNWATCH", "EXEC", "MULTI", "DISCARD"] {
        let error = keep
            .transaction::<()>("n", |tx| tx.read::<()>(bad))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Stateful, "{bad}");
    }
}
