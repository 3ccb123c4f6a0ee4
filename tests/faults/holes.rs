//! Black holes: bytes leave and never arrive, in one direction or both, and nobody is told.

use std::collections::HashMap;
use std::time::Duration;

use redkeep::{ErrorKind, Outcome};

use super::case::{Baseline, Case, QUIET};
use super::place::{Place, Shape, on_each};
use crate::support::{Fault, PATIENCE, Way, wait_until};

const TIME: Duration = Duration::from_millis(200);
/// A single command, and pipelines of so many.
const LENGTHS: [usize; 4] = [0, 1, 50, 1_000];
/// So many lists, which a cluster has on all of its nodes.
const LISTS: usize = 12;

#[test]
fn a_black_hole_takes_one_deadline_whatever_the_length_and_nothing_is_sent_twice() {
    let name = "faults::holes::a_black_hole_takes_one_deadline_whatever_the_length_and_nothing_is_sent_twice";
    on_each(name, QUIET, swallow);
}

fn key(n: usize) -> String {
    format!("list:{}", n % LISTS)
}

/// How often each was executed.
fn executed(place: &Place) -> HashMap<String, usize> {
    let mut times = HashMap::new();
    for tag in (0..LISTS).flat_map(|n| place.list(&key(n))) {
        *times.entry(tag).or_default() += 1;
    }
    times
}

fn swallow(case: &Case, shape: Shape) {
    let place = Place::behind_proxies(shape);
    let before = Baseline::now();
    let keep = place.open(|config| {
        let config = config.command_timeout(TIME).connect_timeout(TIME);
        config.health_check_interval(Duration::from_millis(100))
    });
    let mut strict = 0;
    for way in [Way::ToServer, Way::ToClient, Way::Both] {
        for length in LENGTHS {
            // Every node has a connection, so that it is this call which is swallowed and not a greeting.
            wait_until(PATIENCE * 3, || {
                let mut pipe = keep.pipeline();
                for n in 0..LISTS {
                    pipe.command(("LLEN", key(n))).unwrap();
                }
                let line = keep.command::<i64>(("LLEN", key(0)));
                line.is_ok() && pipe.execute().is_ok()
            });
            place.set(way, Fault::BlackHole);
            let tags: Vec<String> = (0..length.max(1))
                .map(|n| format!("{way:?}:{length}:{n}"))
                .collect();
            let what = format!("{way:?}, {length}");
            let mut outcomes: Vec<Option<Outcome>> = Vec::new();
            let error = if length == 0 {
                let call = || keep.command::<i64>(("RPUSH", key(0), &tags[0]));
                let error = case.call(&what, TIME, call).unwrap_err();
                outcomes.push(Some(error.outcome()));
                error
            } else {
                let mut pipe = keep.pipeline();
                for (n, tag) in tags.iter().enumerate() {
                    pipe.command(("RPUSH", key(n), tag)).unwrap();
                }
                let result = case.call(&what, TIME, || pipe.execute().map(drop));
                outcomes.extend((0..length).map(|n| pipe.outcome(n)));
                result.unwrap_err()
            };
            assert_eq!(error.kind(), ErrorKind::Timeout, "{what}: {error:?}");
            // On a machine that is out of breath, not all of it may have been sent in time.
            let all_sent = (outcomes.iter()).all(|outcome| *outcome == Some(Outcome::Unknown));
            let answers_lost = way == Way::ToClient && all_sent;
            if answers_lost {
                strict += 1;
                let all = |times: &HashMap<_, _>| tags.iter().all(|tag| times.contains_key(tag));
                wait_until(PATIENCE, || all(&executed(&place)));
            }
            place.heal();
            let times = executed(&place);
            for (tag, outcome) in tags.iter().zip(&outcomes) {
                let done = times.get(tag.as_str()).copied().unwrap_or(0);
                let right = match outcome {
                    // Only the answers were lost, so all of it was executed, and once.
                    Some(Outcome::Unknown) if answers_lost => done == 1,
                    Some(Outcome::Unknown) if way == Way::ToClient => done <= 1,
                    Some(_) => done == 0,
                    None => false,
                };
                if !right {
                    let text =
                        format!("{what}, {tag}: {done} times, its caller was told {outcome:?}");
                    case.mismatch(text);
                }
            }
        }
    }
    assert!(strict > 0, "no machine is that slow");
    keep.close(PATIENCE).unwrap();
    drop(keep);
    before.is_back();
}
