//! Tests of the properties by name, and by the builder.

use super::table::{BAD_NUMBERS, table};
use super::*;

#[test]
fn every_property_is_in_the_table_of_these_tests() {
    let tested: Vec<&str> = table().iter().map(|row| row.0).collect();
    let all: Vec<&str> = PROPERTIES.iter().map(|property| property.name).collect();
    assert_eq!(tested, all);
}

#[test]
fn every_property_has_its_default() {
    let (config, dump) = (Config::new(), Config::new().dump());
    for (name, default, ..) in table() {
        assert_eq!(config.get(name).unwrap().as_deref(), default, "{name}");
        assert_eq!(dump[name].is_null(), default.is_none(), "{name}");
    }
    config.validate().unwrap();
}

#[test]
fn what_is_set_by_name_is_what_is_got() {
    for (name, _, good, _) in table() {
        for (text, shown) in good {
            let mut config = Config::new();
            config.set(name, text).unwrap();
            let got = config.get(name).unwrap().unwrap();
            assert_eq!(got, *shown, "{name} {text}");
            config.set(name, &got).unwrap();
            assert_eq!(
                config.get(name).unwrap().unwrap(),
                got,
                "{name} a second time"
            );
        }
    }
}

#[test]
fn a_bad_value_is_refused_by_name_and_changes_nothing() {
    for (name, _, good, bad) in table() {
        let numeric = PROPERTIES
            .iter()
            .any(|p| p.name == name && p.rule.kind() == "number");
        for text in bad.iter().chain(if numeric { BAD_NUMBERS } else { &[] }) {
            let mut config = Config::new();
            config.set(name, good[0].0).unwrap();
            let error = config
                .set(name, text)
                .expect_err(&format!("{name} {text:?}"));
            assert_eq!(error.kind(), ErrorKind::BadValue, "{name} {text:?}");
            assert!(error.message().starts_with(&format!("{name}: ")), "{error}");
            assert!(!error.message().contains(['\0', '\n']), "{error}");
            assert_eq!(config.get(name).unwrap().unwrap(), good[0].1);
        }
    }
}

#[test]
fn a_bad_value_is_told_with_what_is_allowed() {
    let said = |name, text| Config::new().set(name, text).unwrap_err().to_string();
    assert_eq!(
        said("max_connections", "0"),
        "max_connections: 0 is not allowed; it takes a whole number from 1 to 10000"
    );
    assert_eq!(
        said("read_from", "x"),
        "read_from: x is not allowed; it takes primary, replica or nearest"
    );
    assert_eq!(
        said("command_timeout", "250us"),
        "command_timeout: 250us is not allowed; it takes seconds, or a number with us, ms, s, m or h, from 1ms to 24h"
    );
    assert_eq!(
        said("port", "tcp://10.0.0.1:6379"),
        "port: tcp://10.0.0.1:6379 is not allowed; it takes a whole number from 1 to 65535"
    );
    assert!(said("sentinels", "a:99999").starts_with("sentinels: port 99999 is not allowed"));
    assert!(said("workers", &"x".repeat(9999)).len() < 200);
}

#[test]
fn an_unknown_name_suggests_the_nearest() {
    let said = |name| {
        let error = Config::new().set(name, "1").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnknownProperty);
        assert_eq!(kind(Config::new().get(name)), ErrorKind::UnknownProperty);
        error.to_string()
    };
    assert_eq!(
        said("max_conections"),
        "no property is called max_conections; did you mean max_connections?"
    );
    assert_eq!(
        said("command-timeout"),
        "no property is called command-timeout; did you mean command_timeout?"
    );
    assert!(said("timeout").contains("connect_timeout"));
    assert_eq!(said("zzzzzzzz"), "no property is called zzzzzzzz");
    assert!(said("").starts_with("no property is called \"\""));
    assert!(said(&"ü".repeat(9999)).len() < 200);
}

#[test]
fn other_names_are_the_same_property() {
    for (also, name) in [
        ("connection_pools_per_node_at_start", "pools_per_node"),
        ("max_connection_size", "max_connections"),
        ("pool_size", "max_connections"),
    ] {
        let mut config = Config::new();
        config.set(also, "7").unwrap();
        assert_eq!(config.get(name).unwrap().as_deref(), Some("7"));
        assert_eq!(config.get(also).unwrap().as_deref(), Some("7"));
        assert!(config.dump().get(also).is_none());
    }
}

#[test]
fn the_builder_and_the_names_say_the_same() {
    let built = Config::new()
        .url("redis://h/1")
        .host("h")
        .port(1)
        .db(2)
        .username("u")
        .password("p")
        .ssl(true)
        .enabled(false)
        .use_cluster(true)
        .startup_nodes("a:1,b")
        .sentinels("s")
        .master_name("m")
        .sentinel_username("su")
        .sentinel_password("sp")
        .pools_per_node(2)
        .max_connections(3)
        .shared_lines(0)
        .connect_timeout(Duration::from_millis(1))
        .command_timeout(Duration::from_secs(2))
        .retry_on_timeout(false)
        .retries(0)
        .health_check_interval(Duration::ZERO)
        .cleanup_interval(Duration::from_secs(3))
        .max_idle_time(Duration::from_secs(4))
        .max_lifetime(Duration::from_secs(5))
        .lease_warning(Duration::from_secs(7))
        .slow_call(Duration::from_secs(8))
        .workers(6)
        .read_from(ReadFrom::Nearest)
        .protocol(2)
        .max_reply_bytes(4096)
        .client_name("me")
        .tls_ca("ca")
        .tls_cert("cert")
        .tls_key("key")
        .tls_server_name("name")
        .tls_insecure(true)
        .near_cache_bytes(1)
        .embedded_server("server")
        .embedded_port(7)
        .embedded_config("hz 10")
        .embedded_data("data")
        .embedded_faults(true);
    built.validate().unwrap();
    let mut named = Config::new();
    // It excludes the password; one of the two is enough here.
    let all = PROPERTIES
        .iter()
        .filter(|one| one.name != "credentials_file");
    for property in all {
        let text = built.get(property.name).unwrap().unwrap();
        named.set(property.name, &text).unwrap();
    }
    assert_eq!(format!("{built:?}"), format!("{named:?}"));
    let both = built.clone().credentials_file("file");
    assert_eq!(kind(both.validate()), ErrorKind::Conflict);

    let settings = built.settings().unwrap();
    assert_eq!(settings.health_check_interval, None);
    assert_eq!(settings.cleanup_interval, Some(Duration::from_secs(3)));
    assert_eq!(settings.read_from, ReadFrom::Nearest);
    assert_eq!(settings.tls.options.key.unwrap().to_str(), Some("key"));
}

#[test]
fn settings_have_the_defaults() {
    let settings = Config::new().settings().unwrap();
    assert!(settings.enabled && settings.retry_on_timeout && !settings.tls.options.insecure);
    assert_eq!(
        (
            settings.pools_per_node,
            settings.max_connections,
            settings.shared_lines
        ),
        (1, 10, 2)
    );
    assert_eq!(settings.connect_timeout, Duration::from_secs(5));
    assert_eq!(settings.command_timeout, Duration::from_secs(5));
    assert_eq!(
        (settings.retries, settings.workers, settings.protocol),
        (3, 2, 3)
    );
    assert_eq!(
        settings.health_check_interval,
        Some(Duration::from_secs(10))
    );
    assert_eq!(settings.cleanup_interval, Some(Duration::from_secs(30)));
    assert_eq!(settings.max_idle_time, Some(Duration::from_secs(300)));
    assert_eq!(settings.max_lifetime, None);
    assert_eq!(settings.lease_warning, Some(Duration::from_secs(60)));
    assert_eq!(settings.slow_call, None);
    assert_eq!(settings.read_from, ReadFrom::Primary);
    assert_eq!(settings.max_reply_bytes, 512 << 20);
    assert_eq!(settings.client_name, "redkeep");
    assert_eq!(
        (
            settings.tls.options.ca,
            settings.tls.options.cert,
            settings.tls.options.server_name
        ),
        (None, None, None)
    );
    assert_eq!(settings.near_cache_bytes, 0);
}

#[test]
fn nonsense_from_the_builder_is_refused_when_it_is_checked() {
    let refused = [
        Config::new().port(0),
        Config::new().db(u32::MAX),
        Config::new().host(""),
        Config::new().password("a\0b"),
        Config::new().max_connections(0),
        Config::new().max_connections(usize::MAX),
        Config::new().command_timeout(Duration::ZERO),
        Config::new().command_timeout(Duration::MAX),
        Config::new().max_lifetime(Duration::MAX),
        Config::new().max_idle_time(Duration::from_nanos(1)),
        Config::new().protocol(4),
        Config::new().client_name("a b"),
        Config::new().startup_nodes("a b"),
        Config::new().tls_cert("only"),
        Config::new().tls_key("only"),
    ];
    for config in refused {
        let error = config.validate().expect_err(&format!("{config:?}"));
        assert_eq!(error.kind(), ErrorKind::BadValue, "{config:?}");
        assert_eq!(kind(config.target()), ErrorKind::BadValue);
        assert_eq!(kind(config.redis_url()), ErrorKind::BadValue);
    }
    assert_eq!(
        kind(Config::new().url("nonsense").validate()),
        ErrorKind::Url
    );
}

#[test]
fn every_example_is_allowed_and_is_not_the_default() {
    for property in PROPERTIES {
        let mut config = Config::new();
        config.set(property.name, property.example).unwrap();
        assert_ne!(
            property.default,
            Some(property.example),
            "{}",
            property.name
        );
    }
}
