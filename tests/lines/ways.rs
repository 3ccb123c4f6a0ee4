//! Who takes a line, and who another way.

use crate::*;

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
    support::figure(format!("{count} callers at once"));
    // Others of this user, and of this machine, have threads too.
    match threads_allowed() {
        limit if limit < 2 * CALLERS => assert!(count >= 1000, "only {count} of {limit} threads"),
        _ => assert_eq!(count, CALLERS),
    }
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

/// What the user, the machine and the groups that this process is in leave a program.
fn threads_allowed() -> usize {
    let read = |path: String| std::fs::read_to_string(path).ok();
    let mut limits = vec![read("/proc/sys/kernel/threads-max".into())];
    let own = read("/proc/self/limits".into()).expect("Linux");
    let of_user = own.lines().find(|line| line.starts_with("Max processes"));
    limits.push(of_user.and_then(|line| Some(line.split_whitespace().nth(2)?.to_owned())));
    for group in read("/proc/self/cgroup".into()).unwrap_or_default().lines() {
        let mut parts = group.splitn(3, ':').skip(1);
        let (Some(kind), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        // In a container, its own group may be the root that it sees.
        for place in [path, ""] {
            limits.push(read(format!("/sys/fs/cgroup/{kind}{place}/pids.max")));
        }
    }
    // What says "max" or "unlimited" is no limit.
    let numbers = limits.iter().flatten().map(|text| text.trim().parse());
    numbers.flatten().min().expect("threads-max is one")
}

#[test]
fn a_batch_is_at_most_128_commands() {
    let server = Server::start();
    let (keep, _held) = one_line(&server.url(), |config| config.command_timeout(PATIENCE * 3));
    // One is under way, and the others are behind it, with nowhere else to go.
    for (callers, batches) in [(1 + 2 * 128, 1 + 2), (1 + 2 * 128 + 1, 1 + 3)] {
        // After a batch of one, the next caller lets nobody in.
        keep.ping().unwrap();
        let before = lines(&keep)[0];
        server.freeze();
        thread::scope(|scope| {
            for n in 0..callers {
                let keep = &keep;
                scope.spawn(move || echo(keep, &n.to_string(), PATIENCE * 3).unwrap());
            }
            wait_until(PATIENCE, || lines(&keep)[0].waiting == callers - 1);
            server.thaw();
        });
        let now = lines(&keep)[0];
        let grown = (now.commands - before.commands, now.batches - before.batches);
        assert_eq!(grown, (callers as u64, batches));
    }
    assert_eq!(by_pool(&keep), 0);
}

#[test]
fn behind_a_line_that_is_stuck_everything_goes_by_the_other() {
    let peer = Peer::after_handshake(|request| match request.get(1).map(Vec::as_slice) {
        Some(b"slow") => String::new(),
        Some(tag) => format!("+{}\r\n", String::from_utf8_lossy(tag)),
        None => "+OK\r\n".to_owned(),
    });
    let keep = with(&peer.url(), |config| {
        let config = config.command_timeout(PATIENCE * 3);
        config.health_check_interval(Duration::ZERO)
    });
    keep.ping().unwrap();
    let commands = || {
        let mut all: Vec<_> = lines(&keep).iter().map(|line| line.commands).collect();
        all.sort_unstable();
        all
    };
    thread::scope(|scope| {
        let slow = scope.spawn(|| keep.get::<String>("slow").unwrap_err());
        wait_until(PATIENCE, || peer.requests("GET") > 0);
        assert_eq!(commands(), [0, 1]);
        for n in 0..20 {
            let tag = n.to_string();
            assert_eq!(keep.get::<String>(&tag).unwrap(), Some(tag));
        }
        // A line counts what has come back.
        assert_eq!((commands(), by_pool(&keep)), (vec![1, 20], 0));
        assert!(!slow.is_finished());
        keep.close(Duration::from_millis(50)).unwrap();
        assert_eq!(slow.join().unwrap().kind(), ErrorKind::Closed);
    });
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

fn fifty_each(keep: &Manager, callers: usize) {
    at_once(callers, |n| {
        for round in 0..50 {
            echo(keep, &format!("{n}:{round}"), TIME).unwrap();
        }
    });
}

#[test]
fn without_lines_everything_goes_by_the_pool() {
    let server = Server::start();
    let keep = with(&server.url(), |config| {
        config.shared_lines(0).max_connections(3)
    });
    fifty_each(&keep, 16);
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
    fifty_each(&keep, 64);
    assert!(server.connections() <= 65);
    let commands: u64 = lines(&keep).iter().map(|line| line.commands).sum();
    assert_eq!(commands + by_pool(&keep), 64 * 50);
}
