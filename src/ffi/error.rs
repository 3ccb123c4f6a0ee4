//! Status and errors
//!
//! Every function that can fail returns an rk_status: RK_OK, a positive outcome, or a negative error. Whoever wants to
//! know more hands over an rk_error ** as the last argument: it becomes NULL on success, and an error to be freed
//! with rk_error_free() otherwise. Hand over NULL, and only the status tells. On any error all outputs hold a neutral
//! value (NULL, 0, false; -2 for a ttl), so a program that wants no more than a sensible default may ignore both. An
//! error that the pointer held before is overwritten, not freed: free it, or leave, before the next call.

use std::ffi::{CStr, CString, c_char};
use std::ptr;

use crate::error::{Error, ErrorKind, Outcome};
use crate::ffi::boundary::{Caller, quietly};

/// How a call ended. Numbers are never used again for another meaning; new ones may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum rk_status {
    /// Done.
    RK_OK = 0,
    /// Done, and there is no value: no such key, field or property.
    RK_NIL = 1,
    /// Done, but the caller's buffer is too small for the whole value.
    RK_TRUNCATED = 2,

    /// An argument is NULL, too long, not UTF-8 where text is needed, or out of range; the message names it.
    RK_ERR_ARGUMENT = -1,
    /// No property has this name.
    RK_ERR_UNKNOWN_PROPERTY = -2,
    /// A property was given a value that it does not take.
    RK_ERR_BAD_VALUE = -3,
    /// A URL that cannot be understood.
    RK_ERR_URL = -4,
    /// Two options that exclude each other: EX and PX, NX and XX; or a handle that another thread is using.
    RK_ERR_CONFLICT = -5,
    /// The text handed over is not JSON.
    RK_ERR_JSON = -6,
    /// A command that changes the state of its connection (MULTI, SELECT, SUBSCRIBE), on a shared one. Lease one of
    /// your own with rk_connection_lease().
    RK_ERR_STATEFUL = -7,
    /// A node that was never added, or whose pools were closed.
    RK_ERR_UNKNOWN_NODE = -8,
    /// The manager was closed.
    RK_ERR_CLOSED = -9,
    /// Redis is switched off by the property "enabled".
    RK_ERR_DISABLED = -10,
    /// The environment, or something set up before, does not allow it.
    RK_ERR_CONFIG = -11,

    /// No connection could be made.
    RK_ERR_CONNECT = -100,
    /// The name of the host could not be looked up.
    RK_ERR_RESOLVE = -101,
    /// The connection broke.
    RK_ERR_IO = -102,
    /// The time given had passed.
    RK_ERR_TIMEOUT = -103,
    /// The time given had passed while every connection of the pool was in use.
    RK_ERR_POOL_TIMEOUT = -104,
    /// What came back is not the protocol of Redis; the connection was closed.
    RK_ERR_PROTOCOL = -105,
    /// The reply is larger than the property "max_reply_bytes"; the connection was closed.
    RK_ERR_REPLY_TOO_LARGE = -106,
    /// The server did not accept the user name or password (WRONGPASS, NOAUTH).
    RK_ERR_AUTH = -107,
    /// TLS could not be agreed on, or is not part of this build.
    RK_ERR_TLS = -108,
    /// The node is known to be down: nothing was tried.
    RK_ERR_NO_HEALTHY_POOLS = -109,
    /// There is no server program for embedded://, or it did not start, or it was not opened for what was asked of it.
    RK_ERR_EMBEDDED = -110,

    /// An error of the server with no status of its own; see rk_error_server_code().
    RK_ERR_SERVER = -200,
    /// WRONGTYPE: the key holds another type of value.
    RK_ERR_WRONG_TYPE = -201,
    /// The stored value is not a number, or the result would not fit one.
    RK_ERR_NOT_A_NUMBER = -202,
    /// READONLY: a write to a replica.
    RK_ERR_READ_ONLY = -203,
    /// OOM: the server is out of memory.
    RK_ERR_OUT_OF_MEMORY = -204,
    /// LOADING or MASTERDOWN: the server is not ready yet.
    RK_ERR_LOADING = -205,
    /// BUSY: a script runs for too long.
    RK_ERR_BUSY = -206,
    /// NOPERM: the user may not do this.
    RK_ERR_NO_PERMISSION = -207,
    /// NOSCRIPT: no script with that digest.
    RK_ERR_NO_SCRIPT = -208,
    /// MOVED, ASK, TRYAGAIN or CLUSTERDOWN: the cluster serves this key elsewhere, or not now.
    RK_ERR_CLUSTER = -209,
    /// CROSSSLOT: the keys live in different slots.
    RK_ERR_CROSS_SLOT = -210,
    /// NOREPLICAS or MISCONF: the server takes no writes in its present state.
    RK_ERR_NO_WRITES = -211,
    /// EXECABORT: the transaction was thrown away.
    RK_ERR_EXEC_ABORT = -212,
    /// A watched key was changed by somebody else, and the transaction was not executed.
    RK_ERR_WATCHED = -213,

    /// The stored value is not JSON.
    RK_ERR_STORED_JSON = -300,
    /// A reply is of another type than the one asked for.
    RK_ERR_REPLY_TYPE = -301,
    /// A lock was not to be had within the time given to wait for it.
    RK_ERR_LOCK_TIMEOUT = -310,

    /// The function whose result was to be cached failed.
    RK_ERR_COMPUTE = -320,
    /// A function asks the cache for what it is itself to compute.
    RK_ERR_DEADLOCK = -321,

    /// A fault in redkeep itself. Please report it.
    RK_ERR_INTERNAL = -400,
    /// The system refused something: descriptors, threads, memory.
    RK_ERR_SYSTEM = -401,
}

/// What became of the command when a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum rk_outcome {
    /// Not one byte of it reached the server: it can be sent again without a second thought.
    RK_NOT_SENT = 0,
    /// The server answered that it did not execute it.
    RK_REFUSED = 1,
    /// It was sent, and no answer came, or none that could be used: it may or may not have been executed.
    RK_OUTCOME_UNKNOWN = 2,
    /// Its answer came. Only rk_pipeline_outcome() says so.
    RK_ANSWERED = 3,
}

/// An error with everything known about it. Passwords and values never appear in it.
///
/// Thread safety: one thread at a time. It belongs to whoever received it, and may be handed to another thread.
pub struct rk_error {
    status: rk_status,
    outcome: rk_outcome,
    retriable: bool,
    message: CString,
    server_code: Option<CString>,
    node: Option<CString>,
    /// The error itself, for when it comes back out of a callback; none if the program made it.
    whole: Option<Error>,
}

// One line for each status that needs a name, or a kind: both matches that come of them are exhaustive.
macro_rules! statuses {
    ($($done:ident)*; $($kind:ident => $status:ident)*) => {
        impl From<ErrorKind> for rk_status {
            fn from(kind: ErrorKind) -> rk_status {
                match kind {
                    $(ErrorKind::$kind => rk_status::$status,)*
                }
            }
        }

        impl rk_status {
            fn name(self) -> &'static str {
                match self {
                    $(rk_status::$done => concat!(stringify!($done), "\0"),)*
                    $(rk_status::$status => concat!(stringify!($status), "\0"),)*
                }
            }
        }

        const DONE: &[rk_status] = &[$(rk_status::$done),*];
        const FAILED: &[(rk_status, ErrorKind)] = &[$((rk_status::$status, ErrorKind::$kind)),*];
    };
}

statuses! {
    RK_OK RK_NIL RK_TRUNCATED;

    Argument => RK_ERR_ARGUMENT
    UnknownProperty => RK_ERR_UNKNOWN_PROPERTY
    BadValue => RK_ERR_BAD_VALUE
    Url => RK_ERR_URL
    Conflict => RK_ERR_CONFLICT
    Json => RK_ERR_JSON
    Stateful => RK_ERR_STATEFUL
    UnknownNode => RK_ERR_UNKNOWN_NODE
    Closed => RK_ERR_CLOSED
    Disabled => RK_ERR_DISABLED
    Config => RK_ERR_CONFIG

    Connect => RK_ERR_CONNECT
    Resolve => RK_ERR_RESOLVE
    Io => RK_ERR_IO
    Timeout => RK_ERR_TIMEOUT
    PoolTimeout => RK_ERR_POOL_TIMEOUT
    Protocol => RK_ERR_PROTOCOL
    ReplyTooLarge => RK_ERR_REPLY_TOO_LARGE
    Auth => RK_ERR_AUTH
    Tls => RK_ERR_TLS
    NoHealthyPools => RK_ERR_NO_HEALTHY_POOLS
    Embedded => RK_ERR_EMBEDDED

    Server => RK_ERR_SERVER
    WrongType => RK_ERR_WRONG_TYPE
    NotANumber => RK_ERR_NOT_A_NUMBER
    ReadOnly => RK_ERR_READ_ONLY
    OutOfMemory => RK_ERR_OUT_OF_MEMORY
    Loading => RK_ERR_LOADING
    Busy => RK_ERR_BUSY
    NoPermission => RK_ERR_NO_PERMISSION
    NoScript => RK_ERR_NO_SCRIPT
    Cluster => RK_ERR_CLUSTER
    CrossSlot => RK_ERR_CROSS_SLOT
    NoWrites => RK_ERR_NO_WRITES
    ExecAbort => RK_ERR_EXEC_ABORT
    Watched => RK_ERR_WATCHED

    StoredJson => RK_ERR_STORED_JSON
    ReplyType => RK_ERR_REPLY_TYPE
    LockTimeout => RK_ERR_LOCK_TIMEOUT
    Compute => RK_ERR_COMPUTE
    Deadlock => RK_ERR_DEADLOCK

    Internal => RK_ERR_INTERNAL
    System => RK_ERR_SYSTEM
}

impl From<Outcome> for rk_outcome {
    fn from(outcome: Outcome) -> rk_outcome {
        match outcome {
            Outcome::NotSent => rk_outcome::RK_NOT_SENT,
            Outcome::Refused => rk_outcome::RK_REFUSED,
            Outcome::Unknown => rk_outcome::RK_OUTCOME_UNKNOWN,
        }
    }
}

impl From<Error> for rk_error {
    fn from(error: Error) -> rk_error {
        rk_error {
            status: error.kind().into(),
            outcome: error.outcome().into(),
            retriable: error.is_retriable(),
            message: c_string(error.to_string()),
            server_code: error.code().map(c_string),
            node: error.node().map(c_string),
            whole: Some(error),
        }
    }
}

impl rk_error {
    /// An error that a callback of the program handed back: one of ours, or one made with rk_error_set().
    pub(super) fn into_error(self) -> Error {
        if let Some(error) = self.whole {
            return error;
        }
        let known = FAILED.iter().find(|(status, _)| *status == self.status);
        let kind = known.map_or(ErrorKind::Argument, |(_, kind)| *kind);
        Error::new(kind, self.message.to_string_lossy())
    }
}

#[cfg(test)]
impl rk_error {
    pub(super) fn message(&self) -> &str {
        self.message.to_str().expect("UTF-8")
    }
}

/// A text for C; a NUL within it, which would end it, becomes a question mark.
pub(super) fn c_string(text: impl Into<Vec<u8>>) -> CString {
    let mut bytes = text.into();
    for byte in bytes.iter_mut().filter(|byte| **byte == 0) {
        *byte = b'?';
    }
    CString::new(bytes).unwrap_or_default()
}

/// The name of a status as it is spelled here, such as "RK_ERR_TIMEOUT"; "RK_ERR_?" for a number that is none. It
/// lives as long as the library.
#[unsafe(no_mangle)]
pub extern "C" fn rk_status_name(status: i32) -> *const c_char {
    let known = |one: &&rk_status| **one as i32 == status;
    let failed = FAILED.iter().map(|(status, _)| status);
    let name = DONE.iter().chain(failed).find(known);
    name.map_or("RK_ERR_?\0", |status| status.name())
        .as_ptr()
        .cast()
}

/// The status that the failed call returned; RK_OK for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_error_status(error: *const rk_error) -> rk_status {
    // SAFETY: the argument is as the header asks.
    let error = unsafe { Caller::trusted() }.maybe(error);
    error.map_or(rk_status::RK_OK, |error| error.status)
}

/// What went wrong, for people: the node, what happened there, and why. Its wording may change; the status does not.
/// It lives as long as the error. "no error" for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_error_message(error: *const rk_error) -> *const c_char {
    // SAFETY: the argument is as the header asks.
    let error = unsafe { Caller::trusted() }.maybe(error);
    error
        .map_or(c"no error", |error| error.message.as_c_str())
        .as_ptr()
}

/// The first word of the server's error reply, such as "WRONGTYPE"; NULL where the server did not answer with an
/// error. It lives as long as the error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_error_server_code(error: *const rk_error) -> *const c_char {
    // SAFETY: the argument is as the header asks.
    let error = unsafe { Caller::trusted() }.maybe(error);
    or_null(error.and_then(|error| error.server_code.as_deref()))
}

/// The node on which it happened, such as "127.0.0.1:6379" or the path of a socket; NULL where none was involved. It
/// lives as long as the error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_error_node(error: *const rk_error) -> *const c_char {
    // SAFETY: the argument is as the header asks.
    let error = unsafe { Caller::trusted() }.maybe(error);
    or_null(error.and_then(|error| error.node.as_deref()))
}

/// Whether the same call may succeed a little later: the fault lies with the network or with the server's present
/// state, not with what was asked. Look at rk_error_outcome() before sending it again. False for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_error_is_retriable(error: *const rk_error) -> bool {
    // SAFETY: the argument is as the header asks.
    let error = unsafe { Caller::trusted() }.maybe(error);
    error.is_some_and(|error| error.retriable)
}

/// What became of the command. RK_NOT_SENT for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_error_outcome(error: *const rk_error) -> rk_outcome {
    // SAFETY: the argument is as the header asks.
    let error = unsafe { Caller::trusted() }.maybe(error);
    error.map_or(rk_outcome::RK_NOT_SENT, |error| error.outcome)
}

/// Frees an error. NULL is nothing to do.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_error_free(error: *mut rk_error) {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    quietly((), || drop(c.take(error)));
}

/// Makes an error, for callbacks that fail: *err becomes an error of this status (one of the negative ones; any other
/// number becomes RK_ERR_INTERNAL) with this text (NULL or empty: the name of the status). *err must hold NULL or an
/// error, which is freed. err may be NULL: then nothing happens.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_error_set(err: *mut *mut rk_error, status: i32, text: *const c_char) {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    quietly((), || {
        let Some(before) = c.maybe(err.cast_const()).copied() else {
            return;
        };
        let known = FAILED.iter().find(|(known, _)| *known as i32 == status);
        let kind = known.map_or(ErrorKind::Internal, |(_, kind)| *kind);
        let text = match c.string(text, "text") {
            Ok(text) if !text.is_empty() => text.to_string_lossy().into_owned(),
            _ => rk_status::from(kind)
                .name()
                .trim_end_matches('\0')
                .to_owned(),
        };
        let error = Box::new(rk_error::from(Error::new(kind, text)));
        c.out(err, "err", Box::into_raw(error));
        drop(c.take(before));
    });
}

fn or_null(text: Option<&CStr>) -> *const c_char {
    text.map_or(ptr::null(), CStr::as_ptr)
}
