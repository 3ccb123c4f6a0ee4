//! From an endpoint to an open connection: look the name up, connect, greet.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Deadline;
use crate::config::{Address, Endpoint, Settings};
use crate::error::{Error, ErrorKind, Result};
use crate::transport::connection::Connection;
use crate::transport::handshake::Handshake;
use crate::transport::resolve::Resolver;
use crate::transport::socket::{Lifeline, Peer, Socket};
use crate::transport::tls;

/// Opens connections to one endpoint.
#[derive(Clone)]
pub(crate) struct Dialer {
    pub(crate) endpoint: Endpoint,
    pub(crate) settings: Arc<Settings>,
    pub(crate) resolver: Arc<Resolver>,
    pub(crate) lifeline: Arc<Lifeline>,
}

impl Dialer {
    /// Opens a connection, greeted and ready, by the deadline and within `connect_timeout`.
    pub(crate) fn dial(&self, deadline: Deadline) -> Result<Connection> {
        tls::available(&self.endpoint)?;
        let deadline = deadline.within(self.settings.connect_timeout);
        let socket = match &self.endpoint.address {
            Address::Unix(path) => self.connect(&Peer::Unix(path), deadline)?,
            Address::Tcp { host, port } => {
                let found = self
                    .resolver
                    .resolve(host, *port, &self.lifeline, deadline)?;
                self.first_of(&found, deadline)?
            }
        };
        let mut connection = Connection::new(socket, &self.settings);
        connection
            .greet(self.handshake(), deadline)
            .map_err(|error| self.explain(error))?;
        Ok(connection)
    }

    pub(crate) fn handshake(&self) -> Handshake {
        Handshake::new(
            &self.endpoint,
            self.settings.protocol,
            &self.settings.client_name,
        )
    }

    /// Tries the addresses of a host in turn, each for its fair share of the time left.
    fn first_of(&self, found: &[std::net::SocketAddr], deadline: Deadline) -> Result<Socket> {
        let mut last = Error::new(ErrorKind::Resolve, "the name has no address");
        for (i, address) in found.iter().enumerate() {
            let left = deadline.remaining().unwrap_or(Duration::ZERO);
            let share = left / (found.len() - i) as u32;
            match self.connect(&Peer::Tcp(*address), deadline.within(share)) {
                Ok(socket) => return Ok(socket),
                Err(error) if error.kind() == ErrorKind::Closed => return Err(error),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn connect(&self, peer: &Peer<'_>, deadline: Deadline) -> Result<Socket> {
        Socket::connect(
            peer,
            self.settings.command_timeout,
            &self.lifeline,
            deadline,
        )
        .map_err(|error| self.explain(connect_error(error)))
    }

    /// A socket that close() has shut down fails like one that the network lost; only we know the difference.
    pub(crate) fn explain(&self, error: Error) -> Error {
        match self.lifeline.is_cut() {
            true => Error::closed().outcome_is(error.outcome()),
            false => error,
        }
    }
}

pub(crate) fn connect_error(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::TimedOut => {
            Error::new(ErrorKind::Timeout, "the connection was not made in time")
        }
        _ if matches!(
            error.raw_os_error(),
            Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS)
        ) =>
        {
            Error::new(ErrorKind::System, "no connection could be made").caused_by(error)
        }
        _ => Error::new(ErrorKind::Connect, "no connection could be made").caused_by(error),
    }
}
