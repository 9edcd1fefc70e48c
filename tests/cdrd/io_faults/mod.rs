//! Disks that fail: reads, writes, syncs and more of the journal's and the file sinks'
//! files end with an error, or do half of what they should, at random moments.
//!
//! A journal that cannot be written or synced ends the process with 74 and the name of
//! the file; a start goes on from what was committed. A sink's file that fails is tried
//! again, and the process stays. In the end all that `kills::truth` asks is so.
//!
//! `CDRD_FAULTS` sets how many, `CDRD_SEED` which.

mod shim;

use std::collections::BTreeMap;
use std::process::ExitStatus;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;

use self::shim::{Fault, Kind, SYNC, Shim, WRITE};
use crate::harness::{Bench, envelopes_so_far, noise, number, until};
use crate::kills::scene::{Deaf, Run, Scene, WHOLE, now_ms};
use crate::kills::truth;
use crate::process::{Process, cdrd};

/// Faults of a run that nobody asked to be longer.
const FAULTS: u64 = 8;
/// How long a fault may wait for a call that it can hit: not every kind of call comes.
const LOOK: Duration = Duration::from_millis(1_200);
/// Ends of the paths of the journal's files.
const JOURNAL: [&str; 3] = ["journal.db$", "journal.db-wal$", "journal.db-shm$"];
/// Parts of the paths of the sinks' files.
const FILES: [&str; 5] =
    ["/out/cdr", "/out/.books.cdrd", "books.manifest", ".zst.part$", "extra.jsonl"];

/// The scene of the kills, with a process whose disk can fail.
struct Faulty {
    scene: Scene,
    shim: Shim,
    run: Option<Run>,
    starts: u64,
    /// The journal has failed this run: it may end for that, at once or a moment later.
    journal_failed: bool,
}

impl Faulty {
    async fn new(seed: u64) -> Self {
        let scene = Scene::new(seed).await;
        let shim = Shim::compile(scene.directory.path());
        Self { scene, shim, run: None, starts: 0, journal_failed: false }
    }

    fn start(&mut self) {
        let shim = &self.shim;
        let run = Run::start_as(&self.scene, self.starts, WHOLE, |command| {
            shim.load(command);
        });
        self.starts += 1;
        (self.run, self.journal_failed) = (Some(run), false);
    }

    fn over(&mut self) -> Option<ExitStatus> {
        self.run.as_mut().and_then(Run::over)
    }

    async fn subscribed(&mut self) {
        let (scene, run) = (&self.scene, self.run.as_mut().expect("it runs"));
        run.subscribed(scene).await;
    }

    /// One fault, and what it came to.
    async fn suffer(&mut self, fault: &Fault, random: &mut Rng) -> &'static str {
        let began_ms = now_ms();
        if self.run.is_none() && random.bool() {
            // At the start itself.
            self.shim.arm(fault);
            self.start();
        } else {
            if self.run.is_none() {
                self.start();
                self.subscribed().await;
            }
            self.shim.arm(fault);
        }
        let deadline = Instant::now() + LOOK;
        while self.shim.hits() == 0 && Instant::now() < deadline && self.over().is_none() {
            self.scene.pbx.push_calls(random.u64(1..3)).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let is_hit = self.shim.hits() > 0;
        self.journal_failed |= is_hit && JOURNAL.contains(&fault.pattern);
        if is_hit && fault.must_end() {
            until("a process whose journal failed ends", || {
                std::future::ready(self.over().is_some())
            })
            .await;
        } else if is_hit {
            // Let it meet all that is to come of this fault.
            let deadline = Instant::now() + LOOK;
            let ends = JOURNAL.contains(&fault.pattern);
            let more =
                |this: &mut Self| this.over().is_none() && (ends || this.shim.hits() < fault.times);
            while more(self) && Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        self.shim.disarm();
        match self.over() {
            None if is_hit => "went on",
            None => "was not met",
            Some(status) => {
                self.ended(status, fault, began_ms);
                "ended the process"
            }
        }
    }

    /// It may end for its journal alone, and says so.
    fn ended(&mut self, status: ExitStatus, fault: &Fault, began_ms: i64) {
        let run = self.run.take().expect("it ran");
        run.gather(&self.scene);
        let log = run.log();
        assert!(self.journal_failed, "{fault:?} ended it, {status}: {log}");
        assert_eq!(status.code(), Some(74), "{fault:?}: {log}");
        let journal = self.scene.path("journal.db").display().to_string();
        let last = log.lines().last().unwrap_or_default();
        assert!(last.contains(&journal), "{fault:?}: the journal is not named: {log}");
        assert!(!log.contains("panicked"), "{fault:?}: {log}");
        self.scene.deaf(began_ms, Deaf::Ended);
    }
}

impl Fault {
    /// What is on disk is unknown after this, so nothing may go on from it.
    fn must_end(&self) -> bool {
        let of_journal = JOURNAL[..2].contains(&self.pattern);
        of_journal && self.kind == Kind::Io && self.calls & (WRITE | SYNC) != 0
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_torn_whichever_call_fails_on_whichever_file() {
    let (faults, seed) = (number("CDRD_FAULTS", FAULTS), number("CDRD_SEED", 9));
    println!("{faults} faults, seed {seed}");
    let mut faulty = Faulty::new(seed).await;
    let mut random = Rng::with_seed(seed);
    let mut outcomes = BTreeMap::<_, u32>::new();
    for n in 0..faults {
        let fault = match n % 2 {
            // A full disk, on which the journal gives up what every sink has, is `disk`'s.
            0 => Fault::choose(&JOURNAL, &[Kind::Io, Kind::Short], &mut random),
            _ => Fault::choose(&FILES, &[Kind::Io, Kind::Full, Kind::Short], &mut random),
        };
        let outcome = faulty.suffer(&fault, &mut random).await;
        println!("{n}: {fault:?} {outcome}");
        let whose = if n % 2 == 0 { "journal" } else { "files" };
        *outcomes.entry((whose, fault.call(), outcome)).or_default() += 1;
    }
    if let Some(run) = faulty.run.take() {
        run.leave(&faulty.scene);
    }
    for ((whose, call, outcome), times) in &outcomes {
        println!("{whose}: a {call} that failed {outcome}: {times}");
    }
    assert!(outcomes.keys().any(|(_, _, outcome)| *outcome != "was not met"), "{outcomes:?}");
    truth::check(faulty.scene, faults).await;
}

/// The log goes over into the database at a checkpoint. SQLite keeps the log if that
/// cannot be synced, and says nothing; a disk that fails is told all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_that_cannot_be_synced_ends_the_process_and_loses_nothing() {
    let bench = Bench::new().await;
    let (shim, config) = (Shim::compile(bench.directory.path()), bench.path("config.toml"));
    let file = bench.path("cdr.jsonl");
    let sink = format!("[sink.archive]\ntype = \"file\"\npath = {file:?}\nstart = \"beginning\"\n");
    std::fs::write(&config, bench.patient_config_text(&sink)).unwrap();
    let run = || {
        let mut command = cdrd(["run", "-c"]);
        command.arg(&config);
        command
    };
    let mut daemon = Process::start(shim.load(&mut run()));
    bench.subscribed().await;
    shim.arm(&Fault { pattern: JOURNAL[0], calls: SYNC, kind: Kind::Io, after: 0, times: 1 });
    // A checkpoint comes with every 8 MB of log.
    let padding = noise(1, 100_000);
    let mut sent = 0;
    while shim.hits() == 0 {
        assert!(sent < 1_000, "there is no checkpoint");
        let event = format!(
            "{{\"event_type\":\"extension_presence\",\"n\":{sent},\"note\":\"{padding}\"}}"
        );
        bench.pbx.push_raw(&event).await;
        // In step with the process, until it is gone.
        let _ = bench.pbx.settle().await;
        sent += 1;
    }
    daemon.logs("disk I/O error").await;
    let ended = daemon.ended().await.ended_with(74);
    assert!(ended.stderr.contains(&bench.path("journal.db").display().to_string()), "{ended:?}");
    let delivered = envelopes_so_far(&file).len();
    let mut daemon = Process::start(&mut run());
    daemon.logs("ready").await;
    let journalled = bench.journalled();
    assert!(journalled >= delivered && delivered > 0, "{journalled} of {delivered}");
    until("the file has everything", async || envelopes_so_far(&file).len() >= journalled).await;
    daemon.signal("TERM");
    daemon.ended().await.ended_with(0);
    let checked = cdrd(["journal", "check", "-c"]).arg(&config).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
}
