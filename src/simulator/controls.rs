//! Faults on demand: what a test does to a running PBX.

use std::io;
use std::time::Duration;

use super::faults::{Faults, TopicRefusal};
use super::handle::Simulator;
use super::hub::Order;
use super::listener::Door;
use super::webhook::{WebhookError, WebhookOptions};

/// How long connections may take to do what they are ordered.
const OBEY_LIMIT: Duration = Duration::from_secs(10);

/// What new connections meet while the PBX is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DownDoor {
    /// TCP refuses.
    Refuses,
    /// TCP accepts and ends at once.
    Slams,
}

impl Simulator {
    /// Changes any faults at once; those below are the common ones.
    pub fn set_faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.hub.faults());
    }

    /// Refuses the next `times` logins with these words.
    pub fn refuse_logins(&self, times: u32, words: &str) {
        self.set_faults(|faults| faults.refuse_logins = Some((times, words.into())));
    }

    /// Whether `auth` is answered.
    pub fn answer_auth(&self, answer: bool) {
        self.set_faults(|faults| faults.mute_auth = !answer);
    }

    /// Whether `subscribe` is answered; it is accepted either way.
    pub fn answer_subscribe(&self, answer: bool) {
        self.set_faults(|faults| faults.mute_subscribe = !answer);
    }

    /// Whether an event comes before each answer to `auth` and `subscribe`.
    pub fn event_before_answer(&self, before: bool) {
        self.set_faults(|faults| faults.event_before_answer = before);
    }

    /// Refuses a topic so many times (`None`: always) with these words.
    pub fn refuse_topic(&self, topic: &str, times: Option<u32>, words: &str) {
        let refusal = TopicRefusal { times, words: words.into() };
        self.set_faults(|faults| {
            faults.refuse_topics.insert(topic.into(), refusal);
        });
    }

    /// Accepts a topic again.
    pub fn allow_topic(&self, topic: &str) {
        self.set_faults(|faults| {
            faults.refuse_topics.remove(topic);
        });
    }

    /// Drops the connection right after each of the next `times` accepted logins.
    pub fn drop_after_login(&self, times: u32) {
        self.set_faults(|faults| faults.drop_after_login = times);
    }

    /// Closes every connection with a close frame; returns once all have ended.
    pub async fn close_all(&self, code: u16, reason: &str) {
        self.order_all(&Order::Close(code, reason.into())).await;
    }

    /// Resets every connection's TCP; returns once all are gone.
    pub async fn reset_all(&self) {
        self.order_all(&Order::Reset).await;
    }

    /// Ends every connection's TCP without a close frame; returns once all are gone.
    pub async fn drop_all(&self) {
        self.order_all(&Order::HangUp).await;
    }

    /// All open connections fall silent for good, TCP standing; new ones work.
    pub async fn silence_open(&self) {
        self.order_all(&Order::Silence).await;
    }

    /// All connections fall silent: the open ones for good, new ones (already at
    /// the TLS or HTTP handshake) until [`Simulator::unsilence`].
    pub async fn silence(&self) {
        self.set_faults(|faults| faults.silent_door = true);
        self.silence_open().await;
    }

    /// New connections are served again.
    pub fn unsilence(&self) {
        self.set_faults(|faults| faults.silent_door = false);
    }

    /// Stops listening: TCP is refused once this returns. Connections go on.
    pub async fn stop_listening(&self) {
        if let Some(door) = self.door.lock().await.take() {
            door.shut().await;
        }
    }

    /// Listens again on the same address.
    pub async fn listen_again(&self) -> io::Result<()> {
        let mut door = self.door.lock().await;
        if door.is_none() {
            *door = Some(Door::open(&self.reserved, self.reception.clone()).await?);
        }
        Ok(())
    }

    /// The PBX goes down: every connection of WSI and REST drops, REST's tokens are
    /// forgotten, and new connections meet what `door` says. Calls go on, and only
    /// REST will tell of them. Returns once all that is so.
    pub async fn go_down(&self, door: DownDoor) {
        match door {
            DownDoor::Refuses => self.stop_listening().await,
            DownDoor::Slams => self.set_faults(|faults| faults.slammed_door = true),
        }
        self.hub.cut_rest();
        self.hub.rest().tokens.clear();
        self.drop_all().await;
    }

    /// The PBX is up again, on the same address.
    pub async fn come_up(&self) -> io::Result<()> {
        self.set_faults(|faults| faults.slammed_door = false);
        self.listen_again().await
    }

    /// Ends every connection of the REST side.
    pub fn cut_rest(&self) {
        self.hub.cut_rest();
    }

    /// Makes every REST token worthless: the next request is answered 401.
    pub fn revoke_rest_tokens(&self) {
        self.hub.rest().tokens.clear();
    }

    /// Sends the calls from here on to this webhook, or to none. What is on its way
    /// goes on to where it was going.
    pub async fn set_webhook(&self, options: Option<WebhookOptions>) -> Result<(), WebhookError> {
        self.hub.webhook.set(options).await
    }

    async fn order_all(&self, order: &Order) {
        let lines: Vec<_> = {
            let lines = self.hub.lines();
            lines.iter().map(|(number, line)| (*number, line.orders.clone())).collect()
        };
        for (_, orders) in &lines {
            // A connection that has just ended needs no order.
            let _ = orders.send(order.clone()).await;
        }
        let gone = || {
            let running = self.hub.lines();
            lines.iter().all(|(number, _)| !running.contains_key(number))
        };
        self.hub.wait_until(OBEY_LIMIT, gone).await;
    }
}
