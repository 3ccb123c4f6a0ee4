//! Bytes
//!
//! Data goes in as a pointer and a length, and may hold anything, zeros too. It comes out as rk_bytes, which the
//! library owns and rk_bytes_free() gives back; never call free() on it. What an output held before is overwritten, not
//! freed.

use std::ffi::c_void;
use std::ptr;

use crate::error::{Error, ErrorKind, Result};
use crate::ffi::boundary::{Caller, quietly};
use crate::ffi::error::{rk_error, rk_status};
use crate::transport::Reply;

/// Bytes that the library owns. One zero, not counted in len, stands after the end, so that text can be printed as it
/// is. An empty value has data that is not NULL; no value at all is {NULL, 0}. Begin with RK_BYTES_INIT; change
/// neither of the two.
///
/// Thread safety: one thread at a time. It is independent of what it came from, and may be handed to another thread.
#[repr(C)]
pub struct rk_bytes {
    /// Where they begin; NULL if there is no value.
    pub data: *mut u8,
    /// How many there are.
    pub len: usize,
}

/// Bytes that the caller owns, handed to a call that reads them: a key, a value, an argument. RK_LIT("text") makes one
/// of a text in the source. data may be NULL if len is 0.
#[repr(C)]
pub struct rk_slice {
    /// Where they begin.
    pub data: *const c_void,
    /// How many there are.
    pub len: usize,
}

/// Values longer than this are handed over in the memory that they were received in; shorter ones are copied, so
/// that the thread keeps its buffer.
const HANDED_OVER: usize = 32 * 1024;

impl rk_bytes {
    pub(super) const NONE: rk_bytes = rk_bytes {
        data: ptr::null_mut(),
        len: 0,
    };

    pub(super) fn new(mut bytes: Vec<u8>) -> rk_bytes {
        let len = bytes.len();
        bytes.reserve_exact(1);
        bytes.push(0);
        let data = Box::into_raw(bytes.into_boxed_slice());
        rk_bytes {
            data: data.cast(),
            len,
        }
    }

    pub(super) fn copy(bytes: &[u8]) -> rk_bytes {
        let mut copy = Vec::with_capacity(bytes.len() + 1);
        copy.extend_from_slice(bytes);
        rk_bytes::new(copy)
    }

    /// Takes back what a callback of the program was given to fill.
    pub(super) fn take(self, c: Caller<'_>) -> Option<Vec<u8>> {
        // `new` made them one longer than they say.
        let room = ptr::slice_from_raw_parts_mut(self.data, self.len + 1);
        let data = (!self.data.is_null()).then(|| c.take(room)).flatten()?;
        let mut bytes = data.into_vec();
        bytes.truncate(self.len);
        Some(bytes)
    }

    /// JSON text of something of ours.
    pub(super) fn json(value: &impl serde::Serialize) -> Result<rk_bytes> {
        let text = serde_json::to_vec(value).map_err(|why| {
            Error::new(ErrorKind::Internal, "no JSON could be made of the answer").caused_by(why)
        })?;
        Ok(rk_bytes::new(text))
    }

    /// The text of a reply, whatever its type; nothing if it is none.
    pub(super) fn of(reply: &mut Reply) -> rk_bytes {
        match reply.as_bytes() {
            None => rk_bytes::NONE,
            Some(text) if text.len() <= HANDED_OVER => rk_bytes::copy(text),
            Some(_) => {
                let whole = std::mem::take(reply);
                whole.into_bytes().map_or(rk_bytes::NONE, rk_bytes::new)
            }
        }
    }
}

/// Frees the bytes and leaves {NULL, 0}, so that a second call is harmless. NULL is nothing to do.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_bytes_free(bytes: *mut rk_bytes) {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    quietly((), || {
        let Ok(bytes) = c.handle_mut(bytes, "bytes") else {
            return;
        };
        let rk_bytes { data, len } = std::mem::replace(bytes, rk_bytes::NONE);
        if !data.is_null() {
            // `new` made them one longer than they say.
            drop(c.take(ptr::slice_from_raw_parts_mut(data, len + 1)));
        }
    });
}

/// Makes rk_bytes of a copy of these bytes, for callbacks that return some. out may not be NULL; what it held is
/// overwritten, not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_bytes_copy(
    out: *mut rk_bytes,
    data: *const c_void,
    len: usize,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", rk_bytes::NONE);
    c.run(err, || {
        out.wanted()?;
        out.set(rk_bytes::copy(c.bytes(data, len, "data")?));
        Ok(rk_status::RK_OK)
    })
}
