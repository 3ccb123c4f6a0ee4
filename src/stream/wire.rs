//! A reader's connection: acknowledgements and the next read go out in one write.
//!
//! While a slot of a cluster is being moved, what concerns its keys is announced to the new node by ASKING.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Deadline, Moment};
use crate::error::{Error, ErrorKind, Result};
use crate::node::{Batch, Held, Node};
use crate::stream::acks::Sending;
use crate::stream::channel::Channel;
use crate::stream::options::Delivery;
use crate::stream::shared::{Post, Shared};
use crate::transport::{Entry, Kind, Reached, Reply, command};

pub(super) struct Wire {
    shared: Arc<Shared>,
    node: Arc<Node>,
    held: Option<Held<Arc<Node>>>,
    pub(super) post: Arc<Post>,
    out: Vec<u8>,
    count: usize,
    sending: Vec<OnTheWay>,
}

/// Acknowledgements of a channel that go out, and where their answer will stand.
struct OnTheWay {
    channel: Arc<Channel>,
    sending: Sending,
    answer: usize,
}

/// Acknowledgements that the server refused.
pub(super) type Refused = Vec<(Arc<Channel>, Error)>;

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

    pub(super) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Appends the acknowledgements of a channel, if it has any.
    pub(super) fn acks(&mut self, channel: &Arc<Channel>) {
        if !channel.has_acks() {
            return;
        }
        self.announce(channel);
        if let Some(sending) = channel.pack_acks(&mut self.out) {
            self.sending.push(OnTheWay {
                channel: channel.clone(),
                sending,
                answer: self.count,
            });
            self.count += 1;
        }
    }

    /// The next command is about a channel that is only just coming to this node.
    fn announce(&mut self, channel: &Channel) {
        if channel.asked_to(&self.node) {
            self.add(&[b"ASKING"]);
        }
    }

    /// Appends the reading of new messages; `block` waits for them in the server. Returns where the answer will stand.
    pub(super) fn read(
        &mut self,
        channel: &Channel,
        count: usize,
        block: Option<Duration>,
    ) -> usize {
        self.announce(channel);
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
        self.count - 1
    }

    pub(super) fn add(&mut self, words: &[&[u8]]) {
        command(&mut self.out, words);
        self.count += 1;
    }

    /// Whether nothing was appended.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The next exchange is on another connection.
    pub(super) fn hang_up(&mut self) {
        if let Some(mut held) = self.held.take() {
            held.discard();
        }
        self.post.connected(0);
    }

    /// Sends all of it and reads the replies, which become the elements of one array. `block`: how long the server may
    /// take its time. On an error nothing of it is kept; acknowledgements go out again with the next. Returns those
    /// that the server refused for a reason that passes; they go out again too.
    pub(super) fn exchange(&mut self, block: Duration, replies: &mut Reply) -> Result<Refused> {
        let result = self.exchange_all(block, replies);
        self.out.clear();
        self.out.shrink_to(KEPT);
        self.count = 0;
        let sending = std::mem::take(&mut self.sending);
        match result {
            Ok(()) => Ok(sending
                .into_iter()
                .filter_map(|sent| sent.refused(replies))
                .collect()),
            Err(error) => {
                self.held = None;
                self.post.connected(0);
                Err(error)
            }
        }
    }

    fn exchange_all(&mut self, block: Duration, replies: &mut Reply) -> Result<()> {
        let started = Moment::now();
        let timeout = self.shared.client.timeout()?;
        let deadline = Deadline::at(started, timeout.saturating_add(block));
        let taken_now = self.held.is_none();
        let held = match &mut self.held {
            Some(held) => held,
            none => none.insert(Held::take(
                self.node.clone(),
                Deadline::at(started, timeout),
            )?),
        };
        if held.open(deadline)? || taken_now {
            let mut id = Vec::new();
            command(&mut id, &[b"CLIENT", b"ID"]);
            held.call_open(&id, replies, deadline)?;
            // Where it is forbidden, waiting readers come back by themselves.
            self.post.connected(replies.integer().unwrap_or_default());
        }
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
        let result = held.call_many_open(&batch, replies, &mut reached);
        if waits {
            self.shared.end_wait(&self.post);
        }
        result
    }
}

impl OnTheWay {
    /// They are dealt with, unless they are to go out again.
    fn refused(self, replies: &Reply) -> Option<(Arc<Channel>, Error)> {
        use ErrorKind::{Cluster, Loading, NoWrites, OutOfMemory, ReadOnly};
        let answer = replies.children(replies.root()).get(self.answer);
        let error = answer
            .filter(|answer| answer.kind == Kind::Error)
            .map(|answer| Error::from_server(replies.bytes_of(answer)));
        match error {
            Some(error)
                if matches!(
                    error.kind(),
                    Cluster | Loading | NoWrites | OutOfMemory | ReadOnly
                ) =>
            {
                Some((self.channel, error))
            }
            // The read that follows has the same error, if it is one that lasts.
            _ => {
                self.channel.acks_sent(self.sending);
                None
            }
        }
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
        Kind::Map => streams.get(1),
        _ => replies.children(streams.first()?).get(1),
    }
}
