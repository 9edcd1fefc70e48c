//! Reads `[pbx.NAME.backfill]`: how calls that nobody heard are fetched over REST.
//!
//! On by default for dialect 22, the only one whose REST interface is documented.
//! Where it is off, a [`NoBackfill`] says why, for whoever shows a gap that stays open.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use reqwest::Url;

use super::section::Section;
use super::{Account, Backfill, Dialect, Login, NoBackfill, Who, address};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
/// The PBX's queries reach back five years at most.
const LOOKBACK: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(1826 * 86_400);
const SETTLE: RangeInclusive<Duration> = Duration::ZERO..=HOUR;
const RECONCILE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(30 * 86_400);
/// The oldest documented limit is 1,000 a minute for the PBX as a whole, its users'
/// applications included.
const PER_MINUTE: RangeInclusive<u64> = 1..=1000;
/// Leaves nearly everything of that to the others.
const DEFAULT_PER_MINUTE: u64 = 60;

/// An example of `login`, for messages.
const EXAMPLE: &str = "login = { username = \"cdr\", domain = \"example.com\", password = … }";

impl fmt::Display for NoBackfill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dialect(dialect) => {
                write!(f, "PBXs of dialect {dialect} have no documented REST interface")
            }
            Self::Disabled => f.write_str("it is switched off (backfill.enabled = false)"),
            Self::NoUserName => write!(
                f,
                "REST wants a user name, and the login has none; add a user's {EXAMPLE} to its backfill table"
            ),
        }
    }
}

/// What of the PBX's own table decides.
pub(super) struct Around<'a> {
    pub(super) dialect: Dialect,
    /// The WebSocket interface's.
    pub(super) url: &'a Url,
    pub(super) login: &'a Login,
    /// The login has a fault of its own, which was told.
    pub(super) login_is_faulty: bool,
}

/// Whether the PBX's table as a whole asks for backfill, by default or by a key.
pub(super) fn is_wanted(pbx: &mut Section, dialect: Dialect) -> bool {
    let table = pbx.value("backfill").and_then(|value| value.get_ref().as_table());
    let enabled = table.and_then(|table| table.get("enabled")?.get_ref().as_bool());
    enabled.unwrap_or(dialect == Dialect::V22)
}

/// Reads the table, or takes the defaults where there is none.
pub(super) fn read(section: &mut Section, around: &Around<'_>) -> Result<Backfill, NoBackfill> {
    let documented = around.dialect == Dialect::V22;
    let enabled = section.flag("enabled", documented);
    let asked_for = enabled && section.has("enabled");
    let own = section.optional_table("login", read_account);
    let account = own.unwrap_or_else(|| account(around.login));
    let backfill = Backfill {
        url: read_url(section, around.url),
        lookback: section.duration("lookback", 6 * HOUR, LOOKBACK),
        settle: section.duration("settle", 30 * SECOND, SETTLE),
        reconcile_every: section.duration("reconcile_every", HOUR, RECONCILE),
        requests_per_minute: read_pace(section),
        account: account.clone().unwrap_or_else(nobody),
    };
    let told_anyway = around.login_is_faulty || section.is_faulty("login");
    let off = if !documented {
        NoBackfill::Dialect(around.dialect)
    } else if !enabled {
        NoBackfill::Disabled
    } else if account.is_none() && !told_anyway {
        NoBackfill::NoUserName
    } else {
        return Ok(backfill);
    };
    tell(section, &off, asked_for);
    Err(off)
}

/// Says that a backfill that was asked for, or would be the default, is not to be had.
fn tell(section: &mut Section, off: &NoBackfill, asked_for: bool) {
    match off {
        NoBackfill::Disabled => {}
        _ if asked_for => section.problem("enabled", format!("no backfill: {off}")),
        NoBackfill::NoUserName => section.warn_here(format!(
            "no backfill: {off}, or set enabled = false: what is said while cdrd does not listen is lost"
        )),
        NoBackfill::Dialect(_) => {}
    }
}

/// `https://HOST:PORT/api` for `wss://HOST:PORT/wsi`: the same host, port and certificate.
fn read_url(section: &mut Section, wsi: &Url) -> Url {
    if !section.has("url") {
        return derived(wsi);
    }
    let url = section.required_url("url", &["https", "http"], "\"https://HOST:8887/api\"");
    if url.scheme() == "http" && !section.is_faulty("url") && !address::is_loopback(&url) {
        section
            .warn("url", "http:// sends the password unencrypted over the network; use https://");
    }
    url
}

fn derived(wsi: &Url) -> Url {
    let (scheme, own_port) = if wsi.scheme() == "ws" { ("http", 80) } else { ("https", 443) };
    let host = wsi.host_str().unwrap_or_default();
    let port = wsi.port_or_known_default().unwrap_or(own_port);
    format!("{scheme}://{host}:{port}/api").parse().unwrap_or_else(|_| wsi.clone())
}

fn read_pace(section: &mut Section) -> u32 {
    let pace = section.integer("requests_per_minute", DEFAULT_PER_MINUTE, PER_MINUTE);
    u32::try_from(pace).expect("the bounds fit into u32")
}

/// REST knows users by name alone.
fn account(login: &Login) -> Option<Account> {
    let (username, domain) = match &login.who {
        Who::Administrator { username } => (username, None),
        Who::User { username, domain } => (username, Some(domain)),
        Who::ExtensionNumber { .. } | Who::Extension { .. } | Who::Tenant { .. } => return None,
    };
    let (username, domain) = (username.clone(), domain.cloned());
    Some(Account { username, domain, password: login.password.clone() })
}

fn read_account(section: &mut Section) -> Option<Account> {
    let username = section.required_string("username", "\"cdr\"");
    let domain = section.string("domain");
    let password = section.required_secret("password");
    Some(Account { username, domain, password })
}

/// Stands in where a fault was told.
fn nobody() -> Account {
    let (username, password) = (String::new(), crate::secret::Secret::new(""));
    Account { username, domain: None, password }
}
