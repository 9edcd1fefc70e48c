//! What is in the tables, and what cannot be.

use serde_json::Value;

use super::server::shared;
use super::{start, told};
use crate::harness::{Bench, dead_letters, until};

/// The rows of a query, as JSON.
fn rows(database: &super::server::Database<'_>, table: &str) -> Vec<Value> {
    let sql = format!("set timezone = 'UTC'; select row_to_json(t) from {table} t");
    database.ask(&sql).lines().map(|row| serde_json::from_str(row).unwrap()).collect()
}

/// Times are written in several ways.
fn same(record: &Value, row: &Value) -> bool {
    let moment = |value: &Value| value.as_str()?.parse::<jiff::Timestamp>().ok();
    match (moment(record), moment(row)) {
        (Some(record), Some(row)) => record == row,
        _ => record == row,
    }
}

#[tokio::test]
async fn a_call_has_its_values_in_typed_columns_and_its_targets_beside_it() {
    let (bench, database) = (Bench::new().await, shared().database());
    database.make_tables();
    let file = bench.path("records.jsonl");
    let records =
        format!("[sink.records]\ntype = \"file\"\npath = {file:?}\nformat = \"record\"\n");
    let everything = database.sink("events = [\"*\"]\n");
    let daemon = start(&bench, &format!("{everything}{records}"));
    bench.subscribed().await;
    bench.push(20).await;
    daemon.stop().await.unwrap();

    let (calls, targets) = (rows(&database, "cdr"), rows(&database, "cdr_target"));
    let text = std::fs::read_to_string(file).unwrap();
    let mut counted = 0;
    for record in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let row = calls.iter().find(|row| row["id"] == record["id"]).expect("a row");
        let mut its: Vec<_> = targets.iter().filter(|t| t["id"] == record["id"]).collect();
        its.sort_by_key(|target| target["position"].as_i64());
        let told = record["targets"].as_array().unwrap();
        assert_eq!((row["targets"].as_u64(), its.len()), (Some(told.len() as u64), told.len()));
        for (key, value) in record.as_object().unwrap() {
            assert!(key == "targets" || same(value, &row[key]), "{key}: {value} {}", row[key]);
        }
        for (told, row) in told.iter().zip(its) {
            for (key, value) in told.as_object().unwrap() {
                assert!(same(value, &row[key]), "{key}: {value} {}", row[key]);
            }
        }
        let kind = record["event_type"].as_str().unwrap_or("call_cdr");
        assert_eq!(row["event_type"], kind);
        assert_eq!(row["raw"]["event_type"], kind);
        let started = &record["started_at"];
        let time = if started.is_null() { &record["received_at"] } else { started };
        assert!(same(time, &row["event_time"]));
        counted += 1;
    }
    assert_eq!((counted, calls.len()), (calls.len(), counted));
    assert!(told(&bench) >= 20 && counted > told(&bench), "{counted}");
}

#[tokio::test]
async fn without_events_it_gets_finished_calls_alone_and_masks_hold() {
    let (bench, database) = (Bench::new().await, shared().database());
    database.make_tables();
    let mask = "mask = { caller = \"drop\", caller_name = \"drop\", callee = \"last4\" }\n";
    let daemon = start(&bench, &database.sink(mask));
    bench.subscribed().await;
    bench.push(10).await;
    bench
        .pbx
        .push_raw(r#"{"event_type":"call_cdr","session_id":"5","caller":"+49301234567"}"#)
        .await;
    bench.pbx.settle().await.unwrap();
    daemon.stop().await.unwrap();
    // What is pushed raw is not counted.
    assert_eq!(database.calls(), told(&bench) + 1);
    let all = database.ask("select t::text from cdr t; select t::text from cdr_target t");
    assert!(!all.contains("49301234567"), "{all}");
    assert_eq!(database.ask("select count(caller) from cdr").trim(), "0");
}

#[tokio::test]
async fn broken_rows_among_many_become_dead_letters_and_the_others_are_written() {
    let (bench, database) = (Bench::new().await, shared().database());
    database.make_tables();
    // What a table of one's own may have besides.
    database.ask("alter table cdr add constraint known check (trunk <> 'forbidden')");
    database.ask("alter table cdr alter column queue type varchar(5)");
    database.ask("alter table cdr_target alter column ring_seconds type smallint");
    database.shut();
    let daemon = start(&bench, &database.sink(""));
    bench.subscribed().await;
    let broken = [
        (
            r#"{"event_type":"call_cdr","session_id":"1","caller":"+4930\u0000secret"}"#,
            "SQLSTATE 22",
        ),
        (r#"{"event_type":"call_cdr","session_id":"2","x":"\ud800secret"}"#, "SQLSTATE 22"),
        (
            r#"{"event_type":"call_cdr","session_id":"3","call_targets":[{"ring_duration":40000}]}"#,
            "22003",
        ),
        (r#"{"event_type":"call_cdr","session_id":"4","trunk":"forbidden"}"#, "\"known\""),
        (r#"{"event_type":"call_cdr","session_id":"5","x":1e999999}"#, "SQLSTATE 22003"),
    ];
    for (event, _) in broken {
        bench.push(7).await;
        bench.pbx.push_raw(event).await;
    }
    bench.push(7).await;
    bench.pbx.settle().await.unwrap();
    assert_eq!(database.calls(), 0);
    database.open();
    let good = told(&bench);
    until("the good ones are written", async || database.calls() == good).await;
    let journal = bench.path("journal.db");
    let letters = || dead_letters(&journal, "subject");
    until("the broken ones are put aside", async || letters().len() >= broken.len()).await;
    daemon.stop().await.unwrap();
    for (letter, (event, words)) in letters().iter().zip(broken) {
        assert_eq!(letter.event.event.raw, event);
        assert!(letter.reason.contains(words), "{}", letter.reason);
        assert!(!letter.reason.contains("secret"), "{}", letter.reason);
    }
    assert_eq!((letters().len(), database.calls()), (broken.len(), good));
}

#[tokio::test]
async fn two_sinks_with_the_same_calls_make_one_row_of_each() {
    let (bench, database) = (Bench::new().await, shared().database());
    database.make_tables();
    let one = database.sink("batch = 3\n");
    let other = one.replace("sink.subject", "sink.other").replace("batch = 3", "batch = 50");
    let daemon = start(&bench, &format!("{one}{other}"));
    bench.subscribed().await;
    bench.push(200).await;
    daemon.stop().await.unwrap();
    assert_eq!(database.calls(), told(&bench));
    let wrong = "select count(*) from cdr where targets <> \
                 (select count(*) from cdr_target where cdr_target.id = cdr.id)";
    assert_eq!(database.ask(wrong).trim(), "0");
    // Whoever deletes a call deletes its targets.
    database.ask("delete from cdr");
    assert_eq!(database.ask("select count(*) from cdr_target").trim(), "0");
}

#[tokio::test]
async fn a_table_in_parts_by_time_has_no_repeat_either() {
    let (bench, database) = (Bench::new().await, shared().database());
    // Has the same demand as a hypertable: the time must be in every unique index.
    let sql = super::print_sql(&super::config(&database.sink("")), &["--timescale"]);
    let (tables, hyper): (Vec<_>, Vec<_>) =
        sql.split("\n\n").partition(|part| !part.contains("create_hypertable"));
    assert_eq!(hyper.len(), 2);
    database.ask(&tables.join("\n").replace("\n);", "\n) partition by range (event_time);"));
    database.ask("create table targets_default partition of cdr_target default");
    let one = database.sink("");
    let other = one.replace("sink.subject", "sink.other");
    let config = bench.patient_config_text(&format!("{one}{other}"));
    std::fs::write(bench.path("config.toml"), config).unwrap();
    let path = bench.path("config.toml");
    let mut daemon = crate::process::Process::start(
        crate::process::cdrd(["run", "--log-level", "warn", "-c"]).arg(path),
    );
    bench.subscribed().await;
    bench.push(50).await;
    // Without a part for its time a call is not broken.
    daemon.logs("make a partition for its time").await;
    database.ask("create table calls_default partition of cdr default");
    let calls = told(&bench);
    until("all are written", async || database.calls() == calls).await;
    daemon.signal("TERM");
    daemon.ended().await.ended_with(0);
    assert_eq!(database.calls(), calls);
    assert!(dead_letters(&bench.path("journal.db"), "subject").is_empty());
}
