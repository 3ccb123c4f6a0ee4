//! A message to be sent.

use serde::Serialize;
use serde::de::IgnoredAny;

use crate::error::{Error, ErrorKind, Result};

/// A message to be sent: a name, by which handlers know what it is about, and a body, which is JSON. On the wire they
/// are the fields `name` and `body` of a stream's entry.
///
/// ```
/// # fn main() -> redkeep::Result<()> {
/// use redkeep::Message;
///
/// #[derive(serde::Serialize)]
/// struct Order { id: u64 }
///
/// let message = Message::new("order.created", &Order { id: 7 })?;
/// assert_eq!((message.name(), message.body()), ("order.created", r#"{"id":7}"#));
/// let same = Message::from_json("order.created", r#"{"id": 7}"#)?;
/// assert!(Message::from_json("order.created", "{id: 7}").is_err());
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    name: String,
    body: String,
}

impl Message {
    /// A message whose body is any serde type.
    pub fn new<T: Serialize + ?Sized>(name: &str, body: &T) -> Result<Message> {
        let body = serde_json::to_string(body).map_err(|why| {
            Error::new(
                ErrorKind::Json,
                format!("body: it cannot be written as JSON: {why}"),
            )
        })?;
        let name = name.to_owned();
        Ok(Message { name, body })
    }

    /// A message whose body is JSON text already; it is checked.
    pub fn from_json(name: &str, body: &str) -> Result<Message> {
        check_json(body)?;
        Ok(Message {
            name: name.to_owned(),
            body: body.to_owned(),
        })
    }

    /// What it is about.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The body, as JSON.
    pub fn body(&self) -> &str {
        &self.body
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Its name and body are the user's own.
        write!(f, "Message(a body of {} bytes)", self.body.len())
    }
}

pub(crate) fn check_json(text: &str) -> Result<()> {
    serde_json::from_str::<IgnoredAny>(text)
        .map(drop)
        .map_err(|why| {
            let (line, column) = (why.line(), why.column());
            let text = format!("body: it is not JSON (line {line}, column {column})");
            Error::new(ErrorKind::Json, text)
        })
}
