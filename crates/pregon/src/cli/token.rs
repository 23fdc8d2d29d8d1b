//! `pregon token`: makes and opens JWTs for development.

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use super::settings::{File, shared_secret, variable, weakness};
use super::{Usage, block_on, output};
use crate::auth::{AuthError, Verifier, mint};
use crate::config::{Config, Secret};

/// Make and open tokens (JWT) for development
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Sign a token with the shared secret (HS256)
    ///
    /// The secret is --secret, JWT_SECRET, or [auth] secret or secret_file of the configuration, whose issuer and audience are filled in.
    #[command(after_help = "\
Examples:
  JWT_SECRET=clave pregon token mint --sub 7
  pregon token mint --sub ana --claim role=seller --claim seller_id:=123 --claim 'rooms:=[\"a\",\"b\"]' --expires 30m")]
    Mint(Mint),
    /// Say what a token contains, and whether the configured key accepts it
    ///
    /// Exit code 1 when the token is refused. Without a key nothing is verified, and it says so.
    #[command(after_help = "\
Examples:
  pregon token inspect eyJhbGciOi…
  pregon token mint --sub 7 | pregon token inspect - --json")]
    Inspect(Inspect),
}

#[derive(Debug, clap::Args)]
pub(super) struct Mint {
    /// Whom the token is for
    #[arg(long)]
    sub: Option<String>,

    /// A further claim: `name=text`, or `name:=JSON`
    #[arg(long = "claim", value_name = "NAME=TEXT|NAME:=JSON")]
    claims: Vec<String>,

    /// How long it is valid, for example `30m` or `7d`, or `never`
    #[arg(long, value_name = "TIME", default_value = "1h")]
    expires: String,

    /// The shared secret, as raw UTF-8 bytes; better in JWT_SECRET, because arguments are visible to others
    #[arg(long)]
    secret: Option<String>,

    /// Print one JSON object: {"token", "claims"}
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Inspect {
    /// The token, or `-` for standard input
    token: String,

    /// Verify with this shared secret instead of the configured key
    #[arg(long)]
    secret: Option<String>,

    /// Print one JSON object: {"algorithm", "key", "claims", "valid", "reason"}
    #[arg(long)]
    json: bool,
}

impl Command {
    pub(super) fn wants_json(&self) -> bool {
        match self {
            Self::Mint(args) => args.json,
            Self::Inspect(args) => args.json,
        }
    }
}

pub(super) fn run(command: &Command, file: &File) -> anyhow::Result<ExitCode> {
    match command {
        Command::Mint(args) => mint_token(args, &file.load_if_there()?),
        Command::Inspect(args) => block_on(inspect(args, file.load_if_there()?)),
    }
}

fn mint_token(args: &Mint, config: &Config) -> anyhow::Result<ExitCode> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let mut claims = Map::new();
    for (name, value) in [
        ("iss", &config.auth.issuer),
        ("aud", &config.auth.audience),
        ("sub", &args.sub),
    ] {
        if let Some(value) = value {
            claims.insert(name.into(), json!(value));
        }
    }
    claims.insert("iat".into(), json!(now));
    if args.expires != "never" {
        claims.insert(
            "exp".into(),
            json!(now.saturating_add(lifetime(&args.expires)?.as_secs())),
        );
    }
    for claim in &args.claims {
        let (name, value) = parse_claim(claim)?;
        claims.insert(name, value);
    }
    let secret = secret(args, config)?;
    if let Some(weakness) = weakness(&secret) {
        output::complain(format_args!("warning: {weakness}"));
    }
    let token = mint::mint(&claims, &secret)?;
    if args.json {
        output::json(&json!({ "token": token, "claims": claims }))?;
    } else {
        output::line(token)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn lifetime(text: &str) -> anyhow::Result<Duration> {
    humantime::parse_duration(text)
        .map_err(|error| Usage::error(format!("--expires {text}: {error}; write 30m, 7d or never")))
}

fn parse_claim(text: &str) -> anyhow::Result<(String, Value)> {
    let wrong = |why: &str| Usage::error(format!("--claim {text}: {why}"));
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| wrong("write name=text or name:=JSON"))?;
    let (name, value) = match name.strip_suffix(':') {
        Some(name) => (
            name,
            serde_json::from_str(value).map_err(|error| wrong(&format!("no JSON: {error}")))?,
        ),
        None => (name, Value::from(value)),
    };
    if name.is_empty() {
        Err(wrong("the name is empty"))
    } else {
        Ok((name.to_owned(), value))
    }
}

fn secret(args: &Mint, config: &Config) -> anyhow::Result<Vec<u8>> {
    if let Some(secret) = &args.secret {
        return Ok(secret.clone().into_bytes());
    }
    let auth = &config.auth;
    if auth.public_key_file.is_some() || auth.jwks_url.is_some() {
        anyhow::bail!(
            "this configuration verifies with a public key: its tokens come from whoever has the private one; use --secret for another gateway"
        );
    }
    if let Some(secret) = shared_secret(auth)? {
        return Ok(secret);
    }
    let secret =
        variable("JWT_SECRET").context("there is no secret: set JWT_SECRET, [auth] secret or --secret")?;
    Ok(secret.into_bytes())
}

async fn inspect(args: &Inspect, mut config: Config) -> anyhow::Result<ExitCode> {
    let token = output::argument_or_input(&args.token)?;
    let token = token.trim();
    let opened = mint::inspect(token)
        .context("this is not a JWT: it needs three parts in base64url, joined by dots")?;
    let auth = &mut config.auth;
    if let Some(secret) = &args.secret {
        (auth.public_key_file, auth.jwks_url, auth.secret_file) = (None, None, None);
        auth.algorithms = Vec::new();
        auth.secret = Some(Secret::new(secret));
    } else if !auth.configured() {
        auth.secret = variable("JWT_SECRET").map(Secret::new);
    }
    let verdict = match auth.configured() {
        true => Some(Verifier::build(auth)?.verify(token).await.map(drop)),
        false => None,
    };
    let now = SystemTime::now();
    if args.json {
        let reason = match &verdict {
            Some(Err(error)) => Some(error.to_string()),
            Some(Ok(())) => None,
            None => Some("no key is configured, so nothing was verified".into()),
        };
        let valid = verdict.as_ref().map(Result::is_ok);
        let (algorithm, key, claims) = (&opened.algorithm, &opened.key, &opened.claims);
        output::json(
            &json!({ "algorithm": algorithm, "key": key, "claims": claims, "valid": valid, "reason": reason }),
        )?;
    } else {
        print(&opened, verdict.as_ref(), now)?;
    }
    Ok(if matches!(verdict, Some(Err(_))) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn print(
    opened: &mint::Inspected,
    verdict: Option<&Result<(), AuthError>>,
    now: SystemTime,
) -> anyhow::Result<()> {
    let key = opened
        .key
        .as_deref()
        .map(|key| format!(", key {key}"))
        .unwrap_or_default();
    output::line(format_args!("algorithm  {}{key}", opened.algorithm))?;
    for (name, value) in &opened.claims {
        let time = matches!(name.as_str(), "exp" | "iat" | "nbf")
            .then(|| value.as_u64())
            .flatten();
        let time = time
            .map(|seconds| format!("  ({})", when(seconds, now)))
            .unwrap_or_default();
        output::line(format_args!("{name:<10} {value}{time}"))?;
    }
    match verdict {
        Some(Ok(())) => output::line("valid      the configured key accepts it"),
        Some(Err(error)) => output::line(format_args!("refused    {error}")),
        None => output::line("unverified no key is configured: set JWT_SECRET or [auth]"),
    }
}

/// A time, absolute and from now.
fn when(seconds: u64, now: SystemTime) -> String {
    let Some(at) = UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .filter(|_| seconds < 253_402_300_800)
    else {
        return "after the year 9999".into(); // What the formatter can show ends there.
    };
    let whole = |time: Duration| humantime::format_duration(Duration::from_secs(time.as_secs())).to_string();
    let distance = match at.duration_since(now) {
        Ok(ahead) => format!("in {}", whole(ahead)),
        Err(past) => format!("{} ago", whole(past.duration())),
    };
    format!("{}, {distance}", humantime::format_rfc3339_seconds(at))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn claims_are_texts_or_json() {
        assert_eq!(
            parse_claim("role=seller").unwrap(),
            ("role".into(), json!("seller"))
        );
        assert_eq!(parse_claim("id:=123").unwrap(), ("id".into(), json!(123)));
        assert_eq!(parse_claim("q=a=b").unwrap(), ("q".into(), json!("a=b")));
        assert_eq!(
            parse_claim("rooms:=[\"a\"]").unwrap(),
            ("rooms".into(), json!(["a"]))
        );
        for wrong in ["role", "=x", ":=1", "id:=abc"] {
            assert!(parse_claim(wrong).unwrap_err().is::<Usage>(), "{wrong}");
        }
    }

    #[test]
    fn times_are_said_from_now() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        assert_eq!(when(1_003_600, now), "1970-01-12T14:46:40Z, in 1h");
        assert_eq!(when(999_940, now), "1970-01-12T13:45:40Z, 1m ago");
        assert_eq!(when(u64::MAX, now), "after the year 9999");
    }
}
