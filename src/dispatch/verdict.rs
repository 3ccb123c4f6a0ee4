//! What an error says: whether it is the answer, and whether anything was done.

use crate::dispatch::{Class, Dispatch};
use crate::error::{Error, ErrorKind, Outcome};
use crate::transport::{Entry, Kind, Reply};

/// What is to be done about an error.
pub(super) enum Verdict {
    /// It is the answer.
    Final,
    /// Try again, a few times.
    Again,
    /// Try again until the deadline: the server says that it needs a moment.
    Patience,
}

impl Dispatch {
    pub(super) fn verdict(&self, error: &Error, class: Class) -> Verdict {
        use ErrorKind::*;
        match (error.outcome(), error.kind()) {
            // Nothing about these changes by trying again.
            (_, Closed | PoolTimeout | UnknownNode | Auth | Tls | System | Internal) => {
                Verdict::Final
            }
            (_, Timeout) if !self.settings.retry_on_timeout => Verdict::Final,
            (Outcome::NotSent, _) => Verdict::Again,
            (Outcome::Refused, Loading) => Verdict::Patience,
            // The key lives on another node, and goes on doing so.
            (Outcome::Refused, Cluster) if matches!(error.code(), Some("MOVED" | "ASK")) => {
                Verdict::Final
            }
            (Outcome::Refused, Cluster) => Verdict::Patience,
            // Another server is a primary now, or will soon be.
            (Outcome::Refused, ReadOnly) if self.topology.may_change() => Verdict::Patience,
            (Outcome::Refused, ReadOnly) => Verdict::Again,
            (Outcome::Refused, NoWrites) if error.code() == Some("NOREPLICAS") => Verdict::Again,
            (Outcome::Refused, _) => Verdict::Final,
            (Outcome::Unknown, Protocol | ReplyTooLarge) => Verdict::Final,
            (Outcome::Unknown, _) if class.may_repeat() => Verdict::Again,
            (Outcome::Unknown, _) => Verdict::Final,
        }
    }
}

/// Whether the failure says something about the server, and not about the command.
pub(super) fn cannot_answer(error: &Error) -> bool {
    use ErrorKind::*;
    matches!(
        error.kind(),
        Connect
            | Resolve
            | Io
            | NoHealthyPools
            | UnknownNode
            | Loading
            | Cluster
            | Auth
            | Tls
            | NoPermission
    )
}

/// Every command was refused, for a reason that passes or that tells of another node: as if one request had been.
pub(super) fn refused_whole(replies: &Reply, atomic: bool, may_change: bool) -> Option<Error> {
    use ErrorKind::{Cluster, ExecAbort, Loading, ReadOnly};
    let all = replies.children(replies.root());
    let error_of = |entry: &Entry| {
        (entry.kind == Kind::Error).then(|| Error::from_server(replies.bytes_of(entry)))
    };
    let first = all.iter().find_map(error_of)?;
    let none_done = all.iter().all(|entry| entry.kind == Kind::Error);
    if !atomic || !may_change {
        let passes = matches!(first.kind(), Loading | ReadOnly);
        return (passes && none_done).then_some(first);
    }
    let passes = |error: &Error| matches!(error.kind(), Loading | ReadOnly | Cluster);
    // EXEC executes nothing if it is refused itself, or a command was before it.
    let exec = all.last().and_then(error_of)?;
    let none_done = none_done || exec.kind() == ExecAbort || passes(&exec);
    (none_done && passes(&first)).then_some(first)
}

/// An error reply to a request of this class. A script may have done half its work before its error.
pub(crate) fn refused(text: &[u8], class: Class) -> Error {
    let error = Error::from_server(text);
    let before_it_ran = matches!(
        error.code(),
        Some("NOSCRIPT" | "LOADING" | "MASTERDOWN" | "MOVED" | "ASK" | "TRYAGAIN" | "CLUSTERDOWN")
            | Some("CROSSSLOT" | "NOPERM" | "NOAUTH" | "BUSY" | "NOREPLICAS" | "MISCONF")
    );
    match class {
        Class::Script if !before_it_ran => error.outcome_is(Outcome::Unknown),
        _ => error,
    }
}
