//! Logs: their forms, and what must never be in them.

use std::collections::BTreeSet;

use cdrd::simulator::{Account, Options, PASSWORD};
use serde_json::Value;

use super::{Receiver, config_file, subscribed_daemon, write_config};
use crate::harness::Bench;
use crate::port::Port;
use crate::process::{Process, cdrd, python};

/// What a daemon logs from start to stop.
async fn logged(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let bench = Bench::new().await;
    let config = config_file(&bench, &bench.raw_sink());
    let mut command = cdrd(["run", "-c", &config].iter().chain(arguments));
    let daemon = Process::start(command.envs(environment.iter().copied()));
    bench.subscribed().await;
    bench.push(3).await;
    daemon.signal("TERM");
    daemon.ended().await.ended_with(0).stderr
}

#[tokio::test]
async fn json_logs_are_a_json_object_a_line_with_fields() {
    let log = logged(&["--log-format", "json"], &[]).await;
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().all(|line| line["level"] == "INFO" && line["timestamp"].is_string()));
    let ready = lines.iter().find(|line| line["message"] == "ready").expect("it says ready");
    assert_eq!((&ready["pbxs"], &ready["sinks"]), (&Value::from(1), &Value::from(2)));
    let subscribed = lines.iter().find(|line| line["message"] == "subscribed").unwrap();
    assert_eq!((&subscribed["pbx"], &subscribed["topic"]), (&"hq".into(), &"cdr_events".into()));
}

#[tokio::test]
async fn text_logs_have_time_and_level_and_no_colour_where_there_is_no_terminal() {
    let log = logged(&[], &[]).await;
    for line in log.lines() {
        assert!(line.starts_with("20") && line.contains("Z  INFO "), "{line}");
    }
    assert!(!log.contains('\x1b'), "{log}");
}

#[tokio::test]
async fn under_systemd_lines_have_its_priorities_instead() {
    for (arguments, environment) in
        [(&["--log-format", "journald"][..], &[][..]), (&[], &[("JOURNAL_STREAM", "8:1234")])]
    {
        let log = logged(arguments, environment).await;
        assert!(log.lines().all(|line| line.starts_with("<6>")), "{log}");
        assert!(log.contains("<6>ready version="), "{log}");
    }
}

#[tokio::test]
async fn the_level_comes_from_the_flag_or_the_environment() {
    assert_eq!(logged(&["--log-level", "warn"], &[]).await, "");
    assert_eq!(logged(&[], &[("CDRD_LOG", "warn")]).await, "");
    assert!(logged(&[], &[("CDRD_LOG", "cdrd::sink=debug")]).await.contains("sink drained"));
}

/// What a daemon shows on a terminal, until somebody types Ctrl-C there.
async fn on_a_terminal(no_color: Option<&str>) -> String {
    let bench = Bench::new().await;
    let config = config_file(&bench, &bench.raw_sink());
    let spawn = "import os, pty, sys\n\
                 sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    let mut command = python();
    command.args(["-c", spawn, env!("CARGO_BIN_EXE_cdrd"), "run", "-c", &config]);
    command.env_remove("NO_COLOR").env_remove("CDRD_LOG").env_remove("JOURNAL_STREAM");
    command.envs(no_color.map(|value| ("NO_COLOR", value)));
    let mut process = Process::start(&mut command);
    bench.subscribed().await;
    process.says("subscribed").await;
    process.write("\x03");
    process.ended().await.ended_with(0).stdout
}

#[tokio::test]
async fn a_terminal_gets_colours_unless_no_color_is_set() {
    assert!(on_a_terminal(None).await.contains("\x1b["));
    assert!(on_a_terminal(Some("")).await.contains("\x1b["), "empty is as good as not set");
    let plain = on_a_terminal(Some("1")).await;
    assert!(!plain.contains("\x1b["), "{plain}");
}

const PBX_PASSWORD: &str = "pa55-of-the-pbx";
const WRONG_PASSWORD: &str = "pa55-that-is-wrong";
const BEARER: &str = "t0ken-of-the-crm";
const BASIC: &str = "pa55-of-the-billing";
const HEADER: &str = "k3y-of-the-api";

/// Runs a daemon to which as much as possible happens; returns its log and the
/// numbers and names of the calls.
async fn eventful(level: &str) -> (String, BTreeSet<String>) {
    let accounts = vec![Account::user("cdr", "101", PBX_PASSWORD)];
    let bench = Bench::with(Options { accounts, ..Options::default() }).await;
    // It echoes the event in its refusal.
    let receiver = Receiver::answering("400 Bad Request").await;
    let nobody = Port::reserve();
    let down = nobody.address;
    let sinks = format!(
        "{raw}\n\
         [sink.crm]\ntype = \"http\"\nurl = \"http://{}/cdr\"\n\
         auth = {{ bearer = {BEARER:?} }}\nheaders = {{ X-Key = {HEADER:?} }}\n\
         [sink.billing]\ntype = \"http\"\nurl = \"http://{down}/cdr\"\n\
         auth = {{ username = \"cdrd\", password = {BASIC:?} }}\n\
         [pbx.wrong]\nurl = {url:?}\n\
         login = {{ username = \"cdr\", domain = \"example.com\", password = {WRONG_PASSWORD:?} }}\n",
        receiver.address,
        raw = bench.raw_sink(),
        url = bench.pbx.url(),
    );
    let text = bench.patient_config_text(&sinks).replace(PASSWORD, PBX_PASSWORD);
    let config = write_config(bench.directory.path(), &text);
    let arguments = ["-c", &config, "--log-level", level, "--drain", "100ms"];
    let mut daemon = subscribed_daemon(&bench, &arguments).await;
    daemon.logs("refused the login").await;
    bench.push(3).await;
    bench.pbx.push_raw(r#"{"event_type":"call_cdr","caller":"+49301234567" "x":""}"#).await;
    bench.pbx.reset_all().await;
    bench.subscribed().await;
    bench.push(3).await;
    for words in ["quarantine", "session ended", "dead letter", "delivery failed"] {
        daemon.logs(words).await;
    }
    daemon.signal("TERM");
    let log = daemon.ended().await.ended_with(75).stderr;
    let mut people = BTreeSet::from(["+49301234567".to_owned()]);
    for pushed in bench.pbx.log() {
        if let Ok(event) = serde_json::from_slice(&pushed.bytes) {
            collect_people(&event, &mut people);
        }
    }
    (log, people)
}

/// Numbers and names, wherever they are in the event. Short ones are left out: they
/// are in the log by chance, in times and ports.
fn collect_people(value: &Value, people: &mut BTreeSet<String>) {
    const KEYS: &[&str] = &[
        "caller",
        "caller_display_name",
        "callee",
        "callee_display_name",
        "did",
        "did_cid",
        "destination",
        "destiantion",
        "outbound_caller_id",
        "user_data",
    ];
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                match value.as_str() {
                    Some(text) if KEYS.contains(&&**key) && text.len() >= 6 => {
                        people.insert(text.to_owned());
                    }
                    _ => collect_people(value, people),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_people(item, people)),
        _ => {}
    }
}

fn without_secrets(log: &str) {
    let basic = "Y2RyZDpwYTU1LW9mLXRoZS1iaWxsaW5n";
    for secret in [PBX_PASSWORD, WRONG_PASSWORD, BEARER, BASIC, HEADER, basic] {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "a secret is in the log");
    }
}

#[tokio::test]
async fn no_secret_and_nothing_of_a_call_is_in_logs_at_debug() {
    let (log, people) = eventful("debug").await;
    assert!(people.len() > 5, "{people:?}");
    without_secrets(&log);
    for text in people {
        let line = log.lines().find(|line| line.contains(&text));
        assert_eq!(line, None, "{text:?} is in the log");
    }
}

#[tokio::test]
async fn at_trace_calls_are_in_logs_and_secrets_are_not() {
    let (log, people) = eventful("trace").await;
    without_secrets(&log);
    assert!(people.iter().any(|text| log.contains(text)), "the search finds nothing");
}
