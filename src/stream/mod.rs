//! Messages through Redis streams: senders and consumers.
//!
//! ```text
//!  Sender ──XADD──> stream ──> Reader: XACK … XREADGROUP in one write ──> Page: many messages, one buffer
//!                                 │                                          │ handlers, in order or n at a time
//!                                 │<── ids to be acknowledged ─── Channel <──┘
//!                                 │<── ids to be tried again ──────┘  └──> {channel}:dead
//!  duty thread: signs of life for what takes long, clean-up
//! ```

mod acks;
mod channel;
mod consumer;
mod deadletter;
mod desks;
mod duty;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod groups;
mod handle;
mod inner;
mod message;
mod names;
mod options;
mod page;
mod pending;
mod poll;
mod reader;
mod received;
mod report;
mod retries;
mod rounds;
mod scripts;
mod sender;
mod shared;
mod shelf;
mod stats;
mod trim;
mod waiting;
mod wire;

use crate::manager::Manager;

pub use consumer::Consumer;
pub use message::Message;
#[cfg(feature = "capi")]
pub(crate) use message::check_json;
pub use options::{ChannelOptions, Delivery, StartAt};
pub use received::Received;
pub use sender::Sender;
pub use trim::Trim;

impl Manager {
    /// Sends messages to channels: see [`Sender`].
    pub fn sender(&self) -> Sender {
        Sender::new(self.client())
    }

    /// Receives messages in the name of a listener: see [`Consumer`].
    pub fn consumer(&self, listener: &str) -> Consumer {
        Consumer::new(self.client(), listener)
    }
}
