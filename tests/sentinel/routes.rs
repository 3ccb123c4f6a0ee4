//! Where calls go.

use crate::*;

/// The number of ordinary connections that a node has, besides its replicas and sentinels.
fn ours(node: &Server) -> usize {
    let list: String = node.ask(&["CLIENT", "LIST"]);
    list.lines()
        .filter(|line| line.contains(" name=redkeep "))
        .count()
}

#[test]
fn the_primary_is_found_and_followed() {
    let all = Sentinels::start();
    let keep = open(&all);
    assert!(!keep.is_enabled());
    keep.set("a", 1).unwrap();
    assert_eq!(keep.get::<i64>("a").unwrap(), Some(1));
    assert!(keep.is_enabled());
    assert_eq!(
        keep.health_check(None).unwrap().role.as_deref(),
        Some("master")
    );

    let status = keep.fetch_pool_status();
    assert_eq!(status.topology, TopologyKind::Sentinel);
    assert_eq!(status.master_name.as_deref(), Some("mymaster"));
    assert_eq!(status.sentinels.len(), 3);
    for sentinel in &status.sentinels {
        assert_eq!(
            sentinel.primary,
            Some(all.nodes[0].address()),
            "{sentinel:?}"
        );
    }
    let role = |keep: &Manager, node: &Server| {
        let status = keep.fetch_pool_status();
        let found = status
            .nodes
            .iter()
            .find(|shown| shown.address == node.address());
        found.map(|shown| shown.role)
    };
    assert_eq!(role(&keep, &all.nodes[0]), Some(NodeRole::Primary));
    assert_eq!(role(&keep, &all.nodes[1]), Some(NodeRole::Replica));

    // Every connection there can be, idle.
    let leases: Vec<_> = (0..10)
        .map(|_| keep.client().dedicated().unwrap())
        .collect();
    drop(leases);
    assert!(ours(&all.nodes[0]) >= 10);
    let next = all.fail_over();
    let switched = Instant::now();
    // Nobody calls: the sentinels' message alone ends them, long before the next health check.
    wait_until(Duration::from_secs(5), || ours(&all.nodes[0]) <= 1);
    assert!(switched.elapsed() < Duration::from_secs(5));
    keep.set("a", 2).unwrap();
    assert_eq!(all.nodes[next].ask::<i64>(&["GET", "a"]), 2);
    wait_until(PATIENCE, || {
        role(&keep, &all.nodes[next]) == Some(NodeRole::Primary)
    });
    keep.close(Duration::from_secs(5)).unwrap();
    assert_eq!(keep.get::<i64>("a").unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn a_lost_message_is_made_good_by_the_clock_and_by_readonly() {
    // Behind proxies that let no subscription through, only the clock and the errors are left.
    let all = Sentinels::start();
    let server = &all.nodes[0];
    let port = server.port().to_string();
    // The old primary is demoted at once, and tells every write so; the sentinels answer as they see fit.
    let keep = with(&all, |config| {
        config.health_check_interval(Duration::from_secs(3600))
    });
    keep.set("a", 1).unwrap();
    let next = all.fail_over();
    let new = all.nodes[next].port().to_string();
    server.ask::<()>(&["REPLICAOF", "127.0.0.1", &new]);
    assert_ne!(port, new);
    for n in 2..20 {
        keep.set("a", n).unwrap();
    }
    assert_eq!(all.nodes[next].ask::<i64>(&["GET", "a"]), 19);
    assert_eq!(keep.stats()["errors"], 0);
}

#[test]
fn replicas_are_read_from_where_that_is_wanted() {
    let all = Sentinels::start();
    for from in [ReadFrom::Replica, ReadFrom::Nearest] {
        let keep = with(&all, |config| config.read_from(from));
        keep.set("a", 1).unwrap();
        keep.command::<i64>(("WAIT", 2, 5000)).unwrap();
        let gets = |nodes: &[Server]| -> u64 { nodes.iter().map(|n| n.command_calls("get")).sum() };
        let before = (gets(&all.nodes[..1]), gets(&all.nodes[1..]));
        for _ in 0..30 {
            assert_eq!(keep.get::<i64>("a").unwrap(), Some(1));
        }
        let (primary, replicas) = (
            gets(&all.nodes[..1]) - before.0,
            gets(&all.nodes[1..]) - before.1,
        );
        assert_eq!(primary + replicas, 30);
        if from == ReadFrom::Replica {
            assert_eq!(replicas, 30);
            assert!(
                all.nodes[1..]
                    .iter()
                    .all(|node| node.command_calls("get") > 0),
                "in turn"
            );
        }
        keep.incr("n", 1).unwrap();
    }
}
