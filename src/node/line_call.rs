//! A call by a shared line: taking the lead, writing and reading a batch, and waiting while another does.

use std::time::Duration;

use crate::clock::{Deadline, Moment};
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::node::line::{Claimed, Entered, Ticket};
use crate::node::line_batch::{Batch, Course, DONE, LEAD, Left, WAIT};
use crate::node::lines::SharedLine;
use crate::node::pool::Slot;
use crate::node::{Held, Node};
use crate::transport::{Connection, Reply, unasked};

/// Who waits looks this soon whether its own reply is there already, or the line is stuck; then half as often each time.
/// A leader that has its own reply waits no longer for those of others.
const NAP: Duration = Duration::from_millis(5);

const LONGEST_NAP: Duration = Duration::from_millis(40);

/// Who waits gives way so often before it goes to sleep: by then most replies are there. Measured with 16 and 64 callers
/// on two processors, this makes up to twice as many calls a second as sleeping at once; more often adds nothing.
const WAYS: usize = 5;

/// How waiting in a seat ended.
enum Waited<'a> {
    Over(Result<()>),
    /// The command has not been sent, and here is a connection for it.
    Spare(Held<&'a Node>),
    /// The command has not been sent, and another line will take it.
    Elsewhere,
}

/// How far the leader of a batch came.
enum Reached {
    Whole,
    /// Its time was over before.
    Late(Error),
    Broken(Error),
}

impl Node {
    /// Sends one packed request by a shared line, or by a connection that the pool has to spare, and reads its reply.
    pub(crate) fn call_by_line(
        &self,
        request: &[u8],
        reply: &mut Reply,
        started: Moment,
        deadline: Deadline,
    ) -> Result<()> {
        let inside = self.lines.count_in();
        let mut now = started;
        loop {
            let place = match self.lines.idle(request, reply, now) {
                None if self.lines.prefer_spare(&inside) => None,
                None => self.lines.seat(request, reply, now),
                idle => idle,
            };
            let (shared, entered) = match place {
                Some(place) => place,
                None => match Held::spare(self) {
                    Some(spare) => {
                        return self.call_spare(spare, request, reply, started, deadline);
                    }
                    None => self.lines.any_seat(request, reply, now),
                },
            };
            match entered {
                Entered::Alone(wire) => {
                    let mut leading = Leading::new(self, shared, wire, None);
                    return leading.alone(request, reply, started, deadline);
                }
                Entered::First(ticket) => return self.lead_next(shared, &ticket, reply, deadline),
                Entered::Closed => return Err(self.is_closed()),
                Entered::Busy => {}
                Entered::Seated(ticket) => match self.wait(shared, &ticket, reply, deadline) {
                    Waited::Over(result) => return result,
                    Waited::Spare(spare) => {
                        return self.call_spare(spare, request, reply, started, deadline);
                    }
                    Waited::Elsewhere => {}
                },
            }
            now = Moment::now();
        }
    }

    pub(super) fn call_spare(
        &self,
        mut spare: Held<&Node>,
        request: &[u8],
        reply: &mut Reply,
        started: Moment,
        deadline: Deadline,
    ) -> Result<()> {
        self.lines.by_pool.add();
        spare.call(request, reply, started, deadline)
    }

    /// Lets others in, and leads the batch.
    fn lead_next(
        &self,
        shared: &SharedLine,
        ticket: &Ticket,
        reply: &mut Reply,
        deadline: Deadline,
    ) -> Result<()> {
        // Those whose calls the last batch answered are about to come back: together they are half the work.
        self.lines.courtesy.give_way();
        let now = Moment::now();
        let (boarded, wakes) = shared.line.board(ticket, now);
        wakes.ring();
        match boarded {
            Some((wire, batch)) => {
                Leading::new(self, shared, wire, Some(batch)).drive(ticket, reply, now, deadline)
            }
            None => collect(ticket, reply),
        }
    }

    /// Sleeps until the reply is there, the lead is offered, another way is better, or the time is over.
    fn wait(
        &self,
        shared: &SharedLine,
        ticket: &Ticket,
        reply: &mut Reply,
        deadline: Deadline,
    ) -> Waited<'_> {
        let mut nap = NAP;
        let mut ways = 0;
        loop {
            match ticket.seats.word() {
                DONE => return Waited::Over(collect(ticket, reply)),
                LEAD => {
                    if let Some(result) = ticket.seats.collect(ticket.seat, reply) {
                        return Waited::Over(result);
                    }
                    match shared.line.claim(ticket) {
                        Claimed::No => {}
                        Claimed::Next => {
                            return Waited::Over(self.lead_next(shared, ticket, reply, deadline));
                        }
                        Claimed::UnderWay(wire, batch) => {
                            let mut leading = Leading::new(self, shared, wire, Some(batch));
                            let now = Moment::now();
                            return Waited::Over(leading.drive(ticket, reply, now, deadline));
                        }
                    }
                    continue;
                }
                _ => {}
            }
            if ways < WAYS && self.lines.courtesy.give_way() {
                ways += 1;
                continue;
            }
            let Some(left) = deadline.remaining() else {
                return Waited::Over(self.give_up(shared, ticket, reply));
            };
            ticket.seats.sleep(left.min(nap));
            if left > nap && ticket.seats.word() == WAIT {
                // The nap is over, or a signal came, which is as good.
                nap = (nap * 2).min(LONGEST_NAP);
                if let Some(result) = ticket.seats.collect(ticket.seat, reply) {
                    return Waited::Over(result);
                }
                if let Some(way) = self.escape(shared, ticket, reply) {
                    return way;
                }
            }
        }
    }

    /// Another way, where the line is stuck and the command has not been sent.
    fn escape(
        &self,
        shared: &SharedLine,
        ticket: &Ticket,
        reply: &mut Reply,
    ) -> Option<Waited<'_>> {
        let (now, patience) = (Moment::now(), self.lines.patience());
        if !shared.line.is_stuck(now, patience) {
            return None;
        }
        let way = match self.lines.are_stuck(now, Some(shared)) {
            false => Waited::Elsewhere,
            true => Waited::Spare(Held::spare(self)?),
        };
        (shared.line.escape(ticket, now, patience, reply)).then_some(way)
    }

    fn give_up(&self, shared: &SharedLine, ticket: &Ticket, reply: &mut Reply) -> Result<()> {
        let (left, wakes) = (shared.line).give_up(ticket, |slot| slot.close(&shared.counters));
        wakes.ring();
        match left {
            Left::Settled => collect(ticket, reply),
            Left::NotSent => Err(Error::new(
                ErrorKind::PoolTimeout,
                "the node's shared connections were busy until the deadline (property shared_lines)",
            )
            .on_node(&self.name)),
            Left::Unknown => {
                ticket.seats.note_times();
                Err(self.report(
                    Error::new(ErrorKind::Timeout, "no reply came in time")
                        .outcome_is(Outcome::Unknown),
                ))
            }
        }
    }
}

/// What is in a seat that has its result.
fn collect(ticket: &Ticket, reply: &mut Reply) -> Result<()> {
    let result = ticket.seats.collect(ticket.seat, reply);
    result.unwrap_or_else(|| {
        Err(Error::new(
            ErrorKind::Internal,
            "a batch ended without a reply",
        ))
    })
}

/// A leader at work. However it ends, the line goes to the next.
struct Leading<'a> {
    node: &'a Node,
    shared: &'a SharedLine,
    wire: Option<Slot>,
    batch: Option<Batch>,
}

impl<'a> Leading<'a> {
    fn new(
        node: &'a Node,
        shared: &'a SharedLine,
        wire: Slot,
        batch: Option<Batch>,
    ) -> Leading<'a> {
        Leading {
            node,
            shared,
            wire: Some(wire),
            batch,
        }
    }

    /// The price of a plain connection: one command, one reply.
    fn alone(
        &mut self,
        request: &[u8],
        reply: &mut Reply,
        started: Moment,
        deadline: Deadline,
    ) -> Result<()> {
        let (node, counters) = (self.node, &self.shared.counters);
        let slot = self.wire.as_mut().expect("there until the end");
        let result = node.ready(counters, slot, started, deadline).and_then(|_| {
            node.with_open(counters, slot, |connection| {
                connection.call(request, reply, deadline)
            })
        });
        if result.is_ok() {
            node.lines.took(started, slot.used);
        }
        self.end();
        result
    }

    /// Writes the batch and reads its replies, the caller's among them.
    fn drive(
        &mut self,
        ticket: &Ticket,
        reply: &mut Reply,
        started: Moment,
        deadline: Deadline,
    ) -> Result<()> {
        let (Some(slot), Some(batch)) = (&mut self.wire, &mut self.batch) else {
            return Err(Error::new(ErrorKind::Internal, "a batch has two leaders"));
        };
        let node = self.node;
        match work(
            node,
            self.shared,
            slot,
            batch,
            ticket.seat,
            started,
            deadline,
        ) {
            Reached::Whole => node.lines.took(started, slot.used),
            Reached::Broken(error) => batch.fail(&error),
            Reached::Late(error) => return self.leave(ticket, reply, error),
        }
        self.end();
        collect(ticket, reply)
    }

    /// The time is over, and the batch is not: another goes on, or nobody waits and the connection is of no use.
    fn leave(&mut self, ticket: &Ticket, reply: &mut Reply, error: Error) -> Result<()> {
        let (Some(wire), Some(batch)) = (self.wire.take(), self.batch.take()) else {
            return Err(error);
        };
        let (left, alone, wakes) = self.shared.line.leave(wire, batch, ticket.seat);
        wakes.ring();
        if let Some((mut wire, batch)) = alone {
            if !batch.is_fresh() {
                wire.close(&self.shared.counters);
            }
            (self.wire, self.batch) = (Some(wire), Some(batch));
            self.end();
        }
        match left {
            Left::Settled => collect(ticket, reply),
            Left::NotSent => Err(error.outcome_is(Outcome::NotSent)),
            Left::Unknown => {
                ticket.seats.note_times();
                Err(error.outcome_is(Outcome::Unknown))
            }
        }
    }

    /// Hands the line to the next, and wakes whoever waits for this batch.
    fn end(&mut self) {
        let Some(wire) = self.wire.take() else {
            return;
        };
        let (node, counters) = (self.node, &self.shared.counters);
        let wakes = self.shared.line.finish(wire, self.batch.take(), |slot| {
            // Under the line's lock: a purge comes either before, and is seen here, or after, and sees the slot.
            if node.is_stale(slot) {
                slot.close(counters);
            }
        });
        wakes.ring();
    }
}

impl Drop for Leading<'_> {
    /// Something is left only where the work ended in a panic.
    fn drop(&mut self) {
        if let Some(wire) = &mut self.wire {
            wire.close(&self.shared.counters);
            if let Some(batch) = &mut self.batch {
                batch.fail(&Error::new(
                    ErrorKind::Internal,
                    "the thread that read this reply panicked",
                ));
            }
            self.end();
        }
    }
}

/// As much of a batch as the time allows.
fn work(
    node: &Node,
    shared: &SharedLine,
    slot: &mut Slot,
    batch: &mut Batch,
    mine: usize,
    started: Moment,
    deadline: Deadline,
) -> Reached {
    let counters = &shared.counters;
    if batch.is_fresh()
        && let Err(error) = node.ready(counters, slot, started, deadline)
    {
        // What ended at this caller's own deadline says nothing to the others.
        return match deadline.passed() {
            true => Reached::Late(error),
            false => Reached::Broken(error),
        };
    }
    let exchanged = node.with_open(counters, slot, |connection| {
        exchange(connection, batch, mine, deadline)
    });
    match exchanged {
        Ok(None) => Reached::Whole,
        Ok(Some(late)) => Reached::Late(node.report(late)),
        Err(error) => Reached::Broken(error),
    }
}

/// Sends what has not been sent and reads what has not been read. A timeout comes back as such: the connection is
/// whole, and another may go on.
fn exchange(
    connection: &mut Connection,
    batch: &mut Batch,
    mine: usize,
    deadline: Deadline,
) -> Result<Option<Error>> {
    let began = connection.is_timed().then(Moment::now);
    if batch.is_fresh() {
        connection.settle(batch.partial())?;
    }
    while !batch.unsent().is_empty() {
        match connection.send_some(batch.unsent())? {
            0 => {
                if let Err(error) = connection.wait_either(deadline) {
                    return late(error);
                }
                // What has arrived is read meanwhile, so that neither side can end up waiting for the other.
                connection.take(batch.partial())?;
                while connection.advance(batch.partial())? {
                    if !batch.expects_reply() {
                        return Err(unasked());
                    }
                    batch.deliver();
                }
            }
            count => batch.has_sent(count),
        }
    }
    let mut course = began.map(|began| Course::new(began, Moment::now()));
    course.iter().for_each(|course| batch.seats.went(*course));
    while !batch.is_answered() {
        if connection.advance(batch.partial())? {
            batch.deliver();
            continue;
        }
        let until = match batch.seats.is_settled(mine) {
            true => deadline.within(NAP),
            false => deadline,
        };
        let more = connection.await_more(batch.partial(), until);
        if let (Some(course), Ok(())) = (course.take(), &more) {
            batch.seats.went(course.heard());
        }
        if let Err(error) = more {
            return late(error);
        }
    }
    Ok(None)
}

fn late(error: Error) -> Result<Option<Error>> {
    match error.kind() {
        ErrorKind::Timeout => Ok(Some(error)),
        _ => Err(error),
    }
}
