#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    _ = motews_fuzz::differential::check(data);
});
