//! Fetches an image, a document or the like that a message names, within limits of size and kind.
//!
//! The Graph API gives an address that works for some minutes, with size, kind and hash; the bytes come from there. What it says is not
//! believed: bytes are counted as they come and hashed at the end.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use aws_lc_rs::digest::{Context, SHA256};
use serde::Deserialize;

use crate::config::{self, Secret};

/// A large video on a slow line.
const TIMEOUT: Duration = Duration::from_secs(120);

/// What the Graph API says of it.
#[derive(Debug, Deserialize)]
struct Found {
    url: String,
    mime_type: String,
    sha256: Option<String>,
    file_size: Option<u64>,
}

/// The bytes, and their kind.
#[derive(Debug)]
pub struct Media {
    pub kind: String,
    pub bytes: Vec<u8>,
}

/// Fetches what has this id.
pub async fn fetch(section: &config::Router, id: &str) -> anyhow::Result<Media> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "_-".contains(letter);
    ensure!(
        !id.is_empty() && id.chars().all(plain),
        "{id} is not the id of a medium: `raw` of the message names it"
    );
    let token = section.token.as_ref().map(Secret::reveal);
    let token = token.context("[router] token is missing: set it or WHATSAPP_TOKEN")?;
    // No redirects: they could lead the token anywhere.
    let http = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    let url = format!("{}/{id}", section.graph_url.trim_end_matches('/'));
    let found = http.get(url).bearer_auth(token).send().await;
    let found = found
        .map_err(reqwest::Error::without_url)
        .context("no answer of the Graph API")?;
    let status = found.status();
    ensure!(
        status.is_success(),
        "the Graph API says {} of {id}",
        status.as_u16()
    );
    let found: Found = found
        .json()
        .await
        .context("the Graph API says nothing of where it is")?;
    check(section, &found)?;
    let bytes = read(&http, token, &found.url, section.media_limit.0).await?;
    if let Some(wanted) = &found.sha256 {
        let mut hash = Context::new(&SHA256);
        hash.update(&bytes);
        ensure!(
            hex::encode(hash.finish()).eq_ignore_ascii_case(wanted),
            "the bytes are not those that the Graph API names: try again"
        );
    }
    Ok(Media {
        kind: found.mime_type,
        bytes,
    })
}

fn check(section: &config::Router, found: &Found) -> anyhow::Result<()> {
    let kind = found.mime_type.split(';').next().unwrap_or_default().trim();
    let fits = |wanted: &String| match wanted.strip_suffix('*') {
        Some(start) => kind.starts_with(start),
        None => kind == wanted,
    };
    ensure!(
        section.media_types.iter().any(fits),
        "it is of the kind {kind}, which [router] media_types does not have"
    );
    let limit = section.media_limit;
    ensure!(
        found.file_size.unwrap_or(0) <= limit.0,
        "it has more than {limit}, the limit of [router] media_limit"
    );
    // The token goes there too.
    let safe = found.url.starts_with("https://") || section.graph_url.starts_with("http://");
    ensure!(safe, "the Graph API names an address without TLS");
    Ok(())
}

async fn read(http: &reqwest::Client, token: &str, url: &str, limit: u64) -> anyhow::Result<Vec<u8>> {
    let answer = http.get(url).bearer_auth(token).send().await;
    let mut answer = answer
        .map_err(reqwest::Error::without_url)
        .context("the medium does not come")?;
    let status = answer.status();
    ensure!(
        status.is_success(),
        "the medium's address says {}",
        status.as_u16()
    );
    let mut bytes = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
        if (bytes.len() + piece.len()) as u64 > limit {
            bail!("it has more than the limit of [router] media_limit, whatever the Graph API says");
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}
