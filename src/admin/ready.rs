//! `/readyz`: whether everything that is to come in can come in.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::{Answering, json};
use crate::status::live::{Live, is_subscribed};

/// A sink that is down is no reason: what it lacks waits in the journal.
pub(super) async fn readyz(State(answering): State<Answering>) -> Response {
    let reasons = reasons(&answering.observer.board().live());
    match reasons.is_empty() {
        true => json(StatusCode::OK, &json!({ "ready": true, "reasons": [] })),
        false => {
            let body = json!({ "ready": false, "reasons": reasons });
            json(StatusCode::SERVICE_UNAVAILABLE, &body)
        }
    }
}

fn reasons(live: &Live) -> Vec<String> {
    let mut reasons = Vec::new();
    if live.journal != "ok" {
        reasons.push(format!("journal: {}", live.journal));
    }
    for pbx in &live.pbxs {
        let words = pbx.last_error.as_ref().map_or(String::new(), |e| format!(": {}", e.words));
        if !is_subscribed(&pbx.state) {
            reasons.push(format!("pbx \"{}\": {}{words}", pbx.name, pbx.state));
        }
        reasons.extend(pbx.refused_topics.iter().map(|refused| {
            let (topic, words) = (&refused.topic, &refused.words);
            format!("pbx \"{}\": refused the topic {topic}: {words}", pbx.name)
        }));
    }
    reasons
}
