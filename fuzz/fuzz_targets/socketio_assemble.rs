//! Any order of texts and attachments: no panic, bounded memory, and events that can be sent on unchanged.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pregon_wire::socketio::{Assembler, Head, Packet, encode_event_args, parse};

const MAX: usize = 1024;

// Messages are separated by 0xff, which no text has; one that begins with 0xfe is an attachment.
fuzz_target!(|data: &[u8]| {
    let mut assembler = Assembler::default();
    for message in data.split(|&byte| byte == 0xff) {
        let outcome = match message {
            [0xfe, bytes @ ..] => assembler.binary(bytes.to_vec().into(), MAX).map(|whole| {
                if let Some(whole) = whole {
                    assert_eq!(whole.attachments().len(), whole.packet().attachments);
                    check(&whole.packet());
                }
            }),
            _ => {
                let Ok(text) = std::str::from_utf8(message) else {
                    return;
                };
                assembler
                    .text(text, MAX)
                    .map(|packet| packet.iter().for_each(check))
            }
        };
        assert!(assembler.buffered() <= MAX);
        if outcome.is_err() {
            return;
        }
    }
});

fn check(packet: &Packet<'_>) {
    let _ = (packet.auth(), packet.answer().count());
    let Some(event) = packet.event() else { return };
    let head = Head {
        namespace: packet.namespace,
        ack: packet.ack,
        attachments: packet.attachments,
    };
    let mut out = Vec::new();
    encode_event_args(&head, &event.name, event.args.map(str::as_bytes), None, &mut out);
    let text = std::str::from_utf8(&out).expect("encoders write text");
    let again = parse(&text[1..]).expect("what was read can be read again");
    assert_eq!(
        (again.kind, again.namespace, again.ack),
        (packet.kind, packet.namespace, packet.ack)
    );
    let sent = again.event().expect("an event");
    assert_eq!((sent.name, sent.args.count()), (event.name, event.args.count()));
}
