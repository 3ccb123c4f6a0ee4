//! A real cluster of three primaries and three replicas: every command finds its node, wherever its slot goes.

mod support;

mod cluster {
    mod calls;
    mod failovers;
    mod liars;
    mod lives;
    mod routes;
    mod silence;
}

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use redkeep::{Config, ErrorKind, Manager, NodeRole, Outcome, ReadFrom, Script, TopologyKind};
use support::{
    Answer, Cluster, End, PATIENCE, Peer, Punctual, Server, back, key_in, polite, slot,
    takes_at_most, wait_until,
};

fn open(cluster: &Cluster) -> Manager {
    with(cluster, |config| config)
}

fn with(cluster: &Cluster, change: impl FnOnce(Config) -> Config) -> Manager {
    Manager::open_config(&change(Config::new().url(cluster.url()))).expect("a config of ours")
}

const THIRDS: [std::ops::Range<u16>; 3] = [0..5461, 5461..10922, 10922..16384];

/// One key on each primary.
fn one_each(beginning: &str) -> [String; 3] {
    THIRDS.map(|slots| key_in(slots, beginning))
}
