//! Command lines that are wrong, or go somewhere else.

use std::process::Command;

use super::{output, write_config};
use crate::process::{Process, cdrd};

#[tokio::test]
async fn a_wrong_command_line_ends_with_64_and_says_what_is_wrong() {
    for (arguments, words) in [
        (&["frobnicate"][..], "unrecognized subcommand 'frobnicate'"),
        (&[], "Usage: cdrd"),
        (&["run", "--frobnicate"], "unexpected argument '--frobnicate'"),
        (&["run", "--drain", "soon"], "write numbers with units"),
        (&["tail", "--since", "yesterday"], "write numbers with units"),
        (&["demo", "--rate", "fast"], "write for example 1/s"),
        (&["demo", "--calls", "-3"], "unexpected argument '-3'"),
        (&["run", "--log-format", "xml"], "possible values: auto, text, json, journald"),
        (&["completions", "tcsh"], "possible values: bash"),
        (&["completions"], "<SHELL>"),
    ] {
        let outcome = output(arguments).await.ended_with(64);
        assert!(outcome.stderr.contains(words), "{}", outcome.stderr);
        assert_eq!(outcome.stdout, "");
    }
}

#[tokio::test]
async fn a_word_that_is_no_log_level_is_a_wrong_command_line() {
    let outcome = output(&["check", "-c", "/nowhere", "--log-level", "verbose"]).await;
    outcome.ended_with(64);
}

#[tokio::test]
async fn help_and_version_go_to_standard_output_and_end_with_0() {
    for arguments in [&["--help"][..], &["-h"], &["help"], &["--version"], &["help", "run"]] {
        let outcome = output(arguments).await.ended_with(0);
        assert!(outcome.stdout.contains("cdrd"), "{}", outcome.stdout);
        assert_eq!(outcome.stderr, "");
    }
    let version = output(&["--version"]).await.stdout;
    let start = format!("cdrd {} (", env!("CARGO_PKG_VERSION"));
    let date = version.trim_end().strip_suffix(')').and_then(|v| v.rsplit([' ', '(']).next());
    assert!(version.starts_with(&start), "{version}");
    assert!(date.is_some_and(|date| date.parse::<jiff::civil::Date>().is_ok()), "{version}");
}

#[tokio::test]
async fn completions_are_there_for_each_shell_and_bash_accepts_its_own() {
    for shell in ["bash", "zsh", "fish"] {
        let outcome = output(&["completions", shell]).await.ended_with(0);
        assert_eq!(outcome.stderr, "");
        for word in ["cdrd", "check", "tail", "demo", "completions", "log-format"] {
            assert!(outcome.stdout.contains(word), "{shell} knows no {word}");
        }
        if shell == "bash" {
            let mut bash = Command::new("bash");
            let checked = Process::run(bash.args(["--norc", "-n"]), &outcome.stdout).await;
            assert_eq!(checked.ended_with(0).stderr, "");
            // And it completes: the words of `cdrd c`.
            let script = format!(
                "{}\nCOMP_WORDS=(cdrd c); COMP_CWORD=1; _cdrd cdrd c cdrd; echo \"${{COMPREPLY[@]}}\"",
                outcome.stdout
            );
            let completed = Process::run(Command::new("bash").arg("--norc"), &script).await;
            assert_eq!(completed.stdout, "check completions\n", "{}", completed.stderr);
        }
    }
}

/// Runs cdrd with a standard output that nobody reads.
fn unread(arguments: &[&str]) -> (i32, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut child = cdrd(arguments)
        .stdin(std::process::Stdio::null())
        .stdout(writer)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = String::new();
    std::io::Read::read_to_string(child.stderr.as_mut().unwrap(), &mut stderr).unwrap();
    (child.wait().unwrap().code().unwrap(), stderr)
}

#[tokio::test]
async fn a_reader_that_is_gone_is_no_fault_for_help_and_demo() {
    for arguments in [&["--help"][..], &["demo", "--calls", "1"]] {
        let (code, stderr) = unread(arguments);
        assert_eq!(code, 0, "{arguments:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
    }
}

#[tokio::test]
async fn a_reader_that_is_gone_is_no_fault_for_check_and_completions() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[pbx.hq]\nurl = \"wss://pbx.example.com/wsi\"\nlogin = { username = \"u\", \
                  password = \"p\" }\n[sink.out]\ntype = \"stdout\"\n";
    let config = write_config(folder.path(), config);
    for arguments in [&["check", "-c", &config][..], &["completions", "bash"]] {
        let (code, stderr) = unread(arguments);
        assert_eq!(code, 0, "{arguments:?}: {stderr}");
        assert_eq!(stderr, "", "{arguments:?}");
    }
}

#[tokio::test]
async fn manual_pages_are_there_for_cdrd_and_every_command() {
    let page = output(&["man"]).await.ended_with(0).stdout;
    assert!(page.contains(".TH cdrd 1") && page.contains("dead\\-letters"), "{page}");
    let page = output(&["man", "status"]).await.ended_with(0).stdout;
    assert!(page.contains(".TH cdrd-status 1") && page.contains("\\-\\-json"), "{page}");
    output(&["man", "nonsense"]).await.ended_with(64);
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    output(&["man", "--dir", pages.to_str().unwrap()]).await.ended_with(0);
    for name in ["cdrd", "cdrd-run", "cdrd-status", "cdrd-dead-letters-list"] {
        assert!(pages.join(format!("{name}.1")).exists(), "{name}");
    }
}
