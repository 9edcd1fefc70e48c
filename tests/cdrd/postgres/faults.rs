//! Servers that restart, are killed, refuse; what the operator must mend.

use super::server::{Server, shared};
use super::{start, told};
use crate::harness::{Bench, dead_letters, until};
use crate::process::{Process, cdrd};

/// The real program with a configuration.
fn program(bench: &Bench, sinks: &str) -> Process {
    let path = bench.path("config.toml");
    std::fs::write(&path, bench.patient_config_text(sinks)).unwrap();
    Process::start(cdrd(["run", "--log-level", "warn", "-c"]).arg(path))
}

#[tokio::test]
async fn a_server_that_is_restarted_and_killed_costs_no_call_and_doubles_none() {
    let (bench, mut server) = (Bench::new().await, Server::new());
    let (name, sink) = {
        let database = server.database();
        database.make_tables();
        (database.name.clone(), database.sink("batch = 20\n"))
    };
    let daemon = start(&bench, &sink);
    bench.subscribed().await;
    for round in 0..4 {
        // In the middle of whatever it does.
        bench.pbx.push_calls(40).await;
        match round % 2 {
            0 => server.kill(),
            _ => server.stop(),
        }
        bench.push(20).await;
        server.start();
    }
    bench.push(5).await;
    let calls = told(&bench);
    let count = || server.ask(&name, "select count(*) from cdr").unwrap_or_default();
    until("every call is there", async || count().trim() == calls.to_string()).await;
    daemon.stop().await.unwrap();
    assert_eq!(count().trim(), calls.to_string());
    assert!(dead_letters(&bench.path("journal.db"), "subject").is_empty());
}

#[tokio::test]
async fn what_the_operator_must_mend_is_told_and_waited_for() {
    let (bench, database) = (Bench::new().await, shared().database());
    let mut daemon = program(&bench, &database.sink(""));
    bench.subscribed().await;
    bench.push(3).await;
    daemon.logs("there is no table \\\"cdr\\\"").await;
    daemon.logs("cdrd sink init subject --apply").await;
    database.make_tables();
    let all_there = async || {
        let calls = told(&bench);
        until("every call is there", async || database.calls() == calls).await;
    };
    all_there().await;
    let name = &database.name;
    let cases = [
        (
            format!("revoke insert on cdr from {name}"),
            "grant",
            format!("grant insert on cdr to {name}"),
        ),
        (
            "alter table cdr drop column cost".to_owned(),
            "has no column \\\"cost\\\"",
            "alter table cdr add column cost text".to_owned(),
        ),
        (
            "alter table cdr drop constraint cdr_pkey cascade".to_owned(),
            "has no primary key",
            "alter table cdr add primary key (id)".to_owned(),
        ),
        (
            format!("alter database {name} set default_transaction_read_only = on"),
            "read-only",
            format!("set default_transaction_read_only = off; alter database {name} reset all"),
        ),
        (
            format!("alter role {name} nologin"),
            "SQLSTATE 28000",
            format!("alter role {name} login"),
        ),
    ];
    for (harm, words, cure) in cases {
        database.ask(&harm);
        // What holds for new connections alone.
        database.ask(
            "select pg_terminate_backend(pid) from pg_stat_activity \
             where datname = current_database() and pid <> pg_backend_pid()",
        );
        bench.push(3).await;
        daemon.logs(words).await;
        database.ask(&cure);
        all_there().await;
    }
    daemon.signal("TERM");
    daemon.ended().await.ended_with(0);
    assert!(dead_letters(&bench.path("journal.db"), "subject").is_empty());
}

#[tokio::test]
async fn a_locked_table_is_given_up_in_time_and_tried_again() {
    let (bench, database) = (Bench::new().await, shared().database());
    database.make_tables();
    let mut daemon = program(&bench, &database.sink("timeout = \"3s\"\n"));
    bench.subscribed().await;
    bench.push(3).await;
    let calls = told(&bench);
    until("the first are there", async || database.calls() == calls).await;
    let lock = "set application_name = 'locker'; begin; lock table cdr in exclusive mode; \
                select pg_sleep(90)";
    let name = database.name.clone();
    let locker = tokio::task::spawn_blocking(move || shared().ask(&name, lock));
    let held = "select count(*) from pg_locks where mode = 'ExclusiveLock' and granted \
                and relation = 'cdr'::regclass";
    until("it is locked", async || database.ask(held).trim() == "1").await;
    bench.push(3).await;
    // The server's own limit and ours are the same; either may be first.
    let is_told = |log: &str| log.contains("SQLSTATE 57014") || log.contains("no answer within 3s");
    daemon.has_logged("that time is up", is_told).await;
    database.ask(
        "select pg_terminate_backend(pid) from pg_stat_activity \
         where application_name = 'locker' and datname = current_database()",
    );
    assert!(locker.await.unwrap().is_err());
    let calls = told(&bench);
    until("all are there", async || database.calls() == calls).await;
    daemon.signal("TERM");
    daemon.ended().await.ended_with(0);
}

#[tokio::test]
async fn a_full_disk_of_the_server_is_told_and_waited_out() {
    let mut server = Server::create();
    let Some(small) = server.small_disk(3) else {
        println!("no right to mount a file system here");
        return;
    };
    server.start();
    let (bench, database) = (Bench::new().await, server.database());
    database.ask(&format!("create tablespace small location '{}'", small.display()));
    database.make_tables();
    database.ask("alter table cdr set tablespace small");
    // Rows that fill whatever is left, large ones first.
    database.ask("create table filler (t text) tablespace small");
    database.ask("alter table filler alter t set storage plain");
    for rows in [50, 1] {
        let fill =
            format!("insert into filler select repeat('x', 7000) from generate_series(1, {rows})");
        while database.server.ask(&database.name, &fill).is_ok() {}
    }
    let mut daemon = program(&bench, &database.sink(""));
    bench.subscribed().await;
    bench.push(30).await;
    daemon.logs("SQLSTATE 53100").await;
    daemon.logs("make room on the server's disk").await;
    database.ask("drop table filler");
    let calls = told(&bench);
    until("every call is there", async || database.calls() == calls).await;
    daemon.signal("TERM");
    daemon.ended().await.ended_with(0);
    assert!(dead_letters(&bench.path("journal.db"), "subject").is_empty());
}
