//! What the features handle, and what logs in everywhere, is printed nowhere: values, ids of sessions, tokens of locks;
//! and passwords over clusters, sentinels and TLS, from providers and files.

mod support;

use std::fmt::Write;
use std::time::Duration;

use redkeep::redis::{self, FromRedisValue};
use redkeep::{ChannelOptions, Config, Credentials, Manager, Message, Script};
use support::{
    CANARY_KEY, CANARY_PASSWORD, CANARY_VALUE, Cluster, PATIENCE, Peer, Sentinels, Server,
    collect_logs, is_clean, logged, polite, wait_until, whole,
};

const MOMENT: Duration = Duration::from_millis(20);

/// Everything that was said, and may be looked at.
#[derive(Default)]
struct Said(String);

impl Said {
    fn note<T: std::fmt::Debug>(&mut self, it: &T) {
        let _ = writeln!(self.0, "{it:?} {it:#?}");
    }

    /// The error that this must be.
    #[track_caller]
    fn failed<T>(&mut self, result: redkeep::Result<T>) {
        self.0 += &whole(&result.err().expect("an error"));
    }

    fn stats(&mut self, keep: &Manager) {
        let (status, stats) = (keep.fetch_pool_status(), keep.stats());
        let _ = write!(self.0, "{status:?} {stats} {}", keep.stats_prometheus());
    }

    #[track_caller]
    fn has_none_of(&self, secrets: &[&str]) {
        let all = [&self.0, &logged()].map(String::as_str).concat();
        for secret in secrets {
            assert!(secret.len() > 8, "{secret:?} is no secret");
            let at = all.find(secret);
            let around = at.map(|at| all[..at + secret.len()].lines().last());
            assert!(at.is_none(), "{secret} in {around:?}");
        }
    }
}

/// What a hook is told is logged, and so are slow calls.
fn told(config: Config) -> Config {
    config.slow_call(Duration::from_millis(1)).command_hook(
        |start| log::trace!("{start:?}"),
        |(), end| log::trace!("{end:?}"),
    )
}

fn open(url: &str) -> Manager {
    Manager::open_config(&told(Config::new().url(url))).unwrap()
}

#[test]
fn keys_and_values_of_commands_are_not_repeated() {
    collect_logs();
    let server = Server::start();
    let keep = open(&server.url());
    let (key, value) = (CANARY_KEY, CANARY_VALUE);
    let mut said = Said::default();
    keep.set(key, value).unwrap();
    said.failed(keep.incr(key, 1));
    said.failed(keep.get::<u64>(key));
    said.failed(keep.get_json::<u64>(key));
    said.failed(keep.hset(key, "field", value));
    said.failed(keep.command::<()>(("NOSUCH", key, value)));
    said.failed(keep.command::<()>(("SET", key, value, "NX", "XX")));
    said.failed(keep.command::<()>(("MULTI", key, value)));
    said.failed(keep.command_within::<()>(("BLPOP", key, value), Duration::from_secs(1)));
    said.failed(keep.eval::<()>(
        &Script::new("return redis.call('INCR', KEYS[1])"),
        key,
        value,
    ));
    let mut pipe = keep.pipeline();
    pipe.command(("SET", key, value)).unwrap();
    pipe.command(("INCR", key)).unwrap();
    said.note(&pipe);
    let replies = pipe.execute().unwrap();
    said.note(&replies);
    said.failed(replies.get::<i64>(1));
    said.failed(keep.transaction::<(i64,)>(key, |tx| {
        let _: String = tx.read(("GET", key))?;
        tx.command(("INCR", key))?;
        Ok(())
    }));
    let mut lease = keep.client().dedicated().unwrap();
    said.failed(lease.command::<i64>(("INCR", key)));
    said.note(&lease);
    drop(lease);
    let near = keep.near_cache(10_000);
    let _: Option<String> = near.get(key).unwrap();
    said.failed(near.get::<u64>(key));
    said.note(&near);
    said.note(&near.stats().unwrap());
    assert_eq!(keep.lenient().get::<u64>(key), None);
    let mut scan = keep.scan(None);
    assert!(scan.next().unwrap().is_ok());
    said.note(&scan);
    said.stats(&keep);
    assert!(logged().contains("CommandEnd"));
    said.has_none_of(&[key, value]);
}

#[test]
fn a_reply_that_is_no_reply_is_told_without_the_value_in_it() {
    collect_logs();
    // The length is wrong, so that the value itself stands where a reply begins.
    let peer = Peer::answer(|request| match polite(request) {
        Some(text) => text.to_owned(),
        None => {
            std::thread::sleep(Duration::from_millis(5));
            format!("$3\r\nabc\r\n{CANARY_VALUE}\r\n")
        }
    });
    let keep = open(&peer.url());
    let mut said = Said::default();
    for _ in 0..3 {
        if let Err(error) = keep.get::<String>("a") {
            said.0 += &whole(&error);
        }
        let mut pipe = keep.pipeline();
        pipe.command(("GET", "a")).unwrap();
        pipe.command(("GET", "b")).unwrap();
        said.failed(pipe.query::<(String, String)>());
    }
    said.stats(&keep);
    assert!(logged().contains("slow: GET"));
    said.has_none_of(&[CANARY_VALUE]);
}

/// Commands that are for other servers, or end one.
const UNFIT: &[&str] = &["monitor", "psync", "quit", "replconf", "shutdown", "sync"];

/// Every command of this server, and every subcommand.
fn commands(keep: &Manager) -> Vec<String> {
    let text = |value: &redis::Value| String::from_redis_value(value.clone()).unwrap();
    let all: Vec<Vec<redis::Value>> = keep.command("COMMAND").unwrap();
    let mut names = Vec::new();
    for one in &all {
        names.push(text(&one[0]));
        if let Some(redis::Value::Array(subcommands)) = one.get(9) {
            let theirs = subcommands.iter().filter_map(|one| match one {
                redis::Value::Array(one) => Some(text(&one[0])),
                _ => None,
            });
            names.extend(theirs);
        }
    }
    names.retain(|name| !UNFIT.contains(&name.as_str()));
    // What one command leaves decides what the next one says, and each server tells them in an order of its own.
    names.sort();
    names
}

#[test]
fn what_a_server_reads_back_of_any_command_is_not_repeated() {
    collect_logs();
    let server = Server::start();
    let keep = open(&server.url());
    let commands = commands(&keep);
    assert!(commands.len() > 200, "{}", commands.len());
    let mut said = Said::default();
    let wrongly = |what: Vec<&str>| {
        let result = keep.command_within::<redis::Value>(what, MOMENT);
        result.map_err(|error| whole(&error)).err()
    };
    let values = [CANARY_VALUE; 4];
    for name in &commands {
        for first in [&[][..], &["1"], &["key"], &["1", "key"], &["key", "1"]] {
            for count in 1..=values.len() {
                let given = first.iter().chain(&values[..count]).copied();
                said.0
                    .extend(wrongly(name.split('|').chain(given).collect()));
            }
        }
    }
    let (key, value) = (CANARY_KEY, CANARY_VALUE);
    for what in [
        vec!["XREADGROUP", "GROUP", value, "me", "STREAMS", key, ">"],
        vec!["CONFIG", "SET", "maxmemory", value],
        vec!["ACL", "SETUSER", "ann", "on", value],
        vec![
            "CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", value, "PREFIX", value,
        ],
    ] {
        said.0.extend(wrongly(what));
    }
    assert!(said.0.contains("unknown subcommand") && said.0.contains("NOGROUP"));
    said.stats(&keep);
    said.has_none_of(&[key, value]);
}

#[test]
fn what_features_keep_is_not_repeated() {
    collect_logs();
    let server = Server::start();
    let keep = open(&server.url());
    let value = CANARY_VALUE;
    let mut said = Said::default();

    let sessions = keep.sessions(Duration::from_secs(60));
    let id = sessions
        .create(value, &serde_json::json!({"pass": value}))
        .unwrap();
    said.failed(sessions.create(value, &7));
    said.failed(sessions.get::<u64>(&id));
    server.ask::<()>(&["SET", &format!("session:{id}"), value]);
    said.failed(sessions.get::<serde_json::Value>(&id));
    said.failed(sessions.touch(&format!("{id} {value}")));

    let lock = keep.lock("report").lease(Duration::from_secs(5));
    let held = lock.acquire(PATIENCE).unwrap();
    let token: String = server.ask(&["GET", "lock:report"]);
    said.failed(keep.lock("report").acquire(MOMENT));
    said.note(&lock);
    said.note(&held);
    said.note(&keep.lock("report").try_acquire().unwrap().is_some());
    server.ask::<()>(&["SET", "lock:report", value]);
    let _ = held.release();

    let limiter = keep.limiter(1, Duration::from_secs(60));
    for _ in 0..2 {
        said.note(&limiter.check(value).unwrap());
    }
    said.note(&limiter);

    let cache = keep.cache("rows");
    let compute = || Ok::<_, redkeep::Error>(value.to_owned());
    cache.get_or_compute(&(value,), compute).unwrap();
    // What is kept is of another type: it is computed, and that may be logged.
    let other = cache.get_or_compute(&(value,), || Ok::<u64, redkeep::Error>(7));
    assert_eq!(other.unwrap(), 7);
    said.note(&cache);
    said.stats(&keep);
    said.has_none_of(&[value, &id, &token]);
}

#[test]
fn messages_are_not_repeated() {
    collect_logs();
    let server = Server::start();
    let keep = open(&server.url());
    let value = CANARY_VALUE;
    let mut said = Said::default();

    let subscriber = keep.subscriber();
    subscriber.add("news").unwrap();
    keep.publish("news", value).unwrap();
    let event = subscriber.poll(PATIENCE).unwrap().expect("a message");
    said.note(&event);
    if let redkeep::Event::Message(message) = &event {
        said.failed(message.json::<u64>());
    }
    said.note(&subscriber);
    said.note(&subscriber.stats().unwrap());

    let message = Message::new("secret", value).unwrap();
    said.note(&message);
    said.failed(Message::from_json("secret", value));
    let sender = keep.sender().register_channel("orders");
    sender.send("orders", &message).unwrap();
    server.ask::<()>(&["XADD", "orders", "*", "name", "secret", "body", value]);
    server.ask::<()>(&["XADD", "orders", "*", "nobody", value]);
    let options = ChannelOptions::new().max_deliveries(1);
    let consumer = keep.consumer("billing").register_channel("orders", options);
    let received = consumer.poll(PATIENCE).unwrap().expect("a message");
    said.note(&received);
    said.failed(received.json::<u64>());
    received.ack().unwrap();
    // The two that nobody can read.
    wait_until(PATIENCE, || {
        server.ask::<usize>(&["XLEN", "{orders}:dead"]) == 2
    });
    said.0 += &consumer.stats().unwrap().to_string();
    consumer.stop(PATIENCE).unwrap();
    said.stats(&keep);
    said.has_none_of(&[value]);
}

/// Logs in as `ann`, well and wrongly, and says everything.
fn log_in(config: Config, url: &str, said: &mut Said) {
    for password in [CANARY_PASSWORD.to_owned(), format!("{CANARY_PASSWORD}-not")] {
        let url = url.replace("://", &format!("://ann:{password}@"));
        let config = told(config.clone()).url(url);
        let config = config.command_timeout(Duration::from_secs(3));
        let keep = Manager::open_config(&config).unwrap();
        said.note(&config);
        said.0 += &config.dump().to_string();
        if let Err(error) = keep.set("a", 1) {
            said.0 += &whole(&error);
        }
        keep.initialize();
        said.note(&keep);
        said.note(&keep.health_check(None).is_ok());
        said.stats(&keep);
        keep.close(PATIENCE).unwrap();
    }
}

fn let_in(node: &Server) {
    let password = format!(">{CANARY_PASSWORD}");
    node.ask::<()>(&[
        "ACL", "SETUSER", "ann", "on", &password, "~*", "&*", "+@all",
    ]);
}

#[test]
fn passwords_are_not_repeated_over_a_cluster() {
    collect_logs();
    let all = Cluster::small();
    all.nodes.iter().for_each(let_in);
    let mut said = Said::default();
    log_in(Config::new(), &all.url(), &mut said);
    assert!(said.0.contains("WRONGPASS"), "{}", said.0);
    is_clean(&said.0);
    is_clean(&logged());
}

#[test]
fn passwords_are_not_repeated_behind_sentinels() {
    collect_logs();
    let all = Sentinels::start();
    all.nodes.iter().chain(&all.sentinels).for_each(let_in);
    let mut said = Said::default();
    let theirs = Config::new().sentinel_username("ann");
    let theirs = theirs.sentinel_password(format!("{CANARY_PASSWORD}-not"));
    log_in(Config::new(), &all.url(), &mut said);
    log_in(theirs, &all.url(), &mut said);
    assert!(said.0.contains("WRONGPASS"), "{}", said.0);
    is_clean(&said.0);
    is_clean(&logged());
}

#[test]
#[cfg(feature = "tls")]
fn passwords_and_keys_are_not_repeated_over_tls() {
    collect_logs();
    let authority = support::Authority::new();
    authority.issue("server", "DNS:localhost,IP:127.0.0.1", 30);
    authority.issue("client", "DNS:client", 30);
    let server = Server::with_tls(&authority.server("server", "yes"), &[]);
    let_in(&server);
    let key_file = authority.file("client.key");
    let key = std::fs::read_to_string(&key_file).unwrap();
    let secrets: Vec<&str> = key.lines().filter(|line| !line.starts_with("--")).collect();
    let config = Config::new()
        .tls_ca(authority.ca())
        .tls_cert(authority.file("client.crt"));
    let url = server.tls_url();
    let mut said = Said::default();
    log_in(config.clone().tls_key(&key_file), &url, &mut said);
    assert!(said.0.contains("WRONGPASS"), "{}", said.0);
    // A key that is torn, and one that stands where the certificate belongs.
    let torn = authority.write("torn.key", &key.replace("-----END", "----END"));
    let config = config.url(url);
    for bad in [
        config.clone().tls_key(torn),
        config.tls_key(&key_file).tls_cert(&key_file),
    ] {
        said.failed(Manager::open_config(&bad).and_then(|keep| keep.ping()));
        said.note(&bad);
    }
    is_clean(&said.0);
    said.has_none_of(&secrets);
}

#[test]
fn passwords_that_are_asked_for_are_not_repeated() {
    collect_logs();
    let server = Server::start();
    let_in(&server);
    let mut said = Said::default();
    for password in [CANARY_PASSWORD.to_owned(), format!("{CANARY_PASSWORD}-not")] {
        let file = server.folder().join("credentials");
        std::fs::write(&file, format!("ann\n{password}\n")).unwrap();
        said.note(&Credentials::new(password.clone()).username("ann"));
        let provider = move || Ok(Credentials::new(password.clone()).username("ann"));
        let config = told(Config::new()).url(server.url());
        for config in [
            config.clone().credentials_provider(provider),
            config.credentials_file(file.to_str().unwrap()),
        ] {
            let keep = Manager::open_config(&config).unwrap();
            said.note(&config);
            for result in [keep.ping(), keep.rotate_credentials(), keep.set("a", 1)] {
                if let Err(error) = result {
                    said.0 += &whole(&error);
                }
            }
            said.note(&keep);
            said.stats(&keep);
        }
    }
    assert!(said.0.contains("WRONGPASS"), "{}", said.0);
    is_clean(&said.0);
    is_clean(&logged());
}
