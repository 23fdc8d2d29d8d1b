//! Bytes as texts: hexadecimal in either case, and the two alphabets of base64, padded or not.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::config::Encoding;

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Appends the bytes of a text; `None` where it is none, and `out` may then end with anything.
pub(super) fn decode(encoding: Encoding, text: &str, out: &mut Vec<u8>) -> Option<()> {
    match encoding {
        Encoding::Hex => {
            let start = out.len();
            out.resize(start + text.len() / 2, 0);
            // An odd digit at the end has no byte to go to.
            let even = text.len().is_multiple_of(2);
            even.then_some(())?;
            faster_hex::hex_decode(text.as_bytes(), out.get_mut(start..)?).ok()
        }
        Encoding::Base64 => STANDARD.decode_vec(text, out).ok(),
        Encoding::Base64url => URL_SAFE.decode_vec(text, out).ok(),
    }
}

/// Like `decode`, into bytes of their own.
pub(super) fn bytes(encoding: Encoding, text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    decode(encoding, text, &mut out).map(|()| out)
}

/// Whether every character could be of such a text, whatever its length.
pub(super) fn is_alphabet(encoding: Encoding, text: &str) -> bool {
    let known = |byte: u8| match encoding {
        Encoding::Hex => byte.is_ascii_hexdigit(),
        Encoding::Base64 => byte.is_ascii_alphanumeric() || b"+/".contains(&byte),
        Encoding::Base64url => byte.is_ascii_alphanumeric() || b"-_".contains(&byte),
    };
    without_padding(encoding, text).bytes().all(known)
}

/// How many characters so many bytes take, without padding.
pub(super) fn length(encoding: Encoding, bytes: usize) -> usize {
    match encoding {
        Encoding::Hex => bytes * 2,
        Encoding::Base64 | Encoding::Base64url => (bytes * 4).div_ceil(3),
    }
}

/// The text without the signs that only fill it up.
pub(super) fn without_padding(encoding: Encoding, text: &str) -> &str {
    match encoding {
        Encoding::Hex => text,
        Encoding::Base64 | Encoding::Base64url => text.trim_end_matches('='),
    }
}
