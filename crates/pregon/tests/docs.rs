//! Pages that are made from the program are what the program says. `UPDATE_DOCS=1` writes them.

use std::collections::BTreeSet;
use std::path::Path;

use pregon::limits::{Bounds, Clock, Connections};
use pregon::metrics::{
    DecryptLabel, Metrics, Reason, ReasonLabel, RouteLabel, SourceLabel, Transport, TransportLabel,
    WatchLabel,
};
use pregon_testkit::{Database, SseClient, eventually, postgres};

use crate::support::{Running, SOON, node_on};

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

/// A code that the page lists and nobody names is a promise that nobody keeps.
#[test]
fn every_code_of_the_table_is_sent_somewhere() {
    fn read(folder: &Path, sources: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                read(&path, sources);
            } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("wire/src/codes.rs")
            {
                sources.push_str(&std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut sources = String::new();
    read(&crates.join("wire/src"), &mut sources);
    read(&crates.join("pregon/src"), &mut sources);
    let table = std::fs::read_to_string(crates.join("wire/src/codes.rs")).unwrap();
    let entries = table.lines().filter_map(|line| line.trim().split_once(" = "));
    let constants = entries.filter(|(name, rest)| {
        let number = rest.chars().next().is_some_and(|first| first.is_ascii_digit());
        number
            && name
                .chars()
                .all(|letter| letter.is_ascii_uppercase() || letter == '_')
    });
    let names: Vec<&str> = constants.map(|(name, _)| name).collect();
    assert_eq!(names.len(), pregon_wire::codes::ALL.len());
    let unsent = |name: &&&str| !sources.contains(&format!("codes::{name}"));
    assert_eq!(
        names.iter().filter(unsent).collect::<Vec<_>>(),
        Vec::<&&str>::new()
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

/// Names of metrics in a text: `pregon_` and what a name may have.
fn names(text: &str) -> BTreeSet<String> {
    let word = |rest: &str| {
        let end = rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric());
        format!(
            "pregon_{}",
            rest.get(..end.unwrap_or(rest.len())).unwrap_or_default()
        )
    };
    text.split("pregon_").skip(1).map(word).collect()
}

#[test]
fn the_page_of_operations_lists_every_metric_and_no_other() {
    let metrics = Metrics::new();
    // A family without a label's value is not shown.
    let source = SourceLabel { source: "s".into() };
    for family in [
        &metrics.events,
        &metrics.source_gaps,
        &metrics.malformed,
        &metrics.unreadable,
    ] {
        family.get_or_create(&source).inc();
    }
    metrics.source_up.get_or_create(&source).set(1);
    metrics.cluster_leader.get_or_create(&source).set(1);
    metrics
        .routes
        .get_or_create(&RouteLabel { route: "r".into() })
        .inc();
    let watch = WatchLabel { watch: "w".into() };
    metrics.watch_failing.get_or_create(&watch).set(1);
    let decrypt = DecryptLabel { decrypt: "d".into() };
    metrics.decrypt_failures.get_or_create(&decrypt).inc();
    let transport = TransportLabel {
        transport: Transport::Sse,
    };
    metrics.sessions.get_or_create(&transport).set(1);
    metrics.sessions_opened.get_or_create(&transport).inc();
    let reason = ReasonLabel { reason: Reason::Slow };
    metrics.drops.get_or_create(&reason).inc();

    let connections = Connections::new(Bounds::default(), Clock::default());
    connections.refused([10, 0, 0, 1].into(), Reason::Rate);
    metrics.tell_of(connections);

    let rendered = metrics.render();
    let shown: BTreeSet<_> = rendered
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(names)
        .map(|name| {
            let ends = ["_bucket", "_sum", "_count"];
            let plain = ends.iter().find_map(|end| name.strip_suffix(end));
            plain.map(str::to_owned).unwrap_or(name)
        })
        .collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations.md");
    let page = std::fs::read_to_string(path).unwrap();
    let table = page
        .split_once("## Metrics")
        .and_then(|(_, rest)| rest.split_once("\n## "));
    assert_eq!(
        names(table.unwrap().0),
        shown,
        "left docs/operations.md, right the program"
    );
}

#[test]
fn every_example_is_a_valid_configuration() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let key = |name: &str| (name == "MESSAGE_KEY").then(|| "0".repeat(64));
    for entry in std::fs::read_dir(examples).unwrap() {
        let folder = entry.unwrap().path();
        for file in ["pregon.toml", "cluster.toml"].map(|name| folder.join(name)) {
            if file.is_file() {
                pregon::check::load(&file, &key).unwrap_or_else(|problems| panic!("{problems}"));
            }
        }
    }
}

/// The README's own file, and what it says happens with it.
#[tokio::test]
async fn the_first_five_minutes_are_as_the_readme_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for name in ["README.md", "README.es.md"] {
        let page = std::fs::read_to_string(root.join(name)).unwrap();
        let (_, rest) = page.split_once("```toml\n").unwrap();
        let (config, rest) = rest.split_once("```").unwrap();
        let (_, rest) = rest.split_once("-c \"CREATE TABLE").unwrap();
        let (table, rest) = rest.split_once('"').unwrap();
        let (_, rest) = rest.split_once("-c \"INSERT").unwrap();
        let (insert, _) = rest.split_once('"').unwrap();

        let database = Database::create(postgres::shared().await).await.unwrap();
        database.execute(&format!("CREATE TABLE{table}")).await.unwrap();
        let mut node = node_on(&database, config).await;
        let listener = Running::start(&["listen", "--url", &node.ws_url(""), "orders"]);
        eventually(SOON, || async { listener.errors().contains("following") })
            .await
            .unwrap();
        node.kill9().await.unwrap();
        database.execute(&format!("INSERT{insert}")).await.unwrap();
        node.restart().await.unwrap();
        assert!(listener.wait_lines(1).await[0].contains("café"));
        let stream = node.url("/sse?channel=orders&last=1");
        let mut stream = SseClient::connect(&stream, &[]).await.unwrap();
        assert_eq!(
            stream.next_event(SOON).await.unwrap().event.as_deref(),
            Some("insert")
        );
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
