//! Streams: messages
//!
//! A message that came: what a handler is given, and what rk_consumer_poll() returns.

use std::cell::{OnceCell, RefCell};
use std::ffi::{CString, c_char};
use std::ptr;

use crate::error::Result;
use crate::ffi::boundary::{Caller, quietly};
use crate::ffi::error::{c_string, rk_error, rk_status};
use crate::stream::Received;

/// A message that came. A handler has it while it runs; one that was polled belongs to the program, which says what
/// became of it and frees it. Texts read from it live as long as it does.
///
/// Thread safety: one thread at a time. A polled one may be handed to another thread.
pub struct rk_message {
    received: Source,
    id: OnceCell<CString>,
    channel: OnceCell<CString>,
    name: OnceCell<CString>,
    body: OnceCell<CString>,
    /// Why it could not be handled, as a handler said.
    reason: RefCell<Option<String>>,
}

enum Source {
    Lent(*const Received),
    Own(Received),
}

impl rk_message {
    fn new(received: Source) -> rk_message {
        rk_message {
            received,
            id: OnceCell::new(),
            channel: OnceCell::new(),
            name: OnceCell::new(),
            body: OnceCell::new(),
            reason: RefCell::new(None),
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
        self.reason.take()
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
    place: impl Fn(&rk_message) -> &OnceCell<CString>,
    read: impl Fn(&Received) -> &str,
) -> *const c_char {
    quietly(ptr::null(), || {
        let Some(message) = c.maybe(message) else {
            return ptr::null();
        };
        let made = place(message).get_or_init(|| c_string(read(message.received())));
        made.as_ptr()
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
            *message.reason.borrow_mut() = Some(reason.to_owned());
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
