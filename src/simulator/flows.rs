//! The stories that calls tell: who calls whom, who answers, how it ends.
//!
//! Every draw comes from the generator handed in, so a seed fixes the calls.

use fastrand::Rng;

use super::call::{Call, CallType, Direction, EndReason, Finish, Target, Waiting};
use super::office::{self, Party, QUEUES, TRUNKS, Trunk};

/// No call that comes by itself is longer than this, in seconds.
pub const LONGEST: u32 = 360;

/// The kinds of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flow {
    /// Extension to extension, answered.
    Internal,
    /// From a trunk to an extension, answered.
    Inbound,
    /// Announcement, queue, several agents ring, one answers.
    Queue,
    /// The caller leaves the queue unanswered.
    Abandoned,
    /// To a trunk, answered.
    Outbound,
    /// The called side is busy.
    Busy,
    /// Nobody answers, the PBX gives up.
    NoAnswer,
    /// The caller gives up.
    Cancelled,
    /// Answered, handed to a colleague.
    BlindTransfer,
    /// Sent on to a mobile phone outside.
    Forwarded,
}

/// How often each kind comes: one draw empties this bag before it is refilled,
/// so sixteen calls in a row show every kind.
pub const BAG: [Flow; 16] = [
    Flow::Internal,
    Flow::Internal,
    Flow::Internal,
    Flow::Inbound,
    Flow::Inbound,
    Flow::Inbound,
    Flow::Queue,
    Flow::Queue,
    Flow::Abandoned,
    Flow::Outbound,
    Flow::Outbound,
    Flow::Busy,
    Flow::NoAnswer,
    Flow::Cancelled,
    Flow::BlindTransfer,
    Flow::Forwarded,
];

/// A call of the wanted kind. Ids and the start are still zero.
pub fn compose(flow: Flow, rng: &mut Rng) -> Call {
    let mut call = match flow {
        Flow::Internal => answered(internal(flow, rng), rng),
        Flow::Inbound => answered(inbound(flow, rng), rng),
        Flow::Outbound => answered(outbound(flow, rng), rng),
        Flow::Queue | Flow::Abandoned => queued(flow, rng),
        Flow::Busy => busy(flow, rng),
        Flow::NoAnswer => unanswered(inbound(flow, rng), rng, EndReason::None, 480),
        Flow::Cancelled => unanswered(internal(flow, rng), rng, EndReason::Cancelled, 487),
        Flow::BlindTransfer => transferred(flow, rng),
        Flow::Forwarded => forwarded(flow, rng),
    };
    call.call_id = format!("{:016x}{:08x}@{}", rng.u64(..), rng.u32(..), call.caller.domain);
    call.user_data = (rng.u8(..4) == 0).then(|| format!("order={};note=grün", rng.u32(1000..9999)));
    call
}

/// An answered call between colleagues of exactly so many seconds, however few.
pub fn compose_lasting(seconds: u32, rng: &mut Rng) -> Call {
    let mut call = compose(Flow::Internal, rng);
    for target in &mut call.targets {
        target.answered = target.answered.map(|at| at.min(seconds / 2));
        target.rang = target.rang.map(|at| at.min(seconds / 2));
        target.ended = seconds;
    }
    call.length = seconds;
    call
}

fn blank(flow: Flow, direction: Direction, caller: Party, callee: Party) -> Call {
    Call {
        flow,
        session_id: 0,
        cdr_id: 0,
        call_id: String::new(),
        direction,
        caller,
        dialled: callee.clone(),
        callee,
        did: None,
        trunk: None,
        outbound_caller_id: None,
        user_data: None,
        started: 0,
        millis: 0,
        length: 0,
        end_reason: EndReason::None,
        status_code: 0,
        updates: Vec::new(),
        targets: Vec::new(),
        waiting: None,
    }
}

fn internal(flow: Flow, rng: &mut Rng) -> Call {
    let caller = office::colleague(rng, &[]);
    let callee = office::colleague(rng, &[&caller.number]);
    blank(flow, Direction::Internal, caller, callee)
}

fn inbound(flow: Flow, rng: &mut Rng) -> Call {
    let caller = office::outsider(rng);
    let callee = office::colleague(rng, &[]);
    over_trunk(blank(flow, Direction::Inbound, caller, callee), rng)
}

fn outbound(flow: Flow, rng: &mut Rng) -> Call {
    let caller = office::colleague(rng, &[]);
    let callee = office::outsider(rng);
    let trunk = a_trunk(rng);
    let mut call = blank(flow, Direction::Outbound, caller, callee);
    call.trunk = Some(trunk);
    call.outbound_caller_id = Some(trunk.dids[0]);
    call
}

fn over_trunk(mut call: Call, rng: &mut Rng) -> Call {
    let trunk = a_trunk(rng);
    call.trunk = Some(trunk);
    call.did = Some(trunk.dids[rng.usize(..trunk.dids.len())]);
    call
}

fn a_trunk(rng: &mut Rng) -> &'static Trunk {
    &TRUNKS[rng.usize(..TRUNKS.len())]
}

/// A target that is offered the call and rings a second later.
fn ringing(to: &Party, added: u32) -> Target {
    Target {
        call_type: CallType::Normal,
        to: to.clone(),
        added,
        rang: Some(added + 1),
        answered: None,
        ended: added + 1,
        finish: Finish::NoAnswer,
        end_reason: EndReason::None,
        status_code: 0,
        trunk: None,
    }
}

impl Target {
    fn answers(mut self, at: u32, until: u32, why: EndReason) -> Self {
        self.answered = Some(at);
        self.ended = until;
        self.finish = Finish::Ended;
        self.end_reason = why;
        self
    }

    fn gives_up(mut self, at: u32, why: EndReason, code: u16) -> Self {
        self.ended = at;
        self.end_reason = why;
        self.status_code = code;
        self
    }
}

fn talk(rng: &mut Rng) -> u32 {
    // Mostly under a minute, seldom three: the smaller of two draws.
    rng.u32(6..180).min(rng.u32(6..180))
}

fn who_hangs_up(rng: &mut Rng) -> EndReason {
    if rng.bool() { EndReason::CallerDisconnect } else { EndReason::CalleeDisconnect }
}

fn end(mut call: Call, at: u32, why: EndReason, code: u16) -> Call {
    call.length = at;
    call.end_reason = why;
    call.status_code = code;
    call
}

fn answered(mut call: Call, rng: &mut Rng) -> Call {
    let pick_up = 1 + rng.u32(2..15);
    let over = pick_up + talk(rng);
    let why = who_hangs_up(rng);
    let mut target = ringing(&call.callee, 0).answers(pick_up, over, why);
    target.trunk = call.trunk.filter(|_| call.direction == Direction::Outbound);
    call.targets.push(target);
    end(call, over, why, 0)
}

fn unanswered(mut call: Call, rng: &mut Rng, why: EndReason, code: u16) -> Call {
    let over = 1 + if why == EndReason::Cancelled { rng.u32(3..20) } else { 30 };
    call.targets.push(ringing(&call.callee, 0).gives_up(over, why, code));
    end(call, over, why, code)
}

fn busy(flow: Flow, rng: &mut Rng) -> Call {
    const BUSY_HERE: u16 = 486;
    let mut call = if rng.bool() { internal(flow, rng) } else { outbound(flow, rng) };
    let why = EndReason::CalleeDisconnect;
    let mut target = ringing(&call.callee, 0).gives_up(1, why, BUSY_HERE);
    target.rang = None;
    target.finish = Finish::Failed;
    target.trunk = call.trunk;
    call.targets.push(target);
    end(call, 1, why, BUSY_HERE)
}

fn transferred(flow: Flow, rng: &mut Rng) -> Call {
    let mut call = inbound(flow, rng);
    let first = call.callee.clone();
    let second = office::colleague(rng, &[&first.number]);
    let pick_up = 1 + rng.u32(2..10);
    let handed = pick_up + rng.u32(10..40);
    let again = handed + 1 + rng.u32(2..10);
    let over = again + talk(rng);
    let why = who_hangs_up(rng);
    call.targets.push(ringing(&first, 0).answers(pick_up, handed, EndReason::BlindTransfer));
    call.targets.push(ringing(&second, handed).answers(again, over, why));
    call.updates.push((handed, second.clone()));
    call.callee = second;
    end(call, over, why, 0)
}

fn forwarded(flow: Flow, rng: &mut Rng) -> Call {
    let mut call = inbound(flow, rng);
    call.direction = Direction::InboundOutbound;
    let trunk = a_trunk(rng);
    let mobile = office::outsider(rng);
    let sent_on = 12;
    let pick_up = sent_on + 1 + rng.u32(3..15);
    let over = pick_up + talk(rng);
    let why = who_hangs_up(rng);
    let desk = ringing(&call.callee, 0).gives_up(sent_on, EndReason::Redirected, 0);
    let mut away = ringing(&mobile, sent_on).answers(pick_up, over, why);
    away.trunk = Some(trunk);
    call.targets.extend([desk, away]);
    call.updates.push((sent_on, mobile.clone()));
    call.outbound_caller_id = Some(trunk.dids[0]);
    call.callee = mobile;
    end(call, over, why, 0)
}

/// Announcement, then the queue rings its agents: one answers, or the caller leaves.
fn queued(flow: Flow, rng: &mut Rng) -> Call {
    let queue = &QUEUES[rng.usize(..QUEUES.len())];
    let line = office::queue_line(queue);
    let caller = office::outsider(rng);
    let mut call = over_trunk(blank(flow, Direction::Inbound, caller, office::ivr()), rng);
    let entered = 1 + rng.u32(5..20);
    let left = entered + 1 + rng.u32(4..45);
    let picked = (flow == Flow::Queue).then(|| rng.usize(..queue.agents.len()));
    let over = left + picked.map_or(0, |_| talk(rng));
    let why = if picked.is_some() { who_hangs_up(rng) } else { EndReason::CallerDisconnect };
    let mut menu = ringing(&office::ivr(), 0).answers(1, entered, EndReason::Redirected);
    menu.rang = None;
    call.targets.push(menu);
    for (index, agent) in queue.agents.iter().enumerate() {
        let offered = ringing(&office::person(agent), entered);
        let mut target = if Some(index) == picked {
            offered.answers(left, over, why)
        } else {
            offered.gives_up(left, EndReason::Cancelled, 487)
        };
        target.call_type = CallType::Queue;
        call.targets.push(target);
    }
    call.updates.push((entered, line.clone()));
    call.callee = line;
    let answered = picked.is_some();
    call.waiting = Some(Waiting { queue, entered, left, answered });
    end(call, over, why, 0)
}
