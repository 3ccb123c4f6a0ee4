//! How long lines are open, and how they are closed.

use crate::*;

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
