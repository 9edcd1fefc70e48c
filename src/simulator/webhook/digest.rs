//! The client's side of Digest authentication (RFC 7616, and 2069 where the server
//! names no quality): MD5 and SHA-256. Pure: no clock, no randomness, no network.

use std::collections::HashMap;

use md5::Md5;
use sha2::{Digest, Sha256};

/// Who answers.
pub struct User<'a> {
    /// The user name.
    pub name: &'a str,
    /// The password.
    pub password: &'a str,
}

/// The value of `Authorization` for the first challenge that is understood.
pub fn answer<'a>(
    mut challenges: impl Iterator<Item = &'a str>,
    user: &User,
    method: &str,
    path: &str,
    client_nonce: &str,
) -> Option<String> {
    challenges.find_map(|challenge| answer_one(challenge, user, method, path, client_nonce))
}

fn answer_one(
    challenge: &str,
    user: &User,
    method: &str,
    path: &str,
    client_nonce: &str,
) -> Option<String> {
    let (scheme, rest) = challenge.split_once(' ')?;
    let fields = fields(rest);
    let algorithm = fields.get("algorithm").map_or("MD5", String::as_str);
    let hash: fn(&str) -> String = match algorithm.to_ascii_uppercase().as_str() {
        "MD5" => |text| hex(&Md5::digest(text)),
        "SHA-256" => |text| hex(&Sha256::digest(text)),
        _ => return None,
    };
    if !scheme.eq_ignore_ascii_case("digest") {
        return None;
    }
    let (realm, nonce) = (fields.get("realm")?, fields.get("nonce")?);
    let who = hash(&format!("{}:{realm}:{}", user.name, user.password));
    let what = hash(&format!("{method}:{path}"));
    let quality = match fields.get("qop") {
        Some(offered) if offered.split(',').any(|one| one.trim() == "auth") => Some("auth"),
        Some(_) => return None,
        None => None,
    };
    let response = match quality {
        Some(quality) => hash(&format!("{who}:{nonce}:00000001:{client_nonce}:{quality}:{what}")),
        None => hash(&format!("{who}:{nonce}:{what}")),
    };
    let mut value = format!(
        "Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{path}\", \
         algorithm={algorithm}, response=\"{response}\"",
        escaped(user.name),
        escaped(realm),
        escaped(nonce)
    );
    if quality.is_some() {
        value.push_str(&format!(", qop=auth, nc=00000001, cnonce=\"{client_nonce}\""));
    }
    if let Some(opaque) = fields.get("opaque") {
        value.push_str(&format!(", opaque=\"{}\"", escaped(opaque)));
    }
    Some(value)
}

/// `name=value, name="quoted, value"`.
fn fields(mut text: &str) -> HashMap<String, String> {
    let mut fields = HashMap::new();
    while let Some((name, after)) = text.split_once('=') {
        let name = name.trim_matches([',', ' ', '\t']).to_ascii_lowercase();
        let (value, rest) = match after.trim_start().strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let (value, rest) = after.split_once(',').unwrap_or((after, ""));
                (value.trim().into(), rest)
            }
        };
        fields.insert(name, value);
        text = rest;
    }
    fields
}

/// Up to the closing quote; and what follows it.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MUFASA: User<'static> = User { name: "Mufasa", password: "Circle of Life" };
    const NONCE: &str = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
    const CLIENT_NONCE: &str = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";

    fn challenge(algorithm: &str) -> String {
        format!(
            "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", \
             algorithm={algorithm}, nonce=\"{NONCE}\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMA\""
        )
    }

    fn answers(challenge: &str) -> String {
        let path = "/dir/index.html";
        let challenges = std::iter::once(challenge);
        answer(challenges, &MUFASA, "GET", path, CLIENT_NONCE).unwrap()
    }

    #[test]
    fn the_examples_of_rfc_7616_come_out() {
        let md5 = answers(&challenge("MD5"));
        assert!(md5.contains("response=\"8ca523f5e9506fed4657c9700eebdbec\""), "{md5}");
        let sha256 = answers(&challenge("SHA-256"));
        let response = "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1";
        assert!(sha256.contains(response), "{sha256}");
        assert!(sha256.contains("opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMA\""));
    }

    #[test]
    fn the_first_challenge_that_is_understood_is_answered() {
        let challenges =
            ["Basic realm=\"x\"", "Digest realm=\"x\", algorithm=SHA-512-256, nonce=\"n\""];
        assert_eq!(answer(challenges.into_iter(), &MUFASA, "POST", "/", "c"), None);
        let old = "digest nonce=\"n\" , realm=\"a \\\"b\\\", c\"";
        let value = answer([challenges[1], old].into_iter(), &MUFASA, "POST", "/", "c").unwrap();
        assert!(value.contains("realm=\"a \\\"b\\\", c\"") && !value.contains("qop"), "{value}");
    }
}
