//! From a request to its answer: faults that hit any request, then the path.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::time::{Instant, timeout};

use super::answer::{Answer, Body};
use super::faults::TokenForm;
use super::log::RestRequest;
use super::{calls, login};
use crate::simulator::hub::Hub;
use crate::simulator::notice::Notice;

/// Longest body that is read: logins are some hundred bytes.
const LONGEST_BODY: usize = 64 * 1024;
/// How long a client may take for its body.
const BODY_LIMIT: Duration = Duration::from_secs(30);
/// Where the REST side begins.
const BASE: &str = "/api";

/// A request, read to its end.
pub struct Asked {
    /// `GET` or `POST`.
    pub method: Method,
    /// Path below the base.
    pub path: String,
    /// Query, as it came.
    pub query: String,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

/// Answers one request. `reset` is the switch that ends the connection in a reset.
pub async fn handle(
    hub: Arc<Hub>,
    reset: Arc<AtomicBool>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let mut asked = Asked {
        method: head.method,
        path: head.uri.path().strip_prefix(BASE).unwrap_or_default().into(),
        query: head.uri.query().unwrap_or_default().into(),
        headers: head.headers,
        body: Bytes::new(),
    };
    let slow = hub.faults().rest.slow;
    tokio::time::sleep(slow).await;
    let answer = match timeout(BODY_LIMIT, Limited::new(body, LONGEST_BODY).collect()).await {
        Ok(Ok(body)) => {
            asked.body = body.to_bytes();
            decide(&hub, &asked)
        }
        _ => Answer::bad_request("The body is too long, or did not come."),
    };
    note(&hub, asked, answer.status);
    let about_calls = answer.status.is_success() && answer.about_calls;
    let mishap = about_calls.then(|| hub.faults().rest.take_mishap()).flatten();
    Ok(answer.into_response(hub.now_ms(), mishap, reset))
}

fn note(hub: &Hub, asked: Asked, status: StatusCode) {
    let Asked { method, path, query, .. } = asked;
    hub.tell(Notice::Rest(format!("{method} {BASE}{path}"), status.as_u16()));
    let request = RestRequest { at: Instant::now(), method, path, query, status: status.as_u16() };
    hub.rest().log.note(request);
    hub.touch();
}

fn decide(hub: &Hub, asked: &Asked) -> Answer {
    let mut faults = hub.faults();
    if let Some(seconds) = faults.rest.take_too_many() {
        let answer =
            Answer::error(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", "Too many requests.");
        return Answer { retry_after: Some(seconds), ..answer };
    }
    if faults.rest.take_unavailable() {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        return Answer::error(status, "UNAVAILABLE", "The service is not available.");
    }
    drop(faults);
    match asked.path.strip_suffix('/').unwrap_or(&asked.path) {
        "/login/oauth/token" => form(hub, asked, TokenForm::OAuth, login::oauth_token),
        "/login/oauth/revoke" => form(hub, asked, TokenForm::OAuth, login::oauth_revoke),
        "/auth/sign_in" => form(hub, asked, TokenForm::SignIn, login::sign_in),
        "/auth/refresh_token" => form(hub, asked, TokenForm::SignIn, login::refresh_token),
        "/auth/sign_out" => form(hub, asked, TokenForm::SignIn, login::sign_out),
        _ => read(hub, asked),
    }
}

/// A path of one form of login: `POST`, unless the form is not there.
fn form(hub: &Hub, asked: &Asked, form: TokenForm, then: fn(&Hub, &Asked) -> Answer) -> Answer {
    let missing = hub.faults().rest.missing(form);
    match missing {
        Some(405) => Answer::wrong_method("GET"),
        Some(_) => Answer::not_found(),
        None if asked.method != Method::POST => Answer::wrong_method("POST"),
        None => then(hub, asked),
    }
}

/// A path that only shows something: `GET`, with a token.
fn read(hub: &Hub, asked: &Asked) -> Answer {
    let path = asked.path.strip_suffix('/').unwrap_or(&asked.path);
    let faults = hub.faults().rest.clone();
    let record = path.strip_prefix("/cdrs/").filter(|_| !faults.no_cdr_details);
    let known = match path {
        "/auth/user" | "/cdrs" => true,
        "/calllogs" => !faults.no_calllogs,
        _ => record.is_some(),
    };
    if !known {
        return Answer::not_found();
    }
    if asked.method != Method::GET {
        return Answer::wrong_method("GET");
    }
    if path != "/auth/user" && hub.faults().rest.take_revocation() {
        hub.rest().tokens.clear();
    }
    let Some(account) = login::account(hub, asked) else {
        return Answer::unauthorized();
    };
    match (path, record) {
        ("/auth/user", _) => login::user(hub, &account),
        _ if login::must_reset(hub, &account) => {
            let message = "The password has to be changed first.";
            Answer::error(StatusCode::FORBIDDEN, "FORBIDDEN", message)
        }
        ("/calllogs", _) => calls::list(hub, &account, &asked.query, calls::Form::CallLogs),
        (_, Some(id)) => calls::details(hub, &account, id),
        _ => calls::list(hub, &account, &asked.query, calls::Form::Cdrs),
    }
}
