//! A reply that ends after byte k, for every k: the connection stalls, is reset, or is closed in good order. The call
//! fails, and is not sent twice; the next one is right, and so is the one after it.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use redkeep::redis::Value;
use redkeep::{Config, Error, ErrorKind, Manager, Outcome, Result};

use super::case::{BUSY, Baseline, Case, whole};
use crate::support::{Answer, PATIENCE, Peer, polite, wait_until};

/// For the calls that are to stall.
const BRIEF: Duration = Duration::from_millis(20);
const WORKERS: usize = 12;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Stall,
    Reset,
    Close,
}

/// What a server says, in one version of the protocol.
fn corpus(resp3: bool) -> Vec<String> {
    let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
    let mut all: Vec<String> = [
        "+OK\r\n",
        "+\r\n",
        "-ERR value is not an integer or out of range\r\n",
        "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
        ":0\r\n",
        ":-9223372036854775808\r\n",
        "$-1\r\n",
        "$0\r\n\r\n",
        "*-1\r\n",
        "*0\r\n",
        "*3\r\n:1\r\n$-1\r\n+OK\r\n",
        "*2\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n*1\r\n*1\r\n*0\r\n",
        "*2\r\n$4\r\nkeys\r\n-ERR one of two failed\r\n",
    ]
    .map(str::to_owned)
    .into();
    all.push(bulk(&"x".repeat(260)));
    // What looks like other replies, inside of one.
    all.push(bulk("+OK\r\n:1\r\n$3\r\nabc\r\n"));
    let fields = ["name", "Ann", "city", "Bonn", "note", "a\r\nb\r\n\r\nc"].map(bulk);
    all.push(format!("*6\r\n{}", fields.concat()));
    let members: String = (0..12).map(|n| bulk(&format!("member {n}"))).collect();
    all.push(format!("*12\r\n{members}"));
    if resp3 {
        all.extend(
            [
                "_\r\n",
                "#t\r\n",
                "#f\r\n",
                ",3.141592653589793\r\n",
                ",-inf\r\n",
                "(3492890328409238509324850943850943825024385\r\n",
                "=15\r\ntxt:Some string\r\n",
                "!21\r\nSYNTAX invalid syntax\r\n",
                "~3\r\n+a\r\n:2\r\n#t\r\n",
                "|1\r\n+ttl\r\n:3600\r\n$5\r\nvalue\r\n",
                "%2\r\n+first\r\n:1\r\n+second\r\n*2\r\n,1.5\r\n_\r\n",
            ]
            .map(str::to_owned),
        );
        all.push(format!("%3\r\n{}", fields.concat()));
        all.push(format!("~12\r\n{members}"));
    }
    all
}

/// A peer that says one thing to everything, whole or, when told, once in part.
struct Mouth {
    peer: Peer,
    fault: Arc<Mutex<Option<(End, usize)>>>,
    /// How often it was asked for what may not be repeated.
    pushes: Arc<AtomicUsize>,
}

impl Mouth {
    fn new(reply: &str, resp3: bool) -> Mouth {
        let fault = Arc::new(Mutex::new(None));
        let (mine, reply) = (fault.clone(), reply.as_bytes().to_vec());
        let pushes = Arc::new(AtomicUsize::new(0));
        let count = pushes.clone();
        let peer = Peer::answer(move |request| {
            let said: &[u8] = &request[0];
            if resp3 && said == b"HELLO" {
                return Answer::from("%2\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n$5\r\nproto\r\n:3\r\n");
            }
            if let Some(text) = polite(request) {
                return Answer::from(text);
            }
            count.fetch_add(usize::from(said == b"RPUSH"), Relaxed);
            match mine.lock().unwrap().take() {
                None => Answer::Bytes(reply.clone()),
                Some((End::Stall, k)) => Answer::Bytes(reply[..k].to_vec()),
                Some((End::Reset, k)) => Answer::Reset(reply[..k].to_vec()),
                Some((End::Close, k)) => Answer::Last(reply[..k].to_vec()),
            }
        });
        Mouth {
            peer,
            fault,
            pushes,
        }
    }

    fn open(&self, lines: usize, resp3: bool) -> Manager {
        let config = Config::new()
            .url(self.peer.url())
            .shared_lines(lines)
            .protocol(if resp3 { 3 } else { 2 })
            .max_connections(2)
            .health_check_interval(Duration::ZERO)
            .cleanup_interval(Duration::ZERO);
        let config = config.command_timeout(PATIENCE).connect_timeout(PATIENCE);
        Manager::open_config(&config).expect("a config of ours")
    }
}

/// A command that may not be repeated, and one that may.
fn push(keep: &Manager, time: Duration) -> Result<Value> {
    keep.command_within(("RPUSH", "list", "x"), time)
}

fn get(keep: &Manager, time: Duration) -> Result<Value> {
    keep.command_within(("GET", "key"), time)
}

/// The reply, or the server's error, which is a reply too.
fn told(result: Result<Value>) -> std::result::Result<Value, String> {
    result.map_err(|error| match error.code() {
        Some(_) => error.message().to_owned(),
        None => format!("{error:?}"),
    })
}

#[test]
fn a_reply_that_ends_at_any_byte_fails_one_call_and_spoils_no_other() {
    let name = "faults::bytes::a_reply_that_ends_at_any_byte_fails_one_call_and_spoils_no_other";
    let Some(case) = Case::alone(name) else {
        return;
    };
    let before = Baseline::now();
    let mut work = Vec::new();
    for resp3 in [false, true] {
        for reply in corpus(resp3) {
            for lines in [0, 2] {
                if whole() || lines == 2 * case.dice(0).below(2) {
                    work.push((resp3, reply.clone(), lines as usize));
                }
            }
        }
    }
    let offsets: usize = work.iter().map(|(_, reply, _)| reply.len()).sum();
    assert!(offsets >= 2_000, "{offsets}");
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some((resp3, reply, lines)) = work.get(next.fetch_add(1, Relaxed)) {
                    every_byte(&case, reply, *resp3, *lines);
                }
            });
        }
    });
    println!("{offsets} offsets, each with a stall, a reset and a close");
    before.is_back();
    case.end(BUSY);
}

fn every_byte(case: &Case, reply: &str, resp3: bool, lines: usize) {
    let mouth = Mouth::new(reply, resp3);
    let keep = mouth.open(lines, resp3);
    let wanted = told(get(&keep, PATIENCE));
    if let Err(text) = &wanted {
        // Nothing but an error of the server's, which this reply is.
        assert!(reply.contains(text.as_str()), "{reply:?}: {text}");
    }
    let mut failed = 0;
    let ends = [End::Stall, End::Reset, End::Close];
    for (k, end) in (0..reply.len()).flat_map(|k| ends.map(|end| (k, end))) {
        let what = format!("{end:?} after {k} of {reply:?}, lines {lines}");
        let right = |result: Result<Value>| match told(result) {
            got if got == wanted => {}
            got => case.mismatch(format!("{what}: {got:?}, not {wanted:?}")),
        };
        let spoil = || *mouth.fault.lock().unwrap() = Some((end, k));
        let pushes = mouth.pushes.load(Relaxed);
        spoil();
        let mut time = if end == End::Stall { BRIEF } else { PATIENCE };
        let error = loop {
            let error = case.call(&what, time, || push(&keep, time)).unwrap_err();
            // A machine with other work to do may need more time to send it at all.
            match error.outcome() {
                Outcome::NotSent if end == End::Stall && time < PATIENCE => time *= 2,
                _ => break error,
            }
        };
        failed += 1;
        check(case, &what, end, &error);
        wait_until(PATIENCE, || mouth.fault.lock().unwrap().is_none());
        if mouth.pushes.load(Relaxed) != pushes + 1 {
            case.mismatch(format!("{what}: sent again"));
        }
        right(case.call(&what, PATIENCE, || push(&keep, PATIENCE)));
        // What may be repeated does not even fail, unless its time is over.
        if end != End::Stall {
            spoil();
            right(case.call(&what, PATIENCE, || get(&keep, PATIENCE)));
        }
        right(case.call(&what, PATIENCE, || get(&keep, PATIENCE)));
    }
    let dead = mouth.peer.accepted() - 1;
    if failed > dead {
        let text = format!("{reply:?}: {failed} calls failed of {dead} dead connections");
        case.mismatch(text);
    }
    keep.close(PATIENCE).unwrap();
}

fn check(case: &Case, what: &str, end: End, error: &Error) {
    let kind = match end {
        End::Stall => ErrorKind::Timeout,
        End::Reset | End::Close => ErrorKind::Io,
    };
    if (error.kind(), error.outcome()) != (kind, Outcome::Unknown) {
        case.mismatch(format!("{what}: {error:?}"));
    }
}
