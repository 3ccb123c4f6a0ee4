//! TLS: what is agreed on works like plain connections, what cannot be is refused with its own message.
#![cfg(feature = "tls")]

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use redkeep::{Config, Error, ErrorKind, Manager, Outcome};
use support::{
    Authority, Cluster, Fault, PATIENCE, Proxy, Sentinels, Server, Way, alone, descriptors,
    wait_until,
};

/// As in tests/deadlines.rs.
const MARGIN: Duration = Duration::from_millis(400);
const TIME: Duration = Duration::from_millis(250);

/// An authority, and a server of it that is known as localhost and asks no client for a certificate.
fn served(options: &[&str]) -> (Authority, Server) {
    let authority = Authority::new();
    authority.issue("server", "DNS:localhost,IP:127.0.0.1", 30);
    let server = Server::with_tls(&authority.server("server", "no"), options);
    (authority, server)
}

fn trusting(authority: &Authority, url: &str) -> Config {
    Config::new().url(url).tls_ca(authority.ca())
}

fn open(config: Config) -> Manager {
    Manager::open_config(&config).expect("a config of ours")
}

#[track_caller]
fn refused(config: Config) -> Error {
    let config = config.command_timeout(Duration::from_secs(2));
    let keep = open(config.health_check_interval(Duration::ZERO));
    let error = keep.get::<String>("a").unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotSent, "{error:?}");
    error
}

#[track_caller]
fn says(error: &Error, kind: ErrorKind, text: &str) {
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(error.to_string().contains(text), "{error:?}");
    support::figure(error);
}

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
fn a_wrong_authority_is_refused() {
    let (_, server) = served(&[]);
    let stranger = Authority::new();
    let error = refused(trusting(&stranger, &server.tls_url()));
    says(
        &error,
        ErrorKind::Tls,
        "issued by nobody whom we trust; the property tls_ca",
    );
    // Nor does the system trust an authority that was made a moment ago.
    let error = refused(Config::new().url(server.tls_url()));
    assert_eq!(error.kind(), ErrorKind::Tls, "{error:?}");
}

#[test]
fn an_expired_certificate_is_refused() {
    let authority = Authority::new();
    authority.issue("old", "DNS:localhost", -1);
    let server = Server::with_tls(&authority.server("old", "no"), &[]);
    let error = refused(trusting(&authority, &server.tls_url()));
    says(&error, ErrorKind::Tls, "has expired");
}

#[test]
fn a_wrong_name_is_refused_and_another_can_be_expected() {
    let authority = Authority::new();
    authority.issue("other", "DNS:other.example", 30);
    let server = Server::with_tls(&authority.server("other", "no"), &[]);
    let error = refused(trusting(&authority, &server.tls_url()));
    says(&error, ErrorKind::Tls, "is not for 'localhost' but for");
    says(&error, ErrorKind::Tls, "other.example");
    let keep = open(trusting(&authority, &server.tls_url()).tls_server_name("other.example"));
    keep.set("a", 1).unwrap();
}

#[test]
fn an_address_is_a_name_too() {
    let (authority, server) = served(&[]);
    let url = format!("rediss://127.0.0.1:{}", server.tls_port());
    open(trusting(&authority, &url)).set("a", 1).unwrap();
    let url = format!("rediss://127.0.0.2:{}", server.tls_port());
    let error = refused(trusting(&authority, &url).tls_server_name("127.0.0.3"));
    // The server listens on 127.0.0.1 only.
    assert_eq!(error.kind(), ErrorKind::Connect, "{error:?}");
    let url = format!("rediss://127.0.0.1:{}", server.tls_port());
    let error = refused(trusting(&authority, &url).tls_server_name("127.0.0.3"));
    says(&error, ErrorKind::Tls, "is not for '127.0.0.3'");
}

#[test]
fn insecure_is_a_property_of_its_own() {
    let (_, server) = served(&[]);
    let keep = open(Config::new().url(server.tls_url()).tls_insecure(true));
    keep.set("a", 1).unwrap();
    let url = format!("{}?tls_insecure=true", server.tls_url());
    Manager::open(&url).unwrap().set("a", 1).unwrap();
    let error = Manager::open(&format!("{}#insecure", server.tls_url())).unwrap_err();
    says(&error, ErrorKind::Url, "tls_insecure");
}

#[test]
fn a_plain_server_is_told_from_one_that_speaks_tls() {
    let server = Server::start();
    let url = format!("rediss://localhost:{}", server.port());
    // Whether redis-server finds the end of a line in our greeting is chance: it answers an error, or waits for more.
    let keep = open(
        Config::new()
            .url(&url)
            .tls_insecure(true)
            .command_timeout(TIME),
    );
    let error = keep.get::<String>("a").unwrap_err();
    let text = error.to_string();
    match error.kind() {
        ErrorKind::Tls => assert!(text.contains("may not speak TLS on this port"), "{text}"),
        ErrorKind::Timeout => assert!(
            text.contains("the TLS handshake was not over in time"),
            "{text}"
        ),
        other => panic!("{other:?}: {error:?}"),
    }
    // One that answers in plain text in any case.
    let port = peer(|stream| stream.write_all(b"-ERR what is this\r\n").unwrap());
    let error = refused(
        Config::new()
            .url(format!("rediss://127.0.0.1:{port}"))
            .tls_insecure(true),
    );
    says(&error, ErrorKind::Tls, "may not speak TLS on this port");
}

#[test]
fn a_plain_client_is_told_that_the_port_speaks_tls() {
    let (_, server) = served(&[]);
    let error = refused(Config::new().url(format!("redis://localhost:{}", server.tls_port())));
    assert!(
        matches!(error.kind(), ErrorKind::Tls | ErrorKind::Io),
        "{error:?}"
    );
}

#[test]
fn a_certificate_of_ours_is_shown_where_it_is_wanted() {
    let authority = Authority::new();
    authority.issue("server", "DNS:localhost", 30);
    authority.issue("client", "DNS:client", 30);
    for protocol in ["TLSv1.2", "TLSv1.3"] {
        let options = ["--tls-protocols", protocol];
        let server = Server::with_tls(&authority.server("server", "yes"), &options);
        let config = trusting(&authority, &server.tls_url());
        let with = |ca: &Authority| {
            config
                .clone()
                .tls_cert(ca.file("client.crt"))
                .tls_key(ca.file("client.key"))
        };
        open(with(&authority)).set("a", 1).unwrap();

        let error = refused(config.clone());
        says(&error, ErrorKind::Tls, "tls_cert");
        if protocol == "TLSv1.3" {
            says(
                &error,
                ErrorKind::Tls,
                "the server wants a certificate of ours",
            );
        }
        let stranger = Authority::new();
        stranger.issue("client", "DNS:client", 30);
        let error = refused(with(&stranger));
        says(
            &error,
            ErrorKind::Tls,
            "the server did not accept our certificate",
        );
    }
}

#[test]
fn a_handshake_that_stalls_ends_at_the_deadline() {
    let (authority, server) = served(&[]);
    let proxy = Proxy::to(format!("127.0.0.1:{}", server.tls_port()));
    let url = format!("rediss://localhost:{}", proxy.port());
    // At its beginning, within the server's first flight, and behind it.
    for k in [0, 100, 700] {
        proxy.set(Way::ToClient, Fault::StallAfter(k));
        let keep = open(trusting(&authority, &url).command_timeout(TIME));
        let started = Instant::now();
        let error = keep.get::<String>("a").unwrap_err();
        let took = started.elapsed();
        says(&error, ErrorKind::Timeout, "in time");
        if k < 700 {
            says(
                &error,
                ErrorKind::Timeout,
                "the TLS handshake was not over in time",
            );
        }
        assert!(
            took < TIME + MARGIN && took + Duration::from_millis(25) >= TIME,
            "{took:?}"
        );
        support::figure(format!("stalled after {k} bytes: {took:?} of {TIME:?}"));
    }
    // A byte every now and then changes nothing.
    proxy.set(
        Way::ToClient,
        Fault::Drip {
            every: Duration::from_millis(20),
        },
    );
    let keep = open(trusting(&authority, &url).command_timeout(TIME));
    let started = Instant::now();
    let error = keep.get::<String>("a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
    assert!(started.elapsed() < TIME + MARGIN);
}

#[test]
fn a_call_ends_at_its_deadline_also_in_the_middle_of_records() {
    let (authority, server) = served(&[]);
    let proxy = Proxy::to(format!("127.0.0.1:{}", server.tls_port()));
    let url = format!("rediss://localhost:{}", proxy.port());
    let keep = open(trusting(&authority, &url).command_timeout(TIME));
    let value = "v".repeat(300_000);
    keep.set("a", &value).unwrap();
    for k in [0, 3, 10_000, 250_000] {
        assert_eq!(keep.get::<String>("a").unwrap().unwrap().len(), value.len());
        proxy.set(Way::ToClient, Fault::StallAfter(k));
        let started = Instant::now();
        let error = keep.get::<String>("a").unwrap_err();
        let took = started.elapsed();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
        assert!(
            took < TIME + MARGIN && took + Duration::from_millis(25) >= TIME,
            "{took:?}"
        );
        proxy.heal();
    }
    // A request that finds no room.
    proxy.set(Way::ToServer, Fault::StallAfter(0));
    let big = "v".repeat(30_000_000);
    let started = Instant::now();
    let error = keep.set("b", &big).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
    assert!(started.elapsed() < TIME + MARGIN, "{:?}", started.elapsed());
    proxy.heal();
    assert!(!keep.exists("b").unwrap());
    keep.set("b", 1).unwrap();
}

#[test]
fn a_stream_that_is_cut_short_is_told_from_one_that_ended() {
    let (authority, mut server) = served(&[]);
    let proxy = Proxy::to(format!("127.0.0.1:{}", server.tls_port()));
    let url = format!("rediss://localhost:{}", proxy.port());
    let keep = open(trusting(&authority, &url).retries(0));
    keep.set("a", "v".repeat(1000)).unwrap();
    proxy.set(Way::ToClient, Fault::CloseAfter(10));
    let error = keep.get::<String>("a").unwrap_err();
    says(
        &error,
        ErrorKind::Io,
        "cut off: TLS ended without its close_notify",
    );
    assert_eq!(error.outcome(), Outcome::Unknown);
    proxy.heal();
    // A server that ends a connection on purpose says so.
    let mut one = keep.get_client(&url).unwrap();
    let _: String = one.command("PING").unwrap();
    server.kill_clients();
    let error = one.command::<String>("PING").unwrap_err();
    assert!(!error.to_string().contains("cut off"), "{error:?}");
    server.kill();
}

#[test]
fn a_byte_that_was_changed_on_the_way_is_noticed() {
    let (authority, server) = served(&[]);
    let proxy = Proxy::to(format!("127.0.0.1:{}", server.tls_port()));
    let url = format!("rediss://localhost:{}", proxy.port());
    let keep = open(trusting(&authority, &url).retries(0));
    keep.set("a", "v".repeat(1000)).unwrap();
    proxy.set(Way::ToClient, Fault::CorruptAt(500, b'!'));
    let error = keep.get::<String>("a").unwrap_err();
    says(&error, ErrorKind::Io, "TLS failed");
    proxy.heal();
    assert_eq!(keep.get::<String>("a").unwrap().unwrap().len(), 1000);
}

#[test]
fn files_that_cannot_be_used_are_errors_at_open_that_name_them() {
    let authority = Authority::new();
    authority.issue("one", "DNS:one", 30);
    authority.issue("two", "DNS:two", 30);
    let file = |name: &str| authority.file(name);
    let text = authority.write("text", "no certificate");
    let broken = authority.write(
        "broken",
        "-----BEGIN CERTIFICATE-----\n???\n-----END CERTIFICATE-----\n",
    );
    let pair = |cert: &str, key: &str| {
        Config::new()
            .tls_ca(authority.ca())
            .tls_cert(file(cert))
            .tls_key(file(key))
    };
    let cases = [
        (
            Config::new().tls_ca(file("none")),
            "tls_ca",
            file("none"),
            "cannot be read",
        ),
        (
            Config::new().tls_ca(file("")),
            "tls_ca",
            file(""),
            "cannot be read",
        ),
        (
            Config::new().tls_ca(&text),
            "tls_ca",
            text.clone(),
            "holds no certificate",
        ),
        (Config::new().tls_ca(&broken), "tls_ca", broken.clone(), ""),
        (
            pair("none", "one.key"),
            "tls_cert",
            file("none"),
            "cannot be read",
        ),
        (
            pair("one.crt", "none"),
            "tls_key",
            file("none"),
            "cannot be read",
        ),
        (
            pair("one.crt", "one.crt"),
            "tls_key",
            file("one.crt"),
            "holds no private key",
        ),
        (
            pair("one.crt", "two.key"),
            "tls_key",
            file("two.key"),
            "is not the key of the certificate in",
        ),
    ];
    for (config, property, file, what) in cases {
        // Whether or not the configured server speaks TLS: another one that is added later may.
        for url in ["redis://localhost", "rediss://localhost"] {
            let error = Manager::open_config(&config.clone().url(url)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BadValue, "{error:?}");
            let said = error.to_string();
            assert!(
                said.starts_with(property) && said.contains(&file) && said.contains(what),
                "{said}"
            );
        }
    }
    open(pair("one.crt", "one.key"));
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
    if !alone("a_forked_child_has_connections_of_its_own") {
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
fn close_wakes_a_call_that_waits_for_a_handshake() {
    let (authority, server) = served(&[]);
    let proxy = Proxy::to(format!("127.0.0.1:{}", server.tls_port()));
    proxy.set(Way::ToClient, Fault::BlackHole);
    let url = format!("rediss://localhost:{}", proxy.port());
    let keep = open(trusting(&authority, &url).command_timeout(Duration::from_secs(30)));
    let waiter = {
        let keep = keep.clone();
        thread::spawn(move || keep.get::<String>("a").unwrap_err())
    };
    wait_until(PATIENCE, || proxy.bytes_to_server() > 0);
    keep.close(Duration::from_secs(5)).unwrap();
    assert_eq!(waiter.join().unwrap().kind(), ErrorKind::Closed);
}

#[test]
fn nothing_is_left_open() {
    if !alone("nothing_is_left_open") {
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

/// Serves one connection, after it has sent something.
fn peer(serve: impl FnOnce(&mut std::net::TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        serve(&mut stream);
        // What the client says to that is heard before the end, or a reset would overtake our answer.
        let _ = stream.read(&mut [0; 4096]);
    });
    port
}
