//! Handlers, and queues that are full.

use crate::*;

#[test]
fn handlers_keep_the_order_of_a_channel_and_run_beside_those_of_others() {
    let server = Home::start();
    let keep = with(&server.url(), |config| config.workers(2));
    let subscriber = keep.subscriber();
    let seen: Arc<Mutex<Vec<(String, u64)>>> = Arc::default();
    let together = Arc::new(Barrier::new(2));
    let (to, met) = (seen.clone(), together.clone());
    subscriber
        .on_message(move |message| {
            assert!(
                thread::current()
                    .name()
                    .unwrap()
                    .starts_with("redkeep-work")
            );
            let number = number(message);
            if number == 0 {
                // Returns only if both channels' handlers run at the same time.
                met.wait();
            }
            to.lock()
                .unwrap()
                .push((message.channel().into_owned(), number));
        })
        .unwrap();
    for name in ["a", "b"] {
        subscriber.add(name).unwrap();
    }
    for i in 0..500 {
        for name in ["a", "b"] {
            assert_eq!(keep.publish(name, i).unwrap(), 1);
        }
    }
    wait_until(PATIENCE, || seen.lock().unwrap().len() == 1000);
    for name in ["a", "b"] {
        let seen = seen.lock().unwrap();
        let numbers = seen.iter().filter(|(channel, _)| channel == name);
        let numbers: Vec<u64> = numbers.map(|(_, number)| *number).collect();
        assert_eq!(numbers, (0..500).collect::<Vec<u64>>());
    }
    let stats = subscriber.stats().unwrap();
    assert_eq!(
        (stats.received, stats.delivered, stats.waiting),
        (1000, 1000, 0)
    );
}

#[test]
fn an_error_and_a_panic_of_a_handler_are_counted_and_the_next_message_comes() {
    let server = Home::start();
    let keep = open(&server.url());
    let subscriber = keep.subscriber();
    let (to, seen) = channel();
    subscriber
        .on_message(move |message| {
            let number = number(message);
            to.send(number).unwrap();
            match number {
                0 => Err("on purpose"),
                1 => panic!("on purpose"),
                _ => Ok(()),
            }
        })
        .unwrap();
    subscriber.add("news").unwrap();
    for i in 0..4 {
        keep.publish("news", i).unwrap();
    }
    let got: Vec<u64> = (0..4)
        .map(|_| seen.recv_timeout(PATIENCE).unwrap())
        .collect();
    assert_eq!(got, [0, 1, 2, 3]);
    wait_until(PATIENCE, || subscriber.stats().unwrap().delivered == 4);
    assert_eq!(subscriber.stats().unwrap().failed, 2);
}

#[test]
fn a_full_queue_drops_the_oldest_or_the_newest_and_counts_them() {
    let server = Home::start();
    let keep = open(&server.url());
    for (overflow, left) in [
        (Overflow::DropOldest, [95, 96, 97, 98, 99]),
        (Overflow::DropNewest, [0, 1, 2, 3, 4]),
    ] {
        let subscriber = keep.subscriber();
        subscriber.queue_limit(5).unwrap();
        subscriber.overflow(overflow).unwrap();
        subscriber.add("news").unwrap();
        for i in 0..100 {
            keep.publish("news", i).unwrap();
        }
        wait_until(PATIENCE, || subscriber.stats().unwrap().received == 100);
        let stats = subscriber.stats().unwrap();
        assert_eq!((stats.dropped, stats.waiting), (95, 5));
        for i in left {
            assert_eq!(number(&message(&subscriber)), i);
        }
        assert!(nothing_comes(&subscriber));
    }
    let subscriber = keep.subscriber();
    subscriber.queue_bytes(100_000).unwrap();
    subscriber.add("big").unwrap();
    for size in [10, 60_000, 60_000, 300_000] {
        keep.publish("big", vec![b'x'; size]).unwrap();
    }
    wait_until(PATIENCE, || subscriber.stats().unwrap().received == 4);
    // One message may wait, however large it is.
    assert_eq!(message(&subscriber).data().len(), 300_000);
    assert!(nothing_comes(&subscriber));
}

#[test]
fn a_slow_handler_holds_up_its_own_queue_only_and_memory_is_bounded() {
    let server = Home::start();
    let keep = open(&server.url());
    let slow = keep.subscriber();
    slow.queue_limit(10).unwrap();
    let (begun, has_begun) = channel();
    let (go, may_go) = channel::<()>();
    let may_go = Mutex::new(may_go);
    slow.on_message(move |message| {
        begun.send(number(message)).unwrap();
        let _ = may_go.lock().unwrap().recv();
    })
    .unwrap();
    slow.add("news").unwrap();
    let quick = keep.subscriber();
    quick.add("news").unwrap();
    for i in 0..1000 {
        keep.publish("news", i).unwrap();
        assert_eq!(number(&message(&quick)), i);
        if i == 0 {
            // The others come while it runs; before, they would take its place in the queue.
            assert_eq!(has_begun.recv_timeout(PATIENCE), Ok(0));
        }
    }
    wait_until(PATIENCE, || slow.stats().unwrap().received == 1000);
    assert_eq!(slow.stats().unwrap().waiting, 10);
    drop(go);
    let rest: Vec<u64> = (0..10)
        .map(|_| has_begun.recv_timeout(PATIENCE).unwrap())
        .collect();
    assert_eq!(rest, (990..1000).collect::<Vec<u64>>());
    assert_eq!(slow.stats().unwrap().dropped, 989);
}

#[test]
fn dropping_it_waits_for_the_handler_that_runs() {
    let server = Home::start();
    let keep = open(&server.url());
    let (subscriber, has_begun, go, ended) = held_up(&keep);
    keep.publish("news", "a").unwrap();
    keep.publish("news", "b").unwrap();
    has_begun.recv_timeout(PATIENCE).unwrap();
    let dropping = thread::spawn(move || drop(subscriber));
    thread::sleep(Duration::from_millis(50));
    assert!(!dropping.is_finished());
    go.send(()).unwrap();
    dropping.join().unwrap();
    assert!(ended.load(Ordering::SeqCst));
    // What waited is not handled any more.
    assert!(has_begun.recv_timeout(Duration::from_millis(50)).is_err());
}

#[test]
fn it_may_be_dropped_in_its_own_handler() {
    struct Told(std::sync::mpsc::Sender<&'static str>);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.send("dropped").unwrap();
        }
    }
    let server = Home::start();
    let keep = open(&server.url());
    let place: Arc<Mutex<Option<Subscriber>>> = Arc::default();
    let subscriber = keep.subscriber();
    let (tell, told) = channel();
    let (mine, owned) = (place.clone(), Told(tell.clone()));
    subscriber
        .on_message(move |_| {
            drop(mine.lock().unwrap().take().expect("only once"));
            owned.0.send("handled").unwrap();
        })
        .unwrap();
    subscriber.add("news").unwrap();
    *place.lock().unwrap() = Some(subscriber);
    keep.publish("news", "a").unwrap();
    // What the handler owns lives until the handler has returned.
    assert_eq!(told.recv_timeout(PATIENCE), Ok("handled"));
    assert_eq!(told.recv_timeout(PATIENCE), Ok("dropped"));
    wait_until(PATIENCE, || keep.publish("news", "b").unwrap() == 0);
}
