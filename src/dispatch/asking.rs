//! Where a cluster sends a command on to: behind ASKING to the node that an ASK names, and what is said of detours.

use crate::dispatch::{Dispatch, REDIRECTS, Request};
use crate::error::{Error, Result};
use crate::node::{Batch, Node};
use crate::transport::{Reached, Reply, command};

/// Sends a request behind ASKING, to a node that an ASK named.
pub(super) fn ask(node: &Node, request: &Request<'_>, reply: &mut Reply) -> Result<()> {
    let batch = Batch {
        bytes: request.bytes,
        count: 1,
        atomic: false,
        started: request.started,
        deadline: request.deadline,
    };
    ask_many(node, &batch, reply, &mut Reached::default())?;
    reply.root = reply.children(reply.root())[0];
    Ok(())
}

/// Sends a batch behind ASKING: that is for its first command, or for the whole of a transaction.
pub(super) fn ask_many(
    node: &Node,
    batch: &Batch<'_>,
    replies: &mut Reply,
    reached: &mut Reached,
) -> Result<()> {
    let mut bytes = Vec::with_capacity(batch.bytes.len() + 16);
    command(&mut bytes, &[b"ASKING"]);
    let before = bytes.len();
    bytes.extend_from_slice(batch.bytes);
    let whole = Batch {
        bytes: &bytes,
        count: batch.count + 1,
        ..*batch
    };
    let result = node.call_many(&whole, replies, reached);
    reached.sent = reached.sent.saturating_sub(before);
    reached.answered = reached.answered.saturating_sub(1);
    if replies.root.len > 0 {
        // The answer to ASKING; children stand side by side.
        replies.root.start += 1;
        replies.root.len -= 1;
    }
    result
}

impl Dispatch {
    /// A node of a cluster that was opened as a server by itself says MOVED, and that alone explains little.
    pub(super) fn explained(&self, error: Error) -> Error {
        if self.topology.may_change() || !matches!(error.code(), Some("MOVED" | "ASK")) {
            return error;
        }
        let text = format!(
            "{} (the server is part of a cluster; a redis+cluster:// url, or the property use_cluster, follows its keys)",
            error.message()
        );
        error.with_message(text)
    }
}

pub(super) fn endless(error: Error) -> Error {
    let text = format!(
        "redirected {REDIRECTS} times, and again: {}; the nodes of the cluster do not agree on who serves this slot",
        error.message()
    );
    error.with_message(text)
}
