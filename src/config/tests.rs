//! Tests of the properties by name, of the environment, of priorities and of masking; those of urls are in `urls`.

mod urls;

use super::property::PROPERTIES;
use super::{Address, Config, Endpoint, ReadFrom, Secret, Target};
use crate::error::{Error, ErrorKind};
use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

const CANARY: &str = "c4nary";

/// Property, default, then pairs of a text and what `get` gives for it, then texts that are refused.
type Row<'a> = (
    &'a str,
    Option<&'a str>,
    &'a [(&'a str, &'a str)],
    &'a [&'a str],
);

const TIMES: &[(&str, &str)] = &[
    ("0.5", "500ms"),
    ("10", "10s"),
    ("5.0", "5s"),
    ("500ms", "500ms"),
    (" 2s ", "2s"),
    ("2 S", "2s"),
    ("1m", "60s"),
    ("1h", "1h"),
    ("2500us", "2500us"),
    ("2500000ns", "2500us"),
    ("1.5s", "1500ms"),
    ("0.0015", "1500us"),
];
const BAD_TIMES: &[&str] = &[
    "",
    "x",
    "-1",
    "1d",
    "1.",
    ".5",
    "1.2.3",
    "inf",
    "nan",
    "1e3",
    "99999999999999999999",
    "100000h",
    "250us",
];
const FLAGS: &[(&str, &str)] = &[
    ("TRUE", "true"),
    ("1", "true"),
    ("Yes", "true"),
    ("on", "true"),
    ("False", "false"),
    ("0", "false"),
    ("no", "false"),
    (" OFF ", "false"),
];
const BAD_FLAGS: &[&str] = &["", "2", "maybe", "truee"];
const OFF: &[(&str, &str)] = &[
    ("0", "off"),
    ("off", "off"),
    ("OFF", "off"),
    ("0ms", "off"),
    ("1.5", "1500ms"),
];
const TEXTS: &[(&str, &str)] = &[("some text", "some text"), (" ü ", " ü ")];
const BAD_TEXTS: &[&str] = &["", "a\0b"];
const BAD_NUMBERS: &[&str] = &["", "x", "-1", "+1", "1.5", "1 2", "99999999999999999999999"];

fn table() -> Vec<Row<'static>> {
    vec![
        (
            "url",
            Some("redis://localhost:6379/0"),
            &[("unix:///x", "unix:///x")],
            &[],
        ),
        (
            "host",
            Some("localhost"),
            &[("10.0.0.1", "10.0.0.1"), ("::1", "::1")],
            &["", "a b", "a/b", "h:1", "a\0"],
        ),
        (
            "port",
            Some("6379"),
            &[("1", "1"), ("65535", "65535")],
            &["0", "65536", "tcp://10.0.0.1:6379"],
        ),
        (
            "db",
            Some("0"),
            &[("15", "15"), ("2147483647", "2147483647")],
            &["2147483648", "off"],
        ),
        ("username", None, TEXTS, BAD_TEXTS),
        ("password", None, TEXTS, BAD_TEXTS),
        ("credentials_file", None, TEXTS, BAD_TEXTS),
        ("ssl", Some("false"), FLAGS, BAD_FLAGS),
        ("enabled", Some("true"), FLAGS, BAD_FLAGS),
        ("use_cluster", Some("false"), FLAGS, BAD_FLAGS),
        (
            "startup_nodes",
            None,
            &[("a:1,b", "a:1,b")],
            &["", "a,,b", "a:0", "unix:///x", "redis+sentinel://a"],
        ),
        (
            "sentinels",
            None,
            &[("a:1,b", "a:1,b")],
            &["", "a,,b", "a:99999", "redis://a"],
        ),
        ("master_name", Some("mymaster"), TEXTS, BAD_TEXTS),
        ("sentinel_username", None, TEXTS, BAD_TEXTS),
        ("sentinel_password", None, TEXTS, BAD_TEXTS),
        ("pools_per_node", Some("1"), &[("64", "64")], &["0", "65"]),
        (
            "max_connections",
            Some("10"),
            &[("1", "1"), (" 10000 ", "10000")],
            &["0", "10001"],
        ),
        (
            "shared_lines",
            Some("2"),
            &[("0", "0"), ("off", "0"), ("64", "64")],
            &["65"],
        ),
        ("connect_timeout", Some("5s"), TIMES, BAD_TIMES),
        ("command_timeout", Some("5s"), TIMES, BAD_TIMES),
        ("retry_on_timeout", Some("true"), FLAGS, BAD_FLAGS),
        (
            "retries",
            Some("3"),
            &[("0", "0"), ("off", "0"), ("100", "100")],
            &["101"],
        ),
        ("health_check_interval", Some("10s"), OFF, BAD_TIMES),
        ("cleanup_interval", Some("30s"), OFF, BAD_TIMES),
        ("max_idle_time", Some("300s"), OFF, BAD_TIMES),
        ("max_lifetime", Some("off"), OFF, BAD_TIMES),
        ("lease_warning", Some("60s"), OFF, BAD_TIMES),
        ("slow_call", Some("off"), OFF, BAD_TIMES),
        ("workers", Some("2"), &[("256", "256")], &["0", "257"]),
        (
            "read_from",
            Some("primary"),
            &[("Replica", "replica"), ("nearest", "nearest")],
            &["", "slave"],
        ),
        (
            "protocol",
            Some("3"),
            &[("2", "2"), ("resp2", "2"), ("RESP3", "3")],
            &["1", "4", "resp"],
        ),
        (
            "max_reply_bytes",
            Some("536870912"),
            &[
                ("4096", "4096"),
                ("1KiB", "1024"),
                ("2 mib", "2097152"),
                ("1GB", "1000000000"),
                ("3kb", "3000"),
            ],
            &[
                "0",
                "1023",
                "65GiB",
                "1.5MiB",
                "1TiB",
                "99999999999999999GiB",
                "off",
            ],
        ),
        (
            "client_name",
            Some("redkeep"),
            &[("my@app", "my@app")],
            &["", "a b", "a\n", "ü"],
        ),
        ("tls_ca", None, TEXTS, BAD_TEXTS),
        ("tls_cert", None, TEXTS, BAD_TEXTS),
        ("tls_key", None, TEXTS, BAD_TEXTS),
        (
            "tls_server_name",
            None,
            &[("example.org", "example.org")],
            &["", "a b"],
        ),
        ("tls_insecure", Some("false"), FLAGS, BAD_FLAGS),
        (
            "near_cache_bytes",
            Some("0"),
            &[("off", "0"), ("64MB", "64000000"), ("64GiB", "68719476736")],
            &["65GiB"],
        ),
        ("embedded_server", None, TEXTS, BAD_TEXTS),
        (
            "embedded_port",
            None,
            &[("0", "0"), ("6390", "6390")],
            &["", "65536", "-1", "off"],
        ),
        (
            "embedded_config",
            None,
            &[("save \"\"\nmaxmemory 1mb", "save \"\"\nmaxmemory 1mb")],
            BAD_TEXTS,
        ),
        ("embedded_data", None, TEXTS, BAD_TEXTS),
        ("embedded_faults", Some("false"), FLAGS, BAD_FLAGS),
    ]
}

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
fn every_variable_is_read() {
    let variables = [
        ("REDIS_URL", "url", "redis://h/3"),
        ("REDIS_HOST", "host", "h"),
        ("REDIS_PORT", "port", "6380"),
        ("REDIS_DB", "db", "4"),
        ("REDIS_USERNAME", "username", "u"),
        ("REDIS_PASSWORD", "password", "p"),
        ("REDIS_SSL", "ssl", "true"),
        ("ENABLE_REDIS", "enabled", "false"),
        ("REDIS_CLUSTER_URL", "startup_nodes", "redis://a:1,b:2"),
        ("REDIS_SENTINELS", "sentinels", "s1,s2:26380"),
        ("REDIS_MASTER_NAME", "master_name", "m"),
        ("REDIS_SENTINEL_USERNAME", "sentinel_username", "u"),
        ("REDIS_SENTINEL_PASSWORD", "sentinel_password", "p"),
        ("REDIS_MAX_CONNECTIONS", "max_connections", "20"),
        ("REDIS_SOCKET_CONNECT_TIMEOUT", "connect_timeout", "2500ms"),
        ("REDIS_SOCKET_TIMEOUT", "command_timeout", "7s"),
        ("REDIS_RETRY_ON_TIMEOUT", "retry_on_timeout", "false"),
    ];
    let known: Vec<&str> = PROPERTIES
        .iter()
        .filter_map(|property| property.env)
        .collect();
    assert_eq!(known, variables.map(|(variable, ..)| variable));
    for (variable, name, text) in variables {
        let config = environment(&[(variable, text)]).unwrap();
        assert_eq!(
            config.get(name).unwrap().as_deref(),
            Some(text),
            "{variable}"
        );
        let cluster = variable == "REDIS_CLUSTER_URL";
        assert_eq!(
            config.get("use_cluster").unwrap().unwrap(),
            cluster.to_string()
        );
        // Nothing else was touched.
        let touched = format!("{config:?}").matches(": ").count();
        assert_eq!(touched, if cluster { 2 } else { 1 }, "{config:?}");
    }
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let config = environment(&[
        ("REDIS_URL", ""),
        ("REDIS_PORT", ""),
        ("REDIS_PASSWORD", ""),
    ])
    .unwrap();
    assert_eq!(format!("{config:?}"), "Config");
}

#[test]
fn a_bad_variable_is_named() {
    let error = environment(&[("REDIS_MAX_CONNECTIONS", "many")]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadValue);
    assert!(
        error
            .message()
            .starts_with("REDIS_MAX_CONNECTIONS: max_connections: many is not"),
        "{error}"
    );
    let error = environment(&[("REDIS_URL", "redis://h:99999")]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Url);
    assert!(
        error.message().starts_with("REDIS_URL: port 99999"),
        "{error}"
    );

    let error = Config::from_lookup(|name| {
        (name == "REDIS_PASSWORD").then(|| OsString::from_vec([b"c4nary", &[0xff][..]].concat()))
    })
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadValue);
    assert_eq!(error.message(), "REDIS_PASSWORD: its value is not UTF-8");
}

#[test]
fn a_url_that_was_set_overrides_the_parts_and_the_default_url_does_not() {
    let parts = Config::new()
        .host("other")
        .port(1)
        .db(2)
        .username("u")
        .password("p")
        .ssl(true);
    let Target::One(endpoint) = parts.target().unwrap() else {
        panic!()
    };
    assert_eq!(endpoint.address, tcp("other", 1));
    assert_eq!((endpoint.db, endpoint.tls), (2, true));
    assert_eq!(endpoint.username.as_deref(), Some("u"));
    assert_eq!(endpoint.password, Some(Secret::new("p")));
    assert_eq!(parts.get("url").unwrap(), None);
    assert_eq!(parts.redis_url().unwrap(), "rediss://u:p@other:1/2");

    assert_eq!(
        parts.url("redis://h").target().unwrap(),
        Target::One(plain("h", 6379))
    );
    assert_eq!(
        Config::new().target().unwrap(),
        Target::One(plain("localhost", 6379))
    );
    assert_eq!(
        Config::new().host("::1").redis_url().unwrap(),
        "redis://[::1]:6379/0"
    );
}

#[test]
fn a_cluster_wins_over_sentinels_which_win_over_the_url() {
    let url = ("REDIS_URL", "redis://one");
    let sentinels = ("REDIS_SENTINELS", "s1,s2:1");
    let cluster = ("REDIS_CLUSTER_URL", "redis://c1:7000");
    let target = |pairs: &[(&str, &str)]| environment(pairs).unwrap().target().unwrap();

    assert_eq!(target(&[url]), Target::One(plain("one", 6379)));
    let found = target(&[url, sentinels]);
    let Target::Sentinel {
        sentinels: found,
        master,
        ..
    } = found
    else {
        panic!("{found:?}")
    };
    assert_eq!(
        (found, master.as_str()),
        (vec![tcp("s1", 26379), tcp("s2", 1)], "mymaster")
    );
    let seeds = Target::Cluster {
        seeds: vec![plain("c1", 7000)],
    };
    assert_eq!(target(&[url, sentinels, cluster]), seeds);
    assert_eq!(target(&[url, cluster]), seeds);
}

#[test]
fn a_cluster_is_met_at_the_nodes_or_else_at_the_url() {
    let seeds = |config: Config| match config.target().unwrap() {
        Target::Cluster { seeds } => seeds,
        other => panic!("{other:?}"),
    };
    let two = vec![plain("a", 6379), plain("b", 7001)];
    for nodes in [
        "a,b:7001",
        "a:6379, b:7001",
        "redis://a,b:7001",
        "redis://a,redis://b:7001",
        "redis+cluster://a,b:7001/0",
    ] {
        assert_eq!(seeds(Config::new().startup_nodes(nodes)), two, "{nodes}");
    }
    assert_eq!(
        seeds(Config::new().use_cluster(true).url("redis://a")),
        [plain("a", 6379)]
    );
    assert_eq!(
        seeds(Config::new().use_cluster(true).host("a")),
        [plain("a", 6379)]
    );
    assert_eq!(
        seeds(Config::new().url("redis://a?use_cluster=yes")),
        [plain("a", 6379)]
    );
    assert_eq!(
        seeds(Config::new().use_cluster(true).sentinels("s").host("a")),
        [plain("a", 6379)]
    );

    let off = Config::new().startup_nodes("a").use_cluster(false);
    assert_eq!(off.target().unwrap(), Target::One(plain("localhost", 6379)));

    let login = seeds(
        Config::new()
            .startup_nodes("a")
            .username("u")
            .password("p")
            .ssl(true),
    );
    assert_eq!(
        (login[0].tls, login[0].username.as_deref()),
        (true, Some("u"))
    );
    let own = seeds(
        Config::new()
            .startup_nodes("redis://:own@a")
            .username("u")
            .password("p"),
    );
    assert_eq!(
        (&own[0].username, own[0].password.as_ref().unwrap().reveal()),
        (&None, "own")
    );

    for url in ["unix:///x", "embedded://", "redis+sentinel://a"] {
        assert_eq!(
            kind(Config::new().use_cluster(true).url(url).target()),
            ErrorKind::Conflict
        );
    }
    let differ = Config::new().startup_nodes("redis://:x@a,redis://:y@b");
    assert_eq!(kind(differ.target()), ErrorKind::Conflict);
}

#[test]
fn sentinels_take_the_login_of_the_properties_or_of_their_url() {
    let config = Config::new()
        .sentinels("s")
        .master_name("m")
        .db(3)
        .password("p")
        .ssl(true);
    assert_eq!(
        config.redis_url().unwrap(),
        "rediss+sentinel://:p@s:26379/m/3"
    );
    let config = config.sentinels("redis+sentinel://u:q@s1,s2:1/main/4");
    assert_eq!(
        config.redis_url().unwrap(),
        "redis+sentinel://u:q@s1:26379,s2:1/main/4"
    );
    let config = Config::new().url("redis+sentinel://s?master_name=m");
    assert_eq!(config.redis_url().unwrap(), "redis+sentinel://s:26379/m/0");
}

#[test]
fn no_password_is_ever_printed() {
    let configs = [
        Config::new().password(CANARY),
        Config::new().sentinel_password(CANARY),
        Config::new().url(format!("redis://u:{CANARY}@h/1")),
        Config::new().url(format!("redis://:{CANARY}@h?retries=1")),
        Config::new().url(format!("redis://:x{CANARY}@{CANARY}@h")),
        Config::new().url(format!("redis://h?password={CANARY}&retries=1")),
        Config::new().url(format!("unix:///x?p%61ssword={CANARY}")),
        Config::new().url(format!("redis://h?password=a,redis://{CANARY}")),
        Config::new().url(format!("redis+sentinel://u:{CANARY}@h/m/0")),
        Config::new().url(format!("this is no url: {CANARY}")),
        Config::new().startup_nodes(format!("redis://:{CANARY}@a,b")),
        Config::new().startup_nodes(format!("redis://:{CANARY}@a,redis://:{CANARY}@b")),
        Config::new().startup_nodes(format!("redis://a?client_name=x,redis://:{CANARY}@b")),
        Config::new().sentinels(format!("redis+sentinel://:{CANARY}@a")),
        Config::new().sentinels(format!(":{CANARY}@a,b")),
    ];
    for config in configs {
        let mut all = format!("{config:?} {config:#?} {}", config.dump());
        match config.resolve() {
            Ok(resolved) => all += &format!("{resolved:?}"),
            Err(error) => all += &format!("{error} {error:?}"),
        }
        assert!(!all.contains(CANARY), "{all}");
        assert!(all.contains("***"), "{all}");
    }
    let secret = Secret::new(CANARY);
    assert_eq!(
        (format!("{secret} {secret:?}"), secret.reveal()),
        ("*** ***".to_owned(), CANARY)
    );
}

#[test]
fn no_error_repeats_a_password() {
    let refused = [
        ("password", format!("{CANARY}\0")),
        ("host", format!("redis://:{CANARY}@h")),
        ("port", format!("redis://:{CANARY}@h:6379")),
        ("url", format!("redis://u:{CANARY}")),
        ("url", format!("redis://:{CANARY}@h:99999")),
        ("url", format!("redis://:{CANARY}@")),
        ("url", format!("redis://:{CANARY}%zz@h")),
        ("url", format!("redis://:a/{CANARY}@h")),
        ("url", format!("redis://:a?{CANARY}@h")),
        ("url", format!("redis://:a#{CANARY}@h")),
        ("url", format!("redis://:a@b/{CANARY}@h")),
        ("url", format!("redis://:a@b?retries={CANARY}@h")),
        ("url", format!("redis://:{CANARY}@h/x")),
        ("url", format!("redis://:a@b?retries={CANARY}&c@h")),
        ("url", format!("redis://:a@b/{CANARY}?c@h")),
        ("url", format!("redis://h?password={CANARY}%00")),
        ("url", format!("redis://h?password=a&{CANARY}=1")),
        ("url", format!("redis://h?password=a&retries={CANARY}")),
        ("url", format!("http://:{CANARY}@h")),
        ("url", format!("redis:{CANARY}@h")),
        ("url", format!("unix://:{CANARY}/x@/y")),
        ("url", format!("embedded://:{CANARY}@")),
        ("startup_nodes", format!("u:{CANARY}@h:1")),
        ("startup_nodes", format!("redis://u:{CANARY}@h:99999,b")),
        (
            "sentinels",
            format!("redis+sentinel://u:{CANARY}@h:99999,b"),
        ),
    ];
    for (name, text) in refused {
        let error = Config::new().set(name, &text).expect_err(&text);
        let error = format!("{error} {error:?}");
        assert!(!error.contains(CANARY), "{text}: {error}");
    }
    let error = Config::new()
        .set(&format!("redis://:{CANARY}@h"), "x")
        .unwrap_err();
    assert!(!error.to_string().contains(CANARY), "{error}");
}

#[test]
fn masking_leaves_the_rest_readable() {
    let dump = |url: &str| {
        Config::new().url(url).dump()["url"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        dump("redis://u:p@h:1/2?retries=1"),
        "redis://u:***@h:1/2?retries=1"
    );
    assert_eq!(
        dump("redis://h?password=p&retries=1"),
        "redis://h?password=***&retries=1"
    );
    assert_eq!(dump("redis://u@h"), "redis://u@h");
    assert_eq!(
        dump("redis+cluster://:p@h1,h2"),
        "redis+cluster://:***@h1,h2"
    );
    let nodes = Config::new()
        .startup_nodes("redis://:p@a,redis://:p@b")
        .dump();
    assert_eq!(nodes["startup_nodes"], "redis://:***@a,redis://:***@b");
    assert_eq!(
        Config::new().sentinels("a,b:1").dump()["sentinels"],
        "a,b:1"
    );
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
        assert_eq!(line.matches('|').count(), 7, "{line}");
    }
}
