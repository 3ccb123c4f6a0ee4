//! A real redis-server (or valkey-server) for one test: private folder, free port, gone when dropped.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::spawn::spawn;
use super::wait::{PATIENCE, wait_for};

pub struct Server {
    folder: PathBuf,
    port: u16,
    /// Besides the plain one, where it speaks TLS.
    tls_port: Option<u16>,
    role: Role,
    options: Vec<String>,
    child: Option<Child>,
    /// The ids of our own connections, which `connections()` leaves out. They start anew with the server.
    admins: Mutex<Vec<i64>>,
}

/// What a program is started as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Plain,
    /// A node of a cluster, whose bus listens on a port of its own.
    ClusterNode,
    /// Its configuration is the file `sentinel.conf` of its folder, which it rewrites as it goes.
    Sentinel,
}

impl Server {
    pub fn start() -> Server {
        Server::with(&[])
    }

    /// With options as on the command line: `Server::with(&["--requirepass", "x"])`.
    pub fn with(options: &[&str]) -> Server {
        Server::of(Role::Plain, options, "")
    }

    /// With a second port for TLS and the files of its certificate (`Authority::server`), on top of other options.
    pub fn with_tls(files: &[String], options: &[&str]) -> Server {
        let mut all: Vec<&str> = files.iter().map(String::as_str).collect();
        all.extend(options);
        Server::of(Role::Plain, &all, "")
    }

    /// `config` is written to `sentinel.conf`, which only sentinels read.
    pub(super) fn of(role: Role, options: &[&str], config: &str) -> Server {
        let tls = speaks_tls(options);
        let mut server = Server {
            folder: new_folder(),
            port: 0,
            tls_port: None,
            role,
            options: options.iter().map(|&o| o.to_owned()).collect(),
            child: None,
            admins: Mutex::new(Vec::new()),
        };
        if role == Role::Sentinel {
            fs::write(server.config(), config).expect("a file in our own folder");
        }
        // Somebody else may take the port between our look and the server's bind.
        for _ in 0..20 {
            server.port = free_port();
            server.tls_port = tls.then(free_port);
            if server.run() {
                return server;
            }
        }
        panic!(
            "no server would start; the last one said:\n{}",
            server.log()
        );
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `redis://127.0.0.1:port`, without a password even when one is required.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    pub fn tls_port(&self) -> u16 {
        self.tls_port.expect("a server that speaks TLS")
    }

    /// The port for TLS where it speaks that, and otherwise the plain one.
    pub fn best_port(&self) -> u16 {
        self.tls_port.unwrap_or(self.port)
    }

    pub fn best_address(&self) -> String {
        format!("127.0.0.1:{}", self.best_port())
    }

    /// `rediss://localhost:port`.
    pub fn tls_url(&self) -> String {
        format!("rediss://localhost:{}", self.tls_port())
    }

    /// `unix:///folder/redis.sock`.
    pub fn unix_url(&self) -> String {
        format!("unix://{}", self.unix_path().display())
    }

    pub fn unix_path(&self) -> PathBuf {
        self.folder.join("redis.sock")
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("a server that runs").id()
    }

    /// Whether it was started and not killed.
    pub fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// What the server wrote to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// kill -9. When this returns, the process is reaped and its sockets are closed.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            child.wait().expect("our own child");
        }
    }

    /// SIGTERM, and waits for the end.
    pub fn stop_gracefully(&mut self) {
        if self.child.is_some() {
            self.thaw();
            self.signal(libc::SIGTERM);
            let mut child = self.child.take().expect("just seen");
            wait_for(PATIENCE, || exited(&mut child));
        }
    }

    /// Kills it if it runs, and starts it on the same port and in the same folder.
    pub fn restart(&mut self) {
        self.kill();
        // An outgoing connection of somebody else may sit on the port for a moment.
        let deadline = Instant::now() + PATIENCE;
        while !self.run() {
            let waiting = Instant::now() < deadline;
            assert!(waiting, "the server did not come back:\n{}", self.log());
        }
    }

    /// SIGSTOP: connections are still accepted by the system, and nothing answers.
    pub fn freeze(&self) {
        self.signal(libc::SIGSTOP);
        // A signal is on its way for a moment; from here on it is certain that nothing answers.
        wait_for(PATIENCE, || (self.state() == Some('T')).then_some(()));
    }

    pub fn thaw(&self) {
        self.signal(libc::SIGCONT);
    }

    /// A connection for asking the server itself. `connections()` does not count it.
    pub fn admin(&self) -> redis::Connection {
        let info: redis::ConnectionInfo =
            redis::IntoConnectionInfo::into_connection_info(self.unix_url())
                .expect("a url of ours");
        // CLIENT SETINFO would turn up in the statistics that tests read.
        let mut settings = redis::RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(password) = self.password() {
            settings = settings.set_password(password);
        }
        let info = info.set_redis_settings(settings);
        let client = redis::Client::open(info).expect("a url of ours");
        let dial = || -> redis::RedisResult<(i64, redis::Connection)> {
            let mut connection = client.get_connection_with_timeout(PATIENCE)?;
            connection.set_read_timeout(Some(PATIENCE))?;
            connection.set_write_timeout(Some(PATIENCE))?;
            let id = redis::cmd("CLIENT").arg("ID").query(&mut connection)?;
            Ok((id, connection))
        };
        // A server that is being demoted cuts its clients off.
        let mut last = None;
        let (id, connection) = (0..5)
            .find_map(|_| dial().map_err(|error| last = Some(error)).ok())
            .unwrap_or_else(|| panic!("a connection for the test itself: {last:?}"));
        self.admins.lock().expect("no panic inside").push(id);
        connection
    }

    /// One question on a connection of its own: `server.ask::<i64>(&["DBSIZE"])`. Asked again where the server cuts its
    /// clients off, as one that is being demoted does: so a question that may be asked twice.
    #[track_caller]
    pub fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        match self.try_ask(words) {
            Ok(answer) => answer,
            Err(error) => panic!("{words:?}: {error}"),
        }
    }

    pub fn try_ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        let mut command = redis::Cmd::new();
        command.arg(words);
        let mut answer = command.query(&mut self.admin());
        for _ in 0..5 {
            match &answer {
                Err(error) if error.is_io_error() && !error.is_timeout() => {
                    answer = command.query(&mut self.admin());
                }
                _ => break,
            }
        }
        answer
    }

    /// A field of INFO; empty when the server does not have it.
    pub fn info(&self, section: &str, field: &str) -> String {
        let text: String = self.ask(&["INFO", section]);
        text.lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
            .unwrap_or_default()
            .to_owned()
    }

    /// Its own version; Valkey tells that of Redis as well.
    pub fn version(&self) -> String {
        match self.info("server", "valkey_version") {
            none if none.is_empty() => self.info("server", "redis_version"),
            version => version,
        }
    }

    /// How often the server ran that command since it started: `"get"`, `"client|setname"`. CLIENT ID, INFO, CLIENT
    /// LIST, CLIENT KILL and QUIT (and AUTH, with a password) are also what this file asks.
    pub fn command_calls(&self, name: &str) -> u64 {
        let name = name.to_ascii_lowercase();
        let line = self.info("commandstats", &format!("cmdstat_{name}"));
        let calls = line.split(',').find_map(|part| part.strip_prefix("calls="));
        calls.map_or(0, |n| n.parse().expect("a number of calls"))
    }

    /// How many connections it has, besides those of `admin()`.
    pub fn connections(&self) -> usize {
        let list: String = self.ask(&["CLIENT", "LIST"]);
        let admins = self.admins.lock().expect("no panic inside");
        let ids = list.lines().filter_map(|line| line.strip_prefix("id="));
        ids.filter_map(|line| line.split(' ').next()?.parse().ok())
            .filter(|id: &i64| !admins.contains(id))
            .count()
    }

    /// Closes every ordinary connection but the asking one.
    pub fn kill_clients(&self) {
        let _: i64 = self.ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    }

    fn config(&self) -> PathBuf {
        self.folder.join("sentinel.conf")
    }

    fn password(&self) -> Option<&str> {
        let at = self.options.iter().position(|o| o == "--requirepass")?;
        self.options.get(at + 1).map(String::as_str)
    }

    fn signal(&self, signal: i32) {
        // SAFETY: a plain system call, on a child that we have not reaped, so its number is its own.
        let sent = unsafe { libc::kill(self.pid() as i32, signal) };
        assert_eq!(sent, 0, "our own child takes signals");
    }

    /// The letter of /proc/pid/stat, which follows the program's name in brackets.
    fn state(&self) -> Option<char> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).ok()?;
        stat[stat.rfind(')')? + 1..].trim_start().chars().next()
    }

    /// Starts the program and waits until it answers; false when it ended instead.
    fn run(&mut self) -> bool {
        let _ = fs::remove_file(self.unix_path());
        self.admins.lock().expect("no panic inside").clear();
        let log = fs::File::create(self.folder.join("log")).expect("a file in our own folder");
        let mut command = Command::new(program());
        match self.role {
            Role::Plain => {}
            Role::ClusterNode => {
                // By default it would be the port plus 10,000, which need not be one.
                command
                    .args(["--cluster-enabled", "yes"])
                    .args(["--cluster-port", &free_port().to_string()]);
            }
            Role::Sentinel => {
                command.arg(self.config()).arg("--sentinel");
            }
        }
        command
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
            .args(["--protected-mode", "no", "--bind", "127.0.0.1"])
            .args(["--port", &self.port.to_string()])
            .args(
                self.tls_port
                    .iter()
                    .flat_map(|port| ["--tls-port".to_owned(), port.to_string()]),
            )
            .arg("--unixsocket")
            .arg(self.unix_path())
            .arg("--dir")
            .arg(&self.folder)
            .args(&self.options)
            .stdin(Stdio::null())
            .stderr(log.try_clone().expect("a descriptor"))
            .stdout(log);
        let mut child = spawn(command).expect("a server program that can be started");
        let answered = wait_for(PATIENCE, || {
            let ended = exited(&mut child).map(|_| false);
            ended.or_else(|| self.answers().then_some(true))
        });
        self.child = answered.then_some(child);
        answered
    }

    /// Over the unix socket: on the port, a stranger might answer. QUIT and the wait for the end leave no trace in
    /// CLIENT LIST, RESETSTAT none in the statistics.
    fn answers(&self) -> bool {
        let auth = self.password().map(|p| encode(&["AUTH", p]));
        let mut request = auth.unwrap_or_default();
        for words in [&["PING"][..], &["CONFIG", "RESETSTAT"], &["QUIT"]] {
            request.extend(encode(words));
        }
        let talk = || -> std::io::Result<String> {
            let mut stream = UnixStream::connect(self.unix_path())?;
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            stream.write_all(&request)?;
            if self.role == Role::Sentinel {
                // It knows no QUIT.
                stream.shutdown(std::net::Shutdown::Write)?;
            }
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        // With `--user default off` and the like it refuses to say PONG, and is up all the same.
        talk().is_ok_and(|a| a.contains("+PONG") || a.contains("-NOAUTH") || a.contains("-NOPERM"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

pub(super) fn speaks_tls(options: &[&str]) -> bool {
    options.contains(&"--tls-cert-file")
}

fn exited(child: &mut Child) -> Option<ExitStatus> {
    child.try_wait().expect("our own child")
}

fn encode(words: &[&str]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len());
    for word in words {
        out += &format!("${}\r\n{word}\r\n", word.len());
    }
    out.into_bytes()
}

/// The server that the tests were told to run on, where they were.
pub fn named_server() -> Option<String> {
    std::env::var("REDKEEP_TEST_SERVER").ok()
}

fn program() -> PathBuf {
    if let Some(named) = named_server() {
        return named.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    // A user's PATH often lacks the folder that Debian installs servers to.
    folders.extend(["/usr/sbin", "/usr/local/bin"].map(PathBuf::from));
    let find = |name: &str| {
        let candidates = folders.iter().map(|folder| folder.join(OsStr::new(name)));
        candidates.into_iter().find(|file| file.is_file())
    };
    find("redis-server")
        .or_else(|| find("valkey-server"))
        .expect("redis-server or valkey-server on PATH (`make setup` installs one)")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound address").port()
}

/// Short, since the path of a unix socket ends at 107 bytes.
pub(super) fn new_folder() -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("redkeep-test-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        match fs::DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => return folder,
            // Left behind by a killed process that had our number.
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => panic!("{}: {e}", folder.display()),
        }
    }
}
