//! What a hit in the near cache costs, beside a GET over the network: one thread, values of 64 bytes.
//!
//! `taskset -c 0 cargo bench --bench near`, so that client and server share a processor and neither waits for the other's
//! to wake up; QUICK=1 for a short run. Prints medians (least - most) of interleaved rounds as Markdown.

mod support;

use std::hint::black_box;
use std::time::Instant;

use redkeep::Manager;
use support::Server;

const HITS: u32 = 1_000_000;
const READS: u32 = 20_000;
/// Hits go round among so many keys, beside those of one key.
const KEYS: usize = 10_000;

/// Nanoseconds for each.
fn time(count: u32, mut work: impl FnMut(usize)) -> f64 {
    let started = Instant::now();
    (0..count as usize).for_each(&mut work);
    started.elapsed().as_nanos() as f64 / f64::from(count)
}

fn main() {
    let quick = std::env::var_os("QUICK").is_some_and(|quick| !quick.is_empty());
    let rounds = if quick { 5 } else { 15 };
    let server = Server::start();
    let keep = Manager::open(&server.unix()).expect("a manager");
    let near = keep.near_cache(64 << 20);
    let keys: Vec<String> = (0..KEYS).map(|i| format!("key:{i}")).collect();
    let value = vec![b'x'; 64];
    keep.mset(keys.iter().map(|key| (key, &value)))
        .expect("an answer");
    keep.hset("hash", "field", &value).expect("an answer");
    near.hget::<Vec<u8>>("hash", "field").expect("an answer");
    near.mget::<Vec<u8>, _>(&keys).expect("an answer");
    let before = near.stats().expect("an open manager").misses;

    let one = || time(HITS, |_| drop(black_box(near.get_shared(&keys[7]))));
    let many = || {
        time(HITS, |i| {
            drop(black_box(near.get_shared(&keys[i * 7 % KEYS])))
        })
    };
    let copy = || time(HITS, |_| drop(black_box(near.get::<Vec<u8>>(&keys[7]))));
    let field = || {
        time(HITS, |_| {
            drop(black_box(near.hget::<Vec<u8>>("hash", "field")))
        })
    };
    let network = || time(READS, |_| drop(black_box(keep.get::<Vec<u8>>(&keys[7]))));
    let rows: [(&str, &dyn Fn() -> f64); 5] = [
        ("get_shared, one key", &one),
        ("get_shared, 10,000 keys", &many),
        ("get::<Vec<u8>>", &copy),
        ("hget::<Vec<u8>>", &field),
        ("a GET over a unix socket", &network),
    ];
    let mut figures = vec![Vec::new(); rows.len()];
    for _ in 0..rounds {
        for ((_, work), figures) in rows.iter().zip(&mut figures) {
            figures.push(work());
        }
    }
    let missed = near.stats().expect("an open manager").misses - before;
    println!("| near cache, Rust | ns | GET / this |");
    println!("|---|---:|---:|");
    for figures in &mut figures {
        figures.sort_by(f64::total_cmp);
    }
    let get = figures[4][rounds / 2];
    for ((name, _), figures) in rows.iter().zip(&figures) {
        let (least, median, most) = (figures[0], figures[rounds / 2], figures[rounds - 1]);
        println!(
            "| {name} | {median:.1} ({least:.1} - {most:.1}) | {:.0} |",
            get / median
        );
    }
    println!("\n{missed} of the hits were none.");
}
