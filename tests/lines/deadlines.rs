//! Leaders and callers whose time is over.

use crate::*;

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
fn a_thread_that_is_signalled_all_the_time_waits_and_leads_as_any_other() {
    // Alone, since the handler is the whole process's.
    if !alone(
        "lines::deadlines::a_thread_that_is_signalled_all_the_time_waits_and_leads_as_any_other",
    ) {
        return;
    }
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    proxy.set(Way::Both, Fault::Delay(Duration::from_millis(2)));
    let (keep, _held) = one_line(&proxy.url(), |config| config);
    let over = AtomicBool::new(false);
    let signals = Signals::to_this_thread();
    thread::scope(|scope| {
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
    drop(signals);
}
