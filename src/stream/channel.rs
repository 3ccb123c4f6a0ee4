//! One channel of a consumer: what is in its hands, what is to be acknowledged, what is to be tried again.

use std::collections::HashSet;
use std::io::Write;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::clock;
use crate::error::Result;
use crate::fork::lock;
use crate::stream::handle;
use crate::stream::options::{ChannelOptions, Delivery};
use crate::stream::page::{Chunk, Page};
use crate::stream::scripts::{Place, PutAway};
use crate::stream::shared::Shared;
use crate::stream::stats::{Count, Counts};
use crate::transport::arg;
use crate::worker::{Crew, Job, Strand};

/// What handles a message; the text says what went wrong.
pub(crate) type Handler =
    Arc<dyn Fn(&super::Received) -> std::result::Result<(), String> + Send + Sync>;

pub(super) struct Channel {
    pub(super) name: String,
    pub(super) group: String,
    pub(super) dead: String,
    pub(super) ledger: String,
    pub(super) options: ChannelOptions,
    pub(super) handler: OnceLock<Handler>,
    pub(super) shared: Arc<Shared>,
    pub(super) counts: Counts,
    /// The groups are there, as far as is known.
    pub(super) ready: AtomicBool,
    state: Mutex<State>,
    lanes: OnceLock<Vec<Strand>>,
}

#[derive(Default)]
struct State {
    acks: Acks,
    /// Read, and not all done.
    flying: Vec<Arc<Page>>,
    in_hand: usize,
    retries: Vec<Retry>,
    /// A read may have been executed whose reply never came.
    lost: bool,
    /// How many to read at once, after a reply was too large.
    at_once: Option<usize>,
    next_reclaim: Option<Instant>,
    reclaim_from: String,
    /// The channel is left alone until then: it failed.
    resting: Option<Instant>,
}

/// Ids to be acknowledged, each as an argument of XACK.
#[derive(Default)]
pub(super) struct Acks {
    packed: Vec<u8>,
    count: usize,
    /// How many bytes, and ids, were taken off the front so far.
    sent: (u64, u64),
}

/// How far acknowledgements go that are under way.
#[derive(Clone, Copy)]
pub(super) struct Sending {
    bytes: u64,
    ids: u64,
}

impl Acks {
    pub(super) fn add(&mut self, id: &[u8]) {
        arg(&mut self.packed, id);
        self.count += 1;
    }

    fn take_over(&mut self, other: &mut Acks) {
        self.packed.extend_from_slice(&other.packed);
        self.count += other.count;
        other.packed.clear();
        other.count = 0;
    }

    fn remove(&mut self, sent: Sending) {
        // Somebody else may have sent some of them too, and been faster.
        if sent.bytes > self.sent.0 {
            self.packed.drain(..(sent.bytes - self.sent.0) as usize);
            self.count -= (sent.ids - self.sent.1) as usize;
            self.sent = (sent.bytes, sent.ids);
        }
    }

    fn ids(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.packed);
        let words = text.split("\r\n").filter(|word| !word.starts_with('$'));
        words
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
            .collect()
    }
}

struct Retry {
    due: Instant,
    id: String,
    deliveries: i64,
    /// It is to be put away: reason and error.
    verdict: Option<(String, String)>,
}

/// What is due now.
pub(super) struct Due {
    pub(super) take: Vec<(String, i64)>,
    bury: Vec<Retry>,
}

impl Channel {
    pub(super) fn new(
        name: &str,
        group: String,
        dead: String,
        options: ChannelOptions,
        shared: Arc<Shared>,
    ) -> Arc<Channel> {
        Arc::new(Channel {
            ledger: super::names::ledger(name, &group),
            name: name.to_owned(),
            group,
            dead,
            options,
            handler: OnceLock::new(),
            shared,
            counts: Counts::default(),
            ready: AtomicBool::new(false),
            state: Mutex::default(),
            lanes: OnceLock::new(),
        })
    }

    pub(super) fn is_foreign(&self) -> bool {
        self.shared.is_foreign()
    }

    pub(super) fn place(&self) -> Place<'_> {
        Place {
            stream: &self.name,
            group: &self.group,
            consumer: &self.shared.name,
        }
    }

    /// How many messages may be read now. Not a few at a time, while others are being handled: reading costs a round trip.
    pub(super) fn room(&self) -> usize {
        let state = lock(&self.state);
        if state.resting.is_some_and(|until| until > Instant::now()) {
            return 0;
        }
        let room = self.options.count.saturating_sub(state.in_hand);
        match self.is_open(state.in_hand) {
            true => room.min(state.at_once.unwrap_or(usize::MAX)),
            false => 0,
        }
    }

    fn is_open(&self, in_hand: usize) -> bool {
        let room = self.options.count.saturating_sub(in_hand);
        room >= self.options.count.div_ceil(2)
    }

    pub(super) fn in_hand(&self) -> usize {
        lock(&self.state).in_hand
    }

    pub(super) fn rest_until(&self, until: Option<Instant>) {
        lock(&self.state).resting = until;
    }

    /// Messages have come.
    pub(super) fn admit(&self, page: &Arc<Page>) {
        let mut state = lock(&self.state);
        state.in_hand += page.len();
        state.flying.push(page.clone());
    }

    pub(super) fn flying(&self) -> Vec<Arc<Page>> {
        lock(&self.state).flying.clone()
    }

    /// So many of a page are done, and these of them are to be acknowledged.
    pub(super) fn settle(&self, page: &Arc<Page>, acks: &mut Acks, count: usize) {
        let opened = {
            let mut state = lock(&self.state);
            state.acks.take_over(acks);
            let was_open = self.is_open(state.in_hand);
            state.in_hand -= count;
            if page.leave(count) {
                state.flying.retain(|other| !Arc::ptr_eq(other, page));
            }
            !was_open && self.is_open(state.in_hand)
        };
        self.shared.bell.ring();
        if self.shared.must_send() {
            self.send_acks();
            if opened {
                self.shared.rouse();
            }
        }
    }

    fn settle_one(&self, page: &Arc<Page>, at: usize, ack: bool) {
        let mut acks = Acks::default();
        if ack && self.options.delivery != Delivery::AtMostOnce {
            acks.add(page.id_bytes(at));
        }
        page.done(at);
        self.settle(page, &mut acks, 1);
    }

    pub(super) fn acknowledge(&self, page: &Arc<Page>, at: usize) {
        self.counts.add(Count::Handled, 1);
        self.settle_one(page, at, true);
    }

    /// Nobody looks after it any more; it stays pending.
    pub(super) fn let_go(&self, page: &Arc<Page>, at: usize) {
        self.settle_one(page, at, false);
    }

    /// Its handler failed: again later, or away with it.
    pub(super) fn fail(&self, page: &Arc<Page>, at: usize, error: &str) {
        self.failed(page, at, error);
        page.done(at);
        self.settle(page, &mut Acks::default(), 1);
    }

    /// The same, without counting it as done.
    pub(super) fn failed(&self, page: &Page, at: usize, error: &str) {
        self.counts.add(Count::Failed, 1);
        let (id, deliveries) = (page.id(at), page.deliveries(at));
        log::warn!(
            target: "redkeep",
            "channel {}: message {id} was not handled (delivery {deliveries} of {})",
            self.name, self.options.max_deliveries
        );
        if self.options.delivery == Delivery::AtMostOnce {
            return self.bury(id, deliveries, "failed", error);
        }
        if deliveries >= i64::from(self.options.max_deliveries) {
            return self.bury(id, deliveries, "max_deliveries", error);
        }
        if self.options.delivery == Delivery::Ledger {
            // For others, who may take it over; we ourselves know that it failed.
            let _ = self
                .shared
                .client
                .command::<i64>(("ZREM", &self.ledger, id));
        }
        self.again(id, deliveries, self.pause(deliveries));
    }

    /// Has it delivered again after a pause.
    pub(super) fn again(&self, id: &str, deliveries: i64, pause: Duration) {
        lock(&self.state).retries.push(Retry {
            due: Instant::now() + pause,
            id: id.to_owned(),
            deliveries,
            verdict: None,
        });
    }

    fn pause(&self, deliveries: i64) -> Duration {
        let doublings = u32::try_from(deliveries - 1).unwrap_or_default().min(20);
        let pause = self.options.backoff.saturating_mul(1 << doublings);
        let pause = pause.min(self.options.max_backoff);
        clock::between(pause / 2, pause)
    }

    /// Puts a message away into the dead-letter stream; if that cannot be done now, later.
    pub(super) fn bury(&self, id: &str, deliveries: i64, reason: &str, error: &str) {
        let pending = self.options.delivery != Delivery::AtMostOnce;
        let scripts = &self.shared.scripts;
        let why = (reason, error);
        let became = scripts.dead(
            &self.shared.client,
            self.place(),
            &self.dead,
            id,
            pending,
            why,
            deliveries,
        );
        match became {
            Ok(PutAway::Dead) => {
                self.counts.add(Count::Dead, 1);
                log::warn!(
                    target: "redkeep",
                    "channel {}: message {id} went to {} ({reason})", self.name, self.dead
                );
            }
            Ok(PutAway::Trimmed) => self.was_trimmed(id),
            Ok(PutAway::NotOurs) => {}
            Err(problem) => {
                log::warn!(
                    target: "redkeep",
                    "channel {}: message {id} could not be put into {} yet: {problem}", self.name, self.dead
                );
                // It stays in the server's list of pending messages meanwhile.
                lock(&self.state).retries.push(Retry {
                    due: Instant::now() + LATER,
                    id: id.to_owned(),
                    deliveries,
                    verdict: Some((reason.to_owned(), error.to_owned())),
                });
            }
        }
    }

    pub(super) fn was_trimmed(&self, id: &str) {
        self.counts.add(Count::Trimmed, 1);
        log::warn!(
            target: "redkeep",
            "channel {}: message {id} was trimmed from the stream before it was handled", self.name
        );
    }

    /// When the next message is to be tried again, or others' are to be looked after.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let state = lock(&self.state);
        let retry = state.retries.iter().map(|retry| retry.due).min();
        let reclaim = state.next_reclaim.filter(|_| self.reclaims());
        retry.into_iter().chain(reclaim).min()
    }

    fn reclaims(&self) -> bool {
        self.options.delivery != Delivery::AtMostOnce
    }

    /// What is to be tried again now; what is to be put away is put away.
    pub(super) fn due(&self) -> Vec<(String, i64)> {
        let now = Instant::now();
        let due = {
            let mut state = lock(&self.state);
            let room = self.options.count.saturating_sub(state.in_hand);
            let mut due = Due {
                take: Vec::new(),
                bury: Vec::new(),
            };
            let mut i = 0;
            while i < state.retries.len() {
                if state.retries[i].due > now {
                    i += 1;
                } else if state.retries[i].verdict.is_some() {
                    due.bury.push(state.retries.swap_remove(i));
                } else if due.take.len() < room {
                    let retry = state.retries.swap_remove(i);
                    due.take.push((retry.id, retry.deliveries));
                } else {
                    i += 1;
                }
            }
            due
        };
        for Retry {
            id,
            deliveries,
            verdict,
            ..
        } in due.bury
        {
            let (reason, error) = verdict.unwrap_or_default();
            self.bury(&id, deliveries, &reason, &error);
        }
        due.take
    }

    /// From where to look after messages of others, if it is time to.
    pub(super) fn reclaim_due(&self) -> Option<(String, usize)> {
        if !self.reclaims() {
            return None;
        }
        let mut state = lock(&self.state);
        let now = Instant::now();
        let room = self.options.count.saturating_sub(state.in_hand);
        if room == 0 || state.next_reclaim.is_some_and(|at| at > now) {
            return None;
        }
        // In no step with the others of the group.
        let half = self.options.claim_idle / 2;
        state.next_reclaim = Some(now + clock::between(half, self.options.claim_idle));
        let from = std::mem::take(&mut state.reclaim_from);
        let from = if from.is_empty() {
            "0-0".to_owned()
        } else {
            from
        };
        Some((from, room))
    }

    /// There are more to be looked after, from here on.
    pub(super) fn reclaim_on(&self, from: &str) {
        let mut state = lock(&self.state);
        state.reclaim_from = from.to_owned();
        state.next_reclaim = Some(Instant::now());
    }

    /// They came by another way, and need not be tried again.
    pub(super) fn forget_retries(&self, ids: &HashSet<String>) {
        lock(&self.state).retries.retain(|it| !ids.contains(&it.id));
    }

    pub(super) fn set_lost(&self) {
        lock(&self.state).lost = true;
    }

    /// Everything that is pending and known to be; none if nothing was lost.
    pub(super) fn known_if_lost(&self) -> Option<HashSet<String>> {
        let mut state = lock(&self.state);
        if !std::mem::take(&mut state.lost) {
            return None;
        }
        let mut known: HashSet<String> = state.acks.ids().into_iter().collect();
        known.extend(state.retries.iter().map(|retry| retry.id.clone()));
        for page in &state.flying {
            known.extend(page.ids(|_| true).into_iter().map(str::to_owned));
        }
        Some(known)
    }

    /// A reply was larger than allowed: fewer at once. False if it was a single message.
    pub(super) fn read_less(&self) -> bool {
        let mut state = lock(&self.state);
        let now = state.at_once.unwrap_or(self.options.count);
        state.at_once = Some((now / 4).max(1));
        now > 1
    }

    /// A reply was not too large: more at once again.
    pub(super) fn read_more(&self) {
        let mut state = lock(&self.state);
        let twice = state.at_once.map(|now| now * 2);
        state.at_once = twice.filter(|more| *more < self.options.count);
    }

    /// XACK of all that is to be acknowledged.
    pub(super) fn pack_acks(&self, out: &mut Vec<u8>) -> Option<Sending> {
        let state = lock(&self.state);
        let acks = &state.acks;
        if acks.count == 0 {
            return None;
        }
        // Writing into memory does not fail.
        let _ = write!(out, "*{}\r\n$4\r\nXACK\r\n", acks.count + 3);
        arg(out, self.name.as_bytes());
        arg(out, self.group.as_bytes());
        out.extend_from_slice(&acks.packed);
        Some(Sending {
            bytes: acks.sent.0 + acks.packed.len() as u64,
            ids: acks.sent.1 + acks.count as u64,
        })
    }

    pub(super) fn acks_sent(&self, sent: Sending) {
        lock(&self.state).acks.remove(sent);
    }

    /// Acknowledges now, over the connections that all share. What cannot be is left to the reader.
    pub(super) fn send_acks(&self) -> bool {
        let mut packed = Vec::new();
        let Some(sending) = self.pack_acks(&mut packed) else {
            return true;
        };
        match self.shared.send(&packed, &self.name) {
            Ok(()) => self.acks_sent(sending),
            Err(error) => {
                log::debug!(target: "redkeep", "channel {}: not acknowledged yet: {error}", self.name);
                return false;
            }
        }
        true
    }

    fn job(&self, chunk: Arc<Chunk>) -> Job {
        let job = self.shared.job();
        Box::new(move || {
            handle::run(&chunk, false);
            // Nothing of the consumer's is held any more when it is told that the job is done.
            drop(chunk);
            drop(job);
        })
    }

    /// Gives a page to the threads that run handlers.
    pub(super) fn hand_over(&self, page: Arc<Page>, crew: &Arc<Crew>) -> Result<()> {
        let concurrency = self.options.concurrency;
        let Some(key) = &self.options.order_by else {
            let lanes = self
                .lanes
                .get_or_init(|| vec![Strand::new(crew.clone(), concurrency)]);
            let helpers = concurrency.min(page.len());
            let chunk = Arc::new(Chunk::new(page, None));
            return (0..helpers).try_for_each(|_| lanes[0].push(self.job(chunk.clone())));
        };
        let lanes = self.lanes.get_or_init(|| {
            (0..concurrency)
                .map(|_| Strand::new(crew.clone(), 1))
                .collect()
        });
        let mut parts = vec![Vec::new(); lanes.len()];
        for at in 0..page.len() {
            parts[handle::lane(&page, at, key, lanes.len())].push(at as u32);
        }
        for (lane, part) in lanes.iter().zip(parts) {
            if !part.is_empty() {
                let chunk = Arc::new(Chunk::new(page.clone(), Some(part)));
                lane.push(self.job(chunk))?;
            }
        }
        Ok(())
    }
}

/// The pause before what could not be done is tried again.
const LATER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_are_taken_off_once_they_were_sent() {
        let mut acks = Acks::default();
        let sending = |acks: &Acks| Sending {
            bytes: acks.sent.0 + acks.packed.len() as u64,
            ids: acks.sent.1 + acks.count as u64,
        };
        acks.add(b"1-1");
        acks.add(b"22-2");
        let first = sending(&acks);
        acks.add(b"3-3");
        let both = sending(&acks);
        assert_eq!(acks.ids(), ["1-1", "22-2", "3-3"]);
        acks.remove(first);
        assert_eq!((acks.ids(), acks.count), (vec!["3-3".to_owned()], 1));
        acks.remove(first);
        assert_eq!(acks.count, 1);
        acks.remove(both);
        assert_eq!((acks.packed.len(), acks.count), (0, 0));
    }
}
