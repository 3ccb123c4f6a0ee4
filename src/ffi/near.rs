//! Near cache
//!
//! Copies of values in this process, which the server itself keeps fresh: a read of a key that is known here does not use
//! the network, and when anybody changes the key, the server says so and the copy goes.
//!
//! A thread that reads a key through one near cache never sees a value older than one that it saw before. When a call that
//! writes through the same manager has returned, nobody reads the old value from here any more; what others write is seen
//! when the server's word of it has arrived, usually within a millisecond. Where the connection on which that comes
//! breaks, everything of the node is forgotten.
//!
//! It needs a server from 6.0 on that allows CLIENT TRACKING, and RESP3. Of a node that does not tell of changes nothing
//! is kept: its keys are read from the server each time, and the log says so once.

use std::ffi::{c_char, c_void};
use std::ptr;

use serde::de::IgnoredAny;

use crate::client::parse;
use crate::error::{Error, ErrorKind, Outcome};
use crate::ffi::boundary::{Caller, Out, quietly};
use crate::ffi::bytes::{rk_bytes, rk_slice};
use crate::ffi::error::{rk_error, rk_status};
use crate::ffi::manager::rk_manager;
use crate::ffi::reply::rk_reply;
use crate::near::NearCache;
use crate::transport::{Entry, Kind, Reply};

/// A near cache. It keeps its manager alive.
///
/// Thread safety: any number of threads at once; rk_near_option() only before others use it.
pub struct rk_near(NearCache);

/// A near cache that takes about max_bytes at most; 0 stands for the property near_cache_bytes. Where that is 0 too,
/// nothing is kept, and every read goes to the server. out may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_near_new(
    manager: *mut rk_manager,
    max_bytes: usize,
    out: *mut *mut rk_near,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", ptr::null_mut());
    c.run(err, || {
        let near = c.manager(manager)?.near_cache(max_bytes);
        out.wanted()?;
        out.set(Box::into_raw(Box::new(rk_near(near))));
        Ok(rk_status::RK_OK)
    })
}

/// Frees the handle, and all that it keeps. NULL is nothing to do.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_near_free(near: *mut rk_near) {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    quietly((), || drop(c.take(near)));
}

/// Sets an option; what was kept before is forgotten.
///
/// "ttl": how long a copy is kept at most, changed or not ("3600"; seconds, or with its unit, "500ms").
///
/// "prefix": only keys that begin with this are kept, or with one of those given before; and the server tells of changes
/// to no others. Without any, all keys are kept, and the server sends the name of every key that is changed: name those
/// that are wanted where much is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_near_option(
    near: *mut rk_near,
    name: *const c_char,
    value: *const c_char,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        let near = c.handle_mut(near, "near")?;
        let (name, value) = (c.text(name, "name")?, c.text(value, "value")?);
        near.0.option(name, value)?;
        Ok(rk_status::RK_OK)
    })
}

/// The value of a key; RK_NIL, and {NULL, 0}, if there is no such key. out may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_near_get(
    near: *const rk_near,
    key: *const c_void,
    key_len: usize,
    out: *mut rk_bytes,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", rk_bytes::NONE);
    c.run(err, || {
        let near = &c.handle(near, "near")?.0;
        let key = c.bytes(key, key_len, "key")?;
        out.wanted()?;
        Ok(value(near.text(key)?.as_deref(), &out))
    })
}

/// The value of a key, copied into the caller's own buffer of cap bytes; nothing is allocated where it is known, and no
/// zero is added. *len becomes the length of the whole value. If that is more than cap, the first cap bytes are copied
/// and RK_TRUNCATED is returned. RK_NIL if there is no such key. buf may be NULL if cap is 0; len may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_near_get_into(
    near: *const rk_near,
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
        let near = &c.handle(near, "near")?.0;
        let key = c.bytes(key, key_len, "key")?;
        let buffer = c.buffer(buf, cap, "buf")?;
        len.wanted()?;
        let Some(text) = near.text(key)? else {
            return Ok(rk_status::RK_NIL);
        };
        len.set(text.len());
        Ok(match buffer.fill(&text) {
            true => rk_status::RK_OK,
            false => rk_status::RK_TRUNCATED,
        })
    })
}

/// The value of a key as the JSON text that is stored, after checking that it is JSON (RK_ERR_STORED_JSON); RK_NIL if
/// there is no such key. json may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_near_get_json(
    near: *const rk_near,
    key: *const c_void,
    key_len: usize,
    json: *mut rk_bytes,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let json = c.out(json, "json", rk_bytes::NONE);
    c.run(err, || {
        let near = &c.handle(near, "near")?.0;
        let key = c.bytes(key, key_len, "key")?;
        json.wanted()?;
        let text = near.text(key)?;
        if let Some(text) = &text {
            if std::str::from_utf8(text).is_err() {
                let why = "the stored value is not UTF-8, and so not JSON";
                return Err(Error::new(ErrorKind::StoredJson, why).outcome_is(Outcome::Unknown));
            }
            parse::<IgnoredAny>(text)?;
        }
        Ok(value(text.as_deref(), &json))
    })
}

/// The values of several keys: an array, in their order, with a nil for each that does not exist. Those that are not known
/// are asked for together, of each node. out may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_near_mget(
    near: *const rk_near,
    keys: *const rk_slice,
    n: usize,
    out: *mut *mut rk_reply,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", ptr::null_mut());
    c.run(err, || {
        let near = &c.handle(near, "near")?.0;
        let keys: Vec<&[u8]> = c.slices(keys, n, "keys")?.iter().collect();
        out.wanted()?;
        let values = near.texts(&keys)?;
        let mut reply = Reply::new();
        reply.root = aggregate(Kind::Array, values.len());
        for value in &values {
            add(&mut reply, value.as_deref());
        }
        out.set(rk_reply::new(&mut reply));
        Ok(rk_status::RK_OK)
    })
}

/// The value of one field of a hash; RK_NIL if there is no such field. What is kept is what was asked for, not the whole
/// hash. out may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_near_hget(
    near: *const rk_near,
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
        let near = &c.handle(near, "near")?.0;
        let name = c.bytes(name, name_len, "name")?;
        let field = c.bytes(field, field_len, "field")?;
        out.wanted()?;
        Ok(value(near.field(name, field)?.as_deref(), &out))
    })
}

/// All fields of a hash with their values: a map, in no particular order, and an empty one if there is no such key. An
/// rk_near_hget() of the same hash is answered from here too. out may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_near_hgetall(
    near: *const rk_near,
    name: *const c_void,
    name_len: usize,
    out: *mut *mut rk_reply,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", ptr::null_mut());
    c.run(err, || {
        let near = &c.handle(near, "near")?.0;
        let name = c.bytes(name, name_len, "name")?;
        out.wanted()?;
        let hash = near.hash(name)?;
        let mut reply = Reply::new();
        for (field, value) in hash.fields() {
            add(&mut reply, Some(field));
            add(&mut reply, Some(value));
        }
        reply.root = aggregate(Kind::Map, reply.entries.len() / 2);
        out.set(rk_reply::new(&mut reply));
        Ok(rk_status::RK_OK)
    })
}

/// Forgets everything.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_near_clear(near: *const rk_near, err: *mut *mut rk_error) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        c.handle(near, "near")?.0.clear()?;
        Ok(rk_status::RK_OK)
    })
}

/// What it has seen in this process so far, as JSON: {"hits", "misses", "invalidations", "evictions", "emptied",
/// "entries", "bytes", "max_bytes", "nodes"}, all of them numbers. An invalidation is a value that was dropped because its
/// key was changed, an eviction one for which there was no more room; "emptied" is how often everything of a node was
/// dropped, and "nodes" how many tell of changes at present. Fields are added, never removed. out may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_near_stats_json(
    near: *const rk_near,
    out: *mut rk_bytes,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", rk_bytes::NONE);
    c.run(err, || {
        let near = &c.handle(near, "near")?.0;
        out.wanted()?;
        out.set(rk_bytes::json(&near.stats()?.json())?);
        Ok(rk_status::RK_OK)
    })
}

fn value(bytes: Option<&[u8]>, out: &Out<rk_bytes>) -> rk_status {
    match bytes {
        None => rk_status::RK_NIL,
        Some(bytes) => {
            out.set(rk_bytes::copy(bytes));
            rk_status::RK_OK
        }
    }
}

fn aggregate(kind: Kind, len: usize) -> Entry {
    Entry {
        kind,
        start: 0,
        len,
    }
}

fn add(reply: &mut Reply, value: Option<&[u8]>) {
    let entry = value.map_or(Entry::NIL, |value| Entry {
        kind: Kind::Bytes,
        start: reply.bytes.len(),
        len: value.len(),
    });
    reply.entries.push(entry);
    reply.bytes.extend_from_slice(value.unwrap_or_default());
}
