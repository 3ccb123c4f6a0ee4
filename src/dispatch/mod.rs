//! One request in, one reply out: pick the node, send, and where that is safe, send again.
//!
//! Every failure says what became of the command, and that alone decides what follows. Not sent, or refused for a
//! reason that passes: again. Unknown: again only if twice is the same as once. Never past the deadline.

mod asking;
mod knowledge;
mod reading;
mod request;
mod scatter;
mod table;
mod threads;
mod verdict;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{self, Deadline};
use crate::config::{Settings, Target};
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::node::{Batch, Company, Node};
use crate::stats::{Counters, Reporters};
use crate::topology::{Picked, Topology};
use crate::transport::{Reached, Reply};
use crate::worker::Crew;

use asking::{ask, ask_many, endless};
use knowledge::Knowledge;
#[cfg(test)]
pub(crate) use reading::blocks;
pub(crate) use reading::{Answers, Join, Mute, Reading, answers, join, keys, read};
pub(crate) use request::{Class, Request};
pub(crate) use scatter::{Fate, Part};
pub(crate) use threads::Threads;
pub(crate) use verdict::refused;
use verdict::{Verdict, cannot_answer, refused_whole};
pub(crate) use watch::{Sent, Way, watched};

/// The pause before the first repetition; it doubles from there to `LONGEST`.
const FIRST_PAUSE: Duration = Duration::from_millis(4);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// How often a command follows a redirection to another node.
const REDIRECTS: u32 = 5;

pub(crate) struct Dispatch {
    pub(crate) topology: Topology,
    pub(crate) counters: Counters,
    /// Those of calls on leased connections, which know nothing of all this.
    pub(crate) leased: Arc<Counters>,
    pub(crate) consumers: Reporters,
    pub(crate) near_caches: Reporters,
    /// The threads that run users' handlers.
    pub(crate) crew: Arc<Crew>,
    settings: Arc<Settings>,
    knowledge: Knowledge,
    /// Whether anybody watches the calls.
    watched: bool,
}

impl Drop for Dispatch {
    fn drop(&mut self) {
        self.close(Deadline::after(MOMENT));
    }
}

/// Threads end within moments; the limit is for a machine that is out of breath.
const MOMENT: Duration = Duration::from_secs(1);

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
            leased: Arc::default(),
            consumers: Reporters::default(),
            near_caches: Reporters::default(),
            watched: settings.watch(),
            crew: Arc::new(Crew::new(settings.workers)),
            settings,
            knowledge: Knowledge::default(),
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
        let servers = self.topology.close(deadline);
        self.crew.close(deadline) && servers
    }

    /// Sends the request and reads its reply. An error reply comes back as an error.
    pub(crate) fn call(&self, request: &Request<'_>, reply: &mut Reply) -> Result<()> {
        self.call_by(Route::Key(request.key), request, reply)
    }

    /// The same, on one node and no other.
    pub(crate) fn call_on(
        &self,
        node: &Arc<Node>,
        request: &Request<'_>,
        reply: &mut Reply,
    ) -> Result<()> {
        self.call_by(Route::Node(node), request, reply)
    }

    /// The same, on the primary of its key, whatever may be read from replicas otherwise.
    pub(crate) fn call_primary(&self, request: &Request<'_>, reply: &mut Reply) -> Result<()> {
        self.call_by(Route::Primary(request.key), request, reply)
    }

    fn call_by(&self, route: Route<'_>, request: &Request<'_>, reply: &mut Reply) -> Result<()> {
        if self.watched {
            return self.call_watched(route, request, reply);
        }
        let mut tries = 0;
        self.counted(request.class, request.deadline, route, |node, asking| {
            let company = request.company(tries);
            tries += 1;
            self.attempt(node, asking, company, request, reply)
        })
    }

    /// Sends packed requests together, all to the node of `key`, and reads their replies, which become the elements of
    /// one array. Errors among them stay there. `class` is that of the one that may do least.
    pub(crate) fn call_many(
        &self,
        batch: &Batch<'_>,
        class: Class,
        key: Option<&[u8]>,
        replies: &mut Reply,
        reached: &mut Reached,
    ) -> Result<()> {
        // As far as an earlier attempt came whose outcome is unknown.
        let mut doubtful = 0;
        // A transaction is never read from a replica.
        let route = match batch.atomic {
            true => Route::Primary(key),
            false => Route::Key(key),
        };
        let by = batch.deadline;
        self.told(sent_as(batch), class, by, route, &mut |node, asking| {
            let sent = match asking {
                false => node.call_many(batch, replies, reached),
                true => ask_many(node, batch, replies, reached),
            };
            sent.inspect_err(|error| {
                if error.outcome() == Outcome::Unknown {
                    doubtful = doubtful.max(reached.sent);
                }
                reached.sent = reached.sent.max(doubtful);
            })?;
            match refused_whole(replies, batch.atomic, self.topology.may_change()) {
                None => Ok(()),
                Some(error) => Err(error.on_node(&node.name)),
            }
        })
    }

    /// Sends packed reads together, to one node and no other, and reads their replies, which become the elements of one
    /// array. Errors among them stay there.
    pub(crate) fn read_many_on(
        &self,
        node: &Arc<Node>,
        batch: &Batch<'_>,
        replies: &mut Reply,
    ) -> Result<()> {
        let mut reached = Reached::default();
        let (by, route) = (batch.deadline, Route::Node(node));
        self.told(sent_as(batch), Class::Read, by, route, &mut |node, _| {
            node.call_many(batch, replies, &mut reached)?;
            match refused_whole(replies, false, false) {
                None => Ok(()),
                Some(error) => Err(error.on_node(&node.name)),
            }
        })
    }

    /// As `call_by`, for who watches. Apart from it, so that a call that nobody watches is none the slower.
    #[cold]
    #[inline(never)]
    fn call_watched(
        &self,
        route: Route<'_>,
        request: &Request<'_>,
        reply: &mut Reply,
    ) -> Result<()> {
        let mut tries = 0;
        let sent = Sent {
            bytes: request.bytes,
            commands: 1,
            atomic: false,
            apart: request.apart,
        };
        let (class, by) = (request.class, request.deadline);
        self.told(sent, class, by, route, &mut |node, asking| {
            let company = request.company(tries);
            tries += 1;
            self.attempt(node, asking, company, request, reply)
        })
    }

    /// As `counted`, and tells who watches. Of a batch: there one more question does not matter.
    fn told(
        &self,
        sent: Sent<'_>,
        class: Class,
        deadline: Deadline,
        route: Route<'_>,
        attempt: &mut dyn FnMut(&Node, bool) -> Result<()>,
    ) -> Result<()> {
        let mut call = |way: &mut Way| {
            self.counted(class, deadline, route, |node, asking| {
                way.node = self.watched.then(|| node.name.clone());
                way.tries += 1;
                attempt(node, asking)
            })
        };
        match self.watched {
            false => call(&mut Way::default()),
            true => watched(&self.settings, &self.counters, sent, call, |result| {
                result.as_ref().err()
            }),
        }
    }

    fn counted(
        &self,
        class: Class,
        deadline: Deadline,
        route: Route<'_>,
        mut attempt: impl FnMut(&Node, bool) -> Result<()>,
    ) -> Result<()> {
        self.counters.calls.add();
        let errand = Errand {
            class,
            deadline,
            route,
        };
        let error = match self.way(errand) {
            Ok(node) => match attempt(&node, false) {
                Ok(()) => return Ok(()),
                Err(error) => (node, error),
            },
            Err(error) => return Err(self.failed(error, false)),
        };
        let mut in_doubt = false;
        let result = self.further(errand, error, &mut attempt, &mut in_doubt);
        result.map_err(|error| self.failed(error, in_doubt))
    }

    fn failed(&self, error: Error, in_doubt: bool) -> Error {
        self.counters.failed(&error);
        match in_doubt {
            true => error.outcome_is(Outcome::Unknown),
            false => error,
        }
    }

    /// What follows when the first attempt, at this node, ended with this error. `attempt` is also told whether it goes
    /// where an ASK led. `in_doubt`: an attempt ended without an answer. No later one takes that doubt away.
    #[cold]
    fn further<'a>(
        &'a self,
        mut errand: Errand<'a>,
        first: (Picked<'a>, Error),
        attempt: &mut dyn FnMut(&Node, bool) -> Result<()>,
        in_doubt: &mut bool,
    ) -> Result<()> {
        let (class, deadline) = (errand.class, errand.deadline);
        let mut first = Some(first);
        let mut sent_to: Option<(Arc<Node>, bool)> = None;
        let (mut tries, mut redirects) = (0, 0);
        let mut pause = FIRST_PAUSE;
        let mut before: Option<Error> = None;
        loop {
            let (node, error) = match first.take() {
                Some(failed) => failed,
                None => {
                    let (node, asking) = match sent_to.take() {
                        Some((node, asking)) => (Picked::Named(node), asking),
                        None => (self.way(errand)?, false),
                    };
                    match attempt(&node, asking) {
                        Ok(()) => return Ok(()),
                        Err(error) => (node, error),
                    }
                }
            };
            let lost = self.lost(&node, &error, errand.route);
            if node.is_replica() && cannot_answer(&error) {
                // A replica that failed is not tried again; the primary is.
                errand.route = errand.route.to_primary();
                before = Some(error);
                continue;
            }
            // That the node was marked down by our own failure a moment ago is no news; the failure is.
            if error.kind() == ErrorKind::NoHealthyPools {
                return Err(before.unwrap_or(error));
            }
            *in_doubt |= error.outcome() == Outcome::Unknown;
            if let Some(to) = self.redirected(&node, &error, errand.route)? {
                redirects += 1;
                if redirects > REDIRECTS {
                    return Err(endless(error));
                }
                sent_to = Some((to, error.code() == Some("ASK")));
                before = Some(error);
                self.counters.retries.add();
                self.counters.redirects.add();
                continue;
            }
            match self.verdict(&error, class) {
                _ if lost && tries < self.settings.retries => {}
                Verdict::Final => return Err(error),
                Verdict::Again if tries >= self.settings.retries => return Err(error),
                Verdict::Again | Verdict::Patience => {}
            }
            if error.kind() == ErrorKind::ReadOnly {
                // A primary no longer: whatever name led here may lead elsewhere now.
                node.purge();
                // What that finds out is seen by the next try.
                let _ = self.topology.look_again(deadline);
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

    /// The node for it.
    #[inline]
    fn way<'a>(&'a self, errand: Errand<'a>) -> Result<Picked<'a>> {
        if self.topology.fleet.closing.is_open() {
            return Err(Error::closed());
        }
        let (key, reads) = match errand.route {
            Route::Node(node) => return Ok(Picked::Known(node)),
            Route::Primary(key) => (key, false),
            Route::Key(key) => (key, errand.class == Class::Read),
        };
        self.topology.pick(key, reads, errand.deadline)
    }

    /// Takes something of the primary for this key. If that has just left the map, it is taken of the one that came.
    pub(crate) fn of_primary<T>(
        &self,
        key: Option<&[u8]>,
        deadline: Deadline,
        mut take: impl FnMut(Arc<Node>) -> Result<T>,
    ) -> Result<T> {
        let route = Route::Primary(key);
        let mut tries = 0;
        loop {
            let node = self.topology.pick(key, false, deadline)?.clone();
            match take(node.clone()) {
                Err(error) if self.lost(&node, &error, route) && tries < self.settings.retries => {
                    tries += 1;
                }
                result => return result,
            }
        }
    }

    /// Has the map looked at after a failure that may mean that it has changed. True if the node has left it, so that
    /// another one is to be tried.
    fn lost(&self, node: &Arc<Node>, error: &Error, route: Route<'_>) -> bool {
        use ErrorKind::*;
        if !self.topology.may_change() {
            return false;
        }
        // A node that the program added by itself says nothing about the others.
        let named = matches!(route, Route::Node(_));
        if named && !self.topology.map().has(node) {
            return false;
        }
        if matches!(
            error.kind(),
            Connect | Resolve | Io | Timeout | NoHealthyPools | Loading | Cluster
        ) {
            self.topology.doubt();
        }
        error.kind() == UnknownNode && !named && !self.topology.map().has(node)
    }

    /// What a feature met with on a connection of its own: the map is looked at where it may have changed, and where the
    /// node is no primary any more, its connections are stale.
    pub(crate) fn met(&self, node: &Arc<Node>, error: &Error) {
        self.lost(node, error, Route::Key(None));
        if error.kind() == ErrorKind::ReadOnly {
            node.purge();
            self.topology.doubt();
        }
    }

    /// Where a server's answer on such a connection leads, if it does: to another node.
    pub(crate) fn sent_on(&self, node: &Node, error: &Error) -> Result<Option<Arc<Node>>> {
        self.redirected(node, error, Route::Key(None))
    }

    /// Where the server's answer sends the command, if it does, and the command may go there.
    fn redirected(
        &self,
        node: &Node,
        error: &Error,
        route: Route<'_>,
    ) -> Result<Option<Arc<Node>>> {
        match error.code() {
            Some("MOVED" | "ASK") if !matches!(route, Route::Node(_)) => {
                self.topology.redirected(node, error)
            }
            _ => Ok(None),
        }
    }

    // It has two callers, of which one is in the way of every command.
    #[inline(always)]
    fn attempt(
        &self,
        node: &Node,
        asking: bool,
        company: Company,
        request: &Request<'_>,
        reply: &mut Reply,
    ) -> Result<()> {
        let (started, deadline) = (request.started, request.deadline);
        match asking {
            false => node.call(request.bytes, company, reply, started, deadline)?,
            true => ask(node, request, reply)?,
        }
        match reply.error_text() {
            None => Ok(()),
            Some(text) => {
                let error = refused(text, request.class).on_node(&node.name);
                Err(self.explained(error))
            }
        }
    }
}

/// What is to be done, and by when.
#[derive(Clone, Copy)]
struct Errand<'a> {
    class: Class,
    deadline: Deadline,
    route: Route<'a>,
}

fn sent_as<'a>(batch: &Batch<'a>) -> Sent<'a> {
    Sent {
        bytes: batch.bytes,
        commands: batch.count,
        atomic: batch.atomic,
        apart: false,
    }
}

/// By what a command finds its node.
#[derive(Clone, Copy)]
enum Route<'a> {
    /// What only reads may go to a replica.
    Key(Option<&'a [u8]>),
    Primary(Option<&'a [u8]>),
    /// Wherever the key lives.
    Node(&'a Arc<Node>),
}

impl Route<'_> {
    fn to_primary(self) -> Self {
        match self {
            Route::Key(key) => Route::Primary(key),
            other => other,
        }
    }
}
