//! Which queue a call went through, and who took it there.
//!
//! The vendor documents `queue_call` and `queue_callback_call` ("the call is of
//! the queue"), but no sample shows them, so the rule reads every form that they
//! may take. A *queue target* is a target of these types; without one both are
//! unknown. For each, in the PBX's order:
//!
//! 1. If its `callee` and its `destination` name different numbers, the queue was
//!    asked for (`callee`) and an agent was rung (`destination`); the other way
//!    round if `destination` is the number that the call itself was made to.
//! 2. If its number is the one that the call was made to, or it handed the call
//!    on (`referred`) and other targets started while it was up, it is the queue
//!    itself (the PBX answers, plays music and rings agents meanwhile).
//! 3. Otherwise its number is an agent's, and the queue is the nearest target
//!    before it that answered and handed the call on, else the number that the
//!    call was made to.
//!
//! Of several, the first whose agent answered counts, else the last. If only the
//! queue itself is marked, its agent is the first target that answered among
//! those that started while the queue was up. In outbound calls, which an
//! automatic callback may be, only rule 1 holds: the number called is the customer's.

use super::target::{self, answered};
use super::words;
use crate::event::call::{Call, Target};

/// The queue that a call went through and the agent who answered in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Queue {
    pub queue: Option<String>,
    pub agent: Option<String>,
}

/// Applies the rule above.
pub(super) fn of(call: &Call<'_>) -> Queue {
    let seats: Vec<Seat> = (0..call.targets.len())
        .filter(|&index| is_queue_target(&call.targets[index]))
        .filter_map(|index| seat(call, index))
        .collect();
    let taken = seats.iter().find(|seat| seat.agent.is_some() && seat.answered);
    let Some(seat) = taken.or(seats.last()) else {
        return Queue::default();
    };
    let agent = seat.agent.clone().filter(|_| seat.answered);
    let agent = agent.or_else(|| agent_meanwhile(call, seat.index));
    Queue { queue: seat.queue.clone(), agent }
}

/// What one queue target says.
struct Seat {
    index: usize,
    queue: Option<String>,
    agent: Option<String>,
    answered: bool,
}

fn seat(call: &Call<'_>, index: usize) -> Option<Seat> {
    let target = &call.targets[index];
    let number = target::number(target)?;
    let asked = target::user(target.callee.as_deref()).unwrap_or_else(|| number.clone());
    let dialled = target::user(call.callee.as_deref());
    let seat = |queue, agent| Some(Seat { index, queue, agent, answered: answered(target) });
    if number != asked {
        return match dialled.as_ref() == Some(&number) {
            true => seat(Some(number), Some(asked)),
            false => seat(Some(asked), Some(number)),
        };
    }
    if is_outbound(call) {
        return None;
    }
    if dialled.as_ref() == Some(&number) || is_queue_itself(call, index) {
        return seat(Some(number), None);
    }
    let before = call.targets[..index].iter().rev().find(|earlier| handed_on(earlier));
    seat(before.and_then(target::number).or(dialled), Some(number))
}

fn is_queue_target(target: &Target<'_>) -> bool {
    let word = target.call_type.as_deref().unwrap_or_default().trim();
    ["queue_call", "queue_callback_call"].iter().any(|known| word.eq_ignore_ascii_case(known))
}

fn is_outbound(call: &Call<'_>) -> bool {
    call.direction.as_deref().map(words::direction).as_deref() == Some("outbound")
}

fn handed_on(target: &Target<'_>) -> bool {
    let reason = target.end_reason.as_deref().and_then(words::end_reason);
    answered(target) && reason.as_deref() == Some("referred")
}

fn is_queue_itself(call: &Call<'_>, index: usize) -> bool {
    handed_on(&call.targets[index]) && meanwhile(call, index).next().is_some()
}

fn agent_meanwhile(call: &Call<'_>, index: usize) -> Option<String> {
    meanwhile(call, index).find(|target| answered(target)).and_then(target::number)
}

/// The targets after this one that started while it was up.
fn meanwhile<'c, 'a>(call: &'c Call<'a>, index: usize) -> impl Iterator<Item = &'c Target<'a>> {
    let (up, down) = (call.targets[index].started_at, call.targets[index].ended_at);
    call.targets[index + 1..].iter().filter(move |target| {
        target.started_at.is_some() && up <= target.started_at && target.started_at < down
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::call::parse;

    /// Targets as `type callee destination start answered end reason`, `-` for none.
    fn found(callee: &str, direction: &str, targets: &[&str]) -> (Option<String>, Option<String>) {
        let targets: Vec<String> = targets.iter().map(|line| {
            let word: Vec<&str> = line.split(' ').map(|w| if w == "-" { "" } else { w }).collect();
            format!(
                r#"{{"call_type":"{}","callee":"{}","destination":"{}","start_time":"{}","answered_time":"{}","ended_time":"{}","end_reason":"{}"}}"#,
                word[0], word[1], word[2], word[3], word[4], word[5], word[6])
        }).collect();
        let json = format!(
            r#"{{"callee":"{callee}","direction":"{direction}","call_targets":[{}]}}"#,
            targets.join(",")
        );
        let Queue { queue, agent } = of(&parse(json.as_bytes()).unwrap());
        (queue, agent)
    }

    fn pair(queue: &str, agent: &str) -> (Option<String>, Option<String>) {
        let text = |t: &str| (t != "-").then(|| t.to_owned());
        (text(queue), text(agent))
    }

    #[test]
    fn targets_that_name_queue_and_agent_say_it_all() {
        let targets = [
            "queue_call 8000 sip:101@10.0.0.1:5066 10 - 15 None",
            "QUEUE_CALL 8000 102 16 20 40 None",
        ];
        assert_eq!(found("5000", "in", &targets), pair("8000", "102"));
        assert_eq!(
            found("8000", "in", &["queue_call 102 8000 16 20 40 None"]),
            pair("8000", "102")
        );
    }

    #[test]
    fn the_queue_itself_may_be_a_target_among_its_agents() {
        for agents in ["queue_call", "normal_call"] {
            let targets = [
                "normal_call 5000 sip:5000@h 1 1 9 referred".to_owned(),
                "queue_call 8000 sip:8000@h 9 9 20 referred".to_owned(),
                format!("{agents} 102 sip:102@h 10 - 20 None"),
                format!("{agents} 103 sip:103@h 10 20 60 None"),
            ];
            let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
            assert_eq!(found("5000", "in", &targets), pair("8000", "103"));
        }
    }

    #[test]
    fn if_only_agents_are_marked_the_queue_is_what_handed_the_call_on_or_what_was_dialled() {
        let agents = [
            "queue_call 102 sip:102@h 10 - 20 None",
            "queue_call 103 sip:103@h 10 20 60 referred",
            "normal_call 104 sip:104@h 60 61 70 None",
        ];
        assert_eq!(found("8000", "in", &agents), pair("8000", "103"));
        let mut targets =
            vec!["normal_call 5000 - 1 1 4 referred", "normal_call 8001 - 4 4 20 referred"];
        targets.extend(agents);
        assert_eq!(found("5000", "in", &targets), pair("8001", "103"));
    }

    #[test]
    fn a_queue_that_nobody_answered_has_no_agent() {
        assert_eq!(
            found("8000", "in", &["queue_call 8000 sip:8000@h 9 9 20 None"]),
            pair("8000", "-")
        );
        let overflow = ["queue_call 8000 101 1 - 5 None", "queue_call 8001 102 5 - 9 None"];
        assert_eq!(found("8000", "in", &overflow), pair("8001", "-"));
        assert_eq!(found("8000", "in", &["normal_call 101 101 1 2 5 None"]), pair("-", "-"));
    }

    #[test]
    fn a_client_that_registers_under_a_random_name_is_known_by_its_number() {
        assert_eq!(
            found("8000", "in", &["queue_call 101 sip:k3j9x2@h 1 2 5 None"]),
            pair("8000", "101")
        );
    }

    #[test]
    fn the_customer_of_an_outbound_callback_is_no_queue() {
        assert_eq!(
            found("0301234", "out", &["queue_callback_call 0301234 sip:0301234@h 1 2 5 None"]),
            pair("-", "-")
        );
        assert_eq!(
            found("0301234", "out", &["queue_callback_call 8000 sip:101@h 1 2 5 None"]),
            pair("8000", "101")
        );
    }
}
