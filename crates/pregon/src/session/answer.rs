//! How a command goes on when the node has answered its question; and how a session of Socket.IO begins, which is mostly that.

use pregon_wire::codes;

use super::Session;
use super::command::{Answer, Asked, Effect, Env, Outcome, Publishing, Question, Replies, Reply, Then};
use super::decide::{ask, decide_publish, presence, refuse, subscribe};
use super::recovery::Recovery;
use crate::auth::{AuthError, Claims};
use crate::metrics::Reason;

/// What a client learns if the node has answered another question than the session asked.
const MISFIT: &str = "the answer does not fit the question";

/// What a client learns whose right the database denies.
pub(crate) const NOT_YOU: &str = "the rights of this channel do not include you";

/// A token for a new session in a namespace: verified first, if there is one of its own.
pub(crate) fn connect(
    namespace: u8,
    token: Option<&str>,
    handshake: &Result<Claims, String>,
    auth: Box<str>,
    recovery: Option<Recovery>,
    env: &Env<'_>,
) -> Effect {
    match (token, handshake) {
        (Some(token), _) => ask(
            Question::Verify {
                token: token.to_owned(),
            },
            Then::Connect {
                namespace,
                auth,
                recovery,
            },
            env,
        ),
        (None, Ok(claims)) => connected(namespace, claims.clone(), auth, recovery, env),
        (None, Err(message)) => Effect::Refuse {
            namespace,
            code: &codes::UNAUTHORIZED,
            message: message.clone(),
        },
    }
}

/// The rights have changed while a question was under way: its answer counts no more, and the command is decided anew. Gives back what
/// rights have no part in.
#[expect(
    clippy::result_large_err,
    reason = "the command comes back as it was, at a reload only"
)]
pub(crate) fn again(session: Option<&Session>, then: Then, env: &Env<'_>) -> Result<Effect, Then> {
    let Some(session) = session else {
        return match then {
            Then::Recover {
                namespace,
                auth,
                claims,
                recovery,
            } => Ok(connected(namespace, claims, auth, Some(recovery), env)),
            then => Err(then),
        };
    };
    Ok(match then {
        Then::Join(asked, wish) | Then::Subscribed { asked, wish, .. } => {
            subscribe(session, asked, &wish.name, wish.from, env)
        }
        Then::Members {
            asked,
            channel,
            since,
        } => presence(session, asked, &channel, since, env),
        Then::Publish { asked, publication } => decide_publish(session, asked, publication, env),
        Then::Refreshed(asked) => Effect::Refresh(asked),
        then => return Err(then),
    })
}

/// Continues a command with the answer to its question.
pub(crate) fn resume(then: Then, answer: Answer, env: &Env<'_>) -> Effect {
    match (then, answer) {
        (Then::Authenticate(asked), Answer::Verified(verified)) => authenticated(asked, verified, env),
        (
            Then::Connect {
                namespace,
                auth,
                recovery,
            },
            Answer::Verified(Ok(claims)),
        ) => connected(namespace, claims, auth, recovery, env),
        (Then::Connect { namespace, .. }, Answer::Verified(Err(error))) => {
            env.metrics.dropped(Reason::Token);
            Effect::Refuse {
                namespace,
                code: &codes::INVALID_TOKEN,
                message: error.to_string(),
            }
        }
        (
            Then::Recover {
                namespace,
                auth,
                claims,
                ..
            },
            Answer::Recovered(recalled),
        ) => Effect::Connect {
            namespace,
            claims,
            auth,
            recalled,
        },
        (then @ (Then::Join(..) | Then::Members { .. } | Then::Publish { .. }), Answer::May(may)) => {
            decided(then, may, env)
        }
        (Then::Refreshed(asked), Answer::MayEach(outcomes)) => Effect::Refreshed { asked, outcomes },
        (
            Then::Subscribed {
                asked,
                position,
                since,
                ..
            },
            Answer::History(history),
        ) => Effect::Reply(
            asked,
            Reply::Subscribed {
                position,
                recovered: history.complete && since,
                history: Some(history.json),
                stands_for: None,
            },
        ),
        (Then::Confirm(replies), Answer::Published(outcomes)) => confirmed(replies, outcomes, env),
        (then, _) => misfit(&then),
    }
}

fn authenticated(asked: Asked, verified: Result<Claims, AuthError>, env: &Env<'_>) -> Effect {
    match verified {
        Ok(claims) => Effect::Authenticate { asked, claims },
        Err(error) => {
            env.metrics.dropped(Reason::Token);
            Effect::Close {
                asked,
                code: &codes::INVALID_TOKEN,
                message: error.to_string(),
            }
        }
    }
}

/// The claims of a new session are known: it begins, or its earlier one is looked for.
fn connected(
    namespace: u8,
    claims: Claims,
    auth: Box<str>,
    recovery: Option<Recovery>,
    env: &Env<'_>,
) -> Effect {
    match recovery {
        Some(recovery) => ask(
            Question::Recover {
                recovery: recovery.clone(),
                claims: claims.clone(),
            },
            Then::Recover {
                namespace,
                auth,
                claims,
                recovery,
            },
            env,
        ),
        None => Effect::Connect {
            namespace,
            claims,
            auth,
            recalled: None,
        },
    }
}

/// The database has said whether a command may go on.
fn decided(then: Then, may: Result<bool, String>, env: &Env<'_>) -> Effect {
    let asked = then.asked();
    match may {
        Err(error) => return refuse(asked, &codes::UNAVAILABLE, &error),
        Ok(false) => {
            env.metrics.dropped(Reason::Forbidden);
            return match then {
                Then::Join(asked, wish) => Effect::Refused {
                    asked,
                    channel: wish.name,
                },
                _ => refuse(asked, &codes::FORBIDDEN, NOT_YOU),
            };
        }
        Ok(true) => {}
    }
    match then {
        Then::Join(asked, wish) => Effect::Join(asked, wish),
        Then::Members {
            asked,
            channel,
            since,
        } => Effect::Members {
            asked,
            channel,
            since,
        },
        Then::Publish { asked, publication } => Effect::Publish(asked, Publishing::Addressed(publication)),
        then => misfit(&then),
    }
}

/// The log has what was published, or not.
fn confirmed(replies: Replies, outcomes: Vec<Outcome>, env: &Env<'_>) -> Effect {
    let mut outcomes = outcomes.into_iter();
    let answered = replies.into_iter().map(|(asked, reply)| {
        let reply = reply.unwrap_or_else(|| match outcomes.next() {
            Some(Ok(position)) => Reply::Published(position),
            Some(Err((code, message))) => {
                if *code == codes::FORBIDDEN {
                    env.metrics.dropped(Reason::Forbidden);
                }
                Reply::refused(code, message)
            }
            None => Reply::refused(&codes::INTERNAL, MISFIT),
        });
        (asked, reply)
    });
    Effect::Replies(answered.collect())
}

fn misfit(then: &Then) -> Effect {
    refuse(then.asked(), &codes::INTERNAL, MISFIT)
}

impl Then {
    pub(crate) fn asked(&self) -> Asked {
        match self {
            Self::Authenticate(asked) | Self::Refreshed(asked) => *asked,
            Self::Confirm(replies) => replies.first().map(|(asked, _)| *asked).unwrap_or_default(),
            Self::Join(asked, _)
            | Self::Members { asked, .. }
            | Self::Publish { asked, .. }
            | Self::Subscribed { asked, .. } => *asked,
            Self::Connect { namespace, .. } | Self::Recover { namespace, .. } => Asked {
                namespace: *namespace,
                ..Asked::default()
            },
        }
    }
}
