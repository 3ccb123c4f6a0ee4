//! One computation per key in the process: the first leads, the others wait for what comes of it.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use crate::client::Client;
use crate::clock::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::fork::{self, lock};
use crate::node::Resident;

/// What was found where the value should be, before it was computed: the namespace's version, and the mark that the
/// last invalidation of the key left. A computation that began under another one is out of date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) version: String,
    pub(crate) mark: String,
}

/// JSON text, or why there is none.
pub(crate) type Landing = Result<Arc<[u8]>>;

/// The computations of one manager that are under way in this process.
#[derive(Default)]
pub(crate) struct Flights(Mutex<Table>);

#[derive(Default)]
struct Table {
    closed: bool,
    under_way: HashMap<String, Arc<Flight>>,
    /// What each thread waits for: who waits for a thread that waits for it would wait for ever.
    waiting: HashMap<ThreadId, Arc<Flight>>,
    landed: u64,
}

struct Flight {
    leader: ThreadId,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Under what the function began to run. None before that: then the leader looks once more.
    began: Option<Seen>,
    landing: Option<Landing>,
    closed: bool,
}

/// What becomes of one who asks.
pub(crate) enum Seat {
    /// It computes.
    Leads(Lead),
    /// Another has computed.
    Landed(Landing),
}

impl Flights {
    /// The manager's. Where Redis is switched off there is none, and all such managers share one.
    pub(crate) fn of(client: &Client) -> Result<Arc<Flights>> {
        static ELSEWHERE: OnceLock<fork::Cell<Arc<Flights>>> = OnceLock::new();
        if let Ok(dispatch) = client.dispatch() {
            let residents = &dispatch.topology.fleet.residents;
            return residents.get(|| Ok(Flights::default()));
        }
        if let Some(cell) = ELSEWHERE.get() {
            return cell.get().cloned();
        }
        let cell = fork::Cell::new(|_| Ok(Arc::default()))?;
        ELSEWHERE.get_or_init(|| cell).get().cloned()
    }

    /// How many have landed so far.
    pub(crate) fn landed(&self) -> u64 {
        lock(&self.0).landed
    }

    /// Leads, or waits for who does; not for one that began under something else than was seen.
    pub(crate) fn board(
        self: &Arc<Self>,
        key: &str,
        seen: Option<&Seen>,
        wait: Duration,
    ) -> Result<Seat> {
        let me = thread::current().id();
        let mut table = lock(&self.0);
        if table.closed {
            return Err(Error::closed());
        }
        let known = table.under_way.get(key);
        let replaces = known.is_some();
        let Some(flight) = known.filter(|flight| !flight.is_outdated(seen)).cloned() else {
            return Ok(Seat::Leads(self.take_off(&mut table, key, replaces)));
        };
        if table.leads_to(&flight, me) {
            return Err(Error::new(
                ErrorKind::Deadlock,
                "a function asks the cache for what is being computed by itself, or by one that waits for it",
            ));
        }
        table.waiting.insert(me, flight.clone());
        drop(table);
        let landing = flight.wait(Deadline::after(wait));
        lock(&self.0).waiting.remove(&me);
        match landing {
            Some(landing) => Ok(Seat::Landed(landing)),
            None => Err(Error::new(
                ErrorKind::Timeout,
                format!("another thread was still computing the value after {wait:?}"),
            )),
        }
    }

    /// Leads if nobody does.
    pub(crate) fn lead(self: &Arc<Self>, key: &str) -> Option<Lead> {
        let mut table = lock(&self.0);
        let free = !table.closed && !table.under_way.contains_key(key);
        free.then(|| self.take_off(&mut table, key, false))
    }

    fn take_off(self: &Arc<Self>, table: &mut Table, key: &str, replaces: bool) -> Lead {
        let flight = Arc::new(Flight {
            leader: thread::current().id(),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        table.under_way.insert(key.to_owned(), flight.clone());
        Lead {
            flights: self.clone(),
            key: key.to_owned(),
            flight,
            replaces,
            generation: fork::generation(),
        }
    }
}

impl Table {
    /// Whether who waits for this flight waits, by way of others, for this thread.
    fn leads_to(&self, flight: &Arc<Flight>, thread: ThreadId) -> bool {
        let mut flight = flight;
        loop {
            if lock(&flight.state).landing.is_some() {
                return false;
            }
            if flight.leader == thread {
                return true;
            }
            match self.waiting.get(&flight.leader) {
                Some(next) => flight = next,
                None => return false,
            }
        }
    }
}

impl Flight {
    fn is_outdated(&self, seen: Option<&Seen>) -> bool {
        let state = lock(&self.state);
        match (&state.began, seen) {
            (Some(began), Some(seen)) => began != seen,
            _ => false,
        }
    }

    fn wait(&self, deadline: Deadline) -> Option<Landing> {
        let mut state = lock(&self.state);
        loop {
            if let Some(landing) = &state.landing {
                return Some(landing.clone());
            }
            if state.closed {
                return Some(Err(Error::closed()));
            }
            let left = deadline.remaining()?;
            let woken = self.changed.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Resident for Flights {
    fn stop(&self) {
        let mut table = lock(&self.0);
        table.closed = true;
        for flight in table.waiting.values() {
            lock(&flight.state).closed = true;
            flight.changed.notify_all();
        }
    }

    fn join(&self, _: Deadline) -> bool {
        true
    }
}

/// The seat of the one who computes. However it is left, the others are woken.
pub(crate) struct Lead {
    flights: Arc<Flights>,
    key: String,
    flight: Arc<Flight>,
    /// Another computes the same in this process, from what is out of date.
    pub(crate) replaces: bool,
    generation: u64,
}

impl Lead {
    /// The function is about to run.
    pub(crate) fn begins(&self, seen: Option<Seen>) {
        lock(&self.flight.state).began = seen;
    }

    pub(crate) fn land(self, landing: Landing) {
        self.set(landing);
    }

    fn set(&self, landing: Landing) {
        // In a child that the function forked, those who wait do not exist, and the locks may never be free.
        if self.generation != fork::generation() {
            return;
        }
        {
            let mut state = lock(&self.flight.state);
            if state.landing.is_some() {
                return;
            }
            state.landing = Some(landing);
            self.flight.changed.notify_all();
        }
        let mut table = lock(&self.flights.0);
        table.landed += 1;
        let known = table.under_way.get(&self.key);
        if known.is_some_and(|known| Arc::ptr_eq(known, &self.flight)) {
            table.under_way.remove(&self.key);
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.set(Err(Error::new(
            ErrorKind::Compute,
            "the function panicked in the thread that ran it",
        )));
    }
}
