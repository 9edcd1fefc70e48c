//! One simulated call: its facts, and the moments at which the PBX speaks of it.
//!
//! Times are whole seconds after the call's start; spelling them for a release
//! is done in `spelling`.

use super::flows::Flow;
use super::office::{Party, Queue, Trunk};

/// Which way a call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Extension to extension.
    Internal,
    /// From a trunk to an extension.
    Inbound,
    /// From an extension to a trunk.
    Outbound,
    /// From a trunk back out over a trunk.
    InboundOutbound,
}

/// Why a call, or one of its targets, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// The caller hung up.
    CallerDisconnect,
    /// The called side hung up, or refused.
    CalleeDisconnect,
    /// The caller gave up before an answer, or another target answered.
    Cancelled,
    /// The target handed the call on.
    BlindTransfer,
    /// The target sent the call on.
    Redirected,
    /// None of these.
    None,
}

/// What kind of call a target was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallType {
    /// An ordinary one.
    Normal,
    /// One out of a queue.
    Queue,
}

/// How a target's part ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// It had answered.
    Ended,
    /// It rang, or never did, without an answer.
    NoAnswer,
    /// It refused.
    Failed,
}

/// One endpoint that the call was offered to.
#[derive(Debug, Clone)]
pub struct Target {
    /// Ordinary, or out of a queue.
    pub call_type: CallType,
    /// Who it was offered to.
    pub to: Party,
    /// Seconds after the call's start when it was offered.
    pub added: u32,
    /// When it rang.
    pub rang: Option<u32>,
    /// When it answered.
    pub answered: Option<u32>,
    /// When its part was over.
    pub ended: u32,
    /// How that came.
    pub finish: Finish,
    /// Why.
    pub end_reason: EndReason,
    /// SIP status where it failed, else 0.
    pub status_code: u16,
    /// Trunk that it was reached over.
    pub trunk: Option<&'static Trunk>,
}

impl Target {
    /// Seconds of ringing, until the answer or the end.
    pub fn ring_seconds(&self) -> u32 {
        self.rang.map_or(0, |rang| self.answered.unwrap_or(self.ended) - rang)
    }

    /// Seconds of talk.
    pub fn talk_seconds(&self) -> u32 {
        self.answered.map_or(0, |answered| self.ended - answered)
    }
}

/// A caller's way through a queue.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Which queue.
    pub queue: &'static Queue,
    /// When the caller came in.
    pub entered: u32,
    /// When the caller left it.
    pub left: u32,
    /// Whether an agent answered; if not, the caller hung up.
    pub answered: bool,
}

/// A whole call, known from start to end before the first event is pushed.
#[derive(Debug, Clone)]
pub struct Call {
    /// Which story it is.
    pub flow: Flow,
    /// Names the call in all its events; rises from call to call, above 2^53.
    pub session_id: u64,
    /// Names its record.
    pub cdr_id: u64,
    /// SIP Call-ID.
    pub call_id: String,
    /// Which way it goes.
    pub direction: Direction,
    /// Who calls.
    pub caller: Party,
    /// Who was called at last (`call_start` names [`Call::dialled`]).
    pub callee: Party,
    /// Who was called at first.
    pub dialled: Party,
    /// Number of the office that an outsider dialled.
    pub did: Option<&'static str>,
    /// Trunk of the outside leg.
    pub trunk: Option<&'static Trunk>,
    /// Number shown to an outsider who is called.
    pub outbound_caller_id: Option<&'static str>,
    /// What an application attached to the call.
    pub user_data: Option<String>,
    /// Start in Unix seconds.
    pub started: i64,
    /// Thousandths after every full second of this call, which REST alone shows.
    pub millis: u16,
    /// Seconds from start to end.
    pub length: u32,
    /// Why it ended.
    pub end_reason: EndReason,
    /// SIP status where it failed, else 0.
    pub status_code: u16,
    /// Changes of the called side: when, and to whom.
    pub updates: Vec<(u32, Party)>,
    /// Every endpoint it was offered to, in order.
    pub targets: Vec<Target>,
    /// Its way through a queue.
    pub waiting: Option<Waiting>,
}

/// One moment at which the PBX pushes something about a call. Numbers index
/// `updates` and `targets`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// `call_start`.
    Start,
    /// `call_update_info`.
    Update(usize),
    /// `cdr_target_add`.
    Added(usize),
    /// `cdr_target_ringing`.
    Ringing(usize),
    /// `cdr_target_answer`.
    Answered(usize),
    /// `cdr_target_end`, `_noanswer` or `_fail`.
    Finished(usize),
    /// `queue_caller_status` on the way in.
    Enqueued,
    /// `queue_caller_status` on the way out.
    Dequeued,
    /// `call_cdr`.
    Record,
}

impl Call {
    /// End in Unix seconds.
    pub fn ended(&self) -> i64 {
        self.started + i64::from(self.length)
    }

    /// The number of whoever has a part in it.
    pub fn concerns(&self, number: &str) -> bool {
        let parties = [&self.caller, &self.callee, &self.dialled];
        let mut parties = parties.into_iter().chain(self.targets.iter().map(|target| &target.to));
        parties.any(|party| party.number == number)
    }

    /// First ringing of any target.
    pub fn rang(&self) -> Option<u32> {
        self.targets.iter().filter_map(|t| t.rang).min()
    }

    /// First answer of any target.
    pub fn answered(&self) -> Option<u32> {
        self.targets.iter().filter_map(|t| t.answered).min()
    }

    /// Seconds of ringing, until the answer or the end.
    pub fn ring_seconds(&self) -> u32 {
        self.rang().map_or(0, |rang| self.answered().unwrap_or(self.length).saturating_sub(rang))
    }

    /// Seconds from the first answer to the end.
    pub fn talk_seconds(&self) -> u32 {
        self.answered().map_or(0, |answered| self.length - answered)
    }

    /// All moments in order, with their second after the start.
    pub fn moments(&self) -> Vec<(u32, Moment)> {
        let mut moments = vec![(0, Moment::Start)];
        for (index, (at, _)) in self.updates.iter().enumerate() {
            moments.push((*at, Moment::Update(index)));
        }
        for (index, target) in self.targets.iter().enumerate() {
            moments.push((target.added, Moment::Added(index)));
            moments.extend(target.rang.map(|at| (at, Moment::Ringing(index))));
            moments.extend(target.answered.map(|at| (at, Moment::Answered(index))));
            moments.push((target.ended, Moment::Finished(index)));
        }
        if let Some(waiting) = &self.waiting {
            moments.push((waiting.entered, Moment::Enqueued));
            moments.push((waiting.left, Moment::Dequeued));
        }
        // Stable: within one second the order above holds.
        moments.sort_by_key(|(at, _)| *at);
        moments.push((self.length, Moment::Record));
        moments
    }
}
