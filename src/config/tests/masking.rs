//! Tests of what is printed, and of what never is.

use super::*;

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
