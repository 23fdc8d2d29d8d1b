//! What is asked of a [`Window`], and what it answers.

use std::sync::Arc;

use super::entry::Entry;
#[cfg(doc)]
use super::window::Window;

/// Where a replay of one channel begins, or that it cannot be complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Entries of the channel after this offset are all in the window.
    After(u64),
    /// The same, but what is asked for goes back to before the log began.
    Younger(u64),
    /// Some were pruned.
    Pruned,
    /// The position is of another log: its history is gone.
    Foreign,
}

/// A channel and the offset after which a session follows it.
#[derive(Debug, Clone, Copy)]
pub struct Follow<'a> {
    pub channel: &'a str,
    pub after: u64,
}

/// Limits of one read.
#[derive(Debug, Clone, Copy)]
pub struct Most {
    pub entries: usize,
    pub bytes: usize,
}

/// What [`Window::merge`] found.
#[derive(Debug, Default)]
pub struct Merged {
    pub entries: Vec<Arc<Entry>>,
    /// Nothing up to the asked-for offset is left out.
    pub complete: bool,
    /// Nothing up to this offset is left out.
    pub reached: u64,
}

/// What [`Window::after`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Tail {
    /// Everything after the offset, up to the limit.
    Complete,
    /// The window has moved past the offset: the reader was too slow.
    Missed,
}
