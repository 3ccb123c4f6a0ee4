//! What became of a command, and what is sent again.

use crate::*;

#[test]
fn an_incr_is_never_executed_twice_and_an_unknown_fate_is_told() {
    let server = Server::start();
    let keep = with(&server.url(), |config| config.max_connections(4));
    let (sure, unknown) = (AtomicI64::new(0), AtomicI64::new(0));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    match keep.incr("n", 1) {
                        Ok(_) => sure.fetch_add(1, Ordering::Relaxed),
                        // Killed in the middle of its greeting, which the others then hear of.
                        Err(error) if error.outcome() == Outcome::NotSent => 0,
                        Err(error) => {
                            assert_eq!(what(&error), (ErrorKind::Io, Outcome::Unknown), "{error}");
                            unknown.fetch_add(1, Ordering::Relaxed)
                        }
                    };
                }
            });
        }
        for _ in 0..60 {
            server.kill_clients();
            let before = sure.load(Ordering::Relaxed);
            wait_until(PATIENCE, || sure.load(Ordering::Relaxed) > before);
        }
        over.store(true, Ordering::Relaxed);
    });
    let (sure, unknown) = (sure.into_inner(), unknown.into_inner());
    let done: i64 = server.ask(&["GET", "n"]);
    assert!(
        (sure..=sure + unknown).contains(&done),
        "{sure} + {unknown}: {done}"
    );
    assert!(unknown > 0);
    assert_eq!(server.command_calls("incrby") as i64, done);
    support::figure(format!(
        "60 cuts: {sure} acknowledged and {unknown} unknown, {done} counted by the server"
    ));
}

#[test]
fn a_set_that_may_have_been_executed_is_not_called_unsent() {
    let mut server = Server::start();
    let proxy = Proxy::to(server.address());
    let keep = open(&proxy.url());
    keep.set("a", "before").unwrap();
    // The request arrives, its answer does not, and then nobody is there any more.
    proxy.set(Way::ToClient, Fault::ResetAfter(0));
    proxy.refuse_new(true);
    let error = keep.set("a", "after").unwrap_err();
    assert_eq!(server.ask::<String>(&["GET", "a"]), "after");
    assert_eq!(error.outcome(), Outcome::Unknown, "{error:?}");
    server.kill();
}

#[test]
fn a_refusal_after_an_unknown_fate_is_still_unknown() {
    let sets = AtomicUsize::new(0);
    let peer = Peer::after_handshake(move |request| match request[0].as_slice() {
        b"SET" if sets.fetch_add(1, Ordering::SeqCst) == 0 => Answer::Last(Vec::new()),
        _ => "-OOM command not allowed when used memory > 'maxmemory'.\r\n".into(),
    });
    let keep = open(&peer.url());
    let error = keep.set("a", 1).unwrap_err();
    assert_eq!(
        what(&error),
        (ErrorKind::OutOfMemory, Outcome::Unknown),
        "{error}"
    );
    // A read is as unexecuted as ever.
    let error = keep.get::<String>("a").unwrap_err();
    assert_eq!(what(&error), (ErrorKind::OutOfMemory, Outcome::Refused));
}

/// Calls by what may be repeated: its name, whether it may, the call.
type Call = fn(&Manager) -> redkeep::Result<()>;

const CALLS: &[(&str, bool, Call)] = &[
    ("GET", true, |keep| keep.get::<String>("a").map(drop)),
    ("MGET", true, |keep| keep.mget::<String>("a").map(drop)),
    ("EXISTS", true, |keep| keep.exists("a").map(drop)),
    ("TTL", true, |keep| keep.ttl("a").map(drop)),
    ("HGET", true, |keep| keep.hget::<String>("a", "f").map(drop)),
    ("SET", true, |keep| keep.set("a", 1)),
    ("MSET", true, |keep| keep.mset([("a", 1)])),
    ("EXPIRE", true, |keep| keep.expire("a", 9).map(drop)),
    ("PEXPIREAT", true, |keep| {
        keep.command(("PEXPIREAT", "a", 99))
    }),
    ("ZRANGE", true, |keep| keep.command(("zrange", "a", 0, 1))),
    ("INCRBY", false, |keep| keep.incr("a", 1).map(drop)),
    ("DEL", false, |keep| keep.delete("a").map(drop)),
    ("HSET", false, |keep| keep.hset("a", "f", 1).map(drop)),
    ("SET", false, |keep| {
        keep.set_with("a", 1, SetOptions::new().nx()).map(drop)
    }),
    ("SET", false, |keep| {
        keep.set_with("a", 1, SetOptions::new().xx()).map(drop)
    }),
    ("SET", false, |keep| keep.command(("SET", "a", 1, "get"))),
    ("EXPIRE", false, |keep| keep.expire("a", 0).map(drop)),
    ("EXPIRE", false, |keep| {
        keep.command(("EXPIRE", "a", 9, "nx"))
    }),
    ("EXPIRE", false, |keep| keep.command(("EXPIRE", "a", -1))),
    ("PEXPIRE", false, |keep| {
        keep.command(("PEXPIRE", "a", 9, "GT"))
    }),
    ("LTRIM", false, |keep| keep.command(("LTRIM", "a", 1, -1))),
    ("ZUNIONSTORE", false, |keep| {
        keep.command(("ZUNIONSTORE", "a", 2, "a", "b"))
    }),
    ("BITOP", false, |keep| {
        keep.command(("BITOP", "NOT", "a", "a"))
    }),
    ("LPUSH", false, |keep| keep.command(("LPUSH", "a", 1))),
    ("EVAL", false, |keep| keep.command(("EVAL", "return 1", 0))),
    ("FCALL", false, |keep| keep.command(("FCALL", "f", 0))),
    ("NOSUCH", false, |keep| keep.command("NOSUCH")),
];

#[test]
fn what_may_be_repeated_is_repeated_and_nothing_else() {
    for (name, may, call) in CALLS {
        let peer = Peer::after_handshake(|_| Answer::Last(Vec::new()));
        let keep = open(&peer.url());
        let error = call(&keep).unwrap_err();
        assert_eq!(
            what(&error),
            (ErrorKind::Io, Outcome::Unknown),
            "{name}: {error}"
        );
        let times = if *may { 4 } else { 1 };
        assert_eq!(peer.requests(name), times, "{name} {may}");
        assert_eq!(keep.stats()["retries"], times - 1, "{name}");
    }
    let once = CALLS.iter().filter(|(_, may, _)| !may).count();
    support::figure(format!(
        "{} commands, {once} of them sent once",
        CALLS.len()
    ));
    let peer = Peer::after_handshake(|_| Answer::Last(Vec::new()));
    let keep = with(&peer.url(), |config| config.retries(0));
    keep.get::<String>("a").unwrap_err();
    assert_eq!(peer.requests("GET"), 1);
}

#[test]
fn the_doubt_of_an_atomic_pipeline_outlives_its_next_attempt() {
    let greeted = AtomicUsize::new(0);
    let peer = Peer::answer(move |request| match request[0].as_slice() {
        b"AUTH" if greeted.fetch_add(1, Ordering::SeqCst) > 0 => "-WRONGPASS no\r\n".into(),
        b"EXEC" => Answer::Last(Vec::new()),
        _ => Answer::from(polite(request).unwrap_or_default()),
    });
    let keep = open(&peer.url().replace("redis://", "redis://:secret@"));
    let mut pipe = keep.pipeline();
    pipe.atomic(true).command(("SET", "a", 1)).unwrap();
    let error = pipe.execute().unwrap_err();
    assert_eq!(what(&error), (ErrorKind::Auth, Outcome::Unknown));
    assert_eq!(pipe.outcome(0), Some(Outcome::Unknown));
}
