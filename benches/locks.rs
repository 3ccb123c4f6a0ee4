//! What it costs to hand a lock on: 4 processes with 25 threads each wait for one lock, each holds it for 5 ms.
//!
//! `cargo bench --bench locks`; `-- fair` for locks that keep the order. Printed: commands per hand-over, as sent by
//! clients and as executed by the server (those inside of scripts included), and the time from the call of release()
//! to the return of the next acquire(), beside that of a GET paced by the same 5 ms.

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use redkeep::Manager;
use support::Server;

const PROCESSES: usize = 4;
const THREADS: usize = 25;
const HOLD: Duration = Duration::from_millis(5);
const WARM_UP: Duration = Duration::from_secs(2);
const SPAN: Duration = Duration::from_secs(10);

/// The commands that only the scripts send here.
const INNER: &[&str] = &[
    "get", "set", "incr", "del", "pttl", "pexpire", "zadd", "zrem", "zrange", "zpopmin", "zcard",
    "time", "publish",
];

fn nanos() -> u128 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.expect("after 1970").as_nanos()
}

fn median(mut all: Vec<u128>) -> f64 {
    all.sort_unstable();
    all[all.len() / 2] as f64 / 1000.0
}

fn waiter(url: &str, fair: bool) {
    let keep = Manager::open(url).expect("an address");
    let (out, log) = std::sync::mpsc::channel();
    for _ in 0..THREADS {
        let (lock, out) = (keep.lock("bench").fair(fair), out.clone());
        std::thread::spawn(move || {
            loop {
                let held = lock.acquire(Duration::from_secs(100)).expect("the lock");
                let entered = nanos();
                std::thread::sleep(HOLD);
                let (fence, left) = (held.fence(), nanos());
                held.release().expect("an answer");
                let _ = out.send((fence, entered, left));
            }
        });
    }
    let mut to = std::io::stdout().lock();
    for (fence, entered, left) in log {
        // Nobody reads any more: the benchmark is over.
        if writeln!(to, "{fence} {entered} {left}").is_err() {
            std::process::exit(0);
        }
    }
}

fn stats(keep: &Manager) -> BTreeMap<String, i64> {
    let text: String = keep.command(("INFO", "commandstats")).expect("an answer");
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix("cmdstat_"));
    let calls = lines.filter_map(|line| {
        let (name, rest) = line.split_once(":calls=")?;
        Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
    });
    calls.collect()
}

fn main() {
    let fair = std::env::args().any(|arg| arg == "fair");
    if let Ok(url) = std::env::var("REDKEEP_BENCH_WAITER") {
        return waiter(&url, fair);
    }
    let server = Server::start();
    let keep = Manager::open(&server.tcp()).expect("an address");
    let mut gets = Vec::new();
    for _ in 0..600 {
        std::thread::sleep(HOLD);
        let started = nanos();
        let _: Option<String> = keep.get("bench").expect("an answer");
        gets.push(nanos() - started);
    }
    let mut children: Vec<Child> = (0..PROCESSES)
        .map(|_| {
            Command::new(std::env::current_exe().expect("ourselves"))
                .args(fair.then_some("fair"))
                .env("REDKEEP_BENCH_WAITER", server.tcp())
                .stdout(Stdio::piped())
                .spawn()
                .expect("ourselves once more")
        })
        .collect();
    let readers: Vec<_> = children
        .iter_mut()
        .map(|child| {
            let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
            std::thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>())
        })
        .collect();
    std::thread::sleep(WARM_UP);
    let fence = || {
        keep.get::<i64>("{lock:bench}:fence")
            .expect("an answer")
            .unwrap_or(0)
    };
    let (before, first) = (stats(&keep), fence());
    std::thread::sleep(SPAN);
    let (after, last) = (stats(&keep), fence());
    for child in &mut children {
        let _ = child.kill();
        let _ = child.wait();
    }
    let mut log: Vec<(i64, usize, u128, u128)> = Vec::new();
    for (process, reader) in readers.into_iter().enumerate() {
        for line in reader.join().expect("a reader") {
            let words: Vec<&str> = line.split(' ').collect();
            if let [fence, entered, left] = words[..] {
                let at = |text: &str| text.parse().expect("a number");
                log.push((
                    fence.parse().expect("a number"),
                    process,
                    at(entered),
                    at(left),
                ));
            }
        }
    }
    log.sort_unstable();
    let (mut all, mut across) = (Vec::new(), Vec::new());
    for two in log.windows(2) {
        let ((fence, process, _, left), (next, other, entered, _)) = (two[0], two[1]);
        if next == fence + 1 && (first..last).contains(&fence) {
            assert!(
                entered >= left,
                "two were inside at once: {fence} and {next}"
            );
            all.push(entered - left);
            if process != other {
                across.push(entered - left);
            }
        }
    }
    let per = |wanted: &dyn Fn(&str) -> bool| {
        let calls = after.iter().filter(|(name, _)| wanted(name));
        let calls: i64 = calls
            .map(|(name, n)| n - before.get(name).copied().unwrap_or(0))
            .sum();
        calls as f64 / (last - first) as f64
    };
    for (name, n) in &after {
        let each = (n - before.get(name).copied().unwrap_or(0)) as f64 / (last - first) as f64;
        if each > 0.01 {
            println!("  {name:<12} {each:.2}");
        }
    }
    println!(
        "{} hand-overs, {} of them between processes; per hand-over: {:.2} commands sent, {:.2} executed",
        all.len(),
        across.len(),
        per(&|name| !INNER.contains(&name)),
        per(&|_| true)
    );
    let slow = {
        let mut sorted = all.clone();
        sorted.sort_unstable();
        sorted[sorted.len() * 99 / 100] as f64 / 1000.0
    };
    let (get, hand_over) = (median(gets), median(all));
    println!(
        "GET paced by {HOLD:?}: {get:.0} us; hand-over: p50 {hand_over:.0} us = {:.2} times that, p99 {slow:.0} us; \
         between processes: p50 {:.0} us",
        hand_over / get,
        median(across)
    );
}
