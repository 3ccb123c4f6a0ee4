//! The library's own files, with loom's locks and atomics in place of the standard library's.

use std::path::Path;
use std::{env, fs};

/// Loom has no way to a value that nobody else sees but this.
const ALONE: &[(&str, &str)] = &[
    (
        "*seats.word.get_mut() = WAIT;",
        "seats.word.store(WAIT, Ordering::Relaxed);",
    ),
    (
        "*seats.timed.get_mut() = false;",
        "seats.timed.store(false, Ordering::Relaxed);",
    ),
];

fn main() {
    let out = env::var("OUT_DIR").expect("a folder");
    for (name, changes) in [
        ("worker/latch.rs", &[][..]),
        ("node/line.rs", &[]),
        ("node/line_batch.rs", ALONE),
    ] {
        let path = Path::new("../src").join(name);
        println!("cargo:rerun-if-changed={}", path.display());
        let text = fs::read_to_string(&path).expect("a file of the library");
        // Inner documentation belongs to the beginning of a file, which this is not.
        let lines = text.lines().filter(|line| !line.starts_with("//!"));
        let text = lines.collect::<Vec<_>>().join("\n");
        // Nor do unit tests: nothing of loom's works outside a model.
        let code = text.split("#[cfg(test)]\nmod tests").next();
        let mut text = code.unwrap_or_default().to_owned();
        for (from, to) in [("std::sync::", "crate::sync::"), ("cfg!(test)", "true")]
            .iter()
            .filter(|(from, _)| *from != "cfg!(test)" || name == "node/line_batch.rs")
            .chain(changes)
        {
            assert!(text.contains(from), "{name} has no {from:?} any more");
            text = text.replace(from, to);
        }
        let to = Path::new(&out).join(name.replace('/', "_"));
        fs::write(to, text).expect("a file of ours");
    }
}
