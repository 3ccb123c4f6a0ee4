//! What is built on commands, among the random calls: each thread by itself, and where a feature is about several
//! threads, all of them on the same few names.

use std::collections::HashSet;
use std::sync::atomic::{
    AtomicI64, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redkeep::{
    Cache, ChannelOptions, Consumer, Event, Limiter, Manager, Message, NearCache, Received, Result,
    Sender, Sessions, Subscriber,
};

use crate::support::{PATIENCE, came_true, wait_until};
use crate::{KEYS, Tally, Worker};

/// So many locks, channels of messages, and texts of a near cache: enough to meet at, and not to wait for.
const LOCKS: u64 = 40;
const CHANNELS: u64 = 4;
/// What one id may do within the window.
const LIMIT: u64 = 5;
const WINDOW: Duration = Duration::from_secs(2);
/// Messages that were sent and are not handled yet.
const BACKLOG: usize = 500;
const STREAM: &str = "orders";

/// What all threads share.
pub struct Features {
    near: NearCache,
    limiter: Limiter,
    sessions: Sessions,
    cache: Cache,
    sender: Sender,
    /// The highest fence of each lock that anybody has seen, and who is inside.
    fences: Vec<(AtomicI64, AtomicI64)>,
    /// Those of which a handler is still to hear.
    sent: Arc<Mutex<HashSet<String>>>,
    subscriber: Subscriber,
    consumer: Consumer,
    pub heard: AtomicU64,
    pub gaps: AtomicU64,
    pub handled: Arc<AtomicU64>,
    pub strange: Arc<Mutex<Vec<String>>>,
}

impl Features {
    /// While nothing is spoiled yet.
    pub fn of(keep: &Manager) -> Features {
        let subscriber = keep.subscriber();
        for channel in 0..CHANNELS {
            subscriber.add(format!("news:{channel}")).unwrap();
        }
        subscriber.add_pattern("news:?").unwrap();
        let sent = Arc::<Mutex<HashSet<String>>>::default();
        let strange = Arc::<Mutex<Vec<String>>>::default();
        let handled = Arc::new(AtomicU64::new(0));
        let moment = Duration::from_millis(50);
        let options = ChannelOptions::new()
            .message_cleanup(true)
            .cleanup_interval(Duration::from_secs(1))
            .claim_idle(Duration::from_secs(1))
            .backoff(moment, moment)
            .max_deliveries(1_000);
        let (waits, odd, count) = (sent.clone(), strange.clone(), handled.clone());
        let consumer = keep
            .consumer("soak")
            .register_channel(STREAM, options)
            .register_handler(STREAM, move |message: &Received| {
                count.fetch_add(1, Relaxed);
                let tag: String = message.json().map_err(|error| error.to_string())?;
                // One that comes again was taken out before.
                waits.lock().unwrap().remove(&tag);
                if !tag.starts_with("sent|") {
                    odd.lock().unwrap().push(format!("handled {tag:?}"));
                }
                Ok::<(), String>(())
            });
        consumer.start_with(moment, moment).unwrap();
        Features {
            near: keep.near_cache(64 << 10),
            limiter: keep.limiter(LIMIT, WINDOW).closed_when_away(),
            sessions: keep.sessions(Duration::from_secs(30)),
            cache: (keep.cache("rows").expire(Duration::from_secs(2))).wait(WINDOW),
            sender: keep.sender().register_channel(STREAM),
            fences: (0..LOCKS).map(|_| Default::default()).collect(),
            sent,
            subscriber,
            consumer,
            heard: AtomicU64::new(0),
            gaps: AtomicU64::new(0),
            handled,
            strange,
        }
    }

    /// What is published, in a thread of its own: whole, in its channel, and not twice. (What a sender gave up may arrive
    /// late, after what he sent next.)
    pub fn listen(&self, tally: &Tally) {
        let mut last = std::collections::HashMap::<(bool, u64), u64>::new();
        while !tally.over.load(Relaxed) {
            let message = match self.subscriber.poll(Duration::from_millis(50)) {
                Ok(None) => continue,
                Ok(Some(Event::Message(message))) => message,
                Ok(Some(_)) => {
                    self.gaps.fetch_add(1, Relaxed);
                    continue;
                }
                Err(error) => return tally.mismatch(format!("poll: {error:?}")),
            };
            self.heard.fetch_add(1, Relaxed);
            let text = String::from_utf8_lossy(message.data()).into_owned();
            let mut parts = text.split('|');
            let channel = parts.next().unwrap_or_default().to_owned();
            let mut number = || parts.next().and_then(|part| part.parse::<u64>().ok());
            let (Some(from), Some(turn)) = (number(), number()) else {
                tally.mismatch(format!("heard {text:?}"));
                continue;
            };
            if channel != message.channel() {
                tally.mismatch(format!("heard {text:?} in {}", message.channel()));
            }
            let key = (message.pattern().is_some(), from);
            let before = last.insert(key, turn).unwrap_or(0);
            if before == turn {
                tally.mismatch(format!("heard {turn} of {from} twice"));
            }
        }
    }

    /// While everything else rests: what can be let go of is.
    pub fn settle(&self) {
        let _ = came_true(PATIENCE, || self.sent.lock().unwrap().is_empty());
        let _ = self.near.clear();
    }

    /// When everything passes again: what was sent and acknowledged is handled.
    pub fn end(&self, tally: &Tally) {
        wait_until(PATIENCE * 6, || self.sent.lock().unwrap().is_empty());
        self.consumer.stop(PATIENCE).unwrap();
        for text in self.strange.lock().unwrap().drain(..) {
            tally.mismatch(text);
        }
    }
}

impl Worker<'_> {
    /// One at a time, with a fence that grows.
    pub fn lock(&mut self) -> Result<()> {
        let n = self.dice.below(LOCKS) as usize;
        let (fence, inside) = &self.features.fences[n];
        let seen = fence.load(SeqCst);
        let lock = self.keep.lock(&format!("soak:{n}"));
        let held = lock
            .lease(Duration::from_secs(5))
            .acquire(Duration::from_millis(5))?;
        if held.fence() <= seen {
            let (tally, new) = (self.tally, held.fence());
            tally.mismatch(format!("lock {n}: fence {new} after {seen}"));
        }
        fence.fetch_max(held.fence(), SeqCst);
        let me = self.me as i64 + 1;
        let before = inside.swap(me, SeqCst);
        let echoed = self.echo();
        let after = inside.swap(0, SeqCst);
        // Who lost it, and was told so, is not inside any more.
        if held.is_held() && (before != 0 || after != me) {
            let tally = self.tally;
            tally.mismatch(format!("lock {n}: {before}, {after} inside with {me}"));
        }
        let _ = held.release()?;
        echoed
    }

    /// Of one id, no more than the limit within the window.
    pub fn limit(&mut self) -> Result<()> {
        self.turn += 1;
        let id = format!("{}:{}", self.me, self.turn);
        let (started, mut allowed) = (std::time::Instant::now(), 0);
        for _ in 0..LIMIT + 3 {
            let verdict = self.features.limiter.check(&id)?;
            allowed += u64::from(verdict.allowed);
            if let Some(away) = verdict.away {
                return Err(away);
            }
        }
        if allowed > LIMIT && started.elapsed() < WINDOW {
            self.tally.mismatch(format!("{allowed} allowed"));
        }
        Ok(())
    }

    pub fn session(&mut self) -> Result<()> {
        let tag = self.tag("session");
        let (sessions, user) = (&self.features.sessions, format!("user {}", self.me));
        let id = sessions.create(&user, &serde_json::json!({"tag": tag}))?;
        let got: Option<serde_json::Value> = sessions.get(&id)?;
        let got = got.map_or_else(String::new, |all| {
            let text = |field: &str| all[field].as_str().unwrap_or_default().to_owned();
            format!("{}, {}", text("user_id"), text("tag"))
        });
        self.same("session", &got, &format!("{user}, {tag}"));
        match self.dice.below(3) {
            0 => sessions.touch(&id).map(drop),
            1 => sessions.all_of(&user).map(drop),
            _ => sessions.delete(&id).map(drop),
        }
    }

    /// What is computed names what it was computed for.
    pub fn cached(&mut self) -> Result<()> {
        let (args, cache) = (self.dice.below(KEYS), &self.features.cache);
        if self.dice.below(10) == 0 {
            return cache.invalidate(&args);
        }
        let (me, turn) = (self.me, self.turn);
        let compute = || Ok::<_, redkeep::Error>(format!("row {args}|{me}|{turn}"));
        let got = cache.get_or_compute(&args, compute)?;
        self.of("cache", Some(got), &format!("row {args}"));
        Ok(())
    }

    /// Of keys that strings() sets.
    pub fn near(&mut self) -> Result<()> {
        let key = self.key("s");
        let got = self.features.near.get(&key)?;
        self.of("near", got, &key);
        Ok(())
    }

    pub fn publish(&mut self) -> Result<()> {
        self.turn += 1;
        let channel = format!("news:{}", self.dice.below(CHANNELS));
        let text = format!("{channel}|{}|{}", self.me, self.turn);
        if self.dice.below(20) > 0 {
            return self.keep.publish(&channel, text).map(drop);
        }
        // One that comes and goes.
        let subscriber = self.keep.subscriber();
        subscriber.add(&channel)?;
        self.keep.publish(&channel, text)?;
        if let Some(Event::Message(message)) = subscriber.poll(Duration::from_millis(20))? {
            let got = String::from_utf8_lossy(message.data()).into_owned();
            self.of("poll", Some(got), &channel);
        }
        Ok(())
    }

    pub fn send(&mut self) -> Result<()> {
        let tag = format!("sent|{}|{}", self.me, self.turn);
        self.turn += 1;
        let waiting = &self.features.sent;
        if waiting.lock().unwrap().len() > BACKLOG {
            return Ok(());
        }
        // Before it is sent, for it may be handled at once.
        waiting.lock().unwrap().insert(tag.clone());
        let message = Message::new("order", &tag)?;
        let result = match self.dice.below(2) {
            0 => self.features.sender.send(STREAM, &message),
            _ => self.features.sender.send_once(STREAM, &message, &tag),
        };
        if result.is_err() {
            waiting.lock().unwrap().remove(&tag);
        }
        result.map(drop)
    }
}
