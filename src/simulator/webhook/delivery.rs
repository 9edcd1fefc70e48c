//! One event's way to the receiver: a 200 ends it, a 404 ends everything, and
//! anything else is tried again by the schedule.

use reqwest::StatusCode;
use tokio::time::sleep;

use super::Webhook;
use super::log::Fate;
use super::target::Target;
use crate::simulator::events::Event;

/// Tries until it is accepted or given up.
pub async fn run(webhook: &Webhook, target: &Target, number: u64, event: &Event) {
    let mut last = String::new();
    let waits = std::iter::once(None).chain(target.options.retries.iter().map(Some));
    for wait in waits {
        if let Some(wait) = wait {
            sleep(*wait).await;
        }
        let Ok(_turn) = webhook.turns.acquire().await else {
            break;
        };
        if target.has_ended() {
            last = "the webhook was ended by a 404".into();
            break;
        }
        webhook.log().attempt(number);
        match target.post(&event.json).await {
            Ok(StatusCode::OK) => {
                healthy(webhook, true, "200");
                return webhook.conclude(number, Fate::Accepted);
            }
            Ok(StatusCode::NOT_FOUND) => {
                last = "404".into();
                target.end();
                webhook.tell("404: the webhook is ended for good".into());
                break;
            }
            Ok(status) => last = status.as_u16().to_string(),
            Err(error) => last = error,
        }
        healthy(webhook, false, &last);
    }
    webhook.conclude(number, Fate::Failed(last));
}

/// Tells when it begins to work, and when it ceases to.
fn healthy(webhook: &Webhook, healthy: bool, answer: &str) {
    if webhook.log().healthy.replace(healthy) != Some(healthy) {
        let what = if healthy { "events are accepted" } else { "an event is not accepted" };
        webhook.tell(format!("{what}: {answer}"));
    }
}
