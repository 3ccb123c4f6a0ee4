//! Values of any serde type, stored as JSON text.

use redis::ToRedisArgs;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::client::{Client, SetOptions};
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::transport::Reply;

impl Client {
    /// Stores a value as JSON.
    ///
    /// ```
    /// # fn main() -> redkeep::Result<()> {
    /// # let keep = redkeep::Manager::open("embedded://")?;
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct User { id: u32, tags: Vec<String> }
    ///
    /// keep.set_json("user:1", &User { id: 1, tags: vec!["admin".into()] })?;
    /// let user: Option<User> = keep.get_json("user:1")?;
    /// assert_eq!(user.unwrap().tags, ["admin"]);
    /// # Ok(()) }
    /// ```
    pub fn set_json<T: Serialize + ?Sized>(&self, key: impl ToRedisArgs, value: &T) -> Result<()> {
        self.set_json_with(key, value, SetOptions::new())
            .map(|_| ())
    }

    /// Stores a value as JSON under [`SetOptions`]; true if it was set.
    pub fn set_json_with<T: Serialize + ?Sized>(
        &self,
        key: impl ToRedisArgs,
        value: &T,
        options: SetOptions,
    ) -> Result<bool> {
        self.set_with(key, written(value)?, options)
    }

    /// Reads a value stored as JSON; none if there is no such key.
    pub fn get_json<T: DeserializeOwned>(&self, key: impl ToRedisArgs) -> Result<Option<T>> {
        self.get_raw(&key, |reply| match reply.is_nil() {
            true => Ok(None),
            false => parse(reply.as_bytes().unwrap_or_default()).map(Some),
        })
    }

    /// Stores a text after checking that it is JSON.
    pub(crate) fn set_json_text(
        &self,
        key: impl ToRedisArgs,
        text: &str,
        options: SetOptions,
    ) -> Result<bool> {
        check(text)?;
        self.set_with(key, text, options)
    }

    /// As [`publish`](Client::publish), with a value of any serde type, sent as JSON.
    pub fn publish_json<T: Serialize + ?Sized>(
        &self,
        channel: impl ToRedisArgs,
        value: &T,
    ) -> Result<i64> {
        self.publish(channel, written(value)?)
    }

    /// Publishes a text after checking that it is JSON.
    pub(crate) fn publish_json_text(&self, channel: impl ToRedisArgs, text: &str) -> Result<i64> {
        check(text)?;
        self.publish(channel, text)
    }

    /// Reads a value as the text that is stored, after checking that it is JSON; none if there is no such key.
    pub(crate) fn get_json_raw<T>(
        &self,
        key: impl ToRedisArgs,
        read: impl FnOnce(&mut Reply) -> T,
    ) -> Result<Option<T>> {
        self.get_raw(&key, |reply| {
            if reply.is_nil() {
                return Ok(None);
            }
            let text = reply.as_bytes().unwrap_or_default();
            // serde does not look whether what it skips is UTF-8, as JSON has to be.
            if std::str::from_utf8(text).is_err() {
                return Err(stored(
                    "the stored value is not UTF-8, and so not JSON".to_owned(),
                ));
            }
            parse::<IgnoredAny>(text)?;
            Ok(Some(read(reply)))
        })
    }
}

fn written<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|why| {
        Error::new(
            ErrorKind::Json,
            format!("the value cannot be written as JSON: {why}"),
        )
    })
}

fn check(text: &str) -> Result<()> {
    let checked = serde_json::from_str::<IgnoredAny>(text);
    checked.map(|_| ()).map_err(|why| {
        Error::new(
            ErrorKind::Json,
            format!(
                "the text is not JSON (line {}, column {})",
                why.line(),
                why.column()
            ),
        )
    })
}

/// JSON text that came from the server.
pub(crate) fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T> {
    serde_json::from_slice(text).map_err(|why| {
        // serde's text tells the place and what was expected there, and for data errors quotes the value, which
        // has no business in an error: only the kind and the place are passed on.
        let what = match why.classify() {
            serde_json::error::Category::Data => "the stored JSON is not of the type asked for",
            _ => "the stored value is not JSON",
        };
        stored(format!(
            "{what} (line {}, column {})",
            why.line(),
            why.column()
        ))
    })
}

fn stored(what: String) -> Error {
    Error::new(ErrorKind::StoredJson, what).outcome_is(Outcome::Unknown)
}
