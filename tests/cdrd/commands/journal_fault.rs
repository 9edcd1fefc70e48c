//! A journal that cannot be opened ends `run` with 74, before anything is connected.

use std::path::Path;

use insta::assert_snapshot;

use super::{config_file, output, subscribed_daemon, write_config};
use crate::harness::Bench;

/// Runs a daemon with the journal at `path` in a folder that `prepare` has filled;
/// returns what it says.
async fn told(path: &str, prepare: impl FnOnce(&Path)) -> String {
    let bench = Bench::new().await;
    let folder = bench.directory.path();
    prepare(folder);
    let text = bench.patient_config_text(&bench.raw_sink()).replace("journal.db", path);
    let config = write_config(folder, &text);
    let outcome = output(&["run", "-c", &config]).await.ended_with(74);
    assert_eq!(outcome.stdout, "");
    assert_eq!(bench.pbx.connections_ever(), 0);
    outcome.stderr.replace(folder.to_str().unwrap(), "[FOLDER]")
}

#[tokio::test]
async fn a_journal_that_is_a_folder_is_refused() {
    let told = told("folder", |folder| std::fs::create_dir(folder.join("folder")).unwrap()).await;
    assert!(told.contains("journal [FOLDER]/folder: cannot open it: Is a directory"), "{told}");
}

#[tokio::test]
async fn a_journal_below_a_file_is_refused() {
    let told = told("file/j.db", |folder| std::fs::write(folder.join("file"), "").unwrap()).await;
    assert!(told.contains("journal [FOLDER]/file/j.db: cannot create its directory"), "{told}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let notes = "notes that somebody keeps".repeat(100);
    let told = told("notes", |folder| std::fs::write(folder.join("notes"), &notes).unwrap()).await;
    assert!(told.contains("journal [FOLDER]/notes: file is not a database"), "{told}");
}

#[tokio::test]
async fn a_cause_is_told_once() {
    let folder = told("folder", |folder| std::fs::create_dir(folder.join("folder")).unwrap()).await;
    assert_eq!(folder.matches("Is a directory").count(), 1, "{folder}");
    let notes = "notes that somebody keeps".repeat(100);
    let notes = told("notes", |folder| std::fs::write(folder.join("notes"), &notes).unwrap()).await;
    assert_eq!(notes.matches("file is not a database").count(), 1, "{notes}");
}

#[tokio::test]
async fn a_database_of_somebody_else_is_refused() {
    let theirs = |folder: &Path| {
        let database = rusqlite::Connection::open(folder.join("theirs.db")).unwrap();
        database.execute_batch("CREATE TABLE theirs(a)").unwrap();
    };
    assert_snapshot!(told("theirs.db", theirs).await, @"cdrd: [FOLDER]/theirs.db is a database, but not a journal of cdrd; set [journal] path to another file");
}

#[tokio::test]
async fn a_second_daemon_on_the_same_journal_is_refused_and_names_the_first() {
    let bench = Bench::new().await;
    let config = config_file(&bench, &bench.raw_sink());
    let first = subscribed_daemon(&bench, &["-c", &config]).await;
    let outcome = output(&["run", "-c", &config]).await.ended_with(74);
    let pid = first.id();
    assert_eq!(
        outcome.stderr,
        format!(
            "cdrd: journal {} is in use by another cdrd (process {pid}); stop that one, or give \
             this one its own [journal] path\n",
            bench.path("journal.db").display()
        )
    );
    // The first goes on undisturbed.
    bench.push(5).await;
    first.signal("TERM");
    first.ended().await.ended_with(0);
    assert!(bench.compare() > 0);
}
