//! What was asked of the REST side. Tests assert on it.

use std::collections::{BTreeMap, VecDeque};

use hyper::Method;
use tokio::time::Instant;

/// Requests that are kept; counts go on.
const CAPACITY: usize = 100_000;

/// One request, answered.
#[derive(Debug, Clone)]
pub struct RestRequest {
    /// When it was answered, in the time of the runtime (which tests can pause).
    pub at: Instant,
    /// Its method.
    pub method: Method,
    /// Its path below the base, `/cdrs/17`.
    pub path: String,
    /// Its query, as it came.
    pub query: String,
    /// The status of the answer.
    pub status: u16,
}

/// One login, or an attempt.
#[derive(Debug, Clone)]
pub struct RestLogin {
    /// When, in the time of the runtime.
    pub at: Instant,
    /// Who: `cdr@example.com`, `admin`.
    pub who: String,
    /// The words of the refusal, if it was one.
    pub refused: Option<String>,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Log {
    /// Every login.
    pub logins: Vec<RestLogin>,
    requests: VecDeque<RestRequest>,
    counts: BTreeMap<String, u64>,
}

impl Log {
    /// Notes a request.
    pub fn note(&mut self, request: RestRequest) {
        *self.counts.entry(kind(&request.path)).or_default() += 1;
        if self.requests.len() == CAPACITY {
            self.requests.pop_front();
        }
        self.requests.push_back(request);
    }

    /// The latest requests, in order.
    pub fn requests(&self) -> Vec<RestRequest> {
        self.requests.iter().cloned().collect()
    }

    /// Requests to a path; those to single records count under `/cdrs/{id}`.
    pub fn count(&self, path: &str) -> u64 {
        self.counts.get(path).copied().unwrap_or(0)
    }
}

fn kind(path: &str) -> String {
    if path.starts_with("/cdrs/") { "/cdrs/{id}".into() } else { path.into() }
}
