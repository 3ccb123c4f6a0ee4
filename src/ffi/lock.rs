//! Locks
//!
//! A lock is made by name, acquired with a wait, and has a lease, which is renewed in the background while it is held. It
//! is kept in the server: threads, processes and machines respect it, and so does redis-py's Lock under the same key,
//! lock:{name}. Whoever dies while holding it holds up others for its lease at most.

use std::ffi::{c_char, c_void};
use std::ptr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use crate::config::Setting;
use crate::error::{Error, ErrorKind, Result};
use crate::ffi::alone::Alone;
use crate::ffi::boundary::{Caller, Out, milliseconds, quietly};
use crate::ffi::error::{c_string, rk_error, rk_status};
use crate::ffi::manager::rk_manager;
use crate::ffi::userdata::Userdata;
use crate::fork::{self, lock};
use crate::lock::{Held, LEASE, Lock, Redlock, RedlockHeld};

/// A lock, and what this handle holds of it. It keeps its manager alive. In a child of fork(), a lock that the parent
/// holds stays the parent's: it is not held there, and freeing it does not release it.
///
/// Thread safety: one thread at a time; a second one gets RK_ERR_CONFLICT. It may be handed to another thread.
pub struct rk_lock {
    state: Alone<State>,
    generation: u64,
}

struct State {
    kind: Kind,
    reentrant: bool,
    gate: Option<Arc<Gate>>,
}

enum Kind {
    One(Lock, Vec<Held>),
    Many(Redlock, Option<RedlockHeld>),
}

impl rk_lock {
    fn new(kind: Kind) -> *mut rk_lock {
        Box::into_raw(Box::new(rk_lock {
            state: Alone::new(
                "lock",
                State {
                    kind,
                    reentrant: false,
                    gate: None,
                },
            ),
            generation: fork::generation(),
        }))
    }
}

impl State {
    /// Applies to the lock, whichever it is.
    fn change(&mut self, one: impl FnOnce(Lock) -> Lock, many: impl FnOnce(Redlock) -> Redlock) {
        match &mut self.kind {
            Kind::One(lock, _) => *lock = one(lock.clone()),
            Kind::Many(lock, _) => *lock = many(lock.clone()),
        }
    }

    fn is_held(&self) -> bool {
        match &self.kind {
            Kind::One(_, held) => held.last().is_some_and(Held::is_held),
            Kind::Many(_, held) => held.as_ref().is_some_and(RedlockHeld::is_held),
        }
    }

    fn acquire(&mut self, wait: Duration) -> Result<()> {
        if self.is_held() && !self.reentrant {
            return Err(Error::argument(
                "lock: this handle holds it already, and would wait for itself (option reentrant)",
            ));
        }
        match &mut self.kind {
            Kind::One(lock, held) => {
                let again = held.last().filter(|held| held.is_held()).map(Held::share);
                let new = match again {
                    Some(again) => again,
                    None => {
                        held.clear();
                        lock.acquire(wait)?
                    }
                };
                held.push(new);
            }
            Kind::Many(lock, held) => {
                *held = None;
                *held = Some(lock.acquire(wait)?);
            }
        }
        Ok(())
    }
}

/// What stands between the thread that tells of losses and whoever frees the handle.
struct Gate {
    state: Mutex<Passage>,
    passed: Condvar,
}

struct Passage {
    closed: bool,
    inside: Option<ThreadId>,
    /// Until the gate is closed and nobody is inside.
    userdata: Option<Userdata>,
}

impl Gate {
    fn new(userdata: Userdata) -> Gate {
        Gate {
            state: Mutex::new(Passage {
                closed: false,
                inside: None,
                userdata: Some(userdata),
            }),
            passed: Condvar::new(),
        }
    }

    fn through(&self, call: impl FnOnce(*mut c_void)) {
        let userdata = {
            let mut state = lock(&self.state);
            // One thread only tells of the losses of one manager; those of a Redlock's wait for each other.
            while state.inside.is_some() && !state.closed {
                state = self.wait(state);
            }
            let userdata = state.userdata.as_ref().map(Userdata::get);
            let (false, Some(userdata)) = (state.closed, userdata) else {
                return;
            };
            state.inside = Some(thread::current().id());
            userdata
        };
        call(userdata);
        let freed = {
            let mut state = lock(&self.state);
            match state.closed {
                true => state.userdata.take(),
                false => None,
            }
        };
        // Before anybody hears that nobody is inside any more.
        drop(freed);
        lock(&self.state).inside = None;
        self.passed.notify_all();
    }

    /// Lets nobody in any more, waits for whoever is inside, and sees the userdata freed. From the inside it does not
    /// wait for itself; the userdata is freed on the way out.
    fn close(&self) {
        let me = thread::current().id();
        let mut state = lock(&self.state);
        state.closed = true;
        self.passed.notify_all();
        while state.inside.is_some_and(|inside| inside != me) {
            state = self.wait(state);
        }
        let freed = match state.inside {
            None => state.userdata.take(),
            Some(_) => None,
        };
        drop(state);
        drop(freed);
    }

    fn wait<'g>(&self, state: MutexGuard<'g, Passage>) -> MutexGuard<'g, Passage> {
        let woken = self.passed.wait(state);
        woken.unwrap_or_else(PoisonError::into_inner)
    }
}

/// None for -1, which is the default.
fn lease(lease_ms: i64) -> Result<Duration> {
    match u64::try_from(lease_ms) {
        Ok(lease @ 1..) => Ok(Duration::from_millis(lease)),
        Err(_) if lease_ms == -1 => Ok(LEASE),
        _ => Err(Error::argument(format!(
            "lease_ms: {lease_ms} is not allowed; it takes milliseconds from 1, or -1"
        ))),
    }
}

/// The longest lease there is.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

impl State {
    fn option(&mut self, name: &str, value: &str) -> Result<()> {
        let setting = Setting { name, value };
        match (name, &mut self.kind) {
            ("renew", _) => {
                let on = setting.flag()?;
                self.change(|lock| lock.renew(on), |lock| lock.renew(on));
            }
            ("max_hold", _) => {
                let most = setting.time_or_off(Duration::from_millis(1), LONGEST)?;
                self.change(|lock| lock.max_hold_is(most), |lock| lock.max_hold_is(most));
            }
            ("fair", Kind::One(lock, _)) => *lock = lock.clone().fair(setting.flag()?),
            ("reentrant", Kind::One(lock, _)) => {
                self.reentrant = setting.flag()?;
                *lock = lock.clone().reentrant(self.reentrant);
            }
            (_, Kind::One(..)) => {
                return Err(setting.unknown(&["renew", "max_hold", "fair", "reentrant"]));
            }
            (_, Kind::Many(..)) => return Err(setting.unknown(&["renew", "max_hold"])),
        }
        Ok(())
    }

    /// True if it was held until now.
    fn release(&mut self) -> Result<bool> {
        match &mut self.kind {
            Kind::One(_, held) => held.pop().map_or(Ok(false), Held::release),
            Kind::Many(_, held) => held.take().map_or(Ok(false), RedlockHeld::release),
        }
    }
}

impl Drop for rk_lock {
    fn drop(&mut self) {
        // In a fork, whoever was inside has stayed in the parent.
        if self.generation != fork::generation() {
            return;
        }
        if let Some(gate) = &self.state.get_mut().gate {
            gate.close();
        }
    }
}

fn make(out: &Out<*mut rk_lock>, lock: Lock, lease_ms: i64) -> Result<rk_status> {
    out.wanted()?;
    let lock = lock.lease(lease(lease_ms)?);
    lock.valid()?;
    out.set(rk_lock::new(Kind::One(lock, Vec::new())));
    Ok(rk_status::RK_OK)
}

/// Makes a lock of this name: the key lock:{name} in the server. lease_ms: for how long the server keeps it when
/// nothing more is heard of its holder; -1: 10 seconds, otherwise at least 1, or RK_ERR_ARGUMENT. Nothing is sent before
/// it is acquired. out may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_lock_new(
    manager: *mut rk_manager,
    name: *const c_char,
    lease_ms: i64,
    out: *mut *mut rk_lock,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", ptr::null_mut());
    c.run(err, || {
        let lock = c.manager(manager)?.lock(c.text(name, "name")?);
        make(&out, lock, lease_ms)
    })
}

/// As rk_lock_new(), the reading side of a read and write lock: any number of readers hold it at once, and no writer
/// meanwhile; who comes while a writer waits, waits behind it. The key is rwlock:{name}.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_lock_new_read(
    manager: *mut rk_manager,
    name: *const c_char,
    lease_ms: i64,
    out: *mut *mut rk_lock,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", ptr::null_mut());
    c.run(err, || {
        let lock = c.manager(manager)?.read_lock(c.text(name, "name")?);
        make(&out, lock, lease_ms)
    })
}

/// As rk_lock_new_read(), the writing side: one writer holds it, and no reader meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_lock_new_write(
    manager: *mut rk_manager,
    name: *const c_char,
    lease_ms: i64,
    out: *mut *mut rk_lock,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", ptr::null_mut());
    c.run(err, || {
        let lock = c.manager(manager)?.write_lock(c.text(name, "name")?);
        make(&out, lock, lease_ms)
    })
}

/// As rk_lock_new(), a semaphore: up to most hold it at once, at least 1; all who use it must say the same number. The
/// key is semaphore:{name}.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_lock_new_semaphore(
    manager: *mut rk_manager,
    name: *const c_char,
    most: u32,
    lease_ms: i64,
    out: *mut *mut rk_lock,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", ptr::null_mut());
    c.run(err, || {
        let lock = c.manager(manager)?.semaphore(c.text(name, "name")?, most);
        make(&out, lock, lease_ms)
    })
}

/// As rk_lock_new(), over n independent servers, an odd number of at least 3: it is held by whoever has it on more than
/// half of them. Of the lease, at least 20 ms, 1 % and 2 ms are given away, because the servers' clocks may run faster
/// than ours. It has no fence, keeps no order, and whoever waits tries again every 10 to 50 ms.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_lock_new_redlock(
    managers: *const *mut rk_manager,
    n: usize,
    name: *const c_char,
    lease_ms: i64,
    out: *mut *mut rk_lock,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", ptr::null_mut());
    c.run(err, || {
        let managers = c.array(managers, n, "managers")?.iter();
        let managers: Result<Vec<_>> = managers.map(|one| c.manager(*one).cloned()).collect();
        let lock = Redlock::new(&managers?, c.text(name, "name")?);
        out.wanted()?;
        let lock = lock.lease(lease(lease_ms)?);
        lock.check()?;
        out.set(rk_lock::new(Kind::Many(lock, None)));
        Ok(rk_status::RK_OK)
    })
}

/// Sets an option, for acquisitions from then on:
/// "renew" (true): whether the lease is renewed, every third of it, while the lock is held;
/// "max_hold" (off): the longest time for which it may be held, in seconds or with a unit ("90", "500ms");
/// "fair" (false): whether those who wait get it in the order in which they came, whichever process they are in; all
/// users of the lock must say so;
/// "reentrant" (false): whether this handle, or its thread by another handle, may acquire it again while it is held; it
/// is then released as often.
/// RK_ERR_UNKNOWN_PROPERTY, RK_ERR_BAD_VALUE. A Redlock has the first two only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_lock_option(
    lock: *mut rk_lock,
    name: *const c_char,
    value: *const c_char,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        let mut it = c.handle(lock, "lock")?.state.change()?;
        it.option(c.text(name, "name")?, c.text(value, "value")?)?;
        Ok(rk_status::RK_OK)
    })
}

/// Has cb called with the name of the lock when it was lost while this handle held it: within one lease of the last
/// renewal, at most. It is called in a thread of the library's own, "redkeep-lost", one call after the other; it should
/// be quick, may call the library, and must not leave by longjmp(). It may free this lock. Not called after
/// rk_lock_release(). Set it before the lock is acquired, once: a second time is RK_ERR_CONFLICT.
///
/// userdata_free (NULL: none) is called with userdata exactly once: when the lock was freed and cb does not run any
/// more, which rk_lock_free() waits for; or at once if this call fails.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_lock_on_lost(
    lock: *mut rk_lock,
    cb: Option<unsafe extern "C" fn(name: *const c_char, userdata: *mut c_void)>,
    userdata: *mut c_void,
    userdata_free: Option<unsafe extern "C" fn(userdata: *mut c_void)>,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let userdata = Userdata::new(userdata, userdata_free);
    c.run(err, move || {
        let cb = cb.ok_or_else(|| Error::argument("cb: NULL"))?;
        let mut it = c.handle(lock, "lock")?.state.change()?;
        if it.gate.is_some() {
            let text = "this lock has a callback already";
            return Err(Error::new(ErrorKind::Conflict, text));
        }
        let gate = Arc::new(Gate::new(userdata));
        it.gate = Some(gate.clone());
        let call = move |name: &str| {
            let name = c_string(name);
            gate.through(|userdata| {
                // SAFETY: a function of this type, with what it was registered with; the name outlives the call.
                unsafe { cb(name.as_ptr(), userdata) }
            });
        };
        let call = Arc::new(call);
        let same = call.clone();
        it.change(
            move |lock| lock.on_lost(move |name| call(name)),
            move |lock| lock.on_lost(move |name| same(name)),
        );
        Ok(rk_status::RK_OK)
    })
}

/// Waits at most wait_ms for the lock (0: tries once; -1: no end). RK_ERR_LOCK_TIMEOUT, "Could not acquire lock:
/// lock:{name}", if it was not to be had. What is sent to the server has the property "command_timeout" of its own,
/// whatever the wait. If this handle holds it already, and is not reentrant, RK_ERR_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_lock_acquire(
    lock: *mut rk_lock,
    wait_ms: i64,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        let mut it = c.handle(lock, "lock")?.state.change()?;
        let wait = milliseconds(wait_ms, "wait_ms")?;
        it.acquire(wait.unwrap_or(Duration::MAX))?;
        Ok(rk_status::RK_OK)
    })
}

/// As rk_lock_acquire() without a wait: *acquired tells whether it was to be had. acquired may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_lock_try_acquire(
    lock: *mut rk_lock,
    acquired: *mut bool,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let acquired = c.out(acquired, "acquired", false);
    c.run(err, || {
        let mut it = c.handle(lock, "lock")?.state.change()?;
        acquired.wanted()?;
        match it.acquire(Duration::ZERO) {
            Ok(()) => acquired.set(true),
            Err(error) if error.kind() == ErrorKind::LockTimeout => {}
            Err(error) => return Err(error),
        }
        Ok(rk_status::RK_OK)
    })
}

/// Gives the lock back. *was_held (NULL: not wanted) is true if it was still held by this handle until now; false if it
/// was lost before, or never acquired.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_lock_release(
    lock: *mut rk_lock,
    was_held: *mut bool,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let was_held = c.out(was_held, "was_held", false);
    c.run(err, || {
        was_held.set(c.handle(lock, "lock")?.state.change()?.release()?);
        Ok(rk_status::RK_OK)
    })
}

/// Whether this handle still holds the lock, as far as can be known without asking the server: by a local clock, started
/// before the lock was asked for, that no standstill of the process or the machine stops. False for NULL, and while
/// another thread acquires, releases or changes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_lock_is_held(lock: *const rk_lock) -> bool {
    // SAFETY: the argument is as the header asks.
    let lock = unsafe { Caller::trusted() }.maybe(lock);
    quietly(false, || {
        lock.and_then(|it| it.state.read().ok())
            .is_some_and(|it| it.is_held())
    })
}

/// The number of this acquisition, larger than that of every one before it on this lock: hand it to the store that the
/// lock protects, and let that refuse what comes with a smaller number than it has seen. Its counter never expires; it
/// counts acquisitions by redkeep only. RK_NIL, and 0, if this handle holds nothing, or if it is a Redlock. number may
/// not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_lock_fence(
    lock: *const rk_lock,
    number: *mut i64,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let number = c.out(number, "number", 0);
    c.run(err, || {
        let it = c.handle(lock, "lock")?.state.read()?;
        number.wanted()?;
        Ok(match &it.kind {
            Kind::One(_, held) if !held.is_empty() => {
                number.set(held[held.len() - 1].fence());
                rk_status::RK_OK
            }
            _ => rk_status::RK_NIL,
        })
    })
}

/// Frees a lock; if it is held, it is released. NULL is nothing to do.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_lock_free(lock: *mut rk_lock) {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    quietly((), || match c.take(lock) {
        // By a thread that stayed in the parent of this fork: what it was changing is left as it is.
        Some(lock) if lock.state.is_used() => std::mem::forget(lock),
        lock => drop(lock),
    });
}
