//! `cdrd simulate`: a PBX to try against, with calls and faults on request.

mod faults;
mod outage;
mod rest;
mod webhook;

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use self::faults::FaultArgs;
use self::outage::History;
use self::rest::RestArgs;
use self::webhook::WebhookArgs;
use crate::simulator::{
    Account, DOMAIN, Dialect, Load, Notice, Options, PASSWORD, Rate, Release, Simulator, TENANT_ID,
    TENANT_NAME,
};

/// How often the counts are printed.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// How long the last events may take to be read before the simulator ends.
const LAST_READ: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  cdrd simulate                                 one call a second, for ever
  cdrd simulate --rate max --calls 100000       a load test
  cdrd simulate --flood 300000                  records alone, faster than anybody reads
  cdrd simulate --tls --rate 30/m               with a self-signed certificate
  cdrd simulate --dialect 12                    an old PBX
  cdrd simulate --close-after 20:1012           a PBX that restarts every 20 events
  cdrd simulate --refuse-logins 2 --malformed-every 10
  cdrd simulate --restart-every 60:10           10 s after every 60 are in REST alone
  cdrd simulate --history 10000 --rest-ignore-filter --rest-page-cap 50
  cdrd simulate --webhook http://127.0.0.1:8080/pbx --webhook-auth bearer:TOKEN";

/// Simulate a PBX: WSI and REST, realistic calls, and faults on request
///
/// Calls begin with the first subscription and end when their record is pushed.
/// Everything is told on stderr.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8887")]
    pub listen: SocketAddr,
    /// Calls in real time: N/s, N/m, N/h, or max for as fast as they are read
    #[arg(long, default_value = "1/s")]
    pub rate: Rate,
    /// Stop making calls after N; the simulator goes on answering
    #[arg(long, value_name = "N", group = "amount")]
    pub calls: Option<u64>,
    /// Push N ready-made call_cdr of about 2 kB to each connection, as fast as it reads
    /// or RATE a second, and no calls; REST does not know them
    #[arg(long, value_name = "N[:RATE]", group = "amount")]
    pub flood: Option<Load>,
    /// Begin at once, and go on without a subscription at every rate
    #[arg(long)]
    pub unattended: bool,
    /// So many calls of the last hour, or of so many seconds, are on record in REST
    #[arg(long, value_name = "CALLS[:SECONDS]", value_parser = outage::history)]
    history: Option<History>,
    /// With --calls or --flood: end once all have been made and read
    #[arg(long, requires = "amount")]
    pub exit: bool,
    /// Office seconds in one real second; the default suits the rate, 1 is real time
    #[arg(long, value_name = "FACTOR", value_parser = factor)]
    pub speed: Option<f64>,
    /// The same seed makes the same calls
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Unix second at which the office opens, for the same times in every run; by
    /// default a call ends when its record is pushed
    #[arg(long, value_name = "SECOND")]
    pub start_time: Option<i64>,
    /// Forms of login and subscribe
    #[arg(long, default_value = "22")]
    pub dialect: Dialect,
    /// Spellings of the events; by default the dialect's newest
    #[arg(long)]
    pub release: Option<Release>,
    /// Listen with TLS, with a certificate made now
    #[arg(long)]
    pub tls: bool,
    /// User name of the tenant user
    #[arg(long, default_value = "cdr")]
    pub username: String,
    /// Password of all accounts
    #[arg(long, default_value = PASSWORD)]
    pub password: String,
    /// SIP domain of the tenant user
    #[arg(long, default_value = DOMAIN)]
    pub domain: String,
    /// Extension number of the tenant user
    #[arg(long, default_value = "101")]
    pub extension: String,
    /// How long a token of the REST side is good for
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "1800")]
    token_life: Duration,
    #[command(flatten)]
    webhook: WebhookArgs,
    #[command(flatten)]
    faults: FaultArgs,
    #[command(flatten)]
    rest: RestArgs,
}

fn at_least_one() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..)
}

fn factor(text: &str) -> Result<f64, String> {
    let factor: f64 = text.parse().map_err(|_| "not a number".to_string())?;
    if factor.is_finite() && factor > 0.0 { Ok(factor) } else { Err("must be above 0".into()) }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|_| "not a number of seconds".to_string())?;
    Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string())
}

/// `FIRST`, or `FIRST:SECOND`.
fn pair<A: FromStr, B: FromStr>(text: &str, default: B) -> Option<(A, B)> {
    match text.split_once(':') {
        Some((first, second)) => Some((first.parse().ok()?, second.parse().ok()?)),
        None => Some((text.parse().ok()?, default)),
    }
}

impl Args {
    /// What the simulator is started with.
    pub fn options(&self) -> Options {
        let mut user = Account::user(&self.username, &self.extension, &self.password);
        user.set_domain(&self.domain);
        Options {
            listen: self.listen,
            dialect: self.dialect,
            release: self.release,
            accounts: vec![
                user,
                Account::administrator("admin", &self.password),
                Account::tenant(TENANT_NAME, &self.password),
            ],
            tls: self.tls,
            seed: self.seed,
            start_time: self.start_time,
            rate: if self.flood.is_some() { Rate::Manual } else { self.rate },
            speed: self.speed,
            calls: self.calls,
            flood: self.flood,
            record: false,
            unattended: self.unattended || self.webhook.webhook.is_some(),
            token_life: self.token_life,
            webhook: self.webhook.options(),
            faults: self.faults.faults(&self.rest),
            ..Options::default()
        }
    }

    /// What a client has to be told, as lines of its configuration.
    fn client_config(&self, simulator: &Simulator) -> String {
        let (user, domain, password) = (&self.username, &self.domain, &self.password);
        let login = match self.dialect {
            Dialect::V12 => format!("extension = \"{}\", domain = \"{domain}\"", self.extension),
            _ => format!("username = \"{user}\", domain = \"{domain}\""),
        };
        let mut lines = format!(
            "url = \"{}\"\ndialect = \"{}\"\ntopics = [\"cdr_events\"]\n\
             login = {{ {login}, password = \"{password}\" }}\n",
            simulator.url(),
            self.dialect.number(),
        );
        if let Some(fingerprint) = simulator.fingerprint() {
            lines.push_str(&format!("tls = {{ pin_sha256 = \"{fingerprint}\" }}\n"));
        }
        if self.dialect == Dialect::V22 {
            lines.push_str(&format!(
                "# or: topics = [\"global_cdr_events\"], tenants = [\"{TENANT_ID}\"],\n\
                 #     login = {{ username = \"admin\", password = \"{password}\" }}\n\
                 # REST is at {}\n",
                simulator.rest_url()
            ));
        }
        lines
    }
}

/// Runs until the token is cancelled, or with `--exit` until all calls are made.
///
/// # Errors
/// The address cannot be listened on, or no certificate can be made.
pub async fn run(args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    let narrator = Arc::new(|notice: &Notice| eprintln!("{notice}"));
    let simulator = Simulator::start_narrated(args.options(), Some(narrator))
        .await
        .context("the simulator did not start")?;
    eprintln!("simulated PBX, calls {}, for a client:\n", args.rate);
    eprintln!("[pbx.simulator]\n{}", args.client_config(&simulator));
    if let Some(history) = args.history {
        history.remember(&simulator);
    }
    tokio::select! {
        () = shutdown.cancelled() => {}
        ended = restarts(&args, &simulator) => ended.context("the simulator did not restart")?,
        () = report(&args, &simulator) => {}
        () = all_read(&simulator), if args.exit => {}
    }
    eprintln!("ends: {}", counts(&args, &simulator));
    simulator.shutdown().await;
    Ok(())
}

async fn restarts(args: &Args, simulator: &Simulator) -> anyhow::Result<()> {
    match args.faults.restart_every {
        Some(restarts) => restarts.run(simulator).await,
        None => std::future::pending().await,
    }
}

/// Prints the counts now and then, when they have changed.
async fn report(args: &Args, simulator: &Simulator) {
    let mut last = counts(args, simulator);
    loop {
        tokio::time::sleep(REPORT_EVERY).await;
        let now = counts(args, simulator);
        if now != last {
            eprintln!("{now}");
            last = now;
        }
    }
}

fn counts(args: &Args, simulator: &Simulator) -> String {
    let mut counts = simulator.tally().to_string();
    if args.webhook.webhook.is_some() {
        counts.push_str(&format!("; {}", simulator.webhook_tally()));
    }
    counts
}

async fn all_read(simulator: &Simulator) {
    while !simulator.wait_calls_made(REPORT_EVERY).await {}
    if let Ok(Err(unsettled)) = tokio::time::timeout(LAST_READ, simulator.settle()).await {
        eprintln!("{unsettled}");
    }
    simulator.wait_webhook_idle(LAST_READ).await;
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::simulator::{TokenForm, WebhookAuth};

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &str) -> Result<Args, clap::Error> {
        let words = std::iter::once("simulate").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.args)
    }

    #[test]
    fn flags_become_options() {
        let args =
            parse("--rate 30/m --close-after 7:1001 --refuse-topic cdr_events:2 --domain a.b");
        let options = args.unwrap().options();
        assert_eq!(options.rate, Rate::PerSecond(0.5));
        assert_eq!(options.faults.close_after, Some((7, 1001)));
        assert_eq!(options.faults.refuse_topics["cdr_events"].times, Some(2));
        assert!(format!("{:?}", options.accounts[0]).contains("a.b"));
    }

    #[test]
    fn rest_webhook_and_outage_flags_become_options() {
        let line = "--rest-no-oauth 405 --rest-late 20 --rest-too-many 3:7 --rest-page-cap 10 \
                    --clock-off -180 --token-life 2 --restart-every 60:10 --history 10000 \
                    --webhook http://x/ --webhook-auth digest:pbx:a:b --webhook-retries 0.1,2";
        let args = parse(line).unwrap();
        let options = args.options();
        let faults = &options.faults;
        assert_eq!(faults.rest.no_token_form, Some((TokenForm::OAuth, 405)));
        assert_eq!((faults.rest.late, faults.clock_off), (Duration::from_secs(20), -180));
        assert_eq!((faults.rest.too_many, faults.rest.page_cap), (Some((3, 7)), Some(10)));
        assert_eq!(options.token_life, Duration::from_secs(2));
        assert_eq!(args.history, outage::history("10000:3600").ok());
        assert_eq!(args.faults.restart_every, outage::restarts("60:10").ok());
        assert!(options.unattended);
        let webhook = options.webhook.unwrap();
        assert_eq!(webhook.auth, WebhookAuth::Digest("pbx".into(), "a:b".into()));
        assert_eq!(webhook.retries, [Duration::from_millis(100), Duration::from_secs(2)]);
        assert_eq!(parse("").unwrap().options().faults.rest.no_token_form, None);
        let bare = parse("--rest-no-sign-in --tls").unwrap().options();
        assert_eq!(bare.faults.rest.no_token_form, Some((TokenForm::SignIn, 404)));
    }

    #[test]
    fn senseless_values_are_refused() {
        let lines = [
            "--rate fast",
            "--rate 0/s",
            "--rate 1/d",
            "--speed 0",
            "--close-after x",
            "--close-after 0",
            "--reset-after 0",
            "--release 21",
            "--exit",
            "--rest-no-oauth 500",
            "--rest-no-oauth --rest-no-sign-in",
            "--rest-page-cap 0",
            "--rest-late -1",
            "--history 0",
            "--restart-every 0",
            "--webhook-auth bearer:x",
            "--webhook http://x/ --webhook-auth basic:x",
            "--clock-off soon",
        ];
        for line in lines {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[tokio::test]
    async fn it_runs_until_it_is_told_to_stop() {
        let shutdown = CancellationToken::new();
        let running = run(parse("--listen 127.0.0.1:0 --tls").unwrap(), shutdown.clone());
        let (ended, ()) = tokio::join!(running, async { shutdown.cancel() });
        ended.unwrap();
    }

    #[tokio::test]
    async fn the_lines_for_a_client_name_url_login_and_pin() {
        let args = parse("--listen 127.0.0.1:0 --tls --dialect 12").unwrap();
        let simulator = Simulator::start(args.options()).await.unwrap();
        let lines = args.client_config(&simulator);
        assert!(lines.contains(&format!("url = \"{}\"", simulator.url())), "{lines}");
        assert!(lines.contains("login = { extension = \"101\", domain = \"example.com\""));
        assert!(lines.contains(simulator.fingerprint().unwrap()));
        assert!(toml::from_str::<toml::Table>(&lines).is_ok(), "{lines}");
        simulator.shutdown().await;
    }
}
