//! The REST side: logins, tokens, lists, query options.

use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Client, start};
use super::rest_client::{CLIENT_ID, Rest, password_grant, said, sign_in};
use crate::simulator::{Dialect, Options, Simulator};

async fn with_calls(calls: u64) -> (Simulator, Rest) {
    let simulator = start(Options::default()).await;
    simulator.push_calls(calls).await;
    let rest = Rest::logged_in(&simulator).await;
    (simulator, rest)
}

#[tokio::test]
async fn the_form_encoded_login_gives_tokens_that_can_be_renewed_and_revoked() {
    let simulator = start(Options::default()).await;
    let mut rest = Rest::to(&simulator);
    let grant = rest.log_in("cdr").await;
    assert_eq!((&grant["expires_in"], &grant["token_type"]), (&json!(1800), &json!("Bearer")));
    assert_eq!(rest.get("/calllogs", &[]).await.0, 200);
    let old = grant["refresh_token"].as_str().unwrap();
    let renewal =
        [("grant_type", "refresh_token"), ("refresh_token", old), ("client_id", CLIENT_ID)];
    let (status, renewed) = rest.oauth(&renewal).await;
    assert_eq!(status, 200);
    assert_eq!(rest.get("/calllogs", &[]).await.0, 401, "the old token is worthless");
    assert_eq!(rest.oauth(&renewal).await.0, 400, "a refresh token is used once");
    rest.token = renewed["access_token"].as_str().unwrap().into();
    assert_eq!(rest.get("/calllogs", &[]).await.0, 200);
    assert_eq!(simulator.rest_tokens_alive(), 1);
    let token = rest.token.clone();
    assert_eq!(rest.form("/login/oauth/revoke", &[("token", &token)]).await.0, 200);
    assert_eq!(simulator.rest_tokens_alive(), 0);
    assert_eq!(rest.get("/calllogs", &[]).await.0, 401);
    assert_eq!(simulator.rest_logins().len(), 1);
    simulator.shutdown().await;
}

#[tokio::test]
async fn the_json_login_gives_tokens_that_can_be_renewed_and_ended() {
    let simulator = start(Options::default()).await;
    let mut rest = Rest::to(&simulator);
    let (status, grant) = rest.post("/auth/sign_in", sign_in("cdr")).await;
    assert_eq!(status, 200);
    let renewal = json!({"refresh_token": grant["refresh_token"]});
    let (status, renewed) = rest.post("/auth/refresh_token", renewal).await;
    assert_eq!(status, 200);
    rest.token = renewed["access_token"].as_str().unwrap().into();
    let (status, user) = rest.get("/auth/user", &[]).await;
    assert_eq!((status, &user["role"]), (200, &json!("Admin")));
    assert_eq!(user["password_force_reset"], false);
    assert_eq!(rest.post("/auth/sign_out", json!({})).await.0, 200);
    assert_eq!(rest.get("/auth/user", &[]).await.0, 401);
    assert_eq!(simulator.rest_tokens_alive(), 0);
    simulator.shutdown().await;
}

#[tokio::test]
async fn a_wrong_login_is_400_with_the_documented_error() {
    let simulator = start(Options::default()).await;
    let rest = Rest::to(&simulator);
    let changed = |key, value| {
        let mut fields = password_grant("cdr");
        fields.iter_mut().filter(|(name, _)| *name == key).for_each(|field| field.1 = value);
        fields
    };
    for (key, value) in [("password", "guess"), ("username", "101"), ("domain", "other.example")] {
        let (status, body) = rest.oauth(&changed(key, value)).await;
        assert_eq!((status, &body["errors"][0]["code"]), (400, &json!("UNAUTHORIZED")), "{key}");
    }
    let (status, body) = rest.post("/auth/sign_in", json!({"username": "cdr"})).await;
    assert_eq!((status, &body["errors"][0]["code"]), (400, &json!("UNAUTHORIZED")));
    let refused = simulator.rest_logins().iter().filter(|login| login.refused.is_some()).count();
    assert_eq!(refused, 4);
    // These do not come as far as a password.
    for (key, value) in [("client_id", "mine"), ("grant_type", "implicit"), ("scope", "cdr")] {
        assert_eq!(rest.oauth(&changed(key, value)).await.0, 400, "{key}");
    }
    assert_eq!(rest.post("/login/oauth/token", sign_in("cdr")).await.0, 415);
    assert_eq!(simulator.rest_logins().len(), 4);
    assert_eq!(simulator.rest_tokens_alive(), 0);
    simulator.shutdown().await;
}

#[tokio::test]
async fn a_two_factor_user_gets_no_access_token() {
    let simulator = start(Options::default()).await;
    let rest = Rest::to(&simulator);
    let first = rest.oauth(&password_grant("twofactor")).await;
    let second = rest.post("/auth/sign_in", sign_in("twofactor")).await;
    for (status, answer) in [first, second] {
        assert_eq!((status, &answer["two_factor_enabled"]), (200, &json!(true)));
        assert!(answer["token"].is_string() && answer.get("access_token").is_none());
    }
    simulator.shutdown().await;
}

#[tokio::test]
async fn a_forced_password_change_is_told_and_shows_no_calls() {
    let mut options = Options::default();
    options.accounts[0].password_force_reset = true;
    let simulator = start(options).await;
    let rest = Rest::logged_in(&simulator).await;
    assert_eq!(rest.get("/auth/user", &[]).await.1["password_force_reset"], true);
    assert_eq!(rest.get("/calllogs", &[]).await.0, 403);
    simulator.shutdown().await;
}

#[tokio::test]
async fn a_token_expires() {
    let simulator = start(Options { token_life: Duration::ZERO, ..Options::default() }).await;
    let mut rest = Rest::to(&simulator);
    assert_eq!(rest.log_in("cdr").await["expires_in"], 0);
    let (status, body) = rest.get("/calllogs", &[]).await;
    assert_eq!((status, &body["errors"][0]["code"]), (401, &json!("UNAUTHORIZED")));
    assert_eq!(simulator.rest_tokens_alive(), 0);
    simulator.shutdown().await;
}

#[tokio::test]
async fn pages_follow_one_another() {
    let (simulator, rest) = with_calls(25).await;
    let all = rest.sessions(&[]).await;
    assert_eq!(all.len(), 25);
    let mut paged = Vec::new();
    for skip in ["0", "10", "20", "30"] {
        let page = [("$orderby", "started_at asc"), ("$top", "10"), ("$skip", skip)];
        let (_, body) = rest.get("/calllogs", &[&page[..], &[("$count", "true")]].concat()).await;
        assert_eq!(body["count"], 25);
        paged.extend(body["items"].as_array().unwrap().clone());
    }
    let sessions = paged.iter().map(|item| item["session_id"].as_str().unwrap());
    assert!(sessions.eq(all.iter().map(String::as_str)));
    let falling = rest.items("/calllogs", &[("orderby", "started_at desc")]).await;
    assert!(falling.iter().rev().eq(paged.iter()));
    assert!(rest.get("/calllogs", &[]).await.1.get("count").is_none());
    simulator.shutdown().await;
}

#[tokio::test]
async fn filters_choose_by_start_and_caller() {
    let simulator = start(Options::default()).await;
    simulator.remember_calls(300, -3600, 0);
    let rest = Rest::logged_in(&simulator).await;
    let order = ("orderby", "started_at asc");
    let all = rest.items("/calllogs", &[order, ("top", "1000")]).await;
    let text = |item: &Value, key: &str| item[key].as_str().unwrap().to_string();
    let (from, until) = (text(&all[100], "started_at"), text(&all[200], "started_at"));
    let span = format!("started_at ge '{from}' and started_at lt '{until}'");
    let some = rest.items("/calllogs", &[order, ("top", "1000"), ("filter", &span)]).await;
    assert_eq!(some, all[100..200]);
    let open = format!("started_at gt '{from}' and started_at le '{until}'");
    let some = rest.items("/calllogs", &[order, ("top", "1000"), ("$filter", &open)]).await;
    assert_eq!(some, all[101..=200]);
    let caller = text(&all[0], "caller");
    let filter = format!("caller eq '{caller}'");
    let some = rest.items("/calllogs", &[order, ("top", "1000"), ("filter", &filter)]).await;
    assert!(!some.is_empty() && some.iter().all(|item| item["caller"] == caller.as_str()));
    let (status, body) = rest.get("/calllogs", &[("filter", "weather eq 'fine'")]).await;
    assert_eq!((status, &body["errors"][0]["code"]), (400, &json!("BAD_REQUEST")));
    simulator.shutdown().await;
}

#[tokio::test]
async fn a_user_without_permission_sees_own_calls_only_and_the_administrator_all() {
    let (simulator, mut rest) = with_calls(200).await;
    assert_eq!(rest.sessions(&[]).await.len(), 200);
    rest.log_in("admin").await;
    assert_eq!(rest.sessions(&[]).await.len(), 200);
    assert_eq!(rest.get("/auth/user", &[]).await.1["role"], "SystemAdmin");
    rest.log_in("nobody").await;
    let own = rest.sessions(&[]).await;
    assert!((1..200).contains(&own.len()));
    for call in simulator.finished_calls() {
        let session = call.session_id.to_string();
        assert_eq!(own.contains(&session), call.concerns("102"));
    }
    simulator.shutdown().await;
}

#[tokio::test]
async fn a_connection_serves_many_requests_and_wsi_is_on_the_same_port() {
    let simulator = start(Options { tls: true, ..Options::default() }).await;
    let rest = Rest::logged_in(&simulator).await;
    for _ in 0..20 {
        assert_eq!(rest.get("/calllogs", &[]).await.0, 200);
    }
    let mut client = Client::subscribed(&simulator).await;
    let (sessions, _) = tokio::join!(simulator.push_calls(3), client.until_records(3));
    let mut shown = rest.sessions(&[]).await;
    shown.sort();
    let mut pushed = sessions.clone();
    pushed.sort();
    assert_eq!(shown, pushed);
    assert_eq!(simulator.rest_count("/calllogs"), 21);
    simulator.shutdown().await;
}

#[tokio::test]
async fn the_head_of_a_request_may_come_in_pieces_and_a_connection_is_kept() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let simulator = start(Options::default()).await;
    let mut tcp = tokio::net::TcpStream::connect(simulator.addr()).await.unwrap();
    for piece in ["GET /ap", "i/calllogs HTTP/1.1\r\nHo", "st: pbx\r\n\r\n"] {
        tcp.write_all(piece.as_bytes()).await.unwrap();
    }
    tcp.write_all(b"GET /api/cdrs HTTP/1.1\r\nHost: pbx\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut text = String::new();
    tcp.read_to_string(&mut text).await.unwrap();
    assert_eq!(text.matches("HTTP/1.1 401").count(), 2, "{text}");
    simulator.shutdown().await;
}

#[tokio::test]
async fn paths_and_methods_that_are_not_there_are_told_apart() {
    let (simulator, rest) = with_calls(1).await;
    assert_eq!(rest.get("/weather", &[]).await.0, 404);
    assert_eq!(rest.get("/cdrs/17", &[]).await.0, 404);
    let posted = rest.request(reqwest::Method::POST, "/cdrs").body("").send().await.unwrap();
    assert_eq!(posted.headers()["allow"], "GET");
    assert_eq!(said(posted).await.0, 405);
    assert_eq!(rest.get("/login/oauth/token", &[]).await.0, 405);
    simulator.shutdown().await;
    let old = start(Options { dialect: Dialect::V16, ..Options::default() }).await;
    let url = format!("{}/calllogs", old.rest_url());
    let answer = reqwest::Client::builder().tls_backend_preconfigured(plain_tls()).build().unwrap();
    assert_eq!(answer.get(url).send().await.unwrap().status(), 404);
    old.shutdown().await;
}

fn plain_tls() -> rustls::ClientConfig {
    let provider = rustls::crypto::ring::default_provider();
    rustls::ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}
