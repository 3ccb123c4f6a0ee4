//! Secrets: what is printed is searched for them.

use std::error::Error;
use std::fmt::Write;

use super::CANARY_PASSWORD;

/// No password is in it.
#[track_caller]
pub fn is_clean(text: &str) {
    assert!(!text.contains(CANARY_PASSWORD), "{text}");
    // Nor percent-encoded, nor a good part of it.
    assert!(!text.contains("canary-pass"), "{text}");
    assert!(!text.contains("canary%2D"), "{text}");
    super::figure(format!("0 secrets in {} bytes of text", text.len()));
}

/// An error with all of its causes, in every form.
pub fn whole(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut cause = Some(error);
    while let Some(one) = cause {
        let _ = writeln!(text, "{one} {one:?} {one:#?}");
        cause = one.source();
    }
    text
}
