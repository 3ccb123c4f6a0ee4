//! Every kind of call, and the nodes by their names.

use crate::*;
use redkeep::redis;

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
