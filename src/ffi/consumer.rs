//! Streams: consumers
//!
//! A consumer receives the messages of channels in the name of a listener. All consumers of one listener share them;
//! another listener gets all of them again.
//!
//! It is used in one of three ways: rk_consumer_start(), after which handlers run on the manager's worker threads
//! (with a single channel and a concurrency of 1, on the thread that reads it) until rk_consumer_stop();
//! rk_consumer_consume(), rk_consumer_persist() and their likes, which call handlers in the caller's thread; or
//! rk_consumer_poll(), without handlers, whose descriptor may be given to select, poll or epoll.

use std::ffi::{c_char, c_int, c_void};
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::ffi::boundary::{Caller, milliseconds, quietly};
use crate::ffi::bytes::rk_bytes;
use crate::ffi::error::{rk_error, rk_status};
use crate::ffi::manager::rk_manager;
use crate::ffi::message::rk_message;
use crate::stream::{ChannelOptions, Consumer, Received};

/// A consumer. It keeps its manager alive. In a child of fork(), calls on a consumer that was made before return
/// RK_ERR_CLOSED: make another one there.
///
/// Thread safety: any number of threads at the same time. Only rk_consumer_free() must be the last call on it.
pub struct rk_consumer(Consumer);

impl<'a> Caller<'a> {
    fn consumer(self, consumer: *const rk_consumer) -> Result<&'a Consumer> {
        self.handle(consumer, "consumer").map(|it| &it.0)
    }
}

/// What a callback is called with; given back when nobody can call it any more.
struct Userdata {
    data: *mut c_void,
    free: Option<unsafe extern "C" fn(userdata: *mut c_void)>,
}

// SAFETY: the header says that the callback is called on other threads, several at a time if so asked for; what userdata
// points to is the program's own to guard.
unsafe impl Send for Userdata {}
// SAFETY: as above.
unsafe impl Sync for Userdata {}

impl Drop for Userdata {
    fn drop(&mut self) {
        if let Some(free) = self.free {
            // SAFETY: the caller of rk_consumer_register_handler() gave both for this one call.
            unsafe { free(self.data) }
        }
    }
}

/// Makes a consumer without channels, in the name of a listener. out may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_consumer_new(
    manager: *mut rk_manager,
    listener: *const c_char,
    out: *mut *mut rk_consumer,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", ptr::null_mut());
    c.run(err, || {
        let consumer = c.manager(manager)?.consumer(c.text(listener, "listener")?);
        out.wanted()?;
        consumer.check()?;
        out.set(Box::into_raw(Box::new(rk_consumer(consumer))));
        Ok(rk_status::RK_OK)
    })
}

/// Stops a consumer and frees it. Waits for handlers under way; called in a handler, it does not wait, and takes effect
/// when that returns. NULL is nothing to do.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_consumer_free(consumer: *mut rk_consumer) {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    quietly((), || drop(c.take(consumer)));
}

/// Names a channel, and how it is to be consumed. options_json is NULL, or an object with any of these; times are in
/// seconds; an unknown name is RK_ERR_ARGUMENT.
///
/// "from": "beginning" (default) or "now": where a group begins that is not there yet. "consumers": the listeners of the
/// channel; their groups are made now, and clean-up waits for all of them. "read_messages": true. "message_cleanup":
/// false; whether entries that every group has acknowledged are deleted, in the background too. "delivery":
/// "at_least_once" (default: acknowledged after the handler), "at_most_once" (before it), or "ledger" (at least once, but
/// what stands in the ledger is not handled again). "max_deliveries": 5; then a message goes to the dead-letter stream.
/// "concurrency": 1; how many handlers run at once after rk_consumer_start(). "count": 128; how many messages are read at
/// once. "order_by": with a concurrency of more than 1, what keeps its order: "name", or a JSON pointer into the body.
/// "backoff": 1, "max_backoff": 30; the pause before a failed message is tried again. "claim_idle": 60; after which
/// silence a consumer's messages are taken over. "ledger_window": 604800. "cleanup_interval": 30. "consumer_idle": 3600;
/// after which a silent consumer without messages is removed, if "message_cleanup" is on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_consumer_register_channel(
    consumer: *mut rk_consumer,
    channel: *const c_char,
    options_json: *const c_char,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        let consumer = c.consumer(consumer)?;
        let channel = c.text(channel, "channel")?;
        let options = match c.maybe_text(options_json, "options_json")? {
            None => ChannelOptions::new(),
            Some(text) => ChannelOptions::from_json(text)?,
        };
        consumer.add_channel(channel, options)?;
        Ok(rk_status::RK_OK)
    })
}

/// Says what handles the messages of a channel. cb returns RK_OK, or something else, and then the message is delivered
/// again after a pause, and put into the dead-letter stream after "max_deliveries"; rk_message_fail() tells why. It is
/// called on a thread of the library's, on several at once if so asked for ("concurrency"), or in the thread of
/// rk_consumer_consume() and its likes; no lock is held, and it may call the library. It must return: one that never does
/// holds its thread for ever, and one that leaves by longjmp() or an exception leaves the library undone.
///
/// userdata_free (NULL: none) is called with userdata exactly once: when the consumer has ended, or at once if this call
/// fails.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_consumer_register_handler(
    consumer: *mut rk_consumer,
    channel: *const c_char,
    cb: Option<unsafe extern "C" fn(message: *const rk_message, userdata: *mut c_void) -> i32>,
    userdata: *mut c_void,
    userdata_free: Option<unsafe extern "C" fn(userdata: *mut c_void)>,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let userdata = Userdata {
        data: userdata,
        free: userdata_free,
    };
    c.run(err, move || {
        let consumer = c.consumer(consumer)?;
        let channel = c.text(channel, "channel")?;
        let cb = cb.ok_or_else(|| Error::argument("cb: NULL"))?;
        let handler = move |received: &Received| {
            let userdata = &userdata;
            let message = rk_message::lent(received);
            // SAFETY: a function of this type, with what it was registered with; the message outlives the call.
            let status = unsafe { cb(&message, userdata.data) };
            match (status, message.reason()) {
                (0, None) => Ok(()),
                (_, Some(reason)) => Err(reason),
                (status, None) => Err(format!("the handler returned {status}")),
            }
        };
        consumer.add_handler(channel, Arc::new(handler))?;
        Ok(rk_status::RK_OK)
    })
}

/// Reads one batch of a channel's messages and handles them in this thread; *handled becomes how many came (NULL: not
/// wanted). Waits for the first of them for block_ms at most (-1: 1 s). group NULL: "{channel}:{listener}:cg", with their
/// names in place of the braces.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_consumer_consume(
    consumer: *mut rk_consumer,
    channel: *const c_char,
    group: *const c_char,
    block_ms: i64,
    handled: *mut i64,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let handled = c.out(handled, "handled", 0);
    c.run(err, || {
        let consumer = c.consumer(consumer)?;
        let channel = c.text(channel, "channel")?;
        let group = c.maybe_text(group, "group")?;
        let found = consumer.consume_messages(channel, group, block(block_ms)?)?;
        handled.set(found as i64);
        Ok(rk_status::RK_OK)
    })
}

/// As rk_consumer_consume(), for one batch of each registered channel.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_consumer_consume_all(
    consumer: *mut rk_consumer,
    block_ms: i64,
    handled: *mut i64,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let handled = c.out(handled, "handled", 0);
    c.run(err, || {
        let found = c
            .consumer(consumer)?
            .consume_all_channels(block(block_ms)?)?;
        handled.set(found as i64);
        Ok(rk_status::RK_OK)
    })
}

/// Reads and handles messages in this thread, again and again, until rk_consumer_stop() is called in another thread or
/// in a handler. channel NULL: all registered channels (group must then be NULL too). After a round that was empty or
/// failed, it rests for rest_ms (-1: 5 s; 0: not at all after an empty one); failures are logged.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_consumer_persist(
    consumer: *mut rk_consumer,
    channel: *const c_char,
    group: *const c_char,
    rest_ms: i64,
    block_ms: i64,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        let consumer = c.consumer(consumer)?;
        let group = c.maybe_text(group, "group")?;
        let (rest, block) = (rest(rest_ms)?, block(block_ms)?);
        match (c.maybe_text(channel, "channel")?, group) {
            (Some(channel), group) => {
                consumer.persist_consume_messages(channel, group, rest, block)?;
            }
            (None, None) => consumer.persist_consume_all_channels(rest, block)?,
            (None, Some(_)) => return Err(Error::argument("group: it needs a channel")),
        }
        Ok(rk_status::RK_OK)
    })
}

/// Begins to consume all channels in the background, and returns. A round waits for messages for block_ms at most (-1:
/// 1 s); after an empty or a failed one, the consumer rests for rest_ms (-1: 5 s; 0: messages are handled as soon as they
/// come).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_consumer_start(
    consumer: *mut rk_consumer,
    rest_ms: i64,
    block_ms: i64,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        let consumer = c.consumer(consumer)?;
        consumer.start_with(rest(rest_ms)?, block(block_ms)?)?;
        Ok(rk_status::RK_OK)
    })
}

/// Ends it: no handler is begun any more, those under way are waited for, what they have handled is acknowledged, and
/// what was read and not begun is given back. RK_ERR_TIMEOUT: a handler still ran after timeout_ms (-1: no end); its
/// message is acknowledged if it succeeds after all. Called in a handler, it does not wait. A stopped consumer stays
/// stopped.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_consumer_stop(
    consumer: *mut rk_consumer,
    timeout_ms: i64,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        let timeout = milliseconds(timeout_ms, "timeout_ms")?;
        c.consumer(consumer)?
            .stop(timeout.unwrap_or(Duration::MAX))?;
        Ok(rk_status::RK_OK)
    })
}

/// The next message, for programs without handlers: RK_OK and *out, or RK_NIL if none comes within timeout_ms (-1: no
/// end). Say what became of it with rk_message_ack() or rk_message_fail(), and free it. From the first call on, messages
/// are read in the background. RK_ERR_CLOSED once the consumer was stopped. out may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_consumer_poll(
    consumer: *mut rk_consumer,
    timeout_ms: i64,
    out: *mut *mut rk_message,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", ptr::null_mut());
    c.run(err, || {
        let consumer = c.consumer(consumer)?;
        let timeout = milliseconds(timeout_ms, "timeout_ms")?;
        out.wanted()?;
        Ok(match consumer.poll(timeout.unwrap_or(Duration::MAX))? {
            None => rk_status::RK_NIL,
            Some(received) => {
                out.set(rk_message::own(received));
                rk_status::RK_OK
            }
        })
    })
}

/// A descriptor that select, poll and epoll find readable while rk_consumer_poll() has something to return at once, the
/// news that the consumer was stopped included. It belongs to the consumer: do not read or close it. -1 for NULL, and
/// where rk_consumer_poll() would fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_consumer_fd(consumer: *const rk_consumer) -> c_int {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    quietly(-1, || {
        let consumer = c.consumer(consumer);
        let descriptor = consumer.and_then(Consumer::descriptor);
        descriptor.map_or(-1, |it| it.as_raw_fd())
    })
}

/// Deletes the entries that every group of the channel has read and acknowledged, in the channels that were registered
/// with "message_cleanup"; *deleted becomes how many (NULL: not wanted). What a group has still to read or to acknowledge
/// stays, and so does everything while a group of one of the "consumers" is missing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_consumer_clean_up(
    consumer: *mut rk_consumer,
    deleted: *mut i64,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let deleted = c.out(deleted, "deleted", 0);
    c.run(err, || {
        let count = c.consumer(consumer)?.clean_up_consumed_messages()?;
        deleted.set(count as i64);
        Ok(rk_status::RK_OK)
    })
}

/// What is counted of each channel, as JSON: {"consumer": name, "channels": [...]}, each channel with "channel", "group",
/// "lag" and "pending" (of the group, null if the server did not tell), "in_hand" (messages in this consumer's hands),
/// "delivered", "handled", "failed", "reclaimed", "recovered", "repeated", "dead", "trimmed", "cleaned", and
/// "handler_time" ("seconds" in all, and "buckets": how many calls, "count", took up to "le" seconds). Fields are added,
/// never removed. json may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_consumer_stats_json(
    consumer: *mut rk_consumer,
    json: *mut rk_bytes,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let json = c.out(json, "json", rk_bytes::NONE);
    c.run(err, || {
        let consumer = c.consumer(consumer)?;
        json.wanted()?;
        json.set(rk_bytes::new(consumer.stats()?.to_string().into_bytes()));
        Ok(rk_status::RK_OK)
    })
}

/// The same as text for Prometheus, in its exposition format. text may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_consumer_stats_prometheus(
    consumer: *mut rk_consumer,
    text: *mut rk_bytes,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let text = c.out(text, "text", rk_bytes::NONE);
    c.run(err, || {
        let consumer = c.consumer(consumer)?;
        text.wanted()?;
        text.set(rk_bytes::new(consumer.stats_prometheus()?.into_bytes()));
        Ok(rk_status::RK_OK)
    })
}

fn block(block_ms: i64) -> Result<Duration> {
    Ok(milliseconds(block_ms, "block_ms")?.unwrap_or(Consumer::BLOCK))
}

fn rest(rest_ms: i64) -> Result<Duration> {
    Ok(milliseconds(rest_ms, "rest_ms")?.unwrap_or(Consumer::REST))
}
