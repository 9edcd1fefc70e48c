//! How the certificate of a peer is checked, and what ours is.

use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use toml::de::DeValue;

use super::section::Section;
use super::{Identity, Tls};

impl Section<'_> {
    /// How the certificate of a sink's receiver is checked: `tls = true` against the
    /// system's CAs, or as a table says. `None` is no TLS at all.
    pub fn tls(&mut self) -> Option<Tls> {
        self.tls_read_by(read)
    }

    /// The same where the receiver may want a certificate of our own.
    pub fn tls_with_identity(&mut self) -> Option<Tls> {
        self.tls_read_by(read_with_identity)
    }

    fn tls_read_by(&mut self, read: impl FnOnce(&mut Self, &str) -> Tls) -> Option<Tls> {
        if self.value("tls")?.get_ref().is_table() {
            return Some(self.table("tls", |section| read(section, "tls")));
        }
        let wanted = "true, false or a table like { ca_file = \"/PATH\" }";
        self.typed("tls", wanted, DeValue::as_bool)?.then(Tls::default)
    }
}

/// Reads `tls`; `scheme` is the URL's.
pub(super) fn read(section: &mut Section, scheme: &str) -> Tls {
    let tls = read_keys(section);
    check_together(section, &tls, scheme);
    tls
}

/// The same where a certificate of our own may be needed, too.
pub fn read_with_identity(section: &mut Section, scheme: &str) -> Tls {
    let tls = Tls { identity: identity(section), ..read_keys(section) };
    check_together(section, &tls, scheme);
    tls
}

fn read_keys(section: &mut Section) -> Tls {
    Tls {
        ca_file: ca_file(section),
        pin_sha256: section.parsed("pin_sha256", "a string of 64 hex digits", parse_pin),
        insecure_skip_verify: section.flag("insecure_skip_verify", false),
        identity: None,
    }
}

/// What contradicts or outweighs each other.
fn check_together(section: &mut Section, tls: &Tls, scheme: &str) {
    let skip = tls.insecure_skip_verify;
    let encrypted = matches!(scheme, "https" | "wss" | "tls");
    if skip && tls.pin_sha256.is_some() {
        section.problem(
            "insecure_skip_verify",
            "\"insecure_skip_verify\" would make \"pin_sha256\" useless; remove one of them",
        );
    } else if skip && encrypted {
        section.warn("insecure_skip_verify", "\"insecure_skip_verify\" accepts any certificate, so anyone on the way can read along; use pin_sha256 or ca_file");
    }
    if tls.ca_file.is_some() && (skip || tls.pin_sha256.is_some()) {
        section.warn("ca_file", "\"ca_file\" has no effect beside pin_sha256 or insecure_skip_verify; remove one of them");
    }
    if !encrypted && *tls != Tls::default() {
        let a = if scheme == "http" { "an" } else { "a" };
        section.warn_here(format!(
            "has no effect on {a} {scheme}:// URL; use {scheme}s:// or remove it"
        ));
    }
}

/// Certificate and key of our own, both or none.
pub(super) fn identity(section: &mut Section) -> Option<Identity> {
    let (cert, key) = (section.path("cert_file"), section.path("key_file"));
    let (cert_file, key_file) = match (cert, key) {
        (Some(cert_file), Some(key_file)) => (cert_file, key_file),
        (None, None) => return None,
        (cert, _) => {
            let given = if cert.is_some() { "cert_file" } else { "key_file" };
            let message = "\"cert_file\" and \"key_file\" go together; give both or none";
            section.problem(given, message);
            return None;
        }
    };
    let good = [
        ("cert_file", certificates(section, &cert_file, "your certificate")),
        // A command that needs no secrets may be run by somebody who cannot read them.
        (
            "key_file",
            if section.reads_secrets() { private_key(section, &key_file) } else { Ok(()) },
        ),
    ];
    for ((key, result), path) in good.into_iter().zip([&cert_file, &key_file]) {
        if let Err(cause) = result {
            section.problem(key, format!("\"{key}\" {}: {cause}", path.display()));
        }
    }
    Some(Identity { cert_file, key_file })
}

fn private_key(section: &Section, path: &Path) -> Result<(), String> {
    let content = section.reading.environment.read(path).map_err(|error| {
        format!("cannot be read: {error}; put its private key there, readable by the user that runs cdrd")
    })?;
    PrivateKeyDer::from_pem_slice(&content).map(|_| ()).map_err(|_| {
        "holds no private key in PEM form; it must have a line -----BEGIN PRIVATE KEY-----, and no passphrase".into()
    })
}

fn ca_file(section: &mut Section) -> Option<PathBuf> {
    let path = section.path("ca_file")?;
    match certificates(section, &path, "the CA's certificate") {
        Ok(()) => Some(path),
        Err(cause) => {
            section.problem("ca_file", format!("\"ca_file\" {}: {cause}", path.display()));
            None
        }
    }
}

fn certificates(section: &Section, path: &Path, what: &str) -> Result<(), String> {
    let content = section.reading.environment.read(path).map_err(|error| {
        format!("cannot be read: {error}; put {what} there, readable by the user that runs cdrd")
    })?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(()),
        _ => {
            Err("holds no certificate in PEM form; it must have a line -----BEGIN CERTIFICATE-----"
                .into())
        }
    }
}

/// Reads a SHA-256 fingerprint in hex, with or without colons, in any case.
fn parse_pin(text: &str) -> Result<[u8; 32], String> {
    let digits: Option<Vec<u8>> =
        text.chars().filter(|c| *c != ':').map(|c| Some(c.to_digit(16)? as u8)).collect();
    let bytes: Option<Vec<u8>> = digits
        .filter(|digits| digits.len().is_multiple_of(2))
        .map(|digits| digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect());
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| {
        "must be 64 hex digits, colons allowed; openssl x509 -noout -fingerprint -sha256 -in CERT prints them".into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_read_with_colons_and_in_any_case() {
        let plain = "0f".repeat(32);
        let colons = vec!["0F"; 32].join(":");
        assert_eq!(parse_pin(&plain), Ok([15; 32]));
        assert_eq!(parse_pin(&colons), Ok([15; 32]));
    }

    #[test]
    fn a_pin_of_another_length_or_alphabet_is_refused() {
        for text in ["", "0f", &"0".repeat(63), &"0".repeat(66), &"0g".repeat(32), &"é".repeat(64)]
        {
            assert!(parse_pin(text).is_err(), "{text:?}");
        }
    }
}
