//! Sentinels and primaries that are silent, and sentinels that disagree or lie.

use crate::*;

#[test]
fn a_frozen_sentinel_and_a_black_hole_are_passed_over() {
    let all = Sentinels::start();
    let hole = Proxy::to(all.sentinels[1].address());
    hole.set(Way::Both, Fault::BlackHole);
    all.sentinels[0].freeze();
    let url = format!(
        "redis+sentinel://{},{},{}/mymaster",
        all.sentinels[0].address(),
        hole.address(),
        all.sentinels[2].address()
    );
    let keep = Manager::open(&url).unwrap();
    takes_at_most(Duration::from_secs(1), || keep.set("a", 1).unwrap());
    all.sentinels[2].freeze();
    for _ in 0..50 {
        takes_at_most(Duration::from_secs(1), || keep.set("a", 1).unwrap());
    }
    // All of them silent: the deadline is the end.
    let keep = Manager::open(&format!("{url}?command_timeout=500ms")).unwrap();
    let error = takes_at_most(Duration::from_millis(750), || keep.set("a", 1).unwrap_err());
    assert_eq!(error.outcome(), Outcome::NotSent, "{error:?}");
    for sentinel in &all.sentinels {
        sentinel.thaw();
    }
    wait_until(PATIENCE, || keep.set("a", 1).is_ok());
}

#[test]
fn closing_does_not_wait_for_a_sentinel_that_has_fallen_silent() {
    let all = Sentinels::of(1, 1, &[], "");
    let keep = with(&all, |config| {
        config
            .health_check_interval(Duration::from_millis(100))
            .command_timeout(Duration::from_millis(200))
    });
    wait_until(PATIENCE, || keep.set("a", 1).is_ok());
    let listens = |list: String| list.contains("cmd=subscribe");
    wait_until(PATIENCE, || {
        listens(all.sentinels[0].ask(&["CLIENT", "LIST"]))
    });
    all.sentinels[0].freeze();
    // By then the push connection was given up, and is being made anew: for connect_timeout, which is 5 s.
    thread::sleep(Duration::from_millis(1500));
    takes_at_most(Duration::from_secs(2), || {
        keep.close(Duration::from_secs(3)).unwrap()
    });
    all.sentinels[0].thaw();
}

#[test]
fn a_frozen_primary_holds_nobody_past_the_deadline() {
    let all = Sentinels::start();
    let deadline = Duration::from_millis(800);
    let keep = with(&all, |config| config.command_timeout(deadline));
    keep.set("a", 1).unwrap();
    all.nodes[0].freeze();
    let (punctual, frozen) = (Punctual::by(deadline), Instant::now());
    // Sentinels that lose an election hold the next one seconds later.
    wait_until(PATIENCE * 6, || punctual.timed(|| keep.set("a", 2)).is_ok());
    println!("writable after {:?}", frozen.elapsed());
    punctual.check();
    all.nodes[0].thaw();
}

#[test]
fn sentinels_have_credentials_of_their_own() {
    let all = Sentinels::with(
        &[
            "--requirepass",
            support::CANARY_PASSWORD,
            "--masterauth",
            support::CANARY_PASSWORD,
        ],
        &format!("sentinel auth-pass mymaster {}", support::CANARY_PASSWORD),
    );
    for sentinel in &all.sentinels {
        sentinel.ask::<()>(&["ACL", "SETUSER", "scout", "on", ">sesame", "+@all"]);
        sentinel.ask::<()>(&[
            "ACL",
            "SETUSER",
            "default",
            "-@all",
            "+ping",
            "+sentinel",
            "+client",
            "+subscribe",
            "+publish",
            "+hello",
            "+auth",
            "+info",
        ]);
    }
    let url = all
        .url()
        .replace("://", &format!("://:{}@", support::CANARY_PASSWORD));
    let config = Config::new()
        .url(url)
        .sentinel_username("scout")
        .sentinel_password("sesame");
    let keep = Manager::open_config(&config).unwrap();
    keep.set("a", 1).unwrap();
    let wrong = config.clone().sentinel_password("wrong");
    let error = Manager::open_config(&wrong)
        .unwrap()
        .set("a", 1)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth);
    let text = format!("{error} {error:?}");
    assert!(
        text.contains("WRONGPASS") && !text.contains(support::CANARY_PASSWORD),
        "{text}"
    );
}

fn sentinel(address: impl Fn() -> (String, u16, i64) + Send + Sync + 'static) -> Peer {
    Peer::answer(move |request: &[Vec<u8>]| -> Answer {
        if let Some(text) = polite(request) {
            return text.into();
        }
        if !request[0].eq_ignore_ascii_case(b"SENTINEL") {
            return "-ERR no\r\n".into();
        }
        if request[1].eq_ignore_ascii_case(b"REPLICAS") {
            return "*0\r\n".into();
        }
        let (ip, port, epoch) = address();
        let words = [
            "ip",
            &ip,
            "port",
            &port.to_string(),
            "config-epoch",
            &epoch.to_string(),
        ]
        .map(str::to_owned);
        let mut text = "*6\r\n".to_owned();
        for word in words {
            text += &format!("${}\r\n{word}\r\n", word.len());
        }
        text.into()
    })
}

fn url_of(sentinels: &[&Peer]) -> String {
    let all: Vec<String> = sentinels.iter().map(|one| one.address()).collect();
    format!(
        "redis+sentinel://{}/mymaster?command_timeout=1",
        all.join(",")
    )
}

#[test]
fn of_sentinels_that_disagree_the_latest_is_believed_if_its_server_agrees() {
    let (old, new) = (Server::start(), Server::start());
    let (a, b) = (old.port(), new.port());
    let says = |port: u16, epoch| sentinel(move || ("127.0.0.1".to_owned(), port, epoch));
    let (first, second, third) = (says(a, 1), says(a, 1), says(b, 2));
    let keep = Manager::open(&url_of(&[&first, &second, &third])).unwrap();
    keep.set("a", 1).unwrap();
    assert_eq!(new.ask::<i64>(&["EXISTS", "a"]), 1);
    // The latest is wrong: its server says that it is a replica.
    new.ask::<()>(&["REPLICAOF", "127.0.0.1", &a.to_string()]);
    let keep = Manager::open(&url_of(&[&first, &second, &third])).unwrap();
    keep.set("b", 1).unwrap();
    assert_eq!(old.ask::<i64>(&["EXISTS", "b"]), 1);
    // None of them is right.
    old.ask::<()>(&["REPLICAOF", "127.0.0.1", "1"]);
    let keep = Manager::open(&url_of(&[&first, &second, &third])).unwrap();
    let error = takes_at_most(Duration::from_millis(1250), || {
        keep.set("c", 1).unwrap_err()
    });
    let text = error.to_string();
    for wanted in [
        "disagree",
        &old.address(),
        &new.address(),
        &third.address(),
        "'slave'",
    ] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
}

#[test]
fn what_does_not_make_sense_is_told() {
    let all = Sentinels::start();
    let unknown = all.url().replace("mymaster", "nobody");
    let error = Manager::open(&unknown).unwrap().set("a", 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let text = error.to_string();
    assert!(
        text.contains("'nobody'") && text.contains(&all.sentinels[0].address()),
        "{text}"
    );

    let no_sentinel = format!("redis+sentinel://{}/mymaster", all.nodes[0].address());
    let error = Manager::open(&no_sentinel)
        .unwrap()
        .set("a", 1)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("no sentinel"), "{error}");

    let nobody = "redis+sentinel://127.0.0.1:1,127.0.0.1:2/mymaster";
    let error = Manager::open(nobody).unwrap().set("a", 1).unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Connect, Outcome::NotSent)
    );
    let text = error.to_string();
    assert!(
        text.contains("127.0.0.1:1") && text.contains("127.0.0.1:2"),
        "{text}"
    );

    let nowhere = sentinel(|| ("127.0.0.1".to_owned(), 1, 1));
    let error = Manager::open(&url_of(&[&nowhere]))
        .unwrap()
        .set("a", 1)
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("127.0.0.1:1") && text.contains(&nowhere.address()),
        "{text}"
    );

    let babble = sentinel(|| ("not a host".to_owned(), 0, 1));
    let error = Manager::open(&url_of(&[&babble]))
        .unwrap()
        .set("a", 1)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    // A sentinel that is opened as a server says so itself.
    let error = Manager::open(&all.sentinels[0].url())
        .unwrap()
        .set("a", 1)
        .unwrap_err();
    assert_eq!(error.outcome(), Outcome::Refused);
}
