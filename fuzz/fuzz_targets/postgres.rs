#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| eye_fuzz::targets::postgres::run(data));
