//! A panic where nobody could go on without what was lost takes the process with it: a supervisor starts a whole one.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs something; if it panics, says why the process ends and ends it.
pub(crate) fn on_panic(why: &str, run: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(run)).is_err() {
        now(why);
    }
}

/// Says why the process ends and ends it.
pub(crate) fn now(why: &str) -> ! {
    tracing::error!("{why}");
    std::process::abort();
}
