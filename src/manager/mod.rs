//! The manager: opened once, called from everywhere, closed at the end.

#[cfg(test)]
mod command_table;
mod embedded;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod health;
mod status;

use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::Value;

use crate::client::{Client, Lease};
use crate::clock::{Deadline, Moment, tell};
use crate::config::{Config, Settings, Target, endpoint};
use crate::dispatch::Dispatch;
use crate::error::{Error, ErrorKind, Result};
use crate::fork;
use crate::node::{Node, State};
use embedded::Embedded;
pub use embedded::Fault;

pub use status::{
    Health, LineState, NodeRole, NodeState, NodeStatus, PoolState, PoolStatus, SentinelStatus,
    TopologyKind,
};

/// The connections of a program, and everything that can be done with them.
///
/// Open one, clone it wherever it is needed (a clone is the same manager), call it from any thread. All of
/// [`Client`]'s commands are methods of it. When the last clone is dropped, its threads and connections end.
///
/// ```
/// # fn main() -> redkeep::Result<()> {
/// use redkeep::Manager;
///
/// let keep = Manager::open("embedded://")?;          // or redis://host:6379
/// keep.set("greeting", "hello")?;
/// let greeting: Option<String> = keep.get("greeting")?;
/// assert_eq!(greeting.as_deref(), Some("hello"));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Manager {
    client: Client,
    embedded: Option<Arc<Embedded>>,
    settings: Option<Arc<Settings>>,
}

impl Manager {
    /// Opens a manager for a URL: `redis://`, `unix://`, `redis+cluster://`, `redis+sentinel://` or `embedded://`; see
    /// [`Config`] for what it may carry.
    /// Nothing is sent before the first command, except that `embedded://` starts its server.
    pub fn open(url: &str) -> Result<Manager> {
        Manager::open_config(&Config::from_url(url)?)
    }

    /// Opens a manager as the environment says: `REDIS_URL`, `REDIS_HOST` and the others that [`Config`] lists.
    pub fn from_env() -> Result<Manager> {
        Manager::open_config(&Config::from_env()?)
    }

    /// Opens a manager for a [`Config`], after checking it.
    ///
    /// ```
    /// # fn main() -> redkeep::Result<()> {
    /// use std::time::Duration;
    /// use redkeep::{Config, Manager};
    ///
    /// let config = Config::new()
    ///     .url("embedded://")
    ///     .max_connections(32)
    ///     .command_timeout(Duration::from_millis(500));
    /// let keep = Manager::open_config(&config)?;
    /// # Ok(()) }
    /// ```
    pub fn open_config(config: &Config) -> Result<Manager> {
        let resolved = config.resolve()?;
        if !resolved.settings.enabled {
            return Ok(Manager::refusing(Error::new(
                ErrorKind::Disabled,
                "Redis is switched off (property enabled, ENABLE_REDIS)",
            )));
        }
        resolved.settings.open()?;
        let settings = Arc::new(resolved.settings);
        let (target, embedded) = match resolved.target {
            Target::Embedded => {
                let server = Arc::new(Embedded::start(&settings.embedded)?);
                (Target::One(server.endpoint()), Some(server))
            }
            target => (target, None),
        };
        let for_make = settings.clone();
        let dispatch = fork::Cell::new(move |parent: Option<&Dispatch>| match parent {
            None => Dispatch::new(&target, for_make.clone()),
            Some(parent) => Dispatch::renewed(parent, &target),
        })?;
        let guard = embedded.clone();
        Ok(Manager {
            client: Client::new(dispatch, settings.command_timeout, guard),
            embedded,
            settings: Some(settings),
        })
    }

    /// The manager of this process, opened from the environment when first asked for. If the environment is not
    /// usable, every call on it says so.
    pub fn global() -> &'static Manager {
        static GLOBAL: OnceLock<Manager> = OnceLock::new();
        GLOBAL.get_or_init(|| {
            Manager::from_env().unwrap_or_else(|error| {
                Manager::refusing(match error.kind() {
                    ErrorKind::Embedded | ErrorKind::System => error,
                    _ => Error::new(
                        ErrorKind::Config,
                        format!("the environment cannot be used: {error}"),
                    ),
                })
            })
        })
    }

    fn refusing(error: Error) -> Manager {
        Manager {
            client: Client::refusing(error),
            embedded: None,
            settings: None,
        }
    }

    /// A handle for commands only.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Makes the first contact: true if the server answered. The reason for a false is logged.
    pub fn initialize(&self) -> bool {
        match self.check_connection(None) {
            Ok(()) => true,
            Err(error) => {
                tell!(Warn, "not connected: {error}");
                false
            }
        }
    }

    /// Whether Redis is switched on and answered last time (of a cluster, any primary). False until the first contact.
    pub fn is_enabled(&self) -> bool {
        self.dispatch_if_made()
            .is_some_and(|dispatch| dispatch.topology.is_up())
    }

    /// Closes the connections of all nodes, those in use as soon as they come back. The next command opens new ones.
    pub fn disconnect(&self) {
        if let Some(dispatch) = self.dispatch_if_made() {
            for node in dispatch.topology.fleet.nodes() {
                node.condition.forget();
                node.purge();
            }
        }
    }

    /// Replaces every connection by one with the credentials of this moment, after they have changed: those of
    /// [`credentials_provider`](Config::credentials_provider) or of `credentials_file`. They are tried first, on every
    /// node that is up, within `command_timeout`; where the server does not take them, that is the error (of kind
    /// [`Auth`](ErrorKind::Auth)), and everything stays as it is. Then idle connections are closed at once and those
    /// in use when they come back, so that no caller notices.
    ///
    /// ```no_run
    /// # fn main() -> redkeep::Result<()> {
    /// use redkeep::{Config, Manager};
    ///
    /// let keep = Manager::open_config(&Config::new().credentials_file("/run/secrets/redis"))?;
    /// // ... the file has changed
    /// keep.rotate_credentials()?;
    /// # Ok(()) }
    /// ```
    pub fn rotate_credentials(&self) -> Result<()> {
        let deadline = Deadline::after(self.timeout()?);
        let fleet = &self.live()?.topology.fleet;
        for node in fleet.nodes() {
            if node.condition.state() == State::Up {
                node.try_login(deadline)?;
            }
        }
        for node in fleet.nodes() {
            node.condition.pardon();
            node.purge();
        }
        Ok(())
    }

    /// Adds a node, and waits at most `connect_timeout` for it to answer. A node that does not answer now is added
    /// all the same and comes in when it does: the error only tells. Adding a node twice is no error; adding one
    /// whose pools were closed opens them again.
    pub fn add_node_pool(&self, url: &str) -> Result<()> {
        self.add_node_pool_within(url, self.settings()?.connect_timeout)
    }

    /// As [`add_node_pool`](Manager::add_node_pool), waiting for another time.
    pub fn add_node_pool_within(&self, url: &str, timeout: Duration) -> Result<()> {
        let dispatch = self.dispatch()?;
        if dispatch.topology.fleet.closing.is_open() {
            return Err(Error::closed());
        }
        let node = dispatch.topology.fleet.add(endpoint(url)?)?;
        // The server itself is asked, not what we remember of it.
        if node.condition.state() == State::Down {
            node.condition.forget();
        }
        let started = Moment::now();
        let mut one = self.get_client_within(url, timeout)?;
        match one.command_within("PING", timeout.saturating_sub(started.elapsed())) {
            Err(error) if health::is_alive(&error) => Ok(()),
            other => other,
        }
    }

    /// A connection of one's own on a node that was added, or that is one of the configured ones, by its URL (which
    /// for a node of a cluster or behind sentinels need not repeat user and password). It goes back to its pool when
    /// dropped. Waits at most `command_timeout`.
    ///
    /// ```no_run
    /// # fn main() -> redkeep::Result<()> {
    /// let keep = redkeep::Manager::open("redis://localhost")?;
    /// keep.add_node_pool("redis://other:6380")?;
    /// let mut one = keep.get_client("redis://other:6380")?;
    /// let answer: String = one.command("PING")?;
    /// # Ok(()) }
    /// ```
    pub fn get_client(&self, url: &str) -> Result<Lease> {
        self.get_client_within(url, self.timeout()?)
    }

    /// As [`get_client`](Manager::get_client), waiting for another time.
    pub fn get_client_within(&self, url: &str, timeout: Duration) -> Result<Lease> {
        self.lease(Some(url), timeout)
    }

    pub(crate) fn lease(&self, url: Option<&str>, timeout: Duration) -> Result<Lease> {
        if url.is_none() {
            return self.dedicated_for(None, timeout);
        }
        let started = Moment::now();
        let dispatch = self.dispatch()?;
        let node = self.node(dispatch, url, Deadline::after(timeout))?;
        let left = timeout.saturating_sub(started.elapsed());
        Lease::take(dispatch, node, left, self.timeout()?)
    }

    /// What every pool of every node is doing at this moment.
    pub fn fetch_pool_status(&self) -> PoolStatus {
        self.dispatch_if_made()
            .map_or_else(PoolStatus::empty, PoolStatus::of)
    }

    /// What is known of the manager, as JSON. No server is asked.
    ///
    /// ```
    /// # fn main() -> redkeep::Result<()> {
    /// let keep = redkeep::Manager::open("embedded://")?;
    /// keep.set("greeting", "hello")?;
    /// assert_eq!(keep.stats()["calls"], 1);
    /// # Ok(()) }
    /// ```
    ///
    #[doc = include_str!("../stats/schema.md")]
    pub fn stats(&self) -> Value {
        status::stats(self.dispatch_if_made(), self.is_enabled())
    }

    /// What is known of the manager, as text for Prometheus, in its exposition format; of consumers, those of this process
    /// together. No server is asked. See [`stats`](Manager::stats) for what there is.
    pub fn stats_prometheus(&self) -> String {
        status::exposition(self.dispatch_if_made(), self.is_enabled()).text()
    }

    /// Starts the periodic health checks. They run from the start unless `health_check_interval` is 0; starting
    /// what runs does nothing. A node that answered callers on its shared lines since the last one is not asked.
    pub fn start_health_checks(&self) -> Result<()> {
        self.live()?.topology.fleet.start_health_checks()
    }

    /// Stops the periodic health checks; stopping what does not run does nothing. From then on a node that is down
    /// is tried by its callers, one at a time, twice a second at most.
    pub fn stop_health_checks(&self) {
        if let Some(dispatch) = self.dispatch_if_made() {
            dispatch
                .topology
                .fleet
                .stop_health_checks(Deadline::after(JOIN));
        }
    }

    /// Starts the clean-up of idle connections. It runs from the start unless `cleanup_interval` is 0; starting
    /// what runs does nothing.
    pub fn start_cleanup(&self) -> Result<()> {
        self.live()?.topology.fleet.start_cleanup()
    }

    /// Stops the clean-up of idle connections; stopping what does not run does nothing.
    pub fn stop_cleanup(&self) {
        if let Some(dispatch) = self.dispatch_if_made() {
            dispatch.topology.fleet.stop_cleanup(Deadline::after(JOIN));
        }
    }

    /// Closes the pools of one node: connections in use are closed when they come back, whoever waits for one is
    /// told. [`add_node_pool`](Manager::add_node_pool) opens them again.
    pub fn close_node_pools(&self, url: &str) -> Result<()> {
        let dispatch = self.dispatch()?;
        self.node(dispatch, Some(url), Deadline::after(self.timeout()?))?
            .close();
        Ok(())
    }

    /// Closes the pools of all nodes, the configured one's included.
    pub fn close_all_pools(&self) {
        if let Some(dispatch) = self.dispatch_if_made() {
            for node in dispatch.topology.fleet.nodes() {
                node.close();
            }
        }
    }

    /// Ends everything: every call under way returns an error of kind [`Closed`](ErrorKind::Closed), every thread
    /// ends, an embedded server too. Later calls fail in the same way. An error of kind
    /// [`Timeout`](ErrorKind::Timeout) says that a thread was still running after `timeout`; it ends by itself.
    pub fn close(&self, timeout: Duration) -> Result<()> {
        let deadline = Deadline::after(timeout);
        let Ok(dispatch) = self.dispatch() else {
            return Ok(());
        };
        let threads = dispatch.close(deadline);
        let server = self.embedded.as_ref().is_none_or(|it| it.stop(deadline));
        match threads && server {
            true => Ok(()),
            false => Err(Error::new(
                ErrorKind::Timeout,
                "a background thread was still running at the deadline; it ends by itself",
            )),
        }
    }

    fn settings(&self) -> Result<&Settings> {
        self.timeout()?;
        Ok(self
            .settings
            .as_ref()
            .expect("an open manager has settings"))
    }

    fn live(&self) -> Result<&Dispatch> {
        let dispatch = self.dispatch()?;
        match dispatch.topology.fleet.closing.is_open() {
            true => Err(Error::closed()),
            false => Ok(dispatch),
        }
    }

    /// The node of this URL, or the configured one.
    fn node(
        &self,
        dispatch: &Dispatch,
        url: Option<&str>,
        deadline: Deadline,
    ) -> Result<Arc<Node>> {
        let fleet = &dispatch.topology.fleet;
        if fleet.closing.is_open() {
            return Err(Error::closed());
        }
        let Some(url) = url else {
            return dispatch.topology.home(deadline);
        };
        let wanted = endpoint(url)?;
        let find = || {
            let known = fleet
                .find(&wanted)
                .or_else(|| fleet.find_greeted_otherwise(&wanted));
            known.filter(|node| node.condition.state() != State::Closed)
        };
        // Which nodes there are may have to be found out first; one that was added needs none of them.
        let found = find().or_else(|| {
            let _ = dispatch.topology.known(deadline);
            find()
        });
        found.ok_or_else(|| {
            let nodes = fleet.nodes();
            let known: Vec<&str> = nodes.iter().map(|node| &*node.name).collect();
            Error::new(
                ErrorKind::UnknownNode,
                format!(
                    "{} is not among the nodes of this manager ({}); add_node_pool() adds it",
                    wanted.address,
                    known.join(", ")
                ),
            )
        })
    }
}

/// How long stopping a task waits for its thread.
const JOIN: Duration = Duration::from_secs(5);

impl Deref for Manager {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl std::fmt::Debug for Manager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Manager")
            .field("enabled", &self.is_enabled())
            .finish_non_exhaustive()
    }
}
