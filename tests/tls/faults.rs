//! Handshakes and streams that stall, are cut or forged.

use crate::*;

/// As in tests/deadlines.rs.
const MARGIN: Duration = Duration::from_millis(400);

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
