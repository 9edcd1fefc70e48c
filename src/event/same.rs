//! Whether two events say the same, as JSON values and not as bytes.
//!
//! Order of members and white space do not count. Numbers are compared by their
//! digits: ids exceed what a floating-point number can tell apart.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// Nesting that is followed; deeper values count as different unless their bytes
/// are equal. (In doubt two events are two.)
const MAX_DEPTH: usize = 64;

/// Whether `a` and `b` are the same JSON value.
pub fn same_json(a: &[u8], b: &[u8]) -> bool {
    if a == b {
        return true;
    }
    let (Ok(a), Ok(b)) = (serde_json::from_slice(a), serde_json::from_slice(b)) else {
        return false;
    };
    same(a, b, MAX_DEPTH)
}

fn same(a: &RawValue, b: &RawValue, depth: usize) -> bool {
    let (a, b) = (a.get(), b.get());
    if a == b {
        return true;
    }
    if depth == 0 {
        return false;
    }
    match (a.as_bytes().first(), b.as_bytes().first()) {
        (Some(b'{'), Some(b'{')) => same_object(a, b, depth - 1),
        (Some(b'['), Some(b'[')) => same_array(a, b, depth - 1),
        (Some(b'"'), Some(b'"')) => {
            let text = serde_json::from_str::<String>;
            matches!((text(a), text(b)), (Ok(a), Ok(b)) if a == b)
        }
        _ => false,
    }
}

fn same_object(a: &str, b: &str, depth: usize) -> bool {
    type Object<'a> = BTreeMap<String, &'a RawValue>;
    let (Ok(a), Ok(b)) = (serde_json::from_str::<Object>(a), serde_json::from_str::<Object>(b))
    else {
        return false;
    };
    a.len() == b.len()
        && a.iter().zip(&b).all(|((ka, va), (kb, vb))| ka == kb && same(va, vb, depth))
}

fn same_array(a: &str, b: &str, depth: usize) -> bool {
    type Array<'a> = Vec<&'a RawValue>;
    let (Ok(a), Ok(b)) = (serde_json::from_str::<Array>(a), serde_json::from_str::<Array>(b))
    else {
        return false;
    };
    a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| same(a, b, depth))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_white_space_do_not_count() {
        assert!(same_json(
            br#"{"a":1,"b":["x",{"c":null}]}"#,
            b"{ \"b\": [\"x\", {\"c\" : null}], \"a\":1 }"
        ));
        assert!(same_json(br#"{"a":"\u0041"}"#, br#"{"a":"A"}"#));
    }

    #[test]
    fn values_digits_and_types_count() {
        for (a, b) in [
            (r#"{"a":1}"#, r#"{"a":"1"}"#),
            (r#"{"a":90071992547409931}"#, r#"{"a":90071992547409932}"#),
            (r#"{"a":1}"#, r#"{"a":1,"b":2}"#),
            (r#"[1,2]"#, r#"[2,1]"#),
            (r#"{"a":null}"#, r#"{}"#),
        ] {
            assert!(!same_json(a.as_bytes(), b.as_bytes()), "{a} {b}");
        }
    }

    #[test]
    fn deep_values_count_as_different_and_overflow_nothing() {
        let nest = |n: usize, space: &str| {
            format!("{}{space}{}", "[".repeat(n), "]".repeat(n)).into_bytes()
        };
        assert!(same_json(&nest(40, ""), &nest(40, " ")));
        assert!(!same_json(&nest(100_000, ""), &nest(100_000, " ")));
    }
}
