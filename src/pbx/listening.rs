//! Whether somebody listens to the CDRs of one PBX, noted in the journal: from these
//! notes it knows its gaps.
//!
//! Notes go the way of events, behind those that came before (promise 6). A PBX
//! without a CDR topic has no gaps, and notes nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::subscribe::{Subscriptions, is_cdr_topic};
use crate::clock::Clock;
use crate::config::Pbx;
use crate::journal::Stopped;
use crate::journal::gaps::Note;
use crate::journal::intake::Intake;

/// How often a quiet connection that lives is noted. It bounds how much longer than the
/// truth a gap looks after the process was killed.
const NOTE_EVERY: Duration = Duration::from_secs(30);

/// The notes of one PBX.
pub struct Listening {
    pbx: Arc<str>,
    intake: Intake,
    has_cdrs: bool,
    /// All CDR topics are subscribed.
    on: bool,
    noted: Instant,
}

impl Listening {
    /// Nobody listens yet.
    pub fn new(pbx: &Pbx, intake: Intake) -> Self {
        let has_cdrs = pbx.topics.iter().any(|topic| is_cdr_topic(&topic.name));
        let pbx = Arc::clone(&pbx.name);
        Self { pbx, intake, has_cdrs, on: false, noted: Instant::now() }
    }

    /// The daemon is about to listen; until it does, nobody did.
    pub async fn started(&mut self, no_backfill: Option<Arc<str>>) -> Result<(), Stopped> {
        if !self.has_cdrs {
            return Ok(());
        }
        self.intake.note(Note::Started { pbx: Arc::clone(&self.pbx), no_backfill }).await
    }

    /// Looks at how the topics stand.
    pub async fn see(&mut self, topics: &Subscriptions) -> Result<(), Stopped> {
        match topics.cdr_refusal() {
            None => self.regained().await,
            Some((topic, words)) => {
                let why = format!("the PBX refused the topic {topic}: {words}");
                self.lost(Instant::now(), &why).await
            }
        }
    }

    async fn regained(&mut self) -> Result<(), Stopped> {
        if !self.has_cdrs || self.on {
            return Ok(());
        }
        self.intake.note(Note::Regained { pbx: Arc::clone(&self.pbx) }).await?;
        (self.on, self.noted) = (true, Instant::now());
        Ok(())
    }

    /// The other end was heard at `heard`, and everything before it is handed over.
    pub async fn alive(&mut self, heard: Instant) -> Result<(), Stopped> {
        if !self.on || self.noted.elapsed() < NOTE_EVERY {
            return Ok(());
        }
        let note = Note::Alive { pbx: Arc::clone(&self.pbx), at_ms: wall_ms(heard) };
        self.intake.note(note).await?;
        self.noted = Instant::now();
        Ok(())
    }

    /// Nobody listens any more; `heard` was the last sign of life.
    pub async fn lost(&mut self, heard: Instant, why: &str) -> Result<(), Stopped> {
        if !self.on {
            return Ok(());
        }
        let (pbx, why) = (Arc::clone(&self.pbx), why.to_owned());
        self.intake.note(Note::Lost { pbx, since_ms: wall_ms(heard), why }).await?;
        self.on = false;
        Ok(())
    }
}

/// An instant of the past in Unix milliseconds, rounded down: rather too early.
fn wall_ms(instant: Instant) -> i64 {
    let ago = i64::try_from(instant.elapsed().as_millis()).unwrap_or(i64::MAX);
    Clock::system().now_ms().saturating_sub(ago).saturating_sub(1)
}
