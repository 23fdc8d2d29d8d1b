//! Decrypts what entries carry sealed, once per entry, as it enters the window; counts and says what fails.
//!
//! Called by logs on the thread that appends, outside of their locks. Neither text nor ciphertext ever reaches the log lines.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::decrypt::{Decryptor, Failure, payload};
use crate::event::{Data, Publication, Sealed};
use crate::lines;
use crate::log::Open;
use crate::metrics::{DecryptLabel, Metrics};

/// See the module.
pub(crate) struct Opener {
    decryptor: ArcSwap<Decryptor>,
    metrics: Arc<Metrics>,
}

impl Opener {
    pub(crate) fn new(decryptor: Decryptor, metrics: Arc<Metrics>) -> Self {
        Self {
            decryptor: ArcSwap::from_pointee(decryptor),
            metrics,
        }
    }

    /// Takes over other sections and keys.
    pub(crate) fn replace(&self, decryptor: Decryptor) {
        self.decryptor.store(Arc::new(decryptor));
    }

    fn failed(&self, sealed: &Sealed, failure: Failure) {
        let label = DecryptLabel {
            decrypt: sealed.with.to_string(),
        };
        self.metrics.decrypt_failures.get_or_create(&label).inc();
        tracing::warn!(name: lines::EACH_EVENT, decrypt = %sealed.with, field = %sealed.field, reason = %failure, "a field could not be decrypted and goes out as null");
    }
}

impl Open for Opener {
    fn open(&self, publication: &mut Publication) {
        let sealed = std::mem::take(&mut publication.sealed);
        publication.opened = sealed.iter().map(|sealed| Arc::clone(&sealed.field)).collect();
        // Rules seal fields of JSON objects only.
        if let Data::Json(json) = &mut publication.data {
            let decryptor = self.decryptor.load();
            *json = payload::open(json, &sealed, &decryptor, &mut |sealed, failure| {
                self.failed(sealed, failure)
            });
        }
    }
}
