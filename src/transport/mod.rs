//! One socket: dial, greet, encode, send, read a reply; a deadline on all of it.

mod connection;
mod dial;
mod encode;
mod fault;
mod handshake;
mod login;
mod nest;
mod number;
mod reader;
mod reply;
mod resolve;
mod socket;
mod value;

#[cfg(test)]
mod batch;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod names;
#[cfg(any(test, fuzzing))]
mod oracle;

pub(crate) use connection::{Connection, Reached, unasked};
pub(crate) use dial::{Dialer, connect_error, tls_error};
pub(crate) use encode::{arg, begin_array, begin_command, command};
pub(crate) use fault::Limits;
pub(crate) use handshake::Handshake;
pub(crate) use login::Asked;
pub(crate) use reader::{Progress, Reader};
pub(crate) use reply::{Entry, Kind, Reply};
pub(crate) use resolve::{Lookup, Resolver};
pub(crate) use socket::{Lifeline, Peer, Socket};
