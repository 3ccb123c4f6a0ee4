//! Peers that say what does not make sense, and urls that do not fit.

use crate::*;

/// A peer that says its map and answers GET as told.
fn liar(
    map: impl Fn(u16) -> String + Send + Sync + 'static,
    get: impl Fn(u16) -> String + Send + Sync + 'static,
) -> Peer {
    node("ok", map, move |name, port| match name {
        "GET" => get(port).into(),
        _ => "+OK\r\n".into(),
    })
}

/// A peer that says this state of its cluster and its map, and answers commands as told.
fn node(
    state: &'static str,
    map: impl Fn(u16) -> String + Send + Sync + 'static,
    answer: impl Fn(&str, u16) -> Answer + Send + Sync + 'static,
) -> Peer {
    Peer::knowing_its_port(move |port| {
        move |request: &[Vec<u8>]| -> Answer {
            if let Some(text) = polite(request) {
                return text.into();
            }
            match String::from_utf8_lossy(&request[0]).to_uppercase().as_str() {
                "CLUSTER" if request[1].eq_ignore_ascii_case(b"INFO") => {
                    let info = format!("cluster_state:{state}");
                    format!("${}\r\n{info}\r\n", info.len()).into()
                }
                "CLUSTER" => map(port).into(),
                name => answer(name, port),
            }
        }
    })
}

/// All slots are its own.
fn all_mine(port: u16) -> String {
    format!("*1\r\n{}", row(0, 16383, "", port))
}

fn row(first: u16, last: u16, host: &str, port: u16) -> String {
    let host = format!("${}\r\n{host}\r\n", host.len());
    format!("*3\r\n:{first}\r\n:{last}\r\n*3\r\n{host}:{port}\r\n$2\r\nid\r\n")
}

fn open_at(peer: &Peer) -> Manager {
    let url = format!("redis+cluster://{}?command_timeout=600ms", peer.address());
    Manager::open(&url).unwrap()
}

#[track_caller]
fn in_time<T>(call: impl FnOnce() -> T) -> T {
    takes_at_most(Duration::from_millis(850), call)
}

#[test]
fn redirections_are_counted_and_each_is_a_try() {
    // The second answer is the right one.
    let times = Arc::new(AtomicUsize::new(0));
    let count = times.clone();
    let peer = liar(all_mine, move |port| {
        match count.fetch_add(1, Ordering::Relaxed) % 2 {
            0 => format!("-MOVED 12182 127.0.0.1:{port}\r\n"),
            _ => "$2\r\nhi\r\n".into(),
        }
    });
    let tries = Arc::new(AtomicUsize::new(0));
    let told = tries.clone();
    let config = Config::new()
        .url(format!("redis+cluster://{}", peer.address()))
        .command_hook(
            |_| (),
            move |(), end| {
                told.fetch_add(end.tries as usize, Ordering::Relaxed);
            },
        );
    let keep = Manager::open_config(&config).unwrap();
    assert_eq!(keep.get::<String>("foo").unwrap().as_deref(), Some("hi"));
    let mut pipe = keep.pipeline();
    pipe.command(("GET", "foo")).unwrap();
    let (value,): (String,) = pipe.query().unwrap();
    assert_eq!(value, "hi");
    let stats = keep.stats();
    assert_eq!(
        (&stats["redirects"], &stats["retries"]),
        (&2.into(), &2.into())
    );
    assert_eq!(
        tries.load(Ordering::Relaxed),
        2,
        "a pipeline that is taken apart counts none"
    );
}

#[test]
fn a_refusal_in_the_end_does_not_take_back_a_doubt_of_before() {
    let first = AtomicBool::new(true);
    let peer = node("ok", all_mine, move |name, _| match name {
        "SET" if first.swap(false, Ordering::SeqCst) => Answer::Last(Vec::new()),
        "SET" => "-TRYAGAIN later\r\n".into(),
        _ => "+OK\r\n".into(),
    });
    let keep = open_at(&peer);
    let mut pipe = keep.pipeline();
    pipe.command(("SET", "foo", 1)).unwrap();
    let error = match pipe.execute() {
        Ok(replies) => replies.get::<String>(0).unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.outcome(), Outcome::Unknown, "{error:?}");
    assert!(peer.requests("SET") > 2);
}

#[test]
fn a_node_that_is_cut_off_is_believed_only_where_no_other_answers() {
    let says = |text: &'static str| move |_: &str, _: u16| Answer::from(text);
    let cut_off = node("fail", all_mine, says("$3\r\nold\r\n"));
    let well = node("ok", all_mine, says("$3\r\nnew\r\n"));
    let url = format!("redis+cluster://{},{}", cut_off.address(), well.address());
    let keep = Manager::open(&url).unwrap();
    assert_eq!(keep.get::<String>("a").unwrap().as_deref(), Some("new"));
    let keep = open_at(&cut_off);
    assert_eq!(keep.get::<String>("a").unwrap().as_deref(), Some("old"));
}

#[test]
fn what_does_not_make_sense_is_told() {
    // An empty host is the host that was asked.
    let peer = liar(
        |port| format!("*1\r\n{}", row(0, 16383, "", port)),
        |_| "$2\r\nhi\r\n".into(),
    );
    assert_eq!(
        open_at(&peer).get::<String>("a").unwrap().as_deref(),
        Some("hi")
    );

    let told = |peer: &Peer, key: &str| {
        let keep = open_at(peer);
        let error = in_time(|| keep.get::<String>(key)).unwrap_err();
        (error.kind(), error.to_string())
    };
    let gap = liar(
        |port| format!("*1\r\n{}", row(0, 9, "", port)),
        |_| "$-1\r\n".into(),
    );
    let (kind, text) = told(&gap, "foo");
    assert_eq!(kind, ErrorKind::Cluster);
    assert!(
        text.contains("slot 12182") && text.contains(&gap.address()),
        "{text}"
    );

    let twice = liar(
        |port| {
            format!(
                "*2\r\n{}{}",
                row(0, 9000, "", port),
                row(9000, 16383, "", port + 1)
            )
        },
        |_| "$-1\r\n".into(),
    );
    let (kind, text) = told(&twice, "foo");
    assert_eq!(kind, ErrorKind::Cluster);
    assert!(text.contains("slot 9000 belongs to"), "{text}");

    let nobody = liar(
        |_| format!("*1\r\n{}", row(0, 16383, "127.0.0.1", 1)),
        |_| "$-1\r\n".into(),
    );
    let (kind, text) = told(&nobody, "foo");
    assert_eq!(kind, ErrorKind::Connect);
    assert!(text.contains("127.0.0.1:1"), "{text}");

    let round = liar(
        |port| format!("*1\r\n{}", row(0, 16383, "", port)),
        |port| format!("-MOVED 12182 127.0.0.1:{port}\r\n"),
    );
    let (kind, text) = told(&round, "foo");
    assert_eq!(kind, ErrorKind::Cluster);
    assert!(
        text.contains("redirected 5 times") && text.contains("MOVED 12182"),
        "{text}"
    );
    assert_eq!(round.requests("GET"), 6);

    let babble = liar(|_| "*1\r\n+what\r\n".into(), |_| "$-1\r\n".into());
    let (_, text) = told(&babble, "foo");
    assert!(text.contains("names no slots"), "{text}");

    let moved_nowhere = liar(
        |port| format!("*1\r\n{}", row(0, 16383, "", port)),
        |_| "-MOVED what 127.0.0.1\r\n".into(),
    );
    let (kind, text) = told(&moved_nowhere, "foo");
    assert_eq!(kind, ErrorKind::Cluster);
    assert!(text.contains("MOVED what"), "{text}");
}

#[test]
fn a_cluster_url_at_a_single_server_and_the_reverse_are_told() {
    let server = Server::start();
    let keep = Manager::open(&format!("redis+cluster://{}", server.address())).unwrap();
    let error = keep.get::<String>("a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let text = error.to_string();
    assert!(
        text.contains(&server.address()) && text.contains("not part of a cluster"),
        "{text}"
    );
    assert!(!keep.initialize());
    assert!(!keep.health_check(None).unwrap().healthy);

    let cluster = Cluster::small();
    let keep = Manager::open(&cluster.nodes[0].url()).unwrap();
    let key = key_in(16000..16384, "key");
    let error = keep.get::<String>(&key).unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Cluster, Some("MOVED"))
    );
    assert!(error.to_string().contains("redis+cluster://"), "{error}");
    let url = cluster.url();
    let seeds = url.split('?').next().unwrap();
    let with_db = Manager::open(&format!("{seeds}/3")).unwrap();
    let error = with_db.get::<String>(&key).unwrap_err();
    assert!(error.to_string().contains("SELECT"), "{error}");
}

#[test]
fn seeds_that_do_not_answer_are_passed_over() {
    let cluster = Cluster::small();
    let hole = support::Proxy::to(cluster.nodes[0].address());
    hole.set(support::Way::Both, support::Fault::BlackHole);
    let seeds = format!(
        "redis+cluster://{},127.0.0.1:1,{}",
        hole.address(),
        cluster.nodes[2].address()
    );
    let keep = Manager::open(&seeds).unwrap();
    takes_at_most(Duration::from_secs(1), || keep.set("a", 1).unwrap());
    let only = format!(
        "redis+cluster://{},127.0.0.1:1?command_timeout=500ms",
        hole.address()
    );
    let keep = Manager::open(&only).unwrap();
    let error = takes_at_most(Duration::from_millis(750), || keep.set("a", 1).unwrap_err());
    assert_eq!(error.outcome(), Outcome::NotSent);
    // Closing ends who waits for an answer.
    thread::scope(|scope| {
        let keep = Manager::open(&format!("redis+cluster://{}", hole.address())).unwrap();
        let clone = keep.clone();
        let waiting = scope.spawn(move || clone.get::<String>("a"));
        thread::sleep(Duration::from_millis(100));
        let error = takes_at_most(Duration::from_secs(1), || {
            keep.close(Duration::from_secs(5)).unwrap();
            waiting.join().unwrap().unwrap_err()
        });
        assert_eq!(error.kind(), ErrorKind::Closed);
    });
}

#[test]
fn a_thousand_redirections_make_few_rounds() {
    let cluster = Cluster::small();
    let keep = with(&cluster, |config| config.max_connections(16));
    let keys: Vec<String> = (0..64).map(|i| format!("{{storm}}{i}")).collect();
    keep.mset(keys.iter().map(|key| (key, 1))).unwrap();
    let at = slot("storm");
    let from = cluster.primary_of(at);
    let asked = |cluster: &Cluster| -> u64 {
        cluster
            .nodes
            .iter()
            .map(|node| node.command_calls("cluster|slots"))
            .sum()
    };
    cluster.move_slot(at, from, (from + 1) % 3);
    let before = asked(&cluster);
    thread::scope(|scope| {
        for key in &keys {
            let keep = &keep;
            scope.spawn(move || {
                for _ in 0..20 {
                    assert_eq!(keep.get::<i64>(key).unwrap(), Some(1));
                }
            });
        }
    });
    wait_until(PATIENCE, || asked(&cluster) > before);
    let rounds = asked(&cluster) - before;
    assert!((1..20).contains(&rounds), "{rounds}");
}
