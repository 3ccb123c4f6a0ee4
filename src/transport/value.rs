//! A reply as the `redis` crate's own value, for its conversions and its typed commands.

use redis::{PushKind, Value, VerbatimFormat};

use super::reply::{Entry, Kind, Reply};
use crate::error::{Error, ErrorKind, Result};

impl Reply {
    /// A copy of it as a value of the `redis` crate. Texts that are not UTF-8 are converted with losses, as far as
    /// that crate keeps them as text.
    pub(crate) fn to_value(&self) -> Result<Value> {
        // By recursion: no reply is deeper than `fault::DEEPEST`, as `Value`'s own drop needs it.
        self.value_of(self.root())
    }

    /// As [`to_value`](Reply::to_value); a string is not copied.
    pub(crate) fn into_value(self) -> Result<Value> {
        match self.kind() {
            Kind::Bytes => Ok(Value::BulkString(self.into_bytes().unwrap_or_default())),
            _ => self.to_value(),
        }
    }

    pub(crate) fn value_of(&self, entry: &Entry) -> Result<Value> {
        match entry.kind {
            Kind::Array => self.values_of(self.children(entry)).map(Value::Array),
            Kind::Set => self.values_of(self.children(entry)).map(Value::Set),
            Kind::Map => self.pairs_of(self.children(entry)).map(Value::Map),
            Kind::Push => self.push_of(entry),
            _ => self.leaf(entry),
        }
    }

    fn values_of(&self, entries: &[Entry]) -> Result<Vec<Value>> {
        let mut values = Vec::with_capacity(entries.len());
        for entry in entries {
            values.push(self.value_of(entry)?);
        }
        Ok(values)
    }

    fn pairs_of(&self, entries: &[Entry]) -> Result<Vec<(Value, Value)>> {
        let mut pairs = Vec::with_capacity(entries.len() / 2);
        for pair in entries.chunks_exact(2) {
            pairs.push((self.value_of(&pair[0])?, self.value_of(&pair[1])?));
        }
        Ok(pairs)
    }

    /// The first element of a push says what it is about. One without such a word is kept whole, as of another kind.
    fn push_of(&self, entry: &Entry) -> Result<Value> {
        let (kind, rest) = match self.children(entry) {
            [first, rest @ ..] if matches!(first.kind, Kind::Bytes | Kind::Status) => {
                (push_kind(self.bytes_of(first)), rest)
            }
            all => (PushKind::Other(String::new()), all),
        };
        let data = self.values_of(rest)?;
        Ok(Value::Push { kind, data })
    }

    // Not inlined, so that its locals do not weigh on every level of the recursion.
    #[inline(never)]
    fn leaf(&self, entry: &Entry) -> Result<Value> {
        let bytes = self.bytes_of(entry);
        Ok(match entry.kind {
            Kind::Status if bytes == b"OK" => Value::Okay,
            Kind::Status => Value::SimpleString(text(bytes)),
            Kind::Error => return server_error(bytes),
            Kind::Integer => Value::Int(entry.integer().unwrap_or_default()),
            Kind::Double => Value::Double(entry.double().unwrap_or_default()),
            Kind::Bool => Value::Boolean(entry.boolean().unwrap_or_default()),
            Kind::Bytes => Value::BulkString(bytes.to_vec()),
            Kind::BigNumber => Value::BigNumber(bytes.to_vec()),
            Kind::Verbatim => Value::VerbatimString {
                format: match bytes.get(..3).unwrap_or_default() {
                    b"txt" => VerbatimFormat::Text,
                    b"mkd" => VerbatimFormat::Markdown,
                    other => VerbatimFormat::Unknown(text(other)),
                },
                text: text(self.text_of(entry)),
            },
            Kind::Nil | Kind::Array | Kind::Set | Kind::Map | Kind::Push => Value::Nil,
        })
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn push_kind(word: &[u8]) -> PushKind {
    match word {
        b"invalidate" => PushKind::Invalidate,
        b"message" => PushKind::Message,
        b"pmessage" => PushKind::PMessage,
        b"smessage" => PushKind::SMessage,
        b"unsubscribe" => PushKind::Unsubscribe,
        b"punsubscribe" => PushKind::PUnsubscribe,
        b"sunsubscribe" => PushKind::SUnsubscribe,
        b"subscribe" => PushKind::Subscribe,
        b"psubscribe" => PushKind::PSubscribe,
        b"ssubscribe" => PushKind::SSubscribe,
        other => PushKind::Other(text(other)),
    }
}

/// The `redis` crate lets nobody make its server errors, save its own parser. As a blob error the text may hold
/// anything.
#[cfg(not(c_only))]
fn server_error(message: &[u8]) -> Result<Value> {
    let mut wire = format!("!{}\r\n", message.len()).into_bytes();
    wire.extend_from_slice(message);
    wire.extend_from_slice(b"\r\n");
    redis::parse_redis_value(&wire).map_err(|cause| {
        Error::new(ErrorKind::Internal, "a server error could not be converted").caused_by(cause)
    })
}

/// Who calls from C sees none of that crate's values: there one kind of server error does, and the parser, which weighs
/// more than all else of that crate, stays out of the library.
#[cfg(c_only)]
fn server_error(message: &[u8]) -> Result<Value> {
    let message = text(message);
    let (code, detail) = match message.split_once(' ') {
        Some((code, detail)) => (code, Some(detail.to_owned())),
        None => (message.as_str(), None),
    };
    let error = redis::make_extension_error(code.to_owned(), detail);
    redis::ServerError::try_from(error)
        .map(Value::ServerError)
        .map_err(|cause| {
            let what = "a server error could not be converted";
            Error::new(ErrorKind::Internal, what).caused_by(cause)
        })
}
