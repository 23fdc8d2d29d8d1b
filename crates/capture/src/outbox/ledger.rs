//! How many bytes of rows that are in the log already the outbox still holds, in pieces of a few thousand rows. Pure.

use std::collections::VecDeque;

/// Rows up to an id that were read together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Piece {
    upto: u64,
    rows: u64,
    bytes: u64,
}

/// A piece holds at least so much, so that there are few of them.
const PIECE: u64 = 1 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pieces: VecDeque<Piece>,
    rows: u64,
    bytes: u64,
}

impl Ledger {
    pub(super) fn add(&mut self, upto: u64, rows: u64, bytes: u64) {
        self.rows += rows;
        self.bytes += bytes;
        match self.pieces.back_mut().filter(|piece| piece.bytes < PIECE) {
            Some(piece) => {
                piece.upto = upto;
                piece.rows += rows;
                piece.bytes += bytes;
            }
            None => self.pieces.push_back(Piece { upto, rows, bytes }),
        }
    }

    /// Rows before all others.
    pub(super) fn add_oldest(&mut self, upto: u64, rows: u64, bytes: u64) {
        self.rows += rows;
        self.bytes += bytes;
        self.pieces.push_front(Piece { upto, rows, bytes });
    }

    /// Rows and bytes that are there.
    pub(super) fn size(&self) -> (u64, u64) {
        (self.rows, self.bytes)
    }

    /// The id up to which rows have to go so that at most `kept` bytes stay; 0 if none.
    pub(super) fn beyond(&self, kept: u64) -> u64 {
        let mut bytes = self.bytes;
        let mut upto = 0;
        for piece in &self.pieces {
            if bytes <= kept {
                break;
            }
            bytes = bytes.saturating_sub(piece.bytes);
            upto = piece.upto;
        }
        upto
    }

    /// Rows up to this id have gone.
    pub(super) fn forget(&mut self, upto: u64) {
        while let Some(piece) = self.pieces.front().filter(|piece| piece.upto <= upto).copied() {
            self.pieces.pop_front();
            self.rows = self.rows.saturating_sub(piece.rows);
            self.bytes = self.bytes.saturating_sub(piece.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_pieces_go_until_the_rest_fits() {
        let mut ledger = Ledger::default();
        for upto in 1..=10 {
            ledger.add(upto * 10, 10, PIECE);
        }
        assert_eq!(ledger.size(), (100, 10 * PIECE));
        assert_eq!(ledger.beyond(10 * PIECE), 0);
        assert_eq!(ledger.beyond(8 * PIECE), 20);
        ledger.forget(29);
        assert_eq!(ledger.size(), (80, 8 * PIECE));
        assert_eq!(ledger.beyond(0), 100);
    }

    #[test]
    fn small_batches_share_a_piece() {
        let mut ledger = Ledger::default();
        for upto in 1..=1000 {
            ledger.add(upto, 1, 100);
        }
        assert_eq!(ledger.pieces.len(), 1);
        ledger.forget(999);
        assert_eq!(ledger.size().0, 1000);
        ledger.forget(1000);
        assert_eq!(ledger.size(), (0, 0));
    }
}
