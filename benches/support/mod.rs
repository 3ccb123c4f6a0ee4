//! What the benchmarks share: a private server, and the redis crate under r2d2.

// Each benchmark uses its part.
#![allow(dead_code)]

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub struct Server {
    process: Child,
    folder: PathBuf,
    port: u16,
}

impl Server {
    pub fn start() -> Server {
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

    pub fn tcp(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn unix(&self) -> String {
        format!("unix://{}", self.folder.join("socket").display())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// What the redis crate's feature `r2d2` does.
pub struct PlainClient(redis::Client);

impl PlainClient {
    pub fn new(url: &str) -> PlainClient {
        PlainClient(redis::Client::open(url).expect("an address"))
    }
}

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
