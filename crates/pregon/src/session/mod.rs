//! One connected client in neutral words: who it is and what it follows. Knows no protocol and no socket.
//!
//! A session belongs to one shard and is touched only by that shard's thread. Anything that takes time (a signature, a
//! query, an append) is asked for by [`command`] and answered through the shard's inbox; until then the later
//! commands of its connection wait in order.

pub(crate) mod answer;
pub(crate) mod decide;
pub(crate) mod command;
pub(crate) mod replay;
pub(crate) mod history;
pub(crate) mod recovery;
pub(crate) mod rate;
pub(crate) mod shown;
pub(crate) mod channels;
pub(crate) mod limits;
pub(crate) mod members;

use std::sync::Arc;

use smallvec::SmallVec;

use crate::auth::Claims;
use channels::{ChannelKey, Subscription};
use rate::Bucket;

/// See the module.
pub(crate) struct Session {
    id: u64,
    /// Place of its namespace in the configuration; only Socket.IO has others than the root.
    pub namespace: u8,
    /// What Socket.IO knows it by.
    pub named: Option<Box<Named>>,
    /// Verified claims; anonymous without a token.
    pub claims: Claims,
    pub subscriptions: SmallVec<[Subscription; 2]>,
    pub publishes: Bucket,
}

/// The names of a session of Socket.IO.
#[derive(Debug)]
pub(crate) struct Named {
    /// Public: the client's own room has this name.
    pub sid: Arc<str>,
    /// Secret: whoever has it may have the session back. Absent where recovery is off.
    pub pid: Option<Arc<str>>,
}

impl Session {
    pub(crate) fn new(claims: Claims) -> Self {
        Self {
            id: rand::random(),
            namespace: 0,
            named: None,
            claims,
            subscriptions: SmallVec::new(),
            publishes: Bucket::default(),
        }
    }

    /// A session of Socket.IO.
    pub(crate) fn named(claims: Claims, namespace: u8, named: Named) -> Self {
        Self {
            namespace,
            named: Some(Box::new(named)),
            ..Self::new(claims)
        }
    }

    /// The session's name as clients and logs see it.
    pub(crate) fn name(&self) -> String {
        match &self.named {
            Some(named) => named.sid.to_string(),
            None => format!("{:016x}", self.id),
        }
    }

    /// Who it is for the other members of a channel: the token's `sub`, otherwise the session itself.
    pub(crate) fn member(&self) -> Arc<str> {
        match self.claims.get("sub") {
            Some(sub) if !sub.is_empty() => Arc::from(&*sub),
            _ => Arc::from(self.name()),
        }
    }

    pub(crate) fn subscription(&self, channel: ChannelKey) -> Option<&Subscription> {
        self.subscriptions
            .iter()
            .find(|subscription| subscription.channel == channel)
    }
}
