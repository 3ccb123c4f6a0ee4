//! Values kept in this process, for as long as the server says that they have not changed.
//!
//! ```text
//! get ─► Shelf: a hit, without the network                       listener's thread ─► Tracker ─► Shelf: forget
//!          └─ a miss ─► Trackers: does the node tell of changes?       own writes ────────────► Shelf: forget
//!                         └─► a placeholder ─► GET and PTTL, from the primary ─► Shelf: keep
//! ```

mod load;
mod shelf;
mod tally;
mod tracker;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use redis::{FromRedisValue, Value};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::client::{Client, convert, parse};
use crate::config::Setting;
use crate::error::{Error, Result};
use crate::fork::Cell;
use crate::manager::Manager;
use crate::node::{Witness, Witnesses};
use crate::stats::{Exposition, Reporter};
use crate::worker::Latch;
use load::Ask;
pub(crate) use shelf::Hash;
use shelf::{Answer, Bytes, Shelf};
use tracker::Trackers;

pub use tally::NearStats;

/// Copies of values in this process, which the server itself keeps fresh: a read of a key that is known here does not
/// use the network, and when anybody changes the key, the server says so and the copy goes.
///
/// ```
/// # fn main() -> redkeep::Result<()> {
/// # let keep = redkeep::Manager::open("embedded://")?;
/// let near = keep.near_cache(64 << 20);                   // 64 MiB
/// keep.set("greeting", "hello")?;
/// let first: Option<String> = near.get("greeting")?;      // from the server
/// let second: Option<String> = near.get("greeting")?;     // from here
/// assert_eq!(first, second);
/// keep.set("greeting", "good evening")?;
/// assert_eq!(near.get::<String>("greeting")?.as_deref(), Some("good evening"));
/// assert_eq!(near.stats()?.hits, 1);
/// # Ok(()) }
/// ```
///
/// # What is promised
///
/// - A thread that reads a key through one near cache never sees a value older than one that it saw before.
/// - When a call that writes through the same manager (a command, a pipeline, a transaction, a script with the keys that
///   it names, a leased connection) has returned, nobody reads the old value from here any more.
/// - What others write is seen when the server's word of it has arrived, usually within a millisecond. Should the
///   connection on which it comes break, everything of that node is forgotten at once, and nothing of it is kept until the
///   server tells of changes again. One that dies without a sign is noticed when the server has not answered a PING, sent
///   after a second of silence, within the lesser of `connect_timeout` and `command_timeout`.
/// - A key that expires is gone here too, by its own time to live. (Fields of a hash that expire by themselves are not
///   noticed before the server removes them.)
///
/// That a key does not exist is kept as well, except on a cluster. Misses always read from the primary, whatever
/// `read_from` says. After a failover, or when slots of a cluster move, everything of the node that lost them is forgotten
/// as soon as the manager learns of it.
///
/// # What it needs
///
/// A server from 6.0 on that allows CLIENT TRACKING, and RESP3 (property `protocol`). Where a node does not tell of
/// changes, that is said in the log once, and its keys are read from the server each time. The server sends the name of
/// every key that is changed to every process that has a near cache, unless [`prefix`](NearCache::prefix) says which are
/// wanted: name them where much is written.
///
/// A clone is the same near cache. A forked child begins with an empty one.
#[derive(Clone)]
pub struct NearCache {
    client: Client,
    options: Options,
    /// Made on first use.
    store: Arc<OnceLock<Cell<Store>>>,
}

#[derive(Clone)]
struct Options {
    max_bytes: usize,
    ttl: Duration,
    prefixes: Vec<Box<[u8]>>,
}

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// One process's copies.
struct Store {
    shelf: Arc<Shelf>,
    inside: Arc<Inside>,
    closing: Arc<Latch>,
    /// Anything is to be kept at all.
    is_on: bool,
}

/// What the manager's statistics look at.
struct Inside {
    shelf: Arc<Shelf>,
    trackers: Trackers,
    max_bytes: usize,
    /// By which it is told from the process's others.
    number: u64,
}

impl Inside {
    fn stats(&self) -> NearStats {
        let shelf = &self.shelf;
        NearStats {
            hits: shelf.tally.hits(),
            misses: shelf.tally.misses(),
            invalidations: shelf.tally.invalidations.get(),
            evictions: shelf.evictions(),
            emptied: shelf.tally.emptied.get(),
            entries: shelf.entries(),
            bytes: shelf.bytes(),
            max_bytes: self.max_bytes as u64,
            nodes: self.trackers.count(),
        }
    }
}

impl Reporter for Inside {
    fn as_json(&self) -> Json {
        let mut json = self.stats().json();
        json["cache"] = self.number.into();
        json
    }

    fn expose(&self, to: &mut Exposition) {
        self.stats().expose(to, self.number);
    }
}

impl Store {
    fn new(client: &Client, options: &Options) -> Result<Store> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let dispatch = client.dispatch()?;
        let fleet = &dispatch.topology.fleet;
        let max_bytes = match options.max_bytes {
            0 => fleet.settings.near_cache_bytes,
            bytes => bytes,
        };
        let ttl = u64::try_from(options.ttl.as_millis()).unwrap_or(u64::MAX);
        let shelf = Arc::new(Shelf::new(max_bytes, ttl));
        let witness: Arc<dyn Witness> = shelf.clone();
        let witnesses: &Witnesses = &fleet.witnesses;
        witnesses.add(Arc::downgrade(&witness));
        let inside = Arc::new(Inside {
            trackers: Trackers::new(&shelf, options.prefixes.clone().into()),
            shelf: shelf.clone(),
            max_bytes,
            number: NEXT.fetch_add(1, Ordering::Relaxed),
        });
        let reporter: Arc<dyn Reporter> = inside.clone();
        dispatch.near_caches.add(Arc::downgrade(&reporter));
        Ok(Store {
            shelf,
            inside,
            closing: fleet.closing.clone(),
            is_on: max_bytes > 0,
        })
    }
}

impl Manager {
    /// A near cache that takes about so many bytes at most; 0 stands for the property `near_cache_bytes`. Where that is 0
    /// too, nothing is kept, and every read goes to the server.
    pub fn near_cache(&self, max_bytes: usize) -> NearCache {
        NearCache {
            client: self.client(),
            options: Options {
                max_bytes,
                ttl: Duration::from_secs(3600),
                prefixes: Vec::new(),
            },
            store: Arc::default(),
        }
    }
}

impl NearCache {
    /// How long a copy is kept at most, changed or not. Defaults to an hour.
    #[must_use]
    pub fn ttl(mut self, time: Duration) -> NearCache {
        self.options.ttl = time;
        self.store = Arc::default();
        self
    }

    /// Keeps only keys that begin with this, or with one of those given before; and the server tells of changes to no
    /// others. By default, all keys are kept.
    #[must_use]
    pub fn prefix(mut self, prefix: impl AsRef<[u8]>) -> NearCache {
        self.options.prefixes.push(prefix.as_ref().into());
        self.store = Arc::default();
        self
    }

    /// The value of a key, in the type asked for; none if there is no such key.
    pub fn get<T: FromRedisValue>(&self, key: impl AsRef<[u8]>) -> Result<Option<T>> {
        self.text(key.as_ref())?.map(converted).transpose()
    }

    /// The value of a key as it is kept: shared, not copied. The fastest way to read.
    ///
    /// ```
    /// # fn main() -> redkeep::Result<()> {
    /// # let keep = redkeep::Manager::open("embedded://")?;
    /// keep.set("logo", vec![7u8; 100_000])?;
    /// let near = keep.near_cache(64 << 20);
    /// let logo: std::sync::Arc<[u8]> = near.get_shared("logo")?.unwrap();
    /// assert_eq!(logo.len(), 100_000);
    /// # Ok(()) }
    /// ```
    #[inline]
    pub fn get_shared(&self, key: impl AsRef<[u8]>) -> Result<Option<Arc<[u8]>>> {
        self.text(key.as_ref())
    }

    /// Reads a value stored as JSON; none if there is no such key. It is parsed at each call.
    pub fn get_json<T: DeserializeOwned>(&self, key: impl AsRef<[u8]>) -> Result<Option<T>> {
        let text = self.text(key.as_ref())?;
        text.map(|text| parse(&text)).transpose()
    }

    /// The values of several keys, in their order; none for each that does not exist. Those that are not known are asked
    /// for together, of each node. They are of one moment only if all come from there; MGET is for what must be.
    pub fn mget<T: FromRedisValue, K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<T>>> {
        let keys: Vec<K> = keys.into_iter().collect();
        let keys: Vec<&[u8]> = keys.iter().map(AsRef::as_ref).collect();
        let values = self.texts(&keys)?.into_iter();
        values.map(|one| one.map(converted).transpose()).collect()
    }

    /// The value of one field of a hash. What is kept is what was asked for, not the whole hash; all of it is of one moment,
    /// for which the server is asked again for the fields that are known together with one that is not. A hash of which
    /// more than 64 KiB are read field by field begins anew there: [`hgetall`](NearCache::hgetall) is better for it.
    pub fn hget<T: FromRedisValue>(
        &self,
        name: impl AsRef<[u8]>,
        field: impl AsRef<[u8]>,
    ) -> Result<Option<T>> {
        let value = self.field(name.as_ref(), field.as_ref())?;
        value.map(converted).transpose()
    }

    /// All fields of a hash with their values, in no particular order; empty if there is no such key. A
    /// [`hget`](NearCache::hget) of the same hash is answered from here too.
    ///
    /// ```
    /// # fn main() -> redkeep::Result<()> {
    /// use std::collections::HashMap;
    ///
    /// # let keep = redkeep::Manager::open("embedded://")?;
    /// keep.hset_many("user:1", [("name", "Ann"), ("city", "Bonn")])?;
    /// let near = keep.near_cache(1 << 20).prefix("user:");
    /// let user: HashMap<String, String> = near.hgetall("user:1")?;
    /// assert_eq!(user["city"], "Bonn");
    /// assert_eq!(near.hget::<String>("user:1", "name")?.as_deref(), Some("Ann"));
    /// # Ok(()) }
    /// ```
    pub fn hgetall<T: FromRedisValue>(&self, name: impl AsRef<[u8]>) -> Result<T> {
        let hash = self.hash(name.as_ref())?;
        let bytes = |bytes: &[u8]| Value::BulkString(bytes.to_vec());
        let fields = hash.fields();
        convert(Value::Map(
            fields
                .map(|(name, value)| (bytes(name), bytes(value)))
                .collect(),
        ))
    }

    /// Forgets everything.
    pub fn clear(&self) -> Result<()> {
        self.store()?.shelf.clear();
        Ok(())
    }

    /// What it has seen in this process so far.
    pub fn stats(&self) -> Result<NearStats> {
        Ok(self.store()?.inside.stats())
    }

    #[inline]
    pub(crate) fn text(&self, key: &[u8]) -> Result<Bytes> {
        let store = self.store()?;
        if let Some(text) = store.shelf.text(key) {
            store.shelf.tally.count(true);
            return Ok(text);
        }
        self.missed(store, key)
    }

    #[cold]
    fn missed(&self, store: &Store, key: &[u8]) -> Result<Bytes> {
        store.shelf.tally.count(false);
        store.load(&self.client, key, Ask::Text).map(text_of)
    }

    pub(crate) fn texts(&self, keys: &[&[u8]]) -> Result<Vec<Bytes>> {
        let store = self.store()?;
        let shelf = &store.shelf;
        let mut values: Vec<Option<Bytes>> = keys.iter().map(|key| shelf.text(key)).collect();
        let missing = |values: &[Option<Bytes>]| -> Vec<usize> {
            (0..values.len()).filter(|&i| values[i].is_none()).collect()
        };
        let missing = missing(&values);
        for value in &values {
            shelf.tally.count(value.is_some());
        }
        if !missing.is_empty() {
            let wanted: Vec<&[u8]> = missing.iter().map(|&place| keys[place]).collect();
            let answers = store.load_texts(&self.client, &wanted)?;
            for (place, answer) in missing.into_iter().zip(answers) {
                values[place] = Some(text_of(answer));
            }
        }
        Ok(values.into_iter().map(Option::flatten).collect())
    }

    pub(crate) fn field(&self, name: &[u8], field: &[u8]) -> Result<Bytes> {
        let store = self.store()?;
        let known = store.shelf.field(name, field);
        store.shelf.tally.count(known.is_some());
        match known {
            Some(value) => Ok(value),
            None => match store.load(&self.client, name, Ask::Field(field))? {
                Answer::Part(hash) => Ok(hash.get(field).flatten()),
                Answer::Text(_) | Answer::Whole(_) => Ok(None),
            },
        }
    }

    pub(crate) fn hash(&self, name: &[u8]) -> Result<Arc<Hash>> {
        let store = self.store()?;
        let known = store.shelf.hash(name);
        store.shelf.tally.count(known.is_some());
        match known {
            Some(hash) => Ok(hash),
            None => match store.load(&self.client, name, Ask::Whole)? {
                Answer::Whole(hash) => Ok(hash),
                Answer::Text(_) | Answer::Part(_) => Ok(Arc::default()),
            },
        }
    }

    pub(crate) fn option(&mut self, name: &str, value: &str) -> Result<()> {
        let setting = Setting { name, value };
        match name {
            "ttl" => self.options.ttl = setting.time(SHORTEST, LONGEST)?,
            "prefix" => self.options.prefixes.push(value.as_bytes().into()),
            _ => return Err(setting.unknown(&["ttl", "prefix"])),
        }
        self.store = Arc::default();
        Ok(())
    }

    /// This process's.
    #[inline]
    fn store(&self) -> Result<&Store> {
        let cell = match self.store.get() {
            Some(cell) => cell,
            None => self.make()?,
        };
        let store = cell.get()?;
        match store.closing.is_open() {
            false => Ok(store),
            true => Err(Error::closed()),
        }
    }

    #[cold]
    fn make(&self) -> Result<&Cell<Store>> {
        let ttl = self.options.ttl;
        if !(SHORTEST..=LONGEST).contains(&ttl) {
            return Err(Error::argument(format!(
                "ttl: {ttl:?} is not allowed; it takes a time from 1 ms to 10 years"
            )));
        }
        let (client, options) = (self.client.clone(), self.options.clone());
        // Outside of the OnceLock: should this process fork meanwhile, its child finds the lock free.
        let mine = Cell::new(move |_: Option<&Store>| Store::new(&client, &options))?;
        Ok(self.store.get_or_init(|| mine))
    }
}

impl std::fmt::Debug for NearCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NearCache")
    }
}

fn text_of(answer: Answer) -> Bytes {
    match answer {
        Answer::Text(value) => value,
        Answer::Part(_) | Answer::Whole(_) => None,
    }
}

fn converted<T: FromRedisValue>(bytes: Arc<[u8]>) -> Result<T> {
    convert(Value::BulkString(bytes.to_vec()))
}
