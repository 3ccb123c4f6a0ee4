//! Text that is never printed.

use std::fmt;

/// A password. Printing it, in whichever way, gives `***`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Secret(String);

/// What stands in a secret's place.
pub(super) const MASK: &str = "***";

impl Secret {
    pub(crate) fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself: for AUTH, and for whoever asks for this one property by name.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}
