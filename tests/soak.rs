//! Random operations of every kind under random faults: every reply belongs to its request, every call ends in time,
//! memory does not grow, and nothing is left over. A short form runs always; `make soak MINUTES=n` runs for that long
//! (seed: REDKEEP_SOAK_SEED).

mod soak {
    pub mod features;
    pub mod memory;
}
mod support;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use redkeep::{Config, ErrorKind, Manager, Result, Script};
use soak::features::Features;
use soak::memory::Watch;
use support::{
    Dice, Fault, PATIENCE, Proxy, Server, Way, alone, came_true, descriptors, figure, threads,
    wait_until,
};

const THREADS: usize = 16;
const SLOTS: usize = 8;
const KEYS: u64 = 20;
const TIME: Duration = Duration::from_millis(60);
/// No call may take longer than its deadline; beside that, a machine with other work to do needs some more.
const LATEST: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Tally {
    /// Those that were answered, or failed under way; not those that were refused because the node was down.
    calls: AtomicU64,
    timeouts: AtomicU64,
    slowest: Mutex<(Duration, &'static str)>,
    errors: Mutex<BTreeMap<String, u64>>,
    mismatches: Mutex<Vec<String>>,
    over: AtomicBool,
    rest: Rest,
}

/// A pause of all threads, so that what is held can be counted.
#[derive(Default)]
struct Rest {
    wanted: AtomicBool,
    resting: AtomicUsize,
}

impl Rest {
    fn is_wanted(&self) -> bool {
        self.wanted.load(Relaxed)
    }

    /// Rests, while that is wanted.
    fn take(&self) {
        if self.is_wanted() {
            self.resting.fetch_add(1, Relaxed);
            while self.is_wanted() {
                thread::sleep(Duration::from_millis(1));
            }
            self.resting.fetch_sub(1, Relaxed);
        }
    }

    /// Has all of them rest; false if one of them does not, for it has ended.
    fn give(&self, threads: usize, ended: impl Fn() -> bool) -> bool {
        self.wanted.store(true, Relaxed);
        let rests = || self.resting.load(Relaxed) == threads;
        came_true(PATIENCE, || rests() || ended()) && rests()
    }
}

impl Tally {
    fn calls(&self) -> u64 {
        self.calls.load(Relaxed)
    }

    fn timeouts(&self) -> u64 {
        self.timeouts.load(Relaxed)
    }

    fn percent(&self) -> f64 {
        self.timeouts() as f64 * 100.0 / self.calls().max(1) as f64
    }

    fn mismatch(&self, text: String) {
        self.mismatches.lock().unwrap().push(text);
    }

    fn note(&self, what: &'static str, result: Result<()>, took: Duration) {
        let mut slowest = self.slowest.lock().unwrap();
        *slowest = (*slowest).max((took, what));
        drop(slowest);
        let kind = result.as_ref().err().map(|error| error.kind());
        if kind != Some(ErrorKind::NoHealthyPools) {
            self.calls.fetch_add(1, Relaxed);
        }
        let Err(error) = result else {
            return;
        };
        *(self.errors.lock().unwrap())
            .entry(format!("{:?}", error.kind()))
            .or_default() += 1;
        match error.kind() {
            ErrorKind::Timeout => _ = self.timeouts.fetch_add(1, Relaxed),
            // Refused at once: without a pause, that would be all that is ever done.
            ErrorKind::NoHealthyPools => thread::sleep(Duration::from_millis(1)),
            ErrorKind::PoolTimeout | ErrorKind::Connect | ErrorKind::Io => {}
            // Another thread has it, or one whose release did not arrive.
            ErrorKind::LockTimeout if what == "lock" => {}
            // A transaction that timed out is executed late, and disturbs the next one of the same thread.
            ErrorKind::Watched => {}
            // Whatever else it says, it says it of another one's reply.
            _ => self.mismatch(format!("{what}: {error:?}")),
        }
    }
}

/// One thread's part of the work. Nobody else uses its keys, and each of its values names its key.
struct Worker<'a> {
    keep: &'a Manager,
    features: &'a Features,
    tally: &'a Tally,
    me: usize,
    dice: Dice,
    turn: u64,
    /// What its counter was when last seen. It begins where no other thread's does.
    counter: i64,
    script: Script,
    /// So many bytes with a thousand calls, to see that it is noticed (REDKEEP_SOAK_LEAK).
    leak: usize,
}

impl Worker<'_> {
    fn key(&mut self, sort: &str) -> String {
        format!("{}:{sort}:{}", self.me, self.dice.below(KEYS))
    }

    fn tag(&mut self, key: &str) -> String {
        self.turn += 1;
        let filler = self.dice.below(300) as usize;
        format!("{key}|{}|{}", self.turn, "x".repeat(filler))
    }

    fn same(&self, what: &str, got: &str, wanted: &str) {
        if got != wanted {
            self.tally
                .mismatch(format!("{what}: {got:?}, not {wanted:?}"));
        }
    }

    fn of(&self, what: &str, got: Option<String>, key: &str) {
        if let Some(got) = got.filter(|got| !got.starts_with(&format!("{key}|"))) {
            self.tally.mismatch(format!("{what} of {key}: {got:?}"));
        }
    }

    /// A late increment may be executed between two others, so the counter only grows.
    fn counted(&mut self, what: &str, now: i64) {
        let mine = (self.counter / RANGE) == now / RANGE && now > self.counter;
        if !mine {
            let before = self.counter;
            self.tally.mismatch(format!("{what}: {now} after {before}"));
        }
        self.counter = now;
    }

    fn work(mut self, enough: impl Fn() -> bool) {
        while !enough() && !self.tally.over.load(Relaxed) {
            self.tally.rest.take();
            if self.leak > 0 && self.dice.below(1000) == 0 {
                std::mem::forget(vec![0u8; self.leak]);
            }
            let (what, action) = self.pick();
            let started = Instant::now();
            let result = action(&mut self);
            self.tally.note(what, result, started.elapsed());
        }
    }

    fn pick(&mut self) -> (&'static str, fn(&mut Self) -> Result<()>) {
        match self.dice.below(130) {
            0..20 => ("echo", Self::echo),
            20..50 => ("strings", Self::strings),
            50..58 => ("hashes", Self::hashes),
            58..66 => ("counter", Self::count),
            66..70 => ("json", Self::json),
            70..82 => ("pipeline", Self::pipeline),
            82..87 => ("transaction", Self::transaction),
            87..92 => ("lease", Self::lease),
            92..96 => ("script", Self::eval),
            96..99 => ("list", Self::list),
            99 => ("scan", Self::scan),
            100..105 => ("lock", Self::lock),
            105..109 => ("limiter", Self::limit),
            109..113 => ("session", Self::session),
            113..117 => ("cache", Self::cached),
            117..122 => ("near", Self::near),
            122..126 => ("publish", Self::publish),
            _ => ("send", Self::send),
        }
    }

    fn echo(&mut self) -> Result<()> {
        let tag = self.tag("echo");
        let back: String = match self.dice.below(3) {
            0 => {
                let time = Duration::from_millis(5 + self.dice.below(60));
                self.keep.command_within(("ECHO", &tag), time)?
            }
            _ => self.keep.command(("ECHO", &tag))?,
        };
        self.same("echo", &back, &tag);
        Ok(())
    }

    fn strings(&mut self) -> Result<()> {
        let (key, other) = (self.key("s"), self.key("s"));
        let tag = self.tag(&key);
        match self.dice.below(9) {
            0..3 => self.keep.set(&key, &tag),
            3..6 => {
                let got = self.keep.get(&key)?;
                self.of("get", got, &key);
                Ok(())
            }
            6 => {
                let got: Vec<Option<String>> = self.keep.mget((&key, &other))?;
                if got.len() != 2 {
                    self.tally.mismatch(format!("mget: {got:?}"));
                }
                for (got, key) in got.into_iter().zip([key, other]) {
                    self.of("mget", got, &key);
                }
                Ok(())
            }
            7 => {
                let second = self.tag(&other);
                self.keep.mset([(&key, &tag), (&other, &second)])
            }
            _ => {
                let removed = self.keep.delete(&key)?;
                if !(0..=1).contains(&removed) {
                    self.tally.mismatch(format!("delete: {removed}"));
                }
                self.keep.exists(&key)?;
                let left = self.keep.ttl(&key)?;
                if left >= 0 {
                    self.tally.mismatch(format!("ttl: {left}"));
                }
                self.keep.ping()
            }
        }
    }

    fn hashes(&mut self) -> Result<()> {
        let (key, field) = (self.key("h"), self.key("f"));
        let tag = self.tag(&field);
        match self.dice.below(2) {
            0 => self.keep.hset(&key, &field, &tag).map(drop),
            _ => {
                let got = self.keep.hget(&key, &field)?;
                self.of("hget", got, &field);
                Ok(())
            }
        }
    }

    fn count(&mut self) -> Result<()> {
        let now = self.keep.incr(format!("{}:n", self.me), 1)?;
        self.counted("incr", now);
        Ok(())
    }

    fn json(&mut self) -> Result<()> {
        let key = self.key("j");
        let tag = self.tag(&key);
        match self.dice.below(2) {
            0 => self.keep.set_json(&key, &tag),
            _ => {
                let got = self.keep.get_json(&key)?;
                self.of("get_json", got, &key);
                Ok(())
            }
        }
    }

    fn pipeline(&mut self) -> Result<()> {
        let mut pipe = self.keep.pipeline();
        pipe.atomic(self.dice.below(3) == 0);
        let mut wanted = Vec::new();
        // Now and then a long one, whose replies are not waited for one by one.
        let most = if self.dice.below(20) == 0 { 2_500 } else { 20 };
        for _ in 0..1 + self.dice.below(most) {
            let key = self.key("s");
            let tag = self.tag(&key);
            match self.dice.below(3) {
                0 => _ = pipe.command(("SET", &key, &tag))?,
                1 => _ = pipe.command(("GET", &key))?,
                _ => _ = pipe.command(("ECHO", &tag))?,
            }
            wanted.push((pipe.len(), key, tag));
        }
        let replies = pipe.execute()?;
        if replies.len() != wanted.len() {
            self.tally.mismatch(format!("{} replies", replies.len()));
        }
        for (at, key, tag) in wanted {
            let got: Option<String> = replies.get(at - 1)?;
            match got.as_deref() {
                Some("OK") | None => {}
                // An echo is this very text; what GET found has its key.
                Some(got) if got == tag => {}
                Some(got) => self.of("pipeline", Some(got.to_owned()), &key),
            }
        }
        Ok(())
    }

    fn transaction(&mut self) -> Result<()> {
        let key = format!("{}:n", self.me);
        let tag = self.tag("transaction");
        let (now, back): (i64, String) = self.keep.transaction(&key, |tx| {
            let _: Option<i64> = tx.read(("GET", &key))?;
            tx.command(("INCR", &key))?.command(("ECHO", &tag))?;
            Ok(())
        })?;
        self.same("transaction", &back, &tag);
        self.counted("transaction", now);
        Ok(())
    }

    fn lease(&mut self) -> Result<()> {
        let mut one = self.keep.client().dedicated()?;
        for _ in 0..1 + self.dice.below(4) {
            let tag = self.tag("lease");
            let back: String = one.command(("ECHO", &tag))?;
            self.same("lease", &back, &tag);
        }
        // What is left behind so is not for the next one.
        match self.dice.below(4) {
            0 => {
                one.command::<String>("MULTI")?;
                one.command::<String>(("INCR", "never")).map(drop)
            }
            1 => one.command::<String>(("SELECT", 1)).map(drop),
            _ => Ok(()),
        }
    }

    fn eval(&mut self) -> Result<()> {
        let key = self.key("s");
        let tag = self.tag(&key);
        let (back, found): (String, Option<String>) = self.keep.eval(&self.script, &key, &tag)?;
        self.same("script", &back, &tag);
        self.of("script", found, &key);
        Ok(())
    }

    fn list(&mut self) -> Result<()> {
        let key = self.key("l");
        let tag = self.tag(&key);
        match self.dice.below(2) {
            0 => self.keep.command::<i64>(("RPUSH", &key, &tag)).map(drop),
            _ => {
                let got: Option<(String, String)> = self.keep.command(("BLPOP", &key, 0.01))?;
                if let Some((from, got)) = got {
                    self.same("blpop", &from, &key);
                    self.of("blpop", Some(got), &key);
                }
                Ok(())
            }
        }
    }

    fn scan(&mut self) -> Result<()> {
        let start = format!("{}:", self.me);
        for key in self.keep.scan(Some(&format!("{start}*"))) {
            let key = String::from_utf8_lossy(&key?).into_owned();
            if !key.starts_with(&start) {
                self.tally.mismatch(format!("scan {start}*: {key:?}"));
            }
        }
        Ok(())
    }
}

/// Between the beginnings of two threads' counters.
const RANGE: i64 = 1_000_000_000;

/// Sets one fault after the other, as the work goes on: they are measured in calls, not in time, so that a slow
/// machine sees as many.
fn spoil(proxy: &Proxy, tally: &Tally, mut dice: Dice) {
    let goes_on = |more: u64| {
        let goal = tally.calls() + more;
        came_true(Duration::from_millis(300), || {
            tally.calls() >= goal || tally.over.load(Relaxed) || tally.rest.is_wanted()
        })
    };
    while !tally.over.load(Relaxed) {
        tally.rest.take();
        let way = [Way::ToClient, Way::ToServer, Way::Both][dice.below(3) as usize];
        let bytes = dice.below(3000);
        match dice.below(10) {
            0..6 => {
                proxy.set(way, Fault::StallAfter(bytes));
                let goal = tally.timeouts() + 4 + dice.below(12);
                let _ = came_true(TIME * 4, || {
                    let enough = tally.timeouts() >= goal || tally.over.load(Relaxed);
                    enough || tally.rest.is_wanted()
                });
            }
            6 => {
                proxy.set(way, Fault::ResetAfter(bytes));
                goes_on(30);
            }
            7 => {
                proxy.set(way, Fault::CloseAfter(bytes));
                goes_on(30);
            }
            8 => {
                proxy.set(way, Fault::Delay(Duration::from_millis(1 + dice.below(30))));
                goes_on(30);
            }
            _ => proxy.cut_all(),
        }
        proxy.heal();
        goes_on(50 + dice.below(300));
    }
    proxy.heal();
}

/// Ends when `enough` says so; `look` is asked meanwhile. What is held is counted after so many calls, and so much time.
fn soak(
    seed: u64,
    every: (u64, Duration),
    enough: impl Fn(&Tally) -> bool + Sync,
    mut look: impl FnMut(&Tally),
) {
    println!("seed {seed}");
    let leak = std::env::var("REDKEEP_SOAK_LEAK").map_or(0, |bytes| bytes.parse().expect("bytes"));
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let before = (descriptors(), threads());
    let config = Config::new()
        .url(proxy.url())
        .max_connections(SLOTS)
        .command_timeout(TIME)
        .connect_timeout(TIME)
        .health_check_interval(Duration::from_millis(20))
        .cleanup_interval(Duration::from_millis(50));
    let keep = Manager::open_config(&config).unwrap();
    for n in 0..THREADS {
        let text = (n as i64 * RANGE).to_string();
        server.ask::<()>(&["SET", &format!("{n}:n"), &text]);
    }
    wait_until(PATIENCE, || keep.ping().is_ok());
    let features = Features::of(&keep);
    let tally = Tally::default();
    let started = Instant::now();
    let mut watch = Watch::begin();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|me| {
                let worker = Worker {
                    keep: &keep,
                    features: &features,
                    tally: &tally,
                    me,
                    dice: Dice(seed.wrapping_add(1 + me as u64)),
                    turn: 0,
                    counter: me as i64 * RANGE,
                    script: Script::new("return {ARGV[1], redis.call('GET', KEYS[1])}"),
                    leak,
                };
                let (tally, enough) = (&tally, &enough);
                scope.spawn(move || worker.work(|| enough(tally)))
            })
            .collect();
        let spoiler = scope.spawn(|| spoil(&proxy, &tally, Dice(seed)));
        scope.spawn(|| features.listen(&tally));
        let mut next = (tally.calls() + every.0, Instant::now() + every.1);
        while !workers.iter().all(|worker| worker.is_finished()) {
            look(&tally);
            if tally.calls() >= next.0 && Instant::now() >= next.1 {
                let ended = || workers.iter().any(|worker| worker.is_finished());
                // And who spoils.
                if tally.rest.give(THREADS + 1, ended) {
                    features.settle();
                    keep.disconnect();
                    watch.look(tally.calls());
                }
                tally.rest.wanted.store(false, Relaxed);
                next = (tally.calls() + every.0, Instant::now() + every.1);
            }
            thread::sleep(Duration::from_millis(5));
            // Both ends of both sides of each connection are in this process, and some are on their way out.
            assert!(
                descriptors() <= before.0 + SLOTS * 8 + 80,
                "{}",
                descriptors()
            );
            assert!(threads().len() <= before.1.len() + 10, "{:?}", threads());
        }
        tally.over.store(true, Relaxed);
        spoiler.join().unwrap();
    });
    let took = started.elapsed();
    let growth = watch.end();
    // It is as good as new.
    wait_until(PATIENCE, || keep.ping().is_ok());
    features.end(&tally);
    let heard = features.heard.load(Relaxed);
    let handled = features.handled.load(Relaxed);
    assert!(heard > 0 && handled > 0, "{heard} heard, {handled} handled");
    drop(features);
    let pool = keep.fetch_pool_status().nodes[0].pools[0];
    assert_eq!((pool.in_use, pool.waiting, pool.oldest_lease), (0, 0, None));
    assert_eq!(server.ask::<i64>(&["EXISTS", "never"]), 0);
    keep.close(PATIENCE).unwrap();
    drop(keep);
    wait_until(PATIENCE, || (descriptors(), threads()) == before);

    let mismatches = tally.mismatches.into_inner().unwrap();
    let slowest = tally.slowest.into_inner().unwrap();
    figure(format!(
        "{} calls in {:.1} s, errors {:?}, {:.2} % timed out, slowest {slowest:?}, {heard} messages heard, {handled} \
         handled, {} mismatches",
        tally.calls.load(Relaxed),
        took.as_secs_f64(),
        tally.errors.into_inner().unwrap(),
        tally.timeouts.load(Relaxed) as f64 * 100.0 / tally.calls.load(Relaxed).max(1) as f64,
        mismatches.len(),
    ));
    figure(format!("memory: {growth}"));
    let some = &mismatches[..mismatches.len().min(10)];
    assert!(mismatches.is_empty(), "seed {seed}: {some:#?}");
    assert!(slowest.0 < LATEST, "seed {seed}: {slowest:?}");
    assert!(!growth.is_a_leak(), "seed {seed}: it leaks: {growth}");
    assert!(growth.is_flat(), "seed {seed}: it grows: {growth}");
}

fn seed() -> u64 {
    support::seed("REDKEEP_SOAK_SEED")
}

#[test]
fn no_reply_goes_to_another_call_under_random_faults() {
    if !alone("no_reply_goes_to_another_call_under_random_faults") {
        return;
    }
    // Goes on until enough timed out, or the run would not count.
    let enough = |tally: &Tally| tally.calls() >= 20_000 && tally.percent() >= 1.0;
    let started = Instant::now();
    soak(seed(), (1_500, Duration::ZERO), enough, |_| {
        assert!(started.elapsed() < PATIENCE * 12, "it takes too long");
    });
}

#[test]
fn soak_for_as_long_as_asked() {
    let Ok(minutes) = std::env::var("REDKEEP_SOAK_MINUTES") else {
        return;
    };
    let minutes: f64 = minutes.parse().expect("REDKEEP_SOAK_MINUTES is a number");
    let end = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    let mut next = Instant::now() + Duration::from_secs(10);
    let mut percent = 0.0;
    soak(
        seed(),
        (1_500, Duration::from_secs_f64(minutes.min(5.0))),
        |_| Instant::now() >= end,
        |tally| {
            percent = tally.percent();
            if Instant::now() >= next {
                next += Duration::from_secs(10);
                let found = tally.mismatches.lock().unwrap().len();
                println!(
                    "{} calls, {percent:.2} % timed out, {found} mismatches",
                    tally.calls()
                );
            }
        },
    );
    assert!(
        percent >= 1.0,
        "it does not count: only {percent:.2} % of the calls timed out"
    );
}
