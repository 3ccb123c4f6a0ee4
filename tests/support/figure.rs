//! What a test measured: for src/promises.md.

/// Seen with `--nocapture`, also of a test in a process of its own.
pub fn figure(text: impl std::fmt::Display) {
    println!("figure: {text}");
}
