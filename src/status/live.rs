//! What only a running daemon knows, and keeps in the journal for those who ask.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{At, RefusedTopic, Told};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::metrics::{JournalState, Metrics};
use crate::pbx::state::{Phase, State};

/// What a daemon says of itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Live {
    /// Its version.
    pub version: String,
    /// When it was started.
    pub started: At,
    /// When it ended in order; `None` while it runs, and after a crash.
    pub stopped: Option<At>,
    /// Its PBXs.
    pub pbxs: Vec<LivePbx>,
    /// Its sinks.
    pub sinks: Vec<LiveSink>,
    /// `ok`, `paused`, `disk full`, `stuck`.
    pub journal: String,
    /// Why the last reload was refused.
    pub reload_refused: Option<Told>,
}

/// One PBX.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LivePbx {
    /// Its name.
    pub name: String,
    /// Its session's state in words.
    pub state: String,
    /// Since when.
    pub since: At,
    /// When its last event came.
    pub last_event: Option<At>,
    /// The last fault.
    pub last_error: Option<Told>,
    /// The topics that are asked for.
    pub topics: Vec<String>,
    /// Those that the PBX refused.
    pub refused_topics: Vec<RefusedTopic>,
}

/// One sink.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveSink {
    /// Its name.
    pub name: String,
    /// Events confirmed ever.
    pub delivered: u64,
    /// The last thing that it did was to fail.
    pub failing: bool,
    /// The last failure.
    pub last_error: Option<Told>,
}

impl Live {
    /// What an earlier daemon said; `None` if it cannot be understood, which costs
    /// counts and words and nothing else.
    pub fn read(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }
}

/// The state of one PBX's session, for whoever asks.
pub type Watched = (Arc<str>, watch::Receiver<State>);

/// Where a running daemon's parts can be looked at.
pub struct Board {
    metrics: Arc<Metrics>,
    started: At,
    members: Mutex<Members>,
}

#[derive(Default)]
struct Members {
    pbxs: Vec<Watched>,
    topics: Vec<Vec<String>>,
    sinks: Vec<Arc<str>>,
    reload_refused: Option<Told>,
    stopped: Option<At>,
}

impl Board {
    /// Goes on where an earlier daemon was.
    pub fn new(metrics: Arc<Metrics>, before: Option<Live>) -> Self {
        let before = before.unwrap_or_default();
        for pbx in before.pbxs {
            metrics.pbx(&pbx.name).heard(pbx.last_event.map_or(0, |at| at.0));
        }
        for sink in before.sinks {
            let error = sink.last_error.map(|told| (told.at.0, told.words));
            metrics.sink(&sink.name).remember(sink.delivered, error);
        }
        let started = At(Clock::system().now_ms());
        Self { metrics, started, members: Mutex::default() }
    }

    /// These run now.
    pub fn show(&self, config: &Config, states: &[Watched]) {
        let mut members = self.members();
        members.pbxs = states.to_vec();
        members.topics = states.iter().map(|(name, _)| topics(config, name)).collect();
        members.sinks = config.sinks.iter().map(|sink| Arc::clone(&sink.name)).collect();
    }

    /// How the last reload went.
    pub fn reloaded(&self, refused: Option<String>) {
        let at = At(Clock::system().now_ms());
        self.members().reload_refused = refused.map(|words| Told { at, words });
    }

    /// The daemon ends in order.
    pub fn stopped(&self) {
        self.members().stopped = Some(At(Clock::system().now_ms()));
    }

    /// What is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Whether the journal's writer or the loop of a session is stuck.
    pub fn stuck(&self) -> Option<String> {
        if self.metrics.journal().beat.is_late() {
            return Some("the journal's writer is stuck".to_owned());
        }
        let members = self.members();
        let late = |name: &Arc<str>| self.metrics.pbx(name).beat.is_late();
        let stuck = members.pbxs.iter().find(|(name, _)| late(name));
        stuck.map(|(name, _)| format!("the session of pbx \"{name}\" is stuck"))
    }

    /// What it says of itself now.
    pub fn live(&self) -> Live {
        let members = self.members();
        let pbxs = members.pbxs.iter().zip(&members.topics);
        let state = match self.metrics.journal().state() {
            _ if self.metrics.journal().beat.is_late() => "stuck",
            JournalState::Ok => "ok",
            JournalState::Paused => "paused",
            JournalState::DiskFull => "disk full",
        };
        Live {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: self.started,
            stopped: members.stopped,
            pbxs: pbxs.map(|(watched, topics)| self.pbx(watched, topics)).collect(),
            sinks: members.sinks.iter().map(|name| self.sink(name)).collect(),
            journal: state.to_owned(),
            reload_refused: members.reload_refused.clone(),
        }
    }

    fn pbx(&self, (name, state): &Watched, topics: &[String]) -> LivePbx {
        let state = state.borrow().clone();
        let refused = state.refused_topics.into_iter();
        let error = state.last_error.zip(state.last_error_ms);
        LivePbx {
            name: name.to_string(),
            state: state.phase.as_str().to_owned(),
            since: At(state.since_ms),
            last_event: self.metrics.pbx(name).last_event_ms().map(At),
            last_error: error.map(|(words, at)| Told { at: At(at), words }),
            topics: topics.to_vec(),
            refused_topics: refused.map(|(topic, words)| RefusedTopic { topic, words }).collect(),
        }
    }

    fn sink(&self, name: &Arc<str>) -> LiveSink {
        let sink = self.metrics.sink(name);
        LiveSink {
            name: name.to_string(),
            delivered: sink.delivered_ever(),
            failing: sink.failing(),
            last_error: sink.last_error().map(|(at, words)| Told { at: At(at), words }),
        }
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn topics(config: &Config, pbx: &str) -> Vec<String> {
    let pbx: Option<&config::Pbx> = config.pbxs.iter().find(|known| &*known.name == pbx);
    pbx.into_iter().flat_map(|pbx| &pbx.topics).map(|topic| topic.name.clone()).collect()
}

/// Whether there is a connection in this state.
pub fn is_connected(state: &str) -> bool {
    [Phase::LoggingIn, Phase::Subscribing, Phase::Subscribed].iter().any(|p| p.as_str() == state)
}

/// Whether events come in this state.
pub fn is_subscribed(state: &str) -> bool {
    [Phase::Subscribed, Phase::WebhookOnly].iter().any(|p| p.as_str() == state)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Environment;

    fn board() -> Board {
        let text = "[pbx.hq]\nurl = \"ws://localhost/wsi\"\n\
                    login = { username = \"u\", password = \"p\" }\n\
                    [sink.a]\ntype = \"stdout\"\n";
        let config = Config::parse("x", text, &Environment::empty()).unwrap();
        let board = Board::new(Arc::new(Metrics::new()), None);
        let (_, state) = watch::channel(State::starting());
        board.show(&config, &[(Arc::from("hq"), state)]);
        board
    }

    #[test]
    fn a_session_or_a_writer_that_does_not_come_back_is_named() {
        let board = board();
        let pbx = board.metrics.pbx("hq");
        pbx.beat.within(Duration::from_secs(3600));
        assert_eq!(board.stuck(), None);
        pbx.beat.within(Duration::ZERO);
        while board.stuck().is_none() {
            std::thread::yield_now();
        }
        assert_eq!(board.stuck().as_deref(), Some("the session of pbx \"hq\" is stuck"));
        pbx.beat.open();
        board.metrics.journal().beat.within(Duration::ZERO);
        while board.stuck().is_none() {
            std::thread::yield_now();
        }
        assert_eq!(board.stuck().as_deref(), Some("the journal's writer is stuck"));
        assert_eq!(board.live().journal, "stuck");
    }

    #[test]
    fn what_an_earlier_daemon_said_goes_on_and_nonsense_does_no_harm() {
        let first = board();
        first.metrics.sink("a").delivered(5);
        first.metrics.sink("a").failed(false, 7, "down");
        first.metrics.pbx("hq").heard(1_000);
        let said = serde_json::to_string(&first.live()).unwrap();
        let second = Board::new(Arc::new(Metrics::new()), Live::read(&said));
        second.metrics.sink("a").delivered(2);
        assert_eq!(second.metrics.sink("a").delivered_ever(), 7);
        assert_eq!(second.metrics.sink("a").last_error(), Some((7, "down".to_owned())));
        assert_eq!(second.metrics.pbx("hq").last_event_ms(), Some(1_000));
        // What a later version says must not keep this one from starting.
        assert_eq!(Live::read("{\"version\":1}"), None);
    }
}
