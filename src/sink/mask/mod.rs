//! Hides numbers, names and user data from a sink, in every format.
//!
//! A rule belongs to a role that a value plays in a call (who called, who was
//! called), and covers every place and spelling in which the PBX or a record tells
//! it: [`Mask::rewrite`] masks the PBX's JSON, [`Mask::hide`] a record, both
//! by the same rules, so all formats show the same. What cannot be rewritten safely is
//! left out: never does a value get out because it was not understood.

mod members;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::config::Section;
use crate::event::call::Call;
use crate::record::{Record, number_in, without_name};
use crate::secret::Secret;

/// Digits that `last4` shows.
const SHOWN: usize = 4;
/// Digits of a pseudonym: 62 bits, so that two of ten million numbers share one with
/// a probability of 1 in 100,000.
const PSEUDONYM: usize = 16;
/// Shortest key. There are so few telephone numbers that a short key can be guessed
/// from one known number and its pseudonym.
const SHORTEST_KEY: usize = 16;
/// A display name with so many digits holds a number, whatever else it says.
const DIGITS_OF_A_NUMBER: usize = 5;

/// What happens to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The last four digits stay, all else becomes `*`; of a shorter number nothing stays.
    Last4,
    /// A keyed pseudonym, the same for the same number wherever and however it is written.
    Hash,
    /// `null`.
    Drop,
}

const FOR_NUMBERS: &[(&str, Option<Action>)] =
    &[("last4", Some(Action::Last4)), ("hash", Some(Action::Hash)), ("drop", Some(Action::Drop))];
/// Four digits of a text that is no number could be anything.
const FOR_TEXT: &[(&str, Option<Action>)] =
    &[("hash", Some(Action::Hash)), ("drop", Some(Action::Drop))];

/// The part that a value plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Caller,
    CallerName,
    Callee,
    CalleeName,
    Did,
    OutboundCallerId,
    UserData,
}

/// What to do for each role.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Rules {
    caller: Option<Action>,
    caller_name: Option<Action>,
    callee: Option<Action>,
    callee_name: Option<Action>,
    did: Option<Action>,
    outbound_caller_id: Option<Action>,
    user_data: Option<Action>,
}

/// A value after masking.
#[derive(Debug, PartialEq, Eq)]
enum Masked {
    Same,
    Gone,
    Text(String),
}

/// The rules of one sink.
#[derive(Debug, Clone)]
pub struct Mask {
    rules: Rules,
    key: Secret,
}

impl Mask {
    /// Reads `mask` and `mask_key`; `None` without a rule.
    pub fn read(section: &mut Section) -> Option<Self> {
        let rules = section.optional_table("mask", Rules::read).unwrap_or_default();
        let key = read_key(section, rules.all().contains(&Some(Action::Hash)));
        (rules != Rules::default()).then_some(Self { rules, key })
    }

    /// The PBX's JSON with every value of a masked role replaced and all other bytes
    /// as they were; `None` if it is no JSON.
    pub fn rewrite(&self, json: &[u8]) -> Option<Vec<u8>> {
        members::rewrite(self, json)
    }

    /// The same for the record of a call. What it took out of a value that is masked,
    /// as a name or domain out of a SIP URI, goes with it.
    pub fn hide(&self, record: &mut Record, call: &Call<'_>) {
        let Rules { caller, callee, .. } = self.rules;
        if caller.is_some() {
            keep_if(call.caller_name.is_some(), &mut record.caller_name);
            keep_if(call.caller_domain.is_some(), &mut record.caller_domain);
        }
        if callee.is_some() {
            keep_if(call.callee_name.is_some(), &mut record.callee_name);
            keep_if(call.callee_domain.is_some(), &mut record.callee_domain);
        }
        self.field(Role::Caller, &mut record.caller);
        self.field(Role::CallerName, &mut record.caller_name);
        self.field(Role::CalleeName, &mut record.callee_name);
        self.field(Role::Did, &mut record.did);
        self.field(Role::OutboundCallerId, &mut record.outbound_caller_id);
        self.field(Role::UserData, &mut record.user_data);
        // Queue and agent were found among the numbers that were called.
        for field in [&mut record.callee, &mut record.queue, &mut record.agent] {
            self.field(Role::Callee, field);
        }
        for target in &mut record.targets {
            self.field(Role::Caller, &mut target.caller);
            self.field(Role::Callee, &mut target.number);
            self.field(Role::Callee, &mut target.destination);
            self.field(Role::Did, &mut target.did);
            self.field(Role::OutboundCallerId, &mut target.outbound_caller_id);
        }
    }

    fn field(&self, role: Role, field: &mut Option<String>) {
        match field.as_deref().map(|text| self.text(role, text)) {
            None | Some(Masked::Same) => {}
            Some(Masked::Gone) => *field = None,
            Some(Masked::Text(text)) => *field = Some(text),
        }
    }

    /// Whether values of a role may change at all.
    fn concerns(&self, role: Role) -> bool {
        let Rules { did, outbound_caller_id, user_data, .. } = self.rules;
        match role {
            Role::Caller | Role::CallerName => {
                self.rules.caller.or(self.rules.caller_name).is_some()
            }
            Role::Callee | Role::CalleeName => {
                self.rules.callee.or(self.rules.callee_name).is_some()
            }
            Role::Did => did.is_some(),
            Role::OutboundCallerId => outbound_caller_id.is_some(),
            Role::UserData => user_data.is_some(),
        }
    }

    fn text(&self, role: Role, text: &str) -> Masked {
        let rules = &self.rules;
        match role {
            _ if text.is_empty() => Masked::Same,
            Role::Caller => self.party(rules.caller, rules.caller_name, text),
            Role::Callee => self.party(rules.callee, rules.callee_name, text),
            Role::CallerName => self.name(rules.caller_name, rules.caller, text),
            Role::CalleeName => self.name(rules.callee_name, rules.callee, text),
            Role::Did => self.party(rules.did, None, text),
            Role::OutboundCallerId => self.party(rules.outbound_caller_id, None, text),
            Role::UserData => self.apply(rules.user_data, text),
        }
    }

    /// A number or SIP URI, which may have a display name before it.
    fn party(&self, rule: Option<Action>, of_name: Option<Action>, text: &str) -> Masked {
        if rule.is_some() {
            return self.apply(rule, &canonical(text));
        }
        if of_name.is_none() {
            return Masked::Same;
        }
        let bare = without_name(text);
        let doubtful = bare.contains(['"', '<', '>'])
            || bare.contains(char::is_whitespace) && bare.contains(char::is_alphabetic);
        match doubtful {
            true => Masked::Gone,
            false if bare == text => Masked::Same,
            false => Masked::Text(bare.to_owned()),
        }
    }

    /// A display name. Many phones and trunks send the number there once more, so
    /// that such a name falls under the rule of the number if it has none itself.
    fn name(&self, rule: Option<Action>, of_number: Option<Action>, text: &str) -> Masked {
        match (rule, of_number) {
            (None, Some(_)) if is_number(text) => self.apply(of_number, &canonical(text)),
            (rule, _) if is_number(text) => self.apply(rule, &canonical(text)),
            (rule, _) => self.apply(rule, text.trim()),
        }
    }

    fn apply(&self, rule: Option<Action>, text: &str) -> Masked {
        match rule {
            None => Masked::Same,
            Some(Action::Drop) => Masked::Gone,
            Some(Action::Last4) => Masked::Text(last_digits(text)),
            Some(Action::Hash) => Masked::Text(self.pseudonym(text)),
        }
    }

    /// Hexadecimal digits, the first of them always a letter: otherwise a pseudonym
    /// could be taken for a number.
    fn pseudonym(&self, text: &str) -> String {
        let mac = Hmac::<Sha256>::new_from_slice(self.key.reveal().as_bytes())
            .expect("a key of any length will do");
        let hash = mac.chain_update(text).finalize().into_bytes();
        let mut digits = String::with_capacity(PSEUDONYM);
        let first = 0xa0 + hash[0] % 0x60;
        for byte in [first].iter().chain(&hash[1..PSEUDONYM / 2]) {
            write!(digits, "{byte:02x}").expect("writing to a String succeeds");
        }
        digits
    }
}

impl Rules {
    fn read(section: &mut Section) -> Self {
        let rules = Self {
            caller: section.choice("caller", None, FOR_NUMBERS),
            caller_name: section.choice("caller_name", None, FOR_NUMBERS),
            callee: section.choice("callee", None, FOR_NUMBERS),
            callee_name: section.choice("callee_name", None, FOR_NUMBERS),
            did: section.choice("did", None, FOR_NUMBERS),
            outbound_caller_id: section.choice("outbound_caller_id", None, FOR_NUMBERS),
            user_data: section.choice("user_data", None, FOR_TEXT),
        };
        if rules == Self::default() && !section.has_faults() && !section.has_unknown() {
            section.problem_here("hides nothing; name a field, as in { caller = \"last4\" }");
        }
        rules
    }

    fn all(&self) -> [Option<Action>; 7] {
        let Self { caller, caller_name, callee, callee_name, .. } = *self;
        let Self { did, outbound_caller_id, user_data, .. } = *self;
        [caller, caller_name, callee, callee_name, did, outbound_caller_id, user_data]
    }
}

fn read_key(section: &mut Section, needed: bool) -> Secret {
    let key = section.secret("mask_key");
    if needed && !section.has("mask_key") {
        section.missing("mask_key", "{ credential = \"NAME\" }: \"hash\" in \"mask\" needs a key");
    }
    if !needed && section.has("mask_key") && !section.is_faulty("mask") {
        section.warn("mask_key", "\"mask_key\" has no effect: nothing in \"mask\" is \"hash\"");
    }
    let is_short = |key: &Secret| section.reads_secrets() && key.reveal().len() < SHORTEST_KEY;
    if key.as_ref().is_some_and(is_short) {
        let message = format!(
            "\"mask_key\" is too short; give it at least {SHORTEST_KEY} random characters, \
             as from \"openssl rand -hex 32\""
        );
        section.problem("mask_key", message);
    }
    key.unwrap_or_else(|| Secret::new(String::new()))
}

fn keep_if(condition: bool, field: &mut Option<String>) {
    if !condition {
        *field = None;
    }
}

/// One spelling of a number: without SIP URI, blanks and the separators that only
/// please the eye (RFC 3966, 5.1.1).
fn canonical(text: &str) -> Cow<'_, str> {
    let number = number_in(text).unwrap_or(Cow::Borrowed(text.trim()));
    let separator = |c: char| c.is_whitespace() || "-.()/".contains(c);
    match number.chars().all(|c| is_digit_or_sign(c) || separator(c)) && number.contains(separator)
    {
        true => Cow::Owned(number.chars().filter(|c| !separator(*c)).collect()),
        false => number,
    }
}

/// Whether a display name is a number, or has one in it.
fn is_number(name: &str) -> bool {
    let digits = name.chars().filter(char::is_ascii_digit).count();
    digits >= DIGITS_OF_A_NUMBER || digits > 0 && canonical(name).chars().all(is_digit_or_sign)
}

fn is_digit_or_sign(c: char) -> bool {
    c.is_ascii_digit() || "+*#".contains(c)
}

fn last_digits(text: &str) -> String {
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let mut hidden = if digits > SHOWN { digits - SHOWN } else { digits };
    let mask = |c: char| match c.is_ascii_digit() {
        true if hidden == 0 => c,
        true => {
            hidden -= 1;
            '*'
        }
        false => '*',
    };
    text.chars().map(mask).collect()
}
