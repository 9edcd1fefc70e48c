//! The contract that every sink must keep, asked of each in the same words.
//!
//! A sink joins with an `impl Subject` and a line in `every_sink!`. The daemon is
//! the real program, so that standard output is one like the others.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};

#[cfg(feature = "postgres")]
use base64::prelude::{BASE64_STANDARD, Engine as _};

use crate::harness::{Bench, PATIENCE, until, whole_lines};
use crate::listener::{Listener, Place, data};
#[cfg(feature = "postgres")]
use crate::postgres::server::{self, Database};
use crate::receiver::{Answer, Receiver};

/// One type of sink, with whatever is at its other end.
trait Subject: Sized {
    async fn new(bench: &Bench) -> Self;
    /// Its table, named `[sink.subject]`, in `raw` form where that is enough.
    fn table(&self) -> String;
    /// What has been delivered, in order: the bytes of each event.
    fn delivered(&self) -> Vec<Vec<u8>>;
    /// What its table has besides, if it is to get everything.
    fn usual(&self) -> &'static str {
        ""
    }
    /// From now on nothing can be delivered, until [`Subject::mend`].
    fn break_down(&self);
    fn mend(&self);
    /// What it keeps of an event's bytes, for comparison.
    fn form(&self, event: Vec<u8>) -> Vec<u8> {
        event
    }
    /// Whether one can tell in which order it was given.
    fn has_order(&self) -> bool {
        true
    }
    /// Whether it cannot hold this event, which then becomes a dead letter.
    fn refuses(&self, _event: &str) -> bool {
        false
    }
    /// Standard output goes to the subject, if it wants it.
    fn adopt(&self, _child: &mut Child) {}
}

struct File {
    folder: PathBuf,
}

impl Subject for File {
    async fn new(bench: &Bench) -> Self {
        Self { folder: bench.path("out") }
    }

    fn table(&self) -> String {
        let path = self.folder.join("events.jsonl");
        format!("[sink.subject]\ntype = \"file\"\npath = {path:?}\nformat = \"raw\"\n")
    }

    fn delivered(&self) -> Vec<Vec<u8>> {
        let aside = std::fs::read(self.folder.with_extension("aside").join("events.jsonl"));
        let text = aside.or_else(|_| std::fs::read(self.folder.join("events.jsonl")));
        let text = text.unwrap_or_default();
        whole_lines(&text)
            .split(|b| *b == b'\n')
            .filter(|l| !l.is_empty())
            .map(<[u8]>::to_vec)
            .collect()
    }

    /// The folder is moved away and its name taken by a file.
    fn break_down(&self) {
        if self.folder.exists() {
            std::fs::rename(&self.folder, self.folder.with_extension("aside")).unwrap();
        }
        std::fs::write(&self.folder, "in the way").unwrap();
    }

    fn mend(&self) {
        std::fs::remove_file(&self.folder).unwrap();
        let aside = self.folder.with_extension("aside");
        if aside.exists() {
            std::fs::rename(aside, &self.folder).unwrap();
        }
    }
}

/// Files that are rotated, compressed, and have no final name before.
struct Files {
    file: File,
}

impl Subject for Files {
    async fn new(bench: &Bench) -> Self {
        Self { file: File::new(bench).await }
    }

    fn table(&self) -> String {
        format!(
            "{}rotate = {{ size = \"16KiB\" }}\ncompress = \"zstd\"\nwrite_to = \"partial\"\n\
             manifest = true\n",
            self.file.table()
        )
    }

    fn delivered(&self) -> Vec<Vec<u8>> {
        let aside = self.file.folder.with_extension("aside");
        let folder = if aside.exists() { aside } else { self.file.folder.clone() };
        let text = crate::files::content(&folder, "events");
        text.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(<[u8]>::to_vec).collect()
    }

    fn break_down(&self) {
        self.file.break_down();
    }

    fn mend(&self) {
        self.file.mend();
    }
}

struct Http {
    receiver: Receiver,
}

impl Subject for Http {
    async fn new(_: &Bench) -> Self {
        Self { receiver: Receiver::start().await }
    }

    fn table(&self) -> String {
        let url = self.receiver.url();
        format!(
            "[sink.subject]\ntype = \"http\"\nurl = {url:?}\n\
             retry = {{ initial = \"10ms\", max = \"50ms\" }}\n"
        )
    }

    fn delivered(&self) -> Vec<Vec<u8>> {
        self.receiver.accepted().into_iter().map(|request| request.body).collect()
    }

    fn break_down(&self) {
        self.receiver.answer(Answer::Status(503));
    }

    fn mend(&self) {
        self.receiver.answer(Answer::Status(200));
    }
}

/// A reader of the program's standard output, which can pause.
struct Stdout {
    shared: Arc<(Mutex<Read>, Condvar)>,
}

#[derive(Default)]
struct Read {
    lines: Vec<Vec<u8>>,
    paused: bool,
}

impl Subject for Stdout {
    async fn new(_: &Bench) -> Self {
        Self { shared: Arc::default() }
    }

    fn table(&self) -> String {
        "[sink.subject]\ntype = \"stdout\"\nformat = \"raw\"\n".to_owned()
    }

    fn delivered(&self) -> Vec<Vec<u8>> {
        self.shared.0.lock().unwrap().lines.clone()
    }

    /// Nobody reads: the pipe fills up.
    fn break_down(&self) {
        self.shared.0.lock().unwrap().paused = true;
    }

    fn mend(&self) {
        self.shared.0.lock().unwrap().paused = false;
        self.shared.1.notify_all();
    }

    fn adopt(&self, child: &mut Child) {
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let shared = Arc::clone(&self.shared);
        std::thread::spawn(move || {
            for line in stdout.split(b'\n') {
                // Killed in the middle of a line: the pipe has what was written.
                let Ok(line) = line else { return };
                let mut read = shared.0.lock().unwrap();
                while read.paused {
                    read = shared.1.wait(read).unwrap();
                }
                read.lines.push(line);
            }
        });
    }
}

/// A program that appends each line to a file, and can pause. With `LINE` it
/// confirms each event.
struct Exec<const LINE: bool> {
    out: PathBuf,
    pause: PathBuf,
    script: PathBuf,
}

const APPEND: &str = r#"
while IFS= read -r line; do
    while [ -e "$PAUSE" ]; do sleep 0.01; done
    printf '%s\n' "$line" >> "$OUT"
    [ -n "$CONFIRM" ] || continue
    id=${line#*'"id":"'}
    echo "${id%%'"'*}"
done
"#;

impl<const LINE: bool> Subject for Exec<LINE> {
    async fn new(bench: &Bench) -> Self {
        let [out, pause, script] = ["out", "pause", "append.sh"].map(|name| bench.path(name));
        std::fs::write(&script, APPEND).unwrap();
        Self { out, pause, script }
    }

    fn table(&self) -> String {
        let Self { out, pause, script } = self;
        let (confirm, format, asked) =
            if LINE { ("line", "cloudevents", "1") } else { ("write", "raw", "") };
        format!(
            "[sink.subject]\ntype = \"exec\"\ncommand = [\"/bin/sh\", {script:?}]\n\
             env = {{ OUT = {out:?}, PAUSE = {pause:?}, CONFIRM = {asked:?} }}\n\
             confirm = {confirm:?}\nformat = {format:?}\n"
        )
    }

    fn delivered(&self) -> Vec<Vec<u8>> {
        let text = std::fs::read(&self.out).unwrap_or_default();
        let lines = whole_lines(&text).split(|b| *b == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| if LINE { data(line) } else { line.to_vec() }).collect()
    }

    fn break_down(&self) {
        std::fs::write(&self.pause, "").unwrap();
    }

    fn mend(&self) {
        std::fs::remove_file(&self.pause).unwrap();
    }
}

/// A receiver on a socket that goes away: over TCP, or with `LINE` confirmed over a
/// Unix socket.
struct Socket<const LINE: bool> {
    listener: Listener,
}

impl<const LINE: bool> Subject for Socket<LINE> {
    async fn new(bench: &Bench) -> Self {
        let unix = Place::Unix(bench.path("receiver.sock"));
        let listener = Listener::start(if LINE { unix } else { Place::tcp() }, LINE);
        Self { listener }
    }

    fn table(&self) -> String {
        let address = self.listener.address();
        let (confirm, format) = if LINE { ("line", "cloudevents") } else { ("write", "raw") };
        format!(
            "[sink.subject]\ntype = \"socket\"\naddress = {address:?}\n\
             confirm = {confirm:?}\nformat = {format:?}\n\
             retry = {{ initial = \"10ms\", max = \"50ms\" }}\n"
        )
    }

    fn delivered(&self) -> Vec<Vec<u8>> {
        let lines = self.listener.lines();
        lines.into_iter().map(|line| if LINE { data(&line) } else { line }).collect()
    }

    fn break_down(&self) {
        self.listener.go_away();
    }

    fn mend(&self) {
        self.listener.come_back();
    }
}

/// A real NATS server, which is killed and comes back.
#[cfg(feature = "nats")]
struct Nats {
    server: crate::nats::Server,
}

#[cfg(feature = "nats")]
impl Subject for Nats {
    async fn new(_: &Bench) -> Self {
        Self { server: crate::nats::Server::with_stream() }
    }

    fn table(&self) -> String {
        let table = crate::nats::sink(&self.server, "format = \"raw\"");
        table.replace("[sink.nats]", "[sink.subject]").replace("start = \"beginning\"\n", "")
    }

    fn delivered(&self) -> Vec<Vec<u8>> {
        self.server.stored().into_iter().map(|message| message.body).collect()
    }

    fn break_down(&self) {
        self.server.kill();
    }

    fn mend(&self) {
        self.server.start();
    }
}

/// A topic of one partition, so that it has an order.
#[cfg(feature = "kafka")]
struct Kafka {
    broker: crate::kafka::Broker,
}

#[cfg(feature = "kafka")]
impl Subject for Kafka {
    async fn new(_: &Bench) -> Self {
        Self { broker: crate::kafka::Broker::new(1) }
    }

    fn table(&self) -> String {
        let table = crate::kafka::sink(&self.broker.address(), "format = \"raw\"");
        table.replace("[sink.kafka]", "[sink.subject]").replace("start = \"beginning\"\n", "")
    }

    fn delivered(&self) -> Vec<Vec<u8>> {
        self.broker.stored().into_iter().map(|record| record.value).collect()
    }

    fn break_down(&self) {
        self.broker.lose_replicas();
    }

    fn mend(&self) {
        self.broker.get_replicas_back();
    }
}

/// A database. With `JSON` it is told to keep the bytes, and gets one event at a time, so
/// that their transactions have an order; otherwise it has what `cdrd sink init`
/// makes, and many at a time, of which it keeps the values.
#[cfg(feature = "postgres")]
struct Postgres<const JSON: bool> {
    database: Database<'static>,
}

#[cfg(feature = "postgres")]
impl<const JSON: bool> Subject for Postgres<JSON> {
    async fn new(bench: &Bench) -> Self {
        let subject = Self { database: server::shared().database() };
        let sql = crate::postgres::print_sql(&bench.config_text(&subject.table()), &[]);
        let kind = if JSON { "\"raw\" json " } else { "\"raw\" jsonb " };
        subject.database.ask(&sql.replace("\"raw\" jsonb ", kind));
        subject
    }

    fn table(&self) -> String {
        let batch = if JSON { "batch = 1\n" } else { "" };
        format!(
            "[sink.subject]\ntype = \"postgres\"\nurl = {:?}\n{batch}\
             retry = {{ initial = \"10ms\", max = \"50ms\" }}\n",
            self.database.url()
        )
    }

    fn usual(&self) -> &'static str {
        "events = [\"*\"]\n"
    }

    fn delivered(&self) -> Vec<Vec<u8>> {
        let rows = "select encode(convert_to(raw::text, 'UTF8'), 'base64') as raw from cdr order by xmin::text::bigint";
        let rows = format!("select replace(raw, E'\\n', '') from ({rows}) t;");
        // While it is broken down, nobody can ask it.
        let rows = self.database.server.ask(&self.database.name, &rows).unwrap_or_default();
        rows.lines().map(|row| BASE64_STANDARD.decode(row).unwrap()).collect()
    }

    fn break_down(&self) {
        self.database.shut();
    }

    fn mend(&self) {
        self.database.open();
    }

    fn form(&self, event: Vec<u8>) -> Vec<u8> {
        if JSON {
            return event;
        }
        let value: serde_json::Value = serde_json::from_slice(&event).unwrap();
        value.to_string().into_bytes()
    }

    fn has_order(&self) -> bool {
        JSON
    }

    fn refuses(&self, event: &str) -> bool {
        !JSON && event.contains("\\u0000")
    }
}

/// The real program, killed when dropped.
struct Program(Child);

impl Program {
    fn start(bench: &Bench, subject: &impl Subject, more: &str) -> Self {
        let events = if more.contains("events") { "" } else { subject.usual() };
        let table = format!("{}start = \"beginning\"\n{events}{more}", subject.table());
        // Some ask other programs, which takes the simulated PBX's thread.
        std::fs::write(bench.path("config.toml"), bench.patient_config_text(&table)).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_cdrd"))
            .args(["run", "--log-level", "error", "-c"])
            .arg(bench.path("config.toml"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        subject.adopt(&mut child);
        Self(child)
    }

    /// SIGTERM; the exit code.
    async fn stop(mut self) -> Option<i32> {
        let told = Command::new("kill").arg(self.0.id().to_string()).status().unwrap();
        assert!(told.success());
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(std::time::Instant::now() < deadline, "does not stop");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn sent(bench: &Bench) -> Vec<Vec<u8>> {
    let log = bench.pbx.log();
    log.iter().filter(|p| p.event_type.is_some()).map(|p| p.bytes.to_vec()).collect()
}

/// Whether this is what was sent.
fn same(subject: &impl Subject, delivered: Vec<Vec<u8>>, sent: Vec<Vec<u8>>) -> bool {
    let [delivered, sent] = [delivered, sent].map(|events| {
        let mut events: Vec<_> = events.into_iter().map(|event| subject.form(event)).collect();
        if !subject.has_order() {
            events.sort();
        }
        events
    });
    delivered == sent
}

async fn has_all(bench: &Bench, subject: &impl Subject) {
    let sent = sent(bench);
    until("everything is delivered", async || subject.delivered().len() >= sent.len()).await;
    assert!(same(subject, subject.delivered(), sent), "not the same bytes in the same order");
}

async fn delivers_every_byte_in_order<S: Subject>() {
    let bench = Bench::new().await;
    let subject = S::new(&bench).await;
    let program = Program::start(&bench, &subject, "");
    bench.subscribed().await;
    bench.push(100).await;
    has_all(&bench, &subject).await;
    assert_eq!(program.stop().await, Some(0));
}

async fn waits_out_a_fault_and_goes_on_by_itself<S: Subject>() {
    let bench = Bench::new().await;
    let subject = S::new(&bench).await;
    let program = Program::start(&bench, &subject, "");
    bench.subscribed().await;
    bench.push(10).await;
    has_all(&bench, &subject).await;
    subject.break_down();
    bench.push(300).await;
    assert!(subject.delivered().len() < sent(&bench).len(), "the fault is none");
    subject.mend();
    has_all(&bench, &subject).await;
    assert_eq!(program.stop().await, Some(0));
}

async fn delivers_after_a_restart_what_it_could_not_before<S: Subject>() {
    let bench = Bench::new().await;
    let subject = S::new(&bench).await;
    subject.break_down();
    let program = Program::start(&bench, &subject, "");
    bench.subscribed().await;
    bench.push(300).await;
    let deaf = sent(&bench);
    until("the journal has everything", async || bench.journalled() == deaf.len()).await;
    drop(program);
    subject.mend();
    let program = Program::start(&bench, &subject, "");
    until("everything is delivered", async || {
        let delivered = subject.delivered().into_iter().map(|event| subject.form(event));
        let delivered: std::collections::BTreeSet<_> = delivered.collect();
        deaf.iter().all(|event| delivered.contains(&subject.form(event.clone())))
    })
    .await;
    assert_eq!(program.stop().await, Some(0));
}

async fn gets_only_what_its_filter_wants<S: Subject>() {
    let bench = Bench::new().await;
    let subject = S::new(&bench).await;
    let program =
        Program::start(&bench, &subject, "events = [\"call_cdr\", \"*_answer\"]\npbx = [\"hq\"]\n");
    bench.subscribed().await;
    bench.push(30).await;
    let log = bench.pbx.log();
    let wanted = |t: Option<&str>| t.is_some_and(|t| t == "call_cdr" || t.ends_with("_answer"));
    let expected: Vec<_> =
        log.iter().filter(|p| wanted(p.event_type)).map(|p| p.bytes.to_vec()).collect();
    assert!(expected.len() > 30 && expected.len() < log.len());
    until("it has them", async || subject.delivered().len() >= expected.len()).await;
    assert_eq!(program.stop().await, Some(0));
    assert!(same(&subject, subject.delivered(), expected));
}

async fn takes_hostile_content_as_it_is<S: Subject>() {
    let bench = Bench::new().await;
    let subject = S::new(&bench).await;
    let program = Program::start(&bench, &subject, "");
    bench.subscribed().await;
    let long = format!(
        r#"{{"event_type":"call_cdr","session_id":"2","user_data":"{}"}}"#,
        "ü".repeat(300_000)
    );
    let events = [
        r#"{"event_type":"call_cdr","session_id":"1","caller":"=cmd|' /C calc'!A0","x":"\u0000\ud800\\"}"#,
        &long,
        r#"{"event_type":"queue_\"status\" ü","session_id":"\r\nX-Evil: 1","caller":"☎ 𝄞 \u001b[31m"}"#,
        r#"{"event_type":"unheard_of","nested":{"a":[[],{}],"big":123456789012345678901234567890}}"#,
    ];
    for event in events {
        bench.pbx.push_raw(event).await;
    }
    let taken: Vec<_> = events.iter().filter(|event| !subject.refuses(event)).collect();
    until("it has them", async || subject.delivered().len() >= taken.len()).await;
    assert_eq!(program.stop().await, Some(0));
    let sent: Vec<_> = taken.iter().map(|event| event.as_bytes().to_vec()).collect();
    let delivered = subject.delivered();
    let shown = format!("{:?}", delivered.iter().map(|got| String::from_utf8_lossy(got)));
    assert!(same(&subject, delivered, sent), "{shown}");
    let refused = crate::harness::dead_letters(&bench.path("journal.db"), "subject");
    assert_eq!(refused.len(), events.len() - taken.len());
}

macro_rules! every_sink {
    ($($name:ident: $subject:ty,)*) => {$(
        mod $name {
            use super::*;

            #[tokio::test]
            async fn delivers_every_byte_in_order() {
                super::delivers_every_byte_in_order::<$subject>().await;
            }

            #[tokio::test]
            async fn waits_out_a_fault_and_goes_on_by_itself() {
                super::waits_out_a_fault_and_goes_on_by_itself::<$subject>().await;
            }

            #[tokio::test]
            async fn delivers_after_a_restart_what_it_could_not_before() {
                super::delivers_after_a_restart_what_it_could_not_before::<$subject>().await;
            }

            #[tokio::test]
            async fn gets_only_what_its_filter_wants() {
                super::gets_only_what_its_filter_wants::<$subject>().await;
            }

            #[tokio::test]
            async fn takes_hostile_content_as_it_is() {
                super::takes_hostile_content_as_it_is::<$subject>().await;
            }
        }
    )*};
}

every_sink! {
    exec: Exec<false>,
    exec_confirming: Exec<true>,
    file: File,
    file_rotating: Files,
    http: Http,
    socket: Socket<false>,
    socket_confirming: Socket<true>,
    stdout: Stdout,
}

#[cfg(feature = "kafka")]
every_sink! {
    kafka: Kafka,
}

#[cfg(feature = "nats")]
every_sink! {
    nats: Nats,
}

#[cfg(feature = "postgres")]
every_sink! {
    postgres: Postgres<false>,
    postgres_bytes: Postgres<true>,
}
