//! Any bytes are a change or an error, and any order of changes is a batch or an error; places only rise.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pregon_capture::wal::pgoutput::decode;
use pregon_capture::wal::{Assembler, Place};

fuzz_target!(|messages: Vec<Vec<u8>>| {
    let mut assembler = Assembler::new(Place::default(), b"pregon");
    for message in messages {
        let before = assembler.place();
        let Ok(message) = decode(message.into()) else { return };
        let taken = assembler.take(message);
        assert!(assembler.place() >= before);
        if taken.is_err() {
            return;
        }
    }
});
