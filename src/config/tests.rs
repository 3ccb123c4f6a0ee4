//! Tests of the configuration; here is what they share.

mod masking;
mod names;
mod sources;
mod table;
mod urls;

use super::property::PROPERTIES;
use super::{Address, Config, Endpoint, ReadFrom, Secret, Target};
use crate::error::{Error, ErrorKind};
use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

const CANARY: &str = "c4nary";

fn kind<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorKind {
    result.unwrap_err().kind()
}

fn environment(pairs: &[(&str, &str)]) -> crate::Result<Config> {
    let pairs: HashMap<&str, &str> = pairs.iter().copied().collect();
    Config::from_lookup(|name| pairs.get(name).map(OsString::from))
}

fn tcp(host: &str, port: u16) -> Address {
    Address::Tcp {
        host: host.to_owned(),
        port,
    }
}

fn plain(host: &str, port: u16) -> Endpoint {
    Endpoint {
        address: tcp(host, port),
        db: 0,
        username: None,
        password: None,
        tls: false,
    }
}

#[test]
fn the_documentation_is_fresh() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/config/properties.md");
    let fresh = Config::documentation();
    if std::env::var_os("REDKEEP_WRITE_DOCS").is_some_and(|value| value == "1") {
        std::fs::write(path, &fresh).unwrap();
    }
    let hint = "run `REDKEEP_WRITE_DOCS=1 cargo test --lib config` to write it anew";
    assert!(
        std::fs::read_to_string(path).unwrap() == fresh,
        "{path} is out of date: {hint}"
    );
    for line in fresh.lines() {
        assert_eq!(line.matches('|').count(), 8, "{line}");
    }
}
