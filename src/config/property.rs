//! The table of properties, from which everything about them comes: the fields of [`Config`] and its builder, set and
//! get by name, the environment, the parameters of urls, and the documentation.

use super::credentials::Provider;
use super::hook::Hook;
use super::rule::Rule;
use super::value::{ReadFrom, Value};
use serde_json::Value as Json;
use std::time::Duration;

/// One property, as the code that works by name sees it.
pub(super) struct Property {
    pub name: &'static str,
    /// Other names it answers to: those of the seeds.
    pub also: &'static [&'static str],
    pub rule: Rule,
    /// A value that some program may want, other than the default.
    pub example: &'static str,
    /// In the form that a user would write.
    pub default: Option<&'static str>,
    /// The variable it is read from.
    pub env: Option<&'static str>,
    /// Whether it is never printed.
    pub secret: bool,
    doc: &'static str,
    /// Stores what the text says; false, and nothing is stored, where the rule does not allow it.
    pub store: fn(&mut Config, &str) -> bool,
    /// The value that was set.
    pub shown: fn(&Config) -> Option<Json>,
    /// Whether the value that was set, if any, is allowed.
    pub fits: fn(&Config) -> bool,
}

impl Property {
    pub(super) fn doc(&self) -> &'static str {
        self.doc.trim()
    }
}

macro_rules! default_doc {
    () => {
        "Not set by default."
    };
    ($default:literal) => {
        concat!("Defaults to `", $default, "`.")
    };
}

macro_rules! environment_doc {
    () => {
        ""
    };
    ($env:literal) => {
        concat!("Environment: `", $env, "`.")
    };
}

macro_rules! properties {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident: $held:ty, set by $argument:ty {
            takes: $rule:expr,
            example: $example:literal,
            $(default: $default:literal,)?
            $(env: $env:literal,)?
            $(also: [$($also:literal),+],)?
            $(secret: $secret:literal,)?
        }
    )*) => {
        /// Everything that can be set, with the values that were.
        ///
        /// The builder takes typed values and never fails; what it was given is checked when a manager is opened, or
        /// by [`validate`](Config::validate). [`set`](Config::set) takes text and checks it at once. Printing a
        /// configuration never shows a password.
        ///
        /// ```
        /// use redkeep::Config;
        /// use std::time::Duration;
        ///
        /// let config = Config::new()
        ///     .host("localhost")
        ///     .port(6379)
        ///     .command_timeout(Duration::from_millis(500))
        ///     .max_connections(32);
        /// config.validate()?;
        /// assert_eq!(config.redis_url()?, "redis://localhost:6379/0");
        /// # redkeep::Result::Ok(())
        /// ```
        ///
        /// # Where the server is
        ///
        /// A `url` that was set overrides `host`, `port`, `db`, `username`, `password` and `ssl` altogether; the
        /// default url does not. `startup_nodes` win over `sentinels`, which win over `url`. A list of hosts takes
        /// `db`, `username`, `password` and `ssl` from their properties; a url brings its own.
        ///
        /// ```text
        /// redis://[[user]:password@]host[:6379][/db][?property=value&...]      rediss:// with TLS
        /// unix://[[user]:password@]/path/of/the/socket[?db=0&...]              also redis+unix://
        /// redis+sentinel://[[user]:password@]host[:26379],...[/master[/db]]    rediss+sentinel:// with TLS
        /// redis+cluster://[[user]:password@]host[:6379],...                    rediss+cluster:// with TLS
        /// embedded://[?property=value&...]                                     a private server of one's own
        /// ```
        ///
        /// The parameters of a url are the properties below, and apply over them.
        ///
        /// # A server for tests
        ///
        /// `embedded://` starts a private server, which ends with the manager, even if the program is killed. It is
        /// meant for the tests of programs: each test has its own, and needs no port. The properties `embedded_...`
        /// choose the program, let it listen at a port, give it settings, have it keep its data, and let it fail on
        /// demand ([`Manager::embedded_fault`](crate::Manager::embedded_fault)). They are of no effect elsewhere.
        ///
        /// ```
        /// use redkeep::{Config, Manager};
        ///
        /// let config = Config::new()
        ///     .url("embedded://")                    // or embedded://?embedded_port=0, and so on
        ///     .embedded_port(0)
        ///     .embedded_config("maxmemory 10mb\nmaxmemory-policy allkeys-lru");
        /// let keep = Manager::open_config(&config)?;
        /// let address = keep.fetch_pool_status().nodes[0].address.clone();
        /// let other = Manager::open(&format!("redis://{address}"))?;
        /// other.set("a", 1)?;
        /// assert_eq!(keep.get("a")?, Some(1));
        /// # redkeep::Result::Ok(())
        /// ```
        ///
        /// # Every property
        ///
        #[doc = include_str!("properties.md")]
        #[derive(Clone, Default)]
        pub struct Config {
            $(pub(super) $name: Option<$held>,)*
            /// What is no text.
            pub(super) credentials_provider: Option<Provider>,
            pub(super) command_hook: Option<Hook>,
        }

        /// The builder: one method for each property.
        impl Config {
            $(
                $(#[doc = $doc])+
                ///
                #[doc = default_doc!($($default)?)]
                #[doc = environment_doc!($($env)?)]
                #[must_use]
                pub fn $name(mut self, value: $argument) -> Config {
                    self.$name = Some(value.into());
                    self
                }
            )*

            /// What is set here, and for the rest what is set in `base`.
            pub(super) fn over(self, base: Config) -> Config {
                Config {
                    $($name: self.$name.or(base.$name),)*
                    credentials_provider: self.credentials_provider.or(base.credentials_provider),
                    command_hook: self.command_hook.or(base.command_hook),
                }
            }
        }

        pub(super) static PROPERTIES: &[Property] = &[$(
            Property {
                name: stringify!($name),
                also: &[$($($also),+)?],
                rule: $rule,
                example: $example,
                default: [$(Some($default),)? None][0],
                env: [$(Some($env),)? None][0],
                secret: [$($secret,)? false][0],
                doc: concat!($($doc),+),
                store: |config, text| {
                    let value = <$held>::read(text, &$rule).filter(|value| value.fits(&$rule));
                    let fits = value.is_some();
                    if fits {
                        config.$name = value;
                    }
                    fits
                },
                shown: |config| config.$name.as_ref().map(|value| value.write(&$rule)),
                fits: |config| config.$name.as_ref().is_none_or(|value| value.fits(&$rule)),
            },
        )*];
    };
}

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
const MILLISECOND: Duration = Duration::from_millis(1);
const GIB: u64 = 1 << 30;

properties! {
    /// The whole address of the server, its credentials and parameters among it. One that was set overrides `host`,
    /// `port`, `db`, `username`, `password` and `ssl`.
    url: String, set by impl Into<String> {
        takes: Rule::Url,
        example: "redis://reports:secret@redis.example.org:6380/1",
        default: "redis://localhost:6379/0",
        env: "REDIS_URL",
    }

    /// The host of the server: a name or an IP address.
    host: String, set by impl Into<String> {
        takes: Rule::Host,
        example: "redis.example.org",
        default: "localhost",
        env: "REDIS_HOST",
    }

    /// The TCP port of the server.
    port: u16, set by u16 {
        takes: Rule::Number(1, 65_535),
        example: "6380",
        default: "6379",
        env: "REDIS_PORT",
    }

    /// The number of the database.
    db: u32, set by u32 {
        takes: Rule::Number(0, 2_147_483_647),
        example: "1",
        default: "0",
        env: "REDIS_DB",
    }

    /// The user to log in as; without one, the server's default user.
    username: String, set by impl Into<String> {
        takes: Rule::Text,
        example: "reports",
        env: "REDIS_USERNAME",
    }

    /// The password to log in with. It is never printed.
    password: String, set by impl Into<String> {
        takes: Rule::Text,
        example: "secret",
        env: "REDIS_PASSWORD",
        secret: true,
    }

    /// A file that is read at each connect: its first line is the password, or, where it has two, the user name and
    /// then the password. In place of `password`.
    credentials_file: String, set by impl Into<String> {
        takes: Rule::Path,
        example: "/run/secrets/redis",
    }

    /// Whether to speak TLS.
    ssl: bool, set by bool {
        takes: Rule::Flag,
        example: "true",
        default: "false",
        env: "REDIS_SSL",
    }

    /// Whether Redis is used at all; when not, no connection is ever made and calls say that it is disabled.
    enabled: bool, set by bool {
        takes: Rule::Flag,
        example: "false",
        default: "true",
        env: "ENABLE_REDIS",
    }

    /// Whether the servers form a cluster. Setting `startup_nodes` turns it on, unless it was turned off by name.
    use_cluster: bool, set by bool {
        takes: Rule::Flag,
        example: "true",
        default: "false",
    }

    /// The nodes where a cluster is met first: hosts with their ports, or urls; `redis://` urls will do. Without them
    /// a cluster is met at `url`, or at `host` and `port`. The variable turns `use_cluster` on as well.
    startup_nodes: String, set by impl Into<String> {
        takes: Rule::Nodes,
        example: "10.0.0.1:7000,10.0.0.2:7000",
        env: "REDIS_CLUSTER_URL",
    }

    /// The sentinels, which know where the primary is: hosts with their ports, or one url.
    sentinels: String, set by impl Into<String> {
        takes: Rule::Sentinels,
        example: "s1:26379,s2:26379,s3:26379",
        env: "REDIS_SENTINELS",
    }

    /// The name under which the sentinels know the primary.
    master_name: String, set by impl Into<String> {
        takes: Rule::Text,
        example: "orders",
        default: "mymaster",
        env: "REDIS_MASTER_NAME",
    }

    /// The user to log in to the sentinels as, where they ask for one: `username` is for the servers behind them.
    sentinel_username: String, set by impl Into<String> {
        takes: Rule::Text,
        example: "watcher",
        env: "REDIS_SENTINEL_USERNAME",
    }

    /// The password for the sentinels, where they ask for one: `password` is for the servers behind them. It is never
    /// printed.
    sentinel_password: String, set by impl Into<String> {
        takes: Rule::Text,
        example: "secret",
        env: "REDIS_SENTINEL_PASSWORD",
        secret: true,
    }

    /// How many pools of connections each node has.
    pools_per_node: usize, set by usize {
        takes: Rule::Number(1, 64),
        example: "2",
        default: "1",
        also: ["connection_pools_per_node_at_start"],
    }

    /// How many connections a pool may open.
    max_connections: usize, set by usize {
        takes: Rule::Number(1, 10_000),
        example: "32",
        default: "10",
        env: "REDIS_MAX_CONNECTIONS",
        also: ["max_connection_size", "pool_size"],
    }

    /// How many connections of a node all threads share: when many call at once, what they ask goes out together. What
    /// blocks, is larger than 64 KiB or has more time than `command_timeout` takes a connection from a pool. 0: every
    /// command does.
    shared_lines: usize, set by usize {
        takes: Rule::NumberOrOff(64),
        example: "4",
        default: "2",
    }

    /// How long one attempt to connect may take, within `command_timeout`.
    connect_timeout: Duration, set by Duration {
        takes: Rule::Time(MILLISECOND, HOUR),
        example: "1s",
        default: "5s",
        env: "REDIS_SOCKET_CONNECT_TIMEOUT",
    }

    /// How long a call may take as a whole, with waiting, connecting, every retry and redirect.
    command_timeout: Duration, set by Duration {
        takes: Rule::Time(MILLISECOND, DAY),
        example: "500ms",
        default: "5s",
        env: "REDIS_SOCKET_TIMEOUT",
    }

    /// Whether a command that met a timeout is sent again. Only those are that give the same answer twice.
    retry_on_timeout: bool, set by bool {
        takes: Rule::Flag,
        example: "false",
        default: "true",
        env: "REDIS_RETRY_ON_TIMEOUT",
    }

    /// How many times a command is tried again, where that is safe, within `command_timeout`.
    retries: u32, set by u32 {
        takes: Rule::NumberOrOff(100),
        example: "1",
        default: "3",
    }

    /// The time between two health checks of a node; one that answered callers on its shared lines meanwhile is not asked.
    /// 0: none are made. Who is in a cluster, or behind sentinels, is asked as often, with 0 each 10 s, and whenever a
    /// failure makes it doubtful.
    health_check_interval: Duration, set by Duration {
        takes: Rule::TimeOrOff(MILLISECOND, DAY),
        example: "2s",
        default: "10s",
    }

    /// The time between two rounds that close idle and aged connections. 0: none are made.
    cleanup_interval: Duration, set by Duration {
        takes: Rule::TimeOrOff(MILLISECOND, DAY),
        example: "60s",
        default: "30s",
    }

    /// How long a connection may lie idle before it is closed. 0: for ever.
    max_idle_time: Duration, set by Duration {
        takes: Rule::TimeOrOff(MILLISECOND, YEAR),
        example: "90s",
        default: "300s",
    }

    /// How old a connection may become, give or take a little so that not all end at once. 0: as old as it likes.
    max_lifetime: Duration, set by Duration {
        takes: Rule::TimeOrOff(MILLISECOND, YEAR),
        example: "1h",
        default: "off",
    }

    /// How long a connection may be leased before a warning is logged, once for each lease, in the next round of
    /// `cleanup_interval`. 0: none is.
    lease_warning: Duration, set by Duration {
        takes: Rule::TimeOrOff(MILLISECOND, YEAR),
        example: "10s",
        default: "60s",
    }

    /// Commands that take longer are told in the log, as warnings: their names, their nodes, and how long they waited,
    /// connected, wrote, waited for the server and read; ten lines in ten seconds at most. Those that block in the server
    /// by their own wish are not. 0: none is, and nothing is measured.
    slow_call: Duration, set by Duration {
        takes: Rule::TimeOrOff(MILLISECOND, DAY),
        example: "50ms",
        default: "off",
    }

    /// How many threads run background work and the handlers of messages.
    workers: usize, set by usize {
        takes: Rule::Number(1, 256),
        example: "8",
        default: "2",
    }

    /// Which servers answer commands that only read: the primary; a replica, which may be a little behind; or whichever
    /// answers health checks fastest. Writes, scripts and transactions go to the primary in any case.
    read_from: ReadFrom, set by ReadFrom {
        takes: Rule::Choice(&["primary", "replica", "nearest"]),
        example: "replica",
        default: "primary",
    }

    /// The version of RESP to ask for, also written resp2 or resp3. A server that does not know 3 is spoken to in 2.
    protocol: u8, set by u8 {
        takes: Rule::Protocol,
        example: "2",
        default: "3",
    }

    /// The size above which a reply is refused and its connection closed. Beyond 65,536 elements, each one counts as 80
    /// bytes more, for the memory that it takes.
    max_reply_bytes: usize, set by usize {
        takes: Rule::Bytes(1 << 10, 64 * GIB),
        example: "64MiB",
        default: "512MiB",
    }

    /// The name that connections carry in CLIENT LIST.
    client_name: String, set by impl Into<String> {
        takes: Rule::Word,
        example: "billing",
        default: "redkeep",
    }

    /// The file of the PEM certificates to trust in place of the system's. Read once, when a manager is opened, like
    /// those of the next two.
    tls_ca: String, set by impl Into<String> {
        takes: Rule::Path,
        example: "/etc/ssl/our-ca.pem",
    }

    /// The file of the PEM certificate to show to the server; goes with `tls_key`.
    tls_cert: String, set by impl Into<String> {
        takes: Rule::Path,
        example: "/etc/ssl/reports.pem",
    }

    /// The file of the PEM private key of `tls_cert`.
    tls_key: String, set by impl Into<String> {
        takes: Rule::Path,
        example: "/etc/ssl/reports.key",
    }

    /// The name that the server's certificate must bear, where it is not the host's.
    tls_server_name: String, set by impl Into<String> {
        takes: Rule::Host,
        example: "redis.internal",
    }

    /// Whether the server's certificate is accepted unseen. Anybody on the way can then read and change everything.
    tls_insecure: bool, set by bool {
        takes: Rule::Flag,
        example: "true",
        default: "false",
    }

    /// How much memory the copies of a near cache may take that is made without a size of its own. 0: none are kept.
    near_cache_bytes: usize, set by usize {
        takes: Rule::BytesOrOff(64 * GIB),
        example: "64MiB",
        default: "0",
    }

    /// The program that an `embedded://` server runs: its path, or its name. Without it, redis-server or valkey-server,
    /// whichever is found first.
    embedded_server: String, set by impl Into<String> {
        takes: Rule::Path,
        example: "valkey-server",
    }

    /// The TCP port of 127.0.0.1 at which an `embedded://` server listens, where others are to find it too; 0: a free
    /// one. Without it, a unix socket in a folder that only this user can look into. The status of the pools tells
    /// which.
    embedded_port: u16, set by u16 {
        takes: Rule::Number(0, 65_535),
        example: "0",
    }

    /// More settings for an `embedded://` server, as they stand in redis.conf, one on each line (`%0A` ends a line in
    /// a url). They are never printed.
    embedded_config: String, set by impl Into<String> {
        takes: Rule::Text,
        example: "maxmemory 10mb",
        secret: true,
    }

    /// A folder in which an `embedded://` server keeps its data, made if it is not there: the next server that is given
    /// the same folder has them. One server has it at a time. Without it, nothing is kept.
    embedded_data: String, set by impl Into<String> {
        takes: Rule::Path,
        example: "/var/tmp/of-my-tests",
    }

    /// Whether an `embedded://` server can be made to fail, by `embedded_fault`. All that goes to the server and comes
    /// from it then passes through a thread of the manager, which takes its time.
    embedded_faults: bool, set by bool {
        takes: Rule::Flag,
        example: "true",
        default: "false",
    }
}

/// The property of this name, or of this other name.
pub(super) fn find(name: &str) -> Option<&'static Property> {
    PROPERTIES
        .iter()
        .find(|property| property.name == name || property.also.contains(&name))
}
