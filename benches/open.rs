//! What it costs to open a manager and get the first answer, beside the redis crate under r2d2 as it comes.
//!
//! `cargo bench --bench open`. The peers take turns, so that what slows one down slows all; medians are printed.

use std::any::Any;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redkeep::Manager;

const ROUNDS: usize = 200;

struct Server {
    process: Child,
    folder: PathBuf,
    port: u16,
}

impl Server {
    fn start() -> Server {
        let folder = std::env::temp_dir().join(format!("redkeep-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let program = std::env::var("REDKEEP_TEST_SERVER").unwrap_or("redis-server".into());
        let process = Command::new(program)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(folder.join("socket"))
            .stdout(Stdio::null())
            .spawn()
            .expect("a redis-server on this machine");
        let server = Server {
            process,
            folder,
            port,
        };
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(1));
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn redkeep(url: &str) -> Box<dyn Any> {
    let keep = Manager::open(url).expect("an address");
    let _: Option<Vec<u8>> = keep.get("key").expect("an answer");
    Box::new(keep)
}

fn r2d2(url: &str) -> Box<dyn Any> {
    let client = PlainClient(redis::Client::open(url).expect("an address"));
    let pool = r2d2::Pool::new(client).expect("a pool");
    let mut connection = pool.get().expect("a connection");
    let _: Option<Vec<u8>> = redis::cmd("GET")
        .arg("key")
        .query(&mut *connection)
        .expect("an answer");
    drop(connection);
    Box::new(pool)
}

/// What the redis crate's feature `r2d2` does.
struct PlainClient(redis::Client);

impl r2d2::ManageConnection for PlainClient {
    type Connection = redis::Connection;
    type Error = redis::RedisError;

    fn connect(&self) -> Result<redis::Connection, redis::RedisError> {
        self.0.get_connection()
    }

    fn is_valid(&self, connection: &mut redis::Connection) -> Result<(), redis::RedisError> {
        redis::cmd("PING").query(connection)
    }

    fn has_broken(&self, connection: &mut redis::Connection) -> bool {
        !redis::ConnectionLike::is_open(connection)
    }
}

type Peer<'a> = (&'a str, Box<dyn Fn() -> Box<dyn Any> + 'a>, usize);

fn main() {
    let server = Server::start();
    let tcp = format!("redis://127.0.0.1:{}", server.port);
    let unix = format!("unix://{}", server.folder.join("socket").display());
    let peers: [Peer<'_>; 4] = [
        ("redkeep, TCP", Box::new(|| redkeep(&tcp)), ROUNDS),
        ("redkeep, unix", Box::new(|| redkeep(&unix)), ROUNDS),
        ("redis crate + r2d2, TCP", Box::new(|| r2d2(&tcp)), ROUNDS),
        (
            "redkeep, embedded://",
            Box::new(|| redkeep("embedded://")),
            ROUNDS / 10,
        ),
    ];
    let mut times = vec![Vec::new(); peers.len()];
    for round in 0..ROUNDS {
        for ((_, run, rounds), times) in peers.iter().zip(&mut times) {
            if round < *rounds {
                let started = Instant::now();
                let opened = run();
                times.push(started.elapsed());
                drop(opened);
            }
        }
    }
    println!("open and first GET (median of up to {ROUNDS} interleaved rounds)");
    for ((name, ..), times) in peers.iter().zip(&mut times) {
        times.sort();
        println!("  {name:<26} {:>9.3?}", times[times.len() / 2]);
    }
}
