//! Which changes of a file count as changes of a table.

use super::*;

fn prints(text: &str, environment: &Environment) -> BTreeMap<String, Fingerprint> {
    Config::parse("cdrd.toml", text, environment).unwrap().fingerprints
}

/// The tables that differ between two texts.
fn changed(before: &str, after: &str) -> Vec<String> {
    let environment = Environment::empty();
    let (before, after) = (prints(before, &environment), prints(after, &environment));
    let paths: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    paths.into_iter().filter(|path| before.get(*path) != after.get(*path)).cloned().collect()
}

#[test]
fn place_order_comments_and_spelling_mean_nothing() {
    let before = format!("{PBX}{SINK}[sink.b]\ntype = \"stdout\"\nformat = \"raw\"\n");
    let after = format!(
        "# moved\n[sink.b]\nformat = 'raw' # as ever\ntype = \"stdout\"\n{SINK}\n{PBX}topics = [\"cdr_events\"]\n"
    );
    // The default, written out, is the one thing that counts as a change: harmless.
    assert_eq!(changed(&before, &after), ["pbx.hq"]);
}

#[test]
fn each_table_changes_alone() {
    let base = format!("{PBX}{SINK}[journal]\nretention = \"1d\"\n");
    let with = |from: &str, to: &str| changed(&base, &base.replace(from, to));
    assert_eq!(with("hunter2", "hunter3"), ["pbx.hq"]);
    assert_eq!(with("\"1d\"", "\"2d\""), ["journal"]);
    assert_eq!(with("\"stdout\"", "\"stdout\"\nevents = [\"call_*\"]"), ["sink.out"]);
    assert_eq!(with("[sink.out]", "[sink.new]"), ["sink.new", "sink.out"]);
    assert_eq!(with("[journal]", "[admin]\nlisten = \"127.0.0.1:1\"\n[journal]"), ["admin"]);
    assert_eq!(with("[journal]", "[log]\nlevel = \"debug\"\n[journal]"), ["log"]);
}

#[test]
fn a_secret_that_is_another_one_now_changes_its_table_and_no_other() {
    let literal = "password = \"hunter2\"";
    let text = format!("{PBX}{}", PBX.replace("pbx.hq", "pbx.b"));
    let text = text.replacen(literal, "password = { file = \"/p\" }", 1);
    let text = text.replacen(literal, "password = { env = \"P\" }", 1) + SINK;
    let environment = |file: &str, variable: &str| {
        Environment::empty().with_file("/p", file).with_variable("P", variable)
    };
    let before = prints(&text, &environment("a", "b"));
    let differ = |after: &Environment| {
        let after = prints(&text, after);
        before.iter().filter(|(path, print)| after[*path] != **print).count()
    };
    assert_eq!(differ(&environment("a", "b")), 0);
    assert_eq!(differ(&environment("x", "b")), 1);
    assert_eq!(differ(&environment("a", "x")), 1);
    let shown = format!("{before:?}");
    assert!(!shown.contains("hunter2") && shown.len() > 100);
}
