//! Connections of one's own
//!
//! For what needs a connection of its own: MULTI and EXEC, WATCH, SELECT. Commands on it go to one node, in order, and
//! nothing is sent twice. Released, it goes back to its pool; if its state was changed, it is closed instead.

use std::ffi::c_char;
use std::ptr;

use crate::client::Lease;
use crate::ffi::boundary::{Caller, milliseconds, quietly};
use crate::ffi::bytes::rk_slice;
use crate::ffi::error::{rk_error, rk_status};
use crate::ffi::manager::rk_manager;
use crate::ffi::reply::rk_reply;
use crate::manager::Manager;

/// A connection taken out of a node's pool. It keeps its manager alive. In a child of fork(), commands on a connection
/// that the parent leased return RK_ERR_CLOSED; releasing it there leaves the parent's connection alone.
///
/// Thread safety: one thread at a time. It may be handed to another thread.
pub struct rk_connection {
    // In this order, so that it is back before its manager may end.
    lease: Lease,
    _manager: Manager,
}

/// Takes a connection to a node (url NULL: the one that the manager was opened for) out of its pool. Waits at most
/// timeout_ms (-1: the property "command_timeout") for one that is free, and for the server if it has to be opened.
/// Give it back with rk_connection_release(). out may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_connection_lease(
    manager: *mut rk_manager,
    url: *const c_char,
    timeout_ms: i64,
    out: *mut *mut rk_connection,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", ptr::null_mut());
    c.run(err, || {
        let manager = c.manager(manager)?;
        let url = c.maybe_text(url, "url")?;
        let time = milliseconds(timeout_ms, "timeout_ms")?;
        out.wanted()?;
        let time = time.map_or_else(|| manager.timeout(), Ok)?;
        out.set(Box::into_raw(Box::new(rk_connection {
            lease: manager.lease(url, time)?,
            _manager: manager.clone(),
        })));
        Ok(rk_status::RK_OK)
    })
}

/// As rk_command(), on this connection. The commands that subscribe or monitor have no single reply, and return
/// RK_ERR_STATEFUL. After an error of the connection itself, lease another one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_connection_command(
    connection: *mut rk_connection,
    args: *const rk_slice,
    n: usize,
    out: *mut *mut rk_reply,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks, which is as that one asks.
    unsafe { rk_connection_command_within(connection, args, n, -1, out, err) }
}

/// As rk_connection_command(), with a time of its own, in milliseconds; -1: as rk_connection_command().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_connection_command_within(
    connection: *mut rk_connection,
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
        let connection = c.handle_mut(connection, "connection")?;
        let args = c.slices(args, n, "args")?;
        let time = milliseconds(timeout_ms, "timeout_ms")?;
        connection.lease.any_command(args, time, |reply| {
            out.set_with(|| rk_reply::new(reply));
            Ok(rk_status::RK_OK)
        })
    })
}

/// Gives a connection back, and frees it. NULL is nothing to do.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_connection_release(connection: *mut rk_connection) {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    quietly((), || drop(c.take(connection)));
}
