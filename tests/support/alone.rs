//! A test in a process of its own: for what counts threads or descriptors, forks, or is killed.

use std::process::Command;

const ROLE: &str = "REDKEEP_TEST_ALONE";

/// Runs the calling test, named by `test`, once more in a process of its own, where this is true; fails the test when
/// it fails there.
///
/// ```ignore
/// #[test]
/// fn nothing_leaks() {
///     if !alone("nothing_leaks") {
///         return;
///     }
///     ...
/// }
/// ```
#[track_caller]
pub fn alone(test: &str) -> bool {
    if is_alone() {
        return true;
    }
    let output = myself(test).output().expect("ourselves once more");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{test}, alone: {}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    print!("{text}");
    false
}

/// The command that runs this test alone.
pub fn myself(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("ourselves"));
    command
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(ROLE, test);
    command
}

pub fn is_alone() -> bool {
    std::env::var_os(ROLE).is_some()
}

/// How many threads of redkeep's this process has, by their names.
pub fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    let mut names: Vec<String> = tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| name.starts_with("redkeep-"))
        .collect();
    names.sort();
    names
}

pub fn descriptors() -> usize {
    let list = std::fs::read_dir("/proc/self/fd").expect("Linux");
    list.count()
}
