//! Tokens: both forms, renewal, refusals, and the lockout rule.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cdrd::clock::Clock;
use cdrd::pbx::lockout::{Lockout, Memory, Wait};
use cdrd::rest::{Rest, RestError, Retry};

use super::fake::{Fake, Reply, Request};

const EMPTY: &str = r#"{"count":0,"items":[]}"#;
const TOKEN: &str = "POST /api/login/oauth/token";
const SIGN_IN: &str = "POST /api/auth/sign_in";
const LIST: &str = "GET /api/calllogs";

async fn ask(rest: &mut Rest) -> Result<(), RestError> {
    rest.calls(0, 1000).next().await.map(drop)
}

/// A list for whoever has this token.
fn list(request: &Request, token: &str) -> Reply {
    match request.authorization.as_deref() == Some(&format!("Bearer {token}")) {
        true => Reply::ok(EMPTY),
        false => Reply::status(401),
    }
}

#[tokio::test]
async fn the_documented_form_comes_first_and_the_session_is_ended() {
    let fake = Fake::start(|request| match &*request.line {
        TOKEN => Reply::token("a", 3600),
        LIST => list(request, "a"),
        "GET /api/auth/user" => Reply::ok(r#"{"role":"Admin","password_force_reset":false}"#),
        _ => Reply::ok("{}"),
    })
    .await;
    let mut rest = fake.rest();
    for _ in 0..3 {
        ask(&mut rest).await.unwrap();
    }
    assert_eq!(rest.role(), Some("Admin"));
    rest.close().await;
    let lines: Vec<String> = fake.requests().into_iter().map(|request| request.line).collect();
    let end = "POST /api/login/oauth/revoke";
    assert_eq!(lines, [TOKEN, "GET /api/auth/user", LIST, LIST, LIST, end]);
    assert_eq!(
        fake.requests()[0].body,
        "grant_type=password&username=cdr&password=hunter2%20%26&scope=all\
         &client_id=9d806019-75b2-4b3d-bb8b-f5a3a412cc0a&domain=example.com"
    );
    assert!(fake.requests()[5].body.contains("token=a&"));
}

#[tokio::test]
async fn the_other_form_is_tried_where_the_first_is_not_there_and_remembered() {
    for missing in [404, 405] {
        let fake = Fake::start(move |request| match &*request.line {
            TOKEN => Reply::status(missing),
            SIGN_IN => Reply::token("b", 3600),
            LIST if request.authorization.as_deref() == Some("Bearer b") => Reply::ok(EMPTY),
            LIST => Reply::status(401),
            "POST /api/auth/refresh_token" => Reply::status(400),
            _ => Reply::status(404),
        })
        .await;
        let mut rest = fake.rest();
        ask(&mut rest).await.unwrap();
        ask(&mut rest).await.unwrap();
        rest.close().await;
        assert_eq!((fake.count(TOKEN), fake.count(SIGN_IN)), (1, 1));
        assert_eq!(fake.count("POST /api/auth/sign_out"), 1);
        let body: serde_json::Value = serde_json::from_str(&fake.requests()[1].body).unwrap();
        let expected =
            serde_json::json!({"username":"cdr","password":"hunter2 &","domain":"example.com"});
        assert_eq!(body, expected);
    }
}

#[tokio::test]
async fn without_either_form_the_url_is_wrong() {
    let fake = Fake::start(|_| Reply::status(404)).await;
    let error = ask(&mut fake.rest()).await.unwrap_err();
    assert!(matches!(error, RestError::NotFound { .. }), "{error}");
    assert_eq!(error.retry(), Retry::Operator);
    assert!(error.to_string().contains("/api/login/oauth/token"), "{error}");
}

/// Hands out tokens that live for some seconds, each once.
fn issuing(life: u64, renews: bool) -> impl Fn(&Request) -> Reply {
    let current = Arc::new(Mutex::new(String::new()));
    let number = AtomicU32::new(0);
    move |request| {
        let mut current = current.lock().unwrap();
        match &*request.line {
            TOKEN if request.body.contains("grant_type=refresh_token") && !renews => {
                Reply::status(400)
            }
            TOKEN => {
                *current = format!("t{}", number.fetch_add(1, Ordering::SeqCst));
                Reply::token(&current, life)
            }
            LIST => list(request, &current),
            _ => Reply::status(404),
        }
    }
}

#[tokio::test]
async fn a_token_is_renewed_without_the_password_before_it_expires() {
    for renews in [true, false] {
        let fake = Fake::start(issuing(1, renews)).await;
        let mut rest = fake.rest();
        ask(&mut rest).await.unwrap();
        let deadline = tokio::time::Instant::now() + crate::harness::PATIENCE;
        while fake.count(TOKEN) < 2 {
            assert!(tokio::time::Instant::now() < deadline, "never renewed");
            ask(&mut rest).await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let logins = fake.requests().into_iter().filter(|r| r.body.contains("grant_type=password"));
        let renewals =
            fake.requests().into_iter().filter(|r| r.body.contains("refresh_token=r-t0"));
        assert_eq!((logins.count(), renewals.count()), (if renews { 1 } else { 2 }, 1));
    }
}

#[tokio::test]
async fn a_token_that_is_taken_no_more_means_one_new_login() {
    let gone = Arc::new(AtomicU32::new(1));
    let left = Arc::clone(&gone);
    let issue = issuing(3600, true);
    let fake = Fake::start(move |request| {
        let gone = || left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        match &*request.line {
            LIST if gone().is_ok() => Reply::status(401),
            _ => issue(request),
        }
    })
    .await;
    let mut rest = fake.rest();
    ask(&mut rest).await.unwrap();
    assert_eq!((fake.count(TOKEN), fake.count(LIST)), (2, 2));
    gone.store(2, Ordering::SeqCst);
    let error = ask(&mut rest).await.unwrap_err();
    assert!(matches!(error, RestError::Denied { .. }), "{error}");
    assert_eq!(fake.count(TOKEN), 3, "once and no more");
    ask(&mut rest).await.unwrap();
}

#[tokio::test]
async fn a_second_factor_and_a_forced_new_password_are_told_as_such() {
    let fake = Fake::start(|_| Reply::ok(r#"{"two_factor_enabled":true,"token":"x"}"#)).await;
    let error = ask(&mut fake.rest()).await.unwrap_err();
    assert!(matches!(error, RestError::TwoFactor), "{error}");
    assert_eq!(error.retry(), Retry::Operator);
    let fake = Fake::start(|request| match &*request.line {
        TOKEN => Reply::token("a", 3600),
        "GET /api/auth/user" => Reply::ok(r#"{"password_force_reset":true}"#),
        _ => Reply::status(403),
    })
    .await;
    let error = ask(&mut fake.rest()).await.unwrap_err();
    assert!(matches!(error, RestError::PasswordReset), "{error}");
}

#[tokio::test]
async fn a_user_who_may_not_see_calls_is_told_in_the_pbx_s_words() {
    let fake = Fake::start(|request| match &*request.line {
        TOKEN => Reply::token("a", 3600),
        LIST => Reply::Whole(403, vec![], r#"{"errors":[{"message":"no permission"}]}"#.into()),
        _ => Reply::status(404),
    })
    .await;
    let error = ask(&mut fake.rest()).await.unwrap_err();
    assert!(error.to_string().contains("no permission"), "{error}");
    assert_eq!(error.retry(), Retry::Operator);
}

const REFUSAL: &str = r#"{"errors":[{"code":"UNAUTHORIZED","message":"Wrong password"}]}"#;

#[tokio::test]
async fn a_refused_login_is_not_tried_again_and_counts_for_both_doors() {
    let fake = Fake::start(|_| Reply::Whole(400, vec![], REFUSAL.into())).await;
    let lockout = Lockout::new(Memory::Nowhere, Clock::system(), vec![]);
    let pbx = fake.pbx_with("", "");
    let mut rest = Rest::new(&pbx, lockout.clone(), Clock::system()).unwrap();
    for _ in 0..5 {
        let error = ask(&mut rest).await.unwrap_err();
        assert!(error.to_string().contains("Wrong password"), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert_eq!(error.retry(), Retry::Operator);
    }
    assert_eq!(fake.requests().len(), 1);
    assert_eq!(lockout.blocked("localhost", "hq"), None, "the live session need not wait");
    for pbx in ["a", "b", "c", "d"] {
        lockout.begin("localhost", pbx).await.unwrap().ok().unwrap().refused().await.unwrap();
    }
    assert!(lockout.blocked("localhost", "hq").is_some(), "five at one host, all doors together");
}

#[tokio::test]
async fn a_login_waits_for_the_lockout_rule() {
    let fake = Fake::start(|_| Reply::token("a", 3600)).await;
    let lockout = Lockout::new(Memory::Nowhere, Clock::system(), vec![]);
    for pbx in ["a", "b", "c", "d", "e"] {
        lockout.begin("localhost", pbx).await.unwrap().ok().unwrap().refused().await.unwrap();
    }
    let mut rest = Rest::new(&fake.pbx_with("", ""), lockout, Clock::system()).unwrap();
    let error = ask(&mut rest).await.unwrap_err();
    assert!(matches!(error.retry(), Retry::Locked(Wait::Until(_))), "{error}");
    assert_eq!(fake.requests().len(), 0);
}

#[tokio::test]
async fn a_login_that_finds_the_pbx_busy_or_away_is_no_refusal() {
    let lockout = Lockout::new(Memory::Nowhere, Clock::system(), vec![]);
    let fake = Fake::start(|_| Reply::status(503)).await;
    let mut rest = Rest::new(&fake.pbx_with("", ""), lockout.clone(), Clock::system()).unwrap();
    assert!(matches!(ask(&mut rest).await, Err(RestError::Unavailable { .. })));
    let mut pbx = fake.pbx_with("", "");
    pbx.backfill.as_mut().unwrap().url = "http://localhost:1/api".parse().unwrap();
    let mut rest = Rest::new(&pbx, lockout.clone(), Clock::system()).unwrap();
    assert!(matches!(ask(&mut rest).await, Err(RestError::Connect { .. })));
    assert_eq!(lockout.blocked("localhost", "hq/rest"), None);
}

#[tokio::test]
async fn a_login_without_an_answer_is_not_sent_again_at_once_and_the_third_waits_for_the_rule() {
    let fake = Fake::start(|_| Reply::Cut).await;
    let lockout = Lockout::new(Memory::Nowhere, Clock::system(), vec![]);
    let sent = || fake.count(TOKEN);
    for silent in 1..=3 {
        // A session of its own each: what one has seen must not keep the next from trying.
        let mut rest = Rest::new(&fake.pbx_with("", ""), lockout.clone(), Clock::system()).unwrap();
        let error = ask(&mut rest).await.unwrap_err();
        assert_eq!(sent(), silent, "{error}");
        if silent == 3 {
            assert!(matches!(error, RestError::Silent(_)), "{error}");
            assert!(matches!(error.retry(), Retry::Locked(Wait::Until(_))), "{error}");
            break;
        }
        assert!(matches!(error, RestError::Unanswered { .. }), "{error}");
        assert_eq!(error.retry(), Retry::Later(None));
        assert!(matches!(ask(&mut rest).await, Err(RestError::Unanswered { .. })));
        assert_eq!(sent(), silent, "not again at once");
    }
}
