//! Two daemons as one: both hear the same PBX and feed the same receiver, and each is
//! killed, cut off from the PBX and cut off from the receiver in turn. No call may be
//! missing, though nothing is fetched back over REST.
//!
//! `CDRD_PAIR_CALLS=10000` makes the long form; figures are printed.

#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "postgres")]
mod postgres;
mod receiver;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cdrd::simulator::{DOMAIN, Options, PASSWORD};

use crate::harness::{Bench, PATIENCE, number, until_within};
use crate::process::{Process, cdrd};
use crate::wire::Wire;

/// Quick to come back, and slow to give a connection up: on a busy machine a late pong
/// would be a second fault at the same time.
const PATIENT: &str = r#"
    backfill = { enabled = false }
    connect_timeout = "10s"
    reconnect = { initial = "20ms", max = "200ms" }
"#;
/// Calls of the short form.
const CALLS: u64 = 504;
/// Faults, at least; each kind meets each daemon.
const FEWEST_FAULTS: u64 = 24;
/// So many calls for each fault, at most.
const CALLS_A_FAULT: u64 = 50;

/// What both feed.
trait Target {
    /// Where it listens.
    fn address(&self) -> SocketAddr;

    /// A table `[sink.shared]` that reaches it at this address.
    fn sink(&self, at: SocketAddr) -> String;

    /// How many different ids are there.
    fn count(&self) -> usize;

    /// The `session_id` of every CDR that is there, doubles too, in any order.
    fn calls(&self) -> Vec<String>;

    /// It fails for a moment and is itself again when this returns.
    async fn stumble(&self) {}
}

/// One of the two.
struct Node {
    config: PathBuf,
    to_pbx: Wire,
    to_target: Wire,
    program: Option<Process>,
}

impl Node {
    fn new(bench: &Bench, target: &impl Target, name: &str) -> Self {
        let (to_pbx, to_target) = (Wire::to(bench.pbx.addr()), Wire::to(target.address()));
        let directory = bench.path(name);
        std::fs::create_dir(&directory).unwrap();
        let config = directory.join("config.toml");
        let text = format!(
            "[pbx.hq]\nurl = \"ws://{}/wsi\"\nlogin = {{ username = \"cdr\", domain = {DOMAIN:?}, \
             password = {PASSWORD:?} }}\n{PATIENT}\n[journal]\npath = {:?}\n{}\n",
            to_pbx.address,
            directory.join("journal.db"),
            target.sink(to_target.address),
        );
        std::fs::write(&config, text).unwrap();
        let mut node = Self { config, to_pbx, to_target, program: None };
        node.start();
        node
    }

    fn start(&mut self) {
        let config = self.config.to_str().unwrap();
        let arguments = ["run", "--log-level", "error", "-c", config];
        self.program = Some(Process::start(&mut cdrd(arguments)));
    }

    fn kill(&mut self) {
        self.program = None;
    }

    async fn stop(&mut self) {
        let program = self.program.take().expect("it runs");
        program.signal("TERM");
        program.ended().await.ended_with(0);
    }

    /// CDRs in its journal.
    async fn heard(&self) -> usize {
        let config = self.config.to_str().unwrap();
        let arguments = ["export", "--type", "call_cdr", "--format", "raw", "-c", config];
        Process::run(&mut cdrd(arguments), "").await.ended_with(0).stdout.lines().count()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Killed,
    CutOffFromPbx,
    CutOffFromTarget,
    TargetStumbles,
}

const FAULTS: [Fault; 4] =
    [Fault::Killed, Fault::CutOffFromPbx, Fault::CutOffFromTarget, Fault::TargetStumbles];

/// What came of it.
struct Outcome {
    sent: BTreeSet<String>,
    /// By call, how often it is at the target.
    there: BTreeMap<String, usize>,
    heard: [usize; 2],
    faults: BTreeMap<Fault, u32>,
    took: Duration,
}

impl Outcome {
    fn at_target(&self) -> usize {
        self.there.values().sum()
    }

    fn assert_nothing_is_missing(&self) {
        let missing: Vec<_> = self.sent.iter().filter(|id| !self.there.contains_key(*id)).collect();
        assert!(missing.is_empty(), "{} calls are missing: {missing:.3?}", missing.len());
        let unknown = self.there.keys().find(|id| !self.sent.contains(*id));
        assert_eq!(unknown, None, "nobody made this call");
    }

    fn print(&self, target: &str) {
        let Self { sent, there, heard: [a, b], faults, took } = self;
        let most = there.values().max().copied().unwrap_or_default();
        println!(
            "{target}: {} calls, faults {faults:?}, {:.0} s. The daemons heard {a} and {b} CDRs, \
             {} together; at the target are {} for {} calls ({most} of one, at most): {} suppressed",
            sent.len(),
            took.as_secs_f32(),
            a + b,
            self.at_target(),
            there.len(),
            (a + b).saturating_sub(self.at_target()),
        );
    }
}

fn calls() -> u64 {
    number("CDRD_PAIR_CALLS", CALLS)
}

async fn run(target: &impl Target) -> Outcome {
    let bench = Bench::with(Options { record: false, ..Options::default() }).await;
    let mut nodes = ["a", "b"].map(|name| Node::new(&bench, target, name));
    let (started, mut random) = (Instant::now(), fastrand::Rng::with_seed(28));
    let (mut sent, mut faults) = (BTreeSet::new(), BTreeMap::new());
    both_listen(&bench, 2).await;
    let rounds = calls().div_ceil(CALLS_A_FAULT).max(FEWEST_FAULTS).next_multiple_of(8);
    let a_round = calls().div_ceil(rounds);
    for round in 0..rounds {
        let [fault, turn] = [round / 2 % 4, round % 2].map(|n| usize::try_from(n).unwrap());
        let fault = FAULTS[fault];
        *faults.entry(fault).or_default() += 1;
        let node = &mut nodes[turn];
        let connections = bench.pbx.connections_ever();
        let moment = Duration::from_millis(random.u64(0..50));
        let strike = async {
            tokio::time::sleep(moment).await;
            match fault {
                Fault::Killed => node.kill(),
                Fault::CutOffFromPbx => node.to_pbx.cut(),
                Fault::CutOffFromTarget => node.to_target.cut(),
                Fault::TargetStumbles => target.stumble().await,
            }
        };
        let (first, ()) = tokio::join!(bench.pbx.push_calls(a_round / 2), strike);
        sent.extend(first);
        sent.extend(bench.pbx.push_calls(a_round / 4).await);
        match fault {
            Fault::Killed => node.start(),
            Fault::CutOffFromPbx => node.to_pbx.mend(),
            Fault::CutOffFromTarget => node.to_target.mend(),
            Fault::TargetStumbles => {}
        }
        sent.extend(bench.pbx.push_calls(a_round - a_round / 2 - a_round / 4).await);
        // The next fault meets the other daemon. What this one missed must not be in the
        // other's socket by then, where a kill would find it: two faults at once may lose
        // calls, and are not what is asked here.
        let anew = matches!(fault, Fault::Killed | Fault::CutOffFromPbx);
        both_listen(&bench, connections + usize::from(anew)).await;
        let deadline = Instant::now() + PATIENCE * 2;
        while target.count() < sent.len() {
            if Instant::now() > deadline {
                let there: BTreeSet<_> = target.calls().into_iter().collect();
                let missing: Vec<_> = sent.difference(&there).collect();
                panic!("round {round}, {fault:?} of {turn}: {missing:?} are missing");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    for node in &mut nodes {
        node.stop().await;
    }
    let mut there = BTreeMap::new();
    for id in target.calls() {
        *there.entry(id).or_default() += 1;
    }
    let heard = [nodes[0].heard().await, nodes[1].heard().await];
    Outcome { sent, there, heard, faults, took: started.elapsed() }
}

/// Both are subscribed, after so many connections in all. Without that count, one that
/// has ended, and whose end the PBX has not noticed yet, would be taken for a new one.
async fn both_listen(bench: &Bench, connections: usize) {
    let pbx = &bench.pbx;
    let open = || pbx.connections().iter().filter(|c| c.ending.is_none()).count();
    until_within(PATIENCE, "both listen", async || {
        pbx.connections_ever() >= connections && pbx.subscribed() == 2 && open() == 2
    })
    .await;
}

fn session_id(event: &[u8]) -> String {
    let event: serde_json::Value = serde_json::from_slice(event).expect("an event is JSON");
    event["session_id"].as_str().expect("a call has an id").to_owned()
}
