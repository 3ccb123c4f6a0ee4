//! Asking one node how it is, and waiting until it is well.

use std::sync::Arc;
use std::time::Duration;

use crate::client::{Packer, Scratch};
use crate::clock::{Deadline, Moment};
use crate::dispatch::{Class, Dispatch, Request};
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::manager::Manager;
use crate::manager::status::Health;
use crate::node::{Node, State};
use crate::transport::Reply;

impl Manager {
    /// Waits until a node (none: the configured one) answers, and returns how long that took. It gives up at
    /// whichever comes first: `timeout`, or `max_retries` tries that lie `step` apart. The seeds' values are 10 s,
    /// 0.25 s and 5.
    ///
    /// ```
    /// # fn main() -> redkeep::Result<()> {
    /// # use std::time::Duration;
    /// let keep = redkeep::Manager::open("embedded://")?;
    /// let took = keep.wait_for_ready(None, Duration::from_secs(10), Duration::from_millis(250), 5)?;
    /// assert!(took < Duration::from_secs(10));
    /// # Ok(()) }
    /// ```
    pub fn wait_for_ready(
        &self,
        url: Option<&str>,
        timeout: Duration,
        step: Duration,
        max_retries: u32,
    ) -> Result<Duration> {
        let dispatch = self.dispatch()?;
        let started = Moment::now();
        let mut tries = 0;
        loop {
            tries += 1;
            // Without any time, one try is still a try.
            let left = match timeout.saturating_sub(started.elapsed()) {
                Duration::ZERO => self.timeout()?,
                left => left,
            };
            let deadline = Deadline::after(left);
            // Which node it is may have to be found out first.
            let error = match self.node(dispatch, url, deadline) {
                Err(error) if url.is_some() => return Err(error),
                Err(error) => error,
                Ok(node) => {
                    // The server itself is asked, not what we remember of it.
                    if node.condition.state() == State::Down {
                        node.condition.forget();
                    }
                    let left = deadline.remaining().unwrap_or_default();
                    match ask(dispatch, &node, "PING", left, |_| ()) {
                        Ok(()) => return Ok(started.elapsed()),
                        Err(error) => error.on_node(&node.name),
                    }
                }
            };
            let over = started.elapsed().saturating_add(step) >= timeout || tries > max_retries;
            if error.kind() == ErrorKind::Closed || dispatch.topology.fleet.closing.is_open() {
                return Err(Error::closed());
            }
            if over {
                let told = Error::new(
                    error.kind(),
                    format!("not ready after {tries} tries: {}", error.message()),
                );
                return Err(match error.node() {
                    Some(node) => told.on_node(&node.into()),
                    None => told,
                });
            }
            dispatch.topology.fleet.closing.sleep(step);
        }
    }

    /// Asks a node (none: the configured one) how it is: its version, its clients, its role and how fast it
    /// answers. That it does not answer is part of the answer; only a node that was never added is an error.
    pub fn health_check(&self, url: Option<&str>) -> Result<Health> {
        let mut health = Health {
            healthy: false,
            version: None,
            connected_clients: None,
            role: None,
            latency: None,
            error: None,
        };
        let checked = self.dispatch().and_then(|dispatch| {
            let time = self.timeout()?;
            let node = self.node(dispatch, url, Deadline::after(time))?;
            let started = Moment::now();
            ask(dispatch, &node, "PING", time, |_| ())?;
            health.latency = Some(started.elapsed());
            // Its parts differ in what users may see: a server that keeps INFO to itself is healthy all the same.
            let left = time.saturating_sub(started.elapsed());
            if let Ok(info) = ask(dispatch, &node, "INFO", left, text_of) {
                // Valkey tells the version of Redis that it stands in for as well; HELLO tells its own.
                let version = field(&info, "valkey_version");
                health.version = version.or_else(|| field(&info, "redis_version"));
                health.connected_clients =
                    field(&info, "connected_clients").and_then(|n| n.parse().ok());
                health.role = field(&info, "role");
            }
            Ok(())
        });
        match checked {
            Ok(()) => health.healthy = true,
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::UnknownNode | ErrorKind::Url | ErrorKind::UnknownProperty
                ) =>
            {
                return Err(error);
            }
            Err(error) => health.error = Some(error.to_string()),
        }
        Ok(health)
    }

    /// Whether a node (none: the configured one) can be reached now, and if not, why: seed 003's
    /// `is_redis_connected`.
    pub fn is_redis_connected(&self, url: Option<&str>) -> (bool, Option<Error>) {
        match self.check_connection(url) {
            Ok(()) => (true, None),
            Err(error) => (false, Some(error)),
        }
    }

    pub(crate) fn check_connection(&self, url: Option<&str>) -> Result<()> {
        let dispatch = self.dispatch()?;
        let time = self.timeout()?;
        let node = self.node(dispatch, url, Deadline::after(time))?;
        ask(dispatch, &node, "PING", time, |_| ())
    }
}

/// One harmless command to one node.
fn ask<T>(
    dispatch: &Dispatch,
    node: &Arc<Node>,
    command: &str,
    time: Duration,
    read: impl FnOnce(&Reply) -> T,
) -> Result<T> {
    Scratch::with(|scratch| {
        let (bytes, _) = Packer::begin(&mut scratch.request, command).finish();
        let request = Request::new(bytes, Class::Read, None, time);
        match dispatch.call_on(node, &request, &mut scratch.reply) {
            Err(error) if command == "PING" && is_alive(&error) => {}
            other => other?,
        }
        Ok(read(&scratch.reply))
    })
}

/// A user who may not PING is told so by a living server. (In its greeting, a refusal is the end.)
pub(super) fn is_alive(error: &Error) -> bool {
    error.kind() == ErrorKind::NoPermission && error.outcome() == Outcome::Refused
}

fn text_of(reply: &Reply) -> String {
    String::from_utf8_lossy(reply.as_bytes().unwrap_or_default()).into_owned()
}

fn field(info: &str, name: &str) -> Option<String> {
    info.lines().find_map(|line| {
        let value = line.strip_prefix(name)?.strip_prefix(':')?;
        Some(value.trim_end().to_owned())
    })
}
