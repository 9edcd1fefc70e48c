//! What can be counted: the names of all metrics, and the handles that count.
//!
//! Counters live as long as the daemon and start at 0 for every PBX and sink, so that
//! an alert on their rise works from the first one. Gauges are computed when somebody
//! asks (`admin::exposition`): a PBX or sink that a reload took away is then gone.
//!
//! Nobody here knows events, sessions or sinks; they know this. Handles are made once
//! for each PBX, sink and type of event: counting one costs no allocation.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{Counter, Histogram, Unit, counter, describe_counter, describe_gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::heartbeat::Heartbeat;

/// Types of events that one PBX is counted by; what comes beyond them counts as
/// `other`. They are the PBX's words, and nothing else bounds their number.
const TYPES: usize = 64;
/// The type that stands for all those beyond [`TYPES`].
const OTHER: &str = "other";

/// Upper bounds of the histogram of commits, in seconds: a sync takes 0.2 ms on a good
/// disk, 10 ms on a turning one, seconds on one that fails.
const COMMIT_BUCKETS: [f64; 12] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];

/// Counters, in the order of the documentation: name, what it counts.
const COUNTERS: &[(&str, &str)] = &[
    ("cdrd_connects_total", "Attempts to connect, by result: ok, failed or refused"),
    ("cdrd_login_refused_total", "Logins that the PBX refused"),
    ("cdrd_events_received_total", "Events that the PBX sent and the journal has, by type"),
    ("cdrd_events_duplicate_total", "Events that were there already, and dropped"),
    ("cdrd_events_quarantined_total", "Frames that could not be decoded, and are kept"),
    ("cdrd_gap_seconds_total", "Seconds in which nobody listened to the PBX"),
    ("cdrd_backfilled_total", "Events fetched over REST that were missing"),
    ("cdrd_reconcile_missing_total", "Calls that only a comparison with REST found missing"),
    ("cdrd_sink_delivered_total", "Events that the sink confirmed"),
    ("cdrd_sink_errors_total", "Failed deliveries, by kind: retry or refused"),
];

/// Gauges: name, what it shows.
const GAUGES: &[(&str, &str)] = &[
    ("cdrd_pbx_connected", "1 while there is a connection to the PBX"),
    ("cdrd_pbx_subscribed", "1 while the topic is listened to"),
    ("cdrd_last_event_timestamp_seconds", "When the PBX's last event came; 0 before the first"),
    ("cdrd_journal_events", "Events in the journal"),
    ("cdrd_journal_bytes", "Bytes of the journal that hold something"),
    ("cdrd_journal_max_bytes", "Bytes at which the journal counts as full"),
    ("cdrd_sink_lag_events", "Events that the sink has not confirmed yet"),
    ("cdrd_sink_lag_seconds", "Age of the oldest event that the sink has not confirmed"),
    ("cdrd_sink_dead_letters", "Events that the sink refused for good, and that are kept"),
    ("cdrd_gaps_open", "Spans of time in which nobody listened, and that are not filled"),
    ("cdrd_build_info", "1, with the version of cdrd"),
];

/// All counters of one daemon.
pub struct Metrics {
    recorder: metrics_exporter_prometheus::PrometheusRecorder,
    handle: PrometheusHandle,
    pbxs: Mutex<BTreeMap<Arc<str>, Arc<PbxMetrics>>>,
    sinks: Mutex<BTreeMap<Arc<str>, Arc<SinkMetrics>>>,
    journal: JournalMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// With nothing counted yet.
    pub fn new() -> Self {
        let matcher = Matcher::Full("cdrd_journal_commit_seconds".to_owned());
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(matcher, &COMMIT_BUCKETS)
            .expect("the list of buckets is not empty");
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        let commit_seconds = metrics::with_local_recorder(&recorder, || {
            for (name, what) in COUNTERS {
                describe_counter!(*name, *what);
            }
            metrics::describe_histogram!(
                "cdrd_journal_commit_seconds",
                Unit::Seconds,
                "How long a commit of the journal took"
            );
            histogram!("cdrd_journal_commit_seconds")
        });
        let journal =
            JournalMetrics { commit_seconds, state: AtomicU8::new(0), beat: Heartbeat::default() };
        let (pbxs, sinks) = (Mutex::default(), Mutex::default());
        Self { recorder, handle, pbxs, sinks, journal }
    }

    /// The counters of one PBX.
    pub fn pbx(&self, name: &str) -> Arc<PbxMetrics> {
        let mut known = lock(&self.pbxs);
        if let Some(pbx) = known.get(name) {
            return Arc::clone(pbx);
        }
        let pbx = Arc::new(metrics::with_local_recorder(&self.recorder, || PbxMetrics::new(name)));
        known.insert(Arc::from(name), Arc::clone(&pbx));
        pbx
    }

    /// The counters of one sink.
    pub fn sink(&self, name: &str) -> Arc<SinkMetrics> {
        let mut known = lock(&self.sinks);
        if let Some(sink) = known.get(name) {
            return Arc::clone(sink);
        }
        let sink =
            Arc::new(metrics::with_local_recorder(&self.recorder, || SinkMetrics::new(name)));
        known.insert(Arc::from(name), Arc::clone(&sink));
        sink
    }

    /// What the journal's writer measures.
    pub fn journal(&self) -> &JournalMetrics {
        &self.journal
    }

    /// The counter of one type of a PBX's events.
    pub fn received(&self, pbx: &str, event_type: &str) -> Counter {
        let (pbx, event_type) = (pbx.to_owned(), event_type.to_owned());
        metrics::with_local_recorder(
            &self.recorder,
            || counter!("cdrd_events_received_total", "pbx" => pbx, "type" => event_type),
        )
    }

    /// The counters in Prometheus's text form.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// To be called now and then: what histograms have collected is summed up, which
    /// otherwise only a scrape does.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

/// Renders gauges that `set` sets. They belong to one scrape.
pub fn render_gauges(set: impl FnOnce()) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        for (name, what) in GAUGES {
            describe_gauge!(*name, *what);
        }
        set();
    });
    recorder.handle().render()
}

/// What is counted for one PBX.
pub struct PbxMetrics {
    connects_ok: Counter,
    connects_failed: Counter,
    connects_refused: Counter,
    login_refused: Counter,
    duplicate: Counter,
    quarantined: Counter,
    /// Seconds in which nobody listened.
    pub gap_seconds: Counter,
    /// Events fetched over REST that were missing.
    pub backfilled: Counter,
    /// Calls that only a comparison with REST found missing.
    pub reconcile_missing: Counter,
    last_event_ms: AtomicI64,
    /// Of the loop that runs its sessions.
    pub beat: Heartbeat,
}

impl PbxMetrics {
    fn new(name: &str) -> Self {
        let of = |metric: &'static str| counter!(metric, "pbx" => name.to_owned());
        let connects = |result: &'static str| counter!("cdrd_connects_total", "pbx" => name.to_owned(), "result" => result);
        // Most alerts are about CDRs; other types appear with their first event.
        counter!("cdrd_events_received_total", "pbx" => name.to_owned(), "type" => "call_cdr")
            .absolute(0);
        Self {
            connects_ok: connects("ok"),
            connects_failed: connects("failed"),
            connects_refused: connects("refused"),
            login_refused: of("cdrd_login_refused_total"),
            duplicate: of("cdrd_events_duplicate_total"),
            quarantined: of("cdrd_events_quarantined_total"),
            gap_seconds: of("cdrd_gap_seconds_total"),
            backfilled: of("cdrd_backfilled_total"),
            reconcile_missing: of("cdrd_reconcile_missing_total"),
            last_event_ms: AtomicI64::new(0),
            beat: Heartbeat::default(),
        }
    }

    /// A connect that led to a subscription.
    pub fn connected(&self) {
        self.connects_ok.increment(1);
    }

    /// A connect that did not.
    pub fn connect_failed(&self) {
        self.connects_failed.increment(1);
    }

    /// A connect that ended with a refused login.
    pub fn refused(&self) {
        self.connects_refused.increment(1);
        self.login_refused.increment(1);
    }

    /// An event that was there already.
    pub fn duplicate(&self) {
        self.duplicate.increment(1);
    }

    /// A frame that could not be decoded.
    pub fn quarantined(&self) {
        self.quarantined.increment(1);
    }

    /// Notes when the PBX's last event came.
    pub fn heard(&self, at_ms: i64) {
        self.last_event_ms.fetch_max(at_ms, Ordering::Relaxed);
    }

    /// When the PBX's last event came, in Unix milliseconds.
    pub fn last_event_ms(&self) -> Option<i64> {
        Some(self.last_event_ms.load(Ordering::Relaxed)).filter(|at| *at != 0)
    }
}

/// What is counted for one sink, and how it is.
pub struct SinkMetrics {
    delivered_total: Counter,
    retries: Counter,
    refusals: Counter,
    /// Ever, over all starts of the daemon.
    delivered: AtomicU64,
    failing: AtomicBool,
    last_error: Mutex<Option<(i64, String)>>,
}

impl SinkMetrics {
    fn new(name: &str) -> Self {
        let errors = |kind: &'static str| counter!("cdrd_sink_errors_total", "sink" => name.to_owned(), "kind" => kind);
        Self {
            delivered_total: counter!("cdrd_sink_delivered_total", "sink" => name.to_owned()),
            retries: errors("retry"),
            refusals: errors("refused"),
            delivered: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            last_error: Mutex::default(),
        }
    }

    /// What an earlier daemon has noted.
    pub fn remember(&self, delivered: u64, last_error: Option<(i64, String)>) {
        self.delivered.fetch_add(delivered, Ordering::Relaxed);
        *lock(&self.last_error) = last_error;
    }

    /// The sink confirmed so many events.
    pub fn delivered(&self, events: usize) {
        if events > 0 {
            self.delivered_total.increment(events as u64);
            self.delivered.fetch_add(events as u64, Ordering::Relaxed);
            self.failing.store(false, Ordering::Relaxed);
        }
    }

    /// A delivery failed; `for_good` if the event is refused.
    pub fn failed(&self, for_good: bool, at_ms: i64, reason: &str) {
        if for_good { &self.refusals } else { &self.retries }.increment(1);
        self.failing.store(!for_good, Ordering::Relaxed);
        *lock(&self.last_error) = Some((at_ms, reason.to_owned()));
    }

    /// Events confirmed ever.
    pub fn delivered_ever(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Whether the last thing that it did was to fail.
    pub fn failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// The last failure: when, and in words.
    pub fn last_error(&self) -> Option<(i64, String)> {
        lock(&self.last_error).clone()
    }
}

/// How the journal's writer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalState {
    /// It takes events.
    Ok = 0,
    /// Over `max_size`: it takes none until sinks have caught up.
    Paused = 1,
    /// The disk is full: it waits for room.
    DiskFull = 2,
}

/// What the journal's writer measures.
pub struct JournalMetrics {
    commit_seconds: Histogram,
    state: AtomicU8,
    /// Of the writing thread.
    pub beat: Heartbeat,
}

impl JournalMetrics {
    /// A commit took so long.
    pub fn committed(&self, took: Duration) {
        self.commit_seconds.record(took);
    }

    /// How the writer is.
    pub fn set_state(&self, state: JournalState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// How the writer is.
    pub fn state(&self) -> JournalState {
        match self.state.load(Ordering::Relaxed) {
            1 => JournalState::Paused,
            2 => JournalState::DiskFull,
            _ => JournalState::Ok,
        }
    }
}

/// Counts what the journal commits: the writer's own, so that it needs no lock.
pub struct Tally {
    metrics: Arc<Metrics>,
    pbxs: BTreeMap<Arc<str>, (Arc<PbxMetrics>, BTreeMap<Box<str>, Counter>)>,
}

impl Tally {
    /// Nothing counted yet.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, pbxs: BTreeMap::new() }
    }

    /// The counters of one PBX.
    pub fn pbx(&mut self, pbx: &Arc<str>) -> &PbxMetrics {
        &self.entry(pbx).0
    }

    /// An event that a PBX sent by itself.
    pub fn received(&mut self, pbx: &Arc<str>, event_type: &str, at_ms: i64) {
        let metrics = Arc::clone(&self.metrics);
        let (counters, types) = self.entry(pbx);
        counters.heard(at_ms);
        let known = types.contains_key(event_type) || types.len() < TYPES;
        let event_type = if known { event_type } else { OTHER };
        match types.get(event_type) {
            Some(counter) => counter.increment(1),
            None => {
                let counter = metrics.received(pbx, event_type);
                counter.increment(1);
                types.insert(Box::from(event_type), counter);
            }
        }
    }

    fn entry(&mut self, pbx: &Arc<str>) -> &mut (Arc<PbxMetrics>, BTreeMap<Box<str>, Counter>) {
        let metrics = &self.metrics;
        self.pbxs.entry(Arc::clone(pbx)).or_insert_with(|| (metrics.pbx(pbx), BTreeMap::new()))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_a_pbx_and_a_sink_are_there_before_anything_happens() {
        let metrics = Metrics::new();
        metrics.pbx("hq");
        metrics.sink("crm");
        let text = metrics.render();
        for (name, what) in COUNTERS {
            assert!(text.contains(&format!("# HELP {name} {what}\n")), "{name}\n{text}");
            assert!(text.contains(&format!("# TYPE {name} counter\n")), "{name}\n{text}");
        }
        assert!(text.contains("cdrd_sink_delivered_total{sink=\"crm\"} 0\n"), "{text}");
        assert!(text.contains("cdrd_connects_total{pbx=\"hq\",result=\"refused\"} 0\n"), "{text}");
    }

    /// The words in a text that look like a metric of ours.
    fn named(text: &str) -> std::collections::BTreeSet<&str> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words.filter(|word| word.starts_with("cdrd_")).collect()
    }

    #[test]
    fn alerts_and_dashboard_name_metrics_that_exist_and_the_dashboard_all_of_them() {
        let mut known: Vec<_> = COUNTERS.iter().chain(GAUGES).map(|(name, _)| *name).collect();
        known.push("cdrd_journal_commit_seconds_bucket");
        let alerts = named(include_str!("../docs/alerts.yml"));
        let dashboard = named(include_str!("../docs/grafana-dashboard.json"));
        assert!(alerts.len() > 8, "{alerts:?}");
        for name in alerts.iter().chain(&dashboard) {
            assert!(known.contains(name), "{name}");
        }
        let shown = |name: &&&str| !["cdrd_pbx_connected", "cdrd_journal_events"].contains(*name);
        for name in known.iter().filter(shown) {
            assert!(dashboard.contains(name), "{name}");
        }
    }

    #[test]
    fn a_pbx_cannot_make_more_series_than_there_is_room_for() {
        let metrics = Arc::new(Metrics::new());
        let mut tally = Tally::new(Arc::clone(&metrics));
        let pbx: Arc<str> = Arc::from("hq");
        for n in 0..1000 {
            tally.received(&pbx, &format!("type_{n}"), 5);
        }
        let text = metrics.render();
        let other = 1000 - TYPES;
        assert!(
            text.contains(&format!(
                "cdrd_events_received_total{{pbx=\"hq\",type=\"other\"}} {other}\n"
            )),
            "{text}"
        );
        assert_eq!(metrics.pbx("hq").last_event_ms(), Some(5));
    }
}
