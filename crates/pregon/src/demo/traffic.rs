//! What happens: by itself now and then, one task per example, and whenever a page asks for it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::act::Target;
use super::deeds::{Ask, MessageKey};
use super::statements::Statements;

/// Between two events of an example, milliseconds: lively, and slow enough to read.
const PAUSE: std::ops::Range<u64> = 1_000..2_000;

/// What makes events; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Traffic {
    targets: Arc<[Target]>,
    key: MessageKey,
    statements: Statements,
}

/// Why a deed was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("no example {0}")]
    Example(String),
    #[error("the example has no deed {0}")]
    Deed(String),
    #[error("{0:#}")]
    Asked(anyhow::Error),
    #[error("{0:#}")]
    Done(anyhow::Error),
}

impl Traffic {
    pub(super) fn new(
        targets: impl Iterator<Item = Target>,
        key: MessageKey,
        statements: Statements,
    ) -> Self {
        Self {
            targets: targets.collect(),
            key,
            statements,
        }
    }

    pub(super) fn names(&self) -> Vec<&'static str> {
        self.targets.iter().map(|target| target.example.name).collect()
    }

    /// Lets something happen now and then, for ever.
    pub(super) async fn keep_coming(self, name: &'static str) {
        loop {
            tokio::time::sleep(Duration::from_millis(rand::random_range(PAUSE))).await;
            if let Err(error) = self.happen(name, None, &Value::Null).await {
                // Someone may have killed this PostgreSQL or Redis to see what happens; the next one will tell.
                tracing::warn!(
                    example = name,
                    error = format!("{error:#}"),
                    "nothing could happen in an example"
                );
            }
        }
    }

    /// The database of an example.
    pub(super) fn database(&self, name: &str) -> anyhow::Result<&str> {
        let target = self.targets.iter().find(|target| target.example.name == name);
        Ok(&target
            .ok_or_else(|| anyhow::anyhow!("the {name} does not run"))?
            .url)
    }

    /// Does a deed of an example, without a name the first.
    pub(super) async fn happen(&self, name: &str, kind: Option<&str>, body: &Value) -> Result<(), Refused> {
        let target = self.targets.iter().find(|target| target.example.name == name);
        let target = target.ok_or_else(|| Refused::Example(name.to_owned()))?;
        let mut deeds = target.example.deeds.iter();
        let deed = deeds.find(|deed| kind.is_none_or(|kind| kind == deed.kind));
        let deed = deed.ok_or_else(|| Refused::Deed(kind.unwrap_or_default().to_owned()))?;
        let ask = Ask { body, key: &self.key };
        for act in (deed.acts)(&ask).map_err(Refused::Asked)? {
            target
                .perform(&act, &self.statements)
                .await
                .map_err(Refused::Done)?;
        }
        Ok(())
    }
}
