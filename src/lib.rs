#![deny(unsafe_code)]
#![warn(missing_docs)]
//! redkeep

mod clock;
mod config;
mod error;
mod transport;

pub use error::{Error, ErrorKind, Outcome, Result};
