//! What clients publish: routed where it does not name its channel, judged, and appended.

use pregon_wire::codes::{self, Code};

use super::Desk;
use crate::auth::Claims;
use crate::event::Event;
use crate::log::Append;
use crate::route::grant::Rights;
use crate::session::command::{Outcome, Publishing};

/// Why something is not published.
type Refusal = (&'static Code, String);

impl Desk {
    /// Appends what one client publishes, in its order and as one batch; one outcome for each.
    pub(super) async fn publish(&self, list: Vec<Publishing>) -> Vec<Outcome> {
        let mut parts = Vec::with_capacity(list.len());
        for publishing in list {
            parts.push(match publishing {
                Publishing::Addressed(publication) => Ok(vec![Append::Publication(publication)]),
                Publishing::Routed { event, claims } => self.routed(*event, &claims).await,
            });
        }
        self.append(parts).await
    }

    /// Appends all parts that are not refused with one call. The position of a part is that of its first publication.
    async fn append(&self, parts: Vec<Result<Vec<Append>, Refusal>>) -> Vec<Outcome> {
        let mut batch = Vec::new();
        let mut outcomes = Vec::with_capacity(parts.len());
        for part in parts {
            let place = batch.len();
            outcomes.push(part.map(|mut part| {
                batch.append(&mut part);
                place
            }));
        }
        if batch.is_empty() {
            return outcomes
                .into_iter()
                .map(|place| place.and(Err(no_position())))
                .collect();
        }
        let appended = self.pipeline.append(batch).wait().await;
        let position = |place: usize| match &appended {
            Ok(positions) => positions.get(place).copied().ok_or_else(no_position),
            Err(error) => Err((&codes::UNAVAILABLE, error.to_string())),
        };
        outcomes
            .into_iter()
            .map(|place| place.and_then(position))
            .collect()
    }

    /// A client's own event: where routes send it, if the client may publish on every one of these channels.
    async fn routed(&self, event: Event, claims: &Claims) -> Result<Vec<Append>, Refusal> {
        let batch = self.pipeline.route(event).await;
        if batch.is_empty() {
            return Err((
                &codes::UNKNOWN_EVENT,
                "no route takes this event from clients".into(),
            ));
        }
        let publications = batch.iter().filter_map(|item| match item {
            Append::Publication(publication) => Some(publication),
            _ => None,
        });
        let channels: Vec<_> = publications
            .flat_map(|publication| publication.channels.clone())
            .collect();
        // Rights that change meanwhile are asked again, all of them.
        loop {
            let rights = self.rights.load_full();
            for channel in &channels {
                self.may_publish(&rights, claims, channel).await?;
            }
            if self.in_force(&rights) {
                return Ok(batch);
            }
        }
    }

    async fn may_publish(&self, rights: &Rights, claims: &Claims, channel: &str) -> Result<(), Refusal> {
        let decision = rights.publish(claims, channel);
        let allowed = self.decide(decision).await;
        match allowed.map_err(|message| (&codes::UNAVAILABLE, message))? {
            true => Ok(()),
            false => Err((
                &codes::FORBIDDEN,
                format!("you may not publish on channel {channel}"),
            )),
        }
    }
}

fn no_position() -> Refusal {
    (&codes::UNAVAILABLE, "the log gave no position".into())
}
