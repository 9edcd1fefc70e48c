//! The admin endpoint: metrics, health and status over HTTP, and a page for people.
//!
//! | path | says |
//! |---|---|
//! | `/metrics` | everything that is counted, for Prometheus ([`exposition`]) |
//! | `/healthz` | 200 while the process works |
//! | `/readyz` | 200 once every PBX is subscribed and the journal writable, else 503 and why |
//! | `/status` | what `cdrd status --json` says |
//! | `/` | the page ([`page`]), kept up to date by `/events` |
//!
//! It only reads, and it never delays what it tells about. Who may ask is the business
//! of [`guard`]; how many may ask at once, and for how long, that of [`server`].

mod exposition;
mod guard;
mod page;
mod ready;
mod server;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::joined::joined;
use crate::journal::Journal;
use crate::status::observer::Observer;

/// The endpoint, listening.
pub struct Admin {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// What every answer is made from.
#[derive(Clone)]
struct Answering {
    observer: Arc<Observer>,
    page: Arc<page::Page>,
}

impl Admin {
    /// Takes the address; must be called on the async runtime. Nobody is answered yet.
    pub fn bind(settings: &config::Admin) -> std::io::Result<TcpListener> {
        let listener = std::net::TcpListener::bind(settings.listen)?;
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    }

    /// Answers from now on.
    pub fn serve(
        listener: TcpListener,
        settings: &config::Admin,
        observer: &Arc<Observer>,
        journal: &Journal,
    ) -> Self {
        let address = listener.local_addr().unwrap_or(settings.listen);
        let stop = CancellationToken::new();
        let page = page::Page::new(settings.show_numbers, Arc::clone(observer), stop.clone());
        let answering = Answering { observer: Arc::clone(observer), page: Arc::new(page) };
        let calls =
            Arc::clone(&answering.page).follow(journal.path().to_owned(), journal.commits());
        let router = router(answering, settings);
        let serving = server::serve(listener, router, stop.clone());
        let task = tokio::spawn(async move {
            tokio::join!(serving, calls);
        });
        Self { address, stop, task }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it, after the answers that are under way.
    pub async fn close(mut self) {
        self.stop.cancel();
        joined((&mut self.task).await);
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn router(answering: Answering, settings: &config::Admin) -> Router {
    let guard = Arc::new(guard::Guard::new(settings));
    Router::new()
        .route("/", get(page::html))
        .route("/events", get(page::events))
        .route("/metrics", get(exposition::metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready::readyz))
        .route("/status", get(status))
        .fallback(|| async { (StatusCode::NOT_FOUND, "no such page\n") })
        .method_not_allowed_fallback(|| async {
            (StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here\n")
        })
        .with_state(answering)
        .layer(axum::middleware::from_fn_with_state(guard, guard::check))
}

async fn status(State(answering): State<Answering>) -> Response {
    match answering.observer.status().await {
        Ok(status) => json(StatusCode::OK, &*status),
        Err(e) => (StatusCode::SERVICE_UNAVAILABLE, format!("{e}\n")).into_response(),
    }
}

/// An answer in JSON, with a line end for those who look at it in a terminal.
fn json(code: StatusCode, value: &impl serde::Serialize) -> Response {
    match serde_json::to_string_pretty(value) {
        Ok(text) => {
            let json = HeaderValue::from_static("application/json");
            (code, [(header::CONTENT_TYPE, json)], text + "\n").into_response()
        }
        Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{e}\n")).into_response(),
    }
}
