//! Forks, and what the slot map costs.

use crate::*;

#[test]
fn a_forked_child_and_a_closed_manager() {
    if !support::alone("cluster::lives::a_forked_child_and_a_closed_manager") {
        return;
    }
    let cluster = Cluster::small();
    let keep = open(&cluster);
    let keys = one_each("fork");
    for key in &keys {
        keep.set(key, 1).unwrap();
    }
    // SAFETY: the child makes a few calls and ends by _exit.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let fine = keys
            .iter()
            .all(|key| matches!(keep.get::<i64>(key), Ok(Some(1))));
        unsafe { libc::_exit(if fine { 0 } else { 1 }) };
    }
    let mut status = 0;
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
    assert_eq!(keep.mget::<i64>(&keys).unwrap(), [Some(1); 3]);
    keep.close(Duration::from_secs(5)).unwrap();
    assert_eq!(
        keep.get::<i64>(&keys[0]).unwrap_err().kind(),
        ErrorKind::Closed
    );
    drop(keep);
    wait_until(PATIENCE, || support::threads().is_empty());
}

/// The CPU time of this thread.
fn cpu() -> Duration {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a live value.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut now) };
    assert_eq!(done, 0);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

#[test]
#[ignore = "a measurement: make soak"]
fn the_slot_map_costs_nothing() {
    let cluster = Cluster::start();
    let key = key_in(0..5461, "key");
    // The same server by both ways, in turn, so that whatever else goes on is felt by both.
    let (one, all) = (
        Manager::open(&cluster.nodes[0].url()).unwrap(),
        open(&cluster),
    );
    all.set(&key, "value").unwrap();
    let time = |keep: &Manager| {
        let before = cpu();
        for _ in 0..2000 {
            assert!(keep.get::<Vec<u8>>(&key).unwrap().is_some());
        }
        cpu() - before
    };
    let mut ratios: Vec<f64> = (0..41)
        .map(|_| {
            let (plain, mapped) = (time(&one), time(&all));
            mapped.as_secs_f64() / plain.as_secs_f64()
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let [low, median, high] = [4, 20, 36].map(|i| ratios[i]);
    println!(
        "CPU of a GET on a cluster: {median:.3} of a plain one's (80 % between {low:.3} and {high:.3})"
    );
    assert!(median <= 1.1, "{median}");
}
