//! Numbers and texts as bytes, little-endian, with lengths before them; and reading them back, which never panics.

use std::sync::Arc;

/// Puts a length and the bytes.
pub(in crate::log) fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Puts how many follow. More than `u32` can say is refused before anything is encoded, see `MOST` in `codec`.
pub(in crate::log) fn put_len(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
}

/// Reads from the front of a slice; `None` when there is less than asked for.
#[derive(Debug, Clone)]
pub(in crate::log) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(in crate::log) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(in crate::log) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(in crate::log) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(in crate::log) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(in crate::log) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(in crate::log) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(in crate::log) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(in crate::log) fn len(&mut self) -> Option<usize> {
        usize::try_from(self.u32()?).ok()
    }

    pub(in crate::log) fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.len()?;
        self.take(len)
    }

    pub(in crate::log) fn str(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    pub(in crate::log) fn text(&mut self) -> Option<Arc<str>> {
        self.str().map(Arc::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_is_read_and_not_more() {
        let mut out = Vec::new();
        put(&mut out, "señal".as_bytes());
        let mut reader = Reader::new(&out);
        assert_eq!((reader.str(), reader.u8()), (Some("señal"), None));
        assert_eq!(Reader::new(&[9, 0, 0, 0, 1]).bytes(), None);
        assert_eq!(Reader::new(&[2, 0, 0, 0, 0xff, 0xfe]).str(), None);
    }
}
