//! What the benchmarks share: a private server, and the redis crate under r2d2.
//! Each takes what it needs; the rest is dead code there, hence the allow.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub struct Server {
    process: Child,
    folder: PathBuf,
    port: u16,
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

impl Server {
    pub fn start() -> Server {
        let port = free_port();
        Server::run(port, &["--port", &port.to_string()])
    }

    /// One that speaks nothing but TLS, with the certificate in that folder.
    pub fn with_tls(certificate: &str, protocol: &str) -> Server {
        let port = free_port();
        let file = |name: &str| format!("{certificate}/{name}");
        let options = [
            ["--port", "0"],
            ["--tls-port", &port.to_string()],
            ["--tls-protocols", protocol],
            ["--tls-auth-clients", "no"],
            ["--tls-ca-cert-file", &file("ca.crt")],
            ["--tls-cert-file", &file("server.crt")],
            ["--tls-key-file", &file("server.key")],
        ];
        Server::run(port, options.as_flattened())
    }

    fn run(port: u16, options: &[&str]) -> Server {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("redkeep-bench-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        let program = std::env::var("REDKEEP_TEST_SERVER").unwrap_or("redis-server".into());
        let process = Command::new(program)
            .args(["--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(folder.join("socket"))
            .args(options)
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

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn tls(&self) -> String {
        format!("rediss://127.0.0.1:{}", self.port)
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
