//! The near cache: reads without the network, and never an old value where a new one is promised.

mod support;

mod near {
    mod changes;
    mod losses;
    mod reading;
}

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use redkeep::{Config, ErrorKind, Manager, NearCache, ReadFrom, Script};
use support::{
    Cluster, Fault, PATIENCE, Proxy, Sentinels, Server, Way, alone, collect_logs, key_in, logged,
    slot, threads, wait_until,
};

const ROOM: usize = 16 << 20;

/// With time enough for the first read to wait for the server's word on a loaded machine.
fn with(url: &str, change: impl FnOnce(Config) -> Config) -> Manager {
    let config = Config::new().url(url).command_timeout(PATIENCE * 2);
    Manager::open_config(&change(config)).expect("a config of ours")
}

fn open(url: &str) -> Manager {
    with(url, |config| config)
}

fn text(near: &NearCache, key: &str) -> Option<String> {
    near.get(key).unwrap()
}

fn hits(near: &NearCache) -> u64 {
    near.stats().unwrap().hits
}

fn misses(near: &NearCache) -> u64 {
    near.stats().unwrap().misses
}

fn set(server: &Server, key: &str, value: &str) {
    server.ask::<()>(&["SET", key, value]);
}

/// The connections on which the server tells of changes.
fn trackers(server: &Server) -> Vec<String> {
    let list: String = server.ask(&["CLIENT", "LIST"]);
    let flags = |line: &str| {
        let flags = line.split(' ').find_map(|word| word.strip_prefix("flags="));
        flags.is_some_and(|flags| flags.contains('t'))
    };
    let lines = list.lines().filter(|line| flags(line));
    let ids = lines.filter_map(|line| line.strip_prefix("id=")?.split(' ').next());
    ids.map(str::to_owned).collect()
}
