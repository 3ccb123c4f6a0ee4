//! include/redkeep.h is made from src/ffi, one section for each of its files, and is fresh.

mod c_source;

use std::fs;
use std::path::{Path, PathBuf};

use c_source::{code, functions, words};

const BEGIN: &str = r#"/* redkeep: an embedded, blocking Redis and Valkey client manager.
 *
 *     rk_manager *keep = NULL;
 *     rk_error *err = NULL;
 *     rk_bytes name = RK_BYTES_INIT;
 *
 *     if (rk_manager_open("redis://localhost", &keep, &err) == RK_OK &&
 *         rk_get(keep, "name", 4, &name, &err) == RK_OK)
 *         printf("%s\n", (char *)name.data);
 *     if (err)
 *         fprintf(stderr, "%s\n", rk_error_message(err));
 *
 *     rk_bytes_free(&name);
 *     rk_error_free(err);
 *     rk_manager_free(keep);
 *
 * A function that returns a status may be given NULL for a handle, and then returns RK_ERR_ARGUMENT; the others answer
 * with 0, NULL or false. A function whose name ends with _free or _release takes NULL for nothing to do. Outputs and
 * *err are overwritten, not freed: free what they hold before they are used again.
 *
 * Made from the source by `make header`; do not change it by hand. */

#ifndef REDKEEP_H
#define REDKEEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

"#;

const VERSION: &str = r#"/* The version that this header belongs to. NUMBER is major * 10000 + minor * 100 + patch. */
#define RK_VERSION_MAJOR @MAJOR@
#define RK_VERSION_MINOR @MINOR@
#define RK_VERSION_PATCH @PATCH@
#define RK_VERSION_STRING "@STRING@"
#define RK_VERSION_NUMBER (RK_VERSION_MAJOR * 10000 + RK_VERSION_MINOR * 100 + RK_VERSION_PATCH)

"#;

const LITERALS: &str = r#"/* No value: what every rk_bytes begins with. */
#define RK_BYTES_INIT {NULL, 0}

/* A text in the source as a slice, inside a function: rk_slice args[] = {RK_LIT("GET"), RK_LIT("name")}; */
#ifdef __cplusplus
#define RK_LIT(text) (rk_slice{"" text, sizeof("" text) - 1})
#else
#define RK_LIT(text) ((rk_slice){"" text, sizeof("" text) - 1})
#endif

"#;

const INT32: &str = r#"/* What gives an enum 32 bits where the language can say so; elsewhere its type is an int32_t. */
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
#define RK_INT32 : int32_t
#else
#define RK_INT32
#endif

"#;

const OPEN: &str = r#"#ifdef __cplusplus
extern "C" {
#endif

"#;

const CLOSE: &str = r#"#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* REDKEEP_H */
"#;

/// How cbindgen says that an enum has 32 bits, each time anew.
const SIZED: &str = "
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {";

const HANDLES: &str = "\
Handles

Everything that is opened, made or leased is one of these; what is inside is the library's own business.";

const WIDTH: usize = 100;

/// One file of src/ffi.
struct Section {
    title: String,
    /// What there is to say about all of it.
    words: String,
    /// Types that C only points to, each with its comment.
    handles: Vec<String>,
    body: Vec<String>,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The rooms of src/ffi in the order in which mod.rs names them.
fn files() -> Vec<PathBuf> {
    let folder = root().join("src/ffi");
    let map = fs::read_to_string(folder.join("mod.rs")).expect("src/ffi/mod.rs");
    let names = map
        .lines()
        .filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
    names
        .map(|name| folder.join(format!("{name}.rs")))
        .collect()
}

fn section(file: &Path) -> Option<Section> {
    let source = fs::read_to_string(file).expect("a readable file");
    if !source.contains("#[unsafe(no_mangle)]") {
        return None;
    }
    let words = source.lines().map_while(|line| line.strip_prefix("//!"));
    let words: Vec<&str> = words.map(str::trim).collect();
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).expect("cbindgen.toml");
    let made = cbindgen::Builder::new()
        .with_config(config)
        .with_src(file)
        .generate()
        .expect("a file that cbindgen understands");
    let mut text = Vec::new();
    made.write(&mut text);
    let text = String::from_utf8(text).expect("UTF-8");
    // One pair of these stands around the whole header instead.
    let text = text
        .replace(
            "#ifdef __cplusplus\nextern \"C\" {\n#endif // __cplusplus\n",
            "",
        )
        .replace(
            "#ifdef __cplusplus\n}  // extern \"C\"\n#endif  // __cplusplus\n",
            "",
        )
        .replace(SIZED, " RK_INT32 {");
    let text = on_one_line(&text);
    let blocks = text.split("\n\n").map(|block| block.trim_matches('\n'));
    let blocks = blocks.filter(|block| !block.is_empty()).map(str::to_owned);
    let (handles, body) = blocks.partition(|block: &String| {
        block
            .lines()
            .last()
            .is_some_and(|line| line.starts_with("typedef struct ") && !line.contains('{'))
    });
    Some(Section {
        title: words[0].to_owned(),
        words: words[1..].join("\n").trim().to_owned(),
        handles,
        body,
    })
}

/// Comments of one line stand on one line.
fn on_one_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut made = String::new();
    let mut at = 0;
    while at < lines.len() {
        let indent = lines[at].trim_end_matches("/**");
        match lines.get(at + 1..at + 3) {
            Some([words, end]) if lines[at].trim() == "/**" && end.trim() == "*/" => {
                let words = words.trim().trim_start_matches("* ");
                made.push_str(&format!("{indent}/** {words} */"));
                at += 3;
            }
            _ => {
                made.push_str(lines[at]);
                at += 1;
            }
        }
        made.push('\n');
    }
    made
}

/// A heading, and what there is to say below it.
fn heading(title: &str, words: &str) -> String {
    let rule = "-".repeat(WIDTH - title.len() - 9);
    let mut text = format!("/* ---- {title} {rule}\n");
    if !words.is_empty() {
        text.push_str(" *\n");
        for line in words.lines() {
            text.push_str(format!(" * {line}").trim_end());
            text.push('\n');
        }
    }
    text.push_str(" */\n\n");
    text
}

fn version(text: &str) -> String {
    text.replace("@MAJOR@", env!("CARGO_PKG_VERSION_MAJOR"))
        .replace("@MINOR@", env!("CARGO_PKG_VERSION_MINOR"))
        .replace("@PATCH@", env!("CARGO_PKG_VERSION_PATCH"))
        .replace("@STRING@", env!("CARGO_PKG_VERSION"))
}

fn header() -> String {
    let sections: Vec<Section> = files().iter().filter_map(|file| section(file)).collect();
    let (title, words) = HANDLES.split_once("\n\n").expect("a title and words");
    let mut header = format!("{BEGIN}{OPEN}");
    for (i, section) in sections.iter().enumerate() {
        header.push_str(&heading(&section.title, &section.words));
        if i == 0 {
            header.push_str(&version(VERSION));
            header.push_str(INT32);
        }
        for block in &section.body {
            header.push_str(block);
            header.push_str("\n\n");
        }
        if section.title == "Bytes" {
            header.push_str(LITERALS);
        }
        if i == 0 {
            header.push_str(&heading(title, words));
            for handle in sections.iter().flat_map(|section| &section.handles) {
                header.push_str(handle);
                header.push_str("\n\n");
            }
        }
    }
    header.push_str(CLOSE);
    header
}

#[test]
fn the_header_is_fresh() {
    let path = root().join("include/redkeep.h");
    let made = header();
    if std::env::var_os("REDKEEP_WRITE_HEADER").is_some() {
        fs::write(&path, &made).expect("include/redkeep.h can be written");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let differs = made.lines().zip(committed.lines()).find(|(a, b)| a != b);
    assert!(
        made == committed,
        "include/redkeep.h is not what the source says; `make header` writes it anew. First difference: {differs:?}"
    );
}

/// What redkeep.hpp leaves out, and why.
const NOT_IN_CPP: [(&str, &str); 2] = [
    (
        "rk_command_argv",
        "command() takes texts and numbers as they are",
    ),
    (
        "rk_limiter_check",
        "check() calls rk_limiter_check_full(), which tells more",
    ),
];

#[test]
fn every_function_is_used_by_the_header_for_cpp() {
    let read = |name| fs::read_to_string(root().join(name)).expect("a header");
    let declared = functions(&read("include/redkeep.h"));
    let cpp = code(&read("include/redkeep.hpp"));
    let used: Vec<&str> = words(&cpp).map(|(name, _)| name).collect();
    assert!(declared.contains("rk_get") && declared.contains("rk_limiter_check"));
    let missing = declared.iter().map(String::as_str);
    let missing: Vec<&str> = missing.filter(|name| !used.contains(name)).collect();
    let left_out: Vec<&str> = NOT_IN_CPP.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        missing, left_out,
        "include/redkeep.hpp does not use these functions of include/redkeep.h (left), of which the right ones are \
         left out with a reason"
    );
}
