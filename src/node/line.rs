//! One shared line: a connection that many callers use at once, and who of them does the work.
//!
//! ```text
//!              enter                          enter
//!   Free ───────────────> Taken (alone)        └──> a seat in the last batch of the queue
//!    ^                       │                              │ sleeps, by its own deadline
//!    │ finish, nobody waits  │ finish, somebody waits       │
//!    └───────────────────────┼──────────> Offered ──claim───┤
//!                            │  ^  to one of the next batch │
//!              leave, others │  │                           v
//!              of the batch  └──┘                    Taken: board the batch, write, read, finish
//!              still wait
//! ```
//!
//! Every step here is taken under one lock and none of them waits: writing, reading and sleeping are done outside (see
//! `line_call`). A caller leads one batch, its own. So every batch that waits has somebody in it who will lead it, and
//! nobody leads more than one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::clock::Moment;
use crate::error::Error;
use crate::fork::lock;
use crate::node::line_batch::{Batch, DONE, LEAD, Left, Seats, WAIT};
use crate::transport::Reply;

/// Batches that a line keeps for later use.
const SPARE: usize = 4;

/// A caller's place on a line.
pub(crate) struct Ticket {
    pub(crate) seats: Arc<Seats>,
    pub(crate) seat: usize,
}

/// How a caller came onto a line.
pub(crate) enum Entered<W> {
    /// It leads, with a command that is in no batch.
    Alone(W),
    /// It leads the batch in which it sits, and may let others in before it boards.
    First(Ticket),
    /// Another leads.
    Seated(Ticket),
    /// Not: another leads, or has for too long.
    Busy,
    /// Not: the line is closed.
    Closed,
}

/// What came of an offer of the lead.
pub(crate) enum Claimed<W> {
    /// Another was faster.
    No,
    /// The batch goes out next; others may be let in before it is boarded.
    Next,
    /// The batch is under way; its last leader has left.
    UnderWay(W, Batch),
}

/// Who is to be woken once the lock is free.
#[must_use]
#[derive(Default)]
pub(crate) struct Wakes {
    pub(crate) one: Option<Arc<Seats>>,
    pub(crate) all: Option<Arc<Seats>>,
}

impl Wakes {
    pub(crate) fn ring(self) {
        // The next leader first: what it writes is on its way while the others wake up.
        if let Some(seats) = self.one {
            seats.wake_one();
        }
        if let Some(seats) = self.all {
            seats.wake_all();
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lead {
    Free,
    /// To the callers of the batch under way, or of the first in the queue; one of them will take it.
    Offered,
    Taken,
}

struct State<W> {
    lead: Lead,
    /// Here, unless somebody leads.
    wire: Option<W>,
    /// A batch that its leader left before it was over.
    under_way: Option<Batch>,
    /// Batches to come. One that everybody has left stays, empty, until its turn.
    queue: VecDeque<Batch>,
    spare: Vec<Batch>,
    /// Commands of the last batch.
    last: usize,
    /// Since when the leader has led.
    since: Moment,
    closed: bool,
    tally: Tally,
}

/// What went over a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) batches: u64,
    pub(crate) commands: u64,
    /// Callers that wait at this moment.
    pub(crate) waiting: usize,
}

pub(crate) struct Line<W> {
    state: Mutex<State<W>>,
    /// Whether somebody leads, for a look without the lock.
    led: AtomicBool,
}

impl<W> Line<W> {
    pub(crate) fn new(wire: W) -> Line<W> {
        Line {
            state: Mutex::new(State {
                lead: Lead::Free,
                wire: Some(wire),
                under_way: None,
                queue: VecDeque::new(),
                spare: Vec::new(),
                last: 0,
                since: Moment::now(),
                closed: false,
                tally: Tally::default(),
            }),
            led: AtomicBool::new(false),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<W>> {
        lock(&self.state)
    }

    pub(crate) fn is_led(&self) -> bool {
        self.led.load(Ordering::Relaxed)
    }

    fn set_lead(&self, state: &mut State<W>, lead: Lead) {
        state.lead = lead;
        self.led.store(lead != Lead::Free, Ordering::Relaxed);
    }

    /// Takes the line if it is idle; else, unless it has been busy with one batch for longer than `patience`, a seat in
    /// its queue. Without patience, only an idle line is taken.
    pub(crate) fn enter(
        &self,
        request: &[u8],
        reply: &mut Reply,
        now: Moment,
        patience: Option<Duration>,
    ) -> Entered<W> {
        let mut state = self.state();
        if state.closed {
            return Entered::Closed;
        }
        if state.lead == Lead::Free {
            self.set_lead(&mut state, Lead::Taken);
            state.since = now;
            // Where the last batch had several, others are about to come.
            return match state.last > 1 {
                true => Entered::First(state.seat(request, reply)),
                false => Entered::Alone(state.wire.take().expect("here, since nobody leads")),
            };
        }
        match patience {
            Some(patience) if !state.is_stuck(now, patience) => {
                Entered::Seated(state.seat(request, reply))
            }
            _ => Entered::Busy,
        }
    }

    /// Takes the lead that is offered to the batch of this ticket.
    pub(crate) fn claim(&self, ticket: &Ticket) -> Claimed<W> {
        let mut state = self.state();
        if state.lead != Lead::Offered || !state.is_offered_to(ticket) {
            return Claimed::No;
        }
        self.set_lead(&mut state, Lead::Taken);
        ticket.seats.say(WAIT);
        match state.under_way.take() {
            None => Claimed::Next,
            Some(batch) => {
                let wire = state.wire.take().expect("here, since nobody leads");
                Claimed::UnderWay(wire, batch)
            }
        }
    }

    /// The leader begins with the batch in which it sits. None if that is over: the line was closed.
    pub(crate) fn board(&self, ticket: &Ticket, now: Moment) -> (Option<(W, Batch)>, Wakes) {
        let mut state = self.state();
        let mine =
            (state.queue.front()).is_some_and(|batch| Arc::ptr_eq(&batch.seats, &ticket.seats));
        if !mine {
            let wakes = self.offer(&mut state);
            return (None, wakes);
        }
        state.since = now;
        let batch = state.queue.pop_front().expect("just looked at");
        let wire = state.wire.take().expect("here until somebody boards");
        (Some((wire, batch)), Wakes::default())
    }

    /// The leader's batch is over: every seat of it has its result. `put_away` has the last word on the wire.
    pub(crate) fn finish(
        &self,
        mut wire: W,
        batch: Option<Batch>,
        put_away: impl FnOnce(&mut W),
    ) -> Wakes {
        let mut state = self.state();
        put_away(&mut wire);
        state.wire = Some(wire);
        let commands = batch.as_ref().map_or(1, Batch::len);
        state.last = commands;
        state.tally.batches += 1;
        state.tally.commands += commands as u64;
        let mut wakes = self.offer(&mut state);
        if let Some(batch) = batch {
            batch.seats.say(DONE);
            if commands > 1 {
                wakes.all = Some(batch.seats.clone());
            }
            state.keep(batch);
        }
        wakes
    }

    /// The leader's time is over, and its batch is not. If others wait for the rest, one of them goes on. If nobody
    /// does, wire and batch come back: the leader has to end them.
    pub(crate) fn leave(
        &self,
        wire: W,
        mut batch: Batch,
        seat: usize,
    ) -> (Left, Option<(W, Batch)>, Wakes) {
        let mut state = self.state();
        let left = batch.give_up(seat);
        if !batch.is_awaited() {
            return (left, Some((wire, batch)), Wakes::default());
        }
        state.wire = Some(wire);
        batch.seats.say(LEAD);
        let wakes = Wakes {
            one: None,
            // All of them: those who have their replies need not wait for the others.
            all: Some(batch.seats.clone()),
        };
        state.under_way = Some(batch);
        self.set_lead(&mut state, Lead::Offered);
        (left, None, wakes)
    }

    /// A caller that does not lead waits no longer. If nobody is left for the batch under way, `end` ends its wire.
    pub(crate) fn give_up(&self, ticket: &Ticket, end: impl FnOnce(&mut W)) -> (Left, Wakes) {
        let mut state = self.state();
        let offered = state.lead == Lead::Offered && state.is_offered_to(ticket);
        let (left, awaited) = match state.find(ticket) {
            Some(batch) => (batch.give_up(ticket.seat), batch.is_awaited()),
            // Another leads it, or it is over.
            None => {
                let left = match ticket.seats.leave(ticket.seat) {
                    true => Left::Unknown,
                    false => Left::Settled,
                };
                return (left, Wakes::default());
            }
        };
        if !offered {
            return (left, Wakes::default());
        }
        if awaited {
            // The one wake-up may have been this caller's.
            let wakes = Wakes {
                one: Some(ticket.seats.clone()),
                all: None,
            };
            return (left, wakes);
        }
        if let Some(batch) = state.under_way.take() {
            if !batch.is_fresh() {
                end(state.wire.as_mut().expect("here, since nobody leads"));
            }
            state.keep(batch);
        }
        (left, self.offer(&mut state))
    }

    /// Gives up a seat in the queue, if the leader has been busy with one batch for longer than `patience`.
    pub(crate) fn escape(
        &self,
        ticket: &Ticket,
        now: Moment,
        patience: Duration,
        reply: &mut Reply,
    ) -> bool {
        let mut state = self.state();
        if !state.is_stuck(now, patience) {
            return false;
        }
        let mut queue = state.queue.iter_mut();
        let mine = queue.find(|batch| Arc::ptr_eq(&batch.seats, &ticket.seats));
        let gone = mine.is_some_and(|batch| batch.give_up(ticket.seat) == Left::NotSent);
        if gone {
            ticket.seats.take_back(ticket.seat, reply);
        }
        gone
    }

    /// Turns everybody away who waits to be sent, and who comes until `reopen`. All of these are to be woken.
    #[must_use]
    pub(crate) fn close(&self, error: &Error) -> Vec<Arc<Seats>> {
        let mut state = self.state();
        state.closed = true;
        let mut turned_away = Vec::new();
        for mut batch in std::mem::take(&mut state.queue) {
            batch.fail(error);
            batch.seats.say(DONE);
            turned_away.push(batch.seats);
        }
        if state.lead == Lead::Offered && state.under_way.is_none() {
            self.set_lead(&mut state, Lead::Free);
        }
        turned_away
    }

    pub(crate) fn reopen(&self) {
        self.state().closed = false;
    }

    /// Shows the wire, unless somebody uses it.
    pub(crate) fn sweep(&self, look: impl FnOnce(&mut W)) {
        let mut state = self.state();
        if state.lead == Lead::Free
            && let Some(wire) = &mut state.wire
        {
            look(wire);
        }
    }

    /// Whether one batch has kept its leader for longer than `patience`.
    pub(crate) fn is_stuck(&self, now: Moment, patience: Duration) -> bool {
        self.is_led() && self.state().is_stuck(now, patience)
    }

    pub(crate) fn tally(&self) -> Tally {
        let state = self.state();
        Tally {
            waiting: state.queue.iter().map(Batch::len).sum(),
            ..state.tally
        }
    }

    /// Offers the lead to the next batch in which somebody waits.
    fn offer(&self, state: &mut State<W>) -> Wakes {
        while let Some(batch) = state.queue.front() {
            if !batch.is_empty() {
                batch.seats.say(LEAD);
                let one = Some(batch.seats.clone());
                self.set_lead(state, Lead::Offered);
                return Wakes { one, all: None };
            }
            let batch = state.queue.pop_front().expect("just looked at");
            state.keep(batch);
        }
        self.set_lead(state, Lead::Free);
        Wakes::default()
    }
}

impl<W> State<W> {
    fn is_stuck(&self, now: Moment, patience: Duration) -> bool {
        self.lead == Lead::Taken && now.since(self.since) > patience
    }

    fn seat(&mut self, request: &[u8], reply: &mut Reply) -> Ticket {
        if !self.queue.back().is_some_and(|last| last.has_room(request)) {
            let batch = self.fresh();
            self.queue.push_back(batch);
        }
        let batch = self.queue.back_mut().expect("there is one now");
        Ticket {
            seat: batch.seat(request, reply),
            seats: batch.seats.clone(),
        }
    }

    fn fresh(&mut self) -> Batch {
        match self.spare.iter_mut().position(Batch::renew) {
            Some(free) => self.spare.swap_remove(free),
            None => Batch::new(),
        }
    }

    fn keep(&mut self, batch: Batch) {
        if self.spare.len() < SPARE {
            self.spare.push(batch);
        }
    }

    fn is_offered_to(&self, ticket: &Ticket) -> bool {
        let next = self.under_way.as_ref().or(self.queue.front());
        next.is_some_and(|batch| Arc::ptr_eq(&batch.seats, &ticket.seats))
    }

    /// The batch of this ticket, unless somebody leads it.
    fn find(&mut self, ticket: &Ticket) -> Option<&mut Batch> {
        let mut all = self.under_way.iter_mut().chain(&mut self.queue);
        all.find(|batch| Arc::ptr_eq(&batch.seats, &ticket.seats))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_serve_again_and_few_of_them_are_kept() {
        let line = Line::new(());
        let (now, patience) = (Moment::now(), Some(Duration::from_secs(9)));
        let enter = || line.enter(b"PING", &mut Reply::new(), now, patience);
        let spare = || -> Vec<_> {
            let state = line.state();
            let mut spare: Vec<_> =
                (state.spare.iter().map(|one| Arc::as_ptr(&one.seats))).collect();
            spare.sort_unstable();
            spare
        };
        // So many at once that they need `batches`, with a leader who is alone.
        let crowd = |batches: usize| {
            let Entered::Alone(()) = enter() else {
                panic!("the line was free");
            };
            let mut seated = Vec::new();
            while line.state().queue.len() < batches {
                let Entered::Seated(ticket) = enter() else {
                    panic!("another leads");
                };
                seated.push(ticket);
            }
            line.finish((), None, |_| {}).ring();
            for ticket in &seated {
                if let Claimed::Next = line.claim(ticket) {
                    let (boarded, _) = line.board(ticket, now);
                    let (wire, mut batch) = boarded.expect("it is theirs");
                    batch.fail(&Error::new(crate::error::ErrorKind::Io, "over"));
                    line.finish(wire, Some(batch), |_| {}).ring();
                }
            }
            assert!(!line.is_led());
            // The next comes alone.
            line.state().last = 1;
        };
        crowd(3);
        let first = spare();
        assert_eq!(first.len(), 3);
        for _ in 0..2 {
            crowd(3);
            assert_eq!(spare(), first, "the same batches");
        }
        crowd(5 * SPARE);
        assert_eq!(spare().len(), SPARE);
    }
}
