//! How values age, and are forgotten.

use crate::*;

#[test]
fn a_value_expires_a_little_earlier_each() {
    let server = Home::start();
    let keep = server.open();
    let cache = keep.cache("rows").expire(seconds(1000)).jitter(0.5);
    for i in 0..20 {
        cache.get_or_compute(&i, || Ok::<_, Error>(i)).unwrap();
    }
    let lives: std::collections::BTreeSet<i64> = values(&server)
        .iter()
        .map(|key| server.ask(&["TTL", key]))
        .collect();
    assert!(lives.len() > 10, "{lives:?}");
    assert!(
        lives.iter().all(|life| (498..=1000).contains(life)),
        "{lives:?}"
    );

    let brief = keep.cache("brief").expire(ms(50));
    let work = Work::default();
    assert_eq!(brief.get_or_compute(&1, || work.run()).unwrap(), 1);
    wait_until(PATIENCE, || {
        brief.get_or_compute(&1, || work.run()).unwrap() == 2
    });
}

#[test]
fn one_caller_computes_it_anew_before_it_expires() {
    let server = Home::start();
    let keep = server.open();
    let cache = keep.cache("rows").expire(seconds(100));
    let work = Work::default();
    let slow = || {
        std::thread::sleep(ms(20));
        work.run()
    };
    cache.get_or_compute(&1, slow).unwrap();
    // Never, and with such a time before it, practically never.
    for _ in 0..50 {
        assert_eq!(cache.get_or_compute(&1, never).unwrap(), 1);
        assert_eq!(
            cache.clone().early(1.0).get_or_compute(&1, never).unwrap(),
            1
        );
    }
    // A tenth of a second is left, and computing takes a fifth of that: one in a hundred and fifty is due, at first.
    let eager = cache.clone().early(1.0);
    let key = values(&server).remove(0);
    server.ask::<()>(&["PEXPIRE", &key, "100"]);
    let until = Instant::now() + ms(95);
    let mut found = 1;
    while found == 1 && Instant::now() < until {
        found = eager.get_or_compute(&1, slow).unwrap();
    }
    assert!(work.runs() <= 2);
    wait_until(PATIENCE, || {
        eager.get_or_compute(&1, || work.run()).unwrap() == 2
    });
    assert!(
        server.ask::<i64>(&["TTL", &key]) > 90,
        "its whole time begins again"
    );
    // A function that fails then does no harm.
    let failing = cache.early(1000.0);
    server.ask::<()>(&["PEXPIRE", &key, "2000"]);
    let ran = AtomicU32::new(0);
    for _ in 0..20 {
        let got: u32 = failing
            .get_or_compute(&1, || {
                ran.fetch_add(1, Ordering::SeqCst);
                Err::<u32, _>("the database is down")
            })
            .unwrap();
        assert_eq!(got, 2);
    }
    assert!(ran.load(Ordering::SeqCst) > 5);
}

#[test]
fn a_stale_value_is_served_on_an_error_if_asked() {
    let server = Home::start();
    let keep = server.open();
    let cache = keep.cache("rows").expire(ms(40)).stale(seconds(100));
    let fail = || Err::<u32, _>("the database is down");
    let error = cache.get_or_compute(&1, fail).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Compute);
    assert_eq!(
        cache.get_or_compute(&1, || Ok::<_, Error>(7u32)).unwrap(),
        7
    );
    std::thread::sleep(ms(60));
    assert_eq!(cache.get_or_compute(&1, fail).unwrap(), 7);
    assert_eq!(
        cache.get_or_compute(&1, || Ok::<_, Error>(8u32)).unwrap(),
        8,
        "stale is not fresh"
    );
    std::thread::sleep(ms(60));
    assert_eq!(cache.get_or_compute(&1, fail).unwrap(), 8);
    // But not what was said to be wrong.
    cache.invalidate(&1).unwrap();
    assert!(cache.get_or_compute(&1, fail).is_err());
    let plain = keep.cache("plain").expire(ms(40));
    plain.get_or_compute(&1, || Ok::<_, Error>(7u32)).unwrap();
    std::thread::sleep(ms(60));
    assert!(plain.get_or_compute(&1, fail).is_err());
}

#[test]
fn an_error_of_the_function_is_handed_on_and_not_kept() {
    let server = Home::start();
    let keep = server.open();
    let cache = keep.cache("rows");
    let theirs = || std::fs::read_to_string("/no/such/file").map(|_| 1u32);
    let error = cache.get_or_compute(&1, theirs).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Compute);
    assert!(error.to_string().contains("No such file"), "{error}");
    let source = std::error::Error::source(&error).expect("a source");
    assert!(source.downcast_ref::<std::io::Error>().is_some());
    let ours = || keep.command::<u32>(("NOSUCHCOMMAND",));
    assert_eq!(
        cache.get_or_compute(&1, ours).unwrap_err().kind(),
        ErrorKind::Server
    );
    assert_eq!(
        cache.get_or_compute(&1, || Ok::<_, Error>(2u32)).unwrap(),
        2
    );
}

#[test]
fn one_value_and_all_values_are_forgotten_at_once() {
    let server = Home::start();
    let keep = server.open();
    let cache = keep.cache("rows");
    let work = Work::default();
    for i in 0..3 {
        assert_eq!(cache.get_or_compute(&i, || work.run()).unwrap(), i + 1);
    }
    let calls = server.command_calls("keys");
    cache.invalidate(&1).unwrap();
    assert_eq!(cache.get_or_compute(&0, never).unwrap(), 1);
    assert_eq!(cache.get_or_compute(&1, || work.run()).unwrap(), 4);
    assert_eq!(cache.get_or_compute(&1, never).unwrap(), 4);
    cache.invalidate_all().unwrap();
    for i in 0..3 {
        assert_eq!(cache.get_or_compute(&i, || work.run()).unwrap(), i + 5);
        assert_eq!(cache.get_or_compute(&i, never).unwrap(), i + 5);
    }
    assert_eq!(
        server.command_calls("keys") + server.command_calls("scan"),
        calls
    );
    // A version that is lost (evicted, say) brings nothing back.
    server.ask::<()>(&["DEL", "cache:{rows}:version"]);
    assert_eq!(cache.get_or_compute(&0, || work.run()).unwrap(), 8);
    cache.invalidate_all().unwrap();
    server.ask::<()>(&["DEL", "cache:{rows}:version"]);
    assert_eq!(cache.get_or_compute(&0, || work.run()).unwrap(), 9);
}

/// While a function runs, what it computes is invalidated: it is not stored, and who asks afterwards does not get it.
fn outdated(cache: &Cache, invalidate: impl Fn()) {
    let (started, has_started) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let old = scope.spawn(move || {
            cache.get_or_compute(&1, || {
                started.send(()).unwrap();
                may_go_on.recv().unwrap();
                Ok::<_, Error>("old".to_owned())
            })
        });
        has_started.recv_timeout(PATIENCE).unwrap();
        invalidate();
        let new = cache
            .get_or_compute(&1, || Ok::<_, Error>("new".to_owned()))
            .unwrap();
        assert_eq!(new, "new");
        go_on.send(()).unwrap();
        assert_eq!(old.join().unwrap().unwrap(), "old");
    });
    let kept: String = cache.get_or_compute(&1, || Err("it is kept")).unwrap();
    assert_eq!(kept, "new");
}

#[test]
fn what_is_invalidated_while_it_is_computed_is_not_stored() {
    let server = Home::start();
    let keep = server.open();
    let second = server.open();
    let cache = keep.cache("rows");
    for round in 0..4 {
        outdated(&cache, || match round {
            0 => cache.invalidate(&1).unwrap(),
            1 => cache.invalidate_all().unwrap(),
            // As another process would.
            2 => second.cache("rows").invalidate(&1).unwrap(),
            _ => second.cache("rows").invalidate_all().unwrap(),
        });
        cache.invalidate(&1).unwrap();
    }
}
