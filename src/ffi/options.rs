//! Options of SET
//!
//! For how long a value is to be set, and under which condition. An option that excludes another, or a time below 1,
//! is told at once, and again by the command that is given the options.

use std::ptr;

use crate::client::SetOptions;
use crate::ffi::alone::Alone;
use crate::ffi::boundary::{Caller, quietly};
use crate::ffi::error::rk_status;

/// Options of rk_set_with() and rk_set_json(); one may serve any number of commands.
///
/// Thread safety: one thread at a time while it is being changed, and a second one gets RK_ERR_CONFLICT; any number once
/// it is only used.
pub struct rk_set_options(pub(super) Alone<SetOptions>);

fn change(
    c: Caller<'_>,
    options: *mut rk_set_options,
    change: impl FnOnce(SetOptions) -> SetOptions,
) -> rk_status {
    c.run(ptr::null_mut(), || {
        let mut options = c.handle(options, "options")?.0.change()?;
        // Kept even when refused: a program that does not look at the status must not set a value that never expires.
        *options = change(*options);
        options.check()?;
        Ok(rk_status::RK_OK)
    })
}

/// No expiry, no condition. Free them with rk_set_options_free(). NULL only if the library failed inside.
#[unsafe(no_mangle)]
pub extern "C" fn rk_set_options_new() -> *mut rk_set_options {
    quietly(ptr::null_mut(), || {
        let options = Alone::new("options", SetOptions::new());
        Box::into_raw(Box::new(rk_set_options(options)))
    })
}

/// Frees options. NULL is nothing to do.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_set_options_free(options: *mut rk_set_options) {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    quietly((), || drop(c.take(options)));
}

/// Expires after this many seconds, at least 1. Excludes px and keep_ttl: RK_ERR_CONFLICT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_set_options_ex(
    options: *mut rk_set_options,
    seconds: i64,
) -> rk_status {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    change(c, options, |options| options.ex(seconds))
}

/// Expires after this many milliseconds, at least 1. Excludes ex and keep_ttl: RK_ERR_CONFLICT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_set_options_px(
    options: *mut rk_set_options,
    milliseconds: i64,
) -> rk_status {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    change(c, options, |options| options.px(milliseconds))
}

/// Sets only if the key does not exist. Excludes xx: RK_ERR_CONFLICT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_set_options_nx(options: *mut rk_set_options) -> rk_status {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    change(c, options, SetOptions::nx)
}

/// Sets only if the key exists. Excludes nx: RK_ERR_CONFLICT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_set_options_xx(options: *mut rk_set_options) -> rk_status {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    change(c, options, SetOptions::xx)
}

/// Leaves the expiry that the key has as it is. Excludes ex and px: RK_ERR_CONFLICT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_set_options_keep_ttl(options: *mut rk_set_options) -> rk_status {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    change(c, options, SetOptions::keep_ttl)
}
