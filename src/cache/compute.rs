//! The way of a call: look, wait for who computes already, or compute.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::cache::Cache;
use crate::cache::entry::{self, Keep, Look, Place};
use crate::cache::flight::{Flights, Landing, Lead, Seat};
use crate::client::Client;
use crate::clock::{self, Moment};
use crate::error::{Error, ErrorKind, Result};
use crate::lock::Held;

/// Takes JSON text; false if it is not what is asked for.
type Read<'a> = &'a dyn Fn(&[u8]) -> bool;
/// Makes JSON text. Called once at most.
type Compute<'a> = &'a mut dyn FnMut() -> Result<Vec<u8>>;

impl Cache {
    pub(super) fn run(&self, args: &Value, read: Read<'_>, compute: Compute<'_>) -> Result<()> {
        self.valid()?;
        if !self.only_for.iter().all(|condition| condition.holds(args)) {
            return compute().map(drop);
        }
        let place = self.place(args);
        let flights = Flights::of(&self.keep)?;
        let landed = flights.landed();
        let look = self.look(&place)?;
        let entry = look.as_ref().and_then(|look| look.entry.as_ref());
        if let Some(entry) = entry.filter(|entry| entry.is_fresh() && read(&entry.text)) {
            if self.early > 0.0
                && entry.is_due(self.early)
                && let Some(lead) = flights.lead(&place.value)
            {
                self.refresh(lead, &place, look, compute);
            }
            return Ok(());
        }
        let seen = look.as_ref().and_then(Look::seen);
        match flights.board(&place.value, seen.as_ref(), self.wait)? {
            Seat::Landed(landing) => match read(&landing?) {
                true => Ok(()),
                false => Err(Error::new(
                    ErrorKind::StoredJson,
                    "what another thread computed for these arguments is not of the type asked for",
                )),
            },
            Seat::Leads(lead) => {
                // Since we looked, another may have computed it already.
                let again = flights.landed() != landed;
                let landing = self.compute_alone(&lead, &place, look, again, read, compute);
                let result = landing.as_ref().map(drop).map_err(Error::clone);
                lead.land(landing);
                result
            }
        }
    }

    /// On a miss.
    fn compute_alone(
        &self,
        lead: &Lead,
        place: &Place,
        mut look: Option<Look>,
        mut again: bool,
        read: Read<'_>,
        compute: Compute<'_>,
    ) -> Landing {
        let mut alone = None;
        if let Some(found) = &look {
            // Who replaces another of this process must not wait for the lock that the other has.
            if self.across_processes && !lead.replaces {
                let held = self.keep.lock(&place.value).acquire(self.wait);
                alone = self.or_without("the lock of a cached value was not to be had", held)?;
                again |= alone.is_some();
            }
            if found.seen().is_none() {
                let begun = place.begin_version(&self.keep);
                self.or_without("a cache has no version", begun)?;
                again = true;
            }
        }
        let alone = alone.map(|held| Alone::new(&self.keep, held));
        if again && look.is_some() {
            look = self.look(place)?;
            let entry = look.as_ref().and_then(|look| look.entry.as_ref());
            if let Some(entry) = entry.filter(|entry| entry.is_fresh() && read(&entry.text)) {
                return Ok(entry.text.as_slice().into());
            }
        }
        match self.compute_and_store(lead, place, look.as_ref(), alone, compute) {
            Ok(text) => Ok(text),
            Err(error) => {
                let entry = look.and_then(|look| look.entry);
                match entry.filter(|entry| self.stale.is_some() && read(&entry.text)) {
                    Some(entry) => {
                        self.tell("a stale value was served", &error);
                        Ok(entry.text.into())
                    }
                    None => Err(error),
                }
            }
        }
    }

    /// Before it expires: the value that is there has been read already.
    fn refresh(&self, lead: Lead, place: &Place, look: Option<Look>, compute: Compute<'_>) {
        let mut alone = None;
        if self.across_processes {
            alone = match self.keep.lock(&place.value).try_acquire() {
                Ok(Some(held)) => Some(Alone::new(&self.keep, held)),
                // Another process is at it, or Redis has gone: it can wait.
                _ => return lead.land(current(look)),
            };
        }
        let landing = self.compute_and_store(&lead, place, look.as_ref(), alone, compute);
        lead.land(landing.or_else(|error| {
            self.tell("a value was not computed anew before its time", &error);
            current(look)
        }));
    }

    fn compute_and_store(
        &self,
        lead: &Lead,
        place: &Place,
        look: Option<&Look>,
        mut alone: Option<Alone<'_>>,
        compute: Compute<'_>,
    ) -> Landing {
        let seen = look.and_then(Look::seen);
        lead.begins(seen.clone());
        let started = Moment::now();
        let text = compute()?;
        if let (Some(seen), Some(keep)) = (seen, self.keep_for(&text, started.elapsed())) {
            let helper = alone.as_mut().map(Alone::helper);
            let stored = place.store(&self.keep, &seen, &text, &keep, helper);
            if let Err(error) = stored {
                self.keep
                    .swallow("a value was not stored in the cache", &error);
            }
        }
        Ok(text.into())
    }

    /// For how long; none for what is not kept.
    fn keep_for(&self, text: &[u8], took: Duration) -> Option<Keep> {
        let empty = is_empty(text);
        let time = match empty {
            true => self.negative?,
            false => self.expire,
        };
        Some(Keep {
            fresh: time.mul_f64(1.0 - self.jitter * clock::share()),
            stale: self.stale.filter(|_| !empty).unwrap_or_default(),
            took,
        })
    }

    fn look(&self, place: &Place) -> Result<Option<Look>> {
        let freshness = self.stale.is_some() || self.early > 0.0;
        let look = place.look(&self.keep, freshness);
        self.or_without("a cache was not read", look)
    }

    /// Redis is not needed: without it, things go on. But not on a manager that was closed.
    fn or_without<T>(&self, what: &str, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.kind() == ErrorKind::Closed => Err(error),
            Err(error) => {
                self.keep.swallow(what, &error);
                Ok(None)
            }
        }
    }

    /// Of what a function's error says, the log gets nothing: there may be values in it.
    fn tell(&self, what: &str, error: &Error) {
        let bare = Error::new(error.kind(), "the function failed");
        self.keep.swallow(what, &bare);
    }
}

fn current(look: Option<Look>) -> Landing {
    let entry = look.and_then(|look| look.entry);
    Ok(entry.map_or(Arc::default(), |entry| entry.text.into()))
}

/// `null`, `""`, `[]` or `{}`.
fn is_empty(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    text.len() <= 32
        && serde_json::from_slice(text).is_ok_and(|value| match value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => false,
        })
}

/// The only one, in all processes, who computes this value. The lock's counter, which would stay for ever for each key
/// that was ever computed, is let expire.
struct Alone<'a> {
    client: &'a Client,
    held: Held,
    helped: bool,
}

impl<'a> Alone<'a> {
    fn new(client: &'a Client, held: Held) -> Alone<'a> {
        Alone {
            client,
            held,
            helped: false,
        }
    }

    /// The key of that counter, for whoever sees to it.
    fn helper(&mut self) -> &str {
        self.helped = true;
        self.held.fence_key()
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        if !self.helped {
            // If it stays, it stays.
            let _ = entry::let_go(self.client, self.held.fence_key());
        }
    }
}
