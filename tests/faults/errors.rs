//! What servers refuse: each error has the documented kind and outcome, and nothing was executed. Here by real servers;
//! by scripted ones also in tests/outages/, and TRYAGAIN and CLUSTERDOWN of a real cluster in tests/cluster/.

use std::thread;
use std::time::Duration;

use redkeep::{Config, Error, ErrorKind, Manager, Outcome};

use super::case::{Baseline, Case, QUIET};
use crate::support::{PATIENCE, Peer, Server, wait_until};

/// For what passes, and so is waited for.
const BRIEF: Duration = Duration::from_millis(300);
const TIME: Duration = Duration::from_secs(5);

fn open(url: &str, time: Duration) -> Manager {
    let config = Config::new().url(url).command_timeout(time);
    Manager::open_config(&config).expect("a config of ours")
}

fn time_for(kind: ErrorKind) -> Duration {
    match kind {
        ErrorKind::Loading | ErrorKind::Cluster => BRIEF,
        _ => TIME,
    }
}

#[test]
fn each_refusal_has_its_kind_and_its_outcome() {
    use ErrorKind::*;
    let Some(case) = Case::alone("faults::errors::each_refusal_has_its_kind_and_its_outcome")
    else {
        return;
    };
    let before = Baseline::now();
    for (text, kind) in [
        ("LOADING Redis is loading the dataset in memory", Loading),
        ("BUSY Redis is busy running a script.", Busy),
        (
            "OOM command not allowed when used memory > 'maxmemory'.",
            OutOfMemory,
        ),
        ("NOREPLICAS Not enough good replicas to write.", NoWrites),
        ("MASTERDOWN Link with MASTER is down", Loading),
        (
            "TRYAGAIN Multiple keys request during rehashing of slot",
            Cluster,
        ),
        ("CLUSTERDOWN Hash slot not served", Cluster),
        ("NOSCRIPT No matching script. Please use EVAL.", NoScript),
        (
            "NOPERM this user has no permissions to run the command",
            NoPermission,
        ),
        (
            "MISCONF Redis is configured to save RDB snapshots",
            NoWrites,
        ),
    ] {
        let line = format!("-{text}\r\n");
        let peer = Peer::after_handshake(move |_| line.clone());
        let time = time_for(kind);
        let keep = open(&peer.url(), time);
        let get = case.call(text, time, || keep.get::<String>("a").map(drop));
        let incr = case.call(text, time, || keep.incr("a", 1).map(drop));
        let mut pipe = keep.pipeline();
        pipe.command(("INCR", "a")).unwrap();
        let one = case.call(text, time, || pipe.execute()?.get::<i64>(0).map(drop));
        for error in [get, incr, one].map(Result::unwrap_err) {
            refused(&case, text, &error, kind);
        }
    }
    before.is_back();
    case.end(QUIET);
}

/// Where it is waited for until the deadline, the last try may be under way then.
fn refused(case: &Case, text: &str, error: &Error, kind: ErrorKind) {
    let waits = time_for(kind) == BRIEF;
    let ends = [
        (kind, Outcome::Refused),
        (ErrorKind::Timeout, Outcome::Unknown),
    ];
    let end = (error.kind(), error.outcome());
    if end != ends[0] && !(waits && end == ends[1]) {
        case.mismatch(format!("{text}: {error:?}"));
    }
}

#[test]
fn what_real_servers_refuse_is_not_executed() {
    use ErrorKind::{Loading, NoPermission, NoScript, NoWrites, OutOfMemory};
    let Some(case) = Case::alone("faults::errors::what_real_servers_refuse_is_not_executed") else {
        return;
    };
    // MISCONF comes when a snapshot could not be written: its folder is gone.
    let server = Server::with(&[
        "--enable-debug-command",
        "yes",
        "--enable-protected-configs",
        "yes",
    ]);
    let gone = server.folder().join("gone");
    std::fs::create_dir(&gone).unwrap();
    // Of a primary that nobody has ever seen.
    let replica = Server::with(&["--replicaof", "127.0.0.1", "1"]);
    replica.ask::<()>(&["CONFIG", "SET", "replica-serve-stale-data", "no"]);
    let before = Baseline::now();
    let keep = open(&server.url(), TIME);
    let set = |name: &str, value: &str| server.ask::<()>(&["CONFIG", "SET", name, value]);
    let fails = |what: &str, kind: ErrorKind| {
        let error = case.call(what, TIME, || keep.incr("n", 1)).unwrap_err();
        refused(&case, what, &error, kind);
        assert_eq!(error.code(), Some(what), "{error:?}");
        assert_eq!(server.ask::<Option<i64>>(&["GET", "n"]), None, "{what}");
    };
    let passes = || {
        assert_eq!(keep.incr("n", 1).unwrap(), 1);
        assert_eq!(keep.delete("n").unwrap(), 1);
    };
    passes();

    set("maxmemory", "1");
    fails("OOM", OutOfMemory);
    set("maxmemory", "0");
    passes();

    set("min-replicas-to-write", "1");
    fails("NOREPLICAS", NoWrites);
    set("min-replicas-to-write", "0");
    passes();

    set("save", "3600 1");
    set("dir", gone.to_str().unwrap());
    std::fs::remove_dir(&gone).unwrap();
    server.ask::<()>(&["BGSAVE"]);
    let failed = || server.info("persistence", "rdb_last_bgsave_status") == "err";
    wait_until(PATIENCE, failed);
    fails("MISCONF", NoWrites);
    set("dir", server.folder().to_str().unwrap());
    set("save", "");
    passes();

    let call = || keep.command::<i64>(("EVALSHA", "0".repeat(40), 1, "n"));
    refused(
        &case,
        "NOSCRIPT",
        &case.call("NOSCRIPT", TIME, call).unwrap_err(),
        NoScript,
    );

    server.ask::<()>(&["ACL", "SETUSER", "reader", "on", ">secret", "~*", "+@read"]);
    let reader = open(&format!("redis://reader:secret@{}", server.address()), TIME);
    let error = case
        .call("NOPERM", TIME, || reader.incr("n", 1))
        .unwrap_err();
    refused(&case, "NOPERM", &error, NoPermission);

    let behind = open(&replica.url(), BRIEF);
    let error = case
        .call("MASTERDOWN", BRIEF, || behind.get::<i64>("n"))
        .unwrap_err();
    refused(&case, "MASTERDOWN", &error, Loading);

    // Two thousandths of a second for each key: twelve seconds, if it were not put right meanwhile.
    server.ask::<()>(&["DEBUG", "POPULATE", "6000"]);
    set("loading-process-events-interval-bytes", "1024");
    set("key-load-delay", "2000");
    thread::scope(|scope| {
        let reload = scope.spawn(|| server.ask::<()>(&["DEBUG", "RELOAD"]));
        // INFO is answered while it loads.
        wait_until(PATIENCE, || server.info("persistence", "loading") == "1");
        let error = case
            .call("LOADING", TIME, || keep.incr("n", 1))
            .unwrap_err();
        refused(&case, "LOADING", &error, Loading);
        set("key-load-delay", "0");
        // With the time for it, it is waited for.
        let wait = || keep.command_within::<i64>(("INCR", "n"), PATIENCE);
        assert_eq!(case.call("LOADING", PATIENCE, wait).unwrap(), 1);
        reload.join().expect("no panic");
    });
    keep.delete("n").unwrap();
    passes();
    drop((keep, reader, behind));
    before.is_back();
    case.end(QUIET);
}
