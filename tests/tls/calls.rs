//! Calls over TLS, on every kind of server.

use crate::*;

#[test]
fn commands_of_all_sizes_go_both_ways() {
    for protocol in ["TLSv1.2", "TLSv1.3"] {
        let (authority, server) = served(&["--tls-protocols", protocol]);
        let keep = open(trusting(&authority, &server.tls_url()));
        // Around the size of a record, of our buffers, and far beyond.
        for size in [
            0, 1, 100, 16_383, 16_384, 16_385, 65_535, 65_536, 200_000, 9_000_001,
        ] {
            let value: Vec<u8> = (0..size).map(|i: usize| (i * 31 % 251) as u8).collect();
            keep.set("value", &value[..]).unwrap();
            let got: Vec<u8> = keep.get("value").unwrap().unwrap();
            assert!(got == value, "{protocol}: {size} bytes");
        }
        let seen: Vec<i64> = keep.pipeline_of(5_000);
        assert_eq!(seen.len(), 5_000);
        assert_eq!(keep.incr("after", 1).unwrap(), 1);
    }
}

trait PipelineOf {
    fn pipeline_of(&self, n: i64) -> Vec<i64>;
}

impl PipelineOf for Manager {
    /// Sends more than any buffer between the two holds, with replies as large.
    fn pipeline_of(&self, n: i64) -> Vec<i64> {
        let mut pipe = self.pipeline();
        let padding = "x".repeat(2_000);
        for i in 0..n {
            pipe.command(("ECHO", format!("{i} {padding}"))).unwrap();
        }
        let all: Vec<String> = pipe.query().unwrap();
        all.iter()
            .enumerate()
            .map(|(i, text)| {
                let number: i64 = text.split(' ').next().unwrap().parse().unwrap();
                assert_eq!(number, i as i64);
                number
            })
            .collect()
    }
}

#[test]
fn many_threads_share_a_manager() {
    let (authority, server) = served(&[]);
    let keep = open(trusting(&authority, &server.tls_url()).max_connections(4));
    thread::scope(|scope| {
        for t in 0..8 {
            let keep = &keep;
            scope.spawn(move || {
                for i in 0..200 {
                    let key = format!("{t}:{i}");
                    keep.set(&key, &key).unwrap();
                    assert_eq!(keep.get::<String>(&key).unwrap(), Some(key));
                }
            });
        }
    });
    assert_eq!(keep.incr("n", 1).unwrap(), 1);
}

#[test]
fn a_node_that_is_added_speaks_tls_by_its_url() {
    let (authority, server) = served(&[]);
    let plain = Server::start();
    let keep = open(trusting(&authority, &plain.url()));
    keep.add_node_pool(&server.tls_url()).unwrap();
    let mut one = keep.get_client(&server.tls_url()).unwrap();
    let _: () = one.command(("SET", "here", 1)).unwrap();
    assert_eq!(server.ask::<i64>(&["EXISTS", "here"]), 1);
}

#[test]
fn clusters_and_sentinels_speak_it_too() {
    let authority = Authority::new();
    authority.issue("server", "DNS:localhost,IP:127.0.0.1", 30);
    let files = authority.server("server", "no");
    let with = |more: [&'static str; 2]| -> Vec<&str> {
        files.iter().map(String::as_str).chain(more).collect()
    };
    let cluster = Cluster::of(3, &with(["--tls-cluster", "yes"]));
    let keep = open(trusting(&authority, &cluster.url()));
    let keys: Vec<String> = (0..60).map(|i| format!("key{i}")).collect();
    keep.mset(keys.iter().map(|key| (key, 1))).unwrap();
    assert_eq!(keep.mget::<i64>(&keys).unwrap(), [Some(1); 60]);
    let at = support::slot(&keys[0]);
    let from = cluster.primary_of(at);
    let over: i64 = (cluster.nodes.iter())
        .map(|node| node.ask::<i64>(&["DBSIZE"]))
        .sum();
    assert_eq!(over, 60);
    // What a redirection names is reached by TLS as well.
    cluster.begin_to_move(at, from, (from + 1) % 3);
    keep.set(format!("{{{}}}new", keys[0]), 2).unwrap();
    assert_eq!(
        keep.get::<i64>(format!("{{{}}}new", keys[0])).unwrap(),
        Some(2)
    );
    let plain = Config::new().url(cluster.url());
    says(&refused(plain), ErrorKind::Tls, "tls_ca");
    drop((keep, cluster));

    let all = Sentinels::of(1, 1, &with(["--tls-replication", "yes"]), "");
    let keep = open(trusting(&authority, &all.url()));
    keep.set("a", 1).unwrap();
    assert_eq!(keep.get::<i64>("a").unwrap(), Some(1));
    says(
        &refused(Config::new().url(all.url())),
        ErrorKind::Tls,
        "tls_ca",
    );
}

#[test]
fn a_forked_child_has_connections_of_its_own() {
    if !alone("tls::calls::a_forked_child_has_connections_of_its_own") {
        return;
    }
    let (authority, server) = served(&[]);
    let keep = open(trusting(&authority, &server.tls_url()));
    keep.set("a", 1).unwrap();
    let over = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        let (keep, over) = (&keep, &over);
        for t in 0..2 {
            scope.spawn(move || {
                let mut n = 0;
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    n += 1;
                    assert_eq!(keep.incr(format!("n{t}"), 1).unwrap(), n);
                }
            });
        }
        let fine = (0..10).all(|_| {
            // SAFETY: the child makes a few calls and ends by _exit.
            let child = unsafe { libc::fork() };
            if child == 0 {
                let fine = (0..20).all(|_| matches!(keep.get::<i64>("a"), Ok(Some(1))));
                unsafe { libc::_exit(if fine { 0 } else { 1 }) };
            }
            let mut status = -1;
            // SAFETY: our own child, and a live place for its status.
            unsafe { libc::waitpid(child, &mut status, 0) == child && status == 0 }
        });
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(fine);
    });
}

#[test]
fn health_is_checked_over_tls() {
    let (authority, mut server) = served(&[]);
    let config =
        trusting(&authority, &server.tls_url()).health_check_interval(Duration::from_millis(50));
    let keep = open(config);
    wait_until(PATIENCE, || keep.is_enabled());
    server.kill();
    wait_until(PATIENCE, || !keep.is_enabled());
    let error = keep.get::<String>("a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoHealthyPools, "{error:?}");
    server.restart();
    wait_until(PATIENCE, || keep.is_enabled());
    keep.set("a", 1).unwrap();
}

#[test]
fn sessions_are_resumed() {
    // The server counts them by itself only where it is asked to forget none.
    let (authority, server) = served(&[]);
    let keep = open(trusting(&authority, &server.tls_url()));
    let proxy_bytes = |rounds: usize| {
        let proxy = Proxy::to(format!("127.0.0.1:{}", server.tls_port()));
        let url = format!("rediss://localhost:{}", proxy.port());
        let keep = open(trusting(&authority, &url).health_check_interval(Duration::ZERO));
        let mut sizes = Vec::new();
        for _ in 0..rounds {
            let before = proxy.bytes_to_client();
            keep.set("a", 1).unwrap();
            sizes.push(proxy.bytes_to_client() - before);
            keep.disconnect();
        }
        sizes
    };
    let sizes = proxy_bytes(6);
    // A resumed handshake carries no certificate.
    let first = sizes[0];
    assert!(
        sizes[1..].iter().all(|&size| size + 300 < first),
        "{sizes:?}"
    );
    keep.set("a", 1).unwrap();
}

#[test]
fn nothing_is_left_open() {
    if !alone("tls::calls::nothing_is_left_open") {
        return;
    }
    let (authority, server) = served(&[]);
    open(trusting(&authority, &server.tls_url()))
        .set("a", 1)
        .unwrap();
    let before = descriptors();
    for _ in 0..20 {
        let keep = open(trusting(&authority, &server.tls_url()));
        keep.set("a", 1).unwrap();
        refused(Config::new().url(server.tls_url()).tls_server_name("other"));
    }
    wait_until(PATIENCE, || descriptors() <= before);
}
