//! Real sentinels over a primary and two replicas: the primary is found, and found again, whoever it is.

mod support;

mod sentinel {
    mod failovers;
    mod routes;
    mod silence;
}

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use redkeep::{Config, ErrorKind, Manager, NodeRole, Outcome, ReadFrom, TopologyKind};
use support::{
    Answer, End, Fault, PATIENCE, Peer, Proxy, Punctual, Sentinels, Server, Way, polite,
    takes_at_most, wait_until,
};

fn open(all: &Sentinels) -> Manager {
    with(all, |config| config)
}

fn with(all: &Sentinels, change: impl FnOnce(Config) -> Config) -> Manager {
    Manager::open_config(&change(Config::new().url(all.url()))).expect("a config of ours")
}
