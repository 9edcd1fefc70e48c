//! Counts events as the journal commits them.

use std::collections::BTreeMap;
use std::sync::Arc;

use metrics::Counter;

use super::{Metrics, PbxMetrics};

/// Types of events that one PBX is counted by; what comes beyond them counts as
/// `other`. They are the PBX's words, and nothing else bounds their number.
const TYPES: usize = 64;
/// The type that stands for all those beyond [`TYPES`].
const OTHER: &str = "other";

/// Counts what the journal commits: the writer's own, so that it needs no lock.
pub struct Tally {
    metrics: Arc<Metrics>,
    pbxs: BTreeMap<Arc<str>, Entry>,
}

/// The counters of one PBX, and of each type of its events.
type Entry = (Arc<PbxMetrics>, BTreeMap<Box<str>, Counter>);

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

    fn entry(&mut self, pbx: &Arc<str>) -> &mut Entry {
        let metrics = &self.metrics;
        self.pbxs.entry(Arc::clone(pbx)).or_insert_with(|| (metrics.pbx(pbx), BTreeMap::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
