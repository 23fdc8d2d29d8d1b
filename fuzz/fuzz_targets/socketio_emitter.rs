//! Any message of an emitter, from Redis, from a notification or from the table: no panic, and what is read is JSON with its attachments.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pregon_wire::socketio::emitter::{Broadcast, Emitted, Noted, postgres, redis, stored};
use pregon_wire::socketio::{MAX_ATTACHMENTS, is_reserved};

fuzz_target!(|data: &[u8]| {
    for channel in ["socket.io#/#", "socket.io-request#/#"] {
        redis("socket.io", channel, data).iter().for_each(check);
    }
    if let Ok(Noted::Whole(emitted)) = postgres("/", data) {
        check(&emitted);
    }
    stored("/", data).iter().for_each(check);
});

fn check(emitted: &Emitted) {
    let Emitted::Broadcast(Broadcast { event, args, count, attachments, .. }) = emitted else { return };
    assert!(!is_reserved(event) && attachments.len() <= MAX_ATTACHMENTS);
    let list = format!("[{args}]");
    let values: Vec<&serde_json::value::RawValue> = serde_json::from_str(&list).expect("arguments are JSON");
    assert_eq!(values.len(), *count);
}
