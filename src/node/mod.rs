//! One server: its pools, its health, and who looks after them.

mod condition;
mod courtesy;
mod fleet;
mod health;
mod leases;
mod line;
mod line_batch;
mod line_call;
#[cfg(test)]
mod line_model;
mod lines;
pub(crate) mod listener;
mod permits;
mod pool;
mod probe;
mod reaper;
mod residents;
mod roll;
mod slot_maker;
mod witnesses;

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::clock::{self, CommandTimes, Deadline, Moment, tell, times};
use crate::config::{Endpoint, Settings};
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::fork::lock;
use crate::transport::{Connection, Dialer, Lifeline, Reached, Reply, Resolver};

pub(crate) use condition::{Condition, State};
pub(crate) use fleet::Fleet;
use health::Watch;
pub(crate) use lines::SharedLine;
use lines::{Callers, Lines};
use listener::Listener;
use permits::{Entry, Permits};
pub(crate) use pool::Pool;
use pool::{HeldSlot, Out, PoolCounters, Slot, Taken};
pub(crate) use residents::Resident;
use slot_maker::SlotMaker;
pub(crate) use witnesses::{Witness, Witnesses};

/// Whether a request may share a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Company {
    Welcome,
    /// It goes alone where a connection is to be had for it.
    RatherNot,
    /// It may take long.
    Never,
}

/// A connection idle for longer than this is asked for a sign of life before it is used.
const TRUSTED: Duration = Duration::from_secs(1);

pub(crate) struct Node {
    pub(crate) name: Arc<str>,
    pub(crate) condition: Arc<Condition>,
    pub(crate) pools: Vec<Pool>,
    /// The queue before them all: nobody waits at one pool while another has a slot.
    pub(crate) permits: Arc<Permits<Taken>>,
    pub(crate) lines: Lines,
    pub(crate) dialer: Dialer,
    /// Those of the whole fleet.
    pub(crate) witnesses: Arc<Witnesses>,
    listener: Listener,
    watch: Arc<Watch>,
    /// One increment makes every connection opened before it stale.
    generation: AtomicU64,
    next_pool: AtomicUsize,
    /// When an open connection was last found dead ([`Moment::nanos`]): those that have been idle since before then are
    /// asked for a sign of life, for what ended one may have ended them all.
    loss: AtomicU64,
    /// Held while the pools are closed or opened again: one after the other.
    gate: Mutex<()>,
    /// Its thread may end only after the pools, which know it; so it stands below them.
    _slot_maker: Arc<SlotMaker>,
}

impl Node {
    pub(crate) fn new(
        endpoint: Endpoint,
        settings: &Arc<Settings>,
        resolver: &Arc<Resolver>,
        slot_maker: &Arc<SlotMaker>,
        watch: &Arc<Watch>,
        callers: &Arc<Callers>,
        witnesses: &Arc<Witnesses>,
    ) -> Result<Node> {
        let name: Arc<str> = endpoint.address.to_string().into();
        let slots = settings.pools_per_node * settings.max_connections;
        let permits = Arc::new(Permits::new(slots));
        let pools = slot_maker.awake(|threads| {
            (0..settings.pools_per_node)
                .map(|_| Pool::new(settings.max_connections, &permits, threads))
                .collect::<Result<_>>()
        })?;
        let condition = Arc::new(Condition::new(name.clone()));
        let dialer = Dialer {
            endpoint,
            settings: settings.clone(),
            resolver: resolver.clone(),
            lifeline: Arc::new(Lifeline::default()),
        };
        Ok(Node {
            listener: Listener::new(&name, &dialer, &condition),
            condition,
            name,
            pools,
            permits,
            lines: Lines::new(settings.shared_lines, callers),
            dialer,
            watch: watch.clone(),
            witnesses: witnesses.clone(),
            generation: AtomicU64::new(1),
            next_pool: AtomicUsize::new(0),
            loss: AtomicU64::new(0),
            gate: Mutex::new(()),
            _slot_maker: slot_maker.clone(),
        })
    }

    /// Sends one packed request and reads its reply: by a shared line, or, where the lines cannot take it, on a
    /// connection of the pool.
    pub(crate) fn call(
        &self,
        request: &[u8],
        company: Company,
        reply: &mut Reply,
        started: Moment,
        deadline: Deadline,
    ) -> Result<()> {
        if company != Company::Never && self.lines.carry(request) {
            self.admit()?;
            if company == Company::RatherNot
                && let Some(spare) = Held::spare(self)
            {
                return self.call_spare(spare, request, reply, started, deadline);
            }
            return self.call_by_line(request, reply, started, deadline);
        }
        self.lines.by_pool.add();
        Held::take(self, deadline)?.call(request, reply, started, deadline)
    }

    /// Sends packed requests on a connection of the pool and reads their replies.
    pub(crate) fn call_many(
        &self,
        batch: &Batch<'_>,
        replies: &mut Reply,
        reached: &mut Reached,
    ) -> Result<()> {
        *reached = Reached::default();
        Held::take(self, batch.deadline)?.call_many(batch, replies, reached)
    }

    /// The node's push connection, for whoever wants to subscribe. Refused at once while the node is down.
    pub(crate) fn listener(&self) -> Result<&Listener> {
        self.admit()?;
        Ok(&self.listener)
    }

    /// A slot, of whichever pool, in its turn.
    fn take(&self, deadline: Deadline) -> Result<Taken> {
        self.admit()?;
        match self.permits.acquire(deadline) {
            Entry::Granted(Some(handed_over)) => Ok(handed_over),
            Entry::Granted(None) => Ok(self.slot()),
            Entry::TimedOut => Err(Error::new(
                ErrorKind::PoolTimeout,
                format!(
                    "all {} connections of the node were in use until the deadline (properties max_connections, \
                     pools_per_node)",
                    self.pools.iter().map(|pool| pool.size).sum::<usize>()
                ),
            )
            .on_node(&self.name)),
            Entry::Closed => Err(self.is_closed()),
        }
    }

    /// Whether a caller may use the node now.
    fn admit(&self) -> Result<()> {
        (self.condition.admit(self.watch.is_on())).map_err(|error| self.dialer.explain(error))
    }

    fn is_closed(&self) -> Error {
        let error = Error::new(ErrorKind::UnknownNode, "the pools of this node were closed");
        self.dialer.explain(error.on_node(&self.name))
    }

    /// A slot for a permit, from the pools in turn: which pool, and the slot.
    fn slot(&self) -> Taken {
        let count = self.pools.len();
        let first = match count {
            1 => 0,
            _ => self.next_pool.fetch_add(1, Ordering::Relaxed) % count,
        };
        // There are as many slots as permits, so one is free; but while we look at one pool it may move to another.
        (first..)
            .map(|turn| turn % count)
            .find_map(|i| Some((i, self.pools[i].take()?)))
            .expect("an endless search ends only with a slot")
    }

    /// Makes sure that the slot holds a connection that can be used. True if it is a new one.
    fn ready(
        &self,
        counters: &PoolCounters,
        slot: &mut Slot,
        now: Moment,
        deadline: Deadline,
    ) -> Result<bool> {
        let generation = self.generation.load(Ordering::Acquire);
        let current = slot.is_current(generation, now);
        let since_loss = slot.used.nanos() >= self.loss.load(Ordering::Relaxed);
        let trusted = since_loss && slot.used + TRUSTED >= now;
        if let Some(connection) = &mut slot.connection {
            if current && (trusted || answers(connection, deadline)) {
                return Ok(false);
            }
            if current {
                self.lost_one();
            }
            slot.close(counters);
        }
        let connection = self.dial(deadline)?;
        counters.opened.fetch_add(1, Ordering::Relaxed);
        slot.connection = Some(Box::new(connection));
        slot.generation = generation;
        slot.used = now;
        slot.expires = self.dialer.settings.max_lifetime.map(|age| {
            // Up to a tenth less, so that connections opened together do not end together.
            now + clock::between(age - age / 10, age)
        });
        Ok(true)
    }

    /// Works on the slot's connection, which is closed where that fails.
    fn with_open<T>(
        &self,
        counters: &PoolCounters,
        slot: &mut Slot,
        work: impl FnOnce(&mut Connection) -> Result<T>,
    ) -> Result<T> {
        // Out of the slot while the call lasts: whatever ends it early, a panic included, closes the connection.
        let Some(connection) = slot.connection.take() else {
            return Err(Error::new(ErrorKind::Io, "the connection is closed"));
        };
        let mut out = Out::new(connection, counters);
        match work(out.get()) {
            Ok(done) => {
                slot.connection = Some(out.back());
                // Now, not when the call began: one that blocked in the server for long did not leave it idle.
                slot.used = Moment::now();
                Ok(done)
            }
            Err(error) => {
                drop(out);
                if error.kind() == ErrorKind::Io {
                    self.lost_one();
                }
                Err(self.report(error))
            }
        }
    }

    /// What a caller is told of a failure on an open connection.
    fn report(&self, error: Error) -> Error {
        let error = self.dialer.explain(error).on_node(&self.name);
        self.condition.note(&error);
        error
    }

    /// Whether a slot that comes back holds a connection that must not be used again: closed here rather than at its
    /// next use, which may be long in coming.
    fn is_stale(&self, slot: &Slot) -> bool {
        slot.generation != self.generation.load(Ordering::Acquire)
            // It may have been opened while the pools were being closed, and so be of the last generation.
            || self.condition.state() == State::Closed
    }

    fn lost_one(&self) {
        self.loss.store(Moment::now().nanos(), Ordering::Relaxed);
    }

    fn dial(&self, deadline: Deadline) -> Result<Connection> {
        self.condition.may_dial()?;
        // What ended at a caller's short deadline says nothing about the node.
        let enough = self.dialer.settings.connect_timeout * 4 / 5;
        let patient = deadline.remaining().is_some_and(|left| left >= enough);
        let began = Moment::now();
        let dialled = self.dialer.dial(deadline);
        times::note(CommandTimes::connecting(began.elapsed()));
        match dialled {
            Ok(connection) => {
                self.condition.dialled(Ok(()));
                self.condition.up(connection.version(), None);
                Ok(connection)
            }
            Err(error) => {
                let error = error.on_node(&self.name);
                self.judge(&error, patient);
                Err(error)
            }
        }
    }

    /// What a failure on the way to the node says about it. `patient`: it had all the time that it may take.
    pub(crate) fn judge(&self, error: &Error, patient: bool) {
        use ErrorKind::*;
        self.condition.dialled(Err(error));
        let is_down = match error.kind() {
            Timeout => patient,
            // The server turns this connection away (it is full, or the password has changed), and may go on with
            // those that it has.
            Auth | Tls => !self.is_connected(),
            Connect if error.code().is_some() => !self.is_connected(),
            // Broken off while it was made: once is an accident.
            Io => !self.is_connected() && self.condition.stumbles(),
            Connect | Resolve | Protocol => true,
            // What our own system refuses, or close() ended, is not the node's fault.
            _ => false,
        };
        match is_down {
            true => self.down(error),
            false => self.condition.note(error),
        }
    }

    fn is_connected(&self) -> bool {
        self.pools.iter().any(|pool| pool.counters.open() > 0) || self.lines.is_connected()
    }

    /// Makes the node fail its callers at once, until it answers again.
    fn down(&self, cause: &Error) {
        if self.condition.down(cause) {
            self.purge();
            self.watch.ring();
        }
    }

    /// Tries the credentials of this moment on a connection of its own; an error if the server does not take them.
    /// What has nothing to do with them is no error here.
    pub(crate) fn try_login(&self, deadline: Deadline) -> Result<()> {
        match self.dialer.dial(deadline) {
            Err(error) if error.kind() == ErrorKind::Auth => Err(error.on_node(&self.name)),
            _ => Ok(()),
        }
    }

    /// Makes every open connection stale: idle ones are closed now, those in use when they come back. The listener
    /// connects anew.
    pub(crate) fn purge(&self) {
        let generation = self.generation.fetch_add(1, Ordering::AcqRel) + 1;
        self.listener.renew();
        self.sweep(|slot| slot.generation != generation);
    }

    /// Part of its keys is another node's now, and what was read of them may change without its telling.
    pub(crate) fn lost_keys(&self) {
        self.listener.doubt();
    }

    /// Closes idle connections that have been so for too long, are too old, or stale.
    pub(crate) fn reap(&self, max_idle: Option<Duration>) {
        let now = Moment::now();
        let generation = self.generation.load(Ordering::Acquire);
        self.sweep(|slot| {
            !slot.is_current(generation, now)
                || max_idle.is_some_and(|longest| slot.idle_for(now) > longest)
        });
    }

    /// Warns of the leases that have been held for `limit`, once of each.
    pub(crate) fn report_leases(&self, limit: Duration) {
        for age in self
            .pools
            .iter()
            .flat_map(|pool| pool.leases.overdue(limit))
        {
            tell!(
                Warn,
                "a connection to node {} has been leased for {:.1} s and is not back yet (property lease_warning)",
                self.name,
                age.as_secs_f64()
            );
        }
    }

    fn sweep(&self, stale: impl Fn(&Slot) -> bool) {
        for pool in &self.pools {
            pool.sweep(|slot| slot.connection.is_some() && stale(slot));
        }
        self.lines.sweep(stale);
    }

    /// Closes the pools: idle connections now, those in use when they come back; whoever waits is turned away.
    pub(crate) fn close(&self) {
        let _gate = lock(&self.gate);
        self.condition.close();
        self.purge();
        self.permits.close();
        self.lines.close(&self.is_closed());
    }

    pub(crate) fn reopen(&self) {
        let _gate = lock(&self.gate);
        if self.condition.state() == State::Closed {
            self.permits.reopen();
            self.lines.reopen();
            self.condition.reopen();
            self.listener.renew();
        }
    }

    /// Ends every call on this node, sleeping ones included, for good.
    pub(crate) fn shut_down(&self) {
        self.dialer.lifeline.cut();
        self.listener.close();
        self.close();
    }

    /// Waits for the end of the listener's thread, after `shut_down`.
    pub(crate) fn join(&self, deadline: Deadline) -> bool {
        self.listener.join(deadline)
    }
}

/// Asks a connection for a sign of life. A dead peer must not use up the time that a new connection needs.
fn answers(connection: &mut Connection, deadline: Deadline) -> bool {
    let left = deadline.remaining().unwrap_or_default();
    connection.is_alive(deadline.within(left / 2).within(TRUSTED))
}

/// Several packed requests that go out together.
pub(crate) struct Batch<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) count: usize,
    /// It is one transaction: without its last byte, nothing of it is executed.
    pub(crate) atomic: bool,
    pub(crate) started: Moment,
    pub(crate) deadline: Deadline,
}

/// A slot in somebody's hands; given back when dropped.
pub(crate) struct Held<N: Deref<Target = Node>> {
    node: N,
    pool: usize,
    slot: Option<HeldSlot>,
    /// Its number among the pool's leases, if it is one.
    lease: Option<u64>,
}

impl<N: Deref<Target = Node>> Held<N> {
    pub(crate) fn take(node: N, deadline: Deadline) -> Result<Held<N>> {
        let taken = (*node).take(deadline)?;
        Ok(Held::of(node, taken))
    }

    /// One that is free at this moment, for a caller that was admitted.
    pub(crate) fn spare(node: N) -> Option<Held<N>> {
        let taken = (node.permits.try_acquire()).then(|| node.slot())?;
        Some(Held::of(node, taken))
    }

    fn of(node: N, (pool, slot): Taken) -> Held<N> {
        Held {
            node,
            pool,
            slot: Some(slot),
            lease: None,
        }
    }

    /// It is somebody's lease from now on, and reported if it is held for too long.
    pub(crate) fn lease(&mut self) {
        let leases = &self.node.pools[self.pool].leases;
        self.lease.get_or_insert_with(|| leases.begin());
    }

    /// Sends one packed request and reads its reply, opening a connection first where that is needed.
    pub(crate) fn call(
        &mut self,
        request: &[u8],
        reply: &mut Reply,
        started: Moment,
        deadline: Deadline,
    ) -> Result<()> {
        self.ready(started, deadline)?;
        self.call_open(request, reply, deadline)
    }

    /// The same on the connection that is open, and on no other.
    pub(crate) fn call_open(
        &mut self,
        request: &[u8],
        reply: &mut Reply,
        deadline: Deadline,
    ) -> Result<()> {
        self.with_open(|connection| connection.call(request, reply, deadline))
    }

    /// Sends packed requests and reads their replies, opening a connection first where that is needed.
    pub(crate) fn call_many(
        &mut self,
        batch: &Batch<'_>,
        replies: &mut Reply,
        reached: &mut Reached,
    ) -> Result<()> {
        self.ready(batch.started, batch.deadline)?;
        self.call_many_open(batch, replies, reached)
    }

    /// The same on the connection that is open, and on no other.
    pub(crate) fn call_many_open(
        &mut self,
        batch: &Batch<'_>,
        replies: &mut Reply,
        reached: &mut Reached,
    ) -> Result<()> {
        self.with_open(|connection| {
            connection
                .call_many(batch.bytes, batch.count, replies, batch.deadline, reached)
                .map_err(
                    |error| match batch.atomic && reached.sent < batch.bytes.len() {
                        true => error.outcome_is(Outcome::NotSent),
                        false => error,
                    },
                )
        })
    }

    /// Does `work` on the connection that is open, and on no other.
    pub(crate) fn with_open<T>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> Result<T>,
    ) -> Result<T> {
        let counters = &self.node.pools[self.pool].counters;
        let slot = self.slot.as_mut().expect("given back only by drop");
        self.node.with_open(counters, slot, work)
    }

    pub(crate) fn node(&self) -> &N {
        &self.node
    }

    /// Opens the connection now, if it is not open yet, or can no longer be used. True if it is a new one.
    pub(crate) fn open(&mut self, deadline: Deadline) -> Result<bool> {
        self.ready(Moment::now(), deadline)
    }

    fn ready(&mut self, now: Moment, deadline: Deadline) -> Result<bool> {
        let counters = &self.node.pools[self.pool].counters;
        let slot = self.slot.as_mut().expect("given back only by drop");
        self.node.ready(counters, slot, now, deadline)
    }

    /// Closes the connection: its state is no longer that of a fresh one.
    pub(crate) fn discard(&mut self) {
        if let Some(slot) = &mut self.slot {
            slot.close(&self.node.pools[self.pool].counters);
        }
    }
}

impl<N: Deref<Target = Node>> Drop for Held<N> {
    fn drop(&mut self) {
        if let Some(number) = self.lease {
            self.node.pools[self.pool].leases.end(number);
        }
        let Some(mut slot) = self.slot.take() else {
            return;
        };
        let pool = &self.node.pools[self.pool];
        if self.node.is_stale(&slot) {
            slot.close(&pool.counters);
        }
        if let Err((_, slot)) = self.node.permits.hand_over((self.pool, slot)) {
            pool.give_back(slot);
        }
    }
}
