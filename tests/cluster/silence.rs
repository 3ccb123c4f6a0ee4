//! Nodes that are frozen, and a cluster that is down.

use crate::*;

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
                let error = takes_at_most(time + Duration::from_millis(250), || {
                    keep.command_within::<i64>(("GET", &a), time).unwrap_err()
                });
                let took = started.elapsed();
                assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
                let late = took.saturating_sub(time);
                crate::support::figure(format!("its own callers: {late:?} after their deadline"));
            });
        }
        let mut slowest = Duration::ZERO;
        for key in [&b, &c] {
            for _ in 0..100 {
                let started = Instant::now();
                assert_eq!(keep.get::<i64>(key).unwrap(), Some(1));
                slowest = slowest.max(started.elapsed());
            }
        }
        crate::support::figure(format!("200 calls to the others: {slowest:?} at most"));
        assert!(slowest < time);
    });
    let mut pipe = keep.pipeline();
    pipe.within(time);
    for key in [&a, &b, &c] {
        pipe.command(("INCR", key)).unwrap();
    }
    let error = takes_at_most(time + Duration::from_millis(250), || {
        pipe.execute().map(|_| ()).unwrap_err()
    });
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
    let found = takes_at_most(Duration::from_secs(1), || late.get::<i64>(&b).unwrap());
    assert_eq!(found, Some(2));
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
    let error = takes_at_most(time + Duration::from_millis(250), || {
        keep.command_within::<i64>(("GET", &key), time).unwrap_err()
    });
    assert!(started.elapsed() > time / 2);
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Cluster, Some("CLUSTERDOWN")),
        "{error:?}"
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
