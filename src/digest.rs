//! Digest authentication (RFC 7616): reading a challenge, computing the answer; and
//! the other side of it, reading an answer and computing what it should be.
//! Pure: no clock, no randomness, no network.
//!
//! Known are MD5, SHA-256 and SHA-512-256, each with `-sess`, quality `auth` and,
//! for old servers, none (RFC 2069); of several challenges the strongest is taken.
//! `auth-int` alone is not: it would hash every body twice for what TLS does better.

use md5::Md5;
use sha2::digest::{Digest, Output};
use sha2::{Sha256, Sha512_256};

/// What a server asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    algorithm: Algorithm,
    /// The algorithm in the server's spelling; `None` if it named none.
    spelling: Option<String>,
    session: bool,
    realm: String,
    /// The server's token, which makes each answer good for a while only.
    pub nonce: String,
    opaque: Option<String>,
    quality: bool,
    userhash: bool,
    /// The nonce was too old, the password was right.
    pub stale: bool,
}

/// From weak to strong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// What everybody knows.
    Md5,
    /// What everybody should know.
    Sha256,
    /// SHA-512/256.
    Sha512Of256,
}

impl Algorithm {
    fn hash(self, text: &str) -> String {
        match self {
            Self::Md5 => hex::<Md5>(&Md5::digest(text)),
            Self::Sha256 => hex::<Sha256>(&Sha256::digest(text)),
            Self::Sha512Of256 => hex::<Sha512_256>(&Sha512_256::digest(text)),
        }
    }
}

/// One request, and who sends it.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// `POST`.
    pub method: &'a str,
    /// Path and query.
    pub uri: &'a str,
    /// User name.
    pub username: &'a str,
    /// Password.
    pub password: &'a str,
    /// A random token of ours.
    pub cnonce: &'a str,
    /// How often the nonce was used, this time included.
    pub count: u32,
}

impl Challenge {
    /// The strongest challenge that we can answer, of all `WWW-Authenticate` headers.
    pub fn strongest<'a>(headers: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let all = headers.into_iter().flat_map(split).filter_map(|fields| Self::from(&fields));
        // The first of equals, as the server ordered them.
        all.reduce(|best, next| if next.algorithm > best.algorithm { next } else { best })
    }

    fn from(fields: &Fields) -> Option<Self> {
        if !fields.scheme.eq_ignore_ascii_case("digest") {
            return None;
        }
        let get = |name: &str| fields.params.iter().find(|(n, _)| n == name).map(|(_, v)| v);
        let is_true = |name| get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let spelling = get("algorithm").cloned();
        let (algorithm, session) = algorithm(spelling.as_deref().unwrap_or("MD5"))?;
        let quality = match get("qop") {
            None => false,
            Some(offered) => {
                offered.split(',').any(|q| q.trim().eq_ignore_ascii_case("auth")).then_some(true)?
            }
        };
        Some(Self {
            algorithm,
            spelling,
            session,
            realm: get("realm")?.clone(),
            nonce: get("nonce")?.clone(),
            opaque: get("opaque").cloned(),
            quality,
            userhash: is_true("userhash"),
            stale: is_true("stale"),
        })
    }

    /// The value of `Authorization`. It holds no secret that could be read back.
    pub fn answer(&self, asked: Asked) -> String {
        let Asked { username, cnonce, .. } = asked;
        let shown = match self.userhash {
            true => self.algorithm.hash(&format!("{username}:{}", self.realm)),
            false => username.to_owned(),
        };
        let mut answer = format!(
            "Digest username={}, realm={}, uri={}, nonce={}, response=\"{}\"",
            quoted(&shown),
            quoted(&self.realm),
            quoted(asked.uri),
            quoted(&self.nonce),
            self.response(asked),
        );
        let mut add = |name: &str, value: &str| answer.push_str(&format!(", {name}={value}"));
        if let Some(spelling) = &self.spelling {
            add("algorithm", spelling);
        }
        if let Some(opaque) = &self.opaque {
            add("opaque", &quoted(opaque));
        }
        if self.quality {
            add("qop", "auth");
            add("nc", &format!("{:08x}", asked.count));
        }
        if self.quality || self.session {
            add("cnonce", &quoted(cnonce));
        }
        if self.userhash {
            add("userhash", "true");
        }
        answer
    }

    fn response(&self, asked: Asked) -> String {
        let hash = |text: String| self.algorithm.hash(&text);
        let Asked { method, uri, username, password, cnonce, count } = asked;
        let nonce = &self.nonce;
        let mut who = hash(format!("{username}:{}:{password}", self.realm));
        if self.session {
            who = hash(format!("{who}:{nonce}:{cnonce}"));
        }
        let what = hash(format!("{method}:{uri}"));
        match self.quality {
            true => hash(format!("{who}:{nonce}:{count:08x}:{cnonce}:auth:{what}")),
            false => hash(format!("{who}:{nonce}:{what}")),
        }
    }
}

/// An answer, as the server reads it: `Authorization: Digest …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The user name.
    pub username: String,
    /// For which URI.
    pub uri: String,
    /// Our token.
    pub nonce: String,
    /// How often the nonce was used, as the client counts.
    pub count: u32,
    cnonce: String,
    realm: String,
    algorithm: Algorithm,
    response: String,
}

impl Answer {
    /// Reads an answer of quality `auth`; others are none.
    pub fn read(header: &str) -> Option<Self> {
        let all = split(header);
        let [fields] = all.as_slice() else { return None };
        let get = |name: &str| fields.params.iter().find(|(n, _)| n == name).map(|(_, v)| v);
        let (algorithm, session) = algorithm(get("algorithm").map_or("MD5", String::as_str))?;
        let known = fields.scheme.eq_ignore_ascii_case("digest") && !session;
        let answer = Self {
            username: get("username")?.clone(),
            uri: get("uri")?.clone(),
            nonce: get("nonce")?.clone(),
            count: u32::from_str_radix(get("nc")?, 16).ok()?,
            cnonce: get("cnonce")?.clone(),
            realm: get("realm")?.clone(),
            algorithm,
            response: get("response")?.to_ascii_lowercase(),
        };
        (known && get("qop")?.eq_ignore_ascii_case("auth")).then_some(answer)
    }

    /// What the client says that it should be, and what it should be.
    pub fn responses(&self, method: &str, realm: &str, password: &str) -> (&str, String) {
        let challenge = Challenge {
            algorithm: self.algorithm,
            spelling: None,
            session: false,
            realm: realm.to_owned(),
            nonce: self.nonce.clone(),
            opaque: None,
            quality: true,
            userhash: false,
            stale: false,
        };
        let expected = challenge.response(Asked {
            method,
            uri: &self.uri,
            username: &self.username,
            password,
            cnonce: &self.cnonce,
            count: self.count,
        });
        (&self.response, expected)
    }
}

fn algorithm(word: &str) -> Option<(Algorithm, bool)> {
    let word = word.to_ascii_lowercase();
    let (name, session) = match word.strip_suffix("-sess") {
        Some(name) => (name, true),
        None => (word.as_str(), false),
    };
    let algorithm = match name {
        "md5" => Algorithm::Md5,
        "sha-256" => Algorithm::Sha256,
        "sha-512-256" => Algorithm::Sha512Of256,
        _ => return None,
    };
    Some((algorithm, session))
}

fn hex<D: Digest>(hash: &Output<D>) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// One challenge: `scheme name=value, name="value", …`.
struct Fields {
    scheme: String,
    params: Vec<(String, String)>,
}

/// The challenges of one header: several may follow each other, parted by commas as
/// their parameters are (RFC 9110, section 11.6.1). What begins with a word and no
/// `=` after it begins a challenge.
fn split(header: &str) -> Vec<Fields> {
    let mut all: Vec<Fields> = Vec::new();
    let mut rest = header.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let after = after.trim_start_matches([' ', '\t']);
        match (after.strip_prefix('='), all.last_mut()) {
            (Some(value), Some(fields)) => {
                let (value, left) = value_of(value.trim_start_matches([' ', '\t']));
                fields.params.push((word.to_ascii_lowercase(), value));
                rest = left;
            }
            // A parameter of nothing.
            (Some(_), None) => return all,
            (None, _) => {
                all.push(Fields { scheme: word.to_owned(), params: Vec::new() });
                rest = after;
            }
        }
        rest = rest.trim_start_matches([' ', '\t', ',']);
    }
    all
}

/// A token or a quoted string, and what follows it.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (token, rest) = text.split_at(text.find([',', ' ', '\t']).unwrap_or(text.len()));
        return (token.to_owned(), rest);
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (at, c) in quoted.char_indices() {
        match c {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => return (value, &quoted[at + 1..]),
            c => {
                value.push(c);
                escaped = false;
            }
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests;
