//! Servers that close connections of their own accord: idle ones after a second (`timeout 1`), or all of them (CLIENT
//! KILL). What may be repeated never fails for it.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use super::case::{BUSY, Baseline, Case, whole};
use super::load::Load;
use super::place::{Place, Shape, on_each};
use crate::support::{PATIENCE, Server, came_true, wait_until};

const TIME: Duration = Duration::from_secs(5);
const THREADS: u64 = 8;

#[test]
fn idle_connections_that_the_server_closes_cost_no_error() {
    let name = "faults::closes::idle_connections_that_the_server_closes_cost_no_error";
    on_each(name, BUSY, close_all);
}

fn close_all(case: &Case, shape: Shape) {
    let (kills, sleeps) = if whole() { (100, 10) } else { (30, 2) };
    let place = Place::start(shape, &["--timeout", "1"]);
    let before = Baseline::now();
    let keep = place.open(|config| {
        config
            .command_timeout(TIME)
            .max_connections(THREADS as usize)
    });
    wait_until(PATIENCE, || keep.ping().is_ok());
    // All come here before the connections are closed, and once more afterwards.
    let door = Barrier::new(THREADS as usize + 1);
    thread::scope(|scope| {
        for me in 0..THREADS {
            let mut load = Load::new(case, &keep, me, TIME);
            let (keep, door) = (&keep, &door);
            scope.spawn(move || {
                for round in 0..kills + sleeps {
                    // Several at the same time, so that there are connections of the pool as well.
                    let result = (0..5).try_for_each(|_| load.echo().and_then(|()| load.value()));
                    if let Err(error) = result {
                        case.mismatch(format!("round {round}: {error:?}"));
                    }
                    if round % 2 == 0 {
                        drop(keep.client().dedicated());
                    }
                    door.wait();
                    door.wait();
                }
            });
        }
        for round in 0..kills + sleeps {
            door.wait();
            if round < kills {
                place.nodes().iter().for_each(Server::kill_clients);
            } else {
                let gone = |node: &Server| node.connections() <= 1;
                let nodes = place.nodes();
                // The health check's own is younger; of a cluster's or a sentinel's nobody closes those in between.
                match nodes.len() {
                    // Not a failure at once, for the others wait at the door.
                    1 if !shape.has_sentinel() => {
                        if !came_true(PATIENCE, || nodes.iter().all(gone)) {
                            case.mismatch("idle connections were not closed".to_owned());
                        }
                    }
                    _ => thread::sleep(Duration::from_millis(2_200)),
                }
            }
            door.wait();
        }
    });
    keep.close(PATIENCE).unwrap();
    drop(keep);
    before.is_back();
}
