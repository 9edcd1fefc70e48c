//! The page for people, and the events that keep it up to date.

mod calls;

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, broadcast};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::calls::Calls;
use super::Answering;
use crate::clock::Clock;
use crate::journal::Commit;
use crate::status::observer::Observer;

/// Pages that are kept up to date at once.
const CLIENTS: usize = 16;
/// How often an open page gets news.
const EVERY: Duration = Duration::from_secs(1);

const HTML: &str = include_str!("page.html");
/// The one script and the one style of the page, by their hashes, and nothing else.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash_of("script"),
        hash_of("style")
    );
    HeaderValue::from_str(&policy).expect("hashes in base64 are ASCII")
});

/// The source of a part of the page, as a policy names it.
fn hash_of(part: &str) -> String {
    let (start, end) = (format!("<{part}>"), format!("</{part}>"));
    let text = HTML.split_once(&start).and_then(|(_, rest)| rest.split_once(&end));
    let digest = Sha256::digest(text.map_or("", |(text, _)| text));
    format!("'sha256-{}'", STANDARD.encode(digest))
}

/// What pages show.
pub(super) struct Page {
    calls: Calls,
    observer: Arc<Observer>,
    watchers: Watchers,
    stop: CancellationToken,
}

/// Who has the page open.
struct Watchers {
    places: Arc<Semaphore>,
    one_came: Notify,
}

impl Page {
    pub(super) fn new(
        show_numbers: bool,
        observer: Arc<Observer>,
        stop: CancellationToken,
    ) -> Self {
        Self { calls: Calls::new(show_numbers), observer, watchers: Watchers::none(), stop }
    }

    /// Follows the journal while somebody watches, until the stop.
    pub(super) async fn follow(
        self: Arc<Self>,
        path: PathBuf,
        commits: broadcast::Receiver<Commit>,
    ) {
        self.calls.follow(path, commits, &self.watchers, &self.stop).await;
    }

    async fn news(&self) -> String {
        let status = self.observer.status().await;
        let status = status.map_err(|e| e.to_string());
        let (status, error) = match &status {
            Ok(status) => (Some(&**status), None),
            Err(words) => (None, Some(words)),
        };
        let now = Clock::system().now_ms();
        json!({ "status": status, "error": error, "calls": self.calls.shown(now) }).to_string()
    }
}

impl Watchers {
    fn none() -> Self {
        Self { places: Arc::new(Semaphore::new(CLIENTS)), one_came: Notify::new() }
    }

    /// One more, as long as it keeps its place; `None` if there are too many.
    fn come(&self) -> Option<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        self.one_came.notify_one();
        Some(place)
    }

    fn are_there(&self) -> bool {
        self.places.available_permits() < CLIENTS
    }

    /// Waits until one comes. Only one may wait.
    async fn one_came(&self) {
        self.one_came.notified().await;
    }
}

pub(super) async fn html() -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, POLICY.clone()),
    ];
    (headers, HTML).into_response()
}

/// The state of one client's stream.
struct Client {
    page: Arc<Page>,
    first: bool,
    _place: OwnedSemaphorePermit,
}

impl Client {
    /// Waits until there is something new to tell; `false` at the end.
    async fn wait(&mut self) -> bool {
        if std::mem::take(&mut self.first) {
            // A page that has just been opened shall not look empty.
            _ = timeout(EVERY, self.page.calls.caught_up()).await;
            return true;
        }
        tokio::select! {
            () = sleep(EVERY) => true,
            () = self.page.stop.cancelled() => false,
        }
    }
}

pub(super) async fn events(State(answering): State<Answering>) -> Response {
    let page = answering.page;
    let Some(place) = page.watchers.come() else {
        let words = "too many pages are open; close one\n";
        return (StatusCode::SERVICE_UNAVAILABLE, words).into_response();
    };
    let client = Client { page, first: true, _place: place };
    let news = stream::unfold(client, |mut client| async move {
        if !client.wait().await {
            return None;
        }
        let event = Event::default().data(client.page.news().await);
        Some((Ok::<_, Infallible>(event), client))
    });
    Sse::new(news).keep_alive(KeepAlive::default()).into_response()
}
