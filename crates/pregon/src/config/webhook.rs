//! `[[webhook]]`: signed deliveries of other services as a source.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::decrypt::Encoding;
use super::units::{Secret, Size};

/// A path of the gateway that takes signed webhooks. Routes take their events by `name`; what a delivery says is `message`. It is
/// answered when the log has it, and one that comes again is published once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name", "path"]))]
pub struct Webhook {
    /// Name for routes and logs.
    pub name: String,
    /// The path, such as `"/hooks/stripe"`.
    pub path: String,
    /// Who signs: `stripe` (`Stripe-Signature`, at most five minutes old), `github` and `whatsapp` (`X-Hub-Signature-256`), `hmac` (HMAC-SHA256
    /// of the body in a `header`).
    pub preset: Preset,
    /// The secret; several between commas.
    pub secret: Option<Secret>,
    /// Variable of the environment with the secret, which overrides `secret`.
    pub secret_env: Option<String>,
    /// The header of `hmac`; a `sha256=` before the signature is passed over.
    pub header: String,
    /// How the signature of `hmac` is written.
    pub encoding: Encoding,
    /// What `whatsapp` asks for when it subscribes.
    pub verify_token: Option<Secret>,
    /// Largest delivery.
    pub body: Size,
}

impl Default for Webhook {
    fn default() -> Self {
        Self {
            name: String::new(),
            path: String::new(),
            preset: Preset::Hmac,
            secret: None,
            secret_env: None,
            header: "X-Signature-256".into(),
            encoding: Encoding::Hex,
            verify_token: None,
            body: Size::mib(4),
        }
    }
}

impl Webhook {
    /// The secrets that deliveries may be signed with.
    pub fn secrets(&self) -> Vec<&str> {
        super::router::listed(self.secret.as_ref())
    }
}

/// Who signs, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "WebhookPreset")]
pub enum Preset {
    Stripe,
    Github,
    Whatsapp,
    Hmac,
}
