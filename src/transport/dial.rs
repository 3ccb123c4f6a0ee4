//! From an endpoint to an open connection: look the name up, connect, greet.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Deadline;
use crate::config::{Address, Credentials, Endpoint, ReadFrom, Settings};
use crate::error::{Error, ErrorKind, Result};
use crate::tls::{Failure, Session};
use crate::transport::connection::Connection;
use crate::transport::handshake::Handshake;
use crate::transport::login::Asked;
use crate::transport::resolve::Resolver;
use crate::transport::socket::{Lifeline, Peer, Socket};

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
        let deadline = deadline.within(self.settings.connect_timeout);
        let given = self.given(deadline)?;
        let result = self.dial_as(given.as_ref(), deadline);
        match &result {
            // What we were given may have been replaced in that very moment.
            Err(error) if given.is_some() && is_login_refused(error) => {
                let again = self.given(deadline)?;
                match again == given {
                    true => result,
                    false => self.dial_as(again.as_ref(), deadline),
                }
            }
            _ => result,
        }
    }

    fn dial_as(&self, given: Option<&Credentials>, deadline: Deadline) -> Result<Connection> {
        let mut socket = match &self.endpoint.address {
            Address::Unix(path) => self.connect(&Peer::Unix(path), deadline)?,
            Address::Tcp { host, port } => {
                let found = self
                    .resolver
                    .resolve(host, *port, &self.lifeline, deadline)?;
                self.first_of(&found, deadline)?
            }
        };
        if let Some(session) = self.session()? {
            socket.begin_tls(session);
            socket
                .finish_tls(deadline)
                .map_err(|error| self.explain(tls_error(error)))?;
        }
        let mut connection = Connection::new(socket, &self.settings);
        connection
            .greet(self.handshake(given), deadline)
            .map_err(|error| self.explain(error))?;
        Ok(connection)
    }

    /// The TLS of a new connection, if there is to be any.
    pub(crate) fn session(&self) -> Result<Option<Session>> {
        if !self.endpoint.tls {
            return Ok(None);
        }
        let host = match &self.endpoint.address {
            Address::Tcp { host, .. } => host,
            Address::Unix(_) => "localhost",
        };
        let endpoint = self.endpoint.address.to_string();
        self.settings.tls.session(host, &endpoint).map(Some)
    }

    /// The credentials of this moment, where they are asked for: not for an endpoint that has a password of its own.
    fn given(&self, deadline: Deadline) -> Result<Option<Credentials>> {
        match &self.settings.credentials {
            Some(provider) if self.endpoint.password.is_none() => self
                .resolver
                .desk
                .ask(provider, &self.lifeline, deadline)
                .map(Some),
            _ => Ok(None),
        }
    }

    /// Begins to ask for the credentials, for one who does not wait.
    pub(crate) fn begin_login(&self) -> Option<Arc<Asked>> {
        match &self.settings.credentials {
            Some(provider) if self.endpoint.password.is_none() => {
                Some(self.resolver.desk.begin(provider))
            }
            _ => None,
        }
    }

    pub(crate) fn handshake(&self, given: Option<&Credentials>) -> Handshake {
        Handshake::new(
            &self.endpoint,
            given,
            self.settings.protocol,
            &self.settings.client_name,
            self.settings.read_from != ReadFrom::Primary,
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

/// Whether the server itself did not let us in.
fn is_login_refused(error: &Error) -> bool {
    error.kind() == ErrorKind::Auth && error.code().is_some()
}

/// What went wrong in a TLS handshake: with the peer, or with the connection to it.
pub(crate) fn tls_error(error: io::Error) -> Error {
    if let Some(failure) = Failure::inside(&error) {
        return Error::new(ErrorKind::Tls, failure.to_string());
    }
    match error.kind() {
        io::ErrorKind::TimedOut => Error::new(
            ErrorKind::Timeout,
            "the TLS handshake was not over in time; a server that does not speak TLS may stay silent like this",
        ),
        io::ErrorKind::UnexpectedEof => Error::new(
            ErrorKind::Io,
            "the server closed the connection in the middle of the TLS handshake",
        ),
        _ => {
            Error::new(ErrorKind::Io, "the connection broke in the TLS handshake").caused_by(error)
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
