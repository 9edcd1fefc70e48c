//! One request: from the path to the answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{ALLOW, AUTHORIZATION, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::guard::{Challenges, Guard};
use crate::clock::Clock;
use crate::config::{Pbx, Webhook};
use crate::event::Origin;
use crate::event::decode::{Frame, decode};
use crate::journal::Stopped;
use crate::journal::intake::Intake;
use crate::journal::quarantine::Quarantined;
use crate::repeat::Repeat;

/// How long the body of a request may take.
const BODY_TIME: Duration = Duration::from_secs(30);
/// How long the journal may take. Then the PBX is asked to come again; what the journal
/// takes after all is a repeat then, and dropped.
const JOURNAL_TIME: Duration = Duration::from_secs(10);
/// When it is asked to.
const COME_AGAIN: &str = "30";
/// Bodies in memory at once, each of at most `max_frame`.
const BODIES: usize = 16;

/// Bytes of an unwanted body that are read, and for how long.
const DRAINED: usize = 64 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// An answer: a few words at most.
pub(super) type Answer = Response<Full<Bytes>>;

/// The paths of one address.
pub(super) struct Routes {
    all: Vec<Route>,
    bodies: Semaphore,
}

/// The way to the journal from one path.
pub(super) struct Route {
    path: String,
    pbx: Arc<str>,
    max_frame: usize,
    guard: Guard,
    intake: Intake,
    clock: Clock,
    told: Mutex<Repeat>,
}

impl Route {
    pub(super) fn new(pbx: &Pbx, webhook: &Webhook, intake: Intake, clock: Clock) -> Self {
        Self {
            path: webhook.path.clone(),
            pbx: Arc::clone(&pbx.name),
            max_frame: pbx.max_frame,
            guard: Guard::new(webhook.auth.clone()),
            intake,
            clock,
            told: Mutex::default(),
        }
    }

    /// Warns, unless it did so a moment ago. Never of content.
    fn tell(&self, reason: &str, what: &str) {
        let times = self.told.lock().unwrap_or_else(PoisonError::into_inner).note(reason);
        if let Some(times) = times {
            warn!(pbx = %self.pbx, reason, times, "webhook: {what}");
        }
    }

    /// Gives a body to the journal.
    async fn keep(&self, body: Bytes) -> Result<(), Stopped> {
        let received_ms = self.clock.now_ms();
        let (reason, data) = match decode(&self.pbx, Origin::Webhook, received_ms, body.clone()) {
            Ok(Frame::Event(event)) => {
                self.intake.events_durably(vec![event]).await?;
                return Ok(());
            }
            Ok(Frame::Answer(_)) => ("an answer to a command, not an event".to_owned(), body),
            Err((why, data)) => (why.to_string(), data),
        };
        self.tell(&reason, "a body cannot be decoded; it is in the quarantine");
        let suspect = Quarantined {
            pbx: Arc::clone(&self.pbx),
            origin: Origin::Webhook,
            received_ms,
            reason,
            size: data.len() as u64,
            data,
        };
        self.intake.suspect_durably(suspect).await
    }
}

impl Routes {
    pub(super) fn new(all: Vec<Route>) -> Self {
        Self { all, bodies: Semaphore::new(BODIES) }
    }

    /// Answers one request.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        match self.admit(&head) {
            Ok(route) => self.take(route, body).await,
            Err(answer) => {
                drain(body).await;
                *answer
            }
        }
    }

    /// The route of whoever may post, or the answer to all others.
    fn admit(&self, head: &Parts) -> Result<&Route, Box<Answer>> {
        let Some(route) = self.all.iter().find(|route| route.path == head.uri.path()) else {
            debug!("webhook: a request for a path that no PBX has");
            return Err(Box::new(plain(StatusCode::NOT_FOUND, "no PBX posts here")));
        };
        if head.method != Method::POST {
            let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "events are posted here");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            return Err(Box::new(answer));
        }
        route.admit(head).map_err(|challenges| Box::new(unauthorized(challenges)))?;
        Ok(route)
    }

    /// Reads a body and gives it to the journal.
    async fn take(&self, route: &Route, body: Incoming) -> Answer {
        let Ok(Ok(_place)) = timeout(JOURNAL_TIME, self.bodies.acquire()).await else {
            return come_again();
        };
        let body = match route.read(body).await {
            Ok(body) => body,
            Err(answer) => return answer,
        };
        match timeout(JOURNAL_TIME, route.keep(body)).await {
            Ok(Ok(())) => plain(StatusCode::OK, ""),
            Ok(Err(Stopped)) => come_again(),
            Err(_) => {
                route.tell(
                    "no commit in time",
                    "the journal cannot take events; the PBX is told to come again",
                );
                come_again()
            }
        }
    }
}

/// Reads a little of a body that nobody wants: a connection that is closed with data
/// unread is reset, and the answer lost on its way.
async fn drain(body: Incoming) {
    let little = Limited::new(body, DRAINED).collect();
    // Whatever comes of it, the answer stands.
    let _ = timeout(DRAIN_TIME, little).await;
}

impl Route {
    fn admit(&self, head: &Parts) -> Result<(), Challenges> {
        let shown = head.headers.get(AUTHORIZATION).and_then(|value| {
            // Names and passwords need not be ASCII.
            std::str::from_utf8(value.as_bytes()).ok()
        });
        let target = head.uri.path_and_query().map_or("", |target| target.as_str());
        let judged = self.guard.judge(shown, head.method.as_str(), target);
        // A first request without any is how Digest begins.
        if judged.is_err() && shown.is_some() {
            self.tell(
                "401",
                "credentials are wrong or too old; are they those that the PBX was given?",
            );
        }
        judged
    }

    async fn read(&self, body: Incoming) -> Result<Bytes, Answer> {
        let too_large = || {
            self.tell("413", "a body is larger than max_frame; raise it if it was an event");
            plain(StatusCode::PAYLOAD_TOO_LARGE, "larger than max_frame")
        };
        if body.size_hint().lower() > self.max_frame as u64 {
            return Err(too_large());
        }
        match timeout(BODY_TIME, Limited::new(body, self.max_frame).collect()).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(e)) if e.is::<LengthLimitError>() => Err(too_large()),
            // Whoever broke off does not read this.
            Ok(Err(_)) => Err(plain(StatusCode::BAD_REQUEST, "the body broke off")),
            Err(_) => Err(plain(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")),
        }
    }
}

fn plain(status: StatusCode, words: &'static str) -> Answer {
    let mut answer = Response::new(Full::from(words));
    *answer.status_mut() = status;
    answer
}

fn come_again() -> Answer {
    let mut answer = plain(StatusCode::SERVICE_UNAVAILABLE, "the journal cannot take it now");
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(COME_AGAIN));
    answer
}

fn unauthorized(challenges: Challenges) -> Answer {
    let mut answer = plain(StatusCode::UNAUTHORIZED, "credentials are needed");
    for challenge in challenges {
        answer.headers_mut().append(WWW_AUTHENTICATE, challenge);
    }
    answer
}
