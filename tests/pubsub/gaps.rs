//! Connections that are cut.

use crate::*;

#[test]
fn fifty_cuts_under_load_are_fifty_gaps_and_order_is_kept_between_them() {
    const CUTS: usize = 50;
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let keep = open(&proxy.url());
    let subscriber = keep.subscriber();
    subscriber.add("news").unwrap();
    let stop = AtomicBool::new(false);
    let slowest = thread::scope(|scope| {
        scope.spawn(|| flood(&server, "news", &stop));
        let mut slowest = Duration::ZERO;
        let mut numbers: Vec<u64> = Vec::new();
        for cut in 1..=CUTS {
            wait_for_some(&subscriber, &mut numbers, 10);
            proxy.cut_all();
            let since = Instant::now();
            while let Event::Message(message) = next(&subscriber) {
                numbers.push(number(&message));
            }
            assert!(unbroken(&numbers), "before cut {cut}: {numbers:?}");
            numbers.clear();
            wait_for_some(&subscriber, &mut numbers, 1);
            slowest = slowest.max(since.elapsed());
        }
        stop.store(true, Ordering::Relaxed);
        slowest
    });
    support::figure(format!(
        "the slowest of {CUTS} was there again after {slowest:?}"
    ));
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    let stats = subscriber.stats().unwrap();
    assert_eq!((stats.gaps, stats.dropped), (CUTS as u64, 0));
    // None of them was told twice.
    while let Ok(Some(event)) = subscriber.poll(Duration::from_millis(100)) {
        assert!(matches!(event, Event::Message(_)), "{event:?}");
    }
}

fn wait_for_some(subscriber: &Subscriber, numbers: &mut Vec<u64>, count: usize) {
    for _ in 0..count {
        numbers.push(number(&message(subscriber)));
    }
}

#[test]
fn gaps_come_to_their_handler_in_their_place() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let keep = open(&proxy.url());
    let seen: Arc<Mutex<Vec<Option<u64>>>> = Arc::default();
    let subscriber = keep.subscriber();
    let to = seen.clone();
    subscriber
        .on_message(move |message| to.lock().unwrap().push(Some(number(message))))
        .unwrap();
    let to = seen.clone();
    subscriber
        .on_gap(move |gap| {
            assert_eq!(gap.pattern().as_deref(), Some("n*"));
            to.lock().unwrap().push(None);
        })
        .unwrap();
    subscriber.add_pattern("n*").unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| flood(&server, "news", &stop));
        for cut in 1..=10 {
            proxy.cut_all();
            wait_until(PATIENCE, || {
                let seen = seen.lock().unwrap();
                let gaps = seen.iter().filter(|one| one.is_none()).count();
                gaps == cut && seen.last().is_some_and(Option::is_some)
            });
        }
        stop.store(true, Ordering::Relaxed);
    });
    let seen = seen.lock().unwrap();
    for part in seen.split(Option::is_none) {
        let numbers: Vec<u64> = part.iter().flatten().copied().collect();
        assert!(unbroken(&numbers), "{numbers:?}");
    }
    assert_eq!(subscriber.stats().unwrap().failed, 0);
}
