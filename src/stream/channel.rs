//! One channel of a consumer: what of it is in the consumer's hands, and how much more may be read.

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use crate::clock::{Deadline, Moment};
use crate::error::Result;
use crate::fork::lock;
use crate::node::Node;
use crate::stream::acks::Acks;
use crate::stream::handle;
use crate::stream::options::{ChannelOptions, Delivery};
use crate::stream::page::{Chunk, Page};
use crate::stream::retries::Retry;
use crate::stream::scripts::Place;
use crate::stream::shared::Shared;
use crate::stream::stats::{Count, Counts};
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
    pub(super) state: Mutex<State>,
    lanes: OnceLock<Vec<Strand>>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) acks: Acks,
    /// Read, and not all done.
    flying: Vec<Arc<Page>>,
    pub(super) in_hand: usize,
    pub(super) retries: Vec<Retry>,
    /// A read may have been executed whose reply never came.
    lost: bool,
    /// How many to read at once, after a reply was too large.
    at_once: Option<usize>,
    pub(super) next_reclaim: Option<Moment>,
    pub(super) reclaim_from: String,
    /// The channel is left alone until then: it failed.
    resting: Option<Moment>,
    /// The node that an ASK named, and when.
    asked: Option<(Arc<Node>, Moment)>,
    /// Where its group stood when the server was last asked: entries not read, and not acknowledged.
    pub(super) told: (Option<i64>, Option<i64>),
    /// How often it was sent elsewhere without having been read in between.
    strays: u32,
}

/// While a slot is being moved, the old node is asked again after so long.
const ASK_HOLDS: Duration = Duration::from_secs(1);
/// Nodes that send a channel to one another more often than this do not agree; they are given some time to.
const STRAYS: u32 = 3;
const DISAGREEMENT: Duration = Duration::from_millis(100);

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
        if state.resting.is_some_and(|until| until > Moment::now()) {
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

    pub(super) fn rest_until(&self, until: Option<Moment>) {
        lock(&self.state).resting = until;
    }

    /// Its server has sent it elsewhere: by an ASK to this node, or to where the map says.
    pub(super) fn stray(&self, asked: Option<Arc<Node>>) {
        let mut state = lock(&self.state);
        let now = Moment::now();
        state.asked = asked.map(|node| (node, now));
        state.strays += 1;
        if state.strays > STRAYS {
            state.resting = Some(now + DISAGREEMENT);
        }
    }

    /// The node that serves it now.
    pub(super) fn home(&self, deadline: Deadline) -> Result<Arc<Node>> {
        if let Some(asked) = self.asked() {
            return Ok(asked);
        }
        let topology = &self.shared.client.dispatch()?.topology;
        let node = topology.pick(Some(self.name.as_bytes()), false, deadline)?;
        Ok(node.clone())
    }

    /// Whether another node than this one is known to serve it.
    pub(super) fn is_elsewhere(&self, node: &Arc<Node>) -> bool {
        // Nobody is asked, and nothing waited for.
        let home = self.home(Deadline::after(Duration::ZERO));
        home.is_ok_and(|home| !Arc::ptr_eq(&home, node))
    }

    /// The node that an ASK named a moment ago.
    fn asked(&self) -> Option<Arc<Node>> {
        let state = lock(&self.state);
        let (node, at) = state.asked.as_ref()?;
        (at.elapsed() < ASK_HOLDS).then(|| node.clone())
    }

    /// Whether an ASK has led to this node.
    pub(super) fn asked_to(&self, node: &Arc<Node>) -> bool {
        let state = lock(&self.state);
        state
            .asked
            .as_ref()
            .is_some_and(|(asked, _)| Arc::ptr_eq(asked, node))
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

    /// It was read. If messages came, the reply was not too large: more at once again.
    pub(super) fn was_read(&self, came: bool) {
        let mut state = lock(&self.state);
        state.strays = 0;
        if came {
            let twice = state.at_once.map(|now| now * 2);
            state.at_once = twice.filter(|more| *more < self.options.count);
        }
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
