//! What a running PBX has seen, and waiting for it to see more.

use std::sync::Arc;
use std::time::Duration;

use super::archive::EndedCall;
use super::call::Call;
use super::handle::Simulator;
use super::ledger::{ConnectionRecord, Login, Pushed, Subscribe, Tally};
use super::rest::{RestLogin, RestRequest};
use super::webhook::{Delivery, Fate, WebhookTally};

impl Simulator {
    /// Every frame pushed, in order, with whether it is known to have been read.
    pub fn log(&self) -> Vec<Pushed> {
        self.hub.ledger().log()
    }

    /// The calls that have ended so far, oldest first, whether or not anybody was
    /// listening: what the PBX itself would have on record. The last 100,000.
    pub fn finished_calls(&self) -> Vec<Arc<Call>> {
        self.hub.archive().calls()
    }

    /// The same, as a complete record is compared with them; each tells whether its
    /// own record was pushed.
    pub fn ended_calls(&self) -> Vec<EndedCall> {
        self.hub.archive().ended()
    }

    /// Those of them whose record was pushed to somebody.
    pub fn calls_pushed_live(&self) -> Vec<EndedCall> {
        let mut calls = self.ended_calls();
        calls.retain(|call| call.pushed);
        calls
    }

    /// Requests to the REST side so far, in order; the last 100,000.
    pub fn rest_requests(&self) -> Vec<RestRequest> {
        self.hub.rest().log.requests()
    }

    /// How many requests to a path of the REST side there were, below its base:
    /// `/calllogs`, `/cdrs`, `/cdrs/{id}`, `/login/oauth/token`.
    pub fn rest_count(&self, path: &str) -> u64 {
        self.hub.rest().log.count(path)
    }

    /// Logins at the REST side so far, refused ones too; renewals are none.
    pub fn rest_logins(&self) -> Vec<RestLogin> {
        self.hub.rest().log.logins.clone()
    }

    /// REST tokens that are neither expired nor revoked.
    pub fn rest_tokens_alive(&self) -> usize {
        self.hub.rest().tokens.alive()
    }

    /// Waits until at least `count` requests to a path of the REST side were answered.
    pub async fn wait_rest_count(&self, path: &str, count: u64, limit: Duration) -> bool {
        let hub = &self.hub;
        hub.wait_until(limit, || hub.rest().log.count(path) >= count).await
    }

    /// What became of the events that the webhook was to send, in the order in which
    /// they came up; the last 200,000. Without `Options::record` only those that wait.
    pub fn webhook_deliveries(&self) -> Vec<Delivery> {
        self.hub.webhook.log().deliveries()
    }

    /// The webhook's counts so far; kept whether or not `Options::record` is on.
    pub fn webhook_tally(&self) -> WebhookTally {
        self.hub.webhook.log().tally()
    }

    /// Sessions of the calls whose record the webhook's receiver accepted.
    pub fn calls_accepted_by_webhook(&self) -> Vec<String> {
        let deliveries = self.webhook_deliveries().into_iter();
        let accepted = deliveries.filter(|one| one.fate == Fate::Accepted);
        accepted
            .filter(|one| one.event_type == "call_cdr")
            .filter_map(|one| one.session_id)
            .collect()
    }

    /// A 404 has ended the webhook for good.
    pub fn webhook_disabled(&self) -> bool {
        self.hub.webhook.has_ended()
    }

    /// Waits until every event of the webhook was accepted or given up.
    pub async fn wait_webhook_idle(&self, limit: Duration) -> bool {
        let hub = &self.hub;
        hub.wait_until(limit, || hub.webhook.log().tally().waiting == 0).await
    }

    /// Waits until at least `count` calls have ended.
    pub async fn wait_ended(&self, count: usize, limit: Duration) -> bool {
        let hub = &self.hub;
        hub.wait_until(limit, || hub.archive().count() >= count).await
    }

    /// Every login so far.
    pub fn logins(&self) -> Vec<Login> {
        self.hub.ledger().logins.clone()
    }

    /// Every topic asked for so far.
    pub fn subscribes(&self) -> Vec<Subscribe> {
        self.hub.ledger().subscribes.clone()
    }

    /// Every connection so far, by number; ended ones tell how they ended.
    pub fn connections(&self) -> Vec<ConnectionRecord> {
        self.hub.ledger().connections.values().cloned().collect()
    }

    /// Connections so far, ended ones too.
    pub fn connections_ever(&self) -> usize {
        self.hub.ledger().connections.len()
    }

    /// Connections that are open, not silent, and subscribed to something.
    pub fn subscribed(&self) -> usize {
        self.hub.subscribed()
    }

    /// The counts so far; kept whether or not `Options::record` is on.
    pub fn tally(&self) -> Tally {
        self.hub.ledger().tally()
    }

    /// Waits until at least `count` connections are subscribed; false if time is out.
    pub async fn wait_subscribed(&self, count: usize, limit: Duration) -> bool {
        let hub = &self.hub;
        hub.wait_until(limit, || hub.subscribed() >= count).await
    }

    /// Waits until at least `count` topics have been accepted since the start.
    pub async fn wait_topics(&self, count: usize, limit: Duration) -> bool {
        let hub = &self.hub;
        let accepted = || hub.ledger().subscribes.iter().filter(|s| s.accepted).count() >= count;
        hub.wait_until(limit, accepted).await
    }

    /// Waits until at least `count` logins have been tried since the start.
    pub async fn wait_logins(&self, count: usize, limit: Duration) -> bool {
        let hub = &self.hub;
        hub.wait_until(limit, || hub.ledger().logins.len() >= count).await
    }

    /// Waits until at least `count` connections have been made since the start.
    pub async fn wait_connections(&self, count: usize, limit: Duration) -> bool {
        let hub = &self.hub;
        hub.wait_until(limit, || hub.ledger().connections.len() >= count).await
    }

    /// Waits until no connection is left but silent ones.
    pub async fn wait_disconnected(&self, limit: Duration) -> bool {
        let hub = &self.hub;
        hub.wait_until(limit, || hub.lines().is_empty()).await
    }

    /// Waits until the calls of `Options::calls` have all been made and pushed.
    pub async fn wait_calls_made(&self, limit: Duration) -> bool {
        let hub = &self.hub;
        hub.wait_until(limit, || hub.calls_finished()).await
    }
}
