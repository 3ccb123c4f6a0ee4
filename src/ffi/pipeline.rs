//! Pipelines and transactions
//!
//! Many commands that go to the server in one go: append them, execute them, read an array of replies. What a pipeline
//! holds is packed as it is appended, and its memory is kept from one use to the next.

use std::ffi::c_void;
use std::ptr;

use crate::client::{Client, Load, Script, Transaction};
use crate::error::{Error, Outcome, Result};
use crate::ffi::alone::Alone;
use crate::ffi::boundary::{Caller, milliseconds, quietly};
use crate::ffi::bytes::rk_slice;
use crate::ffi::connection::{Leased, rk_connection};
use crate::ffi::error::{rk_error, rk_outcome, rk_status};
use crate::ffi::manager::rk_manager;
use crate::ffi::reply::rk_reply;
use crate::manager::Manager;

/// Commands that go to the server together. It keeps its manager alive.
///
/// Thread safety: one thread at a time; a second one gets RK_ERR_CONFLICT. It may be handed to another thread.
pub struct rk_pipeline {
    load: Alone<Load>,
    road: Road,
}

/// Where it goes.
enum Road {
    Shared(Manager),
    Own(Leased),
}

impl rk_pipeline {
    fn new(road: Road) -> *mut rk_pipeline {
        Box::into_raw(Box::new(rk_pipeline {
            load: Alone::new("pipeline", Load::default()),
            road,
        }))
    }

    fn has_own_connection(&self) -> bool {
        matches!(self.road, Road::Own(_))
    }
}

/// Makes an empty pipeline for the node that the manager was opened for. out may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_pipeline_new(
    manager: *mut rk_manager,
    out: *mut *mut rk_pipeline,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", ptr::null_mut());
    c.run(err, || {
        let manager = c.manager(manager)?;
        out.wanted()?;
        out.set(rk_pipeline::new(Road::Shared(manager.clone())));
        Ok(rk_status::RK_OK)
    })
}

/// As rk_pipeline_new(), on a leased connection, where MULTI, WATCH and the like may be appended too. After the
/// connection was released, executing returns RK_ERR_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_connection_pipeline_new(
    connection: *mut rk_connection,
    out: *mut *mut rk_pipeline,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", ptr::null_mut());
    c.run(err, || {
        let leased = c.handle(connection, "connection")?.leased();
        out.wanted()?;
        out.set(rk_pipeline::new(Road::Own(leased)));
        Ok(rk_status::RK_OK)
    })
}

/// Frees a pipeline; commands that were not executed are forgotten. NULL is nothing to do.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_pipeline_free(pipeline: *mut rk_pipeline) {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    quietly((), || drop(c.take(pipeline)));
}

/// Appends a command, its name first. One that changes the state of its connection is RK_ERR_STATEFUL, unless the
/// connection is a leased one. What is refused is not appended, and the pipeline may be used on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_pipeline_append(
    pipeline: *mut rk_pipeline,
    args: *const rk_slice,
    n: usize,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        let pipeline = c.handle(pipeline, "pipeline")?;
        let args = c.slices(args, n, "args")?;
        let own = pipeline.has_own_connection();
        pipeline.load.change()?.add_args(&args.list(), own)?;
        Ok(rk_status::RK_OK)
    })
}

/// Appends the call of a Lua script; see rk_eval(). Its text goes along with its first call in a pipeline only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_pipeline_append_eval(
    pipeline: *mut rk_pipeline,
    lua: *const std::ffi::c_char,
    keys: *const rk_slice,
    n_keys: usize,
    args: *const rk_slice,
    n_args: usize,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        let pipeline = c.handle(pipeline, "pipeline")?;
        let script = Script::new(c.text(lua, "lua")?);
        let keys = c.slices(keys, n_keys, "keys")?;
        let args = c.slices(args, n_args, "args")?;
        pipeline.load.change()?.add_eval(&script, &keys, &args)?;
        Ok(rk_status::RK_OK)
    })
}

/// Whether the commands are executed as one transaction (MULTI, EXEC): all of them, with nobody else's in between, or,
/// if the server refuses one beforehand, none (RK_ERR_EXEC_ABORT). Off, and again after each execution.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_pipeline_set_atomic(
    pipeline: *mut rk_pipeline,
    atomic: bool,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        c.handle(pipeline, "pipeline")?
            .load
            .change()?
            .set_atomic(atomic);
        Ok(rk_status::RK_OK)
    })
}

/// The time for the next execution as a whole, in milliseconds; -1: the property "command_timeout", and beyond that
/// what its commands ask to block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_pipeline_set_timeout(
    pipeline: *mut rk_pipeline,
    timeout_ms: i64,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        let time = milliseconds(timeout_ms, "timeout_ms")?;
        c.handle(pipeline, "pipeline")?
            .load
            .change()?
            .set_within(time);
        Ok(rk_status::RK_OK)
    })
}

/// How many commands it holds; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_pipeline_len(pipeline: *const rk_pipeline) -> usize {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    quietly(0, || {
        let pipeline = c.handle(pipeline, "pipeline");
        pipeline
            .and_then(|it| Ok(it.load.read()?.len()))
            .unwrap_or(0)
    })
}

/// Sends the commands and reads all replies: *out becomes an array with one element for each command, in their order,
/// an RK_REPLY_ERROR where the server refused one. If the connection breaks, the status says so, there are no replies,
/// and rk_pipeline_outcome() tells what became of each command. The pipeline is empty afterwards, however it ended.
/// Without commands: an empty array, and nothing is sent. out may be NULL if the replies are not wanted.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_pipeline_execute(
    pipeline: *mut rk_pipeline,
    out: *mut *mut rk_reply,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", ptr::null_mut());
    c.run(err, || {
        let pipeline = c.handle(pipeline, "pipeline")?;
        let mut load = pipeline.load.change()?;
        match &pipeline.road {
            Road::Shared(manager) => manager.execute(&mut load).map(drop)?,
            Road::Own(leased) => leased
                .with(|lease| lease.execute(&mut load).map(drop))
                .inspect_err(|_| match load.len() {
                    0 => {}
                    // There was no connection to execute it on.
                    _ => load.give_up(),
                })?,
        }
        out.set_with(|| rk_reply::new(load.last()));
        Ok(rk_status::RK_OK)
    })
}

/// After an execution that failed: what became of the command at place i, from 0. RK_ANSWERED if it was answered before
/// the failure, and where nothing is known: for a place beyond the last, for NULL, for a pipeline that another thread
/// is using.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_pipeline_outcome(pipeline: *const rk_pipeline, i: usize) -> rk_outcome {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    let outcome: Option<Outcome> = quietly(None, || {
        let pipeline = c.handle(pipeline, "pipeline").ok()?;
        pipeline.load.read().ok()?.outcome(i)
    });
    outcome.map_or(rk_outcome::RK_ANSWERED, rk_outcome::from)
}

/// An optimistic transaction under way: lives while the body of rk_transaction_run() runs, and no longer.
///
/// Thread safety: only the thread that runs the body.
pub struct rk_transaction {
    // What C points to is a `Transaction`, whose lifetime has no name here.
    _opaque: (),
}

impl<'a> Caller<'a> {
    fn transaction(self, transaction: *mut rk_transaction) -> Result<&'a mut Transaction<'a>> {
        self.handle_mut(transaction.cast(), "transaction")
    }
}

/// Watches keys, lets body read and append commands, and executes those as one transaction, unless somebody changed a
/// watched key meanwhile: then body is called anew, 16 times at most and not after the property "command_timeout" is
/// over; the status is then RK_ERR_WATCHED. Body runs in the caller's thread; if it returns something other than RK_OK,
/// nothing is executed, and the error that it set with rk_error_set() is returned. *out becomes an array with the
/// replies to the appended commands; it may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_transaction_run(
    manager: *mut rk_manager,
    keys: *const rk_slice,
    n_keys: usize,
    body: Option<
        unsafe extern "C" fn(
            transaction: *mut rk_transaction,
            userdata: *mut c_void,
            err: *mut *mut rk_error,
        ) -> i32,
    >,
    userdata: *mut c_void,
    out: *mut *mut rk_reply,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", ptr::null_mut());
    c.run(err, || {
        let client: &Client = c.manager(manager)?;
        let keys = c.slices(keys, n_keys, "keys")?;
        let body = body.ok_or_else(|| Error::argument("body: NULL"))?;
        let run = |transaction: &mut Transaction<'_>| {
            let handle = ptr::from_mut(transaction).cast();
            let mut failed = ptr::null_mut();
            // SAFETY: a function of this type, with what it was registered with; the handle outlives the call.
            let status = unsafe { body(handle, userdata, &mut failed) };
            match (c.take(failed), status) {
                (_, 0) => Ok(()),
                (Some(error), _) => Err(error.into_error()),
                (None, status) => Err(Error::argument(format!("body: it returned {status}"))),
            }
        };
        client.transact(&keys, run, |replies| {
            out.set_with(|| rk_reply::new(&mut replies.cloned()));
            Ok(())
        })?;
        Ok(rk_status::RK_OK)
    })
}

/// Sends a command now, before the transaction: to read what it is to be decided upon. See rk_command().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_transaction_read(
    transaction: *mut rk_transaction,
    args: *const rk_slice,
    n: usize,
    out: *mut *mut rk_reply,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", ptr::null_mut());
    c.run(err, || {
        let transaction = c.transaction(transaction)?;
        let args = c.slices(args, n, "args")?;
        transaction.read_raw(args, |reply| {
            out.set_with(|| rk_reply::new(reply));
            Ok(rk_status::RK_OK)
        })
    })
}

/// Appends a command to the transaction.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_transaction_append(
    transaction: *mut rk_transaction,
    args: *const rk_slice,
    n: usize,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        let transaction = c.transaction(transaction)?;
        let args = c.slices(args, n, "args")?;
        transaction.command(args)?;
        Ok(rk_status::RK_OK)
    })
}
