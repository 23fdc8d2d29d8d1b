//! Any bytes in any portions: no panic, bounded memory, the same outcome as all at once.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pregon_wire::ws::Decoder;

const MAX: usize = 4096;

fuzz_target!(|data: &[u8]| {
    let [flags, step, bytes @ ..] = data else { return };
    let deflate = flags & 1 != 0;
    let pause = flags & 2 != 0;
    let whole = decode(bytes, bytes.len().max(1), deflate, false);
    let parts = decode(bytes, usize::from(*step) + 1, deflate, pause);
    assert_eq!(whole, parts);
});

/// Every message and the error, as text.
fn decode(bytes: &[u8], step: usize, deflate: bool, pause: bool) -> Vec<String> {
    let mut decoder = Decoder::new();
    let mut seen = Vec::new();
    for portion in bytes.chunks(step) {
        let mut input = portion.to_vec();
        loop {
            let before = seen.len();
            let fed = decoder.feed(&mut input, MAX, deflate, &mut |message| {
                seen.push(format!("{message:?}"));
                !pause
            });
            assert!(decoder.buffered() <= 2 * MAX + 256 + bytes.len().min(step));
            if let Err(error) = fed {
                seen.push(error.to_string());
                return seen;
            }
            if !pause || seen.len() == before {
                break;
            }
            input.clear();
        }
    }
    seen
}
