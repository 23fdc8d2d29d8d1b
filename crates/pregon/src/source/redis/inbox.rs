//! Between the connection and the router: a bounded queue whose sender never waits.
//!
//! A Redis whose subscriber does not read cuts it off, so what finds no room is counted, and the count goes into the queue in
//! its place as soon as there is room: a gap. The queue ends when the connection does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use redis::aio::{AsyncPushSender, SendError};
use redis::{PushInfo, PushKind, Value};
use tokio::sync::mpsc;

/// Messages: about a tenth of a second at full speed.
const QUEUE: usize = 65_536;

/// Bytes: as many as Redis itself would hold for a subscriber (`client-output-buffer-limit pubsub 32mb`), twice.
const BYTES: usize = 64 << 20;

/// A message as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// Of a pattern's subscription.
    pub(super) pattern: Option<Vec<u8>>,
    pub(super) channel: Vec<u8>,
    pub(super) payload: Bytes,
    pub(super) at: SystemTime,
}

/// What comes out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    Message(Message),
    /// So many messages found no room here.
    Overflow(u64),
}

#[derive(Debug, Default)]
struct Room {
    bytes: AtomicUsize,
    dropped: AtomicU64,
}

/// The connection's end.
pub(super) struct Slot {
    sender: mpsc::Sender<Item>,
    room: Arc<Room>,
}

/// The router's end.
pub(super) struct Inbox {
    receiver: mpsc::Receiver<Item>,
    room: Arc<Room>,
}

pub(super) fn inbox() -> (Slot, Inbox) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let room = Arc::<Room>::default();
    let slot = Slot {
        sender,
        room: Arc::clone(&room),
    };
    (slot, Inbox { receiver, room })
}

impl Slot {
    /// Called by the one task that reads the connection.
    fn offer(&self, message: Message) {
        let weight = message.weight();
        let waiting = self.room.bytes.load(Ordering::Acquire);
        if (waiting > 0 && waiting + weight > BYTES) || !self.settle() {
            self.room.dropped.fetch_add(1, Ordering::AcqRel);
            return;
        }
        self.room.bytes.fetch_add(weight, Ordering::AcqRel);
        if self.sender.try_send(Item::Message(message)).is_err() {
            self.room.bytes.fetch_sub(weight, Ordering::AcqRel);
            self.room.dropped.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Puts what was dropped before into its place; `false` without room.
    fn settle(&self) -> bool {
        let dropped = self.room.dropped.swap(0, Ordering::AcqRel);
        if dropped > 0 && self.sender.try_send(Item::Overflow(dropped)).is_err() {
            self.room.dropped.fetch_add(dropped, Ordering::AcqRel);
            return false;
        }
        true
    }
}

impl AsyncPushSender for Slot {
    fn send(&self, info: PushInfo) -> Result<(), SendError> {
        if let Some(message) = message(info) {
            self.offer(message);
        }
        Ok(())
    }
}

impl Message {
    fn weight(&self) -> usize {
        self.channel.len() + self.payload.len() + size_of::<Item>()
    }
}

impl Inbox {
    /// Waits for items; none means that the connection has ended.
    pub(super) async fn receive(&mut self, batch: &mut Vec<Item>, limit: usize) -> usize {
        let count = self.receiver.recv_many(batch, limit).await;
        let weights = batch.iter().map(|item| match item {
            Item::Message(message) => message.weight(),
            Item::Overflow(_) => 0,
        });
        self.room.bytes.fetch_sub(weights.sum(), Ordering::AcqRel);
        if self.receiver.is_empty() {
            let dropped = self.room.dropped.swap(0, Ordering::AcqRel);
            if dropped > 0 {
                batch.push(Item::Overflow(dropped));
            }
        }
        count
    }

    /// Takes nothing new; what is in it still comes out.
    pub(super) fn close(&mut self) {
        self.receiver.close();
    }
}

/// A message of a push; confirmations and the like are none.
fn message(info: PushInfo) -> Option<Message> {
    let mut data = info.data.into_iter();
    let pattern = match info.kind {
        PushKind::Message => None,
        PushKind::PMessage => Some(bytes(data.next()?)?),
        _ => return None,
    };
    Some(Message {
        pattern,
        channel: bytes(data.next()?)?,
        payload: bytes(data.next()?)?.into(),
        at: SystemTime::now(),
    })
}

/// The bytes of a text, however the server wrote it.
pub(super) fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.into_bytes()),
        Value::Okay => Some(b"OK".to_vec()),
        Value::Int(number) => Some(number.to_string().into_bytes()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(number: usize, length: usize) -> Message {
        Message {
            pattern: None,
            channel: number.to_string().into_bytes(),
            payload: vec![b'x'; length].into(),
            at: SystemTime::UNIX_EPOCH,
        }
    }

    async fn drained(inbox: &mut Inbox, limit: usize) -> Vec<Item> {
        let mut items = Vec::new();
        inbox.receive(&mut items, limit).await;
        items
    }

    #[tokio::test]
    async fn what_finds_no_room_is_told_in_its_place() {
        let (slot, mut inbox) = inbox();
        for number in 0..QUEUE + 3 {
            slot.offer(sample(number, 1));
        }
        assert_eq!(drained(&mut inbox, 10).await.len(), 10);
        slot.offer(sample(77, 1));
        let rest = drained(&mut inbox, QUEUE).await;
        assert_eq!(rest.len(), QUEUE - 10 + 2);
        assert_eq!(rest.get(QUEUE - 10), Some(&Item::Overflow(3)));
        assert_eq!(rest.last(), Some(&Item::Message(sample(77, 1))));
    }

    #[tokio::test]
    async fn a_loss_at_the_end_is_told_when_the_queue_is_empty() {
        let (slot, mut inbox) = inbox();
        for number in 0..=QUEUE {
            slot.offer(sample(number, 1));
        }
        assert_eq!(drained(&mut inbox, QUEUE).await.last(), Some(&Item::Overflow(1)));
    }

    #[tokio::test]
    async fn bytes_are_bounded_too_and_given_back() {
        let (slot, mut inbox) = inbox();
        for number in 0..3 {
            slot.offer(sample(number, BYTES / 2 - 1024));
        }
        assert_eq!(
            drained(&mut inbox, QUEUE).await.len(),
            3,
            "two and the loss of the third"
        );
        slot.offer(sample(1, BYTES + 1));
        assert_eq!(
            drained(&mut inbox, QUEUE).await.len(),
            1,
            "alone even a large one has room"
        );
        assert_eq!(inbox.room.bytes.load(Ordering::Acquire), 0);
    }

    #[tokio::test]
    async fn it_ends_with_the_connection() {
        let (slot, mut inbox) = inbox();
        slot.offer(sample(1, 1));
        drop(slot);
        assert_eq!(drained(&mut inbox, QUEUE).await.len(), 1);
        assert_eq!(inbox.receive(&mut Vec::new(), QUEUE).await, 0);
    }
}
