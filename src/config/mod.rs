//! The configuration: typed, validated, with every default filled in.
//!
//! What lives here is the *result*: values that the rest of the program can use
//! without another check. How TOML becomes these values, and how mistakes are
//! told, is the business of the files beside this one.

mod address;
mod admin;
mod auth;
mod backfill;
mod environment;
mod error;
mod fingerprint;
mod journal;
mod load;
mod log;
mod login;
mod nearest;
mod pbx;
mod program;
mod reading;
mod secret_source;
mod section;
mod sink;
#[cfg(test)]
mod tests;
mod tls;
mod topics;
pub mod units;
mod values;
mod webhook;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::secret::Secret;

pub use address::is_loopback;
pub use auth::{Auth, User, read as read_auth};
pub use environment::Environment;
pub use error::{ConfigError, Problem};
pub use fingerprint::Fingerprint;
pub use load::DEFAULT_PATH;
pub use log::directives as log_directives;
pub use program::find_program;
pub use section::Section;
pub use tls::read_with_identity as read_tls;
pub use values::{no_choice, quoted};

/// The whole configuration of a daemon.
#[derive(Debug, Clone)]
pub struct Config {
    /// The PBXs to listen to, in the order of the file.
    pub pbxs: Vec<Pbx>,
    /// Where and how events are kept until every sink has them.
    pub journal: Journal,
    /// Where events go, in the order of the file.
    pub sinks: Vec<Sink>,
    /// The admin endpoint; `None` without a table.
    pub admin: Option<Admin>,
    /// What to log, unless the command line or the environment say.
    pub log_level: Option<String>,
    /// What is legal but probably not meant; each is logged once at start.
    pub warnings: Vec<String>,
    /// What each table means, by its path such as `pbx.hq`: a reload leaves alone what
    /// means the same as before.
    pub fingerprints: BTreeMap<String, Fingerprint>,
}

/// The admin endpoint: `[admin]`.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What whoever asks has to know; always there beyond loopback.
    pub token: Option<Secret>,
    /// Whether the page shows numbers in full.
    pub show_numbers: bool,
}

/// One PBX: `[pbx.NAME]`.
#[derive(Debug, Clone)]
pub struct Pbx {
    /// `NAME` of the table; part of each event's `source`.
    pub name: Arc<str>,
    /// `ws://` or `wss://` URL of the WebSocket interface.
    pub url: reqwest::Url,
    /// Which generation of the interface the PBX speaks.
    pub dialect: Dialect,
    /// Topics to subscribe to, one `subscribe` each.
    pub topics: Vec<Topic>,
    /// Tenant ids, sent with the topics that take them.
    pub tenants: Vec<String>,
    /// Extension numbers, sent with the topics that take them.
    pub extensions: Vec<String>,
    /// Queue numbers, sent with the topics that take them.
    pub queues: Vec<String>,
    /// Who logs in.
    pub login: Login,
    /// How the PBX's certificate is checked.
    pub tls: Tls,
    /// Limit for each network step of a connect: TCP, TLS, upgrade, login answer.
    pub connect_timeout: Duration,
    /// How often a WebSocket ping is sent.
    pub ping_interval: Duration,
    /// How long after a ping with neither pong nor frame the connection counts as dead.
    pub ping_timeout: Duration,
    /// First and longest wait between two connects.
    pub reconnect: Reconnect,
    /// Largest frame that is accepted, in bytes; larger ones are quarantined by their size.
    pub max_frame: usize,
    /// How calls that nobody heard are fetched over REST; `None` if they are not.
    pub backfill: Option<Backfill>,
    /// Why not, where `backfill` is `None`.
    pub no_backfill: Option<NoBackfill>,
    /// Whether there is a session over the WebSocket interface. Without one and without
    /// backfill, `url` and `login` may be stand-ins, since nobody uses them.
    pub wsi: bool,
    /// Where the PBX may post its events to.
    pub webhook: Option<Webhook>,
}

/// The PBX's own webhook, taken in: `[pbx.NAME.webhook]`.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Where to listen. Several PBXs may share an address.
    pub listen: std::net::SocketAddr,
    /// The path that is this PBX's.
    pub path: String,
    /// How the PBX shows that it is the one.
    pub auth: Auth,
    /// Certificate and key; plain HTTP without, on this machine alone.
    pub identity: Option<Identity>,
}

/// Fetching calls over REST: `[pbx.NAME.backfill]`.
#[derive(Debug, Clone)]
pub struct Backfill {
    /// Base URL of the REST interface.
    pub url: reqwest::Url,
    /// How long a call may last and still be found.
    pub lookback: Duration,
    /// When a second sweep follows the first.
    pub settle: Duration,
    /// How often REST is compared with the journal even with no gap; zero is never.
    pub reconcile_every: Duration,
    /// Requests within any minute, at most.
    pub requests_per_minute: u32,
    /// Who asks.
    pub account: Account,
}

/// A user as REST knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The user name.
    pub username: String,
    /// The tenant's SIP domain; none for the system administrator.
    pub domain: Option<String>,
    /// The password.
    pub password: Secret,
}

/// Why a PBX has no backfill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoBackfill {
    /// Releases of this generation have no documented REST interface.
    Dialect(Dialect),
    /// The operator does not want it.
    Disabled,
    /// The login is an extension's, and REST wants a user name.
    NoUserName,
}

/// The generation of the PBX's interface (protocol differences in login and subscribe).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Releases 12.x.
    V12,
    /// Releases 16.x.
    V16,
    /// Releases 22.x.
    V22,
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V12 => "12",
            Self::V16 => "16",
            Self::V22 => "22",
        })
    }
}

/// One topic to subscribe to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name in the PBX's words.
    pub name: String,
    /// Arrays to send beside it: the JSON key and its values, none of them empty.
    pub selectors: Vec<(&'static str, Vec<String>)>,
}

/// Who logs in to a PBX, and with what.
#[derive(Debug, Clone)]
pub struct Login {
    /// The identity, which decides the keys of the `auth` command.
    pub who: Who,
    /// The password.
    pub password: Secret,
}

/// The login forms that the vendor documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// `username` alone: system administrator (dialect 22).
    Administrator {
        /// The user name.
        username: String,
    },
    /// `username` and `domain`: tenant user (dialects 22 and 16).
    User {
        /// The user name.
        username: String,
        /// The tenant's SIP domain.
        domain: String,
    },
    /// `extension_number` and `domain`: tenant user by extension (dialect 22).
    ExtensionNumber {
        /// The extension.
        extension_number: String,
        /// The tenant's SIP domain.
        domain: String,
    },
    /// `extension` and `domain` (dialect 12).
    Extension {
        /// The extension.
        extension: String,
        /// The tenant's SIP domain.
        domain: String,
    },
    /// `name`: tenant (dialect 12).
    Tenant {
        /// The tenant's name.
        name: String,
    },
}

/// How a peer's certificate is judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM file with the only CA certificates to trust, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// SHA-256 of the server's own certificate (DER); replaces chain and name checks.
    pub pin_sha256: Option<[u8; 32]>,
    /// Accept anything. The last resort; logged at every connect.
    pub insecure_skip_verify: bool,
    /// Our own certificate, where the peer wants one.
    pub identity: Option<Identity>,
}

/// A client certificate: who we are to a server that asks by TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// PEM file with our certificate, then those that lead to its CA.
    pub cert_file: PathBuf,
    /// PEM file with its private key.
    pub key_file: PathBuf,
}

/// Waits between connects, drawn with full jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconnect {
    /// Upper bound of the first wait.
    pub initial: Duration,
    /// Upper bound that the waits grow to.
    pub max: Duration,
}

/// The journal: `[journal]`.
#[derive(Debug, Clone)]
pub struct Journal {
    /// The SQLite database.
    pub path: PathBuf,
    /// How long an event stays after every sink has it.
    pub retention: Duration,
    /// Size in bytes past which the journal counts as full.
    pub max_size: u64,
    /// What happens then.
    pub when_full: WhenFull,
}

/// What a full journal does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// Stop reading from the PBXs until sinks have caught up.
    Pause,
    /// Delete the oldest events, delivered or not, and say so.
    DropOldest,
}

/// One sink: `[sink.NAME]`; what every type has in common.
#[derive(Debug, Clone)]
pub struct Sink {
    /// `NAME` of the table; names the sink's cursor in the journal.
    pub name: Arc<str>,
    /// Which events it gets.
    pub filter: crate::sink::filter::Filter,
    /// Where a sink that was never seen before starts.
    pub start: Start,
    /// What belongs to the type alone.
    pub settings: crate::sink::Settings,
}

/// Where the cursor of a new sink is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// After the newest event of the journal.
    Now,
    /// Before the oldest event of the journal.
    Beginning,
}
