//! Commands that change the state of their connection: refused where connections are shared, allowed on a lease, and
//! never felt by the next one who gets that connection.

mod support;

mod stateful {
    mod lives;
    mod pushes;
    mod state;
}

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redkeep::{Config, ErrorKind, Lease, Manager, Outcome};
use support::{Fault, PATIENCE, Proxy, Server, Way, collect_logs, logged, wait_until};

fn open(server: &Server) -> Manager {
    Manager::open(&server.url()).expect("a url of ours")
}

fn opened(keep: &Manager) -> u64 {
    keep.fetch_pool_status().nodes[0].pools[0].opened
}

fn closed(keep: &Manager) -> u64 {
    keep.fetch_pool_status().nodes[0].pools[0].closed
}
