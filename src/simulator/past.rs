//! Calls with times of their own: begun hours ago, or of an hour long past.
//!
//! Time is the PBX's; offsets are seconds from its now, negative before it.

use std::sync::Arc;

use super::archive::EndedCall;
use super::call::{Call, Moment};
use super::exchange::Due;
use super::handle::Simulator;

impl Simulator {
    /// Ends a call that began `started` and ended `ended` seconds from now (both
    /// mostly negative or 0), and pushes its record to whoever listens; of its
    /// earlier events nothing is pushed. Returns once the record is on the wire.
    pub async fn push_call(&self, started: i64, ended: i64) -> EndedCall {
        let _alone = self.pushing.lock().await;
        let now = self.hub.now_ms();
        let call = {
            let mut exchange = self.hub.exchange();
            Arc::new(exchange.past_call(now + started * 1000, now + ended * 1000))
        };
        let shown = call.ended();
        let due = Due { at: 0, call: Arc::clone(&call), moment: Moment::Record, shown };
        self.hub.push_due(&due).await;
        self.hub.flush().await;
        self.ended_call(&call)
    }

    /// Puts so many calls on record whose ends are spread evenly from `from` to
    /// `until` seconds from now, without pushing anything: what an office did while
    /// nobody listened, at once.
    pub fn remember_calls(&self, calls: u64, from: i64, until: i64) -> Vec<EndedCall> {
        let now = self.hub.now_ms();
        let calls = self.hub.exchange().past_calls(calls, now + from * 1000, now + until * 1000);
        let calls: Vec<_> = calls.into_iter().map(Arc::new).collect();
        let mut archive = self.hub.archive();
        calls.iter().for_each(|call| archive.remember(Arc::clone(call)));
        calls.iter().map(|call| EndedCall::of(call, false)).collect()
    }

    fn ended_call(&self, call: &Call) -> EndedCall {
        let session = call.session_id.to_string();
        let archive = self.hub.archive();
        let filed = archive.ended().into_iter().rev().find(|ended| ended.session_id == session);
        filed.unwrap_or_else(|| EndedCall::of(call, false))
    }
}
