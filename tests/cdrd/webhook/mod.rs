//! The webhook intake: what is answered, what is kept, and that all ways make one event.

mod curl;
mod ways;

use std::net::SocketAddr;
use std::path::Path;

use cdrd::config::Tls;
use cdrd::event::{Origin, Stored};
use cdrd::journal::reader::Reader;
use reqwest::{Client, Method, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Bench, Running, noise, parse, quarantine, until};

const TOKEN: &str = "auth = { bearer = \"t0ken\" }";
const EVENT: &str =
    r#"{"event_type":"call_cdr","session_id":"952690852418417594","call_id":"a@b","caller":"101"}"#;

/// A PBX that only posts; no session, no REST.
fn table(name: &str, path: &str, auth: &str) -> String {
    format!(
        "[pbx.{name}]\nwsi = false\nbackfill.enabled = false\nmax_frame = \"64KiB\"\n\
         [pbx.{name}.webhook]\nlisten = \"127.0.0.1:0\"\npath = \"{path}\"\n{auth}\n"
    )
}

fn hq(bench: &Bench, auth: &str) -> String {
    format!("{}{}{}", table("hq", "/portsip/hq", auth), bench.journal_table(), bench.raw_sink())
}

fn start(bench: &Bench) -> (Running, String) {
    let daemon = Running::start(&parse(&hq(bench, TOKEN)));
    let url = format!("http://{}/portsip/hq", daemon.webhooks[0]);
    (daemon, url)
}

/// A client for plain HTTP.
fn client() -> Client {
    let tls = Tls { insecure_skip_verify: true, ..Tls::default() };
    let tls = (*cdrd::tls::client_config(&tls).unwrap()).clone();
    Client::builder().tls_backend_preconfigured(tls).build().unwrap()
}

async fn post(url: &str, body: impl Into<reqwest::Body>) -> Response {
    let request = client().post(url).bearer_auth("t0ken").body(body);
    request.timeout(crate::harness::PATIENCE).send().await.unwrap()
}

fn stored(journal: &Path) -> Vec<Stored> {
    Reader::open(journal).unwrap().after(0, 10_000, usize::MAX).unwrap()
}

#[tokio::test]
async fn a_post_is_in_the_journal_once_it_is_answered_and_then_at_the_sink() {
    let bench = Bench::new().await;
    let (daemon, url) = start(&bench);
    for n in 1..=20 {
        let body = EVENT.replace("594", &format!("{}", 100 + n));
        assert_eq!(post(&url, body).await.status(), StatusCode::OK);
        assert_eq!(bench.journalled(), n);
    }
    let events = stored(&bench.path("journal.db"));
    assert!(events.iter().all(|e| e.event.origin == Origin::Webhook && &*e.event.pbx == "hq"));
    daemon.stop().await.unwrap();
    let raw = std::fs::read_to_string(bench.path("raw.jsonl")).unwrap();
    assert_eq!(raw.lines().count(), 20);
}

#[tokio::test]
async fn what_comes_twice_is_one_event_and_both_are_answered_200() {
    let bench = Bench::new().await;
    let (daemon, url) = start(&bench);
    for _ in 0..3 {
        assert_eq!(post(&url, EVENT).await.status(), StatusCode::OK);
    }
    assert_eq!(bench.journalled(), 1);
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn a_body_that_cannot_be_decoded_is_kept_and_answered_200() {
    let bench = Bench::new().await;
    let (daemon, url) = start(&bench);
    let bodies: [&[u8]; 5] = [b"{\"event_type\":7}", b"[]", b"", b"\xff", b"{\"status\":0}"];
    for (n, body) in bodies.into_iter().enumerate() {
        assert_eq!(post(&url, body).await.status(), StatusCode::OK);
        let kept = quarantine(&bench.path("journal.db"));
        assert_eq!((kept.len(), &*kept[n].data), (n + 1, body));
        assert_eq!(kept[n].origin, Origin::Webhook);
    }
    assert_eq!(bench.journalled(), 0);
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn every_other_request_has_the_answer_that_it_deserves() {
    let bench = Bench::new().await;
    let (daemon, url) = start(&bench);
    let client = client();
    let other = client.post(url.replace("/hq", "/hq/")).bearer_auth("t0ken").body(EVENT);
    assert_eq!(other.send().await.unwrap().status(), StatusCode::NOT_FOUND);
    for method in [Method::GET, Method::PUT, Method::OPTIONS] {
        let answer = client.request(method, &url).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer.headers()["allow"], "POST");
    }
    for wrong in [None, Some("other")] {
        let request = client.post(&url).body(format!("{EVENT}{}", " ".repeat(60_000)));
        let request = match wrong {
            None => request,
            Some(token) => request.bearer_auth(token),
        };
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(answer.headers()["www-authenticate"], "Bearer realm=\"cdrd\"");
    }
    let query = format!("{url}?a=b");
    assert_eq!(post(&query, EVENT).await.status(), StatusCode::OK);
    assert_eq!(bench.journalled(), 1);
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_with_and_without_its_length() {
    let bench = Bench::new().await;
    let (daemon, url) = start(&bench);
    let fits = format!("{}{}", EVENT, " ".repeat(65_536 - EVENT.len()));
    assert_eq!(post(&url, fits.clone()).await.status(), StatusCode::OK);
    let large = fits + " ";
    assert_eq!(post(&url, large.clone()).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let head = "POST /portsip/hq HTTP/1.1\r\nhost: h\r\nauthorization: Bearer t0ken\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunked = format!("{head}{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    assert!(talk(daemon.webhooks[0], &chunked).await.starts_with("HTTP/1.1 413"));
    assert_eq!(bench.journalled(), 1);
    daemon.stop().await.unwrap();
}

/// Writes this, and reads the first of the answer.
async fn talk(address: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // It may be answered, and closed, before it has all.
    let _ = stream.write_all(text.as_bytes()).await;
    let mut answer = vec![0; 1024];
    let read = tokio::time::timeout(crate::harness::PATIENCE, stream.read(&mut answer));
    let n = read.await.expect("an answer in time").unwrap();
    String::from_utf8_lossy(&answer[..n]).into_owned()
}

#[tokio::test]
async fn two_pbxs_share_an_address_and_each_has_its_own_secret() {
    let bench = Bench::new().await;
    let text =
        format!("{}{}", table("branch", "/b", "auth = { bearer = \"other\" }"), hq(&bench, TOKEN));
    let daemon = Running::start(&parse(&text));
    assert_eq!(daemon.webhooks.len(), 1);
    let address = daemon.webhooks[0];
    assert_eq!(post(&format!("http://{address}/portsip/hq"), EVENT).await.status(), 200);
    assert_eq!(post(&format!("http://{address}/b"), EVENT).await.status(), 401);
    let right = client().post(format!("http://{address}/b")).bearer_auth("other").body(EVENT);
    assert_eq!(right.send().await.unwrap().status(), 200);
    let pbxs: Vec<_> =
        stored(&bench.path("journal.db")).iter().map(|e| e.event.pbx.to_string()).collect();
    assert_eq!(pbxs, ["hq", "branch"]);
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn while_the_journal_is_full_the_pbx_is_told_to_come_again() {
    let bench = Bench::new().await;
    let nowhere = "[sink.crm]\ntype = \"http\"\nurl = \"http://127.0.0.1:1/\"\n";
    let journal = format!("{}max_size = \"1MiB\"\n", bench.journal_table());
    let text = format!("{}{journal}{nowhere}", table("hq", "/portsip/hq", TOKEN));
    let daemon = Running::start(&parse(&text));
    let url = format!("http://{}/portsip/hq", daemon.webhooks[0]);
    let mut taken = 0;
    let refused = loop {
        let body = EVENT.replace("594", &format!("{}", 100 + taken));
        let padding = noise(taken as u64, 60_000 - body.len());
        let large = body.replacen('{', &format!("{{\"x\":\"{padding}\","), 1);
        let answer = post(&url, large).await;
        if answer.status() != StatusCode::OK {
            break answer;
        }
        taken += 1;
        assert!(taken < 200, "never full");
    };
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "30");
    assert_eq!(bench.journalled(), taken, "what was confirmed is there");
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn a_stop_lets_open_requests_finish_and_takes_no_new_ones() {
    let bench = Bench::new().await;
    let (daemon, url) = start(&bench);
    let address = daemon.webhooks[0];
    let sent: Vec<_> = (100..300)
        .map(|n| {
            let url = url.clone();
            tokio::spawn(async move {
                let body = EVENT.replace("594", &n.to_string());
                let request = client().post(&url).bearer_auth("t0ken").body(body);
                request.send().await.is_ok_and(|answer| answer.status() == StatusCode::OK)
            })
        })
        .collect();
    until("some are there", || async { bench.journalled() > 5 }).await;
    daemon.stop().await.unwrap();
    let mut confirmed = 0;
    for task in sent {
        confirmed += usize::from(task.await.unwrap());
    }
    assert!(confirmed > 5 && bench.journalled() >= confirmed, "{confirmed}");
    assert!(TcpStream::connect(address).await.is_err());
    let raw = std::fs::read_to_string(bench.path("raw.jsonl")).unwrap();
    assert_eq!(raw.lines().count(), bench.journalled(), "what was taken is delivered");
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_stop() {
    let bench = Bench::new().await;
    let (daemon, _) = start(&bench);
    let mut half = TcpStream::connect(daemon.webhooks[0]).await.unwrap();
    half.write_all(b"POST /portsip/hq HTTP/1.1\r\nhost: h\r\nauthorization: Bearer t0ken\r\ncontent-length: 9\r\n\r\n").await.unwrap();
    let _idle = TcpStream::connect(daemon.webhooks[0]).await.unwrap();
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn an_address_that_is_taken_ends_the_start_with_its_name() {
    let bench = Bench::new().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let text = hq(&bench, TOKEN).replace("127.0.0.1:0", &address.to_string());
    let Err(error) = cdrd::daemon::Daemon::start(&parse(&text), cdrd::clock::Clock::system())
    else {
        panic!("it started")
    };
    let told = error.to_string();
    assert!(told.contains(&address.to_string()) && told.contains("[pbx.hq]"), "{told}");
    assert_eq!(cdrd_exit(&error), 74);
    drop(taken);
}

fn cdrd_exit(error: &cdrd::daemon::DaemonError) -> i32 {
    cdrd::cli::exit::Exit::of_daemon(error) as i32
}
