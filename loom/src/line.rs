//! The shared line with real threads, locks and sleeps: what src/node/line_model.rs, where a step under the lock is one,
//! takes for granted. A caller does here what src/node/line_call.rs does.

use std::time::Duration;

use crate::clock::Moment;
use crate::error::{Error, ErrorKind, Outcome};
use crate::node::line::{Claimed, Entered, Line, Ticket, Wakes};
use crate::node::line_batch::{Batch, DONE, LEAD, Left};
use crate::sync::Arc;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::transport::{Kind, Reply};
use loom::thread;

/// Stands for a connection: the commands that it carries and that have not been answered.
type Wire = Vec<u8>;

const PATIENCE: Option<Duration> = Some(Duration::from_secs(9));

struct Scene {
    line: Line<Wire>,
    /// How many commands reached the server.
    executed: AtomicUsize,
    start: Moment,
}

type Told = Result<u8, Outcome>;

/// How a caller behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Stays,
    /// Its time is over when it has sent its batch.
    Leaves,
    /// Its time is over when it would have to sleep.
    GivesUp,
}

use Manner::{GivesUp, Leaves, Stays};

impl Scene {
    fn call(&self, tag: u8, manner: Manner) -> Told {
        let mut reply = Reply::new();
        match self.line.enter(&[tag], &mut reply, self.start, PATIENCE) {
            Entered::Alone(wire) => {
                assert!(wire.is_empty(), "a reply is left over");
                self.executed.fetch_add(1, Ordering::Relaxed);
                self.line.finish(wire, None, |_| {}).ring();
                Ok(tag)
            }
            Entered::First(ticket) => self.lead(&ticket, reply, manner),
            Entered::Seated(ticket) => self.wait(&ticket, reply, manner),
            Entered::Closed => Err(Outcome::NotSent),
            Entered::Busy => unreachable!("there is patience"),
        }
    }

    fn wait(&self, ticket: &Ticket, mut reply: Reply, manner: Manner) -> Told {
        loop {
            match ticket.seats.word() {
                DONE => return collect(ticket, &mut reply).expect("a result"),
                LEAD => {
                    if let Some(told) = collect(ticket, &mut reply) {
                        return told;
                    }
                    match self.line.claim(ticket) {
                        Claimed::No => thread::yield_now(),
                        Claimed::Next => return self.lead(ticket, reply, manner),
                        Claimed::UnderWay(wire, batch) => {
                            return self.drive(ticket, reply, wire, batch, manner);
                        }
                    }
                }
                _ if manner == GivesUp => {
                    let (left, wakes) = self.line.give_up(ticket, Wire::clear);
                    wakes.ring();
                    return told(left, ticket, &mut reply);
                }
                _ => ticket.seats.sleep(Duration::MAX),
            }
        }
    }

    fn lead(&self, ticket: &Ticket, mut reply: Reply, manner: Manner) -> Told {
        let (boarded, wakes) = self.line.board(ticket, self.start);
        wakes.ring();
        match boarded {
            Some((wire, batch)) => self.drive(ticket, reply, wire, batch, manner),
            None => collect(ticket, &mut reply).expect("a result"),
        }
    }

    fn drive(
        &self,
        ticket: &Ticket,
        mut reply: Reply,
        mut wire: Wire,
        mut batch: Batch,
        manner: Manner,
    ) -> Told {
        if batch.is_fresh() {
            assert!(wire.is_empty(), "a reply is left over");
        }
        let unsent = batch.unsent().to_vec();
        self.executed.fetch_add(unsent.len(), Ordering::Relaxed);
        batch.has_sent(unsent.len());
        wire.extend(unsent);
        if manner == Leaves {
            // Its time is over: another goes on, or nobody is left.
            let (left, alone, wakes) = self.line.leave(wire, batch, ticket.seat);
            wakes.ring();
            if let Some((_, batch)) = alone {
                self.end(Wire::new(), batch);
            }
            return told(left, ticket, &mut reply);
        }
        while !batch.is_answered() {
            assert!(batch.expects_reply());
            let tag = wire.remove(0);
            batch.partial().set_bytes(Kind::Bytes, &[tag]);
            batch.deliver();
        }
        self.end(wire, batch);
        collect(ticket, &mut reply).expect("a result")
    }

    fn end(&self, wire: Wire, batch: Batch) {
        let wakes: Wakes = self.line.finish(wire, Some(batch), |_| {});
        wakes.ring();
    }
}

fn told(left: Left, ticket: &Ticket, reply: &mut Reply) -> Told {
    match left {
        Left::Settled => collect(ticket, reply).expect("a result"),
        Left::NotSent => Err(Outcome::NotSent),
        Left::Unknown => Err(Outcome::Unknown),
    }
}

fn collect(ticket: &Ticket, reply: &mut Reply) -> Option<Told> {
    let result = ticket.seats.collect(ticket.seat, reply)?;
    Some(match result {
        Ok(()) => Ok(reply.as_bytes().expect("a string")[0]),
        Err(error) => Err(error.outcome()),
    })
}

/// Threads that make these calls, one after the other.
fn meet(callers: &'static [&'static [Manner]], more: impl Fn(&Scene) + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    // Those orders in which threads that could go on have to stop so often, and all values that loads may see in them. Each
    // more takes four times as long: with these it is about a minute, and without a bound two threads alone take longer
    // than anybody would wait.
    builder.preemption_bound = Some(if callers.len() > 2 { 3 } else { 7 });
    builder.check(move || {
        let scene = Arc::new(Scene {
            line: Line::new(Wire::new()),
            executed: AtomicUsize::new(0),
            start: Moment::now(),
        });
        let work = |me: usize, plan: &'static [Manner]| {
            let scene = scene.clone();
            move || {
                let mut sent = 0;
                for (n, &manner) in plan.iter().enumerate() {
                    let tag = (10 * me + n) as u8;
                    match scene.call(tag, manner) {
                        Ok(got) => assert_eq!(got, tag, "another's reply"),
                        Err(Outcome::NotSent) => continue,
                        Err(outcome) => assert!(outcome == Outcome::Unknown),
                    }
                    sent += 1;
                }
                sent
            }
        };
        let others: Vec<_> = (1..callers.len())
            .map(|me| thread::spawn(work(me, callers[me])))
            .collect();
        more(&scene);
        let mut sent: usize = work(0, callers[0])();
        for other in others {
            sent += other.join().unwrap();
        }
        assert_eq!(
            scene.executed.load(Ordering::Relaxed),
            sent,
            "an outcome is not true"
        );
        assert!(!scene.line.is_led());
        assert_eq!(scene.line.tally().waiting, 0);
        scene
            .line
            .sweep(|wire| assert!(wire.is_empty(), "a reply is left over"));
    });
}

#[test]
fn two_callers_meet() {
    meet(&[&[Stays], &[Stays]], |_| {});
}

#[test]
fn two_callers_meet_twice() {
    meet(&[&[Stays, Stays], &[Stays, Stays]], |_| {});
}

#[test]
fn three_callers_meet() {
    meet(&[&[Stays], &[Stays], &[Stays]], |_| {});
}

#[test]
fn a_leader_leaves() {
    meet(&[&[Stays, Stays], &[Leaves], &[Leaves]], |_| {});
}

#[test]
fn those_who_wait_give_up() {
    meet(&[&[Stays], &[GivesUp], &[GivesUp]], |_| {});
    meet(&[&[Stays], &[GivesUp], &[Stays]], |_| {});
    meet(&[&[Stays, Stays], &[Leaves], &[GivesUp]], |_| {});
    meet(&[&[Stays, Stays], &[GivesUp, Stays]], |_| {});
    meet(&[&[Leaves, Stays], &[GivesUp, GivesUp]], |_| {});
}

#[test]
fn the_line_is_closed_meanwhile() {
    meet(&[&[Stays], &[Stays], &[Stays]], |scene| {
        let error = Error::new(ErrorKind::Closed, "closed");
        for seats in scene.line.close(&error) {
            seats.wake_all();
        }
    });
}
