//! What it costs to open a manager and get the first answer, beside the redis crate under r2d2 as it comes.
//!
//! `cargo bench --bench open`. The peers take turns, so that what slows one down slows all; medians are printed.

mod support;

use std::any::Any;
use std::time::Instant;

use redkeep::Manager;
use support::{PlainClient, Server};

const ROUNDS: usize = 200;

fn redkeep(url: &str) -> Box<dyn Any> {
    let keep = Manager::open(url).expect("an address");
    let _: Option<Vec<u8>> = keep.get("key").expect("an answer");
    Box::new(keep)
}

fn r2d2(url: &str) -> Box<dyn Any> {
    let pool = r2d2::Pool::new(PlainClient::new(url)).expect("a pool");
    let mut connection = pool.get().expect("a connection");
    let _: Option<Vec<u8>> = redis::cmd("GET")
        .arg("key")
        .query(&mut *connection)
        .expect("an answer");
    drop(connection);
    Box::new(pool)
}

type Peer<'a> = (&'a str, Box<dyn Fn() -> Box<dyn Any> + 'a>, usize);

fn main() {
    let server = Server::start();
    let (tcp, unix) = (server.tcp(), server.unix());
    let peers: [Peer<'_>; 4] = [
        ("redkeep, TCP", Box::new(|| redkeep(&tcp)), ROUNDS),
        ("redkeep, unix", Box::new(|| redkeep(&unix)), ROUNDS),
        ("redis crate + r2d2, TCP", Box::new(|| r2d2(&tcp)), ROUNDS),
        (
            "redkeep, embedded://",
            Box::new(|| redkeep("embedded://")),
            ROUNDS / 10,
        ),
    ];
    let mut times = vec![Vec::new(); peers.len()];
    for round in 0..ROUNDS {
        for ((_, run, rounds), times) in peers.iter().zip(&mut times) {
            if round < *rounds {
                let started = Instant::now();
                let opened = run();
                times.push(started.elapsed());
                drop(opened);
            }
        }
    }
    println!("open and first GET (median of up to {ROUNDS} interleaved rounds)");
    for ((name, ..), times) in peers.iter().zip(&mut times) {
        times.sort();
        println!("  {name:<26} {:>9.3?}", times[times.len() / 2]);
    }
}
