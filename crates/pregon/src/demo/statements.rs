//! Word of what was said to a database, Redis or webhook, for the pages' strips.
//!
//! Any task tells, any number of pages follow. Following is bounded: a page that reads too slowly, or that nobody looks at, misses
//! statements and never holds a deed up; by the number of the last one that it heard it gets those that are still kept.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::broadcast;

/// Statements kept for pages that come back: some minutes of traffic in five examples.
const KEPT: usize = 1_024;

/// What was said, as a page gets it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Statement {
    /// Its number, from 1.
    pub(super) n: u64,
    pub(super) example: &'static str,
    /// When it was sent, milliseconds since 1970 with a fraction.
    pub(super) at: f64,
    pub(super) what: String,
    /// What its event carries under the page's key.
    pub(super) key: String,
    /// It makes no event.
    pub(super) quiet: bool,
}

/// What was said lately; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Statements {
    kept: Arc<Mutex<VecDeque<Arc<Statement>>>>,
    news: broadcast::Sender<Arc<Statement>>,
}

/// Where a page begins to hear.
#[derive(Debug)]
pub(super) struct Following {
    /// The number after which it hears.
    pub(super) begin: u64,
    /// What it asked for and is still kept.
    pub(super) earlier: VecDeque<Arc<Statement>>,
    pub(super) news: broadcast::Receiver<Arc<Statement>>,
}

impl Statements {
    pub(super) fn new() -> Self {
        Self {
            kept: Arc::default(),
            news: broadcast::channel(KEPT).0,
        }
    }

    /// Tells what was said; `number` is given here.
    pub(super) fn tell(&self, mut statement: Statement) {
        let mut kept = self.kept.lock();
        statement.n = kept.back().map_or(1, |last| last.n + 1);
        let statement = Arc::new(statement);
        kept.push_back(Arc::clone(&statement));
        if kept.len() > KEPT {
            kept.pop_front();
        }
        // No page is open: nobody needs to know. Told under the lock, so that a page that begins misses none.
        let _ = self.news.send(statement);
    }

    /// Begins after `since`, or with the present.
    pub(super) fn follow(&self, since: Option<u64>) -> Following {
        let kept = self.kept.lock();
        let last = kept.back().map_or(0, |last| last.n);
        let begin = since.map_or(last, |since| since.min(last));
        let earlier = kept.iter().filter(|statement| statement.n > begin).cloned();
        Following {
            begin,
            earlier: earlier.collect(),
            news: self.news.subscribe(),
        }
    }
}

/// Milliseconds since 1970, the clock of browsers.
pub(super) fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(key: &str) -> Statement {
        Statement {
            n: 0,
            example: "turnstile",
            at: now(),
            what: "INSERT".to_owned(),
            key: key.to_owned(),
            quiet: false,
        }
    }

    #[test]
    fn a_page_that_comes_back_hears_what_it_missed() {
        let statements = Statements::new();
        ["a", "b", "c"].iter().for_each(|key| statements.tell(said(key)));
        let back = statements.follow(Some(1));
        let keys: Vec<&str> = back
            .earlier
            .iter()
            .map(|statement| statement.key.as_str())
            .collect();
        assert_eq!(keys, ["b", "c"]);
        let fresh = statements.follow(None);
        assert_eq!((fresh.begin, fresh.earlier.len()), (3, 0));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let statements = Statements::new();
        (0..KEPT + 5).for_each(|key| statements.tell(said(&key.to_string())));
        assert_eq!(statements.follow(Some(0)).earlier.len(), KEPT);
    }
}
