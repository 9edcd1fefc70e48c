//! Receivers: one, or one with others to fall back on.
//!
//! Each request tries them in the order of the configuration, until one confirms or
//! refuses it. One that failed is tried last for a while, and while it asked for
//! patience (`Retry-After`) not at all; then the first is the first again.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use reqwest::{Client, Method, Request, Response, StatusCode, Url};
use tokio::time::Instant;
use tracing::{info, warn};

use super::auth::Credentials;
use super::judge::{Fault, Verdict, discard, judge, words};
use super::request::Message;
use super::signature::Key;
use crate::repeat::Repeat;

/// How long a receiver that failed is tried last, if there are others.
const REST: Duration = Duration::from_secs(30);
/// How often a request is sent again at once because of a Digest challenge: after
/// the first answer, and once more if the nonce was stale by then.
const CHALLENGES: u32 = 2;

/// A URL that is shown without its query, which may hold a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(Url);

impl Endpoint {
    /// Of a URL without user name and password.
    pub fn new(url: Url) -> Self {
        Self(url)
    }

    /// The URL, with its query.
    pub fn url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = self.0.origin().ascii_serialization();
        write!(f, "{origin}{}", self.0.path())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One receiver.
#[derive(Debug)]
pub struct Target {
    endpoint: Endpoint,
    client: Client,
    credentials: Credentials,
    rest: Mutex<Option<Rest>>,
}

/// A receiver that failed is left alone.
#[derive(Debug, Clone)]
struct Rest {
    until: Instant,
    /// What it answered, if it asked for the rest itself.
    asked: Option<String>,
}

impl Target {
    /// With its own client, and so its own connections.
    pub fn new(endpoint: Endpoint, client: Client, credentials: Credentials) -> Self {
        Self { endpoint, client, credentials, rest: Mutex::default() }
    }

    /// Whether somebody answers. `OPTIONS` changes nothing at the receiver, and any
    /// answer to it, 405 included, shows that one is there.
    pub async fn probe(&self) -> Result<String, String> {
        let request = || Request::new(Method::OPTIONS, self.endpoint.url().clone());
        match self.send(request).await {
            Ok(answer) => Ok(format!("{} answers ({})", self.endpoint, answer.status())),
            Err(e) => Err(words(&self.endpoint, e)),
        }
    }

    async fn attempt(&self, message: &Message, keys: &[Key]) -> Verdict {
        match self.send(|| message.request(self.endpoint.url(), keys)).await {
            Ok(answer) => {
                let verdict = judge(&self.endpoint, answer.status(), answer.headers());
                discard(answer).await;
                verdict
            }
            Err(e) => Verdict::Failed(Fault::network(words(&self.endpoint, e))),
        }
    }

    /// Sends a request; answers challenges.
    async fn send(&self, make: impl Fn() -> Request) -> reqwest::Result<Response> {
        for again in 0.. {
            let mut request = make();
            let nonce = self.credentials.add_to(&mut request);
            let answer = self.client.execute(request).await?;
            let challenged = answer.status() == StatusCode::UNAUTHORIZED && again < CHALLENGES;
            if !challenged
                || !self.credentials.learn(answer.headers(), nonce.as_deref(), again == 0)
            {
                return Ok(answer);
            }
            discard(answer).await;
        }
        unreachable!("the loop ends after the last challenge")
    }

    /// The rest that is not over yet.
    fn rest(&self) -> Option<Rest> {
        let rest = self.rest.lock().expect("no panic while locked").clone();
        rest.filter(|rest| rest.until > Instant::now())
    }

    fn failed(&self, fault: &Fault) {
        let until = Instant::now() + fault.after.unwrap_or(REST);
        let asked = fault.after.map(|_| fault.reason.clone());
        *self.rest.lock().expect("no panic while locked") = Some(Rest { until, asked });
    }

    fn works(&self) {
        *self.rest.lock().expect("no panic while locked") = None;
    }
}

/// All receivers of a sink.
#[derive(Debug)]
pub struct Targets {
    /// For the log.
    sink: String,
    all: Vec<Target>,
    keys: Vec<Key>,
    /// Why the first is not the one that is used.
    fallbacks: Mutex<Repeat>,
}

impl Targets {
    /// The first is the one that is meant to be used.
    pub fn new(sink: String, all: Vec<Target>, keys: Vec<Key>) -> Self {
        Self { sink, all, keys, fallbacks: Mutex::default() }
    }

    /// All of them, for a probe.
    pub fn iter(&self) -> impl Iterator<Item = &Target> {
        self.all.iter()
    }

    /// Offers a message to one after the other.
    pub async fn post(&self, message: &Message) -> Verdict {
        let mut faults = Vec::new();
        for target in self.order() {
            match target.attempt(message, &self.keys).await {
                Verdict::Failed(fault) => {
                    target.failed(&fault);
                    faults.push(fault);
                }
                decided => {
                    target.works();
                    self.tell(target, &faults);
                    return decided;
                }
            }
        }
        self.none(faults)
    }

    /// First those that work, as configured, then those that failed lately; not those
    /// that asked to be left alone.
    fn order(&self) -> Vec<&Target> {
        let (mut order, mut later) = (Vec::with_capacity(self.all.len()), Vec::new());
        for target in &self.all {
            match target.rest() {
                None => order.push(target),
                Some(Rest { asked: None, .. }) => later.push(target),
                Some(Rest { asked: Some(_), .. }) => {}
            }
        }
        order.append(&mut later);
        order
    }

    /// Tells the operator that the first receiver is passed over, and when it is not
    /// any more: events that go elsewhere are a change of state.
    fn tell(&self, used: &Target, faults: &[Fault]) {
        if self.all.len() == 1 {
            return;
        }
        let mut fallbacks = self.fallbacks.lock().expect("no panic while locked");
        let first = &self.all[0].endpoint;
        if used.endpoint == *first {
            if fallbacks.over() {
                info!(sink = self.sink, url = %first, "the first receiver works again");
            }
        } else if let Some(fault) = faults.first()
            && let Some(times) = fallbacks.note(&fault.reason)
        {
            warn!(sink = self.sink, url = %used.endpoint, error = fault.reason, times, "events go to a fallback");
        }
    }

    /// What it means that nobody took a message.
    fn none(&self, mut faults: Vec<Fault>) -> Verdict {
        let resting = self.all.iter().filter_map(Target::rest);
        let patience: Vec<_> =
            resting.filter_map(|rest| Some((rest.until - Instant::now(), rest.asked?))).collect();
        // Whoever did not ask for patience may be tried again any time.
        let all_asked = patience.len() == self.all.len();
        let after = patience.iter().map(|(left, _)| *left).min().filter(|_| all_asked);
        if faults.is_empty() {
            let reason = patience.into_iter().map(|(_, reason)| reason);
            return Verdict::Failed(Fault {
                reason: reason.collect::<Vec<_>>().join("; "),
                after,
                suspicious: false,
            });
        }
        let reason = faults.iter().map(|fault| fault.reason.as_str()).collect::<Vec<_>>();
        let reason = reason.join("; ");
        let suspicious = faults.drain(..).any(|fault| fault.suspicious);
        Verdict::Failed(Fault { reason, after, suspicious })
    }
}
