//! A real cluster of three primaries and three replicas: every command finds its node, wherever its slot goes.

mod support;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use redkeep::{
    Config, ErrorKind, Manager, NodeRole, Outcome, ReadFrom, Script, TopologyKind, redis,
};
use support::{Answer, Cluster, PATIENCE, Peer, Server, key_in, polite, slot, wait_until};

fn open(cluster: &Cluster) -> Manager {
    with(cluster, |config| config)
}

fn with(cluster: &Cluster, change: impl FnOnce(Config) -> Config) -> Manager {
    Manager::open_config(&change(Config::new().url(cluster.url()))).expect("a config of ours")
}

const THIRDS: [std::ops::Range<u16>; 3] = [0..5461, 5461..10922, 10922..16384];

/// One key on each primary.
fn one_each(beginning: &str) -> [String; 3] {
    THIRDS.map(|slots| key_in(slots, beginning))
}

#[test]
fn every_kind_of_call_works_as_on_one_server() {
    let cluster = Cluster::start();
    let keep = open(&cluster);
    assert!(!keep.is_enabled());

    // Single keys, everywhere.
    let keys: Vec<String> = (0..300).map(|i| format!("key{i}")).collect();
    for (i, key) in keys.iter().enumerate() {
        keep.set(key, i).unwrap();
    }
    for (i, key) in keys.iter().enumerate() {
        assert_eq!(keep.get::<usize>(key).unwrap(), Some(i));
    }
    assert!(keep.is_enabled());
    assert_eq!(keep.stats()["retries"], 0);
    for node in &cluster.nodes[..3] {
        assert!(node.ask::<usize>(&["DBSIZE"]) > 50);
    }

    several_keys(&keep, &keys);
    pipelines(&keep, &keys);
    transactions(&keep);
    scripts(&keep);
    walks(&keep, &keys);
    commands_of_the_redis_crate(&keep);
    nodes_by_name(&cluster, &keep);
    status(&cluster, &keep);
}

fn several_keys(keep: &Manager, keys: &[String]) {
    let values: Vec<Option<usize>> = keep.mget(keys).unwrap();
    assert!(values.into_iter().eq((0..300).map(Some)));
    let odd = ["key7", "nowhere", "key5", "key7"];
    let values: Vec<Option<usize>> = keep.mget(&odd).unwrap();
    assert_eq!(values, [Some(7), None, Some(5), Some(7)]);
    assert_eq!(keep.command::<i64>(("EXISTS", &odd)).unwrap(), 3);
    assert_eq!(keep.command::<i64>(("TOUCH", keys)).unwrap(), 300);
    keep.mset((0..100).map(|i| (format!("m{i}"), i))).unwrap();
    let gone: Vec<String> = (0..100).map(|i| format!("m{i}")).collect();
    assert_eq!(
        keep.mget::<i64>(&gone)
            .unwrap()
            .iter()
            .flatten()
            .sum::<i64>(),
        4950
    );
    assert_eq!(keep.delete(&gone[..50]).unwrap(), 50);
    assert_eq!(keep.command::<i64>(("UNLINK", &gone)).unwrap(), 50);

    // Another type of value in one of the parts.
    let [a, b, _] = one_each("typed");
    let _: i64 = keep.command(("RPUSH", &a, 1)).unwrap();
    assert_eq!(keep.mget::<i64>(&[&a, &b]).unwrap(), [None, None]);

    for across in [
        vec!["SINTERSTORE", &a, &b],
        vec!["RENAME", &a, &b],
        vec!["MSETNX", &a, "1", &b, "2"],
        vec!["EVAL", "return 1", "2", &a, &b],
        vec!["BLPOP", &a, &b, "1"],
        vec!["XREAD", "STREAMS", &a, &b, "0", "0"],
        vec!["ZUNIONSTORE", &a, "1", &b],
    ] {
        let before = keep.stats()["calls"].as_u64();
        let error = keep.command::<redis::Value>(&across[..]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CrossSlot, "{error}");
        assert_eq!(error.outcome(), Outcome::NotSent);
        let named = error.to_string();
        assert!(
            named.contains(across[0]) && named.contains(&slot(&a).to_string()),
            "{named}"
        );
        assert_eq!(keep.stats()["calls"].as_u64(), before, "nothing is sent");
    }
    let error = keep
        .command::<redis::Value>(&["MSET", &a, "1", &b])
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Argument);
    keep.delete(&a).unwrap();
    // A command that the table does not know is looked up at the server.
    let _: redis::Value = keep.command(("PFDEBUG", "TODENSE", one_pf(keep))).unwrap();
}

fn one_pf(keep: &Manager) -> String {
    let key = key_in(THIRDS[2].clone(), "pf");
    let _: i64 = keep.command(("PFADD", &key, 1)).unwrap();
    key
}

fn pipelines(keep: &Manager, keys: &[String]) {
    let mut pipe = keep.pipeline();
    for (i, key) in keys.iter().enumerate() {
        pipe.command(("SET", key, i)).unwrap();
        pipe.command(("INCR", key)).unwrap();
    }
    pipe.command("PING").unwrap();
    pipe.command(("MGET", &keys[..5])).unwrap();
    pipe.command(("LPUSH", &keys[0], 1)).unwrap();
    pipe.command(("EXISTS", &keys[..5])).unwrap();
    pipe.command(("MSET", "x1", 1, "x2", 2, "x3", 3)).unwrap();
    pipe.command(("DEL", "x1", "x2", "x3")).unwrap();
    let replies = pipe.execute().unwrap();
    assert_eq!(replies.len(), 606);
    for i in 0..300 {
        assert_eq!(replies.get::<i64>(2 * i + 1).unwrap(), i as i64 + 1);
    }
    assert_eq!(replies.get::<String>(600).unwrap(), "PONG");
    assert_eq!(replies.get::<Vec<i64>>(601).unwrap(), [1, 2, 3, 4, 5]);
    assert_eq!(
        replies.get::<i64>(602).unwrap_err().code(),
        Some("WRONGTYPE")
    );
    assert_eq!(replies.get::<i64>(603).unwrap(), 5);
    assert_eq!(replies.get::<String>(604).unwrap(), "OK");
    assert_eq!(replies.get::<i64>(605).unwrap(), 3);

    let [a, b, _] = one_each("pipe");
    let mut pipe = keep.pipeline();
    pipe.command(("SET", &a, 1))
        .unwrap()
        .command(("RENAME", &a, &b))
        .unwrap();
    let error = pipe.execute().map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CrossSlot);
    assert_eq!(pipe.outcome(0), Some(Outcome::NotSent));
    assert_eq!(keep.get::<i64>(&a).unwrap(), None);
    assert_eq!(keep.pipeline().execute().unwrap().len(), 0);
}

fn transactions(keep: &Manager) {
    let [a, b, _] = one_each("tx");
    for key in [&a, &b] {
        let mut pipe = keep.pipeline();
        pipe.atomic(true)
            .command(("SET", key, 5))
            .unwrap()
            .command(("INCR", key))
            .unwrap();
        assert_eq!(pipe.query::<(String, i64)>().unwrap().1, 6);
        let (sum,): (i64,) = keep
            .transaction(key, |tx| {
                let now: i64 = tx.read(("GET", key))?;
                tx.command(("INCRBY", key, now))?;
                Ok(())
            })
            .unwrap();
        assert_eq!(sum, 12);
    }
    let mut pipe = keep.pipeline();
    pipe.atomic(true)
        .command(("INCR", &a))
        .unwrap()
        .command(("INCR", &b))
        .unwrap();
    assert_eq!(
        pipe.execute().map(|_| ()).unwrap_err().kind(),
        ErrorKind::CrossSlot
    );
    let crossing = keep.transaction::<redis::Value>(&a, |tx| tx.command(("INCR", &b)).map(|_| ()));
    assert_eq!(crossing.unwrap_err().kind(), ErrorKind::CrossSlot);
    let crossing = keep.transaction::<redis::Value>(&[&a, &b], |_| Ok(()));
    assert_eq!(crossing.unwrap_err().kind(), ErrorKind::CrossSlot);
    assert_eq!(keep.mget::<i64>(&[&a, &b]).unwrap(), [Some(12), Some(12)]);
}

fn scripts(keep: &Manager) {
    let script = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    for key in one_each("script") {
        assert_eq!(keep.eval::<i64>(&script, &key, 5).unwrap(), 5);
        assert_eq!(keep.eval::<i64>(&script, &key, 5).unwrap(), 10);
    }
    let mut pipe = keep.pipeline();
    for key in one_each("script") {
        pipe.eval(&script, &key, 1).unwrap();
        pipe.eval(&script, &key, 1).unwrap();
    }
    assert_eq!(pipe.query::<Vec<i64>>().unwrap(), [11, 12, 11, 12, 11, 12]);
}

fn walks(keep: &Manager, keys: &[String]) {
    let seen: Vec<Vec<u8>> = keep
        .scan(Some("key*"))
        .collect::<redkeep::Result<_>>()
        .unwrap();
    let found: HashSet<String> = seen
        .into_iter()
        .map(|key| String::from_utf8(key).unwrap())
        .collect();
    assert_eq!(found, keys.iter().cloned().collect());
}

fn commands_of_the_redis_crate(keep: &Manager) {
    use redis::Commands;
    let mut client = keep.client();
    let _: () = client.zadd("scores", "ann", 3).unwrap();
    let top: Vec<String> = client.zrevrange("scores", 0, 9).unwrap();
    assert_eq!(top, ["ann"]);
    let [a, b, c] = one_each("crate");
    let got: (i64, i64, i64) = redis::pipe()
        .incr(&a, 1)
        .incr(&b, 2)
        .incr(&c, 3)
        .query(&mut client)
        .unwrap();
    assert_eq!(got, (1, 2, 3));
}

fn nodes_by_name(cluster: &Cluster, keep: &Manager) {
    for node in &cluster.nodes {
        let mut one = keep.get_client(&node.url()).unwrap();
        assert_eq!(one.node(), node.address());
        let id: String = one.command(("CLUSTER", "MYID")).unwrap();
        assert_eq!(id, node.ask::<String>(&["CLUSTER", "MYID"]));
        assert!(keep.health_check(Some(&node.url())).unwrap().healthy);
    }
    assert!(keep.health_check(None).unwrap().healthy);
    assert!(
        keep.wait_for_ready(None, PATIENCE, Duration::from_millis(50), 5)
            .is_ok()
    );
}

fn status(cluster: &Cluster, keep: &Manager) {
    let status = keep.fetch_pool_status();
    assert_eq!(status.topology, TopologyKind::Cluster);
    for (i, node) in cluster.nodes.iter().enumerate() {
        let shown = status
            .nodes
            .iter()
            .find(|shown| shown.address == node.address());
        let shown = shown.expect("every node");
        let (role, slots) = match THIRDS.get(i) {
            Some(slots) => (NodeRole::Primary, vec![(slots.start, slots.end - 1)]),
            None => (NodeRole::Replica, vec![]),
        };
        assert_eq!((shown.role, &shown.slots), (role, &slots));
    }
    let json = serde_json::to_value(&status).unwrap();
    assert_eq!(json["topology"], "cluster");
    let nodes = json["nodes"].as_array().unwrap();
    let slots = |node: &serde_json::Value| node["slots"].as_array().unwrap().len();
    assert_eq!(
        nodes
            .iter()
            .filter(|node| node["role"] == "primary")
            .count(),
        3
    );
    assert_eq!(nodes.iter().map(slots).sum::<usize>(), 3);
}

#[test]
fn a_node_of_its_own_beside_a_cluster_lives_and_dies_for_itself() {
    let cluster = Cluster::small();
    let keep = open(&cluster);
    let mut other = Server::start();
    keep.add_node_pool(&other.url()).unwrap();
    let mut one = keep.get_client(&other.url()).unwrap();
    one.command::<()>(("SET", "a", "there")).unwrap();
    drop(one);
    keep.set("a", "here").unwrap();
    // However often the map is replaced, it stays.
    let from = cluster.primary_of(slot("a"));
    cluster.move_slot(slot("a"), from, (from + 1) % 3);
    assert_eq!(keep.get::<String>("a").unwrap().as_deref(), Some("here"));
    let mut one = keep.get_client(&other.url()).unwrap();
    assert_eq!(one.command::<String>(("GET", "a")).unwrap(), "there");
    drop(one);
    let status = keep.fetch_pool_status();
    let shown = status
        .nodes
        .iter()
        .find(|node| node.address == other.address());
    assert_eq!(shown.unwrap().role, NodeRole::Independent);
    other.kill();
    assert!(!keep.health_check(Some(&other.url())).unwrap().healthy);
    for key in one_each("beside") {
        keep.set(&key, 1).unwrap();
    }
    assert!(keep.get_client(&other.url()).is_err());
    assert!(keep.is_enabled());
}

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
    let keep = with(&cluster, |config| config.read_from(ReadFrom::Replica));
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

/// How an outage looked to the callers of one slot.
#[derive(Default)]
struct Watched {
    calls: AtomicU64,
    errors: AtomicU64,
    late: AtomicU64,
    acknowledged: AtomicU64,
    unknown: AtomicU64,
}

const DEADLINE: Duration = Duration::from_millis(5000);

/// Ends the others, also when a check has failed: a scope waits for all its threads.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sets, reads and counts until told to stop.
fn work(keep: &Manager, key: &str, stop: &AtomicBool, seen: &Watched) {
    let counter = format!("{{{key}}}n");
    let mut n = 0;
    let timed = |call: &mut dyn FnMut() -> redkeep::Result<()>, idempotent: bool| {
        let started = Instant::now();
        let result = call();
        if started.elapsed() > DEADLINE + Duration::from_millis(250) {
            seen.late.fetch_add(1, Ordering::Relaxed);
        }
        seen.calls.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = &result
            && idempotent
        {
            seen.errors.fetch_add(1, Ordering::Relaxed);
            println!("{key}: {error:?}");
        }
        result
    };
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let set = timed(&mut || keep.set(key, n), true).is_ok();
        let mut got = None;
        let read = timed(&mut || keep.get::<u64>(key).map(|value| got = value), true).is_ok();
        if set && read {
            assert_eq!(got, Some(n), "{key}: what was written is not what is read");
        }
        match timed(&mut || keep.incr(&counter, 1).map(drop), false) {
            Ok(()) => seen.acknowledged.fetch_add(1, Ordering::Relaxed),
            Err(error) if error.outcome() == Outcome::Unknown => {
                seen.unknown.fetch_add(1, Ordering::Relaxed)
            }
            Err(_) => 0,
        };
        thread::sleep(Duration::from_millis(2));
    }
}

impl Watched {
    fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// No INCR was executed twice, and none that was acknowledged was lost.
    fn counts(&self, keep: &Manager, key: &str) {
        let counted = keep.get::<u64>(format!("{{{key}}}n")).unwrap().unwrap_or(0);
        let least = self.acknowledged.load(Ordering::Relaxed);
        let most = least + self.unknown.load(Ordering::Relaxed);
        assert!(
            (least..=most).contains(&counted),
            "{counted} is not in {least}..={most}"
        );
    }
}

fn graceful_failovers(times: usize) {
    let cluster = Cluster::start();
    let keep = open(&cluster);
    let keys = one_each("graceful");
    let seen = [(); 3].map(|()| Watched::default());
    let stop = AtomicBool::new(false);
    // On the first one that fails over. In good order nothing is lost, and no lock is.
    let lost = Arc::new(AtomicBool::new(false));
    let told = lost.clone();
    let lock = keep.lock(&keys[0]).lease(Duration::from_secs(2));
    let held = (lock.clone())
        .on_lost(move |_| told.store(true, Ordering::SeqCst))
        .acquire(PATIENCE)
        .unwrap();
    thread::scope(|scope| {
        let _end = End(&stop);
        for (key, seen) in keys.iter().zip(&seen) {
            let (keep, stop) = (&keep, &stop);
            scope.spawn(move || work(keep, key, stop, seen));
        }
        for i in 0..times {
            let primary = cluster.primary_of(slot(&keys[i % 3]));
            cluster.fail_over_to(cluster.replica_of(primary));
            cluster.settle();
            assert!(lock.try_acquire().unwrap().is_none());
        }
    });
    assert!(held.is_held() && !lost.load(Ordering::SeqCst));
    assert!(held.release().unwrap());
    for (key, seen) in keys.iter().zip(&seen) {
        assert_eq!(
            (seen.errors(), seen.late.load(Ordering::Relaxed)),
            (0, 0),
            "{key}"
        );
        assert!(seen.calls.load(Ordering::Relaxed) > 50);
        seen.counts(&keep, key);
    }
}

#[test]
fn graceful_failovers_are_not_noticed() {
    graceful_failovers(2);
}

#[test]
#[ignore = "long: make soak"]
fn twenty_graceful_failovers_are_not_noticed() {
    graceful_failovers(20);
}

fn killed_primaries(which: std::ops::Range<usize>) {
    let mut cluster = Cluster::start();
    let keep = open(&cluster);
    let keys = one_each("killed");
    for i in which {
        let victim = cluster.primary_of(slot(&keys[i]));
        let seen = [(); 3].map(|()| Watched::default());
        let stop = AtomicBool::new(false);
        let dead_until = thread::scope(|scope| {
            let _end = End(&stop);
            for (key, seen) in keys.iter().zip(&seen) {
                let (keep, stop) = (&keep, &stop);
                scope.spawn(move || work(keep, key, stop, seen));
            }
            thread::sleep(Duration::from_millis(300));
            cluster.nodes[victim].kill();
            let killed = Instant::now();
            wait_until(PATIENCE, || {
                keep.set(format!("{{{}}}back", keys[i]), 1).is_ok()
            });
            let took = killed.elapsed();
            thread::sleep(Duration::from_millis(300));
            took
        });
        println!("slots of node {victim} were back after {dead_until:?}");
        assert!(dead_until < Duration::from_secs(4), "{dead_until:?}");
        for (j, seen) in seen.iter().enumerate() {
            assert_eq!(seen.late.load(Ordering::Relaxed), 0);
            if j != i {
                assert_eq!(seen.errors(), 0, "healthy slots");
                seen.counts(&keep, &keys[j]);
            }
        }
        for key in &keys {
            keep.delete(format!("{{{key}}}n")).unwrap();
        }
        cluster.nodes[victim].restart();
        cluster.settle();
    }
}

#[test]
fn a_killed_primary_is_felt_in_its_own_slots_alone() {
    killed_primaries(0..1);
}

#[test]
#[ignore = "long: make soak"]
fn each_killed_primary_is_felt_in_its_own_slots_alone() {
    killed_primaries(0..3);
}

fn resharding(slots: u16, times: usize) {
    let cluster = Cluster::small();
    let keep = open(&cluster);
    let keys: Vec<String> = (0..4)
        .map(|i| key_in(i * 20..i * 20 + 20, "moving"))
        .collect();
    let seen: Vec<Watched> = keys.iter().map(|_| Watched::default()).collect();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = End(&stop);
        for (key, seen) in keys.iter().zip(&seen) {
            let (keep, stop) = (&keep, &stop);
            scope.spawn(move || work(keep, key, stop, seen));
        }
        let (keep, stop) = (&keep, &stop);
        scope.spawn(move || {
            let all: Vec<String> = (0..20).map(|i| format!("batch{i}")).collect();
            for n in 0u64.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let mut pipe = keep.pipeline();
                for key in &all {
                    pipe.command(("SET", key, n))
                        .unwrap()
                        .command(("GET", key))
                        .unwrap();
                }
                let replies = pipe.execute().unwrap();
                for i in 0..all.len() {
                    assert_eq!(replies.get::<u64>(2 * i + 1).unwrap(), n);
                }
            }
        });
        for round in 0..times {
            let (from, to) = if round % 2 == 0 { (0, 1) } else { (1, 0) };
            for slot in 0..slots {
                cluster.move_slot(slot, from, to);
            }
        }
    });
    for (key, seen) in keys.iter().zip(&seen) {
        assert_eq!(
            (seen.errors(), seen.late.load(Ordering::Relaxed)),
            (0, 0),
            "{key}"
        );
        seen.counts(&keep, key);
    }
}

#[test]
fn resharding_under_load_is_not_noticed() {
    resharding(80, 2);
}

#[test]
#[ignore = "long: make soak"]
fn resharding_a_thousand_slots_ten_times_is_not_noticed() {
    resharding(1000, 10);
}

#[test]
fn a_frozen_node_holds_up_its_own_callers_to_their_deadline_and_nobody_else() {
    let cluster = Cluster::of(3, &["--cluster-node-timeout", "60000"]);
    let keep = open(&cluster);
    let [a, b, c] = one_each("frozen");
    keep.mset([(&a, 1), (&b, 1), (&c, 1)]).unwrap();
    cluster.nodes[0].freeze();
    let time = Duration::from_millis(600);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let started = Instant::now();
                let error = keep.command_within::<i64>(("GET", &a), time).unwrap_err();
                let took = started.elapsed();
                assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
                assert!(took < time + Duration::from_millis(250), "{took:?}");
            });
        }
        for key in [&b, &c] {
            for _ in 0..100 {
                let started = Instant::now();
                assert_eq!(keep.get::<i64>(key).unwrap(), Some(1));
                assert!(started.elapsed() < time);
            }
        }
    });
    let mut pipe = keep.pipeline();
    pipe.within(time);
    for key in [&a, &b, &c] {
        pipe.command(("INCR", key)).unwrap();
    }
    let started = Instant::now();
    let error = pipe.execute().map(|_| ()).unwrap_err();
    assert!(started.elapsed() < time + Duration::from_millis(250));
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let outcomes = [0, 1, 2].map(|i| pipe.outcome(i));
    assert!(outcomes[0].is_some());
    assert_eq!(
        outcomes[1..],
        [None, None],
        "those that answered were answered"
    );
    // A stranger comes, and the first of its seeds is the frozen one.
    let late = open(&cluster);
    let started = Instant::now();
    assert_eq!(late.get::<i64>(&b).unwrap(), Some(2));
    assert!(started.elapsed() < Duration::from_secs(1));
    cluster.nodes[0].thaw();
    wait_until(PATIENCE, || keep.get::<i64>(&a).is_ok());
}

#[test]
fn a_cluster_that_is_down_is_waited_for_within_the_deadline() {
    let cluster = Cluster::small();
    let keep = open(&cluster);
    let key = key_in(0..100, "down");
    keep.set(&key, 1).unwrap();
    // Without one of its slots, a cluster serves none.
    let gap = "16000";
    for node in &cluster.nodes {
        node.ask::<()>(&["CLUSTER", "DELSLOTS", gap]);
    }
    wait_until(PATIENCE, || {
        cluster.nodes[0].info_of_cluster("cluster_state") == "fail"
    });
    let time = Duration::from_millis(500);
    let started = Instant::now();
    let error = keep.command_within::<i64>(("GET", &key), time).unwrap_err();
    let took = started.elapsed();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Cluster, Some("CLUSTERDOWN")),
        "{error:?}"
    );
    assert!(
        took > time / 2 && took < time + Duration::from_millis(250),
        "{took:?}"
    );
    // Nobody serves this one at all.
    let lost = key_in(16000..16001, "");
    wait_until(PATIENCE, || {
        let error = keep
            .command_within::<i64>(("GET", &lost), time)
            .unwrap_err();
        error.to_string().contains("16000")
    });
    thread::scope(|scope| {
        let waiting = scope.spawn(|| keep.get::<i64>(&key));
        thread::sleep(Duration::from_millis(300));
        cluster.nodes[2].ask::<()>(&["CLUSTER", "ADDSLOTS", gap]);
        assert_eq!(waiting.join().unwrap().unwrap(), Some(1));
    });
    wait_until(PATIENCE, || keep.set(&lost, 1).is_ok());
}

/// A peer that says its map and answers GET as told.
fn liar(
    map: impl Fn(u16) -> String + Send + Sync + 'static,
    get: impl Fn(u16) -> String + Send + Sync + 'static,
) -> Peer {
    node("ok", map, move |name, port| match name {
        "GET" => get(port).into(),
        _ => "+OK\r\n".into(),
    })
}

/// A peer that says this state of its cluster and its map, and answers commands as told.
fn node(
    state: &'static str,
    map: impl Fn(u16) -> String + Send + Sync + 'static,
    answer: impl Fn(&str, u16) -> Answer + Send + Sync + 'static,
) -> Peer {
    Peer::knowing_its_port(move |port| {
        move |request: &[Vec<u8>]| -> Answer {
            if let Some(text) = polite(request) {
                return text.into();
            }
            match String::from_utf8_lossy(&request[0]).to_uppercase().as_str() {
                "CLUSTER" if request[1].eq_ignore_ascii_case(b"INFO") => {
                    let info = format!("cluster_state:{state}");
                    format!("${}\r\n{info}\r\n", info.len()).into()
                }
                "CLUSTER" => map(port).into(),
                name => answer(name, port),
            }
        }
    })
}

/// All slots are its own.
fn all_mine(port: u16) -> String {
    format!("*1\r\n{}", row(0, 16383, "", port))
}

fn row(first: u16, last: u16, host: &str, port: u16) -> String {
    let host = format!("${}\r\n{host}\r\n", host.len());
    format!("*3\r\n:{first}\r\n:{last}\r\n*3\r\n{host}:{port}\r\n$2\r\nid\r\n")
}

fn open_at(peer: &Peer) -> Manager {
    let url = format!("redis+cluster://{}?command_timeout=600ms", peer.address());
    Manager::open(&url).unwrap()
}

#[track_caller]
fn in_time<T>(call: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = call();
    let took = started.elapsed();
    assert!(took < Duration::from_millis(850), "{took:?}");
    result
}

#[test]
fn redirections_are_counted_and_each_is_a_try() {
    // The second answer is the right one.
    let times = Arc::new(AtomicUsize::new(0));
    let count = times.clone();
    let peer = liar(all_mine, move |port| {
        match count.fetch_add(1, Ordering::Relaxed) % 2 {
            0 => format!("-MOVED 12182 127.0.0.1:{port}\r\n"),
            _ => "$2\r\nhi\r\n".into(),
        }
    });
    let tries = Arc::new(AtomicUsize::new(0));
    let told = tries.clone();
    let config = Config::new()
        .url(format!("redis+cluster://{}", peer.address()))
        .command_hook(
            |_| (),
            move |(), end| {
                told.fetch_add(end.tries as usize, Ordering::Relaxed);
            },
        );
    let keep = Manager::open_config(&config).unwrap();
    assert_eq!(keep.get::<String>("foo").unwrap().as_deref(), Some("hi"));
    let mut pipe = keep.pipeline();
    pipe.command(("GET", "foo")).unwrap();
    let (value,): (String,) = pipe.query().unwrap();
    assert_eq!(value, "hi");
    let stats = keep.stats();
    assert_eq!(
        (&stats["redirects"], &stats["retries"]),
        (&2.into(), &2.into())
    );
    assert_eq!(
        tries.load(Ordering::Relaxed),
        2,
        "a pipeline that is taken apart counts none"
    );
}

#[test]
fn a_refusal_in_the_end_does_not_take_back_a_doubt_of_before() {
    let first = AtomicBool::new(true);
    let peer = node("ok", all_mine, move |name, _| match name {
        "SET" if first.swap(false, Ordering::SeqCst) => Answer::Last(Vec::new()),
        "SET" => "-TRYAGAIN later\r\n".into(),
        _ => "+OK\r\n".into(),
    });
    let keep = open_at(&peer);
    let mut pipe = keep.pipeline();
    pipe.command(("SET", "foo", 1)).unwrap();
    let error = match pipe.execute() {
        Ok(replies) => replies.get::<String>(0).unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.outcome(), Outcome::Unknown, "{error:?}");
    assert!(peer.requests("SET") > 2);
}

#[test]
fn a_node_that_is_cut_off_is_believed_only_where_no_other_answers() {
    let says = |text: &'static str| move |_: &str, _: u16| Answer::from(text);
    let cut_off = node("fail", all_mine, says("$3\r\nold\r\n"));
    let well = node("ok", all_mine, says("$3\r\nnew\r\n"));
    let url = format!("redis+cluster://{},{}", cut_off.address(), well.address());
    let keep = Manager::open(&url).unwrap();
    assert_eq!(keep.get::<String>("a").unwrap().as_deref(), Some("new"));
    let keep = open_at(&cut_off);
    assert_eq!(keep.get::<String>("a").unwrap().as_deref(), Some("old"));
}

#[test]
fn what_does_not_make_sense_is_told() {
    // An empty host is the host that was asked.
    let peer = liar(
        |port| format!("*1\r\n{}", row(0, 16383, "", port)),
        |_| "$2\r\nhi\r\n".into(),
    );
    assert_eq!(
        open_at(&peer).get::<String>("a").unwrap().as_deref(),
        Some("hi")
    );

    let told = |peer: &Peer, key: &str| {
        let keep = open_at(peer);
        let error = in_time(|| keep.get::<String>(key)).unwrap_err();
        (error.kind(), error.to_string())
    };
    let gap = liar(
        |port| format!("*1\r\n{}", row(0, 9, "", port)),
        |_| "$-1\r\n".into(),
    );
    let (kind, text) = told(&gap, "foo");
    assert_eq!(kind, ErrorKind::Cluster);
    assert!(
        text.contains("slot 12182") && text.contains(&gap.address()),
        "{text}"
    );

    let twice = liar(
        |port| {
            format!(
                "*2\r\n{}{}",
                row(0, 9000, "", port),
                row(9000, 16383, "", port + 1)
            )
        },
        |_| "$-1\r\n".into(),
    );
    let (kind, text) = told(&twice, "foo");
    assert_eq!(kind, ErrorKind::Cluster);
    assert!(text.contains("slot 9000 belongs to"), "{text}");

    let nobody = liar(
        |_| format!("*1\r\n{}", row(0, 16383, "127.0.0.1", 1)),
        |_| "$-1\r\n".into(),
    );
    let (kind, text) = told(&nobody, "foo");
    assert_eq!(kind, ErrorKind::Connect);
    assert!(text.contains("127.0.0.1:1"), "{text}");

    let round = liar(
        |port| format!("*1\r\n{}", row(0, 16383, "", port)),
        |port| format!("-MOVED 12182 127.0.0.1:{port}\r\n"),
    );
    let (kind, text) = told(&round, "foo");
    assert_eq!(kind, ErrorKind::Cluster);
    assert!(
        text.contains("redirected 5 times") && text.contains("MOVED 12182"),
        "{text}"
    );
    assert_eq!(round.requests("GET"), 6);

    let babble = liar(|_| "*1\r\n+what\r\n".into(), |_| "$-1\r\n".into());
    let (_, text) = told(&babble, "foo");
    assert!(text.contains("names no slots"), "{text}");

    let moved_nowhere = liar(
        |port| format!("*1\r\n{}", row(0, 16383, "", port)),
        |_| "-MOVED what 127.0.0.1\r\n".into(),
    );
    let (kind, text) = told(&moved_nowhere, "foo");
    assert_eq!(kind, ErrorKind::Cluster);
    assert!(text.contains("MOVED what"), "{text}");
}

#[test]
fn a_cluster_url_at_a_single_server_and_the_reverse_are_told() {
    let server = Server::start();
    let keep = Manager::open(&format!("redis+cluster://{}", server.address())).unwrap();
    let error = keep.get::<String>("a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let text = error.to_string();
    assert!(
        text.contains(&server.address()) && text.contains("not part of a cluster"),
        "{text}"
    );
    assert!(!keep.initialize());
    assert!(!keep.health_check(None).unwrap().healthy);

    let cluster = Cluster::small();
    let keep = Manager::open(&cluster.nodes[0].url()).unwrap();
    let key = key_in(16000..16384, "key");
    let error = keep.get::<String>(&key).unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Cluster, Some("MOVED"))
    );
    assert!(error.to_string().contains("redis+cluster://"), "{error}");
    let with_db = Manager::open(&format!("{}/3", cluster.url())).unwrap();
    let error = with_db.get::<String>(&key).unwrap_err();
    assert!(error.to_string().contains("SELECT"), "{error}");
}

#[test]
fn seeds_that_do_not_answer_are_passed_over() {
    let cluster = Cluster::small();
    let hole = support::Proxy::to(cluster.nodes[0].address());
    hole.set(support::Way::Both, support::Fault::BlackHole);
    let seeds = format!(
        "redis+cluster://{},127.0.0.1:1,{}",
        hole.address(),
        cluster.nodes[2].address()
    );
    let keep = Manager::open(&seeds).unwrap();
    let started = Instant::now();
    keep.set("a", 1).unwrap();
    assert!(started.elapsed() < Duration::from_secs(1));
    let only = format!(
        "redis+cluster://{},127.0.0.1:1?command_timeout=500ms",
        hole.address()
    );
    let keep = Manager::open(&only).unwrap();
    let started = Instant::now();
    let error = keep.set("a", 1).unwrap_err();
    assert!(started.elapsed() < Duration::from_millis(750), "{error:?}");
    assert_eq!(error.outcome(), Outcome::NotSent);
    // Closing ends who waits for an answer.
    thread::scope(|scope| {
        let keep = Manager::open(&format!("redis+cluster://{}", hole.address())).unwrap();
        let clone = keep.clone();
        let waiting = scope.spawn(move || clone.get::<String>("a"));
        thread::sleep(Duration::from_millis(100));
        let started = Instant::now();
        keep.close(Duration::from_secs(5)).unwrap();
        assert_eq!(
            waiting.join().unwrap().unwrap_err().kind(),
            ErrorKind::Closed
        );
        assert!(started.elapsed() < Duration::from_secs(1));
    });
}

#[test]
fn a_thousand_redirections_make_few_rounds() {
    let cluster = Cluster::small();
    let keep = with(&cluster, |config| config.max_connections(16));
    let keys: Vec<String> = (0..64).map(|i| format!("{{storm}}{i}")).collect();
    keep.mset(keys.iter().map(|key| (key, 1))).unwrap();
    let at = slot("storm");
    let from = cluster.primary_of(at);
    let asked = |cluster: &Cluster| -> u64 {
        cluster
            .nodes
            .iter()
            .map(|node| node.command_calls("cluster|slots"))
            .sum()
    };
    cluster.move_slot(at, from, (from + 1) % 3);
    let before = asked(&cluster);
    thread::scope(|scope| {
        for key in &keys {
            let keep = &keep;
            scope.spawn(move || {
                for _ in 0..20 {
                    assert_eq!(keep.get::<i64>(key).unwrap(), Some(1));
                }
            });
        }
    });
    wait_until(PATIENCE, || asked(&cluster) > before);
    let rounds = asked(&cluster) - before;
    assert!((1..20).contains(&rounds), "{rounds}");
}

#[test]
fn a_forked_child_and_a_closed_manager() {
    if !support::alone("a_forked_child_and_a_closed_manager") {
        return;
    }
    let cluster = Cluster::small();
    let keep = open(&cluster);
    let keys = one_each("fork");
    for key in &keys {
        keep.set(key, 1).unwrap();
    }
    // SAFETY: the child makes a few calls and ends by _exit.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let fine = keys
            .iter()
            .all(|key| matches!(keep.get::<i64>(key), Ok(Some(1))));
        unsafe { libc::_exit(if fine { 0 } else { 1 }) };
    }
    let mut status = 0;
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
    assert_eq!(keep.mget::<i64>(&keys).unwrap(), [Some(1); 3]);
    keep.close(Duration::from_secs(5)).unwrap();
    assert_eq!(
        keep.get::<i64>(&keys[0]).unwrap_err().kind(),
        ErrorKind::Closed
    );
    drop(keep);
    wait_until(PATIENCE, || support::threads().is_empty());
}

/// The CPU time of this thread.
fn cpu() -> Duration {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a live value.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut now) };
    assert_eq!(done, 0);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

#[test]
#[ignore = "a measurement: make soak"]
fn the_slot_map_costs_nothing() {
    let cluster = Cluster::start();
    let key = key_in(0..5461, "key");
    // The same server by both ways, in turn, so that whatever else goes on is felt by both.
    let (one, all) = (
        Manager::open(&cluster.nodes[0].url()).unwrap(),
        open(&cluster),
    );
    all.set(&key, "value").unwrap();
    let time = |keep: &Manager| {
        let before = cpu();
        for _ in 0..2000 {
            assert!(keep.get::<Vec<u8>>(&key).unwrap().is_some());
        }
        cpu() - before
    };
    let mut ratios: Vec<f64> = (0..41)
        .map(|_| {
            let (plain, mapped) = (time(&one), time(&all));
            mapped.as_secs_f64() / plain.as_secs_f64()
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let [low, median, high] = [4, 20, 36].map(|i| ratios[i]);
    println!(
        "CPU of a GET on a cluster: {median:.3} of a plain one's (80 % between {low:.3} and {high:.3})"
    );
    assert!(median <= 1.1, "{median}");
}
