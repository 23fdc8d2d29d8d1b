//! Pages that are made from the program are what the program says. `UPDATE_DOCS=1` writes them.

use std::path::Path;

#[test]
fn the_page_of_codes_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/codes.md");
    let page = pregon_wire::codes::markdown();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/codes.md is out of date: UPDATE_DOCS=1 cargo test -p pregon --test main docs"
    );
}

#[test]
fn the_codes_of_the_asyncapi_document_are_the_table() {
    const BEGIN: &str = "    # From here on: made from crates/wire/src/codes.rs.";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/asyncapi.yaml");
    let written = std::fs::read_to_string(&path).unwrap();
    let (own, generated) = written.split_once(BEGIN).unwrap();
    let (words, _) = generated.split_once('\n').unwrap();
    let wanted = format!("{own}{BEGIN}{words}\n{}", pregon_wire::codes::asyncapi());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
        return;
    }
    assert!(
        written == wanted,
        "docs/asyncapi.yaml is out of date: UPDATE_DOCS=1 cargo test --release --workspace --test main docs"
    );
}

#[test]
fn every_example_is_a_valid_configuration() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let key = |name: &str| (name == "MESSAGE_KEY").then(|| "0".repeat(64));
    for entry in std::fs::read_dir(examples).unwrap() {
        let file = entry.unwrap().path().join("pregon.toml");
        if file.is_file() {
            pregon::config::Config::load(&file, &key).unwrap_or_else(|problems| panic!("{problems}"));
        }
    }
}

#[test]
fn links_between_pages_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut pages: Vec<_> = ["README.md", "README.es.md", "ARCHITECTURE.md", "CONTRIBUTING.md"]
        .iter()
        .map(|name| root.join(name))
        .collect();
    for folder in ["docs", "examples/live-sales", "examples/turnstile"] {
        let entries = std::fs::read_dir(root.join(folder)).unwrap();
        let files = entries.map(|entry| entry.unwrap().path());
        pages.extend(files.filter(|path| path.extension().is_some_and(|kind| kind == "md")));
    }
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap();
            let there =
                target.is_empty() || target.contains("://") || page.parent().unwrap().join(target).exists();
            assert!(there, "{} links to {link}", page.display());
        }
    }
}
