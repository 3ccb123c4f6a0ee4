//! Scripts, and walking over keys

use std::ffi::c_char;
use std::ptr;

use crate::client::{Scan, Script};
use crate::ffi::alone::Alone;
use crate::ffi::boundary::{Caller, quietly};
use crate::ffi::bytes::{rk_bytes, rk_slice};
use crate::ffi::error::{rk_error, rk_status};
use crate::ffi::manager::rk_manager;
use crate::ffi::reply::rk_reply;
use crate::manager::Manager;

/// Calls a Lua script with its keys and arguments. The server is sent the script's digest, and its text only if it does
/// not know it yet. A script is not repeated when it is not known whether it was executed. out may be NULL if the
/// reply is not wanted.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_eval(
    manager: *mut rk_manager,
    lua: *const c_char,
    keys: *const rk_slice,
    n_keys: usize,
    args: *const rk_slice,
    n_args: usize,
    out: *mut *mut rk_reply,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", ptr::null_mut());
    c.run(err, || {
        let manager = c.manager(manager)?;
        let script = Script::new(c.text(lua, "lua")?);
        let keys = c.slices(keys, n_keys, "keys")?;
        let args = c.slices(args, n_args, "args")?;
        manager.eval_raw(&script, &keys, &args, |reply| {
            out.set_with(|| rk_reply::new(reply));
            Ok(rk_status::RK_OK)
        })
    })
}

/// A walk over the keys. It keeps its manager alive.
///
/// Thread safety: one thread at a time; a second one gets RK_ERR_CONFLICT. It may be handed to another thread.
pub struct rk_scan {
    scan: Alone<Scan>,
    _manager: Manager,
}

/// Begins to walk over all keys, or those that match a pattern ("user:*"; NULL: all). out may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_scan_new(
    manager: *mut rk_manager,
    pattern: *const c_char,
    out: *mut *mut rk_scan,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", ptr::null_mut());
    c.run(err, || {
        let manager = c.manager(manager)?;
        let pattern = c.maybe_text(pattern, "pattern")?;
        out.wanted()?;
        out.set(Box::into_raw(Box::new(rk_scan {
            scan: Alone::new("scan", manager.scan(pattern)),
            _manager: manager.clone(),
        })));
        Ok(rk_status::RK_OK)
    })
}

/// The next key; RK_NIL at the end. A key that is there from the beginning to the end comes; one that comes or goes
/// meanwhile may come or not; and a key may come twice. After an error, the next call goes on where it was. key may
/// not be NULL; what it held is overwritten, not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_scan_next(
    scan: *mut rk_scan,
    key: *mut rk_bytes,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let key = c.out(key, "key", rk_bytes::NONE);
    c.run(err, || {
        let mut it = c.handle(scan, "scan")?.scan.change()?;
        key.wanted()?;
        Ok(match it.next().transpose()? {
            None => rk_status::RK_NIL,
            Some(found) => {
                key.set(rk_bytes::new(found));
                rk_status::RK_OK
            }
        })
    })
}

/// Ends the walk. NULL is nothing to do.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_scan_free(scan: *mut rk_scan) {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    quietly((), || match c.take(scan) {
        // By a thread that stayed in the parent of this fork.
        Some(scan) if scan.scan.is_used() => std::mem::forget(scan),
        scan => drop(scan),
    });
}
