//! Who holds a lock, and until when.

use crate::*;

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
