//! Where the webhook sends to, as whom, and one request there.

use std::error::Error;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};

use super::digest::{self, User};
use super::trust::{self, Trust};

/// How long the receiver may take for one answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// How the PBX shows who it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum WebhookAuth {
    /// Not at all.
    #[default]
    None,
    /// User name and password, sent with the first request.
    Basic(String, String),
    /// User name and password, in answer to a challenge.
    Digest(String, String),
    /// A token.
    Bearer(String),
}

/// Where to, and how.
#[derive(Debug, Clone)]
pub struct WebhookOptions {
    /// The receiver.
    pub url: String,
    /// How the PBX shows who it is.
    pub auth: WebhookAuth,
    /// PEM file with the only certificates that the receiver's may come from.
    pub ca_file: Option<PathBuf>,
    /// Any certificate will do.
    pub insecure: bool,
    /// Waits before each further try.
    pub retries: Vec<Duration>,
}

/// About 5 times within 15 minutes, as the page says.
const RETRIES: [u64; 5] = [10, 50, 120, 240, 480];

impl WebhookOptions {
    /// To a URL, without authentication, with the PBX's own schedule.
    pub fn to(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            auth: WebhookAuth::None,
            ca_file: None,
            insecure: false,
            retries: RETRIES.map(Duration::from_secs).to_vec(),
        }
    }
}

/// Why a webhook cannot be.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The URL is none for HTTP.
    #[error("the webhook's URL {0:?} is wrong: write http://HOST:PORT/PATH or https://…")]
    Url(String),
    /// The CA file cannot be used.
    #[error("the webhook's CA file {path} cannot be used: {cause}")]
    CaFile {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// The HTTP client does not start.
    #[error("the webhook's client does not start: {0}")]
    Client(String),
}

/// A target, ready.
pub struct Target {
    /// What it was made of.
    pub options: WebhookOptions,
    url: Url,
    client: Client,
    ended: AtomicBool,
}

impl Target {
    /// Reads the certificates and makes a client.
    pub async fn new(options: WebhookOptions) -> Result<Self, WebhookError> {
        let url = Url::parse(&options.url).ok().filter(|url| url.scheme().starts_with("http"));
        let url = url.ok_or_else(|| WebhookError::Url(options.url.clone()))?;
        let trust = match (&options.ca_file, options.insecure) {
            (_, true) => Trust::Anything,
            (Some(path), _) => Trust::File(path.clone()),
            (None, _) => Trust::System,
        };
        // Certificates are read from files.
        let tls = tokio::task::spawn_blocking(|| trust::client(trust)).await;
        let tls = tls.map_err(|e| WebhookError::Client(e.to_string()))??;
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .timeout(ANSWER_LIMIT)
            .redirect(Policy::none())
            .no_proxy()
            .build()
            .map_err(|e| WebhookError::Client(e.to_string()))?;
        Ok(Self { options, url, client, ended: AtomicBool::new(false) })
    }

    /// Nothing goes there any more.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Whether that is so.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// One try: the status, or why there was none.
    pub async fn post(&self, body: &Bytes) -> Result<StatusCode, String> {
        let first = match &self.options.auth {
            WebhookAuth::None | WebhookAuth::Digest(..) => None,
            WebhookAuth::Bearer(token) => Some(format!("Bearer {token}")),
            WebhookAuth::Basic(name, password) => {
                Some(format!("Basic {}", STANDARD.encode(format!("{name}:{password}"))))
            }
        };
        let response = self.send(body, first).await?;
        match (&self.options.auth, response.status()) {
            (WebhookAuth::Digest(name, password), StatusCode::UNAUTHORIZED) => {
                let answer = self.answer(&response, &User { name, password })?;
                Ok(self.send(body, Some(answer)).await?.status())
            }
            (_, status) => Ok(status),
        }
    }

    fn answer(&self, response: &Response, user: &User) -> Result<String, String> {
        let challenges = response.headers().get_all(WWW_AUTHENTICATE);
        let challenges = challenges.iter().filter_map(|value| value.to_str().ok());
        let path = match self.url.query() {
            Some(query) => format!("{}?{query}", self.url.path()),
            None => self.url.path().into(),
        };
        let nonce = format!("{:016x}", fastrand::u64(..));
        digest::answer(challenges, user, "POST", &path, &nonce)
            .ok_or_else(|| "401 without a Digest challenge that is understood".into())
    }

    async fn send(&self, body: &Bytes, authorization: Option<String>) -> Result<Response, String> {
        let request = self.client.post(self.url.clone());
        let mut request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        request.send().await.map_err(|error| root(&error))
    }
}

/// The innermost cause: the outer ones only say that a request failed.
fn root(error: &dyn Error) -> String {
    match error.source() {
        Some(source) => root(source),
        None => error.to_string(),
    }
}
