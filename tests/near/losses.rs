//! Connections and servers that are lost, slots that move, and its end.

use crate::*;

#[test]
fn the_loss_of_the_connection_empties_it_and_it_fills_again() {
    let server = Server::start();
    let keep = open(&server.url());
    let near = keep.near_cache(ROOM);
    for round in 0..10 {
        let old = format!("old{round}");
        set(&server, "a", &old);
        wait_until(PATIENCE, || text(&near, "a").as_deref() == Some(&*old));
        wait_until(PATIENCE, || {
            let before = hits(&near);
            text(&near, "a");
            hits(&near) > before
        });
        let emptied = near.stats().unwrap().emptied;
        for id in trackers(&server) {
            server.ask::<i64>(&["CLIENT", "KILL", "ID", &id]);
        }
        // Nobody is told of this one.
        set(&server, "a", "new");
        wait_until(PATIENCE, || text(&near, "a").as_deref() == Some("new"));
        // A read that found the cache deaf may have been first.
        wait_until(PATIENCE, || near.stats().unwrap().emptied > emptied);
        wait_until(PATIENCE, || near.stats().unwrap().nodes == 1);
    }
}

#[test]
fn a_connection_that_dies_without_a_sign_is_noticed() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let short = Duration::from_millis(500);
    let keep = with(&proxy.url(), |config| {
        config.connect_timeout(short).command_timeout(short)
    });
    let near = keep.near_cache(ROOM);
    set(&server, "a", "1");
    // The first read may have found too little time to wait for the server's word.
    wait_until(PATIENCE, || {
        let _ = near.get::<String>("a");
        near.stats().unwrap().entries == 1
    });
    proxy.set(Way::ToClient, Fault::BlackHole);
    set(&server, "a", "2");
    wait_until(PATIENCE, || near.stats().unwrap().nodes == 0);
    assert_eq!(near.stats().unwrap().entries, 0);
    assert!(near.get::<String>("a").is_err());
    proxy.cut_all();
    proxy.heal();
    wait_until(PATIENCE, || {
        near.get::<String>("a").ok().flatten().as_deref() == Some("2")
    });
    wait_until(PATIENCE, || {
        let _ = near.get::<String>("a");
        near.stats().unwrap().entries == 1
    });
}

#[test]
fn of_a_server_that_does_not_tell_nothing_is_kept_and_the_log_says_so_once() {
    if !alone(
        "near::losses::of_a_server_that_does_not_tell_nothing_is_kept_and_the_log_says_so_once",
    ) {
        return;
    }
    collect_logs();
    let server = Server::start();
    let rules = [
        "reset",
        "on",
        "nopass",
        "~*",
        "&*",
        "+@all",
        "-client|tracking",
    ];
    server.ask::<()>(&[&["ACL", "SETUSER", "plain"], &rules[..]].concat());
    let forbidden = server.url().replace("redis://", "redis://plain:x@");
    let interval = Duration::from_millis(50);
    let keeps = [
        // It is asked again and again, and says no each time.
        with(&forbidden, |config| config.health_check_interval(interval)),
        with(&server.url(), |config| config.protocol(2)),
    ];
    for (keep, why) in keeps.iter().zip(["NOPERM", "RESP2"]) {
        let before = logged().len();
        let near = keep.near_cache(ROOM);
        for i in 0..5i64 {
            server.ask::<()>(&["SET", "a", &i.to_string()]);
            assert_eq!(near.get::<i64>("a").unwrap(), Some(i));
            assert_eq!(near.mget::<i64, _>(["a", "b"]).unwrap(), [Some(i), None]);
            thread::sleep(interval * 2);
        }
        let stats = near.stats().unwrap();
        assert_eq!((stats.hits, stats.entries, stats.nodes), (0, 0, 0));
        let lines = logged().split_off(before);
        let told: Vec<_> = (lines.lines())
            .filter(|line| line.contains("does not tell which keys change"))
            .collect();
        assert_eq!(told.len(), 1, "{lines:?}");
        assert!(told[0].contains(why), "{told:?}");
    }
    // Allowed at last, it is asked once more.
    server.ask::<()>(&["ACL", "SETUSER", "plain", "+client|tracking"]);
    let near = keeps[0].near_cache(ROOM);
    text(&near, "a");
    wait_until(PATIENCE, || {
        text(&near, "a");
        hits(&near) > 0
    });
}

#[test]
fn a_server_that_is_away_is_an_error_and_comes_back() {
    let mut server = Server::start();
    let interval = Duration::from_millis(100);
    let keep = with(&server.url(), |config| {
        config.health_check_interval(interval)
    });
    let near = keep.near_cache(ROOM);
    set(&server, "a", "1");
    text(&near, "a");
    server.kill();
    wait_until(PATIENCE, || near.stats().unwrap().nodes == 0);
    assert!(near.get::<String>("a").is_err());
    server.restart();
    wait_until(PATIENCE, || matches!(near.get::<String>("a"), Ok(None)));
    wait_until(PATIENCE, || near.stats().unwrap().nodes == 1);
    let refused = Manager::open("redis://localhost:1").unwrap();
    let error = refused.near_cache(ROOM).get::<String>("a").unwrap_err();
    assert_eq!(error.outcome(), redkeep::Outcome::NotSent, "{error}");
}

#[test]
fn it_ends_with_its_manager() {
    if !alone("near::losses::it_ends_with_its_manager") {
        return;
    }
    let server = Server::start();
    let keep = open(&server.url());
    let near = keep.near_cache(ROOM);
    keep.set("a", 1).unwrap();
    assert_eq!(text(&near, "a").as_deref(), Some("1"));
    keep.close(PATIENCE).unwrap();
    assert_eq!(near.get::<i64>("a").unwrap_err().kind(), ErrorKind::Closed);
    let error = near.mget::<i64, _>(["a"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(near.stats().unwrap_err().kind(), ErrorKind::Closed);
    drop((keep, near));
    wait_until(PATIENCE, || threads().is_empty());

    // It keeps its manager alive, and lets it go.
    let near = open(&server.url()).near_cache(ROOM);
    assert_eq!(text(&near, "a").as_deref(), Some("1"));
    assert_eq!(text(&near, "a").as_deref(), Some("1"));
    drop(near);
    wait_until(PATIENCE, || {
        threads().is_empty() && server.connections() == 0
    });
}

#[test]
fn on_a_cluster_slots_move_and_primaries_fail() {
    let cluster = Cluster::start();
    let keep = with(&cluster.url(), |config| config.read_from(ReadFrom::Replica));
    let other = open(&cluster.url());
    let near = keep.near_cache(ROOM);
    let keys = [0..5461, 5461..10922, 10922..16384].map(|slots| key_in(slots, "near"));
    for key in &keys {
        other.set(key, 1).unwrap();
    }
    for round in 0..2 {
        assert_eq!(near.mget::<i64, _>(&keys).unwrap(), [Some(1); 3]);
        assert_eq!((hits(&near), misses(&near)), (3 * round, 3));
    }
    assert_eq!(near.stats().unwrap().nodes, 3);
    for (i, key) in keys.iter().enumerate() {
        other.set(key, i).unwrap();
        wait_until(PATIENCE, || near.get::<usize>(key).unwrap() == Some(i));
        keep.set(key, 2).unwrap();
        assert_eq!(near.get::<i64>(key).unwrap(), Some(2));
    }
    // Nobody could tell that another node makes it.
    let before = misses(&near);
    for _ in 0..2 {
        assert_eq!(near.get::<i64>("none").unwrap(), None);
    }
    for _ in 0..2 {
        assert_eq!(near.hget::<i64>("none", "field").unwrap(), None);
    }
    assert_eq!(misses(&near), before + 4);

    let of = slot(&keys[0]);
    let (from, to) = (cluster.primary_of(of), cluster.primary_of(slot(&keys[1])));
    cluster.begin_to_move(of, from, to);
    assert_eq!(near.get::<i64>(&keys[0]).unwrap(), Some(2));
    cluster.move_keys(of, from, to);
    // Its new home answers now, by way of ASK.
    wait_until(PATIENCE, || near.get::<i64>(&keys[0]).unwrap() == Some(2));
    other.set(&keys[0], 3).unwrap();
    wait_until(PATIENCE, || near.get::<i64>(&keys[0]).unwrap() == Some(3));
    cluster.end_move(of, to);
    for i in 4..20 {
        other.set(&keys[0], i).unwrap();
        wait_until(PATIENCE, || near.get::<i64>(&keys[0]).unwrap() == Some(i));
    }
    wait_until(PATIENCE, || {
        let before = hits(&near);
        near.get::<i64>(&keys[0]).unwrap();
        hits(&near) > before
    });

    let primary = cluster.primary_of(slot(&keys[2]));
    assert_eq!(near.get::<i64>(&keys[2]).unwrap(), Some(2));
    cluster.fail_over_to(cluster.replica_of(primary));
    other.set(&keys[2], 7).unwrap();
    wait_until(PATIENCE * 2, || {
        near.get::<i64>(&keys[2]).ok().flatten() == Some(7)
    });
    wait_until(PATIENCE * 2, || {
        let before = hits(&near);
        let _ = near.get::<i64>(&keys[2]);
        hits(&near) > before
    });
    other.set(&keys[2], 8).unwrap();
    wait_until(PATIENCE, || near.get::<i64>(&keys[2]).unwrap() == Some(8));
}

#[test]
fn behind_sentinels_the_new_primary_is_believed() {
    let all = Sentinels::start();
    let keep = with(&all.url(), |config| config.read_from(ReadFrom::Nearest));
    let near = keep.near_cache(ROOM);
    keep.set("a", 1).unwrap();
    for _ in 0..2 {
        assert_eq!(near.get::<i64>("a").unwrap(), Some(1));
    }
    assert_eq!(hits(&near), 1);
    let next = all.fail_over();
    let other = open(&all.url());
    wait_until(PATIENCE * 2, || other.set("a", 2).is_ok());
    wait_until(PATIENCE * 2, || {
        near.get::<i64>("a").ok().flatten() == Some(2)
    });
    wait_until(PATIENCE * 2, || {
        let before = hits(&near);
        let _ = near.get::<i64>("a");
        hits(&near) > before
    });
    // Until the manager knows, the old one may have answered, as a replica.
    wait_until(PATIENCE * 2, || {
        let _ = near.get::<i64>("a");
        trackers(&all.nodes[next]).len() == 1
    });
    set(&all.nodes[next], "a", "3");
    wait_until(PATIENCE, || near.get::<i64>("a").unwrap() == Some(3));
}
