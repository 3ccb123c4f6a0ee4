//! Where a case happens: one server, a cluster or a sentinel's primary, with TLS or without, directly or through proxies.

use std::time::Duration;

use redkeep::{Config, Manager, Result, redis};

use super::case::{Case, whole};
use crate::support::{
    Authority, Cluster, Fault, PATIENCE, Proxy, Sentinels, Server, Way, wait_until,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topology {
    Standalone,
    Cluster,
    Sentinel,
}

/// One combination.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    topology: Topology,
    tls: bool,
    lines: usize,
}

/// A test of this name, on each of the combinations that are chosen; calls may take `margin` beyond their deadlines.
#[track_caller]
pub fn on_each(name: &'static str, margin: Duration, try_it: fn(&Case, Shape)) {
    let Some(case) = Case::alone(name) else {
        return;
    };
    for shape in Shape::chosen(&case) {
        try_it(&case, shape);
        case.so_far();
    }
    case.end(margin);
}

impl Shape {
    /// The one that the seed picks, or all of them; of all, only that number of REDKEEP_FAULTS_ONLY, where it is given.
    pub fn chosen(case: &Case) -> Vec<Shape> {
        let mut all = Vec::new();
        for topology in [Topology::Standalone, Topology::Cluster, Topology::Sentinel] {
            for tls in [false, true] {
                for lines in [0, 2] {
                    all.push(Shape {
                        topology,
                        tls,
                        lines,
                    });
                }
            }
        }
        all.retain(|shape| cfg!(feature = "tls") || !shape.tls);
        let only = std::env::var("REDKEEP_FAULTS_ONLY").ok();
        let only = only.map(|n| n.parse::<usize>().expect("a number from 0"));
        match (whole(), only) {
            (true, None) => all,
            (true, Some(n)) => vec![all.swap_remove(n)],
            (false, _) => {
                let at = case.dice(0).below(all.len() as u64);
                vec![all.swap_remove(at as usize)]
            }
        }
    }

    pub fn is_cluster(&self) -> bool {
        self.topology == Topology::Cluster
    }

    pub fn has_sentinel(&self) -> bool {
        self.topology == Topology::Sentinel
    }
}

pub struct Place {
    pub shape: Shape,
    /// One before each node, where there are any.
    pub proxies: Vec<Proxy>,
    nodes: Nodes,
    authority: Option<Authority>,
}

enum Nodes {
    One(Box<Server>),
    Cluster(Cluster),
    Sentinel(Sentinels),
}

impl Place {
    /// With options for each node, as on the command line.
    pub fn start(shape: Shape, options: &[&str]) -> Place {
        println!("{shape:?}");
        let authority = shape.tls.then(|| {
            let authority = Authority::new();
            authority.issue("server", "DNS:localhost,IP:127.0.0.1", 30);
            authority
        });
        let files = authority.as_ref().map(|it| it.server("server", "no"));
        let mut all: Vec<&str> = files.iter().flatten().map(String::as_str).collect();
        all.extend(options);
        let nodes = match shape.topology {
            Topology::Standalone => Nodes::One(Box::new(match &files {
                Some(files) => Server::with_tls(files, options),
                None => Server::with(options),
            })),
            Topology::Cluster => {
                if shape.tls {
                    all.extend(["--tls-cluster", "yes"]);
                }
                Nodes::Cluster(Cluster::of(3, &all))
            }
            Topology::Sentinel => {
                if shape.tls {
                    all.extend(["--tls-replication", "yes"]);
                }
                Nodes::Sentinel(Sentinels::of(1, 1, &all, ""))
            }
        };
        Place {
            shape,
            proxies: Vec::new(),
            nodes,
            authority,
        }
    }

    /// With a proxy before each node: the cluster and the sentinel themselves name the proxies to their clients.
    pub fn behind_proxies(shape: Shape) -> Place {
        let mut place = Place::start(shape, &[]);
        let nodes = place.nodes().iter();
        place.proxies = nodes.map(|node| Proxy::to(node.best_address())).collect();
        let ports: Vec<String> = (place.proxies.iter())
            .map(|proxy| proxy.port().to_string())
            .collect();
        match &place.nodes {
            Nodes::One(_) => {}
            Nodes::Cluster(cluster) => announce(cluster, &ports),
            Nodes::Sentinel(all) => {
                let ask = |words: &[&str]| all.sentinels[0].ask::<()>(words);
                ask(&["SENTINEL", "REMOVE", "mymaster"]);
                ask(&[
                    "SENTINEL",
                    "MONITOR",
                    "mymaster",
                    "127.0.0.1",
                    &ports[0],
                    "1",
                ]);
            }
        }
        place
    }

    pub fn url(&self) -> String {
        let scheme = if self.shape.tls { "rediss" } else { "redis" };
        let to = |node: usize| match self.proxies.get(node) {
            Some(proxy) => proxy.port(),
            None => self.nodes()[node].best_port(),
        };
        let url = match &self.nodes {
            Nodes::One(_) => format!("{scheme}://localhost:{}", to(0)),
            Nodes::Cluster(_) => {
                let seeds: Vec<String> = (0..3).map(|n| format!("127.0.0.1:{}", to(n))).collect();
                format!("{scheme}+cluster://{}", seeds.join(","))
            }
            Nodes::Sentinel(all) => all.url(),
        };
        match &self.authority {
            Some(authority) => format!("{url}?tls_ca={}", authority.ca()),
            None => url,
        }
    }

    pub fn open(&self, change: impl FnOnce(Config) -> Config) -> Manager {
        self.try_open(change).expect("a config of ours")
    }

    pub fn try_open(&self, change: impl FnOnce(Config) -> Config) -> Result<Manager> {
        let config = Config::new().url(self.url()).shared_lines(self.shape.lines);
        Manager::open_config(&change(config))
    }

    pub fn nodes(&self) -> &[Server] {
        match &self.nodes {
            Nodes::One(server) => std::slice::from_ref(server),
            Nodes::Cluster(cluster) => &cluster.nodes,
            Nodes::Sentinel(all) => &all.nodes,
        }
    }

    pub fn nodes_mut(&mut self) -> &mut [Server] {
        match &mut self.nodes {
            Nodes::One(server) => std::slice::from_mut(server),
            Nodes::Cluster(cluster) => &mut cluster.nodes,
            Nodes::Sentinel(all) => &mut all.nodes,
        }
    }

    /// Whether the servers themselves would serve every key.
    pub fn is_whole(&self) -> bool {
        let nodes = self.nodes().iter();
        let mut nodes = nodes.filter(|_| self.shape.is_cluster());
        nodes.all(|node| {
            let said = node.try_ask::<String>(&["CLUSTER", "INFO"]);
            said.is_ok_and(|text| text.contains("cluster_state:ok"))
        })
    }

    pub fn set(&self, way: Way, fault: Fault) {
        self.proxies.iter().for_each(|proxy| proxy.set(way, fault));
    }

    /// Everything passes again; connections that lost bytes meanwhile are cut.
    pub fn heal(&self) {
        for proxy in &self.proxies {
            proxy.cut_all();
            proxy.heal();
        }
    }

    /// A list, wherever its key lives.
    #[track_caller]
    pub fn list(&self, key: &str) -> Vec<String> {
        let mut answers = (self.nodes().iter())
            .map(|node| node.try_ask::<Vec<String>>(&["LRANGE", key, "0", "-1"]));
        let moved = |answer: &redis::RedisResult<Vec<String>>| {
            (answer.as_ref()).is_err_and(|error| error.code() == Some("MOVED"))
        };
        match answers.find(|answer| !moved(answer)) {
            Some(Ok(list)) => list,
            Some(Err(error)) => panic!("{key}: {error}"),
            None => panic!("{key}: nobody has it"),
        }
    }
}

/// Has every node of a cluster named by its proxy's port.
fn announce(cluster: &Cluster, ports: &[String]) {
    for (node, port) in cluster.nodes.iter().zip(ports) {
        for setting in ["cluster-announce-port", "cluster-announce-tls-port"] {
            node.ask::<()>(&["CONFIG", "SET", setting, port]);
        }
    }
    let knows = |node: &Server| {
        let text: String = node.ask(&["CLUSTER", "NODES"]);
        ports.iter().all(|port| text.contains(&format!(":{port}@")))
    };
    wait_until(PATIENCE * 6, || cluster.nodes.iter().all(knows));
}
