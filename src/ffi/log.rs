//! Log
//!
//! The library is silent unless told otherwise. What it tells is about nodes that go and come back; keys, values and
//! passwords are never part of it.

use std::cell::Cell;
use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::time::Duration;

use log::{LevelFilter, Log, Metadata, Record};

use crate::error::{Error, ErrorKind, Result};
use crate::ffi::boundary::Caller;
use crate::ffi::error::{c_string, rk_status};
use crate::fork;

type Callback = unsafe extern "C" fn(i32, *const c_char, *const c_char, *mut c_void);
type Free = unsafe extern "C" fn(*mut c_void);

/// A callback and what belongs to it. It is never given back: a thread may hold a pointer to it that it took just
/// before another callback came in its place, and no lock can be held while C runs, nor across a fork. A program
/// that changes its callback a million times pays 64 MB for that.
struct Registration {
    level: LevelFilter,
    callback: Callback,
    userdata: Userdata,
    threads: Use,
    /// The one before, so that all of them can be found from `ALL`.
    _before: *mut Registration,
}

struct Userdata {
    data: *mut c_void,
    free: Option<Free>,
}

impl Userdata {
    /// Called once, by whoever ends its use.
    fn free(&self) {
        if let Some(free) = self.free {
            // SAFETY: the caller of rk_log_set_callback() gave both for this one call.
            unsafe { free(self.data) }
        }
    }
}

/// Who is inside a callback, in one word: `fork generation: 32 | abandoned: 1 | retired: 1 | threads inside: 30`. The
/// threads of another generation are not counted: they stayed in the parent.
struct Use(AtomicU64);

const INSIDE: u64 = (1 << 30) - 1;
/// Nobody may enter any more; whoever retired it waits until all have left, and frees.
const RETIRED: u64 = 1 << 30;
/// As retired, but the last to leave frees.
const ABANDONED: u64 = 1 << 31;

impl Use {
    fn new() -> Use {
        Use(AtomicU64::new(generation()))
    }

    /// Changes the word, as it is in this process; returns the new one. Not changed where `change` gives none.
    fn update(&self, change: impl Fn(u64) -> Option<u64>) -> Option<u64> {
        let mut word = self.0.load(Ordering::Acquire);
        loop {
            let generation = generation();
            let here = match word & !u64::from(u32::MAX) == generation {
                true => word,
                false => generation | word & (RETIRED | ABANDONED),
            };
            let new = change(here)?;
            match self
                .0
                .compare_exchange_weak(word, new, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return Some(new),
                Err(now) => word = now,
            }
        }
    }

    fn enter(&self) -> bool {
        let allowed = |word: u64| word & (RETIRED | ABANDONED) == 0 && word & INSIDE < INSIDE;
        self.update(|word| allowed(word).then(|| word + 1))
            .is_some()
    }

    /// True if the one who leaves has to free.
    fn leave(&self) -> bool {
        // In a fork that was made inside the callback, nobody is counted.
        let left = self.update(|word| (word & INSIDE > 0).then(|| word - 1));
        left.is_some_and(|word| word & ABANDONED != 0 && word & INSIDE == 0)
    }

    /// Lets nobody in from now on; true if nobody is inside.
    fn end(&self, how: u64) -> bool {
        let word = self.update(|word| Some(word | how));
        word.is_some_and(|word| word & INSIDE == 0)
    }
}

fn generation() -> u64 {
    fork::generation() << 32
}

static CURRENT: AtomicPtr<Registration> = AtomicPtr::new(ptr::null_mut());
static ALL: AtomicPtr<Registration> = AtomicPtr::new(ptr::null_mut());

thread_local! {
    /// Whether this thread is inside a callback. What it logs there is dropped.
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

/// Has a size, so that its address is its own.
struct Logger(#[allow(dead_code)] u8);

static LOGGER: Logger = Logger(0);

fn current() -> Option<&'static Registration> {
    // SAFETY: NULL, or a registration, which lives for ever.
    unsafe { CURRENT.load(Ordering::Acquire).as_ref() }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("redkeep")
            && current().is_some_and(|to| metadata.level() <= to.level)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) || BUSY.try_with(Cell::get).unwrap_or(true) {
            return;
        }
        let Some(to) = current() else { return };
        if !to.threads.enter() {
            return;
        }
        let _ = BUSY.try_with(|busy| busy.set(true));
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let target = c_string(record.target());
            let text = c_string(record.args().to_string());
            let level = record.level() as i32;
            // SAFETY: the caller of rk_log_set_callback() gave a function of this type; both texts outlive the call.
            unsafe { (to.callback)(level, target.as_ptr(), text.as_ptr(), to.userdata.data) }
        }));
        let _ = BUSY.try_with(|busy| busy.set(false));
        if to.threads.leave() {
            to.userdata.free();
        }
    }

    fn flush(&self) {}
}

/// Puts another registration, or none, in the place of the current one, and ends that.
fn replace(new: *mut Registration) {
    let old = CURRENT.swap(new, Ordering::AcqRel);
    // Should another thread have replaced ours meanwhile, the level is that of its registration.
    log::set_max_level(current().map_or(LevelFilter::Off, |to| to.level));
    // SAFETY: NULL, or a registration, which lives for ever.
    let Some(old) = (unsafe { old.as_ref() }) else {
        return;
    };
    if BUSY.try_with(Cell::get).unwrap_or(false) {
        // This thread is inside a callback, perhaps the old one: it cannot wait for itself.
        if old.threads.end(ABANDONED) {
            old.userdata.free();
        }
        return;
    }
    while !old.threads.end(RETIRED) {
        std::thread::sleep(Duration::from_micros(200));
    }
    old.userdata.free();
}

/// Keeps a registration where it can be found, for ever.
fn keep(mut registration: Box<Registration>) -> *mut Registration {
    registration._before = ALL.load(Ordering::Acquire);
    let new = Box::into_raw(registration);
    loop {
        // SAFETY: nobody else knows it yet.
        let before = unsafe { (*new)._before };
        match ALL.compare_exchange(before, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return new,
            // SAFETY: as above.
            Err(now) => unsafe { (*new)._before = now },
        }
    }
}

fn install() -> Result<()> {
    if log::set_logger(&LOGGER).is_ok() {
        return Ok(());
    }
    match ptr::addr_eq(ptr::from_ref(log::logger()), ptr::from_ref(&LOGGER)) {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::Config,
            "this program has a logger of its own, and redkeep writes to it",
        )),
    }
}

fn filter(level: i32) -> Result<LevelFilter> {
    let filters = LevelFilter::iter();
    let mut filters = filters.filter(|filter| *filter as i32 == level);
    filters.next().ok_or_else(|| {
        Error::argument(format!(
            "level: {level} is not allowed; it takes a number from 0 (off) to 5 (trace)"
        ))
    })
}

/// Sets who is told what happens, for the whole process, in place of whoever was told before. level: 1 errors, 2 also
/// warnings, 3 also information, 4 also details, 5 everything; 0 nothing. cb NULL: nobody is told any more.
///
/// cb is called in the thread in which it happens: one that called the library, or one of the library's own. Several
/// threads may call it at the same time. It must not call the library, and should be quick. target says which part
/// speaks, and text what it says; both live as long as the call.
///
/// userdata_free (NULL: none) is called with userdata exactly once: when another callback was set and no thread is
/// inside this one any more, which the call that sets the other waits for; or at once, if this call fails or cb is
/// NULL. RK_ERR_ARGUMENT for another level; RK_ERR_CONFIG if the program is a Rust program with a logger of its own.
///
/// Thread safety: any number of threads at the same time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_log_set_callback(
    level: i32,
    cb: Option<
        unsafe extern "C" fn(
            level: i32,
            target: *const c_char,
            text: *const c_char,
            userdata: *mut c_void,
        ),
    >,
    userdata: *mut c_void,
    userdata_free: Option<unsafe extern "C" fn(userdata: *mut c_void)>,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(ptr::null_mut(), || {
        let userdata = Userdata {
            data: userdata,
            free: userdata_free,
        };
        let ready = filter(level).and_then(|level| match cb {
            Some(_) => install().map(|()| level),
            None => Ok(level),
        });
        match (ready, cb) {
            (Ok(level), Some(callback)) => replace(keep(Box::new(Registration {
                level,
                callback,
                userdata,
                threads: Use::new(),
                _before: ptr::null_mut(),
            }))),
            (Ok(_), None) => {
                replace(ptr::null_mut());
                userdata.free();
            }
            (Err(error), _) => {
                userdata.free();
                return Err(error);
            }
        }
        Ok(rk_status::RK_OK)
    })
}
