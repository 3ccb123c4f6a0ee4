//! What servers refuse.

use crate::*;

#[test]
fn a_refusal_is_repeated_when_it_may_pass() {
    use ErrorKind::*;
    for (text, kind, gets, incrs) in [
        (
            "READONLY You can't write against a read only replica.",
            ReadOnly,
            4,
            4,
        ),
        (
            "NOREPLICAS Not enough good replicas to write.",
            NoWrites,
            4,
            4,
        ),
        ("MISCONF Redis is configured to save", NoWrites, 1, 1),
        ("BUSY Redis is busy running a script.", Busy, 1, 1),
        ("OOM command not allowed", OutOfMemory, 1, 1),
        ("NOPERM this user has no permissions", NoPermission, 1, 1),
        ("NOAUTH Authentication required.", Auth, 1, 1),
        ("NOSCRIPT No matching script.", NoScript, 1, 1),
        (
            "CROSSSLOT Keys don't hash to the same slot",
            CrossSlot,
            1,
            1,
        ),
        ("WRONGTYPE Operation against a key", WrongType, 1, 1),
        (
            "ERR value is not an integer or out of range",
            NotANumber,
            1,
            1,
        ),
        ("EXECABORT Transaction discarded", ExecAbort, 1, 1),
        ("SOMETHING new", Server, 1, 1),
        ("no code at all", Server, 1, 1),
        ("", Server, 1, 1),
    ] {
        let line = format!("-{text}\r\n");
        let peer = Peer::after_handshake(move |_| line.clone());
        let keep = open(&peer.url());
        let errors = [
            keep.get::<String>("a").unwrap_err(),
            keep.incr("a", 1).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(what(&error), (kind, Outcome::Refused), "{text}: {error}");
            let said = match text {
                "" => "ERR the server refused it without saying why",
                text => text,
            };
            assert_eq!(error.message(), said);
            let code = match kind {
                Server if text.starts_with("SOME") => "SOMETHING",
                Server | NotANumber => "ERR",
                _ => text.split(' ').next().unwrap(),
            };
            assert_eq!(error.code(), Some(code));
            assert_eq!(error.node(), Some(peer.address().as_str()));
        }
        let sent = (peer.requests("GET"), peer.requests("INCRBY"));
        assert_eq!(sent, (gets, incrs), "{text}");
    }
}

#[test]
fn a_server_that_is_loading_is_waited_for_within_the_deadline() {
    for text in [
        "LOADING Redis is loading",
        "MASTERDOWN Link with MASTER is down",
    ] {
        let (line, asked) = (format!("-{text}\r\n"), AtomicUsize::new(0));
        let peer = Peer::after_handshake(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
            0..8 => line.clone(),
            _ => ":7\r\n".to_owned(),
        });
        let keep = open(&peer.url());
        assert_eq!(keep.incr("a", 1).unwrap(), 7);
        assert_eq!(peer.requests("INCRBY"), 9);

        let line = format!("-{text}\r\n");
        let peer = Peer::after_handshake(move |_| line.clone());
        let time = Duration::from_millis(200);
        let keep = with(&peer.url(), |config| config.command_timeout(time));
        let started = Instant::now();
        let error = keep.incr("a", 1).unwrap_err();
        // The last try may be under way at the deadline.
        let ends = [
            (ErrorKind::Loading, Outcome::Refused),
            (ErrorKind::Timeout, Outcome::Unknown),
        ];
        assert!(ends.contains(&what(&error)), "{error:?}");
        assert!(started.elapsed() < time + Duration::from_millis(400));
        assert!(peer.requests("INCRBY") > 1);
    }
}

#[test]
fn a_write_refused_by_a_former_primary_goes_through_on_a_new_connection() {
    let asked = AtomicUsize::new(0);
    let peer = Peer::after_handshake(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => "-READONLY You can't write against a read only replica.\r\n",
        _ => ":1\r\n",
    });
    let keep = open(&peer.url());
    assert_eq!(keep.incr("a", 1).unwrap(), 1);
    assert_eq!((peer.requests("INCRBY"), peer.accepted()), (2, 2));
}

#[test]
fn a_real_replica_refuses_writes_and_serves_reads() {
    let primary = Server::start();
    let port = primary.port().to_string();
    let replica = Server::with(&["--replicaof", "127.0.0.1", &port]);
    wait_until(PATIENCE, || {
        replica.info("replication", "master_link_status") == "up"
    });
    let keep = open(&replica.url());
    assert_eq!(keep.get::<String>("a").unwrap(), None);
    let error = keep.set("a", 1).unwrap_err();
    assert_eq!(what(&error), (ErrorKind::ReadOnly, Outcome::Refused));
    assert_eq!(
        keep.health_check(None).unwrap().role.as_deref(),
        Some("slave")
    );
}

#[test]
fn a_script_that_runs_for_too_long_is_told_as_busy() {
    let server = Server::with(&["--busy-reply-threshold", "20"]);
    let keep = open(&server.url());
    keep.set("a", 1).unwrap();
    let forever = "while true do end";
    thread::scope(|scope| {
        let call = scope.spawn(|| keep.command_within::<()>(("EVAL", forever, 0), PATIENCE));
        wait_until(
            PATIENCE,
            || matches!(keep.get::<String>("a"), Err(error) if error.kind() == ErrorKind::Busy),
        );
        let error = keep.incr("a", 1).unwrap_err();
        assert_eq!(what(&error), (ErrorKind::Busy, Outcome::Refused));
        assert!(error.is_retriable());
        keep.command::<()>(("SCRIPT", "KILL")).unwrap();
        // Half of a script may have been executed.
        let error = call.join().unwrap().unwrap_err();
        assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    });
}

#[test]
fn a_full_server_says_so_and_open_connections_go_on() {
    let server = Server::with(&["--maxclients", "12"]);
    let keep = with(&server.url(), |config| config.max_connections(4));
    let mut held = keep.client().dedicated().unwrap();
    keep.set("a", 1).unwrap();
    // One connection is held, one is idle, and strangers take the rest. One place stays free for our own questions.
    let mut strangers: Vec<std::net::TcpStream> = Vec::new();
    let idle = keep.client().dedicated().unwrap();
    let error = loop {
        match keep.client().dedicated() {
            Ok(_) => {}
            Err(error) => break error,
        }
        strangers.push(std::net::TcpStream::connect(server.address()).unwrap());
        assert!(strangers.len() < 100);
        keep.disconnect();
    };
    assert_eq!(
        what(&error),
        (ErrorKind::Connect, Outcome::NotSent),
        "{error}"
    );
    assert!(
        error.to_string().contains("max number of clients"),
        "{error}"
    );
    assert_eq!(held.command::<String>("PING").unwrap(), "PONG");
    drop((idle, strangers));
    let freed = Instant::now();
    wait_until(PATIENCE, || keep.get::<i64>("a").is_ok());
    support::figure(format!(
        "served again {:?} after there was room",
        freed.elapsed()
    ));
}

#[test]
fn one_connection_too_many_does_not_take_the_others_down() {
    let server = Server::with(&["--maxclients", "10"]);
    let keep = with(&server.url(), |config| {
        config
            .max_connections(20)
            .health_check_interval(Duration::ZERO)
    });
    keep.set("a", 1).unwrap();
    let mut leases = Vec::new();
    let error = loop {
        match keep.client().dedicated() {
            Ok(lease) => leases.push(lease),
            Err(error) => break error,
        }
    };
    assert!(
        error.to_string().contains("max number of clients"),
        "{error}"
    );
    let before = keep.fetch_pool_status().nodes[0].pools[0].opened;
    // Some come back, and serve: the server answers those that it has.
    leases.truncate(2);
    for _ in 0..20 {
        assert_eq!(keep.get::<i64>("a").unwrap(), Some(1));
    }
    let pool = keep.fetch_pool_status().nodes[0].pools[0];
    assert_eq!((pool.opened, pool.closed), (before, 0));
}

#[test]
fn what_lives_on_another_node_is_told_at_once() {
    for line in ["-MOVED 1 127.0.0.1:1\r\n", "-ASK 1 127.0.0.1:1\r\n"] {
        let peer = Peer::after_handshake(move |_| line);
        let keep = open(&peer.url());
        let error = keep.get::<String>("a").unwrap_err();
        assert_eq!(what(&error), (ErrorKind::Cluster, Outcome::Refused));
        assert_eq!(peer.requests("GET"), 1);
    }
}

#[test]
fn a_script_that_the_server_does_not_know_has_one_deadline() {
    let peer = Peer::after_handshake(|request| match request[0].as_slice() {
        b"EVALSHA" => {
            std::thread::sleep(Duration::from_millis(300));
            "-NOSCRIPT No matching script.\r\n"
        }
        _ => "",
    });
    let time = Duration::from_millis(500);
    let keep = with(&peer.url(), |config| config.command_timeout(time));
    let (pauses, started) = (Pauses::measure(), Instant::now());
    let script = redkeep::Script::new("return 1");
    let error = keep.eval::<i64>(&script, "a", 1).unwrap_err();
    assert_eq!(what(&error), (ErrorKind::Timeout, Outcome::Unknown));
    let took = started.elapsed();
    assert!(took < pauses.beside(time + Duration::from_millis(100)));
}
