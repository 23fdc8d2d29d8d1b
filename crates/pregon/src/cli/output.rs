//! Results to standard output, errors to standard error; a closed pipe is an error that `main` forgives.

use std::fmt::Display;
use std::io::{self, Read, Write};

use anyhow::Context as _;
use serde::Serialize;
use serde_json::{Value, json};

use crate::config::Problems;

/// Writes a line and hands it over at once: whoever reads a pipe waits for it.
pub(super) fn line(text: impl Display) -> anyhow::Result<()> {
    bytes(format!("{text}\n").as_bytes())
}

/// Writes bytes as they are.
pub(super) fn bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .context("cannot write the result")
}

/// Writes one JSON value for people and programs alike.
pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(serde_json::to_string_pretty(value)?)
}

/// Writes a line to standard error; that it cannot be written is nobody's problem.
pub(super) fn complain(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// An error and its causes on one line; what a message already has is not said twice.
pub(super) fn chain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// An error for programs: `{"error"}`, with `problems` where the configuration has them.
pub(super) fn failure(error: &anyhow::Error) -> Value {
    match error.downcast_ref::<Problems>() {
        Some(problems) => json!({ "error": "the configuration is wrong", "problems": problems }),
        None => json!({ "error": chain(error) }),
    }
}

/// So many bytes, for people.
pub(super) fn size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        match unit {
            "B" if value < 1024.0 => return format!("{value:.0} B"),
            _ if value < 1024.0 => return format!("{value:.1} {unit}"),
            _ => value /= 1024.0,
        }
    }
    format!("{value:.1} TiB")
}

/// The argument itself, or all of standard input for `-`.
pub(super) fn argument_or_input(argument: &str) -> anyhow::Result<String> {
    if argument != "-" {
        return Ok(argument.to_owned());
    }
    let mut text = String::new();
    io::stdin()
        .read_to_string(&mut text)
        .context("cannot read standard input")?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_for_people() {
        let shown = [0, 1023, 1536, 5 << 20, 1 << 50].map(size);
        assert_eq!(shown, ["0 B", "1023 B", "1.5 KiB", "5.0 MiB", "1024.0 TiB"]);
    }

    #[test]
    fn a_chain_says_everything_once() {
        let error = anyhow::anyhow!("no route")
            .context("cannot connect: no route")
            .context("publishing");
        assert_eq!(chain(&error), "publishing: cannot connect: no route");
    }
}
