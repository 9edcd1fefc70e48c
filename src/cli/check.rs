//! `cdrd check`: is the configuration right, and do the peers agree?

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::time::Duration;

use tokio::sync::watch;

use super::exit::Exit;
use super::logging::Logging;
use super::{ConfigFile, tail};
use crate::clock::Clock;
use crate::config::{Config, Pbx, Sink, Webhook, Who};
use crate::daemon::Stop;
use crate::journal::intake::Intake;
use crate::journal::lock;
use crate::journal::reader::Reader;
use crate::pbx::connect;
use crate::pbx::link::Link;
use crate::pbx::lockout::{Lockout, Memory, Wait};
use crate::pbx::session::Session;
use crate::pbx::state::{Phase, State};
use crate::pbx::subscribe::Subscriptions;
use crate::rest::Rest;
use crate::sink::file::creatable;
use crate::tls;

/// REST may take so long to answer.
const REST_LIMIT: Duration = Duration::from_secs(20);
/// The calls that it is asked for: those of the last minutes.
const LAST_CALLS_MS: i64 = 5 * 60_000;

/// Validate the configuration; with --connect, try every PBX and sink
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cdrd check -c config.toml             is the file right?
  cdrd check -c config.toml --connect   log in, subscribe, look at each sink

Ends with 0 if all is well, with 78 if the configuration is wrong, with 69 if a PBX or
a receiver refused or cannot be reached. No event is delivered and none is kept.")]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// Also log into each PBX, subscribe, and try each sink
    #[arg(long)]
    connect: bool,
}

/// Checks, and says so step by step.
pub async fn run(args: Args, logging: &Logging) -> anyhow::Result<Exit> {
    logging.start_for_report();
    let config = args.config.load()?;
    let mut report = Report::new();
    for warning in &config.warnings {
        report.warning(warning);
    }
    let (pbxs, sinks) = (config.pbxs.len(), config.sinks.len());
    report.good("configuration", &format!("{pbxs} PBX(s), {sinks} sink(s)"));
    if args.connect {
        connect_all(&config, &mut report).await;
    }
    Ok(if report.failed { Exit::Unavailable } else { Exit::Ok })
}

async fn connect_all(config: &Config, report: &mut Report) {
    let path = &config.journal.path;
    report.judge("journal", check_journal(path));
    // A refused login counts for the daemon, too, if it has a journal to note it in.
    let memory = if path.exists() { Memory::File(path.clone()) } else { Memory::Nowhere };
    let lockout = Lockout::new(memory, Clock::system(), tail::remembered(path));
    for pbx in &config.pbxs {
        // After a refusal the same password is not tried at another door.
        let known = !pbx.wsi || check_pbx(pbx, &lockout, report).await;
        if known && pbx.backfill.is_some() {
            check_rest(pbx, &lockout, report).await;
        }
        if let Some(webhook) = &pbx.webhook {
            report.judge(&format!("pbx \"{}\"", pbx.name), check_webhook(webhook, path));
        }
    }
    for sink in &config.sinks {
        check_sink(sink, report).await;
    }
}

/// Leaves nothing behind: what an administrator's `check` would create would not
/// belong to the daemon's user.
fn check_journal(path: &Path) -> Result<String, String> {
    let daemon = if lock::is_held(path) { "in use by a running daemon" } else { "free" };
    let usable = match path.exists() {
        true => Reader::open_untouched(path).map(drop).map_err(|e| e.to_string()),
        false => creatable(path).map_err(|e| format!("journal {}: {e}", path.display())),
    };
    usable.map(|()| format!("{} ({daemon})", path.display()))
}

/// Whether the PBX's posts could be taken. Nobody is asked to send one.
fn check_webhook(webhook: &Webhook, journal: &Path) -> Result<String, String> {
    let Webhook { listen, path, identity, .. } = webhook;
    if let Some(identity) = identity {
        tls::server_config(identity).map_err(|e| format!("webhook: {e}"))?;
    }
    let scheme = if identity.is_some() { "https" } else { "http" };
    match std::net::TcpListener::bind(listen) {
        Ok(_) => Ok(format!("webhook can listen at {scheme}://{listen}{path}")),
        Err(e) if e.kind() == ErrorKind::AddrInUse && lock::is_held(journal) => {
            Ok(format!("webhook at {scheme}://{listen}{path} (in use by a running daemon)"))
        }
        Err(e) => Err(format!(
            "webhook cannot listen at {listen}: {e}; is it an address of this machine, and does no other program listen there?"
        )),
    }
}

/// Whether the PBX took the login.
async fn check_pbx(pbx: &Pbx, lockout: &Lockout, report: &mut Report) -> bool {
    let what = format!("pbx \"{}\"", pbx.name);
    if let Some(wait) = lockout.blocked(pbx.url.host_str().unwrap_or_default(), &pbx.name) {
        report.bad(&what, &not_now(lockout, wait));
        return false;
    }
    let socket = match connect::connect(pbx).await {
        Ok(socket) => socket,
        Err(e) => {
            report.bad(&what, &e.to_string());
            return false;
        }
    };
    report.good(&what, &format!("connected to {}", pbx.url));
    let (intake, _outlet) = Intake::detached();
    let mut link = Link::new(socket, pbx.name.clone(), intake.clone());
    let state = watch::Sender::new(State::starting());
    let stop = Stop::default();
    let metrics = intake.metrics().pbx(&pbx.name);
    let session = Session {
        pbx,
        intake: &intake,
        lockout,
        state: &state,
        stop: &stop.gracefully,
        metrics: &metrics,
    };
    let mut topics = Subscriptions::new(&pbx.topics);
    let introduced = session.introduce(&mut link, &mut topics).await;
    // Whatever comes of the goodbye, the questions are answered.
    let _ = link.close().await;
    if state.borrow().phase == Phase::LoggingIn {
        let why = introduced.err().map_or_else(String::new, |e| e.to_string());
        report.bad(&what, &why);
        return false;
    }
    report.good(&what, &format!("logged in as {}", who(&pbx.login.who)));
    let refused = topics.refused();
    for topic in &pbx.topics {
        match refused.iter().find(|(name, _)| *name == topic.name) {
            Some((_, words)) => {
                report.bad(
                    &what,
                    &format!("topic {} refused: {words}; check the user's permissions", topic.name),
                );
            }
            None => report.good(&what, &format!("subscribed to {}", topic.name)),
        }
    }
    if let Err(e) = introduced {
        report.bad(&what, &e.to_string());
    }
    true
}

/// Whether gaps can be closed. If not, live calls come all the same: that is a warning.
async fn check_rest(pbx: &Pbx, lockout: &Lockout, report: &mut Report) {
    let asked = async {
        let mut rest = Rest::new(pbx, lockout.clone(), Clock::system())?;
        let now = Clock::system().now_ms();
        let answer = rest.calls(now - LAST_CALLS_MS, now).next().await;
        let role = rest.role().map_or_else(String::new, |role| format!(", role {role}"));
        rest.close().await;
        answer.map(|_| role)
    };
    let (what, url) = (format!("pbx \"{}\"", pbx.name), pbx.backfill.as_ref().map(|b| &b.url));
    let url = url.map_or("", |url| url.as_str());
    let why = match tokio::time::timeout(REST_LIMIT, asked).await {
        Ok(Ok(role)) => {
            return report.good(&what, &format!("REST at {url} shows call logs{role}"));
        }
        Ok(Err(e)) => e.to_string(),
        Err(_) => format!("no answer within {REST_LIMIT:?}"),
    };
    report.warning(&format!(
        "{what}: REST at {url}: {why}. Live calls do not need it; without it, what is said \
         while cdrd does not listen cannot be fetched back (docs/backfill.md)"
    ));
}

fn not_now(lockout: &Lockout, wait: Wait) -> String {
    let minutes = lockout.duration(wait).as_secs().div_ceil(60);
    format!(
        "not tried: earlier logins were refused, and the PBX blocks addresses that are refused \
         too often; the next try is allowed in {minutes} min"
    )
}

fn who(who: &Who) -> String {
    match who {
        Who::Administrator { username } => format!("system administrator {username}"),
        Who::User { username, domain } => format!("user {username} of {domain}"),
        Who::ExtensionNumber { extension_number: extension, domain }
        | Who::Extension { extension, domain } => format!("extension {extension} of {domain}"),
        Who::Tenant { name } => format!("tenant {name}"),
    }
}

async fn check_sink(sink: &Sink, report: &mut Report) {
    let what = format!("sink \"{}\"", sink.name);
    match sink.settings.open() {
        Err(e) => report.bad(&what, &e.to_string()),
        Ok(mut open) => report.judge(&what, open.probe().await),
    }
}

/// What was found, a line each, to standard output.
struct Report {
    colour: bool,
    failed: bool,
}

impl Report {
    fn new() -> Self {
        Self { colour: super::colour_stdout(), failed: false }
    }

    fn good(&self, what: &str, words: &str) {
        self.line("ok     ", "32", &format!("{what}: {words}"));
    }

    fn warning(&self, words: &str) {
        self.line("warning", "33", words);
    }

    fn bad(&mut self, what: &str, words: &str) {
        self.failed = true;
        self.line("FAILED ", "31", &format!("{what}: {words}"));
    }

    fn judge(&mut self, what: &str, result: Result<String, String>) {
        match result {
            Ok(words) => self.good(what, &words),
            Err(words) => self.bad(what, &words),
        }
    }

    /// Whoever does not read it to the end still gets the exit code.
    fn line(&self, verdict: &str, colour: &str, text: &str) {
        let (on, off) =
            if self.colour { (format!("\x1b[{colour}m"), "\x1b[0m") } else { (String::new(), "") };
        let _ = writeln!(std::io::stdout(), "{on}{verdict}{off} {text}");
    }
}
