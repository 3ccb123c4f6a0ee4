//! What a manager can tell about itself: its nodes and pools, and its counts.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::dispatch::Dispatch;
use crate::node::{Node, SharedLine, State};
use crate::stats::{Alike, Counter, Counters, Exposition, Histogram, Times, labels};
use crate::topology::{Heard, Map, Shape};

/// The state of every pool of every node. Serialises as the JSON that C gets from `rk_manager_fetch_pool_status`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PoolStatus {
    /// Whether health checks run.
    pub health_checks: bool,
    /// Whether idle connections are cleaned up.
    pub cleanup: bool,
    /// What the nodes are to one another.
    pub topology: TopologyKind,
    /// The nodes in the order in which they were added; the configured one first.
    pub nodes: Vec<NodeStatus>,
    /// Behind sentinels, the name under which they know the primary.
    pub master_name: Option<String>,
    /// The sentinels and what they said last; empty before they were first asked.
    pub sentinels: Vec<SentinelStatus>,
}

/// What the nodes of a manager are to one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TopologyKind {
    /// One server, and whichever were added.
    Standalone,
    /// A primary and its replicas, watched by sentinels.
    Sentinel,
    /// Primaries that share the slots among them, and their replicas.
    Cluster,
}

/// What a node does for its manager at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeRole {
    /// It takes reads and writes: the configured node, the sentinels' primary, a primary of the cluster.
    Primary,
    /// It follows a primary.
    Replica,
    /// It was added by name and is spoken to by name.
    Independent,
}

/// One sentinel.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SentinelStatus {
    /// `host:port`
    pub address: String,
    /// The primary that it named last.
    pub primary: Option<String>,
    /// Why it named none.
    pub error: Option<String>,
}

/// One node.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct NodeStatus {
    /// `host:port`, or the path of its socket.
    pub address: String,
    /// What it does.
    pub role: NodeRole,
    /// In a cluster, the slots that it serves, as the first and the last of each stretch.
    pub slots: Vec<(u16, u16)>,
    /// How it stands.
    pub state: NodeState,
    /// The server's version, once it is known.
    pub version: Option<String>,
    /// How long its last health check took, or, of a node whose lines are in use, the quickest of the last hundred or so
    /// batches; none before the first one.
    pub latency: Option<Duration>,
    /// What went wrong last, however long ago.
    pub last_error: Option<String>,
    /// Its pools, `pools_per_node` of them.
    pub pools: Vec<PoolState>,
    /// Its shared lines, `shared_lines` of them.
    pub lines: Vec<LineState>,
    /// How long a batch on a shared line takes at present, the way to the server and back included: a mean of the last
    /// few. None before the first.
    pub batch_time: Option<Duration>,
    /// How long callers waited for a connection of its pools, of those who had to wait at all.
    pub pool_waits: Histogram,
    /// Single commands so far that took a connection from a pool. Those that went by a line are counted there.
    pub calls_by_pool: u64,
}

/// How a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeState {
    /// Nothing has been sent to it yet.
    Untried,
    /// It answered last time.
    Up,
    /// It could not be reached; calls to it fail at once until it answers a health check.
    Down,
    /// Its pools were closed.
    Closed,
}

/// One pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolState {
    /// How many connections it holds at most.
    pub size: usize,
    /// Connections in use at this moment.
    pub in_use: usize,
    /// Open connections that wait to be used.
    pub idle: usize,
    /// Callers that wait for a connection of the node: they take the first that comes back, of whichever pool.
    pub waiting: usize,
    /// Connections opened so far.
    pub opened: u64,
    /// Connections closed so far.
    pub closed: u64,
    /// For how long the oldest of its leases has been held; none if nothing is leased.
    pub oldest_lease: Option<Duration>,
}

/// One shared line: a connection that all threads use at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LineState {
    /// Whether its connection is open at this moment.
    pub open: bool,
    /// Commands that wait to be sent.
    pub waiting: usize,
    /// Times that commands were sent; those of several callers are sent together.
    pub batches: u64,
    /// Commands so far. Divided by `batches`: how many went together.
    pub commands: u64,
    /// Connections opened so far.
    pub opened: u64,
    /// Connections closed so far.
    pub closed: u64,
}

impl TopologyKind {
    fn name(self) -> &'static str {
        match self {
            TopologyKind::Standalone => "standalone",
            TopologyKind::Sentinel => "sentinel",
            TopologyKind::Cluster => "cluster",
        }
    }
}

impl NodeRole {
    fn name(self) -> &'static str {
        match self {
            NodeRole::Primary => "primary",
            NodeRole::Replica => "replica",
            NodeRole::Independent => "independent",
        }
    }
}

impl SentinelStatus {
    fn of(heard: Heard) -> SentinelStatus {
        SentinelStatus {
            address: heard.sentinel,
            primary: heard.said.clone().ok(),
            error: heard.said.err(),
        }
    }

    fn json(&self) -> Value {
        json!({ "address": self.address, "primary": self.primary, "error": self.error })
    }
}

impl NodeState {
    fn name(self) -> &'static str {
        match self {
            NodeState::Untried => "untried",
            NodeState::Up => "up",
            NodeState::Down => "down",
            NodeState::Closed => "closed",
        }
    }
}

impl PoolStatus {
    pub(crate) fn of(dispatch: &Dispatch) -> PoolStatus {
        let topology = &dispatch.topology;
        let (health_checks, cleanup) = topology.fleet.tasks();
        let map = topology.map();
        let (kind, master_name, heard) = match topology.shape() {
            Shape::Standalone => (TopologyKind::Standalone, None, Vec::new()),
            Shape::Cluster => (TopologyKind::Cluster, None, Vec::new()),
            Shape::Sentinel(name, heard) => (TopologyKind::Sentinel, Some(name.to_owned()), heard),
        };
        let nodes = topology.fleet.nodes();
        PoolStatus {
            health_checks,
            cleanup,
            topology: kind,
            nodes: nodes
                .iter()
                .map(|node| NodeStatus::of(node, &map))
                .collect(),
            master_name,
            sentinels: heard.into_iter().map(SentinelStatus::of).collect(),
        }
    }

    pub(crate) fn empty() -> PoolStatus {
        PoolStatus {
            health_checks: false,
            cleanup: false,
            topology: TopologyKind::Standalone,
            nodes: Vec::new(),
            master_name: None,
            sentinels: Vec::new(),
        }
    }

    fn json(&self) -> Value {
        json!({
            "health_checks": self.health_checks,
            "cleanup": self.cleanup,
            "topology": self.topology.name(),
            "nodes": self.nodes.iter().map(NodeStatus::json).collect::<Vec<_>>(),
            "master_name": self.master_name,
            "sentinels": self.sentinels.iter().map(SentinelStatus::json).collect::<Vec<_>>(),
        })
    }
}

impl NodeStatus {
    fn of(node: &Arc<Node>, map: &Map) -> NodeStatus {
        let detail = node.condition.detail();
        let (_, waiting) = node.permits.count();
        NodeStatus {
            address: node.name.to_string(),
            role: match map.has(node) {
                true if map.is_primary(node) => NodeRole::Primary,
                true => NodeRole::Replica,
                false => NodeRole::Independent,
            },
            slots: map.slots_of(node),
            state: match node.condition.state() {
                State::Untried => NodeState::Untried,
                State::Up => NodeState::Up,
                State::Down => NodeState::Down,
                State::Closed => NodeState::Closed,
            },
            version: detail.version,
            latency: detail.latency,
            last_error: detail.last_error.map(|error| error.to_string()),
            pools: (node.pools.iter())
                .map(|pool| PoolState::of(pool, waiting))
                .collect(),
            lines: node.lines.iter().map(LineState::of).collect(),
            batch_time: node.lines.usual(),
            pool_waits: node.permits.waits.told(),
            calls_by_pool: node.lines.by_pool.get(),
        }
    }

    fn json(&self) -> Value {
        json!({
            "address": self.address,
            "role": self.role.name(),
            "slots": self.slots,
            "state": self.state.name(),
            "version": self.version,
            "latency_ms": self.latency.map(milliseconds),
            "last_error": self.last_error,
            "pools": self.pools.iter().map(PoolState::json).collect::<Vec<_>>(),
            "lines": self.lines.iter().map(LineState::json).collect::<Vec<_>>(),
            "batch_ms": self.batch_time.map(milliseconds),
            "pool_waits": self.pool_waits.json(),
            "calls_by_pool": self.calls_by_pool,
        })
    }
}

impl PoolState {
    fn of(pool: &crate::node::Pool, waiting: usize) -> PoolState {
        let in_use = pool.in_use();
        PoolState {
            size: pool.size,
            in_use,
            idle: (pool.counters.open() as usize).saturating_sub(in_use),
            waiting,
            opened: pool.counters.opened.load(Ordering::Relaxed),
            closed: pool.counters.closed.load(Ordering::Relaxed),
            oldest_lease: pool.leases.oldest(),
        }
    }

    fn json(&self) -> Value {
        json!({
            "size": self.size,
            "in_use": self.in_use,
            "idle": self.idle,
            "waiting": self.waiting,
            "opened": self.opened,
            "closed": self.closed,
            "oldest_lease_ms": self.oldest_lease.map(milliseconds),
        })
    }
}

impl LineState {
    fn of(shared: &SharedLine) -> LineState {
        let tally = shared.line.tally();
        LineState {
            open: shared.counters.open() > 0,
            waiting: tally.waiting,
            batches: tally.batches,
            commands: tally.commands,
            opened: shared.counters.opened.load(Ordering::Relaxed),
            closed: shared.counters.closed.load(Ordering::Relaxed),
        }
    }

    fn json(&self) -> Value {
        json!({
            "open": self.open,
            "waiting": self.waiting,
            "batches": self.batches,
            "commands": self.commands,
            "opened": self.opened,
            "closed": self.closed,
        })
    }
}

impl Serialize for PoolStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json().serialize(serializer)
    }
}

impl Serialize for NodeStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json().serialize(serializer)
    }
}

impl Serialize for LineState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json().serialize(serializer)
    }
}

impl Serialize for PoolState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json().serialize(serializer)
    }
}

/// What one look at a node's health found.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Health {
    /// Whether it answered.
    pub healthy: bool,
    /// The server's version; none if it did not answer, or may not tell.
    pub version: Option<String>,
    /// How many clients are connected to it.
    pub connected_clients: Option<u64>,
    /// `master`, `slave` or `sentinel`, in the server's words.
    pub role: Option<String>,
    /// How long it took to answer a PING.
    pub latency: Option<Duration>,
    /// Why it is not healthy.
    pub error: Option<String>,
}

impl Serialize for Health {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let json = match &self.error {
            Some(error) => json!({ "status": "unhealthy", "error": error }),
            None => json!({
                "status": "healthy",
                "version": self.version,
                "connected_clients": self.connected_clients,
                "role": self.role,
                "latency_ms": self.latency.map(milliseconds),
            }),
        };
        json.serialize(serializer)
    }
}

/// A count's name, its meaning, and where it is.
type Count = (&'static str, &'static str, fn(&Counters) -> &Counter);

/// What is counted of a manager.
const COUNTS: [Count; 8] = [
    ("calls", "Commands begun.", |it| &it.calls),
    ("errors", "Commands that ended with an error.", |it| {
        &it.errors
    }),
    ("timeouts", "Commands that ended at their deadline.", |it| {
        &it.timeouts
    }),
    ("retries", "Times a command was sent again.", |it| {
        &it.retries
    }),
    (
        "redirects",
        "Times an answer sent a command to another node.",
        |it| &it.redirects,
    ),
    (
        "slow",
        "Commands that took longer than the property slow_call.",
        |it| &it.slow,
    ),
    ("swallowed", "Errors that the caller did not see.", |it| {
        &it.swallowed
    }),
    (
        "lock_timeouts",
        "Locks that were not to be had within the wait.",
        |it| &it.lock_timeouts,
    ),
];

fn sum(dispatch: Option<&Dispatch>, of: fn(&Counters) -> &Counter) -> u64 {
    dispatch.map_or(0, |dispatch| {
        of(&dispatch.counters).get() + of(&dispatch.leased).get()
    })
}

pub(crate) fn stats(dispatch: Option<&Dispatch>, enabled: bool) -> Value {
    let pools = dispatch.map_or_else(PoolStatus::empty, PoolStatus::of);
    let consumers = dispatch.map(|it| it.consumers.all()).unwrap_or_default();
    let near = dispatch.map(|it| it.near_caches.all()).unwrap_or_default();
    let lock_waits = dispatch.map_or_else(
        || Times::default().told(),
        |dispatch| dispatch.counters.lock_waits.told(),
    );
    let mut json = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "enabled": enabled,
        "lock_waits": lock_waits.json(),
        "pools": pools.json(),
        "near": near.iter().map(|it| it.as_json()).collect::<Vec<_>>(),
        "consumers": consumers.iter().map(|it| it.as_json()).collect::<Vec<_>>(),
    });
    for (name, _, of) in COUNTS {
        json[name] = sum(dispatch, of).into();
    }
    json
}

/// The same for Prometheus.
pub(crate) fn exposition(dispatch: Option<&Dispatch>, enabled: bool) -> Exposition {
    let mut to = Exposition::default();
    let is = |yes: bool| Some(i64::from(yes));
    let help = "Whether Redis is switched on and answered last time.";
    to.gauge("redkeep_enabled", help, "", is(enabled), Alike::TheSame);
    let Some(dispatch) = dispatch else {
        return to;
    };
    for (name, help, of) in COUNTS {
        let name = format!("redkeep_{name}_total");
        to.counter(&name, help, "", sum(Some(dispatch), of));
    }
    let help = "How long locks were waited for that were acquired.";
    let waits = dispatch.counters.lock_waits.told();
    waits.expose(&mut to, "redkeep_lock_wait_seconds", help, "");
    for node in PoolStatus::of(dispatch).nodes {
        node.expose(&mut to);
    }
    for reporter in (dispatch.near_caches.all().iter()).chain(&dispatch.consumers.all()) {
        reporter.expose(&mut to);
    }
    to
}

impl NodeStatus {
    fn expose(&self, to: &mut Exposition) {
        let node = ("node", self.address.as_str());
        let own = labels(&[node]);
        let number = |n: usize| i64::try_from(n).ok();
        let (role, state) = (("role", self.role.name()), ("state", self.state.name()));
        let all = labels(&[node, role, state]);
        let help = "1 for the role and the state that the node has.";
        to.gauge("redkeep_node", help, &all, Some(1), Alike::TheSame);
        let help = "How long its last health check took.";
        to.seconds("redkeep_node_latency_seconds", help, &own, self.latency);
        let help = "How long a batch on a shared line takes at present.";
        to.seconds("redkeep_node_batch_seconds", help, &own, self.batch_time);
        let help = "Single commands that took a connection from a pool.";
        to.counter("redkeep_pool_calls_total", help, &own, self.calls_by_pool);
        let waiting = self.pools.first().map_or(0, |pool| pool.waiting);
        let help = "Callers that wait for a connection.";
        let waiting = number(waiting);
        to.gauge("redkeep_pool_waiting", help, &own, waiting, Alike::TheSame);
        let help = "How long those waited for a connection who had to.";
        (self.pool_waits).expose(to, "redkeep_pool_wait_seconds", help, &own);
        for (i, pool) in self.pools.iter().enumerate() {
            let i = i.to_string();
            let own = labels(&[node, ("pool", &i)]);
            for (name, help, n) in [
                ("size", "Connections that it holds at most.", pool.size),
                ("in_use", "Connections in use.", pool.in_use),
                ("idle", "Open connections that wait to be used.", pool.idle),
            ] {
                let name = format!("redkeep_pool_{name}");
                to.gauge(&name, help, &own, number(n), Alike::TheSame);
            }
            let help = "Connections opened.";
            to.counter("redkeep_pool_opened_total", help, &own, pool.opened);
            let help = "Connections closed.";
            to.counter("redkeep_pool_closed_total", help, &own, pool.closed);
            let help = "For how long its oldest lease has been held.";
            let oldest = pool.oldest_lease;
            to.seconds("redkeep_pool_oldest_lease_seconds", help, &own, oldest);
        }
        for (i, line) in self.lines.iter().enumerate() {
            let i = i.to_string();
            let own = labels(&[node, ("line", &i)]);
            let open = Some(i64::from(line.open));
            let help = "Whether its connection is open.";
            to.gauge("redkeep_line_open", help, &own, open, Alike::TheSame);
            let help = "Commands that wait to be sent.";
            let waiting = number(line.waiting);
            to.gauge("redkeep_line_waiting", help, &own, waiting, Alike::TheSame);
            for (name, help, n) in [
                ("batches", "Times that commands were sent.", line.batches),
                ("commands", "Commands that went by it.", line.commands),
                ("opened", "Connections opened.", line.opened),
                ("closed", "Connections closed.", line.closed),
            ] {
                to.counter(&format!("redkeep_line_{name}_total"), help, &own, n);
            }
        }
    }
}

/// With three decimals, which is a microsecond.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
