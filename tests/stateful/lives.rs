//! How leases begin, how long they are held, and how they end.

use crate::*;

#[test]
fn a_lease_whose_connection_broke_says_so_and_sends_nothing_more() {
    let server = Server::start();
    let keep = open(&server);
    let mut one = keep.client().dedicated().unwrap();
    one.command::<()>(("SELECT", 3)).unwrap();
    server.kill_clients();
    let first = one.command::<()>(("SET", "a", 1)).unwrap_err();
    assert_eq!(first.kind(), ErrorKind::Io, "{first}");
    let second = one.command::<()>(("SET", "a", 1)).unwrap_err();
    assert_eq!(
        (second.kind(), second.outcome()),
        (ErrorKind::Io, Outcome::NotSent)
    );
    assert!(second.message().contains("lease another"), "{second}");
    assert_eq!(server.command_calls("set"), 0);
    drop(one);
    keep.set("a", 1).unwrap();
    assert_eq!(keep.fetch_pool_status().nodes[0].pools[0].in_use, 0);
}

#[test]
fn a_lease_that_timed_out_never_hears_the_late_reply() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let config = Config::new().url(proxy.url()).max_connections(1);
    let keep = Manager::open_config(&config).unwrap();
    keep.set("a", "late").unwrap();
    let mut one = keep.client().dedicated().unwrap();
    proxy.set(Way::ToClient, Fault::StallAfter(0));
    let time = Duration::from_millis(80);
    let error = one
        .command_within::<String>(("GET", "a"), time)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    proxy.heal();
    assert!(one.command::<String>(("ECHO", "mine")).is_err());
    drop(one);
    let mut one = keep.client().dedicated().unwrap();
    assert_eq!(one.command::<String>(("ECHO", "mine")).unwrap(), "mine");
}

#[test]
fn the_third_lease_of_two_ends_by_its_deadline() {
    let server = Server::start();
    let config = Config::new()
        .url(server.url())
        .max_connections(2)
        .shared_lines(0);
    let keep = Manager::open_config(&config).unwrap();
    let url = server.url();
    let first = keep.get_client(&url).unwrap();
    let second = keep.get_client(&url).unwrap();
    for time in [Duration::ZERO, Duration::from_millis(120)] {
        let started = Instant::now();
        let error = keep.get_client_within(&url, time).unwrap_err();
        let took = started.elapsed();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::PoolTimeout, Outcome::NotSent)
        );
        assert!(
            took >= time && took < time + Duration::from_millis(400),
            "{took:?}"
        );
    }
    // A command waits in the same queue.
    let error = keep.command_within::<()>("PING", Duration::from_millis(50));
    assert_eq!(error.unwrap_err().kind(), ErrorKind::PoolTimeout);
    let waiting = std::thread::scope(|scope| {
        let third = scope.spawn(|| keep.get_client_within(&url, PATIENCE).map(drop));
        wait_until(PATIENCE, || {
            keep.fetch_pool_status().nodes[0].pools[0].waiting == 1
        });
        drop(first);
        third.join().unwrap()
    });
    waiting.unwrap();
    drop(second);
    assert_eq!(server.connections(), 2);
}

#[test]
fn a_lease_from_a_dead_node_fails_with_the_cause() {
    let mut server = Server::start();
    let url = server.url();
    let keep = open(&server);
    let mut one = keep.get_client(&url).unwrap();
    server.kill();
    assert_eq!(one.command::<()>("PING").unwrap_err().kind(), ErrorKind::Io);
    let error = keep.get_client(&url).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    let error = keep.get_client(&url).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoHealthyPools);
    assert!(error.to_string().contains("refused"), "{error}");
    drop(one);
    server.restart();
    wait_until(PATIENCE, || keep.get_client(&url).is_ok());
}

#[test]
fn a_lease_outlives_purge_and_close_of_its_node() {
    let server = Server::start();
    let keep = open(&server);
    let url = server.url();
    let mut one = keep.get_client(&url).unwrap();
    keep.disconnect();
    assert_eq!(one.command::<String>("PING").unwrap(), "PONG");
    keep.close_node_pools(&url).unwrap();
    assert_eq!(one.command::<String>("PING").unwrap(), "PONG");
    drop(one);
    wait_until(PATIENCE, || server.connections() == 0);
    keep.add_node_pool(&url).unwrap();
    let mut one = keep.get_client(&url).unwrap();
    drop(keep);
    assert_eq!(
        one.command::<()>("PING").unwrap_err().kind(),
        ErrorKind::Closed
    );
    drop(one);
    wait_until(PATIENCE, || server.connections() == 0);
}

fn oldest(keep: &Manager) -> Option<Duration> {
    keep.fetch_pool_status().nodes[0].pools[0].oldest_lease
}

#[test]
fn the_status_tells_the_age_of_the_oldest_lease() {
    let server = Server::start();
    let keep = open(&server);
    keep.ping().unwrap();
    assert_eq!(oldest(&keep), None);
    let asked = Instant::now();
    let first = keep.client().dedicated().unwrap();
    let had = Instant::now();
    let age = Duration::from_millis(30);
    wait_until(PATIENCE, || had.elapsed() >= age);
    let second = keep.client().dedicated().unwrap();
    // A look lies between the moments before and after it.
    let least = had.elapsed();
    let seen = oldest(&keep).unwrap();
    assert!(seen >= least && seen <= asked.elapsed(), "{seen:?}");
    let shown = keep.stats()["pools"]["nodes"][0]["pools"][0]["oldest_lease_ms"].as_f64();
    assert!(shown.unwrap() >= least.as_secs_f64() * 1e3, "{shown:?}");
    // A command on a connection of the pool is no lease.
    keep.ping().unwrap();
    drop(first);
    let seen = oldest(&keep).unwrap();
    assert!(seen <= had.elapsed() - age, "{seen:?}");
    drop(second);
    assert_eq!(oldest(&keep), None);
    let none = &keep.stats()["pools"]["nodes"][0]["pools"][0]["oldest_lease_ms"];
    assert!(none.is_null(), "{none}");
}

#[test]
fn a_lease_held_for_too_long_is_reported_once_with_its_age() {
    collect_logs();
    let server = Server::start();
    let warnings = |server: &Server| {
        let lines = logged();
        let about = |line: &&str| line.contains("leased for") && line.contains(&server.address());
        let lines = lines.lines().filter(about);
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let round = Duration::from_millis(5);
    let config = Config::new().url(server.url()).cleanup_interval(round);
    let limit = Duration::from_millis(40);
    let keep = Manager::open_config(&config.clone().lease_warning(limit)).unwrap();
    let asked = Instant::now();
    let first = keep.client().dedicated().unwrap();
    wait_until(PATIENCE, || !warnings(&server).is_empty());
    assert!(asked.elapsed() >= limit);
    // Other leases are reported, this one is not again.
    let second = keep.client().dedicated().unwrap();
    wait_until(PATIENCE, || warnings(&server).len() == 2);
    let third = keep.client().dedicated().unwrap();
    wait_until(PATIENCE, || warnings(&server).len() == 3);
    drop((first, second, third));

    let other = Server::start();
    let silent = config.url(other.url()).lease_warning(Duration::ZERO);
    let off = Manager::open_config(&silent).unwrap();
    let _held = off.client().dedicated().unwrap();
    let _reported = keep.client().dedicated().unwrap();
    wait_until(PATIENCE, || warnings(&server).len() == 4);
    assert_eq!(warnings(&other).len(), 0);
}

#[test]
fn ten_thousand_leases_of_sixteen_slots_end_by_their_deadlines() {
    const THREADS: usize = 40;
    const EACH: usize = 250;
    let server = Server::start();
    let config = Config::new().url(server.unix_url()).max_connections(16);
    let keep = Manager::open_config(&config).unwrap();
    let url = server.unix_url();
    let (had, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for n in 0..THREADS {
            let (keep, url, had, refused) = (&keep, &url, &had, &refused);
            scope.spawn(move || {
                for round in 0..EACH {
                    let time = Duration::from_millis((n + round) as u64 % 4);
                    let started = Instant::now();
                    let lease = keep.get_client_within(url, time);
                    let took = started.elapsed();
                    // 40 threads share the machine with whatever else runs on it.
                    assert!(took < time + Duration::from_secs(2), "{took:?}");
                    match lease {
                        Ok(mut one) => {
                            let tag = format!("{n} {round}");
                            match one.command::<String>(("ECHO", &tag)) {
                                Ok(back) => assert_eq!(back, tag),
                                Err(error) => panic!("{error:?}"),
                            }
                            had.fetch_add(1, Ordering::Relaxed);
                        }
                        // A slot came in time, but was not open yet.
                        Err(error) if error.kind() == ErrorKind::Timeout => {
                            assert_eq!(error.outcome(), Outcome::NotSent, "{error:?}");
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::PoolTimeout, "{error:?}");
                            assert_eq!(error.outcome(), Outcome::NotSent, "{error:?}");
                            assert!(took >= time, "{took:?} of {time:?}");
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    let (had, refused) = (had.into_inner(), refused.into_inner());
    assert_eq!(had + refused, (THREADS * EACH) as u64);
    assert!(had > 0 && refused > 0, "{had} had, {refused} refused");
    let pool = keep.fetch_pool_status().nodes[0].pools[0];
    assert_eq!((pool.in_use, pool.waiting, pool.oldest_lease), (0, 0, None));
    assert!(server.connections() <= 16);
}

#[test]
fn close_wakes_a_lease_that_blocks_without_end() {
    let server = Server::start();
    let keep = open(&server);
    let mut one = keep.client().dedicated().unwrap();
    std::thread::scope(|scope| {
        let blocked = scope.spawn(move || {
            let error = one
                .command::<Option<(String, String)>>(("BLPOP", "nothing", 0))
                .unwrap_err();
            let after = one.command::<()>("PING").unwrap_err();
            (error, after)
        });
        wait_until(PATIENCE, || {
            server.info("clients", "blocked_clients") == "1"
        });
        let started = Instant::now();
        keep.close(PATIENCE).unwrap();
        let (error, after) = blocked.join().unwrap();
        assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
        assert_eq!(error.kind(), ErrorKind::Closed, "{error:?}");
        assert_eq!(after.outcome(), Outcome::NotSent, "{after:?}");
    });
    wait_until(PATIENCE, || server.connections() == 0);
}
