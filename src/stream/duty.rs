//! What a consumer does in the background, on a thread that runs no handlers: signs of life for messages that take
//! long, and clean-up.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::clock::{Moment, tell};
use crate::error::Result;
use crate::stream::channel::Channel;
use crate::stream::groups;
use crate::stream::options::Delivery;
use crate::stream::page::mark;
use crate::stream::stats::Count;
use crate::worker::Latch;

/// How many ids go into one sign of life.
const AT_ONCE: usize = 500;
/// So often the server is asked where the groups stand, for the statistics.
const LOOK: Duration = Duration::from_secs(5);

/// Whose duties these are.
pub(super) trait Channels: Send + Sync {
    fn channels(&self) -> Vec<Arc<Channel>>;
}

/// Runs until it is over, or its consumer is gone.
pub(super) fn run<C: Channels>(consumer: &Weak<C>, over: &Latch) {
    let mut cleaned = Moment::now();
    let mut looked: Option<Moment> = None;
    loop {
        let Some(channels) = consumer.upgrade().map(|it| it.channels()) else {
            return;
        };
        let beats = channels.iter().map(|it| it.options.claim_idle / 3);
        let cleanups = channels
            .iter()
            .filter(|it| it.options.message_cleanup)
            .map(|it| it.options.cleanup_interval);
        let step = beats.chain(cleanups).min().unwrap_or(LOOK);
        if over.sleep(step.clamp(Duration::from_millis(5), LOOK)) {
            return;
        }
        if looked.is_none_or(|at| at.elapsed() >= LOOK) {
            looked = Some(Moment::now());
            channels.iter().for_each(|channel| channel.look());
        }
        for channel in &channels {
            beat(channel);
        }
        let due = |it: &&Arc<Channel>| {
            it.options.message_cleanup && cleaned.elapsed() >= it.options.cleanup_interval
        };
        let due: Vec<&Arc<Channel>> = channels.iter().filter(due).collect();
        if !due.is_empty() {
            cleaned = Moment::now();
        }
        for channel in due {
            if let Err(error) = clean(channel) {
                tell!(Warn, "channel {}: not cleaned up: {error}", channel.name);
            }
        }
    }
}

fn beat(channel: &Channel) {
    if channel.options.delivery == Delivery::AtMostOnce {
        return;
    }
    for page in channel.flying() {
        if page.since.elapsed() < channel.options.claim_idle / 4 {
            continue;
        }
        let ids = page.ids(|how| how != mark::DONE);
        for ids in ids.chunks(AT_ONCE) {
            let shared = &channel.shared;
            match shared.scripts.beat(&shared.client, channel.place(), ids) {
                Ok(ours) if ours < ids.len() as i64 => log::debug!(
                    target: "redkeep",
                    "channel {}: {} messages under way are no longer this consumer's",
                    channel.name, ids.len() as i64 - ours
                ),
                Ok(_) => {}
                Err(error) => {
                    tell!(Warn, "channel {}: no sign of life: {error}", channel.name);
                    return;
                }
            }
        }
    }
}

/// Deletes what all groups have acknowledged, and removes consumers that are gone. Returns how many entries.
pub(super) fn clean(channel: &Channel) -> Result<u64> {
    let shared = &channel.shared;
    let groups = groups::all(channel);
    let (mut from, mut deleted) = ("-".to_owned(), 0);
    loop {
        let name = &channel.name;
        let step = shared.scripts.clean(&shared.client, name, &from, &groups);
        let (count, next) = match step {
            Ok(Some(step)) => step,
            Ok(None) => break,
            // There is no stream yet.
            Err(error) if error.message().contains("no such key") => break,
            Err(error) => return Err(groups::named(channel, error)),
        };
        deleted += count;
        channel.counts.add(Count::Cleaned, count);
        if next == "-" || shared.is_over() {
            break;
        }
        from = next;
    }
    let idle = channel.options.consumer_idle;
    match shared
        .scripts
        .dismiss(&shared.client, channel.place(), idle)
    {
        Err(error) if error.code() == Some("NOGROUP") => {}
        Err(error) if error.message().contains("no such key") => {}
        Err(error) => return Err(groups::named(channel, error)),
        Ok(_) => {}
    }
    Ok(deleted)
}
