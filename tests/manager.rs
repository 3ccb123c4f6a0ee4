//! The manager: opening, nodes, health, status, life and death.

mod support;

mod manager {
    mod ends;
    mod nodes;
    mod opening;
    mod telling;
}

use std::thread;
use std::time::{Duration, Instant};

use redkeep::{Config, ErrorKind, Manager, NodeState, Outcome};
use support::{
    Fault, PATIENCE, Peer, Proxy, Server, Way, alone, descriptors, is_alone, myself, threads,
    wait_until,
};

fn open(server: &Server) -> Manager {
    Manager::open(&server.url()).expect("a url of ours")
}

fn with(url: &str, change: impl FnOnce(Config) -> Config) -> Manager {
    Manager::open_config(&change(Config::new().url(url))).expect("a config of ours")
}

/// A port that nobody listens on.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("redis://{}", listener.local_addr().unwrap())
}
