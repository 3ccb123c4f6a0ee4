//! The clock on the wall jumps, an hour ahead and an hour back: nothing is measured by it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, SystemTime};

use redkeep::{Config, Manager, NodeState};

use super::case::{Baseline, Case, QUIET};
use super::system::shift_clock;
use crate::support::{PATIENCE, Server, wait_until};

const HOUR: i64 = 3600;
const TIME: Duration = Duration::from_secs(5);
/// For what waits while the clock jumps.
const BRIEF: Duration = Duration::from_millis(600);

#[test]
fn jumps_of_the_clock_are_felt_by_nothing() {
    let Some(case) = Case::alone("faults::clock::jumps_of_the_clock_are_felt_by_nothing") else {
        return;
    };
    let server = Server::start();
    let before = Baseline::now();
    let interval = Duration::from_millis(50);
    let config = Config::new()
        .url(server.url())
        .command_timeout(TIME)
        .health_check_interval(interval)
        .cleanup_interval(interval)
        .max_idle_time(Duration::from_secs(300));
    let keep = Manager::open_config(&config).expect("a config of ours");
    let idle: Vec<_> = (0..3).map(|_| keep.client().dedicated().unwrap()).collect();
    drop(idle);
    let lost = Arc::new(AtomicUsize::new(0));
    let count = lost.clone();
    let lock = keep.lock("report").lease(Duration::from_secs(10));
    let lock = lock.on_lost(move |_| _ = count.fetch_add(1, SeqCst));
    let held = lock.acquire(TIME).unwrap();
    // An hour and a half: the limit would be free again, or locked for long.
    let limiters = [
        keep.limiter(5, Duration::from_secs(3000)),
        keep.limiter(5, Duration::from_secs(3000)).gcra(),
    ];
    for (n, limiter) in limiters.iter().enumerate() {
        for _ in 0..5 {
            assert!(limiter.check(&format!("user {n}")).unwrap().allowed);
        }
    }
    let opened = || keep.fetch_pool_status().nodes[0].pools[0];
    let at_first = opened();
    for round in 0..6 {
        let earlier = SystemTime::now();
        let shift = if round % 2 == 0 { HOUR } else { -HOUR };
        shift_clock(shift);
        let jumped = match SystemTime::now().duration_since(earlier) {
            Ok(ahead) => ahead.as_secs() as i64,
            Err(back) => -(back.duration().as_secs() as i64),
        };
        // From one hour behind to one ahead, or the reverse; or else nothing was tested.
        assert!(jumped.abs() >= HOUR - 1, "{jumped}");
        let pings = server.command_calls("ping");
        let value = format!("{round}");
        case.call("set", TIME, || keep.set("a", &value)).unwrap();
        let got: Option<String> = case.call("get", TIME, || keep.get("a")).unwrap();
        case.same("get", &got.unwrap(), &value);
        // A deadline under way while it jumps.
        thread::scope(|scope| {
            let (keep, case, time) = (&keep, &case, BRIEF);
            let call = move || keep.command_within::<()>(("BLPOP", "nothing", 0), time);
            let waiting = scope.spawn(move || case.call("blpop", time, call).unwrap_err());
            wait_until(PATIENCE, || {
                server.info("clients", "blocked_clients") == "1"
            });
            shift_clock(-shift);
            shift_clock(shift);
            waiting.join().expect("no panic");
        });
        for (n, limiter) in limiters.iter().enumerate() {
            let verdict = limiter.check(&format!("user {n}")).unwrap();
            assert!(!verdict.allowed, "{verdict:?}");
            assert!(
                verdict.retry_after < Duration::from_secs(3000),
                "{verdict:?}"
            );
        }
        // Health checks and clean-up go on in their own time.
        wait_until(PATIENCE, || server.command_calls("ping") >= pings + 3);
        assert_eq!(keep.fetch_pool_status().nodes[0].state, NodeState::Up);
        assert!(held.is_held());
        assert_eq!(lost.load(SeqCst), 0);
    }
    // What the calls above that timed out lost is all that was closed.
    let pool = opened();
    assert_eq!(pool.closed - at_first.closed, 6, "{at_first:?} {pool:?}");
    assert!(held.release().unwrap());
    shift_clock(0);
    keep.close(PATIENCE).unwrap();
    drop((keep, lock, limiters));
    before.is_back();
    case.end(QUIET);
}

/// Who asks for the time of day, and what for. Everything else that has to do with time uses `Instant`, or the clock of
/// the server.
const ASKERS: [&str; 4] = [
    // A seed, where none is given.
    "fuzz.rs",
    // `created_at` of a session.
    "session.rs",
    // One of several things that go into a random name.
    "stream/names.rs",
    // What is older than an age, by ids that are times of day themselves.
    "stream/trim.rs",
];

#[test]
fn only_what_has_to_asks_for_the_time_of_day() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut askers) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let words = ["SystemTime", "UNIX_EPOCH", "CLOCK_REALTIME", "gettimeofday"];
            if words.iter().any(|word| text.contains(word)) {
                let name = path.strip_prefix(&root).unwrap();
                askers.push(name.to_str().unwrap().to_owned());
            }
        }
    }
    askers.sort();
    assert_eq!(askers, ASKERS);
}
