//! Configuration.
//!
//! ```text
//! property   the table: every name, type, range, default, variable and meaning    (rule, value)
//!    │
//!    ├─ Config: builder · set/get/dump by name · environment · parameters of a url
//!    ▼
//! resolve  → Target: where to go   (url, address)     Settings: how to work there
//! ```

mod address;
mod complaint;
mod credentials;
mod documentation;
mod dsn;
mod environment;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod hook;
mod mask;
mod percent;
mod property;
mod rule;
mod secret;
mod setting;
mod settings;
mod target;
#[cfg(test)]
mod tests;
mod url;
mod value;

pub(crate) use address::{Address, Endpoint};
pub use credentials::Credentials;
pub(crate) use credentials::Provider;
pub use hook::{CommandEnd, CommandStart};
pub use property::Config;
pub(crate) use secret::Secret;
pub(crate) use setting::Setting;
pub(crate) use settings::{EmbeddedServer, Settings};
pub(crate) use target::{Target, endpoint};
pub use value::ReadFrom;

use crate::error::{Error, ErrorKind, Result};
use property::{PROPERTIES, Property};
use rule::Rule;
use serde_json::Value as Json;
use std::fmt;

impl Config {
    /// Nothing set: every property has its default.
    #[must_use]
    pub fn new() -> Config {
        Config::default()
    }

    /// A configuration of this url alone, which is checked at once.
    ///
    /// ```
    /// use redkeep::Config;
    ///
    /// let config = Config::from_url("rediss://:secret@example.org/2?command_timeout=500ms")?;
    /// assert!(!format!("{config:?}").contains("secret"));
    /// # redkeep::Result::Ok(())
    /// ```
    pub fn from_url(url: impl Into<String>) -> Result<Config> {
        let config = Config::new().url(url);
        config.validate()?;
        Ok(config)
    }

    /// Sets a property by its name, from text. A name that no property has and a value that the property does not
    /// take are errors, and leave everything as it was.
    ///
    /// A time is a number of seconds (`0.5`) or carries its unit (`500ms`); a flag is `true` or `false`, also `1`,
    /// `0`, `yes`, `no`, `on`, `off`; a number of bytes may carry `KiB`, `MiB`, `GiB`, `KB`, `MB` or `GB`; `off` is
    /// another word for 0 where 0 switches something off.
    ///
    /// ```
    /// use redkeep::{Config, ErrorKind};
    ///
    /// let mut config = Config::new();
    /// config.set("command_timeout", "500ms")?;
    ///
    /// let error = config.set("max_connections", "0").unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::BadValue);
    /// assert_eq!(
    ///     error.to_string(),
    ///     "max_connections: 0 is not allowed; it takes a whole number from 1 to 10000"
    /// );
    /// # redkeep::Result::Ok(())
    /// ```
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let property = property::find(name).ok_or_else(|| complaint::unknown(name))?;
        // On one of its own first, so that no other property's fault is reported here.
        let mut alone = Config::new();
        if !(property.store)(&mut alone, value) {
            return Err(complaint::bad_value(property, value));
        }
        alone.check_urls()?;
        *self = alone.over(std::mem::take(self));
        Ok(())
    }

    /// The value of a property by its name, as text that [`set`](Config::set) understands: the one that was set, or
    /// else its default; none where there is neither. Passwords are given as they are.
    ///
    /// ```
    /// use redkeep::Config;
    ///
    /// let config = Config::new().password("secret");
    /// assert_eq!(config.get("password")?.as_deref(), Some("secret"));
    /// assert_eq!(config.get("port")?.as_deref(), Some("6379"));
    /// assert_eq!(config.get("username")?, None);
    /// # redkeep::Result::Ok(())
    /// ```
    pub fn get(&self, name: &str) -> Result<Option<String>> {
        let property = property::find(name).ok_or_else(|| complaint::unknown(name))?;
        Ok(self.effective(property)?.map(text))
    }

    /// Every property with its value, as a JSON object: flags and numbers as such, times as text with their unit,
    /// null where there is neither a value nor a default. Passwords are masked, also those inside urls.
    ///
    /// ```
    /// let dump = redkeep::Config::new().password("secret").port(6380).dump();
    /// assert_eq!(dump["password"], "***");
    /// assert_eq!(dump["port"], 6380);
    /// assert_eq!(dump["max_idle_time"], "300s");
    /// ```
    pub fn dump(&self) -> Json {
        let mut dump = serde_json::Map::new();
        for property in PROPERTIES {
            let value = self.effective(property).ok().flatten();
            let value = value.map_or(Json::Null, |value| mask(property, value));
            dump.insert(property.name.to_owned(), value);
        }
        Json::Object(dump)
    }

    /// Checks everything that was set, one by one and together, as opening a manager does, which then reads the
    /// files that are named.
    ///
    /// ```
    /// use redkeep::{Config, ErrorKind};
    ///
    /// let error = Config::new().workers(0).validate().unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::BadValue);
    /// ```
    pub fn validate(&self) -> Result<()> {
        self.resolve().map(drop)
    }

    /// Every default, set.
    fn defaults() -> Result<Config> {
        let mut config = Config::new();
        for property in PROPERTIES {
            let Some(default) = property.default else {
                continue;
            };
            if !(property.store)(&mut config, default) {
                let text = format!("the default of {} is not allowed", property.name);
                return Err(Error::new(ErrorKind::Internal, text));
            }
        }
        Ok(config)
    }

    /// The value that was set, as text.
    fn shown(&self, property: &Property) -> Option<String> {
        (property.shown)(self).map(text)
    }

    /// The value that was set, or else the default.
    fn effective(&self, property: &Property) -> Result<Option<Json>> {
        let set = (property.shown)(self);
        // A url beside the host that is really used would mislead.
        let elsewhere = matches!(property.rule, Rule::Url) && self.has_parts();
        match set {
            None if !elsewhere => Ok((property.shown)(&Config::defaults()?)),
            set => Ok(set),
        }
    }

    /// Whether any part of an address was set, so that the default url does not count.
    fn has_parts(&self) -> bool {
        self.host.is_some()
            || self.port.is_some()
            || self.db.is_some()
            || self.username.is_some()
            || self.password.is_some()
            || self.ssl.is_some()
    }
}

fn mask(property: &Property, value: Json) -> Json {
    match value {
        _ if property.secret => Json::from(secret::MASK),
        Json::String(text) if property.rule.holds_url() => Json::from(mask::masked(&text)),
        value => value,
    }
}

fn text(value: Json) -> String {
    match value {
        Json::String(text) => text,
        other => other.to_string(),
    }
}

/// Shows what was set, and no password.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Config");
        for property in PROPERTIES {
            if let Some(value) = (property.shown)(self) {
                out.field(property.name, &format_args!("{}", mask(property, value)));
            }
        }
        if let Some(provider) = &self.credentials_provider {
            out.field("credentials_provider", provider);
        }
        if let Some(hook) = &self.command_hook {
            out.field("command_hook", hook);
        }
        out.finish()
    }
}
