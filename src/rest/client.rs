//! One request to the PBX: its pace, its time, the size of its answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Request, Response, StatusCode, Url};
use tokio::time::{Instant, sleep};
use tracing::trace;

use super::error::RestError;
use super::offset::Offset;
use super::pace::Pace;
use super::words;
use crate::clock::Clock;
use crate::config::{Backfill, Pbx};
use crate::http_time;
use crate::secret::Secret;
use crate::tls;

/// The largest answer that is taken: some 15,000 calls, thirty times what is asked for.
const LARGEST: usize = 16 << 20;
/// A request may take so many times `connect_timeout`, from connect to the end of the
/// answer: 60 s unless configured otherwise.
const TIMES_CONNECT: u32 = 6;
/// Unused connections are closed after this, before most servers do it.
const IDLE: Duration = Duration::from_secs(45);
/// How often a request is sent again before its error is the caller's.
const MORE_TRIES: u32 = 3;
/// The wait before the first of them; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Longer pauses that the PBX asks for are the caller's.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What the PBX answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) after: Option<Duration>,
    pub(super) body: Bytes,
}

/// Connections to one PBX.
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    pbx: Arc<str>,
    clock: Clock,
    pace: Pace,
    offset: Offset,
}

impl Client {
    pub(super) fn new(pbx: &Pbx, backfill: &Backfill, clock: Clock) -> Result<Self, RestError> {
        let tls = (*tls::client_config(&pbx.tls)?).clone();
        let http = reqwest::Client::builder()
            .user_agent(concat!("cdrd/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            // The same way as the WebSocket interface, whatever proxy the sinks need.
            .no_proxy()
            .connect_timeout(pbx.connect_timeout)
            .timeout(pbx.connect_timeout.saturating_mul(TIMES_CONNECT))
            .pool_idle_timeout(IDLE)
            .http1_only()
            .tls_backend_preconfigured(tls)
            .build()
            .map_err(|e| RestError::Setup { words: e.without_url().to_string() })?;
        Ok(Self {
            http,
            base: backfill.url.clone(),
            pbx: Arc::clone(&pbx.name),
            clock,
            pace: Pace::new(backfill.requests_per_minute),
            offset: Offset::default(),
        })
    }

    pub(super) fn pbx(&self) -> &Arc<str> {
        &self.pbx
    }

    pub(super) fn offset_ms(&self) -> Option<i64> {
        self.offset.ms()
    }

    /// A URL below the base.
    pub(super) fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    /// Returns once the pace lets another request go, which then counts.
    pub(super) async fn ready(&mut self) {
        self.pace.ready().await;
    }

    /// Sends a request that [`Client::ready`] let go. Any answer is one; errors are
    /// those of the network, and answers that are too large.
    pub(super) async fn exchange(&mut self, request: Request) -> Result<Answer, RestError> {
        let path = request.url().path().to_owned();
        let sent = Instant::now();
        let response = self.http.execute(request).await.map_err(words::of_fault)?;
        let (status, took) = (response.status(), sent.elapsed());
        if let Some(date) = http_time::date(response.headers()) {
            self.offset.learn(date, self.clock.now_ms(), took);
        }
        let after = http_time::retry_after(response.headers());
        let body = read(response).await?;
        trace!(pbx = %self.pbx, path, %status, bytes = body.len(), ?took, "REST answer");
        Ok(Answer { status, after, body })
    }
}

impl Answer {
    /// Those answers that mean the same whatever was asked are errors.
    pub(super) fn usable(self, url: &Url) -> Result<Self, RestError> {
        match self.status {
            StatusCode::TOO_MANY_REQUESTS => Err(RestError::Throttled { after: self.after }),
            status if status.is_server_error() => Err(RestError::Unavailable {
                words: format!("the PBX answers {status}"),
                after: self.after,
            }),
            status if status.is_redirection() => Err(RestError::Setup {
                words: format!(
                    "{} answers {status}; redirects are not followed, set url of backfill to the new place",
                    shown(url)
                ),
            }),
            _ => Ok(self),
        }
    }
}

/// A URL without its query, for messages.
pub(super) fn shown(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

/// A GET with a token.
pub(super) fn get(url: &Url, token: &Secret) -> Result<Request, RestError> {
    let mut request = Request::new(Method::GET, url.clone());
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
    authorize(&mut request, token)?;
    Ok(request)
}

/// A POST of a body of this type.
pub(super) fn post(url: Url, content_type: &'static str, body: String) -> Request {
    let mut request = Request::new(Method::POST, url);
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    *request.body_mut() = Some(body.into());
    request
}

/// Adds a token to a request.
pub(super) fn authorize(request: &mut Request, token: &Secret) -> Result<(), RestError> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.reveal()))
        .map_err(|_| RestError::invalid("the PBX's access token cannot be sent in a header"))?;
    value.set_sensitive(true);
    request.headers_mut().insert(AUTHORIZATION, value);
    Ok(())
}

async fn read(mut response: Response) -> Result<Bytes, RestError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(words::of_fault)? {
        if body.len() + chunk.len() > LARGEST {
            let mib = LARGEST >> 20;
            return Err(RestError::invalid(format!("an answer of the PBX exceeds {mib} MiB")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// How often a request may still be sent again, and after what wait.
pub(super) struct Tries {
    left: u32,
    wait: Duration,
}

impl Tries {
    pub(super) fn new() -> Self {
        Self { left: MORE_TRIES, wait: FIRST_WAIT }
    }

    /// Returns after a wait if another try is worth it, else the error.
    pub(super) async fn after(&mut self, error: RestError) -> Result<(), RestError> {
        let (RestError::Throttled { after } | RestError::Unavailable { after, .. }) = &error else {
            return Err(error);
        };
        let wait = after.unwrap_or_default().max(self.wait);
        if self.left == 0 || wait > LONGEST_WAIT {
            return Err(error);
        }
        self.left -= 1;
        self.wait *= 2;
        sleep(wait).await;
        Ok(())
    }
}
