//! Nodes that are added and closed.

use crate::*;

#[test]
fn nodes_are_added_used_closed_and_added_again() {
    let (one, two) = (Server::start(), Server::start());
    let keep = open(&one);
    let unknown = keep.get_client(&two.url()).unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::UnknownNode);
    assert!(unknown.message().contains("add_node_pool"), "{unknown}");
    assert!(unknown.message().contains(&one.address()), "{unknown}");
    for _ in 0..3 {
        keep.add_node_pool(&two.url()).unwrap();
    }
    assert_eq!(keep.fetch_pool_status().nodes.len(), 2);
    let mut lease = keep.get_client(&two.url()).unwrap();
    assert_eq!(lease.node(), two.address());
    lease.command::<()>(("SET", "where", "two")).unwrap();
    assert_eq!(keep.get::<String>("where").unwrap(), None);
    assert_eq!(two.ask::<String>(&["GET", "where"]), "two");
    drop(lease);
    assert_eq!(keep.get_client(&one.url()).unwrap().node(), one.address());

    keep.close_node_pools(&two.url()).unwrap();
    wait_until(PATIENCE, || two.connections() == 0);
    for error in [
        keep.get_client(&two.url()).map(drop).unwrap_err(),
        keep.close_node_pools(&two.url()).unwrap_err(),
        keep.health_check(Some(&two.url())).map(drop).unwrap_err(),
        keep.is_redis_connected(Some(&two.url())).1.unwrap(),
    ] {
        assert_eq!(error.kind(), ErrorKind::UnknownNode);
    }
    keep.ping().unwrap();
    keep.add_node_pool(&two.url()).unwrap();
    keep.get_client(&two.url()).unwrap();

    keep.close_all_pools();
    wait_until(PATIENCE, || one.connections() + two.connections() == 0);
    let error = keep.ping().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownNode);
    assert!(error.message().contains("add_node_pool"), "{error}");
    assert!(!keep.is_enabled());
    keep.add_node_pool(&one.url()).unwrap();
    keep.ping().unwrap();
    assert!(keep.is_enabled());
}

#[test]
fn one_server_by_two_databases_is_two_nodes() {
    let server = Server::start();
    let keep = open(&server);
    let other = format!("{}/5", server.url());
    keep.add_node_pool(&other).unwrap();
    let mut lease = keep.get_client(&other).unwrap();
    lease.command::<()>(("SET", "a", 1)).unwrap();
    drop(lease);
    assert_eq!(keep.get::<String>("a").unwrap(), None);
    assert_eq!(keep.fetch_pool_status().nodes.len(), 2);
}

#[test]
fn a_node_that_does_not_answer_is_added_and_comes_in_later() {
    let (server, mut late) = (Server::start(), Server::start());
    late.kill();
    let keep = open(&server);
    let error = keep.add_node_pool(&late.url()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    let status = keep.fetch_pool_status();
    assert_eq!(
        (status.nodes.len(), status.nodes[1].state),
        (2, NodeState::Down)
    );
    late.restart();
    wait_until(PATIENCE, || keep.get_client(&late.url()).is_ok());
    // Nobody looks after it now; adding it once more asks it again.
    keep.stop_health_checks();
    late.kill();
    assert!(keep.add_node_pool(&late.url()).is_err());
    late.restart();
    keep.add_node_pool(&late.url()).unwrap();
    for url in [
        "nosuch://a",
        "redis://a:99999",
        "embedded://",
        "redis://a?max_connections=5",
        "",
    ] {
        let error = keep.add_node_pool(url).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Url, "{url}: {error}");
    }
    assert_eq!(keep.fetch_pool_status().nodes.len(), 2);
}

#[test]
fn callers_in_the_queue_of_a_node_that_is_closed_are_told() {
    let server = Server::start();
    let keep = with(&server.url(), |config| {
        config.max_connections(1).shared_lines(0)
    });
    let held = keep.client().dedicated().unwrap();
    thread::scope(|scope| {
        let calls: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| keep.ping().unwrap_err()))
            .collect();
        wait_until(PATIENCE, || {
            keep.fetch_pool_status().nodes[0].pools[0].waiting == 4
        });
        let started = Instant::now();
        keep.close_all_pools();
        for call in calls {
            let error = call.join().unwrap();
            assert_eq!(error.kind(), ErrorKind::UnknownNode, "{error}");
            assert_eq!(error.outcome(), Outcome::NotSent);
        }
        assert!(started.elapsed() < Duration::from_secs(2));
    });
    drop(held);
    keep.add_node_pool(&server.url()).unwrap();
    keep.ping().unwrap();
}

#[test]
fn closing_and_adding_under_load_loses_no_connection() {
    let server = Server::start();
    let keep = with(&server.url(), |config| config.max_connections(3));
    let url = server.url();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..300 {
                    match keep.incr("n", 1) {
                        Ok(_) => {}
                        Err(error) => assert_eq!(error.kind(), ErrorKind::UnknownNode, "{error}"),
                    }
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..60 {
                keep.close_all_pools();
                let _ = keep.add_node_pool(&url);
            }
        });
    });
    keep.add_node_pool(&url).unwrap();
    // All three are there, and no more than three; and those of the lines, where a caller came after the last closing.
    let leases: Vec<_> = (0..3).map(|_| keep.client().dedicated().unwrap()).collect();
    let status = keep.fetch_pool_status();
    let lines = status.nodes[0].lines.iter().filter(|line| line.open);
    let all = leases.len() + lines.count();
    wait_until(PATIENCE, || server.connections() == all);
    drop(leases);
    keep.close_all_pools();
    wait_until(PATIENCE, || server.connections() == 0);
}

#[test]
fn nodes_closed_and_added_by_many_at_once_are_one_or_the_other() {
    let server = Server::start();
    let keep = with(&server.url(), |config| config.max_connections(2));
    let url = server.url();
    for _ in 0..40 {
        thread::scope(|scope| {
            for n in 0..6 {
                let (keep, url) = (&keep, &url);
                scope.spawn(move || match n % 3 {
                    0 => (0..10).for_each(|_| drop(keep.add_node_pool(url))),
                    1 => (0..10).for_each(|_| drop(keep.close_node_pools(url))),
                    _ => (0..10).for_each(|_| drop(keep.ping())),
                });
            }
        });
        keep.add_node_pool(&url).unwrap();
        keep.ping().unwrap();
        keep.close_all_pools();
        wait_until(PATIENCE, || server.connections() == 0);
        assert!(!keep.is_enabled());
        keep.add_node_pool(&url).unwrap();
    }
}
