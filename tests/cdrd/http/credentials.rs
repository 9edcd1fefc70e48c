//! Digest, signatures, secret headers; and that no secret is ever shown.

use std::sync::Mutex;

use cdrd::daemon::Ended;
use md5::Md5;
use sha2::{Digest, Sha256};

use super::{accepted, crm, crm_at, sent};
use crate::harness::{Bench, Running, until};
use crate::process::{Process, cdrd, python};
use crate::receiver::{Answer, Receiver, Request};

type Hash = fn(&str) -> String;

fn hex(hash: impl AsRef<[u8]>) -> String {
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn md5(text: &str) -> String {
    hex(Md5::digest(text))
}

fn sha256(text: &str) -> String {
    hex(Sha256::digest(text))
}

/// The parameter of a Digest answer, without quotes.
fn parameter<'a>(answer: &'a str, name: &str) -> &'a str {
    let start = answer.find(&format!("{name}=")).unwrap_or_else(|| panic!("no {name}: {answer}"));
    let value = &answer[start + name.len() + 1..];
    value.split(", ").next().unwrap().trim_matches('"')
}

/// A receiver that takes Digest alone, each nonce `uses` times, each count once.
fn demanding(algorithm: &'static str, hash: Hash, uses: usize) -> Answer {
    let seen = Mutex::new((0, Vec::<String>::new()));
    Answer::fitting(move |request| {
        let (nonce, counts) = &mut *seen.lock().unwrap();
        let challenge = |nonce: usize, stale| {
            let header = format!(
                "WWW-Authenticate: Basic realm=\"x\", Digest realm=\"the \\\"realm\\\"\", \
                 nonce=\"n{nonce}\", qop=\"auth-int, auth\", algorithm={algorithm}, \
                 opaque=\"o\", stale={stale}"
            );
            Answer::With(401, header)
        };
        let Some(answer) = request.header("authorization") else { return challenge(*nonce, false) };
        let get = |name| parameter(answer, name);
        let secret = hash("cdrd:the \"realm\":pa:ss");
        let what = hash(&format!("POST:{}", get("uri")));
        let expected =
            hash(&format!("{secret}:{}:{}:{}:auth:{what}", get("nonce"), get("nc"), get("cnonce")));
        assert_eq!(get("response"), expected, "{answer}");
        assert_eq!(get("uri"), request.line.split(' ').nth(1).unwrap());
        assert_eq!((get("username"), get("opaque")), ("cdrd", "o"));
        if get("nonce") != format!("n{nonce}") {
            return challenge(*nonce, true);
        }
        let count = get("nc").to_owned();
        assert!(!counts.contains(&count), "{count} came twice");
        counts.push(count);
        if counts.len() == uses {
            (*nonce, *counts) = (*nonce + 1, Vec::new());
        }
        Answer::Status(200)
    })
}

const DIGEST: &str = "auth = { digest = { username = \"cdrd\", password = \"pa:ss\" } }";

#[tokio::test]
async fn a_digest_challenge_is_answered_and_its_nonce_used_until_it_is_stale() {
    for (algorithm, hash) in [("MD5", md5 as Hash), ("SHA-256", sha256)] {
        let (bench, receiver) = (Bench::new().await, Receiver::start().await);
        receiver.answer(demanding(algorithm, hash, 5));
        let sink = crm_at(&format!("{}?a=b%20c", receiver.url()), DIGEST)
            .replace("10ms", "1h")
            .replace("50ms", "1h");
        let daemon = Running::start(&bench.config(&sink));
        bench.subscribed().await;
        bench.push(2).await;
        let events = sent(&bench);
        accepted(&receiver, events.len()).await;
        assert_eq!(daemon.stop().await.unwrap(), Ended::Clean);
        let bodies: Vec<_> = receiver.accepted().into_iter().map(|r| r.body).collect();
        assert_eq!(bodies, events, "no fault was seen: a new try would have come in an hour");
        let refused = receiver.requests().len() - events.len();
        assert_eq!(refused, events.len().div_ceil(5), "one challenge for each nonce");
    }
}

#[tokio::test]
async fn digest_works_with_several_requests_at_once() {
    let (bench, receiver) = (Bench::new().await, Receiver::start().await);
    receiver.answer(demanding("SHA-256", sha256, 1_000_000));
    let daemon =
        Running::start(&bench.config(&crm(&receiver, &format!("in_flight = 16\n{DIGEST}"))));
    bench.subscribed().await;
    bench.push(20).await;
    accepted(&receiver, sent(&bench).len()).await;
    assert_eq!(daemon.stop().await.unwrap(), Ended::Clean);
    assert_eq!(receiver.accepted().len(), sent(&bench).len());
}

#[tokio::test]
async fn a_wrong_digest_password_waits_for_the_operator_without_a_storm() {
    let (bench, receiver) = (Bench::new().await, Receiver::start().await);
    // A new nonce each time and never stale: it is the password.
    let count = Mutex::new(0);
    receiver.answer(Answer::fitting(move |_| {
        let mut count = count.lock().unwrap();
        *count += 1;
        Answer::With(401, format!("WWW-Authenticate: Digest realm=\"r\", nonce=\"{count}\""))
    }));
    let sink = crm(&receiver, DIGEST).replace("10ms", "1h").replace("50ms", "1h");
    std::fs::write(bench.path("config.toml"), bench.config_text(&sink)).unwrap();
    let mut program =
        Process::start(&mut cdrd(["run", "-c", bench.path("config.toml").to_str().unwrap()]));
    bench.subscribed().await;
    bench.push(1).await;
    let log = program.logs("check this sink's auth").await;
    assert!(log.contains("401"), "{log}");
    assert_eq!(receiver.requests().len(), 2, "asked once, answered once");
    assert!(!log.contains("pa:ss"), "{log}");
}

const SECRETS: [&str; 2] =
    ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"];

/// Checks requests as a receiver would, with the specification's own library.
const VERIFY: &str = r#"
import json, sys
from standardwebhooks import Webhook
for secret, headers, body in json.load(sys.stdin):
    Webhook(secret).verify(body, headers)
    try:
        Webhook(secret).verify(body + " ", headers)
    except Exception:
        continue
    raise SystemExit("a changed body was taken")
print("all good")
"#;

async fn verified(requests: &[Request], secrets: &[&str]) {
    let cases: Vec<_> = requests
        .iter()
        .flat_map(|request| secrets.iter().map(move |secret| (secret, request)))
        .map(|(secret, request)| {
            let headers: serde_json::Map<String, serde_json::Value> =
                request.headers.iter().map(|(n, v)| (n.clone(), v.clone().into())).collect();
            let body = String::from_utf8(request.body.clone()).unwrap();
            serde_json::json!([secret, headers, body])
        })
        .collect();
    assert!(!cases.is_empty());
    let input = serde_json::to_string(&cases).unwrap();
    let outcome = Process::run(python().args(["-c", VERIFY]), &input).await;
    assert!(
        outcome.stdout.contains("all good"),
        "{}\nIf the package standardwebhooks is missing: scripts/check installs it",
        outcome.stderr
    );
}

#[tokio::test]
async fn signatures_satisfy_the_library_of_standard_webhooks() {
    for more in ["", "batch = 10", "format = \"cloudevents\""] {
        let (bench, receiver) = (Bench::new().await, Receiver::start().await);
        let more = format!("signing_secret = {SECRETS:?}\n{more}");
        let daemon = Running::start(&bench.config(&crm(&receiver, &more)));
        bench.subscribed().await;
        bench.push(2).await;
        let all = async || receiver.accepted().iter().map(|r| r.events().len()).sum::<usize>();
        until("everything is there", async || all().await == sent(&bench).len()).await;
        daemon.stop().await.unwrap();
        verified(&receiver.accepted(), &SECRETS).await;
        for request in receiver.accepted() {
            assert_eq!(request.header("webhook-id"), request.header("idempotency-key"));
            assert_eq!(request.header("webhook-signature").unwrap().split(' ').count(), 2);
        }
    }
}

#[tokio::test]
async fn headers_may_come_from_files() {
    let (bench, receiver) = (Bench::new().await, Receiver::start().await);
    std::fs::write(bench.path("key"), "s3cret\n").unwrap();
    let more =
        format!("headers = {{ X-Team = \"voice\", X-Key = {{ file = {:?} }} }}", bench.path("key"));
    let daemon = Running::start(&bench.config(&crm(&receiver, &more)));
    bench.subscribed().await;
    bench.push(1).await;
    accepted(&receiver, 1).await;
    daemon.stop().await.unwrap();
    let request = &receiver.accepted()[0];
    assert_eq!(
        (request.header("x-team"), request.header("x-key")),
        (Some("voice"), Some("s3cret"))
    );
}

#[tokio::test]
async fn no_secret_is_logged_or_kept_whatever_goes_wrong() {
    let (bench, receiver) = (Bench::new().await, Receiver::start().await);
    receiver.answer_next([Answer::Cut, Answer::Status(401), Answer::Never, Answer::Status(500)]);
    receiver.answer(Answer::Status(422));
    let more = "timeout = \"100ms\"\nfallback_urls = [\"http://127.0.0.1:1/x?token=hunter2\"]\n\
                headers = { X-Key = \"hunter3\" }\nauth = { username = \"u\", password = \"hunter4\" }\n\
                signing_secret = \"whsec_hunter5hunter5hunter5hunter5hunter5hunte\"";
    let url = format!("{}?token=hunter2", receiver.url());
    let config = bench.path("config.toml");
    std::fs::write(&config, bench.config_text(&crm_at(&url, more))).unwrap();
    let command = ["run", "--log-level", "trace", "-c", config.to_str().unwrap()];
    let mut program = Process::start(&mut cdrd(command));
    bench.subscribed().await;
    bench.push(1).await;
    let log = program.logs("event is now a dead letter").await;
    program.signal("TERM");
    let log = log + &program.ended().await.stderr;
    assert!(receiver.requests()[0].line.contains("token=hunter2"));
    let ours = log.lines().filter(|line| line.contains("cdrd::") || line.contains(" cdrd"));
    let shown: Vec<_> = ours.filter(|line| line.contains("hunter")).collect();
    assert!(shown.is_empty(), "{shown:#?}");
    let check =
        Process::run(&mut cdrd(["check", "--connect", "-c", config.to_str().unwrap()]), "").await;
    let told = format!("{}{}", check.stdout, check.stderr);
    assert!(told.contains("/hooks/cdr") && !told.contains("hunter"), "{told}");
    let letters = crate::harness::dead_letters(&bench.path("journal.db"), "crm");
    assert!(!letters.is_empty() && letters.iter().all(|l| !l.reason.contains("hunter")));
}
