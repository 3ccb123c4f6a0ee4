//! What stands in for TLS in a build without it.

use crate::config::Endpoint;
use crate::error::{Error, ErrorKind, Result};

pub(crate) fn available(endpoint: &Endpoint) -> Result<()> {
    match endpoint.tls {
        true => Err(Error::new(
            ErrorKind::Tls,
            "this build of redkeep has no TLS: rediss:// and ssl=true cannot be used",
        )),
        false => Ok(()),
    }
}
