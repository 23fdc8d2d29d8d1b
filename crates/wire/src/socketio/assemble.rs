//! Binary packets: a text that announces attachments, then each as a message of its own.

use bytes::Bytes;

use super::packet::{Kind, Packet, ParseError, parse};
use super::placeholder::placeholders_fit;

/// What one connection has received of a binary packet; nothing most of the time, and then one word large.
/// `max_bytes` bounds the text and its attachments together, so that a client cannot have ten times
/// the size of a message kept for it.
#[derive(Debug, Default)]
pub struct Assembler {
    pending: Option<Box<Assembled>>,
}

/// A binary packet with all its attachments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assembled {
    kind: Kind,
    namespace: Box<str>,
    ack: Option<u64>,
    announced: usize,
    data: Box<str>,
    attachments: Vec<Bytes>,
    bytes: usize,
}

impl Assembled {
    /// The packet; each placeholder in its data names one of [`Assembled::attachments`].
    pub fn packet(&self) -> Packet<'_> {
        Packet {
            kind: self.kind,
            namespace: &self.namespace,
            ack: self.ack,
            attachments: self.announced,
            data: Some(&self.data),
        }
    }

    /// In the order of their numbers.
    pub fn attachments(&self) -> &[Bytes] {
        &self.attachments
    }

    /// The raw JSON of the array, placeholders included, and the attachments.
    pub fn into_parts(self) -> (Box<str>, Vec<Bytes>) {
        (self.data, self.attachments)
    }

    fn waiting(packet: &Packet<'_>, bytes: usize) -> Self {
        Self {
            kind: packet.kind,
            namespace: packet.namespace.into(),
            ack: packet.ack,
            announced: packet.attachments,
            data: packet.data.unwrap_or_default().into(),
            attachments: Vec::with_capacity(packet.attachments),
            bytes,
        }
    }
}

impl Assembler {
    /// Reads the text of a message. No packet means that attachments must follow.
    pub fn text<'a>(&mut self, text: &'a str, max_bytes: usize) -> Result<Option<Packet<'a>>, ParseError> {
        if self.pending.is_some() {
            return Err(ParseError::AttachmentDue);
        }
        if text.len() > max_bytes {
            return Err(ParseError::TooLarge);
        }
        let packet = parse(text)?;
        if !packet.kind.is_binary() {
            return Ok(Some(packet));
        }
        if !placeholders_fit(packet.data.unwrap_or_default(), packet.attachments) {
            return Err(ParseError::Placeholder);
        }
        self.pending = Some(Box::new(Assembled::waiting(&packet, text.len())));
        Ok(None)
    }

    /// Takes an attachment; the last one completes the packet. After an error the connection is closed.
    pub fn binary(&mut self, attachment: Bytes, max_bytes: usize) -> Result<Option<Assembled>, ParseError> {
        let mut pending = self.pending.take().ok_or(ParseError::StrayAttachment)?;
        pending.bytes = pending.bytes.saturating_add(attachment.len());
        if pending.bytes > max_bytes {
            return Err(ParseError::TooLarge);
        }
        pending.attachments.push(attachment);
        if pending.attachments.len() >= pending.announced {
            return Ok(Some(*pending));
        }
        self.pending = Some(pending);
        Ok(None)
    }

    /// The bytes that are kept for the connection.
    pub fn buffered(&self) -> usize {
        self.pending.as_ref().map_or(0, |pending| pending.bytes)
    }
}
