//! Rate limits
//!
//! At most so many requests within any window of time, for each id: a user, an address, a key of an interface. A check
//! is one round trip, by the server's clock; only what is allowed is counted. What is counted for an id is kept in the
//! key "rate_limit:{id}" (the braces are not part of it), at most one entry of about 30 bytes for each request within
//! the window, and expires with it.

use std::ffi::c_char;
use std::ptr;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::ffi::boundary::{Caller, Out, quietly};
use crate::ffi::error::{rk_error, rk_status};
use crate::ffi::manager::rk_manager;
use crate::limiter::{Limiter, Verdict};

/// A limit, for any number of ids. It keeps its manager alive.
///
/// Thread safety: any number of threads at once; rk_limiter_option() only before others use it.
pub struct rk_limiter(Limiter);

/// A limit of max_requests (-1: 100) within any window of window_ms milliseconds (-1: an hour). Changing either between
/// checks of an id is allowed: what was let through before counts as it did. out may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_limiter_new(
    manager: *mut rk_manager,
    max_requests: i64,
    window_ms: i64,
    out: *mut *mut rk_limiter,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", ptr::null_mut());
    c.run(err, || {
        let manager = c.manager(manager)?;
        let max = match max_requests {
            -1 => Limiter::MAX_REQUESTS,
            max => positive("max_requests", max)?,
        };
        let window = match window_ms {
            -1 => Limiter::WINDOW,
            ms => Duration::from_millis(positive("window_ms", ms)?),
        };
        let limiter = manager.limiter(max, window);
        limiter.valid()?;
        out.wanted()?;
        out.set(Box::into_raw(Box::new(rk_limiter(limiter))));
        Ok(rk_status::RK_OK)
    })
}

/// Frees a limiter; what it counted stays. NULL is nothing to do.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_limiter_free(limiter: *mut rk_limiter) {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    quietly((), || drop(c.take(limiter)));
}

/// Sets an option:
///
/// "algorithm": "sliding" (the default) for an exact sliding window, or "gcra" for a steady rate after a first burst of
/// the whole limit (up to twice the limit in one window, and no more than 100 bytes an id).
///
/// "when_away": "open" (the default) allows everything while Redis is away, "closed" nothing. Either is logged, and told
/// by a remaining of -1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_limiter_option(
    limiter: *mut rk_limiter,
    name: *const c_char,
    value: *const c_char,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        let limiter = c.handle_mut(limiter, "limiter")?;
        let (name, value) = (c.text(name, "name")?, c.text(value, "value")?);
        limiter.0.option(name, value)?;
        Ok(rk_status::RK_OK)
    })
}

/// Whether a request of this id is allowed; if so, it is counted as cost, from 1 to the limit: all of it, or nothing.
/// *remaining: how many more of cost 1 would be allowed now; -1 if Redis is away, when *allowed is as the option
/// "when_away" says. *retry_after_ms: the time after which the same check is allowed, if nobody else takes what becomes
/// free; 0 if it was. Outputs may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_limiter_check(
    limiter: *const rk_limiter,
    id: *const c_char,
    cost: i64,
    allowed: *mut bool,
    remaining: *mut i64,
    retry_after_ms: *mut i64,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let answer = Answer::new(c, allowed, remaining, retry_after_ms, ptr::null_mut());
    c.run(err, || {
        let limiter = &c.handle(limiter, "limiter")?.0;
        let id = c.text(id, "id")?;
        answer.give(limiter.check_cost(id, positive("cost", cost)?)?)
    })
}

/// As rk_limiter_check(). *reset_after_ms: the time after which the whole limit is there again, if nobody takes any of
/// it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_limiter_check_full(
    limiter: *const rk_limiter,
    id: *const c_char,
    cost: i64,
    allowed: *mut bool,
    remaining: *mut i64,
    retry_after_ms: *mut i64,
    reset_after_ms: *mut i64,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let answer = Answer::new(c, allowed, remaining, retry_after_ms, reset_after_ms);
    c.run(err, || {
        let limiter = &c.handle(limiter, "limiter")?.0;
        let id = c.text(id, "id")?;
        answer.give(limiter.check_cost(id, positive("cost", cost)?)?)
    })
}

/// What rk_limiter_check_full() would say of a request of cost 1; nothing is counted.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_limiter_peek(
    limiter: *const rk_limiter,
    id: *const c_char,
    allowed: *mut bool,
    remaining: *mut i64,
    retry_after_ms: *mut i64,
    reset_after_ms: *mut i64,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let answer = Answer::new(c, allowed, remaining, retry_after_ms, reset_after_ms);
    c.run(err, || {
        let limiter = &c.handle(limiter, "limiter")?.0;
        answer.give(limiter.peek(c.text(id, "id")?)?)
    })
}

/// Forgets what was counted for an id. *existed, which may be NULL: whether there was something.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_limiter_reset(
    limiter: *const rk_limiter,
    id: *const c_char,
    existed: *mut bool,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let existed = c.out(existed, "existed", false);
    c.run(err, || {
        let limiter = &c.handle(limiter, "limiter")?.0;
        existed.set(limiter.reset(c.text(id, "id")?)?);
        Ok(rk_status::RK_OK)
    })
}

/// Where a verdict goes.
struct Answer {
    allowed: Out<bool>,
    remaining: Out<i64>,
    retry_after_ms: Out<i64>,
    reset_after_ms: Out<i64>,
}

impl Answer {
    fn new(
        c: Caller<'_>,
        allowed: *mut bool,
        remaining: *mut i64,
        retry_after_ms: *mut i64,
        reset_after_ms: *mut i64,
    ) -> Answer {
        Answer {
            allowed: c.out(allowed, "allowed", false),
            remaining: c.out(remaining, "remaining", 0),
            retry_after_ms: c.out(retry_after_ms, "retry_after_ms", 0),
            reset_after_ms: c.out(reset_after_ms, "reset_after_ms", 0),
        }
    }

    fn give(self, verdict: Verdict) -> Result<rk_status> {
        self.allowed.set(verdict.allowed);
        self.remaining.set(match verdict.away {
            None => verdict.remaining as i64,
            Some(_) => -1,
        });
        self.retry_after_ms.set(rounded_up(verdict.retry_after));
        self.reset_after_ms.set(rounded_up(verdict.reset_after));
        Ok(rk_status::RK_OK)
    }
}

/// Whoever waits for so many milliseconds has waited long enough.
fn rounded_up(time: Duration) -> i64 {
    i64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX)
}

fn positive(name: &str, number: i64) -> Result<u64> {
    match u64::try_from(number) {
        Ok(number @ 1..) => Ok(number),
        _ => Err(Error::argument(format!(
            "{name}: {number} is not allowed; it takes a whole number from 1"
        ))),
    }
}
