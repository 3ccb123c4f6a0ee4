//! How a cache is set up.

use std::time::Duration;

use serde_json::Value;

use crate::cache::key::{Condition, Written};
use crate::cache::{Cache, Operator};
use crate::config::Setting;
use crate::error::{Error, Result};

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 3600);
/// More would compute everything anew at every call.
const EAGEREST: f64 = 1000.0;

impl Cache {
    /// How long a value is kept. Defaults to an hour.
    #[must_use]
    pub fn expire(mut self, time: Duration) -> Cache {
        self.expire = time;
        self
    }

    /// The share of the time, from 0 to 1, by which a value is kept less long at most, at random, so that what was
    /// stored together does not expire together. Defaults to 0.
    #[must_use]
    pub fn jitter(mut self, share: f64) -> Cache {
        self.jitter = share;
        self
    }

    /// How eagerly a value is computed anew before it expires, by one caller, while the others go on with the one that
    /// is there: 1 is right for most, 0 is never; the longer the function takes, the earlier. If it fails then, the
    /// value that is there serves. Defaults to 0.
    #[must_use]
    pub fn early(mut self, eagerness: f64) -> Cache {
        self.early = eagerness;
        self
    }

    /// Keeps empty results too (`null`, `""`, `[]`, `{}`: there is none), for this long. Otherwise they are handed over
    /// and not stored.
    #[must_use]
    pub fn negative(mut self, time: Duration) -> Cache {
        self.negative = Some(time);
        self
    }

    /// Keeps a value for this long after it has expired, and serves it if the function fails then; that is logged.
    /// Otherwise the error is returned.
    #[must_use]
    pub fn stale(mut self, time: Duration) -> Cache {
        self.stale = Some(time);
        self
    }

    /// How long a caller waits for what another computes. If that is a thread of this process, the error is then of kind
    /// [`Timeout`](crate::ErrorKind::Timeout); if it is another process, the function runs here too. Defaults to 60 s.
    #[must_use]
    pub fn wait(mut self, time: Duration) -> Cache {
        self.wait = time;
        self
    }

    /// Whether a function runs in one process at a time for each key, by a lock; that is two more round trips on a miss.
    /// Defaults to true.
    #[must_use]
    pub fn across_processes(mut self, on: bool) -> Cache {
        self.across_processes = on;
        self
    }

    /// Arguments (keys of the outermost object) that do not matter: a database handle, a request's id.
    #[must_use]
    pub fn skip_cache_keys<S: Into<String>>(mut self, keys: impl IntoIterator<Item = S>) -> Cache {
        self.skip.extend(keys.into_iter().map(Into::into));
        self
    }

    /// Keeps only what was computed for such arguments; said more than once, all of it must hold. For others the
    /// function just runs. An argument that is not there counts as null.
    #[must_use]
    pub fn cache_only_for(
        mut self,
        kwarg: &str,
        operator: Operator,
        value: impl Into<Value>,
    ) -> Cache {
        self.only_for.push(Condition {
            kwarg: kwarg.to_owned(),
            operator,
            value: value.into(),
        });
        self
    }

    pub(crate) fn option(&mut self, name: &str, value: &str) -> Result<()> {
        let setting = Setting { name, value };
        match name {
            "expire" => self.expire = setting.time(SHORTEST, LONGEST)?,
            "jitter" => self.jitter = setting.number(0.0, 1.0)?,
            "early" => self.early = setting.number(0.0, EAGEREST)?,
            "negative" => self.negative = setting.time_or_off(SHORTEST, LONGEST)?,
            "stale" => self.stale = setting.time_or_off(SHORTEST, LONGEST)?,
            "wait" => self.wait = setting.time(Duration::ZERO, LONGEST)?,
            "across_processes" => self.across_processes = setting.flag()?,
            "skip_keys" => self.skip = words(value),
            "only_for" => {
                // What serde_json says of it names what is wrong; the text is the program's own.
                let written: Vec<Written> = serde_json::from_str(value).map_err(|why| {
                    let takes = r#"[{"kwarg": "state", "operator": "in", "value": ["used"]}, …]"#;
                    setting.bad(&format!("{takes} ({why})"))
                })?;
                let conditions: Vec<Condition> = written.into_iter().map(|it| it.0).collect();
                conditions.iter().try_for_each(Condition::check)?;
                self.only_for = conditions;
            }
            _ => {
                return Err(setting.unknown(&[
                    "expire",
                    "jitter",
                    "early",
                    "negative",
                    "stale",
                    "wait",
                    "across_processes",
                    "skip_keys",
                    "only_for",
                ]));
            }
        }
        Ok(())
    }

    pub(crate) fn valid(&self) -> Result<()> {
        if self.namespace.is_empty() || self.namespace.contains(['{', '}']) {
            return Err(Error::argument(format!(
                "namespace: {:?} is not allowed; it takes text without braces",
                self.namespace
            )));
        }
        let times = [
            ("expire", Some(self.expire)),
            ("negative", self.negative),
            ("stale", self.stale),
        ];
        for (name, time) in times {
            if let Some(time) = time.filter(|time| !(SHORTEST..=LONGEST).contains(time)) {
                return Err(Error::argument(format!(
                    "{name}: {time:?} is not allowed; it takes a time from 1 ms to 10 years"
                )));
            }
        }
        for (name, number, most) in [
            ("jitter", self.jitter, 1.0),
            ("early", self.early, EAGEREST),
        ] {
            if !(0.0..=most).contains(&number) {
                return Err(Error::argument(format!(
                    "{name}: {number} is not allowed; it takes a number from 0 to {most}"
                )));
            }
        }
        self.only_for.iter().try_for_each(Condition::check)
    }
}

/// What stands between commas.
fn words(text: &str) -> Vec<String> {
    let words = text.split(',').map(str::trim);
    words
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}
