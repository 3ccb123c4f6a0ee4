//! Sequences of C calls, as tests/c/test_sequences.c makes them, on a server of their own.
#![no_main]

use std::sync::OnceLock;

use redkeep::Manager;

unsafe extern "C" {
    fn rk_sequence(data: *const u8, size: usize) -> i32;
}

fn server() -> &'static Manager {
    static SERVER: OnceLock<Manager> = OnceLock::new();
    SERVER.get_or_init(|| {
        let keep = Manager::open("embedded://").expect("a server");
        let lease = keep.client().dedicated().expect("a connection");
        let url = format!("unix://{}", lease.node());
        // Nothing else here reads or writes the environment.
        unsafe { std::env::set_var("RK_TEST_URL", url) };
        drop(lease);
        keep
    })
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    server();
    // These bytes are read, and nothing of them is kept.
    unsafe { rk_sequence(bytes.as_ptr(), bytes.len()) };
});
