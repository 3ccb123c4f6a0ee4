//! Handlers on the threads of the pool, and messages that are polled instead.

use std::sync::mpsc::channel;

use crate::*;

#[test]
fn stopping_waits_for_the_handler_under_way_and_gives_the_rest_back() {
    let server = Home::start();
    let keep = open(&server);
    send(&keep, "orders", 0..10);
    let (running, go) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let (tell, wait) = (running.clone(), go.clone());
    let consumer = keep
        .consumer("l")
        .register_channel("orders", quick().claim_idle(PATIENCE))
        .register_handler("orders", move |_: &Received| {
            tell.store(true, SeqCst);
            wait_until(PATIENCE, || wait.load(SeqCst));
            Ok::<(), String>(())
        });
    begin(&consumer);
    wait_until(PATIENCE, || running.load(SeqCst));
    let started = Instant::now();
    let error = consumer.stop(ms(100)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(started.elapsed() < ms(100) + ms(250));
    assert_eq!(
        pending(&server, "orders", "orders:l:cg"),
        10,
        "nothing was acknowledged"
    );
    go.store(true, SeqCst);
    consumer.stop(PATIENCE).unwrap();
    assert_eq!(
        pending(&server, "orders", "orders:l:cg"),
        9,
        "one was handled"
    );
    // The others are there for anybody, at once, and as if they had never been delivered.
    let seen = Seen::default();
    let fine = seen.handler();
    let other = keep
        .consumer("l")
        .register_channel("orders", quick().claim_idle(PATIENCE))
        .register_handler("orders", move |message: &Received| {
            assert_eq!(message.deliveries(), 1);
            fine(message)
        });
    begin(&other);
    wait_until(PATIENCE, || seen.len() == 9);
    wait_until(PATIENCE, || pending(&server, "orders", "orders:l:cg") == 0);
    assert_eq!(seen.all(), numbers(10)[1..]);
}

#[test]
fn stopping_waits_for_a_handler_in_its_callers_thread() {
    let server = Home::start();
    let keep = open(&server);
    send(&keep, "orders", 0..1);
    let (begin, begun) = channel();
    let (go, may_go) = channel();
    let may_go = Mutex::new(may_go);
    let consumer = keep
        .consumer("l")
        .register_channel("orders", quick())
        .register_handler("orders", move |_: &Received| {
            begin.send(()).unwrap();
            may_go.lock().unwrap().recv_timeout(PATIENCE)
        });
    thread::scope(|scope| {
        let calling = scope.spawn(|| consumer.consume_messages("orders", None, PATIENCE));
        begun.recv_timeout(PATIENCE).unwrap();
        let error = consumer.stop(NOT_LONG).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        go.send(()).unwrap();
        assert_eq!(calling.join().unwrap().unwrap(), 1);
        consumer.stop(PATIENCE).unwrap();
    });
}

#[test]
fn handlers_of_several_channels_run_on_the_pool_and_one_that_blocks_holds_up_no_other() {
    let server = Home::start();
    let keep = open(&server);
    let (seen, go) = (Seen::default(), Arc::new(AtomicBool::new(false)));
    let (fine, wait) = (seen.handler(), go.clone());
    let consumer = keep
        .consumer("l")
        .register_channel("slow", quick().count(4))
        .register_channel("fast", quick())
        .register_handler("slow", move |_: &Received| {
            wait_until(PATIENCE, || wait.load(SeqCst));
            Ok::<(), String>(())
        })
        .register_handler("fast", move |message: &Received| {
            let name = thread::current().name().unwrap_or_default().to_owned();
            assert!(name.starts_with("redkeep-work-"), "{name}");
            fine(message)
        });
    begin(&consumer);
    send(&keep, "slow", 0..10);
    send(&keep, "fast", 0..300);
    wait_until(PATIENCE, || seen.len() == 300);
    wait_until(PATIENCE, || pending(&server, "fast", "fast:l:cg") == 0);
    assert_eq!(
        pending(&server, "slow", "slow:l:cg"),
        4,
        "no more are read than can be handled"
    );
    assert_eq!(
        consumer.stop(ms(50)).unwrap_err().kind(),
        ErrorKind::Timeout
    );
    go.store(true, SeqCst);
    consumer.stop(PATIENCE).unwrap();
    assert_eq!(pending(&server, "slow", "slow:l:cg"), 3, "one was handled");
    assert_eq!(seen.all(), numbers(300));
}

#[test]
fn a_slow_handler_does_not_hold_back_acknowledgements() {
    let server = Home::start();
    let keep = open(&server);
    send(&keep, "orders", 0..10);
    let go = Arc::new(AtomicBool::new(false));
    let wait = go.clone();
    let at_last = Arc::new(AtomicBool::new(false));
    let begun = at_last.clone();
    let consumer = keep
        .consumer("l")
        .register_channel("orders", quick())
        .register_handler("orders", move |message: &Received| {
            thread::sleep(ms(10));
            if message.body() == "9" {
                begun.store(true, SeqCst);
                wait_until(PATIENCE, || wait.load(SeqCst));
            }
            Ok::<(), String>(())
        });
    begin(&consumer);
    wait_until(PATIENCE, || at_last.load(SeqCst));
    wait_until(PATIENCE, || pending(&server, "orders", "orders:l:cg") == 1);
    go.store(true, SeqCst);
    consumer.stop(PATIENCE).unwrap();
    assert_eq!(pending(&server, "orders", "orders:l:cg"), 0);
}

#[test]
fn a_handler_may_stop_its_own_consumer() {
    let server = Home::start();
    let keep = open(&server);
    send(&keep, "orders", 0..3);
    let slot: Arc<Mutex<Option<Consumer>>> = Arc::default();
    let mine = slot.clone();
    let consumer = keep
        .consumer("l")
        .register_channel("orders", quick())
        .register_handler("orders", move |_: &Received| {
            // The last handle, perhaps: it is dropped on the library's own thread.
            match mine.lock().unwrap().take() {
                Some(consumer) => consumer.stop(PATIENCE).map_err(|error| error.to_string()),
                None => Err("one message was enough".to_owned()),
            }
        });
    *slot.lock().unwrap() = Some(consumer.clone());
    begin(&consumer);
    wait_until(PATIENCE, || slot.lock().unwrap().is_none());
    drop(consumer);
    wait_until(PATIENCE, || pending(&server, "orders", "orders:l:cg") == 2);
}

#[test]
fn polling_with_a_descriptor() {
    let server = Home::start();
    let keep = open(&server);
    let consumer = keep.consumer("l").register_channel("orders", quick());
    let fd = consumer.descriptor().unwrap();
    let readable = || {
        let mut poll = libc::pollfd {
            fd: std::os::fd::AsRawFd::as_raw_fd(&fd),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one live entry.
        unsafe { libc::poll(&mut poll, 1, 0) == 1 }
    };
    assert!(consumer.poll(MOMENT).unwrap().is_none() && !readable());
    // What cannot be read wakes nobody.
    let _: String = server.ask(&["XADD", "orders", "*", "no", "message"]);
    wait_until(PATIENCE, || count(&consumer, "dead") == 1);
    assert!(!readable());
    send(&keep, "orders", 0..4);
    wait_until(PATIENCE, readable);
    let first = consumer.poll(Duration::ZERO).unwrap().unwrap();
    assert_eq!(
        (first.body(), first.channel(), first.name()),
        ("0", "orders", "n")
    );
    first.ack().unwrap();
    assert_eq!(
        first.ack().unwrap_err().kind(),
        ErrorKind::Argument,
        "only once"
    );
    let second = consumer.poll(PATIENCE).unwrap().unwrap();
    second.fail("not today").unwrap();
    // Dropped without a word: it comes again when it has been silent for long enough.
    drop(consumer.poll(PATIENCE).unwrap().unwrap());
    let mut rest = Vec::new();
    while rest.len() < 3 {
        let message = consumer.poll(PATIENCE).unwrap().expect("all come again");
        rest.push((message.body().to_owned(), message.deliveries()));
        message.ack().unwrap();
    }
    rest.sort();
    assert_eq!(rest, [("1".into(), 2), ("2".into(), 2), ("3".into(), 1)]);
    wait_until(PATIENCE, || pending(&server, "orders", "orders:l:cg") == 0);
    assert!(!readable());
    let held = {
        send(&keep, "orders", [9]);
        consumer.poll(PATIENCE).unwrap().unwrap()
    };
    consumer.stop(PATIENCE).unwrap();
    assert!(readable(), "the end is news");
    assert_eq!(
        consumer.poll(PATIENCE).unwrap_err().kind(),
        ErrorKind::Closed
    );
    // What is in somebody's hands may be acknowledged after the end.
    held.ack().unwrap();
    wait_until(PATIENCE, || pending(&server, "orders", "orders:l:cg") == 0);
}

#[test]
fn as_many_handlers_as_asked_for_and_in_order_by_key() {
    let server = Home::start();
    let keep = Manager::open_config(&Config::new().url(server.url()).workers(4)).unwrap();
    let total = 200;
    let messages: Vec<Message> = (0..total)
        .map(|n| Message::new("n", &serde_json::json!({"who": n % 7, "n": n})).unwrap())
        .collect();
    let sender = keep.sender().register_channel("orders");
    sender.send_many("orders", &messages).unwrap();
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let order: Arc<Mutex<BTreeMap<u64, Vec<u64>>>> = Arc::default();
    let (within, peak, noted) = (inside.clone(), most.clone(), order.clone());
    let options = quick().concurrency(3).order_by("/who");
    let consumer = keep
        .consumer("l")
        .register_channel("orders", options)
        .register_handler("orders", move |message: &Received| {
            peak.fetch_max(within.fetch_add(1, SeqCst) + 1, SeqCst);
            let body: serde_json::Value = message.json().map_err(|error| error.to_string())?;
            let who = body["who"].as_u64().unwrap();
            noted
                .lock()
                .unwrap()
                .entry(who)
                .or_default()
                .push(body["n"].as_u64().unwrap());
            thread::sleep(ms(1));
            within.fetch_sub(1, SeqCst);
            Ok::<(), String>(())
        });
    begin(&consumer);
    let done = || order.lock().unwrap().values().map(Vec::len).sum::<usize>() == total;
    wait_until(PATIENCE, done);
    wait_until(PATIENCE, || pending(&server, "orders", "orders:l:cg") == 0);
    assert!(order.lock().unwrap().values().all(|list| list.is_sorted()));
    assert!((2..=3).contains(&most.load(SeqCst)), "{most:?}");
}
