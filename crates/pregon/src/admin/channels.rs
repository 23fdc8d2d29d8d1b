//! `GET /admin/api/channels`: what is followed, by how many.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use hashbrown::HashMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::asked::Params;
use super::{Admin, Answer};
use crate::hub::inspect::{Seen, What};

/// Channels of an answer.
const MOST: usize = 200;

/// Channels that are counted for it.
const COUNTED: usize = 50_000;

/// Which are asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    /// A part of the name.
    q: Option<String>,
    limit: Option<usize>,
}

pub(super) async fn channels(State(admin): State<Arc<Admin>>, Params(question): Params<Question>) -> Answer {
    let most = question.limit.unwrap_or(MOST).clamp(1, MOST);
    let mut followers: HashMap<Arc<str>, usize> = HashMap::new();
    let part = question.q.unwrap_or_default();
    let mut counted_all = true;
    let count = |seen: Seen| {
        for (name, count) in seen.channels.into_iter().filter(|(name, _)| name.contains(&part)) {
            *followers.entry(name).or_default() += count;
        }
        counted_all = followers.len() < COUNTED;
        counted_all
    };
    admin.hub.look(What::Channels, count).await;
    let total = followers.len();
    let mut list: Vec<(Arc<str>, usize)> = followers.into_iter().collect();
    list.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let list: Vec<Value> = list
        .iter()
        .take(most)
        .map(|(name, followers)| json!({ "channel": &**name, "followers": followers }))
        .collect();
    Ok(Json(
        json!({ "channels": list, "total": total, "complete": counted_all && total <= most }),
    ))
}
