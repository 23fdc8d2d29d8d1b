//! The scenarios, each one question with its floor.

pub(crate) mod fanout;

/// How thorough to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// One short pass, for a look; its figures are not kept.
    pub(crate) quick: bool,
    /// Passes of which the median is taken.
    pub(crate) passes: usize,
}
