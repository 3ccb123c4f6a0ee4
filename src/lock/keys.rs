//! The keys of one lock, and the tokens that are stored in them.
//!
//! ```text
//! lock `report`          lock:report           the holder's token, with the lease as its expiry
//!                        {lock:report}:fence   counts our acquisitions; never expires
//!                        {lock:report}:queue   tokens of those who wait, by their time of arrival
//! ```

use std::io;

use redis::{RedisWrite, ToRedisArgs};

use crate::error::{Error, ErrorKind, Result};
use crate::sys;

/// The main key and its helpers, which live in one slot of a cluster.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) main: String,
    all: Vec<String>,
}

impl Keys {
    pub(crate) fn new(prefix: &str, name: &str, helpers: &[&str]) -> Result<Keys> {
        if name.is_empty() {
            return Err(Error::argument("name: it is empty"));
        }
        let main = format!("{prefix}:{name}");
        let tag = match tag(&main) {
            Some(tag) => format!("{{{tag}}}:{main}"),
            None if main.contains('}') => {
                return Err(Error::argument(format!(
                    "name: the braces of {name:?} leave no way to name a second key in the slot of the first; use \
                     none, or a pair around a part of the name"
                )));
            }
            None => format!("{{{main}}}"),
        };
        let helpers = helpers.iter().map(|helper| format!("{tag}:{helper}"));
        Ok(Keys {
            all: std::iter::once(main.clone()).chain(helpers).collect(),
            main,
        })
    }
}

impl Keys {
    /// The first helper.
    pub(crate) fn fence(&self) -> &str {
        &self.all[1]
    }
}

impl ToRedisArgs for Keys {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        self.all
            .iter()
            .for_each(|key| out.write_arg(key.as_bytes()));
    }

    fn num_of_args(&self) -> usize {
        self.all.len()
    }
}

/// What a cluster computes the slot from, if it is not the whole key.
fn tag(key: &str) -> Option<&str> {
    let (_, rest) = key.split_once('{')?;
    let (tag, _) = rest.split_once('}')?;
    (!tag.is_empty()).then_some(tag)
}

/// Before every token of ours: whoever finds another in a lock's key knows that its holder will tell nobody when it
/// leaves.
const OURS: &str = "rk:";

/// Random digits: the name of a process towards the servers' queues.
pub(crate) fn new_id() -> Result<String> {
    sys::random::<8>().map(hex).map_err(no_randomness)
}

/// A token that nobody else has: `rk:`, the process's id, `:`, random digits.
pub(crate) fn new_token(id: &str) -> Result<String> {
    Ok(format!("{OURS}{id}:{}", new_id()?))
}

fn hex(bytes: [u8; 8]) -> String {
    format!("{:016x}", u64::from_be_bytes(bytes))
}

fn no_randomness(error: io::Error) -> Error {
    Error::new(ErrorKind::System, "the system gave no random bytes").caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(name: &str) -> Vec<String> {
        Keys::new("lock", name, &["fence"]).unwrap().all
    }

    #[test]
    fn helpers_share_the_slot_of_the_main_key() {
        assert_eq!(all("report"), ["lock:report", "{lock:report}:fence"]);
        assert_eq!(all("{u1}:x"), ["lock:{u1}:x", "{u1}:lock:{u1}:x:fence"]);
        assert_eq!(all("a{b"), ["lock:a{b", "{lock:a{b}:fence"]);
        for bad in ["a}b", "a{}b", "}{", ""] {
            let error = Keys::new("lock", bad, &["fence"]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Argument, "{bad}");
            assert!(error.message().starts_with("name: "));
        }
        for name in ["report", "{u1}:x", "a{b", "{a}{b}"] {
            let keys = all(name);
            let slot = |key: &str| tag(key).unwrap_or(key).to_owned();
            assert_eq!(slot(&keys[0]), slot(&keys[1]), "{name}");
        }
    }

    #[test]
    fn no_two_tokens_are_the_same() {
        let id = new_id().unwrap();
        let token = new_token(&id).unwrap();
        assert_eq!(token.len(), OURS.len() + 16 + 1 + 16);
        assert_ne!(token, new_token(&id).unwrap());
    }
}
