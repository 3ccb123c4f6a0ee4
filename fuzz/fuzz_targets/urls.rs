#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| redkeep::targets::urls(bytes));
