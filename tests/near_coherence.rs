//! The near cache while everything happens at once: 4 writers, 8 readers, and the connection on which changes are told is
//! killed every second. Ten seconds always; `make soak` runs it for ten minutes (REDKEEP_NEAR_MINUTES).
//!
//! What is checked is more than what any one thread could tell: a read that begins after another thread's read of the
//! same key has returned sees nothing older. So, once anybody has seen that a change was told, nobody reads the old value;
//! and what was written through the same manager counts as seen when the call has returned.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use redkeep::{Config, Manager, NearCache};
use support::{PATIENCE, Server, wait_until};

const TEXTS: usize = 8;
const HASHES: usize = 4;
const KEYS: usize = TEXTS + HASHES;

/// The newest version of each key that anybody has seen.
type Floors = [AtomicU64; KEYS];

struct Scene<'a> {
    server: &'a Server,
    keep: &'a Manager,
    near: &'a NearCache,
    floors: Floors,
    reads: AtomicU64,
    writes: AtomicU64,
    over: AtomicBool,
}

fn name(key: usize) -> String {
    format!("key{key}")
}

/// Sees to it that the others end, too, when one of them fails.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, SeqCst);
        }
    }
}

impl Scene<'_> {
    fn goes_on(&self) -> bool {
        !self.over.load(SeqCst)
    }

    fn seen(&self, key: usize, version: u64) {
        self.floors[key].fetch_max(version, SeqCst);
    }

    /// One read of a key in one of the ways there are; what it brings is not older than what was seen before it began.
    fn read(&self, key: usize, way: u64) -> u64 {
        let (near, name) = (self.near, name(key));
        let floor = self.floors[key].load(SeqCst);
        let version = match (key < TEXTS, way % 4) {
            (true, 0 | 1) => near.get::<u64>(name).unwrap(),
            (true, 2) => {
                let text = near.get_shared(name).unwrap();
                text.map(|text| std::str::from_utf8(&text).unwrap().parse().unwrap())
            }
            (true, _) => near.mget::<u64, _>([name]).unwrap()[0],
            (false, 0) => near.hget::<u64>(name, "a").unwrap(),
            (false, 1) => near.hget::<u64>(name, "b").unwrap(),
            (false, _) => {
                let mut all: Vec<(String, u64)> = near.hgetall(name).unwrap();
                let first = all.pop().map(|(_, version)| version);
                // Both were written by one command.
                assert!(all.iter().all(|(_, version)| Some(*version) == first));
                first
            }
        };
        let version = version.unwrap_or(0);
        assert!(version >= floor, "key {key}: {version} after {floor}");
        self.seen(key, version);
        self.reads.fetch_add(1, SeqCst);
        version
    }

    fn reader(&self, number: u64) {
        let _ending = Ending(&self.over);
        let mut turn = number;
        while self.goes_on() {
            turn += 1;
            self.read((turn * 7 % KEYS as u64) as usize, turn / KEYS as u64);
            // Others want the processor as well, on a small machine.
            if turn.is_multiple_of(512) {
                thread::yield_now();
            }
        }
    }

    /// Writes its share of the keys, through the manager, or as a stranger.
    fn writer(&self, number: usize, own: bool) {
        let _ending = Ending(&self.over);
        let mut stranger = self.server.admin();
        let mut version = 0;
        while self.goes_on() {
            version += 1;
            for key in (0..KEYS).filter(|key| key % 4 == number) {
                let command = match key < TEXTS {
                    true => vec!["SET".to_owned(), name(key), version.to_string()],
                    false => {
                        let (name, version) = (name(key), version.to_string());
                        let words = ["a".to_owned(), version.clone(), "b".to_owned(), version];
                        [vec!["HSET".to_owned(), name], words.to_vec()].concat()
                    }
                };
                if own {
                    self.keep
                        .command::<redkeep::redis::Value>(&command)
                        .unwrap();
                    self.seen(key, version);
                } else {
                    let mut packed = redis::Cmd::new();
                    packed.arg(&command);
                    packed.exec(&mut stranger).unwrap();
                    // Told of it, or the connection was lost and everything forgotten.
                    wait_until(PATIENCE * 3, || {
                        self.read(key, version) >= version || !self.goes_on()
                    });
                }
                self.writes.fetch_add(1, SeqCst);
            }
            thread::sleep(Duration::from_micros(version % 5 * 400));
        }
    }

    fn killer(&self, time: Duration) -> u64 {
        let _ending = Ending(&self.over);
        let (started, mut next, mut kills) = (Instant::now(), Duration::from_secs(1), 0);
        while self.goes_on() && started.elapsed() < time {
            thread::sleep(Duration::from_millis(20));
            if started.elapsed() >= next {
                next += Duration::from_secs(1);
                kills += self.kill();
            }
        }
        self.over.store(true, SeqCst);
        kills
    }

    /// Kills the connection on which changes are told.
    fn kill(&self) -> u64 {
        let list: String = self.server.ask(&["CLIENT", "LIST"]);
        let mut kills = 0;
        for line in list.lines() {
            let word = |name| line.split(' ').find_map(|word| word.strip_prefix(name));
            if word("flags=").is_some_and(|flags: &str| flags.contains('t')) {
                let id = word("id=").expect("an id");
                kills += self.server.ask::<u64>(&["CLIENT", "KILL", "ID", id]);
            }
        }
        kills
    }
}

fn run(time: Duration, max_bytes: usize, change: impl FnOnce(Config) -> Config) {
    let server = Server::start();
    let config = Config::new()
        .url(server.url())
        .command_timeout(PATIENCE * 3);
    let keep = Manager::open_config(&change(config)).unwrap();
    let near = keep.near_cache(max_bytes);
    let scene = Scene {
        server: &server,
        keep: &keep,
        near: &near,
        floors: Floors::default(),
        reads: AtomicU64::new(0),
        writes: AtomicU64::new(0),
        over: AtomicBool::new(false),
    };
    let kills = thread::scope(|scope| {
        let scene = &scene;
        for number in 0..4 {
            scope.spawn(move || scene.writer(number, number % 2 == 0));
        }
        for number in 0..8 {
            scope.spawn(move || scene.reader(number));
        }
        scene.killer(time)
    });
    let (reads, writes) = (scene.reads.load(SeqCst), scene.writes.load(SeqCst));
    let stats = near.stats().unwrap();
    println!("{stats:?}");
    support::figure(format!(
        "{reads} reads, {writes} writes, {kills} kills: 0 older values"
    ));
    assert!(
        writes > 100 && kills > 0 && stats.hits > 100,
        "nothing was tried"
    );
    assert!(stats.emptied >= kills);
    assert!(stats.bytes <= max_bytes as u64);
}

#[test]
fn nobody_sees_an_older_value_than_was_seen_before() {
    run(Duration::from_secs(6), 64 << 20, |config| config);
}

/// Room for a few of the keys only.
#[test]
fn nor_where_there_is_hardly_any_room_and_no_lines() {
    run(Duration::from_secs(4), 2000, |config| {
        config.shared_lines(0)
    });
}

#[test]
fn nor_for_as_long_as_asked() {
    if let Ok(minutes) = std::env::var("REDKEEP_NEAR_MINUTES") {
        let minutes: f64 = minutes.parse().expect("REDKEEP_NEAR_MINUTES is a number");
        run(
            Duration::from_secs_f64(minutes * 60.0),
            64 << 20,
            |config| config,
        );
    }
}
