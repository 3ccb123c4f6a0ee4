//! Eight nodes with 32 threads each, all of them down at once and back at once: nobody storms them, and the log stays
//! readable.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use redkeep::{Config, ErrorKind, Manager, NodeState, Outcome};

use super::case::{BUSY, Baseline, Case, Ending, whole};
use crate::support::{PATIENCE, Proxy, Server, wait_until};

const NODES: usize = 8;
const THREADS: usize = 32;
const SLOTS: usize = 10;
const TIME: Duration = Duration::from_secs(1);

/// Every line that would be logged.
struct Lines(Mutex<Vec<String>>);

static LINES: Lines = Lines(Mutex::new(Vec::new()));

impl Lines {
    fn all(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().expect("no panic inside")
    }
}

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.all().push(record.args().to_string());
    }

    fn flush(&self) {}
}

#[test]
fn eight_nodes_that_go_down_and_come_back_are_not_stormed() {
    let name = "faults::crowd::eight_nodes_that_go_down_and_come_back_are_not_stormed";
    let Some(case) = Case::alone(name) else {
        return;
    };
    log::set_logger(&LINES).unwrap();
    log::set_max_level(log::LevelFilter::Info);
    for lines in [0, 2] {
        if whole() || case.dice(0).below(2) == lines / 2 {
            crowd(&case, lines as usize);
        }
    }
    case.end(BUSY);
}

fn crowd(case: &Case, lines: usize) {
    let down_for = Duration::from_secs(if whole() { 30 } else { 4 });
    let servers: Vec<Server> = (0..NODES).map(|_| Server::start()).collect();
    let proxies: Vec<Proxy> = servers.iter().map(|it| Proxy::to(it.address())).collect();
    let before = Baseline::now();
    // A manager for each: their commands take lines, which a named node's leases do not.
    let keeps: Vec<Manager> = (proxies.iter())
        .map(|proxy| {
            let config = Config::new().url(proxy.url()).shared_lines(lines);
            let config = config.max_connections(SLOTS).command_timeout(TIME);
            Manager::open_config(&config).expect("a config of ours")
        })
        .collect();
    LINES.all().clear();
    let over = AtomicBool::new(false);
    let counts = || (0..NODES).map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
    let (good, late) = (counts(), counts());
    thread::scope(|scope| {
        let ending = Ending(&over);
        for n in 0..NODES * THREADS {
            let (keep, good, over) = (&keeps[n % NODES], &good[n % NODES], &over);
            let late = &late[n % NODES];
            scope.spawn(move || {
                while !over.load(Relaxed) {
                    match case.call("incr", TIME, || keep.incr("n", 1)) {
                        Ok(_) => _ = good.fetch_add(1, Relaxed),
                        Err(error) if error.kind() == ErrorKind::NoHealthyPools => {
                            if error.outcome() != Outcome::NotSent {
                                case.mismatch(format!("{error:?}"));
                            }
                        }
                        Err(error) if error.kind() == ErrorKind::Timeout => {
                            late.fetch_add(1, Relaxed);
                        }
                        Err(_) => {}
                    }
                    // Many threads on few processors: not to measure those.
                    thread::sleep(Duration::from_millis(20));
                }
            });
        }
        let all_more = || {
            let goals: Vec<u64> = good.iter().map(|count| count.load(Relaxed) + 20).collect();
            wait_until(PATIENCE * 3, || {
                (good.iter().zip(&goals)).all(|(count, goal)| count.load(Relaxed) >= *goal)
            });
        };
        all_more();
        proxies.iter().for_each(|proxy| proxy.refuse_new(true));
        proxies.iter().for_each(Proxy::cut_all);
        let is_down = |keep: &Manager| keep.fetch_pool_status().nodes[0].state == NodeState::Down;
        wait_until(PATIENCE, || keeps.iter().all(is_down));
        // Who was under way to the node at that moment still arrives there.
        thread::sleep(Duration::from_secs(1));
        assert!(keeps.iter().all(is_down));
        let count = |of: fn(&Proxy) -> u64| proxies.iter().map(of).collect::<Vec<_>>();
        let (tried, since) = (count(Proxy::refused), Instant::now());
        thread::sleep(down_for);
        let seconds = since.elapsed().as_secs_f64();
        for (now, before) in count(Proxy::refused).iter().zip(&tried) {
            let tries = now - before;
            let most = (seconds * 2.0).ceil() as u64;
            println!("down for {seconds:.1} s: {tries} connects");
            // And one that was under way when the counting began.
            assert!((1..=most + 1).contains(&tries), "{tries}, not {most}");
        }
        let connected = count(Proxy::accepted);
        let were_late: Vec<u64> = late.iter().map(|count| count.load(Relaxed)).collect();
        proxies.iter().for_each(Proxy::heal);
        let back = Instant::now();
        all_more();
        println!("back, and served 20 calls each, after {:?}", back.elapsed());
        for (n, (now, before)) in count(Proxy::accepted).iter().zip(&connected).enumerate() {
            let opened = (now - before) as usize;
            // What ended at a deadline, on a machine that is out of breath, costs a connection.
            let lost = late[n].load(Relaxed) - were_late[n];
            // The health check's, and as many as may be open at once; none is opened twice.
            let most = 1 + SLOTS + lines + lost as usize;
            println!("back: {opened} connects");
            assert!(opened <= most, "{opened}, not {most}");
        }
        drop(ending);
    });
    let logged = LINES.all().clone();
    for proxy in &proxies {
        let of_it = logged.iter().filter(|line| line.contains(&proxy.address()));
        let count = of_it.count();
        // One for each ten seconds that were begun.
        let most = 1 + (down_for.as_secs() + 10) as usize / 10;
        println!("{count} lines in the log");
        assert!((1..=most).contains(&count), "{logged:#?}");
    }
    for (server, good) in servers.iter().zip(&good) {
        let counted: u64 = server.ask(&["GET", "n"]);
        assert!(
            counted >= good.load(Relaxed),
            "acknowledged and not counted"
        );
    }
    keeps.iter().for_each(|keep| keep.close(PATIENCE).unwrap());
    drop(keeps);
    before.is_back();
}
