//! The functions that need no server, called as C calls them: what they do with pointers is for Miri to judge (`make
//! miri`), to which no C program can be given.

use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::bytes::*;
use super::config::*;
use super::error::*;
use super::hook::*;
use super::log::*;
use super::options::*;
use super::reply::*;
use crate::transport::fuzz::read_whole;

const NO_BYTES: rk_bytes = rk_bytes {
    data: ptr::null_mut(),
    len: 0,
};

/// Of a text that lives longer than what is returned here.
fn text<'a>(text: *const c_char) -> &'a str {
    assert!(!text.is_null());
    // SAFETY: a text of the library, of which the caller does not free the owner first.
    unsafe { CStr::from_ptr(text) }.to_str().expect("UTF-8")
}

/// Userdata that counts how often it is freed.
unsafe extern "C" fn freed(userdata: *mut c_void) {
    // SAFETY: all userdata here is such a number.
    let count = unsafe { &*userdata.cast::<AtomicUsize>() };
    count.fetch_add(1, Ordering::SeqCst);
}

fn userdata(count: &AtomicUsize) -> *mut c_void {
    ptr::from_ref(count).cast_mut().cast()
}

#[test]
fn properties_and_their_errors() {
    // SAFETY: handles of the library, each freed once; texts with an end.
    unsafe {
        let config = rk_config_new();
        let mut err = ptr::null_mut();
        let (name, value) = (c"retries", c"7");
        let status = rk_config_set(config, name.as_ptr(), value.as_ptr(), &mut err);
        assert!(status == rk_status::RK_OK && err.is_null());
        let mut out = NO_BYTES;
        rk_config_get(config, name.as_ptr(), &mut out, &mut err);
        assert_eq!(std::slice::from_raw_parts(out.data, out.len + 1), b"7\0");
        rk_bytes_free(&mut out);
        rk_bytes_free(&mut out);
        assert!(out.data.is_null());
        for (name, value) in [
            (c"nosuch".as_ptr(), c"1".as_ptr()),
            (name.as_ptr(), c"\xff".as_ptr()),
            (ptr::null(), ptr::null()),
        ] {
            let status = rk_config_set(config, name, value, &mut err);
            assert_eq!(rk_error_status(err), status);
            assert!(!text(rk_error_message(err)).is_empty() && rk_error_node(err).is_null());
            rk_error_free(err);
            err = ptr::null_mut();
            rk_config_set(config, name, value, ptr::null_mut());
        }
        rk_config_dump(config, &mut out, &mut err);
        assert!(out.len > 100 && *out.data == b'{');
        rk_bytes_free(&mut out);
        rk_config_free(config);
        rk_config_free(ptr::null_mut());
    }
}

#[test]
fn bytes_and_errors_of_callbacks() {
    // SAFETY: as above.
    unsafe {
        let (mut out, mut err) = (NO_BYTES, ptr::null_mut());
        for given in [&b""[..], b"a\0b", &[7; 5000]] {
            let status = rk_bytes_copy(&mut out, given.as_ptr().cast(), given.len(), &mut err);
            assert_eq!(status, rk_status::RK_OK);
            assert_eq!(std::slice::from_raw_parts(out.data, out.len), given);
            rk_bytes_free(&mut out);
        }
        let status = rk_bytes_copy(&mut out, ptr::null(), 3, &mut err);
        assert!(status == rk_status::RK_ERR_ARGUMENT && out.data.is_null());
        // The one before is freed.
        rk_error_set(&mut err, rk_status::RK_ERR_JSON as i32, c"why".as_ptr());
        rk_error_set(&mut err, 77, ptr::null());
        assert_eq!(text(rk_error_message(err)), "RK_ERR_INTERNAL");
        rk_error_free(err);
        rk_error_set(ptr::null_mut(), 1, ptr::null());
        assert_eq!(text(rk_status_name(-103)), "RK_ERR_TIMEOUT");

        let options = rk_set_options_new();
        assert_eq!(rk_set_options_ex(options, 5), rk_status::RK_OK);
        assert_eq!(rk_set_options_px(options, 5), rk_status::RK_ERR_CONFLICT);
        rk_set_options_free(options);
    }
}

/// Reads all there is, and everything again from another thread, as the header allows.
unsafe fn walk(node: *const rk_reply) -> usize {
    // SAFETY: a node of a tree that is alive.
    unsafe {
        let mut len = 0;
        let data = rk_reply_bytes(node, &mut len).cast::<u8>();
        let mut seen = (0..len)
            .map(|i| usize::from(*data.add(i) > 0))
            .sum::<usize>();
        seen += rk_reply_integer(node) as usize + rk_reply_double(node) as usize;
        seen += usize::from(rk_reply_bool(node)) + rk_reply_type_of(node) as usize;
        for i in 0..=rk_reply_len(node) {
            for child in [rk_reply_at(node, i), rk_reply_key_at(node, i)] {
                if !child.is_null() {
                    seen += walk(child);
                }
            }
        }
        seen
    }
}

#[test]
fn replies_are_trees_of_pointers() {
    let large = format!("*2\r\n${}\r\n{}\r\n:1\r\n", 40_000, "x".repeat(40_000));
    for wire in [
        "*3\r\n$1\r\na\r\n*2\r\n:7\r\n_\r\n%1\r\n+k\r\n~2\r\n,1.5\r\n#t\r\n",
        "=7\r\ntxt:abc\r\n",
        "(123456789012345678901234567890\r\n",
        "*0\r\n",
        "$0\r\n\r\n",
        "*1\r\n-ERR no\r\n",
        &large,
    ] {
        let mut reply = read_whole(wire.as_bytes()).expect("a reply");
        let root = rk_reply::new(&mut reply);
        // SAFETY: the tree is alive until it is freed, at the end, once; parts are not freed.
        unsafe {
            let seen = walk(root);
            let again = Sent(root);
            let other = thread::spawn(move || walk(again.get())).join();
            assert_eq!(other.expect("no panic"), seen);
            rk_reply_free(rk_reply_at(root, 0).cast_mut());
            assert_eq!(walk(root), seen);
            rk_reply_free(root);
        }
    }
}

/// A pointer that another thread may use.
struct Sent(*mut rk_reply);

// SAFETY: replies may be read by any thread.
unsafe impl Send for Sent {}

impl Sent {
    fn get(&self) -> *mut rk_reply {
        self.0
    }
}

#[test]
fn what_callbacks_were_given_is_freed_once() {
    unsafe extern "C" fn password(
        _: *mut rk_bytes,
        _: *mut rk_bytes,
        _: *mut c_void,
        _: *mut *mut rk_error,
    ) -> i32 {
        1
    }
    unsafe extern "C" fn before(_: *const rk_call, userdata: *mut c_void) -> *mut c_void {
        userdata
    }
    unsafe extern "C" fn logged(
        _: i32,
        target: *const c_char,
        line: *const c_char,
        _: *mut c_void,
    ) {
        assert!(!text(target).is_empty() && !text(line).is_empty());
    }
    let counts: [AtomicUsize; 6] = std::array::from_fn(|_| AtomicUsize::new(0));
    // SAFETY: the numbers live longer than all that knows them.
    unsafe {
        let (config, none) = (rk_config_new(), ptr::null_mut());
        let ask = rk_config_set_credentials_provider;
        let tell = rk_config_set_command_hook;
        ask(
            config,
            Some(password),
            userdata(&counts[0]),
            Some(freed),
            none,
        );
        ask(
            config,
            Some(password),
            userdata(&counts[1]),
            Some(freed),
            none,
        );
        tell(
            config,
            Some(before),
            None,
            userdata(&counts[2]),
            Some(freed),
            none,
        );
        // Without a configuration, it is freed at once.
        tell(
            ptr::null_mut(),
            Some(before),
            None,
            userdata(&counts[3]),
            Some(freed),
            none,
        );
        let so_far: Vec<_> = counts
            .iter()
            .map(|one| one.load(Ordering::SeqCst))
            .collect();
        assert_eq!(so_far, [1, 0, 0, 1, 0, 0]);
        rk_config_free(config);

        // Threads log while another callback comes in place of the first.
        rk_log_set_callback(5, Some(logged), userdata(&counts[4]), Some(freed));
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..20).for_each(|n| log::warn!(target: "redkeep", "line {n}")));
            }
            rk_log_set_callback(5, Some(logged), userdata(&counts[5]), Some(freed));
        });
        rk_log_set_callback(0, None, ptr::null_mut(), None);
    }
    assert!(counts.iter().all(|one| one.load(Ordering::SeqCst) == 1));
}
