//! `embedded://`: private, on its own, and gone with its owner, however that ends.

mod support;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use redkeep::{Config, ErrorKind, Manager};
use support::{PATIENCE, alone, is_alone, myself, named_server, threads, wait_until};

/// An `embedded://` server of the program that the tests run on.
fn config() -> Config {
    let config = Config::new().url("embedded://");
    match named_server() {
        Some(program) => config.embedded_server(program),
        None => config,
    }
}

fn open() -> Manager {
    Manager::open_config(&config()).expect("a server on this machine")
}

fn folder(keep: &Manager) -> PathBuf {
    let socket = keep.fetch_pool_status().nodes[0].address.clone();
    Path::new(&socket).parent().expect("a folder").to_owned()
}

fn server_pid(keep: &Manager) -> u32 {
    let info: String = keep.command(("INFO", "server")).unwrap();
    let pid = info
        .lines()
        .find_map(|line| line.strip_prefix("process_id:"));
    pid.unwrap().trim().parse().unwrap()
}

/// A dead process may wait for its new parent to notice, which is not ours to hasten.
fn is_gone(pid: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.contains(") Z "),
        Err(_) => true,
    }
}

#[test]
fn it_is_private_and_keeps_nothing() {
    let keep = open();
    keep.set("a", 1).unwrap();
    let folder = folder(&keep);
    let mode = std::fs::metadata(&folder).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let socket = std::fs::metadata(folder.join("socket")).unwrap();
    assert!(socket.file_type().is_socket());
    assert_eq!(socket.permissions().mode() & 0o077, 0);
    let get = |name: &str| {
        keep.command::<(String, String)>(("CONFIG", "GET", name))
            .unwrap()
            .1
    };
    assert_eq!(
        (get("port"), get("save"), get("appendonly")),
        ("0".into(), "".into(), "no".into())
    );
    let names: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert!(names.len() <= 3, "{names:?}");
}

#[test]
fn it_is_gone_after_drop_and_after_close() {
    for close in [true, false] {
        let keep = open();
        let (folder, pid) = (folder(&keep), server_pid(&keep));
        if close {
            keep.close(PATIENCE).unwrap();
            assert_eq!(keep.ping().unwrap_err().kind(), ErrorKind::Closed);
        } else {
            drop(keep);
        }
        assert!(!folder.exists());
        // It was killed; the kernel takes it down in its own time.
        wait_until(PATIENCE, || is_gone(pid));
    }
}

#[test]
fn a_client_that_outlives_its_manager_still_has_its_server() {
    let keep = open();
    let (folder, client) = (folder(&keep), keep.client());
    let lenient = keep.lenient();
    keep.set("a", 1).unwrap();
    drop(keep);
    assert_eq!(client.get::<i64>("a").unwrap(), Some(1));
    drop(client);
    assert_eq!(lenient.get::<i64>("a"), Some(1));
    drop(lenient);
    assert!(!folder.exists());
}

#[test]
fn two_at_once_are_two() {
    let (one, two) = (open(), open());
    assert_ne!(folder(&one), folder(&two));
    one.set("a", 1).unwrap();
    assert_eq!(two.get::<i64>("a").unwrap(), None);
    drop(two);
    assert_eq!(one.get::<i64>("a").unwrap(), Some(1));
}

#[test]
fn it_outlives_the_thread_that_opened_it() {
    let keep = std::thread::spawn(open).join().unwrap();
    // The kernel tells of a thread's end a moment later.
    for _ in 0..20 {
        keep.incr("n", 1).unwrap();
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(keep.get::<i64>("n").unwrap(), Some(20));
}

#[test]
fn it_is_gone_after_its_owner_was_killed() {
    const NAME: &str = "it_is_gone_after_its_owner_was_killed";
    if is_alone() {
        let keep = open();
        println!("\nserver {} {}", server_pid(&keep), folder(&keep).display());
        loop {
            std::thread::park();
        }
    }
    let mut owner = myself(NAME).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let told = lines.map_while(Result::ok).find_map(|line| {
        let (pid, folder) = line.strip_prefix("server ")?.split_once(' ')?;
        Some((pid.parse::<u32>().unwrap(), PathBuf::from(folder)))
    });
    let (pid, folder) = told.expect("the number of its server");
    assert!(folder.exists() && !is_gone(pid));
    owner.kill().unwrap();
    owner.wait().unwrap();
    wait_until(PATIENCE, || is_gone(pid) && !folder.exists());
}

#[test]
fn it_is_gone_after_its_owner_left_without_closing() {
    const NAME: &str = "it_is_gone_after_its_owner_left_without_closing";
    if is_alone() {
        let keep = open();
        println!("\nserver {} {}", server_pid(&keep), folder(&keep).display());
        std::process::exit(0);
    }
    let output = myself(NAME).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let told = text
        .lines()
        .find_map(|line| line.strip_prefix("server ")?.split_once(' '));
    let (pid, folder) = told.expect("the number of its server");
    let (pid, folder) = (pid.parse::<u32>().unwrap(), PathBuf::from(folder));
    wait_until(PATIENCE, || is_gone(pid) && !folder.exists());
}

#[test]
fn children_do_not_end_it() {
    if !alone("children_do_not_end_it") {
        return;
    }
    let keep = open();
    let folder = folder(&keep);
    keep.set("a", 1).unwrap();
    for closing in [false, true] {
        // SAFETY: the child only uses the manager, which is made for it, and leaves by _exit().
        match unsafe { libc::fork() } {
            0 => {
                let fine = keep.get::<i64>("a").is_ok_and(|a| a == Some(1));
                if closing {
                    let _ = keep.close(Duration::from_secs(1));
                }
                drop(keep);
                // SAFETY: ends the child at once.
                unsafe { libc::_exit(if fine { 0 } else { 1 }) }
            }
            pid => {
                let mut status = 0;
                // SAFETY: our own child.
                unsafe { libc::waitpid(pid, &mut status, 0) };
                assert_eq!(status, 0);
            }
        }
        assert!(folder.exists());
        assert_eq!(keep.get::<i64>("a").unwrap(), Some(1));
    }
    // A child program that lives on holds nothing either.
    let mut sleeper = std::process::Command::new("/bin/sleep")
        .arg("60")
        .spawn()
        .unwrap();
    drop(keep);
    assert!(!folder.exists());
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
}

#[test]
fn no_threads_and_no_descriptors_are_left() {
    if !alone("no_threads_and_no_descriptors_are_left") {
        return;
    }
    drop(open());
    wait_until(PATIENCE, || threads().is_empty());
    let before = support::descriptors();
    for _ in 0..10 {
        open().ping().unwrap();
    }
    wait_until(PATIENCE, || threads().is_empty());
    assert_eq!(support::descriptors(), before);
}

#[test]
fn a_server_that_is_killed_is_an_outage_and_close_still_works() {
    let keep = open();
    let (folder, pid) = (folder(&keep), server_pid(&keep));
    // SAFETY: a plain system call; the process is our own server.
    unsafe { libc::kill(pid as i32, libc::SIGKILL) };
    wait_until(PATIENCE, || keep.ping().is_err());
    let started = Instant::now();
    keep.close(PATIENCE).unwrap();
    assert!(started.elapsed() < PATIENCE / 2);
    assert!(!folder.exists());
}

#[test]
fn a_temporary_folder_that_is_not_there_is_told() {
    if !alone("a_temporary_folder_that_is_not_there_is_told") {
        return;
    }
    // SAFETY: alone in this process, before there is another thread.
    unsafe { std::env::set_var("TMPDIR", "/no/such/folder") };
    let error = Manager::open("embedded://").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Embedded, "{error}");
    assert!(std::error::Error::source(&error).is_some());
    // SAFETY: as above.
    unsafe { std::env::set_var("TMPDIR", format!("/tmp/{}", "x".repeat(120))) };
    // A path too long for a unix socket is not used.
    open().ping().unwrap();
}

#[test]
fn its_url_takes_the_parameters_of_any_other() {
    let keep = Manager::open("embedded://?max_connections=1&shared_lines=0&command_timeout=100ms")
        .unwrap();
    let held = keep.client().dedicated().unwrap();
    assert_eq!(keep.ping().unwrap_err().kind(), ErrorKind::PoolTimeout);
    drop(held);
    assert_eq!(keep.fetch_pool_status().nodes[0].pools[0].size, 1);
    let disabled = Config::new().url("embedded://").enabled(false);
    let disabled = Manager::open_config(&disabled).unwrap();
    assert_eq!(disabled.ping().unwrap_err().kind(), ErrorKind::Disabled);
}
