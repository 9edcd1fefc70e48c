//! Whether docs/operations.md explains every warning, error and alert there is.

use std::fs;
use std::path::Path;

/// What is shorter says nothing without what is put in, as "webhook: {what}".
const A_MESSAGE: usize = 12;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The first cell of each row of the tables, without its backticks; several in one cell
/// are several.
fn explained(page: &str) -> Vec<String> {
    let cells = page.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    cells.flat_map(|cell| cell.trim_end_matches('`').split("`, `").map(str::to_owned)).collect()
}

/// Whether an explanation, in which "…" stands for anything, is of this message.
fn is_of(explanation: &str, message: &str) -> bool {
    let mut rest = message;
    explanation.split('…').map(str::trim).filter(|piece| !piece.is_empty()).all(|piece| {
        rest.split_once(piece).is_some_and(|(_, behind)| {
            rest = behind;
            true
        })
    })
}

/// The longest string literal of each call that begins so.
fn messages(source: &str, call: &str) -> Vec<String> {
    let calls = source.match_indices(call).map(|(at, _)| &source[at..]);
    let message = |text: &str| {
        let end = text.find(");").unwrap_or(text.len());
        let text = text[..end].replace("\\\"", "\u{1}");
        let literals = text.split('"').skip(1).step_by(2);
        literals.max_by_key(|literal| literal.len()).unwrap_or_default().replace('\u{1}', "\"")
    };
    let says_something =
        |message: &String| message.split('{').next().is_some_and(|words| words.len() >= A_MESSAGE);
    calls.map(message).filter(says_something).collect()
}

fn sources(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(fs::read_to_string(&path).unwrap());
        }
    }
    found
}

#[test]
fn every_warning_and_error_of_the_log_is_explained() {
    let explained = explained(&read("docs/operations.md"));
    let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let messages: Vec<String> = sources
        .iter()
        .flat_map(|source| ["warn!(", "error!("].map(|call| messages(source, call)))
        .flatten()
        .collect();
    assert!(messages.len() > 30, "only {} found: does the search still work?", messages.len());
    let missing: Vec<&String> = messages
        .iter()
        .filter(|message| !explained.iter().any(|explanation| is_of(explanation, message)))
        .collect();
    assert!(missing.is_empty(), "docs/operations.md, Log lines, lacks: {missing:#?}");
}

#[test]
fn every_alert_is_explained_and_none_that_is_not_there() {
    let (rules, page) = (read("docs/alerts.yml"), read("docs/operations.md"));
    let mut alerts: Vec<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let explained = explained(&page);
    let mut rows: Vec<&str> =
        explained.iter().map(String::as_str).filter(|row| row.starts_with("Cdrd")).collect();
    alerts.sort_unstable();
    rows.sort_unstable();
    assert!(alerts.len() > 10);
    assert_eq!(alerts, rows);
}
