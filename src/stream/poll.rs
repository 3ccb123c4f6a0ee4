//! Messages for those who poll: read in the background, and waiting in a queue with a descriptor.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::clock::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::fork::lock;
use crate::stream::acks::Acks;
use crate::stream::handle::{self, Ready};
use crate::stream::page::{Page, mark};
use crate::stream::received::Received;
use crate::stream::stats::Count;
use crate::sys::Flag;

pub(super) struct Inbox {
    queue: Mutex<Queue>,
    came: Condvar,
    /// Up while there is something in the queue, or the end has come.
    flag: Flag,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<(Arc<Page>, usize)>,
    closed: bool,
}

impl Inbox {
    pub(super) fn new() -> Result<Arc<Inbox>> {
        let flag = Flag::new().map_err(|cause| {
            Error::new(ErrorKind::System, "no descriptor to poll").caused_by(cause)
        })?;
        Ok(Arc::new(Inbox {
            queue: Mutex::default(),
            came: Condvar::new(),
            flag,
        }))
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.flag.as_fd()
    }

    /// Takes in what can be read; what cannot is dealt with here, so that it wakes nobody.
    pub(super) fn put(&self, page: Arc<Page>) {
        let channel = &*page.channel;
        let mut received = Received::on(page.clone());
        let (mut acks, mut settled) = (Acks::default(), 0);
        let mut good = Vec::with_capacity(page.len());
        for at in 0..page.len() {
            // Some may be done already: they were in our hands before.
            if page.mark(at) != mark::WAITING {
                continue;
            }
            match handle::readable(channel, &page, at, &mut received) {
                Ready::Yes => good.push((page.clone(), at)),
                other => {
                    if let Ready::Acknowledge = other {
                        acks.add(page.id_bytes(at));
                    }
                    page.done(at);
                    settled += 1;
                }
            }
        }
        // Before anybody can hold one of them: its drop lets go of what is held.
        drop(received);
        if settled > 0 {
            channel.settle(&page, &mut acks, settled);
        }
        if !good.is_empty() {
            let mut queue = lock(&self.queue);
            queue.messages.extend(good);
            self.flag.raise();
            self.came.notify_all();
        }
    }

    /// The next message; none if none came by the deadline.
    pub(super) fn next(&self, deadline: Deadline) -> Result<Option<Received>> {
        while let Some((page, at)) = self.pop(deadline)? {
            if !page.advance(at, mark::WAITING, mark::RUNNING) {
                continue;
            }
            let channel = page.channel.clone();
            // Entered only now: what is merely waiting here may still be handled by somebody else.
            match handle::admitted(&channel, &page, at) {
                Ready::Yes => {}
                Ready::Acknowledge => {
                    let mut acks = Acks::default();
                    acks.add(page.id_bytes(at));
                    page.done(at);
                    channel.settle(&page, &mut acks, 1);
                    continue;
                }
                Ready::Settled => {
                    page.done(at);
                    channel.settle(&page, &mut Acks::default(), 1);
                    continue;
                }
            }
            channel.counts.add(Count::Delivered, 1);
            let mut received = Received::on(page.clone());
            // It was read before.
            let _ = received.point_at(at);
            page.advance(at, mark::RUNNING, mark::HELD);
            return Ok(Some(received));
        }
        Ok(None)
    }

    fn pop(&self, deadline: Deadline) -> Result<Option<(Arc<Page>, usize)>> {
        let mut queue = lock(&self.queue);
        loop {
            if queue.closed {
                return Err(stopped());
            }
            if let Some(first) = queue.messages.pop_front() {
                if queue.messages.is_empty() {
                    self.flag.lower();
                }
                return Ok(Some(first));
            }
            let Some(left) = deadline.remaining() else {
                return Ok(None);
            };
            let waited = self.came.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The end: whoever waits is told. What was in the queue is given back by the reader.
    pub(super) fn close(&self) {
        let rest = {
            let mut queue = lock(&self.queue);
            queue.closed = true;
            self.flag.raise();
            self.came.notify_all();
            std::mem::take(&mut queue.messages)
        };
        drop(rest);
    }
}

pub(super) fn stopped() -> Error {
    Error::new(ErrorKind::Closed, "the consumer was stopped")
}
