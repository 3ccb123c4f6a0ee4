//! What TLS costs the client: processor time of the calling thread, for connecting and for a GET.
//!
//! `cargo bench --bench tls`. Connecting is a first GET on a new connection, beside the same without TLS; rounds of
//! all kinds take turns, and medians are printed. Files and certificates were read when the manager was opened.

mod support;

use std::process::Command;
use std::time::Duration;

use redkeep::{Config, Manager};
use support::Server;

const ROUNDS: usize = 300;
const GETS: u32 = 20_000;

/// The processor time that this thread has used.
fn used() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes to a live place of the right type.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn taken(work: impl FnOnce()) -> Duration {
    let before = used();
    work();
    used() - before
}

fn get(keep: &Manager) {
    let _: Option<Vec<u8>> = keep.get("key").expect("an answer");
}

struct Kind {
    name: String,
    config: Config,
    /// Lives on, and connects anew each time.
    known: Manager,
    first: Vec<Duration>,
    again: Vec<Duration>,
}

impl Kind {
    fn new(name: impl Into<String>, config: Config) -> Kind {
        let config = config.health_check_interval(Duration::ZERO);
        let known = Manager::open_config(&config).expect("a config of ours");
        Kind {
            name: name.into(),
            config,
            known,
            first: Vec::new(),
            again: Vec::new(),
        }
    }

    fn round(&mut self) {
        let new = Manager::open_config(&self.config).expect("a config of ours");
        self.first.push(taken(|| get(&new)));
        self.known.disconnect();
        self.again.push(taken(|| get(&self.known)));
    }
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// An authority and a certificate of it for 127.0.0.1, made with openssl: `ca.crt`, `server.crt` and `server.key`.
fn certificates(folder: &str, key: &str) {
    let script = format!(
        "set -e; mkdir -p {folder}; cd {folder}
        printf '[req]\ndistinguished_name=dn\nx509_extensions=v3\n[dn]\n[v3]\nbasicConstraints=critical,CA:TRUE\n' >cnf
        printf 'subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n' >extensions
        openssl req -x509 -config cnf -newkey {key} -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=ca
        openssl req -config cnf -newkey {key} -nodes -keyout server.key -out server.csr -subj /CN=server
        openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile extensions \
            -out server.crt -days 2"
    );
    let output = Command::new("sh").args(["-c", &script]).output();
    let output = output.expect("a shell");
    assert!(output.status.success(), "{output:?}");
}

fn main() {
    let plain = Server::start();
    let mut kinds = vec![Kind::new("plain", Config::new().url(plain.tcp()))];
    let mut servers = Vec::new();
    for (name, key) in [
        ("P-256", "ec -pkeyopt ec_paramgen_curve:P-256"),
        ("RSA 2048", "rsa:2048"),
    ] {
        let folder = plain
            .folder()
            .join(name.replace(' ', ""))
            .display()
            .to_string();
        certificates(&folder, key);
        for protocol in ["TLSv1.3", "TLSv1.2"] {
            let server = Server::with_tls(&folder, protocol);
            let config = Config::new()
                .url(server.tls())
                .tls_ca(format!("{folder}/ca.crt"));
            kinds.push(Kind::new(format!("{protocol}, {name}"), config));
            servers.push(server);
        }
    }
    for _ in 0..ROUNDS {
        kinds.iter_mut().for_each(Kind::round);
    }
    println!("processor time of the client (median of {ROUNDS} interleaved rounds)");
    println!(
        "  {:<18} {:>12} {:>12} {:>12}",
        "", "first", "resumed", "GET"
    );
    let mut base = None;
    for kind in &mut kinds {
        let (first, again) = (median(&mut kind.first), median(&mut kind.again));
        let gets = taken(|| (0..GETS).for_each(|_| get(&kind.known))) / GETS;
        println!(
            "  {:<18} {first:>12.1?} {again:>12.1?} {gets:>12.2?}",
            kind.name
        );
        match base {
            None => base = Some((first, again)),
            Some((plain_first, plain_again)) => println!(
                "  {:<18} {:>12.1?} {:>12.1?}",
                "  the handshake",
                first.saturating_sub(plain_first),
                again.saturating_sub(plain_again)
            ),
        }
    }
}
