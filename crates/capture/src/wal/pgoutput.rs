//! Reads the messages of the output plugin `pgoutput`, protocol 1 in text. Sans-I/O; any bytes give a message or an error.

use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::lsn::Lsn;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    Begin {
        /// Where the commit of this transaction stands.
        commit: Lsn,
        /// Microseconds since 2000.
        at: i64,
        xid: u32,
    },
    Commit {
        /// Where the commit record ends.
        end: Lsn,
    },
    Relation(Arc<Relation>),
    Insert {
        relation: u32,
        new: Tuple,
    },
    Update {
        relation: u32,
        old: Option<Tuple>,
        new: Tuple,
    },
    Delete {
        relation: u32,
        old: Tuple,
    },
    Truncate {
        relations: Vec<u32>,
    },
    /// From `pg_logical_emit_message`.
    Emitted {
        transactional: bool,
        prefix: Bytes,
        content: Bytes,
    },
    /// Says nothing that is needed here: a type's name, an origin.
    Other,
}

/// What a table was like when the changes after this message were made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    /// Its replica identity is FULL. A partition's own may be another one, and is not told.
    pub full: bool,
    pub columns: Vec<RelationColumn>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationColumn {
    pub name: String,
    /// It belongs to the replica identity, or is in its index only (INCLUDE).
    pub key: bool,
    pub type_oid: u32,
}

/// The values of a row, in the order of its relation's columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuple {
    pub cells: Vec<Cell>,
    /// Only the columns of the replica identity have values; the nulls of the others mean nothing.
    pub key_only: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    Null,
    /// A large value that the update did not touch: the WAL has no copy.
    Unchanged,
    Text(Bytes),
}

impl Cell {
    /// The value's text.
    pub fn text(&self) -> Option<&Bytes> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Unchanged => None,
        }
    }
}

/// The bytes are no message of the protocol that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server sent a change that cannot be read: {0}")]
pub struct DecodeError(&'static str);

type Decoded<T> = Result<T, DecodeError>;

const SHORT: DecodeError = DecodeError("it is cut off");

/// Reads one message.
pub fn decode(mut bytes: Bytes) -> Decoded<Message> {
    let reader = &mut bytes;
    match byte(reader)? {
        b'B' => Ok(Message::Begin {
            commit: lsn(reader)?,
            at: reader.try_get_i64().map_err(|_| SHORT)?,
            xid: number(reader)?,
        }),
        b'C' => {
            byte(reader)?;
            lsn(reader)?;
            Ok(Message::Commit { end: lsn(reader)? })
        }
        b'R' => relation(reader).map(|relation| Message::Relation(Arc::new(relation))),
        b'I' => Ok(Message::Insert {
            relation: number(reader)?,
            new: new(reader)?,
        }),
        b'U' => update(reader),
        b'D' => Ok(Message::Delete {
            relation: number(reader)?,
            old: old(reader)?.ok_or(DecodeError("a delete without its row"))?,
        }),
        b'T' => truncate(reader),
        b'M' => emitted(reader),
        b'O' | b'Y' => Ok(Message::Other),
        _ => Err(DecodeError("its kind is unknown")),
    }
}

fn update(reader: &mut Bytes) -> Decoded<Message> {
    Ok(Message::Update {
        relation: number(reader)?,
        old: old(reader)?,
        new: new(reader)?,
    })
}

fn truncate(reader: &mut Bytes) -> Decoded<Message> {
    let count = number(reader)?;
    byte(reader)?;
    // Grows with what is there, not with what is claimed.
    let mut relations = Vec::new();
    for _ in 0..count {
        relations.push(number(reader)?);
    }
    Ok(Message::Truncate { relations })
}

fn emitted(reader: &mut Bytes) -> Decoded<Message> {
    let flags = byte(reader)?;
    lsn(reader)?;
    let prefix = terminated(reader)?;
    let length = number(reader)?;
    Ok(Message::Emitted {
        transactional: flags & 1 != 0,
        prefix,
        content: piece(reader, length)?,
    })
}

fn relation(reader: &mut Bytes) -> Decoded<Relation> {
    let oid = number(reader)?;
    let (schema, name) = (text(reader)?, text(reader)?);
    let full = byte(reader)? == b'f';
    let mut columns = Vec::new();
    for _ in 0..short(reader)? {
        let flags = byte(reader)?;
        columns.push(RelationColumn {
            key: flags & 1 != 0,
            name: text(reader)?,
            type_oid: number(reader)?,
        });
        // The type's modifier.
        number(reader)?;
    }
    Ok(Relation {
        oid,
        // The catalogue's own schema goes without a name.
        schema: if schema.is_empty() {
            "pg_catalog".to_owned()
        } else {
            schema
        },
        name,
        full,
        columns,
    })
}

fn new(reader: &mut Bytes) -> Decoded<Tuple> {
    match byte(reader)? {
        b'N' => tuple(reader, false),
        _ => Err(DecodeError("a row without its new version")),
    }
}

/// The old version, if it comes next.
fn old(reader: &mut Bytes) -> Decoded<Option<Tuple>> {
    let key_only = match reader.first() {
        Some(b'K') => true,
        Some(b'O') => false,
        _ => return Ok(None),
    };
    reader.advance(1);
    tuple(reader, key_only).map(Some)
}

fn tuple(reader: &mut Bytes, key_only: bool) -> Decoded<Tuple> {
    let count = usize::from(short(reader)?);
    let mut cells = Vec::with_capacity(count.min(reader.len()));
    for _ in 0..count {
        cells.push(match byte(reader)? {
            b'n' => Cell::Null,
            b'u' => Cell::Unchanged,
            b't' => {
                let length = number(reader)?;
                Cell::Text(piece(reader, length)?)
            }
            _ => return Err(DecodeError("a value of an unknown form")),
        });
    }
    Ok(Tuple { cells, key_only })
}

fn byte(reader: &mut Bytes) -> Decoded<u8> {
    reader.try_get_u8().map_err(|_| SHORT)
}

fn short(reader: &mut Bytes) -> Decoded<u16> {
    reader.try_get_u16().map_err(|_| SHORT)
}

fn number(reader: &mut Bytes) -> Decoded<u32> {
    reader.try_get_u32().map_err(|_| SHORT)
}

fn lsn(reader: &mut Bytes) -> Decoded<Lsn> {
    reader.try_get_u64().map(Lsn).map_err(|_| SHORT)
}

fn piece(reader: &mut Bytes, length: u32) -> Decoded<Bytes> {
    let length = usize::try_from(length).map_err(|_| SHORT)?;
    if reader.len() < length {
        return Err(SHORT);
    }
    Ok(reader.split_to(length))
}

/// Bytes up to a zero, which is taken too.
fn terminated(reader: &mut Bytes) -> Decoded<Bytes> {
    let length = reader.iter().position(|byte| *byte == 0).ok_or(SHORT)?;
    let piece = reader.split_to(length);
    reader.advance(1);
    Ok(piece)
}

fn text(reader: &mut Bytes) -> Decoded<String> {
    Ok(String::from_utf8_lossy(&terminated(reader)?).into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    /// As the server writes a tuple.
    fn written(cells: &[Cell]) -> Vec<u8> {
        let mut bytes = u16::try_from(cells.len()).unwrap().to_be_bytes().to_vec();
        for cell in cells {
            match cell {
                Cell::Null => bytes.push(b'n'),
                Cell::Unchanged => bytes.push(b'u'),
                Cell::Text(text) => {
                    bytes.push(b't');
                    bytes.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
                    bytes.extend_from_slice(text);
                }
            }
        }
        bytes
    }

    fn cells() -> impl Strategy<Value = Vec<Cell>> {
        let text = prop::collection::vec(any::<u8>(), 0..12).prop_map(|text| Cell::Text(text.into()));
        prop::collection::vec(prop_oneof![Just(Cell::Null), Just(Cell::Unchanged), text], 0..8)
    }

    proptest! {
        #[test]
        fn updates_read_back(relation: u32, new in cells(), old in prop::option::of((cells(), any::<bool>()))) {
            let mut bytes = vec![b'U'];
            bytes.extend_from_slice(&relation.to_be_bytes());
            if let Some((cells, key_only)) = &old {
                bytes.push(if *key_only { b'K' } else { b'O' });
                bytes.extend_from_slice(&written(cells));
            }
            bytes.push(b'N');
            bytes.extend_from_slice(&written(&new));
            let message = decode(bytes.clone().into()).unwrap();
            let old = old.map(|(cells, key_only)| Tuple { cells, key_only });
            prop_assert_eq!(message, Message::Update { relation, old, new: Tuple { cells: new, key_only: false } });
            for length in 0..bytes.len() {
                prop_assert!(decode(Bytes::copy_from_slice(bytes.get(..length).unwrap())).is_err());
            }
        }

        #[test]
        fn no_bytes_panic(kind in prop::sample::select(&b"BCRIUDTMOYx"[..]), rest in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode([&[kind][..], &rest].concat().into());
        }
    }

    #[test]
    fn a_relation_has_names_keys_and_types() {
        let mut bytes = b"R\0\0\x40\0app\0My \"t\"\0d\0\x02\x01id\0\0\0\0\x17\xff\xff\xff\xff".to_vec();
        bytes.extend_from_slice(b"\0nota\0\0\0\0\x19\xff\xff\xff\xff");
        let Message::Relation(relation) = decode(bytes.into()).unwrap() else {
            unreachable!()
        };
        assert_eq!(
            (relation.oid, &*relation.schema, &*relation.name),
            (0x4000, "app", "My \"t\"")
        );
        let columns: Vec<_> = relation
            .columns
            .iter()
            .map(|c| (&*c.name, c.key, c.type_oid))
            .collect();
        assert_eq!(columns, [("id", true, 23), ("nota", false, 25)]);
    }
}
