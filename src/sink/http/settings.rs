//! The keys of a `[sink.NAME]` of type `http`.

use std::ops::RangeInclusive;
use std::time::Duration;

use reqwest::Client;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::auth::Credentials;
use super::signature::{self, Key};
use super::target::{Endpoint, Target, Targets};
use super::{HttpSink, Plan};
use crate::config::{Auth, Section, Tls, is_loopback, read_auth, read_tls};
use crate::sink::format::{Encoder, Format};
use crate::sink::{OpenError, Retry};
use crate::tls;

const SCHEMES: &[&str] = &["https", "http"];

/// Headers that belong to the request itself.
const OWN_HEADERS: &[&str] = &[
    "content-type",
    "content-length",
    "transfer-encoding",
    "connection",
    "host",
    "idempotency-key",
];

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Bounds of the timeout and the waits; tests go down to milliseconds.
const WAITS: RangeInclusive<Duration> = Duration::from_millis(1)..=DAY;
/// The largest batch. The journal is read about 1,000 events or 1 MiB at a time, so
/// that batches seldom grow so large.
const MOST_IN_BATCH: u64 = 10_000;
/// The most requests at once: as many connections, if the receiver speaks HTTP/1.1.
const MOST_IN_FLIGHT: u64 = 256;
/// Unused connections are closed after this, before most servers do (60 s and more):
/// a request on a connection that is being closed fails and has to be sent again.
const IDLE: Duration = Duration::from_secs(45);

/// What the file says.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The sink's name, for the log.
    pub sink: String,
    /// Where events are posted to; the others when the first fails.
    pub endpoints: Vec<Endpoint>,
    /// Headers to add, their values masked in `Debug`.
    pub headers: HeaderMap,
    /// How the receiver is convinced.
    pub auth: Option<Auth>,
    /// What signs requests, if anything does.
    pub keys: Vec<Key>,
    /// How the receiver's certificate is checked, and our own.
    pub tls: Tls,
    /// Events in one request, at most; 1: each by itself, not in an array.
    pub batch: usize,
    /// Requests at once, at most.
    pub in_flight: usize,
    /// Limit for one request from connect to the end of the answer.
    pub timeout: Duration,
    /// Waits between the tries of one event.
    pub retry: Retry,
    /// The form of the body.
    pub encoder: Encoder,
}

impl Settings {
    /// Reads the type's own keys.
    pub fn read(section: &mut Section) -> Self {
        let endpoints = read_endpoints(section);
        let scheme = if endpoints.iter().any(is_encrypted) { "https" } else { "http" };
        let settings = Self {
            sink: section.name().to_owned(),
            headers: read_headers(section),
            auth: section.optional_table("auth", read_auth).flatten(),
            keys: read_keys(section),
            tls: section.table("tls", |section| read_tls(section, scheme)),
            batch: count(section, "batch", MOST_IN_BATCH),
            in_flight: count(section, "in_flight", MOST_IN_FLIGHT),
            timeout: section.duration("timeout", 15 * SECOND, WAITS),
            retry: section.table("retry", read_retry),
            encoder: Encoder::read(section, Format::Raw),
            endpoints,
        };
        check_together(section, &settings);
        settings
    }

    /// Makes the sink; nothing is sent yet.
    pub fn open(&self) -> Result<HttpSink, OpenError> {
        let targets: Result<_, _> = self.endpoints.iter().map(|url| self.target(url)).collect();
        Ok(HttpSink {
            encoder: self.encoder.clone(),
            batch: self.batch,
            in_flight: self.in_flight,
            retry: self.retry,
            targets: Targets::new(self.sink.clone(), targets?, self.keys.clone()),
            plan: Plan::default(),
            answers: false,
        })
    }

    fn target(&self, endpoint: &Endpoint) -> Result<Target, OpenError> {
        let cannot = |e: String| OpenError(format!("HTTP client for {endpoint}: {e}"));
        let mut tls = (*tls::client_config(&self.tls).map_err(|e| cannot(e.to_string()))?).clone();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let client = Client::builder()
            .user_agent(concat!("cdrd/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .timeout(self.timeout)
            .pool_idle_timeout(IDLE)
            .default_headers(self.headers.clone())
            .tls_backend_preconfigured(tls);
        // A proxy of the environment has no business with what stays on this machine.
        let client = if is_loopback(endpoint.url()) { client.no_proxy() } else { client };
        let client = client.build().map_err(|e| cannot(e.without_url().to_string()))?;
        Ok(Target::new(endpoint.clone(), client, Credentials::new(self.auth.as_ref())))
    }
}

fn is_encrypted(endpoint: &Endpoint) -> bool {
    endpoint.url().scheme() == "https"
}

fn read_endpoints(section: &mut Section) -> Vec<Endpoint> {
    let first = section.required_url("url", SCHEMES, "\"https://HOST/PATH\"");
    let mut endpoints = vec![Endpoint::new(first)];
    for url in section.urls("fallback_urls", SCHEMES) {
        let endpoint = Endpoint::new(url);
        if endpoints.contains(&endpoint) {
            let message = format!("\"fallback_urls\" has {endpoint} for a second time; remove it");
            section.problem("fallback_urls", message);
        } else {
            endpoints.push(endpoint);
        }
    }
    endpoints
}

fn count(section: &mut Section, key: &'static str, most: u64) -> usize {
    usize::try_from(section.integer(key, 1, 1..=most)).expect("the bounds fit into usize")
}

fn read_keys(section: &mut Section) -> Vec<Key> {
    let mut keys = Vec::new();
    let secrets = section.secrets("signing_secret");
    // They are stand-ins then, and those are no base64.
    if !section.reads_secrets() {
        return keys;
    }
    for secret in secrets {
        match Key::parse(secret.reveal()) {
            Ok(key) => keys.push(key),
            Err(cause) => section.problem("signing_secret", format!("\"signing_secret\" {cause}")),
        }
    }
    if keys.iter().any(|key| key.length < signature::RECOMMENDED) {
        let least = signature::RECOMMENDED;
        section.warn(
            "signing_secret",
            format!("\"signing_secret\" has fewer than {least} bytes, so it may be guessed; make one with: echo whsec_$(openssl rand -base64 32)"),
        );
    }
    keys
}

fn check_together(section: &mut Section, settings: &Settings) {
    let taken = |name| settings.headers.contains_key(name);
    if settings.auth.is_some() && taken("authorization") {
        section
            .problem("headers", "the header \"Authorization\" is what \"auth\" sends; remove one");
    }
    if !settings.keys.is_empty() && signature::HEADERS.into_iter().any(taken) {
        let message = "the headers \"Webhook-…\" are what \"signing_secret\" sends; remove them";
        section.problem("headers", message);
    }
    if !matches!(settings.auth, Some(Auth::Bearer(_) | Auth::Basic(_))) {
        return;
    }
    let keys = ["url"].into_iter().chain(std::iter::repeat("fallback_urls"));
    for (endpoint, key) in settings.endpoints.iter().zip(keys) {
        if !section.is_faulty(key) && !is_encrypted(endpoint) && !is_loopback(endpoint.url()) {
            section.warn(key, "http:// sends the secret of \"auth\" unencrypted; use https://");
        }
    }
}

fn read_headers(section: &mut Section) -> HeaderMap {
    let mut headers = HeaderMap::new();
    section.secret_map("headers", "header", |name, value| {
        let (header, value) = header(name, value)?;
        match headers.insert(header, value) {
            Some(_) => Err(format!("the header {name:?} is given twice; remove one")),
            None => Ok(()),
        }
    });
    headers
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let lower = name.to_ascii_lowercase();
    if OWN_HEADERS.contains(&lower.as_str()) || lower.starts_with("ce-") {
        return Err(format!("the header {name:?} is set by cdrd itself; remove it"));
    }
    let header = HeaderName::from_bytes(lower.as_bytes())
        .map_err(|_| format!("{name:?} is no header name; use letters, digits and -"))?;
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| format!("the value of the header {name:?} must be visible ASCII text"))?;
    value.set_sensitive(true);
    Ok((header, value))
}

fn read_retry(section: &mut Section) -> Retry {
    let max = section.duration("max", 300 * SECOND, WAITS);
    let initial = section.duration("initial", SECOND.min(max), WAITS);
    if initial > max && !section.has_faults() {
        section.problem("initial", "\"initial\" must not be longer than \"max\"; raise max");
    }
    let longest = 3650 * DAY;
    Retry {
        initial,
        max,
        give_up_after: Some(section.duration("give_up_after", DAY, *WAITS.start()..=longest)),
    }
}
