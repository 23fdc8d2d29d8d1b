//! `[router]`: webhooks of WhatsApp that become contacts, conversations and messages.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{Period, Secret, Size};

/// What `pregon router` takes from the WhatsApp Cloud API and where it stores it. `serve` has no use for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Router {
    /// Address and port of the router, which is a process of its own. `PREGON_LISTEN` (or `PORT` alone) overrides it. The default is
    /// reachable from this machine only: a proxy with TLS stands before it.
    pub listen: String,
    /// Path of the webhook.
    pub path: String,
    /// Secret of the app that signs the deliveries; several between commas, for rotation or for several apps.
    /// `WHATSAPP_APP_SECRET` overrides it. The router does not start without one.
    pub app_secret: Option<Secret>,
    /// What the app's page has as "verify token". `WHATSAPP_VERIFY_TOKEN` overrides it; without one no subscription is confirmed.
    pub verify_token: Option<Secret>,
    /// Token for the Graph API, which sends replies. `WHATSAPP_TOKEN` overrides it.
    pub token: Option<Secret>,
    /// The Graph API with its version. `WHATSAPP_GRAPH_URL` overrides it.
    pub graph_url: String,
    /// Largest delivery; Meta sends up to 3 MB.
    pub body: Size,
    /// Most connections at once; Meta opens some hundred when it repeats what was not taken.
    pub connections: usize,
    /// The table of contacts, `"table"` or `"schema.table"`. Tables that are not there are made, those that are get the columns they lack.
    pub contacts: String,
    /// The table of conversations.
    pub conversations: String,
    /// The table of messages.
    pub messages: String,
    /// The area of a conversation that nobody gave to another: `conversation:updated` goes to `area_<area>`.
    pub area: String,
    /// Connections that process what was taken. Each works on contacts of its own.
    pub workers: usize,
    /// Most messages in one transaction: more is cheaper per message and holds the others up longer.
    pub batch: usize,
    /// Attempts before an item is a dead letter: with 12, after 1 s, 2 s, 4 s … about an hour.
    pub attempts: u32,
    /// How long deliveries that were processed are kept, to look at and to process again.
    pub keep: Period,
    /// Whether `url` leads to a pooler that changes the server between transactions (Supabase on port 6543, PgBouncer): nothing is
    /// prepared and nothing is set for the session.
    pub pooler: bool,
    /// How long requests and the work at hand may take after SIGTERM.
    pub drain: Period,
}

impl Default for Router {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:3002".into(),
            path: "/webhook".into(),
            app_secret: None,
            verify_token: None,
            token: None,
            graph_url: "https://graph.facebook.com/v23.0".into(),
            body: Size::mib(4),
            connections: 1024,
            contacts: "contactos".into(),
            conversations: "conversaciones".into(),
            messages: "mensajes".into(),
            area: "general".into(),
            workers: 4,
            batch: 100,
            attempts: 12,
            keep: Period::seconds(7 * 24 * 60 * 60),
            pooler: false,
            drain: Period::seconds(10),
        }
    }
}

impl Router {
    /// The secrets that deliveries may be signed with.
    pub fn secrets(&self) -> Vec<&str> {
        let all = self.app_secret.as_ref().map_or("", Secret::reveal);
        all.split(',')
            .map(str::trim)
            .filter(|secret| !secret.is_empty())
            .collect()
    }
}
