//! Checks `[[decrypt]]`, and that routes do nothing with an encrypted field but copy it: anything else would see the ciphertext.

use super::data::{claims_in, item, known_sources, repeated};
use crate::config::tree::Tree;
use crate::config::{Config, Decrypt, Route};
use crate::decrypt::Section;
use crate::route::expr::{Expr, Kind};
use crate::route::template::Template;

/// What a payload says when a field could not be decrypted.
const ERROR: &str = "decrypt_error";

/// Checks names, fields, layouts and keys, then the routes of the sources.
pub(super) fn sections(config: &Config, tree: &mut Tree) {
    for (index, section) in config.decrypt.iter().enumerate() {
        let at = format!("decrypt[{index}]");
        let earlier = config.decrypt.get(..index).unwrap_or_default();
        name(section, earlier, &at, tree);
        known_sources(config, &section.from, &format!("{at}.from"), tree);
        fields(section, earlier, &at, tree);
        aad(section, &at, tree);
        for fault in Section::build(section).err().into_iter().flatten() {
            let key = format!("{at}.{}", fault.option);
            tree.report(&key, None, fault.message, fault.remedy);
        }
    }
    for (index, route) in config.route.iter().enumerate() {
        for (source, field) in encrypted(config, route) {
            uses(route, source, field, &format!("route[{index}]"), tree);
        }
    }
}

fn name(section: &Decrypt, earlier: &[Decrypt], at: &str, tree: &mut Tree) {
    if !section.name.is_empty() && earlier.iter().any(|other| other.name == section.name) {
        tree.report(
            &format!("{at}.name"),
            Some(section.name.clone()),
            format!("another decrypt section is called `{}`", section.name),
            "give it a `name` of its own",
        );
    }
}

fn fields(section: &Decrypt, earlier: &[Decrypt], at: &str, tree: &mut Tree) {
    let key = format!("{at}.fields");
    if section.fields.is_empty() && tree.has(&key) {
        tree.report(&key, None, "names no field", "name the encrypted columns");
    }
    repeated(&section.fields, &key, tree);
    for (index, field) in section.fields.iter().enumerate() {
        let taken = earlier.iter().find(|other| {
            other.fields.contains(field) && other.from.iter().any(|source| section.from.contains(source))
        });
        if let Some(other) = taken {
            let message = format!("the section `{}` decrypts this field already", other.name);
            tree.report(
                &format!("{key}[{index}]"),
                Some(field.clone()),
                message,
                "remove one",
            );
        } else if field == ERROR {
            let message = "is what a payload says when a field could not be decrypted";
            tree.report(
                &format!("{key}[{index}]"),
                Some(field.clone()),
                message,
                "rename the column",
            );
        }
    }
}

fn aad(section: &Decrypt, at: &str, tree: &mut Tree) {
    let Some(text) = &section.aad else { return };
    let key = format!("{at}.aad");
    match Template::parse(text) {
        Err(error) => tree.report(&key, Some(text.clone()), error.to_string(), ""),
        Ok(template) => {
            claims_in(&template, &key, "use a column", tree);
            if let Some(name) = template
                .names()
                .find(|name| section.fields.iter().any(|field| names(name, field)))
            {
                let message = format!("`{{{name}}}` is encrypted itself");
                tree.report(&key, Some(text.clone()), message, "use a column that is not");
            }
        }
    }
}

/// The encrypted fields of a route's sources.
fn encrypted<'c>(config: &'c Config, route: &'c Route) -> Vec<(&'c str, &'c str)> {
    let sections = config.decrypt.iter().flat_map(|section| {
        let shared = section.from.iter().filter(|source| route.from.contains(source));
        shared.flat_map(|source| {
            section
                .fields
                .iter()
                .map(move |field| (source.as_str(), field.as_str()))
        })
    });
    let mut all: Vec<_> = sections.collect();
    all.sort_by_key(|(_, field)| *field);
    all.dedup_by_key(|(_, field)| *field); // Two sources of a route are one report.
    all
}

fn uses(route: &Route, source: &str, field: &str, at: &str, tree: &mut Tree) {
    let message = format!("`{field}` of `{source}` is encrypted here");
    let remedy = "copy it as it is, for example `text = \"row.COLUMN\"`: it is decrypted after the route"
        .replace("COLUMN", field);
    for (key, text) in route.payload.iter().flatten() {
        let looks =
            Expr::compile(text, Kind::Event).is_ok_and(|expr| expr.looks_at(field) && !expr.copies(field));
        if looks {
            tree.report(
                &format!("{at}.payload.{key}"),
                Some(text.clone()),
                message.clone(),
                remedy.clone(),
            );
        }
    }
    let channels = route
        .to
        .iter()
        .enumerate()
        .map(|(index, text)| (item(tree, &format!("{at}.to"), index), text));
    let mut templates: Vec<_> = channels.collect();
    templates.extend(route.event.iter().map(|text| (format!("{at}.event"), text)));
    for (key, text) in templates {
        let named =
            Template::parse(text).is_ok_and(|template| template.names().any(|name| names(name, field)));
        if named {
            let remedy = "name channels and events by a column that is not encrypted";
            tree.report(&key, Some(text.clone()), message.clone(), remedy);
        }
    }
}

/// Whether a template's name is a field or something in it.
fn names(name: &str, field: &str) -> bool {
    let own = ["row.", "old.", "message."]
        .into_iter()
        .find_map(|root| name.strip_prefix(root));
    [Some(name), own].into_iter().flatten().any(|name| {
        name.strip_prefix(field)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}
