//! Which fields of a source are encrypted, and under which keys of a payload they travel.
//!
//! A rule copies such a field as it is and notes it; the log opens it when the entry enters the window.

use std::sync::Arc;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::scope::Scope;
use super::template::{Template, TemplateError};
use crate::config::Config;
use crate::event::Sealed;

/// An encrypted field of a source.
#[derive(Debug)]
pub(super) struct Seal {
    pub(super) field: Arc<str>,
    /// Name of the `[[decrypt]]` section.
    with: Arc<str>,
    aad: Option<Arc<Template>>,
}

impl Seal {
    /// The field as it travels under `key`; of the row before the change if it comes from there.
    pub(super) fn sealed(&self, key: &Arc<str>, scope: &Scope<'_>, old: bool) -> Sealed {
        let value = |name: &str| {
            let own = old.then(|| scope.text(&format!("old.{name}"))).flatten();
            own.or_else(|| scope.text(name))
        };
        let aad = self.aad.as_ref().and_then(|template| template.render(&value));
        Sealed {
            field: Arc::clone(key),
            with: Arc::clone(&self.with),
            aad: aad.map(Into::into),
        }
    }
}

/// All encrypted fields by source.
#[derive(Debug, Default)]
pub(super) struct Seals(HashMap<Arc<str>, SmallVec<[Seal; 1]>>);

impl Seals {
    pub(super) fn build(config: &Config) -> Result<Arc<Self>, TemplateError> {
        let mut seals = Self::default();
        for section in &config.decrypt {
            let with: Arc<str> = section.name.as_str().into();
            let aad = section
                .aad
                .as_deref()
                .map(Template::parse)
                .transpose()?
                .map(Arc::new);
            for source in section.from.iter() {
                let of = seals.0.entry(source.as_str().into()).or_default();
                of.extend(section.fields.iter().map(|field| Seal {
                    field: field.as_str().into(),
                    with: Arc::clone(&with),
                    aad: aad.clone(),
                }));
            }
        }
        Ok(Arc::new(seals))
    }

    /// The encrypted fields of a source.
    pub(super) fn of(&self, source: &str) -> &[Seal] {
        self.0.get(source).map_or(&[], SmallVec::as_slice)
    }
}
