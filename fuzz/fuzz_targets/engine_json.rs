//! JSON of an engine is read or refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lxc_dev_manager_core::fuzzing::read_json;

fuzz_target!(|bytes: &[u8]| {
    // Reading must not panic; how much of it was understood says nothing about its value.
    let _ = read_json(bytes);
});
