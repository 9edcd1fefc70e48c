//! What `dead-letters` and `quarantine` have in common: entries with numbers that
//! can be tried again or dropped, some or all.

use std::sync::Arc;

use rusqlite::Connection;

use super::asking::{self, Served, one_line};
use super::exit::Exit;
use crate::config::{self, Config};
use crate::journal::schema;

/// An entry, as far as both kinds have it.
pub struct Entry {
    /// Names it.
    pub n: i64,
    /// Somebody asked to try it again, and it has not been tried yet.
    pub waiting: bool,
    /// Why it is kept.
    pub reason: String,
    /// The sink that is to try it again; `None` where it is not a sink's matter.
    pub sink: Option<Arc<str>>,
}

/// One kind of kept things.
pub struct Kind {
    /// What one of them is called.
    pub noun: &'static str,
    /// The command that lists them.
    pub list_command: &'static str,
    /// What they are once a new try succeeded, and once it did not.
    pub outcomes: (&'static str, &'static str),
    /// All, or those of one sink.
    pub list: fn(&Connection, Option<&str>) -> rusqlite::Result<Vec<Entry>>,
    /// One of them.
    pub get: fn(&Connection, i64) -> rusqlite::Result<Option<Entry>>,
    /// Asks for a new try.
    pub ask_retry: fn(&Connection, i64) -> rusqlite::Result<()>,
    /// Forgets one.
    pub forget: fn(&Connection, i64) -> rusqlite::Result<bool>,
}

/// Which of them.
#[derive(Debug, clap::Args)]
pub struct Which {
    /// Their numbers in the list
    #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "N")]
    pub numbers: Vec<i64>,
    /// All of them
    #[arg(long)]
    pub all: bool,
}

impl Kind {
    /// Says that there is no such number.
    pub fn unknown(&self, n: i64) -> Exit {
        eprintln!("cdrd: no {} {n}; {} shows those there are", self.noun, self.list_command);
        Exit::Usage
    }

    /// The entries that were named; an unknown number is an error before anything is done.
    fn named(
        &self,
        journal: &Connection,
        which: &Which,
        sink: Option<&str>,
    ) -> anyhow::Result<Result<Vec<Entry>, Exit>> {
        if which.all {
            return Ok(Ok((self.list)(journal, sink)?));
        }
        let mut found = Vec::new();
        for n in &which.numbers {
            match (self.get)(journal, *n)? {
                Some(entry) => found.push(entry),
                None => return Ok(Err(self.unknown(*n))),
            }
        }
        Ok(Ok(found))
    }

    /// Has them tried again, and tells how that went.
    pub async fn retry(
        &self,
        config: &Config,
        which: &Which,
        sink: Option<&str>,
    ) -> anyhow::Result<Exit> {
        let journal = schema::open_for_asking(&config.journal.path)?;
        let entries = match self.named(&journal, which, sink)? {
            Ok(entries) => entries,
            Err(exit) => return Ok(exit),
        };
        let sinks = match sinks(config, &entries) {
            Ok(sinks) => sinks,
            Err(words) => {
                eprintln!("cdrd: {words}");
                return Ok(Exit::Usage);
            }
        };
        for entry in &entries {
            (self.ask_retry)(&journal, entry.n)?;
        }
        let left = || {
            let mut left = 0;
            for entry in &entries {
                left += u64::from((self.get)(&journal, entry.n)?.is_some_and(|e| e.waiting));
            }
            Ok(left)
        };
        match asking::serve(config, &sinks, entries.len() as u64, left).await? {
            Served::Done => self.tell(&journal, &entries),
            Served::Left => Ok(Exit::Ok),
        }
    }

    fn tell(&self, journal: &Connection, entries: &[Entry]) -> anyhow::Result<Exit> {
        let mut failed = 0;
        for entry in entries {
            if let Some(again) = (self.get)(journal, entry.n)? {
                failed += 1;
                println!("{}: {}", again.n, one_line(&again.reason));
            }
        }
        let (good, bad) = self.outcomes;
        println!("{} {good}, {failed} {bad}", entries.len() - failed);
        Ok(if failed == 0 { Exit::Ok } else { Exit::Unavailable })
    }

    /// Forgets them for good.
    pub fn drop(&self, config: &Config, which: &Which, sink: Option<&str>) -> anyhow::Result<Exit> {
        let journal = schema::open_for_asking(&config.journal.path)?;
        let entries = match self.named(&journal, which, sink)? {
            Ok(entries) => entries,
            Err(exit) => return Ok(exit),
        };
        for entry in &entries {
            (self.forget)(&journal, entry.n)?;
        }
        println!("{} dropped", entries.len());
        Ok(Exit::Ok)
    }
}

/// The sinks that are to try, each once.
fn sinks<'a>(config: &'a Config, entries: &[Entry]) -> Result<Vec<&'a config::Sink>, String> {
    let mut sinks: Vec<&config::Sink> = Vec::new();
    for name in entries.iter().filter_map(|entry| entry.sink.as_deref()) {
        let sink = asking::sink(config, name)?;
        if !sinks.iter().any(|known| known.name == sink.name) {
            sinks.push(sink);
        }
    }
    Ok(sinks)
}
