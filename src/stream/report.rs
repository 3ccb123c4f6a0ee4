//! What a consumer tells of its channels, when asked itself or by its manager.

use serde_json::Value;

use crate::fork::lock;
use crate::stats::{Exposition, Reporter};
use crate::stream::channel::Channel;
use crate::stream::groups;
use crate::stream::inner::Inner;
use crate::stream::stats::{self, Seen};

impl Inner {
    fn seen<T>(&self, show: impl FnOnce(&[Seen<'_>]) -> T) -> T {
        let channels = lock(&self.channels).clone();
        let all: Vec<Seen<'_>> = channels.iter().map(|it| it.seen()).collect();
        show(&all)
    }

    /// Asks the server where the groups stand.
    pub(super) fn look(&self) {
        let channels = lock(&self.channels).clone();
        channels.iter().for_each(|it| it.look());
    }
}

impl Channel {
    /// Asks the server where its group stands.
    pub(super) fn look(&self) {
        let told = groups::lag_and_pending(self).unwrap_or_default();
        lock(&self.state).told = told;
    }

    fn seen(&self) -> Seen<'_> {
        let (lag, pending) = lock(&self.state).told;
        Seen {
            channel: &self.name,
            group: &self.group,
            counts: &self.counts,
            lag,
            pending,
            in_hand: self.in_hand(),
        }
    }
}

impl Reporter for Inner {
    fn as_json(&self) -> Value {
        self.seen(|all| stats::as_json(&self.shared.name, all))
    }

    fn expose(&self, to: &mut Exposition) {
        self.seen(|all| stats::expose(to, all));
    }
}
