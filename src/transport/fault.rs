//! What a reply may be at most, and what is said of one that is more, or that is no RESP.

use crate::error::{Error, ErrorKind, Outcome};

/// How many levels of aggregates a reply may have, whatever [`Limits::max_depth`] says: code that walks a reply by
/// recursion counts on it.
pub(crate) const DEEPEST: usize = 32;

/// What an element takes beside its bytes: its entry, its value, and what the allocator adds to a short text. So what is
/// made of a reply stays below twice its cap, whatever it consists of.
pub(crate) const ELEMENT: usize = 80;
/// The first ones, which a reply of any size may have, cost nothing.
pub(crate) const FEW: usize = 64 << 10;

/// What one reply may be at most, its attributes among it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of strings, statuses and errors, without the framing around them, so that a value of exactly this size
    /// can be read; and of a reply of more than [`FEW`] elements, [`ELEMENT`] for each one further. Defaults to 512 MiB.
    pub(crate) max_bytes: usize,
    /// Values inside aggregates. The shortest takes three bytes on the wire and 24 in memory, so this bounds what
    /// hostile framing can make of the bytes it sends. Defaults to 16 Mi.
    pub(crate) max_elements: usize,
    /// Bytes of one line, its type byte and its end not counted. Defaults to 64 KiB.
    pub(crate) max_line: usize,
    /// Levels of aggregates, attributes among them. Defaults to 32, which is also the most.
    pub(crate) max_depth: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_bytes: 512 << 20,
            max_elements: 16 << 20,
            max_line: 64 << 10,
            max_depth: DEEPEST,
        }
    }
}

/// Why no reply can be read any more. The socket must be closed: where the next reply begins is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is not RESP.
    Protocol(String),
    /// It is more than a cap allows, or than there is memory for.
    TooLarge(String),
}

impl Fault {
    /// A fault of the protocol that names what was found.
    #[cold]
    pub(crate) fn found(what: &str, bytes: &[u8]) -> Fault {
        Fault::Protocol(format!("{what}: {}", quote(bytes)))
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        let error = match fault {
            Fault::Protocol(text) => Error::new(ErrorKind::Protocol, text),
            Fault::TooLarge(text) => Error::new(ErrorKind::ReplyTooLarge, text),
        };
        // The command was sent, and what the server made of it cannot be read.
        error.outcome_is(Outcome::Unknown)
    }
}

/// The first two bytes, escaped: enough to tell TLS from HTTP, and too little of a value that may stand there.
fn quote(bytes: &[u8]) -> String {
    match bytes.get(..2) {
        Some(start) if bytes.len() > 2 => format!("\"{}\"...", start.escape_ascii()),
        _ => format!("\"{}\"", bytes.escape_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_quotes_little_and_escapes_it() {
        let Fault::Protocol(text) = Fault::found("bad", b"\"\xff") else {
            panic!()
        };
        assert_eq!(text, r#"bad: "\"\xff""#);
        let Fault::Protocol(text) = Fault::found("bad", &[b'x'; 100]) else {
            panic!()
        };
        assert_eq!(text, "bad: \"xx\"...");
    }

    #[test]
    fn a_fault_is_an_error_of_unknown_outcome() {
        let error = Error::from(Fault::TooLarge("too much".into()));
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::ReplyTooLarge, Outcome::Unknown)
        );
        let error = Error::from(Fault::Protocol("no RESP".into()));
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Protocol, Outcome::Unknown)
        );
    }
}
