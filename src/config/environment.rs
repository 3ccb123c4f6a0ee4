//! Reading the environment. Files such as `.env` are left to whoever starts the program.

use super::complaint::said_of;
use super::property::{Config, PROPERTIES};
use crate::error::{Error, ErrorKind, Result};
use std::ffi::OsString;

impl Config {
    /// What the environment says: each property from its variable. A variable that is empty counts as unset.
    ///
    /// ```no_run
    /// let config = redkeep::Config::from_env()?;
    /// println!("{config:?}");
    /// # redkeep::Result::Ok(())
    /// ```
    pub fn from_env() -> Result<Config> {
        Config::from_lookup(|name| std::env::var_os(name))
    }

    /// The same from any other place, so that tests need not change the environment they share.
    pub(crate) fn from_lookup(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Config> {
        let mut config = Config::new();
        for property in PROPERTIES {
            let Some(variable) = property.env else {
                continue;
            };
            let Some(value) = lookup(variable).filter(|value| !value.is_empty()) else {
                continue;
            };
            let value = value.into_string().map_err(|_| {
                Error::new(
                    ErrorKind::BadValue,
                    format!("{variable}: its value is not UTF-8"),
                )
            })?;
            config
                .set(property.name, &value)
                .map_err(|error| said_of(variable, &error))?;
        }
        if config.startup_nodes.is_some() {
            config.use_cluster = Some(true);
        }
        Ok(config)
    }
}
