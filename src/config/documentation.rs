//! The table of properties as Markdown.

use super::property::{Config, PROPERTIES};
use std::fmt::Write;

impl Config {
    /// Every property as a Markdown table: its name, type, what is allowed, default, a value as an example,
    /// environment variable and meaning. This very table stands in the documentation of [`Config`].
    ///
    /// ```
    /// assert!(redkeep::Config::documentation().contains("`REDIS_MAX_CONNECTIONS`"));
    /// ```
    pub fn documentation() -> String {
        let mut out = String::from(
            "| name | type | allowed | default | example | environment | meaning |\n|---|---|---|---|---|---|---|\n",
        );
        for property in PROPERTIES {
            let code = |text: Option<&str>| text.map_or(String::new(), |text| format!("`{text}`"));
            let also = match property.also {
                [] => String::new(),
                names => format!(" Also called `{}`.", names.join("`, `")),
            };
            // Writing to a String cannot fail.
            let _ = writeln!(
                out,
                "| `{}` | {} | {} | {} | `{}` | {} | {}{also} |",
                property.name,
                property.rule.kind(),
                property.rule,
                code(property.default),
                property.example,
                code(property.env),
                property.doc(),
            );
        }
        out
    }
}
