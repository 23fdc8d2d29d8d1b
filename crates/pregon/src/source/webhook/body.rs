//! Reads the body of a delivery within its limit and within the room for all bodies.

use std::time::Duration;

use axum::body::{Body, BodyDataStream, HttpBody as _};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;

use crate::limits::bodies::HeldBody;

/// Room is taken in steps, so that a body that comes in many pieces asks seldom.
const STEP: usize = 16 * 1024;

/// Bytes that are read before other requests of the thread have their turn.
const TURN: usize = 64 * 1024;

/// Why there is no body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    TooLarge,
    Broken,
    NoRoom,
}

/// The whole body.
pub(super) async fn read(body: Body, limit: usize, room: &mut HeldBody) -> Result<Bytes, Unread> {
    let announced = body.size_hint().lower();
    read_pieces(&mut body.into_data_stream(), announced, limit, room).await
}

/// As [`read`], of a body whose head announced at least so many bytes. The caller has the rest of a body that was refused.
pub(crate) async fn read_pieces(
    pieces: &mut BodyDataStream,
    announced: u64,
    limit: usize,
    room: &mut HeldBody,
) -> Result<Bytes, Unread> {
    if announced > limit as u64 {
        return Err(Unread::TooLarge);
    }
    room.expect(usize::try_from(announced).unwrap_or(usize::MAX))
        .map_err(|_| Unread::NoRoom)?;
    let mut whole = BytesMut::new();
    let (mut held, mut turn) = (0, 0);
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
        turn += piece.len();
        if turn >= TURN {
            match room.pause(turn) {
                Duration::ZERO => tokio::task::yield_now().await,
                pause => tokio::time::sleep(pause).await,
            }
            turn = 0;
        }
    }
    Ok(whole.freeze())
}
