//! Publish and subscribe
//!
//! A subscriber listens to channels, to patterns of them and to sharded channels, which are added and removed while it
//! runs. What is published is either polled (rk_subscriber_poll(), and a descriptor for epoll), or handed to callbacks:
//! one or the other for one subscriber. To publish, see rk_publish().
//!
//! When the connection is lost it is made anew, and everything is subscribed to again. What was published meanwhile is
//! lost; each subscription is told so once, by an event of type RK_EVENT_GAP or the callback of rk_subscriber_on_gap(),
//! in its place among the messages.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::fd::AsRawFd;
use std::ptr;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::ffi::boundary::{Caller, milliseconds, quietly};
use crate::ffi::bytes::rk_bytes;
use crate::ffi::error::{c_string, rk_error, rk_status};
use crate::ffi::manager::rk_manager;
use crate::ffi::userdata::Userdata;
use crate::pubsub::{Event, Overflow, Subscriber};

/// Listens to channels and patterns. It keeps its manager alive. In a fork of the process that made it every call on it
/// is RK_ERR_CLOSED.
///
/// Thread safety: any number of threads at the same time. Only rk_subscriber_free() must be the last call on it.
pub struct rk_subscriber(Subscriber);

/// What an event tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum rk_event_type {
    /// Nothing: the event is NULL.
    RK_EVENT_NONE = 0,
    /// A message was published.
    RK_EVENT_MESSAGE = 1,
    /// The connection was lost and is there again: what was published meanwhile is lost to this subscription.
    RK_EVENT_GAP = 2,
}

/// An event that was polled. What is read from it is borrowed until rk_event_free().
///
/// Thread safety: one thread at a time. It is independent of its subscriber, and may be handed to another thread.
pub struct rk_event {
    event: Event,
    channel: Option<CString>,
    pattern: Option<CString>,
}

impl rk_event {
    fn new(event: Event) -> rk_event {
        let (channel, pattern) = match &event {
            Event::Message(message) => (
                Some(c_string(message.channel_bytes())),
                message.pattern_bytes().map(c_string),
            ),
            Event::Gap(gap) => (
                gap.channel_bytes().map(c_string),
                gap.pattern_bytes().map(c_string),
            ),
        };
        rk_event {
            event,
            channel,
            pattern,
        }
    }
}

/// Makes a subscriber that listens to nothing yet. out may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_subscriber_new(
    manager: *mut rk_manager,
    out: *mut *mut rk_subscriber,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", ptr::null_mut());
    c.run(err, || {
        let manager = c.manager(manager)?;
        out.wanted()?;
        out.set(Box::into_raw(Box::new(rk_subscriber(manager.subscriber()))));
        Ok(rk_status::RK_OK)
    })
}

/// Ends its subscriptions and frees it. It waits for the callbacks that are running, unless it is called in one of them:
/// then their userdata is freed when the last one returns. Its descriptor is closed. NULL is nothing to do.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_subscriber_free(subscriber: *mut rk_subscriber) {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    quietly((), || drop(c.take(subscriber)));
}

/// Sets an option by its name:
///
/// "queue_limit": how many messages may wait to be polled or handled, "10000" unless set; for all of a polled
/// subscriber, for each channel or pattern of one with callbacks.
///
/// "queue_bytes": how many bytes of messages may wait in the same way, about, "67108864" unless set. One message may
/// wait however large it is.
///
/// "overflow": what happens to a message for which there is no room: "drop_oldest" (unless set) makes room for it,
/// "drop_newest" drops it. rk_subscriber_stats_json() counts what was dropped.
///
/// RK_ERR_UNKNOWN_PROPERTY for another name, RK_ERR_BAD_VALUE for another value.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_subscriber_option(
    subscriber: *mut rk_subscriber,
    name: *const c_char,
    value: *const c_char,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        let it = &c.handle(subscriber, "subscriber")?.0;
        let value = || c.text(value, "value");
        match c.text(name, "name")? {
            "queue_limit" => it.queue_limit(number("queue_limit", value()?)?)?,
            "queue_bytes" => it.queue_bytes(number("queue_bytes", value()?)?)?,
            "overflow" => it.overflow(match value()? {
                "drop_oldest" => Overflow::DropOldest,
                "drop_newest" => Overflow::DropNewest,
                _ => return Err(bad_value("overflow", "drop_oldest or drop_newest")),
            })?,
            _ => {
                return Err(Error::new(
                    ErrorKind::UnknownProperty,
                    "name: a subscriber has the options queue_limit, queue_bytes and overflow",
                ));
            }
        }
        Ok(rk_status::RK_OK)
    })
}

fn number(name: &str, text: &str) -> Result<usize> {
    text.parse()
        .map_err(|_| bad_value(name, "a whole number from 1"))
}

fn bad_value(name: &str, allowed: &str) -> Error {
    Error::new(ErrorKind::BadValue, format!("{name}: it takes {allowed}"))
}

/// Subscribes to a channel, and returns when the server has confirmed it: what is published from then on comes. Waits
/// "command_timeout" at most. Adding what was added before does nothing. A refusal (RK_ERR_NO_PERMISSION where an ACL
/// forbids the channel) leaves the other subscriptions alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_subscriber_add(
    subscriber: *mut rk_subscriber,
    channel: *const c_char,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        let it = &c.handle(subscriber, "subscriber")?.0;
        it.add(c.string(channel, "channel")?.to_bytes())?;
        Ok(rk_status::RK_OK)
    })
}

/// As rk_subscriber_add(), to all channels whose names match: "?" is any character, "*" any number of them, "[ab]" one of
/// these. A message whose channel matches several of its subscriptions comes once for each.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_subscriber_add_pattern(
    subscriber: *mut rk_subscriber,
    pattern: *const c_char,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        let it = &c.handle(subscriber, "subscriber")?.0;
        it.add_pattern(c.string(pattern, "pattern")?.to_bytes())?;
        Ok(rk_status::RK_OK)
    })
}

/// As rk_subscriber_add(), to a sharded channel, which belongs to the slot of its name; see rk_publish_sharded().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_subscriber_add_sharded(
    subscriber: *mut rk_subscriber,
    channel: *const c_char,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        let it = &c.handle(subscriber, "subscriber")?.0;
        it.add_sharded(c.string(channel, "channel")?.to_bytes())?;
        Ok(rk_status::RK_OK)
    })
}

/// Ends the subscription to a channel; RK_NIL if there is none. What waits of it is forgotten. A callback that runs at
/// this moment is not waited for.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_subscriber_remove(
    subscriber: *mut rk_subscriber,
    channel: *const c_char,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        let it = &c.handle(subscriber, "subscriber")?.0;
        Ok(found(it.remove(c.string(channel, "channel")?.to_bytes())?))
    })
}

/// As rk_subscriber_remove(), for a pattern.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_subscriber_remove_pattern(
    subscriber: *mut rk_subscriber,
    pattern: *const c_char,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        let it = &c.handle(subscriber, "subscriber")?.0;
        Ok(found(it.remove_pattern(
            c.string(pattern, "pattern")?.to_bytes(),
        )?))
    })
}

/// As rk_subscriber_remove(), for a sharded channel.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_subscriber_remove_sharded(
    subscriber: *mut rk_subscriber,
    channel: *const c_char,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        let it = &c.handle(subscriber, "subscriber")?.0;
        Ok(found(it.remove_sharded(
            c.string(channel, "channel")?.to_bytes(),
        )?))
    })
}

fn found(it: bool) -> rk_status {
    match it {
        true => rk_status::RK_OK,
        false => rk_status::RK_NIL,
    }
}

/// Has every message handed to cb, in the manager's worker threads (property "workers"): one after the other for each
/// channel or pattern added, at the same time for different ones. It is set once, before anything is added; after
/// that, or after polling, RK_ERR_CONFLICT.
///
/// channel is the one published to; data are len bytes, with no zero behind them. Both live as long as the call. cb may
/// call the library, rk_subscriber_free() of this subscriber too. It must return, and not leave by longjmp().
///
/// userdata_free (NULL: none) is called with userdata exactly once: when the subscriber was freed and no callback runs
/// any more, or at once if this call fails.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_subscriber_on_message(
    subscriber: *mut rk_subscriber,
    cb: Option<
        unsafe extern "C" fn(
            channel: *const c_char,
            data: *const c_void,
            len: usize,
            userdata: *mut c_void,
        ),
    >,
    userdata: *mut c_void,
    userdata_free: Option<unsafe extern "C" fn(userdata: *mut c_void)>,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let userdata = Userdata::new(userdata, userdata_free);
    c.run(err, move || {
        let cb = cb.ok_or_else(|| Error::argument("cb: NULL"))?;
        let it = &c.handle(subscriber, "subscriber")?.0;
        it.on_message(move |message| {
            let channel = c_string(message.channel_bytes());
            let data = message.data();
            // SAFETY: a function of this type, with what it was registered with; all that it is handed outlives the
            // call.
            unsafe {
                cb(
                    channel.as_ptr(),
                    data.as_ptr().cast(),
                    data.len(),
                    userdata.get(),
                )
            }
        })?;
        Ok(rk_status::RK_OK)
    })
}

/// Has cb called for every gap, in its place among the messages of that subscription: channel is the channel, or the
/// pattern, that was subscribed to. Otherwise as rk_subscriber_on_message(), without which it is of no use.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_subscriber_on_gap(
    subscriber: *mut rk_subscriber,
    cb: Option<unsafe extern "C" fn(channel: *const c_char, userdata: *mut c_void)>,
    userdata: *mut c_void,
    userdata_free: Option<unsafe extern "C" fn(userdata: *mut c_void)>,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let userdata = Userdata::new(userdata, userdata_free);
    c.run(err, move || {
        let cb = cb.ok_or_else(|| Error::argument("cb: NULL"))?;
        let it = &c.handle(subscriber, "subscriber")?.0;
        it.on_gap(move |gap| {
            let name = gap.channel_bytes().or(gap.pattern_bytes());
            let name = c_string(name.unwrap_or_default());
            // SAFETY: a function of this type, with what it was registered with; the name outlives the call.
            unsafe { cb(name.as_ptr(), userdata.get()) }
        })?;
        Ok(rk_status::RK_OK)
    })
}

/// The next event, waiting for it timeout_ms at most: 0 only looks, -1 waits without end. RK_NIL and NULL if nothing came;
/// RK_ERR_CLOSED when the manager was closed; RK_ERR_CONFLICT for a subscriber with callbacks. Free the event with
/// rk_event_free(). out may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_subscriber_poll(
    subscriber: *mut rk_subscriber,
    timeout_ms: i64,
    out: *mut *mut rk_event,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", ptr::null_mut());
    c.run(err, || {
        let it = &c.handle(subscriber, "subscriber")?.0;
        out.wanted()?;
        let time = milliseconds(timeout_ms, "timeout_ms")?;
        Ok(match it.poll(time.unwrap_or(Duration::MAX))? {
            None => rk_status::RK_NIL,
            Some(event) => {
                out.set(Box::into_raw(Box::new(rk_event::new(event))));
                rk_status::RK_OK
            }
        })
    })
}

/// A descriptor for select(), poll() or epoll, which is readable while there is something to poll, RK_ERR_CLOSED among
/// it. It belongs to the subscriber: neither read nor close it. -1 for NULL, for a subscriber with callbacks, and when
/// the system has no descriptor left.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_subscriber_fd(subscriber: *const rk_subscriber) -> c_int {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    let fd = || {
        let it = c.maybe(subscriber)?;
        it.0.fd().ok().map(|fd| fd.as_raw_fd())
    };
    quietly(-1, || fd().unwrap_or(-1))
}

/// What the subscriber has seen so far, as JSON. Fields are added, never removed: subscriptions (now), received
/// (messages that came from the server), delivered (messages and gaps that were polled or handed to a callback), dropped
/// (messages for which there was no room), gaps, failed (always 0 in C), waiting (now). json may not be NULL; what it
/// held is overwritten, not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_subscriber_stats_json(
    subscriber: *mut rk_subscriber,
    json: *mut rk_bytes,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let json = c.out(json, "json", rk_bytes::NONE);
    c.run(err, || {
        let it = &c.handle(subscriber, "subscriber")?.0;
        json.wanted()?;
        let stats = serde_json::to_vec(&it.stats()?);
        json.set(rk_bytes::new(stats.unwrap_or_default()));
        Ok(rk_status::RK_OK)
    })
}

/// What the event tells; RK_EVENT_NONE for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_event_kind(event: *const rk_event) -> rk_event_type {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    match c.maybe(event).map(|it| &it.event) {
        None => rk_event_type::RK_EVENT_NONE,
        Some(Event::Message(_)) => rk_event_type::RK_EVENT_MESSAGE,
        Some(Event::Gap(_)) => rk_event_type::RK_EVENT_GAP,
    }
}

/// The channel: of a message the one published to, of a gap the one subscribed to (NULL if that was a pattern).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_event_channel(event: *const rk_event) -> *const c_char {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    let channel = c.maybe(event).and_then(|it| it.channel.as_deref());
    channel.map_or(ptr::null(), CStr::as_ptr)
}

/// The pattern that was subscribed to; NULL if it was a channel.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_event_pattern(event: *const rk_event) -> *const c_char {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    let pattern = c.maybe(event).and_then(|it| it.pattern.as_deref());
    pattern.map_or(ptr::null(), CStr::as_ptr)
}

/// What was published: *len bytes, with no zero behind them. NULL and 0 for anything but a message. len may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_event_data(event: *const rk_event, len: *mut usize) -> *const c_void {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let len = c.out(len, "len", 0);
    match c.maybe(event).map(|it| &it.event) {
        Some(Event::Message(message)) => {
            len.set(message.data().len());
            message.data().as_ptr().cast()
        }
        _ => ptr::null(),
    }
}

/// Frees an event. NULL is nothing to do.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_event_free(event: *mut rk_event) {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    quietly((), || drop(c.take(event)));
}
