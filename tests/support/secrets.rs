//! Secrets: everything that is printed is collected, and searched for them.

use std::error::Error;
use std::fmt::Write;
use std::sync::Mutex;

use super::CANARY_PASSWORD;

/// Everything that was logged, from any test of the file.
static LINES: Mutex<String> = Mutex::new(String::new());

struct Collector;

impl log::Log for Collector {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let mut lines = LINES.lock().unwrap_or_else(|e| e.into_inner());
        let _ = writeln!(lines, "{} {}", record.target(), record.args());
    }

    fn flush(&self) {}
}

/// From here on.
pub fn collect_logs() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Collector).expect("no other logger");
        log::set_max_level(log::LevelFilter::Trace);
    });
}

pub fn logged() -> String {
    LINES.lock().unwrap_or_else(|e| e.into_inner()).clone()
}

/// No password is in it.
#[track_caller]
pub fn is_clean(text: &str) {
    assert!(!text.contains(CANARY_PASSWORD), "{text}");
    // Nor percent-encoded, nor a good part of it.
    assert!(!text.contains("canary-pass"), "{text}");
    assert!(!text.contains("canary%2D"), "{text}");
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
