//! TLS: what is agreed on works like plain connections, what cannot be is refused with its own message.
#![cfg(feature = "tls")]

mod support;

mod tls {
    mod calls;
    mod faults;
    mod trust;
}

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use redkeep::{Config, Error, ErrorKind, Manager, Outcome};
use support::{
    Authority, Cluster, Fault, PATIENCE, Proxy, Sentinels, Server, Way, alone, descriptors,
    wait_until,
};

const TIME: Duration = Duration::from_millis(250);

/// An authority, and a server of it that is known as localhost and asks no client for a certificate.
fn served(options: &[&str]) -> (Authority, Server) {
    let authority = Authority::new();
    authority.issue("server", "DNS:localhost,IP:127.0.0.1", 30);
    let server = Server::with_tls(&authority.server("server", "no"), options);
    (authority, server)
}

fn trusting(authority: &Authority, url: &str) -> Config {
    Config::new().url(url).tls_ca(authority.ca())
}

fn open(config: Config) -> Manager {
    Manager::open_config(&config).expect("a config of ours")
}

#[track_caller]
fn says(error: &Error, kind: ErrorKind, text: &str) {
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(error.to_string().contains(text), "{error:?}");
    support::figure(error);
}

#[track_caller]
fn refused(config: Config) -> Error {
    let config = config.command_timeout(Duration::from_secs(2));
    let keep = open(config.health_check_interval(Duration::ZERO));
    let error = keep.get::<String>("a").unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotSent, "{error:?}");
    error
}
