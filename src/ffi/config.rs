//! Configuration
//!
//! A configuration is a set of properties, each with a name and a text as its value: "url", "max_connections",
//! "command_timeout" and the others that rk_config_dump() lists. What is not set has its default.

use std::ffi::c_char;
use std::ptr;

use crate::config::Config;
use crate::ffi::boundary::{Caller, quietly};
use crate::ffi::bytes::rk_bytes;
use crate::ffi::error::{rk_error, rk_status};

/// A configuration. A manager takes a copy of it when opened, so it can be freed or changed afterwards.
///
/// Thread safety: one thread at a time.
pub struct rk_config(pub(super) Config);

/// A configuration in which nothing is set. Free it with rk_config_free(). NULL only if the library failed inside.
#[unsafe(no_mangle)]
pub extern "C" fn rk_config_new() -> *mut rk_config {
    quietly(ptr::null_mut(), || {
        Box::into_raw(Box::new(rk_config(Config::new())))
    })
}

/// A configuration with what the environment sets: REDIS_URL, REDIS_HOST and the others. out may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_config_from_env(
    out: *mut *mut rk_config,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", ptr::null_mut());
    c.run(err, || {
        out.wanted()?;
        let config = rk_config(Config::from_env()?);
        out.set(Box::into_raw(Box::new(config)));
        Ok(rk_status::RK_OK)
    })
}

/// Sets a property. A time is a number of seconds ("0.5") or carries its unit ("500ms"); a flag is "true" or "false";
/// a number of bytes may carry "KiB", "MiB" or "GiB". RK_ERR_UNKNOWN_PROPERTY and RK_ERR_BAD_VALUE leave everything
/// as it was, and their messages say what is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_config_set(
    config: *mut rk_config,
    name: *const c_char,
    value: *const c_char,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        let config = c.handle_mut(config, "config")?;
        config
            .0
            .set(c.text(name, "name")?, c.text(value, "value")?)?;
        Ok(rk_status::RK_OK)
    })
}

/// The value of a property as text: what was set, or else its default. RK_NIL where there is neither. Passwords come
/// as they are. out may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_config_get(
    config: *const rk_config,
    name: *const c_char,
    out: *mut rk_bytes,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", rk_bytes::NONE);
    c.run(err, || {
        let config = c.handle(config, "config")?;
        let name = c.text(name, "name")?;
        out.wanted()?;
        Ok(match config.0.get(name)? {
            None => rk_status::RK_NIL,
            Some(value) => {
                out.set(rk_bytes::new(value.into_bytes()));
                rk_status::RK_OK
            }
        })
    })
}

/// Every property with its value, as a JSON object. Passwords are masked. json may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_config_dump(
    config: *const rk_config,
    json: *mut rk_bytes,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let json = c.out(json, "json", rk_bytes::NONE);
    c.run(err, || {
        let config = c.handle(config, "config")?;
        json.wanted()?;
        json.set(rk_bytes::json(&config.0.dump())?);
        Ok(rk_status::RK_OK)
    })
}

/// Frees a configuration. NULL is nothing to do.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_config_free(config: *mut rk_config) {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    quietly((), || drop(c.take(config)));
}
