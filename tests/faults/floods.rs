//! Too slow, and too much: bytes that come or go one by one, and a peer that stops reading in the middle of 30 MB.

use std::time::Duration;

use redkeep::{ErrorKind, Outcome};

use super::case::{BUSY, Baseline, Case, QUIET};
use super::place::{Place, Shape, on_each};
use super::system::{count_sent, most_sent};
use crate::support::{Fault, PATIENCE, Way, came_true, figure, wait_until};

const TIME: Duration = Duration::from_millis(200);
const EVERY: Duration = Duration::from_millis(80);
/// To begin with 30 MB at all, on a machine that is out of breath.
const LONG: Duration = Duration::from_secs(1);
/// More than any buffer of the system's takes.
const BIG: usize = 30 << 20;

#[test]
fn a_drip_ends_at_the_deadline_and_is_not_waited_for_again() {
    let name = "faults::floods::a_drip_ends_at_the_deadline_and_is_not_waited_for_again";
    on_each(name, QUIET, drip);
}

fn drip(case: &Case, shape: Shape) {
    let place = Place::behind_proxies(shape);
    let before = Baseline::now();
    let keep = place.open(|config| {
        let config = config.command_timeout(TIME).connect_timeout(TIME);
        config.health_check_interval(Duration::from_millis(100))
    });
    for way in [Way::ToClient, Way::ToServer, Way::Both] {
        wait_until(PATIENCE * 3, || {
            let value = keep.set("a", "x".repeat(100));
            value.is_ok() && keep.get::<String>("a").is_ok_and(|it| it.is_some())
        });
        place.set(way, Fault::Drip { every: EVERY });
        let what = format!("{way:?}");
        let get = || keep.get::<String>("a");
        let error = case.call(&what, TIME, get).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{what}: {error:?}");
        // Now a greeting drips, or the node is known to be away.
        let incr = || keep.incr("n", 1);
        let error = case.call(&what, TIME, incr).unwrap_err();
        let ends = [ErrorKind::Timeout, ErrorKind::NoHealthyPools];
        assert!(ends.contains(&error.kind()), "{what}: {error:?}");
        place.heal();
    }
    wait_until(PATIENCE * 3, || {
        keep.get::<String>("a").is_ok_and(|it| it.is_some())
    });
    keep.close(PATIENCE).unwrap();
    drop(keep);
    before.is_back();
}

#[test]
fn a_peer_that_stops_reading_gets_no_more_of_what_was_given_up() {
    let name = "faults::floods::a_peer_that_stops_reading_gets_no_more_of_what_was_given_up";
    let Some(case) = Case::alone(name) else {
        return;
    };
    count_sent();
    for shape in Shape::chosen(&case) {
        give_up(&case, shape);
        case.so_far();
    }
    // 30 MB are given back meanwhile, too.
    case.end(BUSY);
}

fn give_up(case: &Case, shape: Shape) {
    let place = Place::start(shape, &[]);
    let before = Baseline::now();
    let keep = place.open(|config| config.command_timeout(LONG));
    let big = vec![b'x'; BIG];
    let set = |value: &[u8], time| keep.command_within::<()>(("SET", "a", value), time);
    // A connection as large values take one, so that it is the SET which is held up, and not a greeting. Not by as large
    // a value, for which the system would enlarge its buffers.
    wait_until(PATIENCE * 3, || set(&big[..1 << 20], PATIENCE).is_ok());
    keep.set("a", "before").unwrap();
    let calls = || -> u64 { place.nodes().iter().map(|it| it.command_calls("set")).sum() };
    let at_first = calls();
    count_sent();
    place.nodes().iter().for_each(|node| node.freeze());
    let error = case.call("set", LONG, || set(&big, LONG)).unwrap_err();
    let (socket, sent) = most_sent();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Timeout, Outcome::Unknown),
        "{error:?}"
    );
    // It was under way, and there was more of it.
    assert!((100_000..BIG as u64).contains(&sent), "{sent}");
    // The server reads again, so there is room for more.
    place.nodes().iter().for_each(|node| node.thaw());
    let more = || most_sent() != (socket, sent);
    assert!(!came_true(TIME * 2, more), "{:?}, not {sent}", most_sent());
    wait_until(PATIENCE * 6, || keep.get::<String>("a").is_ok());
    let now = keep.get::<String>("a").unwrap();
    case.same("get", now.as_deref().unwrap_or_default(), "before");
    assert_eq!(calls(), at_first, "half a command was executed");
    assert_eq!(most_sent(), (socket, sent), "more was sent");
    figure(format!(
        "{sent} of {BIG} bytes were sent by the deadline, and 0 after it"
    ));
    keep.close(PATIENCE).unwrap();
    drop(keep);
    before.is_back();
}
