//! A configuration that cannot be used ends every command with 78, and with every
//! mistake told at once. More of the messages are tested where they are made.

use insta::assert_snapshot;

use super::{output, write_config};
use crate::process::{Process, cdrd};

/// A PBX and a sink without a fault, in five lines.
const GOOD: &str = r#"[pbx.hq]
url = "wss://pbx.example.com:8887/wsi"
login = { username = "cdr", domain = "example.com", password = "hunter2" }
[sink.out]
type = "stdout"
"#;

/// What every command that reads a configuration says about this one.
async fn told(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = write_config(folder.path(), text);
    let mut told = Vec::new();
    for command in ["check", "run", "tail"] {
        let outcome = output(&[command, "-c", &path]).await.ended_with(78);
        assert_eq!(outcome.stdout, "");
        assert!(!outcome.stderr.contains("hunter2"), "{}", outcome.stderr);
        told.push(outcome.stderr.replace(&path, "[FILE]"));
    }
    told.dedup();
    assert_eq!(told.len(), 1, "they differ: {told:?}");
    // Not in every build.
    told.remove(0).replace("\"kafka\", ", "")
}

#[tokio::test]
async fn an_unknown_key() {
    assert_snapshot!(told(&format!("{GOOD}\n[journal]\npaht = \"x.db\"\n")).await, @r#"cdrd: [FILE]:8: journal: unknown key "paht"; did you mean "path"?"#);
}

#[tokio::test]
async fn a_wrong_type() {
    assert_snapshot!(told(&format!("{GOOD}events = 5\n")).await, @r#"cdrd: [FILE]:6: sink.out: "events" must be a list of strings like ["a", "b"], found the integer 5"#);
}

#[tokio::test]
async fn a_sink_without_a_type() {
    assert_snapshot!(told(&format!("{GOOD}[sink.archive]\npath = \"cdr.jsonl\"\n")).await, @r#"cdrd: [FILE]:6: sink.archive: no "type"; one of "exec", "file", "http", "nats", "postgres", "socket", "stdout""#);
}

#[tokio::test]
async fn two_mistakes_at_once() {
    let text = GOOD.replace("wss:", "https:").replace("\"stdout\"", "\"stdoud\"");
    assert_snapshot!(told(&text).await, @r#"
    cdrd: [FILE]:2: pbx.hq: "url" must start with wss:// or ws://
    [FILE]:5: sink.out: "type" must be one of "exec", "file", "http", "nats", "postgres", "socket", "stdout", found the string "stdoud"; did you mean "stdout"?
    2 problems in [FILE]
    "#);
}

#[tokio::test]
async fn a_file_that_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    for command in ["check", "run", "tail"] {
        let outcome = output(&[command, "-c", path.to_str().unwrap()]).await.ended_with(78);
        let told = outcome.stderr.replace(path.to_str().unwrap(), "[FILE]");
        assert_eq!(
            told,
            "cdrd: [FILE]: cannot be read: No such file or directory (os error 2); create it, or \
             name another with -c FILE\n"
        );
    }
}

#[tokio::test]
async fn standard_input_is_as_good_as_a_file() {
    let check = || cdrd(["check", "-c", "-"]);
    let outcome = Process::run(&mut check(), GOOD).await.ended_with(0);
    assert_eq!(outcome.stdout, "ok      configuration: 1 PBX(s), 1 sink(s)\n");
    assert_eq!(outcome.stderr, "");
    let outcome = Process::run(&mut check(), "[pbx.hq\n").await.ended_with(78);
    assert!(outcome.stderr.starts_with("cdrd: stdin:1: column "), "{}", outcome.stderr);
}
