//! Version
//!
//! The library's own version, to be compared with that of the header: RK_VERSION_NUMBER, RK_VERSION_STRING.

use std::ffi::{CStr, c_char};

const STRING: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(text) => text,
        Err(_) => panic!("no version"),
    };

const NUMBER: u32 = part(env!("CARGO_PKG_VERSION_MAJOR")) * 10_000
    + part(env!("CARGO_PKG_VERSION_MINOR")) * 100
    + part(env!("CARGO_PKG_VERSION_PATCH"));

const fn part(digits: &str) -> u32 {
    match u32::from_str_radix(digits, 10) {
        Ok(number) => number,
        Err(_) => panic!("not a number"),
    }
}

/// The version of the library that runs, as one number: major * 10000 + minor * 100 + patch.
#[unsafe(no_mangle)]
pub extern "C" fn rk_version_number() -> u32 {
    NUMBER
}

/// The version of the library that runs, as text: "0.1.0". It lives as long as the library.
#[unsafe(no_mangle)]
pub extern "C" fn rk_version_string() -> *const c_char {
    STRING.as_ptr()
}
