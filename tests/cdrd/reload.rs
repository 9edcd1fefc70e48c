//! SIGHUP: what changed is taken up, what did not goes on undisturbed, and what is wrong
//! changes nothing.

use std::path::PathBuf;

use cdrd::config::Config;
use cdrd::daemon::Daemon;
use cdrd::pbx::state::Phase;
use serde_json::Value;

use crate::harness::{Bench, Running, envelopes_so_far, until};
use crate::process::{Process, cdrd};
use crate::receiver::{Answer, Receiver};

/// A daemon in a process, with a configuration that the test changes.
struct Reloading {
    bench: Bench,
    path: PathBuf,
    daemon: Process,
    /// Reloads so far, refused ones included.
    reloads: usize,
}

impl Reloading {
    async fn start(sinks: impl Fn(&Bench) -> String, arguments: &[&str]) -> Self {
        let bench = Bench::new().await;
        let path = bench.path("config.toml");
        std::fs::write(&path, text(&bench, &sinks(&bench))).unwrap();
        let config = ["-c", path.to_str().unwrap()];
        let daemon = Process::start(&mut cdrd(["run"].iter().chain(&config).chain(arguments)));
        bench.subscribed().await;
        Self { bench, path, daemon, reloads: 0 }
    }

    /// Puts this configuration in the place of the other, and waits for the outcome.
    async fn reload(&mut self, text: &str) {
        std::fs::write(&self.path, text).unwrap();
        self.daemon.signal("HUP");
        self.reloads += 1;
        let wanted = self.reloads;
        let through = |said: &str| {
            let ends = ["configuration reloaded", "reload refused"];
            ends.iter().map(|end| said.matches(end).count()).sum::<usize>() >= wanted
        };
        self.daemon.has_logged("the end of the reload", through).await;
    }

    async fn push(&self, calls: u64) {
        self.bench.push(calls).await;
        let sent = self.bench.pbx.log().len();
        until("the journal has it", || async { self.bench.journalled() == sent }).await;
    }

    /// Sessions of all PBXs that came to a subscription.
    fn sessions(&self) -> usize {
        self.daemon.log().matches("state=\"subscribed\"").count()
    }

    async fn stop(self) -> String {
        self.daemon.signal("TERM");
        self.daemon.ended().await.ended_with(0).stderr
    }
}

fn text(bench: &Bench, more: &str) -> String {
    bench.patient_config_text(more)
}

fn file(bench: &Bench, name: &str, more: &str) -> String {
    let path = bench.path(&format!("{name}.jsonl"));
    format!("[sink.{name}]\ntype = \"file\"\npath = {path:?}\n{more}\n")
}

fn lines(bench: &Bench, name: &str) -> Vec<Value> {
    envelopes_so_far(&bench.path(&format!("{name}.jsonl")))
}

async fn has(bench: &Bench, name: &str, events: usize) {
    until(&format!("{name} has {events} events"), || async { lines(bench, name).len() >= events })
        .await;
    assert_eq!(lines(bench, name).len(), events);
}

#[tokio::test]
async fn sinks_come_change_and_go_while_the_session_stays() {
    let mut it = Reloading::start(|bench| file(bench, "a", "") + &file(bench, "b", ""), &[]).await;
    it.push(2).await;
    let first = it.bench.pbx.log().len();
    has(&it.bench, "b", first).await;
    // a: only CDRs from now on; b: gone; c: everything there is; d: what comes.
    let changed = file(&it.bench, "a", "events = [\"call_cdr\"]")
        + &file(&it.bench, "c", "start = \"beginning\"")
        + &file(&it.bench, "d", "");
    it.reload(&text(&it.bench, &changed)).await;
    it.push(1).await;
    let all = it.bench.pbx.log().len();
    has(&it.bench, "c", all).await;
    has(&it.bench, "d", all - first).await;
    has(&it.bench, "a", first + 1).await;
    assert_eq!(lines(&it.bench, "b").len(), first);
    // b comes again, and goes on where it was.
    it.reload(&text(&it.bench, &(changed + &file(&it.bench, "b", "")))).await;
    has(&it.bench, "b", all).await;
    assert_eq!(it.sessions(), 1);
    it.stop().await;
}

#[tokio::test]
async fn a_file_that_is_wrong_changes_nothing_and_says_why() {
    let mut it = Reloading::start(|bench| file(bench, "a", ""), &[]).await;
    let wrong = [
        file(&it.bench, "b", "colour = \"red\""),
        "[sink.b]\ntype = \"no such type\"\n".to_owned(),
        "nonsense".to_owned(),
    ];
    for more in &wrong {
        it.reload(&text(&it.bench, more)).await;
    }
    it.push(1).await;
    let sent = it.bench.pbx.log().len();
    has(&it.bench, "a", sent).await;
    assert!(!it.bench.path("b.jsonl").exists());
    let config = it.path.to_str().unwrap().to_owned();
    std::fs::write(&config, text(&it.bench, &file(&it.bench, "a", ""))).unwrap();
    until("status tells of it", || async {
        let outcome = Process::run(&mut cdrd(["status", "--json", "-c", &config]), "").await;
        let told: Value = serde_json::from_str(&outcome.ended_with(0).stdout).unwrap();
        told["reload_refused"]["words"].as_str().is_some_and(|words| words.contains("TOML"))
    })
    .await;
    assert_eq!(it.sessions(), 1);
    let log = it.stop().await;
    assert!(log.contains("unknown key \\\"colour\\\"") || log.contains("unknown key \"colour\""));
    assert_eq!(log.matches("reload refused").count(), 3, "{log}");
}

#[tokio::test]
async fn a_pbx_that_changed_gets_a_new_session_and_the_others_keep_theirs() {
    let second = crate::harness::Bench::new().await;
    let other = second.patient_pbx_table().replace("[pbx.hq]", "[pbx.other]");
    let mut it = Reloading::start(|bench| other.clone() + &file(bench, "a", ""), &[]).await;
    second.subscribed().await;
    let sinks = file(&it.bench, "a", "");
    let extended =
        other.clone() + "topics = [\"cdr_events\", \"queue_events\"]\nqueues = [\"8000\"]\n";
    it.reload(&text(&it.bench, &(extended + &sinks))).await;
    it.daemon.has_logged("the new topic", |said| said.contains("topic=\"queue_events\"")).await;
    let sessions = |said: &str, pbx: &str| {
        said.lines().filter(|l| l.contains(&format!("pbx=\"{pbx}\" state=\"subscribed\""))).count()
    };
    it.daemon.has_logged("a second session", |said| sessions(said, "other") == 2).await;
    // And now without it.
    it.reload(&text(&it.bench, &sinks)).await;
    until("it is gone", || async {
        second.pbx.wait_subscribed(0, std::time::Duration::ZERO).await
    })
    .await;
    it.push(1).await;
    let log = it.stop().await;
    assert_eq!((sessions(&log, "hq"), sessions(&log, "other")), (1, 2), "{log}");
}

#[tokio::test]
async fn the_log_level_is_taken_up_unless_the_command_line_says_otherwise() {
    let sinks = |bench: &Bench| file(bench, "a", "");
    let mut it = Reloading::start(sinks, &[]).await;
    let debug = format!("{}[log]\nlevel = \"debug\"\n", text(&it.bench, &sinks(&it.bench)));
    it.reload(&debug).await;
    let log = it.stop().await;
    assert!(log.contains("DEBUG sink drained"), "{log}");

    let mut it = Reloading::start(sinks, &["--log-level", "info"]).await;
    it.reload(&debug).await;
    let log = it.stop().await;
    assert!(log.contains("INFO stopping") && !log.contains("DEBUG"), "{log}");
}

#[tokio::test]
async fn what_needs_a_restart_is_told() {
    let mut it = Reloading::start(|bench| file(bench, "a", ""), &[]).await;
    let more = file(&it.bench, "a", "") + "[admin]\nlisten = \"127.0.0.1:0\"\n";
    let changed = text(&it.bench, &more).replace("[journal]\n", "[journal]\nretention = \"1d\"\n");
    it.reload(&changed).await;
    let log = it.stop().await;
    assert!(log.contains("tables=[\"journal\", \"admin\"]"), "{log}");
    assert!(log.contains("need a restart"), "{log}");
}

#[tokio::test]
async fn a_sink_that_waits_for_its_receiver_is_replaced_at_once_and_loses_nothing() {
    let receiver = Receiver::start().await;
    receiver.answer(Answer::Status(503));
    let sink = |more: &str| {
        let url = receiver.url();
        format!(
            "[sink.crm]\ntype = \"http\"\nurl = {url:?}\nretry = {{ initial = \"1h\", max = \"1h\" }}\n{more}\n"
        )
    };
    let mut it = Reloading::start(|_| sink(""), &[]).await;
    it.push(1).await;
    until("it failed once", || async { !receiver.requests().is_empty() }).await;
    receiver.answer(Answer::Status(200));
    it.reload(&text(&it.bench, &sink("timeout = \"14s\""))).await;
    let sent = it.bench.pbx.log().len();
    until("all is delivered", || async { receiver.accepted().len() == sent }).await;
    it.stop().await;
}

/// The table says the same as before, but the password that it names is another one.
#[tokio::test]
async fn a_password_that_changed_in_its_own_file_is_taken_up() {
    let bench = Bench::new().await;
    let (password, path) = (bench.path("password"), bench.path("config.toml"));
    std::fs::write(&password, "wrong\n").unwrap();
    let literal = format!("password = {:?}", cdrd::simulator::PASSWORD);
    let named = format!("password = {{ file = {password:?} }}");
    std::fs::write(&path, text(&bench, &bench.raw_sink()).replace(&literal, &named)).unwrap();
    let read = {
        let path = path.clone();
        move || Config::load(&path).map_err(|e| e.to_string())
    };
    let source = cdrd::daemon::Source {
        read: std::sync::Arc::new(read),
        taken_up: std::sync::Arc::new(|_| ()),
    };
    let clock = cdrd::clock::Clock::system();
    let daemon = Daemon::start(&Config::load(&path).unwrap(), clock).unwrap().reload_from(source);
    let daemon = Running::of(daemon);
    daemon.phase(Phase::LoginRefused).await;
    std::fs::write(&password, format!("{}\n", cdrd::simulator::PASSWORD)).unwrap();
    let old = daemon.states[0].1.clone();
    daemon.stop.reload.notify_one();
    // The old session ends; the new one waits as long as the refusal demands.
    until("the old session has ended", || async { old.has_changed().is_err() }).await;
    daemon.stop().await.unwrap();
}
