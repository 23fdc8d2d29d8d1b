//! Clients that come back: what is kept of them.

use super::Metrics;

impl Metrics {
    pub(super) fn register_returning(&mut self) {
        let r = self.registry.sub_registry_with_prefix("pregon");
        r.register(
            "recovery_unsaved",
            "Sessions of Socket.IO whose last change is not on the disk yet",
            self.recovery_unsaved.clone(),
        );
        r.register(
            "resume_unsaved",
            "Clients that may come back without a position and whose last change is not on the disk yet",
            self.resume_unsaved.clone(),
        );
        r.register(
            "resumed",
            "Clients that came back with their session and without a position",
            self.resumed.clone(),
        );
    }
}
