//! What is to be tried again, put away, or looked for among the messages of others.

use std::collections::HashSet;
use std::time::Duration;

use crate::clock::{self, Moment, tell};
use crate::fork::lock;
use crate::stream::channel::Channel;
use crate::stream::options::Delivery;
use crate::stream::page::Page;
use crate::stream::scripts::PutAway;
use crate::stream::stats::Count;

/// The pause before what could not be done is tried again.
const LATER: Duration = Duration::from_secs(1);

pub(super) struct Retry {
    due: Moment,
    pub(super) id: String,
    deliveries: i64,
    /// It is to be put away: reason and error.
    verdict: Option<(String, String)>,
}

impl Channel {
    /// The same, without counting it as done.
    pub(super) fn failed(&self, page: &Page, at: usize, error: &str) {
        self.counts.add(Count::Failed, 1);
        let (id, deliveries) = (page.id(at), page.deliveries(at));
        tell!(
            Warn,
            "channel {}: message {id} was not handled (delivery {deliveries} of {})",
            self.name,
            self.options.max_deliveries
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
            due: Moment::now() + pause,
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
                tell!(
                    Warn,
                    "channel {}: message {id} went to {} ({reason})",
                    self.name,
                    self.dead
                );
            }
            Ok(PutAway::Trimmed) => self.was_trimmed(id),
            Ok(PutAway::NotOurs) => {}
            Err(problem) => {
                tell!(
                    Warn,
                    "channel {}: message {id} could not be put into {} yet: {problem}",
                    self.name,
                    self.dead
                );
                // It stays in the server's list of pending messages meanwhile.
                lock(&self.state).retries.push(Retry {
                    due: Moment::now() + LATER,
                    id: id.to_owned(),
                    deliveries,
                    verdict: Some((reason.to_owned(), error.to_owned())),
                });
            }
        }
    }

    pub(super) fn was_trimmed(&self, id: &str) {
        self.counts.add(Count::Trimmed, 1);
        tell!(
            Warn,
            "channel {}: message {id} was trimmed from the stream before it was handled",
            self.name
        );
    }

    /// When the next message is to be tried again, or others' are to be looked after.
    pub(super) fn next_due(&self) -> Option<Moment> {
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
        let now = Moment::now();
        let (mut take, mut bury) = (Vec::new(), Vec::new());
        {
            let mut state = lock(&self.state);
            let room = self.options.count.saturating_sub(state.in_hand);
            let mut i = 0;
            while i < state.retries.len() {
                let retry = &state.retries[i];
                if retry.due > now || (retry.verdict.is_none() && take.len() == room) {
                    i += 1;
                    continue;
                }
                let retry = state.retries.swap_remove(i);
                match retry.verdict {
                    Some(verdict) => bury.push((retry.id, retry.deliveries, verdict)),
                    None => take.push((retry.id, retry.deliveries)),
                }
            }
        }
        for (id, deliveries, (reason, error)) in bury {
            self.bury(&id, deliveries, &reason, &error);
        }
        take
    }

    /// From where to look after messages of others, if it is time to.
    pub(super) fn reclaim_due(&self) -> Option<(String, usize)> {
        if !self.reclaims() {
            return None;
        }
        let mut state = lock(&self.state);
        let now = Moment::now();
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
        state.next_reclaim = Some(Moment::now());
    }

    /// They came by another way, and need not be tried again.
    pub(super) fn forget_retries(&self, ids: &HashSet<String>) {
        lock(&self.state).retries.retain(|it| !ids.contains(&it.id));
    }
}
