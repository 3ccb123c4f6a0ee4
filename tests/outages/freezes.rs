//! Servers that are silent.

use crate::*;

#[test]
fn a_frozen_node_delays_no_other() {
    let servers: Vec<Server> = (0..4).map(|_| Server::start()).collect();
    let interval = Duration::from_millis(100);
    let keep = with(&servers[0].url(), |config| {
        config
            .health_check_interval(interval)
            .command_timeout(Duration::from_secs(2))
            .connect_timeout(Duration::from_secs(2))
    });
    for server in &servers[1..] {
        keep.add_node_pool(&server.url()).unwrap();
    }
    wait_until(PATIENCE, || {
        keep.fetch_pool_status()
            .nodes
            .iter()
            .all(|node| node.latency.is_some())
    });
    servers[2].freeze();
    let pings = |n: usize| servers[n].command_calls("ping");
    let before: Vec<u64> = [0, 1, 3].map(pings).into();
    let frozen = Instant::now();
    // Several checks of the others in the time that the frozen one is waited for.
    wait_until(PATIENCE, || {
        [0, 1, 3]
            .iter()
            .zip(&before)
            .all(|(n, before)| pings(*n) >= before + 5)
    });
    let took = frozen.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    support::figure(format!("five checks of each of the others within {took:?}"));
    for n in [0, 1, 3] {
        let mut lease = keep.get_client(&servers[n].url()).unwrap();
        let started = Instant::now();
        assert_eq!(lease.command::<String>("PING").unwrap(), "PONG");
        assert!(started.elapsed() < Duration::from_secs(1));
    }
    wait_until(PATIENCE, || {
        keep.fetch_pool_status().nodes[2].state == NodeState::Down
    });
    let status = keep.fetch_pool_status();
    for n in [0, 1, 3] {
        assert_eq!(status.nodes[n].state, NodeState::Up);
        let latency = status.nodes[n].latency.unwrap();
        assert!(latency < Duration::from_secs(1), "{latency:?}");
    }
    assert_eq!(
        keep.get_client(&servers[2].url()).unwrap_err().kind(),
        ErrorKind::NoHealthyPools
    );
    servers[2].thaw();
    wait_until(PATIENCE, || keep.get_client(&servers[2].url()).is_ok());
}

#[test]
fn a_timeout_of_a_call_does_not_take_the_node_down() {
    let server = Server::start();
    let keep = open(&server.url());
    keep.set("a", 1).unwrap();
    let time = Duration::from_millis(50);
    let error = keep.command_within::<()>(("BLPOP", "nothing", 5), time);
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(keep.get::<i64>("a").unwrap(), Some(1));
    assert!(keep.is_enabled());
}

#[test]
fn an_idle_frozen_connection_does_not_use_up_the_deadline() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let keep = open(&proxy.url());
    keep.set("a", 1).unwrap();
    // A firewall forgets the connection, new ones work. Only time makes it idle.
    thread::sleep(Duration::from_millis(1050));
    proxy.set(Way::Both, Fault::StallAfter(0));
    thread::scope(|scope| {
        let call = scope.spawn(|| keep.get::<i64>("a"));
        wait_until(PATIENCE, || proxy.accepted() == 2);
        proxy.heal();
        assert_eq!(call.join().unwrap().unwrap(), Some(1));
    });
}
