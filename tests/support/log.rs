//! What is logged, collected for whoever looks for something in it.

use std::fmt::Write;
use std::sync::Mutex;

/// From any test of the file.
static LINES: Mutex<String> = Mutex::new(String::new());

struct Collector;

impl log::Log for Collector {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let mut lines = LINES.lock().unwrap_or_else(|e| e.into_inner());
        let _ = writeln!(lines, "{}", record.args());
    }

    fn flush(&self) {}
}

/// From here on, everything.
pub fn collect_logs() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Collector).expect("no other logger");
        log::set_max_level(log::LevelFilter::Trace);
    });
}

/// All of it so far, a line each.
pub fn logged() -> String {
    LINES.lock().unwrap_or_else(|e| e.into_inner()).clone()
}
