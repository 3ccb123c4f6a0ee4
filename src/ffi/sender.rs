//! Streams: senders
//!
//! Messages go to channels, which are Redis streams: a name, by which handlers know what a message is about, and a body,
//! which is JSON. On the wire they are the fields "name" and "body" of a stream's entry.

use std::ffi::c_char;
use std::ptr;

use crate::error::{Error, Result};
use crate::ffi::boundary::{Caller, quietly};
use crate::ffi::bytes::{rk_bytes, rk_slice};
use crate::ffi::error::{rk_error, rk_status};
use crate::ffi::manager::rk_manager;
use crate::ffi::reply::rk_reply;
use crate::stream::{Sender, Trim, check_json};

/// Sends messages. It keeps its manager alive, and works in a child of fork() too.
///
/// Thread safety: any number of threads at the same time. Only rk_sender_free() must be the last call on it.
pub struct rk_sender(Sender);

impl<'a> Caller<'a> {
    fn sender(self, sender: *mut rk_sender) -> Result<&'a Sender> {
        self.handle(sender, "sender").map(|it| &it.0)
    }
}

/// Makes a sender without channels. out may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_sender_new(
    manager: *mut rk_manager,
    out: *mut *mut rk_sender,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", ptr::null_mut());
    c.run(err, || {
        let manager = c.manager(manager)?;
        out.wanted()?;
        out.set(Box::into_raw(Box::new(rk_sender(manager.sender()))));
        Ok(rk_status::RK_OK)
    })
}

/// Frees a sender. NULL is nothing to do.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_sender_free(sender: *mut rk_sender) {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    quietly((), || drop(c.take(sender)));
}

/// Names a channel that may be sent to; sending to another is RK_ERR_ARGUMENT. Nothing is asked of the server.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_sender_register_channel(
    sender: *mut rk_sender,
    channel: *const c_char,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        let sender = c.sender(sender)?;
        sender.add(c.text(channel, "channel")?, Trim::Never)?;
        Ok(rk_status::RK_OK)
    })
}

/// As rk_sender_register_channel(), with a limit for the stream: {"max_length": entries} or {"max_age": seconds, by this
/// machine's clock}. The server removes whole blocks of about a hundred entries, unless "exact" is true. What is
/// trimmed is gone, also for those who have not read it. options_json NULL: no limit. An unknown name is
/// RK_ERR_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_sender_register_channel_with(
    sender: *mut rk_sender,
    channel: *const c_char,
    options_json: *const c_char,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        let sender = c.sender(sender)?;
        let channel = c.text(channel, "channel")?;
        let trim = match c.maybe_text(options_json, "options_json")? {
            None => Trim::Never,
            Some(text) => Trim::from_json(text)?,
        };
        sender.add(channel, trim)?;
        Ok(rk_status::RK_OK)
    })
}

/// Sends a message; *id becomes that of its entry (NULL: not wanted). body_json is checked to be JSON: RK_ERR_JSON. Where
/// rk_error_outcome() is RK_OUTCOME_UNKNOWN, the message may have been sent, and it is not sent again by itself; see
/// rk_sender_send_once().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_sender_send(
    sender: *mut rk_sender,
    channel: *const c_char,
    name: *const c_char,
    body_json: *const c_char,
    id: *mut rk_bytes,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let id = c.out(id, "id", rk_bytes::NONE);
    c.run(err, || {
        let sender = c.sender(sender)?;
        let channel = c.text(channel, "channel")?;
        let name = c.text(name, "name")?;
        let body = c.text(body_json, "body_json")?;
        check_json(body)?;
        let sent = sender.send_raw(channel, name, body)?;
        id.set_with(|| rk_bytes::new(sent.into_bytes()));
        Ok(rk_status::RK_OK)
    })
}

/// Sends a message at most once for this key, within 24 hours: if one was sent with it before, nothing is sent, and *id
/// is that one's. Call it again after an unknown outcome.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_sender_send_once(
    sender: *mut rk_sender,
    channel: *const c_char,
    name: *const c_char,
    body_json: *const c_char,
    key: *const c_char,
    id: *mut rk_bytes,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let id = c.out(id, "id", rk_bytes::NONE);
    c.run(err, || {
        let sender = c.sender(sender)?;
        let channel = c.text(channel, "channel")?;
        let name = c.text(name, "name")?;
        let body = c.text(body_json, "body_json")?;
        check_json(body)?;
        let sent = sender.send_once_raw(channel, name, body, c.text(key, "key")?)?;
        id.set_with(|| rk_bytes::new(sent.into_bytes()));
        Ok(rk_status::RK_OK)
    })
}

/// Sends many messages in one go: n pairs of slices, each a name and a body in JSON, which must be UTF-8. *ids becomes an
/// array with the id of each (NULL: not wanted). Should the server refuse some of them, the error says how many;
/// should the connection break, its outcome is that of all of them together.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_sender_send_many(
    sender: *mut rk_sender,
    channel: *const c_char,
    messages: *const rk_slice,
    n: usize,
    ids: *mut *mut rk_reply,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let ids = c.out(ids, "ids", ptr::null_mut());
    c.run(err, || {
        let sender = c.sender(sender)?;
        let channel = c.text(channel, "channel")?;
        let pairs = c.pairs(messages, n, "messages")?;
        let text = |bytes, i, what| {
            std::str::from_utf8(bytes)
                .map_err(|_| Error::argument(format!("messages[{i}]: its {what} is not UTF-8")))
        };
        let mut checked = Vec::with_capacity(n);
        for (i, (name, body)) in pairs.in_pairs().enumerate() {
            let body = text(body, i, "body")?;
            check_json(body).map_err(|error| {
                let text = format!("messages[{i}]: {}", error.message());
                error.with_message(text)
            })?;
            checked.push((text(name, i, "name")?, body));
        }
        sender.send_many_raw(channel, checked.into_iter(), |replies| {
            ids.set_with(|| rk_reply::new(replies));
            Ok(rk_status::RK_OK)
        })
    })
}

/// Sends the messages of the channel's dead-letter stream ("{orders}:dead" for "orders") once more, the oldest first,
/// most of them at most, and takes them out of it; *moved becomes how many (NULL: not wanted). They get new ids, and
/// every listener of the channel sees them again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_sender_redrive(
    sender: *mut rk_sender,
    channel: *const c_char,
    most: i64,
    moved: *mut i64,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let moved = c.out(moved, "moved", 0);
    c.run(err, || {
        let sender = c.sender(sender)?;
        let most = u64::try_from(most)
            .map_err(|_| Error::argument(format!("most: {most} is not allowed; from 0")))?;
        moved.set(sender.redrive(c.text(channel, "channel")?, most)? as i64);
        Ok(rk_status::RK_OK)
    })
}
