//! Where to go: the one answer that all of url, host, sentinels and startup nodes give together.

use super::address::{Address, Endpoint};
use super::complaint::said_of;
use super::property::{Config, PROPERTIES};
use super::secret::Secret;
use super::settings::Settings;
use super::url::{self, Kind, Login, Url};
use crate::error::{Error, ErrorKind, Result};

/// Which server or servers a manager talks to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    One(Endpoint),
    Embedded,
    Sentinel {
        sentinels: Vec<Address>,
        master: String,
        sentinel_username: Option<String>,
        sentinel_password: Option<Secret>,
        /// These are for the servers behind the sentinels; TLS is for both.
        db: u32,
        username: Option<String>,
        password: Option<Secret>,
        tls: bool,
    },
    Cluster {
        /// At least one, all by host and port, all with the same login.
        seeds: Vec<Endpoint>,
    },
}

impl Target {
    fn has_password(&self) -> bool {
        match self {
            Target::One(endpoint) => endpoint.password.is_some(),
            Target::Embedded => false,
            Target::Sentinel { password, .. } => password.is_some(),
            Target::Cluster { seeds } => seeds.iter().any(|seed| seed.password.is_some()),
        }
    }
}

/// A configuration, checked and complete.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    pub target: Target,
    pub settings: Settings,
}

impl Config {
    /// Checks everything and says what it comes to.
    pub(crate) fn resolve(&self) -> Result<Resolved> {
        self.check_values()?;
        let given = self.url.as_deref().map(url::parse).transpose()?;
        let all = match &given {
            Some(url) => url.parameters.clone().over(self.clone()),
            None => self.clone(),
        };
        let all = all.over(Config::defaults()?);

        let place = self.place(given, &all)?;
        let all = place.parameters.clone().over(all);
        let target = match (place.kind, &all.master_name) {
            (Kind::Sentinel, None) => {
                return Err(Error::new(ErrorKind::Config, "master_name is missing"));
            }
            (_, name) => {
                let watchmen = (all.sentinel_username.clone(), all.sentinel_password.clone());
                place.into_target(name.clone().unwrap_or_default(), watchmen)
            }
        };
        let settings = Settings::of(all)?;
        if settings.credentials.is_some() && target.has_password() {
            return Err(Error::new(
                ErrorKind::Conflict,
                "a password was set, and also who is asked for one (credentials_file, or a credentials provider)",
            ));
        }
        Ok(Resolved { target, settings })
    }

    /// Where to go.
    pub(crate) fn target(&self) -> Result<Target> {
        self.resolve().map(|resolved| resolved.target)
    }

    /// Every knob, checked.
    #[cfg(test)]
    pub(crate) fn settings(&self) -> Result<Settings> {
        self.resolve().map(|resolved| resolved.settings)
    }

    /// The url that all properties come to, the password in it, percent-encoded where needed. It has no parameters
    /// but the `db` of a unix socket.
    ///
    /// ```
    /// use redkeep::Config;
    ///
    /// let config = Config::new().host("localhost").db(3).password("p@ss");
    /// assert_eq!(config.redis_url()?, "redis://:p%40ss@localhost:6379/3");
    /// # redkeep::Result::Ok(())
    /// ```
    pub fn redis_url(&self) -> Result<String> {
        self.target().map(|target| target.url())
    }

    /// Startup nodes before sentinels before the url before host and port.
    fn place(&self, given: Option<Url>, all: &Config) -> Result<Url> {
        let login = Login {
            db: all.db.unwrap_or_default(),
            username: all.username.clone(),
            password: all.password.clone().map(Secret::new),
            tls: all.ssl.unwrap_or_default(),
        };
        let switch = given.as_ref().and_then(|url| url.parameters.use_cluster);
        let switch = switch.or(self.use_cluster);
        if let (Some(nodes), Some(true) | None) = (&self.startup_nodes, switch) {
            return url::nodes(nodes, login);
        }
        if let (Some(sentinels), Some(false) | None) = (&self.sentinels, switch) {
            return url::sentinels(sentinels, login);
        }
        let mut place = match given {
            Some(url) => url,
            None => Url {
                kind: Kind::One,
                servers: vec![all.host_and_port()?],
                login,
                master: None,
                parameters: Config::new(),
            },
        };
        if switch == Some(true) {
            place.kind = match place.kind {
                Kind::One | Kind::Cluster => Kind::Cluster,
                Kind::Unix | Kind::Sentinel | Kind::Embedded => {
                    return Err(Error::new(
                        ErrorKind::Conflict,
                        "use_cluster is on, and the url leads to a unix socket, to sentinels or to embedded://; \
                         a cluster is met at hosts with their ports",
                    ));
                }
            };
        }
        Ok(place)
    }

    fn host_and_port(&self) -> Result<Address> {
        let host = self.host.as_deref().and_then(super::address::host);
        match (host, self.port) {
            (Some(host), Some(port)) => Ok(Address::Tcp { host, port }),
            _ => Err(Error::new(ErrorKind::Config, "host or port is missing")),
        }
    }

    /// Every property by itself: the builder takes whatever it is given.
    pub(super) fn check_values(&self) -> Result<()> {
        for property in PROPERTIES {
            if !(property.fits)(self) {
                let value = self.shown(property).unwrap_or_default();
                return Err(super::complaint::bad_value(property, &value));
            }
        }
        self.check_urls()
    }

    pub(super) fn check_urls(&self) -> Result<()> {
        if let Some(text) = &self.url {
            url::parse(text)?;
        }
        let of_property = |name: &str, error: Error| match error.kind() {
            ErrorKind::Url => {
                Error::new(ErrorKind::BadValue, format!("{name}: {}", error.message()))
            }
            _ => said_of(name, &error),
        };
        if let Some(text) = &self.startup_nodes {
            url::nodes(text, Login::default())
                .map_err(|error| of_property("startup_nodes", error))?;
        }
        if let Some(text) = &self.sentinels {
            url::sentinels(text, Login::default())
                .map_err(|error| of_property("sentinels", error))?;
        }
        Ok(())
    }
}

impl Url {
    /// `watchmen`: the user name and the password for the sentinels themselves.
    fn into_target(
        self,
        master_name: String,
        watchmen: (Option<String>, Option<String>),
    ) -> Target {
        let Login {
            db,
            username,
            password,
            tls,
        } = self.login;
        let greet = |address| Endpoint {
            address,
            db,
            username: username.clone(),
            password: password.clone(),
            tls,
        };
        let mut servers = self.servers.into_iter();
        match self.kind {
            Kind::Sentinel => Target::Sentinel {
                sentinels: servers.collect(),
                master: self.master.unwrap_or(master_name),
                sentinel_username: watchmen.0,
                sentinel_password: watchmen.1.map(Secret::new),
                db,
                username,
                password,
                tls,
            },
            Kind::Cluster => Target::Cluster {
                seeds: servers.map(greet).collect(),
            },
            Kind::One | Kind::Unix | Kind::Embedded => match servers.next() {
                Some(address) => Target::One(greet(address)),
                None => Target::Embedded,
            },
        }
    }
}

/// Reads the url by which a caller names one node, such as `redis://other:6380`.
pub(crate) fn endpoint(text: &str) -> Result<Endpoint> {
    let url = url::parse(text)?;
    let wrong = |text: &str| Err(Error::new(ErrorKind::Url, text));
    if !matches!(url.kind, Kind::One | Kind::Unix) {
        return wrong("this url is not that of one node; it takes redis://, rediss:// or unix://");
    }
    if PROPERTIES
        .iter()
        .any(|property| (property.shown)(&url.parameters).is_some())
    {
        return wrong("the url of a node takes no parameter but db, username and password");
    }
    match url.into_target(String::new(), (None, None)) {
        Target::One(endpoint) => Ok(endpoint),
        _ => wrong("this url is not that of one node"),
    }
}
