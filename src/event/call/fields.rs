//! Reads a JSON object leniently: any scalar may come as string or number,
//! under one of several names, and nothing inside can fail the whole.
//!
//! Only the outermost level is taken apart; values stay raw text until someone
//! asks. That keeps every digit of an id, ignores what is unknown at no cost,
//! and cannot overflow the stack, however deep the JSON is nested.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of one JSON object; of a name that comes twice, the last.
pub(super) struct Fields<'a>(HashMap<Cow<'a, str>, &'a RawValue>);

impl<'a> Fields<'a> {
    /// Takes one JSON object apart.
    ///
    /// # Errors
    /// The bytes are not one JSON object in UTF-8.
    pub(super) fn parse(raw: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(raw)
    }

    /// The first of `spellings` that is there and that `read` can make sense of.
    pub(super) fn first<T>(
        &self,
        spellings: &[&str],
        read: impl Fn(Cow<'a, str>) -> Option<T>,
    ) -> Option<T> {
        spellings
            .iter()
            .find_map(|name| self.0.get(*name).and_then(|value| scalar(value)).and_then(&read))
    }

    /// A text: a string or the digits of a number. Empty counts as absent.
    pub(super) fn text(&self, spellings: &[&str]) -> Option<Cow<'a, str>> {
        self.first(spellings, |text| (!text.trim().is_empty()).then_some(text))
    }

    /// The objects of an array; empty if there is no array, other elements left out.
    pub(super) fn objects(&self, name: &str) -> Vec<Fields<'a>> {
        let Some(array) = self.0.get(name) else {
            return Vec::new();
        };
        let elements: Vec<&'a RawValue> = serde_json::from_str(array.get()).unwrap_or_default();
        elements.iter().filter_map(|value| Fields::parse(value.get().as_bytes()).ok()).collect()
    }
}

/// The text of a scalar; `None` for null, objects and arrays.
fn scalar(value: &RawValue) -> Option<Cow<'_, str>> {
    let json = value.get();
    match json.as_bytes().first()? {
        b'"' => serde_json::from_str::<Text<'_>>(json).ok().map(|text| text.0),
        b'{' | b'[' | b'n' => None,
        _ => Some(Cow::Borrowed(json)),
    }
}

/// A JSON string, borrowed where it has no escapes. A lone surrogate escape,
/// which has no place in UTF-8, becomes U+FFFD instead of an error.
#[derive(PartialEq, Eq, Hash)]
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_bytes(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a string")
    }

    fn visit_borrowed_bytes<E: Error>(self, text: &'de [u8]) -> Result<Self::Value, E> {
        Ok(Text(String::from_utf8_lossy(text)))
    }

    fn visit_bytes<E: Error>(self, text: &[u8]) -> Result<Self::Value, E> {
        Ok(Text(Cow::Owned(String::from_utf8_lossy(text).into_owned())))
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = HashMap::new();
        while let Some((name, value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
            fields.insert(name.0, value);
        }
        Ok(Fields(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &str, name: &str) -> Option<String> {
        Fields::parse(json.as_bytes()).unwrap().text(&[name]).map(Cow::into_owned)
    }

    #[test]
    fn a_number_keeps_every_digit() {
        let id = "123456789012345678901234567890";
        assert_eq!(text(&format!(r#"{{"id":{id}}}"#), "id").as_deref(), Some(id));
        assert_eq!(text(r#"{"cost":0.10}"#, "cost").as_deref(), Some("0.10"));
    }

    #[test]
    fn what_is_no_scalar_counts_as_absent() {
        for value in ["null", "{}", "[1]", r#"{"a":[{}]}"#, r#""""#, r#""  ""#] {
            assert_eq!(text(&format!(r#"{{"a":{value}}}"#), "a"), None, "{value}");
        }
    }

    #[test]
    fn of_duplicate_names_the_last_wins() {
        assert_eq!(text(r#"{"a":"1","b":0,"a":"2"}"#, "a").as_deref(), Some("2"));
        assert_eq!(text(r#"{"a":"1","a":null}"#, "a"), None);
    }

    #[test]
    fn a_lone_surrogate_does_not_fail_the_rest() {
        let json = r#"{"\ud800":1,"a":"x\udc00y","b":"ok"}"#;
        assert_eq!(text(json, "b").as_deref(), Some("ok"));
        assert!(text(json, "a").unwrap().starts_with('x'));
    }

    #[test]
    fn a_string_without_escapes_is_borrowed() {
        let fields = Fields::parse(br#"{"a":"x"}"#).unwrap();
        assert!(matches!(fields.text(&["a"]), Some(Cow::Borrowed("x"))));
    }

    #[test]
    fn nesting_of_any_depth_is_skipped() {
        let depth = 1_000_000;
        let json = format!(r#"{{"x":{}{},"a":1}}"#, "[".repeat(depth), "]".repeat(depth));
        assert_eq!(text(&json, "a").as_deref(), Some("1"));
        let json =
            format!(r#"{{"call_targets":[{0}{1}],"a":1}}"#, "[".repeat(depth), "]".repeat(depth));
        assert!(Fields::parse(json.as_bytes()).unwrap().objects("call_targets").is_empty());
    }
}
