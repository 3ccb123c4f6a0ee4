//! What goes out together on a line: the commands of several callers, and the seats in which these wait.
//!
//! ```text
//!  bytes     GET a │ INCR b │ GET c        one write
//!  commands  seat 0  seat 1   seat 2       in the order of their replies
//!  seats     ┌──────┬────────┬──────┐      a caller leaves its empty reply here, and finds it filled
//!            └──────┴────────┴──────┘      word: all of them sleep on it, so one wake-up is enough
//! ```

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::clock::{CommandTimes, Moment, times};
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::fork::lock;
use crate::sys;
use crate::transport::Reply;

/// Commands of one batch at most. Few where all orders of callers are tried, so that full batches are met too.
const MOST: usize = if cfg!(test) { 3 } else { 128 };
/// A batch with this many bytes takes no further command.
const FULL: usize = 64 << 10;
/// Memory that a batch keeps for the next one.
const KEPT: usize = 2 * FULL;

/// What the word says to those who wait.
pub(crate) const WAIT: u32 = 0;
/// One of you shall lead: whoever takes the lead first.
pub(crate) const LEAD: u32 = 1;
/// Every seat holds a result.
pub(crate) const DONE: u32 = 2;

/// Where the callers of one batch wait.
pub(crate) struct Seats {
    word: AtomicU32,
    seats: Box<[Mutex<Seat>]>,
    /// How the batch went, where somebody wants to know.
    course: Mutex<Option<Course>>,
    timed: AtomicBool,
}

/// When a batch began to be sent, had gone out, and when the first byte came back.
#[derive(Clone, Copy)]
pub(crate) struct Course {
    began: Moment,
    sent: Moment,
    heard: Option<Moment>,
}

#[derive(Default)]
struct Seat {
    reply: Reply,
    result: Option<Result<()>>,
    /// Its caller waits no longer. Written under the lock of the line.
    gone: bool,
}

impl Seats {
    fn new() -> Seats {
        Seats {
            word: AtomicU32::new(WAIT),
            seats: (0..MOST).map(|_| Mutex::default()).collect(),
            course: Mutex::default(),
            timed: AtomicBool::new(false),
        }
    }

    /// For all who sit here and are watched.
    #[cold]
    pub(crate) fn went(&self, course: Course) {
        *lock(&self.course) = Some(course);
        self.timed.store(true, Ordering::Release);
    }

    /// A call in this batch is over: what its time went to, if anybody wants to know.
    pub(crate) fn note_times(&self) {
        if self.timed.load(Ordering::Acquire) {
            self.note_course();
        }
    }

    #[cold]
    fn note_course(&self) {
        if let Some(course) = *lock(&self.course) {
            let now = Moment::now();
            let heard = course.heard.unwrap_or(now);
            times::note(CommandTimes::exchanging(
                course.sent.since(course.began),
                heard.since(course.sent),
                now.since(heard),
            ));
        }
    }

    pub(crate) fn word(&self) -> u32 {
        self.word.load(Ordering::Acquire)
    }

    pub(crate) fn say(&self, word: u32) {
        self.word.store(word, Ordering::Release);
    }

    /// Sleeps while the word is `WAIT`, at most for `time`.
    pub(crate) fn sleep(&self, time: Duration) {
        sys::wait_on(&self.word, WAIT, time);
    }

    pub(crate) fn wake_one(&self) {
        sys::wake_one(&self.word);
    }

    pub(crate) fn wake_all(&self) {
        sys::wake_all(&self.word);
    }

    /// What became of the command in this seat, if that is known; its reply goes to `reply`.
    pub(crate) fn collect(&self, seat: usize, reply: &mut Reply) -> Option<Result<()>> {
        let mut seat = lock(&self.seats[seat]);
        let result = seat.result.take()?;
        std::mem::swap(&mut seat.reply, reply);
        self.note_times();
        Some(result)
    }

    pub(crate) fn is_settled(&self, seat: usize) -> bool {
        lock(&self.seats[seat]).result.is_some()
    }

    fn is_gone(&self, seat: usize) -> bool {
        lock(&self.seats[seat]).gone
    }

    /// Its caller waits no longer; false if its result is there already.
    pub(crate) fn leave(&self, seat: usize) -> bool {
        let mut seat = lock(&self.seats[seat]);
        seat.gone = seat.result.is_none();
        seat.gone
    }

    /// The caller takes its command, which was not sent, elsewhere.
    pub(crate) fn take_back(&self, seat: usize, reply: &mut Reply) {
        std::mem::swap(&mut lock(&self.seats[seat]).reply, reply);
    }

    fn settle(&self, seat: usize, result: Result<()>) {
        lock(&self.seats[seat]).result = Some(result);
    }
}

impl Course {
    pub(crate) fn new(began: Moment, sent: Moment) -> Course {
        let heard = None;
        Course { began, sent, heard }
    }

    pub(crate) fn heard(mut self) -> Course {
        self.heard = Some(Moment::now());
        self
    }
}

/// What became of the command of a caller that waits no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// Its result was there already.
    Settled,
    /// Nothing of it was sent, or will be.
    NotSent,
    Unknown,
}

struct Command {
    seat: usize,
    len: usize,
}

pub(crate) struct Batch {
    pub(crate) seats: Arc<Seats>,
    taken: usize,
    bytes: Vec<u8>,
    commands: Vec<Command>,
    /// Bytes that have gone out.
    sent: usize,
    /// Commands that have their replies; the next one to come is that of `commands[answered]`.
    answered: usize,
    /// The reply that is being read.
    partial: Reply,
}

impl Batch {
    pub(crate) fn new() -> Batch {
        Batch {
            seats: Arc::new(Seats::new()),
            taken: 0,
            bytes: Vec::new(),
            commands: Vec::new(),
            sent: 0,
            answered: 0,
            partial: Reply::new(),
        }
    }

    /// Makes it empty, if nobody looks at it any more.
    pub(crate) fn renew(&mut self) -> bool {
        let Some(seats) = Arc::get_mut(&mut self.seats) else {
            return false;
        };
        *seats.word.get_mut() = WAIT;
        *seats.timed.get_mut() = false;
        self.taken = 0;
        self.bytes.clear();
        self.bytes.shrink_to(KEPT);
        self.commands.clear();
        self.sent = 0;
        self.answered = 0;
        self.partial.clear();
        self.partial.trim(KEPT);
        true
    }

    pub(crate) fn has_room(&self, request: &[u8]) -> bool {
        let bytes = self.bytes.len();
        self.taken < MOST && (bytes == 0 || bytes + request.len() <= FULL)
    }

    /// Takes a command in. The caller's reply stays in the seat until the caller collects it.
    pub(crate) fn seat(&mut self, request: &[u8], reply: &mut Reply) -> usize {
        let seat = self.taken;
        self.taken += 1;
        *lock(&self.seats.seats[seat]) = Seat {
            reply: std::mem::take(reply),
            result: None,
            gone: false,
        };
        self.bytes.extend_from_slice(request);
        self.commands.push(Command {
            seat,
            len: request.len(),
        });
        seat
    }

    pub(crate) fn len(&self) -> usize {
        self.commands.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Whether nothing of it has been sent.
    pub(crate) fn is_fresh(&self) -> bool {
        self.sent == 0
    }

    /// The bytes that have not been sent.
    pub(crate) fn unsent(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    pub(crate) fn has_sent(&mut self, count: usize) {
        self.sent += count;
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.answered == self.commands.len()
    }

    /// Whether the next reply may have come already: its command is all out.
    pub(crate) fn expects_reply(&self) -> bool {
        let so_far: usize = self.commands.iter().take(self.answered + 1).map(len).sum();
        !self.is_answered() && so_far <= self.sent
    }

    /// The reply to be read into.
    pub(crate) fn partial(&mut self) -> &mut Reply {
        &mut self.partial
    }

    /// The next reply is complete: it goes to its caller.
    pub(crate) fn deliver(&mut self) {
        let mut seat = lock(&self.seats.seats[self.commands[self.answered].seat]);
        self.answered += 1;
        match seat.gone {
            false => std::mem::swap(&mut seat.reply, &mut self.partial),
            true => {
                drop(seat);
                self.partial.clear();
                self.partial.trim(KEPT);
                return;
            }
        }
        seat.result = Some(Ok(()));
    }

    /// The caller in this seat waits no longer. While nothing of the batch has been sent, its command goes with it.
    pub(crate) fn give_up(&mut self, seat: usize) -> Left {
        if !self.seats.leave(seat) {
            return Left::Settled;
        }
        let place = self.commands.iter().position(|one| one.seat == seat);
        let Some(at) = place.filter(|_| self.is_fresh()) else {
            return Left::Unknown;
        };
        let start: usize = self.commands[..at].iter().map(len).sum();
        let gone = self.commands.remove(at);
        self.bytes.drain(start..start + gone.len);
        Left::NotSent
    }

    /// Whether somebody waits for a reply that has not come.
    pub(crate) fn is_awaited(&self) -> bool {
        let mut rest = self.commands[self.answered..].iter();
        rest.any(|command| !self.seats.is_gone(command.seat))
    }

    /// Ends every command that has no reply with this error. What is not all out was not executed.
    pub(crate) fn fail(&mut self, error: &Error) {
        let mut end: usize = self.commands[..self.answered].iter().map(len).sum();
        for (place, command) in self.commands[self.answered..].iter().enumerate() {
            end += command.len;
            let mine = match (place, error.kind()) {
                (0, _) => error.clone(),
                // That one reply cannot be read says nothing about those behind it.
                (_, ErrorKind::Protocol | ErrorKind::ReplyTooLarge) => Error::new(
                    ErrorKind::Io,
                    "the connection ended with another caller's reply, which could not be read",
                ),
                _ => error.clone(),
            };
            let outcome = match end <= self.sent {
                true => Outcome::Unknown,
                false => Outcome::NotSent,
            };
            self.seats
                .settle(command.seat, Err(mine.outcome_is(outcome)));
        }
        self.answered = self.commands.len();
    }
}

fn len(command: &Command) -> usize {
    command.len
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Kind;

    const COMMANDS: [&str; 3] = ["GET a", "INCR bb", "GET ccc"];

    fn three() -> Batch {
        let mut batch = Batch::new();
        for command in COMMANDS {
            batch.seat(command.as_bytes(), &mut Reply::new());
        }
        batch
    }

    fn answer(batch: &mut Batch, bytes: &[u8]) {
        batch.partial().set_bytes(Kind::Bytes, bytes);
        batch.deliver();
    }

    /// What the callers are told, in the order of their seats.
    fn told(batch: &Batch) -> Vec<Result<()>> {
        let all = 0..batch.taken;
        all.map(|seat| {
            batch
                .seats
                .collect(seat, &mut Reply::new())
                .expect("a fate")
        })
        .collect()
    }

    #[test]
    fn what_is_not_all_out_when_the_line_breaks_was_not_sent() {
        let total: usize = COMMANDS.iter().map(|command| command.len()).sum();
        for sent in 0..=total {
            // A reply comes only to a command that is all out.
            for answered in 0..=COMMANDS.len() {
                let ends = |place: usize| -> usize {
                    COMMANDS[..=place].iter().map(|command| command.len()).sum()
                };
                if answered > 0 && ends(answered - 1) > sent {
                    break;
                }
                let mut batch = three();
                batch.has_sent(sent);
                (0..answered).for_each(|_| answer(&mut batch, b"x"));
                batch.fail(&Error::new(ErrorKind::Io, "broken"));
                assert!(batch.is_answered() && !batch.is_awaited());
                for (place, told) in told(&batch).into_iter().enumerate() {
                    let at = format!("{sent} bytes sent, {answered} answered, command {place}");
                    let outcome = told.map_err(|error| error.outcome());
                    let wanted = match () {
                        () if place < answered => Ok(()),
                        () if ends(place) <= sent => Err(Outcome::Unknown),
                        () => Err(Outcome::NotSent),
                    };
                    assert_eq!(outcome, wanted, "{at}");
                }
            }
        }
    }

    #[test]
    fn a_reply_that_cannot_be_read_is_its_own_callers_and_ends_the_line_for_those_behind() {
        for kind in [ErrorKind::Protocol, ErrorKind::ReplyTooLarge] {
            let mut batch = three();
            batch.has_sent(COMMANDS[0].len() + COMMANDS[1].len());
            answer(&mut batch, b"x");
            batch.fail(&Error::new(kind, "unreadable"));
            let told = told(&batch).into_iter().map(|told| match told {
                Ok(()) => None,
                Err(error) => Some((error.kind(), error.outcome())),
            });
            assert!(told.eq([
                None,
                Some((kind, Outcome::Unknown)),
                Some((ErrorKind::Io, Outcome::NotSent)),
            ]));
        }
    }

    #[test]
    fn its_memory_serves_again_and_what_was_huge_is_given_back() {
        let mut batch = three();
        let round = |batch: &mut Batch, request: &[u8], reply: &[u8]| {
            assert!(batch.renew(), "nobody looks at it");
            batch.seat(request, &mut Reply::new());
            batch.has_sent(request.len());
            // A caller that is gone leaves the reply behind.
            assert_eq!(batch.give_up(0), Left::Unknown);
            answer(batch, reply);
        };
        let places = |batch: &Batch| {
            (
                Arc::as_ptr(&batch.seats),
                (batch.bytes.as_ptr(), batch.bytes.capacity()),
                (batch.commands.as_ptr(), batch.commands.capacity()),
                (batch.partial.bytes.as_ptr(), batch.partial.bytes.capacity()),
            )
        };
        round(&mut batch, &[b'a'; 1000], &[b'x'; 1000]);
        let first = places(&batch);
        for _ in 0..2 {
            assert!(batch.renew());
            assert_eq!(places(&batch), first, "empty");
            round(&mut batch, &[b'b'; 900], &[b'y'; 900]);
            assert_eq!(places(&batch), first);
        }
        let huge = vec![b'z'; 1 << 20];
        round(&mut batch, &huge, &huge);
        assert!(batch.partial.bytes.capacity() <= KEPT);
        assert!(batch.renew());
        assert!(batch.bytes.capacity() <= KEPT, "{}", batch.bytes.capacity());
        // And what its callers wait with is theirs until all of them are gone.
        let seats = batch.seats.clone();
        assert!(!batch.renew());
        drop(seats);
        assert!(batch.renew());
    }
}
