//! `/metrics`: what is counted, and gauges of how it is now.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use metrics::gauge;

use super::Answering;
use crate::metrics::render_gauges;
use crate::status::Status;
use crate::status::live::{is_connected, is_subscribed};

/// Prometheus's text form.
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4");

pub(super) async fn metrics(State(answering): State<Answering>) -> Response {
    let status = match answering.observer.status().await {
        Ok(status) => status,
        Err(e) => return (StatusCode::SERVICE_UNAVAILABLE, format!("{e}\n")).into_response(),
    };
    let counters = answering.observer.board().metrics().render();
    let text = counters + &render_gauges(|| gauges(&status));
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response()
}

#[allow(clippy::cast_precision_loss, reason = "gauges are floats; counts stay far below 2^53")]
fn gauges(status: &Status) {
    gauge!("cdrd_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    gauge!("cdrd_journal_events").set(status.journal.events as f64);
    gauge!("cdrd_journal_bytes").set(status.journal.size as f64);
    gauge!("cdrd_journal_max_bytes").set(status.journal.max_size as f64);
    for pbx in &status.pbxs {
        let name = || pbx.name.clone();
        gauge!("cdrd_pbx_connected", "pbx" => name()).set(one(is_connected(&pbx.state)));
        for topic in &pbx.topics {
            let refused = pbx.refused_topics.iter().any(|refused| refused.topic == *topic);
            gauge!("cdrd_pbx_subscribed", "pbx" => name(), "topic" => topic.clone())
                .set(one(is_subscribed(&pbx.state) && !refused));
        }
        let last = pbx.last_event.map_or(0, |at| at.0);
        gauge!("cdrd_last_event_timestamp_seconds", "pbx" => name()).set(last as f64 / 1000.0);
        let open = status.gaps.open.iter().filter(|gap| gap.pbx == pbx.name).count();
        gauge!("cdrd_gaps_open", "pbx" => name()).set(open as f64);
    }
    for sink in &status.sinks {
        let name = || sink.name.clone();
        gauge!("cdrd_sink_lag_events", "sink" => name()).set(sink.lag_events as f64);
        gauge!("cdrd_sink_lag_seconds", "sink" => name()).set(sink.lag_seconds as f64);
        gauge!("cdrd_sink_dead_letters", "sink" => name()).set(sink.dead_letters as f64);
    }
}

fn one(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}
