//! Every order in which callers can meet on a line: each step of each caller at each point, leaders that leave or break the
//! wire, callers that give up, a wake-up that reaches whichever sleeper.
//!
//! A step of a [`Line`](crate::node::line::Line) is one section under its lock, so an order of such steps is all that
//! threads can do to it. The callers here are automata that take them one at a time; who is next is a choice, and all
//! choices are tried (or, for many callers, random ones). What must hold in each: every caller ends with its own reply or
//! with a true outcome, nobody sleeps while nobody is left to wake him, and the line is as free as before.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Moment;
use crate::error::{Error, ErrorKind, Outcome};
use crate::node::line::{Claimed, Entered, Line, Ticket, Wakes};
use crate::node::line_batch::{Batch, DONE, LEAD, Left, Seats, WAIT};
use crate::transport::{Kind, Reply};

/// Stands for a connection: the commands that it carries and that have not been answered.
#[derive(Default)]
struct Wire {
    asked: VecDeque<u8>,
}

enum Phase {
    Outside,
    Alone(Wire),
    /// Leads its own batch, and lets others in.
    Yields(Ticket),
    Drives(Ticket, Box<(Wire, Batch)>),
    Awake(Ticket),
    SawLead(Ticket),
    Asleep(Ticket),
    /// Its time was over when nothing was there yet. What is said to it from now on, it does not hear.
    GivesUp(Ticket),
    Finished,
}

/// What a caller can do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Go,
    /// The wire breaks under its leader.
    Break,
    /// The deadline passes.
    Late,
    /// It looks for another way.
    Escape,
    /// Everybody who waits to be sent is turned away.
    Close,
}

struct Caller {
    phase: Phase,
    reply: Reply,
    calls_left: usize,
    tag: u8,
    /// Batches that it has led in this call.
    led: usize,
}

/// Who decides: in turn all ways there are, or chance.
struct Choices {
    path: Vec<(usize, usize)>,
    at: usize,
    random: Option<u64>,
}

impl Choices {
    fn pick(&mut self, count: usize) -> usize {
        if count == 1 {
            return 0;
        }
        if let Some(seed) = &mut self.random {
            *seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            return (*seed >> 33) as usize % count;
        }
        if self.at == self.path.len() {
            self.path.push((0, count));
        }
        let (choice, known) = self.path[self.at];
        assert_eq!(known, count, "a run is not the same twice");
        self.at += 1;
        choice
    }

    /// The next way; false when all have been tried.
    fn next(&mut self) -> bool {
        self.at = 0;
        while let Some((choice, count)) = self.path.pop() {
            if choice + 1 < count {
                self.path.push((choice + 1, count));
                return true;
            }
        }
        false
    }
}

struct Model<'a> {
    line: Line<Wire>,
    callers: Vec<Caller>,
    choices: &'a mut Choices,
    /// Steps other than `Go` that may still be taken.
    mishaps: usize,
    /// Commands that reached the server, in their order.
    executed: Vec<u8>,
    /// Those whose callers were told that they did not.
    not_sent: Vec<u8>,
    next_tag: u8,
    start: Moment,
    closed: bool,
}

impl Model<'_> {
    fn new(callers: usize, calls: usize, mishaps: usize, choices: &mut Choices) -> Model<'_> {
        Model {
            line: Line::new(Wire::default()),
            callers: (0..callers)
                .map(|_| Caller {
                    phase: Phase::Outside,
                    reply: Reply::new(),
                    calls_left: calls,
                    tag: 0,
                    led: 0,
                })
                .collect(),
            choices,
            mishaps,
            executed: Vec::new(),
            not_sent: Vec::new(),
            next_tag: 0,
            start: Moment::now(),
            closed: false,
        }
    }

    fn run(mut self) {
        loop {
            let steps = self.steps();
            if !steps.iter().any(|(_, step)| *step == Step::Go) {
                let stuck = self.callers.iter().filter(|caller| !caller.is_finished());
                assert_eq!(
                    stuck.count(),
                    0,
                    "somebody sleeps, and nobody will wake him"
                );
                break;
            }
            let (who, step) = steps[self.choices.pick(steps.len())];
            self.mishaps -= usize::from(step != Step::Go);
            self.take(who, step);
        }
        assert!(!self.line.is_led());
        assert_eq!(self.line.tally().waiting, 0);
        self.line.sweep(|wire| assert!(wire.asked.is_empty()));
        // Not later either: what a caller was told remains true.
        let sent_later = self.not_sent.iter().find(|tag| self.executed.contains(tag));
        assert_eq!(sent_later, None, "it was sent after all");
    }

    /// Everything that can happen next.
    fn steps(&self) -> Vec<(usize, Step)> {
        let mut steps = Vec::new();
        for (who, caller) in self.callers.iter().enumerate() {
            match &caller.phase {
                Phase::Finished => continue,
                Phase::Asleep(_) => {}
                _ => steps.push((who, Step::Go)),
            }
            if self.mishaps == 0 {
                continue;
            }
            match &caller.phase {
                Phase::Drives(..) => steps.extend([(who, Step::Break), (who, Step::Late)]),
                Phase::Asleep(_) => steps.extend([(who, Step::Late), (who, Step::Escape)]),
                Phase::Awake(ticket) if ticket.seats.word() == WAIT => {
                    steps.push((who, Step::Late))
                }
                Phase::Alone(_) => steps.push((who, Step::Break)),
                Phase::Outside if who == 0 && !self.closed => steps.push((who, Step::Close)),
                _ => {}
            }
        }
        steps
    }

    fn take(&mut self, who: usize, step: Step) {
        let phase = std::mem::replace(&mut self.callers[who].phase, Phase::Finished);
        let next = match (phase, step) {
            (Phase::Outside, Step::Close) => {
                let error = Error::new(ErrorKind::UnknownNode, "closed");
                for seats in self.line.close(&error) {
                    self.wake_all(&seats);
                }
                self.closed = true;
                Phase::Outside
            }
            (Phase::Outside, _) => self.enter(who),
            (Phase::Alone(mut wire), Step::Break) => {
                self.send(&mut wire, &[self.callers[who].tag]);
                wire = Wire::default();
                self.end(wire, None);
                self.finish(who, Err(Outcome::Unknown))
            }
            (Phase::Alone(mut wire), _) => {
                assert!(wire.asked.is_empty(), "a reply is left over");
                let tag = self.callers[who].tag;
                self.send(&mut wire, &[tag]);
                wire.asked.clear();
                self.end(wire, None);
                self.finish(who, Ok(tag))
            }
            (Phase::Yields(ticket), _) => {
                let (boarded, wakes) = self.line.board(&ticket, self.start);
                self.ring(wakes);
                match boarded {
                    Some(both) => self.leads(who, ticket, both),
                    None => self.collect(who, &ticket),
                }
            }
            (Phase::Drives(ticket, both), step) => self.drive(who, ticket, *both, step),
            // Who finds something in the end takes it.
            (Phase::Asleep(ticket) | Phase::Awake(ticket), Step::Late) => {
                match ticket.seats.word() {
                    WAIT => Phase::GivesUp(ticket),
                    _ => Phase::Awake(ticket),
                }
            }
            (Phase::Awake(ticket), _) => match ticket.seats.word() {
                DONE => self.collect(who, &ticket),
                LEAD => Phase::SawLead(ticket),
                _ => Phase::Asleep(ticket),
            },
            (Phase::SawLead(ticket), _) => match self.settled(who, &ticket) {
                Some(phase) => phase,
                None => match self.line.claim(&ticket) {
                    Claimed::No => Phase::Awake(ticket),
                    Claimed::Next => Phase::Yields(ticket),
                    Claimed::UnderWay(wire, batch) => self.leads(who, ticket, (wire, batch)),
                },
            },
            (Phase::Asleep(ticket), Step::Escape) => {
                let late = self.start + Duration::from_secs(1);
                let reply = &mut self.callers[who].reply;
                match self.line.escape(&ticket, late, Duration::ZERO, reply) {
                    true => self.finish(who, Err(Outcome::NotSent)),
                    false => Phase::Awake(ticket),
                }
            }
            (Phase::Asleep(_), _) => unreachable!("it sleeps"),
            (Phase::GivesUp(ticket), _) => {
                let (left, wakes) = self.line.give_up(&ticket, |wire| *wire = Wire::default());
                self.ring(wakes);
                self.left(who, &ticket, left)
            }
            (Phase::Finished, _) => unreachable!("it does nothing more"),
        };
        self.callers[who].phase = next;
    }

    fn enter(&mut self, who: usize) -> Phase {
        self.next_tag += 1;
        let caller = &mut self.callers[who];
        caller.tag = self.next_tag;
        caller.calls_left -= 1;
        caller.led = 0;
        let request = [caller.tag];
        let patience = Some(Duration::from_secs(9));
        match (self.line).enter(&request, &mut caller.reply, self.start, patience) {
            Entered::Alone(wire) => Phase::Alone(wire),
            Entered::First(ticket) => Phase::Yields(ticket),
            Entered::Seated(ticket) => Phase::Awake(ticket),
            Entered::Closed => self.finish(who, Err(Outcome::NotSent)),
            Entered::Busy => unreachable!("there is patience"),
        }
    }

    /// A batch is this caller's to lead: its own, and no other in the same call.
    fn leads(&mut self, who: usize, ticket: Ticket, both: (Wire, Batch)) -> Phase {
        self.callers[who].led += 1;
        assert_eq!(
            self.callers[who].led, 1,
            "it leads one batch after the other"
        );
        assert!(Arc::ptr_eq(&both.1.seats, &ticket.seats), "another's batch");
        Phase::Drives(ticket, Box::new(both))
    }

    /// One command goes out, or one reply comes in, or the leader stops.
    fn drive(&mut self, who: usize, ticket: Ticket, both: (Wire, Batch), step: Step) -> Phase {
        let (mut wire, mut batch) = both;
        match step {
            Step::Break => {
                batch.fail(&Error::new(ErrorKind::Io, "broken"));
                self.end(Wire::default(), Some(batch));
                self.led(&ticket);
                self.collect(who, &ticket)
            }
            Step::Late => {
                let (left, alone, wakes) = self.line.leave(wire, batch, ticket.seat);
                self.ring(wakes);
                if let Some((mut wire, batch)) = alone {
                    if !batch.is_fresh() {
                        wire = Wire::default();
                    }
                    self.end(wire, Some(batch));
                }
                self.left(who, &ticket, left)
            }
            _ => {
                if let Some(&tag) = batch.unsent().first() {
                    assert!(!batch.is_fresh() || wire.asked.is_empty(), "left over");
                    batch.has_sent(1);
                    self.send(&mut wire, &[tag]);
                } else if !batch.is_answered() {
                    assert!(batch.expects_reply());
                    let tag = wire.asked.pop_front().expect("one for each");
                    batch.partial().set_bytes(Kind::Bytes, &[tag]);
                    batch.deliver();
                } else {
                    self.end(wire, Some(batch));
                    self.led(&ticket);
                    return self.collect(who, &ticket);
                }
                Phase::Drives(ticket, Box::new((wire, batch)))
            }
        }
    }

    /// Whoever has led a batch to its end is offered no other.
    fn led(&self, ticket: &Ticket) {
        assert!(
            matches!(self.line.claim(ticket), Claimed::No),
            "a second one"
        );
    }

    fn send(&mut self, wire: &mut Wire, tags: &[u8]) {
        wire.asked.extend(tags);
        self.executed.extend(tags);
    }

    fn end(&mut self, wire: Wire, batch: Option<Batch>) {
        let wakes = self.line.finish(wire, batch, |_| {});
        self.ring(wakes);
    }

    fn left(&mut self, who: usize, ticket: &Ticket, left: Left) -> Phase {
        match left {
            Left::Settled => self.collect(who, ticket),
            Left::NotSent => self.finish(who, Err(Outcome::NotSent)),
            Left::Unknown => self.finish(who, Err(Outcome::Unknown)),
        }
    }

    fn collect(&mut self, who: usize, ticket: &Ticket) -> Phase {
        self.settled(who, ticket).expect("a result")
    }

    fn settled(&mut self, who: usize, ticket: &Ticket) -> Option<Phase> {
        let reply = &mut self.callers[who].reply;
        let result = ticket.seats.collect(ticket.seat, reply)?;
        let result = match result {
            Ok(()) => Ok(reply.as_bytes().expect("a string")[0]),
            Err(error) => Err(error.outcome()),
        };
        // Whoever broke the wire knew what had gone out.
        if result == Err(Outcome::Unknown) {
            let tag = self.callers[who].tag;
            assert!(self.executed.contains(&tag), "it was not sent");
        }
        Some(self.finish(who, result))
    }

    /// The end of a call: what it is told must be true.
    fn finish(&mut self, who: usize, result: Result<u8, Outcome>) -> Phase {
        let caller = &self.callers[who];
        let times = self
            .executed
            .iter()
            .filter(|&&tag| tag == caller.tag)
            .count();
        match result {
            Ok(tag) => assert_eq!((tag, times), (caller.tag, 1), "another's reply"),
            Err(Outcome::NotSent) => {
                assert_eq!(times, 0, "it was sent");
                self.not_sent.push(caller.tag);
            }
            Err(_) => assert!(times <= 1),
        }
        match caller.calls_left {
            0 => Phase::Finished,
            _ => Phase::Outside,
        }
    }

    fn ring(&mut self, wakes: Wakes) {
        if let Some(seats) = &wakes.one {
            let asleep: Vec<usize> = (0..self.callers.len())
                .filter(|&who| self.callers[who].sleeps_in(seats))
                .collect();
            if !asleep.is_empty() {
                let lucky = self.choices.pick(asleep.len());
                self.callers[asleep[lucky]].wake();
            }
        }
        if let Some(seats) = &wakes.all {
            self.wake_all(seats);
        }
    }

    fn wake_all(&mut self, seats: &Arc<Seats>) {
        let asleep = self.callers.iter_mut();
        asleep
            .filter(|caller| caller.sleeps_in(seats))
            .for_each(Caller::wake);
    }
}

impl Caller {
    fn is_finished(&self) -> bool {
        matches!(self.phase, Phase::Finished)
    }

    fn sleeps_in(&self, seats: &Arc<Seats>) -> bool {
        matches!(&self.phase, Phase::Asleep(ticket) if Arc::ptr_eq(&ticket.seats, seats))
    }

    fn wake(&mut self) {
        let phase = std::mem::replace(&mut self.phase, Phase::Finished);
        self.phase = match phase {
            Phase::Asleep(ticket) => Phase::Awake(ticket),
            other => other,
        };
    }
}

/// Tries all orders; returns how many there are.
fn all_orders(callers: usize, calls: usize, mishaps: usize) -> usize {
    let mut choices = Choices {
        path: Vec::new(),
        at: 0,
        random: None,
    };
    let mut orders = 0;
    loop {
        Model::new(callers, calls, mishaps, &mut choices).run();
        orders += 1;
        if !choices.next() {
            return orders;
        }
    }
}

#[test]
fn two_callers_in_every_order_with_two_mishaps() {
    println!("{}", all_orders(2, 1, 2));
    println!("{}", all_orders(2, 2, 1));
}

#[test]
fn three_callers_in_every_order() {
    println!("{}", all_orders(3, 1, 0));
}

#[test]
fn three_callers_in_every_order_with_a_mishap() {
    println!("{}", all_orders(3, 1, 1));
}

#[test]
fn many_callers_in_random_orders_with_many_mishaps() {
    for seed in 0..20_000 {
        let mut choices = Choices {
            path: Vec::new(),
            at: 0,
            random: Some(seed),
        };
        Model::new(2 + seed as usize % 8, 3, seed as usize % 7, &mut choices).run();
    }
}
