//! The one error type: what went wrong, where, and what became of the command.

mod read_back;

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// What redkeep's calls return.
pub type Result<T> = std::result::Result<T, Error>;

/// What happened to the command when a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Not one byte of it reached the server: it can be sent again without a second thought.
    NotSent,
    /// The server answered that it did not execute it.
    Refused,
    /// It was sent, and no answer came: it may or may not have been executed.
    Unknown,
}

/// What kind of thing went wrong. In C these are the negative values of `rk_status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    // What the caller handed over.
    /// An argument is missing, too long, not UTF-8 where text is needed, or out of range.
    Argument,
    /// No property has this name.
    UnknownProperty,
    /// A property was given a value that it does not take.
    BadValue,
    /// A URL that cannot be understood.
    Url,
    /// Two options that exclude each other (EX and PX, NX and XX).
    Conflict,
    /// The text handed over is not JSON, or the value cannot be written as JSON.
    Json,
    /// A command that changes the state of its connection, on a shared one.
    Stateful,
    /// A node that was never added, or whose pools were closed.
    UnknownNode,
    /// The manager was closed.
    Closed,
    /// Redis is switched off by the property `enabled`.
    Disabled,
    /// The manager could not be configured.
    Config,

    // On the way to the server.
    /// No connection could be made.
    Connect,
    /// The name of the host could not be looked up.
    Resolve,
    /// The connection broke.
    Io,
    /// The deadline passed.
    Timeout,
    /// The deadline passed while every connection of the pool was in use.
    PoolTimeout,
    /// What came back is not RESP; the connection was closed.
    Protocol,
    /// The reply is larger than `max_reply_bytes`; the connection was closed.
    ReplyTooLarge,
    /// The server did not accept the user name or password (WRONGPASS, NOAUTH).
    Auth,
    /// TLS could not be agreed on, or is not part of this build.
    Tls,
    /// The node is known to be down: nothing was tried.
    NoHealthyPools,
    /// No server program for `embedded://`, or it did not start, or it was not opened for what was asked of it.
    Embedded,

    // What the server answered.
    /// A server error with no kind of its own; see [`Error::code`].
    Server,
    /// WRONGTYPE: the key holds another type of value.
    WrongType,
    /// The stored value is not a number, or the result would not fit one.
    NotANumber,
    /// READONLY: a write to a replica.
    ReadOnly,
    /// OOM: the server is out of memory.
    OutOfMemory,
    /// LOADING, or MASTERDOWN: the server is not ready yet.
    Loading,
    /// BUSY: a script runs for too long.
    Busy,
    /// NOPERM: the user may not do this.
    NoPermission,
    /// NOSCRIPT: no script with that digest.
    NoScript,
    /// MOVED, ASK, TRYAGAIN, CLUSTERDOWN: the cluster serves this key elsewhere, or not now.
    Cluster,
    /// CROSSSLOT: the keys live in different slots.
    CrossSlot,
    /// NOREPLICAS or MISCONF: the server takes no writes in its present state.
    NoWrites,
    /// EXECABORT: the transaction was thrown away.
    ExecAbort,
    /// A watched key was changed by somebody else, and the transaction was not executed.
    Watched,

    // Features.
    /// A stored value is not the JSON that was asked for.
    StoredJson,
    /// A reply is of another type than the one asked for.
    ReplyType,
    /// A lock was not to be had within the time given to wait for it.
    LockTimeout,

    /// The function whose result was to be cached failed, or panicked.
    Compute,
    /// A function asks the cache for what it is itself to compute.
    Deadlock,

    // Inside.
    /// A fault in redkeep itself, a panic among them.
    Internal,
    /// The system refused something: descriptors, threads, memory.
    System,
}

/// An error, with everything known about it. [`Display`](fmt::Display) names the node and the cause;
/// passwords and values never appear in it.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    outcome: Outcome,
    message: String,
    code: Option<String>,
    node: Option<Arc<str>>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error::made(kind, message.into())
    }

    // Nobody is in a hurry here, and there are hundreds of callers, who would all hold a copy of it.
    #[cold]
    #[inline(never)]
    fn made(kind: ErrorKind, message: String) -> Error {
        Error(Box::new(Inner {
            kind,
            outcome: Outcome::NotSent,
            message,
            code: None,
            node: None,
            source: None,
        }))
    }

    pub(crate) fn argument(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Argument, message)
    }

    pub(crate) fn closed() -> Error {
        Error::new(ErrorKind::Closed, "the manager is closed")
    }

    /// From the text of a server's error reply, without its leading `-`.
    pub(crate) fn from_server(text: &[u8]) -> Error {
        let mut text = String::from_utf8_lossy(text).into_owned();
        read_back::cut(&mut text);
        if text.trim().is_empty() {
            "ERR the server refused it without saying why".clone_into(&mut text);
        }
        let word = text.split(' ').next().unwrap_or("");
        let is_code = !word.is_empty() && word.bytes().all(|b| b.is_ascii_uppercase());
        let code = if is_code { word } else { "ERR" }.to_owned();
        let mut error = Error::new(server_kind(&code, &text), text).outcome_is(Outcome::Refused);
        error.0.code = Some(code);
        error
    }

    pub(crate) fn kind_is(mut self, kind: ErrorKind) -> Error {
        self.0.kind = kind;
        self
    }

    pub(crate) fn outcome_is(mut self, outcome: Outcome) -> Error {
        self.0.outcome = outcome;
        self
    }

    /// The same with another text.
    pub(crate) fn with_message(mut self, message: String) -> Error {
        self.0.message = message;
        self
    }

    /// Names the node, unless one is named already: the one nearest the fault is right.
    pub(crate) fn on_node(mut self, node: &Arc<str>) -> Error {
        self.0.node.get_or_insert_with(|| node.clone());
        self
    }

    pub(crate) fn caused_by(mut self, source: impl StdError + Send + Sync + 'static) -> Error {
        self.0.source = Some(Arc::new(source));
        self
    }

    pub(crate) fn caused_by_any(mut self, source: Box<dyn StdError + Send + Sync>) -> Error {
        self.0.source = Some(source.into());
        self
    }

    /// The cause, if it is of this type.
    pub(crate) fn cause<T: StdError + 'static>(&self) -> Option<&T> {
        self.0.source.as_deref()?.downcast_ref()
    }

    /// What kind of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What became of the command.
    pub fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// The first word of the server's error reply, such as `WRONGTYPE`; none where the server did not answer.
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// The node it happened on, as `host:port` or the path of its socket.
    pub fn node(&self) -> Option<&str> {
        self.0.node.as_deref()
    }

    /// The text without the node and the cause.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Whether the same call may succeed a little later: the fault lies with the network or with the server's
    /// present state, not with what was asked. Look at [`outcome`](Error::outcome) before sending it again.
    pub fn is_retriable(&self) -> bool {
        use ErrorKind::*;
        matches!(
            self.0.kind,
            Connect
                | Resolve
                | Io
                | Timeout
                | PoolTimeout
                | NoHealthyPools
                | ReadOnly
                | OutOfMemory
                | Loading
                | Busy
                | Cluster
                | NoWrites
                | Watched
                | LockTimeout
                | System
        )
    }
}

impl Error {
    /// Whether Redis is away, for whatever reason: it cannot be reached, it is switched off, or it does not take this
    /// now. What a wrong password, a wrong type or a wrong argument brings is not that.
    pub(crate) fn is_away(&self) -> bool {
        use ErrorKind::*;
        matches!(
            self.0.kind,
            Disabled
                | Connect
                | Resolve
                | Io
                | Timeout
                | PoolTimeout
                | Protocol
                | NoHealthyPools
                | ReadOnly
                | OutOfMemory
                | Loading
                | Busy
                | Cluster
                | NoWrites
                | System
        )
    }
}

/// The kind of a server error, by its code and, for plain `ERR`, by its wording.
fn server_kind(code: &str, text: &str) -> ErrorKind {
    use ErrorKind::*;
    match code {
        "WRONGTYPE" => WrongType,
        "READONLY" => ReadOnly,
        "OOM" => OutOfMemory,
        "LOADING" | "MASTERDOWN" => Loading,
        "BUSY" => Busy,
        "NOPERM" => NoPermission,
        "NOSCRIPT" => NoScript,
        "WRONGPASS" | "NOAUTH" => Auth,
        "MOVED" | "ASK" | "TRYAGAIN" | "CLUSTERDOWN" => Cluster,
        "CROSSSLOT" => CrossSlot,
        "NOREPLICAS" | "MISCONF" => NoWrites,
        "EXECABORT" => ExecAbort,
        "ERR" if text.contains("not an integer") || text.contains("would overflow") => NotANumber,
        "ERR" if text.contains("not a valid float") || text.contains("NaN or Infinity") => {
            NotANumber
        }
        _ => Server,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(node) = &self.0.node {
            write!(f, "{node}: ")?;
        }
        f.write_str(&self.0.message)?;
        match &self.0.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({:?}): {self}", self.0.kind, self.0.outcome)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0.source {
            Some(source) => Some(source.as_ref()),
            None => None,
        }
    }
}
