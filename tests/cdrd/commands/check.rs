//! `cdrd check`: each step in words, and 69 if a peer refused or is not there.

use cdrd::simulator::Ending;
use insta::assert_snapshot;

use super::{Receiver, config_file, listing, output, subscribed_daemon, write_config};
use crate::harness::{Bench, NO_BACKFILL, PATIENCE, PLAIN_BACKFILL};
use crate::port::Port;

/// `check --connect`; the report, with what differs from run to run replaced.
async fn checked(bench: &Bench, config: &str, code: i32) -> String {
    let outcome = output(&["check", "--connect", "-c", config]).await.ended_with(code);
    // Where something is wrong, the log may tell it, too.
    assert!(code != 0 || outcome.stderr.is_empty(), "{}", outcome.stderr);
    let pbx = bench.pbx.addr().to_string();
    outcome
        .stdout
        .replace(bench.directory.path().to_str().unwrap(), "[FOLDER]")
        .replace(&pbx, "[PBX]")
}

#[tokio::test]
async fn all_is_well() {
    let bench = Bench::new().await;
    let receiver = Receiver::answering("204 No Content").await;
    let sinks = format!(
        "{}[sink.crm]\ntype = \"http\"\nurl = \"http://{}/cdr\"\n[sink.out]\ntype = \"stdout\"\n",
        bench.raw_sink(),
        receiver.address
    );
    let config = config_file(&bench, &sinks);
    let before = listing(bench.directory.path());
    let report = checked(&bench, &config, 0).await;
    assert_snapshot!(report.replace(&receiver.address.to_string(), "[CRM]"), @r#"
    ok      configuration: 1 PBX(s), 4 sink(s)
    ok      journal: [FOLDER]/journal.db (free)
    ok      pbx "hq": connected to ws://[PBX]/wsi
    ok      pbx "hq": logged in as user cdr of example.com
    ok      pbx "hq": subscribed to cdr_events
    ok      sink "raw": [FOLDER]/raw.jsonl
    ok      sink "archive": [FOLDER]/cdr.jsonl
    ok      sink "crm": http://[CRM]/cdr answers (204 No Content)
    ok      sink "out": standard output
    "#);
    assert_eq!(listing(bench.directory.path()), before, "something was left behind");
    assert_eq!(bench.pbx.logins().len(), 1);
    assert!(bench.pbx.wait_disconnected(PATIENCE).await);
    assert_eq!(bench.pbx.connections()[0].ending, Some(Ending::ClosedByClient(Some(1000))));
}

#[tokio::test]
async fn beside_a_running_daemon_it_disturbs_nothing() {
    let bench = Bench::new().await;
    let config = config_file(&bench, &bench.raw_sink());
    let daemon = subscribed_daemon(&bench, &["-c", &config]).await;
    bench.push(3).await;
    let report = checked(&bench, &config, 0).await;
    assert!(report.contains("journal.db (in use by a running daemon)"), "{report}");
    bench.push(3).await;
    daemon.signal("TERM");
    daemon.ended().await.ended_with(0);
    assert!(bench.compare() > 0);
}

#[tokio::test]
async fn a_pbx_that_is_not_there() {
    let bench = Bench::new().await;
    let nobody = Port::reserve();
    let address = nobody.address;
    let text = bench.patient_config_text(&bench.raw_sink());
    let text = text.replace(&bench.pbx.addr().to_string(), &address.to_string());
    let report = checked(&bench, &write_config(bench.directory.path(), &text), 69).await;
    assert_snapshot!(report.replace(&address.to_string(), "[NOBODY]"), @r#"
    ok      configuration: 1 PBX(s), 2 sink(s)
    ok      journal: [FOLDER]/journal.db (free)
    FAILED  pbx "hq": cannot connect to [NOBODY]: Connection refused (os error 111); is the PBX up, and the port right? (22.x: 8887, though one vendor page says 8885; 16.x and 12.x: 8885)
    ok      sink "raw": [FOLDER]/raw.jsonl
    ok      sink "archive": [FOLDER]/cdr.jsonl
    "#);
}

#[tokio::test]
async fn a_refused_login_is_told_in_the_pbxs_words_and_tried_once() {
    let bench = Bench::new().await;
    bench.pbx.refuse_logins(9, "Account is suspended");
    let config = config_file(&bench, &bench.raw_sink());
    assert_snapshot!(checked(&bench, &config, 69).await, @r#"
    ok      configuration: 1 PBX(s), 2 sink(s)
    ok      journal: [FOLDER]/journal.db (free)
    ok      pbx "hq": connected to ws://[PBX]/wsi
    FAILED  pbx "hq": the PBX refused the login: Account is suspended; check user, domain and password of the login, that the user may see CDRs, and that two-factor login is off for it (a user with it cannot log in here)
    ok      sink "raw": [FOLDER]/raw.jsonl
    ok      sink "archive": [FOLDER]/cdr.jsonl
    "#);
    assert_eq!(bench.pbx.logins().len(), 1);
}

#[tokio::test]
async fn a_refused_topic_is_told_and_the_others_are_fine() {
    let bench = Bench::new().await;
    bench.pbx.refuse_topic("queue_management_events", None, "No permission");
    let text = bench.patient_config_text(&bench.raw_sink());
    let topics = "topics = [\"queue_management_events\", \"cdr_events\"]\n[journal]";
    let config = write_config(bench.directory.path(), &text.replace("[journal]", topics));
    assert_snapshot!(checked(&bench, &config, 69).await, @r#"
    ok      configuration: 1 PBX(s), 2 sink(s)
    ok      journal: [FOLDER]/journal.db (free)
    ok      pbx "hq": connected to ws://[PBX]/wsi
    ok      pbx "hq": logged in as user cdr of example.com
    FAILED  pbx "hq": topic queue_management_events refused: No permission; check the user's permissions
    ok      pbx "hq": subscribed to cdr_events
    ok      sink "raw": [FOLDER]/raw.jsonl
    ok      sink "archive": [FOLDER]/cdr.jsonl
    "#);
}

#[tokio::test]
async fn a_receiver_that_is_down() {
    let bench = Bench::new().await;
    let nobody = Port::reserve();
    let address = nobody.address;
    let sink = format!("[sink.crm]\ntype = \"http\"\nurl = \"http://{address}/cdr\"\n");
    let report = checked(&bench, &config_file(&bench, &sink), 69).await;
    assert_snapshot!(report.replace(&address.to_string(), "[NOBODY]"), @r#"
    ok      configuration: 1 PBX(s), 1 sink(s)
    ok      journal: [FOLDER]/journal.db (free)
    ok      pbx "hq": connected to ws://[PBX]/wsi
    ok      pbx "hq": logged in as user cdr of example.com
    ok      pbx "hq": subscribed to cdr_events
    FAILED  sink "crm": http://[NOBODY]/cdr: cannot connect: Connection refused (os error 111)
    "#);
}

#[tokio::test]
async fn a_sink_below_a_file_is_noticed() {
    let bench = Bench::new().await;
    std::fs::write(bench.path("file"), "").unwrap();
    let sink = format!("[sink.raw]\ntype = \"file\"\npath = {:?}\n", bench.path("file/raw.jsonl"));
    let report = checked(&bench, &config_file(&bench, &sink), 69).await;
    assert!(report.contains("FAILED  sink \"raw\""), "{report}");
}

#[tokio::test]
async fn a_journal_that_cannot_be_is_noticed() {
    let bench = Bench::new().await;
    std::fs::create_dir(bench.path("journal.db")).unwrap();
    let config = config_file(&bench, &bench.raw_sink());
    let outcome = output(&["check", "--connect", "-c", &config]).await;
    assert!(!outcome.stdout.contains("ok      journal"), "{}", outcome.stdout);
    assert_ne!(outcome.code(), 0);
}

#[tokio::test]
async fn a_webhook_is_shown_with_its_address_unless_that_is_taken() {
    let bench = Bench::new().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let webhook = format!(
        "[pbx.hq.webhook]\nlisten = \"{address}\"\nauth = {{ bearer = \"t\" }}\n\
         [sink.out]\ntype = \"stdout\"\n"
    );
    let config = config_file(&bench, &webhook);
    let report = checked(&bench, &config, 69).await.replace(&address.to_string(), "[WEBHOOK]");
    let line = report.lines().find(|line| line.contains("webhook")).unwrap();
    assert_snapshot!(line, @r#"FAILED  pbx "hq": webhook cannot listen at [WEBHOOK]: Address already in use (os error 98); is it an address of this machine, and does no other program listen there?"#);
    drop(taken);
    let report = checked(&bench, &config, 0).await.replace(&address.to_string(), "[WEBHOOK]");
    let line = report.lines().find(|line| line.contains("webhook")).unwrap();
    assert_snapshot!(line, @r#"ok      pbx "hq": webhook can listen at http://[WEBHOOK]/portsip/hq"#);
    let daemon = subscribed_daemon(&bench, &["-c", &config]).await;
    let report = checked(&bench, &config, 0).await.replace(&address.to_string(), "[WEBHOOK]");
    let line = report.lines().find(|line| line.contains("webhook")).unwrap();
    assert_snapshot!(line, @r#"ok      pbx "hq": webhook at http://[WEBHOOK]/portsip/hq (in use by a running daemon)"#);
    drop(daemon);
}

#[tokio::test]
async fn rest_is_tried_too_and_a_pbx_without_it_is_no_failure() {
    let bench = Bench::new().await;
    let text = bench.patient_config_text(&bench.raw_sink()).replace(NO_BACKFILL, PLAIN_BACKFILL);
    let config = write_config(bench.directory.path(), &text);
    let report = checked(&bench, &config, 0).await;
    assert_snapshot!(report, @r#"
    ok      configuration: 1 PBX(s), 2 sink(s)
    ok      journal: [FOLDER]/journal.db (free)
    ok      pbx "hq": connected to ws://[PBX]/wsi
    ok      pbx "hq": logged in as user cdr of example.com
    ok      pbx "hq": subscribed to cdr_events
    ok      pbx "hq": REST at http://[PBX]/api shows call logs, role Admin
    ok      sink "raw": [FOLDER]/raw.jsonl
    ok      sink "archive": [FOLDER]/cdr.jsonl
    "#);
    assert_eq!(bench.pbx.rest_tokens_alive(), 0, "it takes its leave");
    bench.pbx.set_faults(|all| all.rest.two_factor = true);
    let outcome = output(&["check", "--connect", "-c", &config]).await.ended_with(0);
    assert!(outcome.stdout.contains("warning pbx \"hq\": REST at http"), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("second factor"), "{}", outcome.stdout);
}
