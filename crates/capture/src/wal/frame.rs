//! The frames of a replication stream: what the server sends around the changes, and what it is told. Sans-I/O.

use bytes::{Buf, Bytes, BytesMut};

use super::lsn::Lsn;

/// Nothing that PostgreSQL sends is longer: a row has at most 1 GiB.
const LONGEST: usize = 1 << 30;

/// Microseconds from 1970 to 2000, where PostgreSQL's clock begins.
pub(super) const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// One message of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// The stream has begun.
    Started,
    /// One message of the output plugin.
    Data(Bytes),
    /// The server is alive and has decoded up to `end`.
    Keepalive {
        end: Lsn,
        reply: bool,
    },
    /// The server ends the stream, with its reason if it has one.
    Refused {
        code: String,
        message: String,
    },
    Ended,
}

/// The bytes do not follow the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server did not send a replication stream")]
pub(super) struct Broken;

/// Takes the next whole frame from the front of `bytes`; `None` if more bytes are needed. What says nothing to us is passed over.
pub(super) fn take(bytes: &mut BytesMut) -> Result<Option<Frame>, Broken> {
    loop {
        let Some((&[kind, a, b, c, d], _)) = bytes.split_first_chunk::<5>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).map_err(|_| Broken)?;
        if !(4..=LONGEST).contains(&length) {
            return Err(Broken);
        }
        if bytes.len() <= length {
            return Ok(None);
        }
        let mut body = bytes.split_to(length + 1);
        body.advance(5);
        match kind {
            b'd' => match copied(body.freeze())? {
                Some(frame) => return Ok(Some(frame)),
                None => continue,
            },
            b'W' => return Ok(Some(Frame::Started)),
            b'E' => return Ok(Some(refused(&body))),
            b'c' => return Ok(Some(Frame::Ended)),
            // Notices, changed parameters, ends of commands.
            b'N' | b'S' | b'A' | b'C' | b'Z' => {}
            _ => return Err(Broken),
        }
    }
}

fn copied(mut body: Bytes) -> Result<Option<Frame>, Broken> {
    let kind = body.try_get_u8().map_err(|_| Broken)?;
    match kind {
        b'w' => {
            // Start and end of this piece of WAL and the server's clock; the messages inside say more.
            if body.len() < 24 {
                return Err(Broken);
            }
            body.advance(24);
            Ok(Some(Frame::Data(body)))
        }
        b'k' => {
            let end = Lsn(body.try_get_u64().map_err(|_| Broken)?);
            body.try_get_u64().map_err(|_| Broken)?;
            let reply = body.try_get_u8().map_err(|_| Broken)? != 0;
            Ok(Some(Frame::Keepalive { end, reply }))
        }
        _ => Ok(None),
    }
}

fn refused(body: &[u8]) -> Frame {
    let (mut code, mut message) = (String::new(), String::new());
    for field in body.split(|byte| *byte == 0) {
        let Some((kind, text)) = field.split_first() else {
            continue;
        };
        let text = String::from_utf8_lossy(text);
        match kind {
            b'C' => code = text.into_owned(),
            b'M' => message.insert_str(0, &text),
            // Detail and hint: the reason often stands there.
            b'D' | b'H' => {
                message.push_str("; ");
                message.push_str(&text);
            }
            _ => {}
        }
    }
    Frame::Refused { code, message }
}

/// A simple query.
pub(super) fn query(sql: &str) -> Vec<u8> {
    let length = u32::try_from(sql.len() + 5).unwrap_or(u32::MAX);
    let mut bytes = vec![b'Q'];
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(sql.as_bytes());
    bytes.push(0);
    bytes
}

/// The end of what we stream.
pub(super) const END: [u8; 5] = *b"c\0\0\0\x04";

/// A standby status update: received up to `written`, durable up to `flushed`. The server is asked to answer, because one that hears from
/// us says nothing by itself, and silence is how its end is noticed.
pub(super) fn status(written: Lsn, flushed: Lsn, clock_micros: i64) -> [u8; 39] {
    let mut bytes = [0; 39];
    let mut put = |at: usize, part: &[u8]| {
        if let Some(room) = bytes.get_mut(at..at + part.len()) {
            room.copy_from_slice(part);
        }
    };
    put(0, b"d");
    put(1, &38_u32.to_be_bytes());
    put(5, b"r");
    put(6, &written.0.to_be_bytes());
    put(14, &flushed.0.to_be_bytes());
    put(22, &flushed.0.to_be_bytes());
    put(30, &clock_micros.saturating_sub(EPOCH_MICROS).to_be_bytes());
    put(38, &[1]);
    bytes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind];
        bytes.extend_from_slice(&u32::try_from(body.len() + 4).unwrap().to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn data_keepalives_and_errors_are_told_apart() {
        let data = [&[b'w'][..], &[0; 24], b"payload"].concat();
        let alive = [&[b'k'][..], &7_u64.to_be_bytes(), &[0; 8], &[1]].concat();
        let mut bytes = BytesMut::new();
        for (kind, body) in [
            (b'W', &[0, 0, 0][..]),
            (b'd', &data),
            (b'S', b"a\0b\0"),
            (b'd', &alive),
        ] {
            bytes.extend_from_slice(&framed(kind, body));
        }
        bytes.extend_from_slice(&framed(b'E', b"SERROR\0C55006\0Mno\0Dwhy\0\0"));
        let mut next = || take(&mut bytes).unwrap();
        assert_eq!(next(), Some(Frame::Started));
        assert_eq!(next(), Some(Frame::Data(Bytes::from_static(b"payload"))));
        assert_eq!(
            next(),
            Some(Frame::Keepalive {
                end: Lsn(7),
                reply: true
            })
        );
        let refused = Frame::Refused {
            code: "55006".into(),
            message: "no; why".into(),
        };
        assert_eq!(next(), Some(refused));
        assert_eq!(next(), None);
    }

    #[test]
    fn a_status_has_the_length_that_it_says() {
        let bytes = status(Lsn(3), Lsn(2), EPOCH_MICROS + 5);
        assert_eq!(bytes.len(), 39);
        assert_eq!(bytes.get(..6).unwrap(), b"d\0\0\0\x26r");
        assert_eq!(bytes.get(30..38).unwrap(), 5_i64.to_be_bytes());
    }

    proptest! {
        /// However the bytes arrive, the frames are the same; and no bytes panic.
        #[test]
        fn pieces_make_no_difference(body in prop::collection::vec(any::<u8>(), 0..40), cut in 0_usize..60) {
            let whole = framed(b'd', &[&[b'w'][..], &[0; 24], &body].concat());
            let (first, second) = whole.split_at(cut.min(whole.len()));
            let mut bytes = BytesMut::from(first);
            let early = take(&mut bytes).unwrap();
            bytes.extend_from_slice(second);
            let frame = early.or_else(|| take(&mut bytes).unwrap());
            prop_assert_eq!(frame, Some(Frame::Data(body.into())));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut bytes = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = take(&mut bytes) {}
        }
    }
}
