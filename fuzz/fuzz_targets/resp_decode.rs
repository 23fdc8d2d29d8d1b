//! Any bytes as what Redis sends: no panic, frames that lie within the bytes, the same frame however much has come behind it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pregon_wire::resp;

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    while let Ok(Some((frame, length))) = resp::decode(rest) {
        assert!(length > 0 && length <= rest.len());
        let (alone, behind) = rest.split_at(length);
        assert_eq!(resp::decode(alone), Ok(Some((frame, length))));
        assert_eq!(resp::decode(&alone[..length - 1]), Ok(None));
        rest = behind;
    }
});
