//! Where commands go while slots move, and reads where there are replicas.

use crate::*;
use redkeep::redis;

#[test]
fn commands_follow_slots_that_move() {
    let cluster = Cluster::small();
    let keep = open(&cluster);
    let key = key_in(0..1000, "key");
    let (at, pair) = (slot(&key), format!("{{{key}}}2"));
    keep.set(&key, 1).unwrap();

    // Half moved: what is still there is answered there, what is not is asked for at the other end.
    cluster.begin_to_move(at, 0, 1);
    assert_eq!(keep.get::<i64>(&key).unwrap(), Some(1));
    keep.set(&pair, 2).unwrap();
    assert_eq!(
        cluster.nodes[0].ask::<usize>(&["CLUSTER", "COUNTKEYSINSLOT", &at.to_string()]),
        1
    );
    assert_eq!(keep.get::<i64>(&pair).unwrap(), Some(2));
    let mut pipe = keep.pipeline();
    for _ in 0..3 {
        pipe.command(("INCR", &key))
            .unwrap()
            .command(("INCR", &pair))
            .unwrap();
    }
    assert_eq!(pipe.query::<Vec<i64>>().unwrap(), [2, 3, 3, 4, 4, 5]);
    let mut pipe = keep.pipeline();
    pipe.atomic(true)
        .command(("INCR", &pair))
        .unwrap()
        .command(("INCR", &pair))
        .unwrap();
    assert_eq!(pipe.query::<Vec<i64>>().unwrap(), [6, 7]);

    // Both keys in one command: TRYAGAIN until the slot is over.
    thread::scope(|scope| {
        let waiting = scope.spawn(|| keep.mget::<i64>(&[&key, &pair]));
        thread::sleep(Duration::from_millis(100));
        cluster.move_keys(at, 0, 1);
        assert_eq!(waiting.join().unwrap().unwrap(), [Some(4), Some(7)]);
    });
    cluster.end_move(at, 1);
    assert_eq!(keep.get::<i64>(&key).unwrap(), Some(4));
    let (left,): (i64,) = keep
        .transaction(&key, |tx| tx.command(("DECR", &key)).map(|_| ()))
        .unwrap();
    assert_eq!(left, 3);
    wait_until(PATIENCE, || {
        let status = keep.fetch_pool_status();
        let new = status
            .nodes
            .iter()
            .find(|node| node.address == cluster.nodes[1].address());
        new.unwrap().slots.contains(&(at, at))
    });
    // Learned: no second detour.
    let before = keep.stats()["retries"].as_u64();
    for _ in 0..50 {
        assert_eq!(keep.get::<i64>(&key).unwrap(), Some(3));
    }
    assert_eq!(keep.stats()["retries"].as_u64(), before);
}

#[test]
fn a_walk_sees_what_moves_under_it() {
    let cluster = Cluster::small();
    let keep = open(&cluster);
    let keys: Vec<String> = (0..3000).map(|i| format!("walk{i}")).collect();
    keep.mset(keys.iter().map(|key| (key, 1))).unwrap();
    let mut walk = keep.scan(None);
    let mut seen: HashSet<Vec<u8>> = HashSet::new();
    for _ in 0..50 {
        seen.insert(walk.next().unwrap().unwrap());
    }
    // From servers that will be walked over to the one that is now. (One that gives and takes in quick succession can
    // leave a cluster in lasting disagreement, which is not what this is about.)
    for key in keys.iter().step_by(60) {
        let at = slot(key);
        let from = cluster.primary_of(at);
        if from != 0 {
            cluster.move_slot(at, from, 0);
        }
    }
    // Until the nodes agree, nobody can tell where a slot is.
    cluster.settle();
    for key in walk {
        seen.insert(key.unwrap());
    }
    let missing = keys
        .iter()
        .filter(|key| !seen.contains(key.as_bytes()))
        .count();
    assert_eq!(missing, 0);
}

#[test]
fn reads_go_to_replicas_where_that_is_wanted_and_writes_never() {
    let cluster = Cluster::start();
    for from in [ReadFrom::Replica, ReadFrom::Nearest, ReadFrom::Primary] {
        let keep = with(&cluster, |config| config.read_from(from));
        let keys = one_each("read");
        for key in &keys {
            keep.set(key, 1).unwrap();
        }
        for (i, key) in keys.iter().enumerate() {
            let replica = &cluster.nodes[3 + i];
            wait_until(PATIENCE, || {
                redis::cmd("READONLY")
                    .query::<()>(&mut replica.admin())
                    .unwrap();
                let mut admin = replica.admin();
                redis::cmd("READONLY").query::<()>(&mut admin).unwrap();
                redis::cmd("GET")
                    .arg(key)
                    .query::<Option<i64>>(&mut admin)
                    .unwrap()
                    == Some(1)
            });
        }
        let calls = |name: &str, nodes: &[Server]| -> u64 {
            nodes.iter().map(|node| node.command_calls(name)).sum()
        };
        let (primaries, replicas) = cluster.nodes.split_at(3);
        let before = (calls("get", primaries), calls("get", replicas));
        let sets = calls("set", primaries);
        for _ in 0..20 {
            for key in &keys {
                assert_eq!(keep.get::<i64>(key).unwrap(), Some(1));
                keep.set(key, 1).unwrap();
            }
        }
        let (on_primaries, on_replicas) = (
            calls("get", primaries) - before.0,
            calls("get", replicas) - before.1,
        );
        assert_eq!(on_primaries + on_replicas, 60, "each is sent once");
        match from {
            ReadFrom::Replica => assert_eq!(on_replicas, 60),
            ReadFrom::Primary => assert_eq!(on_primaries, 60),
            _ => {}
        }
        assert_eq!(calls("set", primaries) - sets, 60);
        assert_eq!(keep.stats()["retries"], 0, "{from:?}");
        // A transaction is decided at the primary, even one that only reads.
        let before = calls("get", primaries);
        let mut pipe = keep.pipeline();
        pipe.atomic(true).command(("GET", &keys[0])).unwrap();
        assert_eq!(pipe.query::<Vec<i64>>().unwrap(), [1]);
        assert_eq!(calls("get", primaries) - before, 1);
    }
    // A replica that the others forget, alive as it is, leaves the map, and nobody reads from it any more.
    let mut cluster = cluster;
    let keep = with(&cluster, |config| {
        // Nothing that fails has the map looked at anew here, only time.
        let config = config.health_check_interval(Duration::from_millis(200));
        config.read_from(ReadFrom::Replica)
    });
    let keys = one_each("read");
    keep.mget::<i64>(&keys).unwrap();
    let forgotten = cluster.id(5);
    for node in &cluster.nodes[..5] {
        node.ask::<()>(&["CLUSTER", "FORGET", &forgotten]);
    }
    let gone = cluster.nodes[5].port().to_string();
    wait_until(PATIENCE, || {
        assert_eq!(keep.mget::<i64>(&keys).unwrap(), [Some(1); 3]);
        let status = keep.fetch_pool_status();
        !status
            .nodes
            .iter()
            .any(|node| node.address.ends_with(&gone))
    });
    // A replica that is away is not missed.
    cluster.nodes[3].kill();
    for _ in 0..50 {
        assert_eq!(keep.mget::<i64>(&keys).unwrap(), [Some(1); 3]);
    }
}
