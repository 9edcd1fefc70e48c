//! Taking up another configuration while the daemon runs.
//!
//! What means the same as before goes on undisturbed. A PBX whose table changed gets a
//! new session, a sink whose table changed finishes what it has in hand and goes on from
//! its cursor; a new sink begins as its `start` says, one that is gone keeps its cursor
//! for when it comes again. A configuration that is wrong changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use tracing::{error, info, warn};

use super::{Daemon, DaemonError, backfill_ended, runner_ended, session_ended, webhook_part};
use crate::config::{Config, Fingerprint};
use crate::metrics::JournalState;
use crate::sink::Sink;

/// Where the configuration comes from.
#[derive(Clone)]
pub struct Source {
    /// Reads it again, and tells in words why it cannot be used.
    pub read: Arc<dyn Fn() -> Result<Config, String> + Send + Sync>,
    /// Told what is in force from now on.
    pub taken_up: Arc<dyn Fn(&Config) + Send + Sync>,
}

/// What is different.
struct Changes {
    pbxs: Changed,
    sinks: Changed,
    /// Tables that only a restart takes up.
    restart: Vec<&'static str>,
}

/// Names of one kind.
struct Changed {
    /// Run, and are to end: changed or gone.
    ending: Vec<Arc<str>>,
    /// Are to start: changed or new.
    starting: Vec<Arc<str>>,
    /// Gone.
    gone: Vec<Arc<str>>,
}

impl Daemon {
    /// Reads the configuration again and takes it up. An error ends the daemon; a
    /// configuration that is wrong is none.
    pub(super) async fn reload(&mut self) -> Result<(), DaemonError> {
        let Some(source) = self.source.clone() else {
            info!("SIGHUP: there is no configuration file to read again");
            return Ok(());
        };
        crate::systemd::reloading();
        let (read, busy) = (Arc::clone(&source.read), self.busy());
        let read = tokio::task::spawn_blocking(move || {
            busy?;
            let config = read()?;
            let opened = open_sinks(&config)?;
            Ok::<_, String>((config, opened))
        });
        let taken_up = match read.await.expect("reading the configuration does not panic") {
            Ok((config, opened)) => {
                (source.taken_up)(&config);
                self.take_up(config, opened).await
            }
            Err(words) => {
                error!(
                    error = words,
                    "reload refused: the configuration in force stays; correct the file, then reload"
                );
                self.observer.board().reloaded(Some(words));
                Ok(())
            }
        };
        crate::systemd::ready();
        taken_up
    }

    /// A session that ends hands over what it has in hand, which takes a journal that
    /// takes events.
    fn busy(&self) -> Result<(), String> {
        match self.journal.metrics().journal().state() {
            JournalState::Ok => Ok(()),
            JournalState::Paused => Err("the journal is full; try again once it has room".into()),
            JournalState::DiskFull => Err("the disk is full; try again once it has room".into()),
        }
    }

    async fn take_up(
        &mut self,
        config: Config,
        mut opened: BTreeMap<Arc<str>, Box<dyn Sink>>,
    ) -> Result<(), DaemonError> {
        let changes = Changes::between(&self.config, &config);
        for warning in &config.warnings {
            warn!("{warning}");
        }
        if !changes.restart.is_empty() {
            warn!(tables = ?changes.restart, "these tables changed, and need a restart of cdrd to come into force");
        }
        self.supervisors.retire(&changes.pbxs.ending).await.map_err(session_ended)?;
        self.backfills.retire(&changes.pbxs.ending).await.map_err(backfill_ended)?;
        self.states.retain(|(name, _)| !changes.pbxs.ending.contains(name));
        self.runners.retire(&changes.sinks.ending).await.map_err(runner_ended)?;
        for sink in &changes.sinks.gone {
            self.journal.unregister(sink).await.map_err(|_| DaemonError::Stuck)?;
        }
        let (pbxs, sinks) = (&changes.pbxs, &changes.sinks);
        let starting = || config.sinks.iter().filter(|sink| sinks.starting.contains(&sink.name));
        let cursors = starting().map(|sink| (Arc::clone(&sink.name), sink.start)).collect();
        self.journal.register(cursors).await.map_err(|_| DaemonError::Stuck)?;
        for sink in starting() {
            if let Some(open) = opened.remove(&sink.name) {
                self.start_sink(sink, open)?;
            }
        }
        for pbx in config.pbxs.iter().filter(|pbx| pbxs.starting.contains(&pbx.name)) {
            self.start_session(pbx);
        }
        let refused = self.renew_webhooks(&config, pbxs).await?;
        let place = |name: &str| config.pbxs.iter().position(|pbx| &*pbx.name == name);
        self.states.sort_by_key(|(name, _)| place(name));
        self.observer.show(&config);
        self.observer.board().show(&config, &self.states);
        self.observer.board().reloaded(refused);
        info!(
            pbxs_started = ?pbxs.starting, pbxs_ended = ?pbxs.gone,
            sinks_started = ?sinks.starting, sinks_ended = ?sinks.gone,
            "configuration reloaded"
        );
        self.config = config;
        Ok(())
    }
}

impl Daemon {
    /// Listens anew for posts if any PBX that has a webhook changed; why it cannot, if so.
    async fn renew_webhooks(
        &mut self,
        config: &Config,
        pbxs: &Changed,
    ) -> Result<Option<String>, DaemonError> {
        let posts = |config: &Config, names: &[Arc<str>]| {
            config.pbxs.iter().any(|pbx| pbx.webhook.is_some() && names.contains(&pbx.name))
        };
        if !posts(&self.config, &pbxs.ending) && !posts(config, &pbxs.starting) {
            return Ok(None);
        }
        self.listeners.retire(&[webhook_part()]).await.map_err(session_ended)?;
        match self.start_webhooks(config) {
            Ok(()) => Ok(None),
            Err(e) => {
                // The PBX tries again for a while, and the status says what is wrong.
                error!(error = %e, "no webhook listens until this is mended and the configuration reloaded");
                Ok(Some(e.to_string()))
            }
        }
    }
}

/// A sink that cannot even be made makes the configuration wrong.
fn open_sinks(config: &Config) -> Result<BTreeMap<Arc<str>, Box<dyn Sink>>, String> {
    let open = |sink: &crate::config::Sink| match sink.settings.open() {
        Ok(open) => Ok((Arc::clone(&sink.name), open)),
        Err(e) => Err(format!("sink \"{}\": {e}", sink.name)),
    };
    config.sinks.iter().map(open).collect()
}

impl Changes {
    fn between(old: &Config, new: &Config) -> Self {
        let names = |config: &Config| config.pbxs.iter().map(|pbx| Arc::clone(&pbx.name)).collect();
        let pbxs = Changed::between("pbx", (old, names(old)), (new, names(new)));
        let names =
            |config: &Config| config.sinks.iter().map(|sink| Arc::clone(&sink.name)).collect();
        let sinks = Changed::between("sink", (old, names(old)), (new, names(new)));
        let differs = |table: &&str| fingerprint(old, table) != fingerprint(new, table);
        let restart = ["journal", "admin"].into_iter().filter(differs).collect();
        Self { pbxs, sinks, restart }
    }
}

impl Changed {
    fn between(kind: &str, old: (&Config, Vec<Arc<str>>), new: (&Config, Vec<Arc<str>>)) -> Self {
        let ((old, had), (new, has)) = (old, new);
        let same = |name: &Arc<str>| {
            let path = format!("{kind}.{name}");
            fingerprint(old, &path) == fingerprint(new, &path)
        };
        Self {
            ending: had.iter().filter(|n| !has.contains(n) || !same(n)).cloned().collect(),
            starting: has.iter().filter(|n| !had.contains(n) || !same(n)).cloned().collect(),
            gone: had.iter().filter(|n| !has.contains(n)).cloned().collect(),
        }
    }
}

fn fingerprint<'a>(config: &'a Config, path: &str) -> Option<&'a Fingerprint> {
    config.fingerprints.get(path)
}
