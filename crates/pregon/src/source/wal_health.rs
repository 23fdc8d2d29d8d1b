//! What is said about slot and publication: each thing once, when it is found and when it is over.

use pregon_capture::wal::Health;

/// What was said last.
#[derive(Debug, Default)]
pub(super) struct Told {
    missing: Vec<String>,
    blocked: Vec<String>,
    standbys: Vec<String>,
    alarming: bool,
}

impl Told {
    /// Says what is new. Whether changes were or are missing since: then clients have to be told.
    pub(super) fn tell(&mut self, health: &Health) -> bool {
        self.tell_alarm(health);
        let standbys = std::mem::replace(&mut self.standbys, health.standbys.clone());
        if standbys != health.standbys {
            tell_standbys(health);
        }
        let missing = std::mem::replace(&mut self.missing, health.missing.clone());
        let blocked = std::mem::replace(&mut self.blocked, health.blocked.clone());
        if missing == health.missing && blocked == health.blocked {
            return false;
        }
        if !health.missing.is_empty() {
            tracing::error!(
                found = health.missing.join("; "),
                "changes of watched tables are not captured, or not whole: run `pregon db apply`"
            );
        }
        if !health.blocked.is_empty() {
            tracing::error!(
                found = health.blocked.join("; "),
                "changes of watched tables cannot be captured from the WAL: `pregon db plan` says what to do"
            );
        }
        if health.missing.is_empty() && health.blocked.is_empty() {
            tracing::info!("the publication has all watched tables again");
        }
        true
    }

    fn tell_alarm(&mut self, health: &Health) {
        let before = std::mem::replace(&mut self.alarming, health.is_alarming());
        if self.alarming && !before {
            tracing::warn!(
                retained = health.retained,
                safe = health.safe,
                status = health.status,
                oldest = health.oldest.as_deref().unwrap_or("none"),
                "the slot has used up more than half of max_slot_wal_keep_size and will be lost beyond it: is the gateway too slow, or is the \
                 oldest transaction open for long, in whatever database?"
            );
        }
    }
}

fn tell_standbys(health: &Health) {
    if health.standbys.is_empty() {
        tracing::info!("the standbys of synchronized_standby_slots are back");
        return;
    }
    tracing::error!(
        slots = health.standbys.join(", "),
        "the server streams nothing until standbys have it, and nobody reads their slots: start them, or take them out of \
         synchronized_standby_slots"
    );
}
