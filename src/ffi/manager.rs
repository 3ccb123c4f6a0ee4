//! The manager
//!
//! The connections of a program, and everything that can be done with them: open one manager, call it from any thread.
//!
//! A node is named by its URL; NULL means the one that the manager was opened for. Times are milliseconds: 0 tries
//! once, -1 is the default that the function names, and any other negative number is RK_ERR_ARGUMENT.

use std::ffi::c_char;
use std::ptr;
use std::sync::OnceLock;
use std::time::Duration;

use crate::error::Error;
use crate::ffi::boundary::{Caller, milliseconds, quietly};
use crate::ffi::bytes::rk_bytes;
use crate::ffi::config::rk_config;
use crate::ffi::error::{rk_error, rk_status};
use crate::manager::Manager;

/// A manager. Connections leased from it keep it alive, so the order of freeing does not matter. After fork() it works
/// in the child as well, over connections of the child's own.
///
/// Thread safety: any number of threads at the same time. Only rk_manager_free() must be the last call on it.
pub struct rk_manager {
    pub(super) manager: Manager,
    global: bool,
}

impl rk_manager {
    fn new(manager: Manager) -> *mut rk_manager {
        Box::into_raw(Box::new(rk_manager {
            manager,
            global: false,
        }))
    }
}

impl<'a> Caller<'a> {
    pub(super) fn manager(self, manager: *const rk_manager) -> Result<&'a Manager, Error> {
        self.handle(manager, "manager").map(|it| &it.manager)
    }
}

/// Opens a manager for a URL: redis://[[user]:password@]host[:port][/db], rediss:// (TLS), unix:///path/of/socket,
/// redis+cluster://host,host, redis+sentinel://host,host/name, or embedded://, which starts a private server that ends
/// with the manager (the properties "embedded_..." say more). url NULL: as the environment says (REDIS_URL and the
/// others). Nothing is sent before the first command, except that embedded:// starts its server. out may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_manager_open(
    url: *const c_char,
    out: *mut *mut rk_manager,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", ptr::null_mut());
    c.run(err, || {
        out.wanted()?;
        out.set(rk_manager::new(match c.maybe_text(url, "url")? {
            None => Manager::from_env()?,
            Some(url) => Manager::open(url)?,
        }));
        Ok(rk_status::RK_OK)
    })
}

/// Opens a manager for a configuration, after checking all of it. out may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_manager_open_config(
    config: *const rk_config,
    out: *mut *mut rk_manager,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let out = c.out(out, "out", ptr::null_mut());
    c.run(err, || {
        let config = c.handle(config, "config")?.0.read()?;
        out.wanted()?;
        out.set(rk_manager::new(Manager::open_config(&config)?));
        Ok(rk_status::RK_OK)
    })
}

/// The manager of this process, opened from the environment when first asked for. Never NULL: if the environment
/// cannot be used, calls on it return RK_ERR_CONFIG. It is never freed; rk_manager_free() leaves it alone.
#[unsafe(no_mangle)]
pub extern "C" fn rk_manager_global() -> *mut rk_manager {
    static GLOBAL: OnceLock<rk_manager> = OnceLock::new();
    quietly(ptr::null_mut(), || {
        let global = GLOBAL.get_or_init(|| rk_manager {
            manager: Manager::global().clone(),
            global: true,
        });
        // It is only ever read through this pointer: every function takes it as such, and free() refuses it.
        ptr::from_ref(global).cast_mut()
    })
}

/// Makes the first contact. *connected becomes true if the server answered; otherwise it is false, and the status and
/// the error say why. connected may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_manager_initialize(
    manager: *mut rk_manager,
    connected: *mut bool,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let connected = c.out(connected, "connected", false);
    c.run(err, || {
        c.manager(manager)?.check_connection(None)?;
        connected.set(true);
        Ok(rk_status::RK_OK)
    })
}

/// Whether Redis is switched on and answered last time. False until the first contact, and for NULL. Sends nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_manager_is_enabled(manager: *const rk_manager) -> bool {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    quietly(false, || c.manager(manager).is_ok_and(Manager::is_enabled))
}

/// Asks the node that the manager was opened for for a sign of life.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_ping(manager: *mut rk_manager, err: *mut *mut rk_error) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        c.manager(manager)?.ping()?;
        Ok(rk_status::RK_OK)
    })
}

/// Whether a node can be reached now. If not, the error says why.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_manager_is_connected(
    manager: *mut rk_manager,
    url: *const c_char,
    err: *mut *mut rk_error,
) -> bool {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let status = c.run(err, || {
        let url = c.maybe_text(url, "url")?;
        c.manager(manager)?.check_connection(url)?;
        Ok(rk_status::RK_OK)
    });
    status == rk_status::RK_OK
}

/// Waits until a node answers. It gives up at whichever comes first: timeout_ms (-1: 10 seconds), or max_retries more
/// tries (-1: 5) that lie step_ms apart (-1: 250 milliseconds). *seconds becomes the time it took; it may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_manager_wait_for_ready(
    manager: *mut rk_manager,
    url: *const c_char,
    timeout_ms: i64,
    step_ms: i64,
    max_retries: i32,
    seconds: *mut f64,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let seconds = c.out(seconds, "seconds", 0.0);
    c.run(err, || {
        let manager = c.manager(manager)?;
        let url = c.maybe_text(url, "url")?;
        let timeout = milliseconds(timeout_ms, "timeout_ms")?.unwrap_or(Duration::from_secs(10));
        let step = milliseconds(step_ms, "step_ms")?.unwrap_or(Duration::from_millis(250));
        let retries = match max_retries {
            -1 => 5,
            _ => u32::try_from(max_retries).map_err(|_| {
                Error::argument(format!(
                    "max_retries: {max_retries} is not allowed; it takes a number from 0, or -1 for the default"
                ))
            })?,
        };
        let took = manager.wait_for_ready(url, timeout, step, retries)?;
        seconds.set(took.as_secs_f64());
        Ok(rk_status::RK_OK)
    })
}

/// Asks a node how it is. *json becomes {"status": "healthy", "version", "connected_clients", "role", "latency_ms"}, or
/// {"status": "unhealthy", "error"} with RK_OK all the same; "version", "connected_clients" and "role" are null where
/// the server does not tell them. Only a node that was never added, or an argument, is an error. json may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_manager_health_check(
    manager: *mut rk_manager,
    url: *const c_char,
    json: *mut rk_bytes,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let json = c.out(json, "json", rk_bytes::NONE);
    c.run(err, || {
        let manager = c.manager(manager)?;
        let url = c.maybe_text(url, "url")?;
        json.wanted()?;
        json.set(rk_bytes::json(&manager.health_check(url)?)?);
        Ok(rk_status::RK_OK)
    })
}

/// Adds a node, and waits at most timeout_ms (-1: the property "connect_timeout") for it to answer. A node that does
/// not answer now is added all the same and comes in when it does: the error only tells. Adding a node twice is no
/// error; adding one whose pools were closed opens them again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_manager_add_node_pool(
    manager: *mut rk_manager,
    url: *const c_char,
    timeout_ms: i64,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        let manager = c.manager(manager)?;
        let url = c.text(url, "url")?;
        match milliseconds(timeout_ms, "timeout_ms")? {
            None => manager.add_node_pool(url)?,
            Some(time) => manager.add_node_pool_within(url, time)?,
        }
        Ok(rk_status::RK_OK)
    })
}

/// Closes the pools of one node: connections in use are closed when they come back, and whoever waits for one is told.
/// rk_manager_add_node_pool() opens them again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_manager_close_node_pools(
    manager: *mut rk_manager,
    url: *const c_char,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        let manager = c.manager(manager)?;
        manager.close_node_pools(c.text(url, "url")?)?;
        Ok(rk_status::RK_OK)
    })
}

/// Closes the pools of all nodes, those of the one that the manager was opened for included.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_manager_close_all_pools(
    manager: *mut rk_manager,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        c.manager(manager)?.close_all_pools();
        Ok(rk_status::RK_OK)
    })
}

/// Closes the connections of all nodes, those in use as soon as they come back. The next command opens new ones.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_manager_disconnect(
    manager: *mut rk_manager,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        c.manager(manager)?.disconnect();
        Ok(rk_status::RK_OK)
    })
}

/// Replaces every connection by one with the credentials of this moment, after they have changed: those of
/// rk_config_set_credentials_provider() or of the property "credentials_file". They are tried first, on every node that
/// is up, within "command_timeout"; where the server does not take them, the status is RK_ERR_AUTH, and everything stays
/// as it is. Then idle connections are closed at once and those in use when they come back, so that no caller notices.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_manager_rotate_credentials(
    manager: *mut rk_manager,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        c.manager(manager)?.rotate_credentials()?;
        Ok(rk_status::RK_OK)
    })
}

/// Starts the periodic health checks. They run from the start unless the property "health_check_interval" is 0;
/// starting what runs does nothing. A node that answered callers on its shared lines since the last one is not asked.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_manager_start_health_checks(
    manager: *mut rk_manager,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        c.manager(manager)?.start_health_checks()?;
        Ok(rk_status::RK_OK)
    })
}

/// Stops the periodic health checks; stopping what does not run does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_manager_stop_health_checks(
    manager: *mut rk_manager,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        c.manager(manager)?.stop_health_checks();
        Ok(rk_status::RK_OK)
    })
}

/// Starts the clean-up of idle connections. It runs from the start unless the property "cleanup_interval" is 0;
/// starting what runs does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_manager_start_cleanup(
    manager: *mut rk_manager,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        c.manager(manager)?.start_cleanup()?;
        Ok(rk_status::RK_OK)
    })
}

/// Stops the clean-up of idle connections; stopping what does not run does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_manager_stop_cleanup(
    manager: *mut rk_manager,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        c.manager(manager)?.stop_cleanup();
        Ok(rk_status::RK_OK)
    })
}

/// What every pool of every node is doing at this moment, as JSON: {"health_checks", "cleanup", "topology", "nodes":
/// [{"address", "role", "slots": [[first, last]], "state", "version", "latency_ms", "last_error", "pools": [{"size",
/// "in_use", "idle", "waiting", "opened", "closed", "oldest_lease_ms"}], "lines": [{"open", "waiting", "batches",
/// "commands", "opened", "closed"}], "batch_ms", "pool_waits", "calls_by_pool"}], "master_name", "sentinels":
/// [{"address", "primary", "error"}]}. The topology is "standalone", "sentinel" or "cluster"; a role is "primary",
/// "replica" or "independent" (added by name); a state is "untried", "up", "down" or "closed". A line is a connection
/// that all threads share (property shared_lines): "waiting" counts commands that wait to be sent, "commands" those
/// that went by it, in so many "batches", each of them one write; "batch_ms" is how long one takes at present;
/// "pool_waits" counts how long callers waited for a connection of a pool, as {"seconds", "buckets": [{"le",
/// "count"}]}; "calls_by_pool" counts single commands that took a connection from a pool instead. What is
/// not known at present is null: stats/schema.md of the source says which fields that may be. json may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_manager_fetch_pool_status(
    manager: *mut rk_manager,
    json: *mut rk_bytes,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let json = c.out(json, "json", rk_bytes::NONE);
    c.run(err, || {
        let manager = c.manager(manager)?;
        json.wanted()?;
        json.set(rk_bytes::json(&manager.fetch_pool_status())?);
        Ok(rk_status::RK_OK)
    })
}

/// What is known of the manager, as JSON: counts ("calls", "errors", "timeouts", "retries", "redirects", "slow",
/// "swallowed", "lock_timeouts"), "lock_waits", "pools", as rk_manager_fetch_pool_status() tells them, "near", an array
/// of its near caches, and "consumers", of those that consume in this process. The file stats/schema.md of the source
/// says what each field means; fields are added, never removed. No server is asked. json may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_manager_stats_json(
    manager: *mut rk_manager,
    json: *mut rk_bytes,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let json = c.out(json, "json", rk_bytes::NONE);
    c.run(err, || {
        let manager = c.manager(manager)?;
        json.wanted()?;
        json.set(rk_bytes::json(&manager.stats())?);
        Ok(rk_status::RK_OK)
    })
}

/// The same as text for Prometheus, in its exposition format, the consumers of this process together: redkeep_calls_total,
/// redkeep_node, redkeep_pool_..., redkeep_line_..., redkeep_near_... and redkeep_stream_..., each with its meaning. No
/// server is asked. text may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_manager_stats_prometheus(
    manager: *mut rk_manager,
    text: *mut rk_bytes,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    let text = c.out(text, "text", rk_bytes::NONE);
    c.run(err, || {
        let manager = c.manager(manager)?;
        text.wanted()?;
        text.set(rk_bytes::new(manager.stats_prometheus().into_bytes()));
        Ok(rk_status::RK_OK)
    })
}

/// Makes the embedded:// server of this manager fail, for everybody who talks to it, until another fault is set, so that
/// the tests of a program see what the program does then. It holds when this returns. fault is one of
///
///   "none"       everything passes
///   "freeze"     nothing passes, and connections stay open: a server that hangs. What was sent meanwhile reaches the
///                server when the fault ends
///   "drop"       every connection is closed, and every new one as soon as it is made: a server that ended. Its data
///                stay; followed by "none" at once, it is a short interruption
///   "slow:50ms"  whatever the server sends, messages of subscriptions too, arrives so much later (up to 24h)
///
/// The manager must have been opened with the property "embedded_faults", as in embedded://?embedded_faults=on; for any
/// other it is RK_ERR_EMBEDDED. When a fault ends, the server is found again within a second, or at once by
/// rk_manager_wait_for_ready().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_manager_embedded_fault(
    manager: *mut rk_manager,
    fault: *const c_char,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        let manager = c.manager(manager)?;
        manager.embedded_fault(c.text(fault, "fault")?.parse()?)?;
        Ok(rk_status::RK_OK)
    })
}

/// Ends everything: every call under way returns RK_ERR_CLOSED, every thread ends, an embedded server too, and later
/// calls return RK_ERR_CLOSED. RK_ERR_TIMEOUT says that a thread was still running after timeout_ms (-1: the property
/// "command_timeout"); it ends by itself. Closing twice is no error. The manager must still be freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_manager_close(
    manager: *mut rk_manager,
    timeout_ms: i64,
    err: *mut *mut rk_error,
) -> rk_status {
    // SAFETY: the arguments are as the header asks.
    let c = unsafe { Caller::trusted() };
    c.run(err, || {
        let manager = c.manager(manager)?;
        let time = match milliseconds(timeout_ms, "timeout_ms")? {
            Some(time) => time,
            // One that is switched off has no timeout, and nothing to wait for.
            None => manager.timeout().unwrap_or_default(),
        };
        manager.close(time)?;
        Ok(rk_status::RK_OK)
    })
}

/// Frees a manager, and closes it if it is not closed yet. NULL and the global one are nothing to do.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rk_manager_free(manager: *mut rk_manager) {
    // SAFETY: the argument is as the header asks.
    let c = unsafe { Caller::trusted() };
    quietly((), || match c.maybe(manager) {
        Some(it) if !it.global => drop(c.take(manager)),
        _ => {}
    });
}
