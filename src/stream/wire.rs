//! A reader's connection: acknowledgements and the next read go out in one write.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::Deadline;
use crate::error::Result;
use crate::node::{Batch, Held, Node};
use crate::stream::channel::{Channel, Sending};
use crate::stream::options::Delivery;
use crate::stream::shared::{Post, Shared};
use crate::transport::{Entry, Reached, Reply, command};

pub(super) struct Wire {
    shared: Arc<Shared>,
    node: Arc<Node>,
    held: Option<Held<Arc<Node>>>,
    pub(super) post: Arc<Post>,
    out: Vec<u8>,
    count: usize,
    sending: Vec<(Arc<Channel>, Sending)>,
}

impl Wire {
    pub(super) fn new(shared: &Arc<Shared>, node: &Arc<Node>) -> Wire {
        Wire {
            shared: shared.clone(),
            node: node.clone(),
            held: None,
            post: shared.enlist(node.clone()),
            out: Vec::new(),
            count: 0,
            sending: Vec::new(),
        }
    }

    /// Appends the acknowledgements of a channel, if it has any.
    pub(super) fn acks(&mut self, channel: &Arc<Channel>) {
        if let Some(sending) = channel.pack_acks(&mut self.out) {
            self.sending.push((channel.clone(), sending));
            self.count += 1;
        }
    }

    /// Appends the reading of new messages; `block` waits for them in the server.
    pub(super) fn read(&mut self, channel: &Channel, count: usize, block: Option<Duration>) {
        let count = count.to_string();
        // 0 would mean for ever.
        let block = block.map(|time| time.as_millis().max(1).to_string());
        let mut words: Vec<&[u8]> = vec![
            b"XREADGROUP",
            b"GROUP",
            channel.group.as_bytes(),
            self.shared.name.as_bytes(),
            b"COUNT",
            count.as_bytes(),
        ];
        if let Some(block) = &block {
            words.extend([&b"BLOCK"[..], block.as_bytes()]);
        }
        if channel.options.delivery == Delivery::AtMostOnce {
            words.push(b"NOACK");
        }
        words.extend([&b"STREAMS"[..], channel.name.as_bytes(), b">"]);
        command(&mut self.out, &words);
        self.count += 1;
    }

    pub(super) fn add(&mut self, words: &[&[u8]]) {
        command(&mut self.out, words);
        self.count += 1;
    }

    /// How many replies come before those of what is added next.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Sends all of it and reads the replies, which become the elements of one array. `block`: how long the server may
    /// take its time. On an error nothing of it is kept; acknowledgements go out again with the next.
    pub(super) fn exchange(&mut self, block: Duration, replies: &mut Reply) -> Result<()> {
        let result = self.exchange_all(block, replies);
        self.out.clear();
        self.out.shrink_to(KEPT);
        self.count = 0;
        let sending = std::mem::take(&mut self.sending);
        match result {
            Ok(()) => {
                for (channel, sent) in sending {
                    channel.acks_sent(sent);
                }
                Ok(())
            }
            Err(error) => {
                self.held = None;
                self.post.connected(0);
                Err(error)
            }
        }
    }

    fn exchange_all(&mut self, block: Duration, replies: &mut Reply) -> Result<()> {
        let started = Instant::now();
        let timeout = self.shared.client.timeout()?;
        let deadline = Deadline::at(started, timeout.saturating_add(block));
        if self.held.is_none() {
            let mut held = Held::take(self.node.clone(), Deadline::at(started, timeout))?;
            let mut id = Vec::new();
            command(&mut id, &[b"CLIENT", b"ID"]);
            held.call(&id, replies, started, deadline)?;
            // Where it is forbidden, waiting readers come back by themselves.
            self.post.connected(replies.integer().unwrap_or_default());
            self.held = Some(held);
        }
        let Some(held) = &mut self.held else {
            return Ok(());
        };
        let batch = Batch {
            bytes: &self.out,
            count: self.count,
            atomic: false,
            started,
            deadline,
        };
        let mut reached = Reached::default();
        let waits = !block.is_zero();
        if waits {
            self.shared.begin_wait(&self.post);
        }
        let result = held.call_many(&batch, replies, &mut reached);
        if waits {
            self.shared.end_wait(&self.post);
        }
        result
    }
}

/// What the buffer keeps from one write to the next.
const KEPT: usize = 64 * 1024;

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.dismiss(&self.post);
    }
}

/// The entries that a stream's read brought: an array of them; none if there were none.
pub(super) fn entries<'r>(replies: &'r Reply, read: &'r Entry) -> Option<&'r Entry> {
    let streams = replies.children(read);
    match read.kind {
        // Name and entries in turn.
        crate::transport::Kind::Map => streams.get(1),
        _ => replies.children(streams.first()?).get(1),
    }
}
