//! Those of this process who wait for one lock. One of them, the first, deals with the server; the others wait behind
//! it, and the lock goes from one to the next by one command.
//!
//! ```text
//!  acquire ──> waiters: [first, second, …]          the first looks (acquire script) when the lock may be free:
//!                  │                                when it is told to, when the lease that it saw is over,
//!  release ──> offers it to the first, who goes     or every 10 to 50 ms while a stranger has the lock
//!              without a look of its own
//! ```

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::clock::{self, Deadline, Moment};
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::fork::lock;
use crate::lock::hold::{self, Hold};
use crate::lock::{Site, Terms};

/// How often in a row a lock may stay in one process while others wait for it.
const STAYS: u32 = 4;

/// The pause between two looks at a lock whose holder will not wake us.
const POLL: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(50));

/// The longest time without a look, whatever the lease says.
const LONGEST: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(crate) struct Line {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiters: VecDeque<Arc<Waiter>>,
    /// Who of this process has the lock.
    holder: Option<Weak<Hold>>,
    /// How often in a row it was handed on within this process.
    stays: u32,
    /// The token under which this process stands in the server's queue, or asks for the lock.
    seat: Option<String>,
    /// When the first is to look at the lock; none: at once.
    look_at: Option<Moment>,
}

struct Waiter {
    terms: Arc<Terms>,
    bell: Condvar,
    /// Changed only under the line's lock.
    stage: Mutex<Stage>,
}

#[derive(Clone)]
enum Stage {
    Waiting,
    /// It is being handed over; in a moment it is there, or not.
    Offered,
    Has(Arc<Hold>),
}

impl Waiter {
    fn stage(&self) -> Stage {
        lock(&self.stage).clone()
    }

    fn becomes(&self, stage: Stage) {
        *lock(&self.stage) = stage;
    }
}

impl State {
    /// Until when the lock is held by a thread of this process, by the clock of leases.
    fn held_until(&mut self) -> Option<u64> {
        let holder = self.holder.as_ref()?.upgrade();
        match holder.filter(|hold| hold.is_held()) {
            Some(hold) => Some(hold.until()),
            None => {
                self.holder = None;
                None
            }
        }
    }

    fn wake_first(&self) {
        if let Some(first) = self.waiters.front() {
            first.bell.notify_one();
        }
    }

    fn look_now(&mut self) {
        self.look_at = None;
        self.wake_first();
    }
}

/// What a look at the lock found.
enum Look {
    Ours(Arc<Hold>),
    /// Somebody else has it: when to look again.
    Taken(Moment),
}

impl Line {
    /// The lock if it is to be had at this moment.
    pub(crate) fn try_acquire(
        self: &Arc<Line>,
        site: &Site,
        terms: &Arc<Terms>,
    ) -> Result<Option<Arc<Hold>>> {
        if lock(&self.state).held_until().is_some() {
            return Ok(None);
        }
        let token = site.keeper.token()?;
        match self.look(site, terms, &token, false) {
            Ok(Look::Taken(_)) => Ok(None),
            Ok(Look::Ours(hold)) => {
                let mut state = lock(&self.state);
                state.holder = Some(Arc::downgrade(&hold));
                state.stays = 0;
                Ok(Some(hold))
            }
            Err(error) => {
                self.withdraw(site, terms, token, error.outcome() != Outcome::NotSent);
                Err(error)
            }
        }
    }

    /// Waits for the lock in turn; none if it was not to be had in time.
    pub(crate) fn acquire(
        self: &Arc<Line>,
        site: &Site,
        terms: &Arc<Terms>,
        deadline: Deadline,
    ) -> Result<Option<Arc<Hold>>> {
        let me = Arc::new(Waiter {
            terms: terms.clone(),
            bell: Condvar::new(),
            stage: Mutex::new(Stage::Waiting),
        });
        let mut state = lock(&self.state);
        state.waiters.push_back(me.clone());
        loop {
            let offered = match me.stage() {
                Stage::Has(hold) => return Ok(Some(hold)),
                Stage::Offered => true,
                Stage::Waiting => false,
            };
            if !offered && let Err(closed) = site.keeper.live() {
                self.leave(state, &me, site);
                return Err(closed);
            }
            let is_first = state
                .waiters
                .front()
                .is_some_and(|first| Arc::ptr_eq(first, &me));
            let held_until = state.held_until();
            let look_at = state.look_at;
            if is_first && held_until.is_none() && look_at.is_none_or(|at| at <= Moment::now()) {
                let looked;
                (state, looked) = self.look_from(state, site, terms, deadline);
                match looked {
                    Ok(Look::Ours(hold)) => {
                        state.waiters.pop_front();
                        state.holder = Some(Arc::downgrade(&hold));
                        state.stays = 0;
                        return Ok(Some(hold));
                    }
                    // Once more from the top: who rang during the look was not heard.
                    Ok(Look::Taken(_)) => continue,
                    Err(error) => {
                        self.leave(state, &me, site);
                        return Err(error);
                    }
                }
            }
            // One to whom it is being handed has it in a moment, or hears that it has not.
            let end = match (offered, deadline.remaining()) {
                (true, _) => LONGEST,
                (false, Some(left)) => left,
                (false, None) => {
                    self.leave(state, &me, site);
                    return Ok(None);
                }
            };
            let event = match (is_first, state.held_until()) {
                (false, _) => LONGEST,
                (true, Some(until)) => Duration::from_nanos(until.saturating_sub(hold::now())),
                (true, None) => state
                    .look_at
                    .map_or(Duration::ZERO, |at| at.since(Moment::now())),
            };
            state = me
                .bell
                .wait_timeout(state, end.min(event))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// The first's look at the lock, outside of the line's own lock.
    fn look_from<'l>(
        self: &'l Arc<Line>,
        mut state: MutexGuard<'l, State>,
        site: &Site,
        terms: &Arc<Terms>,
        deadline: Deadline,
    ) -> (MutexGuard<'l, State>, Result<Look>) {
        let token = match &state.seat {
            Some(token) => Ok(token.clone()),
            None => site.keeper.token(),
        };
        let token = match token {
            Ok(token) => token,
            Err(error) => return (state, Err(error)),
        };
        state.seat = Some(token.clone());
        // Whoever rings from here on wants another look after this one.
        let far = Moment::now() + LONGEST;
        state.look_at = Some(far);
        drop(state);
        site.keeper.ears.seat(&token, self);
        let hears = site.hears(terms);
        let looked = self.look(site, terms, &token, hears);
        let looked = match looked {
            // Only now is it worth listening; and only who listens can be told.
            Ok(Look::Taken(_)) if !hears && site.listen(terms, deadline) => {
                self.look(site, terms, &token, true)
            }
            other => other,
        };
        let mut state = lock(&self.state);
        match &looked {
            Ok(Look::Ours(_)) => {
                site.keeper.ears.unseat(&token);
                state.seat = None;
                state.look_at = None;
            }
            Ok(Look::Taken(again)) if state.look_at == Some(far) => state.look_at = Some(*again),
            _ => {}
        }
        (state, looked)
    }

    /// Asks the server for the lock. When it is not known what became of that, it is asked again: the same token gets
    /// the same lock.
    fn look(
        self: &Arc<Line>,
        site: &Site,
        terms: &Arc<Terms>,
        token: &str,
        queue: bool,
    ) -> Result<Look> {
        let mut asked = hold::now();
        let mut answer = site.ask_for(terms, token, queue);
        if answer.as_ref().is_err_and(in_doubt) {
            asked = hold::now();
            match site.ask_for(terms, token, queue) {
                // The first request may have been executed all the same.
                Err(error) if error.outcome() != Outcome::Unknown => {}
                settled => answer = settled,
            }
        }
        let (got, number, wakes) = answer?;
        if got == 1 {
            let hold = Hold::new(site, terms, self, token.to_owned(), number, asked);
            // The answer took longer than the lease.
            if !hold.is_held() {
                site.keeper.watchdog.give_back(site, terms, token);
                return Ok(Look::Taken(Moment::now() + clock::between(POLL.0, POLL.1)));
            }
            return Ok(Look::Ours(hold));
        }
        let pause = match wakes == 1 && queue {
            false => clock::between(POLL.0, POLL.1),
            // A little after its end, and not all at once.
            true => Duration::from_millis(u64::try_from(number).unwrap_or_default())
                .min(LONGEST)
                .saturating_add(clock::between(
                    Duration::from_millis(1),
                    Duration::from_millis(5),
                )),
        };
        Ok(Look::Taken(Moment::now() + pause))
    }

    /// One who waited goes without the lock.
    fn leave(self: &Arc<Line>, mut state: MutexGuard<'_, State>, me: &Arc<Waiter>, site: &Site) {
        state.waiters.retain(|other| !Arc::ptr_eq(other, me));
        if !state.waiters.is_empty() {
            // Whoever is first now takes over the place in the queue.
            state.look_now();
            return;
        }
        let seat = state.seat.take();
        state.look_at = None;
        drop(state);
        if let Some(token) = seat {
            self.withdraw(site, &me.terms, token, true);
        }
        site.keeper.tidy(&me.terms.keys.main, self);
    }

    /// Takes a token out of the server's queue; and out of the lock, should it have come there meanwhile.
    fn withdraw(&self, site: &Site, terms: &Arc<Terms>, token: String, sent: bool) {
        site.keeper.ears.unseat(&token);
        if sent && site.leave(terms, &token).is_err() {
            site.keeper.watchdog.give_back(site, terms, &token);
        }
    }

    /// Gives the lock back, or on to the next of this process. True if it was still ours.
    pub(crate) fn release(self: &Arc<Line>, hold: &Arc<Hold>) -> Result<bool> {
        let site = &hold.site;
        let mut state = lock(&self.state);
        let stay = state.stays < STAYS;
        let is_holder = state
            .holder
            .as_ref()
            .is_some_and(|holder| std::ptr::eq(holder.as_ptr(), Arc::as_ptr(hold)));
        // While this process stands in the queue, its place there counts.
        let may_offer = is_holder && state.seat.is_none() && (stay || site.hears(&hold.terms));
        let heir = match may_offer {
            true => state.waiters.pop_front(),
            false => None,
        };
        // Not woken yet: a wake-up more would take its time from the server and from us.
        if let Some(heir) = &heir {
            heir.becomes(Stage::Offered);
        }
        drop(state);
        let result = self.hand_over(hold, heir.as_ref(), stay);
        let mut state = lock(&self.state);
        if is_holder {
            state.holder = None;
        }
        if let Some(heir) = &heir {
            match &result {
                Ok(Left::Has(next)) => {
                    state.holder = Some(Arc::downgrade(next));
                    state.stays += 1;
                    heir.becomes(Stage::Has(next.clone()));
                }
                _ => {
                    state.waiters.push_front(heir.clone());
                    heir.becomes(Stage::Waiting);
                }
            }
        }
        match &result {
            Ok(Left::Has(_)) => {}
            Ok(Left::InQueue(token)) => {
                state.stays = 0;
                state.seat = Some(token.clone());
                // Should it be the first in the queue, it is told when to look.
                if state.look_at.is_none() {
                    state.look_at = Some(Moment::now() + hold.terms.lease.min(LONGEST));
                }
                state.wake_first();
            }
            _ => {
                state.stays = 0;
                state.look_now();
            }
        }
        drop(state);
        // Outside of the lock, which it takes first.
        if let Some(heir) = heir {
            heir.bell.notify_one();
        }
        result.map(|left| !matches!(left, Left::NotOurs))
    }

    fn hand_over(
        self: &Arc<Line>,
        hold: &Arc<Hold>,
        heir: Option<&Arc<Waiter>>,
        stay: bool,
    ) -> Result<Left> {
        let site = &hold.site;
        let heir = match heir {
            Some(heir) => {
                let token = site.keeper.token()?;
                // If it cannot but stay here, no message will come for it.
                if !stay {
                    site.keeper.ears.seat(&token, self);
                }
                Some((token, &heir.terms))
            }
            None => None,
        };
        let asked = hold::now();
        let next = heir.as_ref().map(|(token, terms)| (token.as_str(), *terms));
        let mut answer = site.give_back(hold, next, stay);
        let doubt = answer.as_ref().is_err_and(in_doubt);
        if doubt {
            match site.give_back(hold, next, stay) {
                // Nobody but we ourselves takes it from us before its lease is over.
                Ok((0, _)) if hold::now() < hold.until() => answer = Ok((1, 0)),
                // The first request may have been executed all the same.
                Err(error) if error.outcome() != Outcome::Unknown => {}
                settled => answer = settled,
            }
        }
        let left = match (answer, heir) {
            (Ok((2, fence)), Some((token, terms))) => {
                if !stay {
                    site.keeper.ears.unseat(&token);
                }
                let next = Hold::new(site, terms, self, token, fence, asked);
                return Ok(Left::Has(next));
            }
            (Ok((3, _)), Some((token, _))) => return Ok(Left::InQueue(token)),
            (answer, heir) => {
                if let Some((token, _)) = heir {
                    site.keeper.ears.unseat(&token);
                    if doubt || answer.is_err() {
                        // It may have it, or stand in the queue.
                        site.keeper.watchdog.give_back(site, &hold.terms, &token);
                    }
                }
                answer.map(|(what, _)| match what {
                    0 => Left::NotOurs,
                    _ => Left::Free,
                })
            }
        };
        if left
            .as_ref()
            .is_err_and(|error| error.kind() != ErrorKind::WrongType)
        {
            site.keeper
                .watchdog
                .give_back(site, &hold.terms, &hold.token);
        }
        left
    }

    /// The watchdog found that a holder of this process has lost the lock.
    pub(crate) fn lost(&self) {
        let mut state = lock(&self.state);
        if state.held_until().is_none() {
            state.look_now();
        }
    }

    /// The lock was handed to this process, or may be free.
    pub(crate) fn look_now(&self) {
        lock(&self.state).look_now();
    }

    /// Whoever has the lock has it no longer than this without saying so.
    pub(crate) fn look_in(&self, time: Duration) {
        let mut state = lock(&self.state);
        let pause =
            time.min(LONGEST) + clock::between(Duration::from_millis(1), Duration::from_millis(4));
        state.look_at = Some(Moment::now() + pause);
        state.wake_first();
    }

    /// Wakes everybody: the manager is closed.
    pub(crate) fn ring(&self) {
        let state = lock(&self.state);
        state.waiters.iter().for_each(|one| one.bell.notify_one());
    }

    pub(crate) fn is_idle(&self) -> bool {
        let mut state = lock(&self.state);
        state.waiters.is_empty() && state.held_until().is_none()
    }
}

/// The server may have done what it was asked, and it is worth asking again.
fn in_doubt(error: &Error) -> bool {
    error.outcome() == Outcome::Unknown && error.is_retriable()
}

/// What became of a lock that was given back.
enum Left {
    NotOurs,
    /// It is free, or another process has it.
    Free,
    /// The next of this process has it.
    Has(Arc<Hold>),
    /// Another process has it, and the next of this one stands in the queue under this token.
    InQueue(String),
}
