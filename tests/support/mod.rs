//! What the integration tests stand on: real servers, a fault proxy, scripted peers, and waiting without sleeping.
//!
//! A test crate says `mod support;` and takes what it needs; what it leaves is dead code there, hence the allow.
#![allow(dead_code)]
#![allow(unused_imports)]

mod alone;
mod cluster;
mod dice;
mod figure;
mod full;
mod lines;
mod log;
mod memory;
mod outage;
mod pauses;
mod proxy;
mod script;
mod secrets;
mod sentinels;
mod server;
mod signals;
mod spawn;
mod tls;
mod wait;

pub use self::log::{collect_logs, logged};
pub use alone::{alone, descriptors, is_alone, myself, threads};
pub use cluster::{Cluster, key_in, slot};
pub use dice::{Dice, seed};
pub use figure::figure;
pub use full::Full;
pub use memory::{forget_peak, peak};
pub use outage::{End, Punctual, back};
pub use pauses::{Pause, Pauses, longest_between, takes_at_most};
pub use proxy::{Fault, Proxy, Way};
pub use script::{Answer, Peer, polite};
pub use secrets::{is_clean, whole};
pub use sentinels::Sentinels;
pub use server::{Server, named_server};
pub use signals::Signals;
pub use tls::Authority;
pub use wait::{PATIENCE, came_true, wait_for, wait_until};

/// Texts that occur nowhere by chance: what is given as a secret must not turn up in errors, logs or dumps.
pub const CANARY_PASSWORD: &str = "canary-password-5e1f09";
pub const CANARY_KEY: &str = "canary-key-77b2c4";
pub const CANARY_VALUE: &str = "canary-value-d03a86";
