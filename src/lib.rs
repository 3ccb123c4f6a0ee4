#![deny(unsafe_code)]
#![warn(missing_docs)]
//! An embedded, blocking Redis and Valkey client manager: open one manager, call it from any thread, and never
//! think about connections again.
//!
//! ```
//! # fn main() -> redkeep::Result<()> {
//! use redkeep::{Manager, SetOptions};
//!
//! let keep = Manager::open("embedded://")?;            // or redis://host:6379; or Manager::from_env()?
//! keep.set("greeting", "hello")?;
//! keep.set_with("token", "xyz", SetOptions::new().ex(3600).nx())?;
//! let greeting: Option<String> = keep.get("greeting")?;
//! assert_eq!(greeting.as_deref(), Some("hello"));
//! # Ok(()) }
//! ```
//!
//! How to do what is said in [`guides`]: from hiredis, redis-plus-plus and redis-py; locks, streams, clusters, TLS, fork,
//! tuning.
//!
//! # The map
//!
//! A call goes down through these rooms and comes back once. A room knows only the rooms below it.
//!
//! | room | what it does |
//! |---|---|
//! | `ffi` | the C ABI |
//! | `cache` | results of functions |
//! | `near` | copies of values, which the server keeps fresh |
//! | `limiter` | rate limits |
//! | `lock` | locks with leases, queues and fences |
//! | `session` | sessions of users |
//! | `pubsub` | subscribers: events polled, or handed to handlers |
//! | `stream` | messages: senders and consumers |
//! | `manager` | nodes, background tasks, status, life and death |
//! | `client` | typed commands, JSON, leases, the lenient view |
//! | `dispatch` | one request in, one reply out: pick a node, send, repeat where that is safe |
//! | `topology` | which node serves this request |
//! | `node` | one server: its pools, its health, its idle connections, its push connection |
//! | `transport` | one socket: dial, greet, encode, read a reply, a deadline on all of it |
//! | `config`, `error`, `clock`, `fork`, `worker`, `stats`, `sys`, `tls` | used by all |

// The C ABI is all that uses some of what is inside.
#![cfg_attr(not(feature = "capi"), allow(dead_code))]

#[cfg(not(target_os = "linux"))]
compile_error!("redkeep runs on Linux (with glibc or musl), and on no other system yet");
#[cfg(not(target_pointer_width = "64"))]
compile_error!("redkeep runs on machines of 64 bits, and on no others yet");

mod cache;
mod client;
mod clock;
mod config;
mod dispatch;
mod error;
#[cfg(feature = "capi")]
mod ffi;
mod fork;
#[cfg(any(test, fuzzing))]
mod fuzz;
pub mod guides;
mod limiter;
mod lock;
mod manager;
mod near;
mod node;
mod pubsub;
mod session;
mod stats;
mod stream;
mod sys;
mod tls;
mod topology;
mod transport;
mod worker;

pub use cache::{Cache, Operator};
pub use client::{
    Client, Lease, Lenient, Pipeline, Replies, Scan, Script, SetOptions, Transaction,
};
pub use clock::CommandTimes;
pub use config::{CommandEnd, CommandStart, Config, Credentials, ReadFrom};
pub use error::{Error, ErrorKind, Outcome, Result};
pub use limiter::{Limiter, Verdict};
pub use lock::{Held, Lock, Redlock, RedlockHeld};
pub use manager::{
    Fault, Health, LineState, Manager, NodeRole, NodeState, NodeStatus, PoolState, PoolStatus,
    SentinelStatus, TopologyKind,
};
pub use near::{NearCache, NearStats};
pub use pubsub::{Event, Gap, HandlerResult, Overflow, Published, Subscriber, SubscriberStats};
pub use session::Sessions;
pub use stats::Histogram;
pub use stream::{ChannelOptions, Consumer, Delivery, Message, Received, Sender, StartAt, Trim};

#[doc = include_str!("security.md")]
pub mod security {}

/// The redis crate, whose types commands take and return.
pub use redis;

#[doc = include_str!("promises.md")]
pub mod promises {}

/// What fuzz/ hands to libFuzzer.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod targets {
    pub use crate::config::fuzz::urls;
    pub use crate::manager::fuzz::lines;
    pub use crate::stream::fuzz::streams;
    pub use crate::topology::fuzz::topology;
    pub use crate::transport::fuzz::replies;
}

/// The README's programs are compiled and run with the documentation's own.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
