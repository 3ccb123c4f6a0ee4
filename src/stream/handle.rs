//! Handlers run: in the threads of the pool, or in the caller's own.

use std::cell::Cell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::clock::{Moment, tell};
use crate::stream::acks::Acks;
use crate::stream::channel::Channel;
use crate::stream::options::Delivery;
use crate::stream::page::{Chunk, Page, mark};
use crate::stream::received::{Received, Unreadable};
use crate::stream::stats::{Count, Tally};

/// What was handled is acknowledged after so long at the latest, though the rest is still to be handled.
const TOGETHER: Duration = Duration::from_millis(5);

thread_local! {
    static HANDLING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is inside a handler.
pub(super) fn is_handling() -> bool {
    HANDLING.try_with(Cell::get).unwrap_or(false)
}

/// What became of a message.
enum Became {
    /// Its handler succeeded.
    Handled,
    /// It is to be acknowledged all the same.
    Past,
    /// What was to be done has been done.
    Settled,
}

/// Handles what nobody has begun of these, until all are begun or the consumer is stopped. `reads`: this is the thread
/// that reads too, so that nobody else sends acknowledgements meanwhile.
pub(super) fn run(chunk: &Chunk, reads: bool) {
    let page = &chunk.page;
    let channel = &*page.channel;
    let mut received = Received::on(page.clone());
    let (mut tally, mut acks, mut count) = (Tally::default(), Acks::default(), 0);
    let mut before = Moment::now();
    let mut flushed = before;
    let acknowledges = channel.options.delivery != Delivery::AtMostOnce;
    while !channel.shared.stopping.is_open() {
        let Some(at) = chunk.next() else { break };
        if !page.advance(at, mark::WAITING, mark::RUNNING) {
            continue;
        }
        let became = one(channel, page, at, &mut received, &mut tally, &mut before);
        tally.handled += u64::from(matches!(became, Became::Handled));
        if acknowledges && !matches!(became, Became::Settled) {
            acks.add(page.id_bytes(at));
        }
        page.done(at);
        count += 1;
        if before.since(flushed) >= TOGETHER {
            flushed = before;
            channel.counts.add_tally(&mut tally);
            channel.settle(page, &mut acks, std::mem::take(&mut count));
            if reads {
                channel.send_acks();
                before = Moment::now();
            }
        }
    }
    channel.counts.add_tally(&mut tally);
    if count > 0 {
        channel.settle(page, &mut acks, count);
    }
}

fn one(
    channel: &Channel,
    page: &Page,
    at: usize,
    received: &mut Received,
    tally: &mut Tally,
    before: &mut Moment,
) -> Became {
    match ready(channel, page, at, received) {
        Ready::Yes => {}
        Ready::Settled => return Became::Settled,
        Ready::Acknowledge => return Became::Past,
    }
    let Some(handler) = channel.handler.get() else {
        return Became::Settled;
    };
    tally.delivered += 1;
    let outer = HANDLING.replace(true);
    let result = catch_unwind(AssertUnwindSafe(|| handler(received)));
    HANDLING.set(outer);
    let now = Moment::now();
    tally.took(now.since(*before));
    *before = now;
    match result {
        Ok(Ok(())) => return Became::Handled,
        Ok(Err(error)) => channel.failed(page, at, &error),
        Err(panic) => {
            // Dropping what was thrown could throw again.
            std::mem::forget(panic);
            channel.failed(page, at, "the handler panicked");
        }
    }
    *before = Moment::now();
    Became::Settled
}

/// Whether a message may be handed to somebody.
pub(super) enum Ready {
    Yes,
    /// No, and what had to be done about it has been done.
    Settled,
    /// No, but it is to be acknowledged.
    Acknowledge,
}

fn ready(channel: &Channel, page: &Page, at: usize, received: &mut Received) -> Ready {
    match readable(channel, page, at, received) {
        Ready::Yes => admitted(channel, page, at),
        other => other,
    }
}

/// Whether it can be read, and was not delivered too often.
pub(super) fn readable(
    channel: &Channel,
    page: &Page,
    at: usize,
    received: &mut Received,
) -> Ready {
    let deliveries = page.deliveries(at);
    let read = received.point_at(at);
    let id = page.id(at);
    match read {
        Ok(()) => {}
        Err(Unreadable::Trimmed) => {
            channel.was_trimmed(id);
            return Ready::Acknowledge;
        }
        Err(Unreadable::Bad(why)) => {
            channel.bury(id, deliveries, "undecodable", why);
            return Ready::Settled;
        }
    }
    if deliveries > i64::from(channel.options.max_deliveries) {
        let error = "whoever received it gave no answer";
        channel.bury(id, deliveries - 1, "max_deliveries", error);
        return Ready::Settled;
    }
    Ready::Yes
}

/// Whether the ledger, if there is one, lets it pass.
pub(super) fn admitted(channel: &Channel, page: &Page, at: usize) -> Ready {
    match channel.options.delivery {
        Delivery::Ledger => by_ledger(channel, page, page.id(at), page.deliveries(at)),
        _ => Ready::Yes,
    }
}

fn by_ledger(channel: &Channel, page: &Page, id: &str, deliveries: i64) -> Ready {
    let shared = &channel.shared;
    let window = channel.options.ledger_window;
    match shared
        .scripts
        .enter(&shared.client, &channel.ledger, id, window)
    {
        Ok(true) => Ready::Yes,
        // Entered by ourselves, before our own handler failed.
        Ok(false) if page.again => Ready::Yes,
        Ok(false) => {
            channel.counts.add(Count::Repeated, 1);
            Ready::Acknowledge
        }
        Err(error) => {
            // Whether it was entered is not known. If it was, nobody has handled it: that much we know ourselves.
            tell!(
                Warn,
                "channel {}: no answer of the ledger: {error}",
                channel.name
            );
            channel.again(id, deliveries, Duration::from_secs(1));
            Ready::Settled
        }
    }
}

/// Where a message goes that is to be handled in order with others of its key.
pub(super) fn lane(page: &Page, at: usize, key: &str, lanes: usize) -> usize {
    let value = |name: &[u8]| {
        let mut pairs = page.fields(at).unwrap_or_default().chunks_exact(2);
        let pair = pairs.find(|pair| page.bytes(&pair[0]) == name)?;
        Some(page.bytes(&pair[1]))
    };
    let mut hasher = DefaultHasher::new();
    match key {
        "name" => value(b"name").hash(&mut hasher),
        pointer => {
            let body = value(b"body").and_then(|text| serde_json::from_slice(text).ok());
            let body: serde_json::Value = body.unwrap_or_default();
            body.pointer(pointer)
                .map(ToString::to_string)
                .hash(&mut hasher);
        }
    }
    (hasher.finish() % lanes as u64) as usize
}
