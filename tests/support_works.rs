//! The tests' own tools: a fault that does not happen would make every test that relies on it pass for nothing.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::{
    Answer, Cluster, Fault, PATIENCE, Pause, Peer, Proxy, Sentinels, Server, Way, came_true,
    key_in, longest_between, slot, wait_until,
};

const PING: &[u8] = b"PING\r\n";
const PONG: &[u8] = b"+PONG\r\n";

fn dial(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a listener");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

fn read(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).expect("that many bytes");
    bytes
}

fn ping(stream: &mut TcpStream) {
    stream.write_all(PING).expect("a live connection");
    assert_eq!(read(stream, PONG.len()), PONG);
}

/// Nothing comes for a while: there is no condition to wait for, so the wait is short and its end is the answer.
fn is_silent(stream: &mut TcpStream) -> bool {
    let patience = Duration::from_millis(60);
    stream.set_read_timeout(Some(patience)).expect("a timeout");
    let silent = matches!(stream.read(&mut [0]), Err(e) if e.kind() == ErrorKind::WouldBlock);
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    silent
}

#[test]
fn a_server_starts_answers_and_takes_its_folder_with_it() {
    let server = Server::start();
    let folder = server.folder().to_owned();
    assert_eq!(server.ask::<String>(&["PING"]), "PONG");
    assert_eq!(server.info("server", "tcp_port"), server.port().to_string());
    assert_eq!(
        server.info("server", "process_id"),
        server.pid().to_string()
    );
    ping(&mut dial(&server.address()));
    let client = redis::Client::open(server.unix_url()).expect("a url");
    let _ = client.get_connection().expect("the unix socket works");
    drop(server);
    assert!(!folder.exists());
}

#[test]
fn a_server_outlives_the_thread_that_started_it() {
    let starting = std::thread::spawn(Server::start);
    let server = starting.join().expect("a server");
    assert!(!came_true(Duration::from_millis(50), || {
        server.ask::<String>(&["PING"]) != "PONG"
    }));
}

#[test]
fn a_password_is_asked_of_everybody_but_the_test() {
    let server = Server::with(&["--requirepass", "s e\"cret"]);
    assert_eq!(server.ask::<String>(&["PING"]), "PONG");
    let mut stream = dial(&server.address());
    stream.write_all(PING).expect("a live connection");
    assert_eq!(read(&mut stream, 7), b"-NOAUTH");
}

#[test]
fn a_restart_keeps_port_and_folder_and_loses_the_data() {
    let mut server = Server::start();
    let (port, folder, pid) = (server.port(), server.folder().to_owned(), server.pid());
    let _: () = server.ask(&["SET", "k", "v"]);
    server.kill();
    assert!(TcpStream::connect(server.address()).is_err());
    server.restart();
    assert_eq!((server.port(), server.folder()), (port, folder.as_path()));
    assert_ne!(server.pid(), pid);
    assert_eq!(server.ask::<i64>(&["DBSIZE"]), 0);
    server.stop_gracefully();
    assert!(TcpStream::connect(server.address()).is_err());
    server.restart();
    ping(&mut dial(&server.address()));
}

#[test]
fn a_frozen_server_is_silent_until_it_thaws() {
    let server = Server::start();
    let mut stream = dial(&server.address());
    ping(&mut stream);
    server.freeze();
    stream.write_all(PING).expect("the system takes it");
    assert!(is_silent(&mut stream));
    server.thaw();
    assert_eq!(read(&mut stream, PONG.len()), PONG);
    server.freeze();
    // And a frozen one can be dropped.
}

#[test]
fn connections_and_calls_are_counted_without_our_own() {
    let server = Server::start();
    let _admin = server.admin();
    assert_eq!((server.connections(), server.command_calls("ping")), (0, 0));
    let mut one = dial(&server.address());
    let mut two = dial(&server.address());
    ping(&mut one);
    ping(&mut two);
    assert_eq!((server.connections(), server.command_calls("PING")), (2, 2));
    server.kill_clients();
    assert_eq!(one.read(&mut [0]).expect("an end in good order"), 0);
    assert_eq!(server.connections(), 0);
}

#[test]
fn the_proxy_passes_and_counts() {
    let server = Server::start();
    let upstreams = [server.address(), server.unix_path().display().to_string()];
    for upstream in upstreams {
        let proxy = Proxy::to(upstream);
        let mut stream = dial(&proxy.address());
        ping(&mut stream);
        let counted = (
            proxy.accepted(),
            proxy.bytes_to_server(),
            proxy.bytes_to_client(),
        );
        assert_eq!(counted, (1, PING.len() as u64, PONG.len() as u64));
        let big = vec![b'x'; 3_000_000];
        let mut redis = redis::Client::open(proxy.url()).expect("a url");
        let _: () = redis::cmd("SET")
            .arg("big")
            .arg(&big)
            .query(&mut redis)
            .expect("SET");
        let got: Vec<u8> = redis::cmd("GET").arg("big").query(&mut redis).expect("GET");
        assert!(got == big, "every byte comes through");
        drop((stream, redis));
        wait_until(PATIENCE, || proxy.live() == 0);
        wait_until(PATIENCE, || server.connections() == 0);
    }
}

#[test]
fn a_delay_is_per_byte_and_not_per_message() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let mut stream = dial(&proxy.address());
    let delay = Duration::from_millis(30);
    proxy.set(Way::Both, Fault::Delay(delay));
    let start = Instant::now();
    ping(&mut stream);
    assert!(start.elapsed() >= 2 * delay);
    // A hundred at once take one delay, not a hundred.
    let start = Instant::now();
    for _ in 0..100 {
        stream.write_all(PING).expect("a live connection");
    }
    assert_eq!(read(&mut stream, 100 * PONG.len()), PONG.repeat(100));
    assert!(start.elapsed() < 20 * delay, "took {:?}", start.elapsed());
}

#[test]
fn a_stall_holds_bytes_back_and_healing_lets_them_go() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let mut stream = dial(&proxy.address());
    ping(&mut stream);
    proxy.set(Way::ToClient, Fault::StallAfter(3));
    stream.write_all(PING).expect("a live connection");
    assert_eq!(read(&mut stream, 3), b"+PO");
    assert!(is_silent(&mut stream));
    proxy.heal();
    assert_eq!(read(&mut stream, 4), b"NG\r\n");
}

#[test]
fn a_drip_brings_one_byte_at_a_time() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let every = Duration::from_millis(5);
    proxy.set(Way::ToClient, Fault::Drip { every });
    let mut stream = dial(&proxy.address());
    let start = Instant::now();
    ping(&mut stream);
    assert!(start.elapsed() >= every * (PONG.len() as u32 - 1));
}

#[test]
fn a_reset_is_a_reset_and_a_close_is_an_end() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    for k in [0, 3, 7] {
        let cut = PONG[..k].to_vec();
        let mut stream = dial(&proxy.address());
        proxy.set(Way::ToClient, Fault::ResetAfter(k as u64));
        stream.write_all(PING).expect("a live connection");
        assert_eq!(read(&mut stream, k), cut);
        let error = stream.read(&mut [0]).expect_err("no end in good order");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        proxy.heal();

        let mut stream = dial(&proxy.address());
        proxy.set(Way::ToClient, Fault::CloseAfter(k as u64));
        stream.write_all(PING).expect("a live connection");
        assert_eq!(read(&mut stream, k), cut);
        assert_eq!(stream.read(&mut [0]).expect("an end in good order"), 0);
        proxy.heal();
        wait_until(PATIENCE, || server.connections() == 0);
    }
}

#[test]
fn a_request_can_arrive_whole_and_its_answer_never() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let mut stream = dial(&proxy.address());
    let request = b"INCR n\r\n";
    proxy.set(Way::ToClient, Fault::ResetAfter(0));
    stream.write_all(request).expect("a live connection");
    assert!(stream.read(&mut [0]).is_err());
    assert_eq!(server.ask::<i64>(&["GET", "n"]), 1);
}

#[test]
fn a_byte_is_corrupted_on_its_way() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let mut stream = dial(&proxy.address());
    ping(&mut stream);
    proxy.set(Way::ToClient, Fault::CorruptAt(9, b'?'));
    ping(&mut stream);
    stream.write_all(PING).expect("a live connection");
    assert_eq!(read(&mut stream, 7), b"+P?NG\r\n");
    ping(&mut stream);
}

#[test]
fn a_black_hole_keeps_what_it_got() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let mut stream = dial(&proxy.address());
    proxy.set(Way::ToServer, Fault::BlackHole);
    stream.write_all(PING).expect("the proxy takes it");
    assert!(is_silent(&mut stream));
    proxy.heal();
    ping(&mut stream);
    assert_eq!(server.command_calls("ping"), 1);
}

#[test]
fn connections_are_cut_and_refused() {
    let mut server = Server::start();
    let proxy = Proxy::to(server.address());
    let mut streams = [dial(&proxy.address()), dial(&proxy.address())];
    streams.iter_mut().for_each(ping);
    proxy.cut_all();
    assert_eq!(proxy.live(), 0);
    for mut stream in streams {
        let error = stream.read(&mut [0]).expect_err("no end in good order");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    proxy.refuse_new(true);
    assert!(dial(&proxy.address()).read(&mut [0]).is_err());
    proxy.heal();
    ping(&mut dial(&proxy.address()));
    assert_eq!((proxy.accepted(), proxy.refused()), (3, 1));
    server.kill();
    assert!(dial(&proxy.address()).read(&mut [0]).is_err());
    assert_eq!(proxy.refused(), 2);
}

#[test]
fn a_scripted_peer_answers_and_counts() {
    let peer = Peer::after_handshake(|request| match request[0].as_slice() {
        b"GET" => Answer::from("$2\r\nhi\r\n"),
        b"BYE" => Answer::Last(b"-GONE\r\n".to_vec()),
        _ => Answer::Bytes(Vec::new()),
    });
    let client = redis::Client::open(peer.url()).expect("a url");
    let mut connection = client.get_connection().expect("a polite peer");
    let got: String = redis::cmd("GET")
        .arg("k")
        .query(&mut connection)
        .expect("GET");
    assert_eq!(
        (got.as_str(), peer.requests("get"), peer.accepted()),
        ("hi", 1, 1)
    );
    assert!(redis::cmd("BYE").exec(&mut connection).is_err());
    assert!(redis::cmd("GET").arg("k").exec(&mut connection).is_err());
    let words = peer.all_requests();
    assert!(words.contains(&vec![b"GET".to_vec(), b"k".to_vec()]));
}

#[test]
fn a_raw_peer_writes_its_bytes_and_a_slot_map_can_name_its_peer() {
    let peer = Peer::raw("*1\r\n*-7\r\n");
    let mut stream = dial(&peer.address());
    stream.write_all(b"anything").expect("a live connection");
    assert_eq!(read(&mut stream, 9), b"*1\r\n*-7\r\n");
    stream.write_all(b"more").expect("a live connection");
    assert!(is_silent(&mut stream));
    peer.hang_up();
    assert_eq!(stream.read(&mut [0]).expect("an end in good order"), 0);

    let peer = Peer::knowing_its_port(|port| {
        move |_: &[Vec<u8>]| format!("-MOVED 1 127.0.0.1:{port}\r\n")
    });
    let mut stream = dial(&peer.address());
    stream
        .write_all(b"*1\r\n$4\r\nPING\r\n")
        .expect("a live connection");
    let moved = format!("-MOVED 1 {}\r\n", peer.address());
    assert_eq!(read(&mut stream, moved.len()), moved.as_bytes());
}

#[test]
fn a_cluster_serves_every_slot_moves_them_and_fails_over() {
    let mut cluster = Cluster::start();
    for key in ["foo", "{user}:1", "{}x", "{a", "}{b}{c}"] {
        let told: u16 = cluster.nodes[0].ask(&["CLUSTER", "KEYSLOT", key]);
        assert_eq!(slot(key), told, "{key}");
    }
    for (node, slots) in [(0, 0..5461), (1, 5461..10922), (2, 10922..16384)] {
        assert_eq!(cluster.primary_of(slots.start), node);
        let key = key_in(slots, "key");
        cluster.nodes[node].ask::<()>(&["SET", &key, "1"]);
    }
    let moved = key_in(0..1000, "key");
    cluster.move_slot(slot(&moved), 0, 1);
    assert_eq!(cluster.primary_of(slot(&moved)), 1);
    cluster.nodes[1].ask::<()>(&["SET", &moved, "2"]);
    cluster.settle();
    assert_eq!(cluster.replica_of(0), 3);
    cluster.fail_over_to(3);
    cluster.settle();
    assert_eq!(cluster.primary_of(5000), 3);
    cluster.nodes[3].kill();
    wait_until(6 * PATIENCE, || cluster.primary_of(5000) == 0);
}

#[test]
fn sentinels_agree_and_fail_over() {
    let mut all = Sentinels::start();
    assert_eq!(all.primary(), 0);
    let next = all.fail_over();
    assert_ne!(next, 0);
    all.settle();
    all.nodes[next].kill();
    wait_until(6 * PATIENCE, || all.primary() != next);
}

#[test]
fn a_pause_of_the_machine_excuses_what_happened_in_it_and_nothing_else() {
    let (start, ms) = (Instant::now(), Duration::from_millis);
    let pause = |from, to| Pause(start + ms(from), start + ms(to));
    let pauses = [pause(100, 151), pause(500, 521)];
    let longest = |from, to| longest_between(&pauses, start + ms(from), start + ms(to));
    assert_eq!(longest(0, 90), ms(0));
    assert_eq!(longest(0, 110), ms(50));
    assert_eq!(longest(140, 160), ms(50));
    assert_eq!(longest(152, 499), ms(0));
    assert_eq!(longest(152, 510), ms(20));
    assert_eq!(longest(0, 900), ms(50));
    assert_eq!(longest(522, 900), ms(0));
}
