//! Signed requests as Standard Webhooks 1.0 describes them: a receiver that knows
//! the secret can tell that the body is ours, whole, and not an old one sent again.
//!
//! `webhook-signature` is `v1,` and the base64 of an HMAC-SHA256 over
//! `ID.TIMESTAMP.BODY`. While a secret is being changed there are two of them, and a
//! signature by each, parted by a blank.

use std::fmt;

use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, Engine as _};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use sha2::Sha256;

/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// Bytes of the shortest secret that the specification recommends.
pub const RECOMMENDED: usize = 24;

/// Headers that are ours when requests are signed.
pub const HEADERS: [&str; 3] = ["webhook-id", "webhook-timestamp", "webhook-signature"];

/// A secret that signs.
#[derive(Clone)]
pub struct Key {
    state: Hmac<Sha256>,
    /// Bytes.
    pub length: usize,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Key {
    /// Reads `whsec_` and base64; like the specification's own libraries also without
    /// the prefix. Anything else is refused rather than taken as the bytes themselves:
    /// the receiver would decode it, and no signature would ever match.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const NONE: &str = "must be \"whsec_\" and base64, as the receiver's side shows it; \
                            to make one: echo whsec_$(openssl rand -base64 32)";
        let text = text.trim();
        let code = text.strip_prefix(PREFIX).unwrap_or(text);
        let bytes = BASE64_STANDARD.decode(code).or_else(|_| BASE64_STANDARD_NO_PAD.decode(code));
        let bytes = bytes.ok().filter(|bytes| !bytes.is_empty()).ok_or(NONE)?;
        let state = Hmac::new_from_slice(&bytes).expect("HMAC takes keys of any length");
        Ok(Self { state, length: bytes.len() })
    }

    fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut state = self.state.clone();
        state.update(format!("{id}.{timestamp}.").as_bytes());
        state.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(state.finalize().into_bytes()))
    }
}

/// Adds the headers of a request that is sent at `timestamp` (Unix seconds), if
/// there are keys.
pub fn sign(headers: &mut HeaderMap, keys: &[Key], id: &str, timestamp: i64, body: &[u8]) {
    if keys.is_empty() {
        return;
    }
    let signatures: Vec<_> = keys.iter().map(|key| key.sign(id, timestamp, body)).collect();
    let values = [id.to_owned(), timestamp.to_string(), signatures.join(" ")];
    for (name, value) in HEADERS.into_iter().zip(values) {
        let value = HeaderValue::try_from(value).expect("ids, numbers and base64 are ASCII");
        headers.insert(HeaderName::from_static(name), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector that the specification's own libraries test themselves with.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const AT: i64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    #[test]
    fn the_published_vector_comes_out_with_and_without_prefix() {
        for secret in [SECRET, &SECRET[PREFIX.len()..], &format!(" {SECRET}\n")] {
            let key = Key::parse(secret).unwrap();
            assert_eq!((key.sign(ID, AT, BODY).as_str(), key.length), (SIGNATURE, 24));
        }
    }

    #[test]
    fn several_secrets_sign_side_by_side() {
        let keys = [Key::parse(SECRET).unwrap(), Key::parse("whsec_b3RoZXI=").unwrap()];
        let mut headers = HeaderMap::new();
        sign(&mut headers, &keys, ID, AT, BODY);
        assert_eq!(headers["webhook-id"], ID);
        assert_eq!(headers["webhook-timestamp"], "1614265330");
        let (first, second) =
            headers["webhook-signature"].to_str().unwrap().split_once(' ').unwrap();
        assert_eq!(first, SIGNATURE);
        assert!(second.starts_with("v1,") && second != first);
    }

    #[test]
    fn padding_may_be_missing_and_other_text_is_no_secret() {
        assert_eq!(Key::parse("whsec_b3RoZXI").unwrap().length, 5);
        for text in ["", "whsec_", "hunter 2", "whsk_b3RoZXI=", "whsec_b3R=oZXI"] {
            assert!(Key::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_key_is_masked_in_debug_output() {
        assert_eq!(format!("{:?}", Key::parse(SECRET).unwrap()), "***");
    }
}
