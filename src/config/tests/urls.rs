//! Tests of urls.

use super::super::endpoint;
use super::table::table;
use super::*;

fn target(url: &str) -> Target {
    Config::new()
        .url(url)
        .target()
        .unwrap_or_else(|error| panic!("{url}: {error}"))
}

fn one(url: &str) -> Endpoint {
    match target(url) {
        Target::One(endpoint) => endpoint,
        other => panic!("{url}: {other:?}"),
    }
}

#[test]
fn equal_places_are_equal_however_they_are_spelled() {
    let same = |urls: &[&str]| {
        for url in urls {
            assert_eq!(endpoint(url).unwrap(), endpoint(urls[0]).unwrap(), "{url}");
            assert_eq!(one(url), one(urls[0]), "{url}");
        }
    };
    same(&[
        "redis://localhost",
        "redis://localhost/",
        "redis://localhost:6379",
        "redis://localhost:6379/0",
        "REDIS://LOCALHOST:06379/00",
        "redis://localhost?db=0",
        "redis://@localhost",
        "redis://:@localhost",
        "redis://loc%61lhost",
    ]);
    same(&[
        "redis://[::1]",
        "redis://[0:0:0:0:0:0:0:1]:6379",
        "redis://[::0001]/0",
    ]);
    same(&[
        "redis://[fe80::1%25eth0]",
        "redis://[FE80:0::1%25eth0]:6379",
    ]);
    same(&[
        "unix:///run/r.sock",
        "redis+unix:///run/r.sock",
        "unix:///run%2Fr.sock?db=0",
    ]);
    same(&[
        "redis://u:p%40@h/2",
        "redis://u:p@@h?db=2",
        "redis://h/2?username=u&password=p%40",
    ]);

    let mut all: Vec<_> = [
        "redis://a",
        "redis://b",
        "redis://a:1",
        "redis://a/1",
        "redis://u@a",
        "redis://:p@a",
        "rediss://a",
        "unix:///a",
    ]
    .iter()
    .map(|url| {
        format!(
            "{:?} {}",
            endpoint(url).unwrap(),
            endpoint(url).unwrap().url()
        )
    })
    .collect();
    all.dedup();
    assert_eq!(all.len(), 8);
}

#[test]
fn the_parts_of_a_url_are_found() {
    let found = one("rediss://us%65r:p%3Aa%2Fs%20s@Example.org:6380/15");
    assert_eq!(found.address, tcp("example.org", 6380));
    assert_eq!((found.db, found.tls), (15, true));
    assert_eq!(found.username.as_deref(), Some("user"));
    assert_eq!(found.password.unwrap().reveal(), "p:a/s s");

    assert_eq!(one("redis://h?db=3").db, 3);
    assert_eq!(one("redis://h/1?db=3").db, 3);
    let socket = one("unix://u:p@/run/my%20redis.sock?db=2");
    assert_eq!(socket.address, Address::Unix("/run/my redis.sock".into()));
    assert_eq!((socket.db, socket.username.as_deref()), (2, Some("u")));

    for url in ["embedded://", "embedded:///", "embedded://?workers=3"] {
        assert_eq!(target(url), Target::Embedded);
    }
    let expected = Target::Sentinel {
        sentinels: vec![tcp("h1", 26379), tcp("::1", 1), tcp("h3", 26379)],
        master: "my master".to_owned(),
        sentinel_username: None,
        sentinel_password: None,
        db: 2,
        username: Some("u".to_owned()),
        password: Some(Secret::new("p")),
        tls: true,
    };
    assert_eq!(
        target("rediss+sentinel://u:p@h1,[::1]:1,h3/my%20master/2"),
        expected
    );
    let seeds = vec![plain("h1", 6379), plain("h2", 7000)];
    assert_eq!(
        target("redis+cluster://h1,h2:7000"),
        Target::Cluster { seeds }
    );
    let Target::Cluster { seeds } = target("rediss+cluster://h1") else {
        panic!()
    };
    assert!(seeds[0].tls);
}

#[test]
fn addresses_print_as_people_write_them() {
    assert_eq!(tcp("h", 1).to_string(), "h:1");
    assert_eq!(tcp("::1", 1).to_string(), "[::1]:1");
    assert_eq!(Address::Unix("/run/x".into()).to_string(), "/run/x");
}

#[test]
fn every_property_but_the_place_is_a_parameter() {
    let place = ["url", "host", "port", "ssl", "startup_nodes", "sentinels"];
    for (name, _, good, _) in table() {
        let (text, shown) = good[0];
        let encoded = super::super::percent::encode(text, "");
        let config = Config::new().url(format!("redis://h?{name}={encoded}"));
        if place.contains(&name) {
            assert_eq!(kind(config.validate()), ErrorKind::Url, "{name}");
            continue;
        }
        if name.starts_with("tls_") {
            continue; // They come in pairs; see below.
        }
        let url = super::super::url::parse(config.url.as_deref().unwrap()).unwrap();
        config.validate().unwrap();
        let found = match name {
            "db" => url.login.db.to_string(),
            "username" => url.login.username.unwrap(),
            "password" => url.login.password.unwrap().reveal().to_owned(),
            _ => url.parameters.get(name).unwrap().unwrap(),
        };
        assert_eq!(found, shown, "{name}");
    }
    let url = "rediss://h?tls_ca=a&tls_cert=b&tls_key=%2Fc&tls_server_name=d&tls_insecure=1";
    let settings = Config::new().url(url).settings().unwrap();
    assert_eq!(settings.tls.options.key.unwrap().to_str(), Some("/c"));
    assert!(settings.tls.options.insecure);
}

#[test]
fn parameters_apply_over_the_properties() {
    let config = Config::new()
        .max_connections(5)
        .workers(5)
        .command_timeout(Duration::from_secs(9));
    let settings = config
        .url("redis://h?command_timeout=500ms&max_connections=32&&protocol=resp2&pool_size=33");
    let settings = settings.settings().unwrap();
    assert_eq!(settings.command_timeout, Duration::from_millis(500));
    assert_eq!(
        (
            settings.max_connections,
            settings.workers,
            settings.protocol
        ),
        (33, 5, 2)
    );

    let nodes = Config::new()
        .retries(1)
        .startup_nodes("redis://a,b?retries=7");
    assert_eq!(nodes.settings().unwrap().retries, 7);
    // The parameters of a url count even where the server is found by other means.
    let nodes = Config::new()
        .retries(1)
        .url("redis://x?retries=2")
        .startup_nodes("a");
    assert_eq!(nodes.settings().unwrap().retries, 2);
}

#[test]
fn bad_urls_say_what_is_wrong_and_what_is_allowed() {
    let long = format!("unix:///{}", "x".repeat(107));
    let table = [
        ("", "a url begins with one of redis://, rediss://, unix://"),
        ("localhost:6379", "a url begins with one of"),
        (
            "http://h",
            "http:// is not a scheme that is known here; a url begins with redis://",
        ),
        ("://h", "a url begins with"),
        (
            "redis://h:99999",
            "port 99999 is not allowed; it takes a number from 1 to 65535",
        ),
        (
            "redis://u:p@h:99999",
            "port 99999 is not allowed; it takes a number from 1 to 65535",
        ),
        ("redis://h:0", "port 0 is not allowed"),
        ("redis://h:", "from 1 to 65535"),
        ("redis://h:abc", "from 1 to 65535"),
        ("redis://h:-1", "from 1 to 65535"),
        ("redis://", "the host is missing"),
        ("redis:///0", "the host is missing"),
        ("redis://:6379", "the host is missing"),
        ("redis://u:p@", "the host is missing"),
        ("redis+sentinel:///mymaster", "the host is missing"),
        ("redis+cluster://a,,b", "the host is missing"),
        (
            "redis://a,b",
            "only redis+cluster:// and redis+sentinel:// take several hosts",
        ),
        ("redis://a b", "host a b is not allowed"),
        ("redis://::1:6379", "an IPv6 address stands in brackets"),
        ("redis://[::1", "the ']' behind an IPv6 address is missing"),
        ("redis://[::1]x", "only a port can follow"),
        ("redis://[nope]:1", "host [nope] is not allowed"),
        ("redis://[1.2.3.4]", "host [1.2.3.4] is not allowed"),
        ("redis://[fe80::1%25]", "is not allowed"),
        (
            "redis://h/x",
            "db x is not allowed; it takes a whole number from 0 to 2147483647",
        ),
        ("redis://h/-1", "db -1 is not allowed"),
        ("redis://h/1/2", "db 1/2 is not allowed"),
        ("redis://h/4294967296", "db 4294967296 is not allowed"),
        ("redis+sentinel://h/m/x", "db x is not allowed"),
        ("redis://a%zz", "two hexadecimal digits must follow a '%'"),
        ("redis://u%:p@h", "two hexadecimal digits must follow a '%'"),
        (
            "redis://h?client_name=%f",
            "in the parameter client_name, two hexadecimal digits",
        ),
        ("redis://u:%ff@h", "what is percent-encoded is not UTF-8"),
        ("redis://u:%00@h", "%00 is a NUL byte"),
        ("redis://h\0", "a url holds no NUL byte"),
        ("unix:///a%00b", "%00 is a NUL byte"),
        ("unix://", "the path of the socket is missing"),
        ("unix:///", "the path of the socket is missing"),
        ("unix://run/x", "begins with a slash"),
        (&long, "longer than the 107 bytes"),
        ("embedded://h", "no host and no path"),
        ("embedded:///x", "no host and no path"),
        ("embedded://?db=1", "takes no user name, password or db"),
        ("redis://h#insecure", "'#' has no meaning"),
        ("redis://h?retries", "the parameter retries has no value"),
        ("redis://h?host=x", "host cannot be a parameter"),
    ];
    for (url, said) in table {
        let error = Config::new().set("url", url).expect_err(url);
        assert_eq!(error.kind(), ErrorKind::Url, "{url}");
        assert!(error.message().contains(said), "{url}: {error}");
        assert_eq!(
            kind(Config::new().url(url).validate()),
            ErrorKind::Url,
            "{url}"
        );
        assert_eq!(kind(Config::from_url(url)), ErrorKind::Url, "{url}");
    }
    let error = Config::from_url("redis://h?retrys=1").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownProperty);
    assert_eq!(
        error.message(),
        "no property is called retrys; did you mean retries?"
    );
    let error = Config::from_url("redis://h?max_connections=0").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadValue);
    assert!(
        error
            .message()
            .starts_with("max_connections: 0 is not allowed")
    );
}

#[test]
fn a_node_is_named_by_a_plain_url_only() {
    for url in [
        "embedded://",
        "redis+sentinel://h",
        "redis+cluster://h",
        "redis://h?retries=1",
        "h",
        "",
    ] {
        assert_eq!(kind(endpoint(url)), ErrorKind::Url, "{url}");
    }
    assert_eq!(endpoint("redis://h?db=2").unwrap().db, 2);
    assert!(endpoint("rediss://h").unwrap().tls);
}

#[test]
fn the_final_url_leads_to_the_same_place() {
    for (url, written) in [
        ("redis://localhost", "redis://localhost:6379/0"),
        (
            "rediss://u:p%40%2f%3aü@h/7",
            "rediss://u:p%40%2F%3A%C3%BC@h:6379/7",
        ),
        ("redis://u@h", "redis://u@h:6379/0"),
        ("redis://[::1]", "redis://[::1]:6379/0"),
        (
            "redis://[fe80::1%25eth0]",
            "redis://[fe80::1%25eth0]:6379/0",
        ),
        ("unix:///a%20b", "unix:///a%20b"),
        ("unix://:p@/a?db=3&retries=1", "unix://:p@/a?db=3"),
        (
            "redis+sentinel://u:p@a,b/m%2Fn/2",
            "redis+sentinel://u:p@a:26379,b:26379/m%2Fn/2",
        ),
        (
            "rediss+cluster://:p@a,[::1]:7000",
            "rediss+cluster://:p@a:6379,[::1]:7000/0",
        ),
        ("embedded://", "embedded://"),
    ] {
        assert_eq!(Config::new().url(url).redis_url().unwrap(), written);
        assert_eq!(target(url), target(written));
    }
}

/// Xorshift, so that a failure can be had again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.roll(from.len())]
    }
}

#[test]
fn random_text_is_taken_or_refused_but_never_a_panic() {
    let pieces = [
        "redis",
        "rediss",
        "unix",
        "+sentinel",
        "+cluster",
        "embedded",
        "://",
        ":",
        "@",
        "/",
        "?",
        "=",
        "&",
        "#",
        ",",
        "[",
        "]",
        "::1",
        "%",
        "%25",
        "%41",
        "%ff",
        "%00",
        "\0",
        "h",
        "6379",
        "99999",
        "0",
        "1",
        ".",
        "5",
        "ms",
        "h",
        "GiB",
        "off",
        "true",
        "password",
        "retries",
        "db",
        "ü",
        "\u{1F980}",
        " ",
        "\n",
        "-",
        "18446744073709551616",
    ];
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut understood = 0;
    for _ in 0..5_000 {
        let mut text = dice
            .pick(&[
                "",
                "",
                "redis://",
                "redis+cluster://h",
                "unix:///x?",
                "redis+sentinel://h,",
            ])
            .to_owned();
        for _ in 0..dice.roll(8) {
            text += dice.pick(&pieces);
        }
        let name = PROPERTIES[dice.roll(PROPERTIES.len())].name;
        let mut config = Config::new();
        if config.set(name, &text).is_ok() {
            let got = config.get(name).unwrap().unwrap();
            config.set(name, &got).unwrap();
        }
        let _ = config.set(&text, "1");
        let _ = endpoint(&text);
        for config in [
            Config::new().url(&*text),
            Config::new().startup_nodes(&*text),
            Config::new().sentinels(&*text),
        ] {
            let _ = format!("{config:?}");
            let Ok(target) = config.target() else {
                continue;
            };
            understood += 1;
            let again = Config::new().url(target.url()).target();
            assert_eq!(again.unwrap(), target, "{text:?}");
        }
    }
    assert!(understood > 100, "{understood}");
}
