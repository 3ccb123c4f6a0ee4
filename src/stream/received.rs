//! A message that came.

use std::sync::Arc;

use serde::de::{DeserializeOwned, IgnoredAny};

use crate::error::{Error, ErrorKind, Result};
use crate::stream::page::{Page, mark};
use crate::transport::Entry;

/// A message that came: what a handler is given, and what [`Consumer::poll`](crate::Consumer::poll) returns.
///
/// A handler's result decides what becomes of it. Whoever polls says it: [`ack`](Received::ack) or
/// [`fail`](Received::fail). A polled message that is dropped without either stays pending, and is delivered again
/// after `claim_idle`.
///
/// ```
/// # fn main() -> redkeep::Result<()> {
/// # let keep = redkeep::Manager::open("embedded://")?;
/// use std::time::Duration;
/// use redkeep::{ChannelOptions, Message};
///
/// let sender = keep.sender().register_channel("orders");
/// sender.send("orders", &Message::new("order.created", &7)?)?;
/// let consumer = keep.consumer("billing").register_channel("orders", ChannelOptions::new());
/// if let Some(message) = consumer.poll(Duration::from_secs(5))? {
///     assert_eq!((message.name(), message.json::<u32>()?, message.deliveries()), ("order.created", 7, 1));
///     message.ack()?;
/// }
/// # Ok(()) }
/// ```
pub struct Received {
    page: Arc<Page>,
    at: usize,
    name: Entry,
    body: Entry,
}

/// Why a message cannot be handed to anybody.
pub(super) enum Unreadable {
    Trimmed,
    Bad(&'static str),
}

impl Received {
    /// Of no message yet.
    pub(super) fn on(page: Arc<Page>) -> Received {
        Received {
            page,
            at: usize::MAX,
            name: Entry::NIL,
            body: Entry::NIL,
        }
    }

    /// Reads the message at this place of its page.
    pub(super) fn point_at(&mut self, at: usize) -> std::result::Result<(), Unreadable> {
        self.at = at;
        let page = &*self.page;
        let fields = page.fields(at).ok_or(Unreadable::Trimmed)?;
        let field = |name: &[u8]| {
            let mut pairs = fields.chunks_exact(2);
            pairs
                .find(|pair| page.bytes(&pair[0]) == name)
                .map(|pair| pair[1])
        };
        let name = field(b"name").ok_or(Unreadable::Bad("it has no field \"name\""))?;
        let body = field(b"body").ok_or(Unreadable::Bad("it has no field \"body\""))?;
        std::str::from_utf8(page.bytes(&name))
            .map_err(|_| Unreadable::Bad("its name is not UTF-8"))?;
        let json = std::str::from_utf8(page.bytes(&body))
            .ok()
            .and_then(|text| serde_json::from_str::<IgnoredAny>(text).ok());
        json.ok_or(Unreadable::Bad("its body is not JSON"))?;
        (self.name, self.body) = (name, body);
        Ok(())
    }

    /// Its id in the stream: milliseconds, a hyphen, a number.
    pub fn id(&self) -> &str {
        match self.at {
            usize::MAX => "",
            at => self.page.id(at),
        }
    }

    /// The channel it came from.
    pub fn channel(&self) -> &str {
        &self.page.channel.name
    }

    /// What it is about.
    pub fn name(&self) -> &str {
        std::str::from_utf8(self.page.bytes(&self.name)).unwrap_or_default()
    }

    /// The body, which is JSON.
    pub fn body(&self) -> &str {
        std::str::from_utf8(self.page.bytes(&self.body)).unwrap_or_default()
    }

    /// The body as any serde type.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        crate::client::parse(self.page.bytes(&self.body))
    }

    /// How often it was delivered, to whomever, this time included.
    pub fn deliveries(&self) -> u32 {
        match self.at {
            usize::MAX => 0,
            at => u32::try_from(self.page.deliveries(at)).unwrap_or(u32::MAX),
        }
    }

    /// It was handled: it will be acknowledged, together with others, before anything else is read. For polled messages
    /// only, once.
    pub fn ack(&self) -> Result<()> {
        self.claim()?;
        self.page.channel.acknowledge(&self.page, self.at);
        Ok(())
    }

    /// It could not be handled: it is delivered again after a pause, or goes to the dead-letter stream, with this
    /// reason, when it was delivered often enough. For polled messages only, once.
    pub fn fail(&self, reason: &str) -> Result<()> {
        self.claim()?;
        self.page.channel.fail(&self.page, self.at, reason);
        Ok(())
    }

    fn claim(&self) -> Result<()> {
        if self.page.channel.is_foreign() {
            return Err(Error::new(
                ErrorKind::Closed,
                "this message belongs to the process that received it, and this is a fork of that one",
            ));
        }
        match self.at != usize::MAX && self.page.advance(self.at, mark::HELD, mark::RUNNING) {
            true => Ok(()),
            false => Err(Error::argument(
                "message: only one that was polled is acknowledged or failed, and only once; for others the handler's \
                 result does it",
            )),
        }
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        // A fork has no business with what its parent received, nor with its locks.
        if self.page.channel.is_foreign() {
            std::mem::forget(self.page.clone());
            return;
        }
        if self.at != usize::MAX && self.page.advance(self.at, mark::HELD, mark::RUNNING) {
            self.page.channel.let_go(&self.page, self.at);
        }
    }
}

impl std::fmt::Debug for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Its name and body are the user's own.
        write!(f, "Received({} of {})", self.id(), self.channel())
    }
}
