//! Options of a feature that are set by name and text, as C does. The text has the same forms as a property's.

use std::time::Duration;

use super::complaint::quote;
use super::rule::Rule;
use super::value::Value;
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

    pub(crate) fn flag(&self) -> Result<bool> {
        self.read(&Rule::Flag)
    }

    /// A time: seconds, or with its unit.
    pub(crate) fn time(&self, least: Duration, most: Duration) -> Result<Duration> {
        self.read(&Rule::Time(least, most))
    }

    /// As `time`; none for 0 or "off".
    pub(crate) fn time_or_off(&self, least: Duration, most: Duration) -> Result<Option<Duration>> {
        let time: Duration = self.read(&Rule::TimeOrOff(least, most))?;
        Ok((!time.is_zero()).then_some(time))
    }

    /// A number with or without a fraction.
    pub(crate) fn number(&self, least: f64, most: f64) -> Result<f64> {
        let number = self.value.trim().parse().ok();
        number
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| self.bad(&format!("a number from {least} to {most}")))
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

    fn read<T: Value>(&self, rule: &Rule) -> Result<T> {
        T::read(self.value, rule)
            .filter(|value| value.fits(rule))
            .ok_or_else(|| self.bad(&rule.to_string()))
    }
}
