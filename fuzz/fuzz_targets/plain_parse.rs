//! Any text is a command or an error, and an error can always be told to the client.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pregon_wire::{codes, plain};

fuzz_target!(|text: &str| {
    if let Err(error) = plain::parse(text) {
        let mut out = Vec::new();
        plain::error(error.id, &codes::BAD_REQUEST, &error.message, &mut out);
        assert!(std::str::from_utf8(&out).is_ok());
    }
});
