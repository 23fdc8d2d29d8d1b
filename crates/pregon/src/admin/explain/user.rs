//! What of an entry reached one user: the rights, the live sessions, and those that have just ended.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::sessions::{self as listed, find};
use super::super::{Admin, time};
use super::Step;
use crate::auth::Claims;
use crate::hub::closed::ClosedSession;
use crate::hub::inspect::{Asked, Facts, State};
use crate::log::{Body, Entry};
use crate::route::Decision;

/// Sessions of one user that are looked at.
const SESSIONS: usize = 50;

/// Channels whose rights are looked up for each; beyond them the database could be asked too often.
const CHANNELS: usize = 8;

/// What there is to tell.
pub(super) struct Told {
    pub(super) verdict: &'static str,
    pub(super) steps: Vec<Step>,
    pub(super) sessions: Vec<Value>,
    pub(super) closed: Vec<Value>,
}

pub(super) async fn sessions(admin: &Admin, user: &str, assumed: (Claims, bool), entry: &Arc<Entry>) -> Told {
    let asked = Asked {
        user: Some(user.to_owned()),
        entry: Some(Arc::clone(entry)),
        ..Asked::default()
    };
    let (live, _) = find(admin, asked, SESSIONS).await;
    let closed = closed(admin, user, entry);
    let (claims, given) = match live.first() {
        Some(facts) => (facts.claims.clone(), true),
        None => assumed,
    };
    let rights = rights(admin, &claims, entry).await;
    let granted = granted(&rights, live.is_empty(), given);
    let verdicts: Vec<&'static str> = live.iter().map(|facts| verdict(facts, granted.outcome)).collect();
    let verdict = overall(&verdicts, &closed);
    let queued = queued(&live, verdict);
    let written = written(&live, verdict);
    let connected = match live.len() {
        0 => Step::new("connected", "no", "the user has no session on this node"),
        n => Step::new("connected", "yes", format!("sessions of the user now: {n}")),
    };
    Told {
        verdict,
        steps: vec![granted, connected, queued, written],
        sessions: live
            .iter()
            .zip(&verdicts)
            .map(|(facts, verdict)| one(facts, verdict))
            .collect(),
        closed: closed.into_iter().map(|(_, told)| told).collect(),
    }
}

/// For each channel of the entry whether the rights of now let the claims follow it, and which part of the configuration says so.
async fn rights(admin: &Admin, claims: &Claims, entry: &Entry) -> Vec<Value> {
    let mut told = Vec::new();
    for channel in entry.channels().iter().take(CHANNELS) {
        let rights = admin.desk.rights().load_full();
        let by = rights.decided_by(claims, channel);
        let (outcome, reason) = match rights.subscribe(claims, channel) {
            Decision::Allow => ("yes", "the claims fulfil it".to_owned()),
            Decision::Deny(reason) => ("no", reason.to_owned()),
            Decision::Ask(questions) => match admin.desk.may(&questions).await {
                Ok(true) => ("yes", "the database says yes now".to_owned()),
                Ok(false) => ("no", "the database says no now".to_owned()),
                Err(error) => ("unknown", error),
            },
        };
        told.push(json!({ "channel": &**channel, "granted": outcome, "by": by, "reason": reason }));
    }
    told
}

fn granted(rights: &[Value], absent: bool, given: bool) -> Step {
    let any = |outcome: &str| {
        rights
            .iter()
            .any(|right| right.get("granted").is_some_and(|own| own == outcome))
    };
    let outcome = match () {
        () if any("yes") => "yes",
        () if any("unknown") || rights.is_empty() => "unknown",
        () => "no",
    };
    let text = match (absent, given) {
        (false, _) => {
            "by the current rights and the claims of the session; endpoints also grant their own channels"
        }
        (true, true) => "by the current rights and the claims that you gave",
        (true, false) => {
            "by the current rights, for a token with `sub` alone: give the claims for a better answer"
        }
    };
    Step::new("granted", outcome, text).with(json!({ "channels": rights, "assumed": absent && !given }))
}

/// What became of the entry for one session.
fn verdict(facts: &Facts, granted: &str) -> &'static str {
    let Some(delivery) = &facts.delivery else {
        return "unknown";
    };
    if facts.state.is_awaiting_token() {
        return "without_token";
    }
    match delivery.state {
        State::NotFollowed if granted == "no" => "not_granted",
        State::NotFollowed => "not_followed",
        _ if delivery.excepted => "excepted",
        State::Before => "before",
        State::Waiting => "waiting",
        State::Queued => "queued",
        State::Written(_) => "written",
    }
}

/// The best that happened; of a session that has ended if no live one has it.
fn overall(verdicts: &[&'static str], closed: &[(bool, Value)]) -> &'static str {
    const ORDER: [&str; 8] = [
        "written",
        "queued",
        "waiting",
        "before",
        "excepted",
        "without_token",
        "not_followed",
        "not_granted",
    ];
    let best = ORDER.into_iter().find(|verdict| verdicts.contains(verdict));
    match best {
        Some(best @ ("written" | "queued" | "waiting")) => best,
        _ if closed.iter().any(|(had, _)| *had) => "written_before_closing",
        Some(best) => best,
        None if verdicts.is_empty() => "not_connected",
        None => "unknown",
    }
}

fn queued(live: &[Facts], verdict: &str) -> Step {
    let behind = live.iter().find_map(|facts| facts.behind.as_ref());
    match verdict {
        "written" | "written_before_closing" => Step::new("queued", "yes", "nothing waits any more"),
        "queued" => Step::new(
            "queued",
            "yes",
            "taken for the connection, whose client reads slowly",
        ),
        "waiting" => {
            let lag = behind.map_or(0, |behind| behind.lag);
            Step::new(
                "queued",
                "yes",
                format!("it waits in the log's window, {lag} bytes with the others before it"),
            )
        }
        "before" => Step::new(
            "queued",
            "unknown",
            "the session follows the channel since later; a replay may have brought it",
        ),
        _ => Step::new("queued", "no", "no session of the user was to get it"),
    }
}

fn written(live: &[Facts], verdict: &str) -> Step {
    let states = || {
        live.iter()
            .filter_map(|facts| Some(facts.delivery.as_ref()?.state))
    };
    match verdict {
        "written" => {
            let at = states().find_map(|state| match state {
                State::Written(at) => at,
                _ => None,
            });
            let text = match at {
                Some(_) => {
                    "given to the session's socket with its batch; whether the client's code saw it only the client knows"
                }
                None => {
                    "given to the session's socket, at an unknown time: it was behind then, or that is long ago"
                }
            };
            Step::new("written", "yes", text).at(at.map_or(Value::Null, time))
        }
        "written_before_closing" => Step::new(
            "written",
            "yes",
            "given to a connection that has ended since; its last bytes may be lost, a resume brings them again",
        ),
        "queued" | "waiting" => Step::new("written", "no", "not yet"),
        "before" => Step::new(
            "written",
            "unknown",
            "replays are not remembered for each session",
        ),
        _ => Step::new("written", "no", ""),
    }
}

/// Sessions of the user that have ended, and whether the entry had been handed to them.
fn closed(admin: &Admin, user: &str, entry: &Entry) -> Vec<(bool, Value)> {
    let list = admin.closed.list();
    let own = list.iter().filter(|closed| closed.user.as_deref() == Some(user));
    own.take(SESSIONS)
        .map(|closed| {
            let had = had(closed, entry);
            let mut told = listed::ended(closed);
            if let Some(fields) = told.as_object_mut() {
                fields.insert("had_it".into(), had.into());
            }
            (had, told)
        })
        .collect()
}

fn had(closed: &ClosedSession, entry: &Entry) -> bool {
    let concerns = |name: &Arc<str>| match &entry.body {
        Body::Gap(gap) => gap.concerns(name),
        _ => entry.channels().contains(name),
    };
    let mut followed = closed.channels.iter();
    closed.reached >= entry.offset && followed.any(|(name, after)| *after < entry.offset && concerns(name))
}

fn one(facts: &Facts, verdict: &str) -> Value {
    let mut told = listed::facts(facts);
    if let (Some(fields), Some(delivery)) = (told.as_object_mut(), &facts.delivery) {
        let through: Vec<&str> = delivery.follows.iter().map(|(name, _)| &**name).collect();
        let at = match delivery.state {
            State::Written(Some(at)) => time(at),
            _ => Value::Null,
        };
        fields.insert("verdict".into(), verdict.into());
        fields.insert("through".into(), json!(through));
        fields.insert("written".into(), at);
    }
    told
}
