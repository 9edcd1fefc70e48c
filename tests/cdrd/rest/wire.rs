//! What can go wrong on the way: 429, 5xx, silence, floods, redirects, certificates,
//! clocks.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cdrd::clock::Clock;
use cdrd::pbx::lockout::{Lockout, Memory};
use cdrd::rest::{Call, Quirk, Rest, RestError, Retry};
use jiff::Timestamp;
use rustls::pki_types::PrivateKeyDer;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::fake::{Fake, Reply};
use crate::proxy::{Fault, Proxy};

const EMPTY: &str = r#"{"count":0,"items":[]}"#;
const LIST: &str = "GET /api/calllogs";

async fn ask(rest: &mut Rest) -> Result<(), RestError> {
    rest.calls(0, 1000).next().await.map(drop)
}

/// Answers lists with these, then with an empty one.
async fn lists(replies: impl IntoIterator<Item = Reply>) -> Fake {
    let replies: Mutex<VecDeque<Reply>> = Mutex::new(replies.into_iter().collect());
    Fake::start(move |request| match &*request.line {
        "POST /api/login/oauth/token" => Reply::token("a", 3600),
        LIST => replies.lock().unwrap().pop_front().unwrap_or_else(|| Reply::ok(EMPTY)),
        _ => Reply::status(404),
    })
    .await
}

fn later(status: u16, after: &str) -> Reply {
    Reply::Whole(status, vec![format!("retry-after: {after}")], String::new())
}

#[tokio::test]
async fn a_pbx_that_is_busy_for_a_moment_is_waited_for() {
    let fake = lists([later(429, "1"), Reply::status(503), Reply::status(500)]).await;
    let start = Instant::now();
    ask(&mut fake.rest()).await.unwrap();
    assert_eq!(fake.count(LIST), 4);
    assert!(start.elapsed() >= Duration::from_secs(1), "Retry-After is obeyed");
}

#[tokio::test]
async fn a_pbx_that_stays_busy_is_left_to_the_caller_after_a_few_tries() {
    let fake = lists((0..99).map(|_| Reply::status(502))).await;
    let error = ask(&mut fake.rest()).await.unwrap_err();
    assert!(error.to_string().contains("502"), "{error}");
    assert_eq!((error.retry(), fake.count(LIST)), (Retry::Later(None), 4));
    let fake = lists([later(429, "600")]).await;
    let error = ask(&mut fake.rest()).await.unwrap_err();
    assert_eq!(error.retry(), Retry::Later(Some(Duration::from_secs(600))));
    assert_eq!(fake.count(LIST), 1, "a long wait is the caller's");
}

#[tokio::test]
async fn an_answer_that_never_ends_or_never_comes_is_given_up() {
    let fake = lists([Reply::Endless]).await;
    let error = ask(&mut fake.rest()).await.unwrap_err();
    assert!(error.to_string().contains("16 MiB"), "{error}");
    let fake = lists((0..9).map(|_| Reply::Never)).await;
    let pbx = fake.pbx_with("ping_interval = \"1s\"", "");
    let pbx = cdrd::config::Pbx { connect_timeout: Duration::from_millis(50), ..pbx };
    let lockout = Lockout::new(Memory::Nowhere, Clock::system(), vec![]);
    let mut rest = Rest::new(&pbx, lockout, Clock::system()).unwrap();
    let error = ask(&mut rest).await.unwrap_err();
    assert!(matches!(error, RestError::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn nonsense_and_redirects_are_told_as_such() {
    let fake = lists([Reply::ok("<html>login</html>")]).await;
    let error = ask(&mut fake.rest()).await.unwrap_err();
    assert!(matches!(error, RestError::Invalid { .. }), "{error}");
    let elsewhere = vec!["location: http://elsewhere.invalid/".to_owned()];
    let fake = lists([Reply::Whole(302, elsewhere, String::new())]).await;
    let error = ask(&mut fake.rest()).await.unwrap_err();
    assert!(error.to_string().contains("redirects are not followed"), "{error}");
    let fake = lists([Reply::Whole(400, vec![], r#"{"message":"bad filter"}"#.into())]).await;
    let error = ask(&mut fake.rest()).await.unwrap_err();
    assert!(error.to_string().contains("bad filter"), "{error}");
    let fake = lists([Reply::ok(EMPTY), Reply::status(404)]).await;
    let mut rest = fake.rest();
    ask(&mut rest).await.unwrap();
    // Other ids are worse than a wait.
    assert!(matches!(ask(&mut rest).await, Err(RestError::Unavailable { .. })));
    assert_eq!(fake.count("GET /api/cdrs"), 0);
}

#[tokio::test]
async fn the_pbx_s_clock_is_learnt_from_its_answers() {
    for offset in [-180, 0, 180] {
        let fake = Fake::start(move |request| {
            let now = Timestamp::now() + jiff::SignedDuration::from_secs(offset);
            let date = vec![now.strftime("date: %a, %d %b %Y %H:%M:%S GMT").to_string()];
            let Reply::Whole(status, _, body) = (match &*request.line {
                LIST => Reply::ok(EMPTY),
                _ => Reply::token("a", 3600),
            }) else {
                unreachable!()
            };
            Reply::Whole(status, date, body)
        })
        .await;
        let mut rest = fake.rest();
        assert_eq!(rest.clock_offset_ms(), None);
        ask(&mut rest).await.unwrap();
        let learnt = rest.clock_offset_ms().unwrap();
        // The header's second, and half of what an answer may take on a busy machine.
        assert!((learnt - offset * 1000).abs() < 5000, "{learnt} for {offset} s");
    }
}

#[tokio::test]
async fn targets_are_asked_for_until_it_is_clear_that_there_are_none() {
    let item = r#"{"count":1,"items":[{"id":"a/b","session_id":"1","started_at":"1970-01-01T00:00:01Z"}]}"#;
    for there in [true, false] {
        let fake = Fake::start(move |request| match &*request.line {
            "POST /api/login/oauth/token" => Reply::token("a", 3600),
            LIST => Reply::ok(item),
            "GET /api/cdrs/a%2Fb" if there => {
                Reply::ok(r#"{"items":[{"callee":"101","end_reason":"NONE"}],"cost":"0.50"}"#)
            }
            _ => Reply::status(404),
        })
        .await;
        let mut rest = fake.rest();
        let page = rest.calls(1000, 2000).next().await.unwrap().unwrap();
        let call: &Call = &page.calls[0];
        for _ in 0..5 {
            let call = rest.details(call).await.unwrap();
            let event = call.event(&Arc::from("hq"), 1).unwrap();
            let data: serde_json::Value = serde_json::from_slice(&event.raw).unwrap();
            let targets = data["call_targets"].as_array().unwrap();
            assert_eq!((targets.len(), data["cost"].is_string()), (usize::from(there), there));
        }
        assert_eq!(rest.quirks().any(|quirk| quirk == Quirk::NoTargets), !there);
        assert_eq!(fake.count("GET /api/cdrs/"), if there { 5 } else { 3 });
    }
}

/// A PBX with a certificate of its own.
async fn secure() -> (Fake, rcgen::CertifiedKey<rcgen::KeyPair>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let fake = Fake::secure(TlsAcceptor::from(Arc::new(server)), |request| match &*request.line {
        LIST => Reply::ok(EMPTY),
        _ => Reply::token("a", 3600),
    })
    .await;
    (fake, made)
}

#[tokio::test]
async fn bytes_that_a_bad_network_changes_under_tls_are_nothing_for_the_operator() {
    let (fake, _) = secure().await;
    let target = ([127, 0, 0, 1], fake.port).into();
    let proxy = Proxy::start("127.0.0.1", target, true, 5).await;
    proxy.set(Fault::Corrupt);
    let mut pbx = fake.pbx_with("tls = { insecure_skip_verify = true }", "");
    let url = format!("https://{}/api", proxy.address);
    pbx.backfill.as_mut().unwrap().url = url.parse().unwrap();
    let mut wrong = 0;
    for _ in 0..20 {
        // Each knows nothing of the others' logins.
        let lockout = Lockout::new(Memory::Nowhere, Clock::system(), vec![]);
        let mut rest = Rest::new(&pbx, lockout, Clock::system()).unwrap();
        let Err(error) = ask(&mut rest).await else { continue };
        assert!(matches!(error.retry(), Retry::Later(_)), "{error}");
        wrong += 1;
    }
    assert!(wrong > 0, "nothing was changed");
}

#[tokio::test]
async fn a_certificate_is_checked_as_the_pbx_s_tls_table_says() {
    let (fake, made) = secure().await;
    let fingerprint = cdrd::tls::fingerprint(made.cert.der());
    let lockout = Lockout::new(Memory::Nowhere, Clock::system(), vec![]);
    let mut rest = fake.rest();
    let error = ask(&mut rest).await.unwrap_err();
    assert!(matches!(error, RestError::Tls { .. }), "{error}");
    assert!(error.to_string().contains(&fingerprint), "{error}");
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, made.cert.pem()).unwrap();
    let mut pbx = fake.pbx_with("", "");
    for tls in [
        cdrd::config::Tls { ca_file: Some(ca_file), ..Default::default() },
        cdrd::config::Tls { insecure_skip_verify: true, ..Default::default() },
    ] {
        pbx.tls = tls;
        let mut rest = Rest::new(&pbx, lockout.clone(), Clock::system()).unwrap();
        ask(&mut rest).await.unwrap();
    }
}
