//! Every test that the page of promises names exists.

use std::path::Path;

const PAGE: &str = include_str!("../src/promises.md");

/// The tests that the page names: `tests/outages.rs::a_name`, by file and name.
fn named(page: &str) -> Vec<(&str, &str)> {
    let spans = page.split('`').skip(1).step_by(2);
    let tests = spans.filter_map(|span| span.split_once("::"));
    tests.filter(|(file, _)| file.contains('/')).collect()
}

/// Whether this text defines a test of that name; in C and Python, a function.
fn defines(file: &str, text: &str, name: &str) -> bool {
    let begins = match file.rsplit('.').next() {
        Some("rs") => format!("fn {name}("),
        Some("py") => format!("def {name}("),
        _ => format!("static void {name}("),
    };
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    let Some(at) = lines.iter().position(|line| line.starts_with(&begins)) else {
        return false;
    };
    let is_test = |line: &&str| line.starts_with("#[test]") || line.starts_with("#[ignore");
    !file.ends_with(".rs") || lines[at.saturating_sub(2)..at].iter().any(is_test)
}

#[test]
fn every_test_that_is_named_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let named = named(PAGE);
    assert!(named.len() > 50, "{}", named.len());
    for (file, name) in named {
        let text = std::fs::read_to_string(root.join(file));
        let text = text.unwrap_or_else(|error| panic!("{file}::{name}: {error}"));
        assert!(defines(file, &text, name), "{file} has no test {name}");
    }
}

#[test]
fn every_case_of_the_fault_suite_stands_on_the_page() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let file = path.file_name().unwrap().to_str().unwrap();
        for (line, next) in text.lines().zip(text.lines().skip(1)) {
            if line == "#[test]" {
                let name = next.trim_start_matches("fn ").split('(').next().unwrap();
                let test = format!("`tests/faults/{file}::{name}`");
                assert!(
                    PAGE.contains(&test),
                    "{test} stands on no line of src/promises.md"
                );
            }
        }
    }
}

#[test]
fn a_name_that_is_nowhere_is_noticed() {
    let page = "| a | `tests/x.rs::here`, `tests/x.c::there` | `redkeep::Error` |";
    assert_eq!(
        named(page),
        [("tests/x.rs", "here"), ("tests/x.c", "there")]
    );
    let text = "#[test]\nfn here() {\n}\nfn helper() {\n}\n";
    assert!(defines("tests/x.rs", text, "here"));
    assert!(!defines("tests/x.rs", text, "helper"));
    assert!(!defines("tests/x.rs", text, "there"));
    assert!(defines("tests/x.c", "static void there(void)\n", "there"));
}
