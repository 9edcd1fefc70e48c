//! Secrets planted in every place where a configuration may have one are in nothing that
//! cdrd says or keeps: log at its most talkative, status, metrics, page, errors, journal.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::harness::{Bench, parse, until};
use crate::port::Port;
use crate::process::{Process, cdrd};
use crate::receiver::{Answer, Receiver};

/// In every planted secret; those that must be base64 have it in there.
const MARK: &str = "PLANTED";
/// The admin endpoint's token: whoever asks must know it.
const TOKEN: &str = "PLANTED-admin-token-0123456789abcdef";

fn signing() -> String {
    format!("whsec_{}", STANDARD.encode("PLANTED-signing-secret-32-bytes!"))
}

/// What no output may have: the secrets, and how they go over the wire.
fn forbidden() -> Vec<String> {
    let basic = STANDARD.encode("someone:PLANTED-basic");
    let signing = signing();
    vec![MARK.to_owned(), STANDARD.encode(MARK)[..9].to_owned(), basic, signing[6..].to_owned()]
}

#[track_caller]
fn clean(what: &str, text: &[u8]) {
    for secret in forbidden() {
        let found = text.windows(secret.len()).position(|window| window == secret.as_bytes());
        if let Some(at) = found {
            let around = &text[at.saturating_sub(200)..text.len().min(at + 100)];
            panic!("{what} has a secret: {}", String::from_utf8_lossy(around));
        }
    }
}

fn config_text(
    bench: &Bench,
    receiver: &Receiver,
    admin: SocketAddr,
    webhook: SocketAddr,
) -> String {
    let (url, hook) = (bench.pbx.url(), receiver.url());
    let sinks = format!(
        r#"
[pbx.refused]
url = {url:?}
login = {{ username = "cdr", domain = "example.com", password = "PLANTED-pbx" }}
backfill = {{ login = {{ username = "cdr", password = "PLANTED-rest" }} }}
webhook = {{ listen = "{webhook}", path = "/a", auth = {{ bearer = "PLANTED-webhook-bearer-0123456789" }} }}
[pbx.posting]
wsi = false
backfill.enabled = false
webhook = {{ listen = "{webhook}", path = "/b", auth = {{ digest = {{ username = "someone", password = "PLANTED-digest" }} }} }}
[admin]
listen = "{admin}"
token = "{TOKEN}"
[sink.bearer]
type = "http"
url = {hook:?}
auth = {{ bearer = "PLANTED-bearer" }}
headers = {{ X-Key = {{ env = "CDRD_PLANTED" }} }}
signing_secret = "{signing}"
retry = {{ initial = "50ms", max = "100ms" }}
start = "beginning"
[sink.basic]
type = "http"
url = {hook:?}
auth = {{ username = "someone", password = "PLANTED-basic" }}
mask = {{ caller = "hash" }}
mask_key = "PLANTED-mask-key-0123456789abcdef"
retry = {{ initial = "50ms", max = "100ms" }}
start = "beginning"
[sink.digest]
type = "http"
url = {hook:?}
auth = {{ digest = {{ username = "someone", password = "PLANTED-digest" }} }}
retry = {{ initial = "50ms", max = "100ms" }}
start = "beginning"
"#,
        signing = signing(),
    );
    bench.patient_config_text(&(bench.raw_sink() + &sinks + STREAMS))
}

/// Nothing is for them: what a connect says is asked in `nats::access`.
const STREAMS: &str = if cfg!(feature = "nats") {
    r#"
[sink.stream]
type = "nats"
url = "nats://127.0.0.1:4222"
auth = { token = "PLANTED-nats-token" }
events = ["nothing"]
[sink.stream-by-user]
type = "nats"
url = "nats://127.0.0.1:4222"
auth = { username = "someone", password = "PLANTED-nats-password" }
events = ["nothing"]
"#
} else {
    ""
};

fn get(admin: SocketAddr, path: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(admin).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {admin}\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    answer
}

fn planted(arguments: &[&str]) -> std::process::Command {
    let mut command = cdrd(arguments);
    command.env("CDRD_PLANTED", "PLANTED-header");
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planted_secrets_are_in_no_output_and_not_in_the_journal() {
    let (bench, receiver) = (Bench::new().await, Receiver::start().await);
    // Some deliveries fail first, so that there are errors to tell.
    receiver.answer_next([401, 500, 403, 302, 422, 500].map(Answer::Status));
    let (admin, webhook) = (Port::reserve(), Port::reserve());
    let text = config_text(&bench, &receiver, admin.address, webhook.address);
    let path = bench.path("config.toml");
    std::fs::write(&path, &text).unwrap();
    let config = path.to_str().unwrap();
    let mut daemon = Process::start(&mut planted(&["run", "--log-level", "trace", "-c", config]));
    daemon.logs("login refused").await;
    // The other PBX's session may be the later one, and what is pushed before it is lost.
    bench.subscribed().await;
    bench.push(3).await;
    until("all three have delivered", async || receiver.requests().len() > 20).await;
    for (user, path) in [("-", "/a"), ("x:PLANTED-wrong", "/b")] {
        let mut stream = TcpStream::connect(webhook.address).unwrap();
        let basic = STANDARD.encode(user);
        let head =
            format!("Authorization: Basic {basic}\r\nContent-Length: 2\r\nConnection: close");
        write!(stream, "POST {path} HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n{{}}").unwrap();
        stream.read_to_string(&mut String::new()).unwrap();
    }
    for path in ["/metrics", "/status", "/", "/healthz"] {
        clean(path, &get(admin.address, path));
    }
    for arguments in [
        &["status", "-c", config][..],
        &["status", "--json", "-c", config],
        &["check", "-c", config],
        &["check", "--connect", "-c", config],
        &["backfill", "--pbx", "refused", "--since", "1h", "--dry-run", "-c", config],
        &["dead-letters", "list", "-c", config],
        &["quarantine", "list", "-c", config],
        &["export", "-c", config],
    ] {
        let told = Process::run(&mut planted(arguments), "").await;
        clean(&format!("{arguments:?}"), told.stdout.as_bytes());
        clean(&format!("{arguments:?}"), told.stderr.as_bytes());
    }
    // A reload that is refused, and one that is taken up.
    std::fs::write(&path, text.replace("start = \"beginning\"", "start = \"PLANTED\"")).unwrap();
    let wrong = Process::run(&mut planted(&["check", "-c", config]), "").await.ended_with(78);
    // What stands where no secret should is told; the secrets beside it are not.
    clean("errors", wrong.stderr.replace("\"PLANTED\"", "").as_bytes());
    std::fs::write(&path, text.replace("PLANTED-pbx", "PLANTED-other")).unwrap();
    daemon.signal("HUP");
    daemon.logs("reloaded").await;
    daemon.signal("TERM");
    let outcome = daemon.ended().await;
    assert!(outcome.stderr.contains("TRACE"), "the log is at its most talkative");
    clean("the log", outcome.stderr.as_bytes());
    for name in ["journal.db", "journal.db-wal", "raw.jsonl", "cdr.jsonl"] {
        clean(name, &std::fs::read(bench.path(name)).unwrap_or_default());
    }
}

#[tokio::test]
async fn a_faulty_configuration_is_told_without_its_secrets() {
    let (bench, receiver) = (Bench::new().await, Receiver::start().await);
    let (admin, webhook) = (Port::reserve(), Port::reserve());
    let text = config_text(&bench, &receiver, admin.address, webhook.address);
    let text = text.replace("{ env = \"CDRD_PLANTED\" }", "\"x\"");
    clean("Debug of a configuration", format!("{:#?}", parse(&text)).as_bytes());
    // Each line with a secret made wrong in some way: one error each, and no secret in it.
    let secret_lines: Vec<&str> = text.lines().filter(|line| line.contains(MARK)).collect();
    assert!(secret_lines.len() > 8, "{secret_lines:?}");
    for line in secret_lines {
        for wrong in [
            format!("x{line}"),
            line.replace(" = ", " == "),
            line.replacen('"', "", 1),
            line.replace("\"PLANTED", "{ fiel = \"PLANTED").replacen("\" }", "\" } }", 1),
            line.replace("\"PLANTED", "{ file = \"/PLANTED").replacen("\" }", "\" } }", 1),
            line.replace("password", "pasword")
                .replace("bearer", "baerer")
                .replace("token", "tokn"),
        ] {
            let faulty = text.replace(line, &wrong);
            let told = Process::run(&mut planted(&["check", "-c", "-"]), &faulty).await;
            // A file that cannot be read is named: that is no secret.
            let told = told.stderr.replace("/PLANTED", "");
            clean(&wrong, told.as_bytes());
        }
    }
}
