//! Locks.

mod home;
mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use home::Home;
use redkeep::{ErrorKind, Manager, Outcome, Redlock};
use support::{Fault, PATIENCE, Pauses, Proxy, Server, Way, came_true, wait_until};

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

/// Fails if something took longer than `most`, with what the machine added to it.
#[track_caller]
fn took(time: Duration, most: Duration, pauses: Pauses) {
    let most = pauses.beside(most);
    assert!(time < most, "{time:?}, {most:?} are allowed");
}

#[test]
fn one_holds_it_at_a_time_and_fences_grow() {
    let server = Home::start();
    let keep = server.open();
    let other = server.open();
    let held = keep.lock("report").acquire(ms(1000)).unwrap();
    assert!(held.is_held());
    assert_eq!((held.name(), held.fence()), ("report", 1));
    assert!(keep.lock("report").try_acquire().unwrap().is_none());
    assert!(other.lock("report").try_acquire().unwrap().is_none());
    let error = other.lock("report").acquire(ms(60)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LockTimeout);
    assert_eq!(error.to_string(), "Could not acquire lock: lock:report");
    assert!(held.release().unwrap());
    let again = other.lock("report").try_acquire().unwrap().unwrap();
    assert_eq!(again.fence(), 2);
    drop(again);
    assert!(!keep.exists("lock:report").unwrap());
    assert_eq!(keep.ttl("{lock:report}:fence").unwrap(), -1);
    assert!(!keep.exists("{lock:report}:queue").unwrap());
}

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
fn it_is_renewed_while_it_is_held_and_lost_when_its_key_goes() {
    let server = Home::start();
    let keep = server.open();
    let losses = Arc::new(AtomicUsize::new(0));
    let counted = losses.clone();
    let lock = keep.lock("long").lease(ms(900)).on_lost(move |name| {
        assert_eq!(name, "long");
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let held = lock.acquire(ms(0)).unwrap();
    let started = Instant::now();
    while started.elapsed() < ms(2000) {
        assert!(held.is_held());
        assert!(keep.lock("long").try_acquire().unwrap().is_none());
        std::thread::sleep(ms(20));
    }
    assert_eq!(keep.delete("lock:long").unwrap(), 1);
    wait_until(PATIENCE, || losses.load(Ordering::SeqCst) == 1);
    assert!(!held.is_held());
    assert!(!held.release().unwrap());
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

/// How many stand in the server's queue for a lock.
fn queued(keep: &Manager, name: &str) -> i64 {
    keep.command(("ZCARD", format!("{{lock:{name}}}:queue")))
        .unwrap()
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

/// Loses a reply: the server has executed it, `StallAfter(0)` held the answer back, and nobody will see it.
fn lose_the_reply(proxy: &Proxy) {
    proxy.cut_all();
    proxy.heal();
}

#[test]
fn a_lock_whose_reply_was_lost_is_held_by_the_same_token() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let (keep, other) = (
        Manager::open(&proxy.url()).unwrap(),
        Manager::open(&server.url()).unwrap(),
    );
    let lock = keep.lock("doubt").lease(Duration::from_secs(60));
    // The script is known, and the connection is open.
    assert!(lock.try_acquire().unwrap().unwrap().release().unwrap());
    let fence = || other.get::<i64>("{lock:doubt}:fence").unwrap();
    let token = || other.get::<String>("lock:doubt").unwrap();
    for wait in [0, 10_000] {
        let before = fence();
        proxy.set(Way::ToClient, Fault::StallAfter(0));
        let waiter = std::thread::spawn({
            let lock = lock.clone();
            move || lock.acquire(ms(wait)).unwrap()
        });
        wait_until(PATIENCE, || fence() > before);
        let first = token();
        lose_the_reply(&proxy);
        let held = waiter.join().unwrap();
        assert_eq!(token(), first, "it asked with the token that it had");
        assert!(held.is_held());
        assert_eq!(Some(held.fence()), fence());
        assert!(other.lock("doubt").try_acquire().unwrap().is_none());
        // The reply to the release goes lost too: it was ours, and it is free.
        proxy.set(Way::ToClient, Fault::StallAfter(0));
        let release = std::thread::spawn(move || held.release().unwrap());
        wait_until(PATIENCE, || token().is_none());
        lose_the_reply(&proxy);
        assert!(release.join().unwrap());
        let next = other.lock("doubt").try_acquire().unwrap().unwrap();
        assert!(next.release().unwrap());
    }
}

#[test]
fn a_lock_whose_answer_came_later_than_its_lease_is_not_held() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let keep = Manager::open(&proxy.url()).unwrap();
    let lock = keep.lock("late").lease(ms(200));
    proxy.set(Way::ToClient, Fault::Delay(ms(400)));
    assert!(lock.try_acquire().unwrap().is_none());
    proxy.heal();
    wait_until(PATIENCE, || lock.try_acquire().unwrap().is_some());
}

#[test]
fn a_waiter_whose_reply_was_lost_waits_on() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let (keep, other) = (
        Manager::open(&proxy.url()).unwrap(),
        Manager::open(&server.url()).unwrap(),
    );
    for fair in [false, true] {
        let lock = keep.lock("doubt").fair(fair);
        assert!(lock.acquire(PATIENCE).unwrap().release().unwrap());
        let held = other.lock("doubt").fair(fair).acquire(PATIENCE).unwrap();
        // From the second time on it listens already, so that its first look puts it into the queue.
        let calls = server.command_calls("evalsha");
        proxy.set(Way::ToClient, Fault::StallAfter(0));
        let waiter = std::thread::spawn(move || lock.acquire(PATIENCE).unwrap());
        wait_until(PATIENCE, || server.command_calls("evalsha") > calls);
        lose_the_reply(&proxy);
        wait_until(PATIENCE, || queued(&other, "doubt") == 1);
        assert!(!waiter.is_finished());
        assert!(held.is_held());
        let last = held.fence();
        assert!(held.release().unwrap());
        let entered = waiter.join().unwrap();
        assert_eq!(entered.fence(), last + 1, "nobody had it in between");
        assert!(entered.release().unwrap());
        assert_eq!(queued(&other, "doubt"), 0);
        assert!(!other.exists("lock:doubt").unwrap());
    }
}

#[test]
fn a_lock_that_nobody_knows_of_is_given_back_before_its_lease_is_over() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let (keep, other) = (
        Manager::open(&proxy.url()).unwrap(),
        Manager::open(&server.url()).unwrap(),
    );
    let lock = keep.lock("doubt").lease(Duration::from_secs(60));
    assert!(lock.try_acquire().unwrap().unwrap().release().unwrap());
    for wait in [0, 10_000] {
        // The reply goes lost, and the server cannot be reached again: it has the lock, and its caller an error.
        proxy.set(Way::ToClient, Fault::StallAfter(0));
        let waiter = std::thread::spawn({
            let lock = lock.clone();
            move || lock.acquire(ms(wait)).unwrap_err()
        });
        wait_until(PATIENCE, || other.exists("lock:doubt").unwrap());
        proxy.refuse_new(true);
        proxy.cut_all();
        let error = waiter.join().unwrap();
        assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
        assert!(other.exists("lock:doubt").unwrap());
        proxy.heal();
        let held = other.lock("doubt").acquire(PATIENCE).unwrap();
        assert!(held.release().unwrap());
        // The manager has found its server again.
        wait_until(PATIENCE, || keep.exists("lock:doubt").is_ok());
    }
}

#[test]
fn a_renewal_that_fails_is_tried_again_until_the_lease_is_over() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let keep = Manager::open(&proxy.url()).unwrap();
    let losses = Arc::new(AtomicUsize::new(0));
    let counted = losses.clone();
    let lock = keep.lock("tried").lease(ms(3000)).on_lost(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let held = lock.acquire(ms(0)).unwrap();
    let started = Instant::now();
    let cut = || {
        proxy.refuse_new(true);
        proxy.cut_all();
    };
    cut();
    // The first renewal is due after a second, and fails.
    std::thread::sleep(ms(1400));
    proxy.heal();
    std::thread::sleep(ms(3200).saturating_sub(started.elapsed()));
    assert!(held.is_held(), "renewed after all");
    assert_eq!(losses.load(Ordering::SeqCst), 0);
    // Now for good: it is told when the lease is over, at the latest.
    cut();
    let (pauses, cut_off) = (Pauses::measure(), Instant::now());
    wait_until(PATIENCE, || losses.load(Ordering::SeqCst) == 1);
    took(cut_off.elapsed(), ms(3000 + 100), pauses);
    assert!(!held.is_held());
    drop(held);
    assert_eq!(losses.load(Ordering::SeqCst), 1);
}

#[test]
fn close_wakes_those_who_wait_and_ends_the_threads() {
    let server = Server::start();
    // At whatever moment of its waiting: in one of many it may miss that it is woken.
    for _ in 0..30 {
        let (keep, other) = (
            Manager::open(&server.url()).unwrap(),
            Manager::open(&server.url()).unwrap(),
        );
        let held = keep.lock("end").acquire(PATIENCE).unwrap();
        let lock = other.lock("end");
        let waiter = std::thread::spawn(move || lock.acquire(PATIENCE).unwrap_err().kind());
        wait_until(PATIENCE, || queued(&keep, "end") == 1);
        let (pauses, started) = (Pauses::measure(), Instant::now());
        other.close(PATIENCE).unwrap();
        assert_eq!(waiter.join().unwrap(), ErrorKind::Closed);
        keep.close(PATIENCE).unwrap();
        took(started.elapsed(), ms(250), pauses);
        assert_eq!(held.release().unwrap_err().kind(), ErrorKind::Closed);
        // What could not be given back any more would end with its lease.
        server.ask::<()>(&["DEL", "lock:end", "{lock:end}:queue"]);
    }
}

#[test]
fn bad_input_is_named() {
    let server = Home::start();
    let keep = server.open();
    let wrong = |lock: redkeep::Lock, what: &str| {
        let error = lock.try_acquire().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Argument);
        assert!(error.message().starts_with(what), "{error}");
    };
    wrong(keep.lock("x").lease(Duration::ZERO), "lease: 0ns");
    wrong(keep.lock("x").lease(Duration::from_micros(10)), "lease");
    wrong(keep.lock("x").max_hold(Duration::ZERO), "max_hold: 0ns");
    wrong(keep.lock(""), "name: ");
    wrong(keep.lock("a}b"), "name: ");
    // A wait shorter than a round trip: it is tried once, and the answer is waited for.
    let held = keep.lock("x").acquire(Duration::from_nanos(1)).unwrap();
    let error = keep.lock("x").acquire(Duration::from_nanos(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LockTimeout);
    assert!(held.release().unwrap());
    let _: i64 = keep.command(("LPUSH", "lock:list", 1)).unwrap();
    for wait in [0, 50] {
        let error = keep.lock("list").acquire(ms(wait)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongType);
    }
    // Its key became another type while it was held.
    let held = keep.lock("turned").acquire(ms(0)).unwrap();
    keep.delete("lock:turned").unwrap();
    let _: i64 = keep.command(("LPUSH", "lock:turned", 1)).unwrap();
    assert_eq!(held.release().unwrap_err().kind(), ErrorKind::WrongType);
}

#[test]
fn the_same_thread_may_take_it_again_if_it_asked_for_that() {
    let server = Home::start();
    let keep = server.open();
    let lock = keep.lock("again").reentrant(true);
    let first = lock.acquire(ms(0)).unwrap();
    let second = keep.lock("again").reentrant(true).acquire(ms(0)).unwrap();
    assert_eq!(first.fence(), second.fence());
    std::thread::scope(|scope| {
        let other = scope.spawn(|| lock.try_acquire().unwrap().is_none());
        assert!(other.join().unwrap());
    });
    assert!(keep.lock("again").try_acquire().unwrap().is_none());
    assert!(first.release().unwrap());
    assert!(second.is_held());
    assert!(keep.exists("lock:again").unwrap());
    assert!(second.release().unwrap());
    assert!(!keep.exists("lock:again").unwrap());
}

#[test]
fn max_hold_ends_it() {
    let server = Home::start();
    let keep = server.open();
    let losses = Arc::new(AtomicUsize::new(0));
    let counted = losses.clone();
    let lock = keep.lock("most").lease(ms(600)).max_hold(ms(1000));
    let lock = lock.on_lost(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let (pauses, started) = (Pauses::measure(), Instant::now());
    let held = lock.acquire(ms(0)).unwrap();
    wait_until(PATIENCE, || losses.load(Ordering::SeqCst) == 1);
    let time = started.elapsed();
    assert!(time >= ms(999), "{time:?}");
    assert!(!held.is_held());
    // The server lets go of it at the same time.
    wait_until(PATIENCE, || !keep.exists("lock:most").unwrap());
    took(started.elapsed(), ms(1000 + 100), pauses);
    assert!(!held.release().unwrap());
}

#[test]
fn readers_share_and_writers_do_not() {
    let server = Home::start();
    let keep = server.open();
    let other = server.open();
    let one = keep.read_lock("map").acquire(ms(0)).unwrap();
    let two = other.read_lock("map").acquire(ms(0)).unwrap();
    assert!(two.fence() > one.fence());
    let error = keep.write_lock("map").acquire(ms(50)).unwrap_err();
    assert_eq!(error.to_string(), "Could not acquire lock: rwlock:map");

    // Who comes while a writer waits, waits behind it.
    let lock = other.write_lock("map");
    let writer = std::thread::spawn(move || lock.acquire(PATIENCE).unwrap());
    let waiting = || -> i64 { keep.command(("ZCARD", "{rwlock:map}:queue")).unwrap() };
    wait_until(PATIENCE, || waiting() == 1);
    assert!(keep.read_lock("map").try_acquire().unwrap().is_none());
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let lock = keep.read_lock("map");
            std::thread::spawn(move || lock.acquire(PATIENCE).unwrap())
        })
        .collect();
    wait_until(PATIENCE, || waiting() == 4);
    let (pauses, released) = (Pauses::measure(), Instant::now());
    assert!(one.release().unwrap());
    assert!(two.release().unwrap());
    let written = writer.join().unwrap();
    assert!(!readers.iter().any(|reader| reader.is_finished()));
    assert!(keep.read_lock("map").try_acquire().unwrap().is_none());
    assert!(written.release().unwrap());
    // All of them at once.
    let read: Vec<_> = readers
        .into_iter()
        .map(|reader| reader.join().unwrap())
        .collect();
    took(released.elapsed(), ms(250), pauses);
    assert!(read.iter().all(|held| held.is_held()));
    for held in read {
        assert!(held.release().unwrap());
    }
    assert!(!keep.exists("{rwlock:map}:readers").unwrap());
    assert!(keep.write_lock("map").try_acquire().unwrap().is_some());
}

#[test]
fn a_semaphore_lets_so_many_in() {
    let server = Home::start();
    let keep = server.open();
    let take = || keep.semaphore("few", 3).try_acquire().unwrap();
    let all: Vec<_> = (0..3).map(|_| take().expect("a free place")).collect();
    assert!(take().is_none());
    for held in all {
        assert!(held.release().unwrap());
    }
    let inside = AtomicUsize::new(0);
    let most = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for i in 0..12 {
            let (inside, most) = (&inside, &most);
            let keep = match i % 2 {
                0 => keep.clone(),
                _ => server.open(),
            };
            scope.spawn(move || {
                for _ in 0..5 {
                    let held = keep.semaphore("few", 3).acquire(PATIENCE).unwrap();
                    let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    std::thread::sleep(ms(3));
                    inside.fetch_sub(1, Ordering::SeqCst);
                    assert!(held.release().unwrap());
                }
            });
        }
    });
    // On a busy machine they may never be three at the same time.
    assert!(most.load(Ordering::SeqCst) <= 3);
    let error = keep.semaphore("few", 0).try_acquire().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Argument);
}

#[test]
fn shares_are_renewed_and_those_of_the_dead_end() {
    let server = Home::start();
    let keep = server.open();
    let (pauses, started) = (Pauses::measure(), Instant::now());
    let dead = keep.semaphore("s", 1).lease(ms(300)).renew(false);
    let dead = dead.acquire(ms(0)).unwrap();
    let reader = keep.read_lock("r").lease(ms(300)).renew(false);
    let reader = reader.acquire(ms(0)).unwrap();
    let live = keep.semaphore("s", 1).lease(ms(900));
    let live = live.acquire(PATIENCE).unwrap();
    assert!(started.elapsed() >= ms(299), "{:?}", started.elapsed());
    let writer = keep.write_lock("r").lease(ms(900));
    let writer = writer.acquire(PATIENCE).unwrap();
    took(started.elapsed(), ms(300 + 100), pauses);
    assert!(!dead.release().unwrap());
    assert!(!reader.release().unwrap());
    let started = Instant::now();
    while started.elapsed() < ms(2000) {
        assert!(live.is_held() && writer.is_held());
        assert!(keep.semaphore("s", 1).try_acquire().unwrap().is_none());
        assert!(keep.read_lock("r").try_acquire().unwrap().is_none());
        std::thread::sleep(ms(30));
    }
    assert!(live.release().unwrap() && writer.release().unwrap());
}

#[test]
fn a_redlock_needs_more_than_half_of_its_servers() {
    let mut servers = [Server::start(), Server::start(), Server::start()];
    let keeps: Vec<Manager> = servers
        .iter()
        .map(|server| Manager::open(&server.url()).unwrap())
        .collect();
    let losses = Arc::new(AtomicUsize::new(0));
    let counted = losses.clone();
    let lock = Redlock::new(&keeps, "many")
        .lease(ms(1000))
        .on_lost(move |name| {
            assert_eq!(name, "many");
            counted.fetch_add(1, Ordering::SeqCst);
        });
    let held = lock.try_acquire().unwrap().unwrap();
    assert!(held.is_held());
    assert!(lock.try_acquire().unwrap().is_none());
    let error = lock.acquire(ms(60)).unwrap_err();
    assert_eq!(error.to_string(), "Could not acquire lock: lock:many");
    assert!(held.release().unwrap());
    for keep in &keeps {
        assert!(!keep.exists("lock:many").unwrap());
    }

    // One is away, the others suffice, and renew; the frozen one does not hold up anybody.
    servers[0].freeze();
    let (pauses, started) = (Pauses::measure(), Instant::now());
    let held = lock.acquire(PATIENCE).unwrap();
    took(started.elapsed(), ms(800), pauses);
    std::thread::sleep(ms(1500));
    assert!(held.is_held());
    assert_eq!(losses.load(Ordering::SeqCst), 0);
    // Two are away: it is lost within a lease.
    servers[1].kill();
    let (pauses, killed) = (Pauses::measure(), Instant::now());
    wait_until(PATIENCE, || !held.is_held());
    took(killed.elapsed(), ms(1000 + 100), pauses);
    wait_until(PATIENCE, || losses.load(Ordering::SeqCst) == 1);
    assert!(lock.try_acquire().is_err());
    servers[0].thaw();
    assert!(!held.release().is_ok_and(|was_held| was_held));
    assert_eq!(losses.load(Ordering::SeqCst), 1);

    let error = Redlock::new(&keeps[..2], "x").try_acquire().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Argument);
    assert!(error.message().starts_with("managers: 2"));
}
