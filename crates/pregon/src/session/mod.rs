//! One connected client in neutral words: who it is and what it follows. Knows no protocol and no socket.
//!
//! A session belongs to one shard and is touched only by that shard's thread. Anything that takes time (a signature, a
//! query, an append) is asked for by [`command`] and answered through the shard's inbox; until then the session's later
//! commands wait in order.

pub mod command;
pub mod replay;
pub mod rate;

use smallvec::SmallVec;

use crate::auth::Claims;
use crate::hub::channels::{ChannelKey, Subscription};
use rate::Bucket;

/// See the module.
pub struct Session {
    pub id: u64,
    /// Verified claims; anonymous without a token.
    pub claims: Claims,
    pub subscriptions: SmallVec<[Subscription; 2]>,
    pub publishes: Bucket,
}

impl Session {
    pub fn new(claims: Claims) -> Self {
        Self {
            id: rand::random(),
            claims,
            subscriptions: SmallVec::new(),
            publishes: Bucket::default(),
        }
    }

    /// The session's name as clients and logs see it.
    pub fn name(&self) -> String {
        format!("{:016x}", self.id)
    }

    pub fn subscription(&self, channel: ChannelKey) -> Option<&Subscription> {
        self.subscriptions
            .iter()
            .find(|subscription| subscription.channel == channel)
    }
}
