//! RESP as a subscriber of Redis receives it: messages, confirmations, answers and errors.
//!
//! Versions 2 and 3 of <https://redis.io/docs/latest/develop/reference/protocol-spec/>, without the streamed types that no server sends.
//! What is no message is found whole and passed over: a subscriber asks for nothing whose answer it has to understand.

/// Longest line of a number, a length, a short text or an error, without its end.
const LINE: usize = 64 << 10;

/// Elements of one frame, with those inside of others. The answer to `HELLO` has less than a hundred.
const ELEMENTS: u64 = 4096;

/// Bytes of one element: what Redis itself takes (`proto-max-bulk-len`).
const BULK: usize = 512 << 20;

const END: &[u8] = b"\r\n";

/// What a server has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Somebody published; with the pattern, where the subscription was to one.
    Message {
        pattern: Option<&'a [u8]>,
        channel: &'a [u8],
        payload: &'a [u8],
    },
    /// A subscription stands.
    Subscribed,
    /// A command was refused, with these words.
    Error(&'a [u8]),
    /// The answer to a command.
    Answer,
}

/// Bytes that are no RESP, or more than anybody has to take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("byte {0:#04x} begins no type of RESP")]
    Type(u8),
    #[error("a line that is not a number, or does not end")]
    Line,
    #[error("an element of more than {BULK} bytes, or a frame of more than {ELEMENTS} elements")]
    TooLarge,
    #[error("an element that does not end where it said")]
    End,
}

/// The first frame of `input` and its length; `None` while more bytes are needed.
pub fn decode(input: &[u8]) -> Result<Option<(Frame<'_>, usize)>, Malformed> {
    let mut scan = Scan { input, at: 0 };
    let Some(first) = scan.element()? else {
        return Ok(None);
    };
    let frame = match first {
        Element::Many(count, true) => {
            let Some(frame) = scan.pushed(count)? else {
                return Ok(None);
            };
            frame
        }
        Element::Many(count, false) => {
            if scan.skip(count)?.is_none() {
                return Ok(None);
            }
            Frame::Answer
        }
        Element::Error(words) => Frame::Error(words),
        Element::Bytes(_) | Element::Other => Frame::Answer,
    };
    Ok(Some((frame, scan.at)))
}

/// One element, or the head of those that follow.
enum Element<'a> {
    /// So many elements; `true` where their order has a meaning.
    Many(u64, bool),
    Bytes(&'a [u8]),
    Error(&'a [u8]),
    Other,
}

struct Scan<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    /// A push, or with RESP 2 an array that may be one.
    fn pushed(&mut self, count: u64) -> Result<Option<Frame<'a>>, Malformed> {
        if count > ELEMENTS {
            return Err(Malformed::TooLarge);
        }
        let mut words: [&[u8]; 4] = [&[]; 4];
        let mut left = count;
        for word in &mut words {
            if left == 0 {
                break;
            }
            match self.element()? {
                None => return Ok(None),
                Some(Element::Bytes(bytes)) => (*word, left) = (bytes, left - 1),
                Some(Element::Many(inner, _)) => {
                    left = (left - 1).saturating_add(inner);
                    break;
                }
                Some(_) => left -= 1,
            }
        }
        if self.skip(left)?.is_none() {
            return Ok(None);
        }
        let [kind, first, second, third] = words;
        Ok(Some(match (kind, count) {
            (b"message", 3) => Frame::Message {
                pattern: None,
                channel: first,
                payload: second,
            },
            (b"pmessage", 4) => Frame::Message {
                pattern: Some(first),
                channel: second,
                payload: third,
            },
            (b"subscribe" | b"psubscribe", 3) => Frame::Subscribed,
            _ => Frame::Answer,
        }))
    }

    /// Passes over elements and what is inside of them; `None` while they are not whole.
    fn skip(&mut self, count: u64) -> Result<Option<()>, Malformed> {
        let (mut left, mut all) = (count, count);
        while left > 0 {
            if all > ELEMENTS {
                return Err(Malformed::TooLarge);
            }
            left -= 1;
            match self.element()? {
                None => return Ok(None),
                Some(Element::Many(inner, _)) => {
                    (left, all) = (left.saturating_add(inner), all.saturating_add(inner));
                }
                Some(_) => {}
            }
        }
        Ok(Some(()))
    }

    fn element(&mut self) -> Result<Option<Element<'a>>, Malformed> {
        let Some(kind) = self.input.get(self.at) else {
            return Ok(None);
        };
        let kind = *kind;
        if !b"+-:_#,($!=*~>%|".contains(&kind) {
            return Err(Malformed::Type(kind));
        }
        let Some(line) = self.line()? else {
            return Ok(None);
        };
        Ok(Some(match kind {
            b'+' => Element::Bytes(line),
            b'-' => Element::Error(line),
            b':' | b'_' | b'#' | b',' | b'(' => Element::Other,
            b'$' | b'!' | b'=' => return self.bulk(kind, line),
            b'*' | b'>' => Element::Many(length(line)?.unwrap_or(0), true),
            b'~' => Element::Many(length(line)?.unwrap_or(0), false),
            // Pairs; of an attribute also what it belongs to.
            _ => {
                let pairs = length(line)?.unwrap_or(0).saturating_mul(2);
                Element::Many(pairs.saturating_add(u64::from(kind == b'|')), false)
            }
        }))
    }

    /// The bytes that a line announced.
    fn bulk(&mut self, kind: u8, line: &[u8]) -> Result<Option<Element<'a>>, Malformed> {
        let Some(length) = length(line)? else {
            return Ok(Some(Element::Other));
        };
        let length = usize::try_from(length).map_err(|_| Malformed::TooLarge)?;
        if length > BULK {
            return Err(Malformed::TooLarge);
        }
        let rest = self.input.get(self.at..).unwrap_or_default();
        let (Some(bytes), Some(end)) = (rest.get(..length), rest.get(length..length + END.len())) else {
            return Ok(None);
        };
        if end != END {
            return Err(Malformed::End);
        }
        self.at += length + END.len();
        Ok(Some(match kind {
            b'!' => Element::Error(bytes),
            // A format of three letters and a colon come first.
            b'=' => Element::Bytes(bytes.get(4..).unwrap_or_default()),
            _ => Element::Bytes(bytes),
        }))
    }

    /// The rest of the line, without the byte of its type; `None` while it has not ended.
    fn line(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        let rest = self.input.get(self.at + 1..).unwrap_or_default();
        let within = rest.get(..LINE + END.len()).unwrap_or(rest);
        let Some(length) = within.iter().position(|byte| *byte == b'\r') else {
            return if within.len() > LINE {
                Err(Malformed::Line)
            } else {
                Ok(None)
            };
        };
        match rest.get(length + 1) {
            None => Ok(None),
            Some(b'\n') => {
                self.at += 1 + length + END.len();
                Ok(rest.get(..length))
            }
            Some(_) => Err(Malformed::Line),
        }
    }
}

/// What a line announces; `None` is RESP 2's null.
fn length(line: &[u8]) -> Result<Option<u64>, Malformed> {
    if line == b"-1" {
        return Ok(None);
    }
    let text = std::str::from_utf8(line).map_err(|_| Malformed::Line)?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Malformed::Line);
    }
    text.parse().map(Some).map_err(|_| Malformed::Line)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn message(payload: &[u8]) -> Vec<u8> {
        let mut bytes = b">3\r\n$7\r\nmessage\r\n$4\r\nroom\r\n".to_vec();
        bytes.extend_from_slice(format!("${}\r\n", payload.len()).as_bytes());
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(END);
        bytes
    }

    fn whole(bytes: &[u8]) -> Frame<'_> {
        let (frame, length) = decode(bytes).unwrap().unwrap();
        assert_eq!(length, bytes.len());
        frame
    }

    #[test]
    fn messages_carry_their_bytes_whatever_they_are() {
        let expected = Frame::Message {
            pattern: None,
            channel: b"room",
            payload: b"a\r\n\0b",
        };
        assert_eq!(whole(&message(b"a\r\n\0b")), expected);
        let expected = Frame::Message {
            pattern: Some(b"r*"),
            channel: b"room",
            payload: b"",
        };
        assert_eq!(
            whole(b">4\r\n$8\r\npmessage\r\n$2\r\nr*\r\n$4\r\nroom\r\n$0\r\n\r\n"),
            expected
        );
        // RESP 2 sends the same as an array.
        let array = message(b"x");
        let array = [b"*", array.get(1..).unwrap()].concat();
        assert!(matches!(whole(&array), Frame::Message { payload: b"x", .. }));
    }

    #[test]
    fn everything_else_is_found_whole() {
        // As Redis 7 answers HELLO 3.
        let hello = b"%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.0.1\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:5\r\n\
            $4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n";
        for answer in [
            &hello[..],
            b"+PONG\r\n",
            b":1\r\n",
            b"_\r\n",
            b"#t\r\n",
            b",1.5\r\n",
            b"(123456789012345678901\r\n",
            b"$-1\r\n",
            b"*-1\r\n",
            b"*0\r\n",
            b"=8\r\ntxt:four\r\n",
            b"~2\r\n:1\r\n*1\r\n$1\r\nx\r\n",
            b"|1\r\n+ttl\r\n:3\r\n$1\r\nx\r\n",
            b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n",
            b"*2\r\n$4\r\npong\r\n$0\r\n\r\n",
            b">3\r\n$11\r\nunsubscribe\r\n$4\r\nroom\r\n:0\r\n",
        ] {
            assert_eq!(
                whole(answer),
                Frame::Answer,
                "{}",
                String::from_utf8_lossy(answer)
            );
        }
        assert_eq!(
            whole(b">3\r\n$9\r\nsubscribe\r\n$4\r\nroom\r\n:1\r\n"),
            Frame::Subscribed
        );
        assert_eq!(
            whole(b">3\r\n$10\r\npsubscribe\r\n$2\r\nr*\r\n:2\r\n"),
            Frame::Subscribed
        );
        assert_eq!(
            whole(b"-NOPERM no permissions\r\n"),
            Frame::Error(b"NOPERM no permissions")
        );
        assert_eq!(
            whole(b"!21\r\nSYNTAX invalid syntax\r\n"),
            Frame::Error(b"SYNTAX invalid syntax")
        );
    }

    #[test]
    fn what_is_no_resp_or_too_much_is_refused() {
        assert_eq!(decode(b"HTTP/1.1 400\r\n"), Err(Malformed::Type(b'H')));
        assert_eq!(decode(b"$x\r\n"), Err(Malformed::Line));
        assert_eq!(decode(b"$-2\r\n"), Err(Malformed::Line));
        assert_eq!(decode(b"+a\rb\r\n"), Err(Malformed::Line));
        assert_eq!(
            decode(&[&b"+"[..], &[b'a'; LINE + 2]].concat()),
            Err(Malformed::Line)
        );
        assert_eq!(decode(b"$1\r\nab\r\n"), Err(Malformed::End));
        assert_eq!(decode(b"$536870913\r\n"), Err(Malformed::TooLarge));
        assert_eq!(
            decode(b"*4097\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n"),
            Err(Malformed::TooLarge)
        );
        assert_eq!(decode(&b"*2\r\n".repeat(2100)), Err(Malformed::TooLarge));
        assert_eq!(
            decode(b"%18446744073709551615\r\n:1\r\n"),
            Err(Malformed::TooLarge)
        );
    }

    proptest! {
        #[test]
        fn a_frame_is_the_same_whenever_its_bytes_come(payload in prop::collection::vec(any::<u8>(), 0..200)) {
            let bytes = message(&payload);
            for cut in 0..bytes.len() {
                prop_assert_eq!(decode(bytes.get(..cut).unwrap()), Ok(None));
            }
            let twice = [bytes.as_slice(), bytes.as_slice()].concat();
            prop_assert_eq!(decode(&twice).unwrap().unwrap().1, bytes.len());
        }

        #[test]
        fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(Some((_, length))) = decode(&bytes) {
                prop_assert!(length > 0 && length <= bytes.len());
            }
        }

        #[test]
        fn bytes_that_look_like_resp_are_taken(bytes in "[+\\-:_#,($!=*~>%|0-9\r\nmesag]{0,60}") {
            if let Ok(Some((_, length))) = decode(bytes.as_bytes()) {
                prop_assert!(length > 0 && length <= bytes.len());
            }
        }
    }
}
