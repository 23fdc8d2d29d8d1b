//! A text of a rule: a channel or an event's name, rendered per event or fixed.

use std::sync::Arc;

use super::naming::{Ambiguous, Naming, RowName};
use super::scope::Scope;
use super::template::{Template, TemplateError};

/// See the module.
#[derive(Debug, Clone)]
pub(super) enum Target {
    Fixed(Arc<str>),
    Rendered(RowName),
}

impl Target {
    /// A channel, of which others may take the name apart.
    pub(super) fn channel(text: &str, naming: &Naming) -> Result<Self, TemplateError> {
        Self::parse(text, |template| naming.rows(template))
    }

    /// An event's name.
    pub(super) fn event(text: &str) -> Result<Self, TemplateError> {
        Self::parse(text, RowName::free)
    }

    fn parse(text: &str, name: impl FnOnce(Template) -> RowName) -> Result<Self, TemplateError> {
        let template = Template::parse(text)?;
        Ok(match template.constant() {
            Some(fixed) => Self::Fixed(fixed.into()),
            None => Self::Rendered(name(template)),
        })
    }

    pub(super) fn text(&self) -> String {
        match self {
            Self::Fixed(text) => text.to_string(),
            Self::Rendered(name) => name.template().source().to_owned(),
        }
    }

    /// `None` when a value is missing or empty.
    pub(super) fn render(&self, scope: &Scope<'_>) -> Result<Option<Arc<str>>, Ambiguous> {
        match self {
            Self::Fixed(text) => Ok(Some(text.clone())),
            Self::Rendered(name) => Ok(name.render(&|hole| scope.text(hole))?.map(Arc::from)),
        }
    }

    /// A name that the row has not.
    pub(super) fn unknown(&self, scope: &Scope<'_>) -> Option<&str> {
        match self {
            Self::Fixed(_) => None,
            Self::Rendered(name) => name.template().names().find(|hole| !scope.has(hole)),
        }
    }
}
