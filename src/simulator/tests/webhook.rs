//! The PBX's own webhook, with a plain receiver written from the protocol page.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::client::{LIMIT, start};
use crate::simulator::{Fate, Options, Rate, Simulator, WebhookAuth, WebhookOptions, WebhookTally};

/// What a receiver got: the header `Authorization`, and the body.
type Got = (Option<String>, String);
/// Status line and headers of the answer to a request.
type Judge = dyn Fn(usize, &Got) -> String + Send + Sync;

struct Receiver {
    url: String,
    got: Arc<Mutex<Vec<Got>>>,
    task: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    async fn new(judge: impl Fn(usize, &Got) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/pbx?x=1", listener.local_addr().unwrap());
        let got = Arc::default();
        let task = tokio::spawn(serve(listener, Arc::clone(&got), Arc::new(judge)));
        Self { url, got, task }
    }

    fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    fn bodies(&self) -> BTreeSet<String> {
        self.got().into_iter().map(|(_, body)| body).collect()
    }
}

async fn serve(listener: TcpListener, got: Arc<Mutex<Vec<Got>>>, judge: Arc<Judge>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((tcp, _)) = listener.accept().await {
        let (got, judge) = (Arc::clone(&got), Arc::clone(&judge));
        connections.spawn(async move {
            let mut tcp = BufReader::new(tcp);
            while let Some(one) = read(&mut tcp).await {
                let answer = {
                    let mut got = got.lock().unwrap();
                    let answer = judge(got.len(), &one);
                    got.push(one);
                    answer
                };
                let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n");
                if tcp.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }
}

async fn read(tcp: &mut BufReader<tokio::net::TcpStream>) -> Option<Got> {
    let (mut authorization, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        if tcp.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        let lower = line.to_ascii_lowercase();
        if lower.starts_with("authorization: ") {
            authorization = Some(line["authorization: ".len()..].to_string());
        }
        if let Some(value) = lower.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
        if let Some(value) = lower.strip_prefix("content-type: ") {
            assert_eq!(value, "application/json");
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    tcp.read_exact(&mut body).await.ok()?;
    Some((authorization, String::from_utf8(body).unwrap()))
}

fn quick(url: &str, auth: WebhookAuth) -> WebhookOptions {
    let retries = vec![Duration::from_millis(10); 5];
    WebhookOptions { auth, retries, ..WebhookOptions::to(url) }
}

async fn pbx(receiver: &Receiver, auth: WebhookAuth) -> Simulator {
    let webhook = Some(quick(&receiver.url, auth));
    start(Options { webhook, ..Options::default() }).await
}

#[tokio::test]
async fn every_event_of_a_call_is_posted_whether_or_not_anybody_is_subscribed() {
    let receiver = Receiver::new(|_, _| "200 OK".into()).await;
    let webhook = Some(quick(&receiver.url, WebhookAuth::None));
    let (rate, calls) = (Rate::PerSecond(200.0), Some(20));
    let options = Options { webhook, rate, calls, unattended: true, ..Options::default() };
    let simulator = start(options).await;
    assert!(simulator.wait_calls_made(LIMIT).await);
    assert!(simulator.wait_webhook_idle(LIMIT).await);
    let deliveries = simulator.webhook_deliveries();
    assert!(deliveries.iter().all(|one| (one.attempts, &one.fate) == (1, &Fate::Accepted)));
    let sent = deliveries.iter().map(|one| String::from_utf8(one.bytes.to_vec()).unwrap());
    assert_eq!(sent.collect::<BTreeSet<_>>(), receiver.bodies());
    let sorted = |mut sessions: Vec<String>| {
        sessions.sort();
        sessions
    };
    let ended = simulator.ended_calls().into_iter().map(|call| call.session_id);
    assert_eq!(sorted(simulator.calls_accepted_by_webhook()), sorted(ended.collect()));
    assert!(deliveries.len() > 100);
    let all = WebhookTally { accepted: deliveries.len() as u64, failed: 0, waiting: 0 };
    assert_eq!(simulator.webhook_tally(), all);
    simulator.shutdown().await;
}

#[tokio::test]
async fn what_is_not_answered_200_comes_again_five_times_and_is_given_up() {
    let receiver = Receiver::new(|_, _| "204 No Content".into()).await;
    let simulator = pbx(&receiver, WebhookAuth::None).await;
    simulator.push_call(-10, 0).await;
    assert!(simulator.wait_webhook_idle(LIMIT).await);
    let deliveries = simulator.webhook_deliveries();
    assert_eq!((deliveries.len(), deliveries[0].attempts), (1, 6));
    assert_eq!(deliveries[0].fate, Fate::Failed("204".into()));
    assert_eq!(receiver.got().len(), 6);
    assert!(simulator.calls_accepted_by_webhook().is_empty());
    simulator.shutdown().await;
}

#[tokio::test]
async fn a_receiver_that_recovers_in_time_gets_everything() {
    let answer = |count, _: &Got| if count < 3 { "503 Busy".into() } else { "200 OK".into() };
    let receiver = Receiver::new(answer).await;
    let simulator = pbx(&receiver, WebhookAuth::None).await;
    let calls = simulator.push_calls(5).await;
    assert!(simulator.wait_webhook_idle(LIMIT).await);
    assert_eq!(simulator.calls_accepted_by_webhook().len(), calls.len());
    let attempts: u32 = simulator.webhook_deliveries().iter().map(|one| one.attempts).sum();
    assert_eq!(attempts as usize, receiver.got().len());
    simulator.shutdown().await;
}

#[tokio::test]
async fn a_404_ends_the_webhook_until_it_is_set_again() {
    let receiver = Receiver::new(|_, _| "404 Not Found".into()).await;
    let simulator = pbx(&receiver, WebhookAuth::None).await;
    simulator.push_call(-10, 0).await;
    assert!(simulator.wait_webhook_idle(LIMIT).await);
    assert!(simulator.webhook_disabled());
    simulator.push_calls(3).await;
    assert_eq!((simulator.webhook_deliveries().len(), receiver.got().len()), (1, 1));
    let better = Receiver::new(|_, _| "200 OK".into()).await;
    simulator.set_webhook(Some(quick(&better.url, WebhookAuth::None))).await.unwrap();
    let call = simulator.push_call(-10, 0).await;
    assert!(simulator.wait_webhook_idle(LIMIT).await);
    assert_eq!(simulator.calls_accepted_by_webhook(), [call.session_id]);
    simulator.set_webhook(None).await.unwrap();
    simulator.push_calls(1).await;
    assert_eq!(simulator.webhook_deliveries().len(), 2);
    simulator.shutdown().await;
}

#[tokio::test]
async fn the_pbx_shows_who_it_is_in_the_three_documented_ways() {
    let basic = WebhookAuth::Basic("pbx".into(), "s3cret".into());
    let bearer = WebhookAuth::Bearer("t0ken".into());
    for (auth, expected) in [(basic, "Basic cGJ4OnMzY3JldA=="), (bearer, "Bearer t0ken")] {
        let receiver = Receiver::new(|_, _| "200 OK".into()).await;
        let simulator = pbx(&receiver, auth).await;
        simulator.push_call(-10, 0).await;
        assert!(simulator.wait_webhook_idle(LIMIT).await);
        assert_eq!(receiver.got()[0].0.as_deref(), Some(expected));
        simulator.shutdown().await;
    }
    let challenge = |_: usize, (authorization, _): &Got| match authorization {
        None => "401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"cdrd\", nonce=\"n1\", \
                 qop=\"auth\", algorithm=SHA-256"
            .into(),
        Some(_) => "200 OK".into(),
    };
    let receiver = Receiver::new(challenge).await;
    let simulator = pbx(&receiver, WebhookAuth::Digest("pbx".into(), "s3cret".into())).await;
    simulator.push_call(-10, 0).await;
    assert!(simulator.wait_webhook_idle(LIMIT).await);
    let got = receiver.got();
    assert_eq!((got.len(), &got[0].0, &got[0].1), (2, &None, &got[1].1));
    let answer = got[1].0.as_deref().unwrap();
    for part in ["username=\"pbx\"", "uri=\"/pbx?x=1\"", "nc=00000001", "algorithm=SHA-256"] {
        assert!(answer.contains(part), "{answer}");
    }
    assert_eq!(simulator.calls_accepted_by_webhook().len(), 1);
    simulator.shutdown().await;
}

#[tokio::test]
async fn certificates_are_checked_against_the_ca_file_or_not_at_all() {
    // Any TLS server will do: another simulator answers a POST to /wsi with 426.
    let receiver = start(Options { tls: true, ..Options::default() }).await;
    let url = format!("https://{}/wsi", receiver.addr());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), receiver.certificate_pem().unwrap()).unwrap();
    let simulator = start(Options::default()).await;
    let fate = async |options: WebhookOptions| {
        simulator.set_webhook(Some(options)).await.unwrap();
        simulator.push_call(-10, 0).await;
        assert!(simulator.wait_webhook_idle(LIMIT).await);
        simulator.webhook_deliveries().pop().unwrap().fate
    };
    let options = WebhookOptions { retries: Vec::new(), ..WebhookOptions::to(&url) };
    let Fate::Failed(why) = fate(options.clone()).await else { panic!("accepted") };
    assert!(why.contains("certificate"), "{why}");
    let ca_file = Some(file.path().to_path_buf());
    let upgrade = Fate::Failed("426".into());
    assert_eq!(fate(WebhookOptions { ca_file, ..options.clone() }).await, upgrade);
    assert_eq!(fate(WebhookOptions { insecure: true, ..options.clone() }).await, upgrade);
    let missing = WebhookOptions { ca_file: Some("/nowhere.pem".into()), ..options };
    let error = simulator.set_webhook(Some(missing)).await.unwrap_err().to_string();
    assert!(error.contains("/nowhere.pem"), "{error}");
    assert!(simulator.set_webhook(Some(WebhookOptions::to("ftp://x/"))).await.is_err());
    simulator.shutdown().await;
    receiver.shutdown().await;
}
