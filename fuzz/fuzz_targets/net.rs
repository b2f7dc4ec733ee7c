#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| motews_fuzz::net::check(data));
