//! `[router]`: webhooks of WhatsApp that become contacts, conversations and messages.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{OneOrMany, Period, Secret, Size};

/// What `pregon router` takes from the WhatsApp Cloud API and where it stores it. `serve` has no use for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Router {
    /// Address and port of the router, which is a process of its own. `PREGON_LISTEN` overrides it; `PORT` counts where the file names no
    /// address. The default is reachable from this machine only: a proxy with TLS stands before it.
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
    /// Largest medium that `pregon router media` fetches.
    pub media_limit: Size,
    /// Kinds of media that it fetches; `image/*` is all images.
    pub media_types: Vec<String>,
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
    /// The table of agents that rules assign conversations to, with `id`, `area` and `en_linea` (boolean); it is only read.
    pub agents: Option<String>,
    /// Time zone of `message.hora` and `message.dia` in rules, as PostgreSQL knows it: `"America/Argentina/Buenos_Aires"`.
    pub timezone: String,
    /// Secret that outgoing webhooks are signed with; needed where a rule has one.
    pub webhook_secret: Option<Secret>,
    /// What keys of BullMQ begin with, as in its option `prefix`; in a cluster in braces.
    pub bullmq_prefix: String,
    /// Whether what was taken is processed at once (`direct`), by workers that look for it (`queued`), or as `[router.queue]` says (`auto`).
    pub mode: Mode,
    /// Where work waits, and when `auto` changes to `queued` and back.
    pub queue: Queue,
    /// What becomes of messages, beyond being stored.
    pub rule: Vec<RouterRule>,
    /// Connections that process what was taken. Each works on contacts of its own.
    pub workers: usize,
    /// Most messages in one transaction: more is cheaper per message and holds the others up longer.
    pub batch: usize,
    /// Attempts before an item is a dead letter, after 1 s, 2 s, 4 s …; later items of its contact wait for it, with 5 about 15 s.
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
            media_limit: Size::mib(16),
            media_types: ["image/*", "audio/*", "video/*", "application/pdf"]
                .map(str::to_owned)
                .into(),
            body: Size::mib(4),
            connections: 1024,
            contacts: "contactos".into(),
            conversations: "conversaciones".into(),
            messages: "mensajes".into(),
            area: "general".into(),
            agents: None,
            timezone: "UTC".into(),
            webhook_secret: None,
            bullmq_prefix: "bull".into(),
            mode: Mode::Direct,
            queue: Queue::default(),
            rule: Vec::new(),
            workers: 4,
            batch: 100,
            attempts: 5,
            keep: Period::seconds(7 * 24 * 60 * 60),
            pooler: false,
            drain: Period::seconds(10),
        }
    }
}

/// When messages are processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "RouterMode")]
pub enum Mode {
    Direct,
    Queued,
    Auto,
}

/// Where work waits, and when `mode = "auto"` changes to `queued`; it changes back when everything has been below half of it for `calm`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "RouterQueue")]
pub struct Queue {
    /// Where deliveries are kept before they are answered: in the database, or in streams of the `[redis]`, which must keep what it confirms
    /// (`appendonly yes`, `appendfsync always`).
    pub kind: QueueKind,
    /// What the keys of the streams begin with.
    pub prefix: String,
    /// More items than this in a day.
    pub per_day: u64,
    /// More items than this in a minute.
    pub per_minute: u64,
    /// An item that took longer from its arrival to its end.
    pub latency: Period,
    /// How long it has to be calm before it is `direct` again.
    pub calm: Period,
    /// Pause between looks for work when `queued`.
    pub poll: Period,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            kind: QueueKind::Postgres,
            prefix: "pregon:router".into(),
            per_day: 10_000,
            per_minute: 50,
            latency: Period::seconds(5),
            calm: Period::seconds(600),
            poll: Period(std::time::Duration::from_millis(200)),
        }
    }
}

/// Where deliveries are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "RouterQueueKind")]
pub enum QueueKind {
    Postgres,
    Redis,
}

/// A rule for messages of contacts. All that match count, in their order; the first area and the first assignment win.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RouterRule {
    /// Condition over `message`: `numero`, `telefono`, `user_id`, `nombre`, `tipo`, `mensaje`, `texto` (in lower case), `palabras` (its
    /// words), `boton` (id of the button or row), `referral`, `hora` (`"09:30"`), `dia` (1 is Monday) and `raw`. Always, without one.
    pub when: Option<String>,
    /// Labels that the conversation must have.
    pub has: Vec<String>,
    /// Only for the first message of a conversation.
    pub first: bool,
    /// The area that the conversation goes to.
    pub area: Option<String>,
    /// How an agent of the area who is there is chosen: `round_robin`, `least_loaded` (fewest conversations of the last day), `sticky` (who has the
    /// conversation keeps it, there or not).
    pub assign: Option<Assign>,
    /// The area that it goes to where nobody is there.
    pub otherwise: Option<String>,
    /// Labels that the conversation gets.
    pub labels: Vec<String>,
    /// A text that is sent back, as a template over the message: `"Hola {nombre}"`.
    pub reply: Option<String>,
    /// Up to three buttons under the text, each `"id: title"`.
    pub buttons: Vec<String>,
    /// Address that gets message and conversation as JSON, signed with `webhook_secret`.
    pub webhook: Option<String>,
    /// Queue of BullMQ that gets a job with message and conversation; in the Redis of `[redis]`.
    pub bullmq: Option<String>,
    /// Further channels for `message:new`, as templates over the message.
    pub publish: OneOrMany,
    /// Whether later rules are passed over where this one matches.
    pub last: bool,
}

/// How an agent is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "RouterAssign")]
pub enum Assign {
    Sticky,
    RoundRobin,
    LeastLoaded,
}

impl Assign {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sticky => "sticky",
            Self::RoundRobin => "round_robin",
            Self::LeastLoaded => "least_loaded",
        }
    }
}

impl Router {
    /// The secrets that deliveries may be signed with.
    pub fn secrets(&self) -> Vec<&str> {
        listed(self.app_secret.as_ref())
    }
}

/// The secrets of a list with commas.
pub(super) fn listed(secrets: Option<&Secret>) -> Vec<&str> {
    let all = secrets.map_or("", Secret::reveal).split(',');
    all.map(str::trim).filter(|secret| !secret.is_empty()).collect()
}
