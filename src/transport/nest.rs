//! The aggregates that are open while a reply is read, and the values they have so far.
//!
//! ```text
//!  *3 :1 *2 :5 :6 ...       frames  Array lacks 2 │ Array lacks 0: it moves its two values from the stack to
//!                           stack   1             │ 5 6            reply.entries, and becomes a value itself
//! ```
//!
//! A frame knows how many values it still lacks, the stack holds those that have come, both outermost first. So the
//! children of an aggregate get side by side in the table, and an announced length reserves nothing.

use std::collections::TryReserveError;
use std::mem;

use super::fault::{Fault, Limits};
use super::reply::{Entry, Kind, Reply};

/// A stack of more entries than this is given back once it is empty.
const KEEP: usize = (64 << 10) / size_of::<Entry>();

#[derive(Debug, Default)]
pub(super) struct Nest {
    frames: Vec<Frame>,
    stack: Vec<Entry>,
    /// How many of the innermost frames are attributes, or stand inside one.
    skipped: usize,
    /// The outermost frame holds the replies of a batch.
    batch: bool,
    /// The value settled last completed one of those.
    pub(super) whole: bool,
}

/// An open aggregate.
#[derive(Debug)]
struct Frame {
    /// None for an attribute.
    kind: Option<Kind>,
    total: usize,
    left: usize,
}

impl Nest {
    /// Whether no aggregate is open.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether the next value belongs to an attribute, so that nothing of it is kept.
    #[inline]
    pub(super) fn skips(&self) -> bool {
        self.skipped > 0
    }

    /// Opens the array of a batch's replies, which no header announces.
    pub(super) fn open_batch(&mut self, total: usize) {
        self.batch = true;
        self.frames.push(Frame {
            kind: Some(Kind::Array),
            total,
            left: total,
        });
    }

    /// Whether the next value is a whole reply, or a push before it.
    #[inline]
    pub(super) fn is_outermost(&self) -> bool {
        self.frames.len() == usize::from(self.batch)
    }

    #[inline]
    fn batch_frame(&self) -> Option<&Frame> {
        self.frames.first().filter(|_| self.batch)
    }

    /// How many replies of the batch have not come yet, the one under way among them.
    #[inline]
    pub(super) fn missing(&self) -> usize {
        self.batch_frame().map_or(0, |frame| frame.left)
    }

    /// Gives up on a batch: it becomes the array of the replies that have come, and tells how many these are.
    pub(super) fn close_batch(&mut self, reply: &mut Reply) -> usize {
        let Some(frame) = self.batch_frame() else {
            return 0;
        };
        let whole = frame.total - frame.left;
        // What stands behind them belongs to the one that was not complete.
        self.stack.truncate(whole);
        let start = reply.entries.len();
        reply.entries.append(&mut self.stack);
        reply.root = Entry {
            kind: Kind::Array,
            start,
            len: whole,
        };
        whole
    }

    /// Opens an aggregate of `total` values, an attribute when it has no kind. One without values is complete at once.
    pub(super) fn open(
        &mut self,
        kind: Option<Kind>,
        total: usize,
        limits: &Limits,
    ) -> Result<Option<Entry>, Fault> {
        if self.frames.len() >= limits.max_depth + usize::from(self.batch) {
            return Err(Fault::Protocol(format!(
                "a reply of more than {} levels",
                limits.max_depth
            )));
        }
        if total > limits.max_elements {
            return Err(too_many(limits.max_elements));
        }
        if total == 0 {
            return Ok(kind.map(|kind| Entry::scalar(kind, 0)));
        }
        if kind.is_none() || self.skipped > 0 {
            self.skipped += 1;
        }
        self.frames.push(Frame {
            kind,
            total,
            left: total,
        });
        Ok(None)
    }

    /// Hands a complete value to the aggregate it stands in, and closes each one that it completes. Whether the reply
    /// is complete with it: the outermost value is its root.
    #[inline(always)]
    pub(super) fn settle(&mut self, mut value: Entry, reply: &mut Reply) -> Result<bool, Fault> {
        while let Some(frame) = self.frames.last_mut() {
            frame.left -= 1;
            if self.skipped == 0 {
                self.stack.try_reserve(1).map_err(no_memory)?;
                self.stack.push(value);
            }
            if frame.left > 0 {
                self.whole = self.batch && self.frames.len() == 1;
                return Ok(false);
            }
            let (kind, total) = (frame.kind, frame.total);
            self.frames.pop();
            self.skipped = self.skipped.saturating_sub(1);
            match kind {
                Some(kind) => value = self.close(kind, total, reply)?,
                // An attribute is no value: the one that it is about comes next.
                None => return Ok(false),
            }
        }
        reply.root = value;
        self.batch = false;
        if self.stack.capacity() > KEEP {
            self.stack = Vec::new();
        }
        Ok(true)
    }

    /// Moves the values of a complete aggregate from the stack to the table.
    fn close(&mut self, kind: Kind, total: usize, reply: &mut Reply) -> Result<Entry, Fault> {
        let len = if kind == Kind::Map { total / 2 } else { total };
        if self.skipped > 0 {
            return Ok(Entry {
                kind,
                start: 0,
                len,
            });
        }
        let start = reply.entries.len();
        if self.frames.is_empty() && start == 0 {
            // All that there is: no need to copy it.
            mem::swap(&mut reply.entries, &mut self.stack);
        } else {
            reply.entries.try_reserve(total).map_err(no_memory)?;
            let first = self.stack.len().saturating_sub(total);
            reply.entries.extend(self.stack.drain(first..));
        }
        Ok(Entry { kind, start, len })
    }

    /// How many bytes of memory it holds.
    #[cfg(any(test, fuzzing))]
    pub(super) fn reserved(&self) -> usize {
        self.stack.capacity() * size_of::<Entry>() + self.frames.capacity() * size_of::<Frame>()
    }
}

#[cold]
pub(super) fn too_many(max: usize) -> Fault {
    Fault::TooLarge(format!("the reply has more than {max} elements"))
}

#[cold]
fn no_memory(_: TryReserveError) -> Fault {
    Fault::TooLarge("no memory for the elements of the reply".to_owned())
}
