//! The keys of a `[sink.NAME]` of type `nats`.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use async_nats::ConnectOptions;
use reqwest::Url;

use super::stream::NewStream;
use super::subject::Subject;
use super::{Judged, Nats};
use crate::config::{Section, Tls, is_loopback};
use crate::secret::Secret;
use crate::sink::format::{Encoder, Format};
use crate::sink::lines::read_retry;
use crate::sink::{OpenError, Retry};

const SCHEMES: &[&str] = &["nats", "tls"];
/// Where events go unless told otherwise.
const SUBJECT: &str = "cdr.{pbx}.{tenant_id}.{event_type}";
const SECOND: Duration = Duration::from_secs(1);
/// Bounds of the limits; tests go down to milliseconds.
const LIMITS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3600);
/// Publishes that wait for their acknowledgement, at most.
const IN_FLIGHT: u64 = 256;
/// What `in_flight` may be set to.
const IN_FLIGHTS: RangeInclusive<u64> = 1..=4096;
/// An nkey's seed is the text of 36 bytes in base 32; it begins with S, a user's with SU.
const SEED_LENGTH: usize = 58;
const FORMS: &str = "give one of credentials, token, nkey, or username with password";

/// What the file says.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The sink's name, for the log.
    pub sink: Arc<str>,
    /// The servers, in the order in which they are tried.
    pub urls: Vec<Url>,
    /// How the server knows us.
    pub auth: Option<Auth>,
    /// How its certificate is checked, and our own; `None`: as the server wants it.
    pub tls: Option<Tls>,
    /// Limit for one connect: TCP, TLS and login together.
    pub connect_timeout: Duration,
    /// How long an acknowledgement may take.
    pub timeout: Duration,
    /// Publishes that wait for their acknowledgement, at most.
    pub in_flight: usize,
    /// Where events go.
    pub subject: Subject,
    /// The stream to make if it is not there.
    pub create_stream: Option<NewStream>,
    /// Waits between tries.
    pub retry: Retry,
    /// The form of each message.
    pub encoder: Encoder,
}

/// How a server knows us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// The text of a `.creds` file: a user's JWT and the seed that proves it.
    Credentials(Secret),
    /// A token.
    Token(Secret),
    /// The seed of an nkey.
    Nkey(Secret),
    /// User name and password.
    User(String, Secret),
}

impl Settings {
    /// Reads the type's own keys.
    pub fn read(section: &mut Section) -> Self {
        let subject = section.parsed("subject", "a subject like \"cdr.{pbx}\"", Subject::parse);
        let subject = subject.unwrap_or_else(|| Subject::parse(SUBJECT).expect("it is a subject"));
        let in_flight = section.integer("in_flight", IN_FLIGHT, IN_FLIGHTS);
        let settings = Self {
            sink: Arc::from(section.name()),
            urls: read_urls(section),
            auth: section.optional_table("auth", read_auth).flatten(),
            tls: section.tls_with_identity(),
            connect_timeout: section.duration("connect_timeout", 10 * SECOND, LIMITS),
            timeout: section.duration("timeout", 10 * SECOND, LIMITS),
            in_flight: usize::try_from(in_flight).expect("the bounds fit into usize"),
            create_stream: section
                .optional_table("create_stream", |table| NewStream::read(table, &subject)),
            subject,
            retry: section.table("retry", read_retry),
            encoder: Encoder::read(section, Format::CloudEvents),
        };
        settings.check_together(section);
        settings
    }

    /// Makes the sink; the first event connects.
    pub fn open(&self) -> Result<Nats, OpenError> {
        Ok(Nats {
            settings: self.clone(),
            connection: None,
            judged: Judged::default(),
            fault: None,
        })
    }

    /// Whether this server is spoken to over TLS whatever it says itself.
    pub fn wants_tls(&self, url: &Url) -> bool {
        self.tls.is_some() || url.scheme() == "tls"
    }

    fn check_together(&self, section: &mut Section) {
        let sent = matches!(self.auth, Some(Auth::Token(_) | Auth::User(..)));
        let plain = |url: &&Url| !self.wants_tls(url) && !is_loopback(url);
        if sent && !section.is_faulty("url") && self.urls.iter().any(|url| plain(&url)) {
            section.warn("url", "nats:// sends the secret of \"auth\" unencrypted unless the server insists on TLS; use tls://");
        }
    }
}

fn read_urls(section: &mut Section) -> Vec<Url> {
    let example = "\"tls://HOST:4222\", or a list of them";
    let one = section.peek("url").is_some() || !section.has("url");
    let urls = match one {
        true => vec![section.required_url("url", SCHEMES, example)],
        false => section.urls("url", SCHEMES),
    };
    if urls.is_empty() && !section.is_faulty("url") {
        section.problem("url", format!("\"url\" is empty; add url = {example}"));
    }
    if section.has("url") && !section.is_faulty("url") {
        let more = |url: &Url| !matches!(url.path(), "" | "/") || url.query().is_some();
        if urls.iter().any(more) {
            section.problem("url", "\"url\" must end after the port: NATS has no paths");
        } else if urls.iter().any(|url| url.host_str().is_none_or(str::is_empty)) {
            section.problem("url", format!("\"url\" has no host; write it like {example}"));
        }
    }
    urls
}

fn read_auth(section: &mut Section) -> Option<Auth> {
    let credentials = section.secret("credentials");
    let token = section.secret("token");
    let nkey = section.secret("nkey");
    let user = (section.string("username"), section.secret("password"));
    if section.has_faults() || section.has_unknown() {
        return None;
    }
    match (credentials, token, nkey, user) {
        (Some(text), None, None, (None, None)) => {
            checked(section, "credentials", text, is_creds).map(Auth::Credentials)
        }
        (None, Some(token), None, (None, None)) => Some(Auth::Token(token)),
        (None, None, Some(seed), (None, None)) => {
            checked(section, "nkey", seed, is_seed).map(Auth::Nkey)
        }
        (None, None, None, (Some(name), Some(password))) => Some(Auth::User(name, password)),
        _ => {
            section.problem_here(FORMS);
            None
        }
    }
}

fn checked(
    section: &mut Section,
    key: &'static str,
    secret: Secret,
    is_good: fn(&str) -> Result<(), &'static str>,
) -> Option<Secret> {
    // A stand-in has no form.
    if section.reads_secrets()
        && let Err(cause) = is_good(secret.reveal())
    {
        section.problem(key, format!("\"{key}\" {cause}"));
        return None;
    }
    Some(secret)
}

fn is_creds(text: &str) -> Result<(), &'static str> {
    credentials(text).map(drop).ok_or(
        "is not the content of a .creds file; it must have a user's JWT and its nkey seed, as \"nsc generate creds\" writes them",
    )
}

/// What such a file says. Its error would show the text.
pub fn credentials(text: &str) -> Option<ConnectOptions> {
    // Secrets come without their last line end, and the library wants one.
    ConnectOptions::with_credentials(&format!("{text}\n")).ok()
}

fn is_seed(text: &str) -> Result<(), &'static str> {
    let base_32 = |c: u8| c.is_ascii_uppercase() || (b'2'..=b'7').contains(&c);
    match text.len() == SEED_LENGTH && text.starts_with("SU") && text.bytes().all(base_32) {
        true => Ok(()),
        false => Err(
            "is not the seed of a user's nkey, which has 58 capitals and digits and begins with SU",
        ),
    }
}
