//! Lines of a client of Centrifugo: no bytes panic, whatever they are.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for line in text.lines() {
        let _ = pregon_wire::centrifuge::parse(line);
    }
});
