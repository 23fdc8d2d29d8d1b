//! What was made, and what to run next.

use pregon_capture::install::Plan;
use serde_json::{Value, json};

use super::super::output;
use super::super::publish::reachable;
use super::super::settings::File;
use super::ask::about;
use super::choice::{Auth, Choice, spelling};
use crate::config::Config;

/// A command to run, and what it is for.
struct Next {
    command: String,
    what: String,
}

pub(super) fn tell(
    choice: &Choice,
    config: &Config,
    plan: &Plan,
    file: &File,
    json: bool,
) -> anyhow::Result<()> {
    let next = next(choice, config, plan, file);
    if json {
        return output::json(&as_json(choice, plan, file, &next));
    }
    tables(choice)?;
    for note in notes(choice, plan) {
        output::line(format_args!("note: {note}"))?;
    }
    output::line(format_args!("\nwrote {}\n\nNext:", file.path().display()))?;
    // The longest stand out of the column.
    let widths = next.iter().map(|next| next.command.chars().count());
    let width = widths.filter(|width| *width <= 50).max().unwrap_or_default();
    for Next { command, what } in &next {
        output::line(format_args!("  {command:<width$}  {what}").to_string().trim_end())?;
    }
    Ok(())
}

/// All tables, the watched ones marked: what was left out should be seen too.
fn tables(choice: &Choice) -> anyhow::Result<()> {
    let survey = &choice.survey;
    output::line(format_args!(
        "{} has {} tables:",
        survey.database,
        survey.tables.len()
    ))?;
    let widest = survey
        .tables
        .iter()
        .map(|table| spelling(table).chars().count())
        .max();
    let width = widest.unwrap_or_default().min(40);
    for table in &survey.tables {
        let mark = if choice.watched.iter().any(|one| one.table == *table) {
            "watched"
        } else {
            ""
        };
        output::line(format_args!(
            "  {mark:<8} {:<width$}  {}",
            spelling(table),
            about(table)
        ))?;
    }
    Ok(())
}

fn notes(choice: &Choice, plan: &Plan) -> Vec<String> {
    let mut notes = plan.warnings.clone();
    if choice.holds_secret() {
        notes.push(
            "the file holds a secret or the database's address: keep it out of version control".to_owned(),
        );
    }
    notes
}

fn next(choice: &Choice, config: &Config, plan: &Plan, file: &File) -> Vec<Next> {
    let file = file.option();
    let step = |command: String, what: &str| Next {
        command,
        what: what.to_owned(),
    };
    let mut steps = Vec::new();
    if plan.is_empty() {
        steps.push(step(
            format!("pregon db status{file}"),
            "what is installed already",
        ));
    } else {
        let what = format!("the SQL that it needs: {}", plan.summary());
        steps.push(step(format!("pregon db plan{file}"), &what));
    }
    if !plan.is_empty() && !choice.may_install() {
        let command = format!("PREGON_ADMIN_URL=postgres://… pregon db apply{file}");
        let what = format!("{} may not install it: with a role that may", choice.survey.role);
        steps.push(step(command, &what));
    }
    steps.push(step(
        format!("pregon serve{file}"),
        &format!("the gateway, on {}", config.server.listen),
    ));
    // Where the most is written, by what is there.
    let largest = choice.watched.iter().max_by_key(|one| one.table.bytes);
    let channel = largest.map_or("", |one| one.name.as_str());
    let encoded: String = form_urlencoded::byte_serialize(channel.as_bytes()).collect();
    let token = match choice.auth {
        Auth::Everyone => String::new(),
        Auth::Environment | Auth::Secret(_) => format!("&token=$(pregon token mint --sub 1{file})"),
    };
    let address = reachable(&config.server.listen);
    let command = format!("curl -N \"http://{address}/sse?channel={encoded}{token}\"");
    let what = format!("in another terminal: then change a row of {channel}");
    steps.push(step(command, &what));
    steps.push(step("pregon top".to_owned() + &file, "what the gateway does"));
    steps
}

fn as_json(choice: &Choice, plan: &Plan, file: &File, next: &[Next]) -> Value {
    let tables: Vec<Value> = choice
        .survey
        .tables
        .iter()
        .map(|table| {
            let watched = choice.watched.iter().find(|one| one.table == *table);
            json!({
                "table": spelling(table), "rows": table.rows, "bytes": table.bytes, "primary_key": table.primary_key,
                "watched": watched.is_some(), "channel": watched.map(|one| &one.name),
            })
        })
        .collect();
    json!({
        "file": file.path(), "database": choice.survey.database, "capture": choice.capture.as_str(), "tables": tables,
        "notes": notes(choice, plan), "next": next.iter().map(|next| &next.command).collect::<Vec<_>>(),
    })
}
