//! Locks: who holds one, who waits, and when it is over.

mod home;
mod support;

mod locks {
    mod holding;
    mod kinds;
    mod losses;
    mod waiting;
}

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use home::Home;
use redkeep::{ErrorKind, Manager, Outcome, Redlock};
use support::{Fault, PATIENCE, Pauses, Proxy, Server, Way, came_true, wait_until};

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

/// Fails if something took longer than `most`, with what the machine added to it.
#[track_caller]
fn took(time: Duration, most: Duration, pauses: Pauses) {
    let most = pauses.beside(most);
    assert!(time < most, "{time:?}, {most:?} are allowed");
}

/// How many stand in the server's queue for a lock.
fn queued(keep: &Manager, name: &str) -> i64 {
    keep.command(("ZCARD", format!("{{lock:{name}}}:queue")))
        .unwrap()
}
