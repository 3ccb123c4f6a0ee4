//! Cache
//!
//! Results of a function, kept by its arguments, which are JSON: the order of an object's keys does not matter. A hit is
//! one round trip. On a miss the function runs, once for each key in the process and, by a lock, once for each key in
//! all processes; whoever asks meanwhile waits for its result, or gets its error. What goes wrong with Redis is logged,
//! and the function runs; only a manager that was closed is an error. The key is "cache:{namespace}:", with these braces,
//! and the SHA-1 of the arguments: a namespace lives in one slot of a cluster.

use std::ffi::{c_char, c_void};
use std::ptr;

use serde::de::IgnoredAny;

use crate::cache::Cache;
use crate::error::{Error, ErrorKind, Result};
use crate::ffi::boundary::{Caller, quietly};
use crate::ffi::bytes::rk_bytes;
use crate::ffi::error::{rk_error, rk_status};
use crate::ffi::manager::rk_manager;

/// A namespace of kept results. It keeps its manager alive.
///
/// Thread safety: any number of threads at once; rk_cache_option() only before others use it.
pub struct rk_cache(Cache);

/// A cache of this namespace: any text without braces. out may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_cache_new(
    manager: *mut rk_manager,
    ns: *const c_char,
    out: *mut *mut rk_cache,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", ptr::null_mut());
    c.run(err, || {
        let cache = c.manager(manager)?.cache(c.text(ns, "ns")?);
        cache.valid()?;
        out.wanted()?;
        out.set(Box::into_raw(Box::new(rk_cache(cache))));
        Ok(rk_status::RK_OK)
    })
}

/// Frees the handle; what is kept stays. NULL is nothing to do.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_cache_free(cache: *mut rk_cache) {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    quietly((), || drop(c.take(cache)));
}

/// Sets an option. All programs that share a namespace should set the same. Times are seconds, or with their unit
/// ("500ms").
///
/// "expire": how long a value is kept ("3600").
///
/// "jitter": the share of it, from 0 to 1, by which it is kept less long at most, at random ("0").
///
/// "early": how eagerly a value is computed anew before it expires, by one caller, while the others go on with the one
/// that is there: 1 is right for most, 0 is never ("0").
///
/// "negative": how long empty results are kept (null, "", [], {}: there is none); otherwise they are not ("off").
///
/// "stale": how long after it has expired a value is still served if the function fails ("off").
///
/// "wait": how long a caller waits for what another computes ("60"); then the status is RK_ERR_TIMEOUT if that is a
/// thread of this process, and the function runs here too if it is another process.
///
/// "across_processes": whether a function runs in one process at a time for each key; that is two more round trips on a
/// miss ("true").
///
/// "skip_keys": arguments (keys of the outermost object) that do not matter, with commas between them ("").
///
/// "only_for": a JSON list of conditions, {"kwarg": "state", "operator": "in", "value": ["used"]}, with the operators in,
/// not in, ==, !=, < and >. Only what is computed for arguments that meet all of them is kept; for others the function
/// just runs. An argument that is not there counts as null ("[]").
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_cache_option(
    cache: *mut rk_cache,
    name: *const c_char,
    value: *const c_char,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        let cache = c.handle_mut(cache, "cache")?;
        let (name, value) = (c.text(name, "name")?, c.text(value, "value")?);
        cache.0.option(name, value)?;
        Ok(rk_status::RK_OK)
    })
}

/// The value for these arguments: the one that is kept, or what compute makes of them. Compute runs in the caller's
/// thread, before this returns, and gets args_json as it was given. It fills json_out with rk_bytes_copy() and returns
/// RK_OK, returns RK_NIL for "there is none" (null), or fails with rk_error_set() and a negative status. What it returns
/// must be JSON (RK_ERR_JSON). If it asks for what it is itself to compute, directly or by way of others, that call
/// returns RK_ERR_DEADLOCK.
///
/// RK_NIL if the value is null. json may not be NULL; what it held is overwritten, not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_cache_get_or_compute(
    cache: *const rk_cache,
    args_json: *const c_char,
    compute: Option<
        unsafe extern "C" fn(
            args_json: *const c_char,
            json_out: *mut rk_bytes,
            userdata: *mut c_void,
            err: *mut *mut rk_error,
        ) -> i32,
    >,
    userdata: *mut c_void,
    json: *mut rk_bytes,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let json = c.out(json, "json", rk_bytes::NONE);
    c.run(err, || {
        let cache = &c.handle(cache, "cache")?.0;
        let args = c.text(args_json, "args_json")?;
        let compute = compute.ok_or_else(|| Error::argument("compute: NULL"))?;
        json.wanted()?;
        let mut run = || {
            let (mut made, mut failed) = (rk_bytes::NONE, ptr::null_mut());
            // SAFETY: a function of this type, with what belongs to it; what it fills outlives the call.
            let status = unsafe { compute(args_json, &mut made, userdata, &mut failed) };
            let made = made.take(c);
            let failed = c.take(failed).map(|error| error.into_error());
            outcome(status, made, failed)
        };
        let text = cache.text(args, &mut run)?;
        if text.trim_ascii() == b"null" {
            return Ok(rk_status::RK_NIL);
        }
        json.set(rk_bytes::new(text));
        Ok(rk_status::RK_OK)
    })
}

/// Forgets the value for these arguments; args_json NULL: all values of the namespace, at once. What is being computed at
/// this moment is not stored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_cache_invalidate(
    cache: *const rk_cache,
    args_json: *const c_char,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        let cache = &c.handle(cache, "cache")?.0;
        match c.maybe_text(args_json, "args_json")? {
            Some(args) => cache.invalidate_text(args)?,
            None => cache.invalidate_all()?,
        }
        Ok(rk_status::RK_OK)
    })
}

/// What a function of the program's came to.
fn outcome(status: i32, made: Option<Vec<u8>>, failed: Option<Error>) -> Result<Vec<u8>> {
    const OK: i32 = rk_status::RK_OK as i32;
    const NIL: i32 = rk_status::RK_NIL as i32;
    let wrong = |kind, text: String| Err(Error::new(kind, text));
    match (status, made, failed) {
        (NIL, ..) => Ok(b"null".to_vec()),
        (OK, None, _) => wrong(
            ErrorKind::Argument,
            "compute: it returned RK_OK and no json_out".to_owned(),
        ),
        (OK, Some(text), _) => {
            let place = match std::str::from_utf8(&text) {
                Err(_) => "not UTF-8".to_owned(),
                Ok(text) => match serde_json::from_str::<IgnoredAny>(text) {
                    Ok(_) => return Ok(text.as_bytes().to_vec()),
                    Err(why) => format!("line {}, column {}", why.line(), why.column()),
                },
            };
            wrong(
                ErrorKind::Json,
                format!("compute: what it returned is not JSON ({place})"),
            )
        }
        (..0, _, Some(error)) => Err(error),
        _ => wrong(
            ErrorKind::Compute,
            format!("compute: it returned {status} and no error"),
        ),
    }
}
