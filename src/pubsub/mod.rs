//! Publish and subscribe: whoever listens at the moment gets what is published.
//!
//! ```text
//!  listener's thread ──> Polled ──> Inbox ──poll, fd──> the program            one queue for all names
//!                   └──> Lane ──> a worker of the crew ──> the handler         one queue, and one order, for each name
//! ```
//!
//! Publishing is a command like any other, and stands among them.

mod counts;
mod event;
mod handlers;
mod inbox;
mod lane;
mod place;
mod queue;
mod roll;
mod subscriber;

use crate::manager::Manager;
use crate::node::listener::Sink;
use counts::Counts;
use queue::Limits;

pub use counts::SubscriberStats;
pub use event::{Event, Gap, Published};
pub use handlers::HandlerResult;
pub use queue::Overflow;
pub use subscriber::Subscriber;

/// What all names of one subscriber have in common.
#[derive(Default)]
struct Shared {
    limits: Limits,
    counts: Counts,
}

/// Where the events of one name go.
trait Mouth: Sink {
    /// The subscription counts from now on.
    fn begin(&self);
    /// It does not any more: what waits is forgotten.
    fn end(&self);
}

impl Manager {
    /// A subscriber, which listens to nothing yet: see [`Subscriber`].
    pub fn subscriber(&self) -> Subscriber {
        Subscriber::new(self.clone())
    }
}
