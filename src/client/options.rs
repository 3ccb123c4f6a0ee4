//! The options of SET.

use crate::client::packer::Packer;
use crate::error::{Error, ErrorKind, Result};

/// How a value is to be set: for how long, and under which condition.
///
/// ```
/// use redkeep::SetOptions;
///
/// let once_for_an_hour = SetOptions::new().ex(3600).nx();
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SetOptions {
    ex: Option<i64>,
    px: Option<i64>,
    nx: bool,
    xx: bool,
    keep_ttl: bool,
}

impl SetOptions {
    /// No expiry, no condition.
    pub fn new() -> SetOptions {
        SetOptions::default()
    }

    /// Expires after this many seconds, at least 1. Excludes `px` and `keep_ttl`.
    pub fn ex(mut self, seconds: i64) -> SetOptions {
        self.ex = Some(seconds);
        self
    }

    /// Expires after this many milliseconds, at least 1. Excludes `ex` and `keep_ttl`.
    pub fn px(mut self, milliseconds: i64) -> SetOptions {
        self.px = Some(milliseconds);
        self
    }

    /// Sets only if the key does not exist. Excludes `xx`.
    pub fn nx(mut self) -> SetOptions {
        self.nx = true;
        self
    }

    /// Sets only if the key exists. Excludes `nx`.
    pub fn xx(mut self) -> SetOptions {
        self.xx = true;
        self
    }

    /// Leaves the expiry that the key has as it is. Excludes `ex` and `px`.
    pub fn keep_ttl(mut self) -> SetOptions {
        self.keep_ttl = true;
        self
    }

    /// With a condition, a second SET would answer otherwise than the first.
    pub(crate) fn is_conditional(&self) -> bool {
        self.nx || self.xx
    }

    pub(crate) fn check(&self) -> Result<()> {
        let expiries = [
            ("ex", self.ex.is_some()),
            ("px", self.px.is_some()),
            ("keep_ttl", self.keep_ttl),
        ];
        let given: Vec<_> = expiries.iter().filter(|(_, set)| *set).collect();
        if let [(first, _), (second, _), ..] = given[..] {
            return Err(conflict(first, second));
        }
        if self.nx && self.xx {
            return Err(conflict("nx", "xx"));
        }
        for (name, value) in [("ex", self.ex), ("px", self.px)] {
            if let Some(value) = value.filter(|value| *value < 1) {
                return Err(Error::argument(format!(
                    "{name}: {value} is not allowed; it takes a whole number from 1"
                )));
            }
        }
        Ok(())
    }

    pub(crate) fn pack(&self, packer: &mut Packer<'_>) {
        for (name, value) in [("EX", self.ex), ("PX", self.px)] {
            if let Some(value) = value {
                packer.bytes(name.as_bytes());
                packer.number(value);
            }
        }
        for (name, set) in [("NX", self.nx), ("XX", self.xx), ("KEEPTTL", self.keep_ttl)] {
            if set {
                packer.bytes(name.as_bytes());
            }
        }
    }
}

fn conflict(first: &str, second: &str) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("{first} and {second} exclude each other; give one of them"),
    )
}
