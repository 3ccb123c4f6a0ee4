//! How much memory this process has taken.

/// In bytes: a line of /proc/self/status.
fn status(name: &str) -> usize {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.trim_start_matches(':').trim().split(' ').next());
    number.and_then(|it| it.parse::<usize>().ok()).expect("kB") << 10
}

/// Gives back what is held for nothing, and lets the peak be counted anew from what is left, which is returned.
pub fn forget_peak() -> usize {
    // SAFETY: plain.
    unsafe { libc::malloc_trim(0) };
    std::fs::write("/proc/self/clear_refs", "5").expect("Linux");
    status("VmRSS")
}

pub fn peak() -> usize {
    status("VmHWM")
}
