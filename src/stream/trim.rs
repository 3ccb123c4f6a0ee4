//! How long a stream may become.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::{Error, Result};
use crate::stream::options::{number, object, seconds, truth};

/// How long a stream may become. What is trimmed is gone, also for those who have not read it; where every message
/// counts, let consumers clean up instead (`message_cleanup` of [`ChannelOptions`](crate::ChannelOptions)).
///
/// ```
/// # fn main() -> redkeep::Result<()> {
/// # let keep = redkeep::Manager::open("embedded://")?;
/// use redkeep::{Message, Trim};
/// let sender = keep.sender().register_channel_with("ticks", Trim::Length(10_000));
/// sender.send("ticks", &Message::new("tick", &1)?)?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Trim {
    /// It is not trimmed. The default.
    #[default]
    Never,
    /// To about this many entries: the server removes whole blocks of about a hundred, which costs it next to nothing.
    Length(u64),
    /// To exactly this many entries.
    ExactLength(u64),
    /// To entries younger than about this, by this machine's clock.
    Age(Duration),
    /// To entries younger than exactly this, by this machine's clock.
    ExactAge(Duration),
}

impl Trim {
    /// From a JSON object: `max_length` (entries) or `max_age` (seconds), and `exact`.
    pub(crate) fn from_json(text: &str) -> Result<Trim> {
        let (mut length, mut age, mut exact) = (None, None, false);
        for (name, value) in &object(text, "options_json")? {
            match name.as_str() {
                "max_length" => length = Some(number(name, value)?),
                "max_age" => age = Some(seconds(name, value)?),
                "exact" => exact = truth(name, value)?,
                _ => {
                    let text = format!(
                        "options_json: no option is called {name:?}; there are max_length, max_age, exact"
                    );
                    return Err(Error::argument(text));
                }
            }
        }
        match (length, age, exact) {
            (None, None, _) => Ok(Trim::Never),
            (Some(length), None, false) => Ok(Trim::Length(length)),
            (Some(length), None, true) => Ok(Trim::ExactLength(length)),
            (None, Some(age), false) => Ok(Trim::Age(age)),
            (None, Some(age), true) => Ok(Trim::ExactAge(age)),
            (Some(_), Some(_), _) => Err(Error::argument(
                "options_json: \"max_length\" and \"max_age\" exclude each other",
            )),
        }
    }

    /// What stands between a stream's name and the entry's id.
    pub(super) fn words(self) -> Vec<String> {
        let (what, how, to) = match self {
            Trim::Never => return Vec::new(),
            Trim::Length(n) => ("MAXLEN", "~", n.to_string()),
            Trim::ExactLength(n) => ("MAXLEN", "=", n.to_string()),
            Trim::Age(age) => ("MINID", "~", oldest(age)),
            Trim::ExactAge(age) => ("MINID", "=", oldest(age)),
        };
        vec![what.to_owned(), how.to_owned(), to]
    }
}

fn oldest(age: Duration) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let ms = now.unwrap_or_default().saturating_sub(age).as_millis();
    format!("{ms}-0")
}
