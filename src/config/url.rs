//! Reading urls. Nothing that may be part of a password is ever repeated in an error.

use super::address::{self, Address};
use super::complaint;
use super::percent::decode;
use super::property::{self, Config};
use super::secret::{MASK, Secret};
use super::value::digits;
use crate::error::{Error, ErrorKind, Result};
use std::path::PathBuf;

/// What a url leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    One,
    Unix,
    Sentinel,
    Cluster,
    Embedded,
}

/// Every scheme, what it leads to, and whether TLS is spoken.
const SCHEMES: [(&str, Kind, bool); 9] = [
    ("redis", Kind::One, false),
    ("rediss", Kind::One, true),
    ("unix", Kind::Unix, false),
    ("redis+unix", Kind::Unix, false),
    ("redis+sentinel", Kind::Sentinel, false),
    ("rediss+sentinel", Kind::Sentinel, true),
    ("redis+cluster", Kind::Cluster, false),
    ("rediss+cluster", Kind::Cluster, true),
    ("embedded", Kind::Embedded, false),
];

pub(super) const REDIS_PORT: u16 = 6379;
pub(super) const SENTINEL_PORT: u16 = 26379;

/// The kernel's limit on the path of a socket, less its closing NUL.
const LONGEST_SOCKET_PATH: usize = 107;

/// Properties that say what the url itself says before its `?`.
const NOT_PARAMETERS: [&str; 6] = ["url", "host", "port", "ssl", "startup_nodes", "sentinels"];

/// How to greet the servers.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Login {
    pub db: u32,
    pub username: Option<String>,
    pub password: Option<Secret>,
    pub tls: bool,
}

/// A url, understood.
#[derive(Clone)]
pub(super) struct Url {
    pub kind: Kind,
    pub servers: Vec<Address>,
    pub login: Login,
    /// What the sentinels call the primary.
    pub master: Option<String>,
    /// The properties among its parameters. Those of the login are in `login`.
    pub parameters: Config,
}

/// Its pieces, not yet decoded.
pub(super) struct Pieces<'a> {
    pub scheme: &'a str,
    /// `user:password`
    pub user: Option<&'a str>,
    /// `host:port,host:port`
    pub hosts: &'a str,
    /// With its leading slash, or empty.
    pub path: &'a str,
    pub query: Option<&'a str>,
}

impl<'a> Pieces<'a> {
    pub(super) fn of(text: &'a str) -> Option<Pieces<'a>> {
        let (scheme, rest) = text.split_once("://")?;
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query)),
            None => (rest, None),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, hosts)) => (Some(user), hosts),
            None => (None, authority),
        };
        Some(Pieces {
            scheme,
            user,
            hosts,
            path,
            query,
        })
    }

    /// A piece of the url for an error. A password in which `/`, `?` or `&` was not encoded reaches into the pieces
    /// behind it: where that is possible, none of them is shown.
    fn show(&self, piece: &str) -> String {
        let query = self.query.unwrap_or("");
        let spilled = self.path.contains('@') || query.contains('@');
        match spilled || parameters(query).any(|(name, _)| is_password(name)) {
            true => MASK.to_owned(),
            false => complaint::quote(piece),
        }
    }
}

pub(super) fn schemes() -> String {
    let names: Vec<String> = SCHEMES
        .iter()
        .map(|(name, ..)| format!("{name}://"))
        .collect();
    names.join(", ")
}

/// Reads a url of any scheme.
pub(super) fn parse(text: &str) -> Result<Url> {
    parse_as(text, None)
}

/// Reads `startup_nodes`: hosts, which are greeted with `login`; or one url; or several urls that agree on the login.
pub(super) fn nodes(text: &str, login: Login) -> Result<Url> {
    if !text.contains("://") {
        return hosts(text, Kind::Cluster, login);
    }
    let urls: Vec<&str> = text.split(',').map(str::trim).collect();
    if urls.len() == 1 || !urls.iter().all(|url| url.contains("://")) {
        return parse_as(text.trim(), Some(Kind::Cluster));
    }
    let mut all: Option<Url> = None;
    for url in urls {
        let url = parse_as(url, Some(Kind::Cluster))?;
        match &mut all {
            None => all = Some(url),
            Some(first) if first.login != url.login => {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    "the nodes of one cluster share user name, password, db and TLS, and these urls differ in them",
                ));
            }
            Some(first) => {
                first.servers.extend(url.servers);
                first.parameters = url.parameters.over(std::mem::take(&mut first.parameters));
            }
        }
    }
    all.ok_or_else(|| wrong("there is no url"))
}

/// Reads `sentinels`: hosts, behind which `login` is used; or one url.
pub(super) fn sentinels(text: &str, login: Login) -> Result<Url> {
    match text.contains("://") {
        true => parse_as(text.trim(), Some(Kind::Sentinel)),
        false => hosts(text, Kind::Sentinel, login),
    }
}

/// `like`: what the property at hand leads to. A plain `redis://` may stand for a cluster.
fn parse_as(text: &str, like: Option<Kind>) -> Result<Url> {
    if text.contains('\0') {
        return Err(wrong("a url holds no NUL byte"));
    }
    let Some(pieces) = Pieces::of(text) else {
        return Err(wrong(format!("a url begins with one of {}", schemes())));
    };
    let (kind, tls) = scheme(pieces.scheme)?;
    let kind = match (kind, like) {
        (kind, Some(like)) if kind == like => kind,
        (Kind::One, Some(Kind::Cluster)) => Kind::Cluster,
        (kind, None) => kind,
        (_, Some(_)) => {
            return Err(wrong(format!(
                "a {}:// url does not belong here",
                pieces.scheme
            )));
        }
    };
    if text.contains('#') {
        return Err(wrong(
            "'#' has no meaning in these urls; in a user name or password it is written %23, \
             and tls_insecure is a parameter",
        ));
    }

    let (username, password) = user(&pieces)?;
    let mut url = Url {
        kind,
        servers: servers(&pieces, kind)?,
        login: Login {
            db: 0,
            username,
            password,
            tls,
        },
        master: None,
        parameters: Config::new(),
    };
    read_path(&pieces, &mut url)?;
    read_query(&pieces, &mut url)?;
    if kind == Kind::Embedded && url.login != Login::default() {
        return Err(wrong(
            "embedded:// takes no user name, password or db: its server is private",
        ));
    }
    Ok(url)
}

fn scheme(name: &str) -> Result<(Kind, bool)> {
    let known = SCHEMES
        .iter()
        .find(|(known, ..)| known.eq_ignore_ascii_case(name));
    match known {
        Some((_, kind, tls)) => Ok((*kind, *tls)),
        None => {
            // Whatever does not look like the name of a scheme may be anything.
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'-' || b == b'.';
            let shown = match name.len() <= 20 && name.bytes().all(plain) {
                true => format!("{name}:// is not a scheme that is known here"),
                false => "this is not the name of a scheme".to_owned(),
            };
            Err(wrong(format!("{shown}; a url begins with {}", schemes())))
        }
    }
}

/// The user name and the password; what is empty is not there.
fn user(pieces: &Pieces) -> Result<(Option<String>, Option<Secret>)> {
    let Some(user) = pieces.user else {
        return Ok((None, None));
    };
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let decode = |text: &str| match decode(text) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => Ok(Some(text.into_owned())),
        Err(why) => Err(wrong(format!("in the user name or the password, {why}"))),
    };
    Ok((decode(name)?, decode(password)?.map(Secret::new)))
}

fn servers(pieces: &Pieces, kind: Kind) -> Result<Vec<Address>> {
    let one = |port| Ok(vec![server(pieces.hosts, port, &|text| pieces.show(text))?]);
    let several = |port| {
        let hosts = pieces.hosts.split(',');
        hosts
            .map(|host| server(host, port, &|text| pieces.show(text)))
            .collect()
    };
    match kind {
        Kind::One if pieces.hosts.contains(',') => Err(wrong(
            "only redis+cluster:// and redis+sentinel:// take several hosts",
        )),
        Kind::One => one(REDIS_PORT),
        Kind::Cluster => several(REDIS_PORT),
        Kind::Sentinel => several(SENTINEL_PORT),
        Kind::Unix if !pieces.hosts.is_empty() => Err(wrong(
            "the path of a socket begins with a slash, as in unix:///run/redis.sock",
        )),
        Kind::Unix => Ok(vec![socket(pieces)?]),
        Kind::Embedded if !pieces.hosts.is_empty() || pieces.path.len() > 1 => {
            Err(wrong("embedded:// takes no host and no path"))
        }
        Kind::Embedded => Ok(Vec::new()),
    }
}

fn socket(pieces: &Pieces) -> Result<Address> {
    let path = decode(pieces.path).map_err(|why| wrong(format!("in the path, {why}")))?;
    match path.len() {
        0 | 1 => Err(wrong(
            "the path of the socket is missing, as in unix:///run/redis.sock",
        )),
        2..=LONGEST_SOCKET_PATH => Ok(Address::Unix(PathBuf::from(path.into_owned()))),
        _ => Err(wrong(format!(
            "the path of the socket is longer than the {LONGEST_SOCKET_PATH} bytes that the system allows"
        ))),
    }
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`. `show` makes a piece of it fit for an error.
fn server(text: &str, default_port: u16, show: &dyn Fn(&str) -> String) -> Result<Address> {
    let end = match text.strip_prefix('[') {
        Some(_) => text
            .find(']')
            .map(|at| at + 1)
            .ok_or_else(|| wrong("the ']' behind an IPv6 address is missing"))?,
        None => text.find(':').unwrap_or(text.len()),
    };
    let (name, port) = text.split_at(end);
    if port.get(1..).is_some_and(|port| port.contains(':')) && !text.starts_with('[') {
        return Err(wrong(
            "an IPv6 address stands in brackets, as in [::1]:6379",
        ));
    }
    if name.is_empty() {
        return Err(wrong("the host is missing, as in redis://localhost:6379/0"));
    }
    let name = decode(name).map_err(|why| wrong(format!("in the host, {why}")))?;
    let host = address::host(&name).ok_or_else(|| {
        wrong(format!(
            "host {} is not allowed; it takes a name, an IPv4 address or an IPv6 address in brackets",
            show(&name)
        ))
    })?;
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => default_port,
        None => {
            return Err(wrong(
                "behind the ']' of an IPv6 address only a port can follow",
            ));
        }
        Some(port) => digits(port)
            .and_then(|number| u16::try_from(number).ok())
            .filter(|number| *number != 0)
            .ok_or_else(|| {
                // Without a host, as in redis://user:password, this is not a port at all.
                let shown = match port.len() <= 5 && digits(port).is_some() {
                    true => show(port),
                    false => MASK.to_owned(),
                };
                wrong(format!(
                    "port {shown} is not allowed; it takes a number from 1 to 65535"
                ))
            })?,
    };
    Ok(Address::Tcp { host, port })
}

/// A list without a scheme.
fn hosts(text: &str, kind: Kind, login: Login) -> Result<Url> {
    let port = match kind {
        Kind::Sentinel => SENTINEL_PORT,
        _ => REDIS_PORT,
    };
    let servers = text
        .split(',')
        .map(|host| server(host.trim(), port, &complaint::quote))
        .collect::<Result<_>>()?;
    Ok(Url {
        kind,
        servers,
        login,
        master: None,
        parameters: Config::new(),
    })
}

/// `/db`, or `/master/db` behind sentinels.
fn read_path(pieces: &Pieces, url: &mut Url) -> Result<()> {
    let path = pieces.path.strip_prefix('/').unwrap_or("");
    let db = match url.kind {
        Kind::Unix | Kind::Embedded => return Ok(()),
        Kind::One | Kind::Cluster => path,
        Kind::Sentinel => {
            let (master, db) = path.split_once('/').unwrap_or((path, ""));
            if master.contains('@') {
                return Err(wrong(
                    "an '@' in the name of the primary is written %40, and a '/' in a user name or password %2F",
                ));
            }
            let master = decode(master)
                .map_err(|why| wrong(format!("in the name of the primary, {why}")))?;
            url.master = (!master.is_empty()).then(|| master.into_owned());
            db
        }
    };
    if !db.is_empty() {
        url.login.db = digits(db)
            .and_then(|db| u32::try_from(db).ok())
            .filter(|db| *db <= 2_147_483_647)
            .ok_or_else(|| {
                let db = pieces.show(db);
                wrong(format!(
                    "db {db} is not allowed; it takes a whole number from 0 to 2147483647"
                ))
            })?;
    }
    Ok(())
}

fn read_query(pieces: &Pieces, url: &mut Url) -> Result<()> {
    for (name, value) in parameters(pieces.query.unwrap_or("")) {
        let name = decode(name).map_err(|why| wrong(format!("in a parameter's name, {why}")))?;
        let Some(property) = property::find(&name) else {
            return Err(complaint::unknown(&pieces.show(&name)));
        };
        let name = property.name;
        if NOT_PARAMETERS.contains(&name) {
            let text = format!("{name} cannot be a parameter: it stands before the '?'");
            return Err(wrong(text));
        }
        let value = value.ok_or_else(|| wrong(format!("the parameter {name} has no value")))?;
        let value =
            decode(value).map_err(|why| wrong(format!("in the parameter {name}, {why}")))?;
        if !(property.store)(&mut url.parameters, &value) {
            return Err(complaint::bad_value(property, &pieces.show(&value)));
        }
    }
    let login = &mut url.login;
    login.db = url.parameters.db.take().unwrap_or(login.db);
    if let Some(username) = url.parameters.username.take() {
        login.username = Some(username);
    }
    if let Some(password) = url.parameters.password.take() {
        login.password = Some(Secret::new(password));
    }
    Ok(())
}

/// The parameters, not yet decoded, and their values.
pub(super) fn parameters(query: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let some = query.split('&').filter(|parameter| !parameter.is_empty());
    some.map(|parameter| match parameter.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (parameter, None),
    })
}

pub(super) fn is_password(name: &str) -> bool {
    decode(name).is_ok_and(|name| property::find(&name).is_some_and(|found| found.secret))
}

fn wrong(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Url, text)
}
