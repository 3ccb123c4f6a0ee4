//! A cluster of six real servers: three primaries, each with a replica.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::Value;

use super::lines::with_lines_as_asked;
use super::server::{Role, Server};
use super::wait::wait_until;

/// A cluster takes seconds to agree on anything, more on a loaded machine.
const AGREEMENT: Duration = Duration::from_secs(60);

/// Held by whoever has a cluster, or sentinels: six servers at a time are enough for a small machine.
pub(super) struct Turn(());

static TAKEN: Mutex<bool> = Mutex::new(false);
static FREE: Condvar = Condvar::new();

impl Turn {
    pub(super) fn take() -> Turn {
        let mut taken = is_taken();
        while *taken {
            taken = FREE.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        *taken = true;
        Turn(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *is_taken() = false;
        FREE.notify_one();
    }
}

fn is_taken() -> MutexGuard<'static, bool> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

pub struct Cluster {
    /// The first three begin as primaries; number 3 is the replica of number 0, and so on.
    pub nodes: Vec<Server>,
    _turn: Turn,
}

impl Cluster {
    /// Its nodes take a second without an answer for a death.
    pub fn start() -> Cluster {
        Cluster::with(&[])
    }

    /// Three primaries without replicas: it is there in a third of the time.
    pub fn small() -> Cluster {
        Cluster::of(3, &[])
    }

    /// With options for each node, as on the command line.
    pub fn with(options: &[&str]) -> Cluster {
        Cluster::of(6, options)
    }

    /// Three primaries, and as many replicas as there are nodes beyond that.
    pub fn of(count: usize, options: &[&str]) -> Cluster {
        let turn = Turn::take();
        let mut all = vec!["--cluster-node-timeout", "1000"];
        all.extend(["--repl-diskless-sync-delay", "0"]);
        // A replica takes part in an election however long it has been out of touch.
        all.extend(["--cluster-replica-validity-factor", "0"]);
        all.extend(options);
        let nodes = (0..count)
            .map(|_| Server::of(Role::ClusterNode, &all, ""))
            .collect();
        let cluster = Cluster { nodes, _turn: turn };
        cluster.join_up();
        cluster
    }

    fn join_up(&self) {
        let nodes = &self.nodes;
        for (i, node) in nodes.iter().enumerate() {
            node.ask::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &(i + 1).to_string()]);
        }
        for (i, node) in nodes[..3].iter().enumerate() {
            let (first, last) = (i * 16384 / 3, (i + 1) * 16384 / 3 - 1);
            let range = [first.to_string(), last.to_string()];
            node.ask::<()>(&["CLUSTER", "ADDSLOTSRANGE", &range[0], &range[1]]);
        }
        for node in &nodes[1..] {
            let (port, bus) = (nodes[0].port().to_string(), nodes[0].bus_port());
            node.ask::<()>(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
        }
        wait_until(AGREEMENT, || {
            nodes.iter().all(|node| known(node) == nodes.len())
        });
        for (replica, primary) in nodes[3..].iter().zip(nodes) {
            let id = primary.ask::<String>(&["CLUSTER", "MYID"]);
            // It may not have heard yet that the other is a primary.
            wait_until(AGREEMENT, || {
                let replicate = redis::cmd("CLUSTER")
                    .arg("REPLICATE")
                    .arg(&id)
                    .query::<()>(&mut replica.admin());
                replicate.is_ok()
            });
        }
        self.settle();
    }

    /// Waits until every node that runs says the same, and all replicas follow their primaries.
    pub fn settle(&self) {
        wait_until(AGREEMENT, || {
            let alive = || self.nodes.iter().filter(|node| node.runs());
            let maps: Vec<_> = alive().map(owners).collect();
            let ports: BTreeSet<u16> = alive().map(Server::port).collect();
            alive().all(|node| listed(node) == ports)
                && alive().all(|node| node.info_of_cluster("cluster_state") == "ok")
                && maps.windows(2).all(|two| two[0] == two[1])
                && alive().all(|node| {
                    node.info("replication", "role") == "master"
                        || node.info("replication", "master_link_status") == "up"
                })
        });
    }

    /// `redis+cluster://` with the first three as seeds.
    pub fn url(&self) -> String {
        let seeds: Vec<String> = self.nodes[..3].iter().map(Server::best_address).collect();
        let tls = if self.nodes[0].port() == self.nodes[0].best_port() {
            ""
        } else {
            "s"
        };
        with_lines_as_asked(format!("redis{tls}+cluster://{}", seeds.join(",")))
    }

    /// The number of the primary of a slot, by what the first living node says.
    pub fn primary_of(&self, slot: u16) -> usize {
        let asked = self.nodes.iter().find(|node| node.runs());
        let owners = owners(asked.expect("one that lives"));
        let owner = owners
            .iter()
            .find(|(first, last, _)| (*first..=*last).contains(&slot));
        self.number(owner.expect("every slot has an owner").2)
    }

    /// The number of a replica of this primary that runs.
    pub fn replica_of(&self, primary: usize) -> usize {
        let port = self.nodes[primary].port().to_string();
        let follows = |node: &Server| {
            node.runs()
                && node.info("replication", "role") == "slave"
                && node.info("replication", "master_port") == port
        };
        let found = self.nodes.iter().position(follows);
        found.expect("a replica of that primary")
    }

    pub fn number(&self, port: u16) -> usize {
        let found = self.nodes.iter().position(|node| node.port() == port);
        found.expect("a node of this cluster")
    }

    /// Hands a slot over with all its keys, as redis-cli does it.
    pub fn move_slot(&self, slot: u16, from: usize, to: usize) {
        self.begin_to_move(slot, from, to);
        self.move_keys(slot, from, to);
        self.end_move(slot, to);
    }

    /// From here on the old owner answers ASK for keys that it does not have.
    pub fn begin_to_move(&self, slot: u16, from: usize, to: usize) {
        let slot = slot.to_string();
        let (source, target) = (self.id(from), self.id(to));
        self.nodes[to].ask::<()>(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source]);
        self.nodes[from].ask::<()>(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target]);
    }

    pub fn move_keys(&self, slot: u16, from: usize, to: usize) {
        let (slot, port) = (slot.to_string(), self.nodes[to].port().to_string());
        let mut source = self.nodes[from].admin();
        loop {
            let keys: Vec<String> = redis::cmd("CLUSTER")
                .arg(&["GETKEYSINSLOT", &slot, "100"])
                .query(&mut source)
                .expect("keys");
            if keys.is_empty() {
                return;
            }
            redis::cmd("MIGRATE")
                .arg(&["127.0.0.1", &port, "", "0", "5000", "KEYS"])
                .arg(keys)
                .query::<()>(&mut source)
                .expect("the keys go over");
        }
    }

    pub fn end_move(&self, slot: u16, to: usize) {
        let (slot, target) = (slot.to_string(), self.id(to));
        let others = (0..self.nodes.len()).filter(|&i| i != to);
        // The new owner first, or the slot has none for a moment.
        for node in [to].into_iter().chain(others) {
            let node = &self.nodes[node];
            if node.runs() && node.info("replication", "role") == "master" {
                node.ask::<()>(&["CLUSTER", "SETSLOT", &slot, "NODE", &target]);
            }
        }
    }

    pub fn id(&self, node: usize) -> String {
        self.nodes[node].ask(&["CLUSTER", "MYID"])
    }

    /// CLUSTER FAILOVER: the replica takes over in good order. Returns when it has.
    pub fn fail_over_to(&self, replica: usize) {
        let node = &self.nodes[replica];
        wait_until(AGREEMENT, || {
            // An election may be lost; it is held again.
            let _ = redis::cmd("CLUSTER")
                .arg("FAILOVER")
                .query::<()>(&mut node.admin());
            super::came_true(Duration::from_secs(3), || {
                node.info("replication", "role") == "master"
            })
        });
    }
}

impl Server {
    fn bus_port(&self) -> String {
        self.ask::<Vec<String>>(&["CONFIG", "GET", "cluster-port"])[1].clone()
    }

    pub fn info_of_cluster(&self, field: &str) -> String {
        let text: String = self.ask(&["CLUSTER", "INFO"]);
        text.lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
            .unwrap_or_default()
            .to_owned()
    }
}

/// How many nodes it knows and has shaken hands with.
fn known(node: &Server) -> usize {
    let text: String = node.ask(&["CLUSTER", "NODES"]);
    let handshaking = |line: &&str| line.contains("handshake") || line.contains("noaddr");
    text.lines().filter(|line| !handshaking(line)).count()
}

/// The ports of all that this node lists, primaries and replicas.
fn listed(node: &Server) -> BTreeSet<u16> {
    let rows: Vec<Vec<Value>> = node.ask(&["CLUSTER", "SLOTS"]);
    let nodes = rows.iter().flat_map(|row| &row[2..]);
    nodes
        .map(|node| match node {
            Value::Array(cells) => redis::from_redis_value_ref(&cells[1]).expect("a port"),
            other => panic!("{other:?}"),
        })
        .collect()
}

/// First slot, last slot, port of the primary, by what this node says.
fn owners(node: &Server) -> Vec<(u16, u16, u16)> {
    let rows: Vec<Vec<Value>> = node.ask(&["CLUSTER", "SLOTS"]);
    let number = |value: &Value| redis::from_redis_value_ref::<u16>(value).expect("a number");
    let mut owners: Vec<_> = rows
        .iter()
        .map(|row| {
            let Value::Array(primary) = &row[2] else {
                panic!("{row:?}");
            };
            (number(&row[0]), number(&row[1]), number(&primary[1]))
        })
        .collect();
    owners.sort();
    owners
}

/// The slot of a key, by the book: CRC16 (XMODEM) of its hash tag.
pub fn slot(key: &str) -> u16 {
    let tag = key
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'))
        .map(|(tag, _)| tag)
        .filter(|tag| !tag.is_empty());
    let mut crc = 0u16;
    for byte in tag.unwrap_or(key).bytes() {
        crc ^= u16::from(byte) << 8;
        for _ in 0..8 {
            crc = (crc << 1) ^ if crc & 0x8000 != 0 { 0x1021 } else { 0 };
        }
    }
    crc % 16384
}

/// A key with this beginning that lies in one of the slots.
pub fn key_in(slots: std::ops::Range<u16>, beginning: &str) -> String {
    let keys = (0..).map(|i| format!("{beginning}{i}"));
    keys.into_iter()
        .find(|key| slots.contains(&slot(key)))
        .expect("an endless search")
}
