//! Lines that break or stall, and replies that end one.

use crate::*;

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
