//! What systemd is told, over a real socket like its own.

use std::path::PathBuf;
use std::time::Duration;

use rusqlite::Connection;
use tokio::net::UnixDatagram;
use tokio::time::{Instant, timeout, timeout_at};

use crate::harness::{Bench, PATIENCE, until};
use crate::process::{Process, cdrd};

/// The other end of `NOTIFY_SOCKET`.
struct Notified {
    path: PathBuf,
    socket: UnixDatagram,
}

impl Notified {
    fn listen(bench: &Bench) -> Self {
        let path = bench.path("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self { path, socket }
    }

    async fn next(&self) -> String {
        let mut message = vec![0; 8192];
        let n = self.socket.recv(&mut message).await.unwrap();
        String::from_utf8(message[..n].to_vec()).unwrap()
    }

    /// The next message that has these words; others are skipped.
    async fn until(&self, words: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            match timeout_at(deadline, self.next()).await {
                Ok(message) if message.contains(words) => return message,
                Ok(message) => seen.push(message),
                Err(_) => panic!("never told {words:?}; told {seen:?}"),
            }
        }
    }

    /// Whether nothing with these words comes for so long.
    async fn silent(&self, words: &str, long: Duration) -> bool {
        let end = Instant::now() + long;
        while let Ok(message) = timeout_at(end, self.next()).await {
            if message.contains(words) {
                return false;
            }
        }
        true
    }
}

/// A daemon that systemd watches, with its configuration.
fn daemon(bench: &Bench, notified: &Notified, config: &str, watchdog: Option<u64>) -> Process {
    let path = bench.path("config.toml");
    std::fs::write(&path, config).unwrap();
    let mut command = cdrd(["run", "-c", path.to_str().unwrap()]);
    command.env("NOTIFY_SOCKET", &notified.path);
    command.env_remove("WATCHDOG_PID").env_remove("WATCHDOG_USEC");
    if let Some(usec) = watchdog {
        command.env("WATCHDOG_USEC", usec.to_string());
    }
    Process::start(&mut command)
}

fn config(bench: &Bench) -> String {
    bench.patient_config_text(&bench.raw_sink())
}

#[tokio::test]
async fn systemd_is_told_that_it_is_ready_how_it_is_and_that_it_stops() {
    let bench = Bench::new().await;
    let notified = Notified::listen(&bench);
    let daemon = daemon(&bench, &notified, &config(&bench), None);
    notified.until("READY=1").await;
    notified.until("STATUS=1 of 1 PBXs subscribed, all delivered").await;
    daemon.signal("TERM");
    notified.until("STOPPING=1").await;
    daemon.ended().await.ended_with(0);
    assert!(notified.silent("WATCHDOG=1", Duration::ZERO).await);
}

#[tokio::test]
async fn a_pbx_that_is_down_keeps_it_from_nothing_and_stands_in_the_status_line() {
    let bench = Bench::new().await;
    let notified = Notified::listen(&bench);
    let url = format!("{:?}", bench.pbx.url());
    let text = config(&bench).replace(&url, "\"ws://127.0.0.1:1/wsi\"");
    let daemon = daemon(&bench, &notified, &text, None);
    notified.until("READY=1").await;
    let line = notified.until("there is no connection: cannot connect").await;
    assert!(line.starts_with("STATUS=0 of 1 PBXs subscribed"), "{line}");
    assert_eq!(line.trim_end().lines().count(), 1, "{line}");
    daemon.signal("TERM");
    daemon.ended().await.ended_with(0);
}

#[tokio::test]
async fn signs_of_life_stop_while_the_writer_is_stuck_and_go_on_with_it() {
    let bench = Bench::new().await;
    let notified = Notified::listen(&bench);
    let mut daemon = daemon(&bench, &notified, &config(&bench), Some(400_000));
    notified.until("READY=1").await;
    bench.subscribed().await;
    for _ in 0..3 {
        notified.until("WATCHDOG=1").await;
    }
    let mut other = Connection::open(bench.path("journal.db")).unwrap();
    other.busy_timeout(PATIENCE).unwrap();
    // The writer waits for this lock as it would for a disk that does not answer; but
    // only for 10 s, so it has to be given back before.
    let lock = other.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
    bench.pbx.push_calls(1).await;
    let deadline = Instant::now() + Duration::from_secs(8);
    let mut stopped = false;
    while !stopped && Instant::now() < deadline {
        stopped = notified.silent("WATCHDOG=1", Duration::from_secs(1)).await;
    }
    drop(lock);
    assert!(stopped, "signs of life though the writer is stuck");
    notified.until("WATCHDOG=1").await;
    daemon.logs("the journal's writer is stuck").await;
    let sent = bench.pbx.log().len();
    until("all is delivered", || async {
        let raw = std::fs::read_to_string(bench.path("raw.jsonl")).unwrap_or_default();
        raw.lines().count() == sent
    })
    .await;
    daemon.signal("TERM");
    daemon.ended().await.ended_with(0);
}

#[tokio::test]
async fn a_reload_is_told_as_such_and_a_refused_one_stands_in_the_status_line() {
    let bench = Bench::new().await;
    let notified = Notified::listen(&bench);
    let daemon = daemon(&bench, &notified, &config(&bench), None);
    notified.until("STATUS=1 of 1 PBXs subscribed").await;
    daemon.signal("HUP");
    let reloading = notified.until("RELOADING=1").await;
    let usec = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    assert!(usec.is_some_and(|usec| usec.parse::<u64>().is_ok()), "{reloading}");
    notified.until("READY=1").await;
    let path = bench.path("config.toml");
    std::fs::write(&path, config(&bench).replace("[journal]", "[jornal]")).unwrap();
    daemon.signal("HUP");
    notified.until("RELOADING=1").await;
    notified.until("READY=1").await;
    let line = notified.until("configuration: the new one was refused").await;
    assert!(line.contains("unknown key \"jornal\""), "{line}");
    std::fs::write(&path, config(&bench)).unwrap();
    daemon.signal("HUP");
    let line = notified.until("STATUS=1 of 1 PBXs subscribed").await;
    assert!(!line.contains("refused"), "{line}");
    daemon.signal("TERM");
    let ended = timeout(PATIENCE, daemon.ended()).await.unwrap();
    ended.ended_with(0);
}
