//! Groups: made on first use, asked for where they stand, given back what was not begun.

use std::sync::atomic::Ordering;

use crate::error::{Error, Result};
use crate::stream::channel::Channel;
use crate::stream::names;
use crate::stream::options::{Delivery, StartAt};
use crate::stream::page::{Page, mark};
use crate::transport::{Entry, Reply};

/// Makes the channel's groups, where they are not there yet: that of this consumer, and those of all its listeners.
pub(super) fn make(channel: &Channel) -> Result<()> {
    let from = match channel.options.from {
        StartAt::Beginning => "0",
        StartAt::Now => "$",
    };
    for group in all(channel) {
        let name = &channel.name;
        let words = ("XGROUP", "CREATE", name, &group, from, "MKSTREAM");
        match channel.shared.client.command::<()>(words) {
            Err(error) if error.code() != Some("BUSYGROUP") => {
                return Err(named(channel, error));
            }
            _ => {}
        }
    }
    channel.ready.store(true, Ordering::Release);
    Ok(())
}

/// A server's error says nothing about the channel it is about.
pub(super) fn named(channel: &Channel, error: Error) -> Error {
    let text = format!("channel {}: {}", channel.name, error.message());
    error.with_message(text)
}

/// Every group that must have acknowledged an entry before it is deleted.
pub(super) fn all(channel: &Channel) -> Vec<String> {
    let listeners = channel.options.consumers.iter();
    let mut groups: Vec<String> = listeners
        .map(|listener| names::group(&channel.name, listener))
        .collect();
    if channel.options.read_messages && !groups.contains(&channel.group) {
        groups.insert(0, channel.group.clone());
    }
    groups
}

/// Up to where a group has read, by what XINFO GROUPS answered.
pub(super) fn last_delivered<'r>(reply: &'r Reply, groups: &Entry, name: &str) -> Option<&'r [u8]> {
    field_of(reply, groups, name, b"last-delivered-id").map(|id| reply.bytes_of(&id))
}

/// A field of this group in the answer of XINFO GROUPS.
fn field_of(reply: &Reply, groups: &Entry, name: &str, field: &[u8]) -> Option<Entry> {
    let value = |group: &Entry, field: &[u8]| {
        let mut pairs = reply.children(group).chunks_exact(2);
        let pair = pairs.find(|pair| reply.bytes_of(&pair[0]) == field)?;
        Some(pair[1])
    };
    let mut groups = reply.children(groups).iter();
    let ours = groups
        .find(|it| value(it, b"name").is_some_and(|it| reply.bytes_of(&it) == name.as_bytes()))?;
    value(ours, field)
}

/// What the server tells of the group: entries not read yet, and entries not acknowledged.
pub(super) fn lag_and_pending(channel: &Channel) -> Result<(Option<i64>, Option<i64>)> {
    let words = ("XINFO", "GROUPS", &channel.name);
    let client = &channel.shared.client;
    client.any_command(words, None, |reply| {
        let number = |name: &[u8]| {
            let field = field_of(reply, reply.root(), &channel.group, name)?;
            field.integer()
        };
        Ok((number(b"lag"), number(b"pending")))
    })
}

/// What nobody has begun is for others at once, and was no delivery.
pub(super) fn give_back(channel: &Channel) {
    for page in channel.flying() {
        let mut acks = Default::default();
        let mine = take_waiting(&page);
        let ids: Vec<&str> = mine.iter().map(|at| page.id(*at)).collect();
        if ids.is_empty() {
            continue;
        }
        if channel.options.delivery != Delivery::AtMostOnce {
            let shared = &channel.shared;
            let idle = channel.options.claim_idle;
            let given = shared
                .scripts
                .give_back(&shared.client, channel.place(), idle, &ids);
            if let Err(error) = given {
                log::debug!(
                    target: "redkeep",
                    "channel {}: {} messages stay pending until they are taken over: {error}",
                    channel.name, ids.len()
                );
            }
        }
        channel.settle(&page, &mut acks, ids.len());
    }
}

fn take_waiting(page: &Page) -> Vec<usize> {
    (0..page.len())
        .filter(|at| page.advance(*at, mark::WAITING, mark::DONE))
        .collect()
}
