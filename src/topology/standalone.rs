//! One server for everything.

use crate::config::Endpoint;
use crate::error::Result;
use crate::node::Fleet;
use crate::topology::map::{Map, Shard};

pub(super) fn map(fleet: &Fleet, endpoint: &Endpoint) -> Result<Map> {
    // A forked child finds the node in its fleet already, closed perhaps, and leaves it as it is.
    let node = match fleet.find(endpoint) {
        Some(node) => node,
        None => fleet.add(endpoint.clone())?,
    };
    let name = node.name.clone();
    Ok(Map::whole(Shard::new(node, Vec::new()), name))
}
