//! Where a server listens, and how to greet it.

use super::secret::Secret;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

/// Where one server listens.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Address {
    /// The host is in lower case; an IPv6 address stands without brackets, in its shortest form.
    Tcp {
        host: String,
        port: u16,
    },
    Unix(PathBuf),
}

impl Address {
    /// What a server names as its host; none where it cannot be one.
    pub(crate) fn tcp(text: &str, port: u16) -> Option<Address> {
        host(text).map(|host| Address::Tcp { host, port })
    }

    /// The same host at another port.
    pub(crate) fn with_port(&self, port: u16) -> Option<Address> {
        match self {
            Address::Tcp { host, .. } => Some(Address::Tcp {
                host: host.clone(),
                port,
            }),
            Address::Unix(_) => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// One server, and how to greet it. Two are equal when they are the same place, greeted the same way, however
/// their urls were spelled.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Endpoint {
    pub address: Address,
    pub db: u32,
    pub username: Option<String>,
    pub password: Option<Secret>,
    pub tls: bool,
}

/// A host in its one canonical spelling; none where it cannot be one. Brackets about an IPv6 address may be there
/// or not.
pub(super) fn host(text: &str) -> Option<String> {
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').filter(|bare| bare.contains(':'))?,
        None => text,
    };
    if bare.contains(':') {
        return ipv6(bare);
    }
    let named = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    let fits = !bare.is_empty() && bare.len() <= 253 && bare.chars().all(named);
    // 127.1 and the like are left to the resolver; only what is an address for certain is rewritten.
    match bare.parse::<Ipv4Addr>() {
        Ok(address) => Some(address.to_string()),
        Err(_) => fits.then(|| bare.to_ascii_lowercase()),
    }
}

/// With its zone, which a link-local address needs: `fe80::1%eth0`.
fn ipv6(text: &str) -> Option<String> {
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    let address: Ipv6Addr = address.parse().ok()?;
    let named = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    match zone {
        None => Some(address.to_string()),
        Some(zone) if !zone.is_empty() && zone.bytes().all(named) => {
            Some(format!("{address}%{zone}"))
        }
        Some(_) => None,
    }
}
