//! Rate limits: at most so many in so much time, counted in the server, by the server's clock, in one step.
//!
//! ```text
//! check(id) ─► one script on rate_limit:{id} ─► allowed, remaining, retry_after, reset_after
//!                   sliding.lua: the times of what was let through      gcra.lua: a level that drains
//! ```

use std::sync::OnceLock;
use std::time::Duration;

use crate::client::{Client, Script};
use crate::config::Setting;
use crate::error::{Error, ErrorKind, Result};
use crate::manager::Manager;

/// At most so many requests within any window of time, for each id: a user, an address, a key of an interface.
///
/// ```
/// # fn main() -> redkeep::Result<()> {
/// # let keep = redkeep::Manager::open("embedded://")?;
/// use std::time::Duration;
///
/// let limiter = keep.limiter(100, Duration::from_secs(60));
/// let verdict = limiter.check("user:1")?;
/// if !verdict.allowed {
///     println!("again in {:?}", verdict.retry_after);
/// }
/// assert_eq!(verdict.remaining, 99);
/// # Ok(()) }
/// ```
///
/// A check is one script, in one round trip, by the server's clock; only what is allowed is counted. Cheap to make
/// and to clone. The window is an exact sliding one: at no moment did the window before it see more than the limit. An
/// id takes at most one entry of about 30 bytes for each request within the window, whatever the request's cost (100
/// requests: 3 KB; 1,000: 30 KB), in the key `rate_limit:{id}` (the braces are not part of it), which expires with its
/// last entry. [`gcra`](Limiter::gcra) takes about 100 bytes an id, whatever the limit.
///
/// The limit and the window may be changed between checks of one id: what was let through before counts as it did. A
/// window that grows knows what the shorter one had not forgotten yet. Limits that apply side by side (ten in a second
/// and a hundred in a minute) need an id each.
#[derive(Clone, Debug)]
pub struct Limiter {
    client: Client,
    max: u64,
    window: Duration,
    gcra: bool,
    closed: bool,
}

/// What a [`Limiter`] says of one request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Verdict {
    /// Whether it may go ahead.
    pub allowed: bool,
    /// How many more of cost 1 would be allowed now.
    pub remaining: u64,
    /// The time after which the same check is allowed, if nobody else takes what becomes free; zero if it was.
    pub retry_after: Duration,
    /// The time after which the whole limit is there again, if nobody takes any of it.
    pub reset_after: Duration,
    /// Redis could not be asked, for this reason: `allowed` is as configured, and nobody knows the rest, which is 0.
    pub away: Option<Error>,
}

impl Manager {
    /// A limit of `max` requests within any `window`, for each id that is checked.
    pub fn limiter(&self, max: u64, window: Duration) -> Limiter {
        Limiter {
            client: self.client(),
            max,
            window,
            gcra: false,
            closed: false,
        }
    }
}

/// Beyond this, the script's numbers would not be whole any more.
const MOST: u64 = 1_000_000_000;
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

impl Limiter {
    /// The usual limit: 100 requests.
    pub const MAX_REQUESTS: u64 = 100;
    /// The usual window: an hour.
    pub const WINDOW: Duration = Duration::from_secs(3600);

    /// Counts by GCRA (a leaky bucket) in place of the sliding window: after a first burst of the whole limit, requests
    /// are allowed at a steady rate. In any time `t` at most `max + max * t / window` pass, so up to twice the limit in
    /// one window; in return an id takes no more memory than two numbers.
    #[must_use]
    pub fn gcra(mut self) -> Limiter {
        self.gcra = true;
        self
    }

    /// When Redis is away, nothing is allowed. Otherwise everything is. Either is logged, and told in
    /// [`Verdict::away`].
    #[must_use]
    pub fn closed_when_away(mut self) -> Limiter {
        self.closed = true;
        self
    }

    /// Whether one more request of this id is allowed; if so, it is counted.
    pub fn check(&self, id: &str) -> Result<Verdict> {
        self.check_cost(id, 1)
    }

    /// As [`check`](Limiter::check), for a request that counts as `cost`, from 1 to the limit: all of it is allowed, or
    /// nothing.
    pub fn check_cost(&self, id: &str, cost: u64) -> Result<Verdict> {
        self.ask(id, cost, true)
    }

    /// What [`check`](Limiter::check) would say; nothing is counted.
    pub fn peek(&self, id: &str) -> Result<Verdict> {
        self.ask(id, 1, false)
    }

    /// Forgets what was counted for an id; true if there was something.
    pub fn reset(&self, id: &str) -> Result<bool> {
        self.client.delete(key(id)?).map(|deleted| deleted > 0)
    }

    pub(crate) fn option(&mut self, name: &str, value: &str) -> Result<()> {
        let setting = Setting { name, value };
        match name {
            "algorithm" => self.gcra = setting.one_of(&[("sliding", false), ("gcra", true)])?,
            "when_away" => self.closed = setting.one_of(&[("open", false), ("closed", true)])?,
            _ => return Err(setting.unknown(&["algorithm", "when_away"])),
        }
        Ok(())
    }

    pub(crate) fn valid(&self) -> Result<()> {
        within("max_requests", self.max, MOST)?;
        if !(SHORTEST..=LONGEST).contains(&self.window) {
            return Err(Error::argument(format!(
                "window: {:?} is not allowed; it takes a time from 1 ms to 10 years",
                self.window
            )));
        }
        Ok(())
    }

    fn ask(&self, id: &str, cost: u64, take: bool) -> Result<Verdict> {
        self.valid()?;
        within("cost", cost, self.max)?;
        let key = key(id)?;
        let window = self.window.as_micros() as u64;
        let args = (self.max, window, cost, i32::from(take));
        match self.client.eval(self.script(), key, args) {
            Ok((allowed, remaining, retry, reset)) => Ok(Verdict {
                allowed,
                remaining,
                retry_after: Duration::from_micros(retry),
                reset_after: Duration::from_micros(reset),
                away: None,
            }),
            Err(error) if error.is_away() => {
                self.client.swallow("a rate limit was not checked", &error);
                Ok(Verdict {
                    allowed: !self.closed,
                    remaining: 0,
                    retry_after: Duration::ZERO,
                    reset_after: Duration::ZERO,
                    away: Some(error),
                })
            }
            Err(error) if error.kind() == ErrorKind::WrongType => Err(error.with_message(
                "WRONGTYPE: the key of this id holds something else, the count of another algorithm perhaps; reset() \
                 deletes it"
                    .to_owned(),
            )),
            Err(error) => Err(error),
        }
    }

    fn script(&self) -> &'static Script {
        static SLIDING: OnceLock<Script> = OnceLock::new();
        static GCRA: OnceLock<Script> = OnceLock::new();
        match self.gcra {
            false => Script::kept(&SLIDING, include_str!("sliding.lua")),
            true => Script::kept(&GCRA, include_str!("gcra.lua")),
        }
    }
}

fn key(id: &str) -> Result<String> {
    match id.is_empty() {
        true => Err(Error::argument("id: it is empty")),
        false => Ok(format!("rate_limit:{id}")),
    }
}

fn within(name: &str, number: u64, most: u64) -> Result<()> {
    match (1..=most).contains(&number) {
        true => Ok(()),
        false => Err(Error::argument(format!(
            "{name}: {number} is not allowed; it takes a whole number from 1 to {most}"
        ))),
    }
}
