//! The sink that hands events to a program of the user's own: one long-running
//! child process, one event a line on its standard input.
//!
//! - `confirm = "write"`: an event counts as delivered once the child has *read* it,
//!   not merely once the pipe has it (the kernel tells how much of a pipe is unread;
//!   on systems other than Linux the write itself counts). What a child has read
//!   into its own memory and not worked off when it dies is lost.
//! - `confirm = "line"`: once the child has printed the event's id (see
//!   [`super::lines`]). Nothing is lost, whatever dies when.
//!
//! A child that ends is started again with the next try, so the runner's waits are
//! the backoff. It is stopped with everything that it has started, as far as that
//! stays in its process group.

mod log;
mod process;

use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::lines::{Broken, Confirm, Judged, LineSettings};
use super::{Delivered, Failure, OpenError, Retry, Sink};
use crate::config::{Environment, Section, find_program};
use crate::event::Stored;
use crate::secret::Secret;
use process::Process;

/// How long a child that has closed its pipes may take to end, before it is ended:
/// the pipes close a moment before the exit status is there.
const GRACE: Duration = Duration::from_secs(1);
/// How long the last answers of a child that has ended may take.
const LAST_WORDS: Duration = Duration::from_secs(1);
const SECOND: Duration = Duration::from_secs(1);
/// Longest `stop_timeout`; the deadline for all sinks together mostly comes before.
const LONGEST_STOP: Duration = Duration::from_secs(3600);

/// The keys of a `[sink.NAME]` of type `exec`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Environment variables to add, which may be secrets.
    pub env: Vec<(String, Secret)>,
    /// The folder that it runs in; left out, the daemon's.
    pub directory: Option<PathBuf>,
    /// How long the child may take to end once its standard input is closed.
    pub stop_timeout: Duration,
    /// What all sinks that write lines have.
    pub lines: LineSettings,
}

impl Settings {
    /// Reads the type's own keys.
    pub fn read(section: &mut Section) -> Self {
        let env = section.variables("env");
        let path = env.iter().find(|(name, _)| name == "PATH").map(|(_, path)| path.reveal());
        Self {
            command: section.command("command", path),
            directory: section.path("directory"),
            stop_timeout: section.duration(
                "stop_timeout",
                5 * SECOND,
                Duration::from_millis(1)..=LONGEST_STOP,
            ),
            lines: LineSettings::read(section),
            env,
        }
    }

    /// Makes the sink; the first event starts the program.
    pub fn open(&self) -> Result<Exec, OpenError> {
        Ok(Exec { settings: self.clone(), process: None, judged: Judged::default(), fault: None })
    }

    /// What it is called in messages; arguments may be secrets.
    fn program(&self) -> &str {
        self.command.first().map_or("", String::as_str)
    }
}

/// Writes to a child process.
#[derive(Debug)]
pub struct Exec {
    settings: Settings,
    process: Option<Process>,
    judged: Judged,
    /// Why the last child is no more, until it is told.
    fault: Option<String>,
}

impl Sink for Exec {
    fn deliver<'a>(&'a mut self, events: &'a [&'a Stored]) -> BoxFuture<'a, Delivered> {
        Box::pin(async move {
            let Some(first) = events.first() else { return Delivered::all(events) };
            self.judged.forget_before(first.seq);
            if let Some(process) = self.process.take_if(|process| process.has_ended()) {
                self.bury(process, None).await;
            }
            if let Some(told) = self.tell(events) {
                return told;
            }
            match self.process.take().map_or_else(|| Process::start(&self.settings), Ok) {
                Ok(process) => self.hand_over(process, events).await,
                Err(reason) => Delivered::none(Failure::Retry { reason, after: None }),
            }
        })
    }

    fn max_batch(&self) -> usize {
        self.settings.lines.window
    }

    fn retry(&self) -> Retry {
        self.settings.lines.retry
    }

    /// Looks whether it could be started; what a start does, only its author knows.
    fn probe(&mut self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async {
            let settings = &self.settings;
            let path = settings.env.iter().find(|(name, _)| name == "PATH");
            let path = path.map(|(_, path)| path.reveal().as_ref());
            let found = find_program(&Environment::of_process(), settings.program(), path);
            let found = found.ok_or_else(|| {
                format!("there is no program {} that can be run", settings.program())
            })?;
            match settings.directory.as_ref().filter(|directory| !directory.is_dir()) {
                Some(missing) => Err(format!("directory {} is not there", missing.display())),
                None => Ok(format!("{} is there (not started)", found.display())),
            }
        })
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if let Some(process) = self.process.take() {
                process.stop(self.settings.stop_timeout).await;
            }
        })
    }
}

impl Exec {
    /// What is known without asking the child: about these events, then about its end.
    fn tell(&mut self, events: &[&Stored]) -> Option<Delivered> {
        self.judged.tell(events).or_else(|| {
            let reason = self.fault.take()?;
            Some(Delivered::none(Failure::Retry { reason, after: None }))
        })
    }

    async fn hand_over(&mut self, mut process: Process, events: &[&Stored]) -> Delivered {
        let lines = &self.settings.lines;
        let why = match lines.confirm {
            Confirm::Line => process.confirm(lines, events, &mut self.judged).await,
            Confirm::Write => process.send(lines, events).await,
        };
        let read = match why {
            Ok(()) => {
                self.process = Some(process);
                events.len()
            }
            Err(why) => self.bury(process, why).await,
        };
        match self.settings.lines.confirm {
            // A fault after that is told the next time.
            Confirm::Write if read > 0 => Delivered { confirmed: read, failure: None },
            _ => self.tell(events).expect("the first event was judged, or a fault noted"),
        }
    }

    /// Ends a child for good and finds out what it has read or judged, and why it
    /// ended; `None` if it simply did. Returns how many events it read of those that
    /// were sent last.
    async fn bury(&mut self, mut process: Process, why: Option<Broken>) -> usize {
        let settings = &self.settings;
        let line = settings.lines.confirm == Confirm::Line;
        let within = settings.lines.timeout;
        let complaint = match why {
            None => None,
            Some(Broken::Silent) => {
                process.terminate(settings.stop_timeout).await;
                Some(match line {
                    true => format!(
                        "confirmed nothing within {within:?} and was ended; does it print the id of each event, and flush?"
                    ),
                    false => format!("read nothing within {within:?} and was ended"),
                })
            }
            Some(_) if process.ended_within(GRACE).await => None,
            Some(Broken::Closed) => {
                process.terminate(settings.stop_timeout).await;
                Some(
                    "closed its standard output, so it could confirm nothing, and was ended"
                        .to_owned(),
                )
            }
            Some(Broken::Io(e)) => {
                process.terminate(settings.stop_timeout).await;
                Some(format!("does not take its standard input ({e}), and was ended"))
            }
        };
        let complaint = complaint.unwrap_or_else(|| process.end_in_words());
        self.fault = Some(format!(
            "command {} {complaint}; what it wrote to standard error is in this log; it is started again",
            settings.program()
        ));
        process.talk.last_words(&mut self.judged, LAST_WORDS).await;
        let read = process.events_read();
        process.leave().await;
        read
    }
}
