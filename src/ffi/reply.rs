//! Replies
//!
//! A reply is a tree: rk_reply_type_of() says what a node is, the other functions read it. Everything that is read
//! belongs to the tree, and lives until rk_reply_free() of its root. Asking a node for something that it is not, and
//! asking NULL, answers 0, NULL or false.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;

use crate::ffi::boundary::{Caller, quietly};
use crate::transport::{Entry, Kind, Reply};

/// What a reply is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum rk_reply_type {
    /// Nothing; also the answer for NULL.
    RK_REPLY_NIL = 0,
    /// A short text such as "OK".
    RK_REPLY_STATUS = 1,
    /// An error inside an array, as EXEC returns them. A reply that is an error as a whole is a negative status instead.
    RK_REPLY_ERROR = 2,
    /// A whole number.
    RK_REPLY_INTEGER = 3,
    /// A number with a fraction. Servers older than Redis 6 send RK_REPLY_BYTES instead.
    RK_REPLY_DOUBLE = 4,
    /// True or false. Servers older than Redis 6 send RK_REPLY_INTEGER instead.
    RK_REPLY_BOOL = 5,
    /// A string of any bytes.
    RK_REPLY_BYTES = 6,
    /// A whole number of any size, as text.
    RK_REPLY_BIG_NUMBER = 7,
    /// A text to be shown as it is.
    RK_REPLY_VERBATIM = 8,
    /// Elements in their order.
    RK_REPLY_ARRAY = 9,
    /// Elements without an order. Servers older than Redis 6 send RK_REPLY_ARRAY instead.
    RK_REPLY_SET = 10,
    /// Pairs of a key and a value. Servers older than Redis 6 send RK_REPLY_ARRAY, keys and values in turn, instead.
    RK_REPLY_MAP = 11,
}

/// A reply, or a part of one.
///
/// Thread safety: any number of threads may read it at the same time; only rk_reply_free() must be the last call.
pub struct rk_reply {
    kind: Kind,
    /// Whether this is the root, on which the tree hangs.
    root: bool,
    /// Where its bytes, or its children, begin; of a number, its bits.
    data: *const c_void,
    len: usize,
}

// The table of a `Reply` becomes a table of these without moving.
const _: () = assert!(size_of::<rk_reply>() == size_of::<Entry>());
const _: () = assert!(align_of::<rk_reply>() == align_of::<Entry>());

/// What C holds is a pointer to the first field, with the right to all of it.
#[repr(C)]
struct Tree {
    root: rk_reply,
    entries: Vec<rk_reply>,
    bytes: Vec<u8>,
}

/// Replies larger than this take the thread's buffers along; smaller ones are copied out of them.
const TAKEN: usize = 16 * 1024;

/// What a thread keeps of the last large reply that it freed, at most.
const SPARE: usize = 4 << 20;

thread_local! {
    /// Memory for the next large reply: given back to the system with each one and asked for again with the next, it
    /// would cost more than all that is done with it.
    static FREED: Cell<Option<Reply>> = const { Cell::new(None) };
}

fn spare() -> Reply {
    FREED
        .try_with(Cell::take)
        .ok()
        .flatten()
        .unwrap_or_default()
}

impl Tree {
    /// Its memory, as a reply.
    fn recycle(self) {
        let mut reply = Reply {
            root: Entry::NIL,
            // Same size, same alignment: an empty vector, and the memory stays.
            entries: (self.entries.into_iter().take(0).map(|_| Entry::NIL)).collect(),
            bytes: self.bytes,
        };
        reply.clear();
        let held = reply.bytes.capacity() + reply.entries.capacity() * size_of::<Entry>();
        if (TAKEN..=SPARE).contains(&held) {
            let _ = FREED.try_with(|freed| freed.set(Some(reply)));
        }
    }
}

impl rk_reply {
    /// Turns a reply into a tree for C.
    pub(super) fn new(reply: &mut Reply) -> *mut rk_reply {
        let size = reply.bytes.len() + size_of_val(reply.entries.as_slice());
        let Reply {
            root,
            entries,
            bytes,
        } = match size {
            ..=TAKEN => reply.clone(),
            _ => std::mem::replace(reply, spare()),
        };
        // Same size, same alignment: the vector's own memory is used again.
        let mut entries: Vec<rk_reply> = entries.into_iter().map(rk_reply::unplaced).collect();
        let base = entries.as_mut_ptr();
        for i in 0..entries.len() {
            // SAFETY: `i` is within the vector, which neither moves nor grows; no reference into it is alive.
            unsafe { (*base.add(i)).place(base, &bytes) };
        }
        let mut root = rk_reply::unplaced(root);
        root.place(base, &bytes);
        root.root = true;
        let tree = Tree {
            root,
            entries,
            bytes,
        };
        Box::into_raw(Box::new(tree)).cast()
    }

    pub(super) fn empty_array() -> *mut rk_reply {
        let mut reply = Reply::new();
        reply.root = Entry::scalar(Kind::Array, 0);
        rk_reply::new(&mut reply)
    }

    /// With the offset in place of the pointer.
    fn unplaced(entry: Entry) -> rk_reply {
        rk_reply {
            kind: entry.kind,
            root: false,
            data: ptr::without_provenance(entry.start),
            len: entry.len,
        }
    }

    /// Makes a pointer of the offset.
    fn place(&mut self, entries: *const rk_reply, bytes: &[u8]) {
        let start = self.data.addr();
        self.data = match self.kind {
            Kind::Nil | Kind::Integer | Kind::Double | Kind::Bool => return,
            Kind::Bytes | Kind::Status | Kind::Error | Kind::BigNumber => {
                bytes.as_ptr().wrapping_add(start).cast()
            }
            Kind::Verbatim => {
                // Its text begins behind "txt:".
                let format = self.len.min(4);
                self.len -= format;
                bytes.as_ptr().wrapping_add(start + format).cast()
            }
            Kind::Array | Kind::Set | Kind::Map | Kind::Push => entries.wrapping_add(start).cast(),
        };
    }

    /// The element at this place in the table of children.
    fn child(&self, i: usize) -> *const rk_reply {
        self.data.cast::<rk_reply>().wrapping_add(i)
    }
}

impl From<Kind> for rk_reply_type {
    fn from(kind: Kind) -> rk_reply_type {
        use rk_reply_type::*;
        match kind {
            Kind::Nil => RK_REPLY_NIL,
            Kind::Status => RK_REPLY_STATUS,
            Kind::Error => RK_REPLY_ERROR,
            Kind::Integer => RK_REPLY_INTEGER,
            Kind::Double => RK_REPLY_DOUBLE,
            Kind::Bool => RK_REPLY_BOOL,
            Kind::Bytes => RK_REPLY_BYTES,
            Kind::BigNumber => RK_REPLY_BIG_NUMBER,
            Kind::Verbatim => RK_REPLY_VERBATIM,
            // A push is no reply, and never comes here.
            Kind::Array | Kind::Push => RK_REPLY_ARRAY,
            Kind::Set => RK_REPLY_SET,
            Kind::Map => RK_REPLY_MAP,
        }
    }
}

/// What a reply is; RK_REPLY_NIL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_reply_type_of(reply: *const rk_reply) -> rk_reply_type {
    // SAFETY: the argument is as the header asks.
    let reply = unsafe { Caller::trusted() }.maybe(reply);
    reply.map_or(rk_reply_type::RK_REPLY_NIL, |it| it.kind.into())
}

/// The value of RK_REPLY_INTEGER; 1 or 0 for RK_REPLY_BOOL; 0 for anything else.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_reply_integer(reply: *const rk_reply) -> i64 {
    // SAFETY: the argument is as the header asks.
    match unsafe { Caller::trusted() }.maybe(reply) {
        Some(it) if matches!(it.kind, Kind::Integer | Kind::Bool) => it.data.addr() as i64,
        _ => 0,
    }
}

/// The value of RK_REPLY_DOUBLE; that of RK_REPLY_INTEGER as a double; 0 for anything else.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_reply_double(reply: *const rk_reply) -> f64 {
    // SAFETY: the argument is as the header asks.
    match unsafe { Caller::trusted() }.maybe(reply) {
        Some(it) if it.kind == Kind::Double => f64::from_bits(it.data.addr() as u64),
        Some(it) if it.kind == Kind::Integer => it.data.addr() as i64 as f64,
        _ => 0.0,
    }
}

/// The value of RK_REPLY_BOOL; whether RK_REPLY_INTEGER is other than 0; false for anything else.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_reply_bool(reply: *const rk_reply) -> bool {
    // SAFETY: the argument is as the header asks.
    match unsafe { Caller::trusted() }.maybe(reply) {
        Some(it) if matches!(it.kind, Kind::Integer | Kind::Bool) => it.data.addr() != 0,
        _ => false,
    }
}

/// The bytes of RK_REPLY_BYTES, _STATUS, _ERROR, _BIG_NUMBER and _VERBATIM; NULL, and a length of 0, for anything else.
/// No zero stands behind them: print them with "%.*s". Empty ones are not NULL. len may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_reply_bytes(reply: *const rk_reply, len: *mut usize) -> *const c_void {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let len = c.out(len, "len", 0);
    match c.maybe(reply) {
        Some(it)
            if matches!(
                it.kind,
                Kind::Bytes | Kind::Status | Kind::Error | Kind::BigNumber | Kind::Verbatim
            ) =>
        {
            len.set(it.len);
            it.data
        }
        _ => ptr::null(),
    }
}

/// How many elements RK_REPLY_ARRAY and RK_REPLY_SET have, and how many pairs RK_REPLY_MAP; 0 for anything else.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_reply_len(reply: *const rk_reply) -> usize {
    // SAFETY: the argument is as the header asks.
    match unsafe { Caller::trusted() }.maybe(reply) {
        Some(it) => match it.kind {
            Kind::Array | Kind::Set | Kind::Push | Kind::Map => it.len,
            _ => 0,
        },
        None => 0,
    }
}

/// The element at place i, from 0, of RK_REPLY_ARRAY and RK_REPLY_SET; the value of pair i of RK_REPLY_MAP; NULL beyond
/// the end, and for anything else. It takes the same time for every i. Do not free it: it belongs to the root.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_reply_at(reply: *const rk_reply, i: usize) -> *const rk_reply {
    // SAFETY: the argument is as the header asks.
    match unsafe { Caller::trusted() }.maybe(reply) {
        Some(it) if i < it.len => match it.kind {
            Kind::Array | Kind::Set | Kind::Push => it.child(i),
            Kind::Map => it.child(2 * i + 1),
            _ => ptr::null(),
        },
        _ => ptr::null(),
    }
}

/// The key of pair i, from 0, of RK_REPLY_MAP; NULL beyond the end, and for anything else.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_reply_key_at(reply: *const rk_reply, i: usize) -> *const rk_reply {
    // SAFETY: the argument is as the header asks.
    match unsafe { Caller::trusted() }.maybe(reply) {
        Some(it) if i < it.len && it.kind == Kind::Map => it.child(2 * i),
        _ => ptr::null(),
    }
}

/// Frees a whole reply, given its root. NULL, and a part of a reply, are nothing to do.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_reply_free(reply: *mut rk_reply) {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    quietly((), || match c.maybe(reply) {
        // Only the roots carry the mark, and each root is the head of a tree.
        Some(it) if it.root => {
            if let Some(tree) = c.take(reply.cast::<Tree>()) {
                tree.recycle();
            }
        }
        _ => {}
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_large_reply_serves_the_next() {
        let mut reply = Reply::new();
        let large = |reply: &mut Reply| {
            reply.entries = vec![Entry::NIL; 2_000];
            reply.bytes = vec![b'x'; 100_000];
            reply.root = Entry::scalar(Kind::Array, 0);
        };
        large(&mut reply);
        let tree = rk_reply::new(&mut reply);
        assert_eq!((reply.bytes.capacity(), reply.entries.capacity()), (0, 0));
        // SAFETY: the root of a tree, freed once.
        unsafe { rk_reply_free(tree) };
        large(&mut reply);
        let tree = rk_reply::new(&mut reply);
        assert_eq!((reply.bytes.len(), reply.entries.len()), (0, 0));
        assert!(reply.bytes.capacity() >= 100_000 && reply.entries.capacity() >= 2_000);
        // SAFETY: as above.
        unsafe { rk_reply_free(tree) };
    }
}
