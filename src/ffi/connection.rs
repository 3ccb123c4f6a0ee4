//! Connections of one's own
//!
//! For what needs a connection of its own: MULTI and EXEC, WATCH, SELECT, SUBSCRIBE. Commands on it go to one node, in
//! order, and nothing is sent twice. Released, it goes back to its pool; if its state was changed, it is closed instead.

use std::ffi::c_char;
use std::ptr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::client::Lease;
use crate::error::{Error, ErrorKind, Result};
use crate::ffi::boundary::{Caller, milliseconds, quietly};
use crate::ffi::bytes::rk_slice;
use crate::ffi::error::{rk_error, rk_status};
use crate::ffi::manager::rk_manager;
use crate::ffi::reply::rk_reply;
use crate::fork;
use crate::manager::Manager;

/// A connection taken out of a node's pool. It keeps its manager alive. In a child of fork(), commands on a connection
/// that the parent leased return RK_ERR_CLOSED; releasing it there leaves the parent's connection alone.
///
/// Thread safety: one thread at a time; a second one gets RK_ERR_CONFLICT. It may be handed to another thread.
pub struct rk_connection {
    leased: Leased,
}

/// A leased connection as its handle and its pipelines share it: none once it was released.
#[derive(Clone)]
pub(super) struct Leased {
    // In this order, so that it is back before its manager may end.
    lease: Arc<Mutex<Option<Lease>>>,
    generation: u64,
    _manager: Manager,
}

impl Leased {
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Lease) -> Result<T>) -> Result<T> {
        // In a fork, the lock may be held by a thread of the parent's.
        if self.generation != fork::generation() {
            return Err(Error::new(
                ErrorKind::Closed,
                "this connection belongs to the process that leased it, and this is a fork of that one",
            ));
        }
        let Some(mut lease) = self.lease.try_lock() else {
            let text = "connection: another thread is using it";
            return Err(Error::new(ErrorKind::Conflict, text));
        };
        match &mut *lease {
            Some(lease) => work(lease),
            None => Err(Error::new(ErrorKind::Closed, "the connection was released")),
        }
    }
}

impl rk_connection {
    pub(super) fn leased(&self) -> Leased {
        self.leased.clone()
    }
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
            leased: Leased {
                lease: Arc::new(Mutex::new(Some(manager.lease(url, time)?))),
                generation: fork::generation(),
                _manager: manager.clone(),
            },
        })));
        Ok(rk_status::RK_OK)
    })
}

/// As rk_command(), on this connection. A command that subscribes or unsubscribes is answered by the last of its
/// confirmations; messages, and the lines of MONITOR, are then read by rk_connection_receive(). A reply that CLIENT
/// REPLY leaves out is an RK_REPLY_NIL. After an error of the connection itself, lease another one.
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
        let connection = c.handle(connection, "connection")?;
        let args = c.slices(args, n, "args")?;
        let time = milliseconds(timeout_ms, "timeout_ms")?;
        connection.leased.with(|lease| {
            lease.any_command(args, time, |reply| {
                out.set_with(|| rk_reply::new(reply));
                Ok(rk_status::RK_OK)
            })
        })
    })
}

/// The next message on this connection, after SUBSCRIBE and its kin, MONITOR or CLIENT TRACKING: an array such as
/// "message", channel, data; of MONITOR, a text. Waits at most timeout_ms (0: takes what is there; -1: without end);
/// RK_NIL if none came. Messages come in their order; those that arrive while a command waits for its reply are kept.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_connection_receive(
    connection: *mut rk_connection,
    timeout_ms: i64,
    out: *mut *mut rk_reply,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", ptr::null_mut());
    c.run(err, || {
        let connection = c.handle(connection, "connection")?;
        let time = milliseconds(timeout_ms, "timeout_ms")?;
        // Nobody else has a message that was taken and thrown away.
        out.wanted()?;
        connection
            .leased
            .with(|lease| match lease.receive_raw(time)? {
                None => Ok(rk_status::RK_NIL),
                Some(mut message) => {
                    out.set(rk_reply::new(&mut message));
                    Ok(rk_status::RK_OK)
                }
            })
    })
}

/// Gives a connection back, and frees it. NULL is nothing to do.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_connection_release(connection: *mut rk_connection) {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    quietly((), || {
        if let Some(connection) = c.take(connection) {
            // At once, even if a pipeline still knows it.
            let leased = connection.leased;
            if leased.generation == fork::generation() {
                drop(leased.lease.lock().take());
            }
        }
    });
}
