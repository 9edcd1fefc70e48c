//! A PBX, a receiver of each kind, and runs of the real process between them.
//!
//! Each run reaches the PBX by an address of its own (127.x.y.1): a login that a kill
//! cut off counts as refused at its host for an hour, and a thousand of them at one
//! host would leave the daemon waiting.

use std::collections::BTreeSet;
use std::fs::File;
use std::future::ready;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use cdrd::clock::Clock;
use cdrd::simulator::{DOMAIN, Options, PASSWORD, Simulator};
use tempfile::TempDir;

use crate::harness::{until, whole_lines};
use crate::listener::{Listener, Place, id};
use crate::process::cdrd;
use crate::receiver::Receiver;

/// Configurations that a start or a reload may bring.
pub const VARIANTS: usize = 5;
/// The one with everything in it, which comes last.
pub const WHOLE: usize = 2;

/// Keeps each line, and confirms it by its id.
const BILL: &str = r#"while IFS= read -r line; do
    printf '%s\n' "$line" >> "$1"
    id=${line#*'"id":"'}; printf '%s\n' "${id%%'"'*}"
done
"#;

/// Where all this happens, and what of it is known by itself.
pub struct Scene {
    pub pbx: Simulator,
    pub http: Receiver,
    pub socket: Listener,
    pub directory: TempDir,
    /// Ids that standard output has told, of all runs.
    pub printed: Mutex<BTreeSet<String>>,
    /// When listening was ended.
    pub deafened: Mutex<Vec<Deafened>>,
}

impl Scene {
    pub async fn new(seed: u64) -> Self {
        let listen = "0.0.0.0:0".parse().unwrap();
        let pbx = Simulator::start(Options { seed, listen, ..Options::default() }).await.unwrap();
        let mut directory = tempfile::tempdir().unwrap();
        // For whoever wants to see what a failure left.
        directory.disable_cleanup(std::env::var_os("CDRD_KEEP").is_some());
        let socket = Listener::start(Place::Unix(directory.path().join("socket")), true);
        let http = Receiver::start().await;
        std::fs::write(directory.path().join("bill.sh"), BILL).unwrap();
        let (printed, deafened) = (Mutex::default(), Mutex::default());
        Self { pbx, http, socket, directory, printed, deafened }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Notes that from some moment since `began_ms`, and certainly from now on, nobody
    /// listens.
    pub fn deaf(&self, began_ms: i64, how: Deaf) {
        self.deafened.lock().unwrap().push(Deafened { began_ms, over_ms: now_ms(), how });
    }

    fn url(&self, kill: u64) -> String {
        let port = self.pbx.addr().port();
        format!("ws://127.{}.{}.1:{port}/wsi", 1 + kill / 250 % 250, kill % 250)
    }

    pub fn write_config(&self, kill: u64, variant: usize) {
        let (url, journal) = (self.url(kill), self.path("journal.db"));
        let text = format!(
            "[pbx.hq]\nurl = {url:?}\nreconnect = {{ initial = \"10ms\", max = \"50ms\" }}\n\
             ping_timeout = \"20s\"\n\
             login = {{ username = \"cdr\", domain = {DOMAIN:?}, password = {PASSWORD:?} }}\n\
             backfill = {{ requests_per_minute = 1000, settle = \"500ms\", reconcile_every = \"0s\" }}\n\
             [journal]\npath = {journal:?}\n{}",
            self.sinks(variant)
        );
        // In one step: a reload shall see the old or the new one.
        std::fs::write(self.path("config.new"), text).unwrap();
        std::fs::rename(self.path("config.new"), self.path("config.toml")).unwrap();
    }

    fn sinks(&self, variant: usize) -> String {
        let quick = "start = \"beginning\"\nretry = { initial = \"5ms\", max = \"50ms\" }";
        let start = "start = \"beginning\"";
        let (books, extra) = (self.path("out/cdr.jsonl"), self.path("extra.jsonl"));
        let (bill, billed) = (self.path("bill.sh"), self.path("billed.jsonl"));
        let (size, compress) = if variant == 3 { ("16KiB", "gzip") } else { ("32KiB", "zstd") };
        let batch = if variant == 1 { 10 } else { 1 };
        let mut text = format!(
            "[sink.console]\ntype = \"stdout\"\n{start}\n\
             [sink.books]\ntype = \"file\"\npath = {books:?}\n{start}\n\
             rotate = {{ size = {size:?} }}\ncompress = {compress:?}\nmanifest = true\n\
             [sink.crm]\ntype = \"http\"\nurl = {:?}\nformat = \"cloudevents\"\nbatch = {batch}\n{quick}\n\
             [sink.collector]\ntype = \"socket\"\naddress = {:?}\nconfirm = \"line\"\n{quick}\n",
            self.http.url(),
            self.socket.address()
        );
        if variant != 4 {
            text += &format!(
                "[sink.bill]\ntype = \"exec\"\ncommand = [\"/bin/sh\", {bill:?}, {billed:?}]\n\
                 confirm = \"line\"\n{quick}\n"
            );
        }
        if variant == WHOLE {
            text += &format!("[sink.extra]\ntype = \"file\"\npath = {extra:?}\n{start}\n");
        }
        text
    }
}

/// By what listening was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deaf {
    /// The process is gone.
    Ended,
    /// The connection is gone; what had come before may still be read.
    CutOff,
}

/// An end of listening: at some moment of a span in Unix milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Deafened {
    pub began_ms: i64,
    pub over_ms: i64,
    pub how: Deaf,
}

/// By the clock on the wall.
pub fn now_ms() -> i64 {
    Clock::system().now_ms()
}

/// One run of the process.
pub struct Run {
    child: Child,
    kill: u64,
    out: PathBuf,
    err: PathBuf,
}

impl Run {
    pub fn start(scene: &Scene, kill: u64, variant: usize) -> Self {
        Self::start_as(scene, kill, variant, |_| {})
    }

    /// With a change to the command.
    pub fn start_as(
        scene: &Scene,
        kill: u64,
        variant: usize,
        change: impl FnOnce(&mut Command),
    ) -> Self {
        scene.write_config(kill, variant);
        let (out, err) = (scene.path("stdout"), scene.path("stderr"));
        let file = |path| Stdio::from(File::create(path).unwrap());
        let mut command = cdrd(["run", "--log-level", "info", "-c"]);
        command.arg(scene.path("config.toml"));
        change(&mut command);
        let child = command.stdin(Stdio::null()).stdout(file(&out)).stderr(file(&err));
        Self { child: child.spawn().unwrap(), kill, out, err }
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.err).unwrap()).into_owned()
    }

    /// How it ended, if it has.
    pub fn over(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Fails the test if the process has ended by itself.
    #[track_caller]
    fn lives(&mut self) {
        if let Some(status) = self.over() {
            panic!("run {} ended by itself, {status}: {}", self.kill, self.log());
        }
    }

    async fn logs(&mut self, words: &str) {
        until(words, || {
            self.lives();
            ready(self.log().contains(words))
        })
        .await;
    }

    pub async fn ready(&mut self) {
        self.logs("INFO ready").await;
    }

    pub async fn subscribed(&mut self, scene: &Scene) {
        self.ready().await;
        until("it is subscribed", || {
            self.lives();
            ready(scene.pbx.subscribed() > 0)
        })
        .await;
    }

    /// Another configuration, for the same host.
    pub fn reload(&mut self, scene: &Scene, variant: usize) {
        scene.write_config(self.kill, variant);
        self.signal("HUP");
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status();
        assert!(sent.unwrap().success(), "{name} cannot be sent");
    }

    pub fn kill(mut self, scene: &Scene) {
        self.lives();
        self.leave(scene);
    }

    /// Kills it, unless it has ended.
    pub fn leave(mut self, scene: &Scene) {
        let now = now_ms();
        // Fails if it has ended.
        let _ = self.child.kill();
        self.child.wait().unwrap();
        scene.deaf(now, Deaf::Ended);
        self.gather(scene);
    }

    /// Stops it in order.
    pub async fn end(mut self, scene: &Scene) {
        self.lives();
        self.signal("TERM");
        let mut status = None;
        until("the process ends", || {
            status = self.over();
            ready(status.is_some())
        })
        .await;
        assert!(status.unwrap().success(), "{status:?}: {}", self.log());
        self.gather(scene);
    }

    /// What standard output has so far; a kill may have torn the last line.
    pub fn gather(&self, scene: &Scene) {
        let told = std::fs::read(&self.out).unwrap();
        let lines = whole_lines(&told).split(|byte| *byte == b'\n');
        let ids = lines.filter(|line| !line.is_empty()).map(id);
        scene.printed.lock().unwrap().extend(ids);
        let log = self.log();
        assert!(!log.contains("panicked"), "run {}: {log}", self.kill);
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Both fail if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How long a run may take for what is left, once nobody kills it any more.
pub fn patience(kills: u64) -> Duration {
    Duration::from_secs(120 + kills / 2)
}
