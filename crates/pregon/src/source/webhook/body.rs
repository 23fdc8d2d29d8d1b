//! Reads the body of a delivery within its limit and within the room for all bodies.

use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;

use crate::limits::bodies::HeldBody;

/// Room is taken in steps, so that a body that comes in many pieces asks seldom.
const STEP: usize = 16 * 1024;

/// Why there is no body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    TooLarge,
    Broken,
    NoRoom,
}

/// The whole body.
pub(super) async fn read(body: Body, limit: usize, room: &mut HeldBody) -> Result<Bytes, Unread> {
    read_pieces(&mut body.into_data_stream(), limit, room).await
}

/// As [`read`]; what was not read is left to the caller.
pub(crate) async fn read_pieces(
    pieces: &mut BodyDataStream,
    limit: usize,
    room: &mut HeldBody,
) -> Result<Bytes, Unread> {
    let mut whole = BytesMut::new();
    let mut held = 0;
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| Unread::Broken)?;
        let length = whole.len() + piece.len();
        if length > limit {
            return Err(Unread::TooLarge);
        }
        if length > held {
            // As the buffer grows: by doubling.
            let step = (length - held).max(held).max(STEP);
            room.grow(step).map_err(|_| Unread::NoRoom)?;
            held += step;
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}
