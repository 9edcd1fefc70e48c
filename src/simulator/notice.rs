//! What a simulator tells the person who watches it, one short line each.

use std::fmt;
use std::sync::Arc;

use super::ledger::{Ending, LoginResult};

/// Takes notices as they come; must not block.
pub type Narrator = Arc<dyn Fn(&Notice) + Send + Sync>;

/// One thing that happened.
#[derive(Debug, Clone)]
pub enum Notice {
    /// A connection was upgraded.
    Connected(u64, String),
    /// A login was answered, or deliberately not.
    Login(u64, String, LoginResult),
    /// A topic was accepted, or refused in these words.
    Subscribe(u64, String, Option<String>),
    /// A command that no dialect knows, with what is wrong.
    BadCommand(u64, String),
    /// A request that does not lead to WSI.
    Strayed(String),
    /// A fault was put into effect on a connection.
    Fault(u64, String),
    /// A request to the REST side was answered with this status. Its query, which
    /// may hold numbers of callers, is left out.
    Rest(String, u16),
    /// The webhook began to work, ceased to, or was ended.
    Webhook(String),
    /// A connection ended.
    Ended(u64, Ending),
    /// The wanted number of calls has been made.
    AllCallsMade(u64),
    /// TCP or TLS did not get as far as a request.
    Failed(String),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected(n, target) => write!(f, "#{n} connected to {target}"),
            Self::Login(n, who, LoginResult::Accepted) => write!(f, "#{n} logged in as {who}"),
            Self::Login(n, who, LoginResult::Refused(words)) => {
                write!(f, "#{n} login as {who} refused: {words}")
            }
            Self::Login(n, who, LoginResult::Unanswered) => {
                write!(f, "#{n} login as {who} left unanswered")
            }
            Self::Subscribe(n, topic, None) => write!(f, "#{n} subscribed to {topic}"),
            Self::Subscribe(n, topic, Some(words)) => {
                write!(f, "#{n} subscription to {topic} refused: {words}")
            }
            Self::BadCommand(n, what) => write!(f, "#{n} bad command: {what}"),
            Self::Strayed(what) => write!(f, "no such path: {what}"),
            Self::Fault(n, what) => write!(f, "#{n} fault: {what}"),
            Self::Rest(what, status) => write!(f, "{what}: {status}"),
            Self::Webhook(what) => write!(f, "webhook: {what}"),
            Self::Ended(n, ending) => write!(f, "#{n} {ending}"),
            Self::AllCallsMade(calls) => write!(f, "{calls} calls made, no more will come"),
            Self::Failed(why) => write!(f, "connection failed: {why}"),
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClosedByClient(Some(code)) => write!(f, "closed by the client ({code})"),
            Self::ClosedByClient(None) => write!(f, "closed by the client"),
            Self::ClosedByServer { answered: true } => write!(f, "closed by the simulator"),
            Self::ClosedByServer { answered: false } => {
                write!(f, "closed by the simulator, without an answer")
            }
            Self::Vanished(why) => write!(f, "vanished: {why}"),
            Self::Cut => write!(f, "cut by the simulator"),
        }
    }
}
