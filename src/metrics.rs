//! What can be counted: the names of all metrics, and the handles that count.
//!
//! Counters live as long as the daemon and start at 0 for every PBX and sink, so that
//! an alert on their rise works from the first one. Gauges are computed when somebody
//! asks (`admin::exposition`): a PBX or sink that a reload took away is then gone.
//!
//! Nobody here knows events, sessions or sinks; they know this. Handles are made once
//! for each PBX, sink and type of event: counting one costs no allocation.

mod parts;
mod tally;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::{Counter, Unit, counter, describe_counter, describe_gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

pub use parts::{JournalMetrics, JournalState, PbxMetrics, SinkMetrics};
pub use tally::Tally;

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
        let journal = JournalMetrics::new(commit_seconds);
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
}
