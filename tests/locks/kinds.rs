//! Locks that several may hold, or several servers keep.

use crate::*;

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
