//! Flags for what goes wrong with the simulated PBX as a whole, and with its WSI.

use super::at_least_one;
use super::outage::{self, Restarts};
use super::rest::RestArgs;
use crate::simulator::Faults;
use crate::simulator::faults::{CLOSE_CODE, TopicRefusal};

/// What goes wrong.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Faults")]
pub struct FaultArgs {
    /// Refuse the first N logins
    #[arg(long, value_name = "N")]
    refuse_logins: Option<u32>,
    /// Words of every refusal that is asked for
    #[arg(long, default_value = "Refused by the simulator.")]
    words: String,
    /// Never answer a login
    #[arg(long)]
    mute_login: bool,
    /// Drop the connection right after the first N logins
    #[arg(long, value_name = "N", default_value_t = 0)]
    drop_after_login: u32,
    /// Accept subscriptions without an answer
    #[arg(long)]
    mute_subscribe: bool,
    /// Refuse a topic, always or N times; can be given more than once
    #[arg(long, value_name = "NAME[:N]", value_parser = topic_and_times)]
    refuse_topic: Vec<(String, Option<u32>)>,
    /// Push an event before each answer
    #[arg(long)]
    event_before_answer: bool,
    /// Close each connection after so many events, with 1012 or the code
    #[arg(long, value_name = "EVENTS[:CODE]", value_parser = events_and_code)]
    close_after: Option<(u64, u16)>,
    /// Reset each connection's TCP after so many events
    #[arg(long, value_name = "EVENTS", value_parser = at_least_one())]
    reset_after: Option<u64>,
    /// Fall silent on each connection after so many events, TCP standing
    #[arg(long, value_name = "EVENTS", value_parser = at_least_one())]
    silent_after: Option<u64>,
    /// A frame that is not JSON after every so many events
    #[arg(long, value_name = "EVENTS", value_parser = at_least_one())]
    malformed_every: Option<u64>,
    /// A text frame that is not UTF-8 after every so many events
    #[arg(long, value_name = "EVENTS", value_parser = at_least_one())]
    non_utf8_every: Option<u64>,
    /// An event of 5 MiB after every so many events
    #[arg(long, value_name = "EVENTS", value_parser = at_least_one())]
    oversize_every: Option<u64>,
    /// Send every event in several frames, with a ping between them
    #[arg(long)]
    fragment: bool,
    /// The PBX's clock is so many seconds ahead, or with a minus behind
    #[arg(long, value_name = "SECONDS", default_value_t = 0, allow_hyphen_values = true)]
    clock_off: i32,
    /// Every so many seconds the PBX is down for 5 or the number; calls go on
    #[arg(long, value_name = "SECONDS[:DOWN]", value_parser = outage::restarts)]
    pub restart_every: Option<Restarts>,
}

fn events_and_code(text: &str) -> Result<(u64, u16), String> {
    let (events, code) = match text.split_once(':') {
        Some((events, code)) => (events, code.parse().map_err(|_| "the code is no number")?),
        None => (text, CLOSE_CODE),
    };
    match events.parse() {
        Ok(events) if events > 0 => Ok((events, code)),
        _ => Err("write a number of events, or EVENTS:CODE".into()),
    }
}

fn topic_and_times(text: &str) -> Result<(String, Option<u32>), String> {
    match text.split_once(':') {
        None => Ok((text.into(), None)),
        Some((topic, times)) => match times.parse() {
            Ok(times) => Ok((topic.into(), Some(times))),
            Err(_) => Err("write NAME, or NAME:TIMES".into()),
        },
    }
}

impl FaultArgs {
    /// The faults, with those of REST.
    pub fn faults(&self, rest: &RestArgs) -> Faults {
        let words = || self.words.clone();
        let refusal = |(topic, times): &(String, Option<u32>)| {
            let (times, words) = (*times, words());
            (topic.clone(), TopicRefusal { times, words })
        };
        Faults {
            refuse_logins: self.refuse_logins.map(|times| (times, words())),
            mute_auth: self.mute_login,
            mute_subscribe: self.mute_subscribe,
            event_before_answer: self.event_before_answer,
            refuse_topics: self.refuse_topic.iter().map(refusal).collect(),
            drop_after_login: self.drop_after_login,
            close_after: self.close_after,
            reset_after: self.reset_after,
            silent_after: self.silent_after,
            malformed_every: self.malformed_every,
            non_utf8_every: self.non_utf8_every,
            oversize_every: self.oversize_every,
            fragment: self.fragment,
            clock_off: self.clock_off.into(),
            rest: rest.faults(&self.words),
            ..Faults::default()
        }
    }
}
