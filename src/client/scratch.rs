//! The buffers of one thread: a request is packed into one, its reply read into the other. They are kept from one
//! call to the next, so that a call of everyday size allocates nothing.

use std::cell::Cell;

use crate::transport::Reply;

/// What a thread keeps at most; a larger buffer is given back after its call.
const KEPT: usize = 64 * 1024;

#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) request: Vec<u8>,
    pub(crate) reply: Reply,
}

thread_local! {
    static KEEP: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

impl Scratch {
    /// Runs `work` with this thread's buffers. A call made within the call gets fresh ones; so does one made while
    /// the thread is being taken down.
    pub(crate) fn with<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
        let mut scratch = KEEP.try_with(Cell::take).ok().flatten().unwrap_or_default();
        let result = work(&mut scratch);
        scratch.reply.clear();
        scratch.reply.trim(KEPT);
        if scratch.request.capacity() > KEPT {
            scratch.request = Vec::new();
        }
        let _ = KEEP.try_with(|keep| keep.set(Some(scratch)));
        result
    }
}
