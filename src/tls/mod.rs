//! TLS: whom a manager trusts, and the session that stands between a socket and its reader.
//!
//! ```text
//!  properties tls_... ──open──> Tls ──session──> Session (one for each socket)
//!                                                 │ bytes of RESP in and out
//!                                                 ▼
//!                                               records, on the socket
//! ```

#[cfg(feature = "tls")]
mod files;
#[cfg(feature = "tls")]
mod said;
#[cfg(feature = "tls")]
mod session;
#[cfg(feature = "tls")]
mod trust;

#[cfg(not(feature = "tls"))]
mod no_tls;

#[cfg(not(feature = "tls"))]
pub(crate) use no_tls::{Session, Tls};
#[cfg(feature = "tls")]
pub(crate) use {session::Session, trust::Tls};

use std::fmt;
use std::path::PathBuf;

/// The properties `tls_...`, as they were set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) ca: Option<PathBuf>,
    pub(crate) cert: Option<PathBuf>,
    /// There when `cert` is, and only then.
    pub(crate) key: Option<PathBuf>,
    pub(crate) server_name: Option<String>,
    pub(crate) insecure: bool,
}

impl Options {
    /// Whether any of them was set.
    fn any(&self) -> bool {
        self.insecure
            || self.server_name.is_some()
            || self.ca.is_some()
            || self.cert.is_some()
            || self.key.is_some()
    }
}

/// Why a peer cannot be talked to in TLS, in a user's words. It travels inside an [`std::io::Error`].
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl Failure {
    /// The failure that this error is about, if it is one of TLS.
    pub(crate) fn inside(error: &std::io::Error) -> Option<&Failure> {
        error.get_ref()?.downcast_ref()
    }
}
