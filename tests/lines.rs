//! Shared lines: many callers on one connection. Each gets its own reply or a true outcome, by its own deadline, whoever
//! does the work and whatever becomes of the line.

mod support;

mod lines {
    mod breaks;
    mod deadlines;
    mod lives;
    mod ways;
}

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use redkeep::{Config, ErrorKind, LineState, Manager, Outcome, Result};
use support::{
    Fault, PATIENCE, Pauses, Peer, Proxy, Server, Signals, Way, alone, came_true, wait_until,
};

/// What a machine with other work to do may take beyond a deadline.
const MARGIN: Duration = Duration::from_millis(250);

fn with(url: &str, change: impl FnOnce(Config) -> Config) -> Manager {
    Manager::open_config(&change(Config::new().url(url))).expect("a config of ours")
}

/// Enough for a call; more than `command_timeout` would make it a call that may take long, which takes no line.
const TIME: Duration = Duration::from_secs(4);

/// One line, and one connection in the pool, which is leased: every call has to take the line.
fn one_line(url: &str, change: impl FnOnce(Config) -> Config) -> (Manager, redkeep::Lease) {
    let keep = with(url, |config| {
        let config = config.shared_lines(1).max_connections(1);
        change(config.health_check_interval(Duration::ZERO))
    });
    let held = keep.client().dedicated().unwrap();
    (keep, held)
}

fn lines(keep: &Manager) -> Vec<LineState> {
    keep.fetch_pool_status().nodes[0].lines.clone()
}

fn by_pool(keep: &Manager) -> u64 {
    keep.fetch_pool_status().nodes[0].calls_by_pool
}

/// Runs `call` in so many threads at once; the n-th gets n.
fn at_once<T: Send>(threads: usize, call: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(threads);
    thread::scope(|scope| {
        let (barrier, call) = (&barrier, &call);
        let running: Vec<_> = (0..threads)
            .map(|n| {
                scope.spawn(move || {
                    barrier.wait();
                    call(n)
                })
            })
            .collect();
        let results = running.into_iter().map(|thread| thread.join());
        results.map(|result| result.expect("no panic")).collect()
    })
}

/// The tag comes back, or an error does; never another's.
fn echo(keep: &Manager, tag: &str, time: Duration) -> Result<()> {
    let back: String = keep.command_within(("ECHO", tag), time)?;
    assert_eq!(back, tag, "another caller's reply");
    Ok(())
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = (self.0)
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }
}

/// What a counter came to must agree with what its caller was told.
fn agrees(server: &Server, key: &str, told: &Result<i64>) {
    let count: i64 = server.ask::<Option<i64>>(&["GET", key]).unwrap_or(0);
    match told {
        Ok(value) => assert_eq!((*value, count), (1, 1), "{key}"),
        Err(error) => match error.outcome() {
            Outcome::Unknown => assert!(count <= 1, "{key}: {error:?}"),
            _ => assert_eq!(count, 0, "{key}: {error:?}"),
        },
    }
}
