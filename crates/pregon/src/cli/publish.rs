//! `pregon publish`: one event, over HTTP to a gateway or through the database.

use std::process::ExitCode;

use anyhow::Context as _;
use pregon_capture::connect::Settings;
use pregon_capture::query::{Pool, PoolOptions};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::settings::{File, variable};
use super::{Usage, block_on, output};

/// Publish one event to a channel
///
/// Over HTTP it returns when the gateway's log has the event, and prints its position. With --dsn it calls pregon.publish in the
/// database, and returns when that is committed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  PREGON_API_KEY=… pregon publish news message:new '{\"text\":\"hola\"}'
  jq -n '{n:1}' | pregon publish --url https://gateway.example.com news tick -
  pregon publish --dsn postgres://app@db/shop news message:new '{\"text\":\"hola\"}'")]
pub(super) struct Args {
    /// The channel
    channel: String,

    /// The event's name
    event: String,

    /// The data as JSON, or `-` for standard input
    data: String,

    /// The gateway; by default the address in the configuration
    #[arg(long, value_name = "URL", conflicts_with = "dsn")]
    url: Option<String>,

    /// Publish through this database instead
    #[arg(long, value_name = "URL")]
    dsn: Option<String>,

    /// The API key; better in PREGON_API_KEY, because arguments are visible to others
    #[arg(long, value_name = "KEY", conflicts_with = "dsn")]
    api_key: Option<String>,

    /// Publish once, however often the same key is sent
    #[arg(long, value_name = "KEY", conflicts_with = "dsn")]
    idempotency_key: Option<String>,

    /// Print one JSON object: {"positions"}
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn run(args: &Args, file: &File) -> anyhow::Result<ExitCode> {
    let text = output::argument_or_input(&args.data)?;
    let wrong = |error| {
        Usage::error(format!(
            "the data is not JSON: {error}; a text needs quotes: '\"text\"'"
        ))
    };
    let data: Box<RawValue> = serde_json::from_str(text.trim()).map_err(wrong)?;
    match &args.dsn {
        Some(dsn) => block_on(by_database(args, dsn, &data)),
        None => block_on(by_http(args, file, &data)),
    }
}

async fn by_database(args: &Args, dsn: &str, data: &RawValue) -> anyhow::Result<ExitCode> {
    let settings = Settings::parse(dsn)?.with_name("publish");
    let pool = Pool::new(PoolOptions {
        size: 1,
        ..PoolOptions::new(settings)
    });
    let data: Value = serde_json::from_str(data.get())?;
    pregon_capture::publish::publish(&pool, &args.channel, &args.event, &data)
        .await
        .context(
            "cannot publish (`pregon db apply` installs pregon.publish, role pregon_publisher may call it)",
        )?;
    if args.json {
        output::json(&json!({ "positions": [] }))?; // The gateways give positions when it reaches them.
    } else {
        output::line("published through the database")?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn by_http(args: &Args, file: &File, data: &RawValue) -> anyhow::Result<ExitCode> {
    let (url, key) = target(args, file)?;
    let endpoint = format!("{}/api/publish", url.trim_end_matches('/'));
    #[derive(serde::Serialize)]
    struct Body<'b> {
        channel: &'b str,
        event: &'b str,
        data: &'b RawValue,
    }
    let body = serde_json::to_vec(&Body {
        channel: &args.channel,
        event: &args.event,
        data,
    })?;
    let client = reqwest::Client::builder()
        .timeout(std::time::Duration::from_secs(30))
        .build()?;
    let mut request = client
        .post(&endpoint)
        .bearer_auth(key)
        .header("content-type", "application/json")
        .body(body);
    if let Some(key) = &args.idempotency_key {
        request = request.header("idempotency-key", key);
    }
    let answer = request
        .send()
        .await
        .with_context(|| format!("cannot reach the gateway at {url}; is it running?"))?;
    let status = answer.status();
    let text = answer.text().await?;
    let answer: Value = serde_json::from_str(&text).unwrap_or_default();
    if !status.is_success() {
        let why = answer
            .get("message")
            .or(answer.get("error"))
            .and_then(Value::as_str)
            .unwrap_or(&text)
            .trim()
            .to_owned();
        anyhow::bail!("the gateway refused: {status}: {why}");
    }
    if args.json {
        output::json(&answer)?;
    } else {
        let positions = answer
            .get("positions")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        for position in positions.filter_map(Value::as_str) {
            output::line(format_args!("published at {position}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Where to, and with which key: arguments first, then the configuration (which has the environment over it).
fn target(args: &Args, file: &File) -> anyhow::Result<(String, String)> {
    let given = args.api_key.clone().or_else(|| variable("PREGON_API_KEY"));
    if let (Some(url), Some(key)) = (&args.url, &given) {
        return Ok((url.clone(), key.clone()));
    }
    let config = file.load_if_there()?;
    let key = given.or_else(|| config.server.api_key.as_ref().map(|key| key.reveal().to_owned()));
    let key =
        key.context("there is no API key: set PREGON_API_KEY, or [server] api_key in the configuration")?;
    Ok((
        args.url
            .clone()
            .unwrap_or_else(|| format!("http://{}", reachable(&config.server.listen))),
        key,
    ))
}

/// An address to connect to for one to listen on.
pub(super) fn reachable(listen: &str) -> String {
    match listen.rsplit_once(':') {
        Some(("0.0.0.0" | "", port)) => format!("127.0.0.1:{port}"),
        Some(("[::]", port)) => format!("[::1]:{port}"),
        _ => listen.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_for_everyone_is_reached_on_this_machine() {
        assert_eq!(reachable("0.0.0.0:8080"), "127.0.0.1:8080");
        assert_eq!(reachable("[::]:80"), "[::1]:80");
        assert_eq!(reachable("10.0.0.1:80"), "10.0.0.1:80");
    }
}
