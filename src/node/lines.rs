//! The shared lines of a node, and which way a call takes.
//!
//! An idle line is the cheapest. If all are busy, and callers are few or the server far, a connection that the pool has
//! to spare: nobody waits for anybody. Else a seat on a line: many commands in one write cost a fraction of as many
//! writes. Where the lines are stuck, whatever the pool can do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::clock::Moment;
use crate::error::Error;
use crate::node::courtesy::Courtesy;
use crate::node::line::{Entered, Line};
use crate::node::pool::{PoolCounters, Slot};
use crate::stats::Counter;
use crate::transport::Reply;
use crate::worker;

/// A request of more bytes goes by the pool: others would wait while it is written.
const LARGE: usize = 64 << 10;
/// A line that has been busy with one batch for this long is stuck, if batches do not take as long here at all times.
const STUCK: Duration = Duration::from_millis(20);
/// And if they do: after so many times as long as usual.
const STUCK_TIMES: u32 = 4;

pub(crate) struct SharedLine {
    pub(crate) line: Line<Slot>,
    pub(crate) counters: PoolCounters,
}

/// Up to so many callers at once have a connection each, as far as there are any. Measured with 64-byte values: a
/// connection each is ahead by a third with 4 callers and by a tenth with 5; lines are ahead by a tenth with 6, by a
/// third with 8, and by two and more times from 16 on.
const FEW: usize = 5;
/// And so many where a batch takes this long: with round trips of 0.2 ms, a connection each is ahead by a tenth with 8
/// callers, and far behind with 16.
const FEW_FROM_AFAR: usize = 8;
const AFAR: Duration = Duration::from_micros(150);
/// Callers are few once so many in a row have found it so. Threads that start one after the other are few for a moment,
/// and a connection for each of them would be opened for nothing.
const IN_A_ROW: usize = 64;
/// Where even the quickest batches take this long, it is the way that takes the time, and more connections carry more.
/// With 2 ms both together are ahead of either.
const FAR: Duration = Duration::from_millis(1);

pub(crate) struct Lines {
    all: Box<[SharedLine]>,
    /// Callers of single commands, by whichever way.
    callers: Arc<Callers>,
    pace: Pace,
    pub(crate) courtesy: Courtesy,
    /// Calls that went by the pool.
    pub(crate) by_pool: Counter,
}

/// How many callers are under way, at all nodes of a manager together: those of a cluster's nodes share one machine's
/// processors as well.
#[derive(Default)]
pub(crate) struct Callers {
    under_way: AtomicUsize,
    /// How many in a row came to busy lines and were few.
    few: AtomicUsize,
}

impl Callers {
    /// Whether callers are no more than `most`, and have been for a while, as this one finds it.
    fn are_few(&self, under_way: usize, most: usize) -> bool {
        let few = self.few.load(Ordering::Relaxed);
        // Written only where it changes: all callers read it.
        if under_way > most {
            if few > 0 {
                self.few.store(0, Ordering::Relaxed);
            }
            return false;
        }
        if few < IN_A_ROW {
            self.few.store(few + 1, Ordering::Relaxed);
        }
        few >= IN_A_ROW
    }
}

/// How long batches take, in nanoseconds.
#[derive(Default)]
struct Pace {
    /// A mean of the last few; one that took extraordinarily long counts for little.
    usual: AtomicU64,
    /// What the quickest of the last hundred or so took: the way to the server and back, without the time that this
    /// machine had no processor free.
    least: AtomicU64,
    /// When the last one came back ([`Moment::nanos`]).
    heard: AtomicU64,
}

impl Pace {
    fn usual(&self) -> Duration {
        Duration::from_nanos(self.usual.load(Ordering::Relaxed))
    }

    fn least(&self) -> Duration {
        Duration::from_nanos(self.least.load(Ordering::Relaxed))
    }

    /// Two who note at once may lose one of their notes, which does no harm.
    fn note(&self, time: Duration) {
        let before = self.usual.load(Ordering::Relaxed);
        let most = 2 * before + 1_000_000;
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(most).min(most);
        self.usual
            .store(before - before / 8 + nanos / 8, Ordering::Relaxed);
        let least = match self.least.load(Ordering::Relaxed) {
            0 => nanos,
            least if nanos < least => nanos,
            least => least + (nanos - least) / 64,
        };
        self.least.store(least, Ordering::Relaxed);
    }
}

impl Lines {
    pub(crate) fn new(count: usize, callers: &Arc<Callers>) -> Lines {
        let new = |_| SharedLine {
            line: Line::new(Slot::empty()),
            counters: PoolCounters::default(),
        };
        Lines {
            all: (0..count).map(new).collect(),
            callers: callers.clone(),
            pace: Pace::default(),
            courtesy: Courtesy::new(),
            by_pool: Counter::default(),
        }
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, SharedLine> {
        self.all.iter()
    }

    pub(crate) fn are_on(&self) -> bool {
        !self.all.is_empty()
    }

    /// Whether a request of this size may go by a line.
    pub(crate) fn carry(&self, request: &[u8]) -> bool {
        self.are_on() && request.len() <= LARGE
    }

    /// A caller is here as long as it keeps this.
    pub(crate) fn count_in(&self) -> Inside<'_> {
        let before = self.callers.under_way.fetch_add(1, Ordering::Relaxed);
        Inside {
            all: &self.callers,
            count: before + 1,
        }
    }

    /// An idle line.
    pub(crate) fn idle(
        &self,
        request: &[u8],
        reply: &mut Reply,
        now: Moment,
    ) -> Option<(&SharedLine, Entered<Slot>)> {
        let free = self.all.iter().filter(|shared| !shared.line.is_led());
        free.into_iter()
            .map(|shared| (shared, shared.line.enter(request, reply, now, None)))
            .find(|(_, entered)| !matches!(entered, Entered::Busy))
    }

    /// Whether a connection that the pool has to spare is better than a seat on a line.
    pub(crate) fn prefer_spare(&self, inside: &Inside<'_>) -> bool {
        let least = self.pace.least();
        let few = if least < AFAR { FEW } else { FEW_FROM_AFAR };
        least >= FAR || self.callers.are_few(inside.count, few)
    }

    /// A seat on a line that is not stuck.
    pub(crate) fn seat(
        &self,
        request: &[u8],
        reply: &mut Reply,
        now: Moment,
    ) -> Option<(&SharedLine, Entered<Slot>)> {
        let patience = Some(self.patience());
        (0..self.all.len())
            .map(|turn| self.mine(turn))
            .map(|shared| (shared, shared.line.enter(request, reply, now, patience)))
            .find(|(_, entered)| !matches!(entered, Entered::Busy))
    }

    /// A seat on a line, stuck or not.
    pub(crate) fn any_seat(
        &self,
        request: &[u8],
        reply: &mut Reply,
        now: Moment,
    ) -> (&SharedLine, Entered<Slot>) {
        if let Some(place) = self.seat(request, reply, now) {
            return place;
        }
        let shared = self.mine(0);
        (
            shared,
            shared.line.enter(request, reply, now, Some(Duration::MAX)),
        )
    }

    /// The line at which this thread waits, or another one: threads divide themselves among them.
    fn mine(&self, turn: usize) -> &SharedLine {
        &self.all[(worker::number() + turn) % self.all.len()]
    }

    /// Whether all lines but `one` have been busy for too long.
    pub(crate) fn are_stuck(&self, now: Moment, one: Option<&SharedLine>) -> bool {
        let patience = self.patience();
        let others = self
            .all
            .iter()
            .filter(|&shared| !one.is_some_and(|one| std::ptr::eq(one, shared)));
        others
            .into_iter()
            .all(|shared| shared.line.is_stuck(now, patience))
    }

    /// How long one batch may take before those who wait behind it look for another way.
    pub(crate) fn patience(&self) -> Duration {
        STUCK.max(self.pace.usual() * STUCK_TIMES)
    }

    /// How long a batch usually takes; none before the first.
    pub(crate) fn usual(&self) -> Option<Duration> {
        Some(self.pace.usual()).filter(|time| !time.is_zero())
    }

    /// A batch came back.
    pub(crate) fn took(&self, started: Moment, ended: Moment) {
        self.pace.note(ended.since(started));
        self.pace.heard.store(ended.nanos(), Ordering::Relaxed);
    }

    /// How long ago a batch came back; none before the first.
    pub(crate) fn silent_for(&self, now: Moment) -> Option<Duration> {
        match self.pace.heard.load(Ordering::Relaxed) {
            0 => None,
            heard => Some(Duration::from_nanos(now.nanos().saturating_sub(heard))),
        }
    }

    /// How long the way to the server and back takes; zero before the first batch.
    pub(crate) fn distance(&self) -> Duration {
        self.pace.least()
    }

    /// Turns away whoever waits to be sent.
    pub(crate) fn close(&self, error: &Error) {
        for shared in &self.all {
            for seats in shared.line.close(error) {
                seats.wake_all();
            }
        }
    }

    pub(crate) fn reopen(&self) {
        self.all.iter().for_each(|shared| shared.line.reopen());
    }

    /// Closes the connections of idle lines that `stale` picks.
    pub(crate) fn sweep(&self, stale: impl Fn(&Slot) -> bool) {
        for shared in &self.all {
            shared.line.sweep(|slot| {
                if slot.connection.is_some() && stale(slot) {
                    slot.close(&shared.counters);
                }
            });
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.all.iter().any(|shared| shared.counters.open() > 0)
    }
}

/// One caller under way.
pub(crate) struct Inside<'a> {
    all: &'a Callers,
    /// How many there were when it came.
    count: usize,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.all.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_few_once_many_in_a_row_have_found_it_so() {
        let callers = Callers::default();
        let found_few = |times| (0..times).filter(|_| callers.are_few(FEW, FEW)).count();
        assert_eq!(found_few(IN_A_ROW), 0);
        assert_eq!(found_few(10), 10);
        assert!(!callers.are_few(FEW + 1, FEW));
        assert_eq!(found_few(IN_A_ROW + 1), 1);
    }

    #[test]
    fn how_many_are_few_is_a_matter_of_the_distance() {
        let now = Moment::now();
        for (distance, most) in [
            (50, FEW),
            (149, FEW),
            (150, FEW_FROM_AFAR),
            (999, FEW_FROM_AFAR),
        ] {
            let lines = Lines::new(2, &Arc::default());
            lines.took(now, now + Duration::from_micros(distance));
            let found_few = |under_way: usize| {
                let _others: Vec<_> = (1..under_way).map(|_| lines.count_in()).collect();
                let inside = lines.count_in();
                (0..=IN_A_ROW).any(|_| lines.prefer_spare(&inside))
            };
            assert!(found_few(most), "{distance} us");
            assert!(!found_few(most + 1), "{distance} us");
        }
        let lines = Lines::new(2, &Arc::default());
        lines.took(now, now + FAR);
        assert!(lines.prefer_spare(&lines.count_in()), "both ways together");
    }
}
