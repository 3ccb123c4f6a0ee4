//! Writing urls: the way back from a target to the text that leads there.

use super::address::{Address, Endpoint};
use super::percent::encode;
use super::secret::Secret;
use super::target::Target;

impl Endpoint {
    /// A url that [`endpoint`] reads back as this one, the password in it.
    pub(crate) fn url(&self) -> String {
        let user = user(self.username.as_deref(), self.password.as_ref());
        match &self.address {
            Address::Tcp { .. } => {
                let server = server(&self.address);
                format!("redis{}://{user}{server}/{}", s(self.tls), self.db)
            }
            Address::Unix(path) => {
                let path = encode(&path.to_string_lossy(), "/");
                match self.db {
                    0 => format!("unix://{user}{path}"),
                    db => format!("unix://{user}{path}?db={db}"),
                }
            }
        }
    }
}

impl Target {
    /// A url that leads here, the password in it.
    pub(crate) fn url(&self) -> String {
        match self {
            Target::One(endpoint) => endpoint.url(),
            Target::Embedded => "embedded://".to_owned(),
            Target::Sentinel {
                sentinels,
                master,
                db,
                username,
                password,
                tls,
                ..
            } => format!(
                "redis{}+sentinel://{}{}/{}/{db}",
                s(*tls),
                user(username.as_deref(), password.as_ref()),
                list(sentinels.iter()),
                encode(master, ""),
            ),
            Target::Cluster { seeds } => {
                let (tls, db, user) = match seeds.first() {
                    Some(first) => (
                        first.tls,
                        first.db,
                        user(first.username.as_deref(), first.password.as_ref()),
                    ),
                    None => Default::default(),
                };
                let servers = list(seeds.iter().map(|seed| &seed.address));
                format!("redis{}+cluster://{user}{servers}/{db}", s(tls))
            }
        }
    }
}

fn s(tls: bool) -> &'static str {
    if tls { "s" } else { "" }
}

fn user(username: Option<&str>, password: Option<&Secret>) -> String {
    let username = encode(username.unwrap_or(""), "");
    match password {
        Some(password) => format!("{username}:{}@", encode(password.reveal(), "")),
        None if username.is_empty() => String::new(),
        None => format!("{username}@"),
    }
}

fn list<'a>(servers: impl Iterator<Item = &'a Address>) -> String {
    servers.map(server).collect::<Vec<_>>().join(",")
}

/// The zone of an IPv6 address is set off by a `%`, which is encoded in a url.
fn server(address: &Address) -> String {
    encode(&address.to_string(), "[]:")
}
