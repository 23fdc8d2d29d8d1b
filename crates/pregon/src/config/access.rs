//! `[auth]`, `[[endpoint]]` and `[[channel]]`: who may connect, and who may follow and publish what.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{Period, Secret};

/// How tokens (JWT) are verified and what they grant from the start. At most one kind of key may be configured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Shared secret of HS256, HS384 and HS512, taken as raw UTF-8 bytes. `JWT_SECRET` overrides it (and is ignored where
    /// a public key or a JWKS is configured).
    pub secret: Option<Secret>,
    /// File with the shared secret; one line end at its end is not part of it.
    pub secret_file: Option<String>,
    /// PEM file with the public key of RS, PS, ES or EdDSA tokens.
    pub public_key_file: Option<String>,
    /// Address of a JSON Web Key Set: `https`, or `http` on this machine only. It is read again when a token names a new key.
    pub jwks_url: Option<String>,
    /// Algorithms that are accepted; a token that names another is refused. The default is `["HS256"]` for a secret,
    /// `["RS256"]`, `["ES256"]` or `["EdDSA"]` by the kind of a public key, and `["RS256", "ES256", "EdDSA"]` for a JWKS.
    pub algorithms: Vec<Algorithm>,
    /// Issuer (`iss`) that a token must have; not checked when absent.
    pub issuer: Option<String>,
    /// Audience (`aud`) that a token must have; not checked when absent.
    pub audience: Option<String>,
    /// Cookie that may carry the token; none by default. A request with such a cookie must come from an allowed origin.
    pub cookie: Option<String>,
    /// Query parameter that may carry the token; empty turns it off.
    pub query: String,
    /// Whether a WebSocket subprotocol may carry the token (`["pregon", "token.<JWT>"]`): browsers can set no header there.
    pub subprotocol: bool,
    /// Whether a session needs a token. The default is true as soon as a key is configured.
    pub required: Option<bool>,
    /// Difference between clocks that is forgiven when `exp` and `nbf` are checked, in whole seconds. A live connection is closed this
    /// long after `exp`, the moment from which its token is refused.
    pub leeway: Period,
    /// Channels that a session follows from the start, as templates over its claims: `["user_{sub}"]`.
    /// A template whose claim is missing, null or empty gives no channel.
    pub join: Vec<String>,
    /// Channels that a session without a token follows from the start.
    pub anonymous_join: Vec<String>,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            secret: None,
            secret_file: None,
            public_key_file: None,
            jwks_url: None,
            algorithms: Vec::new(),
            issuer: None,
            audience: None,
            cookie: None,
            query: "token".into(),
            subprotocol: true,
            required: None,
            leeway: Period::seconds(5),
            join: Vec::new(),
            anonymous_join: Vec::new(),
        }
    }
}

impl Auth {
    /// Whether any key is configured, so that tokens can be verified at all.
    pub fn configured(&self) -> bool {
        self.secret.is_some()
            || self.secret_file.is_some()
            || self.public_key_file.is_some()
            || self.jwks_url.is_some()
    }

    /// Whether a session needs a token.
    pub fn required(&self) -> bool {
        self.required.unwrap_or_else(|| self.configured())
    }
}

/// Signature algorithms of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Algorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
    // `EdDSA` by its name in RFC 9864.
    Ed25519,
}

/// A path that is bound to channels: clients get the bare payload of each publication and need no protocol at all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["path", "channels"]))]
pub struct Endpoint {
    /// Path of the request, for example `"/ws/sales"`.
    pub path: String,
    /// Channels that every client of this path follows; templates over claims are allowed (`"user_{sub}"`).
    pub channels: Vec<String>,
    /// Whether a token is needed. The default follows `[auth] required`.
    pub token: Option<TokenRule>,
    /// How the payloads travel.
    pub transport: EndpointTransport,
    /// Rooms that clients of this path join by `{"type":"join","room":"x"}` or `?rooms=x,y`, as the channel of a room:
    /// `"ws:room:{room}"`. The `[[channel]]` section of that name says who may; none by default.
    pub rooms: Option<String>,
    /// Whether a client that connects with `?session=TEXT` and comes back with the same text and the same `sub` is sent what it has not
    /// acknowledged. Without the parameter nothing changes.
    pub resume: bool,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self {
            path: String::new(),
            channels: Vec::new(),
            token: None,
            transport: EndpointTransport::default(),
            rooms: None,
            resume: true,
        }
    }
}

/// Whether an endpoint needs a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TokenRule {
    None,
    Required,
}

/// The transports of a bare endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EndpointTransport {
    #[default]
    Websocket,
}

/// Rules for the channels whose name fits a pattern. The first section that fits decides. A channel that no section fits
/// can only be followed by sessions that `join` put into it; a section without a rule lets every session in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name"], "x-aliases" = { "allow": "subscribe" }))]
pub struct Channel {
    /// Name or pattern, for example `"conversation_{id}"`. What stands for `{id}` is `channel.id` in the rules and is never empty.
    pub name: String,
    /// Who may subscribe: a condition over `claims` and `channel`, for example `"channel.id in claims.rooms"`.
    /// `allow` is another word for it.
    pub subscribe: Option<String>,
    /// Who may subscribe: one query whose first column of its first row must be true. Parameters are named:
    /// `"SELECT true FROM conversations WHERE id = :channel.id AND user_id = :claims.sub"`. With `subscribe` both must agree.
    pub allow_sql: Option<String>,
    /// How often `allow_sql` is asked again for those who follow the channel (`"1m"`): who has lost the right by then loses the channel.
    /// Without it the query is asked at the subscribe, after a reload and with a fresh token.
    pub recheck: Option<Period>,
    /// Who may publish from a client, as a condition like `subscribe`; nobody by default.
    pub publish: Option<String>,
    /// Channels that a client follows when it subscribes to this name, as templates over its claims: one name for all, and each gets
    /// what is for it (`["seller:{role}:{seller_id}"]`). A template whose claim is missing, null or empty gives none. `subscribe` and `allow_sql` beside it look at claims alone.
    pub follow: Vec<String>,
    /// Events that are not kept: who is connected gets them, nobody else ever will (`["typing"]`; `["*"]` for all).
    pub volatile: Vec<String>,
    /// Whether members are announced to each other.
    pub presence: bool,
    /// Whether earlier publications may be asked for, in whatever way.
    pub history: bool,
}

impl Default for Channel {
    fn default() -> Self {
        Self {
            name: String::new(),
            subscribe: None,
            allow_sql: None,
            recheck: None,
            publish: None,
            follow: Vec::new(),
            volatile: Vec::new(),
            presence: false,
            history: true,
        }
    }
}
