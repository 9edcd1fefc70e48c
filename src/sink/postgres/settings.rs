//! The keys of a `[sink.NAME]` of type `postgres`.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::Postgres;
use super::address::{Address, Server};
use super::table::Names;
use crate::config::{Section, Tls};
use crate::secret::Secret;
use crate::sink::format::Encoder;
use crate::sink::lines::read_retry;
use crate::sink::{OpenError, Retry};

const SECOND: Duration = Duration::from_secs(1);
/// Bounds of the time limits; tests go down to milliseconds.
const LIMITS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3600);
/// Events in one transaction. Measured in docs/sinks.md.
const BATCH: u64 = 500;
/// The journal is read about 1,000 events or 1 MiB at a time, so larger batches are rare.
const BATCHES: RangeInclusive<u64> = 1..=10_000;
/// The longest name: PostgreSQL cuts at 63, and an ending is added.
const LONGEST_NAME: usize = 40;

/// What the file says.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The sink's name, for the log and for the server.
    pub sink: Arc<str>,
    /// The database.
    pub address: Address,
    /// The role's password, if the server wants one.
    pub password: Option<Secret>,
    /// How the server's certificate is checked, and our own; `None` is no TLS.
    pub tls: Option<Tls>,
    /// What the tables are called.
    pub names: Names,
    /// Events in one transaction, at most.
    pub batch: usize,
    /// Limit for each step of a connect: TCP, TLS and login.
    pub connect_timeout: Duration,
    /// Limit for one transaction.
    pub timeout: Duration,
    /// Waits between tries.
    pub retry: Retry,
    /// What the sink must not see.
    pub encoder: Encoder,
}

impl Settings {
    /// Reads the type's own keys.
    pub fn read(section: &mut Section) -> Self {
        if !section.has("url") {
            section.missing("url", "\"postgres://USER@HOST/DATABASE\"");
        }
        let wanted = "a URL like \"postgres://USER@HOST/DATABASE\"";
        let address = section.parsed("url", wanted, Address::parse);
        let stand_in = || Address::parse("postgres://u@localhost/d").expect("a valid URL");
        let settings = Self {
            sink: Arc::from(section.name()),
            address: address.unwrap_or_else(stand_in),
            password: section.secret("password"),
            tls: section.tls_with_identity(),
            names: read_names(section),
            batch: usize::try_from(section.integer("batch", BATCH, BATCHES)).unwrap_or(1),
            connect_timeout: section.duration("connect_timeout", 10 * SECOND, LIMITS),
            timeout: section.duration("timeout", 30 * SECOND, LIMITS),
            retry: section.table("retry", read_retry),
            encoder: Encoder::read_whole(section),
        };
        check_together(section, &settings);
        settings
    }

    /// Makes the sink; the first event connects.
    pub fn open(&self) -> Result<Postgres, OpenError> {
        Ok(Postgres { settings: Arc::new(self.clone()), session: None })
    }
}

fn read_names(section: &mut Section) -> Names {
    let schema = section.parsed("schema", "a string", name);
    let table = section.parsed("table", "a string", name);
    Names { schema, table: table.unwrap_or_else(|| "cdr".to_owned()) }
}

/// A name that needs no quotes in SQL, but for reserved words.
fn name(text: &str) -> Result<String, String> {
    let letter = |c: char| c.is_ascii_lowercase() || c == '_';
    let valid = text.starts_with(letter)
        && text.len() <= LONGEST_NAME
        && text.chars().all(|c| letter(c) || c.is_ascii_digit());
    match valid {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "must be of small letters, digits and _, begin with no digit, and have at most \
             {LONGEST_NAME} characters"
        )),
    }
}

fn check_together(section: &mut Section, settings: &Settings) {
    if section.is_faulty("url") || section.is_faulty("tls") {
        return;
    }
    let unix = matches!(settings.address.server, Server::Unix { .. });
    if unix && settings.tls.is_some() {
        section.problem("tls", "\"tls\" has no meaning on a Unix socket; remove it");
    }
    if settings.tls.is_none() && !settings.address.is_local() {
        section.warn("url", "without \"tls\" the calls go to the database unencrypted, and nobody proves that it is the right one; set tls = true");
    }
}
