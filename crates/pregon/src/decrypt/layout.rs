//! The declared order of IV, tag and data in a text: `iv:tag:data`, `iv+tag+data`, `iv:data+tag`.
//!
//! A `+` joins parts before they are encoded; anything else between them is the separator, the same everywhere. Which texts are of a
//! layout is coarse on purpose, so that a ciphertext that lost its end is a failure and never passes as a plain text: it has an IV of
//! the declared length, another piece, not more pieces than declared, and no character outside of the encoding.

use std::ops::Range;

use super::Refused;
use super::encoding;
use crate::config::Encoding;

/// Bytes of a GCM tag; shorter ones are weaker and nobody's default.
pub(super) const TAG: usize = 16;

/// Why a text is no layout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum LayoutError {
    #[error("`{0}` begins with none of the parts")]
    NoPart(String),
    #[error("`{0}` must be named once")]
    Once(&'static str),
    #[error("`tag` is not part of aes-256-cbc")]
    NoTag,
    #[error("the separators `{0}` and `{1}` differ")]
    Separators(String, String),
    #[error("the separator `{0}` could be a part of the encoded text")]
    Ambiguous(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Iv,
    Tag,
    Data,
}

impl Part {
    const ALL: [Self; 3] = [Self::Iv, Self::Tag, Self::Data];

    fn name(self) -> &'static str {
        match self {
            Self::Iv => "iv",
            Self::Tag => "tag",
            Self::Data => "data",
        }
    }
}

/// A declared layout.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// The parts of each piece between separators.
    pieces: Vec<Vec<Part>>,
    separator: String,
    encoding: Encoding,
    iv: usize,
}

/// A text taken apart.
#[derive(Debug, Default)]
pub(super) struct Parts {
    bytes: Vec<u8>,
    iv: Range<usize>,
    tag: Range<usize>,
    data: Range<usize>,
}

impl Parts {
    pub(super) fn iv(&self) -> &[u8] {
        self.bytes.get(self.iv.clone()).unwrap_or_default()
    }

    pub(super) fn tag(&self) -> &[u8] {
        self.bytes.get(self.tag.clone()).unwrap_or_default()
    }

    pub(super) fn data(&self) -> &[u8] {
        self.bytes.get(self.data.clone()).unwrap_or_default()
    }
}

impl Layout {
    /// Reads a layout with an IV of so many bytes, with a tag (GCM) or without (CBC).
    pub(super) fn parse(
        text: &str,
        encoding: Encoding,
        iv: usize,
        tagged: bool,
    ) -> Result<Self, LayoutError> {
        let mut pieces: Vec<Vec<Part>> = vec![Vec::new()];
        let mut separator: Option<&str> = None;
        let mut rest = text;
        loop {
            let (part, after) = first_part(rest).ok_or_else(|| LayoutError::NoPart(rest.to_owned()))?;
            if let Some(piece) = pieces.last_mut() {
                piece.push(part);
            }
            if after.is_empty() {
                break;
            }
            let (between, next) = until_part(after);
            rest = next;
            if between == "+" {
                continue;
            }
            match separator {
                Some(first) if first != between => {
                    return Err(LayoutError::Separators(first.into(), between.into()));
                }
                _ => separator = Some(between),
            }
            pieces.push(Vec::new());
        }
        let separator = separator.unwrap_or_default();
        if pieces.len() > 1 && (separator.is_empty() || touches(encoding, separator)) {
            return Err(LayoutError::Ambiguous(separator.into()));
        }
        each_once(&pieces, tagged)?;
        Ok(Self {
            pieces,
            separator: separator.into(),
            encoding,
            iv,
        })
    }

    /// Takes a text apart.
    pub(super) fn split(&self, text: &str) -> Result<Parts, Refused> {
        let mut parts = Parts {
            bytes: Vec::with_capacity(text.len()),
            ..Parts::default()
        };
        if let [joined] = self.pieces.as_slice() {
            self.piece(joined, text, &mut parts)
                .ok_or_else(|| self.why(text))?;
            return Ok(parts);
        }
        let mut texts = Texts {
            rest: Some(text),
            separator: &self.separator,
        };
        for piece in &self.pieces {
            let decoded = texts.next().and_then(|text| self.piece(piece, text, &mut parts));
            decoded.ok_or_else(|| self.why(text))?;
        }
        match texts.next() {
            None => Ok(parts),
            Some(_) => Err(Refused::Foreign),
        }
    }

    fn piece(&self, piece: &[Part], text: &str, parts: &mut Parts) -> Option<()> {
        let mut at = parts.bytes.len();
        encoding::decode(self.encoding, text, &mut parts.bytes)?;
        let length = parts.bytes.len() - at;
        let fixed: usize = piece.iter().map(|part| self.bytes(*part)).sum();
        let data = length.checked_sub(fixed)?;
        if data > 0 && !piece.contains(&Part::Data) {
            return None;
        }
        for part in piece {
            let (range, length) = match part {
                Part::Iv => (&mut parts.iv, self.iv),
                Part::Tag => (&mut parts.tag, TAG),
                Part::Data => (&mut parts.data, data),
            };
            *range = at..at + length;
            at += length;
        }
        Some(())
    }

    /// The bytes that a part always has.
    fn bytes(&self, part: Part) -> usize {
        match part {
            Part::Iv => self.iv,
            Part::Tag => TAG,
            Part::Data => 0,
        }
    }

    /// Whether a text that cannot be taken apart is one of this layout that was damaged, or none at all.
    fn why(&self, text: &str) -> Refused {
        let texts: Vec<&str> = match self.pieces.as_slice() {
            [_] => vec![text],
            _ => text.split(&*self.separator).collect(),
        };
        let looks = |(piece, text): (&Vec<Part>, &&str)| {
            let length = encoding::without_padding(self.encoding, text).len();
            let fixed: usize = piece.iter().map(|part| self.bytes(*part)).sum();
            let fixed = encoding::length(self.encoding, fixed);
            encoding::is_alphabet(self.encoding, text)
                && match piece.as_slice() {
                    [Part::Iv] => length == fixed,
                    [_] => true,
                    _ => length >= fixed,
                }
        };
        let pieces = self.pieces.get(..texts.len()).unwrap_or_default();
        let has_iv = pieces.iter().any(|piece| piece.contains(&Part::Iv));
        let enough = texts.len() == self.pieces.len() || texts.len() > 1;
        if has_iv && enough && pieces.iter().zip(&texts).all(looks) {
            Refused::Sealed
        } else {
            Refused::Foreign
        }
    }
}

/// What stands between the separators of a text, found by the vectorised search: the text is long and the pieces are few.
struct Texts<'t> {
    rest: Option<&'t str>,
    separator: &'t str,
}

impl<'t> Iterator for Texts<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        let rest = self.rest.take()?;
        let Some(at) = memchr::memmem::find(rest.as_bytes(), self.separator.as_bytes()) else {
            return Some(rest);
        };
        self.rest = rest.get(at + self.separator.len()..);
        rest.get(..at)
    }
}

fn first_part(text: &str) -> Option<(Part, &str)> {
    Part::ALL
        .into_iter()
        .find_map(|part| Some((part, text.strip_prefix(part.name())?)))
}

/// What stands before the next part, and the rest from there.
fn until_part(text: &str) -> (&str, &str) {
    let next = Part::ALL
        .into_iter()
        .filter_map(|part| text.find(part.name()))
        .min();
    text.split_at(next.unwrap_or(text.len()))
}

/// Whether the encoded text itself could hold the separator.
fn touches(encoding: Encoding, separator: &str) -> bool {
    separator.contains('=')
        || separator
            .chars()
            .any(|c| encoding::is_alphabet(encoding, c.encode_utf8(&mut [0; 4])))
}

fn each_once(pieces: &[Vec<Part>], tagged: bool) -> Result<(), LayoutError> {
    for part in Part::ALL {
        let times = pieces.iter().flatten().filter(|named| **named == part).count();
        match (part, times) {
            (Part::Tag, 0) if !tagged => {}
            (Part::Tag, _) if !tagged => return Err(LayoutError::NoTag),
            (_, 1) => {}
            _ => return Err(LayoutError::Once(part.name())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

    use super::*;

    fn gcm(text: &str, encoding: Encoding) -> Result<Layout, LayoutError> {
        Layout::parse(text, encoding, 12, true)
    }

    #[test]
    fn layouts_that_say_too_little_or_too_much_are_refused() {
        let error = |text, encoding| gcm(text, encoding).unwrap_err();
        assert_eq!(error("", Encoding::Hex), LayoutError::NoPart(String::new()));
        assert_eq!(
            error("iv:tag:", Encoding::Hex),
            LayoutError::NoPart(String::new())
        );
        assert_eq!(error("iv:data", Encoding::Hex), LayoutError::Once("tag"));
        assert_eq!(error("iv:tag:data:iv", Encoding::Hex), LayoutError::Once("iv"));
        assert_eq!(
            error("ivtagdata", Encoding::Hex),
            LayoutError::Ambiguous(String::new())
        );
        assert_eq!(
            error("iv-tag-data", Encoding::Base64url),
            LayoutError::Ambiguous("-".into())
        );
        assert_eq!(
            error("iv=tag=data", Encoding::Base64),
            LayoutError::Ambiguous("=".into())
        );
        assert_eq!(
            error("iv:tag.data", Encoding::Hex),
            LayoutError::Separators(":".into(), ".".into())
        );
        assert_eq!(
            Layout::parse("iv:tag:data", Encoding::Hex, 16, false).unwrap_err(),
            LayoutError::NoTag
        );
        assert!(gcm("data--iv--tag", Encoding::Base64).is_ok(), "Rails");
        assert!(Layout::parse("iv|data", Encoding::Hex, 16, false).is_ok());
    }

    #[test]
    fn texts_are_taken_apart_in_the_declared_order() {
        let (iv, tag) = ("11".repeat(12), "22".repeat(16));
        for (layout, text) in [
            ("iv:tag:data", format!("{iv}:{tag}:abCD")),
            ("data--iv--tag", format!("ABcd--{iv}--{tag}")),
            ("iv+tag+data", format!("{iv}{tag}abcd")),
            ("data+tag+iv", format!("abcd{tag}{iv}")),
            ("iv.data+tag", format!("{iv}.abcd{tag}")),
        ] {
            let parts = gcm(layout, Encoding::Hex).unwrap().split(&text).unwrap();
            assert_eq!(
                (parts.iv(), parts.tag(), parts.data()),
                (&[0x11; 12][..], &[0x22; 16][..], &[0xab, 0xcd][..]),
                "{layout}"
            );
        }
    }

    #[test]
    fn a_damaged_text_is_not_a_foreign_one() {
        let (iv, tag) = ("11".repeat(12), "22".repeat(16));
        let layout = gcm("iv:tag:data", Encoding::Hex).unwrap();
        for (text, refused) in [
            (format!("{iv}:{tag}:abc"), Refused::Sealed),
            (format!("{iv}:22:abcd"), Refused::Sealed),
            (format!("{iv}::"), Refused::Sealed),
            (format!("{iv}:{tag}"), Refused::Sealed),
            (iv.clone(), Refused::Foreign),
            (format!("{iv}:{tag}:abxy"), Refused::Foreign),
            (format!("{iv}:{tag}:ab:cd"), Refused::Foreign),
            ("12:34:56".into(), Refused::Foreign),
            ("hola: ¿qué tal?".into(), Refused::Foreign),
            (String::new(), Refused::Foreign),
        ] {
            assert_eq!(layout.split(&text).unwrap_err(), refused, "{text}");
        }
        let joined = gcm("iv+tag+data", Encoding::Base64).unwrap();
        assert_eq!(joined.split("hola").unwrap_err(), Refused::Foreign);
        assert_eq!(joined.split(&"A".repeat(41)).unwrap_err(), Refused::Sealed);
        assert!(joined.split(&"A".repeat(40)).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn reading_never_panics(layout in "(iv|tag|data|[+:.-]){0,7}", text in "([0-9a-f]{2}|[:.+=é]){0,40}") {
            for encoding in [Encoding::Hex, Encoding::Base64, Encoding::Base64url] {
                for tagged in [true, false] {
                    if let Ok(layout) = Layout::parse(&layout, encoding, 12, tagged) {
                        let _ = layout.split(&text);
                    }
                }
            }
        }
    }
}
