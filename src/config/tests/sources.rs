//! Tests of the environment, and of what wins where several say something.

use super::*;

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
