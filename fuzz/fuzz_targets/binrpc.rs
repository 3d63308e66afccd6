#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tallyd::testing::binrpc::check(input));
