//! Rate limits, on a real server: never more than the limit, by the server's clock.

mod home;
mod support;

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use home::Home;
use redkeep::{ErrorKind, Limiter, Manager, Outcome, Script};
use support::{Fault, PATIENCE, Proxy, Server, Way, is_alone, myself, wait_until};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Both algorithms, where they are to do the same.
fn both(keep: &Manager, max: u64, window: Duration) -> [Limiter; 2] {
    let limiter = keep.limiter(max, window);
    [limiter.clone(), limiter.gcra()]
}

#[test]
fn as_many_as_the_limit_are_allowed_and_no_more() {
    let server = Home::start();
    let keep = server.open();
    for (i, limiter) in both(&keep, 3, seconds(60)).into_iter().enumerate() {
        let id = format!("user:{i}");
        for left in [2, 1, 0] {
            let verdict = limiter.check(&id).unwrap();
            assert!(verdict.allowed, "{verdict:?}");
            assert_eq!(verdict.remaining, left);
            assert_eq!(verdict.retry_after, Duration::ZERO);
            assert!(verdict.away.is_none());
        }
        for _ in 0..5 {
            let verdict = limiter.check(&id).unwrap();
            assert!(
                !verdict.allowed,
                "refused ones are not counted: {verdict:?}"
            );
            assert_eq!(verdict.remaining, 0);
            assert!(verdict.retry_after > Duration::ZERO);
            assert!(verdict.reset_after >= verdict.retry_after, "{verdict:?}");
            assert!(verdict.reset_after <= seconds(60));
        }
        // Another id has its own count.
        assert!(limiter.check("another").unwrap().allowed);
        limiter.reset("another").unwrap();
    }
    // GCRA gives the first one back after a third of the window, the sliding window after all of it.
    let [sliding, gcra] = both(&keep, 3, seconds(60));
    assert!(sliding.check("user:0").unwrap().retry_after > seconds(50));
    assert!(gcra.check("user:1").unwrap().retry_after <= seconds(20));
    assert!(gcra.check("user:1").unwrap().reset_after > seconds(50));
}

#[test]
fn the_keys_are_the_seeds_and_they_expire() {
    let server = Home::start();
    let keep = server.open();
    for limiter in both(&keep, 3, seconds(60)) {
        limiter.check("user:1").unwrap();
        assert_eq!(server.keys("*"), ["rate_limit:user:1"]);
        let left: i64 = server.ask(&["PTTL", "rate_limit:user:1"]);
        assert!((15_000..=61_000).contains(&left), "{left}");
        assert!(limiter.reset("user:1").unwrap());
        assert!(!limiter.reset("user:1").unwrap());
        assert_eq!(limiter.peek("user:1").unwrap().remaining, 3);
        assert!(server.keys("*").is_empty(), "looking leaves nothing");
    }
}

#[test]
fn the_times_it_tells_are_exact() {
    let server = Home::start();
    let keep = server.open();
    for limiter in both(&keep, 4, ms(400)) {
        for _ in 0..4 {
            assert!(limiter.check("x").unwrap().allowed);
        }
        let told = limiter.check("x").unwrap();
        assert!(!told.allowed);
        // Not a moment earlier: asked again and again, it is refused until the time that it told first has passed.
        let asked = Instant::now();
        let at = loop {
            let before = Instant::now();
            if limiter.peek("x").unwrap().allowed {
                break before.max(Instant::now()) - asked;
            }
        };
        assert!(at + ms(1) >= told.retry_after, "{at:?}, {told:?}");
        assert!(at <= told.retry_after + ms(250), "{at:?}, {told:?}");
        limiter.check("x").unwrap();
        let told = limiter.peek("x").unwrap();
        std::thread::sleep(told.reset_after);
        assert_eq!(limiter.peek("x").unwrap().remaining, 4);
        // The whole of it, in one request.
        let verdict = limiter.check_cost("x", 4).unwrap();
        assert!(verdict.allowed && verdict.remaining == 0, "{verdict:?}");
        limiter.reset("x").unwrap();
    }
}

#[test]
fn waiting_for_as_long_as_told_is_enough_at_any_rate() {
    let server = Home::start();
    let keep = server.open();
    // Rates that no binary fraction meets.
    for (max, window) in [(3, ms(10)), (7, ms(30)), (13, ms(21)), (1, ms(5))] {
        for limiter in both(&keep, max, window) {
            let mut allowed = 0;
            while allowed < 4 * max {
                let verdict = limiter.check("x").unwrap();
                if verdict.allowed {
                    allowed += 1;
                    continue;
                }
                assert!(verdict.retry_after > Duration::ZERO, "{verdict:?}");
                std::thread::sleep(verdict.retry_after);
                assert!(limiter.check("x").unwrap().allowed, "{max} in {window:?}");
                allowed += 1;
            }
            limiter.reset("x").unwrap();
        }
    }
}

#[test]
fn a_request_may_cost_more_than_one() {
    let server = Home::start();
    let keep = server.open();
    for limiter in both(&keep, 10, seconds(60)) {
        assert_eq!(limiter.check_cost("x", 4).unwrap().remaining, 6);
        assert_eq!(limiter.check_cost("x", 4).unwrap().remaining, 2);
        let verdict = limiter.check_cost("x", 3).unwrap();
        assert!(!verdict.allowed, "all of it, or nothing");
        assert_eq!(verdict.remaining, 2);
        assert!(limiter.check_cost("x", 2).unwrap().allowed);
        limiter.reset("x").unwrap();
    }
    // However much they cost, an entry each.
    let limiter = keep.limiter(1_000_000, seconds(60));
    for _ in 0..10 {
        assert!(limiter.check_cost("x", 100_000).unwrap().allowed);
    }
    assert!(!limiter.check("x").unwrap().allowed);
    assert_eq!(server.ask::<i64>(&["LLEN", "rate_limit:x"]), 10);
}

#[test]
fn the_time_to_wait_depends_on_the_cost() {
    let server = Home::start();
    let keep = server.open();
    let limiter = keep.limiter(3, seconds(1));
    let mut took = Vec::new();
    for _ in 0..3 {
        assert!(limiter.check("x").unwrap().allowed);
        took.push(Instant::now());
        std::thread::sleep(ms(50));
    }
    for (cost, taken) in (1..).zip(took) {
        let asked = Instant::now();
        let told = limiter.check_cost("x", cost).unwrap();
        let due = (taken + seconds(1)).duration_since(asked);
        assert!(!told.allowed);
        assert!(
            told.retry_after <= due && told.retry_after + ms(250) > due,
            "cost {cost}: {told:?}, {due:?}"
        );
    }
}

#[test]
fn memory_is_bounded_by_the_limit() {
    let server = Home::start();
    let keep = server.open();
    for max in [100, 1_000] {
        let id = format!("of {max}");
        let limiter = keep.limiter(max, seconds(3600));
        for _ in 0..2 * max {
            limiter.check(&id).unwrap();
        }
        let key = format!("rate_limit:{id}");
        assert_eq!(server.ask::<u64>(&["LLEN", &key]), max);
        let bytes: u64 = server.ask(&["MEMORY", "USAGE", &key, "SAMPLES", "0"]);
        assert!(bytes <= 300 + 30 * max, "{bytes} bytes for {max}");
    }
    let gcra = keep.limiter(1_000, seconds(3600)).gcra();
    for _ in 0..2_000 {
        gcra.check("gcra").unwrap();
    }
    let bytes: u64 = server.ask(&["MEMORY", "USAGE", "rate_limit:gcra"]);
    assert!(bytes <= 150, "{bytes}");
    // What is over is thrown away, while the id goes on being used.
    let limiter = keep.limiter(50, ms(100));
    let until = Instant::now() + ms(600);
    while Instant::now() < until {
        limiter.check("busy").unwrap();
        assert!(server.ask::<u64>(&["LLEN", "rate_limit:busy"]) <= 50);
    }
    wait_until(PATIENCE, || {
        server.ask::<i64>(&["EXISTS", "rate_limit:busy"]) == 0
    });
}

#[test]
fn a_limit_may_change_between_checks() {
    let server = Home::start();
    let keep = server.open();
    for (few, many) in both(&keep, 5, seconds(60))
        .into_iter()
        .zip(both(&keep, 8, seconds(60)))
    {
        for _ in 0..5 {
            assert!(few.check("x").unwrap().allowed);
        }
        assert!(!few.check("x").unwrap().allowed);
        assert_eq!(many.peek("x").unwrap().remaining, 3);
        for _ in 0..3 {
            assert!(many.check("x").unwrap().allowed);
        }
        // Eight are there, five are allowed: nothing is left, and it is told when something will be.
        let verdict = few.check("x").unwrap();
        assert!(!verdict.allowed && verdict.remaining == 0, "{verdict:?}");
        assert!(verdict.retry_after > Duration::ZERO && verdict.retry_after <= seconds(60));
        few.reset("x").unwrap();
    }
    let [long, _] = both(&keep, 2, seconds(60));
    let [short, _] = both(&keep, 2, ms(50));
    assert!(long.check_cost("y", 2).unwrap().allowed);
    std::thread::sleep(ms(60));
    assert!(
        short.check("y").unwrap().allowed,
        "out of the shorter window"
    );
    // One algorithm's count means nothing to the other, which says so.
    let error = keep.limiter(2, seconds(1)).gcra().check("y").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongType);
    assert!(error.message().contains("reset()"), "{error}");
}

#[test]
fn a_check_is_one_round_trip() {
    let server = Home::start();
    let keep = server.open();
    for limiter in both(&keep, 10, seconds(60)) {
        // The first brings the script.
        limiter.peek("{x}").unwrap();
        let count = |name: &str| server.command_calls(name);
        let before = (count("eval"), count("evalsha"));
        for i in 0..50 {
            limiter.check(&format!("{{x}}{}", i % 2)).unwrap();
        }
        assert_eq!((count("eval"), count("evalsha")), (before.0, before.1 + 50));
        limiter.reset("{x}0").unwrap();
        limiter.reset("{x}1").unwrap();
    }
}

#[test]
fn bad_input_is_named() {
    let server = Home::start();
    let keep = server.open();
    let refused = |limiter: Limiter, id: &str, cost: u64, starts: &str| {
        let error = limiter.check_cost(id, cost).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Argument, "{error}");
        assert_eq!(error.outcome(), Outcome::NotSent);
        assert!(error.message().starts_with(starts), "{error}");
    };
    refused(
        keep.limiter(0, seconds(1)),
        "x",
        1,
        "max_requests: 0 is not allowed",
    );
    refused(
        keep.limiter(1_000_000_001, seconds(1)),
        "x",
        1,
        "max_requests: ",
    );
    refused(
        keep.limiter(5, Duration::ZERO),
        "x",
        1,
        "window: 0ns is not allowed",
    );
    refused(
        keep.limiter(5, Duration::from_nanos(10)),
        "x",
        1,
        "window: ",
    );
    refused(keep.limiter(5, Duration::MAX), "x", 1, "window: ");
    refused(
        keep.limiter(5, seconds(1)),
        "x",
        6,
        "cost: 6 is not allowed; it takes a whole number from 1 to 5",
    );
    refused(
        keep.limiter(5, seconds(1)),
        "x",
        0,
        "cost: 0 is not allowed",
    );
    refused(keep.limiter(5, seconds(1)), "", 1, "id: it is empty");
    assert_eq!(server.ask::<i64>(&["DBSIZE"]), 0);
    for wrong in [
        &["SADD", "rate_limit:x", "a"][..],
        &["RPUSH", "rate_limit:x", "a"],
        &["SET", "rate_limit:x", "a"],
    ] {
        server.ask::<()>(&["DEL", "rate_limit:x"]);
        server.ask::<()>(wrong);
        for limiter in both(&keep, 5, seconds(1)) {
            let error = limiter.check("x").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WrongType, "{wrong:?}: {error}");
        }
    }
}

#[test]
fn when_redis_is_away_it_is_open_or_closed_and_says_so() {
    let mut server = Server::start();
    let keep = Manager::open(&server.url()).unwrap();
    let open = keep.limiter(1, seconds(60));
    let closed = open.clone().closed_when_away();
    assert!(open.check("x").unwrap().allowed);
    assert!(!open.check("x").unwrap().allowed);
    server.kill();
    for _ in 0..3 {
        let verdict = open.check("x").unwrap();
        assert!(verdict.allowed && verdict.remaining == 0);
        assert!(verdict.away.expect("a reason").is_retriable());
        let verdict = closed.check("x").unwrap();
        assert!(!verdict.allowed && verdict.away.is_some());
    }
    assert!(
        open.reset("x").is_err(),
        "what was not done is not called done"
    );
    assert_eq!(keep.stats()["swallowed"], 6);
    let off = Manager::open_config(&redkeep::Config::new().enabled(false)).unwrap();
    let verdict = off.limiter(1, seconds(60)).check("x").unwrap();
    assert!(verdict.allowed);
    assert_eq!(verdict.away.unwrap().kind(), ErrorKind::Disabled);
    // A closed manager is no server that is away.
    keep.close(seconds(5)).unwrap();
    assert_eq!(open.check("x").unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn a_server_that_hangs_is_away_within_the_deadline() {
    let server = Server::start();
    let keep = Manager::open(&format!("{}?command_timeout=200ms", server.url())).unwrap();
    let limiter = keep.limiter(5, seconds(60));
    limiter.check("x").unwrap();
    server.freeze();
    let started = Instant::now();
    let verdict = limiter.check("x").unwrap();
    assert!(started.elapsed() < ms(200 + 250), "{:?}", started.elapsed());
    assert!(verdict.allowed);
    // It may have been counted, and nobody says that it was not.
    assert_eq!(verdict.away.unwrap().outcome(), Outcome::Unknown);
    server.thaw();
}

#[test]
fn a_check_that_may_have_been_counted_is_not_sent_again() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let keep = Manager::open(&format!("{}?command_timeout=1s", proxy.url())).unwrap();
    let limiter = keep.limiter(100, seconds(60));
    limiter.check("x").unwrap();
    proxy.set(Way::ToClient, Fault::StallAfter(0));
    assert!(limiter.check("x").unwrap().away.is_some());
    assert_eq!(server.ask::<i64>(&["LLEN", "rate_limit:x"]), 2);
}

#[test]
fn a_clock_that_is_set_back_lets_nobody_through_and_locks_nobody_out() {
    let server = Home::start();
    let keep = server.open();
    let future = |by_ms: u64| {
        let script = "local t = redis.call('TIME') return t[1] * 1000000 + t[2] + ARGV[1] * 1000";
        let none: &[&str] = &[];
        keep.eval::<u64>(&Script::new(script), none, by_ms).unwrap()
    };
    let [sliding, gcra] = both(&keep, 2, seconds(10));
    // What was counted a second from now: time stands still for that second.
    server.ask::<()>(&["RPUSH", "rate_limit:s", &format!("{} 2 2", future(1_000))]);
    server.ask::<()>(&["SET", "rate_limit:g", &format!("{} 2", future(1_000))]);
    for (limiter, id, least) in [(&sliding, "s", 10), (&gcra, "g", 5)] {
        let verdict = limiter.check(id).unwrap();
        assert!(!verdict.allowed);
        assert!(verdict.retry_after > seconds(least), "{verdict:?}");
        assert!(verdict.retry_after <= seconds(least + 1), "{verdict:?}");
    }
    // A day from now: forgotten.
    let day = future(86_400_000);
    server.ask::<()>(&["DEL", "rate_limit:s"]);
    server.ask::<()>(&["DEL", "rate_limit:g"]);
    server.ask::<()>(&["RPUSH", "rate_limit:s", &format!("{day} 2 2")]);
    server.ask::<()>(&["SET", "rate_limit:g", &format!("{day} 2")]);
    for (limiter, id) in [(sliding, "s"), (gcra, "g")] {
        assert_eq!(limiter.peek(id).unwrap().remaining, 2);
        assert_eq!(limiter.check(id).unwrap().remaining, 1);
        assert_eq!(limiter.check(id).unwrap().remaining, 0);
        assert!(!limiter.check(id).unwrap().allowed);
    }
}

/// Where the child processes find what they are to do.
const TASK: &str = "REDKEEP_TEST_LIMITER";

/// What was let through: when, by the server's clock; all units until then; its own.
type Passed = (u64, u64, u64);

/// The server's own notes, in the list of the limiter, are read as they come: an entry stays for a whole window.
#[test]
fn four_processes_use_the_limit_up_and_never_pass_it() {
    let test = "four_processes_use_the_limit_up_and_never_pass_it";
    if is_alone() {
        return press();
    }
    // 30 s when asked for (REDKEEP_LIMITER_SECONDS=30), less in the everyday run.
    let asked = std::env::var("REDKEEP_LIMITER_SECONDS").ok();
    let windows: u64 = asked.and_then(|n| n.parse().ok()).unwrap_or(2);
    let window_ms = 1_000;
    let server = Server::start();
    let mut admin = server.admin();
    for (max, cost) in [(10, 1), (100, 3), (1_000, 1)] {
        let key = format!("rate_limit:{max}");
        // Beyond the last window that counts, so that all of that one is under pressure.
        let time = windows * window_ms + window_ms / 2;
        let task = format!("{} {max} {window_ms} {cost} {time}", server.unix_url());
        let spawn = |_| -> Child {
            let mut command = myself(test);
            command.env(TASK, &task).stdout(Stdio::null());
            command.spawn().expect("ourselves")
        };
        let mut children: Vec<Child> = (0..4).map(spawn).collect();
        let mut seen: Vec<Passed> = Vec::new();
        loop {
            let running = |child: &mut Child| child.try_wait().expect("our own child").is_none();
            let over = !children.iter_mut().any(running);
            let mut list = redis::cmd("LRANGE");
            let entries: Vec<String> = list.arg(&key).arg(0).arg(-1).query(&mut admin).unwrap();
            for entry in entries {
                let numbers: Vec<u64> = entry.split(' ').map(|n| n.parse().unwrap()).collect();
                let passed = (numbers[0], numbers[1], numbers[2]);
                if seen.last().is_none_or(|last| *last < passed) {
                    seen.push(passed);
                }
            }
            if over {
                break;
            }
            std::thread::sleep(ms(50));
        }
        for mut child in children {
            assert!(child.wait().expect("our own child").success());
        }
        judge(&seen, window_ms * 1_000, windows, max, cost);
    }
}

fn judge(seen: &[Passed], window: u64, windows: u64, max: u64, cost: u64) {
    let end = seen[0].0 + windows * window;
    let (mut from, mut used, mut did) = (0, 0, 0);
    for (time, _, own) in seen {
        used += own;
        did += if *time < end { *own } else { 0 };
        while seen[from].0 + window <= *time {
            used -= seen[from].2;
            from += 1;
        }
        assert!(used <= max, "{used} within one window; {max} are allowed");
    }
    let could = windows * (max / cost) * cost;
    support::figure(format!(
        "limit {max}, cost {cost}: {did} of {could} in {windows} windows, never more in one"
    ));
    assert!(did * 100 >= could * 99, "{did} of {could}");
}

/// A child: checks as fast as it can, with two threads.
fn press() {
    let task = std::env::var(TASK).expect("a task");
    let words: Vec<&str> = task.split(' ').collect();
    let [url, max, window, cost, time] = words[..] else {
        panic!("{task}");
    };
    let number = |text: &str| text.parse::<u64>().expect("a number");
    let keep = Manager::open(url).unwrap();
    let limiter = keep.limiter(number(max), ms(number(window)));
    let until = Instant::now() + ms(number(time));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while Instant::now() < until {
                    let verdict = limiter.check_cost(max, number(cost)).unwrap();
                    assert!(verdict.away.is_none());
                    if !verdict.allowed {
                        std::thread::sleep(verdict.retry_after.min(ms(1)));
                    }
                }
            });
        }
    });
}
