//! A password that was handed over is printed nowhere, whatever goes wrong.

mod support;

use std::fmt::Write;
use std::time::Duration;

use redkeep::{Config, Manager};
use support::{
    CANARY_PASSWORD, PATIENCE, Peer, Server, collect_logs, is_clean, logged, wait_until, whole,
};

/// Everything that a manager says of itself, after it was used.
fn everything(keep: &Manager) -> String {
    let mut text = String::new();
    let _ = write!(text, "{keep:?} {:?} {:?}", keep.client(), keep.lenient());
    for result in [keep.ping(), keep.set("a", 1), keep.command("PING")] {
        if let Err(error) = result {
            text += &whole(&error);
        }
    }
    let _ = keep.lenient().get::<String>("a");
    keep.initialize();
    match keep.client().dedicated() {
        Ok(lease) => text += &format!("{lease:?} {}", lease.node()),
        Err(error) => text += &whole(&error),
    }
    let brief = Duration::from_millis(50);
    if let Err(error) = keep.wait_for_ready(None, brief, brief, 1) {
        text += &whole(&error);
    }
    if let (_, Some(error)) = keep.is_redis_connected(None) {
        text += &whole(&error);
    }
    let _ = write!(text, "{:?}", keep.health_check(None));
    let _ = write!(text, "{:?}{}", keep.fetch_pool_status(), keep.stats());
    text
}

#[test]
fn a_wrong_password_is_not_repeated() {
    collect_logs();
    let server = Server::with(&["--requirepass", "another"]);
    let address = server.address();
    for url in [
        format!("redis://:{CANARY_PASSWORD}@{address}"),
        format!("redis://ann:{CANARY_PASSWORD}@{address}/2"),
        format!("redis://{address}?password={CANARY_PASSWORD}"),
        format!("{}?password={CANARY_PASSWORD}", server.unix_url()),
    ] {
        let Ok(keep) = Manager::open(&url) else {
            is_clean(&whole(&Manager::open(&url).unwrap_err()));
            continue;
        };
        let text = everything(&keep);
        assert!(text.contains("WRONGPASS"), "{text}");
        is_clean(&text);
    }
    wait_until(PATIENCE, || logged().contains("is down"));
    is_clean(&logged());
}

#[test]
fn a_right_password_is_not_repeated() {
    collect_logs();
    let server = Server::with(&["--requirepass", CANARY_PASSWORD]);
    let keep = Manager::open(&format!("redis://:{CANARY_PASSWORD}@{}", server.address())).unwrap();
    keep.ping().unwrap();
    is_clean(&everything(&keep));
    let error = keep.get_client("redis://other:1").unwrap_err();
    is_clean(&whole(&error));
}

#[test]
fn a_server_that_reads_the_password_back_is_not_quoted() {
    collect_logs();
    let server = Server::with(&["--rename-command", "AUTH", ""]);
    let without_password = Server::start();
    for url in [
        format!("redis://:{CANARY_PASSWORD}@{}", server.address()),
        format!("redis://ann:{CANARY_PASSWORD}@{}", server.address()),
        format!("redis://:{CANARY_PASSWORD}@{}", without_password.address()),
        format!(
            "redis://{CANARY_PASSWORD}:{CANARY_PASSWORD}@{}",
            without_password.address()
        ),
    ] {
        let keep = Manager::open(&url).unwrap();
        let text = everything(&keep);
        assert!(text.contains("Auth"), "{text}");
        is_clean(&text);
    }
    let rude = Peer::answer(|request| {
        let words: Vec<_> = request.iter().map(|w| String::from_utf8_lossy(w)).collect();
        format!("-ERR I do not like {}\r\n", words.join(" "))
    });
    let keep = Manager::open(&format!("redis://:{CANARY_PASSWORD}@{}", rude.address())).unwrap();
    is_clean(&everything(&keep));
    is_clean(&logged());
}

#[test]
fn hosts_and_nodes_that_are_not_there_are_told_without_the_password() {
    collect_logs();
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    for place in ["no-such-host.invalid".to_owned(), nobody.to_string()] {
        let keep = Manager::open_config(
            &Config::new()
                .url(format!("redis://ann:{CANARY_PASSWORD}@{place}"))
                .command_timeout(Duration::from_secs(2)),
        );
        is_clean(&everything(&keep.unwrap()));
    }
    let server = Server::start();
    let keep = Manager::open(&server.url()).unwrap();
    let other = format!("redis://ann:{CANARY_PASSWORD}@{nobody}");
    is_clean(&whole(&keep.get_client(&other).unwrap_err()));
    is_clean(&whole(&keep.close_node_pools(&other).unwrap_err()));
    is_clean(&whole(&keep.health_check(Some(&other)).unwrap_err()));
    is_clean(&whole(&keep.is_redis_connected(Some(&other)).1.unwrap()));
    is_clean(&whole(&keep.add_node_pool(&other).unwrap_err()));
    is_clean(&everything(&keep));
    is_clean(&logged());
}

#[test]
fn bad_urls_and_properties_are_told_without_the_password() {
    let server = Server::start();
    let keep = Manager::open(&server.url()).unwrap();
    for url in [
        format!("redis://:{CANARY_PASSWORD}@host:99999"),
        format!("redis://:{CANARY_PASSWORD}@host:port"),
        format!("nosuch://:{CANARY_PASSWORD}@host"),
        format!("redis://:{CANARY_PASSWORD}@"),
        format!("redis://:{CANARY_PASSWORD}@ho st"),
        format!("redis://:{CANARY_PASSWORD}@host/notanumber"),
        format!("redis://:{CANARY_PASSWORD}@host?nosuch=1"),
        format!("redis://:{CANARY_PASSWORD}@host?max_connections=0"),
        format!("redis://:{CANARY_PASSWORD}%zz@host"),
        format!("redis://user:{CANARY_PASSWORD}/slash@host"),
        format!("redis://user:{CANARY_PASSWORD}#hash@host"),
        format!("redis://user:{CANARY_PASSWORD}?question@host"),
        format!("redis:/:{CANARY_PASSWORD}@host"),
        format!("redis//:{CANARY_PASSWORD}@host"),
        format!(":{CANARY_PASSWORD}@host"),
    ] {
        for result in [
            Manager::open(&url).map(drop),
            keep.add_node_pool(&url),
            keep.get_client(&url).map(drop),
            Config::new().set("url", &url),
        ] {
            if let Err(error) = result {
                is_clean(&whole(&error));
            }
        }
        let config = Config::new().url(&url);
        is_clean(&format!("{config:?} {:#?} {}", config, config.dump()));
    }
}

#[test]
fn a_config_shows_no_password() {
    let config = Config::new()
        .password(CANARY_PASSWORD)
        .username("ann")
        .startup_nodes(format!("redis://:{CANARY_PASSWORD}@a:1"));
    is_clean(&format!("{config:?} {}", config.dump()));
    let mut config = Config::new();
    config.set("password", CANARY_PASSWORD).unwrap();
    is_clean(&format!("{config:?} {}", config.dump()));
    assert_eq!(
        config.get("password").unwrap().as_deref(),
        Some(CANARY_PASSWORD)
    );
    if let Err(error) = config.set("password", &format!("{CANARY_PASSWORD}\0")) {
        is_clean(&whole(&error));
    }
}
