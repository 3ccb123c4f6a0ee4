//! What the system tells this process, bent: the functions of libc that are defined here are found before libc's own,
//! by std and by the library alike. Nothing is bent before a case asks for it.

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU16, Ordering::SeqCst};
use std::time::Duration;

static SHIFT: AtomicI64 = AtomicI64::new(0);
static NO_THREADS: AtomicBool = AtomicBool::new(false);
static HANG: AtomicU16 = AtomicU16::new(0);

/// The clock of the wall is so many seconds ahead of what it was, or behind.
pub fn shift_clock(seconds: i64) {
    SHIFT.store(seconds, SeqCst);
}

/// As for a user who has as many threads as the system allows.
pub fn refuse_threads(refuse: bool) {
    NO_THREADS.store(refuse, SeqCst);
}

/// Looks up of `hangs.example` take so long, in milliseconds.
pub fn hang_lookups(time: Duration) {
    HANG.store(time.as_millis() as u16, SeqCst);
}

/// What was sent to each socket, by the number that the system has for it, while somebody counts.
static SENT: Mutex<Option<HashMap<u64, u64>>> = Mutex::new(None);

/// Counts from now on what this process sends.
pub fn count_sent() {
    *SENT.lock().unwrap() = Some(HashMap::new());
}

/// The socket to which most was sent since, and how much.
pub fn most_sent() -> (u64, u64) {
    let sent = SENT.lock().unwrap();
    let all = sent
        .iter()
        .flatten()
        .map(|(socket, bytes)| (*socket, *bytes));
    all.max_by_key(|(_, bytes)| *bytes).unwrap_or_default()
}

/// `eight.example` has these addresses, in this order.
pub const EIGHT: [[u8; 4]; 8] = [
    [127, 0, 0, 2],
    [127, 0, 0, 3],
    [127, 0, 0, 4],
    [127, 0, 0, 5],
    [127, 0, 0, 6],
    [127, 0, 0, 7],
    [127, 0, 0, 8],
    [127, 0, 0, 1],
];

/// libc's own function of that name.
fn next(name: &CStr) -> *mut c_void {
    // SAFETY: the name is a C string; RTLD_NEXT finds the definition behind ours.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    assert!(!found.is_null(), "{name:?}");
    found
}

// SAFETY (of all four): the same types as libc's, and the same promises to the caller.

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> c_int {
    // SAFETY: the caller's pointer, for the system call that it is meant for.
    unsafe {
        let result = libc::syscall(libc::SYS_clock_gettime, clock, time) as c_int;
        if result == 0 && clock == libc::CLOCK_REALTIME {
            (*time).tv_sec += SHIFT.load(SeqCst);
        }
        result
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn send(
    fd: c_int,
    bytes: *const c_void,
    len: libc::size_t,
    flags: c_int,
) -> libc::ssize_t {
    // SAFETY: the caller's arguments, for the system call that they are meant for; no address is given.
    let (none, no) = (std::ptr::null::<c_void>(), 0);
    let sent = unsafe { libc::syscall(libc::SYS_sendto, fd, bytes, len, flags, none, no) };
    if sent > 0
        && let Some(all) = SENT.lock().unwrap().as_mut()
    {
        let mut about = MaybeUninit::<libc::stat>::zeroed();
        // SAFETY: a plain system call, and a place for what it finds; zeroed, that is a valid value.
        let socket = unsafe {
            libc::fstat(fd, about.as_mut_ptr());
            about.assume_init().st_ino
        };
        *all.entry(socket).or_default() += sent as u64;
    }
    sent as libc::ssize_t
}

type Start = extern "C" fn(*mut c_void) -> *mut c_void;
type PthreadCreate = unsafe extern "C" fn(
    *mut libc::pthread_t,
    *const libc::pthread_attr_t,
    Start,
    *mut c_void,
) -> c_int;

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_create(
    thread: *mut libc::pthread_t,
    attributes: *const libc::pthread_attr_t,
    start: Start,
    argument: *mut c_void,
) -> c_int {
    if NO_THREADS.load(SeqCst) {
        return libc::EAGAIN;
    }
    // SAFETY: libc's function of that name is of this type; the arguments are the caller's.
    unsafe {
        let real: PthreadCreate = std::mem::transmute(next(c"pthread_create"));
        real(thread, attributes, start, argument)
    }
}

type GetAddrInfo = unsafe extern "C" fn(
    *const c_char,
    *const c_char,
    *const libc::addrinfo,
    *mut *mut libc::addrinfo,
) -> c_int;

#[unsafe(no_mangle)]
unsafe extern "C" fn getaddrinfo(
    node: *const c_char,
    service: *const c_char,
    hints: *const libc::addrinfo,
    found: *mut *mut libc::addrinfo,
) -> c_int {
    // SAFETY: libc's function of that name is of this type; the arguments are the caller's, a name or NULL among them.
    unsafe {
        let name = (!node.is_null()).then(|| CStr::from_ptr(node).to_bytes());
        match name {
            Some(b"hangs.example") => {
                std::thread::sleep(Duration::from_millis(HANG.load(SeqCst).into()));
                libc::EAI_AGAIN
            }
            Some(b"eight.example") => {
                let mut list: *mut libc::addrinfo = std::ptr::null_mut();
                for address in EIGHT.iter().rev() {
                    list = entry(*address, list);
                }
                *found = list;
                0
            }
            _ => {
                let real: GetAddrInfo = std::mem::transmute(next(c"getaddrinfo"));
                real(node, service, hints, found)
            }
        }
    }
}

/// As freeaddrinfo() frees it: an entry and its address in one piece.
unsafe fn entry(address: [u8; 4], rest: *mut libc::addrinfo) -> *mut libc::addrinfo {
    let size = size_of::<libc::addrinfo>() + size_of::<libc::sockaddr_in>();
    // SAFETY: one piece of memory for both, zeroed, which is a valid value of either.
    unsafe {
        let info: *mut libc::addrinfo = libc::calloc(1, size).cast();
        assert!(!info.is_null());
        let socket: *mut libc::sockaddr_in = info.add(1).cast();
        (*socket).sin_family = libc::AF_INET as libc::sa_family_t;
        (*socket).sin_addr.s_addr = u32::from_ne_bytes(address);
        (*info).ai_family = libc::AF_INET;
        (*info).ai_socktype = libc::SOCK_STREAM;
        (*info).ai_addrlen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        (*info).ai_addr = socket.cast();
        (*info).ai_next = rest;
        info
    }
}
