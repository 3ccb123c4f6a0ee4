//! Shared lines: many callers on one connection. Each gets its own reply or a true outcome, by its own deadline, whoever
//! does the work and whatever becomes of the line.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use redkeep::{Config, ErrorKind, LineState, Manager, Outcome, Result};
use support::{Fault, PATIENCE, Pauses, Peer, Proxy, Server, Way, alone, came_true, wait_until};

/// What a machine with other work to do may take beyond a deadline.
const MARGIN: Duration = Duration::from_millis(250);

fn with(url: &str, change: impl FnOnce(Config) -> Config) -> Manager {
    Manager::open_config(&change(Config::new().url(url))).expect("a config of ours")
}

/// Enough for a call; more than `command_timeout` would make it a call that may take long, which takes no line.
const TIME: Duration = Duration::from_secs(4);

/// One line, and one connection in the pool, which is leased: every call has to take the line.
fn one_line(url: &str, change: impl FnOnce(Config) -> Config) -> (Manager, redkeep::Lease) {
    let keep = with(url, |config| {
        let config = config.shared_lines(1).max_connections(1);
        change(config.health_check_interval(Duration::ZERO))
    });
    let held = keep.client().dedicated().unwrap();
    (keep, held)
}

fn lines(keep: &Manager) -> Vec<LineState> {
    keep.fetch_pool_status().nodes[0].lines.clone()
}

fn by_pool(keep: &Manager) -> u64 {
    keep.fetch_pool_status().nodes[0].calls_by_pool
}

/// Runs `call` in so many threads at once; the n-th gets n.
fn at_once<T: Send>(threads: usize, call: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(threads);
    thread::scope(|scope| {
        let (barrier, call) = (&barrier, &call);
        let running: Vec<_> = (0..threads)
            .map(|n| {
                scope.spawn(move || {
                    barrier.wait();
                    call(n)
                })
            })
            .collect();
        let results = running.into_iter().map(|thread| thread.join());
        results.map(|result| result.expect("no panic")).collect()
    })
}

/// The tag comes back, or an error does; never another's.
fn echo(keep: &Manager, tag: &str, time: Duration) -> Result<()> {
    let back: String = keep.command_within(("ECHO", tag), time)?;
    assert_eq!(back, tag, "another caller's reply");
    Ok(())
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = (self.0)
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }
}

#[test]
fn one_caller_uses_one_line_and_many_share_two() {
    let server = Server::start();
    let keep = with(&server.url(), |config| config);
    for n in 0..20 {
        assert_eq!(keep.incr("n", 1).unwrap(), n + 1);
    }
    assert_eq!(server.connections(), 1);
    assert_eq!(
        (lines(&keep)[0].commands, lines(&keep)[0].batches),
        (20, 20)
    );
    at_once(64, |n| {
        for round in 0..200 {
            echo(&keep, &format!("{n}:{round}"), TIME).unwrap();
        }
    });
    let now = lines(&keep);
    let (batches, commands) = (
        now[0].batches + now[1].batches,
        now[0].commands + now[1].commands,
    );
    assert_eq!(commands + by_pool(&keep), 20 + 64 * 200);
    assert!(commands > 64 * 100, "{now:?}");
    // Many go out in one write.
    assert!(batches * 2 < commands, "{now:?}");
    for line in now {
        assert_eq!(
            (line.open, line.waiting, line.opened, line.closed),
            (true, 0, 1, 0)
        );
    }
    let json = keep.stats();
    assert_eq!(json["pools"]["nodes"][0]["lines"][0]["opened"], 1);
}

#[test]
fn no_command_is_lost_doubled_or_answered_to_another() {
    let server = Server::start();
    let (keep, _held) = one_line(&server.url(), |config| config);
    at_once(64, |n| {
        let (key, mut dice) = (format!("mine:{n}"), Dice(n as u64));
        for round in 0..300 {
            keep.incr("all", 1).unwrap();
            assert_eq!(keep.incr(&key, 1).unwrap(), round + 1);
            let value = vec![b'a' + n as u8 % 26; dice.below(3000) as usize];
            keep.set(format!("value:{n}"), &value).unwrap();
            assert!(keep.get::<Vec<u8>>(format!("value:{n}")).unwrap().unwrap() == value);
            // An error reply is one caller's too.
            assert_eq!(
                keep.incr(format!("value:{n}"), 1).unwrap_err().kind(),
                ErrorKind::NotANumber
            );
        }
    });
    assert_eq!(keep.get::<i64>("all").unwrap(), Some(64 * 300));
    assert_eq!(lines(&keep)[0].opened, 1);
    assert_eq!(by_pool(&keep), 0);
}

#[test]
fn with_stalls_and_short_deadlines_no_reply_goes_astray() {
    let calls = match std::env::var("REDKEEP_LINES_CALLS") {
        Ok(count) => count.parse().expect("a number"),
        Err(_) => 20_000,
    };
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let keep = with(&proxy.url(), |config| {
        config
            .max_connections(2)
            .connect_timeout(PATIENCE)
            .health_check_interval(Duration::ZERO)
    });
    let (answers, timeouts) = (AtomicU64::new(0), AtomicU64::new(0));
    let (others, over) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    // Milliseconds by which a call ended after its deadline.
    let slowest = AtomicU64::new(0);
    thread::scope(|scope| {
        for n in 0..64u64 {
            let (keep, answers, timeouts, others, over, slowest) =
                (&keep, &answers, &timeouts, &others, &over, &slowest);
            scope.spawn(move || {
                let mut dice = Dice(n);
                for round in 0u64.. {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    let length = dice.below(400) as usize;
                    let tag = format!("{n}:{round}:{}", "x".repeat(length));
                    let time = Duration::from_millis(2 + dice.below(60));
                    let started = Instant::now();
                    match echo(keep, &tag, time) {
                        Ok(()) => answers.fetch_add(1, Ordering::Relaxed),
                        Err(error) => match error.kind() {
                            ErrorKind::Timeout | ErrorKind::PoolTimeout => {
                                timeouts.fetch_add(1, Ordering::Relaxed)
                            }
                            // A line whose leader ran out of time is closed when nobody waits on it.
                            _ => {
                                others.lock().unwrap().push(error);
                                0
                            }
                        },
                    };
                    let beyond = started.elapsed().saturating_sub(time).as_millis() as u64;
                    slowest.fetch_max(beyond, Ordering::Relaxed);
                }
            });
        }
        let mut dice = Dice(4711);
        let deadline = Instant::now() + PATIENCE * 30;
        let all = || answers.load(Ordering::Relaxed) + timeouts.load(Ordering::Relaxed);
        while all() < calls && Instant::now() < deadline {
            // Stalls of random length at random places in the stream.
            proxy.set(Way::ToClient, Fault::StallAfter(dice.below(5000)));
            thread::sleep(Duration::from_millis(dice.below(60)));
            proxy.heal();
            thread::sleep(Duration::from_millis(dice.below(40)));
        }
        over.store(true, Ordering::Relaxed);
    });
    let (answers, timeouts) = (answers.into_inner(), timeouts.into_inner());
    support::figure(format!(
        "{answers} answers, {timeouts} timeouts, 0 mismatches, {slowest:?} ms late at most"
    ));
    println!("{:?}", lines(&keep));
    // A machine with other tests to run needs its time; nobody is forgotten.
    assert!(slowest.into_inner() < 2000);
    assert!(answers + timeouts >= calls, "{answers}, {timeouts}");
    assert!(
        timeouts * 100 > calls && answers * 10 > calls,
        "{answers}, {timeouts}"
    );
    assert!(others.into_inner().unwrap().is_empty());
}

/// What a counter came to must agree with what its caller was told.
fn agrees(server: &Server, key: &str, told: &Result<i64>) {
    let count: i64 = server.ask::<Option<i64>>(&["GET", key]).unwrap_or(0);
    match told {
        Ok(value) => assert_eq!((*value, count), (1, 1), "{key}"),
        Err(error) => match error.outcome() {
            Outcome::Unknown => assert!(count <= 1, "{key}: {error:?}"),
            _ => assert_eq!(count, 0, "{key}: {error:?}"),
        },
    }
}

#[test]
fn a_line_that_breaks_tells_each_caller_what_became_of_its_command() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let (mut answered, mut unknown) = (0, 0);
    // Between write and read, in the middle of replies, in the middle of the write; reset and closed.
    let places = [0, 1, 3, 4, 5, 17, 40, 90];
    let faults = places
        .iter()
        .flat_map(|&k| [Fault::ResetAfter(k), Fault::CloseAfter(k)])
        .flat_map(|fault| [(Way::ToClient, fault), (Way::ToServer, fault)]);
    for (round, (way, fault)) in faults.enumerate() {
        let keep = with(&proxy.url(), |config| {
            let config = config.shared_lines(1).max_connections(1);
            config.health_check_interval(Duration::ZERO)
        });
        keep.ping().unwrap();
        let key = |n: usize| format!("n:{round}:{n}");
        proxy.set(way, fault);
        let results = at_once(24, |n| {
            if n == 0 {
                thread::sleep(Duration::from_millis(20));
                proxy.heal();
            }
            keep.incr(key(n), 1)
        });
        for (n, told) in results.iter().enumerate() {
            agrees(&server, &key(n), told);
            match told {
                Ok(_) => answered += 1,
                Err(error) if error.outcome() == Outcome::Unknown => {
                    assert_eq!(error.kind(), ErrorKind::Io, "{error:?}");
                    unknown += 1;
                }
                // It was sent again, and met the fault as often as it may; or the greeting did, and the node is down.
                Err(error) => assert!(
                    matches!(error.kind(), ErrorKind::Io | ErrorKind::NoHealthyPools),
                    "{error:?}"
                ),
            }
        }
        // The line is as good as new.
        wait_until(PATIENCE, || keep.ping().is_ok());
        assert_eq!(keep.incr(key(99), 1).unwrap(), 1);
    }
    // How many come before the fault and how many after is a matter of the machine.
    assert!(answered > 0 && unknown > 0, "{answered}, {unknown}");
}

#[test]
fn reads_survive_a_line_that_breaks() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let (keep, _held) = one_line(&proxy.url(), |config| config);
    keep.set("a", "x").unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    assert_eq!(keep.get::<String>("a").unwrap().as_deref(), Some("x"));
                }
            });
        }
        for _ in 0..10 {
            thread::sleep(Duration::from_millis(15));
            proxy.cut_all();
        }
        over.store(true, Ordering::Relaxed);
    });
    let line = lines(&keep)[0];
    assert!(
        line.opened > 5 && line.opened - line.closed == 1,
        "{line:?}"
    );
}

#[test]
fn a_leader_killed_by_its_deadline_leaves_the_others_theirs() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let (short, long) = (Duration::from_millis(60), Duration::from_secs(4));
    let (mut late, mut in_time) = (0, 0);
    for round in 0..8u64 {
        let (keep, _held) = one_line(&proxy.url(), |config| config.command_timeout(long));
        // The last batch had many, so that the next leader lets others in.
        at_once(64, |n| echo(&keep, &format!("warm {n}"), long).unwrap());
        proxy.set(Way::ToClient, Fault::StallAfter(round * 37));
        let results = thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(300));
                proxy.heal();
            });
            at_once(64, |n| {
                // Whoever leads: in one round those with little time come first, in the next those with much.
                let is_short = n % 8 != 0;
                if is_short != (round % 2 == 0) {
                    thread::sleep(Duration::from_millis(10));
                }
                let time = if is_short { short } else { long };
                let started = Instant::now();
                let result = echo(&keep, &format!("{round}:{n}"), time);
                let took = started.elapsed();
                assert!(took < time + MARGIN, "{took:?} of {time:?}");
                (is_short, result, took)
            })
        });
        for (is_short, result, took) in results {
            match (is_short, result) {
                (_, Ok(())) => in_time += 1,
                (true, Err(error)) => {
                    late += 1;
                    assert!(took >= short, "{took:?}: {error:?}");
                    assert!(
                        matches!(error.kind(), ErrorKind::Timeout | ErrorKind::PoolTimeout),
                        "{error:?}"
                    );
                }
                // ECHO may be sent again: somebody else's deadline is none of its business.
                (false, Err(error)) => panic!("it had all the time: {error:?}"),
            }
        }
        echo(&keep, "afterwards", long).unwrap();
    }
    assert!(
        late > 100 && in_time >= 8 * 8,
        "{late} late, {in_time} in time"
    );
}

#[test]
fn a_leader_that_leaves_breaks_no_command_of_the_others() {
    // INCR is not sent again: those who have time must get the first and only reply.
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let (short, long) = (Duration::from_millis(80), Duration::from_secs(4));
    let mut handed_on = 0;
    for round in 0..10 {
        let (keep, _held) = one_line(&proxy.url(), |config| config.command_timeout(long));
        at_once(32, |n| echo(&keep, &format!("warm {n}"), long).unwrap());
        proxy.set(Way::ToClient, Fault::StallAfter(0));
        let key = |n: usize| format!("n:{round}:{n}");
        let results = thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(250));
                proxy.heal();
            });
            at_once(32, |n| match n % 2 {
                0 => keep.command_within::<i64>(("INCR", key(n)), short),
                _ => keep.incr(key(n), 1),
            })
        });
        let opened = lines(&keep)[0].opened;
        for (n, told) in results.iter().enumerate() {
            agrees(&server, &key(n), told);
        }
        let patient: Vec<_> = results.iter().skip(1).step_by(2).collect();
        if opened == 1 {
            // The line stayed whole through all that, so nobody who waited lost anything.
            assert!(patient.iter().all(|told| told.is_ok()), "{results:?}");
            handed_on += 1;
        }
    }
    assert!(handed_on > 0);
}

#[test]
fn a_frozen_server_holds_nobody_past_his_deadline() {
    let server = Server::start();
    let keep = with(&server.url(), |config| config);
    at_once(64, |n| echo(&keep, &n.to_string(), TIME).unwrap());
    server.freeze();
    let pauses = Pauses::measure();
    let results = at_once(64, |n| {
        let time = Duration::from_millis(50 + n as u64 * 5);
        let started = Instant::now();
        let result = keep.command_within::<i64>(("INCR", "n"), time);
        (time, started.elapsed(), result.unwrap_err())
    });
    let margin = pauses.beside(MARGIN);
    for (time, took, error) in results {
        assert!(
            took >= time && took < time + margin,
            "{took:?} of {time:?}: {error:?}"
        );
        assert!(
            matches!(error.kind(), ErrorKind::Timeout | ErrorKind::PoolTimeout),
            "{error:?}"
        );
    }
    server.thaw();
    assert!(keep.incr("n", 1).unwrap() <= 65);
    assert!(lines(&keep).iter().all(|line| line.waiting == 0));
}

#[test]
fn a_reply_over_the_cap_is_one_callers_fault() {
    let server = Server::start();
    server.ask::<()>(&["SET", "big", &"x".repeat(200_000)]);
    server.ask::<()>(&["SET", "small", "x"]);
    let keep = with(&server.url(), |config| {
        config.shared_lines(1).max_reply_bytes(100_000)
    });
    for _ in 0..10 {
        let results = at_once(32, |n| match n % 8 {
            0 => Err(keep.get::<Vec<u8>>("big").unwrap_err()),
            _ => keep.get::<String>("small"),
        });
        for (n, result) in results.into_iter().enumerate() {
            match n % 8 {
                0 => assert_eq!(result.unwrap_err().kind(), ErrorKind::ReplyTooLarge),
                _ => assert_eq!(result.unwrap().as_deref(), Some("x")),
            }
        }
    }
    // It is asked for once: a second time it would be as large.
    let before = server.command_calls("get");
    keep.get::<Vec<u8>>("big").unwrap_err();
    assert_eq!(server.command_calls("get"), before + 1);
}

#[test]
fn what_is_no_reply_ends_the_line_and_never_shifts_one() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    for k in 0..12 {
        let (keep, _held) = one_line(&proxy.url(), |config| config);
        echo(&keep, "before", TIME).unwrap();
        proxy.set(Way::ToClient, Fault::CorruptAt(k * 5, b'@'));
        at_once(16, |n| {
            let tag = format!("{n}");
            // A byte inside a tag is not ours to find.
            let result = keep.command::<String>(("ECHO", &tag));
            match result {
                Ok(back) => assert!(back == tag || back.contains('@'), "{back} for {tag}"),
                Err(error) => assert!(
                    matches!(
                        error.kind(),
                        // The greeting of a new connection may have met the byte.
                        ErrorKind::Protocol | ErrorKind::Io | ErrorKind::NoHealthyPools
                    ),
                    "{error:?}"
                ),
            }
        });
        proxy.heal();
        wait_until(PATIENCE, || keep.ping().is_ok());
        echo(&keep, "after", TIME).unwrap();
    }
}

#[test]
fn ten_thousand_callers_at_once() {
    const CALLERS: usize = 10_000;
    let server = Server::start();
    let keep = with(&server.url(), |config| config.command_timeout(PATIENCE * 6));
    let go = Arc::new((AtomicBool::new(false), AtomicUsize::new(0)));
    let mut threads = Vec::new();
    for n in 0..CALLERS {
        let (keep, theirs) = (keep.clone(), go.clone());
        let thread = thread::Builder::new().stack_size(128 << 10).spawn(move || {
            theirs.1.fetch_add(1, Ordering::Relaxed);
            while !theirs.0.load(Ordering::Acquire) {
                thread::park();
            }
            let back: String = keep.command(("ECHO", n)).unwrap();
            assert_eq!(back, n.to_string());
        });
        match thread {
            Ok(thread) => threads.push(thread),
            // As many as this machine allows.
            Err(_) => break,
        }
    }
    let count = threads.len();
    assert!(count >= 1000, "only {count} threads");
    wait_until(PATIENCE * 6, || go.1.load(Ordering::Relaxed) == count);
    go.0.store(true, Ordering::Release);
    threads.iter().for_each(|thread| thread.thread().unpark());
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(server.command_calls("echo"), count as u64);
    assert!(
        lines(&keep)
            .iter()
            .all(|line| line.waiting == 0 && line.opened == 1)
    );
}

#[test]
fn a_purge_closes_idle_lines_at_once_and_busy_ones_when_their_batch_ends() {
    let server = Server::start();
    let keep = with(&server.url(), |config| config);
    at_once(32, |n| echo(&keep, &n.to_string(), TIME).unwrap());
    assert!(server.connections() >= 1);
    keep.disconnect();
    wait_until(PATIENCE, || server.connections() == 0);
    assert!(lines(&keep).iter().all(|line| !line.open));
    // One under way ends with its reply, and its line is closed then.
    let (keep, held) = one_line(&server.url(), |config| config);
    keep.ping().unwrap();
    server.freeze();
    thread::scope(|scope| {
        let call = scope.spawn(|| keep.incr("n", 1));
        wait_until(PATIENCE, || lines(&keep)[0].open);
        assert!(!came_true(Duration::from_millis(50), || call.is_finished()));
        keep.disconnect();
        server.thaw();
        assert_eq!(call.join().unwrap().unwrap(), 1);
    });
    wait_until(PATIENCE, || !lines(&keep)[0].open);
    drop(held);
    wait_until(PATIENCE, || server.connections() == 0);
    // And all the time nothing is lost.
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| (0..200).for_each(|_| assert!(keep.incr("m", 1).unwrap() > 0)));
        }
        scope.spawn(|| (0..30).for_each(|_| keep.disconnect()));
    });
    assert_eq!(keep.get::<i64>("m").unwrap(), Some(16 * 200));
}

#[test]
fn idle_lines_are_closed_after_their_time_and_old_ones_replaced() {
    let server = Server::start();
    let short = Duration::from_millis(100);
    let keep = with(&server.url(), |config| {
        config.cleanup_interval(short).max_idle_time(short)
    });
    at_once(16, |n| echo(&keep, &n.to_string(), TIME).unwrap());
    wait_until(PATIENCE, || server.connections() == 0);
    keep.ping().unwrap();
    let keep = with(&server.url(), |config| config.max_lifetime(short));
    wait_until(PATIENCE, || {
        keep.ping().unwrap();
        lines(&keep)[0].closed >= 3
    });
    assert!(lines(&keep)[0].opened - lines(&keep)[0].closed <= 1);
}

#[test]
fn a_line_idle_for_longer_than_a_second_is_asked_for_a_sign_of_life() {
    let server = Server::start();
    let keep = with(&server.url(), |config| config);
    for _ in 0..100 {
        keep.get::<String>("a").unwrap();
    }
    assert_eq!(server.command_calls("ping"), 0);
    // Nothing but time makes a line idle.
    thread::sleep(Duration::from_millis(1100));
    keep.get::<String>("a").unwrap();
    keep.get::<String>("a").unwrap();
    assert_eq!(server.command_calls("ping"), 1);
    // And one that the server closed meanwhile costs an INCR nothing.
    thread::sleep(Duration::from_millis(1100));
    server.kill_clients();
    assert_eq!(keep.incr("n", 1).unwrap(), 1);
}

#[test]
fn closing_turns_away_who_waits_and_ends_who_is_under_way() {
    let server = Server::start();
    let long = PATIENCE * 3;
    let (keep, held) = one_line(&server.url(), |config| config.command_timeout(long));
    keep.ping().unwrap();
    let waiting = |count: usize| wait_until(PATIENCE, || lines(&keep)[0].waiting >= count);
    server.freeze();
    thread::scope(|scope| {
        let calls: Vec<_> = (0..64).map(|_| scope.spawn(|| keep.incr("n", 1))).collect();
        waiting(63);
        keep.close_all_pools();
        wait_until(PATIENCE, || lines_of_closed(&keep) == 0);
        wait_until(PATIENCE, || {
            calls.iter().filter(|call| call.is_finished()).count() >= 63
        });
        server.thaw();
        let (mut answered, mut refused) = (0, 0);
        for call in calls {
            match call.join().unwrap() {
                Ok(_) => answered += 1,
                Err(error) => {
                    assert_eq!(
                        (error.kind(), error.outcome()),
                        (ErrorKind::UnknownNode, Outcome::NotSent)
                    );
                    refused += 1;
                }
            }
        }
        assert_eq!((answered, refused), (1, 63));
    });
    drop(held);
    keep.add_node_pool(&server.url()).unwrap();
    let _held = keep.client().dedicated().unwrap();
    assert_eq!(keep.incr("n", 1).unwrap(), 2);
    server.freeze();
    thread::scope(|scope| {
        let calls: Vec<_> = (0..64).map(|_| scope.spawn(|| keep.incr("n", 1))).collect();
        waiting(63);
        let started = Instant::now();
        keep.close(Duration::from_millis(500)).unwrap();
        for call in calls {
            assert_eq!(call.join().unwrap().unwrap_err().kind(), ErrorKind::Closed);
        }
        assert!(started.elapsed() < Duration::from_millis(500) + MARGIN);
    });
    server.thaw();
}

/// A node whose pools are closed is not in the status.
fn lines_of_closed(keep: &Manager) -> usize {
    keep.fetch_pool_status().nodes.len()
}

#[test]
fn what_blocks_or_has_a_state_never_takes_a_line() {
    let server = Server::start();
    let keep = with(&server.url(), |config| config);
    let none: Option<(String, String)> = keep.command(("BLPOP", "nothing", 0.05)).unwrap();
    assert_eq!(none, None);
    keep.command::<i64>(("WAIT", 0, 10)).unwrap();
    keep.command_within::<()>("PING", Duration::from_secs(60))
        .unwrap();
    let _: Option<String> = keep
        .command(("XREAD", "BLOCK", 10, "STREAMS", "s", "$"))
        .unwrap();
    let mut pipe = keep.pipeline();
    pipe.command(("SET", "a", 1)).unwrap();
    pipe.execute().unwrap();
    keep.set("large", vec![b'x'; 100_000]).unwrap();
    drop(keep.client().dedicated().unwrap());
    assert!(
        lines(&keep)
            .iter()
            .all(|line| line.opened == 0 && line.commands == 0)
    );
    assert_eq!(by_pool(&keep), 5);
    for stateful in [
        &["MULTI"][..],
        &["WATCH", "a"],
        &["SUBSCRIBE", "a"],
        &["CLIENT", "REPLY", "OFF"],
        &["SELECT", "1"],
        &["MONITOR"],
    ] {
        let error = keep.command::<()>(stateful).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Stateful, "{stateful:?}");
    }
    let error = redkeep::redis::cmd("MULTI").query::<()>(&mut keep.client());
    assert!(error.is_err());
    assert!(lines(&keep).iter().all(|line| line.opened == 0));
    // An error reply about a state is no state: the next caller is not inside of anything.
    assert_eq!(
        keep.command::<()>("EXEC").unwrap_err().kind(),
        ErrorKind::Stateful
    );
    keep.set("a", 2).unwrap();
    assert_eq!(keep.get::<i64>("a").unwrap(), Some(2));
}

#[test]
fn callers_behind_one_that_is_not_answered_take_another_way() {
    // A server that never answers one of its clients' questions, and all others at once.
    let peer = Peer::after_handshake(|request| match request.get(1).map(Vec::as_slice) {
        Some(b"slow") => String::new(),
        Some(tag) => format!("+{}\r\n", String::from_utf8_lossy(tag)),
        None => "+OK\r\n".to_owned(),
    });
    let long = Duration::from_secs(3);
    for count in [1, 2] {
        let keep = with(&peer.url(), |config| {
            let config = config.command_timeout(long).shared_lines(count);
            config.health_check_interval(Duration::ZERO)
        });
        keep.ping().unwrap();
        thread::scope(|scope| {
            let slow = scope.spawn(|| keep.get::<String>("slow").unwrap_err());
            wait_until(PATIENCE, || peer.requests("GET") > 0);
            let started = Instant::now();
            at_once(32, |n| {
                for _ in 0..20 {
                    let tag = n.to_string();
                    assert_eq!(keep.get::<String>(&tag).unwrap(), Some(tag));
                }
            });
            assert!(started.elapsed() < long / 2);
            assert!(!slow.is_finished());
            assert_eq!(slow.join().unwrap().kind(), ErrorKind::Timeout);
        });
    }
}

#[test]
fn a_huge_reply_holds_up_nobody_else() {
    let server = Server::start();
    let keep = with(&server.url(), |config| config.command_timeout(PATIENCE));
    keep.set("huge", vec![b'x'; 64 << 20]).unwrap();
    keep.set("small", "x").unwrap();
    let (huge, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let meanwhile = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert!(keep.get::<String>("small").unwrap().is_some());
                    if huge.load(Ordering::Relaxed) {
                        meanwhile.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        for _ in 0..5 {
            huge.store(true, Ordering::Relaxed);
            assert_eq!(
                keep.get::<Vec<u8>>("huge").unwrap().unwrap().len(),
                64 << 20
            );
            huge.store(false, Ordering::Relaxed);
        }
        done.store(true, Ordering::Relaxed);
    });
    let meanwhile = meanwhile.into_inner();
    assert!(meanwhile > 200, "{meanwhile}");
}

#[test]
fn without_lines_everything_goes_by_the_pool() {
    let server = Server::start();
    let keep = with(&server.url(), |config| {
        config.shared_lines(0).max_connections(3)
    });
    at_once(16, |n| {
        for round in 0..50 {
            echo(&keep, &format!("{n}:{round}"), TIME).unwrap();
        }
    });
    assert!(lines(&keep).is_empty());
    assert_eq!(by_pool(&keep), 16 * 50);
    assert!(server.connections() <= 3);
}

#[test]
fn many_lines_serve_as_well() {
    let server = Server::start();
    let keep = with(&server.url(), |config| {
        config.shared_lines(64).max_connections(1)
    });
    at_once(64, |n| {
        for round in 0..50 {
            echo(&keep, &format!("{n}:{round}"), TIME).unwrap();
        }
    });
    assert!(server.connections() <= 65);
    let commands: u64 = lines(&keep).iter().map(|line| line.commands).sum();
    assert_eq!(commands + by_pool(&keep), 64 * 50);
}

#[test]
fn a_thread_that_is_signalled_all_the_time_waits_and_leads_as_any_other() {
    // Alone, since the handler is the whole process's.
    if !alone("a_thread_that_is_signalled_all_the_time_waits_and_leads_as_any_other") {
        return;
    }
    extern "C" fn nothing(_: libc::c_int) {}
    let handler: extern "C" fn(libc::c_int) = nothing;
    // SAFETY: the handler does nothing, and without SA_RESTART every system call sees EINTR.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as usize;
        assert_eq!(
            libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()),
            0
        );
    }
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    proxy.set(Way::Both, Fault::Delay(Duration::from_millis(2)));
    let (keep, _held) = one_line(&proxy.url(), |config| config);
    let over = AtomicBool::new(false);
    // SAFETY: plain; this thread outlives the scope.
    let target = unsafe { libc::pthread_self() };
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // SAFETY: as above.
                unsafe { libc::pthread_kill(target, libc::SIGUSR1) };
                thread::sleep(Duration::from_millis(1));
            }
        });
        for n in 0..8 {
            let (keep, over) = (&keep, &over);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    echo(keep, &format!("other {n}"), TIME).unwrap();
                }
            });
        }
        let results: Vec<_> = (0..150)
            .map(|round| echo(&keep, &format!("signalled {round}"), TIME))
            .collect();
        over.store(true, Ordering::Relaxed);
        let count = results.len();
        for result in results {
            result.unwrap();
        }
        support::figure(format!(
            "{count} calls of a thread signalled each millisecond: 0 errors"
        ));
    });
}
