//! One way down, no way up: a room uses only the rooms below it. And `unsafe` lives where it may.

mod scanner;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use scanner::paths::{Use, uses};
use scanner::text::{Word, words};

/// From the bottom to the top. Rooms on one level do not know each other.
const LEVELS: &[&[&str]] = &[
    &[
        "config", "error", "clock", "fork", "worker", "stats", "sys", "tls", "fuzz",
    ],
    &["transport"],
    &["node"],
    &["topology"],
    &["dispatch"],
    &["client"],
    &["manager"],
    &[
        "lock", "limiter", "session", "cache", "near", "pubsub", "stream",
    ],
    // Guides are text; their programs use everything.
    &["ffi", "guides"],
];

/// The exceptions: the first room uses the second, which is on its own level.
const NEIGHBOURS: &[(&str, &str)] = &[("cache", "lock")];

/// Rooms of the lowest level that all others of that level use.
const FLOOR: &[&str] = &["error", "sys", "clock", "fork", "tls", "fuzz"];

/// How far above `unsafe` its reason may stand.
const REASON_WITHIN: usize = 8;

struct Source {
    /// From `src/` on.
    name: String,
    text: String,
    words: Vec<Word>,
    module: Vec<String>,
}

impl Source {
    fn new(name: &str, text: &str) -> Source {
        let path = name.trim_end_matches(".rs").trim_end_matches("/mod");
        let parts = path.split('/').filter(|&part| part != "lib");
        Source {
            name: name.to_owned(),
            text: text.to_owned(),
            words: words(text),
            module: parts.map(str::to_owned).collect(),
        }
    }

    fn uses(&self) -> Vec<Use> {
        uses(&self.words, &self.module)
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    let read = |file: &PathBuf| {
        let name = file.strip_prefix(&root).expect("below src");
        let text = fs::read_to_string(file).expect("a readable file");
        Source::new(name.to_str().expect("a plain name"), &text)
    };
    files.iter().map(read).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}

fn level(room: &str) -> Option<usize> {
    LEVELS.iter().position(|rooms| rooms.contains(&room))
}

fn may_use(from: &str, to: &str) -> bool {
    let (Some(above), Some(below)) = (level(from), level(to)) else {
        return false;
    };
    from == to
        || above > below
        || (above, below) == (0, 0) && FLOOR.contains(&to)
        || NEIGHBOURS.contains(&(from, to))
}

/// What `crate::Name` means: the room that lib.rs re-exports the name from; none for a name of another crate.
fn reexports(lib: &Source) -> HashMap<String, Option<String>> {
    let mut names = HashMap::new();
    let mut rest = lib.words.as_slice();
    while let Some(at) = rest.iter().position(|word| word.text == "use") {
        rest = &rest[at..];
        let end = rest.iter().position(|word| word.text == ";");
        let (one, others) = rest.split_at(end.unwrap_or(rest.len()));
        rest = others;
        // `use lock::{A, B as C}` is read as `crate::lock::{A, B as C}`.
        let mut rooted = one.to_vec();
        let word = |text: &str| Word {
            line: one[0].line,
            text: text.to_owned(),
        };
        rooted.splice(..1, [word("crate"), word("::")]);
        let renamed = rooted.windows(2).filter(|two| two[0].text == "as");
        let renamed = renamed.map(|two| two[1].text.clone());
        let paths: Vec<Use> = uses(&rooted, &[]);
        let first = paths[0].path[0].clone();
        let room = level(&first).map(|_| first);
        let last = paths.iter().filter_map(|u| u.path.last().cloned());
        names.extend(last.chain(renamed).map(|name| (name, room.clone())));
    }
    names
}

/// One line for each breach of the order.
fn breaches(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    let lib = sources.iter().find(|source| source.name == "lib.rs");
    let reexported = reexports(lib.expect("src/lib.rs"));
    for source in sources {
        // The map knows all the rooms.
        let Some(room) = source.module.first() else {
            continue;
        };
        let name = &source.name;
        if level(room).is_none() {
            found.push(format!(
                "src/{name}: the room `{room}` is not in the table LEVELS of tests/layers.rs; add it where it belongs"
            ));
            continue;
        }
        for Use { line, path } in source.uses() {
            let first = path.first().map_or("", String::as_str);
            let used = match reexported.get(first) {
                Some(None) => continue,
                Some(Some(room)) => room,
                None => first,
            };
            if level(used).is_none() {
                found.push(format!(
                    "src/{name}:{line}: `crate::{first}` is no room of the table LEVELS, and lib.rs does not re-export it"
                ));
            } else if !may_use(room, used) {
                found.push(format!(
                    "src/{name}:{line}: `{room}` uses `{used}`, which is not below it"
                ));
            }
        }
    }
    // Twice on one line, a path in a group say, is one thing to mend.
    found.dedup();
    found
}

fn may_be_unsafe(name: &str) -> bool {
    name == "sys.rs" || name.starts_with("sys/") || name.starts_with("ffi/") || name == "ffi.rs"
}

/// One line for each `unsafe` in the wrong place or without its reason.
fn unsafe_faults(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        let name = &source.name;
        let lines: Vec<&str> = source.text.lines().collect();
        for (at, word) in source.words.iter().enumerate() {
            if word.text != "unsafe" {
                continue;
            }
            let line = word.line;
            if !may_be_unsafe(name) {
                found.push(format!(
                    "src/{name}:{line}: `unsafe` outside src/ffi and src/sys.rs"
                ));
                continue;
            }
            let next = source.words.get(at + 1).map_or("", |next| &next.text);
            if !["{", "impl"].contains(&next) {
                continue;
            }
            let above = &lines[line.saturating_sub(REASON_WITHIN + 1)..line];
            let reason = above.iter().any(|text| text.contains("// SAFETY:"));
            if !reason {
                found.push(format!(
                    "src/{name}:{line}: `unsafe {next}` without a SAFETY: comment above it"
                ));
            }
        }
    }
    found
}

#[test]
fn every_room_uses_only_rooms_below_it() {
    let found = breaches(&sources());
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn the_map_for_those_who_work_here_is_this_one() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("CONTRIBUTING.md");
    let page = fs::read_to_string(page).expect("a readable file");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `src/"));
    let (mut found, mut above) = (Vec::new(), LEVELS.len());
    for row in rows {
        let cell = row.split('|').next().expect("a cell");
        let rooms = cell
            .split('`')
            .filter(|word| word.starts_with(char::is_alphabetic));
        for room in rooms {
            let level =
                level(room).unwrap_or_else(|| panic!("`{room}` of the map is not in LEVELS"));
            assert!(level <= above, "`{room}` stands too low in the map");
            above = level;
            found.push(room.to_owned());
        }
    }
    found.sort();
    let mut rooms: Vec<&str> = LEVELS.concat();
    rooms.sort_unstable();
    assert_eq!(found, rooms, "left: CONTRIBUTING.md; right: LEVELS");
}

#[test]
fn unsafe_stays_in_its_rooms_and_says_why() {
    let found = unsafe_faults(&sources());
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// Where a server may be called by its name: its program is looked for, its version is told, a property has an example.
/// Everywhere else, what a server can do is asked of the server.
const NAMES_SERVERS: &[&str] = &[
    "manager/embedded/program.rs",
    "manager/health.rs",
    "config/property.rs",
];

/// Where a warning stands that cannot repeat without end, or has a limit of its own: of one node, of one server's end;
/// and a test.
const WARNS_BY_ITSELF: &[&str] = &[
    "node/condition.rs",
    "manager/embedded/relay.rs",
    "clock/limit.rs",
    "ffi/as_c.rs",
];

/// One line for each place outside comments, and outside these files, that has one of these words.
fn mentions(sources: &[Source], words: &[&str], but: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|it| !but.contains(&&*it.name)) {
        let lines = source.text.lines().enumerate();
        for (at, line) in lines.filter(|(_, line)| !line.trim_start().starts_with("//")) {
            let line = line.to_ascii_lowercase();
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("src/{}:{}: {}", source.name, at + 1, line.trim()));
            }
        }
    }
    found
}

#[test]
fn no_feature_is_found_by_a_server_s_name() {
    let all = sources();
    let names = ["valkey", "redis_version"];
    let found = mentions(&all, &names, NAMES_SERVERS);
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
    // Where it does stand, it is seen.
    let seen = mentions(&all, &names, &[]).concat();
    assert!(
        NAMES_SERVERS.iter().all(|name| seen.contains(name)),
        "{seen}"
    );
}

#[test]
fn what_may_repeat_in_the_log_has_a_limit() {
    let plain = ["log::warn!", "log::error!", "log::log!"];
    let found = mentions(&sources(), &plain, WARNS_BY_ITSELF);
    assert!(
        found.is_empty(),
        "clock::tell! says ten lines in ten seconds:\n{}\n",
        found.join("\n")
    );
}

#[test]
fn where_it_cannot_run_it_does_not_compile_and_says_so() {
    let all = sources();
    let lib = all.iter().find(|source| source.name == "lib.rs");
    let lib = &lib.expect("src/lib.rs").text;
    for (elsewhere, word) in [
        ("target_os = \"linux\"", "on Linux"),
        ("target_pointer_width = \"64\"", "of 64 bits"),
    ] {
        let error = lib
            .split(&format!(
                "\n#[cfg(not({elsewhere}))]\ncompile_error!(\"redkeep runs "
            ))
            .nth(1);
        let text = error.and_then(|rest| rest.split("\");\n").next());
        assert!(text.is_some_and(|it| it.contains(word)), "{elsewhere}");
    }
}

const LIB: &str = r#"
mod error; mod node;
pub use error::{Error, Kind as ErrorKind};
pub use redis;
pub use node::Node;
"#;

#[track_caller]
fn check(name: &str, text: &str, expected: &[&str]) {
    let sources = [Source::new("lib.rs", LIB), Source::new(name, text)];
    let found = [breaches(&sources), unsafe_faults(&sources)].concat();
    let start = |line: &String| line.split(": ").next().unwrap_or_default().to_owned();
    let places: Vec<String> = found.iter().map(start).collect();
    assert_eq!(places, expected, "{found:#?}");
}

#[test]
fn the_scanner_sees_every_way_up() {
    let way = |text: &str| check("node/pool.rs", text, &["src/node/pool.rs:1"]);
    way("use crate::topology::Slots;");
    way("use crate::{error::Error, client::{Client, commands::Get}};");
    way("use crate::{self as us};");
    way("use crate as us;");
    way("use super::super as us;");
    way("use super::super::manager::Manager;");
    way("use super::super::{error, ffi};");
    way("use super::{health, super::lock};");
    way("fn f() -> crate::dispatch::Request { g() }");
    way("fn f() { g::<crate::client::Client>() }");
    way("fn f() { crate::error::new::<crate::client::Client>() }");
    way("macro_rules! m { () => { $crate::manager::open() } }");
    way("pub(in crate::client) fn f() {}");
    way("mod tests { use super::super::super::client::Client; }");
    way("use crate::nowhere::X;");
    way("use crate::*;");
    check("limiter.rs", "use super::ffi;", &["src/limiter.rs:1"]);
    check(
        "transport/mod.rs",
        "\nuse crate::Node;",
        &["src/transport/mod.rs:2"],
    );
    check(
        "stats.rs",
        "use crate::config::Config;",
        &["src/stats.rs:1"],
    );
    check(
        "lock/mod.rs",
        "use crate::cache::Cache;",
        &["src/lock/mod.rs:1"],
    );
    check("attic/mod.rs", "", &["src/attic/mod.rs"]);
    check(
        "error.rs",
        "/* crate::ffi */\n\"crate::ffi\";\n'\\''; r#\"\n\"crate::ffi\"#; b'x';\nfn f<'a>(x: &'a crate::ffi::X) {}",
        &["src/error.rs:5"],
    );
}

#[test]
fn the_scanner_lets_pass_what_is_in_order() {
    let fine = |name: &str, text: &str| check(name, text, &[]);
    fine(
        "node/pool.rs",
        "use crate::{Error, ErrorKind, redis::Cmd, transport};",
    );
    fine(
        "node/pool.rs",
        "use super::{line, health::Health}; use super::super::transport;",
    );
    fine(
        "node/pool.rs",
        "mod tests { use super::*; use super::super::line; } use super::line;",
    );
    fine(
        "node/mod.rs",
        "// crate::manager\n/* /* crate::ffi */ crate::ffi */ pub(crate) fn f() {}",
    );
    fine(
        "node/mod.rs",
        r##"const A: &str = "\"crate::ffi"; const B: &str = r#"" crate::ffi"#;"##,
    );
    fine(
        "node/mod.rs",
        "const Q: char = '\"'; use crate::config::Config; const R: char = '\"';",
    );
    fine("cache/mod.rs", "use crate::lock::Lock;");
    fine("config/mod.rs", "use crate::error::Error; use crate::sys;");
    fine("ffi/lock.rs", "use crate::lock::Lock;");
}

#[test]
fn the_scanner_sees_unsafe_where_it_must_not_be() {
    check(
        "node/mod.rs",
        "fn f() {\n unsafe { g() } }",
        &["src/node/mod.rs:2"],
    );
    check(
        "lib.rs",
        "use error::Error; unsafe fn f() {}",
        &["src/lib.rs:1"],
    );
    check(
        "ffi/bytes.rs",
        "fn f() { unsafe { g() } }",
        &["src/ffi/bytes.rs:1"],
    );
    check("sys.rs", "\nunsafe impl Send for X {}", &["src/sys.rs:2"]);
    check(
        "sys.rs",
        "let _ = \"SAFETY: no\";\nunsafe { g() }",
        &["src/sys.rs:2"],
    );
    let far = "// SAFETY: this one is about something else\n\n\n\n\n\n\n\n\n\nunsafe { g() }";
    check("sys.rs", far, &["src/sys.rs:11"]);
    check("sys.rs", "// SAFETY: it is not.\nunsafe { g() }", &[]);
    check(
        "ffi/bytes.rs",
        "#[unsafe(no_mangle)]\npub unsafe extern \"C\" fn f() {}",
        &[],
    );
    check(
        "node/mod.rs",
        "// unsafe\nconst A: &str = \"unsafe {\"; #![deny(unsafe_code)]",
        &[],
    );
}
