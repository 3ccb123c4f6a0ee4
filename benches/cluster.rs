//! GET of 64 bytes on a cluster of three primaries: redkeep as it comes, the redis crate's cluster client under r2d2
//! with 16 (without its check on each checkout), and hiredis with a socket for each thread and node, which is told where
//! each key is. And what the slot map costs one thread: a GET on the cluster beside one on the same node as a server by
//! itself.
//!
//! `cargo bench --bench cluster`; QUICK=1 for a short run. The peers take turns, so that what slows one down slows all.
//! Prints medians over the rounds as Markdown.

#[path = "support/hiredis.rs"]
mod hiredis;
#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hiredis::Hiredis;
use redis::cluster::{ClusterClient, ClusterConnection};
use redkeep::Manager;
use support::{Cluster, slot};

const THREADS: [usize; 3] = [1, 16, 64];
const POOL: u32 = 16;
const KEYS: usize = 3000;
const WARM_UP: Duration = Duration::from_millis(200);

const WARM: u8 = 0;
const MEASURE: u8 = 1;
const STOP: u8 = 2;

/// The keys, each with the number of its node.
struct Keys(Vec<(String, usize)>);

/// What one thread does with the key of this number.
type Get<'a> = Box<dyn FnMut(usize) -> usize + 'a>;

struct Peer<'a> {
    name: &'static str,
    /// Made on each thread anew.
    make: Box<dyn Fn() -> Get<'a> + Sync + 'a>,
    rounds: Vec<Round>,
}

/// GETs a second, CPU time for each in microseconds, the 99th of a hundred in microseconds, sockets of this process.
type Round = [f64; 4];

fn cpu() -> f64 {
    // SAFETY: a struct of integers, which the call fills.
    let usage = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

fn thread_cpu() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes to a live place of the right type.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The connections that the nodes have, besides those of the cluster itself and of whoever asks.
fn sockets(cluster: &Cluster) -> usize {
    cluster.nodes.iter().map(support::Server::connections).sum()
}

fn measure(
    cluster: &Cluster,
    others: usize,
    threads: usize,
    time: Duration,
    peer: &Peer<'_>,
) -> Round {
    let phase = AtomicU8::new(WARM);
    let work = |mut at: usize| {
        let mut get = (peer.make)();
        let mut times: Vec<u32> = Vec::new();
        loop {
            let now = phase.load(Ordering::Relaxed);
            if now == STOP {
                return times;
            }
            // A walk over all keys, each thread from a place of its own.
            at = (at + 7) % KEYS;
            let started = Instant::now();
            assert_eq!(get(at), 64);
            if now == MEASURE {
                times.push(started.elapsed().as_nanos().min(u32::MAX.into()) as u32);
            }
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|n| scope.spawn(move || work(n * 131)))
            .collect();
        thread::sleep(WARM_UP);
        let (started, before) = (Instant::now(), cpu());
        phase.store(MEASURE, Ordering::Relaxed);
        thread::sleep(time);
        phase.store(WARM, Ordering::Relaxed);
        let (elapsed, used) = (started.elapsed(), cpu() - before);
        // While everybody is still at it.
        let open = sockets(cluster).saturating_sub(others);
        phase.store(STOP, Ordering::Relaxed);
        let mut all: Vec<u32> = Vec::new();
        for worker in workers {
            all.extend(worker.join().expect("a thread that does not panic"));
        }
        all.sort_unstable();
        let count = all.len() as f64;
        let slow = all.get(all.len() * 99 / 100).copied().unwrap_or_default();
        [
            count / elapsed.as_secs_f64(),
            used / count * 1e6,
            f64::from(slow) / 1e3,
            open as f64,
        ]
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The redis crate's cluster client, as its feature `r2d2` has it.
struct Theirs(ClusterClient);

impl r2d2::ManageConnection for Theirs {
    type Connection = ClusterConnection;
    type Error = redis::RedisError;

    fn connect(&self) -> Result<ClusterConnection, redis::RedisError> {
        self.0.get_connection()
    }

    fn is_valid(&self, connection: &mut ClusterConnection) -> Result<(), redis::RedisError> {
        match redis::ConnectionLike::check_connection(connection) {
            true => Ok(()),
            false => Err((redis::ErrorKind::Io, "broken").into()),
        }
    }

    fn has_broken(&self, connection: &mut ClusterConnection) -> bool {
        !redis::ConnectionLike::is_open(connection)
    }
}

fn many_threads(cluster: &Cluster, keys: &Keys, rounds: usize, time: Duration) {
    // By another one, whose connections are not counted.
    let filler = Manager::open(&cluster.url()).expect("a manager");
    filler
        .mset(keys.0.iter().map(|(key, _)| (key, [b'x'; 64].as_slice())))
        .expect("an answer");
    drop(filler);
    let keep = Manager::open(&cluster.url()).expect("a manager");
    let nodes = cluster.nodes[..3].iter().map(support::Server::url);
    let pool = r2d2::Pool::builder()
        .max_size(POOL)
        .test_on_check_out(false)
        .build(Theirs(ClusterClient::new(nodes).expect("addresses")))
        .expect("a pool");
    let mut peers = vec![
        Peer {
            name: "redkeep",
            make: Box::new(|| {
                Box::new(|at| {
                    let value: Option<Vec<u8>> = keep.get(&keys.0[at].0).expect("an answer");
                    value.map_or(0, |value| value.len())
                })
            }),
            rounds: Vec::new(),
        },
        Peer {
            name: "redis crate, r2d2 with 16",
            make: Box::new(|| {
                Box::new(|at| {
                    let mut connection = pool.get().expect("a connection");
                    let mut get = redis::cmd("GET");
                    let value: Vec<u8> = get
                        .arg(&keys.0[at].0)
                        .query(&mut *connection)
                        .expect("an answer");
                    value.len()
                })
            }),
            rounds: Vec::new(),
        },
    ];
    if Hiredis::is_here() {
        peers.push(Peer {
            name: "hiredis, a socket a thread and node",
            make: Box::new(|| {
                let connect = |node: &support::Server| Hiredis::connect("127.0.0.1", node.port());
                let mut own: Vec<Hiredis> = cluster.nodes[..3].iter().map(connect).collect();
                Box::new(move |at| {
                    let (key, node) = &keys.0[at];
                    own[*node].get(key)
                })
            }),
            rounds: Vec::new(),
        });
    }
    println!(
        "GET of 64 bytes over 3 primaries: medians of {rounds} rounds of {time:?}; in brackets redkeep / peer\n"
    );
    println!(
        "| threads | peer | GET/s | CPU us/GET | p99 us | most sockets | GET/s, least - most |"
    );
    println!("|---:|---|---:|---:|---:|---:|---:|");
    for threads in THREADS {
        for round in 0..rounds {
            // Each goes first in its turn.
            for turn in 0..peers.len() {
                let at = (round + turn) % peers.len();
                let peer = &mut peers[at];
                // What the other peers keep open is theirs; what they closed a server sees a moment later.
                thread::sleep(WARM_UP);
                let idle = sockets(cluster);
                let own = match at {
                    0 => lines_of(&keep),
                    1 => pool.state().connections as usize * 3,
                    _ => 0,
                };
                let round = measure(cluster, idle.saturating_sub(own), threads, time, peer);
                peer.rounds.push(round);
            }
        }
        let figure = |peer: &Peer<'_>, at: usize| {
            median(peer.rounds.iter().map(|round| round[at]).collect())
        };
        for peer in &peers {
            let cell = |at: usize, decimals: usize| {
                let value = figure(peer, at);
                let ratio = figure(&peers[0], at) / value;
                format!("{value:.decimals$} ({ratio:.2})")
            };
            let rates = || peer.rounds.iter().map(|round| round[0]);
            let (slowest, quickest) = (
                rates().fold(f64::MAX, f64::min),
                rates().fold(0.0, f64::max),
            );
            let most = peer.rounds.iter().map(|round| round[3]).fold(0.0, f64::max);
            println!(
                "| {threads} | {} | {} | {} | {} | {most} | {slowest:.0} - {quickest:.0} |",
                peer.name,
                cell(0, 0),
                cell(1, 2),
                cell(2, 1)
            );
        }
        peers.iter_mut().for_each(|peer| peer.rounds.clear());
    }
}

/// The sockets that a manager has open.
fn lines_of(keep: &Manager) -> usize {
    let status = keep.fetch_pool_status();
    let of = |node: &redkeep::NodeStatus| -> usize {
        let pools = node.pools.iter().map(|pool| pool.in_use + pool.idle);
        let lines = node.lines.iter().filter(|line| line.open).count();
        pools.sum::<usize>() + lines
    };
    status.nodes.iter().map(of).sum()
}

/// What one thread pays for the slot map.
fn one_thread(cluster: &Cluster, keys: &Keys, rounds: usize) {
    let (one, all) = (
        Manager::open(&cluster.nodes[0].url()).expect("a manager"),
        Manager::open(&cluster.url()).expect("a manager"),
    );
    let (key, _) = keys
        .0
        .iter()
        .find(|(_, node)| *node == 0)
        .expect("a key of each node");
    let taken = |keep: &Manager| {
        let before = thread_cpu();
        for _ in 0..4000 {
            let value: Option<Vec<u8>> = keep.get(key).expect("an answer");
            assert_eq!(value.map_or(0, |value| value.len()), 64);
        }
        (thread_cpu() - before) / 4000.0 * 1e6
    };
    taken(&one);
    taken(&all);
    let pairs: Vec<(f64, f64)> = (0..rounds).map(|_| (taken(&one), taken(&all))).collect();
    println!("\n| one thread | CPU us/GET |\n|---|---:|");
    println!(
        "| a server by itself | {:.2} |",
        median(pairs.iter().map(|p| p.0).collect())
    );
    println!(
        "| the same as part of a cluster | {:.2} |",
        median(pairs.iter().map(|p| p.1).collect())
    );
    println!(
        "| ratio | {:.3} |",
        median(pairs.iter().map(|p| p.1 / p.0).collect())
    );
}

fn main() {
    let quick = std::env::var_os("QUICK").is_some_and(|quick| !quick.is_empty());
    let (rounds, time) = match quick {
        true => (3, Duration::from_millis(300)),
        false => (9, Duration::from_secs(1)),
    };
    let cluster = Cluster::of(3, &[]);
    let place = |i: usize| {
        let key = format!("key:{i}");
        let node = cluster.primary_of(slot(&key));
        (key, node)
    };
    // Which node has which slot is asked once: three of them, in thirds.
    let thirds = |i: usize| {
        let key = format!("key:{i}");
        let at = usize::from(slot(&key));
        let node = (0..3).find(|n| at < (n + 1) * 16384 / 3).expect("a third");
        (key, node)
    };
    assert_eq!(place(0), thirds(0));
    let keys = Keys((0..KEYS).map(thirds).collect());
    many_threads(&cluster, &keys, rounds, time);
    one_thread(&cluster, &keys, if quick { 15 } else { 61 });
}
