//! Looking up host names within a deadline.
//!
//! getaddrinfo() cannot be interrupted, so it runs on a thread of its own, one per host at a time. The thread holds
//! nothing but the slot for its answer: whoever gives up waiting leaves it behind, and close() does not wait for it.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use crate::clock::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::fork::{self, lock};
use crate::sys;
use crate::transport::Lifeline;
use crate::transport::login::Desk;
use crate::worker::Latch;

/// How often a waiter looks whether its manager was closed meanwhile.
const GLANCE: Duration = Duration::from_millis(20);

/// A lookup under way, or done.
#[derive(Default)]
pub(crate) struct Lookup {
    answer: OnceLock<std::result::Result<Vec<IpAddr>, String>>,
    done: Latch,
}

impl Lookup {
    fn finish(&self, answer: std::result::Result<Vec<IpAddr>, String>) {
        let _ = self.answer.set(answer);
        self.done.open();
    }

    /// The addresses, if the answer has come.
    pub(crate) fn answer(&self, host: &str, port: u16) -> Option<Result<Vec<SocketAddr>>> {
        Some(match self.answer.get()? {
            Ok(ips) => Ok(ips.iter().map(|ip| SocketAddr::new(*ip, port)).collect()),
            Err(why) => Err(Error::new(
                ErrorKind::Resolve,
                format!("the name '{host}' could not be looked up: {why}"),
            )),
        })
    }
}

#[derive(Default)]
pub(crate) struct Resolver {
    in_flight: Mutex<HashMap<String, Arc<Lookup>>>,
    system: System,
    /// The other thing that is asked for on the way to a connection.
    pub(super) desk: Desk,
}

/// Who knows the addresses of a name.
struct System(fn(&str) -> io::Result<Vec<IpAddr>>);

impl Default for System {
    fn default() -> System {
        System(|name| {
            Ok((name, 0)
                .to_socket_addrs()?
                .map(|found| found.ip())
                .collect())
        })
    }
}

impl Resolver {
    /// With another one who knows them.
    #[cfg(test)]
    pub(crate) fn by(system: fn(&str) -> io::Result<Vec<IpAddr>>) -> Resolver {
        Resolver {
            system: System(system),
            ..Resolver::default()
        }
    }

    /// Begins to look the host up, or joins a lookup of it that is under way.
    pub(crate) fn begin(&self, host: &str) -> Arc<Lookup> {
        let lookup = Arc::new(Lookup::default());
        if let Some(ips) = known(host) {
            lookup.finish(Ok(ips));
            return lookup;
        }
        {
            let mut in_flight = lock(&self.in_flight);
            in_flight.retain(|_, lookup| !lookup.done.is_open());
            if let Some(running) = in_flight.get(host) {
                return running.clone();
            }
            in_flight.insert(host.to_owned(), lookup.clone());
        }
        let (name, slot, system) = (host.to_owned(), lookup.clone(), self.system.0);
        let started = fork::thread("redkeep-dns", move || {
            sys::block_signals();
            slot.finish(system(&name).map_err(|error| error.to_string()));
        });
        if let Err(error) = started {
            lookup.finish(Err(format!("no thread for it: {error}")));
        }
        lookup
    }

    pub(crate) fn resolve(
        &self,
        host: &str,
        port: u16,
        lifeline: &Lifeline,
        deadline: Deadline,
    ) -> Result<Vec<SocketAddr>> {
        let lookup = self.begin(host);
        while !lookup.done.wait(deadline.within(GLANCE)) {
            if lifeline.is_cut() {
                return Err(Error::closed());
            }
            if deadline.passed() {
                return Err(Error::new(
                    ErrorKind::Timeout,
                    format!("the lookup of '{host}' did not end in time"),
                ));
            }
        }
        lookup.answer(host, port).expect("a finished lookup")
    }
}

/// Hosts that need no lookup: numbers, and the name that RFC 6761 reserves for this machine.
fn known(host: &str) -> Option<Vec<IpAddr>> {
    if host.eq_ignore_ascii_case("localhost") {
        return Some(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    host.parse().ok().map(|ip| vec![ip])
}
