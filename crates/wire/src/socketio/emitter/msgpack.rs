//! MessagePack as JSON text, so that what an emitter says is read once, as JSON, whatever it was written in.
//!
//! Numbers keep their value up to the whole of 64 bits; bytes become placeholders and attachments; times become the texts that
//! JavaScript writes for them. The input is walked once, by a loop: memory stays within some times its length, whatever its depth.

use std::fmt::Write as _;

use base64::Engine as _;
use bytes::Bytes;
use rmp::Marker;
use rmp::decode::RmpRead;
use time::OffsetDateTime;

use super::super::packet::MAX_ATTACHMENTS;
use super::EmitError;

/// The type of a timestamp in the MessagePack specification.
const TIMESTAMP: i8 = -1;

/// The type that older encoders of the emitters gave to what JSON has no word for: `undefined`, dates, buffers.
const LEGACY: i8 = 0;

/// A message in its other form.
#[derive(Debug, Default)]
pub(super) struct Transcoded {
    pub(super) json: String,
    /// In the order of their numbers. Bytes beyond the tenth are base64 texts in the JSON, because clients take no more attachments.
    pub(super) attachments: Vec<Bytes>,
}

/// Reads one whole message.
pub(super) fn to_json(message: &[u8]) -> Result<Transcoded, EmitError> {
    let mut transcoder = Transcoder {
        rest: message,
        out: Transcoded::default(),
    };
    transcoder.whole()?;
    if transcoder.rest.is_empty() {
        Ok(transcoder.out)
    } else {
        Err(EmitError::Msgpack("something follows its end"))
    }
}

struct Transcoder<'a> {
    rest: &'a [u8],
    out: Transcoded,
}

/// An array or map that is not complete yet.
struct Open {
    left: usize,
    is_map: bool,
    began: bool,
}

impl<'a> Transcoder<'a> {
    /// One value with all that is in it.
    fn whole(&mut self) -> Result<(), EmitError> {
        let mut open = Vec::new();
        open.extend(self.value()?);
        while let Some(inner) = open.last_mut() {
            if inner.left == 0 {
                self.out.json.push(if inner.is_map { '}' } else { ']' });
                open.pop();
                continue;
            }
            inner.left -= 1;
            if std::mem::replace(&mut inner.began, true) {
                self.out.json.push(',');
            }
            if inner.is_map {
                let key = rmp::decode::read_marker(&mut self.rest).map_err(|_| CUT)?;
                self.text(key)?;
                self.out.json.push(':');
            }
            open.extend(self.value()?);
        }
        Ok(())
    }

    /// A value; of an array or map only its beginning.
    fn value(&mut self) -> Result<Option<Open>, EmitError> {
        let marker = rmp::decode::read_marker(&mut self.rest).map_err(|_| CUT)?;
        match marker {
            Marker::Null => self.out.json.push_str("null"),
            Marker::True => self.out.json.push_str("true"),
            Marker::False => self.out.json.push_str("false"),
            Marker::FixPos(number) => self.number(number),
            Marker::FixNeg(number) => self.number(number),
            Marker::U8 => self.integer(RmpRead::read_data_u8)?,
            Marker::U16 => self.integer(RmpRead::read_data_u16)?,
            Marker::U32 => self.integer(RmpRead::read_data_u32)?,
            Marker::U64 => self.integer(RmpRead::read_data_u64)?,
            Marker::I8 => self.integer(RmpRead::read_data_i8)?,
            Marker::I16 => self.integer(RmpRead::read_data_i16)?,
            Marker::I32 => self.integer(RmpRead::read_data_i32)?,
            Marker::I64 => self.integer(RmpRead::read_data_i64)?,
            Marker::F32 => self
                .read(RmpRead::read_data_f32)
                .map(|number| self.float(number.into()))?,
            Marker::F64 => self
                .read(RmpRead::read_data_f64)
                .map(|number| self.float(number))?,
            Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => return self.open(marker, false),
            Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => return self.open(marker, true),
            _ => self.long(marker)?,
        }
        Ok(None)
    }

    /// What has a length.
    fn long(&mut self, marker: Marker) -> Result<(), EmitError> {
        match marker {
            Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => self.text(marker),
            Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => {
                let bytes = self.sized(marker)?;
                self.bytes(bytes);
                Ok(())
            }
            Marker::FixExt1 => self.extension(1, true),
            Marker::FixExt2 => self.extension(2, true),
            Marker::FixExt4 => self.extension(4, true),
            Marker::FixExt8 => self.extension(8, true),
            Marker::FixExt16 => self.extension(16, true),
            Marker::Ext8 | Marker::Ext16 | Marker::Ext32 => {
                let length = self.length(marker)?;
                self.extension(length, false)
            }
            _ => Err(EmitError::Msgpack("it has a byte that means nothing")),
        }
    }

    fn open(&mut self, marker: Marker, is_map: bool) -> Result<Option<Open>, EmitError> {
        let left = self.length(marker)?;
        self.out.json.push(if is_map { '{' } else { '[' });
        Ok(Some(Open {
            left,
            is_map,
            began: false,
        }))
    }

    fn text(&mut self, marker: Marker) -> Result<(), EmitError> {
        let is_text = matches!(
            marker,
            Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32
        );
        if !is_text {
            return Err(EmitError::Msgpack("a key is not a text"));
        }
        // JavaScript decodes the same way, so that a text cut in the middle of a letter arrives.
        let text = String::from_utf8_lossy(self.sized(marker)?);
        self.quoted(&text);
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let number = self.out.attachments.len();
        if number >= MAX_ATTACHMENTS {
            let text = base64::engine::general_purpose::STANDARD.encode(bytes);
            return self.quoted(&text);
        }
        self.out.attachments.push(Bytes::copy_from_slice(bytes));
        let _ = write!(self.out.json, "{{\"_placeholder\":true,\"num\":{number}}}");
    }

    /// `fixed`: the length is part of the marker, which old encoders do with all but buffers.
    fn extension(&mut self, length: usize, fixed: bool) -> Result<(), EmitError> {
        let kind = self.read(RmpRead::read_data_i8)?;
        let data = self.take(length)?;
        match kind {
            TIMESTAMP => self.time(timestamp(data)?),
            LEGACY if !fixed => {
                self.bytes(data);
                Ok(())
            }
            LEGACY if length == 1 => {
                self.out.json.push_str("null");
                Ok(())
            }
            LEGACY if length == 8 => self.time(i128::from(be_i64(data)) * NANOS_PER_MILLI),
            _ => Err(EmitError::Msgpack("it has an extension that no emitter writes")),
        }
    }

    /// As `Date.toJSON` writes it, to the millisecond.
    fn time(&mut self, nanos: i128) -> Result<(), EmitError> {
        let time = OffsetDateTime::from_unix_timestamp_nanos(nanos)
            .ok()
            .filter(|time| time.year() >= 0)
            .ok_or(EmitError::Msgpack("a time is out of range"))?;
        let (year, month, day) = time.to_calendar_date();
        let (hour, minute, second, milli) = time.to_hms_milli();
        let month = u8::from(month);
        let _ = write!(
            self.out.json,
            "\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z\""
        );
        Ok(())
    }

    fn integer<T: std::fmt::Display, E>(
        &mut self,
        read: impl Fn(&mut &'a [u8]) -> Result<T, E>,
    ) -> Result<(), EmitError> {
        let number = self.read(read)?;
        self.number(number);
        Ok(())
    }

    fn number(&mut self, number: impl std::fmt::Display) {
        let _ = write!(self.out.json, "{number}");
    }

    /// What is no number is `null`, as `JSON.stringify` writes it.
    fn float(&mut self, number: f64) {
        self.out
            .json
            .push_str(&serde_json::Value::from(number).to_string());
    }

    fn quoted(&mut self, text: &str) {
        self.out.json.push_str(&serde_json::Value::from(text).to_string());
    }

    fn read<T, E>(&mut self, read: impl Fn(&mut &'a [u8]) -> Result<T, E>) -> Result<T, EmitError> {
        read(&mut self.rest).map_err(|_| CUT)
    }

    fn length(&mut self, marker: Marker) -> Result<usize, EmitError> {
        let length = match marker {
            Marker::FixStr(length) | Marker::FixArray(length) | Marker::FixMap(length) => length.into(),
            Marker::Str8 | Marker::Bin8 | Marker::Ext8 => self.read(RmpRead::read_data_u8)?.into(),
            Marker::Str16 | Marker::Bin16 | Marker::Ext16 | Marker::Array16 | Marker::Map16 => {
                self.read(RmpRead::read_data_u16)?.into()
            }
            _ => self.read(RmpRead::read_data_u32)?,
        };
        usize::try_from(length).map_err(|_| CUT)
    }

    fn sized(&mut self, marker: Marker) -> Result<&'a [u8], EmitError> {
        let length = self.length(marker)?;
        self.take(length)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], EmitError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(CUT)?;
        self.rest = rest;
        Ok(taken)
    }
}

const CUT: EmitError = EmitError::Msgpack("it ends too early");

const NANOS_PER_MILLI: i128 = 1_000_000;
const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// Nanoseconds since 1970 of a timestamp of 32, 64 or 96 bits.
fn timestamp(data: &[u8]) -> Result<i128, EmitError> {
    let (nanos, seconds): (i128, i128) = match data.len() {
        4 => (0, be_u64(data).into()),
        8 => {
            let whole = be_u64(data);
            ((whole >> 34).into(), (whole & 0x3_ffff_ffff).into())
        }
        12 => {
            let (nanos, seconds) = data.split_at_checked(4).unwrap_or_default();
            (be_u64(nanos).into(), be_i64(seconds).into())
        }
        _ => return Err(EmitError::Msgpack("a time has no length of a time")),
    };
    Ok(seconds * NANOS_PER_SECOND + nanos)
}

fn be_u64(data: &[u8]) -> u64 {
    data.iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

fn be_i64(data: &[u8]) -> i64 {
    be_u64(data).cast_signed()
}
