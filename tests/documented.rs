//! Nothing is left without its documentation, an example and a test: no function of include/redkeep.h, no
//! property, no field of the statistics.

mod c_source;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use c_source::{code, functions};
use redkeep::Config;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The texts of the files of a folder, and of those below it, whose names end so.
fn texts(folder: &str, ending: &str) -> Vec<String> {
    let mut folders = vec![root().join(folder)];
    let mut texts = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == ending) {
                texts.push(read(&path));
            }
        }
    }
    assert!(!texts.is_empty(), "no .{ending} file in {folder}");
    texts
}

fn header() -> String {
    read(&root().join("include/redkeep.h"))
}

/// The programs in C of a page: what stands between "```c", with or without a marker, and "```".
fn programs(page: &str) -> String {
    let mut program = String::new();
    let mut inside = false;
    for line in page.lines() {
        match line.strip_prefix("```") {
            Some(language) => inside = language.split(' ').next() == Some("c"),
            None if inside => program.extend([line, "\n"]),
            None => (),
        }
    }
    program
}

fn called(programs: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    let each = programs.into_iter().map(|program| functions(&program));
    each.flatten().collect()
}

/// The declarations of a header, with whatever comment stands right above each.
fn undocumented(header: &str) -> Vec<String> {
    let mut found = Vec::new();
    for block in header.split("\n\n") {
        let block = block.trim();
        let declares = functions(block);
        let words = block
            .strip_prefix("/**")
            .and_then(|text| text.split_once("*/"));
        let said = words.is_some_and(|(text, _)| text.split_whitespace().count() > 1);
        // A comment is for one declaration.
        if !said || declares.len() > 1 {
            found.extend(declares);
        }
        let handle = code(block).contains("typedef struct") && !block.contains('{');
        if handle && !block.contains("Thread safety: ") {
            found.push(code(block).trim().to_owned());
        }
    }
    found
}

#[track_caller]
fn none_missing(wanted: &BTreeSet<String>, there: &BTreeSet<String>, what: &str) {
    let missing: Vec<&String> = wanted.difference(there).collect();
    assert!(missing.is_empty(), "{what}: {missing:#?}");
}

#[test]
fn every_function_says_what_it_does_and_every_handle_which_threads_may_use_it() {
    let found = undocumented(&header());
    assert!(
        found.is_empty(),
        "include/redkeep.h, without a comment of their own, or a handle without \"Thread safety: \": {found:#?}"
    );
}

#[test]
fn every_function_has_an_example() {
    let mut pages = texts("src/guides", "md");
    pages.push(read(&root().join("README.md")));
    let pages = pages.iter().map(|page| programs(page));
    let shown = called(pages.chain(texts("examples-c", "c")));
    none_missing(
        &functions(&header()),
        &shown,
        "called neither in README.md, nor in a guide (src/guides), nor in examples-c",
    );
}

#[test]
fn every_function_has_a_test() {
    let tested = called(texts("tests/c", "c"));
    none_missing(
        &functions(&header()),
        &tested,
        "called by no test in tests/c",
    );
}

/// Whether a test sets a property: by its name, in the builder, or in a url.
fn sets(test: &str, property: &str) -> bool {
    let ways = [
        format!(".{property}("),
        format!("\"{property}\""),
        format!("?{property}="),
        format!("&{property}="),
    ];
    ways.iter().any(|way| test.contains(way))
}

#[test]
fn every_property_is_documented_with_an_example_and_tested() {
    let mut tests = texts("tests", "rs");
    tests.extend(texts("tests/c", "c"));
    let table = Config::documentation();
    let rows: Vec<Vec<&str>> = table.lines().skip(2).map(cells).collect();
    assert!(rows.len() > 30, "{} properties", rows.len());
    let mut found = Vec::new();
    for row in rows {
        let [name, kind, allowed, _, example, _, meaning] = row[..] else {
            panic!("a row of seven cells: {row:?}");
        };
        let name = name.trim_matches('`');
        if let Err(error) = Config::new().set(name, example.trim_matches('`')) {
            found.push(format!("{name} has no example that can be used: {error}"));
        }
        if kind.is_empty() || allowed.is_empty() || !meaning.ends_with('.') {
            found.push(format!("{name} has no type, no range or no meaning"));
        }
        if !tests.iter().any(|test| sets(test, name)) {
            found.push(format!("{name} is set by no test"));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// How far from a field's name that of what it is a part of may stand.
const NEAR: usize = 400;

/// The last word of a field, and what it is a part of, where others end with the same word.
fn last_words<'a>(field: &'a str, all: &[&str]) -> (&'a str, Option<&'a str>) {
    let words = |field: &'a str| field.split(['.', '[', ']']).filter(|word| !word.is_empty());
    let last = words(field).next_back().expect("a word");
    let alike = |other: &&&str| other.rsplit('.').next() == Some(last);
    let parent = words(field).rev().skip(1).find(|word| *word != "buckets");
    (
        last,
        parent.filter(|_| all.iter().filter(alike).count() > 1),
    )
}

/// Whether a test looks at a field: by its name in JSON, in Python's words or ours, or as a part of a struct.
fn reads(test: &str, last: &str, parent: Option<&str>) -> bool {
    let is_end =
        |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '(');
    let is_near = |at: usize, parent: &str| {
        let text = &test.as_bytes()[at.saturating_sub(NEAR)..test.len().min(at + NEAR)];
        String::from_utf8_lossy(text).contains(parent)
    };
    let found = |name: &str, ends: bool| {
        test.match_indices(name).any(|(at, _)| {
            (!ends || is_end(&test[at + name.len()..]))
                && parent.is_none_or(|parent| is_near(at, parent))
        })
    };
    found(&format!(".{last}"), true) || found(&format!("\"{last}\""), false)
}

/// That each is documented, and no other, and that the example has all of them, tests/statistics.rs says; that each
/// metric is what the field says, tests/prometheus.rs.
#[test]
fn every_field_of_the_statistics_has_a_test() {
    let mut tests = texts("tests", "rs");
    tests.extend(texts("tests/c", "c"));
    let schema = read(&root().join("src/stats/schema.md"));
    let fields = schema.split("## For Prometheus").next().expect("a text");
    let fields = fields.lines().filter_map(|line| line.strip_prefix("| `"));
    let fields: Vec<&str> = fields.filter_map(|row| row.split('`').next()).collect();
    assert!(fields.len() > 60, "{} fields", fields.len());
    let seen = |field: &&&str| {
        let (last, parent) = last_words(field, &fields);
        tests.iter().any(|test| reads(test, last, parent))
    };
    let missing: Vec<&&str> = fields.iter().filter(|field| !seen(field)).collect();
    assert!(missing.is_empty(), "no test looks at {missing:#?}");
}

fn cells(row: &str) -> Vec<&str> {
    let row = row.trim_start_matches('|').trim_end_matches('|');
    row.split('|').map(str::trim).collect()
}

#[test]
fn what_is_missing_is_seen() {
    let header = "/** What there is to say. */\nrk_status rk_a(int x);\n\nrk_status rk_b(rk_c *c);\n\n\
        /** Two for one comment. */\nvoid rk_d(void);\nvoid rk_e(void);\n\n/**  */\nvoid rk_f(int32_t (*cb)(void));\n\n\
        /** A handle. */\ntypedef struct rk_c rk_c;\n\n/** Thread safety: none. */\ntypedef struct rk_g rk_g;";
    let found = undocumented(header);
    assert_eq!(
        found,
        ["rk_b", "rk_d", "rk_e", "rk_f", "typedef struct rk_c rk_c;"]
    );

    let page = "rk_a()\n```c\n/* rk_b() */ rk_c(\"redis://x\"); rk_d(1);\n```\n```cpp\nrk_e();\n```\n```c hiredis\nrk_f();\n```";
    let shown = called([programs(page)]);
    assert_eq!(
        shown.into_iter().collect::<Vec<_>>(),
        ["rk_c", "rk_d", "rk_f"]
    );

    assert!(sets("config.db(1)", "db") && sets("redis://h?a=1&db=2", "db"));
    assert!(!sets("db; \"db is\"; .db_size(", "db"));

    let all = ["near[].hits", "a.buckets[].count", "b[].buckets[].count"];
    assert_eq!(last_words(all[0], &all), ("hits", None));
    assert_eq!(last_words(all[1], &all), ("count", Some("a")));
    assert_eq!(last_words(all[2], &all), ("count", Some("b")));
    assert!(reads("stats[\"hits\"]", "hits", None) && reads("stats.hits, 1", "hits", None));
    assert!(!reads("hits .hits_of \"hits of\" .hits()", "hits", None));
    let waits = Some("lock_waits");
    assert!(reads("[\"lock_waits\"][0][\"count\"]", "count", waits));
    assert!(!reads("[\"pool_waits\"][\"count\"]", "count", waits));
    let far = format!("lock_waits{}[\"count\"]", " ".repeat(NEAR));
    assert!(!reads(&far, "count", waits));
}
