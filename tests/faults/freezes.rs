//! Servers that stand still (SIGSTOP): callers are let go by their deadlines, and no late reply goes to another call.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use redkeep::ErrorKind;

use super::case::{BUSY, Baseline, Case, Ending, whole};
use super::load::Load;
use super::place::{Place, Shape};
use crate::support::{PATIENCE, wait_until};

const TIME: Duration = Duration::from_millis(150);
const THREADS: u64 = 8;
/// Between two freezes; times the combinations there are, it makes more than a million in the long form.
const CALLS: (u64, u64) = (1_500, 30_000);

#[test]
fn frozen_servers_hold_nobody_and_mix_nothing_up() {
    let name = "faults::freezes::frozen_servers_hold_nobody_and_mix_nothing_up";
    let Some(case) = Case::alone(name) else {
        return;
    };
    let shapes = Shape::chosen(&case);
    for shape in &shapes {
        freeze(&case, *shape);
        case.so_far();
    }
    if whole() {
        let all = shapes.len() as u64 * 90_000;
        assert!(case.calls() >= all, "only {} calls", case.calls());
    }
    case.end(BUSY);
}

fn freeze(case: &Case, shape: Shape) {
    // Those of about a call's time end while some calls have just timed out and others wait for their replies: before
    // the node is known to be down, which spares it those.
    let (times, calls): (&[u64], u64) = match whole() {
        true => (&[5_000, 30_000, 180, 220, 260], CALLS.1),
        false => (&[180, 220, 260, 500], CALLS.0),
    };
    let place = Place::start(shape, &[]);
    let before = Baseline::now();
    let keep = place.open(|config| {
        let config = config.command_timeout(TIME).max_connections(4);
        config.health_check_interval(Duration::from_millis(200))
    });
    wait_until(PATIENCE, || keep.ping().is_ok());
    let (good, late, over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let loads = thread::scope(|scope| {
        let ending = Ending(&over);
        let running: Vec<_> = (0..THREADS)
            .map(|me| {
                let mut load = Load::new(case, &keep, me, TIME);
                let (good, late, over) = (&good, &late, &over);
                scope.spawn(move || {
                    while !over.load(Relaxed) {
                        match load.call() {
                            Ok(()) => good.fetch_add(1, Relaxed),
                            Err(error) if error.kind() == ErrorKind::Timeout => {
                                late.fetch_add(1, Relaxed)
                            }
                            Err(_) => 0,
                        };
                    }
                    load
                })
            })
            .collect();
        let some_more = || {
            let goal = good.load(Relaxed) + calls;
            // Cluster and sentinel may take their nodes for dead for a moment after they were frozen.
            wait_until(PATIENCE * 12, || good.load(Relaxed) >= goal);
        };
        for time in times {
            some_more();
            place.nodes().iter().for_each(|node| node.freeze());
            thread::sleep(Duration::from_millis(*time));
            place.nodes().iter().for_each(|node| node.thaw());
        }
        some_more();
        drop(ending);
        let ended = running.into_iter().map(|thread| thread.join());
        ended
            .map(|load| load.expect("no panic"))
            .collect::<Vec<_>>()
    });
    assert!(late.into_inner() > 0, "nobody noticed");
    let (done, unknown) = (loads.iter().map(|load| load.agrees(&place)))
        .fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
    println!("{done} pushes acknowledged, of {unknown} it is not known");
    keep.close(PATIENCE).unwrap();
    drop(loads);
    drop(keep);
    before.is_back();
}
