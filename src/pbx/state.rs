//! What others may know of a session: for log, status and metrics.

/// Where a session stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Nothing has happened yet.
    Starting,
    /// TCP, TLS and upgrade.
    Connecting,
    /// The password was sent, or is about to be.
    LoggingIn,
    /// Topics are being asked for.
    Subscribing,
    /// Listening.
    Subscribed,
    /// Between two connects, after a fault.
    Waiting,
    /// Between two connects, after a refused login: minutes, not seconds.
    LoginRefused,
    /// There is no session: the PBX posts its events (`wsi = false`).
    WebhookOnly,
    /// Told to stop, and stopped.
    Stopped,
}

impl Phase {
    /// Whether it is news. The others come and go with every try while a PBX is down, and
    /// what made a try fail is told as it deserves.
    pub fn is_news(&self) -> bool {
        matches!(self, Self::Subscribed | Self::LoginRefused | Self::Stopped)
    }

    /// Writes it to the log.
    pub fn log(&self, pbx: &str) {
        let state = self.as_str();
        match self.is_news() {
            true => tracing::info!(pbx, state, "session"),
            false => tracing::debug!(pbx, state, "session"),
        }
    }

    /// The word for log and status.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Connecting => "connecting",
            Self::LoggingIn => "logging in",
            Self::Subscribing => "subscribing",
            Self::Subscribed => "subscribed",
            Self::Waiting => "waiting",
            Self::LoginRefused => "login refused",
            Self::WebhookOnly => "webhook only",
            Self::Stopped => "stopped",
        }
    }
}

/// The state of one PBX's session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Where it stands.
    pub phase: Phase,
    /// Since when, in Unix milliseconds.
    pub since_ms: i64,
    /// The last fault in words, the PBX's own where it gave any.
    pub last_error: Option<String>,
    /// When it came, in Unix milliseconds.
    pub last_error_ms: Option<i64>,
    /// Topics that the PBX refused on this connection, with its words.
    pub refused_topics: Vec<(String, String)>,
}

impl State {
    /// Nothing has happened yet.
    pub fn starting() -> Self {
        Self {
            phase: Phase::Starting,
            since_ms: crate::clock::Clock::system().now_ms(),
            last_error: None,
            last_error_ms: None,
            refused_topics: Vec::new(),
        }
    }
}
