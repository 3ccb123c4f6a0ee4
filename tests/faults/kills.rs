//! Servers that are killed (kill -9) and come back, with every write on disk before it is acknowledged.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use super::case::{BUSY, Baseline, Case, Ending, whole};
use super::load::Load;
use super::place::{Place, Shape, on_each};
use crate::support::{PATIENCE, Pauses, key_in, wait_until};

const TIME: Duration = Duration::from_secs(1);
const THREADS: u64 = 4;
/// The first call succeeds so soon after the port is open again.
const BACK: Duration = Duration::from_secs(1);

#[test]
fn a_server_that_is_killed_loses_no_acknowledged_write_and_is_found_again_at_once() {
    let name = "faults::kills::a_server_that_is_killed_loses_no_acknowledged_write_and_is_found_again_at_once";
    on_each(name, BUSY, kill);
}

fn kill(case: &Case, shape: Shape) {
    let kills = if whole() { 20 } else { 3 };
    let mut place = Place::start(shape, &["--appendonly", "yes", "--appendfsync", "always"]);
    let before = Baseline::now();
    let keep = place.open(|config| config.command_timeout(TIME).max_connections(4));
    wait_until(PATIENCE, || keep.ping().is_ok());
    let over = AtomicBool::new(false);
    let good: Vec<AtomicU64> = (0..THREADS).map(|_| AtomicU64::new(0)).collect();
    let mut slowest = Duration::ZERO;
    let loads = thread::scope(|scope| {
        let ending = Ending(&over);
        let running: Vec<_> = (good.iter().enumerate())
            .map(|(me, good)| {
                let mut load = Load::new(case, &keep, me as u64, TIME);
                let over = &over;
                scope.spawn(move || {
                    while !over.load(Relaxed) {
                        if load.push().is_ok() {
                            good.fetch_add(1, Relaxed);
                        } else {
                            thread::sleep(Duration::from_millis(1));
                        }
                    }
                    load
                })
            })
            .collect();
        let mut dice = case.dice(100);
        for _ in 0..kills {
            let counts = || {
                good.iter()
                    .map(|count| count.load(Relaxed))
                    .collect::<Vec<_>>()
            };
            let all_more = |than: Vec<u64>, by: u64| {
                wait_until(PATIENCE * 3, || {
                    (counts().iter().zip(&than)).all(|(now, before)| *now >= before + by)
                });
            };
            all_more(counts(), 20 + dice.below(50));
            let nodes = place.nodes_mut();
            let (count, victim) = (nodes.len(), dice.below(nodes.len() as u64) as usize);
            nodes[victim].kill();
            thread::sleep(Duration::from_millis(dice.below(300)));
            nodes[victim].restart();
            // A primary of a cluster does not answer for its slots for two seconds after it started.
            wait_until(PATIENCE * 6, || place.is_whole());
            let (open, pauses) = (Instant::now(), Pauses::measure());
            let slots = |node: usize| (node * 16384 / count) as u16;
            let key = key_in(slots(victim)..slots(victim + 1), "back");
            wait_until(PATIENCE, || keep.set(&key, 1).is_ok());
            let took = open.elapsed();
            let allowed = pauses.beside(BACK);
            assert!(took <= allowed, "back after {took:?}, not {allowed:?}");
            slowest = slowest.max(took);
            all_more(counts(), 1);
        }
        drop(ending);
        let ended = running.into_iter().map(|thread| thread.join());
        ended
            .map(|load| load.expect("no panic"))
            .collect::<Vec<_>>()
    });
    let (done, unknown) = (loads.iter().map(|load| load.agrees(&place)))
        .fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
    println!(
        "{kills} kills: {done} pushes acknowledged, none lost, of {unknown} it is not known; \
         the first success {slowest:?} after the port opened, at the latest"
    );
    keep.close(PATIENCE).unwrap();
    drop(loads);
    drop(keep);
    before.is_back();
}
