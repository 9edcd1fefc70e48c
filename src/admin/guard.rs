//! Who may ask.
//!
//! Without a token only this machine can connect, but a browser on this machine runs
//! other people's pages. Two things keep those out: a request must name this host by an
//! address or as localhost, so that a name that somebody else points at 127.0.0.1 (DNS
//! rebinding) is refused; and it must not come from another site's page.
//!
//! With a token, whoever knows it may ask by any name: as a bearer token, or, for
//! browsers, as the password of Basic authentication with any user name.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::config;

/// Tells nothing, so that probes need no token.
const OPEN_TO_ALL: &str = "/healthz";

/// The rules.
pub(super) struct Guard {
    /// Of the token. Digests are compared, so that time tells nothing about it.
    token: Option<[u8; 32]>,
}

impl Guard {
    pub(super) fn new(settings: &config::Admin) -> Self {
        Self { token: settings.token.as_ref().map(|token| digest(token.reveal())) }
    }

    /// Why not; `None` lets the request in.
    fn refusal(&self, request: &Request) -> Option<Response> {
        let headers = request.headers();
        if from_another_site(request.method(), headers) {
            let words = "requests from other sites' pages are refused";
            return Some(refused(StatusCode::FORBIDDEN, words));
        }
        if request.uri().path() == OPEN_TO_ALL {
            return None;
        }
        match self.token {
            Some(token) if given(headers).is_some_and(|given| digest(&given) == token) => None,
            Some(_) => Some(wants_token()),
            None if names_this_machine(request) => None,
            None => Some(refused(
                StatusCode::MISDIRECTED_REQUEST,
                "ask by IP address or as localhost; other names need a token in [admin]",
            )),
        }
    }
}

pub(super) async fn check(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match guard.refusal(&request) {
        None => next.run(request).await,
        Some(refused) => refused,
    };
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// For every answer: nobody else's page may show or read it, and nothing keeps it.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn refused(code: StatusCode, words: &'static str) -> Response {
    (code, format!("{words}\n")).into_response()
}

fn wants_token() -> Response {
    let ask = HeaderValue::from_static("Basic realm=\"cdrd\", charset=\"UTF-8\"");
    let words = "the token of [admin] is needed: as a bearer token, or as a password\n";
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, ask)], words).into_response()
}

/// The token that somebody gives, in either form.
fn given(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
    pair.split_once(':').map(|(_, password)| password.to_owned())
}

/// Browsers say where a request comes from. To follow a link to the page is fine.
fn from_another_site(method: &Method, headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let followed_link = method == Method::GET && text("sec-fetch-mode") == Some("navigate");
    let site = text("sec-fetch-site").unwrap_or("none");
    let other_site = !matches!(site, "none" | "same-origin") && !followed_link;
    let foreign_origin = text("origin").is_some_and(|origin| {
        let origin = origin.split_once("://").map_or(origin, |(_, host)| host);
        Some(origin) != text("host")
    });
    other_site || foreign_origin
}

fn names_this_machine(request: &Request) -> bool {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let Some(host) = host.or_else(|| request.uri().authority().map(|host| host.as_str())) else {
        // HTTP/1.0, which no browser speaks.
        return request.version() < axum::http::Version::HTTP_11;
    };
    is_address_or_localhost(host)
}

fn is_address_or_localhost(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_others_can_point_at_this_machine_is_foreign() {
        for host in
            ["localhost", "localhost:9187", "127.0.0.1:9187", "[::1]:9187", "[::1]", "192.0.2.1"]
        {
            assert!(is_address_or_localhost(host), "{host}");
        }
        for host in
            ["evil.example", "evil.example:9187", "127.0.0.1.evil.example", "", "localhost.evil"]
        {
            assert!(!is_address_or_localhost(host), "{host}");
        }
    }
}
