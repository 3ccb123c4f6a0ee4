//! Options of a feature that are set by name and text, as C does. The text has the same forms as a property's.

use super::complaint::quote;
use crate::error::{Error, ErrorKind, Result};

/// The name of an option, and what it is to be.
#[derive(Clone, Copy)]
pub(crate) struct Setting<'a> {
    pub(crate) name: &'a str,
    pub(crate) value: &'a str,
}

impl Setting<'_> {
    /// One of these words.
    pub(crate) fn one_of<T: Copy>(&self, words: &[(&str, T)]) -> Result<T> {
        let found = words
            .iter()
            .find(|(word, _)| self.value.trim().eq_ignore_ascii_case(word));
        found.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.bad(&words.join(" or "))
        })
    }

    pub(crate) fn bad(&self, takes: &str) -> Error {
        let (name, value) = (self.name, quote(self.value));
        let text = format!("{name}: {value} is not allowed; it takes {takes}");
        Error::new(ErrorKind::BadValue, text)
    }

    pub(crate) fn unknown(&self, known: &[&str]) -> Error {
        let (name, known) = (quote(self.name), known.join(", "));
        let text = format!("no option is called {name}; there are {known}");
        Error::new(ErrorKind::UnknownProperty, text)
    }
}
