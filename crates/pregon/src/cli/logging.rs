//! Logs to standard error: human on a terminal, JSON lines elsewhere. The level comes from `--log`, then `RUST_LOG`; how many lines there may
//! be is decided by `lines.rs`.

use std::io::{self, IsTerminal};
use std::sync::Arc;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use super::Usage;
use crate::lines::Lines;

/// Others' crates say little that an operator needs.
const DEFAULT: &str = "warn,pregon=info,pregon_capture=info";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Human,
    Json,
}

/// Starts logging for this process; gives what limits its lines.
pub(super) fn start(choices: &[String]) -> anyhow::Result<Arc<Lines>> {
    let (format, filter) = read(choices)?;
    let filter = match filter {
        Some(filter) => filter,
        None => std::env::var("RUST_LOG")
            .ok()
            .filter(|text| !text.is_empty())
            .unwrap_or_else(|| DEFAULT.into()),
    };
    let filter = EnvFilter::try_new(&filter)
        .map_err(|error| Usage::error(format!("no log filter: {filter}: {error}")))?;
    let terminal = io::stderr().is_terminal();
    let written = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let written = match format.unwrap_or(if terminal { Format::Human } else { Format::Json }) {
        Format::Human => written
            .with_ansi(terminal && std::env::var_os("NO_COLOR").is_none())
            .with_target(false)
            .boxed(),
        Format::Json => written
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed(),
    };
    let lines = Lines::new();
    tracing_subscriber::registry()
        .with(filter)
        .with(written.with_filter(lines.filter()))
        .init();
    Ok(lines)
}

/// The format and the filter that were asked for; the last one of each counts.
fn read(choices: &[String]) -> anyhow::Result<(Option<Format>, Option<String>)> {
    let (mut format, mut filter) = (None, None);
    for choice in choices
        .iter()
        .flat_map(|choice| choice.split_inclusive(','))
        .map(|part| part.trim_end_matches(','))
    {
        match choice {
            "human" => format = Some(Format::Human),
            "json" => format = Some(Format::Json),
            "error" | "warn" | "info" | "debug" | "trace" | "off" => {
                add(
                    &mut filter,
                    &format!("{},pregon={choice},pregon_capture={choice}", quiet(choice)),
                );
            }
            directive if directive.contains('=') => add(&mut filter, directive),
            other => {
                return Err(Usage::error(format!(
                    "--log {other}: use human, json, a level (error, warn, info, debug, trace) or target=level"
                )));
            }
        }
    }
    Ok((format, filter))
}

/// What others' crates may say at a level of ours.
fn quiet(level: &str) -> &str {
    if matches!(level, "error" | "off") {
        level
    } else {
        "warn"
    }
}

fn add(filter: &mut Option<String>, directive: &str) {
    let filter = filter.get_or_insert_with(String::new);
    if !filter.is_empty() {
        filter.push(',');
    }
    filter.push_str(directive);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn formats_levels_and_filters_are_told_apart() {
        let read = |choices: &[&str]| read(&choices.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(read(&[]).unwrap(), (None, None));
        assert_eq!(read(&["json"]).unwrap(), (Some(Format::Json), None));
        let (format, filter) = read(&["human", "debug,hyper=info"]).unwrap();
        assert_eq!(format, Some(Format::Human));
        assert_eq!(
            filter.as_deref(),
            Some("warn,pregon=debug,pregon_capture=debug,hyper=info")
        );
        assert!(read(&["loud"]).unwrap_err().is::<Usage>());
    }
}
