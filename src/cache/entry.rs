//! What is stored, and how it goes out of date.
//!
//! ```text
//! cache:{ns}:version    a random word; whoever changes it has invalidated the namespace
//! cache:{ns}:<digest>   rk1 <version> <mark> <stale ms> <took ms>\n<JSON>      expires with the value, or what is stale
//! ```
//!
//! The namespace is the hash tag, so that one MGET reads both. An entry counts only under the version it was stored
//! under; a version that was lost (evicted, flushed) comes back as another word, so that nothing old comes back with
//! it. An invalidated key keeps a mark for a minute: what began to be computed before is not stored after.

use std::sync::OnceLock;
use std::time::Duration;

use crate::cache::flight::Seen;
use crate::client::{Client, Script, SetOptions};
use crate::clock;
use crate::error::{Error, ErrorKind, Result};
use crate::sys;

/// For how long an invalidated key keeps its mark.
const MARKED: Duration = Duration::from_secs(60);
/// What the helper of a lock lives on for when the lock has been given back.
const HELPER_LIFE_MS: u64 = 60_000;
const FORMAT: &str = "rk1";
/// No invalidation so far, no version.
const NONE: &str = "-";

/// Where one value is kept.
pub(crate) struct Place {
    pub(crate) value: String,
    version: String,
}

/// What was found there.
pub(crate) struct Look {
    version: Option<String>,
    mark: String,
    pub(crate) entry: Option<Entry>,
}

/// A value that counts.
pub(crate) struct Entry {
    pub(crate) text: Vec<u8>,
    /// How long it is fresh from now on; zero if it is stale. None if that was not asked for.
    pub(crate) fresh_for: Option<Duration>,
    /// How long it took to compute.
    pub(crate) took: Duration,
}

/// How a value is to be kept.
pub(crate) struct Keep {
    pub(crate) fresh: Duration,
    pub(crate) stale: Duration,
    pub(crate) took: Duration,
}

impl Look {
    pub(crate) fn seen(&self) -> Option<Seen> {
        let version = self.version.clone()?;
        let mark = self.mark.clone();
        Some(Seen { version, mark })
    }
}

impl Entry {
    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh_for.is_none_or(|left| !left.is_zero())
    }

    /// Whether it is to be computed anew before it expires: the sooner the longer that takes, and at random, so that
    /// one of many callers does it (Vattani, Chierichetti, Lowenstein: Optimal Probabilistic Cache Stampede Prevention).
    pub(crate) fn is_due(&self, early: f64) -> bool {
        let ahead = self.took.as_secs_f64() * early * -clock::share().ln();
        self.fresh_for
            .is_some_and(|left| ahead >= left.as_secs_f64())
    }
}

impl Place {
    pub(crate) fn new(namespace: &str, digest: &str) -> Place {
        Place {
            value: format!("cache:{{{namespace}}}:{digest}"),
            version: version_key(namespace),
        }
    }

    /// One round trip. How long the entry is fresh is told only if asked for.
    pub(crate) fn look(&self, client: &Client, freshness: bool) -> Result<Look> {
        let keys = [&self.value, &self.version];
        let (found, left) = match freshness {
            false => (client.mget(&keys)?, None),
            true => {
                let mut pipe = client.pipeline();
                pipe.command(("MGET", &keys))?;
                pipe.command(("PTTL", &self.value))?;
                let (found, left): (Vec<Option<Vec<u8>>>, i64) = pipe.query()?;
                (found, Some(Duration::from_millis(left.max(0) as u64)))
            }
        };
        let mut found = found.into_iter();
        let value: Option<Vec<u8>> = found.next().flatten();
        let version = found.next().flatten();
        let version = version.and_then(|text| String::from_utf8(text).ok());
        let mut look = Look {
            version,
            mark: NONE.to_owned(),
            entry: None,
        };
        let Some((header, text)) = value.and_then(split) else {
            return Ok(look);
        };
        look.mark = header.mark;
        if Some(header.version) == look.version && !text.is_empty() {
            look.entry = Some(Entry {
                text,
                fresh_for: left.map(|left| left.saturating_sub(header.stale)),
                took: header.took,
            });
        }
        Ok(look)
    }

    /// Gives the namespace a version, if it has none.
    pub(crate) fn begin_version(&self, client: &Client) -> Result<()> {
        let once = SetOptions::new().nx();
        client.set_with(&self.version, word()?, once).map(drop)
    }

    /// Stores a value, unless it was invalidated since it was looked for. The key of a helper, in the same slot, is let
    /// expire with it.
    pub(crate) fn store(
        &self,
        client: &Client,
        seen: &Seen,
        text: &[u8],
        keep: &Keep,
        helper: Option<&str>,
    ) -> Result<()> {
        static STORE: OnceLock<Script> = OnceLock::new();
        let store = Script::kept(
            &STORE,
            "if KEYS[3] then redis.call('PEXPIRE', KEYS[3], ARGV[5]) end
             if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
             local mark = string.match(redis.call('GET', KEYS[1]) or '', '^rk1 %S+ (%S+) ')
             if mark and mark ~= ARGV[2] then return 0 end
             redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
             return 1",
        );
        let (Seen { version, mark }, stale) = (seen, keep.stale.as_millis());
        let took = keep.took.as_millis();
        let mut entry = format!("{FORMAT} {version} {mark} {stale} {took}\n").into_bytes();
        entry.extend_from_slice(text);
        let life = (keep.fresh + keep.stale).as_millis().max(1) as u64;
        let mut keys = vec![self.value.as_str(), &self.version];
        keys.extend(helper);
        let args = (version, mark, entry, life, HELPER_LIFE_MS);
        client.eval(store, keys, args)
    }

    pub(crate) fn invalidate(&self, client: &Client) -> Result<()> {
        let entry = format!("{FORMAT} {NONE} {} 0 0\n", word()?);
        let options = SetOptions::new().px(MARKED.as_millis() as i64);
        client.set_with(&self.value, entry, options).map(drop)
    }
}

/// Lets the key of a helper expire.
pub(crate) fn let_go(client: &Client, helper: &str) -> Result<()> {
    let _: bool = client.command(("PEXPIRE", helper, HELPER_LIFE_MS))?;
    Ok(())
}

pub(crate) fn invalidate_all(client: &Client, namespace: &str) -> Result<()> {
    client.set(version_key(namespace), word()?)
}

fn version_key(namespace: &str) -> String {
    format!("cache:{{{namespace}}}:version")
}

struct Header {
    version: String,
    mark: String,
    stale: Duration,
    took: Duration,
}

/// What is not of ours is as if it were not there.
fn split(mut value: Vec<u8>) -> Option<(Header, Vec<u8>)> {
    let end = value.iter().position(|b| *b == b'\n')?;
    let text = value.split_off(end + 1);
    let line = std::str::from_utf8(&value[..end]).ok()?;
    let words: Vec<&str> = line.split(' ').collect();
    let [FORMAT, version, mark, stale, took] = words[..] else {
        return None;
    };
    let header = Header {
        version: version.to_owned(),
        mark: mark.to_owned(),
        stale: Duration::from_millis(stale.parse().ok()?),
        took: Duration::from_millis(took.parse().ok()?),
    };
    Some((header, text))
}

/// One that was never there before.
fn word() -> Result<String> {
    let bytes: [u8; 8] = sys::random().map_err(|error| {
        Error::new(ErrorKind::System, "the system gave no random bytes").caused_by(error)
    })?;
    Ok(format!("{:016x}", u64::from_be_bytes(bytes)))
}
