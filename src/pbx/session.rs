//! One connection's life: connect, log in, subscribe, listen, close.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::connect::{self, ConnectError};
use super::keepalive::{Due, Keepalive};
use super::link::{Link, LinkError};
use super::listening::Listening;
use super::lockout::{Lockout, LockoutError, Permit, Wait};
use super::state::{Phase, State};
use super::subscribe::{ANSWER_WAIT, Subscriptions, answers_subscribe};
use super::{link, login, subscribe};
use crate::clock::Clock;
use crate::config::Pbx;
use crate::event::decode::Answer;
use crate::journal::Stopped;
use crate::journal::intake::Intake;
use crate::metrics::PbxMetrics;

/// Stands in for the PBX's words where it gave none, three times in a row.
const NO_ANSWER: &str = "it left three logins in a row without an answer";

/// For a busy machine, on top of every time limit, before a session counts as stuck.
pub(super) const SLACK: Duration = Duration::from_secs(20);

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// There was no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The PBX refused the login, in its words.
    #[error("the PBX refused the login: {words}; {}", login::HINT)]
    Refused {
        /// The PBX's words.
        words: String,
    },
    /// The PBX did not answer the login.
    #[error("no answer to the login within {0:?}")]
    LoginTimeout(Duration),
    /// Another login must be waited for first.
    #[error("the login has to wait: too many logins were refused at this host")]
    Locked(Wait),
    /// No pong.
    #[error("the PBX is silent: no pong and no frame within {0:?} after a ping")]
    Silent(Duration),
    /// The connection ended.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The attempt could not be noted.
    #[error(transparent)]
    Lockout(#[from] LockoutError),
}

impl SessionError {
    /// Whether the journal is gone, so that there is no point in another session.
    pub fn journal_stopped(&self) -> bool {
        matches!(
            self,
            Self::Link(LinkError::Stopped(Stopped)) | Self::Lockout(LockoutError::Stopped(Stopped))
        )
    }
}

/// What a session needs.
pub struct Session<'a> {
    /// The PBX.
    pub pbx: &'a Pbx,
    /// Where events go.
    pub intake: &'a Intake,
    /// The rule about refused logins.
    pub lockout: &'a Lockout,
    /// Where the state is shown.
    pub state: &'a watch::Sender<State>,
    /// Ends the session properly.
    pub stop: &'a CancellationToken,
    /// What is counted, and the proof that it goes on.
    pub metrics: &'a PbxMetrics,
}

/// A session that is over.
pub struct Ended {
    /// Since when it was subscribed, if it came so far.
    pub subscribed: Option<Instant>,
    /// `None` after a stop.
    pub error: Option<SessionError>,
}

impl Session<'_> {
    /// Runs from connect to close.
    pub async fn run(&self, listening: &mut Listening) -> Ended {
        let mut ended = Ended { subscribed: None, error: None };
        self.phase(Phase::Connecting);
        // TCP, TLS and upgrade, each with this limit.
        self.metrics.beat.within(self.pbx.connect_timeout * 3 + SLACK);
        let socket = tokio::select! {
            connected = connect::connect(self.pbx) => connected,
            () = self.stop.cancelled() => return ended,
        };
        let mut link = match socket {
            Ok(socket) => Link::new(socket, self.pbx.name.clone(), self.intake.clone()),
            Err(e) => {
                self.lockout.unreached(&self.pbx.name);
                return Ended { error: Some(e.into()), ..ended };
            }
        };
        let lived = self.live(&mut link, listening, &mut ended.subscribed).await;
        let heard = link.heard();
        // However it ended, what came before is as good as any: it goes to the journal,
        // which may pause for as long as it has to.
        self.metrics.beat.open();
        let closed = match &lived {
            Ok(()) | Err(SessionError::Refused { .. }) => link.close().await,
            Err(_) => link.flush().await,
        };
        let why = match &lived {
            Ok(()) => "cdrd was stopped".to_owned(),
            Err(e) => e.to_string(),
        };
        let noted = listening.lost(heard, &why).await.map_err(LinkError::Stopped);
        let lived = lived.and(closed.map_err(SessionError::from));
        ended.error = lived.and(noted.map_err(SessionError::from)).err();
        ended
    }

    /// Logs in, subscribes and listens, until told to stop (`Ok`) or a fault.
    async fn live(
        &self,
        link: &mut Link,
        listening: &mut Listening,
        subscribed: &mut Option<Instant>,
    ) -> Result<(), SessionError> {
        let mut topics = Subscriptions::new(&self.pbx.topics);
        tokio::select! {
            introduced = self.introduce(link, &mut topics) => introduced?,
            () = self.stop.cancelled() => return Ok(()),
        }
        *subscribed = Some(Instant::now());
        self.metrics.connected();
        listening.see(&topics).await.map_err(LinkError::Stopped)?;
        self.listen(link, listening, &mut topics).await
    }

    /// Logs in and subscribes to every topic.
    pub async fn introduce(
        &self,
        link: &mut Link,
        topics: &mut Subscriptions,
    ) -> Result<(), SessionError> {
        self.phase(Phase::LoggingIn);
        // The attempt is noted in the journal, which may pause.
        self.metrics.beat.open();
        self.log_in(link).await?;
        self.phase(Phase::Subscribing);
        self.subscribe(link, topics).await?;
        self.phase(Phase::Subscribed);
        Ok(())
    }

    async fn log_in(&self, link: &mut Link) -> Result<(), SessionError> {
        let host = self.pbx.url.host_str().unwrap_or_default();
        let permit = match self.lockout.begin(host, &self.pbx.name).await? {
            Ok(permit) => permit,
            Err(wait) => return Err(SessionError::Locked(wait)),
        };
        self.metrics.beat.within(self.pbx.connect_timeout + SLACK);
        let answer = async {
            link.send(login::command(&self.pbx.login)).await?;
            loop {
                let answer = link.answer().await?;
                if login::answers_auth(&answer) {
                    return Ok(answer);
                }
            }
        };
        let answered = timeout(self.pbx.connect_timeout, answer).await;
        self.metrics.beat.open();
        let answer: Result<_, LinkError> = match answered {
            Ok(answer) => answer,
            Err(_) => {
                let refused = permit.unanswered().await?;
                return Err(match refused {
                    true => SessionError::Refused { words: NO_ANSWER.to_owned() },
                    false => SessionError::LoginTimeout(self.pbx.connect_timeout),
                });
            }
        };
        self.judge_login(permit, answer).await
    }

    async fn judge_login(
        &self,
        permit: Permit,
        answer: Result<Answer, LinkError>,
    ) -> Result<(), SessionError> {
        match answer {
            Ok(answer) if answer.status == 0 => Ok(permit.accepted().await?),
            Ok(answer) => {
                permit.refused().await?;
                Err(SessionError::Refused { words: login::words(&answer) })
            }
            // Closed for policy in answer to a password: a refusal, said otherwise.
            Err(LinkError::Closed(Some(frame))) if u16::from(frame.code) == 1008 => {
                permit.refused().await?;
                Err(SessionError::Refused { words: frame.reason.to_string() })
            }
            Err(e) => match permit.unanswered().await? {
                true => Err(SessionError::Refused { words: NO_ANSWER.to_owned() }),
                false => Err(e.into()),
            },
        }
    }

    /// Asks for every topic that is open, one after the other.
    async fn subscribe(
        &self,
        link: &mut Link,
        topics: &mut Subscriptions,
    ) -> Result<(), SessionError> {
        while let Some(topic) = topics.ask_next(Instant::now()) {
            self.metrics.beat.within(link::WRITE_TIMEOUT + ANSWER_WAIT + SLACK);
            link.send(subscribe::command(self.pbx.dialect, &topic)).await?;
            let answer = async {
                loop {
                    let answer = link.answer().await?;
                    if answers_subscribe(&answer) {
                        return Ok::<_, LinkError>(answer);
                    }
                }
            };
            match timeout(ANSWER_WAIT, answer).await {
                Ok(answer) => self.note_answer(topics, &answer?),
                Err(_) => {
                    info!(pbx = %self.pbx.name, topic = topic.name, "no answer to subscribe, which counts as yes");
                }
            }
        }
        Ok(())
    }

    fn note_answer(&self, topics: &mut Subscriptions, answer: &Answer) {
        let Some((topic, refusal)) = topics.answered(answer, Instant::now()) else { return };
        match refusal {
            None => info!(pbx = %self.pbx.name, topic, "subscribed"),
            Some(words) => {
                warn!(pbx = %self.pbx.name, topic, words, retry_in = ?subscribe::RETRY_REFUSED,
                    "the PBX refused a topic; check the user's permissions");
            }
        }
        self.state.send_modify(|state| state.refused_topics = topics.refused());
    }

    /// Listens until told to stop (`Ok`) or the connection ends.
    async fn listen(
        &self,
        link: &mut Link,
        listening: &mut Listening,
        topics: &mut Subscriptions,
    ) -> Result<(), SessionError> {
        let (interval, limit) = (self.pbx.ping_interval, self.pbx.ping_timeout);
        let mut keepalive = Keepalive::new(Instant::now(), interval, limit);
        loop {
            let retry = topics.retry_due();
            let next = keepalive.due().saturating_duration_since(Instant::now());
            self.metrics.beat.within(next + link::WRITE_TIMEOUT + SLACK);
            tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                answer = link.answer() => {
                    self.note_answer(topics, &answer?);
                    listening.see(topics).await.map_err(LinkError::Stopped)?;
                }
                () = sleep_until(keepalive.due()) => {
                    match keepalive.check(Instant::now(), link.heard(), link.reading()) {
                        Due::Ping => link.ping().await?,
                        Due::Dead => return Err(SessionError::Silent(limit)),
                        Due::Nothing if link.handed_over() => {
                            listening.alive(link.heard()).await.map_err(LinkError::Stopped)?;
                        }
                        Due::Nothing => {}
                    }
                }
                () = sleep_until(retry.unwrap_or_else(Instant::now)), if retry.is_some() => {
                    self.subscribe(link, topics).await?;
                    listening.see(topics).await.map_err(LinkError::Stopped)?;
                }
            }
        }
    }

    fn phase(&self, phase: Phase) {
        phase.log(&self.pbx.name);
        let since_ms = Clock::system().now_ms();
        self.state.send_modify(|state| {
            (state.phase, state.since_ms) = (phase, since_ms);
        });
    }
}
