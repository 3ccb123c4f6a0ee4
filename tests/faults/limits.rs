//! A system that refuses: no more descriptors, no more threads, no memory for a reply. That is an error, and over when the system gives again.

use std::fs::File;
use std::time::Duration;

use redkeep::{ChannelOptions, Config, Error, ErrorKind, Manager, Outcome, Received};

use super::case::{Baseline, Case, QUIET};
use super::place::{Place, Shape, on_each};
use super::system::refuse_threads;
use crate::support::{PATIENCE, Peer, Server, descriptors, wait_until};

const TIME: Duration = Duration::from_secs(5);

fn open(url: &str) -> redkeep::Result<Manager> {
    Manager::open_config(&Config::new().url(url).command_timeout(TIME))
}

/// Takes every descriptor that there is.
struct Exhausted {
    before: libc::rlimit,
    taken: Vec<File>,
}

impl Exhausted {
    fn new() -> Exhausted {
        let mut before = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: plain system calls on a live struct, in a process of the test's own.
        unsafe {
            assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut before), 0);
            let few = libc::rlimit {
                rlim_cur: descriptors() as u64 + 8,
                ..before
            };
            assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &few), 0);
        }
        let mut it = Exhausted {
            before,
            taken: Vec::new(),
        };
        it.take_all();
        it
    }

    fn take_all(&mut self) {
        let all = std::iter::from_fn(|| File::open("/dev/null").ok());
        self.taken.extend(all);
    }

    /// The error of a call that needs a descriptor. What background threads give back meanwhile is taken, too.
    #[track_caller]
    fn until_refused(
        &mut self,
        case: &Case,
        keep: &Manager,
        call: &mut dyn FnMut() -> redkeep::Result<()>,
    ) -> Error {
        for _ in 0..100 {
            keep.disconnect();
            self.take_all();
            if let Err(error) = case.call("without descriptors", PATIENCE, &mut *call) {
                return error;
            }
        }
        panic!("there is always another descriptor");
    }
}

impl Drop for Exhausted {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &self.before) };
    }
}

/// Leaves so many more bytes of memory than this process has.
struct Cramped(libc::rlimit);

impl Cramped {
    fn new(more: u64) -> Cramped {
        let sizes = std::fs::read_to_string("/proc/self/statm").expect("Linux");
        let pages = sizes.split(' ').next().expect("a number").parse::<u64>();
        let mut before = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: plain system calls on a live struct, in a process of the test's own.
        unsafe {
            assert_eq!(libc::getrlimit(libc::RLIMIT_AS, &mut before), 0);
            let page = libc::sysconf(libc::_SC_PAGESIZE) as u64;
            let little = libc::rlimit {
                rlim_cur: pages.expect("a number") * page + more,
                ..before
            };
            assert_eq!(libc::setrlimit(libc::RLIMIT_AS, &little), 0);
        }
        Cramped(before)
    }
}

impl Drop for Cramped {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { libc::setrlimit(libc::RLIMIT_AS, &self.0) };
    }
}

/// The system's fault, told as such; nothing was sent.
fn refused(case: &Case, what: &str, error: &Error) {
    if (error.kind(), error.outcome()) != (ErrorKind::System, Outcome::NotSent) {
        case.mismatch(format!("{what}: {error:?}"));
    }
}

#[test]
fn without_descriptors_calls_fail_and_go_on_when_there_are_some() {
    let name = "faults::limits::without_descriptors_calls_fail_and_go_on_when_there_are_some";
    on_each(name, QUIET, exhaust);
}

fn exhaust(case: &Case, shape: Shape) {
    let place = Place::start(shape, &[]);
    let before = Baseline::now();
    let open = || place.try_open(|config| config.command_timeout(TIME));
    let keep = open().expect("a config of ours");
    wait_until(PATIENCE * 3, || keep.set("n", 0).is_ok());
    let subscriber = keep.subscriber();
    let mut n = 0;
    for round in 0..10 {
        let mut none_left = Exhausted::new();
        // What is open goes on.
        let get = || keep.get::<i64>("n");
        assert_eq!(case.call("get", TIME, get).unwrap(), Some(n));
        let mut incr = || keep.incr("n", 1).map(|_| n += 1);
        let error = none_left.until_refused(case, &keep, &mut incr);
        refused(case, "incr", &error);
        let mut lease = || keep.client().dedicated().map(drop);
        let error = none_left.until_refused(case, &keep, &mut lease);
        refused(case, "lease", &error);
        let mut ping = || open()?.ping();
        let error = none_left.until_refused(case, &keep, &mut ping);
        // Over TLS, not even the file of the authorities can be read.
        match error
            .message()
            .contains("cannot be read: Too many open files")
        {
            true => {}
            false => refused(case, "open", &error),
        }
        let mut own = || Manager::open("embedded://").map(drop);
        none_left.until_refused(case, &keep, &mut own);
        // On the connection that it has, or on none.
        let mut add = || subscriber.add("news");
        if round == 0 {
            none_left.until_refused(case, &keep, &mut add);
        }
        drop(none_left);
        // It was not the server's fault, so it is not taken for one that is down.
        let back = case.call("incr", TIME, || keep.incr("n", 1)).unwrap();
        n += 1;
        assert_eq!(back, n, "what was refused was executed, or the reverse");
        wait_until(PATIENCE, || add().is_ok());
        subscriber.remove("news").unwrap();
    }
    drop(subscriber);
    keep.close(PATIENCE).unwrap();
    drop(keep);
    before.is_back();
}

#[test]
fn without_threads_what_needs_one_fails_and_works_when_there_are_some() {
    let name = "faults::limits::without_threads_what_needs_one_fails_and_works_when_there_are_some";
    let Some(case) = Case::alone(name) else {
        return;
    };
    let server = Server::start();
    let before = Baseline::now();
    let refused = |what: &str, error: Error| {
        if !matches!(error.kind(), ErrorKind::System | ErrorKind::Resolve) {
            case.mismatch(format!("{what}: {error:?}"));
        }
    };
    for lines in [0, 2] {
        let url = format!("{}?shared_lines={lines}", server.url());
        // Not even the first manager of the process can be had.
        refuse_threads(true);
        refused("open", case.call("open", TIME, || open(&url)).unwrap_err());
        // Nor one that needs no threads of its own: there is still the one that makes the slots of all.
        let bare = format!("{url}&health_check_interval=0&cleanup_interval=0");
        refused("bare", case.call("open", TIME, || open(&bare)).unwrap_err());
        refuse_threads(false);
        let keep = open(&url).unwrap();
        for n in 0..10 {
            refuse_threads(true);
            // Calls need none.
            let incr = || keep.incr("n", 1);
            case.call("incr", TIME, incr).unwrap();
            refused("open", case.call("open", TIME, || open(&url)).unwrap_err());
            let lookup = || keep.add_node_pool(&format!("redis://hangs.example:{}", n + 1));
            refused("lookup", case.call("lookup", TIME, lookup).unwrap_err());
            let subscriber = keep.subscriber();
            let add = || subscriber.add("news");
            let added = case.call("subscribe", TIME, add);
            if n == 0 {
                refused("subscribe", added.unwrap_err());
            }
            let lock = keep.lock(&format!("held {lines} {n}"));
            let held = case.call("lock", TIME, || lock.acquire(Duration::ZERO));
            match held {
                Ok(held) if n > 0 => drop(held),
                Ok(_) => case.mismatch("a lock that is not renewed".to_owned()),
                Err(error) => refused("lock", error),
            }
            let consumer = keep
                .consumer("l")
                .register_channel("orders", ChannelOptions::new())
                .register_handler("orders", |_: &Received| Ok::<(), String>(()));
            let start = || consumer.start_with(Duration::ZERO, Duration::from_millis(50));
            refused("consumer", case.call("consumer", TIME, start).unwrap_err());
            refuse_threads(false);

            case.call("subscribe", TIME, add).unwrap();
            drop(subscriber);
            let held = case.call("lock", TIME, || lock.acquire(Duration::from_millis(500)));
            // One whose renewal could not be started must not be left behind.
            assert!(held.unwrap().release().unwrap());
            start().unwrap();
            consumer.stop(PATIENCE).unwrap();
        }
        keep.close(PATIENCE).unwrap();
        server.ask::<()>(&["FLUSHALL"]);
    }
    before.is_back();
    case.end(QUIET);
}

#[test]
fn a_reply_that_announces_more_than_there_is_memory_is_an_error() {
    let name = "faults::limits::a_reply_that_announces_more_than_there_is_memory_is_an_error";
    let Some(case) = Case::alone(name) else {
        return;
    };
    let before = Baseline::now();
    let server = Server::start();
    let steady = open(&server.url()).unwrap();
    steady.set("n", 1).unwrap();
    for announced in ["$500000000\r\nabc", "*2\r\n:1\r\n$500000000\r\nabc"] {
        let peer = Peer::after_handshake(move |_| announced);
        for lines in [0, 2] {
            let keep = open(&format!("{}?shared_lines={lines}", peer.url())).unwrap();
            keep.ping().unwrap();
            let cramped = Cramped::new(200 << 20);
            for _ in 0..3 {
                let get = || keep.command::<Vec<u8>>(("GET", "a"));
                let error = case.call("get", TIME, get).unwrap_err();
                if (error.kind(), error.outcome()) != (ErrorKind::ReplyTooLarge, Outcome::Unknown) {
                    case.mismatch(format!("{announced:?}: {error:?}"));
                }
                assert!(error.message().starts_with("no memory for"), "{error}");
                // Who wants no more than there is notices nothing.
                let get = || steady.get::<i64>("n");
                assert_eq!(case.call("get", TIME, get).unwrap(), Some(1));
            }
            drop(cramped);
            keep.close(PATIENCE).unwrap();
        }
    }
    steady.close(PATIENCE).unwrap();
    drop((steady, server));
    before.is_back();
    case.end(QUIET);
}
