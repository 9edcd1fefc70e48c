//! URLs of a configuration: stricter than the URL standard, which repairs and
//! guesses where an operator is better told.
//!
//! A URL can carry credentials, so no message repeats the text of one.

use std::net::{Ipv4Addr, Ipv6Addr};

use reqwest::Url;

/// Reads an absolute URL with one of `schemes`, without user info and fragment.
///
/// An error is the second half of a sentence that starts with the key.
pub fn parse(text: &str, schemes: &[&str]) -> Result<Url, String> {
    check_scheme(text, schemes)?;
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err("must not contain spaces, control characters or backslashes".to_owned());
    }
    let url = Url::parse(text)
        .map_err(|e| format!("is not a URL: {e}; write it like {}://HOST/PATH", schemes[0]))?;
    check_parts(&url)?;
    Ok(url)
}

/// Whether the text of a URL names its port; `Url` forgets one that is the scheme's own.
pub fn names_a_port(text: &str) -> bool {
    let authority = text.split_once("://").map_or(text, |(_, rest)| rest);
    let authority = authority.split(['/', '?', '#']).next().unwrap_or(authority);
    let after_host = authority.rsplit_once(']').map_or(authority, |(_, rest)| rest);
    after_host.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty())
}

/// Whether what is sent to this URL stays on this machine.
pub fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(is_loopback_host)
}

fn check_scheme(text: &str, schemes: &[&str]) -> Result<(), String> {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    if scheme.is_some_and(|scheme| schemes.contains(&scheme.as_str())) {
        return Ok(());
    }
    let starts: Vec<String> = schemes.iter().map(|scheme| format!("{scheme}://")).collect();
    Err(format!("must start with {}", starts.join(" or ")))
}

fn check_parts(url: &Url) -> Result<(), String> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not carry a user name or password; give them in their own keys".into());
    }
    if url.fragment().is_some() {
        return Err("must not have a fragment; remove the # and what follows".into());
    }
    if url.port() == Some(0) {
        return Err("has port 0, which cannot be connected to; name the real one".into());
    }
    Ok(())
}

fn is_loopback_host(host: &str) -> bool {
    let v6 = host.trim_start_matches('[').trim_end_matches(']').parse::<Ipv6Addr>();
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
        || v6.is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WSI: &[&str] = &["wss", "ws"];

    #[test]
    fn a_port_is_noticed_even_if_it_is_the_scheme_s_own() {
        assert!(names_a_port("wss://pbx.example.com:443/wsi"));
        assert!(names_a_port("wss://[::1]:8887"));
        assert!(!names_a_port("wss://[::1]/a:b"));
        assert!(!names_a_port("wss://pbx.example.com:/wsi"));
        assert!(!names_a_port("wss://pbx.example.com"));
    }

    #[test]
    fn loopback_is_told_from_the_rest() {
        let loopback = |text| is_loopback(&parse(text, WSI).unwrap());
        assert!(loopback("ws://127.0.0.1:1"));
        assert!(loopback("ws://127.8.9.1"));
        assert!(loopback("ws://[::1]:1/wsi"));
        assert!(loopback("ws://localhost"));
        assert!(!loopback("ws://pbx.example.com"));
        assert!(!loopback("ws://127.0.0.1.example.com"));
        assert!(!loopback("ws://[2001:db8::1]"));
    }

    #[test]
    fn a_refused_url_is_not_repeated() {
        for text in [
            "wss://u:hunter2@h",
            "wss://h/#hunter2",
            "wss:hunter2",
            "https://hunter2",
            "wss://h:0/hunter2",
            "wss://hun ter2",
            "wss://:1/hunter2",
        ] {
            let error = parse(text, WSI).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
