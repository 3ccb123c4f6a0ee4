//! The C ABI: one file per noun, no logic. Each function checks its arguments, calls the Rust API, and hands the
//! results over. The header is made from these files by `tests/header.rs`, in the order in which they stand here.
//!
//! ```text
//! rk_get(manager, key, key_len, out, err)
//!    │  boundary: outputs made neutral, arguments checked, panics caught
//!    ▼
//! Client::get_raw ──► Reply ──► rk_bytes            or Error ──► rk_error, rk_status
//! ```
// The names are those of C, in Rust too, so that one search finds Rust, header and documentation.
#![allow(unsafe_code, non_camel_case_types)]

mod version;

mod error;

mod bytes;

mod config;

mod manager;

mod options;

mod command;

mod reply;

mod connection;

mod pipeline;

mod scan;

mod lock;

mod limiter;

mod session;

mod cache;

mod near;

mod pubsub;

mod sender;

mod message;

mod consumer;

mod log;

mod hook;

mod alone;
#[cfg(test)]
mod as_c;
mod boundary;
mod userdata;
