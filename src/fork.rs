//! What a forked child may touch: nothing of its parent's.
//!
//! A child inherits the parent's memory, but none of its threads and, where a lock was held at that moment, no
//! one who will ever release it. So everything that has threads, locks or sockets stands in a [`Cell`]; in a child
//! the first use makes a new one, and the parent's copy is left as it is, for ever.
//!
//! ```text
//! parent: Cell ─ Link(generation 0) ─ value            child: Cell ─ Link(0, never touched) ─ Link(1) ─ value
//! ```

use std::cell::RefCell;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::clock::Moment;
use crate::error::{Error, ErrorKind, Result};
use crate::sys;

static GENERATION: AtomicU64 = AtomicU64::new(0);

/// Held by whoever does what a fork must not interrupt, and by a thread while it forks. Counts the passages.
static UNFORKED: Mutex<u32> = Mutex::new(0);
/// The last passage is over.
static CALM: Condvar = Condvar::new();
/// A passage takes far less; the limit is for a machine that is out of breath.
const PASSAGE: Duration = Duration::from_secs(1);

thread_local! {
    /// Between the two halves of a fork, in the thread that forks, in both processes.
    static FORKING: RefCell<Option<MutexGuard<'static, u32>>> = const { RefCell::new(None) };
    /// In a thread that is ending.
    static ENDING: RefCell<Option<Passage>> = const { RefCell::new(None) };
}

extern "C" fn before() {
    let mut guard = lock(&UNFORKED);
    let started = Moment::now();
    while *guard > 0 && started.elapsed() < PASSAGE {
        guard = CALM
            .wait_timeout(guard, PASSAGE)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
    // A thread in its very last moments has no such place any more, and forks without waiting for others.
    let _ = FORKING.try_with(|forking| *forking.borrow_mut() = Some(guard));
}

extern "C" fn in_parent() {
    let _ = FORKING.try_with(|forking| forking.borrow_mut().take());
}

extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    // Whoever would end a passage is not here.
    let _ = FORKING.try_with(|forking| {
        if let Some(guard) = &mut *forking.borrow_mut() {
            **guard = 0;
        }
    });
    in_parent();
}

/// Does what takes but a moment, and what a child must not find half done. Forks of other threads wait for its end.
pub(crate) fn unforked<T>(work: impl FnOnce() -> T) -> T {
    let _guard = lock(&UNFORKED);
    work()
}

/// The beginning or the end of a thread: forks of others wait until it is over.
struct Passage {
    generation: u64,
}

impl Passage {
    fn begin() -> Passage {
        let mut passages = lock(&UNFORKED);
        *passages += 1;
        Passage {
            generation: generation(),
        }
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        let mut passages = lock(&UNFORKED);
        if self.generation == generation() {
            *passages -= 1;
            CALM.notify_all();
        }
    }
}

/// Starts a thread whose beginning and end no fork interrupts: in them, std holds a lock of its own that every thread
/// of a Rust program takes, and that nobody would release in the child.
pub(crate) fn thread(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let beginning = Passage::begin();
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        drop(beginning);
        let _ending = End;
        body();
    })
}

struct End;

impl Drop for End {
    fn drop(&mut self) {
        // The place is emptied after all else that std does in this thread.
        let _ = ENDING.try_with(|ending| *ending.borrow_mut() = Some(Passage::begin()));
    }
}

/// How many forks lie between the process that loaded the library and this one.
pub(crate) fn generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

/// Begins to count. Called before the first thing that must not cross a fork is made.
fn watch() -> Result<()> {
    static WATCHING: OnceLock<bool> = OnceLock::new();
    match WATCHING.get_or_init(|| sys::at_fork(before, in_parent, in_child).is_ok()) {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::System,
            "the system refused a fork handler (out of memory)",
        )),
    }
}

/// Locks a mutex of std; a panic of whoever held it before changes nothing.
///
/// Std's, wherever threads may meet: parking_lot keeps those who wait in one table for the whole process, on their own
/// stacks, which a forked child has long since given to other threads.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A value of which every process makes its own.
pub(crate) struct Cell<T> {
    first: Link<T>,
    make: Box<Make<T>>,
}

/// Makes a process's value; in a fork, from the parent's, of which it may read only what no lock guards.
type Make<T> = dyn Fn(Option<&T>) -> Result<T> + Send + Sync;

struct Link<T> {
    generation: u64,
    value: Option<T>,
    next: OnceLock<Box<Link<T>>>,
}

impl<T> Link<T> {
    fn new(value: T) -> Link<T> {
        Link {
            generation: generation(),
            value: Some(value),
            next: OnceLock::new(),
        }
    }
}

impl<T> Cell<T> {
    pub(crate) fn new(
        make: impl Fn(Option<&T>) -> Result<T> + Send + Sync + 'static,
    ) -> Result<Cell<T>> {
        watch()?;
        Ok(Cell {
            first: Link::new(make(None)?),
            make: Box::new(make),
        })
    }

    /// This process's value, made now if this is its first use after a fork.
    #[inline]
    pub(crate) fn get(&self) -> Result<&T> {
        match &self.first.value {
            Some(value) if self.first.generation == generation() => Ok(value),
            _ => self.get_in_child(),
        }
    }

    #[cold]
    fn get_in_child(&self) -> Result<&T> {
        let generation = generation();
        let mut link = &self.first;
        while link.generation != generation {
            link = match link.next.get() {
                Some(next) => next,
                None => {
                    // Made outside of the OnceLock: should this process fork meanwhile, its child finds the
                    // lock free. If another thread was faster, its value is taken and ours goes away again.
                    let mine = Box::new(Link::new((self.make)(link.value.as_ref())?));
                    link.next.get_or_init(|| mine)
                }
            };
        }
        Ok(link.value.as_ref().expect("taken only by drop"))
    }

    /// This process's value, if it has one already.
    pub(crate) fn made(&self) -> Option<&T> {
        let generation = generation();
        let mut link = &self.first;
        while link.generation != generation {
            link = link.next.get()?;
        }
        link.value.as_ref()
    }
}

impl<T> Drop for Cell<T> {
    fn drop(&mut self) {
        let generation = generation();
        let mut link = Some(&mut self.first);
        while let Some(this) = link {
            let value = this.value.take();
            if this.generation != generation {
                std::mem::forget(value);
            }
            link = this.next.get_mut().map(|next| &mut **next);
        }
    }
}
