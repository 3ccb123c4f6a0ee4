//! What stands between C and Rust: no argument goes in unchecked, no panic comes out.

use std::any::Any;
use std::ffi::{CStr, c_char, c_void};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::Utf8Error;
use std::time::Duration;

use redis::{RedisWrite, ToRedisArgs};

use crate::client::Args;
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::ffi::bytes::rk_slice;
use crate::ffi::error::{rk_error, rk_status};

/// The word of the C caller that every pointer given to one call is either NULL or points to what the header says,
/// and that nothing of it changes while the call lasts. Exported functions make one, and only they. What the caller
/// cannot be trusted with (NULL, lengths, text, numbers) is checked by the methods.
#[derive(Clone, Copy)]
pub(super) struct Caller<'a>(PhantomData<&'a ()>);

impl<'a> Caller<'a> {
    /// # Safety
    ///
    /// The arguments of the exported function that calls this are as described above, for as long as `'a` lasts.
    pub(super) unsafe fn trusted() -> Caller<'a> {
        Caller(PhantomData)
    }

    /// The one way through which every fallible function goes. The outputs were made neutral by [`out`](Caller::out)
    /// before; this clears `*err`, runs the body, and turns its error, or its panic, into a status and an `rk_error`.
    pub(super) fn run(
        self,
        err: *mut *mut rk_error,
        body: impl FnOnce() -> Result<rk_status>,
    ) -> rk_status {
        let err = self.out(err, "err", std::ptr::null_mut());
        match caught(body) {
            Ok(status) => status,
            Err(error) => failed(&err, error),
        }
    }

    /// An output, neutral from now on. It may be NULL unless it is [`wanted`](Out::wanted).
    pub(super) fn out<T>(self, to: *mut T, name: &'static str, neutral: T) -> Out<T> {
        let out = Out { to, name };
        out.set(neutral);
        out
    }

    /// What a handle points to.
    pub(super) fn handle<T>(self, handle: *const T, name: &str) -> Result<&'a T> {
        // SAFETY: the caller's word: NULL, or a live object that others at most read.
        unsafe { handle.as_ref() }.ok_or_else(|| null(name))
    }

    /// What a handle points to that one thread uses at a time.
    pub(super) fn handle_mut<T>(self, handle: *mut T, name: &str) -> Result<&'a mut T> {
        // SAFETY: the caller's word: NULL, or a live object that nobody else uses during the call.
        unsafe { handle.as_mut() }.ok_or_else(|| null(name))
    }

    /// A handle that may be NULL.
    pub(super) fn maybe<T>(self, handle: *const T) -> Option<&'a T> {
        // SAFETY: the caller's word: NULL, or a live object that others at most read.
        unsafe { handle.as_ref() }
    }

    /// Takes back an object that was given to C by `Box::into_raw`. NULL is nothing.
    pub(super) fn take<T: ?Sized>(self, handle: *mut T) -> Option<Box<T>> {
        // SAFETY: the caller's word: it came from `Box::into_raw` of this type, and is not used any more.
        (!handle.is_null()).then(|| unsafe { Box::from_raw(handle) })
    }

    /// Data: empty if its length is 0, whatever the pointer.
    pub(super) fn bytes(self, data: *const c_void, len: usize, name: &str) -> Result<&'a [u8]> {
        check(data, len, name)?;
        if len == 0 {
            return Ok(&[]);
        }
        // SAFETY: neither NULL nor too long; that so many bytes can be read there is the caller's word.
        Ok(unsafe { std::slice::from_raw_parts(data.cast(), len) })
    }

    /// Room of the caller's own, which may be uninitialised.
    pub(super) fn buffer(self, to: *mut c_void, cap: usize, name: &str) -> Result<Buffer> {
        check(to, cap, name)?;
        Ok(Buffer { to: to.cast(), cap })
    }

    /// A C string, as it is.
    pub(super) fn string(self, text: *const c_char, name: &str) -> Result<&'a CStr> {
        if text.is_null() {
            return Err(null(name));
        }
        // SAFETY: not NULL; that it ends with a NUL is the caller's word.
        Ok(unsafe { CStr::from_ptr(text) })
    }

    /// A C string that must be UTF-8.
    pub(super) fn text(self, text: *const c_char, name: &str) -> Result<&'a str> {
        self.string(text, name)?
            .to_str()
            .map_err(|why| no_text(name, why))
    }

    /// A C string that may be NULL.
    pub(super) fn maybe_text(self, text: *const c_char, name: &str) -> Result<Option<&'a str>> {
        match text.is_null() {
            true => Ok(None),
            false => self.text(text, name).map(Some),
        }
    }

    /// An array of any kind.
    pub(super) fn array<T>(self, array: *const T, n: usize, name: &str) -> Result<&'a [T]> {
        if n == 0 {
            return Ok(&[]);
        }
        if array.is_null() {
            return Err(Error::argument(format!("{name}: NULL with {n} elements")));
        }
        match n.checked_mul(size_of::<T>()).map(isize::try_from) {
            // SAFETY: neither NULL nor too long; that so many elements stand there is the caller's word.
            Some(Ok(_)) => Ok(unsafe { std::slice::from_raw_parts(array, n) }),
            _ => Err(Error::argument(format!(
                "{name}: {n} elements are more than any memory holds"
            ))),
        }
    }

    /// An array of slices, every one of them checked.
    pub(super) fn slices(self, array: *const rk_slice, n: usize, name: &str) -> Result<Slices<'a>> {
        let slices = self.array(array, n, name)?;
        for (i, slice) in slices.iter().enumerate() {
            if let Err(error) = self.bytes(slice.data, slice.len, "") {
                return Err(Error::argument(format!("{name}[{i}]{}", error.message())));
            }
        }
        Ok(Slices {
            caller: self,
            slices,
        })
    }

    /// As [`slices`](Caller::slices), two for each pair.
    pub(super) fn pairs(self, array: *const rk_slice, n: usize, name: &str) -> Result<Slices<'a>> {
        let Some(both) = n.checked_mul(2) else {
            return Err(Error::argument(format!(
                "{name}: {n} pairs are more than any memory holds"
            )));
        };
        self.slices(array, both, name)
    }
}

/// Where a result goes.
pub(super) struct Out<T> {
    to: *mut T,
    name: &'static str,
}

impl<T> Out<T> {
    /// That it is not NULL.
    pub(super) fn wanted(&self) -> Result<()> {
        match self.to.is_null() {
            true => Err(null(self.name)),
            false => Ok(()),
        }
    }

    pub(super) fn set(&self, value: T) {
        if !self.to.is_null() {
            // SAFETY: not NULL, and an output that may be written, which is the caller's word. What is there may be
            // uninitialised, so it is not dropped.
            unsafe { self.to.write(value) }
        }
    }

    /// Makes the value only if somebody wants it.
    pub(super) fn set_with(&self, value: impl FnOnce() -> T) {
        if !self.to.is_null() {
            self.set(value());
        }
    }
}

/// Where bytes go.
pub(super) struct Buffer {
    to: *mut u8,
    cap: usize,
}

impl Buffer {
    /// Copies what finds room; true if that is all.
    pub(super) fn fill(&self, bytes: &[u8]) -> bool {
        let n = bytes.len().min(self.cap);
        if n > 0 {
            // SAFETY: not NULL, as it has room for something; that so much can be written there is the caller's word,
            // and ours that `bytes` is memory of the library's own.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.to, n) }
        }
        n == bytes.len()
    }
}

/// Strings of bytes handed over by C, checked.
#[derive(Clone, Copy)]
pub(super) struct Slices<'a> {
    caller: Caller<'a>,
    slices: &'a [rk_slice],
}

impl<'a> Slices<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    /// All of them, side by side.
    pub(super) fn list(self) -> Args<'a> {
        Args::of(self.iter())
    }

    pub(super) fn iter(self) -> impl ExactSizeIterator<Item = &'a [u8]> {
        // Each was found good when this was made.
        let bytes = move |slice: &rk_slice| self.caller.bytes(slice.data, slice.len, "");
        self.slices
            .iter()
            .map(move |slice| bytes(slice).unwrap_or_default())
    }

    /// The first with the second, the third with the fourth.
    pub(super) fn in_pairs(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let firsts = self.iter().step_by(2);
        firsts.zip(self.iter().skip(1).step_by(2))
    }
}

impl ToRedisArgs for Slices<'_> {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        self.iter().for_each(|bytes| out.write_arg(bytes));
    }

    fn num_of_args(&self) -> usize {
        self.slices.len()
    }
}

/// For functions that cannot fail: a panic becomes the neutral answer.
pub(super) fn quietly<T>(neutral: T, body: impl FnOnce() -> T) -> T {
    caught(|| Ok(body())).unwrap_or(neutral)
}

/// A time in milliseconds; none for -1, which is the default.
pub(super) fn milliseconds(time: i64, name: &str) -> Result<Option<Duration>> {
    match u64::try_from(time) {
        Ok(time) => Ok(Some(Duration::from_millis(time))),
        Err(_) if time == -1 => Ok(None),
        Err(_) => Err(Error::argument(format!(
            "{name}: {time} is not allowed; it takes milliseconds from 0, or -1"
        ))),
    }
}

// What follows stands apart from its callers, of which there is one for each exported function, so that each of them is
// small.

#[cold]
#[inline(never)]
fn failed(err: &Out<*mut rk_error>, error: Error) -> rk_status {
    let status = rk_status::from(error.kind());
    err.set_with(|| Box::into_raw(Box::new(rk_error::from(error))));
    status
}

// It is in every call's way, and less than a call.
#[inline(always)]
fn check(data: *const c_void, len: usize, name: &str) -> Result<()> {
    match (data.is_null() && len > 0) || isize::try_from(len).is_err() {
        true => Err(no_data(data, len, name)),
        false => Ok(()),
    }
}

#[cold]
#[inline(never)]
fn no_data(data: *const c_void, len: usize, name: &str) -> Error {
    Error::argument(match data.is_null() {
        true => format!("{name}: NULL with a length of {len}"),
        false => format!("{name}: a length of {len} is more than any memory holds"),
    })
}

#[cold]
#[inline(never)]
fn no_text(name: &str, why: Utf8Error) -> Error {
    Error::argument(format!("{name}: not UTF-8 ({why})"))
}

#[cold]
#[inline(never)]
fn null(name: &str) -> Error {
    Error::argument(format!("{name}: NULL"))
}

fn caught<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    // What a panic leaves behind is the concern of the rooms below, whose locks and sockets bear it.
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(fault(panic)))
}

#[cold]
#[inline(never)]
fn fault(panic: Box<dyn Any + Send>) -> Error {
    let text = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text.as_str(),
        _ => "it gave no reason",
    };
    let error = Error::new(
        ErrorKind::Internal,
        format!("a fault in redkeep itself: {text}"),
    );
    // Dropping what was thrown could throw again, past this guard.
    std::mem::forget(panic);
    error.outcome_is(Outcome::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr;

    fn caller() -> Caller<'static> {
        // SAFETY: the tests hand over NULL, or pointers to their own live values.
        unsafe { Caller::trusted() }
    }

    #[test]
    fn a_panic_becomes_a_status_with_its_text() {
        let mut err = ptr::null_mut();
        let status = caller().run(&mut err, || panic!("number {}", 7));
        assert_eq!(status, rk_status::RK_ERR_INTERNAL);
        let error = caller().take(err).expect("an error");
        assert!(error.message().contains("number 7"));
        let status = caller().run(ptr::null_mut(), || panic!("no one listens"));
        assert_eq!(status, rk_status::RK_ERR_INTERNAL);
        assert_eq!(quietly(5, || panic!("quiet")), 5);
    }

    #[test]
    fn arguments_are_named() {
        let wrong = |error: Result<&[u8]>| error.unwrap_err().message().to_owned();
        let data = ptr::dangling::<c_void>();
        assert_eq!(
            wrong(caller().bytes(ptr::null(), 5, "key")),
            "key: NULL with a length of 5"
        );
        assert!(wrong(caller().bytes(data, usize::MAX, "key")).starts_with("key: a length of"));
        assert_eq!(caller().bytes(ptr::null(), 0, "key").unwrap(), &[] as &[u8]);
        let slices = [
            rk_slice {
                data: ptr::null(),
                len: 0,
            },
            rk_slice {
                data: ptr::null(),
                len: 2,
            },
        ];
        let error = caller().slices(slices.as_ptr(), 2, "args").err().unwrap();
        assert_eq!(error.message(), "args[1]: NULL with a length of 2");
        assert!(
            caller()
                .pairs(slices.as_ptr(), usize::MAX, "pairs")
                .is_err()
        );
        assert!(caller().slices(ptr::null(), 1, "args").is_err());
    }

    #[test]
    fn times_are_checked() {
        assert_eq!(milliseconds(-1, "timeout_ms").unwrap(), None);
        assert_eq!(milliseconds(0, "timeout_ms").unwrap(), Some(Duration::ZERO));
        assert!(milliseconds(-2, "timeout_ms").is_err());
    }
}
