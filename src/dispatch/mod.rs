//! One request in, one reply out: pick the node, send, and where that is safe, send again.
//!
//! Every failure says what became of the command, and that alone decides what follows. Not sent, or refused for a
//! reason that passes: again. Unknown: again only if twice is the same as once. Never past the deadline.

mod request;
mod table;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{self, Deadline};
use crate::config::{Settings, Target};
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::node::{Batch, Node};
use crate::stats::Counters;
use crate::topology::Topology;
use crate::transport::{Kind, Reached, Reply};
use crate::worker::{Crew, Roster};

pub(crate) use request::{Class, Request};
#[cfg(test)]
pub(crate) use table::blocks;
pub(crate) use table::{Answers, Mute, Reading, answers, read};

/// The pause before the first repetition; it doubles from there to `LONGEST`.
const FIRST_PAUSE: Duration = Duration::from_millis(4);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

pub(crate) struct Dispatch {
    pub(crate) topology: Topology,
    pub(crate) counters: Counters,
    /// The threads that run users' handlers.
    pub(crate) crew: Arc<Crew>,
    /// The threads that features keep for themselves.
    pub(crate) roster: Roster,
    settings: Arc<Settings>,
}

impl Drop for Dispatch {
    fn drop(&mut self) {
        self.close(Deadline::after(MOMENT));
    }
}

/// Threads end within moments; the limit is for a machine that is out of breath.
const MOMENT: Duration = Duration::from_secs(1);

/// What is to be done about an error.
enum Verdict {
    /// It is the answer.
    Final,
    /// Try again, a few times.
    Again,
    /// Try again until the deadline: the server says that it needs a moment.
    Patience,
}

impl Dispatch {
    pub(crate) fn new(target: &Target, settings: Arc<Settings>) -> Result<Dispatch> {
        let topology = Topology::new(target, settings.clone())?;
        Ok(Dispatch::over(topology, settings))
    }

    /// The same for a forked child.
    pub(crate) fn renewed(parent: &Dispatch, target: &Target) -> Result<Dispatch> {
        let topology = Topology::renewed(&parent.topology, target)?;
        Ok(Dispatch::over(topology, parent.settings.clone()))
    }

    fn over(topology: Topology, settings: Arc<Settings>) -> Dispatch {
        let dispatch = Dispatch {
            topology,
            counters: Counters::default(),
            crew: Arc::new(Crew::new(settings.workers)),
            roster: Roster::default(),
            settings,
        };
        // The parent of this fork was closed, and so is its child.
        if dispatch.topology.fleet.closing.is_open() {
            dispatch.close(Deadline::after(MOMENT));
        }
        dispatch
    }

    /// Ends every call and every thread, for good. False if a thread still ran at the deadline.
    pub(crate) fn close(&self, deadline: Deadline) -> bool {
        // First the calls: the threads may be waiting in one.
        let fleet = self.topology.fleet.close(deadline);
        let own = self.roster.close(deadline);
        self.crew.close(deadline) && own && fleet
    }

    /// Sends the request and reads its reply. An error reply comes back as an error.
    pub(crate) fn call(&self, request: &Request<'_>, reply: &mut Reply) -> Result<()> {
        let pick = || self.topology.pick(request.key).map(|node| &**node);
        self.call_picked(pick, request, reply)
    }

    /// The same, on one node and no other.
    pub(crate) fn call_on(
        &self,
        node: &Node,
        request: &Request<'_>,
        reply: &mut Reply,
    ) -> Result<()> {
        self.call_picked(|| Ok(node), request, reply)
    }

    fn call_picked<'n>(
        &'n self,
        pick: impl Fn() -> Result<&'n Node>,
        request: &Request<'_>,
        reply: &mut Reply,
    ) -> Result<()> {
        let mut tries = 0;
        self.counted(request.class, request.deadline, pick, |node| {
            // Twice it went wrong, and on a shared line that may have been another's fault.
            let apart = request.apart || tries >= 2;
            tries += 1;
            self.attempt(node, apart, request, reply)
        })
    }

    /// Sends packed requests together and reads their replies, which become the elements of one array. Errors among
    /// them stay there. `class` is that of the one that may do least.
    pub(crate) fn call_many(
        &self,
        batch: &Batch<'_>,
        class: Class,
        replies: &mut Reply,
        reached: &mut Reached,
    ) -> Result<()> {
        let pick = || self.topology.home().map(|node| &**node);
        // As far as an earlier attempt came whose outcome is unknown.
        let mut doubtful = 0;
        self.counted(class, batch.deadline, pick, |node| {
            node.call_many(batch, replies, reached)
                .inspect_err(|error| {
                    if error.outcome() == Outcome::Unknown {
                        doubtful = doubtful.max(reached.sent);
                    }
                    reached.sent = reached.sent.max(doubtful);
                })?;
            match all_refused(replies) {
                None => Ok(()),
                Some(error) => Err(error.on_node(&node.name)),
            }
        })
    }

    fn counted<'n>(
        &'n self,
        class: Class,
        deadline: Deadline,
        pick: impl Fn() -> Result<&'n Node>,
        attempt: impl FnMut(&Node) -> Result<()>,
    ) -> Result<()> {
        self.counters.calls.add();
        let mut in_doubt = false;
        let result = self.attempts(class, deadline, pick, attempt, &mut in_doubt);
        result.map_err(|error| {
            self.counters.failed(&error);
            match in_doubt {
                true => error.outcome_is(Outcome::Unknown),
                false => error,
            }
        })
    }

    /// `in_doubt`: an attempt ended without an answer. No later one takes that doubt away.
    fn attempts<'n>(
        &'n self,
        class: Class,
        deadline: Deadline,
        pick: impl Fn() -> Result<&'n Node>,
        mut attempt: impl FnMut(&Node) -> Result<()>,
        in_doubt: &mut bool,
    ) -> Result<()> {
        let mut tries = 0;
        let mut pause = FIRST_PAUSE;
        let mut before: Option<Error> = None;
        loop {
            if self.topology.fleet.closing.is_open() {
                return Err(Error::closed());
            }
            let node = pick()?;
            let error = match attempt(node) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            // That the node was marked down by our own failure a moment ago is no news; the failure is.
            if error.kind() == ErrorKind::NoHealthyPools {
                return Err(before.unwrap_or(error));
            }
            *in_doubt |= error.outcome() == Outcome::Unknown;
            match self.verdict(&error, class) {
                Verdict::Final => return Err(error),
                Verdict::Again if tries >= self.settings.retries => return Err(error),
                Verdict::Again | Verdict::Patience => {}
            }
            if error.kind() == ErrorKind::ReadOnly {
                // A primary no longer: whatever name led here may lead elsewhere now.
                node.purge();
            }
            // An idle connection that the server had closed needs no pause, only another one.
            let wait = match (tries, error.kind()) {
                (0, ErrorKind::Io) => Duration::ZERO,
                _ => clock::between(pause / 2, pause),
            };
            if deadline.remaining().is_none_or(|left| left <= wait) {
                return Err(error);
            }
            self.topology.fleet.closing.sleep(wait);
            pause = (pause * 2).min(LONGEST_PAUSE);
            tries += 1;
            before = Some(error);
            self.counters.retries.add();
        }
    }

    fn attempt(
        &self,
        node: &Node,
        apart: bool,
        request: &Request<'_>,
        reply: &mut Reply,
    ) -> Result<()> {
        let (started, deadline) = (request.started, request.deadline);
        node.call(request.bytes, apart, reply, started, deadline)?;
        match reply.error_text() {
            None => Ok(()),
            Some(text) => Err(refused(text, request.class).on_node(&node.name)),
        }
    }

    fn verdict(&self, error: &Error, class: Class) -> Verdict {
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
            (Outcome::Refused, ReadOnly) => Verdict::Again,
            (Outcome::Refused, NoWrites) if error.code() == Some("NOREPLICAS") => Verdict::Again,
            (Outcome::Refused, _) => Verdict::Final,
            (Outcome::Unknown, Protocol | ReplyTooLarge) => Verdict::Final,
            (Outcome::Unknown, _) if class.may_repeat() => Verdict::Again,
            (Outcome::Unknown, _) => Verdict::Final,
        }
    }
}

/// Every command was refused, for a reason that passes: as if one request had been.
fn all_refused(replies: &Reply) -> Option<Error> {
    let all = replies.children(replies.root());
    let first = all.first().filter(|entry| entry.kind == Kind::Error)?;
    let error = Error::from_server(replies.bytes_of(first));
    let passes = matches!(error.kind(), ErrorKind::Loading | ErrorKind::ReadOnly);
    (passes && all.iter().all(|entry| entry.kind == Kind::Error)).then_some(error)
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
