//! A process that forks: the child has a manager of its own, and the parent keeps what it had.

mod support;

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use redkeep::{Config, ErrorKind, Manager, Outcome};
use support::{PATIENCE, Server, alone, came_true, threads, wait_until};

fn open(server: &Server) -> Manager {
    let config = Config::new().url(server.url()).max_connections(4);
    Manager::open_config(&config).expect("a url of ours")
}

/// A forked child, which runs `work` and leaves with what it returns: 0 is well.
struct Child {
    pid: i32,
    says: RawFd,
}

impl Child {
    fn run(work: impl FnOnce() -> Result<(), String>) -> Child {
        let mut ends = [0; 2];
        // SAFETY: two descriptors are written to a live array.
        assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
        // SAFETY: the child runs what is under test, and leaves by _exit() whatever happens.
        match unsafe { libc::fork() } {
            0 => {
                let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
                let text = match &result {
                    Ok(Ok(())) => String::new(),
                    Ok(Err(text)) => text.clone(),
                    Err(_) => "a panic".to_owned(),
                };
                // SAFETY: the pointer and the length are those of one live text; _exit() ends the child at once.
                unsafe {
                    libc::write(ends[1], text.as_ptr().cast(), text.len());
                    libc::_exit(i32::from(!text.is_empty()))
                }
            }
            pid => {
                assert!(pid > 0, "fork");
                // SAFETY: our own descriptor.
                unsafe { libc::close(ends[1]) };
                Child { pid, says: ends[0] }
            }
        }
    }

    /// Waits for its end, 20 seconds at most; what it said is the test's failure.
    #[track_caller]
    fn join(self) {
        let deadline = Instant::now() + PATIENCE * 2;
        let mut status = 0;
        loop {
            // SAFETY: our own child.
            let done = unsafe { libc::waitpid(self.pid, &mut status, libc::WNOHANG) };
            if done == self.pid {
                break;
            }
            if Instant::now() > deadline {
                // SAFETY: as above.
                unsafe { libc::kill(self.pid, libc::SIGKILL) };
                panic!("the child hangs");
            }
            thread::sleep(Duration::from_millis(2));
        }
        let mut text = [0u8; 4096];
        // SAFETY: the pointer and the length are those of one live array; the descriptor is ours.
        let n = unsafe { libc::read(self.says, text.as_mut_ptr().cast(), text.len()) };
        // SAFETY: as above.
        unsafe { libc::close(self.says) };
        let text = String::from_utf8_lossy(&text[..n.max(0) as usize]);
        assert_eq!(status, 0, "the child said: {text}");
    }
}

fn told<T>(result: redkeep::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{error:?}"))
}

fn holds(condition: bool, what: &str) -> Result<(), String> {
    match condition {
        true => Ok(()),
        false => Err(what.to_owned()),
    }
}

#[test]
fn children_of_a_busy_parent_work_and_the_parent_notices_nothing() {
    if !alone("children_of_a_busy_parent_work_and_the_parent_notices_nothing") {
        return;
    }
    let server = Server::start();
    let keep = open(&server);
    let over = AtomicBool::new(false);
    let calls = AtomicU64::new(0);
    thread::scope(|scope| {
        for n in 0..4 {
            let (keep, over, calls) = (&keep, &over, &calls);
            scope.spawn(move || {
                for round in 0u64.. {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    let tag = format!("parent {n} {round}");
                    let back: String = keep.command(("ECHO", &tag)).unwrap();
                    assert_eq!(back, tag);
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut children = Vec::new();
            for n in 0..20 {
                let before = calls.load(Ordering::Relaxed);
                wait_until(PATIENCE, || calls.load(Ordering::Relaxed) > before + 20);
                let keep = &keep;
                children.push(Child::run(move || {
                    for round in 0..20 {
                        let (key, value) = (format!("child {n}"), format!("{n} {round}"));
                        told(keep.set(&key, &value))?;
                        let back: Option<String> = told(keep.get(&key))?;
                        holds(back.as_deref() == Some(&value), "another one's reply")?;
                    }
                    holds(keep.is_enabled(), "not enabled")?;
                    let node = &keep.fetch_pool_status().nodes[0];
                    holds(
                        (node.lines[0].opened, node.pools[0].opened) == (1, 0),
                        "not a connection of its own",
                    )?;
                    told(keep.close(PATIENCE))?;
                    // The kernel lists a thread for a moment after it was joined.
                    let gone = || threads().iter().all(|name| name == "redkeep-slots");
                    holds(came_true(PATIENCE, gone), "threads")
                }));
            }
            children.into_iter().for_each(Child::join);
        }));
        over.store(true, Ordering::Relaxed);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
    assert_eq!(keep.stats()["errors"], 0);
    assert_eq!(keep.fetch_pool_status().nodes[0].pools[0].closed, 0);
}

#[test]
fn a_lease_stays_with_the_process_that_took_it() {
    if !alone("a_lease_stays_with_the_process_that_took_it") {
        return;
    }
    let server = Server::start();
    let keep = open(&server);
    let mut lease = keep.client().dedicated().unwrap();
    lease.command::<()>("MULTI").unwrap();
    lease.command::<()>(("SET", "a", 1)).unwrap();
    Child::run(|| {
        let Err(error) = lease.command::<()>(("SET", "a", "child")) else {
            return Err("the child may use the lease".to_owned());
        };
        holds(error.kind() == ErrorKind::Closed, &format!("{error:?}"))?;
        holds(error.outcome() == Outcome::NotSent, &format!("{error:?}"))?;
        let text = format!("{lease:?} {}", lease.node());
        holds(!text.is_empty(), "nameless")?;
        // SAFETY: the child never uses this copy again.
        drop(unsafe { std::ptr::read(&lease) });
        let mut own = told(keep.client().dedicated())?;
        told(own.command::<()>("PING"))
    })
    .join();
    let done: (String,) = lease.command("EXEC").unwrap();
    assert_eq!(done.0, "OK");
    drop(lease);
    assert_eq!(keep.get::<i64>("a").unwrap(), Some(1));
}

#[test]
fn what_was_closed_is_closed_in_the_child() {
    if !alone("what_was_closed_is_closed_in_the_child") {
        return;
    }
    let (server, other) = (Server::start(), Server::start());
    let keep = open(&server);
    keep.add_node_pool(&other.url()).unwrap();
    keep.close_node_pools(&other.url()).unwrap();
    Child::run(|| {
        told(keep.ping())?;
        match keep.get_client(&other.url()) {
            Err(error) if error.kind() == ErrorKind::UnknownNode => {}
            other => return Err(format!("{other:?}")),
        }
        told(keep.add_node_pool(&other.url()))?;
        told(keep.get_client(&other.url())).map(drop)
    })
    .join();
    assert!(keep.get_client(&other.url()).is_err());
    keep.close(PATIENCE).unwrap();
    wait_until(PATIENCE, || server.connections() + other.connections() == 0);
    Child::run(|| {
        for result in [
            keep.ping(),
            keep.set("a", 1),
            keep.client().dedicated().map(drop),
        ] {
            match result {
                Err(error) if error.kind() == ErrorKind::Closed => {}
                other => return Err(format!("{other:?}")),
            }
        }
        let running = threads();
        let looking = running.iter().any(|name| name != "redkeep-slots");
        holds(!looking, &format!("{running:?}"))?;
        told(keep.close(PATIENCE))
    })
    .join();
}

#[test]
fn nodes_that_were_added_are_there_in_the_child() {
    if !alone("nodes_that_were_added_are_there_in_the_child") {
        return;
    }
    let (server, other) = (Server::start(), Server::start());
    let keep = open(&server);
    keep.add_node_pool(&other.url()).unwrap();
    let url = other.url();
    Child::run(|| {
        holds(!keep.is_enabled(), "no contact yet, and enabled")?;
        let mut lease = told(keep.get_client(&url))?;
        told(lease.command::<()>(("SET", "from", "child")))?;
        holds(keep.fetch_pool_status().nodes.len() == 2, "nodes")
    })
    .join();
    assert_eq!(other.ask::<String>(&["GET", "from"]), "child");
}

#[test]
fn a_child_that_ends_closes_nothing_of_the_parents() {
    if !alone("a_child_that_ends_closes_nothing_of_the_parents") {
        return;
    }
    let server = Server::start();
    let keep = open(&server);
    let leases: Vec<_> = (0..3).map(|_| keep.client().dedicated().unwrap()).collect();
    drop(leases);
    let before = server.connections();
    for n in 0..5 {
        let copy = keep.clone();
        Child::run(|| {
            if n % 2 == 0 {
                told(keep.ping())?;
                keep.disconnect();
            }
            if n % 3 == 0 {
                told(keep.close(PATIENCE))?;
            }
            // The child's copy of the last handle: only its own things may end with it.
            // SAFETY: the child never uses these copies again.
            drop(unsafe { (std::ptr::read(&keep), std::ptr::read(&copy)) });
            Ok(())
        })
        .join();
    }
    wait_until(PATIENCE, || server.connections() == before);
    for _ in 0..20 {
        keep.incr("n", 1).unwrap();
    }
    let pool = keep.fetch_pool_status().nodes[0].pools[0];
    assert_eq!((pool.opened, pool.closed), (3, 0));
}

#[test]
fn grandchildren_have_one_of_their_own_too() {
    if !alone("grandchildren_have_one_of_their_own_too") {
        return;
    }
    let server = Server::start();
    let keep = open(&server);
    keep.set("a", 0).unwrap();
    let id = || keep.command::<i64>(("CLIENT", "ID"));
    let mine = id().unwrap();
    Child::run(|| {
        let childs = told(id())?;
        holds(childs != mine, "the parent's connection")?;
        let grandchild = Child::run(|| {
            let own = told(id())?;
            holds(own != mine && own != childs, "an ancestor's connection")?;
            told(keep.incr("a", 1)).map(drop)
        });
        grandchild.join();
        holds(told(id())? == childs, "another connection than before")?;
        told(keep.incr("a", 1)).map(drop)
    })
    .join();
    assert_eq!(id().unwrap(), mine);
    assert_eq!(keep.get::<i64>("a").unwrap(), Some(2));
}

#[test]
fn a_fork_while_others_wait_for_connections_is_harmless() {
    if !alone("a_fork_while_others_wait_for_connections_is_harmless") {
        return;
    }
    let server = Server::start();
    let config = Config::new().url(server.url()).max_connections(1);
    let keep = Manager::open_config(&config).unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    keep.incr("n", 1).unwrap();
                    let _ = (keep.stats(), keep.fetch_pool_status());
                }
            });
        }
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..20 {
                Child::run(|| {
                    told(keep.incr("child", 1))?;
                    let _ = keep.stats();
                    told(keep.close(PATIENCE))
                })
                .join();
            }
        }));
        over.store(true, Ordering::Relaxed);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
    assert_eq!(keep.get::<i64>("child").unwrap(), Some(20));
}

#[test]
fn a_child_whose_server_is_gone_hears_the_cause() {
    if !alone("a_child_whose_server_is_gone_hears_the_cause") {
        return;
    }
    let mut server = Server::start();
    let keep = open(&server);
    keep.ping().unwrap();
    server.kill();
    assert!(keep.ping().is_err());
    Child::run(|| match keep.ping() {
        Err(error) if error.kind() == ErrorKind::Connect => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .join();
    server.restart();
    wait_until(PATIENCE, || keep.ping().is_ok());
}

#[test]
fn a_child_of_a_parent_with_many_nodes_works() {
    if !alone("a_child_of_a_parent_with_many_nodes_works") {
        return;
    }
    // Each node makes its slots anew in the child, while the thread that makes them waits in between.
    let server = Server::start();
    let keep = open(&server);
    let urls: Vec<String> = (1..5).map(|db| format!("{}/{db}", server.url())).collect();
    for url in &urls {
        keep.add_node_pool(url).unwrap();
    }
    for _ in 0..5 {
        Child::run(|| {
            told(keep.incr("n", 1))?;
            for url in &urls {
                told(told(keep.get_client(url))?.command::<i64>(("INCR", "n")))?;
            }
            told(keep.close(PATIENCE))
        })
        .join();
    }
    assert_eq!(keep.get::<i64>("n").unwrap(), Some(5));
}

/// Children that are made while `work` runs in the parent's threads: each must end by itself, and well.
fn fork_meanwhile(
    times: usize,
    threads: usize,
    work: impl Fn(usize) + Sync,
    child: impl Fn(usize) -> Result<(), String>,
) {
    let over = AtomicBool::new(false);
    let rounds: Vec<AtomicU64> = (0..threads).map(|_| AtomicU64::new(0)).collect();
    thread::scope(|scope| {
        for (n, round) in rounds.iter().enumerate() {
            let (over, work) = (&over, &work);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    work(n);
                    round.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_until(PATIENCE, || {
                rounds.iter().all(|round| round.load(Ordering::Relaxed) > 0)
            });
            for n in 0..times {
                Child::run(|| child(n)).join();
            }
        }));
        over.store(true, Ordering::Relaxed);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Eight threads of a child, each of which reads what it wrote.
fn eight_threads_work(keep: &Manager, n: usize) -> Result<(), String> {
    thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|worker| {
                scope.spawn(move || {
                    for round in 0..4 {
                        let key = format!("child {n} {worker}");
                        let value = format!("{n} {worker} {round}");
                        told(keep.set(&key, &value))?;
                        let back: Option<String> = told(keep.get(&key))?;
                        holds(back.as_deref() == Some(&value), "another one's reply")?;
                        if worker == 0 {
                            let _ = (keep.stats(), keep.fetch_pool_status());
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| {
            let ended = worker.join();
            ended.unwrap_or_else(|_| Err("a worker panicked".to_owned()))
        })
    })
}

#[test]
fn a_hundred_forks_while_sixty_four_threads_wait_for_four_slots() {
    if !alone("a_hundred_forks_while_sixty_four_threads_wait_for_four_slots") {
        return;
    }
    let server = Server::start();
    // A few parents, since a grown process has other locks and stacks than a fresh one.
    for (parent, children) in [(0, 40), (1, 30), (2, 30)] {
        let keep = open(&server);
        let work = |n: usize| {
            let tag = format!("parent {parent} {n}");
            let back: String = keep.command(("ECHO", &tag)).unwrap();
            assert_eq!(back, tag);
            if n.is_multiple_of(8) {
                let _ = (keep.stats(), keep.fetch_pool_status());
            }
        };
        fork_meanwhile(children, 64, work, |n| {
            eight_threads_work(&keep, n)?;
            match n % 3 {
                0 => told(keep.close(PATIENCE)),
                _ => Ok(()),
            }
        });
        assert_eq!(keep.stats()["errors"], 0);
        support::figure(format!(
            "{children} children worked, the parent had 0 errors"
        ));
    }
}

#[test]
fn forks_while_managers_are_opened_and_closed_all_the_time() {
    if !alone("forks_while_managers_are_opened_and_closed_all_the_time") {
        return;
    }
    let server = Server::start();
    let keep = open(&server);
    keep.ping().unwrap();
    let work = |n: usize| {
        let fresh = open(&server);
        // Some are never used, and some are closed by their last handle.
        if n != 0 {
            fresh.ping().unwrap();
        }
        if n == 1 {
            fresh.close(PATIENCE).unwrap();
        }
    };
    fork_meanwhile(60, 3, work, |n| {
        eight_threads_work(&keep, n)?;
        // The child's own are as good as its parent's.
        let own = open(&server);
        eight_threads_work(&own, n)?;
        told(own.close(PATIENCE))?;
        told(keep.close(PATIENCE))
    });
    assert_eq!(keep.stats()["errors"], 0);
}

#[test]
fn a_child_that_lives_on_does_not_hold_up_the_end_of_an_embedded_server() {
    if !alone("a_child_that_lives_on_does_not_hold_up_the_end_of_an_embedded_server") {
        return;
    }
    let keep = Manager::open("embedded://").unwrap();
    keep.ping().unwrap();
    let started = Instant::now();
    let child = Child::run(|| {
        thread::sleep(PATIENCE);
        Ok(())
    });
    keep.close(PATIENCE / 2).unwrap();
    assert!(started.elapsed() < PATIENCE / 2);
    // SAFETY: our own child, which has nothing to say.
    unsafe { libc::kill(child.pid, libc::SIGKILL) };
}

#[test]
fn a_child_computes_for_itself_what_its_parent_computes() {
    if !alone("a_child_computes_for_itself_what_its_parent_computes") {
        return;
    }
    let server = Server::start();
    let keep = open(&server);
    let (started, has_started) = std::sync::mpsc::channel();
    let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
    let cache = keep.cache("rows").across_processes(false);
    thread::scope(|scope| {
        let cache = &cache;
        let parent = scope.spawn(move || {
            cache.get_or_compute(&1, || {
                started.send(()).expect("the main thread waits");
                may_go_on.recv().expect("the main thread says so");
                Ok::<_, redkeep::Error>("parent".to_owned())
            })
        });
        has_started.recv_timeout(PATIENCE).expect("it computes");
        let child = Child::run(|| {
            let made = || Ok::<_, redkeep::Error>("child".to_owned());
            match cache.get_or_compute(&1, made) {
                Ok(text) if text == "child" => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        child.join();
        go_on.send(()).expect("it waits for that");
        let made = parent.join().expect("no panic");
        assert_eq!(made.expect("a value"), "parent");
    });
}

#[test]
fn a_child_begins_with_an_empty_near_cache_of_its_own() {
    if !alone("a_child_begins_with_an_empty_near_cache_of_its_own") {
        return;
    }
    let server = Server::start();
    let keep = open(&server);
    let near = keep.near_cache(1 << 20);
    keep.set("a", "1").expect("an answer");
    for _ in 0..3 {
        near.get::<String>("a").expect("an answer");
    }
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        // Whoever reads meanwhile holds a lock of it now and then.
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                near.get::<String>("a").expect("an answer");
            }
        });
        for _ in 0..10 {
            let child = Child::run(|| {
                let before = told(near.stats())?;
                holds(before.hits + before.misses + before.entries == 0, "empty")?;
                for i in 0..20 {
                    told(keep.set("b", i))?;
                    holds(told(near.get::<i64>("b"))? == Some(i), "its own writes")?;
                    told(near.get::<i64>("b"))?;
                }
                let after = told(near.stats())?;
                holds(after.nodes == 1, "its own listener")
            });
            child.join();
        }
        over.store(true, Ordering::Relaxed);
    });
    let stats = near.stats().expect("an open manager");
    assert!(stats.hits > 2 && stats.nodes == 1, "{stats:?}");
    keep.set("a", "2").expect("an answer");
    assert_eq!(
        near.get::<String>("a").expect("an answer").as_deref(),
        Some("2")
    );
}
