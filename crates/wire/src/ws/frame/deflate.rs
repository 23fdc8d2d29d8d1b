//! Message compression (RFC 7692) without context takeover: every message starts from an empty window.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::WsError;

/// What a sync flush ends with; the wire leaves it out (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// Below this the header and the empty window leave nothing to gain.
const WORTH_DEFLATING: usize = 512;

/// Measured on 1-4 KiB of JSON: within 5 % of level 6's size at about 0.8 of its time; level 1 is a third larger.
const LEVEL: u32 = 3;

/// A scratch buffer that a large message grew beyond this is given back.
const SCRATCH_KEPT: usize = 64 * 1024;

/// How much room inflating gets at a time: a bomb costs no more than this beyond the limit.
const INFLATE_STEP: usize = 16 * 1024;

/// Whether a message of this length is worth compressing.
pub const fn worth_deflating(len: usize) -> bool {
    len >= WORTH_DEFLATING
}

/// A reusable compressor (about 300 KiB: one per shard or worker, never one per connection).
pub struct Deflater {
    compress: Compress,
    scratch: Vec<u8>,
}

impl Default for Deflater {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Deflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deflater").finish_non_exhaustive()
    }
}

impl Deflater {
    /// A compressor for messages of any size.
    pub fn new() -> Self {
        Self {
            compress: Compress::new(Compression::new(LEVEL), false),
            scratch: Vec::new(),
        }
    }

    /// The compressed payload as it goes on the wire, `None` if the compressor failed.
    pub(super) fn deflate(&mut self, payload: &[u8]) -> Option<&[u8]> {
        self.compress.reset();
        self.scratch.clear();
        self.scratch.shrink_to(SCRATCH_KEPT);
        // Stored blocks add 5 bytes per 16 KiB at worst; with room for all of it one call suffices.
        self.scratch.reserve(payload.len() + payload.len() / 1024 + 64);
        loop {
            let rest = payload.get(self.compress.total_in() as usize..)?;
            self.compress
                .compress_vec(rest, &mut self.scratch, FlushCompress::Sync)
                .ok()?;
            let consumed = self.compress.total_in() as usize == payload.len();
            if consumed && self.scratch.len() < self.scratch.capacity() {
                return self.scratch.strip_suffix(&TAIL);
            }
            self.scratch.reserve(1024);
        }
    }
}

/// Inflates one message; more than `max` bytes of output is an error as soon as it is seen.
pub(super) fn inflate(compressed: &[u8], max: usize) -> Result<Vec<u8>, WsError> {
    let mut decompress = Decompress::new(false);
    let mut message = Vec::new();
    match inflate_part(&mut decompress, compressed, max, &mut message)? {
        Part::Used => {
            inflate_part(&mut decompress, &TAIL, max, &mut message)?;
        }
        // RFC 7692 §7.2.3.4: a sender may end with a final block and the first byte of an empty one. A
        // whole stream behind it would let a client make us set up the window for every few bytes.
        Part::Ended([] | [0]) => {}
        Part::Ended(_) => return Err(broken()),
    }
    Ok(message)
}

/// How far a part of the compressed data went.
enum Part<'a> {
    Used,
    /// A final block came; what follows it.
    Ended(&'a [u8]),
}

fn inflate_part<'a>(
    decompress: &mut Decompress,
    mut input: &'a [u8],
    max: usize,
    message: &mut Vec<u8>,
) -> Result<Part<'a>, WsError> {
    loop {
        if message.len() == message.capacity() {
            // One byte more than allowed is enough to see that it is too much.
            let allowed = (max - message.len()).saturating_add(1);
            message.reserve_exact(growth(message.len()).min(allowed));
        }
        let before = decompress.total_in();
        let status = decompress
            .decompress_vec(input, message, FlushDecompress::Sync)
            .map_err(|_| broken())?;
        if message.len() > max {
            return Err(WsError::too_big());
        }
        let used = (decompress.total_in() - before) as usize;
        input = input.get(used..).unwrap_or_default();
        if status == Status::StreamEnd {
            return Ok(Part::Ended(input));
        }
        if message.len() < message.capacity() {
            return if input.is_empty() {
                Ok(Part::Used)
            } else {
                Err(broken())
            };
        }
    }
}

fn broken() -> WsError {
    WsError::invalid_data("compressed data does not inflate")
}

/// Doubling, so that large messages are copied few times, from a first step that suits small ones.
fn growth(len: usize) -> usize {
    len.max(INFLATE_STEP)
}
