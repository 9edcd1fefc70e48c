//! The admin endpoint of a running daemon, over real sockets.
//!
//! | file | asks |
//! |---|---|
//! | this one | metrics, health, readiness, status: do they say what is so? |
//! | `guard` | who is let in, and who is kept out |
//! | `page` | the page for people, in a real browser |

mod guard;
mod page;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cdrd::daemon::{Daemon, DaemonError};
use cdrd::pbx::state::Phase;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::harness::{Bench, NO_BACKFILL, PATIENCE, PLAIN_BACKFILL, Running, parse, until};
use crate::process::{Process, cdrd};
use crate::schema::assert_fits;

const ADMIN: &str = "[admin]\nlisten = \"127.0.0.1:0\"\n";

/// An answer over HTTP.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub head: String,
    pub body: String,
}

/// Asks for a path, with these header lines besides `Connection: close`.
pub async fn ask(address: SocketAddr, request: &str, headers: &[&str]) -> Answer {
    let host = format!("Host: {address}");
    let hosted = headers.iter().any(|line| line.to_ascii_lowercase().starts_with("host:"));
    let own = if hosted { None } else { Some(host.as_str()) };
    let lines: Vec<&str> = headers.iter().copied().chain(own).collect();
    let text = format!("{request} HTTP/1.1\r\nConnection: close\r\n{}\r\n\r\n", lines.join("\r\n"));
    let asking = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(text.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(String::from_utf8(answer).expect("the answer is UTF-8"))
    };
    let answer = timeout(PATIENCE, asking).await.expect("an answer in time").unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    Answer { code, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

pub async fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, &format!("GET {path}"), &[]).await
}

/// Asks until the answer is as wanted.
async fn until_answer(address: SocketAddr, path: &str, is_so: impl Fn(&Answer) -> bool) -> Answer {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = get(address, path).await;
        if is_so(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "never as wanted: {}\n{}", answer.head, answer.body);
        sleep(Duration::from_millis(10)).await;
    }
}

async fn status(address: SocketAddr) -> Value {
    let answer = get(address, "/status").await;
    assert_eq!(answer.code, 200, "{answer:?}");
    serde_json::from_str(&answer.body).unwrap()
}

/// A daemon with an admin endpoint, subscribed.
pub async fn daemon(bench: &Bench, more: &str) -> (Running, SocketAddr) {
    let text = bench.patient_config_text(&format!("{}{more}", bench.raw_sink()));
    let text = text.replace(NO_BACKFILL, PLAIN_BACKFILL);
    let running = Running::start(&parse(&text));
    let address = running.admin.expect("there is an admin endpoint");
    running.phase(Phase::Subscribed).await;
    (running, address)
}

/// `promtool` of Prometheus; `scripts/check` gets it.
fn promtool() -> Command {
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin/promtool");
    let path = std::env::var_os("CDRD_TEST_PROMTOOL").map(PathBuf::from);
    let path = path.or_else(|| fetched.exists().then_some(fetched));
    Command::new(path.unwrap_or_else(|| "promtool".into()))
}

/// Every name of the contract, with its labels.
const NAMES: &[&str] = &[
    "cdrd_pbx_connected{pbx=\"hq\"} 1",
    "cdrd_pbx_subscribed{pbx=\"hq\",topic=\"cdr_events\"} 1",
    "cdrd_connects_total{pbx=\"hq\",result=\"ok\"} 1",
    "cdrd_connects_total{pbx=\"hq\",result=\"refused\"} 0",
    "cdrd_login_refused_total{pbx=\"hq\"} 0",
    "cdrd_events_received_total{pbx=\"hq\",type=\"call_cdr\"} 3",
    "cdrd_events_duplicate_total{pbx=\"hq\"} 0",
    "cdrd_events_quarantined_total{pbx=\"hq\"} 1",
    "cdrd_last_event_timestamp_seconds{pbx=\"hq\"} ",
    "cdrd_journal_events ",
    "cdrd_journal_bytes ",
    "cdrd_journal_commit_seconds_bucket{le=\"+Inf\"} ",
    "cdrd_sink_delivered_total{sink=\"raw\"} ",
    "cdrd_sink_lag_events{sink=\"raw\"} 0",
    "cdrd_sink_lag_seconds{sink=\"raw\"} 0",
    "cdrd_sink_errors_total{sink=\"raw\",kind=\"retry\"} 0",
    "cdrd_sink_errors_total{sink=\"raw\",kind=\"refused\"} 0",
    "cdrd_sink_dead_letters{sink=\"raw\"} 0",
    "cdrd_gaps_open{pbx=\"hq\"} ",
    "cdrd_gap_seconds_total{pbx=\"hq\"} ",
    "cdrd_backfilled_total{pbx=\"hq\"} ",
    "cdrd_reconcile_missing_total{pbx=\"hq\"} ",
    "cdrd_build_info{version=\"0.1.0\"} 1",
];

#[tokio::test]
async fn a_scrape_has_every_metric_of_the_contract_and_prometheus_accepts_it() {
    let bench = Bench::new().await;
    let (daemon, address) = daemon(&bench, ADMIN).await;
    bench.push(3).await;
    bench.pbx.push_raw("{\"event_type\": nonsense").await;
    let events = bench.pbx.log().len() - 1;
    let delivered = format!("cdrd_sink_delivered_total{{sink=\"raw\"}} {events}");
    let wanted: Vec<&str> = NAMES.iter().copied().chain([delivered.as_str()]).collect();
    let scrape = until_answer(address, "/metrics", |answer| {
        wanted.iter().all(|name| answer.body.lines().any(|line| line.starts_with(name)))
    })
    .await;
    assert!(scrape.head.contains("content-type: text/plain"), "{}", scrape.head);
    let text = scrape.body;
    let mut checked = Process::start(promtool().args(["check", "metrics"]));
    checked.write(&text);
    checked.close_stdin();
    let said = checked.ended().await.ended_with(0);
    assert_eq!(said.stdout + &said.stderr, "");
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn ready_means_that_every_pbx_is_subscribed() {
    let bench = Bench::new().await;
    let (daemon, address) = daemon(&bench, ADMIN).await;
    assert_eq!(get(address, "/healthz").await.code, 200);
    let ready = get(address, "/readyz").await;
    assert_eq!((ready.code, ready.body.contains("\"ready\": true")), (200, true), "{ready:?}");
    daemon.stop().await.unwrap();

    let text = format!(
        "{}{}{}{ADMIN}[pbx.gone]\nurl = \"ws://127.0.0.1:1/wsi\"\n\
         login = {{ username = \"u\", domain = \"d\", password = \"p\" }}\n",
        bench.pbx_table(),
        bench.journal_table(),
        bench.raw_sink(),
    );
    let daemon = Running::start(&parse(&text));
    let address = daemon.admin.unwrap();
    assert_eq!(get(address, "/healthz").await.code, 200);
    let answer = until_answer(address, "/readyz", |answer| {
        answer.body.contains("pbx \\\"gone\\\": waiting: ") && !answer.body.contains("hq")
    })
    .await;
    assert_eq!(answer.code, 503);
    let reasons = answer.body;
    assert!(serde_json::from_str::<Value>(&reasons).unwrap()["reasons"].is_array());
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn status_over_http_is_what_the_command_says_and_fits_its_schema() {
    let schema: Value =
        serde_json::from_str(include_str!("../../../docs/status.schema.json")).unwrap();
    let bench = Bench::new().await;
    let (daemon, address) = daemon(&bench, ADMIN).await;
    bench.push(2).await;
    let events = bench.pbx.log().len() as u64;
    until("all is delivered", || async {
        let status = status(address).await;
        status["sinks"].as_array().unwrap().iter().all(|sink| sink["delivered"] == events)
    })
    .await;
    let config = bench.path("config.toml");
    std::fs::write(&config, bench.config_text(&bench.raw_sink())).unwrap();
    let arguments = ["status", "--json", "-c", config.to_str().unwrap()];
    let comparable = |mut status: Value| {
        status["at"] = Value::Null;
        status
    };
    until("both say the same", || async {
        let outcome = Process::run(&mut cdrd(arguments), "").await.ended_with(0);
        let told: Value = serde_json::from_str(&outcome.stdout).unwrap();
        assert_fits(&schema, &told);
        let over_http = status(address).await;
        assert_fits(&schema, &over_http);
        comparable(told) == comparable(over_http)
    })
    .await;
    daemon.stop().await.unwrap();
    let outcome = Process::run(&mut cdrd(arguments), "").await.ended_with(0);
    let told: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_fits(&schema, &told);
    assert_eq!((&told["running"], &told["ok"]), (&Value::Bool(false), &Value::Bool(false)));
    assert_eq!(told["sinks"][0]["delivered"], events, "{told:#}");
    assert!(told["pbxs"][0]["last_event"].is_string() && told["since"].is_string(), "{told:#}");
}

#[tokio::test]
async fn an_address_that_is_taken_is_told_before_anything_starts() {
    let bench = Bench::new().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let more = format!("{}[admin]\nlisten = \"{address}\"\n", bench.raw_sink());
    let refused = Daemon::start(&bench.config(&more), cdrd::clock::Clock::system()).err().unwrap();
    assert!(matches!(refused, DaemonError::Admin { .. }));
    let told = refused.to_string();
    assert!(told.contains(&format!("[admin] listen: cannot listen on {address}: ")), "{told}");
    assert_eq!(bench.pbx.log().len(), 0);
}

#[tokio::test]
async fn an_open_page_does_not_keep_the_daemon_from_stopping() {
    let bench = Bench::new().await;
    let (daemon, address) = daemon(&bench, ADMIN).await;
    let mut open = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /events HTTP/1.1\r\nHost: {address}\r\n\r\n");
    open.write_all(request.as_bytes()).await.unwrap();
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /metr").await.unwrap();
    let mut some = [0; 12];
    timeout(PATIENCE, open.read_exact(&mut some)).await.unwrap().unwrap();
    assert_eq!(&some, b"HTTP/1.1 200");
    timeout(Duration::from_secs(15), daemon.stop()).await.expect("stops in time").unwrap();
}
