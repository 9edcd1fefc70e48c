//! `cdrd journal check` and `repair`, as an operator runs them.

use super::{config_file, delivered, output, subscribed_daemon, write_config};
use crate::harness::{Bench, NO_BACKFILL, until};

/// The places in a file where zstd frames begin: one for each block of events.
fn blocks(bytes: &[u8]) -> Vec<usize> {
    let magic = [0x28, 0xb5, 0x2f, 0xfd];
    (0..bytes.len()).filter(|at| bytes[*at..].starts_with(&magic)).collect()
}

#[tokio::test]
async fn a_journal_is_checked_beside_a_daemon_repaired_without_and_the_lost_calls_come_back() {
    let bench = Bench::new().await;
    let backfill = "backfill = { requests_per_minute = 1000, settle = \"500ms\" }";
    let text = bench.patient_config_text(&bench.raw_sink()).replace(NO_BACKFILL, backfill);
    let config = write_config(bench.directory.path(), &text);
    let journal = bench.path("journal.db");
    let daemon = subscribed_daemon(&bench, &["-c", &config]).await;
    bench.push(20).await;
    delivered(&bench).await;
    let checked = output(&["journal", "check", "-c", &config]).await.ended_with(0);
    assert!(checked.stdout.starts_with("sound: "), "{}", checked.stdout);
    let refused = output(&["journal", "repair", "-c", &config]).await.ended_with(0);
    assert!(refused.stdout.contains("nothing was done"), "{}", refused.stdout);
    daemon.signal("TERM");
    daemon.ended().await.ended_with(0);

    // A bit of somebody's number: SQLite would not notice.
    let call = bench.pbx.ended_calls()[10].call_id.clone();
    let mut bytes = std::fs::read(&journal).unwrap();
    let blocks = blocks(&bytes);
    bytes[blocks[blocks.len() / 2] + 100] ^= 1;
    std::fs::write(&journal, &bytes).unwrap();
    let checked = output(&["journal", "check", "-c", &config]).await.ended_with(74);
    assert!(checked.stdout.contains("is not what was written"), "{}", checked.stdout);
    assert!(!checked.stdout.contains(&call), "{}", checked.stdout);
    let export = output(&["export", "-c", &config]).await.ended_with(74);
    assert!(export.stderr.contains("cdrd journal repair"), "{}", export.stderr);

    let repaired = output(&["journal", "repair", "-c", &config]).await.ended_with(0);
    for words in ["saved: ", "lost: event", "to the quarantine: ", "gaps to be closed", "kept as"] {
        assert!(repaired.stdout.contains(words), "no {words:?} in {}", repaired.stdout);
    }
    output(&["journal", "check", "-c", &config]).await.ended_with(0);

    let daemon = subscribed_daemon(&bench, &["-c", &config]).await;
    until("the lost call is in the journal again", async || {
        let export = output(&["export", "-c", &config, "--type", "call_cdr"]).await.ended_with(0);
        bench.pbx.ended_calls().iter().all(|call| export.stdout.contains(&call.call_id))
    })
    .await;
    let checked = output(&["journal", "check", "-c", &config]).await.ended_with(0);
    assert!(checked.stdout.starts_with("sound: "), "{}", checked.stdout);
    daemon.signal("TERM");
    daemon.ended().await.ended_with(0);
}

#[tokio::test]
async fn a_repair_does_not_disturb_a_daemon() {
    let bench = Bench::new().await;
    let config = config_file(&bench, &bench.raw_sink());
    let daemon = subscribed_daemon(&bench, &["-c", &config]).await;
    bench.push(5).await;
    delivered(&bench).await;
    let journal = rusqlite::Connection::open(bench.path("journal.db")).unwrap();
    journal.execute("UPDATE block SET sum = sum + 1 WHERE first_seq = 1", []).unwrap();
    drop(journal);
    let refused = output(&["journal", "repair", "-c", &config]).await.ended_with(74);
    assert!(refused.stderr.contains("is in use by another cdrd"), "{}", refused.stderr);
    bench.push(5).await;
    daemon.signal("TERM");
    daemon.ended().await.ended_with(0);
    bench.compare();
}

#[tokio::test]
async fn a_file_that_never_was_a_journal_is_left_as_it_is() {
    let bench = Bench::new().await;
    let config = config_file(&bench, &bench.raw_sink());
    let notes = "notes that somebody keeps".repeat(1000);
    std::fs::write(bench.path("journal.db"), &notes).unwrap();
    let refused = output(&["journal", "repair", "-c", &config]).await.ended_with(74);
    assert!(refused.stderr.contains("move it away"), "{}", refused.stderr);
    assert_eq!(std::fs::read_to_string(bench.path("journal.db")).unwrap(), notes);
    let left = std::fs::read_dir(bench.directory.path()).unwrap().map(|f| f.unwrap().file_name());
    let left: Vec<_> = left.map(|name| name.into_string().unwrap()).collect();
    assert!(!left.iter().any(|n| n.contains("salvage") || n.contains("repaired")), "{left:?}");
}
