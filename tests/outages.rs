//! Servers that stop, freeze, come back, refuse or hang up: what callers are told, what is sent again, and how often.

mod support;

mod outages {
    mod fates;
    mod freezes;
    mod refusals;
    mod restarts;
}

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use redkeep::{Config, Error, ErrorKind, Manager, NodeState, Outcome, SetOptions};
use support::{Answer, Fault, PATIENCE, Pauses, Peer, Proxy, Server, Way, polite, wait_until};

fn with(url: &str, change: impl FnOnce(Config) -> Config) -> Manager {
    Manager::open_config(&change(Config::new().url(url))).expect("a config of ours")
}

fn open(url: &str) -> Manager {
    with(url, |config| config)
}

fn what(error: &Error) -> (ErrorKind, Outcome) {
    (error.kind(), error.outcome())
}
