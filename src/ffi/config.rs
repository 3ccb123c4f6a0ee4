//! Configuration
//!
//! A configuration is a set of properties, each with a name and a text as its value: "url", "max_connections",
//! "command_timeout" and the others that rk_config_dump() lists. What is not set has its default.

use std::ffi::{c_char, c_void};
use std::ptr;

use crate::config::{Config, Credentials};
use crate::error::{Error, Result};
use crate::ffi::alone::Alone;
use crate::ffi::boundary::{Caller, quietly};
use crate::ffi::bytes::{rk_bytes, rk_bytes_free};
use crate::ffi::error::{rk_error, rk_status};
use crate::ffi::userdata::Userdata;

/// A configuration. A manager takes a copy of it when opened, so it can be freed or changed afterwards.
///
/// Thread safety: one thread at a time; a second one gets RK_ERR_CONFLICT.
pub struct rk_config(pub(super) Alone<Config>);

impl rk_config {
    fn made(config: Config) -> *mut rk_config {
        Box::into_raw(Box::new(rk_config(Alone::new("config", config))))
    }
}

/// A configuration in which nothing is set. Free it with rk_config_free(). NULL only if the library failed inside.
#[unsafe(no_mangle)]
pub extern "C" fn rk_config_new() -> *mut rk_config {
    quietly(ptr::null_mut(), || rk_config::made(Config::new()))
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
        out.set(rk_config::made(Config::from_env()?));
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
        let mut config = c.handle(config, "config")?.0.change()?;
        config.set(c.text(name, "name")?, c.text(value, "value")?)?;
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
        let config = c.handle(config, "config")?.0.read()?;
        let name = c.text(name, "name")?;
        out.wanted()?;
        Ok(match config.get(name)? {
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
        let config = c.handle(config, "config")?.0.read()?;
        json.wanted()?;
        json.set(rk_bytes::json(&config.dump())?);
        Ok(rk_status::RK_OK)
    })
}

/// Sets who is asked for the user name and the password at each connect, in place of the properties "password" and
/// "credentials_file": cb answers with what is valid now, such as a token that is renewed every hour. It fills password,
/// and username unless that is the configured one, with rk_bytes_copy(), and returns RK_OK; or it fails with
/// rk_error_set(), and returns another status: then whoever needed the connection gets an RK_ERR_AUTH with that text.
/// The library frees both. Another call sets another cb; cb NULL: nobody is asked any more.
///
/// cb is called in a thread of the library's own, never twice at the same time for one manager, and whoever waits for
/// it waits within its own deadline. It may call the library, but should not wait for a connection of the same manager.
///
/// userdata_free (NULL: none) is called with userdata exactly once: when the configuration is freed or has another cb,
/// every manager that was opened with it is freed, and cb is not running; or at once, if this call fails or cb is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_config_set_credentials_provider(
    config: *mut rk_config,
    cb: Option<
        unsafe extern "C" fn(
            username: *mut rk_bytes,
            password: *mut rk_bytes,
            userdata: *mut c_void,
            err: *mut *mut rk_error,
        ) -> i32,
    >,
    userdata: *mut c_void,
    userdata_free: Option<unsafe extern "C" fn(userdata: *mut c_void)>,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    // Before anything can fail.
    let userdata = Userdata::new(userdata, userdata_free);
    c.run(err, || {
        let mut config = c.handle(config, "config")?.0.change()?;
        let before = std::mem::take(&mut *config);
        *config = match cb {
            None => before.no_credentials_provider(),
            Some(cb) => before.credentials_provider(move || {
                let (mut username, mut password) = (Answer::default(), Answer::default());
                let mut failed = ptr::null_mut();
                // SAFETY: the caller gave a function of this type, and userdata that any thread may use; the outputs
                // outlive the call.
                let status = unsafe {
                    cb(
                        &mut username.0,
                        &mut password.0,
                        userdata.get(),
                        &mut failed,
                    )
                };
                // SAFETY: an error that cb set, which nobody else knows.
                let failed = unsafe { Caller::trusted() }.take(failed);
                match (status, failed) {
                    (0, _) => credentials(&username, &password),
                    (_, Some(error)) => Err(error.into_error()),
                    (status, None) => Err(Error::argument(format!("it returned {status}"))),
                }
            }),
        };
        Ok(rk_status::RK_OK)
    })
}

/// Bytes that a callback fills, freed behind it.
struct Answer(rk_bytes);

impl Default for Answer {
    fn default() -> Answer {
        Answer(rk_bytes::NONE)
    }
}

impl Answer {
    fn text(&self, name: &str) -> Result<Option<&str>> {
        // SAFETY: nothing, or what rk_bytes_copy() made, which lives as long as this.
        let bytes = unsafe { Caller::trusted() }.bytes(self.0.data.cast(), self.0.len, name)?;
        let text = std::str::from_utf8(bytes)
            .map_err(|_| Error::argument(format!("{name}: it is not UTF-8")))?;
        Ok(Some(text).filter(|text| !text.is_empty()))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { rk_bytes_free(&mut self.0) }
    }
}

fn credentials(username: &Answer, password: &Answer) -> Result<Credentials> {
    let Some(password) = password.text("password")? else {
        return Err(Error::argument("password: it was left empty"));
    };
    let credentials = Credentials::new(password);
    Ok(match username.text("username")? {
        Some(name) => credentials.username(name),
        None => credentials,
    })
}

/// Frees a configuration. NULL is nothing to do.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_config_free(config: *mut rk_config) {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    quietly((), || drop(c.take(config)));
}
