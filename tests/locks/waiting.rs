//! Who waits for a lock, in this process and in others.

use crate::*;

#[test]
fn threads_of_one_process_get_it_one_after_the_other() {
    let server = Home::start();
    let keep = server.open();
    keep.set("n", 0).unwrap();
    let inside = Arc::new(AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..16 {
            let (keep, inside) = (keep.clone(), inside.clone());
            scope.spawn(move || {
                for _ in 0..20 {
                    let held = keep.lock("n").acquire(PATIENCE).unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    let n: i64 = keep.get("n").unwrap().unwrap();
                    keep.set("n", n + 1).unwrap();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    assert!(held.release().unwrap());
                }
            });
        }
    });
    assert_eq!(keep.get::<i64>("n").unwrap(), Some(320));
    assert_eq!(keep.get::<i64>("{lock:n}:fence").unwrap(), Some(320));
}

#[test]
fn a_waiter_of_another_process_is_woken_by_the_release() {
    let server = Server::start();
    let (keep, other) = (
        Manager::open(&server.url()).unwrap(),
        Manager::open(&server.url()).unwrap(),
    );
    for fair in [false, true] {
        for _ in 0..5 {
            let held = keep.lock("woken").fair(fair).acquire(PATIENCE).unwrap();
            let lock = other.lock("woken").fair(fair);
            let waiter = std::thread::spawn(move || {
                let held = lock.acquire(PATIENCE).unwrap();
                let entered = Instant::now();
                held.release().unwrap();
                entered
            });
            wait_until(PATIENCE, || queued(&keep, "woken") == 1);
            let calls = server.command_calls("evalsha");
            // Nobody looks while nothing happens.
            std::thread::sleep(ms(200));
            assert_eq!(server.command_calls("evalsha"), calls);
            let (pauses, released) = (Pauses::measure(), Instant::now());
            assert!(held.release().unwrap());
            let entered = waiter.join().unwrap();
            took(entered.duration_since(released), ms(100), pauses);
        }
    }
    assert!(!keep.exists("lock:woken").unwrap());
}

/// What redis-py's `Lock` sends.
fn foreign_acquire(keep: &Manager, name: &str, milliseconds: u64) -> bool {
    let args = (
        "SET",
        format!("lock:{name}"),
        "a1b2c3d4",
        "NX",
        "PX",
        milliseconds,
    );
    keep.command::<Option<String>>(args).unwrap().is_some()
}

fn foreign_release(keep: &Manager, name: &str) -> bool {
    let script = redkeep::Script::new(
        "local token = redis.call('get', KEYS[1])
         if not token or token ~= ARGV[1] then return 0 end
         redis.call('del', KEYS[1])
         return 1",
    );
    keep.eval::<i64>(&script, format!("lock:{name}"), "a1b2c3d4")
        .unwrap()
        == 1
}

#[test]
fn redis_py_and_we_respect_each_others_locks() {
    let server = Server::start();
    let keep = Manager::open(&server.url()).unwrap();
    assert!(foreign_acquire(&keep, "both", 60_000));
    assert!(keep.lock("both").try_acquire().unwrap().is_none());
    let lock = keep.lock("both");
    let waiter = std::thread::spawn(move || lock.acquire(PATIENCE).unwrap());
    // It tells nobody, so that it is looked for, and not too often.
    wait_until(PATIENCE, || queued(&keep, "both") == 1);
    let calls = server.command_calls("evalsha");
    std::thread::sleep(ms(500));
    let looks = server.command_calls("evalsha") - calls;
    assert!((4..=51).contains(&looks), "{looks} looks in 500 ms");
    let (pauses, released) = (Pauses::measure(), Instant::now());
    assert!(foreign_release(&keep, "both"));
    let held = waiter.join().unwrap();
    took(released.elapsed(), ms(50 + 100), pauses);
    assert!(!foreign_acquire(&keep, "both", 1000));
    assert!(!foreign_release(&keep, "both"));
    assert!(held.is_held());
    assert!(held.release().unwrap());
    assert!(foreign_acquire(&keep, "both", 1000));
    assert!(foreign_release(&keep, "both"));
}

#[test]
fn a_lost_message_costs_no_more_than_the_lease() {
    let server = Home::start();
    let (keep, other) = (server.open(), server.open());
    let held = keep
        .lock("gone")
        .lease(ms(600))
        .renew(false)
        .acquire(PATIENCE)
        .unwrap();
    let lock = other.lock("gone");
    let waiter = std::thread::spawn(move || {
        let held = lock.acquire(PATIENCE).unwrap();
        (Instant::now(), held.release().unwrap())
    });
    wait_until(PATIENCE, || queued(&keep, "gone") == 1);
    // As if the message had not come: the queue and the lock go without a word.
    let (pauses, started) = (Pauses::measure(), Instant::now());
    keep.delete(&["{lock:gone}:queue", "lock:gone"]).unwrap();
    let (entered, was_held) = waiter.join().unwrap();
    assert!(was_held);
    took(entered.duration_since(started), ms(600 + 100), pauses);
    assert!(!held.release().unwrap());
}

#[test]
fn a_waiter_that_gives_up_leaves_nothing_behind() {
    let server = Home::start();
    let (keep, other) = (server.open(), server.open());
    for fair in [false, true] {
        let held = keep.lock("busy").fair(fair).acquire(PATIENCE).unwrap();
        std::thread::scope(|scope| {
            for i in 0..4 {
                let lock = other.lock("busy").fair(fair);
                scope.spawn(move || {
                    let (pauses, started) = (Pauses::measure(), Instant::now());
                    let error = lock.acquire(ms(50 + 30 * i)).unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::LockTimeout);
                    took(started.elapsed(), ms(50 + 30 * i + 100), pauses);
                });
            }
        });
        assert_eq!(queued(&keep, "busy"), 0);
        assert!(held.release().unwrap());
        assert!(!keep.exists("lock:busy").unwrap());
    }
}

#[test]
fn a_fair_lock_goes_to_whoever_came_first_in_whichever_process() {
    let server = Server::start();
    for _ in 0..5 {
        let pauses = Pauses::measure();
        let [entered, wanted] = fair_rounds(&server);
        if entered == wanted {
            return;
        }
        // Who takes longer than 60 ms to say that it has it, loses its turn.
        let longest = pauses.longest();
        assert!(
            longest > ms(10),
            "{entered:?}, without a pause: {longest:?}"
        );
    }
    panic!("never in order");
}

/// Six wait for a lock twice each: who entered, and who should have, as (round, who).
fn fair_rounds(server: &Server) -> [Vec<(i64, i64)>; 2] {
    const WAITERS: i64 = 6;
    // To the server, each manager is a process of its own.
    let keeps: Vec<Manager> = (0..3)
        .map(|_| Manager::open(&server.url()).unwrap())
        .collect();
    let keep = &keeps[0];
    let held = keep.lock("row").fair(true).acquire(PATIENCE).unwrap();
    let entered = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for i in 0..WAITERS {
            let lock = keeps[(i % 3) as usize].lock("row").fair(true);
            let entered = &entered;
            scope.spawn(move || {
                for round in 0..2 {
                    let held = lock.acquire(PATIENCE).unwrap();
                    entered.lock().unwrap().push((round, i));
                    if round == 0 {
                        // Whoever was here before has come again, and stands behind all others.
                        let _ = came_true(ms(2000), || queued(keep, "row") == WAITERS - 1);
                    }
                    assert!(held.release().unwrap());
                }
            });
            wait_until(PATIENCE, || queued(keep, "row") == i + 1);
        }
        assert!(held.release().unwrap());
    });
    let wanted = (0..2).flat_map(|round| (0..WAITERS).map(move |i| (round, i)));
    [entered.into_inner().unwrap(), wanted.collect()]
}
