//! Where the managers of a test live that does not care what is behind them: at a server of its own. With the
//! environment variable REDKEEP_TEST_TOPOLOGY the same tests run on a `cluster`, behind a `sentinel`, over `tls`, or by
//! the `pool` alone, without shared lines (`make test-topologies`). The first three take longer to start, so the tests
//! of a process share one, one test at a time, and each finds it empty.

#![allow(dead_code)]

use std::sync::{Mutex, MutexGuard, PoisonError};

use redkeep::{Manager, redis};

use crate::support::{Authority, Cluster, Sentinels, Server};

const TOPOLOGY: &str = "REDKEEP_TEST_TOPOLOGY";

pub struct Home(Place);

enum Place {
    Own(Server),
    WithoutLines(Server),
    Shared(MutexGuard<'static, Option<Shared>>),
}

struct Shared {
    kind: Kind,
    process: u32,
}

enum Kind {
    Cluster(Cluster),
    Sentinel(Sentinels),
    Tls(Server, Authority),
}

static SHARED: Mutex<Option<Shared>> = Mutex::new(None);

impl Home {
    /// A server of the test's own, whatever the environment says.
    pub fn alone() -> Home {
        Home(Place::Own(Server::start()))
    }

    pub fn start() -> Home {
        let Some(topology) = std::env::var(TOPOLOGY).ok().filter(|it| !it.is_empty()) else {
            return Home::alone();
        };
        if topology == "pool" {
            return Home(Place::WithoutLines(Server::start()));
        }
        let mut place = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        place
            .get_or_insert_with(|| Shared::start(&topology))
            .empty();
        Home(Place::Shared(place))
    }

    pub fn url(&self) -> String {
        match &self.0 {
            Place::Own(server) => server.url(),
            Place::WithoutLines(server) => format!("{}?shared_lines=0", server.url()),
            Place::Shared(shared) => shared.as_ref().expect("started").kind.url(),
        }
    }

    /// With parameters, `name=value&name=value`.
    pub fn url_with(&self, parameters: &str) -> String {
        let url = self.url();
        let joint = if url.contains('?') { '&' } else { '?' };
        format!("{url}{joint}{parameters}")
    }

    /// A manager with everything as it comes.
    pub fn open(&self) -> Manager {
        Manager::open(&self.url()).expect("a url of ours")
    }

    /// One question, wherever its key lives: `home.ask::<i64>(&["EXISTS", "a"])`.
    #[track_caller]
    pub fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut answers = self.nodes().iter().map(|node| node.try_ask(words));
        let moved = |answer: &redis::RedisResult<T>| {
            (answer.as_ref()).is_err_and(|error| error.code() == Some("MOVED"))
        };
        match answers.find(|answer| !moved(answer)) {
            Some(Ok(answer)) => answer,
            Some(Err(error)) => panic!("{words:?}: {error}"),
            None => panic!("{words:?}: nobody has this key"),
        }
    }
}

impl Home {
    /// All keys that match, wherever they are.
    pub fn keys(&self, pattern: &str) -> Vec<String> {
        let nodes = self.nodes().iter();
        let keys = nodes.flat_map(|node| node.ask::<Vec<String>>(&["KEYS", pattern]));
        keys.collect()
    }

    /// How often the servers ran that command.
    pub fn command_calls(&self, name: &str) -> u64 {
        let nodes = self.nodes().iter();
        nodes.map(|node| node.command_calls(name)).sum()
    }

    fn nodes(&self) -> &[Server] {
        match &self.0 {
            Place::Own(server) | Place::WithoutLines(server) => std::slice::from_ref(server),
            Place::Shared(shared) => shared.as_ref().expect("started").kind.nodes(),
        }
    }
}

impl Shared {
    fn start(topology: &str) -> Shared {
        let kind = match topology {
            "cluster" => Kind::Cluster(Cluster::small()),
            "sentinel" => Kind::Sentinel(Sentinels::of(1, 1, &[], "")),
            "tls" => {
                let authority = Authority::new();
                authority.issue("server", "DNS:localhost,IP:127.0.0.1", 30);
                let server = Server::with_tls(&authority.server("server", "no"), &[]);
                Kind::Tls(server, authority)
            }
            other => panic!("{TOPOLOGY} is cluster, sentinel, tls or pool, and not {other}"),
        };
        // SAFETY: the function is one of ours and lives as long as the process.
        unsafe { libc::atexit(end) };
        Shared {
            kind,
            process: std::process::id(),
        }
    }

    fn empty(&self) {
        for node in self.kind.nodes() {
            node.ask::<()>(&["FLUSHALL"]);
            node.ask::<()>(&["SCRIPT", "FLUSH"]);
            node.ask::<()>(&["CONFIG", "RESETSTAT"]);
        }
    }
}

impl Kind {
    fn nodes(&self) -> &[Server] {
        match self {
            Kind::Cluster(cluster) => &cluster.nodes,
            Kind::Sentinel(all) => &all.nodes,
            Kind::Tls(server, _) => std::slice::from_ref(server),
        }
    }

    fn url(&self) -> String {
        match self {
            Kind::Cluster(cluster) => cluster.url(),
            Kind::Sentinel(all) => all.url(),
            Kind::Tls(server, authority) => {
                format!("{}?tls_ca={}", server.tls_url(), authority.ca())
            }
        }
    }
}

/// Statics are not dropped, and folders would stay behind.
extern "C" fn end() {
    let Ok(mut place) = SHARED.try_lock() else {
        return;
    };
    // Not in a forked child.
    if (place.as_ref()).is_some_and(|shared| shared.process == std::process::id()) {
        drop(place.take());
    }
}
