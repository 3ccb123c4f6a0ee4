//! GET of 64 bytes on many threads: redkeep as it comes (two shared lines), redkeep with 16 connections and no lines, and
//! the redis crate under r2d2 with 16.
//!
//! `cargo bench --bench peers [-- unix]`; QUICK=1 for a short run. The peers take turns, so that what slows one down
//! slows all. Prints medians over the rounds as Markdown.

mod support;

use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use redkeep::{Config, Manager};
use support::{PlainClient, Server};

const CONNECTIONS: usize = 16;
const THREADS: [usize; 4] = [1, 4, 16, 64];
const WARM_UP: Duration = Duration::from_millis(100);

/// What all threads do next.
const WARM: u8 = 0;
const MEASURE: u8 = 1;
const STOP: u8 = 2;

/// Counts of nanoseconds, in buckets that are at most 1/64 wide.
struct Histogram(Vec<u64>);

impl Histogram {
    fn new() -> Histogram {
        Histogram(vec![0; 64 * 60])
    }

    fn add(&mut self, time: Duration) {
        let nanos = time.as_nanos() as u64;
        let shift = (63 - nanos.max(64).leading_zeros()) - 6;
        self.0[shift as usize * 64 + (nanos >> shift) as usize] += 1;
    }

    fn merge(&mut self, other: &Histogram) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine += theirs;
        }
    }

    fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// In microseconds.
    fn quantile(&self, quantile: f64) -> f64 {
        let mut left = (self.count() as f64 * quantile) as u64;
        for (index, &count) in self.0.iter().enumerate() {
            if count > left {
                let shift = (index / 64).saturating_sub(1);
                return ((index - shift * 64) << shift) as f64 / 1e3;
            }
            left -= count;
        }
        0.0
    }
}

/// What was measured: operations a second; p50, p99 and CPU time for each operation in microseconds; how often an
/// operation gave the processor away to wait.
type Figures = [f64; 5];

/// The CPU time that this process has used, and its voluntary context switches; the server is another process.
fn usage() -> (f64, f64) {
    // SAFETY: a struct of integers, which the call fills.
    let usage = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    let cpu = seconds(usage.ru_utime) + seconds(usage.ru_stime);
    (cpu, usage.ru_nvcsw as f64)
}

fn measure(threads: usize, time: Duration, get: &(dyn Fn() -> usize + Sync)) -> Figures {
    let phase = AtomicU8::new(WARM);
    let work = || {
        let mut times = Histogram::new();
        loop {
            let now = phase.load(Ordering::Relaxed);
            if now == STOP {
                return times;
            }
            let started = Instant::now();
            assert_eq!(get(), 64);
            if now == MEASURE {
                times.add(started.elapsed());
            }
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        thread::sleep(WARM_UP);
        let started = Instant::now();
        let (cpu_before, waits_before) = usage();
        phase.store(MEASURE, Ordering::Relaxed);
        thread::sleep(time);
        phase.store(STOP, Ordering::Relaxed);
        let elapsed = started.elapsed();
        let (cpu, waits) = usage();
        let mut all = Histogram::new();
        for worker in workers {
            all.merge(&worker.join().expect("a thread that does not panic"));
        }
        let count = all.count() as f64;
        [
            count / elapsed.as_secs_f64(),
            all.quantile(0.5),
            all.quantile(0.99),
            (cpu - cpu_before) / count * 1e6,
            (waits - waits_before) / count,
        ]
    })
}

fn pool(url: &str, check: bool) -> r2d2::Pool<PlainClient> {
    r2d2::Pool::builder()
        .max_size(CONNECTIONS as u32)
        .test_on_check_out(check)
        .build(PlainClient::new(url))
        .expect("a pool")
}

fn pooled_get(pool: &r2d2::Pool<PlainClient>) -> usize {
    let mut connection = pool.get().expect("a connection");
    let value: Vec<u8> = redis::cmd("GET")
        .arg("key")
        .query(&mut *connection)
        .expect("an answer");
    value.len()
}

fn median(rounds: &[Figures], figure: usize) -> f64 {
    let mut values: Vec<f64> = rounds.iter().map(|round| round[figure]).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

type Peer<'a> = (&'a str, Box<dyn Fn() -> usize + Sync + 'a>);

fn main() {
    let quick = std::env::var_os("QUICK").is_some_and(|quick| !quick.is_empty());
    let (rounds, time) = match quick {
        true => (5, Duration::from_millis(200)),
        false => (9, Duration::from_secs(1)),
    };
    let unix = std::env::args().any(|argument| argument == "unix");
    let server = Server::start();
    let url = if unix { server.unix() } else { server.tcp() };

    let config = Config::new().url(&url).max_connections(CONNECTIONS);
    let keep = Manager::open_config(&config).expect("a manager");
    let pooled = Manager::open_config(&config.shared_lines(0)).expect("a manager");
    keep.set("key", vec![b'x'; 64]).expect("an answer");
    let kept_get = |keep: &Manager| {
        let value: Option<Vec<u8>> = keep.get("key").expect("an answer");
        value.map_or(0, |value| value.len())
    };
    let unchecked = pool(&url, false);
    let checked = pool(&url, true);
    let peers: [Peer<'_>; 4] = [
        ("redkeep", Box::new(|| kept_get(&keep))),
        ("redkeep, pool only", Box::new(|| kept_get(&pooled))),
        ("r2d2, no check", Box::new(|| pooled_get(&unchecked))),
        ("r2d2, as it comes", Box::new(|| pooled_get(&checked))),
    ];

    println!(
        "GET on {CONNECTIONS} connections over {}: medians of {rounds} rounds of {time:?}; in brackets redkeep / peer, and \
         redkeep's pool / peer\n",
        if unix { "a unix socket" } else { "TCP" }
    );
    println!(
        "| threads | peer | GET/s | p50 us | p99 us | CPU us/GET | waits/GET | GET/s, least - most |"
    );
    println!("|---:|---|---:|---:|---:|---:|---:|---:|");
    for threads in THREADS {
        let mut figures = vec![Vec::new(); peers.len()];
        for round in 0..rounds {
            // Each goes first in its turn.
            for turn in 0..peers.len() {
                let at = (round + turn) % peers.len();
                figures[at].push(measure(threads, time, &peers[at].1));
            }
        }
        for ((name, _), theirs) in peers.iter().zip(&figures) {
            let cell = |figure: usize, decimals: usize| {
                let value = median(theirs, figure);
                let [ours, pool] = [0, 1].map(|peer: usize| median(&figures[peer], figure) / value);
                format!("{value:.decimals$} ({ours:.2}, {pool:.2})")
            };
            let rates = || theirs.iter().map(|round| round[0]);
            let (least, most) = (
                rates().fold(f64::MAX, f64::min),
                rates().fold(0.0, f64::max),
            );
            println!(
                "| {threads} | {name} | {} | {} | {} | {} | {} | {least:.0} - {most:.0} |",
                cell(0, 0),
                cell(1, 1),
                cell(2, 1),
                cell(3, 2),
                cell(4, 2)
            );
        }
    }
}
