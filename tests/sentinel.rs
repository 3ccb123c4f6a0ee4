//! Real sentinels over a primary and two replicas: the primary is found, and found again, whoever it is.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use redkeep::{Config, ErrorKind, Manager, NodeRole, Outcome, ReadFrom, TopologyKind};
use support::{Answer, Fault, PATIENCE, Peer, Proxy, Sentinels, Server, Way, polite, wait_until};

fn open(all: &Sentinels) -> Manager {
    with(all, |config| config)
}

fn with(all: &Sentinels, change: impl FnOnce(Config) -> Config) -> Manager {
    Manager::open_config(&change(Config::new().url(all.url()))).expect("a config of ours")
}

/// The number of ordinary connections that a node has, besides its replicas and sentinels.
fn ours(node: &Server) -> usize {
    let list: String = node.ask(&["CLIENT", "LIST"]);
    list.lines()
        .filter(|line| line.contains(" name=redkeep "))
        .count()
}

#[test]
fn the_primary_is_found_and_followed() {
    let all = Sentinels::start();
    let keep = open(&all);
    assert!(!keep.is_enabled());
    keep.set("a", 1).unwrap();
    assert_eq!(keep.get::<i64>("a").unwrap(), Some(1));
    assert!(keep.is_enabled());
    assert_eq!(
        keep.health_check(None).unwrap().role.as_deref(),
        Some("master")
    );

    let status = keep.fetch_pool_status();
    assert_eq!(status.topology, TopologyKind::Sentinel);
    assert_eq!(status.master_name.as_deref(), Some("mymaster"));
    assert_eq!(status.sentinels.len(), 3);
    for sentinel in &status.sentinels {
        assert_eq!(
            sentinel.primary,
            Some(all.nodes[0].address()),
            "{sentinel:?}"
        );
    }
    let role = |keep: &Manager, node: &Server| {
        let status = keep.fetch_pool_status();
        let found = status
            .nodes
            .iter()
            .find(|shown| shown.address == node.address());
        found.map(|shown| shown.role)
    };
    assert_eq!(role(&keep, &all.nodes[0]), Some(NodeRole::Primary));
    assert_eq!(role(&keep, &all.nodes[1]), Some(NodeRole::Replica));

    // Every connection there can be, idle.
    let leases: Vec<_> = (0..10)
        .map(|_| keep.client().dedicated().unwrap())
        .collect();
    drop(leases);
    assert!(ours(&all.nodes[0]) >= 10);
    let next = all.fail_over();
    let switched = Instant::now();
    // Nobody calls: the sentinels' message alone ends them, long before the next health check.
    wait_until(Duration::from_secs(5), || ours(&all.nodes[0]) <= 1);
    assert!(switched.elapsed() < Duration::from_secs(5));
    keep.set("a", 2).unwrap();
    assert_eq!(all.nodes[next].ask::<i64>(&["GET", "a"]), 2);
    wait_until(PATIENCE, || {
        role(&keep, &all.nodes[next]) == Some(NodeRole::Primary)
    });
    keep.close(Duration::from_secs(5)).unwrap();
    assert_eq!(keep.get::<i64>("a").unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn a_lost_message_is_made_good_by_the_clock_and_by_readonly() {
    // Behind proxies that let no subscription through, only the clock and the errors are left.
    let all = Sentinels::start();
    let server = &all.nodes[0];
    let port = server.port().to_string();
    // The old primary is demoted at once, and tells every write so; the sentinels answer as they see fit.
    let keep = with(&all, |config| {
        config.health_check_interval(Duration::from_secs(3600))
    });
    keep.set("a", 1).unwrap();
    let next = all.fail_over();
    let new = all.nodes[next].port().to_string();
    server.ask::<()>(&["REPLICAOF", "127.0.0.1", &new]);
    assert_ne!(port, new);
    for n in 2..20 {
        keep.set("a", n).unwrap();
    }
    assert_eq!(all.nodes[next].ask::<i64>(&["GET", "a"]), 19);
    assert_eq!(keep.stats()["errors"], 0);
}

#[test]
fn replicas_are_read_from_where_that_is_wanted() {
    let all = Sentinels::start();
    for from in [ReadFrom::Replica, ReadFrom::Nearest] {
        let keep = with(&all, |config| config.read_from(from));
        keep.set("a", 1).unwrap();
        keep.command::<i64>(("WAIT", 2, 5000)).unwrap();
        let gets = |nodes: &[Server]| -> u64 { nodes.iter().map(|n| n.command_calls("get")).sum() };
        let before = (gets(&all.nodes[..1]), gets(&all.nodes[1..]));
        for _ in 0..30 {
            assert_eq!(keep.get::<i64>("a").unwrap(), Some(1));
        }
        let (primary, replicas) = (
            gets(&all.nodes[..1]) - before.0,
            gets(&all.nodes[1..]) - before.1,
        );
        assert_eq!(primary + replicas, 30);
        if from == ReadFrom::Replica {
            assert_eq!(replicas, 30);
            assert!(
                all.nodes[1..]
                    .iter()
                    .all(|node| node.command_calls("get") > 0),
                "in turn"
            );
        }
        keep.incr("n", 1).unwrap();
    }
}

const DEADLINE: Duration = Duration::from_secs(3);

/// What writers and readers went through.
#[derive(Default)]
struct Diary {
    late: AtomicU64,
    errors: AtomicU64,
    calls: AtomicU64,
    /// Of each writer: the last number whose SET and WAIT were acknowledged.
    acknowledged: Mutex<Vec<u64>>,
    counted: AtomicU64,
    doubtful: AtomicU64,
}

impl Diary {
    fn timed<T>(
        &self,
        call: impl FnOnce() -> redkeep::Result<T>,
        counts: bool,
    ) -> redkeep::Result<T> {
        let started = Instant::now();
        let result = call();
        if started.elapsed() > DEADLINE + Duration::from_millis(250) {
            self.late.fetch_add(1, Ordering::Relaxed);
        }
        self.calls.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = &result
            && counts
        {
            println!("{error:?}");
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    /// SET and WAIT on one connection: only so does WAIT speak of that SET.
    fn write(&self, keep: &Manager, writer: usize, n: u64) -> redkeep::Result<bool> {
        let mut one = keep.client().dedicated()?;
        one.command_within::<()>(("SET", format!("w{writer}"), n), DEADLINE)?;
        let copies: i64 = one.command_within(("WAIT", 1, 1000), DEADLINE)?;
        Ok(copies >= 1)
    }

    /// Writers write growing numbers and count; readers read.
    fn keep<'s>(
        &'s self,
        scope: &'s thread::Scope<'s, '_>,
        keep: &'s Manager,
        stop: &'s AtomicBool,
        waits: bool,
    ) {
        *self.acknowledged.lock().unwrap() = vec![0; 4];
        for writer in 0..4 {
            scope.spawn(move || {
                for n in 1.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let written = match waits {
                        true => self.timed(|| self.write(keep, writer, n), false),
                        false => self
                            .timed(|| keep.set(format!("w{writer}"), n), true)
                            .map(|()| true),
                    };
                    if matches!(written, Ok(true)) {
                        self.acknowledged.lock().unwrap()[writer] = n;
                    }
                    match self.timed(|| keep.incr("counter", 1), false) {
                        Ok(_) => self.counted.fetch_add(1, Ordering::Relaxed),
                        Err(error) if error.outcome() == Outcome::Unknown => {
                            self.doubtful.fetch_add(1, Ordering::Relaxed)
                        }
                        Err(_) => 0,
                    };
                    thread::sleep(Duration::from_millis(3));
                }
            });
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let _ = self.timed(|| keep.get::<u64>(format!("w{writer}")), !waits);
                    thread::sleep(Duration::from_millis(3));
                }
            });
        }
    }
}

/// Ends the others, also when a check has failed: a scope waits for all its threads.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn kills(times: usize) {
    let mut all = Sentinels::start();
    let keep = with(&all, |config| config.command_timeout(DEADLINE));
    for round in 0..times {
        keep.delete("counter").unwrap();
        keep.command::<i64>(("WAIT", 1, 3000)).unwrap();
        let (diary, stop) = (Diary::default(), AtomicBool::new(false));
        let victim = all.primary();
        let back = thread::scope(|scope| {
            let _end = End(&stop);
            diary.keep(scope, &keep, &stop, true);
            thread::sleep(Duration::from_millis(400));
            all.nodes[victim].kill();
            let killed = Instant::now();
            wait_until(PATIENCE, || keep.set("back", round).is_ok());
            let back = killed.elapsed();
            thread::sleep(Duration::from_millis(300));
            back
        });
        let written = diary.acknowledged.lock().unwrap().iter().sum::<u64>();
        support::figure(format!(
            "kill {round}: writable again after {back:?}; of {written} writes acknowledged with WAIT 1, 0 lost"
        ));
        assert!(back < Duration::from_secs(3), "{back:?}");
        assert_eq!(diary.late.load(Ordering::Relaxed), 0);
        for (writer, acknowledged) in diary.acknowledged.lock().unwrap().iter().enumerate() {
            let stored = keep.get::<u64>(format!("w{writer}")).unwrap().unwrap_or(0);
            assert!(
                stored >= *acknowledged,
                "writer {writer}: {stored} < {acknowledged}"
            );
        }
        // Without WAIT an acknowledged INCR may be lost with its primary; none is executed twice.
        let most = diary.counted.load(Ordering::Relaxed) + diary.doubtful.load(Ordering::Relaxed);
        let counted = keep.get::<u64>("counter").unwrap().unwrap_or(0);
        assert!(counted <= most, "{counted} > {most}");
        all.nodes[victim].restart();
        let primary = all.nodes[all.primary()].port().to_string();
        all.nodes[victim].ask::<()>(&["REPLICAOF", "127.0.0.1", &primary]);
        all.settle();
    }
}

#[test]
fn a_killed_primary_is_replaced_and_nothing_acknowledged_is_lost() {
    kills(2);
}

#[test]
#[ignore = "long: make soak"]
fn twenty_killed_primaries_are_replaced_and_nothing_acknowledged_is_lost() {
    kills(20);
}

fn graceful(times: usize) {
    let all = Sentinels::start();
    let keep = with(&all, |config| config.command_timeout(DEADLINE));
    let (diary, stop) = (Diary::default(), AtomicBool::new(false));
    thread::scope(|scope| {
        let _end = End(&stop);
        diary.keep(scope, &keep, &stop, false);
        for round in 0..times {
            let begun = Instant::now();
            let next = all.fail_over();
            println!("round {round}: node {next} after {:?}", begun.elapsed());
            // The sentinels look at the nodes every ten seconds, and that is before the next failover.
            if round + 1 < times {
                all.settle();
                println!("round {round}: settled after {:?}", begun.elapsed());
            }
        }
    });
    assert_eq!(
        (
            diary.errors.load(Ordering::Relaxed),
            diary.late.load(Ordering::Relaxed)
        ),
        (0, 0)
    );
    assert!(diary.calls.load(Ordering::Relaxed) > 100);
}

#[test]
fn graceful_failovers_are_not_noticed() {
    graceful(2);
}

#[test]
#[ignore = "long: make soak"]
fn twenty_graceful_failovers_are_not_noticed() {
    graceful(20);
}

/// Held through the failover, or told that it was lost; never one who believes it while another has it.
fn a_lock_through(keep: &Manager, fail_over: impl FnOnce()) {
    let lost = Arc::new(AtomicBool::new(false));
    let told = lost.clone();
    let lease = Duration::from_secs(2);
    let lock = keep.lock("report").lease(lease);
    let held = lock
        .clone()
        .on_lost(move |_| told.store(true, Ordering::SeqCst))
        .acquire(PATIENCE)
        .unwrap();
    fail_over();
    let end = Instant::now() + lease * 3 / 2;
    let mut other = None;
    while Instant::now() < end && other.is_none() {
        other = lock.try_acquire().ok().flatten();
        thread::sleep(Duration::from_millis(20));
    }
    if let Some(other) = &other {
        assert!(other.fence() > held.fence());
        // The next renewal finds out.
        wait_until(lease, || lost.load(Ordering::SeqCst));
    }
    println!(
        "held: {}, lost: {}",
        held.is_held(),
        lost.load(Ordering::SeqCst)
    );
    assert_ne!(held.is_held(), lost.load(Ordering::SeqCst));
}

#[test]
fn a_lock_is_held_through_a_failover_or_told_to_be_lost() {
    let mut all = Sentinels::start();
    let keep = open(&all);
    let primary = all.primary();
    a_lock_through(&keep, || all.nodes[primary].kill());
}

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
    let started = Instant::now();
    keep.set("a", 1).unwrap();
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
    all.sentinels[2].freeze();
    for _ in 0..50 {
        let started = Instant::now();
        keep.set("a", 1).unwrap();
        assert!(started.elapsed() < Duration::from_secs(1));
    }
    // All of them silent: the deadline is the end.
    let keep = Manager::open(&format!("{url}?command_timeout=500ms")).unwrap();
    let started = Instant::now();
    let error = keep.set("a", 1).unwrap_err();
    let took = started.elapsed();
    assert!(took < Duration::from_millis(750), "{took:?}");
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
    let started = Instant::now();
    keep.close(Duration::from_secs(3)).unwrap();
    assert!(started.elapsed() < Duration::from_secs(2));
    all.sentinels[0].thaw();
}

#[test]
fn a_frozen_primary_holds_nobody_past_the_deadline() {
    let all = Sentinels::start();
    let keep = with(&all, |config| {
        config.command_timeout(Duration::from_millis(800))
    });
    keep.set("a", 1).unwrap();
    all.nodes[0].freeze();
    let frozen = Instant::now();
    while frozen.elapsed() < PATIENCE {
        let started = Instant::now();
        let result = keep.set("a", 2);
        let took = started.elapsed();
        assert!(took < Duration::from_millis(1050), "{took:?}");
        if result.is_ok() {
            break;
        }
    }
    println!("writable after {:?}", frozen.elapsed());
    assert!(frozen.elapsed() < PATIENCE);
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
    let started = Instant::now();
    let error = keep.set("c", 1).unwrap_err();
    assert!(started.elapsed() < Duration::from_millis(1250));
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
