//! The cache on a real server: computed once, kept as long as said, forgotten at once.

mod home;
mod support;

mod cache {
    mod ageing;
    mod crowds;
    mod keeping;
}

use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Barrier, mpsc};
use std::time::{Duration, Instant};

use home::Home;
use redkeep::{Cache, Config, Error, ErrorKind, Manager, Operator};
use serde_json::{Value, json};
use support::{PATIENCE, Server, is_alone, myself, wait_until};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A function that counts how often it runs, and what it made.
#[derive(Default)]
struct Work(AtomicU32);

impl Work {
    fn run(&self) -> redkeep::Result<u32> {
        Ok(self.0.fetch_add(1, Ordering::SeqCst) + 1)
    }

    fn runs(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

fn never() -> redkeep::Result<u32> {
    panic!("it is kept, and not computed")
}

/// The keys of values, without the namespaces' versions and the locks' helpers.
fn values(server: &Home) -> Vec<String> {
    server
        .keys("cache:*")
        .into_iter()
        .filter(|key| !key.ends_with(":version"))
        .collect()
}
