//! What nodes that share a log tell each other by it: what is passed on and not kept, who is where, orders of back ends, whom an operator
//! revoked. Everything has a place in the log, so that all nodes hear it in the same order.
//!
//! Members are told when they come and go. A node that begins asks for those of the others, and so does one that may have missed a word. A
//! node that has members gives a sign of life; one that has given none for a while is gone, and its members leave.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use super::sources::Parts;
use crate::admin;
use crate::auth::Revoked;
use crate::event::Publication;
use crate::hub::Hub;
use crate::hub::orders::{Action, Order};
use crate::log::shared::{SharedLog, Word, decode_passed, encode_passed};
use crate::log::{Body, Told};

/// What a word is about.
const PASSED: u8 = 1;
const MEMBERS: u8 = 2;
const HERE: u8 = 3;
const WHO: u8 = 4;
const ORDER: u8 = 5;
const REVOKED: u8 = 6;

/// The name under which the log notes who is revoked.
const NOTE: &str = "revoked";

/// Between two signs of life of a node that has members.
const PULSE: Duration = Duration::from_secs(1);

/// A node is gone when so much has been heard of others since its last sign.
const GONE: Duration = Duration::from_secs(5);

/// Members of one word.
const PIECE: usize = 500;

/// Sets up the exchange; whoever is revoked is known when it returns.
pub(super) async fn meet(parts: &Parts<'_>, log: &Arc<SharedLog>) -> anyhow::Result<()> {
    let hub = parts.hub;
    let revoked = &hub.shared().revoked;
    let mates = Arc::new(Mates {
        log: Arc::clone(log),
        hub: Arc::clone(hub),
        heard: Mutex::default(),
        runtime: Handle::current(),
    });
    let hearing = Arc::clone(&mates);
    log.hear(Box::new(move |word| hearing.hear(word)));
    // Behind the listener: what is revoked between the two is heard.
    revoked.take_over(log.noted(NOTE).await?.as_deref());
    let telling = Arc::clone(log);
    hub.shared()
        .volatile
        .share(Box::new(move |told| tell(&telling, told)));
    let telling = Arc::clone(log);
    hub.share_orders(Box::new(move |order| telling.say(ORDER, &encode_order(order))));
    let telling = Arc::clone(log);
    revoked.share(Box::new(move |user, since| {
        let log = Arc::clone(&telling);
        Box::pin(async move { note(&log, &user, since).await })
    }));
    log.say(WHO, &[]);
    let stop = parts.stop.clone();
    // It ends with the node, and owns nothing that has to be put in order.
    tokio::spawn(async move {
        stop.run_until_cancelled(mates.pulse()).await;
    });
    Ok(())
}

struct Mates {
    log: Arc<SharedLog>,
    hub: Arc<Hub>,
    /// When each node was last heard of, this one included.
    heard: Mutex<HashMap<Arc<str>, Instant>>,
    runtime: Handle,
}

/// Tells what this node has passed on, and who came and went.
fn tell(log: &SharedLog, told: Told<'_>) {
    match told {
        Told::Passed(publication) => log.say(PASSED, &encode_passed(publication)),
        Told::Member {
            channel,
            client,
            joined,
        } => log.say(
            MEMBERS,
            &members(std::iter::once((&**channel, &**client, joined))),
        ),
    }
}

fn members<'a>(list: impl Iterator<Item = (&'a str, &'a str, bool)>) -> Vec<u8> {
    let list: Vec<_> = list.collect();
    serde_json::to_vec(&list).unwrap_or_default()
}

async fn note(log: &SharedLog, user: &str, since: Option<u64>) -> Result<(), String> {
    let word = serde_json::to_vec(&(user, since)).unwrap_or_default();
    let change = |note: Option<&[u8]>| Revoked::changed(note, user, since);
    let noted = log.note(NOTE, (REVOKED, &word), &change).await;
    noted.map_err(|error| error.to_string())
}

impl Mates {
    fn is_me(&self, node: &str) -> bool {
        node == self.log.incarnation()
    }

    /// A word of a node; `None` where words may have been missed.
    fn hear(&self, word: Option<Word>) {
        let presence = &self.hub.shared().presence;
        let Some(word) = word else {
            self.heard.lock().clear();
            presence.keep_nodes(|_| false);
            return self.log.say(WHO, &[]);
        };
        let is_new = self
            .heard
            .lock()
            .insert(Arc::clone(&word.node), Instant::now())
            .is_none();
        let mine = self.is_me(&word.node);
        match word.topic {
            ORDER => {
                if let Some(order) = decode_order(&word.bytes) {
                    self.hub.carry_out(order);
                }
            }
            _ if mine => {}
            PASSED => {
                if let Some(publication) = decode_passed(&word.bytes) {
                    self.passed(publication);
                }
            }
            MEMBERS => self.members(&word),
            // It has members, and was not known: they may have been taken for gone.
            HERE if is_new => self.log.say(WHO, &[]),
            WHO => self.tell_members(),
            REVOKED => self.revoked(&word.bytes),
            // Of a newer version.
            _ => {}
        }
    }

    fn passed(&self, publication: Publication) {
        let at = publication.at;
        self.hub.shared().volatile.push(Body::from(publication), at);
    }

    fn members(&self, word: &Word) {
        let Ok(list) = serde_json::from_slice::<Vec<(String, String, bool)>>(&word.bytes) else {
            return;
        };
        for (channel, client, joined) in list {
            let presence = &self.hub.shared().presence;
            presence.elsewhere(&word.node, &channel.into(), &client.into(), joined);
        }
    }

    fn tell_members(&self) {
        let here = self.hub.shared().presence.here();
        for piece in here.chunks(PIECE) {
            let list = piece
                .iter()
                .map(|(channel, client)| (&**channel, &**client, true));
            self.log.say(MEMBERS, &members(list));
        }
    }

    fn revoked(&self, bytes: &[u8]) {
        let Ok((user, since)) = serde_json::from_slice::<(String, Option<u64>)>(bytes) else {
            return;
        };
        let hub = Arc::clone(&self.hub);
        hub.shared().revoked.hear(&user, since);
        if since.is_some() {
            self.runtime.spawn(async move {
                let closed = admin::close_revoked(&hub, &hub.shared().revoked, &user).await;
                // Who it was is a claim, which no log line holds.
                tracing::warn!(closed, "an operator revoked a user's tokens at another node");
            });
        }
    }

    /// Gives signs of life, and notes whose are missing.
    async fn pulse(&self) {
        loop {
            tokio::time::sleep(PULSE).await;
            let presence = &self.hub.shared().presence;
            if presence.is_empty() {
                continue;
            }
            self.log.say(HERE, &[]);
            let mut heard = self.heard.lock();
            // A log that is away tells nothing of anybody.
            let Some(now) = heard.get(self.log.incarnation()).copied() else {
                continue;
            };
            heard.retain(|_, at| now.saturating_duration_since(*at) < GONE);
            let there: Vec<Arc<str>> = heard.keys().cloned().collect();
            drop(heard);
            presence.keep_nodes(|node| there.contains(node));
        }
    }
}

/// An order as it is told.
#[derive(Serialize, Deserialize)]
struct Written {
    namespace: String,
    rooms: Option<Vec<String>>,
    except: Vec<String>,
    action: Does,
}

#[derive(Serialize, Deserialize)]
enum Does {
    Join(Vec<String>),
    Leave(Vec<String>),
    Disconnect { close: bool },
}

fn encode_order(order: &Order) -> Vec<u8> {
    let texts = |list: &[Arc<str>]| list.iter().map(|text| text.to_string()).collect::<Vec<_>>();
    let written = Written {
        namespace: order.namespace.clone(),
        rooms: order.rooms.as_deref().map(texts),
        except: texts(&order.except),
        action: match &order.action {
            Action::Join(rooms) => Does::Join(texts(rooms)),
            Action::Leave(rooms) => Does::Leave(texts(rooms)),
            Action::Disconnect { close } => Does::Disconnect { close: *close },
        },
    };
    serde_json::to_vec(&written).unwrap_or_default()
}

/// The order; `None` of a newer version.
fn decode_order(bytes: &[u8]) -> Option<Order> {
    let written: Written = serde_json::from_slice(bytes).ok()?;
    let names = |list: Vec<String>| list.into_iter().map(Arc::from).collect::<Vec<Arc<str>>>();
    Some(Order {
        namespace: written.namespace,
        rooms: written.rooms.map(names),
        except: names(written.except),
        action: match written.action {
            Does::Join(rooms) => Action::Join(names(rooms)),
            Does::Leave(rooms) => Action::Leave(names(rooms)),
            Does::Disconnect { close } => Action::Disconnect { close },
        },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_order_survives_its_words() {
        for action in [
            Action::Join(vec!["/#a".into()]),
            Action::Leave(vec!["/#a".into(), "/#b".into()]),
            Action::Disconnect { close: true },
        ] {
            let order = Order {
                namespace: "/".into(),
                rooms: Some(vec!["/#x".into()]),
                except: vec!["/#y".into()],
                action,
            };
            let again = decode_order(&encode_order(&order)).unwrap();
            assert_eq!(format!("{order:?}"), format!("{again:?}"));
        }
        assert!(decode_order(b"{}").is_none());
    }
}
