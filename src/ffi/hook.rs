//! Tracing
//!
//! Who wants to trace or measure commands is told of each of them, before and after.

use std::ffi::{CString, c_char, c_void};
use std::time::Duration;

use crate::clock::CommandTimes;
use crate::config::{CommandEnd, CommandStart};
use crate::ffi::boundary::{Caller, quietly};
use crate::ffi::config::rk_config;
use crate::ffi::error::{c_string, rk_error, rk_status};
use crate::ffi::userdata::Userdata;

/// A command, as the callbacks of rk_config_set_command_hook() see it. It lives as long as the callback runs.
///
/// Thread safety: one thread at a time.
pub struct rk_call {
    name: CString,
    commands: usize,
    node: Option<CString>,
    error: Option<rk_error>,
    tries: u32,
    duration: Duration,
    times: CommandTimes,
}

impl rk_call {
    fn begun(start: &CommandStart<'_>) -> rk_call {
        rk_call {
            name: c_string(start.name),
            commands: start.commands,
            node: None,
            error: None,
            tries: 0,
            duration: Duration::ZERO,
            times: CommandTimes::default(),
        }
    }

    fn over(end: &CommandEnd<'_>) -> rk_call {
        rk_call {
            name: c_string(end.name),
            commands: end.commands,
            node: end.node.map(c_string),
            error: end.error.map(|error| rk_error::from(error.clone())),
            tries: end.tries,
            duration: end.duration,
            times: end.times,
        }
    }
}

/// What `before` returned, on its way to `after`, which is called in the same thread.
struct Span(*mut c_void);

type Before = unsafe extern "C" fn(*const rk_call, *mut c_void) -> *mut c_void;
type After = unsafe extern "C" fn(*const rk_call, *mut c_void, *mut c_void);

/// Has every command told to before, right before it is sent, and to after, when it is over; either may be NULL. What
/// before returns, a span say, is handed to after. Managers opened with the configuration from then on do so. Another
/// call sets others; both NULL: nobody is told any more.
///
/// Both are called in the thread that makes the call: mostly one of the program's own; for what the library does by
/// itself, such as renewing locks, one of the library's, and then a callback that dallies holds that up. Several
/// threads may call them at the same time. They may call the library; what they call is not told. Told are single
/// commands, pipelines (as one) and those on leased connections; not the reading of consumers and subscribers, nor
/// health checks. Without a hook, nothing is measured.
///
/// userdata_free (NULL: none) is called with userdata exactly once: when the configuration is freed or has other
/// callbacks, every manager that was opened with it is freed, and neither is running; or at once, if this call fails or
/// both are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_config_set_command_hook(
    config: *mut rk_config,
    before: Option<
        unsafe extern "C" fn(call: *const rk_call, userdata: *mut c_void) -> *mut c_void,
    >,
    after: Option<
        unsafe extern "C" fn(call: *const rk_call, span: *mut c_void, userdata: *mut c_void),
    >,
    userdata: *mut c_void,
    userdata_free: Option<unsafe extern "C" fn(userdata: *mut c_void)>,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    // Before anything can fail.
    let userdata = std::sync::Arc::new(Userdata::new(userdata, userdata_free));
    c.run(err, || {
        let mut config = c.handle(config, "config")?.0.change()?;
        let old = std::mem::take(&mut *config);
        *config = match (before, after) {
            (None, None) => old.no_command_hook(),
            (before, after) => {
                let theirs = userdata.clone();
                old.command_hook(
                    move |start| begin(before, start, &userdata),
                    move |span, end| finish(after, span, end, &theirs),
                )
            }
        };
        Ok(rk_status::RK_OK)
    })
}

fn begin(before: Option<Before>, start: &CommandStart<'_>, userdata: &Userdata) -> Span {
    let span = before.map(|before| {
        let call = rk_call::begun(start);
        // SAFETY: the caller gave a function of this type, and userdata that any thread may use; the call outlives it.
        unsafe { before(&call, userdata.get()) }
    });
    Span(span.unwrap_or(std::ptr::null_mut()))
}

fn finish(after: Option<After>, span: Span, end: &CommandEnd<'_>, userdata: &Userdata) {
    if let Some(after) = after {
        let call = rk_call::over(end);
        // SAFETY: the caller gave a function of this type, and userdata that any thread may use; the call outlives it.
        unsafe { after(&call, span.0, userdata.get()) }
    }
}

/// The name of the command, in capitals; "PIPELINE" or "MULTI" where several are sent together. Never keys or values.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_call_name(call: *const rk_call) -> *const c_char {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    quietly(std::ptr::null(), || {
        c.maybe(call)
            .map_or(std::ptr::null(), |it| it.name.as_ptr())
    })
}

/// How many commands are sent: 1, or those of the pipeline.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_call_commands(call: *const rk_call) -> usize {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    quietly(0, || c.maybe(call).map_or(0, |it| it.commands))
}

/// The node that it was sent to last, as "host:port" or the path of its socket. NULL before it is over, if it came to
/// no node, and if it was sent to several at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_call_node(call: *const rk_call) -> *const c_char {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    quietly(std::ptr::null(), || {
        let node = c.maybe(call).and_then(|it| it.node.as_ref());
        node.map_or(std::ptr::null(), |node| node.as_ptr())
    })
}

/// What the caller is told, which belongs to the call: do not free it. NULL before it is over, and if it succeeded.
/// Errors among the replies of a pipeline are no error here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_call_error(call: *const rk_call) -> *const rk_error {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    quietly(std::ptr::null(), || {
        let error = c.maybe(call).and_then(|it| it.error.as_ref());
        error.map_or(std::ptr::null(), std::ptr::from_ref)
    })
}

/// How often it was sent, or tried to be; more than once after a retry or a redirection. 0 for a pipeline that went to
/// several nodes at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_call_tries(call: *const rk_call) -> u32 {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    quietly(0, || c.maybe(call).map_or(0, |it| it.tries))
}

/// How long it took, in microseconds. part NULL: as a whole. Otherwise the part of it that went to "wait" (for a
/// connection, for its turn on a shared line, between two tries, and all that is none of the others), "connect",
/// "write", "server" (from the last byte sent to the first received) or "read"; together they are the whole. 0 before
/// it is over; -1 for another part.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_call_microseconds(call: *const rk_call, part: *const c_char) -> i64 {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    quietly(-1, || {
        let Some(call) = c.maybe(call) else {
            return -1;
        };
        let time = match c.maybe_text(part, "part") {
            Ok(None) => call.duration,
            Ok(Some("wait")) => call.times.wait,
            Ok(Some("connect")) => call.times.connect,
            Ok(Some("write")) => call.times.write,
            Ok(Some("server")) => call.times.server,
            Ok(Some("read")) => call.times.read,
            Ok(Some(_)) | Err(_) => return -1,
        };
        i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
    })
}
