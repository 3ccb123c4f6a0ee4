//! The end of a subscriber, of its manager, and forks.

use crate::*;

#[test]
fn closing_the_manager_wakes_polls_and_ends_in_time() {
    let server = Home::start();
    for listens in [true, false] {
        let keep = open(&server.url());
        let subscriber = keep.subscriber();
        if listens {
            subscriber.add("news").unwrap();
        }
        let (polling, other) = (subscriber.clone(), subscriber.clone());
        let waiting = [
            thread::spawn(move || polling.poll(Duration::MAX).unwrap_err().kind()),
            thread::spawn(move || other.poll(Duration::MAX).unwrap_err().kind()),
        ];
        thread::sleep(Duration::from_millis(50));
        let started = Instant::now();
        keep.close(PATIENCE).unwrap();
        for one in waiting {
            assert_eq!(one.join().unwrap(), ErrorKind::Closed);
        }
        assert!(started.elapsed() < Duration::from_secs(1));
        assert_eq!(
            subscriber.add("more").unwrap_err().kind(),
            ErrorKind::Closed
        );
        assert_eq!(
            subscriber.poll(PATIENCE).unwrap_err().kind(),
            ErrorKind::Closed
        );
    }
    // A handler that takes its time: close() comes back at its deadline and says so.
    let keep = open(&server.url());
    let (_subscriber, has_begun, go, _) = held_up(&keep);
    keep.publish("news", "a").unwrap();
    has_begun.recv_timeout(PATIENCE).unwrap();
    let started = Instant::now();
    let error = keep.close(Duration::from_millis(100)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(started.elapsed() < Duration::from_millis(350));
    go.send(()).unwrap();
}

#[test]
fn a_manager_may_be_closed_and_dropped_in_a_handler() {
    let server = Home::start();
    let keep = open(&server.url());
    let (tell, told) = channel();
    let subscriber = keep.subscriber();
    let mine = Mutex::new(Some(keep.clone()));
    subscriber
        .on_message(move |_| {
            let keep = mine.lock().unwrap().take().unwrap();
            tell.send(keep.close(PATIENCE)).unwrap();
        })
        .unwrap();
    subscriber.add("news").unwrap();
    open(&server.url()).publish("news", "a").unwrap();
    drop(keep);
    told.recv_timeout(PATIENCE).unwrap().unwrap();
}

#[test]
fn a_subscriber_outlives_the_manager_s_other_handles() {
    let server = Server::start();
    let subscriber = open(&server.url()).subscriber();
    subscriber.add("news").unwrap();
    server.ask::<i64>(&["PUBLISH", "news", "a"]);
    assert_eq!(message(&subscriber).data(), b"a");
    drop(subscriber);
    wait_until(PATIENCE, || server.connections() == 0);
}

#[test]
fn a_thousand_lives_leave_nothing_behind() {
    if !alone("pubsub::ends::a_thousand_lives_leave_nothing_behind") {
        return;
    }
    let server = Home::start();
    let keep = open(&server.url());
    let life = |i: usize| {
        let subscriber = keep.subscriber();
        match i % 2 {
            0 => subscriber.on_message(|_| ()).unwrap(),
            _ => drop(subscriber.fd().unwrap()),
        }
        subscriber.add(format!("channel:{i}")).unwrap();
    };
    life(0);
    life(1);
    let settled = || {
        server
            .ask::<Vec<String>>(&["PUBSUB", "CHANNELS", "channel:*"])
            .is_empty()
    };
    wait_until(PATIENCE, settled);
    let (fds, running) = (descriptors(), threads().len());
    for i in 0..1000 {
        life(i);
    }
    wait_until(PATIENCE, settled);
    // The listener and the server's answers come and go by themselves, one at a time.
    wait_until(PATIENCE, || descriptors() <= fds + 2);
    wait_until(PATIENCE, || threads().len() <= running + 1);
    drop(keep);
    wait_until(PATIENCE, || threads().is_empty());
}

#[test]
fn a_fork_has_subscribers_of_its_own() {
    if !alone("pubsub::ends::a_fork_has_subscribers_of_its_own") {
        return;
    }
    let server = Server::start();
    let keep = open(&server.url());
    let subscriber = keep.subscriber();
    subscriber.add("news").unwrap();
    let handled = keep.subscriber();
    // Some forks fall into a call of it: what is under way there is nothing that a child could wait for.
    handled
        .on_message(|_| thread::sleep(Duration::from_millis(1)))
        .unwrap();
    handled.add("news").unwrap();
    let mut handled = Some(handled);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| flood(&server, "news", &stop));
        for _ in 0..10 {
            // SAFETY: the child uses only what a fork may use, which is what is tested, and leaves by _exit().
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                let ok = in_child(&keep, &subscriber, handled.take().unwrap());
                // SAFETY: ends the child at once.
                unsafe { libc::_exit(i32::from(!ok)) };
            }
            let mut status = 0;
            // SAFETY: our own child, and a live place for its status.
            assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
            assert_eq!(status, 0);
        }
        stop.store(true, Ordering::Relaxed);
    });
    // The parent has lost nothing.
    let handled = handled.expect("taken only in the children");
    handled.remove("news").unwrap();
    let mut numbers = Vec::new();
    while let Some(Event::Message(message)) = subscriber.poll(Duration::from_millis(100)).unwrap() {
        numbers.push(number(&message));
    }
    let stats = subscriber.stats().unwrap();
    assert!(unbroken(&numbers) && !numbers.is_empty());
    assert_eq!(stats.gaps, 0);
}

fn in_child(keep: &Manager, subscriber: &Subscriber, other: Subscriber) -> bool {
    let refused = |error: redkeep::Error| {
        error.kind() == ErrorKind::Closed && error.to_string().contains("fork")
    };
    let told = subscriber.poll(Duration::ZERO).is_err_and(refused)
        && subscriber.add("more").is_err_and(refused)
        && other.remove("news").is_err_and(refused);
    drop(other);
    let own = keep.subscriber();
    let (tell, hear) = channel();
    let set = own.on_message(move |message| tell.send(message.data().to_vec()));
    if set.is_err() || own.add("child").is_err() || keep.publish("child", "x").is_err() {
        return false;
    }
    told && hear.recv_timeout(PATIENCE) == Ok(b"x".to_vec()) && keep.close(PATIENCE).is_ok()
}
