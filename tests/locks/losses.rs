//! Replies and renewals that are lost.

use crate::*;

/// Loses a reply: the server has executed it, `StallAfter(0)` held the answer back, and nobody will see it.
fn lose_the_reply(proxy: &Proxy) {
    proxy.cut_all();
    proxy.heal();
}

/// One manager by a proxy, and one that reaches the server whatever becomes of that.
fn by_proxy_and_not(server: &Server) -> (Proxy, Manager, Manager) {
    let proxy = Proxy::to(server.address());
    let keep = Manager::open(&proxy.url()).unwrap();
    (proxy, keep, Manager::open(&server.url()).unwrap())
}

#[test]
fn a_lock_whose_reply_was_lost_is_held_by_the_same_token() {
    let server = Server::start();
    let (proxy, keep, other) = by_proxy_and_not(&server);
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
    let (proxy, keep, other) = by_proxy_and_not(&server);
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
    let (proxy, keep, other) = by_proxy_and_not(&server);
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
