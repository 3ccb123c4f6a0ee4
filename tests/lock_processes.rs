//! Locks between processes that work, stand still and die.

mod support;

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redkeep::{Manager, Script};
use support::{PATIENCE, Pauses, Server, came_true, myself, wait_until};

const URL: &str = "REDKEEP_LOCK_URL";
const ROUNDS: &str = "REDKEEP_LOCK_ROUNDS";

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

/// What an entrance may take beyond the moment at which it is due.
const LATE: Duration = Duration::from_millis(100);

/// The manager of a child; none in the test itself.
fn child() -> Option<Manager> {
    let url = std::env::var(URL).ok()?;
    Some(Manager::open(&url).unwrap())
}

/// The same test in a process of its own, where `child()` is there. Killed when dropped.
struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(test: &str, server: &Server, rounds: usize) -> Process {
        let mut command = myself(test);
        command.arg("--include-ignored");
        command
            .env(URL, server.url())
            .env(ROUNDS, rounds.to_string());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Process { child, lines }
    }

    /// Waits for a line that the child says.
    #[track_caller]
    fn says(&mut self, wanted: &str) {
        for line in self.lines.by_ref() {
            let line = line.unwrap();
            if let Some((_, said)) = line.split_once("child: ") {
                assert_eq!(said, wanted);
                return;
            }
        }
        panic!("the child ended before it said {wanted:?}");
    }

    fn signal(&self, signal: i32) {
        // SAFETY: a plain system call, on a child that we have not reaped, so its number is its own.
        unsafe { libc::kill(self.child.id() as i32, signal) };
    }

    fn freeze(&self) {
        self.signal(libc::SIGSTOP);
        let stat = format!("/proc/{}/stat", self.child.id());
        let stopped = || std::fs::read_to_string(&stat).unwrap().contains(") T ");
        wait_until(PATIENCE, stopped);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(text: &str) {
    println!("\nchild: {text}");
}

fn queued(keep: &Manager, name: &str) -> i64 {
    keep.command(("ZCARD", format!("{{lock:{name}}}:queue")))
        .unwrap()
}

/// A store that refuses a fence smaller than one that it has seen.
fn store(keep: &Manager, fence: i64) -> bool {
    let script = Script::new(
        "local seen = tonumber(redis.call('GET', KEYS[1]) or 0)
         if tonumber(ARGV[1]) < seen then return 0 end
         redis.call('SET', KEYS[1], ARGV[1])
         return 1",
    );
    keep.eval::<i64>(&script, "store", fence).unwrap() == 1
}

fn many_processes(test: &str, processes: usize, rounds: usize) {
    if let Some(keep) = child() {
        let rounds: usize = std::env::var(ROUNDS).unwrap().parse().unwrap();
        for _ in 0..rounds {
            let held = keep.lock("all").acquire(Duration::from_secs(300)).unwrap();
            let _: i64 = keep.command(("RPUSH", "log", held.fence())).unwrap();
            let n: Option<i64> = keep.get("n").unwrap();
            keep.set("n", n.unwrap_or(0) + 1).unwrap();
            let _: i64 = keep.command(("RPUSH", "log", held.fence())).unwrap();
            assert!(held.release().unwrap());
        }
        return;
    }
    let server = Server::start();
    let keep = Manager::open(&server.url()).unwrap();
    let mut all: Vec<Process> = (0..processes)
        .map(|_| Process::start(test, &server, rounds))
        .collect();
    for process in &mut all {
        let text: Vec<String> = process.lines.by_ref().map_while(Result::ok).collect();
        assert!(process.child.wait().unwrap().success(), "{text:?}");
    }
    let total = (processes * rounds) as i64;
    assert_eq!(keep.get::<i64>("n").unwrap(), Some(total));
    // Whoever entered left before the next one entered, and every number is larger than the one before.
    let log: Vec<i64> = keep.command(("LRANGE", "log", 0, -1)).unwrap();
    let wanted: Vec<i64> = (1..=total).flat_map(|fence| [fence, fence]).collect();
    assert!(log == wanted, "overlaps in the log of fences");
    support::figure(format!(
        "{processes} processes, {total} holds: 0 overlaps, 0 updates lost"
    ));
}

#[test]
fn processes_lose_no_update() {
    many_processes("processes_lose_no_update", 8, 50);
}

#[test]
#[ignore = "takes long: 8 processes, 10,000 acquisitions"]
fn eight_processes_lose_no_update_in_10000_acquisitions() {
    let test = "eight_processes_lose_no_update_in_10000_acquisitions";
    many_processes(test, 8, 1250);
}

#[test]
fn a_holder_that_stood_still_knows_that_it_has_lost() {
    if let Some(keep) = child() {
        let told = Arc::new(AtomicBool::new(false));
        let tell = told.clone();
        let lock = keep.lock("still").lease(ms(400));
        let lock = lock.on_lost(move |_| tell.store(true, Ordering::SeqCst));
        let held = lock.acquire(PATIENCE).unwrap();
        assert!(store(&keep, held.fence()));
        say("held");
        // Its parent stops it here; it is the standstill alone that ends this.
        let started = Instant::now();
        while held.is_held() && started.elapsed() < PATIENCE {
            std::thread::sleep(ms(1));
        }
        say(&format!("held {}", held.is_held()));
        say(&format!("stored {}", store(&keep, held.fence())));
        let told = came_true(ms(400), || told.load(Ordering::SeqCst));
        say(&format!("told {told}"));
        say(&format!("released {}", held.release().unwrap()));
        return;
    }
    let server = Server::start();
    let keep = Manager::open(&server.url()).unwrap();
    let test = "a_holder_that_stood_still_knows_that_it_has_lost";
    let mut holder = Process::start(test, &server, 0);
    holder.says("held");
    holder.freeze();
    let (pauses, frozen) = (Pauses::measure(), Instant::now());
    let held = keep.lock("still").acquire(PATIENCE).unwrap();
    let (waited, most) = (frozen.elapsed(), pauses.beside(ms(400) + LATE));
    assert!(waited < most, "{waited:?}, {most:?}");
    assert!(store(&keep, held.fence()));
    holder.signal(libc::SIGCONT);
    for wanted in ["held false", "stored false", "told true", "released false"] {
        holder.says(wanted);
    }
    assert!(held.release().unwrap());
}

#[test]
fn after_a_holder_was_killed_the_next_enters_when_its_lease_is_over() {
    if let Some(keep) = child() {
        let _held = keep.lock("dead").lease(ms(600)).acquire(PATIENCE).unwrap();
        say("held");
        loop {
            std::thread::park();
        }
    }
    let server = Server::start();
    let keep = Manager::open(&server.url()).unwrap();
    let test = "after_a_holder_was_killed_the_next_enters_when_its_lease_is_over";
    let mut holder = Process::start(test, &server, 0);
    holder.says("held");
    let lock = keep.lock("dead");
    let waiter = std::thread::spawn(move || (lock.acquire(PATIENCE).unwrap(), Instant::now()));
    wait_until(PATIENCE, || queued(&keep, "dead") == 1);
    // Renewed meanwhile, so that what the waiter saw first is not the end.
    std::thread::sleep(ms(900));
    assert!(!waiter.is_finished());
    let (pauses, killed) = (Pauses::measure(), Instant::now());
    drop(holder);
    let (held, entered) = waiter.join().unwrap();
    let (waited, most) = (
        entered.duration_since(killed),
        pauses.beside(ms(600) + LATE),
    );
    println!("entered {waited:?} after its death; {most:?} are allowed");
    assert!(waited < most, "{waited:?}, {most:?}");
    assert!(held.release().unwrap());
}

#[test]
fn a_waiter_killed_on_its_way_to_the_lock_holds_up_nobody() {
    if let Some(keep) = child() {
        let _held = keep.lock("way").acquire(PATIENCE).unwrap();
        unreachable!("it is frozen before it can have it");
    }
    for fair in [false, true] {
        let server = Server::start();
        let open = || Manager::open(&server.url()).unwrap();
        let (keep, other) = (open(), open());
        let held = keep.lock("way").fair(fair).acquire(PATIENCE).unwrap();
        let test = "a_waiter_killed_on_its_way_to_the_lock_holds_up_nobody";
        let first = Process::start(test, &server, 0);
        wait_until(PATIENCE, || queued(&keep, "way") == 1);
        let lock = other.lock("way").fair(fair);
        let second = std::thread::spawn(move || (lock.acquire(PATIENCE).unwrap(), Instant::now()));
        wait_until(PATIENCE, || queued(&keep, "way") == 2);
        // Its connection is open, so that the message is sent to it; and it does not hear it.
        first.freeze();
        let (pauses, released) = (Pauses::measure(), Instant::now());
        assert!(held.release().unwrap());
        drop(first);
        let (held, entered) = second.join().unwrap();
        let (waited, most) = (entered.duration_since(released), pauses.beside(LATE));
        println!("entered {waited:?} after the release; {most:?} are allowed");
        assert!(waited > ms(50), "{waited:?}: nobody died on the way");
        assert!(waited < most, "{waited:?}, {most:?}");
        assert!(held.release().unwrap());
    }
}
