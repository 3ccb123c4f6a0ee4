//! What stands in for TLS in a build without it: everything that asks for TLS is refused.

use std::convert::Infallible;
use std::io;
use std::os::fd::BorrowedFd;

use crate::error::{Error, ErrorKind, Result};
use crate::sys::Sleep;
use crate::tls::Options;

#[derive(Clone, Debug)]
pub(crate) struct Tls {
    pub(crate) options: Options,
}

impl Tls {
    pub(crate) fn new(options: Options) -> Tls {
        Tls { options }
    }

    pub(crate) fn open(&self) -> Result<()> {
        match self.options.any() {
            true => Err(missing(
                "the properties tls_ca, tls_cert, tls_key, tls_server_name and tls_insecure",
            )),
            false => Ok(()),
        }
    }

    pub(crate) fn session(&self, _host: &str, _endpoint: &str) -> Result<Session> {
        Err(missing("rediss:// and ssl=true"))
    }
}

fn missing(what: &str) -> Error {
    Error::new(
        ErrorKind::Tls,
        format!("this build of redkeep has no TLS: {what} cannot be used"),
    )
}

/// There is none, ever.
pub(crate) struct Session(Infallible);

impl Session {
    pub(crate) fn shake(&self, _: BorrowedFd<'_>) -> io::Result<bool> {
        match self.0 {}
    }

    pub(crate) fn read(
        &self,
        _: BorrowedFd<'_>,
        _: &mut Vec<u8>,
        _: usize,
        _: Sleep,
    ) -> io::Result<usize> {
        match self.0 {}
    }

    pub(crate) fn write(&self, _: BorrowedFd<'_>, _: &[u8]) -> io::Result<usize> {
        match self.0 {}
    }

    pub(crate) fn flush(&self, _: BorrowedFd<'_>) -> io::Result<bool> {
        match self.0 {}
    }

    pub(crate) fn has_unsent(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn say_goodbye(&self, _: BorrowedFd<'_>) {
        match self.0 {}
    }
}
