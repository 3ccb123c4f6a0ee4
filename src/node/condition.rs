//! What is known of a node's health, and what follows for its callers: a node known to be down fails them at once.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::clock::{self, Moment};
use crate::error::{Error, ErrorKind, Result};
use crate::fork::lock;

/// How a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// Nothing has been sent to it yet.
    Untried = 0,
    /// It answered last time.
    Up = 1,
    /// It could not be reached, or did not answer a health check.
    Down = 2,
    /// Its pools were closed.
    Closed = 3,
}

/// A down node is dialled again this long after the last try, at random in between.
fn pause() -> Duration {
    clock::between(LEAST, Duration::from_millis(800))
}

const LEAST: Duration = Duration::from_millis(500);

/// One that turns us away is dialled again after twice that, and so on, up to this many times as much: trying a
/// password over and over looks like an attack, and some servers take it for one.
const LONGEST: u32 = 16;

/// At most one line in the log per node within this time, however often it changes its mind.
const LOG_PAUSE: Duration = Duration::from_secs(10);

#[derive(Default, Clone)]
pub(crate) struct Detail {
    pub(crate) last_error: Option<Error>,
    pub(crate) latency: Option<Duration>,
    pub(crate) version: Option<String>,
    /// While nobody checks the node's health: when a caller may try it again.
    next_try: Option<Moment>,
    /// The last connection was broken off while it was made.
    stumbled: bool,
    logged: Option<Moment>,
    /// The last one to dial was turned away.
    barred: Option<Barred>,
}

/// The server refused our login, or TLS with it failed: nothing that goes away by trying again at once.
#[derive(Clone)]
struct Barred {
    why: Error,
    since: Moment,
    /// When the next one may dial.
    until: Moment,
    /// How often in a row, less one.
    again: u32,
}

impl Barred {
    fn pause(&self) -> Duration {
        pause() * 2u32.saturating_pow(self.again).min(LONGEST)
    }
}

impl Detail {
    fn pause(&self) -> Duration {
        self.barred.as_ref().map_or_else(pause, Barred::pause)
    }
}

/// Whether the fault is one of what we say of ourselves, or of what we want of the server.
fn turned_away(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Auth | ErrorKind::Tls)
}

pub(crate) struct Condition {
    node: Arc<str>,
    state: AtomicU8,
    detail: Mutex<Detail>,
    /// The running mean of what its health checks took, in nanoseconds; 0 before the first one.
    distance: AtomicU64,
}

impl Condition {
    pub(crate) fn new(node: Arc<str>) -> Condition {
        Condition {
            node,
            state: AtomicU8::new(State::Untried as u8),
            detail: Mutex::default(),
            distance: AtomicU64::new(0),
        }
    }

    pub(crate) fn state(&self) -> State {
        match self.state.load(Ordering::Relaxed) {
            0 => State::Untried,
            1 => State::Up,
            2 => State::Down,
            _ => State::Closed,
        }
    }

    /// How far away it is; none before its first health check.
    pub(crate) fn distance(&self) -> Option<u64> {
        match self.distance.load(Ordering::Relaxed) {
            0 => None,
            time => Some(time),
        }
    }

    /// Under the lock of `detail`, or closing and a reply that comes at that moment would overtake each other.
    fn store(&self, state: State) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// Its pools are closed from now on.
    pub(crate) fn close(&self) {
        let _detail = lock(&self.detail);
        self.store(State::Closed);
    }

    /// Its pools are open again.
    pub(crate) fn reopen(&self) {
        let _detail = lock(&self.detail);
        self.store(State::Untried);
    }

    /// What is known of it no longer counts: the next caller finds out. Closed pools stay closed.
    pub(crate) fn forget(&self) {
        let mut detail = lock(&self.detail);
        detail.barred = None;
        if self.state() != State::Closed {
            self.store(State::Untried);
        }
    }

    /// What was refused may be accepted now: the next caller finds out.
    pub(crate) fn pardon(&self) {
        match self.state() {
            State::Down => self.forget(),
            _ => lock(&self.detail).barred = None,
        }
    }

    /// When a node that failed just now is to be tried again.
    pub(crate) fn pause(&self) -> Duration {
        lock(&self.detail).pause()
    }

    /// Whether a caller may dial now. While the server turns us away, one may every now and then, and the others get
    /// its error.
    pub(crate) fn may_dial(&self) -> Result<()> {
        let mut detail = lock(&self.detail);
        let pause = detail.pause();
        match &mut detail.barred {
            Some(barred) if Moment::now() < barred.until => Err(barred.why.clone()),
            Some(barred) => {
                barred.until = Moment::now() + pause;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Somebody tried to dial, and this came of it.
    pub(crate) fn dialled(&self, result: std::result::Result<(), &Error>) {
        let mut detail = lock(&self.detail);
        match result {
            Ok(()) => detail.barred = None,
            Err(error) if turned_away(error) => {
                let now = Moment::now();
                let again = match &detail.barred {
                    None => 0,
                    // Several who dialled at the same time count as one.
                    Some(barred) if now.since(barred.since) < LEAST => barred.again,
                    Some(barred) => barred.again.saturating_add(1),
                };
                let why = error.clone();
                let mut barred = Barred {
                    why,
                    since: now,
                    until: now,
                    again,
                };
                barred.until += barred.pause();
                detail.barred = Some(barred);
            }
            Err(_) => {}
        }
    }

    pub(crate) fn detail(&self) -> Detail {
        lock(&self.detail).clone()
    }

    /// Whether a caller may use the node now. `watched`: health checks run, so that callers need not try.
    pub(crate) fn admit(&self, watched: bool) -> Result<()> {
        match self.state() {
            State::Untried | State::Up => Ok(()),
            State::Closed => Err(Error::new(
                ErrorKind::UnknownNode,
                "the pools of this node were closed; add_node_pool() opens them again",
            )
            .on_node(&self.node)),
            State::Down => {
                let mut detail = lock(&self.detail);
                let now = Moment::now();
                if !watched && detail.next_try.is_none_or(|time| time <= now) {
                    // One caller tries; until it knows more, the others go on failing at once.
                    detail.next_try = Some(now + detail.pause());
                    if let Some(barred) = &mut detail.barred {
                        barred.until = now;
                    }
                    return Ok(());
                }
                if let Some(cause) = detail
                    .last_error
                    .as_ref()
                    .filter(|error| turned_away(error))
                {
                    return Err(cause.clone());
                }
                let error =
                    Error::new(ErrorKind::NoHealthyPools, "the node is down").on_node(&self.node);
                Err(match &detail.last_error {
                    Some(cause) => error.caused_by(Cause(cause.clone())),
                    None => error,
                })
            }
        }
    }

    /// It answered.
    pub(crate) fn up(&self, version: Option<&str>, latency: Option<Duration>) {
        let mut detail = lock(&self.detail);
        detail.stumbled = false;
        if let Some(version) = version {
            detail.version = Some(version.to_owned());
        }
        if let Some(time) = latency {
            detail.latency = latency;
            let (new, old) = (
                time.as_nanos() as u64,
                self.distance.load(Ordering::Relaxed),
            );
            let mean = if old == 0 { new } else { (old * 3 + new) / 4 };
            self.distance.store(mean.max(1), Ordering::Relaxed);
        }
        if self.state() == State::Closed {
            return;
        }
        let was_down = self.state() == State::Down;
        self.store(State::Up);
        let tell = was_down && may_log(&mut detail);
        // Whoever listens to the log is called without a lock.
        drop(detail);
        if tell {
            log::info!(target: "redkeep", "node {} is back", self.node);
        }
    }

    /// A connection was broken off while it was made. True if the one before was, too.
    pub(crate) fn stumbles(&self) -> bool {
        std::mem::replace(&mut lock(&self.detail).stumbled, true)
    }

    /// It cannot be used. True if that is news.
    pub(crate) fn down(&self, cause: &Error) -> bool {
        let mut detail = lock(&self.detail);
        detail.last_error = Some(cause.clone());
        detail.next_try = Some(Moment::now() + detail.pause());
        if matches!(self.state(), State::Closed | State::Down) {
            return false;
        }
        self.store(State::Down);
        let tell = may_log(&mut detail);
        drop(detail);
        if tell {
            log::warn!(target: "redkeep", "node {} is down: {cause}", self.node);
        }
        true
    }

    /// Something went wrong that says nothing about the node as a whole.
    pub(crate) fn note(&self, error: &Error) {
        lock(&self.detail).last_error = Some(error.clone());
    }
}

fn may_log(detail: &mut Detail) -> bool {
    let now = Moment::now();
    let may = detail
        .logged
        .is_none_or(|last| now.since(last) >= LOG_PAUSE);
    if may {
        detail.logged = Some(now);
    }
    may
}

/// The last cause inside a NoHealthyPools error, which names the node already.
#[derive(Debug)]
struct Cause(Error);

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.message())?;
        match std::error::Error::source(&self.0) {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Cause {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_who_are_turned_away_at_once_count_as_one() {
        let condition = Condition::new("node".into());
        let refused = Error::new(ErrorKind::Auth, "no");
        for _ in 0..10 {
            condition.dialled(Err(&refused));
        }
        assert!(condition.pause() <= Duration::from_millis(800));
        assert!(condition.may_dial().is_err());
        condition.dialled(Ok(()));
        assert!(condition.may_dial().is_ok());
    }
}
