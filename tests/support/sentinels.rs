//! Three real sentinels that look after a primary with two replicas.

use std::time::Duration;

use super::cluster::Turn;
use super::lines::with_lines_as_asked;
use super::server::{Role, Server, speaks_tls};
use super::wait::wait_until;

const AGREEMENT: Duration = Duration::from_secs(60);

pub struct Sentinels {
    pub sentinels: Vec<Server>,
    /// Number 0 begins as the primary.
    pub nodes: Vec<Server>,
    _turn: Turn,
}

impl Sentinels {
    /// Half a second without an answer is a death. The name of the primary is `mymaster`.
    pub fn start() -> Sentinels {
        Sentinels::with(&[], "")
    }

    /// With options for the nodes, as on the command line, and lines for the configuration of the sentinels.
    pub fn with(options: &[&str], lines: &str) -> Sentinels {
        Sentinels::of(3, 3, options, lines)
    }

    /// So many sentinels over so many nodes.
    pub fn of(watch: usize, count: usize, options: &[&str], lines: &str) -> Sentinels {
        let turn = Turn::take();
        let mut all = vec!["--repl-diskless-sync-delay", "0"];
        all.extend(["--repl-ping-replica-period", "1"]);
        all.extend(options);
        let nodes: Vec<Server> = (0..count).map(|_| Server::with(&all)).collect();
        let primary = nodes[0].best_port();
        for replica in &nodes[1..] {
            replica.ask::<()>(&["REPLICAOF", "127.0.0.1", &primary.to_string()]);
        }
        let follow = |node: &Server| node.info("replication", "master_link_status") == "up";
        wait_until(AGREEMENT, || nodes[1..].iter().all(follow));
        let own: &[&str] = if speaks_tls(options) { options } else { &[] };
        let quorum = watch / 2 + 1;
        let config = format!(
            "sentinel monitor mymaster 127.0.0.1 {primary} {quorum}\n\
             sentinel down-after-milliseconds mymaster 500\n\
             sentinel failover-timeout mymaster 3000\n\
             sentinel parallel-syncs mymaster 2\n{lines}\n"
        );
        let sentinels = (0..watch)
            .map(|_| Server::of(Role::Sentinel, own, &config))
            .collect();
        let it = Sentinels {
            sentinels,
            nodes,
            _turn: turn,
        };
        it.settle();
        it
    }

    /// Waits until every sentinel that runs knows all the others, and every node that runs, in its present role.
    pub fn settle(&self) {
        wait_until(AGREEMENT, || {
            let awake: Vec<&Server> = self.sentinels.iter().filter(|one| one.runs()).collect();
            let nodes = self.nodes.iter().filter(|one| one.runs()).count();
            let primaries: Vec<u16> = awake.iter().filter_map(|one| primary(one)).collect();
            let field = |one: &Server, name: &str| {
                let all: Vec<String> = one.ask(&["SENTINEL", "MASTER", "mymaster"]);
                let at = all.iter().position(|word| word == name);
                at.map(|at| all[at + 1].clone()).unwrap_or_default()
            };
            primaries.len() == awake.len()
                && primaries.windows(2).all(|two| two[0] == two[1])
                && awake.iter().all(|one| {
                    let of = |name| field(one, name).parse::<usize>().unwrap_or_default();
                    field(one, "flags") == "master"
                        && of("num-other-sentinels") + 1 >= awake.len()
                        && of("num-slaves") + 1 >= nodes
                })
                && self.nodes.iter().filter(|one| one.runs()).all(|node| {
                    match node.info("replication", "role").as_str() {
                        "master" => node.best_port() == primaries[0],
                        _ => {
                            node.info("replication", "master_port") == primaries[0].to_string()
                                && node.info("replication", "master_link_status") == "up"
                        }
                    }
                })
        });
    }

    /// `redis+sentinel://` with all three.
    pub fn url(&self) -> String {
        let all: Vec<String> = self.sentinels.iter().map(Server::best_address).collect();
        let tls = if self.nodes[0].port() == self.nodes[0].best_port() {
            ""
        } else {
            "s"
        };
        with_lines_as_asked(format!("redis{tls}+sentinel://{}/mymaster", all.join(",")))
    }

    /// The number of the primary, by what the first sentinel that runs says.
    pub fn primary(&self) -> usize {
        let port = self
            .sentinels
            .iter()
            .filter(|one| one.runs())
            .find_map(primary)
            .expect("a primary");
        let found = self.nodes.iter().position(|node| node.port() == port);
        found.expect("one of our nodes")
    }

    /// SENTINEL FAILOVER: another node takes over. Returns the number of the new primary when the sentinels name it.
    pub fn fail_over(&self) -> usize {
        let before = self.primary();
        wait_until(AGREEMENT, || {
            // Refused while the last failover is still under way, and when no replica is good enough yet.
            let _ = redis::cmd("SENTINEL")
                .arg(&["FAILOVER", "mymaster"])
                .query::<()>(&mut self.sentinels[0].admin());
            super::came_true(Duration::from_secs(2), || self.primary() != before)
        });
        self.primary()
    }
}

fn primary(sentinel: &Server) -> Option<u16> {
    let found: Option<(String, u16)> =
        sentinel.ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"]);
    found.map(|(_, port)| port)
}
