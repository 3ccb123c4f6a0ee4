//! Urls and properties, as users write them.

use super::property::PROPERTIES;
use super::target::{Target, endpoint};
use super::{Config, mask};
use crate::error::Result;
use crate::fuzz::Choices;

/// Occurs nowhere by chance.
const PASSWORD: &str = "canary-password";

const SCHEMES: &[&str] = &[
    "redis",
    "rediss",
    "unix",
    "redis+unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
    "embedded",
    "REDIS",
    "http",
    "",
];
const MARKS: &[&str] = &[
    "://", "://", "://", "://", "://", "://", ":/", "//", ":", "",
];
/// What may stand before or behind a password, and belong to it.
const SPICES: &[&str] = &[
    "", "", "", "x", "/", "?", "#", "@", ":", "%", "%41", "%zz", "&", "=", ",", "[", " ", "é",
    "\0", "//", "://",
];
const HOSTS: &[&str] = &[
    "localhost",
    "10.0.0.1",
    "[::1]",
    "::1",
    "[fe80::1%25eth0]",
    "Ex.Org",
    "",
    "a b",
    "-",
    "%61",
    "/tmp/s.sock",
    "..",
];
const PORTS: &[&str] = &[
    "", "", ":6379", ":1", ":0", ":65535", ":65536", ":x", ":", ":-1", ":06379",
];
const PATHS: &[&str] = &[
    "",
    "",
    "/",
    "/0",
    "/2",
    "/-1",
    "/x",
    "/mymaster",
    "/mymaster/3",
    "/a/b/c",
    "//",
    "/4294967296",
];
const VALUES: &[&str] = &[
    "",
    "0",
    "1",
    "-1",
    "true",
    "no",
    "off",
    "0.5",
    "500ms",
    "5s",
    "2m",
    "1e9",
    "inf",
    "NaN",
    "16MiB",
    "1GB",
    "10000",
    "18446744073709551616",
    "replica",
    "nearest",
    "a:1",
    "a:1,b:2",
    "redis://a:1",
    "embedded://",
    "/etc/hosts",
    " 1",
    "1 ",
];

/// A url of pieces that fit or do not, or properties one after the other: what is taken means the same when it is
/// written out and read again, what is refused leaves everything as it was, and nothing repeats a password.
pub fn urls(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    match choices.below(4) {
        0 => {
            let text = choices.text(200);
            read(&text);
        }
        1 => properties(&mut choices),
        _ => {
            let text = url(&mut choices);
            shows_no_password(&read(&text));
            shows_no_password(&mask::masked(&text));
            let config = Config::new().url(&text);
            shows_no_password(&format!("{config:?} {}", config.dump()));
        }
    }
}

fn url(choices: &mut Choices<'_>) -> String {
    let mark = choices.pick(MARKS);
    let mut text = format!("{}{mark}", choices.pick(SCHEMES));
    let before = match mark {
        "://" => choices.pick(SPICES),
        // With slashes of its own, it would be a user name.
        _ => "",
    };
    let password = format!("{before}{PASSWORD}{}", choices.pick(SPICES));
    let in_query = choices.one_in(4);
    if !in_query {
        text += choices.pick(&["", "ann", "a%20b", "é", "%", "a/b"]);
        text += &format!(":{password}@");
    }
    for n in 0..=choices.below(3) {
        text += if n > 0 { "," } else { "" };
        text += choices.pick(HOSTS);
        text += choices.pick(PORTS);
    }
    text += choices.pick(PATHS);
    let mut mark = "?";
    if in_query {
        text += &format!("?password={password}");
        mark = "&";
    }
    for _ in 0..choices.below(3) {
        let name = PROPERTIES[choices.below(PROPERTIES.len())].name;
        text += &format!("{mark}{name}={}", choices.pick(VALUES));
        mark = "&";
    }
    text
}

/// Everything that is said of it.
fn read(text: &str) -> String {
    let one = endpoint(text);
    let config = Config::from_url(text);
    let said = format!("{} {}", said(&one), said(&config));
    if let Ok(one) = &one {
        let again = endpoint(&one.url());
        assert_eq!(again.as_ref().ok(), Some(one), "{text:?}: {again:?}");
    }
    let Ok(config) = config else {
        return said;
    };
    let target = config.target().expect("it was checked");
    let without = match &target {
        // A url says nothing of how sentinels are greeted.
        Target::Sentinel {
            sentinel_username,
            sentinel_password,
            ..
        } => sentinel_username.is_none() && sentinel_password.is_none(),
        _ => true,
    };
    if without {
        let again = Config::from_url(target.url()).and_then(|config| config.target());
        assert_eq!(again.as_ref().ok(), Some(&target), "{text:?}: {again:?}");
    }
    format!("{said} {target:?}")
}

fn properties(choices: &mut Choices<'_>) {
    let mut config = Config::new();
    while !choices.is_over() {
        let property = &PROPERTIES[choices.below(PROPERTIES.len())];
        let name = match choices.one_in(8) {
            true => choices.text(12),
            false => property.name.to_owned(),
        };
        let value = match choices.one_in(3) {
            true => choices.text(40),
            false => choices.pick(VALUES).to_owned(),
        };
        let before = format!("{config:?}");
        match config.set(&name, &value) {
            Err(error) => {
                assert_eq!(format!("{config:?}"), before, "{name} {value:?}");
                assert!(!error.message().is_empty());
            }
            Ok(()) => {
                let kept = config.get(&name).expect("it is known").expect("it was set");
                let mut again = Config::new();
                again.set(&name, &kept).expect("it was given out");
                assert_eq!(
                    again.get(&name).expect("it is known"),
                    Some(kept),
                    "{name} {value:?}"
                );
            }
        }
    }
    // Together they may contradict one another, and that is told.
    let _ = config.validate();
}

fn said<T: std::fmt::Debug>(result: &Result<T>) -> String {
    match result {
        Ok(it) => format!("{it:?}"),
        Err(error) => format!("{error} {error:?} {}", error.message()),
    }
}

#[track_caller]
fn shows_no_password(text: &str) {
    assert!(!text.contains(PASSWORD), "{text}");
}

#[cfg(test)]
#[test]
fn fuzz_urls() {
    // A slash in the user name, so that the password stood in the name of the primary.
    let text = format!("redis+sentinel://a/b:{PASSWORD}@c,d/1");
    shows_no_password(&read(&text));
    shows_no_password(&mask::masked(&text));
    crate::fuzz::seeded("fuzz_urls", |seed| crate::fuzz::random(seed, 60), urls);
}
