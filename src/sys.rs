//! The system calls that the standard library does not offer, behind safe functions.
//! Outside `ffi` this is the only file with unsafe code.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// What to wait for on one descriptor, and what came.
pub(crate) type PollFd = libc::pollfd;

pub(crate) const READABLE: i16 = libc::POLLIN;
pub(crate) const WRITABLE: i16 = libc::POLLOUT;

/// Whether a call may sleep in the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sleep {
    Allowed,
    Never,
}

impl Sleep {
    fn flag(self) -> c_int {
        match self {
            Sleep::Allowed => 0,
            Sleep::Never => libc::MSG_DONTWAIT,
        }
    }
}

fn checked(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// send(2), without SIGPIPE.
pub(crate) fn send(fd: BorrowedFd<'_>, bytes: &[u8], sleep: Sleep) -> io::Result<usize> {
    let flags = libc::MSG_NOSIGNAL | sleep.flag();
    // SAFETY: the pointer and the length are those of one live slice, and the descriptor is open while borrowed.
    checked(unsafe { libc::send(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) })
}

/// recv(2) of at most `max` bytes, appended to `to`. 0 is the end of the stream.
pub(crate) fn recv(
    fd: BorrowedFd<'_>,
    to: &mut Vec<u8>,
    max: usize,
    sleep: Sleep,
) -> io::Result<usize> {
    to.try_reserve(max)
        .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    let spare = to.spare_capacity_mut();
    let room = spare.len().min(max);
    // SAFETY: `spare` is writable memory of at least `room` bytes, which the kernel may leave uninitialised.
    let n = checked(unsafe {
        libc::recv(
            fd.as_raw_fd(),
            spare.as_mut_ptr().cast(),
            room,
            sleep.flag(),
        )
    })?;
    // SAFETY: the kernel has just written the `n` bytes (n <= room) that follow the old end.
    unsafe { to.set_len(to.len() + n) };
    Ok(n)
}

/// Sets SO_RCVLOWAT: nobody is woken for fewer bytes.
pub(crate) fn low_water(fd: BorrowedFd<'_>, bytes: usize) -> io::Result<()> {
    let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX);
    // SAFETY: the kernel reads one int, which lives for the whole call.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVLOWAT,
            (&raw const bytes).cast(),
            size_of::<c_int>() as libc::socklen_t,
        )
    };
    checked(result as isize).map(drop)
}

/// poll(2). None waits without end. EINTR comes back as an error of kind Interrupted.
pub(crate) fn poll(fds: &mut [PollFd], timeout: Option<Duration>) -> io::Result<usize> {
    // Rounded up: waking a hair early would make the caller spin through its last millisecond.
    let ms = match timeout {
        None => -1,
        Some(time) => c_int::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(c_int::MAX),
    };
    // SAFETY: the pointer and the length are those of one live, exclusively borrowed slice.
    checked(unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, ms) } as isize)
}

pub(crate) fn poll_entry(fd: BorrowedFd<'_>, events: i16) -> PollFd {
    PollFd {
        fd: fd.as_raw_fd(),
        events,
        revents: 0,
    }
}

/// The seconds and nanoseconds of a clock that every Linux since 2.6.39 has.
#[inline]
fn clock(which: libc::clockid_t) -> (u64, u64) {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is a live timespec to be written. The clock exists, so that this cannot fail.
    unsafe { libc::clock_gettime(which, &mut now) };
    (now.tv_sec as u64, now.tv_nsec as u64)
}

/// The clock that only goes forward, in nanoseconds since about the start of the machine.
#[inline]
pub(crate) fn monotonic() -> u64 {
    let (seconds, nanos) = clock(libc::CLOCK_MONOTONIC);
    seconds * 1_000_000_000 + nanos
}

/// Sleeps while the word has this value, until it is woken or the time is over; may return earlier.
pub(crate) fn wait_on(word: &AtomicU32, value: u32, time: Duration) {
    let time = libc::timespec {
        tv_sec: time.as_secs().min(i64::MAX as u64) as _,
        tv_nsec: time.subsec_nanos() as _,
    };
    // SAFETY: the word and the time live for the whole call, and the kernel only reads them.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
            value,
            &raw const time,
        );
    }
}

/// Wakes one of those who sleep on the word.
pub(crate) fn wake_one(word: &AtomicU32) {
    wake(word, 1);
}

/// Wakes everybody who sleeps on the word.
pub(crate) fn wake_all(word: &AtomicU32) {
    wake(word, c_int::MAX);
}

fn wake(word: &AtomicU32, count: c_int) {
    let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the kernel takes the address for a name and reads nothing there.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, count) };
}

/// Runs `child` in every child of a later fork(), before fork() returns there.
pub(crate) fn at_fork(
    before: extern "C" fn(),
    parent: extern "C" fn(),
    child: extern "C" fn(),
) -> io::Result<()> {
    // SAFETY: the handlers are plain functions that live as long as the program: the library is linked
    // `-z nodelete`, so that not even dlclose() unmaps it.
    match unsafe { libc::pthread_atfork(Some(before), Some(parent), Some(child)) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// Blocks every signal in the calling thread, so that the program's handlers run on the program's own threads.
pub(crate) fn block_signals() {
    let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset() initialises the set that pthread_sigmask() then only reads.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), std::ptr::null_mut());
    }
}

/// Makes the command, once started, lead a session of its own, with no signal blocked: what a terminal or a
/// supervisor sends to the program's group does not reach it. With `tied`, the kernel kills it when the *thread*
/// that started it ends.
pub(crate) fn set_apart(command: &mut Command, tied: bool) {
    let owner = std::process::id();
    // SAFETY: only async-signal-safe calls are made between fork and exec, and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            libc::setsid();
            let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
            libc::sigemptyset(none.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
            if tied {
                if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                    return Err(io::Error::last_os_error());
                }
                // The owner may have died before the line above took effect.
                if libc::getppid() as u32 != owner {
                    return Err(io::Error::from_raw_os_error(libc::ESRCH));
                }
            }
            Ok(())
        });
    }
}

/// Whether the file may be executed by this process.
pub(crate) fn executable(path: &std::path::Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let Ok(name) = std::ffi::CString::new(path.as_os_str().as_bytes()) else {
        return false;
    };
    // SAFETY: the name is a live, NUL-terminated string.
    path.is_file() && unsafe { libc::access(name.as_ptr(), libc::X_OK) } == 0
}

/// Takes the file for this process and those it hands the descriptor to, until the last of them closes it; false if
/// somebody else has it.
pub(crate) fn lock_file(file: BorrowedFd<'_>) -> io::Result<bool> {
    // SAFETY: a plain system call, on a descriptor that is open while borrowed.
    match checked(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } as isize)
    {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// The time since the machine was started, sleep included: it goes on while this process, or all of the machine, stands
/// still.
pub(crate) fn uptime() -> Duration {
    let (seconds, nanos) = clock(libc::CLOCK_BOOTTIME);
    Duration::new(seconds, nanos as u32)
}

/// Milliseconds of the monotonic clock as of its last tick, which was up to 10 ms ago; a fraction of what the exact time
/// costs.
#[inline]
pub(crate) fn coarse_millis() -> u64 {
    let (seconds, nanos) = clock(libc::CLOCK_MONOTONIC_COARSE);
    seconds * 1000 + nanos / 1_000_000
}

/// Bytes from the system's randomness.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        let rest = &mut bytes[filled..];
        // SAFETY: the pointer and the length are those of one live, exclusively borrowed slice.
        match checked(unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) }) {
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

/// A descriptor that select, poll and epoll find readable while the flag is up: an eventfd(2).
pub(crate) struct Flag(OwnedFd);

impl Flag {
    /// Down.
    pub(crate) fn new() -> io::Result<Flag> {
        // SAFETY: a plain system call.
        let fd =
            checked(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) } as isize)?;
        // SAFETY: the descriptor was opened just now, and nobody else knows it.
        Ok(Flag(unsafe { OwnedFd::from_raw_fd(fd as c_int) }))
    }

    /// Up; whoever waits for it wakes.
    pub(crate) fn raise(&self) {
        let one = 1u64;
        // Where it is interrupted, the flag is not up. It fails otherwise only where the counter is full, and so is up.
        loop {
            // SAFETY: the pointer is to eight live bytes.
            let written = unsafe { libc::write(self.0.as_raw_fd(), (&raw const one).cast(), 8) };
            let again = |error: io::Error| error.kind() == io::ErrorKind::Interrupted;
            if !checked(written as isize).is_err_and(again) {
                break;
            }
        }
    }

    /// Down.
    pub(crate) fn lower(&self) {
        let mut count = 0u64;
        // SAFETY: the pointer is to eight live, writable bytes. It fails only where it is down already.
        unsafe { libc::read(self.0.as_raw_fd(), (&raw mut count).cast(), 8) };
    }
}

impl AsFd for Flag {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_readable_while_it_is_up() {
        let flag = Flag::new().unwrap();
        let up = || {
            let mut fds = [poll_entry(flag.as_fd(), READABLE)];
            poll(&mut fds, Some(Duration::ZERO)).unwrap() == 1
        };
        assert!(!up());
        flag.raise();
        flag.raise();
        assert!(up() && up());
        flag.lower();
        assert!(!up());
        flag.lower();
        flag.raise();
        assert!(up());
    }
}
