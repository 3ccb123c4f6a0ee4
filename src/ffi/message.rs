//! Streams: messages
//!
//! A message that came: what a handler is given, and what rk_consumer_poll() returns.

use std::ffi::{CString, c_char};
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicPtr, Ordering};

use crate::error::Result;
use crate::ffi::boundary::{Caller, quietly};
use crate::ffi::error::{c_string, rk_error, rk_status};
use crate::fork::lock;
use crate::stream::Received;

/// A message that came. A handler has it while it runs; one that was polled belongs to the program, which says what
/// became of it and frees it. Texts read from it live as long as it does.
///
/// Thread safety: any number of threads at once, until it is freed, or its handler returns.
pub struct rk_message {
    received: Source,
    id: Text,
    channel: Text,
    name: Text,
    body: Text,
    /// Why it could not be handled, as a handler said.
    reason: Mutex<Option<String>>,
}

/// A text for C, made by whoever asks first; of several who do at once, one's is kept. Nobody waits, so that a forked
/// child has nobody to wait for.
#[derive(Default)]
struct Text(AtomicPtr<c_char>);

impl Text {
    fn made(&self, make: impl FnOnce() -> CString) -> *const c_char {
        let there = self.0.load(Ordering::Acquire);
        if !there.is_null() {
            return there;
        }
        let own = make().into_raw();
        let none = ptr::null_mut();
        let kept = self
            .0
            .compare_exchange(none, own, Ordering::AcqRel, Ordering::Acquire);
        kept.map_or_else(
            |there| {
                // SAFETY: it came from into_raw() above, and nobody else knows it.
                drop(unsafe { CString::from_raw(own) });
                there
            },
            |_| own,
        )
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        let text = *self.0.get_mut();
        if !text.is_null() {
            // SAFETY: it came from into_raw(), and whoever frees a message is done with its texts.
            drop(unsafe { CString::from_raw(text) });
        }
    }
}

enum Source {
    Lent(*const Received),
    Own(Received),
}

impl rk_message {
    fn new(received: Source) -> rk_message {
        rk_message {
            received,
            id: Text::default(),
            channel: Text::default(),
            name: Text::default(),
            body: Text::default(),
            reason: Mutex::default(),
        }
    }

    /// For the time of a handler's call, which ends before `received` does.
    pub(super) fn lent(received: &Received) -> rk_message {
        rk_message::new(Source::Lent(received))
    }

    pub(super) fn own(received: Received) -> *mut rk_message {
        Box::into_raw(Box::new(rk_message::new(Source::Own(received))))
    }

    pub(super) fn reason(&self) -> Option<String> {
        lock(&self.reason).take()
    }

    fn received(&self) -> &Received {
        match &self.received {
            Source::Own(received) => received,
            // SAFETY: `lent` is used for the time of a call only, and what it points to outlives that.
            Source::Lent(received) => unsafe { &**received },
        }
    }
}

/// A text of it, made for C when it is first asked for.
fn text(
    c: Caller<'_>,
    message: *const rk_message,
    place: impl Fn(&rk_message) -> &Text,
    read: impl Fn(&Received) -> &str,
) -> *const c_char {
    quietly(ptr::null(), || {
        let Some(message) = c.maybe(message) else {
            return ptr::null();
        };
        place(message).made(|| c_string(read(message.received())))
    })
}

/// Its id in the stream: milliseconds, a hyphen, a number. NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_message_id(message: *const rk_message) -> *const c_char {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    text(c, message, |it| &it.id, Received::id)
}

/// The channel it came from. NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_message_channel(message: *const rk_message) -> *const c_char {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    text(c, message, |it| &it.channel, Received::channel)
}

/// What it is about. NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_message_name(message: *const rk_message) -> *const c_char {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    text(c, message, |it| &it.name, Received::name)
}

/// The body, which is JSON. NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_message_body(message: *const rk_message) -> *const c_char {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    text(c, message, |it| &it.body, Received::body)
}

/// How often it was delivered, to whomever, this time included. 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_message_deliveries(message: *const rk_message) -> i64 {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    quietly(0, || {
        let message = c.maybe(message);
        message.map_or(0, |it| it.received().deliveries().into())
    })
}

/// A polled message was handled: it will be acknowledged, together with others, before anything else is read.
/// RK_ERR_ARGUMENT for one that was acknowledged or failed before, and in a handler, whose result says it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_message_ack(
    message: *const rk_message,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        c.handle(message, "message")?.received().ack()?;
        Ok(rk_status::RK_OK)
    })
}

/// A message could not be handled: it is delivered again after a pause, or goes to the dead-letter stream, with this
/// reason, when it was delivered often enough. In a handler, this says why, and the handler then returns something
/// other than RK_OK. RK_ERR_ARGUMENT for one that was acknowledged or failed before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_message_fail(
    message: *const rk_message,
    reason: *const c_char,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        let message = c.handle(message, "message")?;
        let reason = c.text(reason, "reason")?;
        fail(message, reason)?;
        Ok(rk_status::RK_OK)
    })
}

fn fail(message: &rk_message, reason: &str) -> Result<()> {
    match &message.received {
        Source::Own(received) => received.fail(reason),
        Source::Lent(_) => {
            *lock(&message.reason) = Some(reason.to_owned());
            Ok(())
        }
    }
}

/// Frees a polled message. If it was neither acknowledged nor failed, it stays pending, and is delivered again after
/// "claim_idle". NULL is nothing to do.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_message_free(message: *mut rk_message) {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    quietly((), || drop(c.take(message)));
}
