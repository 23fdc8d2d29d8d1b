//! Cuts the bytes of one client into messages, looking at as little of them as possible.

/// One WebSocket frame from a server: operation code and payload.
pub(crate) type Frame<'a> = (u8, &'a [u8]);

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// Cuts WebSocket frames; only a frame that two reads share is copied.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    partial: Vec<u8>,
}

impl Frames {
    /// Calls `each` for every frame that `chunk` completes.
    pub(crate) fn feed(&mut self, chunk: &[u8], mut each: impl FnMut(Frame<'_>)) {
        if self.partial.is_empty() {
            let rest = cut(chunk, &mut each);
            self.partial.extend_from_slice(rest);
            return;
        }
        self.partial.extend_from_slice(chunk);
        let all = std::mem::take(&mut self.partial);
        self.partial = cut(&all, &mut each).to_vec();
    }
}

fn cut<'a>(mut bytes: &'a [u8], each: &mut impl FnMut(Frame<'_>)) -> &'a [u8] {
    while let Some((frame, rest)) = first(bytes) {
        each(frame);
        bytes = rest;
    }
    bytes
}

fn first(bytes: &[u8]) -> Option<(Frame<'_>, &[u8])> {
    let (&[opcode, short], after) = bytes.split_first_chunk::<2>()?;
    let (length, after) = match short & 0x7f {
        126 => {
            let (length, after) = after.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*length)), after)
        }
        127 => {
            let (length, after) = after.split_first_chunk::<8>()?;
            (usize::try_from(u64::from_be_bytes(*length)).ok()?, after)
        }
        length => (usize::from(length), after),
    };
    let (payload, rest) = after.split_at_checked(length)?;
    Some(((opcode & 0x0f, payload), rest))
}

/// A client's frame of at most 65,535 bytes; the mask is zero, which leaves the payload as it is.
pub(crate) fn client_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80 | opcode];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..=125), _) => out.push(0x80 | length),
        (_, length) => {
            out.push(0x80 | 126);
            out.extend(length.unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    out.extend([0; 4]);
    out.extend(payload.iter().take(usize::from(u16::MAX)));
    out
}

const MARK: &[u8] = b"\ndata:";

/// Counts the events of an SSE stream by their `data:` lines (each has one).
#[derive(Debug, Default)]
pub(crate) struct Sse {
    tail: Vec<u8>,
}

impl Sse {
    /// The number of events that begin in `chunk`, marks that two reads share included.
    pub(crate) fn feed(&mut self, chunk: &[u8]) -> usize {
        let overlap = MARK.len() - 1;
        let mut seam = std::mem::take(&mut self.tail);
        let kept = seam.len();
        seam.extend(chunk.iter().take(overlap));
        // A mark inside the chunk's first bytes alone is found by the second search.
        let across = memchr::memmem::find(&seam, MARK).is_some_and(|at| at < kept);
        let last = chunk.len().saturating_sub(overlap);
        self.tail = if chunk.len() >= overlap {
            chunk.get(last..).unwrap_or_default().to_vec()
        } else {
            seam.split_off(seam.len().saturating_sub(overlap))
        };
        usize::from(across) + memchr::memmem::find_iter(chunk, MARK).count()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;

    #[test]
    fn frames_cut_anywhere_are_the_same_frames() {
        let mut bytes = vec![0x81, 3, b'a', b'b', b'c', 0x89, 0];
        bytes.extend([0x81, 126, 0, 200]);
        bytes.extend([b'x'; 200]);
        for cut in 0..bytes.len() {
            let mut frames = Frames::default();
            let mut seen = Vec::new();
            for chunk in [&bytes[..cut], &bytes[cut..]] {
                frames.feed(chunk, |(opcode, payload)| seen.push((opcode, payload.len())));
            }
            assert_eq!(seen, [(TEXT, 3), (PING, 0), (TEXT, 200)], "cut at {cut}");
        }
    }

    #[test]
    fn events_cut_anywhere_are_the_same_number() {
        let bytes = b"id: 1\n\nid: 2\nevent: x\ndata: {\"a\":1}\n\nid: 3\ndata: 2\n\n";
        for cut in 0..bytes.len() {
            let mut sse = Sse::default();
            let count = sse.feed(&bytes[..cut]) + sse.feed(&bytes[cut..]);
            assert_eq!(count, 2, "cut at {cut}");
        }
        let mut sse = Sse::default();
        assert_eq!(bytes.iter().map(|byte| sse.feed(&[*byte])).sum::<usize>(), 2);
    }
}
