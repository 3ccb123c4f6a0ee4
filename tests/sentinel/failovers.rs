//! Failovers under load, asked for and not.

use crate::*;

const DEADLINE: Duration = Duration::from_secs(3);

/// What writers and readers went through.
struct Diary {
    punctual: Punctual,
    errors: AtomicU64,
    calls: AtomicU64,
    /// Of each writer: the last number whose SET and WAIT were acknowledged.
    acknowledged: Mutex<Vec<u64>>,
    counted: AtomicU64,
    doubtful: AtomicU64,
}

impl Diary {
    fn new() -> Diary {
        Diary {
            punctual: Punctual::by(DEADLINE),
            errors: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            acknowledged: Mutex::default(),
            counted: AtomicU64::new(0),
            doubtful: AtomicU64::new(0),
        }
    }

    fn timed<T>(
        &self,
        call: impl FnOnce() -> redkeep::Result<T>,
        counts: bool,
    ) -> redkeep::Result<T> {
        let result = self.punctual.timed(call);
        self.calls.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = &result
            && counts
        {
            println!("{error:?}");
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    /// SET and WAIT on one connection: only so does WAIT speak of that SET.
    fn write(&self, keep: &Manager, writer: usize, n: u64) -> redkeep::Result<bool> {
        let mut one = keep.client().dedicated()?;
        one.command_within::<()>(("SET", format!("w{writer}"), n), DEADLINE)?;
        let copies: i64 = one.command_within(("WAIT", 1, 1000), DEADLINE)?;
        Ok(copies >= 1)
    }

    /// Writers write growing numbers and count; readers read.
    fn keep<'s>(
        &'s self,
        scope: &'s thread::Scope<'s, '_>,
        keep: &'s Manager,
        stop: &'s AtomicBool,
        waits: bool,
    ) {
        *self.acknowledged.lock().unwrap() = vec![0; 4];
        for writer in 0..4 {
            scope.spawn(move || {
                for n in 1.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let written = match waits {
                        true => self.timed(|| self.write(keep, writer, n), false),
                        false => self
                            .timed(|| keep.set(format!("w{writer}"), n), true)
                            .map(|()| true),
                    };
                    if matches!(written, Ok(true)) {
                        self.acknowledged.lock().unwrap()[writer] = n;
                    }
                    match self.timed(|| keep.incr("counter", 1), false) {
                        Ok(_) => self.counted.fetch_add(1, Ordering::Relaxed),
                        Err(error) if error.outcome() == Outcome::Unknown => {
                            self.doubtful.fetch_add(1, Ordering::Relaxed)
                        }
                        Err(_) => 0,
                    };
                    thread::sleep(Duration::from_millis(3));
                }
            });
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let _ = self.timed(|| keep.get::<u64>(format!("w{writer}")), !waits);
                    thread::sleep(Duration::from_millis(3));
                }
            });
        }
    }
}

fn kills(times: usize) {
    let mut all = Sentinels::start();
    let keep = with(&all, |config| config.command_timeout(DEADLINE));
    for round in 0..times {
        keep.delete("counter").unwrap();
        keep.command::<i64>(("WAIT", 1, 3000)).unwrap();
        let (diary, stop) = (Diary::new(), AtomicBool::new(false));
        let victim = all.primary();
        let back = thread::scope(|scope| {
            let _end = End(&stop);
            diary.keep(scope, &keep, &stop, true);
            thread::sleep(Duration::from_millis(400));
            all.nodes[victim].kill();
            let back = support::back(
                Duration::from_secs(3),
                || all.primary() != victim,
                || keep.set("back", round).is_ok(),
            );
            thread::sleep(Duration::from_millis(300));
            back
        });
        let written = diary.acknowledged.lock().unwrap().iter().sum::<u64>();
        support::figure(format!(
            "kill {round}: writable again after {back:?}; of {written} writes acknowledged with WAIT 1, 0 lost"
        ));
        diary.punctual.check();
        for (writer, acknowledged) in diary.acknowledged.lock().unwrap().iter().enumerate() {
            let stored = keep.get::<u64>(format!("w{writer}")).unwrap().unwrap_or(0);
            assert!(
                stored >= *acknowledged,
                "writer {writer}: {stored} < {acknowledged}"
            );
        }
        // Without WAIT an acknowledged INCR may be lost with its primary; none is executed twice.
        let most = diary.counted.load(Ordering::Relaxed) + diary.doubtful.load(Ordering::Relaxed);
        let counted = keep.get::<u64>("counter").unwrap().unwrap_or(0);
        assert!(counted <= most, "{counted} > {most}");
        all.nodes[victim].restart();
        let primary = all.nodes[all.primary()].port().to_string();
        all.nodes[victim].ask::<()>(&["REPLICAOF", "127.0.0.1", &primary]);
        all.settle();
    }
}

#[test]
fn a_killed_primary_is_replaced_and_nothing_acknowledged_is_lost() {
    kills(2);
}

#[test]
#[ignore = "long: make soak"]
fn twenty_killed_primaries_are_replaced_and_nothing_acknowledged_is_lost() {
    kills(20);
}

fn graceful(times: usize) {
    let all = Sentinels::start();
    let keep = with(&all, |config| config.command_timeout(DEADLINE));
    let (diary, stop) = (Diary::new(), AtomicBool::new(false));
    thread::scope(|scope| {
        let _end = End(&stop);
        diary.keep(scope, &keep, &stop, false);
        for round in 0..times {
            let begun = Instant::now();
            let next = all.fail_over();
            println!("round {round}: node {next} after {:?}", begun.elapsed());
            // The sentinels look at the nodes every ten seconds, and that is before the next failover.
            if round + 1 < times {
                all.settle();
                println!("round {round}: settled after {:?}", begun.elapsed());
            }
        }
    });
    diary.punctual.check();
    assert_eq!(diary.errors.load(Ordering::Relaxed), 0);
    assert!(diary.calls.load(Ordering::Relaxed) > 100);
}

#[test]
fn graceful_failovers_are_not_noticed() {
    graceful(2);
}

#[test]
#[ignore = "long: make soak"]
fn twenty_graceful_failovers_are_not_noticed() {
    graceful(20);
}

/// Held through the failover, or told that it was lost; never one who believes it while another has it.
fn a_lock_through(keep: &Manager, fail_over: impl FnOnce()) {
    let lost = Arc::new(AtomicBool::new(false));
    let told = lost.clone();
    let lease = Duration::from_secs(2);
    let lock = keep.lock("report").lease(lease);
    let held = lock
        .clone()
        .on_lost(move |_| told.store(true, Ordering::SeqCst))
        .acquire(PATIENCE)
        .unwrap();
    fail_over();
    let end = Instant::now() + lease * 3 / 2;
    let mut other = None;
    while Instant::now() < end && other.is_none() {
        other = lock.try_acquire().ok().flatten();
        thread::sleep(Duration::from_millis(20));
    }
    if let Some(other) = &other {
        assert!(other.fence() > held.fence());
        // The next renewal finds out.
        wait_until(lease, || lost.load(Ordering::SeqCst));
    }
    println!(
        "held: {}, lost: {}",
        held.is_held(),
        lost.load(Ordering::SeqCst)
    );
    assert_ne!(held.is_held(), lost.load(Ordering::SeqCst));
}

#[test]
fn a_lock_is_held_through_a_failover_or_told_to_be_lost() {
    let mut all = Sentinels::start();
    let keep = open(&all);
    let primary = all.primary();
    a_lock_through(&keep, || all.nodes[primary].kill());
}
