//! Connections that cannot be made: a lookup that hangs, a host with eight addresses of which none, or only the last,
//! answers.

use std::thread;
use std::time::Duration;

use redkeep::{Config, ErrorKind, Manager, Outcome};

use super::case::{Baseline, Case, QUIET};
use super::system::{EIGHT, hang_lookups};
use crate::support::{Full, PATIENCE, Server};

const TIME: Duration = Duration::from_millis(400);

fn open(url: &str) -> Manager {
    let config = Config::new().url(url).command_timeout(TIME);
    let config = config.health_check_interval(Duration::ZERO);
    Manager::open_config(&config).expect("a config of ours")
}

#[test]
fn a_lookup_that_hangs_ends_at_the_deadline() {
    let Some(case) = Case::alone("faults::connects::a_lookup_that_hangs_ends_at_the_deadline")
    else {
        return;
    };
    let before = Baseline::now();
    hang_lookups(TIME * 3);
    let keep = open("redis://hangs.example");
    // All who come while it hangs wait for the one lookup, each to its own deadline.
    thread::scope(|scope| {
        for n in 1..=4 {
            let (keep, case) = (&keep, &case);
            scope.spawn(move || {
                let time = TIME * n / 4;
                let call = || keep.command_within::<()>("PING", time);
                let error = case.call("lookup", time, call).unwrap_err();
                assert_eq!(
                    (error.kind(), error.outcome()),
                    (ErrorKind::Timeout, Outcome::NotSent),
                    "{error:?}"
                );
            });
        }
    });
    // The manager's end does not wait for it either.
    let closed = case.call("close", Duration::from_millis(100), || keep.close(TIME));
    closed.unwrap();
    drop(keep);
    before.is_back();
    case.end(QUIET);
}

#[test]
fn of_eight_addresses_that_hang_each_has_its_share() {
    let name = "faults::connects::of_eight_addresses_that_hang_each_has_its_share";
    let Some(case) = Case::alone(name) else {
        return;
    };
    let server = Server::start();
    let full = |address: &[u8; 4]| Full::at((*address, server.port()).into());
    let hanging: Vec<Full> = EIGHT[..7].iter().map(full).collect();
    let before = Baseline::now();
    let url = format!("redis://eight.example:{}", server.port());
    let keep = open(&url);
    // The last one answers, after seven eighths of the time at most; a machine that is out of breath may need another try.
    let time = TIME * 5;
    let one = || keep.command_within::<i64>(("INCR", "n"), time);
    let mut tries = (0..5).map(|_| case.call("the eighth", time, one));
    assert_eq!(tries.find_map(Result::ok), Some(1));
    keep.close(PATIENCE).unwrap();
    drop(keep);
    // None does.
    server.freeze();
    let keep = open(&url);
    let error = case.call("all", TIME, || keep.incr("n", 1)).unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Timeout, Outcome::NotSent),
        "{error:?}"
    );
    server.thaw();
    assert_eq!(server.ask::<i64>(&["GET", "n"]), 1);
    keep.close(PATIENCE).unwrap();
    drop(keep);
    before.is_back();
    drop(hanging);
    case.end(QUIET);
}
