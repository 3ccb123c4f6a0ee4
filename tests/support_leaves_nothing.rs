//! What the tests' own tools leave behind: no descriptor, no process. One test alone in its process, since another
//! one would open and close descriptors at the same time.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use support::{Fault, PATIENCE, Peer, Proxy, Server, Way, wait_until};

const ROLE: &str = "REDKEEP_TEST_LEAVES_ROLE";

#[test]
fn nothing_is_left_behind() {
    if std::env::var_os(ROLE).is_some() {
        return start_a_server_and_wait_to_be_killed();
    }
    use_everything();
    let before = descriptors();
    for _ in 0..3 {
        use_everything();
    }
    assert_eq!(descriptors(), before);
    a_server_dies_with_a_killed_process();
}

fn descriptors() -> usize {
    let list = std::fs::read_dir("/proc/self/fd").expect("Linux");
    list.count()
}

fn use_everything() {
    let server = Server::start();
    let _: String = server.ask(&["PING"]);
    let faults = [
        Fault::Pass,
        Fault::StallAfter(2),
        Fault::ResetAfter(2),
        Fault::CloseAfter(2),
        Fault::BlackHole,
    ];
    for fault in faults {
        let proxy = Proxy::to(server.address());
        proxy.set(Way::ToClient, fault);
        let mut stream = TcpStream::connect(proxy.address()).expect("a listener");
        stream.write_all(b"PING\r\n").expect("a live connection");
        if fault == Fault::BlackHole {
            wait_until(PATIENCE, || server.command_calls("ping") > 0);
        } else {
            let _ = stream.read(&mut [0; 2]).expect("two bytes");
        }
        let address = proxy.address();
        drop(proxy);
        assert!(TcpStream::connect(address).is_err());
    }
    let peer = Peer::raw("+OK\r\n");
    let mut stream = TcpStream::connect(peer.address()).expect("a listener");
    stream.write_all(b"PING\r\n").expect("a live connection");
    let _ = stream.read(&mut [0; 2]).expect("two bytes");
}

fn a_server_dies_with_a_killed_process() {
    let mut process = Command::new(std::env::current_exe().expect("ourselves"))
        .args(["--exact", "nothing_is_left_behind", "--nocapture"])
        .env(ROLE, "victim")
        .stdout(Stdio::piped())
        .spawn()
        .expect("ourselves once more");
    let output = BufReader::new(process.stdout.take().expect("piped"));
    let told = output.lines().map_while(Result::ok).find_map(|line| {
        let (_, told) = line.split_once("server ")?;
        let (pid, folder) = told.split_once(' ')?;
        Some((pid.to_owned(), folder.to_owned()))
    });
    let (pid, folder) = told.expect("the number of its server");
    process.kill().expect("our own child");
    process.wait().expect("our own child");
    wait_until(PATIENCE, || is_gone(&pid));
    // The folder nobody could remove any more.
    let _ = std::fs::remove_dir_all(folder);
}

/// A dead process may wait for its new parent to notice, which is not ours to hasten.
fn is_gone(pid: &str) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.contains(") Z "),
        Err(_) => true,
    }
}

fn start_a_server_and_wait_to_be_killed() {
    let server = Server::start();
    println!("server {} {}", server.pid(), server.folder().display());
    loop {
        std::thread::park();
    }
}
