//! The members of a channel as clients are told of them, a page at a time.

use std::sync::Arc;

/// Some members of a channel, sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    pub clients: Vec<Arc<str>>,
    /// There are more behind the last one.
    pub more: bool,
}

impl Page {
    /// Behind whom the next page begins, if there is one.
    pub(crate) fn next(&self) -> Option<&str> {
        self.clients.last().filter(|_| self.more).map(|client| &**client)
    }
}
