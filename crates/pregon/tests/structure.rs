//! The direction of imports: a module of the library imports only modules that `lib.rs` declares below it. And what a protocol of clients
//! touches: its own files, and the one place that asks every protocol the same questions.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A mention of `crate::module` in a file.
struct Import {
    file: PathBuf,
    line: usize,
    /// The module of the file, and the one that it names.
    from: String,
    to: String,
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The modules of `lib.rs` with their places.
fn declared() -> HashMap<String, usize> {
    let text = fs::read_to_string(source().join("lib.rs")).unwrap();
    let names = text.lines().filter_map(|line| {
        let declaration = line.strip_prefix("pub ").unwrap_or(line);
        declaration.strip_prefix("mod ")?.strip_suffix(';')
    });
    names
        .enumerate()
        .map(|(place, name)| (name.to_owned(), place))
        .collect()
}

fn files(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, all);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            all.push(path);
        }
    }
}

/// The names that stand behind `crate::` in a line: one, or those of a list in braces.
fn named(line: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    line.split("crate::")
        .skip(1)
        .flat_map(|rest| match rest.strip_prefix('{') {
            Some(list) => list
                .split('}')
                .next()
                .unwrap_or_default()
                .split(',')
                .map(|item| word(item.trim()))
                .collect(),
            None => vec![word(rest)],
        })
        .collect()
}

/// All imports of the product's own code. Tests at the end of a file may look up.
fn imports() -> Vec<Import> {
    let root = source();
    let mut all = Vec::new();
    files(&root, &mut all);
    let mut found = Vec::new();
    for file in all {
        let short = file.strip_prefix(&root).unwrap().to_owned();
        let first = short.components().next().unwrap().as_os_str().to_string_lossy();
        let from = first.trim_end_matches(".rs").to_owned();
        let is_test = short.components().any(|part| {
            let part = part.as_os_str();
            part == "tests.rs" || part == "tests"
        });
        if is_test || from == "lib" || from == "main" {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let product = text.split("#[cfg(test)]\nmod ").next().unwrap();
        for (index, line) in product.lines().enumerate() {
            if line.trim_start().starts_with("//") {
                continue;
            }
            found.extend(named(line).into_iter().map(|to| Import {
                file: short.clone(),
                line: index + 1,
                from: from.clone(),
                to,
            }));
        }
    }
    found
}

#[test]
fn no_module_imports_one_that_stands_above_it() {
    let places = declared();
    let imports = imports();
    assert!(imports.len() > 500, "only {} imports were found", imports.len());
    let up: Vec<String> = imports
        .iter()
        .filter(
            |import| match (places.get(&import.from), places.get(&import.to)) {
                (Some(from), Some(to)) => to < from,
                _ => false,
            },
        )
        .map(|import| {
            format!(
                "{}:{}: {} imports {}",
                import.file.display(),
                import.line,
                import.from,
                import.to
            )
        })
        .collect();
    assert!(
        up.is_empty(),
        "move what is used down, or its user up:\n{}",
        up.join("\n")
    );
}

#[test]
fn the_log_knows_no_words_of_clients_but_the_reasons_of_gaps() {
    let mut all = Vec::new();
    files(&source().join("log"), &mut all);
    for file in all {
        let text = fs::read_to_string(&file).unwrap();
        for line in text.lines().filter(|line| line.contains("pregon_wire::")) {
            assert!(line.contains("words::GapReason"), "{}: {line}", file.display());
        }
    }
}

/// A protocol is chosen by admission and answers for itself in its folder. Whoever asks elsewhere which one it is would have to be found
/// and extended for the next one.
#[test]
fn nobody_outside_of_the_codecs_asks_which_protocol_a_client_speaks() {
    let root = source();
    let mut all = Vec::new();
    files(&root, &mut all);
    let mut found = Vec::new();
    for file in all {
        let short = file.strip_prefix(&root).unwrap().to_owned();
        if short.starts_with("hub/codec") || short.starts_with("transport") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let product = text.split("#[cfg(test)]").next().unwrap_or_default();
        let lines = product.lines().enumerate();
        let asks = lines.filter(|(_, line)| line.contains("Codec::") && !line.trim_start().starts_with("//"));
        found.extend(asks.map(|(number, line)| format!("{}:{}: {line}", short.display(), number + 1)));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// No question to a protocol has an answer "for all others": the compiler names every place that a new one has to think of.
#[test]
fn no_question_to_a_protocol_has_an_answer_for_the_rest() {
    for file in ["mod.rs", "variant.rs"] {
        let text = fs::read_to_string(source().join("hub/codec").join(file)).unwrap();
        let rest = text.lines().filter(|line| line.trim_start().starts_with("_ =>"));
        assert_eq!(rest.collect::<Vec<_>>(), [""; 0], "hub/codec/{file}");
    }
}
