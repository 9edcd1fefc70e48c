//! What a simulated PBX is told at its start: dialect, release, accounts, pace.
//!
//! Plain data with defaults; faults that can change while it runs are in
//! [`super::faults`].

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use super::faults::Faults;
use super::flood::Load;
use super::pace::Rate;
use super::webhook::WebhookOptions;

/// The simulated tenant's id: a decimal string above 2^53, as the PBX hands them out.
pub const TENANT_ID: &str = "744028133476442112";
/// The simulated tenant's name, which dialect 12 logs a tenant in with.
pub const TENANT_NAME: &str = "example";
/// The simulated tenant's SIP domain.
pub const DOMAIN: &str = "example.com";
/// Password of every default account.
pub const PASSWORD: &str = "cdrd-demo";

/// The generation of the WSI: forms of login and subscribe (protocol page, 1.1 to 1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Dialect {
    /// PBX 12.x: extensions and tenants log in, topics are objects.
    #[value(name = "12")]
    V12,
    /// PBX 16.x: tenant users log in, answers carry `status` alone.
    #[value(name = "16")]
    V16,
    /// PBX 22.x: administrators too, answers carry `command` and `id`.
    #[value(name = "22")]
    V22,
}

/// The release whose field spellings the events have (protocol page, 1.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Release {
    /// As 16, and ids are JSON integers.
    #[value(name = "12")]
    R12,
    /// Bare `target_*` names, short direction words, numbers as JSON numbers.
    #[value(name = "16")]
    R16,
    /// Mixed: `cdr_target_*`, `did_cid`, `destiantion`, `""` for times that did not happen.
    #[value(name = "22.2")]
    R22_2,
    /// SIP URIs in `call_start`, long direction words, trunks as `name:id`.
    #[value(name = "22.3")]
    R22_3,
}

impl Dialect {
    /// The release that is simulated where none is named.
    pub fn default_release(self) -> Release {
        match self {
            Dialect::V12 => Release::R12,
            Dialect::V16 => Release::R16,
            Dialect::V22 => Release::R22_3,
        }
    }

    /// The number as the configuration of a client spells it.
    pub fn number(self) -> &'static str {
        match self {
            Dialect::V12 => "12",
            Dialect::V16 => "16",
            Dialect::V22 => "22",
        }
    }
}

/// Who an account belongs to; decides which login forms fit it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// The system administrator: `username` alone, dialect 22.
    Administrator {
        /// The user name.
        username: String,
    },
    /// A tenant's user: by name or by extension, always with the domain.
    User {
        /// The user name.
        username: String,
        /// The tenant's SIP domain.
        domain: String,
        /// The user's extension number.
        extension: String,
    },
    /// A tenant by its name, dialect 12.
    Tenant {
        /// The tenant's name.
        name: String,
    },
}

/// What a tenant user may see (column "who may" of the protocol page's topic table).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permissions {
    /// Analytics: View Only. CDRs and queues; in REST the whole tenant's calls,
    /// without it only the user's own.
    pub analytics: bool,
    /// Users: View Only, PhoneSystem: View Only. Extensions.
    pub users: bool,
}

/// One account of the simulated PBX.
#[derive(Debug, Clone)]
pub struct Account {
    /// Whose it is.
    pub who: Who,
    /// Its password, compared as it is.
    pub password: String,
    /// Two-factor login is on: WSI refuses the user, REST gives no access token.
    pub two_factor: bool,
    /// The user has to change the password before REST shows anything.
    pub password_force_reset: bool,
    /// What it may subscribe to; an administrator's and a tenant's are not looked at.
    pub permissions: Permissions,
}

impl Account {
    /// A tenant user of [`DOMAIN`] with all permissions.
    pub fn user(username: &str, extension: &str, password: &str) -> Self {
        let who = Who::User {
            username: username.into(),
            domain: DOMAIN.into(),
            extension: extension.into(),
        };
        Self::of(who, password)
    }

    /// Moves a tenant user to another SIP domain; other accounts have none.
    pub fn set_domain(&mut self, to: &str) {
        if let Who::User { domain, .. } = &mut self.who {
            *domain = to.into();
        }
    }

    /// The system administrator.
    pub fn administrator(username: &str, password: &str) -> Self {
        let username = username.into();
        Self::of(Who::Administrator { username }, password)
    }

    /// A tenant that logs in by its name (dialect 12).
    pub fn tenant(name: &str, password: &str) -> Self {
        Self::of(Who::Tenant { name: name.into() }, password)
    }

    fn of(who: Who, password: &str) -> Self {
        Self {
            who,
            password: password.into(),
            two_factor: false,
            password_force_reset: false,
            permissions: Permissions { analytics: true, users: true },
        }
    }

    /// The accounts of every simulator that is told of none: `cdr` (extension 101),
    /// `admin`, the tenant `example`, `nobody` (102, no permission) and
    /// `twofactor` (103, two-factor login), all with [`PASSWORD`].
    pub fn defaults() -> Vec<Account> {
        let mut nobody = Account::user("nobody", "102", PASSWORD);
        nobody.permissions = Permissions { analytics: false, users: false };
        let mut twofactor = Account::user("twofactor", "103", PASSWORD);
        twofactor.two_factor = true;
        vec![
            Account::user("cdr", "101", PASSWORD),
            Account::administrator("admin", PASSWORD),
            Account::tenant(TENANT_NAME, PASSWORD),
            nobody,
            twofactor,
        ]
    }
}

/// Everything a simulator is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Which forms of login and subscribe it accepts.
    pub dialect: Dialect,
    /// Spellings of the events; `None` is the dialect's own.
    pub release: Option<Release>,
    /// Who can log in.
    pub accounts: Vec<Account>,
    /// Listen with TLS, with a certificate made at start.
    pub tls: bool,
    /// Seed of the calls: the same seed gives the same calls.
    pub seed: u64,
    /// Unix seconds at which the office opens; `None` lets calls end about now.
    /// With a fixed time ids and times are the same in every run.
    pub start_time: Option<i64>,
    /// Calls by themselves, or only on demand.
    pub rate: Rate,
    /// Office seconds in one real second; `None` suits the rate.
    pub speed: Option<f64>,
    /// Calls begin at once and go on without a WSI subscription, at every rate.
    pub unattended: bool,
    /// Stop making calls after so many (of those that `rate` makes).
    pub calls: Option<u64>,
    /// Push so many ready-made records to each connection, for load tests.
    pub flood: Option<Load>,
    /// Send `status` as a string, which the protocol page allows for.
    pub status_as_string: bool,
    /// Topic names outside the documented table that are accepted.
    pub extra_topics: Vec<String>,
    /// How often each connection is pinged.
    pub ping_every: Duration,
    /// How long a client may leave a full connection unread before it is dropped.
    pub stall_limit: Duration,
    /// Keep every pushed event for `Simulator::log`; off, only counts are kept.
    pub record: bool,
    /// How long a token of the REST side is good for.
    pub token_life: Duration,
    /// The PBX's own webhook.
    pub webhook: Option<WebhookOptions>,
    /// Faults in force from the start.
    pub faults: Faults,
}

impl Options {
    /// The release in force.
    pub fn spelling(&self) -> Release {
        self.release.unwrap_or_else(|| self.dialect.default_release())
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            dialect: Dialect::V22,
            release: None,
            accounts: Account::defaults(),
            tls: false,
            seed: 1,
            start_time: None,
            rate: Rate::Manual,
            speed: None,
            unattended: false,
            calls: None,
            flood: None,
            token_life: Duration::from_secs(1800),
            webhook: None,
            status_as_string: false,
            extra_topics: Vec::new(),
            ping_every: Duration::from_secs(5),
            stall_limit: Duration::from_secs(60),
            record: true,
            faults: Faults::default(),
        }
    }
}

impl FromStr for Release {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        clap::ValueEnum::from_str(text, false)
    }
}
