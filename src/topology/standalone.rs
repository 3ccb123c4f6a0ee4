//! One server for everything.

use std::sync::Arc;

use crate::config::Endpoint;
use crate::error::Result;
use crate::node::{Fleet, Node};

pub(crate) struct Standalone {
    node: Arc<Node>,
}

impl Standalone {
    pub(crate) fn new(fleet: &Fleet, endpoint: &Endpoint) -> Result<Standalone> {
        // A forked child finds the node in its fleet already, closed perhaps, and leaves it as it is.
        let node = match fleet.find(endpoint) {
            Some(node) => node.clone(),
            None => fleet.add(endpoint.clone())?,
        };
        Ok(Standalone { node })
    }

    pub(crate) fn pick(&self) -> &Arc<Node> {
        &self.node
    }
}
