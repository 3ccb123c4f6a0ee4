//! Sessions
//!
//! A session is a JSON object under the key "session:{id}" (the braces are not part of it): "user_id", "created_at"
//! (seconds since 1970, with a fraction) and the program's data beside them. It expires unless it is touched. Its id is
//! a random UUID (version 4); whoever knows it has the session. An id of anything but letters, digits, -, _ and ., or
//! longer than 128, is RK_ERR_ARGUMENT and is not sent.
//!
//! The sessions of a user are noted under "user_sessions:{user_id}", which cannot live in the same slot of a cluster as
//! the sessions themselves: creating and touching are two steps, in such an order that no live session is missing there.

use std::ffi::c_char;
use std::ptr;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::ffi::boundary::{Caller, quietly};
use crate::ffi::bytes::rk_bytes;
use crate::ffi::error::{rk_error, rk_status};
use crate::ffi::manager::rk_manager;
use crate::session::Sessions;

/// Sessions that live equally long. It keeps its manager alive.
///
/// Thread safety: any number of threads at once.
pub struct rk_sessions(Sessions);

/// Sessions that live for ttl_seconds (-1: a day) after they were created or last touched. out may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_sessions_new(
    manager: *mut rk_manager,
    ttl_seconds: i64,
    out: *mut *mut rk_sessions,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", ptr::null_mut());
    c.run(err, || {
        let manager = c.manager(manager)?;
        let sessions = manager.sessions(ttl(ttl_seconds)?);
        sessions.valid()?;
        out.wanted()?;
        out.set(Box::into_raw(Box::new(rk_sessions(sessions))));
        Ok(rk_status::RK_OK)
    })
}

/// Frees the handle; the sessions stay. NULL is nothing to do.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_sessions_free(sessions: *mut rk_sessions) {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    quietly((), || drop(c.take(sessions)));
}

/// Creates a session. data_json is a JSON object (NULL: an empty one); a field called "user_id" or "created_at" is
/// RK_ERR_ARGUMENT. id may not be NULL; what it held is overwritten, not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_sessions_create(
    sessions: *const rk_sessions,
    user_id: *const c_char,
    data_json: *const c_char,
    id: *mut rk_bytes,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let id = c.out(id, "id", rk_bytes::NONE);
    c.run(err, || {
        let sessions = &c.handle(sessions, "sessions")?.0;
        let user = c.text(user_id, "user_id")?;
        let data = c.maybe_text(data_json, "data_json")?.unwrap_or("{}");
        id.wanted()?;
        id.set(rk_bytes::new(
            sessions.create_text(user, data)?.into_bytes(),
        ));
        Ok(rk_status::RK_OK)
    })
}

/// The whole session as JSON, "user_id" and "created_at" among its fields. RK_NIL if there is no such session, or none
/// any more. json may not be NULL; what it held is overwritten, not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_sessions_get(
    sessions: *const rk_sessions,
    id: *const c_char,
    json: *mut rk_bytes,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let json = c.out(json, "json", rk_bytes::NONE);
    c.run(err, || {
        let sessions = &c.handle(sessions, "sessions")?.0;
        let id = c.text(id, "id")?;
        json.wanted()?;
        Ok(match sessions.get_raw(id, rk_bytes::of)? {
            None => rk_status::RK_NIL,
            Some(session) => {
                json.set(session);
                rk_status::RK_OK
            }
        })
    })
}

/// Sets the fields of data_json, a JSON object, in a session, and takes those out that are null; the others stay as
/// they are, "user_id", "created_at" and the time that the session has left among them. *existed, which may be NULL, is
/// false if there is no such session. Nothing that others change meanwhile is lost; RK_ERR_WATCHED if they never leave
/// off.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_sessions_update(
    sessions: *const rk_sessions,
    id: *const c_char,
    data_json: *const c_char,
    existed: *mut bool,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let existed = c.out(existed, "existed", false);
    c.run(err, || {
        let sessions = &c.handle(sessions, "sessions")?.0;
        let id = c.text(id, "id")?;
        existed.set(sessions.update_text(id, c.text(data_json, "data_json")?)?);
        Ok(rk_status::RK_OK)
    })
}

/// Lets a session live for the whole time again, from now on. *existed, which may be NULL, is false if there is no such
/// session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_sessions_touch(
    sessions: *const rk_sessions,
    id: *const c_char,
    existed: *mut bool,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let existed = c.out(existed, "existed", false);
    c.run(err, || {
        let sessions = &c.handle(sessions, "sessions")?.0;
        existed.set(sessions.touch(c.text(id, "id")?)?);
        Ok(rk_status::RK_OK)
    })
}

/// Deletes a session. *existed, which may be NULL, is false if there was none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_sessions_delete(
    sessions: *const rk_sessions,
    id: *const c_char,
    existed: *mut bool,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let existed = c.out(existed, "existed", false);
    c.run(err, || {
        let sessions = &c.handle(sessions, "sessions")?.0;
        existed.set(sessions.delete(c.text(id, "id")?)?);
        Ok(rk_status::RK_OK)
    })
}

/// The ids of a user's live sessions, as a JSON list of strings, in no order. ids_json may not be NULL; what it held is
/// overwritten, not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_sessions_all_of(
    sessions: *const rk_sessions,
    user_id: *const c_char,
    ids_json: *mut rk_bytes,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let ids_json = c.out(ids_json, "ids_json", rk_bytes::NONE);
    c.run(err, || {
        let sessions = &c.handle(sessions, "sessions")?.0;
        let user = c.text(user_id, "user_id")?;
        ids_json.wanted()?;
        ids_json.set(rk_bytes::json(&sessions.all_of(user)?)?);
        Ok(rk_status::RK_OK)
    })
}

/// Deletes all sessions of a user; one that is created meanwhile may stay. *deleted, which may be NULL: how many those
/// were.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_sessions_delete_all_of(
    sessions: *const rk_sessions,
    user_id: *const c_char,
    deleted: *mut i64,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let deleted = c.out(deleted, "deleted", 0);
    c.run(err, || {
        let sessions = &c.handle(sessions, "sessions")?.0;
        deleted.set(sessions.delete_all_of(c.text(user_id, "user_id")?)?);
        Ok(rk_status::RK_OK)
    })
}

fn ttl(seconds: i64) -> Result<Duration> {
    match u64::try_from(seconds) {
        Ok(seconds @ 1..) => Ok(Duration::from_secs(seconds)),
        _ if seconds == -1 => Ok(Sessions::TTL),
        _ => Err(Error::argument(format!(
            "ttl_seconds: {seconds} is not allowed; it takes a whole number from 1, or -1 for a day"
        ))),
    }
}
