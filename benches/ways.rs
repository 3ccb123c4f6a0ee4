//! Which way calls go, pool or shared lines, beside either of them alone: GETs by 1 to 64 threads, of small and large
//! values, with round trips of 0, 0.2 and 2 ms. As it comes, redkeep should be about as fast as the better of the two in
//! each place.
//!
//! `cargo bench --bench ways`; QUICK=1 for a short run. All take turns, so that what slows one down slows all. Prints
//! medians over the rounds as Markdown. The way to a server that is farther off leads through a proxy of this process,
//! which delays bytes; it takes its share of the processors, more of it the more sockets there are.

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use redkeep::Manager;
use support::{Fault, Proxy, Server, Way};

const THREADS: [usize; 6] = [1, 2, 4, 8, 16, 64];
const SIZES: [usize; 2] = [64, 16 << 10];
/// There and back.
const DISTANCES: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_micros(200),
    Duration::from_millis(2),
];
/// As it comes, the lines with one connection beside them, and the pool alone.
const WAYS: [&str; 3] = ["", "?max_connections=1", "?shared_lines=0"];
const WARM_UP: Duration = Duration::from_millis(50);

const WARM: u8 = 0;
const MEASURE: u8 = 1;
const STOP: u8 = 2;

/// GETs a second.
fn measure(keep: &Manager, threads: usize, size: usize, time: Duration) -> f64 {
    let phase = AtomicU8::new(WARM);
    let work = || {
        let mut count = 0u64;
        loop {
            match phase.load(Ordering::Relaxed) {
                STOP => return count,
                MEASURE => count += 1,
                _ => {}
            }
            let value: Option<Vec<u8>> = keep.get("value").expect("an answer");
            assert_eq!(value.map_or(0, |value| value.len()), size);
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        thread::sleep(WARM_UP);
        let started = Instant::now();
        phase.store(MEASURE, Ordering::Relaxed);
        thread::sleep(time);
        phase.store(STOP, Ordering::Relaxed);
        let elapsed = started.elapsed();
        let counts = workers.into_iter().map(|worker| worker.join());
        let all: u64 = counts.map(|count| count.expect("no panic")).sum();
        all as f64 / elapsed.as_secs_f64()
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// How many of the manager's calls went by the pool.
fn by_pool(keep: &Manager) -> u64 {
    let status = keep.fetch_pool_status();
    status.nodes.iter().map(|node| node.calls_by_pool).sum()
}

fn main() {
    let quick = std::env::var_os("QUICK").is_some_and(|quick| !quick.is_empty());
    let (rounds, time) = match quick {
        true => (3, Duration::from_millis(150)),
        false => (9, Duration::from_millis(400)),
    };
    let server = Server::start();
    println!(
        "GETs a second: medians of {rounds} rounds of {time:?}; the share of calls by the pool as it comes\n"
    );
    println!(
        "| round trip | bytes | threads | as it comes | by pool | lines | pool | ratio to the better |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    for distance in DISTANCES {
        let proxy = Proxy::to(server.address());
        proxy.set(Way::Both, Fault::Delay(distance / 2));
        let url = match distance.is_zero() {
            true => server.url(),
            false => proxy.url(),
        };
        for size in SIZES {
            for threads in THREADS {
                // Anew for each, so that nothing learnt before helps or hinders.
                let keeps = WAYS.map(|way| Manager::open(&format!("{url}{way}")).expect("a url"));
                keeps[0].set("value", vec![b'x'; size]).expect("an answer");
                let mut seen: [Vec<f64>; 3] = Default::default();
                for round in 0..rounds {
                    // Each goes first in its turn.
                    for turn in 0..WAYS.len() {
                        let at = (round + turn) % WAYS.len();
                        seen[at].push(measure(&keeps[at], threads, size, time));
                    }
                }
                let calls = keeps[0].stats()["calls"]
                    .as_u64()
                    .unwrap_or_default()
                    .max(1);
                let share = by_pool(&keeps[0]) as f64 / calls as f64;
                let [ours, lines, pool] = seen.clone().map(median);
                // In each round beside the one that is the better over all of them: the better of each round would be
                // whichever had the luck.
                let better = if lines > pool { 1 } else { 2 };
                let ratio = (0..rounds).map(|n| seen[0][n] / seen[better][n]);
                let ratio = median(ratio.collect());
                println!(
                    "| {distance:?} | {size} | {threads} | {ours:.0} | {share:.2} | {lines:.0} | {pool:.0} | {ratio:.2} |"
                );
            }
        }
    }
}
