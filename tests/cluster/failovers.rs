//! What callers notice of failovers, deaths and moves, under load.

use crate::*;

/// How an outage looked to the callers of one slot.
struct Watched {
    calls: AtomicU64,
    errors: AtomicU64,
    punctual: Punctual,
    acknowledged: AtomicU64,
    unknown: AtomicU64,
}

const DEADLINE: Duration = Duration::from_millis(5000);

/// Sets, reads and counts until told to stop.
fn work(keep: &Manager, key: &str, stop: &AtomicBool, seen: &Watched) {
    let counter = format!("{{{key}}}n");
    let mut n = 0;
    let timed = |call: &mut dyn FnMut() -> redkeep::Result<()>, idempotent: bool| {
        let result = seen.punctual.timed(call);
        seen.calls.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = &result
            && idempotent
        {
            seen.errors.fetch_add(1, Ordering::Relaxed);
            println!("{key}: {error:?}");
        }
        result
    };
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let set = timed(&mut || keep.set(key, n), true).is_ok();
        let mut got = None;
        let read = timed(&mut || keep.get::<u64>(key).map(|value| got = value), true).is_ok();
        if set && read {
            assert_eq!(got, Some(n), "{key}: what was written is not what is read");
        }
        match timed(&mut || keep.incr(&counter, 1).map(drop), false) {
            Ok(()) => seen.acknowledged.fetch_add(1, Ordering::Relaxed),
            Err(error) if error.outcome() == Outcome::Unknown => {
                seen.unknown.fetch_add(1, Ordering::Relaxed)
            }
            Err(_) => 0,
        };
        thread::sleep(Duration::from_millis(2));
    }
}

impl Watched {
    fn new() -> Watched {
        Watched {
            calls: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            punctual: Punctual::by(DEADLINE),
            acknowledged: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
        }
    }

    fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// No INCR was executed twice, and none that was acknowledged was lost.
    fn counts(&self, keep: &Manager, key: &str) {
        let counted = keep.get::<u64>(format!("{{{key}}}n")).unwrap().unwrap_or(0);
        let least = self.acknowledged.load(Ordering::Relaxed);
        let most = least + self.unknown.load(Ordering::Relaxed);
        assert!(
            (least..=most).contains(&counted),
            "{counted} is not in {least}..={most}"
        );
    }
}

fn graceful_failovers(times: usize) {
    let cluster = Cluster::start();
    let keep = open(&cluster);
    let keys = one_each("graceful");
    let seen = [(); 3].map(|()| Watched::new());
    let stop = AtomicBool::new(false);
    // On the first one that fails over. In good order nothing is lost, and no lock is.
    let lost = Arc::new(AtomicBool::new(false));
    let told = lost.clone();
    let lock = keep.lock(&keys[0]).lease(Duration::from_secs(2));
    let held = (lock.clone())
        .on_lost(move |_| told.store(true, Ordering::SeqCst))
        .acquire(PATIENCE)
        .unwrap();
    thread::scope(|scope| {
        let _end = End(&stop);
        for (key, seen) in keys.iter().zip(&seen) {
            let (keep, stop) = (&keep, &stop);
            scope.spawn(move || work(keep, key, stop, seen));
        }
        for i in 0..times {
            let primary = cluster.primary_of(slot(&keys[i % 3]));
            cluster.fail_over_to(cluster.replica_of(primary));
            cluster.settle();
            assert!(lock.try_acquire().unwrap().is_none());
        }
    });
    assert!(held.is_held() && !lost.load(Ordering::SeqCst));
    assert!(held.release().unwrap());
    for (key, seen) in keys.iter().zip(&seen) {
        seen.punctual.check();
        assert_eq!(seen.errors(), 0, "{key}");
        assert!(seen.calls.load(Ordering::Relaxed) > 50);
        seen.counts(&keep, key);
    }
    let calls: u64 = (seen.iter())
        .map(|it| it.calls.load(Ordering::Relaxed))
        .sum();
    crate::support::figure(format!("{times} failovers, {calls} calls: 0 errors"));
}

#[test]
fn graceful_failovers_are_not_noticed() {
    graceful_failovers(2);
}

#[test]
#[ignore = "long: make soak"]
fn twenty_graceful_failovers_are_not_noticed() {
    graceful_failovers(20);
}

fn killed_primaries(which: std::ops::Range<usize>) {
    let mut cluster = Cluster::start();
    let keep = open(&cluster);
    let keys = one_each("killed");
    for i in which {
        let victim = cluster.primary_of(slot(&keys[i]));
        let seen = [(); 3].map(|()| Watched::new());
        let stop = AtomicBool::new(false);
        let dead_until = thread::scope(|scope| {
            let _end = End(&stop);
            for (key, seen) in keys.iter().zip(&seen) {
                let (keep, stop) = (&keep, &stop);
                scope.spawn(move || work(keep, key, stop, seen));
            }
            thread::sleep(Duration::from_millis(300));
            cluster.nodes[victim].kill();
            let took = back(
                Duration::from_secs(4),
                || cluster.primary_of(slot(&keys[i])) != victim,
                || keep.set(format!("{{{}}}back", keys[i]), 1).is_ok(),
            );
            thread::sleep(Duration::from_millis(300));
            took
        });
        crate::support::figure(format!(
            "slots of node {victim} were back after {dead_until:?}"
        ));
        for (j, seen) in seen.iter().enumerate() {
            seen.punctual.check();
            if j != i {
                assert_eq!(seen.errors(), 0, "healthy slots");
                seen.counts(&keep, &keys[j]);
            }
        }
        for key in &keys {
            keep.delete(format!("{{{key}}}n")).unwrap();
        }
        cluster.nodes[victim].restart();
        cluster.settle();
    }
}

#[test]
fn a_killed_primary_is_felt_in_its_own_slots_alone() {
    killed_primaries(0..1);
}

#[test]
#[ignore = "long: make soak"]
fn each_killed_primary_is_felt_in_its_own_slots_alone() {
    killed_primaries(0..3);
}

fn resharding(slots: u16, times: usize) {
    let cluster = Cluster::small();
    let keep = open(&cluster);
    let keys: Vec<String> = (0..4)
        .map(|i| key_in(i * 20..i * 20 + 20, "moving"))
        .collect();
    let seen: Vec<Watched> = keys.iter().map(|_| Watched::new()).collect();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = End(&stop);
        for (key, seen) in keys.iter().zip(&seen) {
            let (keep, stop) = (&keep, &stop);
            scope.spawn(move || work(keep, key, stop, seen));
        }
        let (keep, stop) = (&keep, &stop);
        scope.spawn(move || {
            let all: Vec<String> = (0..20).map(|i| format!("batch{i}")).collect();
            for n in 0u64.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let mut pipe = keep.pipeline();
                for key in &all {
                    pipe.command(("SET", key, n))
                        .unwrap()
                        .command(("GET", key))
                        .unwrap();
                }
                let replies = pipe.execute().unwrap();
                for i in 0..all.len() {
                    assert_eq!(replies.get::<u64>(2 * i + 1).unwrap(), n);
                }
            }
        });
        for round in 0..times {
            let (from, to) = if round % 2 == 0 { (0, 1) } else { (1, 0) };
            for slot in 0..slots {
                cluster.move_slot(slot, from, to);
            }
        }
    });
    for (key, seen) in keys.iter().zip(&seen) {
        seen.punctual.check();
        assert_eq!(seen.errors(), 0, "{key}");
        seen.counts(&keep, key);
    }
    let calls: u64 = (seen.iter())
        .map(|it| it.calls.load(Ordering::Relaxed))
        .sum();
    crate::support::figure(format!(
        "{} slots moved, {calls} calls: 0 errors",
        slots as usize * times
    ));
}

#[test]
fn resharding_under_load_is_not_noticed() {
    resharding(80, 2);
}

#[test]
#[ignore = "long: make soak"]
fn resharding_a_thousand_slots_ten_times_is_not_noticed() {
    resharding(1000, 10);
}
