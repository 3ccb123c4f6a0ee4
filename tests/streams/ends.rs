//! The end of the manager, and forks.

use crate::*;

#[test]
fn closing_the_manager_ends_its_consumers() {
    if !alone("streams::ends::closing_the_manager_ends_its_consumers") {
        return;
    }
    let server = Home::start();
    let keep = open(&server);
    let seen = Seen::default();
    let started = seen.consumer(&keep, "l", quick());
    started
        .start_with(Duration::ZERO, Duration::from_secs(30))
        .unwrap();
    let polled = keep.consumer("p").register_channel("orders", quick());
    let persisting = seen.consumer(&keep, "q", quick());
    let other = persisting.clone();
    let rest = Duration::from_secs(60);
    let persist =
        thread::spawn(move || other.persist_consume_messages("orders", None, rest, MOMENT));
    let waiting = {
        let polled = polled.clone();
        thread::spawn(move || polled.poll(Duration::from_secs(60)))
    };
    send(&keep, "orders", [1]);
    wait_until(PATIENCE, || seen.len() == 2);
    waiting.join().unwrap().unwrap().unwrap().ack().unwrap();
    assert!(threads().iter().any(|name| name == "redkeep-read"));
    thread::sleep(ms(100));
    let begun = Instant::now();
    keep.close(PATIENCE).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1));
    let own = |name: &String| {
        name.starts_with("redkeep-read")
            || name.starts_with("redkeep-work")
            || name.starts_with("redkeep-strea")
    };
    assert!(!threads().iter().any(own), "{:?}", threads());
    wait_for(PATIENCE, || persist.is_finished().then_some(()));
    assert_eq!(polled.poll(MOMENT).unwrap_err().kind(), ErrorKind::Closed);
    assert!(started.consume_all_channels(MOMENT).is_err());
}

#[test]
fn a_fork_may_send_and_makes_consumers_of_its_own() {
    if !alone("streams::ends::a_fork_may_send_and_makes_consumers_of_its_own") {
        return;
    }
    let server = Home::start();
    let keep = open(&server);
    let sender = keep.sender().register_channel("orders");
    let seen = Seen::default();
    let consumer = seen.consumer(&keep, "l", quick());
    begin(&consumer);
    let message = Message::new("n", &1).unwrap();
    sender.send("orders", &message).unwrap();
    wait_until(PATIENCE, || seen.len() == 1);
    // SAFETY: the child calls what the library says may be called, and leaves by _exit.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let foreign = consumer
            .stop(PATIENCE)
            .is_err_and(|error| error.kind() == ErrorKind::Closed);
        drop(consumer);
        let sent = sender.send("orders", &message).is_ok();
        let mine = Seen::default();
        let own = keep
            .consumer("child")
            .register_channel("orders", quick())
            .register_handler("orders", mine.handler());
        let handled = own
            .start_with(Duration::ZERO, Duration::from_secs(1))
            .is_ok()
            && support::came_true(PATIENCE, || mine.len() == 2);
        let stopped = own.stop(PATIENCE).is_ok();
        let well = foreign && sent && handled && stopped;
        // SAFETY: nothing else is to be done here.
        unsafe { libc::_exit(i32::from(!well)) };
    }
    let mut status = 0;
    // SAFETY: our own child, once.
    unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!(status, 0);
    wait_until(PATIENCE, || seen.len() == 2);
    consumer.stop(PATIENCE).unwrap();
}
