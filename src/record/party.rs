//! Numbers, SIP URIs and trunk names, reduced to what people and billing use.

use std::borrow::Cow;

/// What a `caller`, `callee` or `destination` says. Empty parts are `None`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Party<'a> {
    /// The number, `+` and leading zeros kept, or the user name of a SIP URI.
    pub number: Option<Cow<'a, str>>,
    /// Host of a SIP URI, without port.
    pub domain: Option<&'a str>,
    /// Display name of the form `"Name" <sip:…>`.
    pub name: Option<Cow<'a, str>>,
}

impl<'a> Party<'a> {
    /// Takes apart `102`, `sip:102@test.io;transport=tcp` or `"Ann" <sips:102@test.io>;tag=1`.
    pub(super) fn read(text: &'a str) -> Self {
        let text = text.trim();
        let Some((name, uri)) = bracketed(text) else {
            return address(text);
        };
        let name = name.trim().trim_matches('"').trim();
        let name = (!name.is_empty()).then(|| Cow::Owned(name.replace("\\\"", "\"")));
        Party { name, ..address(uri.trim()) }
    }
}

/// Name and address of the form `"Name" <sip:…>;tag=…`.
fn bracketed(text: &str) -> Option<(&str, &str)> {
    let quoted = end_of_quoted(text);
    let at = quoted + text[quoted..].find('<')?;
    let (name, rest) = (&text[..at], &text[at + 1..]);
    Some((name, rest.split_once('>').map_or(rest, |(uri, _)| uri)))
}

/// Where a quoted text at the front ends, so that a `<` inside of it begins no address
/// (RFC 3261, 25.1: a quote inside is escaped); 0 if there is none.
fn end_of_quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' if at == 0 => {}
            _ if at == 0 => return 0,
            b'"' if !escaped => return at + 1,
            _ => escaped = byte == b'\\' && !escaped,
        }
    }
    0
}

/// The address alone, without a display name.
pub(super) fn without_name(text: &str) -> &str {
    bracketed(text.trim()).map_or(text, |(_, uri)| uri.trim())
}

/// A URI (`sip:`, `sips:`, `tel:`), `user@host`, or a bare number, which stays as it is.
fn address(text: &str) -> Party<'_> {
    let uri = without_scheme(text);
    let (user, host) = match uri.unwrap_or(text).split_once('@') {
        Some((user, host)) => (user, Some(host)),
        None if uri.is_none() => return Party { number: present(text.into()), ..Party::default() },
        None => (uri.unwrap_or(text), None),
    };
    // User parameters (`;phone-context=…`) and a password (`:…`) are no part of the number.
    let user = user.split([';', ':', '?']).next().unwrap_or_default();
    Party { number: present(percent_decoded(user)), domain: host.and_then(domain), name: None }
}

fn without_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once(':')?;
    ["sip", "sips", "tel"].iter().any(|known| scheme.eq_ignore_ascii_case(known)).then_some(rest)
}

/// The host before port, parameters and headers; an IPv6 address keeps its brackets.
fn domain(host: &str) -> Option<&str> {
    let end = match host.starts_with('[') {
        true => host.find(']').map_or(host.len(), |end| end + 1),
        false => host.find([':', ';', '?', '>', '/']).unwrap_or(host.len()),
    };
    (end > 0).then(|| &host[..end])
}

/// `%2B49` means `+49`; what is not a valid escape stays as it is.
fn percent_decoded(user: &str) -> Cow<'_, str> {
    if !user.contains('%') {
        return Cow::Borrowed(user);
    }
    let mut bytes = Vec::with_capacity(user.len());
    let mut rest = user.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let code = code.filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| first == b'%') {
            Some(byte) => (bytes.push(byte), rest = &tail[2..]),
            None => (bytes.push(first), rest = tail),
        };
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(user), Cow::Owned)
}

fn present(text: Cow<'_, str>) -> Option<Cow<'_, str>> {
    (!text.is_empty()).then_some(text)
}

/// The trunk's name: `name:id` loses its id. A colon elsewhere belongs to the name.
pub(super) fn trunk(text: &str) -> &str {
    let text = text.trim();
    match text.rsplit_once(':') {
        Some((name, id)) if is_digits(id) && !name.is_empty() => name,
        _ => text,
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Whether a text can be dialled: digits, with `+`, `*`, `#`.
pub(super) fn is_dialable(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b"+*#".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (Option<String>, Option<String>, Option<String>) {
        let party = Party::read(text);
        (
            party.number.map(Cow::into_owned),
            party.domain.map(str::to_owned),
            party.name.map(Cow::into_owned),
        )
    }

    #[test]
    fn numbers_keep_their_plus_and_zeros() {
        for number in
            ["102", "+493012345", "0049 30 12345", "anonymous", "*97", "#31#", "a:b", "x;y"]
        {
            assert_eq!(parts(number), (Some(number.to_owned()), None, None), "{number}");
        }
    }

    #[test]
    fn a_bracket_inside_of_a_quoted_name_begins_no_address() {
        let expected = (Some("102".to_owned()), Some("test.io".to_owned()));
        let (number, domain, name) = parts(r#""A \"<b>\" <c" <sip:102@test.io>"#);
        assert_eq!(((number, domain), name.as_deref()), (expected, Some(r#"A "<b>" <c"#)));
        assert_eq!(without_name(r#""A <b" <sip:102@test.io>;tag=1"#), "sip:102@test.io");
        assert_eq!(without_name("Ann <102>"), "102");
        assert_eq!(without_name("sip:102@test.io"), "sip:102@test.io");
        assert_eq!(parts("\"no end <102>").0.as_deref(), Some("102"));
    }

    #[test]
    fn sip_uris_give_number_and_domain() {
        for uri in [
            "sip:102@test.io",
            "SIPS:102@test.io",
            "102@test.io",
            "sip:102@test.io:5066",
            "sip:102@test.io;transport=tcp",
            "<sip:102@test.io>;tag=a@b",
            "sip:102;x=y@test.io?h=1",
            "sip:102:secret@test.io",
            " <sip:102@test.io> ",
        ] {
            let expected = (Some("102".to_owned()), Some("test.io".to_owned()), None);
            assert_eq!(parts(uri), expected, "{uri}");
        }
        assert_eq!(parts("sip:1@[2001:db8::1]:5060").1.as_deref(), Some("[2001:db8::1]"));
        assert_eq!(parts("sip:%2B4930@x").0.as_deref(), Some("+4930"));
        assert_eq!(parts("sip:5%zz%4@x").0.as_deref(), Some("5%zz%4"));
        assert_eq!(parts("tel:+4930;ext=1").0.as_deref(), Some("+4930"));
        assert_eq!(parts("sip:102"), (Some("102".to_owned()), None, None));
        assert_eq!(parts("sip:@test.io"), (None, Some("test.io".to_owned()), None));
        assert_eq!(parts(""), (None, None, None));
        assert_eq!(parts("sip:"), (None, None, None));
    }

    #[test]
    fn a_name_before_the_uri_is_kept() {
        let expected =
            (Some("102".to_owned()), Some("test.io".to_owned()), Some("Ann \"A\" Lee".to_owned()));
        assert_eq!(parts(r#""Ann \"A\" Lee" <sip:102@test.io>;tag=1"#), expected);
    }

    #[test]
    fn a_trunk_loses_its_id_and_no_other_colon() {
        for (text, name) in [
            ("AudioCodes:735294839", "AudioCodes"),
            ("AudioCodes", "AudioCodes"),
            ("east: backup", "east: backup"),
            ("east: backup:12", "east: backup"),
            (":12", ":12"),
            ("a:", "a:"),
            ("a:1x", "a:1x"),
            (" a ", "a"),
        ] {
            assert_eq!(trunk(text), name);
        }
    }
}
