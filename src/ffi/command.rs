//! Commands
//!
//! Keys and values are a pointer and a length, and may hold anything. A call ends within the property
//! "command_timeout" at the latest, repetitions included; what is repeated is only what cannot do harm twice.
//!
//! The everyday commands have functions of their own; rk_command() sends any other. One that changes the state of
//! its connection (MULTI, SELECT, SUBSCRIBE) returns RK_ERR_STATEFUL: it needs rk_connection_lease().

use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use crate::client::SetOptions;
use crate::error::{Error, Result};
use crate::ffi::boundary::{Caller, Out, milliseconds};
use crate::ffi::bytes::{rk_bytes, rk_slice};
use crate::ffi::error::{rk_error, rk_status};
use crate::ffi::manager::rk_manager;
use crate::ffi::options::rk_set_options;
use crate::ffi::reply::rk_reply;
use crate::transport::Reply;

/// A value, or RK_NIL.
fn value(reply: &mut Reply, out: &Out<rk_bytes>) -> Result<rk_status> {
    if reply.is_nil() {
        return Ok(rk_status::RK_NIL);
    }
    out.set(rk_bytes::of(reply));
    Ok(rk_status::RK_OK)
}

fn options(c: Caller<'_>, options: *const rk_set_options) -> Result<SetOptions> {
    match c.maybe(options) {
        None => Ok(SetOptions::new()),
        Some(options) => Ok(*options.0.read()?),
    }
}

/// The value of a key; RK_NIL, and {NULL, 0}, if there is no such key. out may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_get(
    manager: *mut rk_manager,
    key: *const c_void,
    key_len: usize,
    out: *mut rk_bytes,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", rk_bytes::NONE);
    c.run(err, || {
        let manager = c.manager(manager)?;
        let key = c.bytes(key, key_len, "key")?;
        out.wanted()?;
        manager.get_raw(&key, |reply| value(reply, &out))
    })
}

/// The value of a key, copied into the caller's own buffer of cap bytes; no zero is added. *len becomes the length of the
/// whole value. If that is more than cap, the first cap bytes are copied and RK_TRUNCATED is returned. RK_NIL if there is
/// no such key. buf may be NULL if cap is 0; len may not be NULL. The value is read into memory that the calling thread
/// keeps from one call to the next, up to 64 KiB: for values of less, nothing is allocated; a larger one takes, until the
/// call returns, memory for the whole of it beside the buffer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_get_into(
    manager: *mut rk_manager,
    key: *const c_void,
    key_len: usize,
    buf: *mut c_void,
    cap: usize,
    len: *mut usize,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let len = c.out(len, "len", 0);
    c.run(err, || {
        let manager = c.manager(manager)?;
        let key = c.bytes(key, key_len, "key")?;
        let buffer = c.buffer(buf, cap, "buf")?;
        len.wanted()?;
        manager.get_raw(&key, |reply| {
            if reply.is_nil() {
                return Ok(rk_status::RK_NIL);
            }
            let text = reply.as_bytes().unwrap_or_default();
            len.set(text.len());
            Ok(match buffer.fill(text) {
                true => rk_status::RK_OK,
                false => rk_status::RK_TRUNCATED,
            })
        })
    })
}

/// Sets a key to a value, for ever.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_set(
    manager: *mut rk_manager,
    key: *const c_void,
    key_len: usize,
    value: *const c_void,
    value_len: usize,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        let manager = c.manager(manager)?;
        let key = c.bytes(key, key_len, "key")?;
        manager.set(key, c.bytes(value, value_len, "value")?)?;
        Ok(rk_status::RK_OK)
    })
}

/// Sets a key to a value under options (NULL: none). *was_set becomes false, with RK_OK, if the condition (nx, xx) was
/// not met. was_set may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_set_with(
    manager: *mut rk_manager,
    key: *const c_void,
    key_len: usize,
    value: *const c_void,
    value_len: usize,
    set_options: *const rk_set_options,
    was_set: *mut bool,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let was_set = c.out(was_set, "was_set", false);
    c.run(err, || {
        let manager = c.manager(manager)?;
        let key = c.bytes(key, key_len, "key")?;
        let value = c.bytes(value, value_len, "value")?;
        was_set.set(manager.set_with(key, value, options(c, set_options)?)?);
        Ok(rk_status::RK_OK)
    })
}

/// Deletes n keys. *deleted becomes how many of them there were; it may be NULL. No keys: 0, and nothing is sent.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_delete(
    manager: *mut rk_manager,
    keys: *const rk_slice,
    n: usize,
    deleted: *mut i64,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let deleted = c.out(deleted, "deleted", 0);
    c.run(err, || {
        let manager = c.manager(manager)?;
        deleted.set(manager.delete(c.slices(keys, n, "keys")?)?);
        Ok(rk_status::RK_OK)
    })
}

/// Whether a key exists. out may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_exists(
    manager: *mut rk_manager,
    key: *const c_void,
    key_len: usize,
    out: *mut bool,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", false);
    c.run(err, || {
        let manager = c.manager(manager)?;
        let key = c.bytes(key, key_len, "key")?;
        out.wanted()?;
        out.set(manager.exists(key)?);
        Ok(rk_status::RK_OK)
    })
}

/// Lets a key expire after this many seconds; 0 or less deletes it at once. *done becomes false if there is no such
/// key; it may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_expire(
    manager: *mut rk_manager,
    key: *const c_void,
    key_len: usize,
    seconds: i64,
    done: *mut bool,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let done = c.out(done, "done", false);
    c.run(err, || {
        let manager = c.manager(manager)?;
        done.set(manager.expire(c.bytes(key, key_len, "key")?, seconds)?);
        Ok(rk_status::RK_OK)
    })
}

/// The seconds that a key has left: -1 if it never expires, -2 if there is no such key, and on any error. seconds may
/// not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_ttl(
    manager: *mut rk_manager,
    key: *const c_void,
    key_len: usize,
    seconds: *mut i64,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let seconds = c.out(seconds, "seconds", -2);
    c.run(err, || {
        let manager = c.manager(manager)?;
        let key = c.bytes(key, key_len, "key")?;
        seconds.wanted()?;
        seconds.set(manager.ttl(key)?);
        Ok(rk_status::RK_OK)
    })
}

/// Adds to the number stored at a key (0 if there is none). *value becomes the sum; it may be NULL. It is sent once: if
/// its outcome is unknown, the error says so.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_incr(
    manager: *mut rk_manager,
    key: *const c_void,
    key_len: usize,
    by: i64,
    value: *mut i64,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let value = c.out(value, "value", 0);
    c.run(err, || {
        let manager = c.manager(manager)?;
        value.set(manager.incr(c.bytes(key, key_len, "key")?, by)?);
        Ok(rk_status::RK_OK)
    })
}

/// Sets one field of a hash. *added becomes 1 if the field is new, 0 if it had a value before; it may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_hset(
    manager: *mut rk_manager,
    name: *const c_void,
    name_len: usize,
    field: *const c_void,
    field_len: usize,
    value: *const c_void,
    value_len: usize,
    added: *mut i64,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let added = c.out(added, "added", 0);
    c.run(err, || {
        let manager = c.manager(manager)?;
        let name = c.bytes(name, name_len, "name")?;
        let field = c.bytes(field, field_len, "field")?;
        added.set(manager.hset(name, field, c.bytes(value, value_len, "value")?)?);
        Ok(rk_status::RK_OK)
    })
}

/// Sets several fields of a hash: pairs holds 2 * n_pairs slices, field and value in turn. *added becomes how many
/// fields are new; it may be NULL. No pairs: 0, and nothing is sent.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_hset_many(
    manager: *mut rk_manager,
    name: *const c_void,
    name_len: usize,
    pairs: *const rk_slice,
    n_pairs: usize,
    added: *mut i64,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let added = c.out(added, "added", 0);
    c.run(err, || {
        let manager = c.manager(manager)?;
        let name = c.bytes(name, name_len, "name")?;
        let pairs = c.pairs(pairs, n_pairs, "pairs")?;
        added.set(manager.hset_many(name, pairs.in_pairs())?);
        Ok(rk_status::RK_OK)
    })
}

/// Sets one field of a hash and several others in one command: rk_hset() and rk_hset_many() at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_hset_with(
    manager: *mut rk_manager,
    name: *const c_void,
    name_len: usize,
    field: *const c_void,
    field_len: usize,
    value: *const c_void,
    value_len: usize,
    pairs: *const rk_slice,
    n_pairs: usize,
    added: *mut i64,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let added = c.out(added, "added", 0);
    c.run(err, || {
        let manager = c.manager(manager)?;
        let name = c.bytes(name, name_len, "name")?;
        let field = c.bytes(field, field_len, "field")?;
        let value = c.bytes(value, value_len, "value")?;
        let pairs = c.pairs(pairs, n_pairs, "pairs")?;
        added.set(manager.hset_with(name, Some((field, value)), pairs.in_pairs())?);
        Ok(rk_status::RK_OK)
    })
}

/// The value of one field of a hash; RK_NIL, and {NULL, 0}, if there is no such field or hash. out may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_hget(
    manager: *mut rk_manager,
    name: *const c_void,
    name_len: usize,
    field: *const c_void,
    field_len: usize,
    out: *mut rk_bytes,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", rk_bytes::NONE);
    c.run(err, || {
        let manager = c.manager(manager)?;
        let name = c.bytes(name, name_len, "name")?;
        let field = c.bytes(field, field_len, "field")?;
        out.wanted()?;
        manager.hget_raw(&name, &field, |reply| value(reply, &out))
    })
}

/// Stores a JSON text, a C string, as it is, after checking that it is JSON (RK_ERR_JSON). Otherwise as rk_set_with().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_set_json(
    manager: *mut rk_manager,
    key: *const c_void,
    key_len: usize,
    json: *const c_char,
    set_options: *const rk_set_options,
    was_set: *mut bool,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let was_set = c.out(was_set, "was_set", false);
    c.run(err, || {
        let manager = c.manager(manager)?;
        let key = c.bytes(key, key_len, "key")?;
        let json = c.text(json, "json")?;
        was_set.set(manager.set_json_text(key, json, options(c, set_options)?)?);
        Ok(rk_status::RK_OK)
    })
}

/// The JSON text stored at a key, as it is stored; RK_NIL if there is no such key, RK_ERR_STORED_JSON if what is stored
/// is not JSON. json may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_get_json(
    manager: *mut rk_manager,
    key: *const c_void,
    key_len: usize,
    json: *mut rk_bytes,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let json = c.out(json, "json", rk_bytes::NONE);
    c.run(err, || {
        let manager = c.manager(manager)?;
        let key = c.bytes(key, key_len, "key")?;
        json.wanted()?;
        Ok(match manager.get_json_raw(key, rk_bytes::of)? {
            None => rk_status::RK_NIL,
            Some(text) => {
                json.set(text);
                rk_status::RK_OK
            }
        })
    })
}

/// The values of n keys: *out becomes an array with an element for each, in their order, RK_REPLY_NIL where there is no
/// such key. No keys: an empty array, and nothing is sent. out may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_mget(
    manager: *mut rk_manager,
    keys: *const rk_slice,
    n: usize,
    out: *mut *mut rk_reply,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", ptr::null_mut());
    c.run(err, || {
        let manager = c.manager(manager)?;
        let keys = c.slices(keys, n, "keys")?;
        out.wanted()?;
        match keys.is_empty() {
            true => out.set(rk_reply::empty_array()),
            false => out.set(manager.mget_raw(&keys, |reply| Ok(rk_reply::new(reply)))?),
        }
        Ok(rk_status::RK_OK)
    })
}

/// Sets several keys at once, all of them or none: pairs holds 2 * n_pairs slices, key and value in turn. No pairs:
/// nothing is sent.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_mset(
    manager: *mut rk_manager,
    pairs: *const rk_slice,
    n_pairs: usize,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        let manager = c.manager(manager)?;
        manager.mset(c.pairs(pairs, n_pairs, "pairs")?.in_pairs())?;
        Ok(rk_status::RK_OK)
    })
}

/// Sends a message to whoever subscribes to the channel now. *receivers becomes how many those were (on a cluster, on
/// one node); it may be NULL. The message is kept nowhere, and is not repeated when it is not known whether it was sent.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_publish(
    manager: *mut rk_manager,
    channel: *const c_char,
    data: *const c_void,
    data_len: usize,
    receivers: *mut i64,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let receivers = c.out(receivers, "receivers", 0);
    c.run(err, || {
        let manager = c.manager(manager)?;
        let channel = c.string(channel, "channel")?.to_bytes();
        receivers.set(manager.publish(channel, c.bytes(data, data_len, "data")?)?);
        Ok(rk_status::RK_OK)
    })
}

/// As rk_publish(), with a JSON text, a C string, after checking that it is JSON (RK_ERR_JSON).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_publish_json(
    manager: *mut rk_manager,
    channel: *const c_char,
    json: *const c_char,
    receivers: *mut i64,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let receivers = c.out(receivers, "receivers", 0);
    c.run(err, || {
        let manager = c.manager(manager)?;
        let channel = c.string(channel, "channel")?.to_bytes();
        receivers.set(manager.publish_json_text(channel, c.text(json, "json")?)?);
        Ok(rk_status::RK_OK)
    })
}

/// As rk_publish(), to a sharded channel, which belongs to the slot of its name. Servers from 7.0 on have them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_publish_sharded(
    manager: *mut rk_manager,
    channel: *const c_char,
    data: *const c_void,
    data_len: usize,
    receivers: *mut i64,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let receivers = c.out(receivers, "receivers", 0);
    c.run(err, || {
        let manager = c.manager(manager)?;
        let channel = c.string(channel, "channel")?.to_bytes();
        receivers.set(manager.publish_sharded(channel, c.bytes(data, data_len, "data")?)?);
        Ok(rk_status::RK_OK)
    })
}

/// Any command, its name first. *out becomes the reply, to be freed with rk_reply_free(): a nil is RK_OK and a reply of
/// type RK_REPLY_NIL, an error of the server is a negative status and no reply. A command that blocks in the server
/// (BLPOP, XREAD BLOCK) has its own time and "command_timeout" beyond that. out may be NULL if the reply is not wanted.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_command(
    manager: *mut rk_manager,
    args: *const rk_slice,
    n: usize,
    out: *mut *mut rk_reply,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks, which is as that one asks.
    unsafe { rk_command_within(manager, args, n, -1, out, err) }
}

/// As rk_command(), with a time of its own for all of it, in milliseconds; -1: as rk_command(). With 0 there is no time
/// for an answer: RK_ERR_TIMEOUT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_command_within(
    manager: *mut rk_manager,
    args: *const rk_slice,
    n: usize,
    timeout_ms: i64,
    out: *mut *mut rk_reply,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", ptr::null_mut());
    c.run(err, || {
        let manager = c.manager(manager)?;
        let args = c.slices(args, n, "args")?;
        let time = milliseconds(timeout_ms, "timeout_ms")?;
        manager.any_command(args, time, |reply| {
            out.set_with(|| rk_reply::new(reply));
            Ok(rk_status::RK_OK)
        })
    })
}

/// As rk_command(), with C strings as arguments: {"ZADD", "scores", "3", "ann"}.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_command_argv(
    manager: *mut rk_manager,
    n: c_int,
    args: *const *const c_char,
    out: *mut *mut rk_reply,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", ptr::null_mut());
    c.run(err, || {
        let manager = c.manager(manager)?;
        let n = usize::try_from(n)
            .map_err(|_| Error::argument(format!("n: {n} is not a number of arguments")))?;
        let args: Vec<&[u8]> = c
            .array(args, n, "args")?
            .iter()
            .enumerate()
            .map(|(i, text)| Ok(c.string(*text, &format!("args[{i}]"))?.to_bytes()))
            .collect::<Result<_>>()?;
        manager.any_command(args, None, |reply| {
            out.set_with(|| rk_reply::new(reply));
            Ok(rk_status::RK_OK)
        })
    })
}
