//! Rewrites the values of some members in JSON text and leaves every other byte alone.
//!
//! The text is walked from front to back, not parsed into values: order, spelling of
//! numbers, white space and repeated members stay, and nesting costs nothing. Every
//! member of a known name is rewritten, at any depth, repeated or written with
//! escapes; one whose value is no scalar becomes `null`.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use super::{Mask, Masked, Role};

/// How the PBX spells the roles: WSI of all releases, REST, and the events of
/// extensions and queues. The names of the record are listed too, in case that a
/// release comes to use them.
fn role(member: &str) -> Option<Role> {
    const ROLES: &[(Role, &[&str])] = &[
        (Role::Caller, &["caller", "caller_number", "caller_id"]),
        (Role::CallerName, &["caller_display_name", "caller_name"]),
        (
            Role::Callee,
            &[
                "callee",
                "callee_number",
                "destination",
                "destiantion",
                "extension",
                "extension_number",
                "agent",
                "agent_number",
            ],
        ),
        (Role::CalleeName, &["callee_display_name", "callee_name", "name", "agent_name"]),
        (Role::Did, &["did", "did_cid"]),
        (Role::OutboundCallerId, &["outbound_caller_id"]),
        (Role::UserData, &["user_data"]),
    ];
    let named = |names: &[&str]| names.iter().any(|name| name.eq_ignore_ascii_case(member));
    ROLES.iter().find(|(_, names)| named(names)).map(|(role, _)| *role)
}

/// The text with the values of masked members replaced; `None` if it is no JSON.
pub(super) fn rewrite(mask: &Mask, json: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(json).ok()?;
    // What follows relies on valid JSON.
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    let mut walk = Walk { text, at: 0 };
    let mut out = Vec::with_capacity(text.len() + 16);
    let mut copied = 0;
    while let Some(name) = walk.next_member()? {
        let Some(role) = role(&name).filter(|role| mask.concerns(*role)) else { continue };
        let start = walk.at;
        walk.skip_value()?;
        if let Some(value) = replacement(mask, role, &text[start..walk.at]) {
            out.extend_from_slice(&json[copied..start]);
            out.extend_from_slice(value.as_bytes());
            copied = walk.at;
        }
    }
    out.extend_from_slice(&json[copied..]);
    Some(out)
}

/// What to put in place of a value; `None` to leave it.
fn replacement(mask: &Mask, role: Role, value: &str) -> Option<Cow<'static, str>> {
    let masked = match value.as_bytes().first()? {
        b'"' => match serde_json::from_str::<String>(value) {
            Ok(text) => mask.text(role, &text),
            // A lone surrogate: no text, so nothing of it can be shown for sure.
            Err(_) => Masked::Gone,
        },
        b'-' | b'0'..=b'9' => mask.text(role, value),
        b'{' | b'[' => Masked::Gone,
        // null, true, false
        _ => Masked::Same,
    };
    match masked {
        Masked::Same => None,
        Masked::Gone => Some(Cow::Borrowed("null")),
        Masked::Text(text) => {
            Some(Cow::Owned(serde_json::to_string(&text).expect("a string is JSON")))
        }
    }
}

/// A walk through valid JSON. A string that is followed by a colon is a member's
/// name, so no account of objects and arrays is needed.
struct Walk<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Walk<'a> {
    /// Goes to the value of the next member, wherever it is, and returns the name.
    /// Of the outer options, `None` is a text that is not what was relied on.
    fn next_member(&mut self) -> Option<Option<Cow<'a, str>>> {
        while let Some(offset) = self.text[self.at..].find('"') {
            self.at += offset;
            let start = self.at;
            self.skip_string()?;
            let name = &self.text[start..self.at];
            self.skip_blanks();
            if self.peek() == Some(b':') {
                self.at += 1;
                self.skip_blanks();
                return Some(Some(unescaped(name)));
            }
        }
        Some(None)
    }

    fn skip_value(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.skip_string(),
            b'{' | b'[' => self.skip_container(),
            _ => {
                let rest = &self.text.as_bytes()[self.at..];
                let end = rest.iter().position(|b| b",]} \t\r\n".contains(b));
                self.at += end.unwrap_or(rest.len());
                Some(())
            }
        }
    }

    fn skip_container(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.skip_string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.checked_sub(1)?,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// From the quote at the start to after the one at the end.
    fn skip_string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        Some(())
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(|byte| b" \t\r\n".contains(&byte)) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
}

/// A member's name. One that is no text has a name that nobody knows.
fn unescaped(quoted: &str) -> Cow<'_, str> {
    match quoted.contains('\\') {
        true => Cow::Owned(serde_json::from_str(quoted).unwrap_or_default()),
        false => Cow::Borrowed(&quoted[1..quoted.len() - 1]),
    }
}
