//! Packets that are lost, and a cable that is pulled: simulator and daemon in network
//! namespaces of their own, with a bad cable in between.
//!
//! The cable is a pair of Ethernet devices with `tc netem` where the kernel has that; else
//! `packets/cable.py`, which carries packets between two TUN devices and loses some. Needs
//! root. Where it cannot be, the test says so, loudly, and fails if `CDRD_PACKETS_REQUIRED`
//! is set. `CDRD_PACKETS_SECONDS` says how long packets are lost (6 unless set).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cdrd::simulator::{DOMAIN, PASSWORD};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::harness::{envelopes_so_far, number, until, until_within};
use crate::process::{Process, cdrd};

/// Share of packets that are lost, in percent, and how late the others are.
const LOSS: &str = "20";
const DELAY_MS: &str = "10";
/// How soon all must be there once the cable is whole. A backfill that failed again and
/// again waits ten minutes.
const RECOVERY: Duration = Duration::from_secs(900);
/// Calls a second.
const RATE: u64 = 4;

/// Two namespaces and what lies between them; all of it goes with this.
struct Cable {
    names: [String; 2],
    kind: &'static str,
    /// The program that carries packets, if it is one.
    carrier: Option<Process>,
    _folder: TempDir,
    /// What the carrier is told: how much it loses.
    setting: PathBuf,
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let command = &mut Command::new("ip");
    let output = command.args(arguments).output().map_err(|e| format!("ip: {e}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

impl Cable {
    /// Or why there can be none.
    async fn lay() -> Result<Self, String> {
        let id = std::process::id();
        let names = ["pbx", "cdrd"].map(|end| format!("{end}-{id}"));
        let folder = tempfile::tempdir().unwrap();
        let setting = folder.path().join("setting");
        let mut cable = Self { names, kind: "", carrier: None, _folder: folder, setting };
        for name in &cable.names {
            ip(&["netns", "add", name])?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
        }
        cable.kind = match cable.veth() {
            Ok(()) => "veth and netem",
            Err(why) => {
                println!("packets: no netem here ({}); a program carries them", why.trim());
                cable.tun().await?;
                "two TUN devices and a program"
            }
        };
        for (name, address) in cable.names.iter().zip(["10.87.0.1", "10.87.0.2"]) {
            let device = cable.device();
            ip(&["-n", name, "addr", "add", &format!("{address}/24"), "dev", device])?;
            ip(&["-n", name, "link", "set", device, "up"])?;
        }
        cable.set(Some("0"));
        Ok(cable)
    }

    fn device(&self) -> &'static str {
        "cable0"
    }

    fn veth(&self) -> Result<(), String> {
        let [a, b] = &self.names;
        let peer = ["peer", "name", "cable0", "netns", b];
        ip(&[&["link", "add", "cable0", "netns", a, "type", "veth"][..], &peer].concat())?;
        let tried = self.names.iter().try_for_each(|name| netem(name, "add", "0"));
        if tried.is_err() {
            ip(&["-n", a, "link", "del", "cable0"])?;
        }
        tried
    }

    async fn tun(&mut self) -> Result<(), String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cdrd/packets/cable.py");
        let mut carrier = Process::start(
            Command::new("python3").arg(script).args(&self.names).arg(&self.setting).arg(DELAY_MS),
        );
        let said = carrier.has_said("that it is there, or why not", |said| said.contains('\n'));
        let said = said.await;
        if said.trim() != "ready" {
            return Err(said);
        }
        self.carrier = Some(carrier);
        Ok(())
    }

    /// So many percent of packets are lost; `None`: the cable is pulled.
    fn set(&self, loss: Option<&str>) {
        let state = if loss.is_some() { "up" } else { "down" };
        ip(&["-n", &self.names[0], "link", "set", self.device(), state]).unwrap();
        let loss = loss.unwrap_or("0");
        if self.carrier.is_some() {
            // The program may look at any time: the file is whole or not there.
            let new = self.setting.with_extension("new");
            std::fs::write(&new, loss).unwrap();
            std::fs::rename(&new, &self.setting).unwrap();
        } else {
            self.names.iter().for_each(|name| netem(name, "change", loss).unwrap());
        }
    }

    /// A command at one end of it.
    fn at(&self, end: usize, command: &Command) -> Command {
        let mut inside = Command::new("ip");
        inside.args(["netns", "exec", &self.names[end]]).arg(command.get_program());
        inside.args(command.get_args()).env("RUST_BACKTRACE", "0");
        inside
    }
}

fn netem(name: &str, what: &str, loss: &str) -> Result<(), String> {
    let delay = format!("{DELAY_MS}ms");
    let loss = format!("{loss}%");
    let arguments = ["-n", name, "qdisc", what, "dev", "cable0", "root", "netem"];
    let output = Command::new("tc").args(arguments).args(["delay", &delay, "loss", &loss]).output();
    let output = output.map_err(|e| format!("tc: {e}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.carrier = None;
        for name in &self.names {
            // What was never made cannot be deleted.
            let _ = ip(&["netns", "del", name]);
        }
    }
}

fn config_text(folder: &Path) -> String {
    format!(
        "[pbx.hq]\nurl = \"ws://10.87.0.1:8887/wsi\"\nlogin = {{ username = \"cdr\", \
         domain = {DOMAIN:?}, password = {PASSWORD:?} }}\nconnect_timeout = \"3s\"\n\
         ping_interval = \"1s\"\nping_timeout = \"2s\"\n\
         reconnect = {{ initial = \"100ms\", max = \"1s\" }}\n\
         backfill = {{ requests_per_minute = 1000, settle = \"1s\", reconcile_every = \"0s\" }}\n\
         [journal]\npath = {:?}\n[sink.archive]\ntype = \"file\"\npath = {:?}\n\
         events = [\"call_cdr\"]\nstart = \"beginning\"\n",
        folder.join("journal.db"),
        folder.join("cdr.jsonl")
    )
}

/// How often each call is in the file.
fn delivered(folder: &Path) -> BTreeMap<String, usize> {
    let mut delivered = BTreeMap::new();
    for event in envelopes_so_far(&folder.join("cdr.jsonl")) {
        *delivered.entry(event["data"]["call_id"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    delivered
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_fifth_of_all_packets_lost_and_the_cable_pulled_every_call_is_there_once() {
    let cable = match Cable::lay().await {
        Ok(cable) => cable,
        Err(why) => {
            println!("packets: NOT TRIED, since this machine has no such network: {why}");
            eprintln!("packets: NOT TRIED, since this machine has no such network: {why}");
            assert!(std::env::var_os("CDRD_PACKETS_REQUIRED").is_none(), "{why}");
            return;
        }
    };
    let seconds = number("CDRD_PACKETS_SECONDS", 6);
    let (calls, part) = ((seconds * 2 + 4) * RATE, Duration::from_secs(seconds));
    println!("packets: {}; CDRD_PACKETS_SECONDS={seconds}, {calls} calls", cable.kind);
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    std::fs::write(&config, config_text(folder.path())).unwrap();
    let (number_of_calls, rate) = (calls.to_string(), format!("{RATE}/s"));
    let simulate = cdrd([
        "simulate",
        "--unattended",
        "--listen",
        "10.87.0.1:8887",
        "--rate",
        &rate,
        "--calls",
        &number_of_calls,
    ]);
    let mut simulator = Process::start(&mut cable.at(0, &simulate));
    simulator.logs("# REST").await;
    let daemon = Process::start(cable.at(1, &cdrd(["run", "-c"])).arg(&config));
    until("the first call is there", async || !delivered(folder.path()).is_empty()).await;

    cable.set(Some(LOSS));
    sleep(part).await;
    let with_loss = delivered(folder.path()).len();
    cable.set(None);
    sleep(part / 2).await;
    cable.set(Some(LOSS));
    sleep(part / 2).await;
    cable.set(Some("0"));
    let whole = Instant::now();
    simulator.logs("no more will come").await;
    let status = async || -> Value {
        let outcome = Process::run(cdrd(["status", "--json", "-c"]).arg(&config), "").await;
        serde_json::from_str(&outcome.stdout).unwrap()
    };
    until_within(RECOVERY, "every call is there, and every gap is closed", async || {
        sleep(Duration::from_millis(200)).await;
        delivered(folder.path()).len() as u64 >= calls
            && status().await["gaps"]["open"].as_array().unwrap().is_empty()
    })
    .await;
    let delivered = delivered(folder.path());
    let gaps = status().await["gaps"]["closed"].as_array().unwrap().len();
    println!(
        "packets: {with_loss} calls were there while packets were lost; {calls} and {gaps} closed \
         gaps {:.1} s after",
        whole.elapsed().as_secs_f64()
    );
    assert_eq!(delivered.len() as u64, calls);
    assert!(delivered.values().all(|times| *times == 1), "{delivered:?}");
    daemon.signal("TERM");
    daemon.ended().await.ended_with(0);
}
