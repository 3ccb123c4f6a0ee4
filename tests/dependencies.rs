//! What is shipped beside our own code: who is depended upon, under which licence, from where. Advisories are not asked
//! for here, since they come over the network: `make audit`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Who was chosen. Another one is a decision, with its reason beside it in Cargo.toml.
const CHOSEN: &[&str] = &[
    "arc-swap",
    "crossbeam-channel",
    "libc",
    "log",
    "parking_lot",
    "quick_cache",
    "r2d2",
    "redis",
    "rustls",
    "rustls-native-certs",
    "scheduled-thread-pool",
    "serde",
    "serde_json",
    "socket2",
];

/// Each allows use in closed programs and asks for no more than its text beside them.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Cryptography comes from ring alone, and nothing here is asynchronous.
const BANNED: &[&str] = &[
    "async-std",
    "aws-lc-rs",
    "aws-lc-sys",
    "boring",
    "mbedtls",
    "native-tls",
    "openssl",
    "openssl-sys",
    "smol",
    "tokio",
];

/// There in two versions, until ring moves on.
const TWICE: &[&str] = &["getrandom"];

struct Package {
    name: String,
    version: String,
    licence: String,
    source: String,
    rust: String,
}

/// Every package that is built into the library, or runs while it is built; and the names of the direct ones.
fn shipped() -> (Vec<Package>, BTreeSet<String>) {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--offline", "--locked"])
        .args(["--filter-platform", &platform])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let all: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();

    let nodes = all["resolve"]["nodes"].as_array().expect("nodes");
    let needs = |id: &str| -> Vec<String> {
        let node = nodes.iter().find(|node| node["id"] == id);
        let deps = node.expect("a node")["deps"].as_array().expect("its needs");
        let ships = |dep: &&Value| {
            let mut kinds = dep["dep_kinds"].as_array().expect("kinds").iter();
            kinds.any(|kind| kind["kind"] != "dev")
        };
        let deps = deps.iter().filter(ships);
        deps.map(|dep| text(&dep["pkg"])).collect()
    };
    let root = text(&all["resolve"]["root"]);
    let direct = needs(&root);
    let mut found = BTreeSet::new();
    let mut open = direct.clone();
    while let Some(id) = open.pop() {
        if found.insert(id.clone()) {
            open.extend(needs(&id));
        }
    }
    let packages = all["packages"].as_array().expect("packages");
    let package = |id: &String| {
        let it = packages.iter().find(|it| it["id"] == id.as_str());
        let it = it.expect("a package");
        Package {
            name: text(&it["name"]),
            version: text(&it["version"]),
            licence: text(&it["license"]),
            source: text(&it["source"]),
            rust: text(&it["rust_version"]),
        }
    };
    let names = direct.iter().map(|id| package(id).name).collect();
    (found.iter().map(package).collect(), names)
}

/// Whether an expression such as `(MIT OR Apache-2.0) AND Unicode-3.0` is met by what is allowed.
fn is_allowed(licence: &str) -> bool {
    // An OR binds less than an AND; brackets are only ever put around an OR.
    let all = |part: &str| {
        part.split(" AND ")
            .all(|one| LICENCES.contains(&one.trim()))
    };
    let mut text = licence.replace('/', " OR ");
    while let Some(end) = text.find(')') {
        let start = text[..end].rfind('(').expect("a bracket that opens");
        let met = is_allowed(&text[start + 1..end]);
        text.replace_range(start..=end, if met { "MIT" } else { "none" });
    }
    text.split(" OR ").any(all)
}

#[test]
fn only_who_was_chosen_is_depended_upon() {
    let (_, direct) = shipped();
    let chosen: BTreeSet<String> = CHOSEN.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(direct, chosen);
}

#[test]
fn licences_and_sources_are_as_allowed() {
    let (packages, _) = shipped();
    assert!(packages.len() > CHOSEN.len());
    for Package {
        name,
        version,
        licence,
        source,
        ..
    } in &packages
    {
        assert!(is_allowed(licence), "{name} {version}: {licence:?}");
        assert!(
            source.starts_with("registry+"),
            "{name} {version}: {source:?}"
        );
    }
}

/// 1.88.0 is 1.88, and who says nothing asks for nothing.
fn release(text: &str) -> (u32, u32) {
    let mut parts = text.split('.').map(|part| {
        part.parse()
            .unwrap_or_else(|_| panic!("{text:?} is no version"))
    });
    match text {
        "" => (0, 0),
        _ => (parts.next().unwrap(), parts.next().unwrap_or(0)),
    }
}

#[test]
fn the_rust_that_is_asked_for_is_the_highest_that_any_of_them_asks_for() {
    let (packages, _) = shipped();
    let asks_most = packages.iter().max_by_key(|package| release(&package.rust));
    let asks_most = asks_most.expect("packages");
    let ours = env!("CARGO_PKG_RUST_VERSION");
    let (name, theirs) = (&asks_most.name, &asks_most.rust);
    assert_eq!(release(ours), release(theirs), "{name} asks for {theirs}");
    for (page, said) in [
        ("README.md", format!("Rust {ours} or later")),
        (
            "CONTRIBUTING.md",
            format!("MSRV are in `Cargo.toml` ({ours})"),
        ),
    ] {
        let path = format!("{}/{page}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).expect(page);
        assert!(text.contains(&said), "{page} does not say {said:?}");
    }
}

#[test]
fn cryptography_is_rings_alone_and_nobody_is_there_twice() {
    let (packages, _) = shipped();
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in &packages {
        versions
            .entry(&package.name)
            .or_default()
            .push(&package.version);
    }
    for name in BANNED {
        assert!(!versions.contains_key(name), "{name}");
    }
    assert!(versions.contains_key("ring") && versions.contains_key("rustls"));
    let twice = versions.iter().filter(|(_, all)| all.len() > 1);
    let twice: Vec<_> = twice.map(|(name, _)| *name).collect();
    assert_eq!(twice, TWICE);
}

#[test]
fn expressions_of_licences_are_understood() {
    for yes in [
        "MIT",
        "GPL-3.0 OR MIT",
        "MIT/Apache-2.0",
        "(MIT OR GPL-3.0) AND Unicode-3.0",
    ] {
        assert!(is_allowed(yes), "{yes}");
    }
    for no in [
        "",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "(GPL-3.0 OR AGPL-3.0) AND MIT",
    ] {
        assert!(!is_allowed(no), "{no}");
    }
}
