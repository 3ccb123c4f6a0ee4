//! Results of functions, kept for a while, and computed once for all who ask at the same time.
//!
//! ```text
//! get_or_compute ─► key: the arguments say where, and whether at all
//!                   entry: one round trip ─► a hit
//!                   flight: one per key in the process ─► lock: one per key anywhere ─► the function ─► entry
//! ```

mod compute;
mod entry;
mod flight;
mod key;
mod options;

use std::cell::Cell;
use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};
use crate::manager::Manager;
use entry::Place;
use key::Condition;
pub use key::Operator;

/// Keeps the results of a function in Redis, by its arguments.
///
/// ```
/// # fn main() -> redkeep::Result<()> {
/// # let keep = redkeep::Manager::open("embedded://")?;
/// # fn query(state: &str) -> redkeep::Result<Vec<u32>> { Ok(vec![state.len() as u32]) }
/// use std::time::Duration;
/// use redkeep::Operator;
/// use serde_json::json;
///
/// let cache = keep.cache("rows")
///     .expire(Duration::from_secs(600))
///     .cache_only_for("state", Operator::In, ["used", "new"])
///     .skip_cache_keys(["db"]);
/// let args = json!({"state": "used", "db": "replica-2"});
/// let rows: Vec<u32> = cache.get_or_compute(&args, || query("used"))?;
/// cache.invalidate(&args)?;       // this one
/// cache.invalidate_all()?;        // all of "rows", at once
/// # Ok(()) }
/// ```
///
/// A hit is one round trip. On a miss the function runs in the caller's thread, once for each key in the process, and,
/// by a lock, once for each key in all processes: whoever asks meanwhile waits for its result, or gets its error. What
/// goes wrong with Redis is logged, and the function runs; only a manager that was closed is an error.
///
/// The key is `cache:{namespace}:` and the SHA-1 of the arguments as JSON, where the order of an object's keys does not
/// matter (`1` and `1.0` are two arguments). Here the braces are part of the key: a namespace lives in one slot of a
/// cluster, where the version by which all of it is invalidated is read together with the value. What is asked for a
/// lot is better spread over several namespaces. All programs that share a namespace should set the same options.
///
/// An invalidation also holds for what is being computed at that moment: its result goes to those who had asked before,
/// and is not stored. (For one key, that is known for a minute; what takes longer may be stored all the same.)
#[derive(Clone)]
pub struct Cache {
    keep: Manager,
    namespace: Arc<str>,
    expire: Duration,
    jitter: f64,
    early: f64,
    negative: Option<Duration>,
    stale: Option<Duration>,
    wait: Duration,
    across_processes: bool,
    skip: Vec<String>,
    only_for: Vec<Condition>,
}

impl Manager {
    /// A cache of this namespace: any text without braces.
    pub fn cache(&self, namespace: &str) -> Cache {
        Cache {
            keep: self.clone(),
            namespace: namespace.into(),
            expire: Duration::from_secs(3600),
            jitter: 0.0,
            early: 0.0,
            negative: None,
            stale: None,
            wait: Duration::from_secs(60),
            across_processes: true,
            skip: Vec::new(),
            only_for: Vec::new(),
        }
    }
}

impl Cache {
    /// The value for these arguments: the one that is kept, or what the function makes of them. A kept one that is not
    /// of the type asked for is computed anew.
    ///
    /// An error of the function is returned as it is if it is one of redkeep's, and as the source of one of kind
    /// [`Compute`](ErrorKind::Compute) otherwise; those who wait for it get the same. If it panics, they get an error of
    /// that kind too. If it asks for what it is itself to compute, directly or by way of others, the error is of kind
    /// [`Deadlock`](ErrorKind::Deadlock).
    pub fn get_or_compute<A, T, E>(
        &self,
        args: &A,
        compute: impl FnOnce() -> std::result::Result<T, E>,
    ) -> Result<T>
    where
        A: Serialize + ?Sized,
        T: Serialize + DeserializeOwned,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let args = key::arguments(args)?;
        let got = Cell::new(None);
        let mut compute = Some(compute);
        let read = |text: &[u8]| match serde_json::from_slice(text) {
            Ok(value) => {
                got.set(Some(value));
                true
            }
            Err(_) => false,
        };
        let mut run = || {
            let compute = compute.take().expect("a function is run once");
            let value = compute().map_err(failed)?;
            let text = serde_json::to_vec(&value).map_err(|why| {
                let text = format!("the function's result cannot be written as JSON: {why}");
                Error::new(ErrorKind::Json, text)
            })?;
            got.set(Some(value));
            Ok(text)
        };
        self.run(&args, &read, &mut run)?;
        Ok(got.take().expect("a value was read or computed"))
    }

    /// The same on JSON text.
    pub(crate) fn text(
        &self,
        args: &str,
        compute: &mut dyn FnMut() -> Result<Vec<u8>>,
    ) -> Result<Vec<u8>> {
        let args = parsed("args_json", args)?;
        let got = Cell::new(Vec::new());
        let read = |text: &[u8]| {
            let good = serde_json::from_slice::<&serde_json::value::RawValue>(text).is_ok();
            got.set(text.to_vec());
            good
        };
        let mut run = || {
            let text = compute()?;
            got.set(text.clone());
            Ok(text)
        };
        self.run(&args, &read, &mut run)?;
        Ok(got.take())
    }

    /// Forgets the value for these arguments. What is being computed for them at this moment is not stored.
    pub fn invalidate<A: Serialize + ?Sized>(&self, args: &A) -> Result<()> {
        self.invalidate_value(&key::arguments(args)?)
    }

    pub(crate) fn invalidate_text(&self, args: &str) -> Result<()> {
        self.invalidate_value(&parsed("args_json", args)?)
    }

    fn invalidate_value(&self, args: &Value) -> Result<()> {
        self.valid()?;
        self.place(args).invalidate(&self.keep)
    }

    /// Forgets all values of the namespace at once, by giving it another version. What is left of them expires.
    pub fn invalidate_all(&self) -> Result<()> {
        self.valid()?;
        entry::invalidate_all(&self.keep, &self.namespace)
    }

    fn place(&self, args: &Value) -> Place {
        Place::new(&self.namespace, &key::digest(args, &self.skip))
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cache({})", self.namespace)
    }
}

fn failed<E: Into<Box<dyn StdError + Send + Sync>>>(error: E) -> Error {
    match error.into().downcast::<Error>() {
        Ok(ours) => *ours,
        Err(theirs) => Error::new(ErrorKind::Compute, "the function failed").caused_by_any(theirs),
    }
}

fn parsed(what: &str, json: &str) -> Result<Value> {
    serde_json::from_str(json).map_err(|why| {
        let (line, column) = (why.line(), why.column());
        let text = format!("{what}: the text is not JSON (line {line}, column {column})");
        Error::new(ErrorKind::Json, text)
    })
}
