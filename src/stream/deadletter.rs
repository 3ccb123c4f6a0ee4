//! Messages that could not be handled, sent once more.

use crate::client::Client;
use crate::error::Result;
use crate::stream::{names, scripts};

/// How many one step in the server moves.
const AT_ONCE: u64 = 100;

pub(super) fn redrive(client: &Client, channel: &str, most: u64) -> Result<u64> {
    let dead = names::dead(channel)?;
    let mut moved = 0;
    while moved < most {
        match scripts::redrive(client, &dead, channel, AT_ONCE.min(most - moved))? {
            0 => break,
            some => moved += some,
        }
    }
    Ok(moved)
}
