//! Guides: how to do it, page by page. There is nothing here but text; every program in it is compiled and run by the
//! tests, in Rust with `cargo test --doc`, in C and C++ with `make test-c`.
//!
//! | guide | for whom |
//! |---|---|
//! | [`from_hiredis`] | C programs that use hiredis |
//! | [`from_redis_plus_plus`] | C++ programs that use redis-plus-plus |
//! | [`from_redis_py`] | programs that know redis-py, or the Python managers after which redkeep's calls are named |
//! | [`locks`] | one at a time, and what to do about those who come late |
//! | [`streams`] | messages that must not be lost |
//! | [`cluster_and_sentinel`] | many servers, and servers that are replaced |
//! | [`tls_and_credentials`] | `rediss://`, certificates, passwords that change |
//! | [`fork_and_threads`] | threads, fork, dlopen, signals, exit |
//! | [`tuning`] | pools, lines, deadlines, near cache, pipelines, and what to measure |
//!
//! Every setting, with its unit, its range and its default, is in the table of [`Config`](crate::Config).

#[doc = include_str!("guides/cluster_and_sentinel.md")]
pub mod cluster_and_sentinel {}

#[doc = include_str!("guides/fork_and_threads.md")]
pub mod fork_and_threads {}

#[doc = include_str!("guides/from_hiredis.md")]
pub mod from_hiredis {}

#[doc = include_str!("guides/from_redis_plus_plus.md")]
pub mod from_redis_plus_plus {}

#[doc = include_str!("guides/from_redis_py.md")]
pub mod from_redis_py {}

#[doc = include_str!("guides/locks.md")]
pub mod locks {}

#[doc = include_str!("guides/streams.md")]
pub mod streams {}

#[doc = include_str!("guides/tls_and_credentials.md")]
pub mod tls_and_credentials {}

#[doc = include_str!("guides/tuning.md")]
pub mod tuning {}
