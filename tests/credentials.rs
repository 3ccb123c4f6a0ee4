//! Credentials that change while a manager lives, and servers that do not take them.

mod support;

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use redkeep::{Config, Credentials, Error, ErrorKind, Manager, Outcome};
use support::{CANARY_PASSWORD, PATIENCE, Pauses, Server, wait_until};

/// A user who may do everything, with these passwords.
fn allow(server: &Server, user: &str, passwords: &[&str]) {
    let mut words = vec![
        "ACL",
        "SETUSER",
        user,
        "resetpass",
        "on",
        "~*",
        "&*",
        "+@all",
    ];
    let passwords: Vec<String> = passwords.iter().map(|p| format!(">{p}")).collect();
    words.extend(passwords.iter().map(String::as_str));
    server.ask::<()>(&words);
}

/// A server that lets nobody in without a password, but the test itself over the unix socket has one.
fn server() -> Server {
    Server::with(&["--requirepass", "of-the-test"])
}

fn open(config: Config) -> Manager {
    Manager::open_config(&config).expect("a config of ours")
}

/// What a provider answers with, and how often it was asked.
#[derive(Clone, Default)]
struct Safe {
    held: Arc<Mutex<(String, String)>>,
    asked: Arc<AtomicUsize>,
}

impl Safe {
    fn with(user: &str, password: &str) -> Safe {
        let safe = Safe::default();
        safe.put(user, password);
        safe
    }

    fn put(&self, user: &str, password: &str) {
        *self.held.lock().unwrap() = (user.to_owned(), password.to_owned());
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn config(&self, url: &str) -> Config {
        let safe = self.clone();
        Config::new().url(url).credentials_provider(move || {
            safe.asked.fetch_add(1, Ordering::SeqCst);
            let (user, password) = safe.held.lock().unwrap().clone();
            Ok(Credentials::new(password).username(user))
        })
    }
}

fn who(keep: &Manager) -> String {
    keep.command(("ACL", "WHOAMI")).unwrap()
}

#[test]
fn a_user_of_the_acl_logs_in_by_url_and_by_property() {
    let server = server();
    allow(&server, "alice", &["hers"]);
    let url = format!("redis://alice:hers@{}", server.address());
    assert_eq!(who(&Manager::open(&url).unwrap()), "alice");
    let config = Config::new()
        .port(server.port())
        .username("alice")
        .password("hers");
    assert_eq!(who(&open(config)), "alice");
}

#[test]
fn a_provider_is_asked_at_each_connect() {
    let server = server();
    allow(&server, "alice", &["one"]);
    allow(&server, "bob", &["two"]);
    let safe = Safe::with("alice", "one");
    let keep = open(
        safe.config(&server.url())
            .health_check_interval(Duration::ZERO),
    );
    assert_eq!(safe.asked(), 0);
    assert_eq!(who(&keep), "alice");
    assert_eq!(safe.asked(), 1);
    // An open connection goes on; a new one asks anew.
    safe.put("bob", "two");
    assert_eq!(who(&keep), "alice");
    keep.disconnect();
    assert_eq!(who(&keep), "bob");
    assert_eq!(safe.asked(), 2);
}

#[test]
fn a_node_with_a_password_in_its_url_is_asked_nothing() {
    let server = server();
    let other = server_of_another();
    allow(&server, "alice", &["one"]);
    let safe = Safe::with("alice", "one");
    let keep = open(
        safe.config(&server.url())
            .health_check_interval(Duration::ZERO),
    );
    let url = format!("redis://:of-another@{}", other.address());
    keep.add_node_pool(&url).unwrap();
    assert_eq!(safe.asked(), 0);
    assert_eq!(who(&keep), "alice");
}

fn server_of_another() -> Server {
    Server::with(&["--requirepass", "of-another"])
}

#[test]
fn a_file_is_read_again_at_each_connect() {
    let server = server();
    allow(&server, "alice", &["one"]);
    let file = server.folder().join("secret");
    fs::write(&file, "of-the-test\n").unwrap();
    let config = Config::new()
        .url(server.url())
        .credentials_file(file.display().to_string());
    let keep = open(config.clone());
    assert_eq!(who(&keep), "default");
    fs::write(&file, "alice\none\n").unwrap();
    keep.rotate_credentials().unwrap();
    assert_eq!(who(&keep), "alice");
    // With the name in the configuration, one line is enough.
    fs::write(&file, "one").unwrap();
    let keep = open(
        config
            .clone()
            .url(format!("redis://alice@{}", server.address())),
    );
    assert_eq!(who(&keep), "alice");

    // It is looked at when a manager is opened, and named when it is of no use.
    for text in ["", "a\nb\nc"] {
        fs::write(&file, text).unwrap();
        let error = Manager::open_config(&config).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadValue);
        assert!(
            error.to_string().contains("secret: holds no password"),
            "{error}"
        );
    }
    fs::remove_file(&file).unwrap();
    let error = Manager::open_config(&config).unwrap_err();
    assert!(
        error.to_string().starts_with("credentials_file: "),
        "{error}"
    );
    keep.disconnect();
    let error = keep.get::<String>("a").unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Auth, Outcome::NotSent)
    );
    assert!(
        error.to_string().contains("secret: cannot be read"),
        "{error}"
    );
}

#[test]
fn a_password_and_somebody_to_ask_for_one_exclude_each_other() {
    let provider = || Ok(Credentials::new("p"));
    let with = |url: &str| Config::new().url(url).credentials_provider(provider);
    for config in [
        with("redis://:secret@localhost"),
        with("redis://localhost").credentials_file("f"),
        Config::new().password("secret").credentials_file("f"),
    ] {
        let error = Manager::open_config(&config).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
    }
}

#[test]
fn rotation_is_noticed_by_no_caller() {
    let server = server();
    allow(&server, "app", &["p0"]);
    let safe = Safe::with("app", "p0");
    let keep = open(safe.config(&server.url()).max_connections(4));
    let over = AtomicBool::new(false);
    let calls = AtomicUsize::new(0);
    thread::scope(|scope| {
        for t in 0..6 {
            let (keep, over, calls) = (&keep, &over, &calls);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    keep.incr(format!("n{t}"), 1).unwrap();
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 1..=10 {
            let (old, new) = (format!("p{}", round - 1), format!("p{round}"));
            // As one rotates: both are valid, the program changes over, the old one goes.
            allow(&server, "app", &[&old, &new]);
            safe.put("app", &new);
            let opened = connections_opened(&server);
            keep.rotate_credentials().unwrap();
            let before = calls.load(Ordering::Relaxed);
            wait_until(PATIENCE, || calls.load(Ordering::Relaxed) > before + 50);
            assert!(connections_opened(&server) > opened);
            allow(&server, "app", &[&new]);
        }
        over.store(true, Ordering::Relaxed);
    });
    let total: i64 = (0..6)
        .map(|t| keep.get::<i64>(format!("n{t}")).unwrap().unwrap())
        .sum();
    assert_eq!(total as usize, calls.load(Ordering::Relaxed));
}

fn connections_opened(server: &Server) -> u64 {
    server
        .info("stats", "total_connections_received")
        .parse()
        .unwrap()
}

#[test]
fn a_rotation_to_what_the_server_refuses_changes_nothing() {
    let server = server();
    allow(&server, "app", &["good"]);
    let safe = Safe::with("app", "good");
    let keep = open(safe.config(&server.url()));
    assert_eq!(who(&keep), "app");
    let id: i64 = keep.command(("CLIENT", "ID")).unwrap();
    safe.put("app", "bad");
    let error = keep.rotate_credentials().unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Auth, Some("WRONGPASS"))
    );
    assert_eq!(keep.command::<i64>(("CLIENT", "ID")).unwrap(), id);
}

#[test]
fn what_was_replaced_in_that_very_moment_is_asked_for_again() {
    let server = server();
    allow(&server, "app", &["new"]);
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let config = Config::new()
        .url(server.url())
        .credentials_provider(move || {
            let old = count.fetch_add(1, Ordering::SeqCst) == 0;
            Ok(Credentials::new(if old { "old" } else { "new" }).username("app"))
        });
    let keep = open(config.health_check_interval(Duration::ZERO));
    assert_eq!(who(&keep), "app");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

/// How often the server refused a login: the test's own are never refused.
fn refusals(server: &Server) -> u64 {
    let line = server.info("commandstats", "cmdstat_auth");
    let failed = line
        .split(',')
        .find_map(|part| part.strip_prefix("failed_calls="));
    failed.map_or(0, |n| n.parse().expect("a number of calls"))
}

/// Calls for a while from many threads, all of which must fail at once with the cause.
fn hammer(keep: &Manager, time: Duration) -> (usize, Error) {
    let ends = Instant::now() + time;
    let calls = AtomicUsize::new(0);
    let mut last = None;
    thread::scope(|scope| {
        let call = || {
            let mut last = None;
            while Instant::now() < ends {
                let error = keep.get::<String>("a").unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Auth, "{error:?}");
                assert_eq!(error.outcome(), Outcome::NotSent, "{error:?}");
                assert!(!error.is_retriable());
                assert!(!format!("{error:?}").contains(CANARY_PASSWORD), "{error:?}");
                calls.fetch_add(1, Ordering::Relaxed);
                last = Some(error);
                thread::sleep(Duration::from_millis(1));
            }
            last
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(call)).collect();
        for thread in threads {
            last = thread.join().unwrap().or(last.take());
        }
    });
    (calls.into_inner(), last.expect("a call"))
}

#[test]
fn a_wrong_password_is_told_at_once_and_not_tried_over_and_over() {
    let server = server();
    let url = format!("redis://:{CANARY_PASSWORD}@{}", server.address());
    for config in [
        Config::new(),
        Config::new().health_check_interval(Duration::ZERO),
    ] {
        let keep = open(config.url(&url));
        let before = refusals(&server);
        let (calls, error) = hammer(&keep, Duration::from_secs(3));
        assert_eq!(error.code(), Some("WRONGPASS"), "{error:?}");
        assert!(calls > 100, "{calls}");
        // After 0.5 to 0.8 s, then twice that, and so on; four callers may begin at once.
        let tried = refusals(&server) - before;
        assert!((2..=4 + 3).contains(&tried), "{tried} of {calls}");
    }
}

#[test]
fn no_password_where_one_is_wanted_is_told_at_once() {
    let server = server();
    let keep = open(Config::new().url(server.url()));
    let before = connections_opened(&server);
    let (_, error) = hammer(&keep, Duration::from_secs(1));
    assert_eq!(error.code(), Some("NOAUTH"), "{error:?}");
    assert!(!keep.is_enabled());
    // Asking the server for this takes a connection, too.
    assert!(connections_opened(&server) - before <= 4 + 3 + 1);
}

#[test]
fn new_connections_that_are_refused_do_not_take_down_those_that_are_open() {
    let server = server();
    allow(&server, "app", &["good"]);
    let safe = Safe::with("app", "good");
    let keep = open(
        safe.config(&server.url())
            .health_check_interval(Duration::from_millis(100))
            .shared_lines(0),
    );
    let mut held = keep.get_client(&server.url()).unwrap();
    let _: String = held.command("PING").unwrap();
    safe.put("app", "bad");
    let before = refusals(&server);
    let (_, error) = hammer(&keep, Duration::from_secs(1));
    assert_eq!(error.code(), Some("WRONGPASS"), "{error:?}");
    assert_eq!(held.command::<String>("PING").unwrap(), "PONG");
    assert!(keep.is_enabled());
    // Each time the provider is asked a second time, and has nothing else to say.
    let tried = refusals(&server) - before;
    assert!(tried <= 4 + 4, "{tried}");
    // What is put right is found out by itself, or at once when we are told.
    safe.put("app", "good");
    keep.rotate_credentials().unwrap();
    assert_eq!(who(&keep), "app");
}

#[test]
fn a_password_that_is_put_right_is_found_out_by_itself() {
    let server = server();
    let url = format!("redis://app:late@{}", server.address());
    let keep = open(Config::new().url(&url));
    assert_eq!(keep.get::<String>("a").unwrap_err().kind(), ErrorKind::Auth);
    allow(&server, "app", &["late"]);
    wait_until(PATIENCE, || keep.get::<String>("a").is_ok());
}

#[test]
fn a_provider_that_fails_or_hangs_holds_nobody_beyond_the_deadline() {
    let server = server();
    let config = |ask: fn() -> redkeep::Result<Credentials>| {
        Config::new()
            .url(server.url())
            .health_check_interval(Duration::ZERO)
            .credentials_provider(ask)
    };
    let keep = open(config(|| Manager::open("nonsense").map(|_| unreachable!())));
    let error = keep.get::<String>("a").unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Auth, None));
    assert!(
        error
            .to_string()
            .contains("the credentials provider failed: "),
        "{error}"
    );

    let keep = open(config(|| panic!("a provider of no use")));
    let error = keep.get::<String>("a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth, "{error:?}");
    assert!(error.to_string().contains("panicked"), "{error}");

    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let hangs = config(|| {
        ASKED.fetch_add(1, Ordering::SeqCst);
        thread::sleep(Duration::from_secs(2));
        Ok(Credentials::new("of-the-test"))
    });
    let keep = open(hangs.command_timeout(Duration::from_millis(250)));
    let (pauses, started) = (Pauses::measure(), Instant::now());
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let error = keep.get::<String>("a").unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
            });
        }
    });
    let took = started.elapsed();
    assert!(took < pauses.beside(Duration::from_millis(250 + 400)));
    support::figure(format!("a provider that hangs: {took:?} of 250 ms"));
    // One is asked at a time, and close() does not wait for it.
    assert_eq!(ASKED.load(Ordering::SeqCst), 1);
    let started = Instant::now();
    keep.close(Duration::from_secs(5)).unwrap();
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[test]
fn a_provider_goes_with_its_last_manager() {
    let server = server();
    let token = Arc::new(());
    let mine = token.clone();
    let config = Config::new()
        .url(server.url())
        .credentials_provider(move || {
            let _ = &mine;
            Ok(Credentials::new("of-the-test"))
        });
    let keep = open(config.clone());
    keep.set("a", 1).unwrap();
    drop(config);
    assert_eq!(Arc::strong_count(&token), 2);
    drop(keep);
    assert_eq!(Arc::strong_count(&token), 1);
}

#[test]
fn nothing_prints_a_provider_or_its_password() {
    let config = Config::new().credentials_provider(|| Ok(Credentials::new(CANARY_PASSWORD)));
    assert!(!format!("{config:?}").contains(CANARY_PASSWORD));
    assert!(format!("{config:?}").contains("credentials_provider"));
    let one = Credentials::new(CANARY_PASSWORD).username("me");
    assert!(!format!("{one:?}").contains(CANARY_PASSWORD));
}
