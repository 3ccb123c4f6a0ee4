//! Connections of the pool: how many, for how long, who gets which, and that no call costs more than it must. Shared lines
//! are off here; they have their own tests.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use redkeep::{Config, ErrorKind, Manager, PoolState};
use support::{PATIENCE, Server, wait_until};

fn with(server: &Server, change: impl FnOnce(Config) -> Config) -> Manager {
    let config = Config::new().url(server.url()).shared_lines(0);
    Manager::open_config(&change(config)).expect("a config of ours")
}

fn pool(keep: &Manager) -> PoolState {
    keep.fetch_pool_status().nodes[0].pools[0]
}

#[test]
fn connections_are_opened_when_needed_and_no_sooner() {
    let server = Server::start();
    let keep = with(&server, |config| config.max_connections(5));
    assert_eq!(server.connections(), 0);
    assert_eq!(pool(&keep).opened, 0);
    for _ in 0..20 {
        keep.ping().unwrap();
    }
    assert_eq!(server.connections(), 1);
    let leases: Vec<_> = (0..3).map(|_| keep.client().dedicated().unwrap()).collect();
    assert_eq!(server.connections(), 3);
    drop(leases);
    assert_eq!(server.connections(), 3);
}

#[test]
fn there_are_never_more_connections_than_allowed() {
    let server = Server::start();
    let keep = with(&server, |config| config.max_connections(4));
    let (mut most, done) = (0, AtomicUsize::new(0));
    thread::scope(|scope| {
        for n in 0..64 {
            let (keep, done) = (&keep, &done);
            scope.spawn(move || {
                for round in 0..50 {
                    let key = format!("{n}:{round}");
                    keep.set(&key, &key).unwrap();
                    assert_eq!(keep.get::<String>(&key).unwrap(), Some(key));
                }
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        while done.load(Ordering::Relaxed) < 64 {
            most = most.max(server.connections());
        }
    });
    assert!((1..=4).contains(&most), "{most}");
    let pool = pool(&keep);
    assert_eq!((pool.in_use, pool.waiting, pool.closed), (0, 0, 0));
    assert!(pool.opened <= 4 && pool.idle as u64 == pool.opened);
}

#[test]
fn every_pool_of_a_node_is_used_and_counted() {
    let server = Server::start();
    let keep = with(&server, |config| {
        config.pools_per_node(3).max_connections(2)
    });
    let leases: Vec<_> = (0..6).map(|_| keep.client().dedicated().unwrap()).collect();
    assert_eq!(server.connections(), 6);
    let status = keep.fetch_pool_status();
    assert_eq!(status.nodes[0].pools.len(), 3);
    for pool in &status.nodes[0].pools {
        assert_eq!((pool.size, pool.in_use, pool.opened), (2, 2, 2));
    }
    let error = keep.command_within::<()>("PING", Duration::from_millis(30));
    assert_eq!(error.unwrap_err().kind(), ErrorKind::PoolTimeout);
    drop(leases);
    for _ in 0..12 {
        keep.ping().unwrap();
    }
    assert_eq!(server.connections(), 6);
}

#[test]
fn the_connection_that_came_back_last_is_used_first() {
    let server = Server::start();
    let keep = with(&server, |config| config);
    let id = |lease: &mut redkeep::Lease| lease.command::<i64>(("CLIENT", "ID")).unwrap();
    let mut leases: Vec<_> = (0..3).map(|_| keep.client().dedicated().unwrap()).collect();
    let ids: Vec<i64> = leases.iter_mut().map(id).collect();
    let mut order = Vec::new();
    for place in [1, 0, 0] {
        let mut lease = leases.remove(place);
        order.push(id(&mut lease));
        drop(lease);
    }
    assert_eq!(order, [ids[1], ids[0], ids[2]]);
    for _ in 0..5 {
        let used: i64 = keep.command(("CLIENT", "ID")).unwrap();
        assert_eq!(used, ids[2]);
    }
    let mut again: Vec<_> = (0..3).map(|_| keep.client().dedicated().unwrap()).collect();
    let again: Vec<i64> = again.iter_mut().map(id).collect();
    assert_eq!(again, [ids[2], ids[0], ids[1]]);
}

#[test]
fn a_sweep_does_not_change_who_is_used_first() {
    let server = Server::start();
    let short = Duration::from_millis(20);
    let keep = with(&server, |config| {
        config.cleanup_interval(short).max_idle_time(PATIENCE)
    });
    drop(
        (0..4)
            .map(|_| keep.client().dedicated().unwrap())
            .collect::<Vec<_>>(),
    );
    let id = || keep.command::<i64>(("CLIENT", "ID")).unwrap();
    let mut warm = id();
    let mut others = 0;
    for _ in 0..10 {
        // Time for a few sweeps.
        thread::sleep(short * 3);
        let used = id();
        others += u32::from(used != warm);
        warm = used;
    }
    // A call in the very middle of a sweep gets what the sweep has left.
    assert!(others <= 2, "{others}");
}

#[test]
fn idle_connections_are_closed_after_their_time() {
    let server = Server::start();
    let short = Duration::from_millis(100);
    let keep = with(&server, |config| {
        config.cleanup_interval(short).max_idle_time(short)
    });
    let held = keep.client().dedicated().unwrap();
    drop(
        (0..3)
            .map(|_| keep.client().dedicated().unwrap())
            .collect::<Vec<_>>(),
    );
    wait_until(PATIENCE, || server.connections() == 1);
    // One that is leased is not idle.
    drop(held);
    wait_until(PATIENCE, || server.connections() == 0);
    wait_until(PATIENCE, || {
        let pool = pool(&keep);
        (pool.idle, pool.in_use, pool.closed) == (0, 0, 4)
    });
    keep.ping().unwrap();
    assert_eq!(pool(&keep).opened, 5);
}

#[test]
fn with_cleanup_stopped_idle_connections_stay_and_starting_it_takes_them() {
    let server = Server::start();
    let short = Duration::from_millis(30);
    let keep = with(&server, |config| {
        config.cleanup_interval(short).max_idle_time(short)
    });
    keep.stop_cleanup();
    keep.stop_cleanup();
    assert!(!keep.fetch_pool_status().cleanup);
    keep.ping().unwrap();
    assert!(!support::came_true(short * 8, || server.connections() == 0));
    keep.start_cleanup().unwrap();
    keep.start_cleanup().unwrap();
    assert!(keep.fetch_pool_status().cleanup);
    wait_until(PATIENCE, || server.connections() == 0);
}

#[test]
fn an_idle_connection_past_its_lifetime_is_closed_by_the_next_clean_up() {
    let server = Server::start();
    let keep = with(&server, |config| {
        config
            .max_lifetime(Duration::from_millis(100))
            .cleanup_interval(Duration::from_millis(50))
            .max_idle_time(Duration::ZERO)
            .health_check_interval(Duration::ZERO)
    });
    keep.set("a", 1).unwrap();
    // Nobody calls any more, and whatever a name led to then is not held on to.
    wait_until(PATIENCE, || server.connections() == 0);
    assert_eq!(keep.get::<i64>("a").unwrap(), Some(1));
}

#[test]
fn a_connection_past_its_lifetime_is_replaced_however_busy_it_is() {
    let server = Server::start();
    let keep = with(&server, |config| {
        config
            .max_lifetime(Duration::from_millis(100))
            .max_connections(1)
    });
    wait_until(PATIENCE, || {
        keep.ping().unwrap();
        assert!(server.connections() <= 1 + 1);
        pool(&keep).closed >= 3
    });
    let pool = pool(&keep);
    assert!(pool.opened - pool.closed <= 1);
}

#[test]
fn the_numbers_of_a_pool_are_what_happens_in_it() {
    let server = Server::start();
    let keep = with(&server, |config| config.max_connections(2));
    let fresh = pool(&keep);
    assert_eq!(
        (fresh.size, fresh.in_use, fresh.idle, fresh.waiting),
        (2, 0, 0, 0)
    );
    let one = keep.client().dedicated().unwrap();
    let now = pool(&keep);
    assert_eq!((now.in_use, now.idle, now.opened, now.closed), (1, 0, 1, 0));
    keep.ping().unwrap();
    let now = pool(&keep);
    assert_eq!((now.in_use, now.idle, now.opened, now.closed), (1, 1, 2, 0));
    let two = keep.client().dedicated().unwrap();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| keep.ping().unwrap());
        }
        wait_until(PATIENCE, || pool(&keep).waiting == 3);
        let now = pool(&keep);
        assert_eq!((now.in_use, now.idle, now.opened), (2, 0, 2));
        drop(one);
    });
    drop(two);
    let now = pool(&keep);
    assert_eq!((now.in_use, now.idle, now.waiting), (0, 2, 0));
    keep.disconnect();
    let now = pool(&keep);
    assert_eq!((now.idle, now.opened, now.closed), (0, 2, 2));
    let json = keep.stats();
    assert_eq!(json["pools"]["nodes"][0]["pools"][0]["closed"], 2);
}

#[test]
fn a_ping_is_spent_only_on_a_connection_idle_for_longer_than_a_second() {
    let server = Server::start();
    let keep = with(&server, |config| config);
    for _ in 0..100 {
        keep.get::<String>("a").unwrap();
    }
    assert_eq!(server.command_calls("ping"), 0);
    assert_eq!(server.command_calls("get"), 100);
    // Nothing but time makes a connection idle.
    thread::sleep(Duration::from_millis(1100));
    keep.get::<String>("a").unwrap();
    keep.get::<String>("a").unwrap();
    assert_eq!(server.command_calls("ping"), 1);
    assert_eq!(pool(&keep).opened, 1);
}

#[test]
fn where_one_connection_was_lost_the_others_are_asked_before_they_are_used() {
    let server = Server::start();
    let keep = with(&server, |config| config);
    let leases: Vec<_> = (0..5).map(|_| keep.client().dedicated().unwrap()).collect();
    drop(leases);
    server.kill_clients();
    // An INCR whose fate is unknown is not sent again, so each dead connection that is used shows.
    let lost = (0..10).filter(|_| keep.incr("n", 1).is_err()).count();
    assert!(lost <= 1, "{lost}");
}

#[test]
fn a_call_that_took_long_does_not_make_its_connection_idle() {
    let server = Server::start();
    let keep = with(&server, |config| config);
    let none: Option<(String, String)> = keep.command(("BLPOP", "nothing", 1.3)).unwrap();
    assert_eq!(none, None);
    keep.get::<String>("a").unwrap();
    assert_eq!(server.command_calls("ping"), 0);
}

#[test]
fn a_call_is_one_round_trip() {
    let server = Server::start();
    let keep = with(&server, |config| config);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..100 {
                    keep.get::<String>("a").unwrap();
                }
            });
        }
    });
    assert_eq!(server.command_calls("get"), 800);
    for extra in ["ping", "select", "auth", "command", "cluster|slots"] {
        assert_eq!(server.command_calls(extra), 0, "{extra}");
    }
    assert_eq!(server.command_calls("hello"), pool(&keep).opened);
}

#[test]
fn waiters_are_served_in_their_order() {
    let server = Server::start();
    let keep = with(&server, |config| config.max_connections(1));
    let held = keep.client().dedicated().unwrap();
    thread::scope(|scope| {
        for n in 0..8 {
            let keep = &keep;
            scope.spawn(move || keep.command::<i64>(("RPUSH", "order", n)).unwrap());
            wait_until(PATIENCE, || pool(keep).waiting == n + 1);
        }
        drop(held);
    });
    let order: Vec<usize> = keep.command(("LRANGE", "order", 0, -1)).unwrap();
    assert_eq!(order, (0..8).collect::<Vec<_>>());
}

#[test]
fn nobody_starves_on_few_connections() {
    let server = Server::start();
    let keep = with(&server, |config| config.max_connections(4));
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                for _ in 0..100 {
                    keep.incr("n", 1).unwrap();
                }
            });
        }
    });
    assert_eq!(keep.get::<i64>("n").unwrap(), Some(6400));
    assert_eq!(server.command_calls("incrby"), 6400);
}

#[test]
fn disconnect_closes_idle_connections_now_and_those_in_use_when_they_come_back() {
    let server = Server::start();
    let keep = with(&server, |config| config);
    drop(
        (0..3)
            .map(|_| keep.client().dedicated().unwrap())
            .collect::<Vec<_>>(),
    );
    let mut held = keep.client().dedicated().unwrap();
    assert_eq!(server.connections(), 3);
    keep.disconnect();
    wait_until(PATIENCE, || server.connections() == 1);
    assert_eq!(held.command::<String>("PING").unwrap(), "PONG");
    drop(held);
    wait_until(PATIENCE, || server.connections() == 0);
    assert!(!keep.is_enabled());
    keep.ping().unwrap();
    assert!(keep.is_enabled());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    keep.incr("n", 1).unwrap();
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..20 {
                keep.disconnect();
            }
        });
    });
    assert_eq!(keep.get::<i64>("n").unwrap(), Some(400));
}

#[test]
fn a_thread_that_panics_takes_no_connection_along() {
    let server = Server::start();
    let keep = with(&server, |config| config.max_connections(2));
    for n in 0..6 {
        let one = keep.clone();
        let ended = thread::Builder::new()
            .name("meant to panic".into())
            .spawn(move || {
                let mut lease = one.client().dedicated().unwrap();
                if n % 2 == 0 {
                    lease.command::<()>("MULTI").unwrap();
                }
                panic!("on purpose");
            });
        assert!(ended.unwrap().join().is_err());
    }
    let now = pool(&keep);
    assert_eq!((now.in_use, now.waiting), (0, 0));
    let both: Vec<_> = (0..2).map(|_| keep.client().dedicated().unwrap()).collect();
    assert_eq!(both.len(), 2);
    drop(both);
    assert_eq!(keep.incr("n", 1).unwrap(), 1);
}

#[test]
fn a_conversion_that_panics_loses_nothing() {
    struct Bad;
    impl redkeep::redis::FromRedisValue for Bad {
        fn from_redis_value(_: redkeep::redis::Value) -> Result<Bad, redkeep::redis::ParsingError> {
            panic!("on purpose");
        }
    }
    let server = Server::start();
    let keep = with(&server, |config| config.max_connections(1));
    keep.set("a", "x").unwrap();
    let one = keep.clone();
    assert!(
        thread::spawn(move || one.get::<Bad>("a").is_ok())
            .join()
            .is_err()
    );
    assert_eq!(keep.get::<String>("a").unwrap().as_deref(), Some("x"));
    assert_eq!(pool(&keep).opened, 1);
}

#[test]
fn nobody_waits_at_one_pool_while_another_has_a_connection() {
    let server = Server::start();
    let keep = with(&server, |config| {
        config
            .max_connections(1)
            .pools_per_node(2)
            .command_timeout(Duration::from_secs(5))
    });
    let long = keep.client().dedicated().unwrap();
    let short = keep.client().dedicated().unwrap();
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..4).map(|_| scope.spawn(|| keep.ping())).collect();
        wait_until(PATIENCE, || {
            keep.fetch_pool_status().nodes[0].pools[0].waiting == 4
        });
        drop(short);
        // All of them by way of the one that came back; the other is still out.
        for caller in waiting {
            caller.join().unwrap().unwrap();
        }
    });
    drop(long);
}
