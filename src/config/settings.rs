//! Every knob, checked, with its default where it was not set: what the rest of the crate reads.

use super::credentials::Provider;
use super::hook::Hook;
use super::property::Config;
use super::secret::Secret;
use super::value::ReadFrom;
use crate::error::{Error, ErrorKind, Result};
use crate::tls::{self, Tls};
use std::path::PathBuf;
use std::time::Duration;

/// The properties that say how to work, not where to go, under their own names. A time that is off is none.
#[derive(Clone, Debug)]
// Some are checked and kept already for rooms that are yet to be built.
#[allow(dead_code)]
pub(crate) struct Settings {
    pub enabled: bool,
    pub pools_per_node: usize,
    pub max_connections: usize,
    pub shared_lines: usize,
    pub connect_timeout: Duration,
    pub command_timeout: Duration,
    pub retry_on_timeout: bool,
    pub retries: u32,
    pub health_check_interval: Option<Duration>,
    pub cleanup_interval: Option<Duration>,
    pub max_idle_time: Option<Duration>,
    pub max_lifetime: Option<Duration>,
    pub lease_warning: Option<Duration>,
    pub slow_call: Option<Duration>,
    pub command_hook: Option<Hook>,
    pub workers: usize,
    pub read_from: ReadFrom,
    /// 2 or 3.
    pub protocol: u8,
    pub max_reply_bytes: usize,
    pub client_name: String,
    pub tls: Tls,
    /// Who is asked for a password at each connect, where the endpoint has none of its own.
    pub credentials: Option<Provider>,
    /// 0: no near cache.
    pub near_cache_bytes: usize,
    pub embedded: EmbeddedServer,
}

/// What is special about the server of `embedded://`.
#[derive(Clone, Debug)]
pub(crate) struct EmbeddedServer {
    /// A path, or a name.
    pub server: Option<String>,
    /// None: a unix socket; 0: a free port.
    pub port: Option<u16>,
    /// Lines of redis.conf, which may hold a password.
    pub config: Option<Secret>,
    pub data: Option<PathBuf>,
    pub faults: bool,
}

impl Settings {
    /// `all` has every default in it.
    pub(super) fn of(all: Config) -> Result<Settings> {
        if all.tls_cert.is_some() != all.tls_key.is_some() {
            return Err(Error::new(
                ErrorKind::BadValue,
                "tls_cert and tls_key belong together: set both of them, or neither",
            ));
        }
        let credentials = Provider::of(all.credentials_provider, all.credentials_file)?;
        Ok(Settings {
            enabled: needed(all.enabled, "enabled")?,
            pools_per_node: needed(all.pools_per_node, "pools_per_node")?,
            max_connections: needed(all.max_connections, "max_connections")?,
            shared_lines: needed(all.shared_lines, "shared_lines")?,
            connect_timeout: needed(all.connect_timeout, "connect_timeout")?,
            command_timeout: needed(all.command_timeout, "command_timeout")?,
            retry_on_timeout: needed(all.retry_on_timeout, "retry_on_timeout")?,
            retries: needed(all.retries, "retries")?,
            health_check_interval: on(all.health_check_interval),
            cleanup_interval: on(all.cleanup_interval),
            max_idle_time: on(all.max_idle_time),
            max_lifetime: on(all.max_lifetime),
            lease_warning: on(all.lease_warning),
            slow_call: on(all.slow_call),
            command_hook: all.command_hook,
            workers: needed(all.workers, "workers")?,
            read_from: needed(all.read_from, "read_from")?,
            protocol: needed(all.protocol, "protocol")?,
            max_reply_bytes: needed(all.max_reply_bytes, "max_reply_bytes")?,
            client_name: needed(all.client_name, "client_name")?,
            tls: Tls::new(tls::Options {
                ca: all.tls_ca.map(PathBuf::from),
                cert: all.tls_cert.map(PathBuf::from),
                key: all.tls_key.map(PathBuf::from),
                server_name: all.tls_server_name,
                insecure: needed(all.tls_insecure, "tls_insecure")?,
            }),
            credentials,
            near_cache_bytes: needed(all.near_cache_bytes, "near_cache_bytes")?,
            embedded: EmbeddedServer {
                server: all.embedded_server,
                port: all.embedded_port,
                config: all.embedded_config.map(Secret::new),
                data: all.embedded_data.map(PathBuf::from),
                faults: needed(all.embedded_faults, "embedded_faults")?,
            },
        })
    }
}

impl Settings {
    /// Whether anybody wants to know how long calls take.
    pub(crate) fn watch(&self) -> bool {
        self.slow_call.is_some() || self.command_hook.is_some()
    }

    /// Reads the files that are named, for the first time.
    pub(crate) fn open(&self) -> Result<()> {
        self.tls.open()?;
        match &self.credentials {
            Some(provider) => provider.open(),
            None => Ok(()),
        }
    }
}

/// Only a property that lost its default in the table can be missing.
fn needed<T>(value: Option<T>, name: &str) -> Result<T> {
    value.ok_or_else(|| Error::new(ErrorKind::Internal, format!("{name} has no default")))
}

fn on(time: Option<Duration>) -> Option<Duration> {
    time.filter(|time| !time.is_zero())
}
