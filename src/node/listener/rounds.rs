//! The inside of the listener's thread.

use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{self, Deadline, Moment, tell};
use crate::error::{Error, ErrorKind, Result};
use crate::fork::lock;
use crate::node::condition::State;
use crate::node::listener::link::{Link, News};
use crate::node::listener::topics::{Listening, Topics};
use crate::node::listener::tracking::{Tracking, Watching};
use crate::node::listener::{Order, Shared};
use crate::sys::{self, Flag, READABLE};

/// Thread and socket stay this long without a subscription: the next one is often not far.
const LINGER: Duration = Duration::from_secs(1);
/// A silent connection is asked for a sign of life after this long, where health checks are off.
const SILENCE: Duration = Duration::from_secs(10);
/// And after this long where somebody keeps copies of keys: until the loss is noticed, they are served.
const SILENCE_OF_CHANGES: Duration = Duration::from_secs(1);
/// A connection that was lost sooner than this after it was made is not made again at once.
const SHORT_LIFE: Duration = Duration::from_millis(100);
/// The pause after the first failure; it doubles up to ten times that.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// After this many failures in a row, whoever waits for a first subscription is told.
const TELLING: u32 = 2;
/// What was refused for a reason that passes is asked for again after this long.
const PASSING: Duration = Duration::from_millis(500);
/// So many messages, and then orders are looked at.
const ROUND: usize = 1024;

pub(super) struct Rounds {
    shared: Arc<Shared>,
    bell: Arc<Flag>,
    topics: Topics,
    tracking: Tracking,
    link: Option<Link>,
    /// Attempts in a row that have failed.
    failures: u32,
    /// Not before this is the next attempt made.
    next_dial: Moment,
    /// When names that the server refused are asked for once more.
    ask_again: Option<Moment>,
    /// When it ends, unless there is a subscription by then.
    ends: Moment,
}

enum Next {
    Wait(Moment),
    AtOnce,
    End,
}

impl Rounds {
    pub(super) fn new(shared: Arc<Shared>, bell: Arc<Flag>) -> Rounds {
        let now = Moment::now();
        Rounds {
            tracking: Tracking::new(&shared.name),
            shared,
            bell,
            topics: Topics::default(),
            link: None,
            failures: 0,
            next_dial: now,
            ask_again: None,
            ends: now + LINGER,
        }
    }

    pub(super) fn run(mut self) {
        loop {
            match catch_unwind(AssertUnwindSafe(|| self.round())) {
                Ok(Next::Wait(until)) => self.sleep(until),
                Ok(Next::AtOnce) => {}
                Ok(Next::End) => return,
                // The panic hook has reported it. Subscriptions must not end unseen.
                Err(_) => self.failed(Error::new(ErrorKind::Internal, "the listener panicked")),
            }
        }
    }

    fn round(&mut self) -> Next {
        if self.take_orders() {
            self.topics.close();
            self.tracking.close();
            lock(&self.shared.inbox).bell = None;
            return Next::End;
        }
        let now = Moment::now();
        if !self.is_idle() {
            self.ends = now + LINGER;
        } else if now >= self.ends && self.retire() {
            return Next::End;
        }
        if self.link.is_none() {
            if self.is_idle() {
                return Next::Wait(self.ends);
            }
            if self.shared.condition.state() == State::Closed {
                let closed = self.shared.condition.admit(true);
                self.turn_away(&closed.err().unwrap_or_else(Error::closed));
                return Next::Wait(self.ends);
            }
            if now < self.next_dial {
                return Next::Wait(self.next_dial);
            }
            self.dial();
            return Next::AtOnce;
        }
        match self.attend(now) {
            Ok(next) => next,
            Err(error) => {
                let lived = self.link.as_ref().map(|link| link.since.elapsed());
                self.lost(&error);
                match lived {
                    Some(time) if time < SHORT_LIFE => self.pause(1),
                    _ => self.next_dial = now,
                }
                Next::AtOnce
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.topics.is_empty() && self.tracking.is_empty()
    }

    fn turn_away(&mut self, error: &Error) {
        self.topics.turn_away(error);
        self.tracking.turn_away(error);
    }

    /// True if it is to end for good.
    fn take_orders(&mut self) -> bool {
        let mut inbox = lock(&self.shared.inbox);
        let orders = std::mem::take(&mut inbox.orders);
        let renew = std::mem::take(&mut inbox.renew);
        let doubt = std::mem::take(&mut inbox.doubt);
        let closed = inbox.closed;
        drop(inbox);
        if renew {
            self.lost(&Error::new(
                ErrorKind::Io,
                "the node's connections were purged",
            ));
            self.failures = 0;
            self.next_dial = Moment::now();
        }
        if doubt {
            self.tracking.doubt();
        }
        for order in orders {
            self.carry_out(order);
        }
        closed
    }

    fn carry_out(&mut self, order: Order) {
        let wanted = matches!(order, Order::Subscribe { .. } | Order::Watch { .. });
        // Somebody needs it now, and is told how the next attempt goes.
        if wanted && self.link.is_none() && self.failures >= TELLING {
            self.next_dial = Moment::now();
        }
        let link = self.link.as_mut();
        match order {
            Order::Unsubscribe { kind, name, id } => self.topics.remove(kind, &name, id, link),
            Order::Subscribe {
                kind,
                name,
                id,
                sink,
                answer,
            } => {
                let answer = Some(answer);
                self.topics
                    .add(kind, name, Listening { id, sink, answer }, link);
            }
            Order::Unwatch { id } => self.tracking.remove(id, link),
            Order::Watch {
                id,
                prefixes,
                watcher,
                answer,
            } => {
                let watching = Watching {
                    id,
                    prefixes,
                    watcher,
                    answer: Some(answer),
                };
                self.tracking.add(watching, link);
            }
        }
    }

    /// Ends it for now, unless an order has just come.
    fn retire(&mut self) -> bool {
        let mut inbox = lock(&self.shared.inbox);
        if inbox.orders.is_empty() {
            inbox.bell = None;
        }
        inbox.bell.is_none()
    }

    fn dial(&mut self) {
        let dialer = &self.shared.dialer;
        match dialer.dial(Deadline::after(dialer.settings.connect_timeout)) {
            Ok(connection) => {
                self.shared.condition.up(connection.version(), None);
                let mut link = Link::new(connection);
                self.topics.ask(&mut link);
                self.tracking.ask(&mut link);
                self.link = Some(link);
                self.ask_again = None;
            }
            Err(error) => self.failed(error.on_node(&self.shared.name)),
        }
    }

    /// Reads what has come, sends what is to go, and looks whether the server lives.
    fn attend(&mut self, now: Moment) -> Result<Next> {
        let link = self.link.as_mut().expect("there is one");
        let settings = &self.shared.dialer.settings;
        let interval = settings.health_check_interval.unwrap_or(SILENCE);
        if self.ask_again.is_some_and(|at| at <= now) {
            self.ask_again = None;
            self.topics.ask(link);
            self.tracking.ask(link);
        }
        link.flush()?;
        let mut came = 0;
        while let Some(news) = link.next()? {
            match news {
                News::Message(message) => self.topics.deliver(&message),
                News::Nothing => {}
                News::Subscribed(kind, name, number) => {
                    self.failures = 0;
                    self.topics.confirmed(kind, &name, number);
                }
                News::Refused(kind, name, number, error) => {
                    let error = error.on_node(&self.shared.name);
                    let pause = match error.kind() {
                        ErrorKind::Cluster | ErrorKind::Loading => interval.min(PASSING),
                        _ => interval,
                    };
                    if self.topics.refused(kind, &name, number, &error) {
                        tell!(
                            Warn,
                            "node {} refuses to renew a subscription, and is asked again in {:.1} s: {error}",
                            self.shared.name,
                            pause.as_secs_f64()
                        );
                        ask_again_by(&mut self.ask_again, now + pause);
                    }
                }
                News::Changed(changed) => self.tracking.deliver(&changed),
                News::Tracked(number) => {
                    self.failures = 0;
                    self.tracking.confirmed(number);
                }
                News::Untold(number, error) => {
                    self.tracking.refused(number, &error);
                    ask_again_by(&mut self.ask_again, now + interval);
                }
                News::Dropped(kind, name) => {
                    if self.topics.dropped(kind, &name) {
                        self.topics.ask(link);
                        link.flush()?;
                    }
                }
            }
            came += 1;
            if came == ROUND {
                return Ok(Next::AtOnce);
            }
        }
        let patience = settings.connect_timeout.min(settings.command_timeout);
        let silence = match self.tracking.is_empty() {
            true => interval,
            false => interval.min(SILENCE_OF_CHANGES),
        };
        let mut until = link.keep_alive(Moment::now(), silence, patience)?;
        until = until.min(self.ask_again.unwrap_or(until));
        if self.is_idle() {
            until = until.min(self.ends);
        }
        Ok(Next::Wait(until))
    }

    /// The connection is gone, if there was one.
    fn lost(&mut self, cause: &Error) {
        if self.link.take().is_some() {
            log::debug!(target: "redkeep", "the push connection to node {} was lost: {cause}", self.shared.name);
        }
        self.topics.unlink();
        self.tracking.unlink();
    }

    /// A connection could not be made.
    fn failed(&mut self, error: Error) {
        let error = self.shared.dialer.explain(error);
        self.lost(&error);
        self.failures = self.failures.saturating_add(1);
        self.shared.condition.note(&error);
        if self.failures >= TELLING {
            self.turn_away(&error);
            self.topics.cannot_be_renewed(&error);
        }
        self.pause(self.failures);
    }

    fn pause(&mut self, failures: u32) {
        let least = FIRST_PAUSE * (1 << (failures - 1).min(4)).min(10);
        self.next_dial = Moment::now() + clock::between(least, least * 8 / 5);
    }

    fn sleep(&self, until: Moment) {
        let mut entries = vec![sys::poll_entry(self.bell.as_fd(), READABLE)];
        entries.extend(self.link.as_ref().map(Link::poll_entry));
        let time = until.since(Moment::now());
        if sys::poll(&mut entries, Some(time)).is_ok() && entries[0].revents != 0 {
            self.bell.lower();
        }
    }
}

/// One refusal does not put off what another has to be asked for sooner.
fn ask_again_by(planned: &mut Option<Moment>, at: Moment) {
    *planned = Some(planned.map_or(at, |other| other.min(at)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sooner_of_two_times_is_when_it_is_asked_again() {
        let now = Moment::now();
        let mut planned = None;
        for (seconds, by) in [(10, 10), (1, 1), (10, 1)] {
            ask_again_by(&mut planned, now + Duration::from_secs(seconds));
            assert_eq!(planned, Some(now + Duration::from_secs(by)));
        }
    }
}
