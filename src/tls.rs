//! TLS for every client and server of the program: rustls with ring, the system's roots, and
//! answers to self-signed PBXs that do not switch security off.
//!
//! - nothing set: the system's roots, chain and name checked;
//! - `ca_file`: only the CAs of that file, chain and name checked;
//! - `pin_sha256`: exactly that certificate, whatever its chain, name and dates;
//! - `insecure_skip_verify`: anything, with a warning at every connect.
//!
//! Where the peer asks who we are, `cert_file` and `key_file` tell it.
//!
//! A certificate that is refused is told with its fingerprint, so that an
//! administrator who knows it to be right can pin it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};
use sha2::{Digest, Sha256};
use tracing::warn;

use crate::config::{Identity, Tls};

/// TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetupError {
    /// The CA file cannot be used.
    #[error("ca_file {path}: {reason}; it must hold CA certificates in PEM form")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The system has no roots.
    #[error(
        "no CA certificates on this system ({0}); install the package ca-certificates, or set tls.ca_file or tls.pin_sha256"
    )]
    NoRoots(String),
    /// Our certificate cannot be used.
    #[error("cert_file {cert_file}, key_file {key_file}: {reason}")]
    Identity {
        /// The certificate's file.
        cert_file: PathBuf,
        /// The key's file.
        key_file: PathBuf,
        /// Why.
        reason: String,
    },
    /// rustls refuses the combination.
    #[error("TLS: {0}")]
    Rustls(#[from] Error),
}

/// [`client_config`] for the receiver of a sink, off the async threads: reading the system's
/// roots takes milliseconds.
///
/// # Errors
/// What [`client_config`] says, as an error of the connection.
pub async fn client_config_of_sink(sink: &str, tls: &Tls) -> io::Result<Arc<ClientConfig>> {
    if tls.insecure_skip_verify && tls.pin_sha256.is_none() {
        warn!(
            sink,
            "insecure_skip_verify: anybody in between can read the calls; use tls.pin_sha256"
        );
    }
    let tls = tls.clone();
    let config = tokio::task::spawn_blocking(move || client_config(&tls)).await;
    config.map_err(io::Error::other)?.map_err(io::Error::other)
}

/// The client configuration for a peer.
pub fn client_config(tls: &Tls) -> Result<Arc<ClientConfig>, TlsSetupError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = verifier(tls, &provider)?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let config = match &tls.identity {
        None => config.with_no_client_auth(),
        Some(identity) => {
            let unusable = |reason: String| TlsSetupError::Identity {
                cert_file: identity.cert_file.clone(),
                key_file: identity.key_file.clone(),
                reason,
            };
            let (chain, key) = load(identity).map_err(|e| unusable(e.to_string()))?;
            config.with_client_auth_cert(chain, key).map_err(|e| unusable(pair(&e)))?
        }
    };
    Ok(Arc::new(config))
}

/// The server configuration of those who listen with this certificate.
pub fn server_config(identity: &Identity) -> Result<Arc<ServerConfig>, TlsSetupError> {
    let unusable = |reason: String| TlsSetupError::Identity {
        cert_file: identity.cert_file.clone(),
        key_file: identity.key_file.clone(),
        reason,
    };
    let (chain, key) = load(identity).map_err(|e| unusable(e.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|e| unusable(pair(&e)))?;
    Ok(Arc::new(config))
}

/// Our certificate with those that lead to its CA, and its key.
fn load(
    identity: &Identity,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), pem::Error> {
    let chain: Result<Vec<_>, _> = certificates(&identity.cert_file)?.collect();
    Ok((chain?, PrivateKeyDer::from_pem_file(&identity.key_file)?))
}

fn certificates(
    path: &Path,
) -> Result<impl Iterator<Item = Result<CertificateDer<'static>, pem::Error>>, pem::Error> {
    CertificateDer::pem_file_iter(path)
}

/// Why certificate and key do not go together.
fn pair(error: &Error) -> String {
    match error {
        Error::InconsistentKeys(_) => "the key is not the certificate's".to_owned(),
        other => other.to_string(),
    }
}

/// SHA-256 of a certificate in DER form, as lower-case hex.
pub fn fingerprint(certificate: &[u8]) -> String {
    Sha256::digest(certificate).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn verifier(tls: &Tls, provider: &Arc<CryptoProvider>) -> Result<Verifier, TlsSetupError> {
    let judge = if let Some(pin) = tls.pin_sha256 {
        Judge::Pin(pin)
    } else if tls.insecure_skip_verify {
        Judge::Anything
    } else {
        let roots = Arc::new(roots(tls)?);
        let chain = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider))
            .build()
            .map_err(|e| TlsSetupError::NoRoots(e.to_string()))?;
        Judge::Chain(chain)
    };
    Ok(Verifier { judge, provider: Arc::clone(provider) })
}

fn roots(tls: &Tls) -> Result<RootCertStore, TlsSetupError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = &tls.ca_file else {
        let system = rustls_native_certs::load_native_certs();
        // Some systems carry one odd certificate among a hundred good ones.
        let (good, _odd) = roots.add_parsable_certificates(system.certs);
        if good == 0 {
            let why = system.errors.first().map_or("none found".to_owned(), ToString::to_string);
            return Err(TlsSetupError::NoRoots(why));
        }
        return Ok(roots);
    };
    let unusable = |reason: String| TlsSetupError::CaFile { path: path.clone(), reason };
    for certificate in certificates(path).map_err(|e| unusable(e.to_string()))? {
        let certificate = certificate.map_err(|e| unusable(e.to_string()))?;
        roots.add(certificate).map_err(|e| unusable(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable("holds no certificate".to_owned()));
    }
    Ok(roots)
}

#[derive(Debug)]
enum Judge {
    Chain(Arc<WebPkiServerVerifier>),
    Pin([u8; 32]),
    Anything,
}

#[derive(Debug)]
struct Verifier {
    judge: Judge,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.judge {
            Judge::Anything => {
                warn!(server = %server_name.to_str(), "insecure_skip_verify: anybody in between can read along; use tls.pin_sha256");
                Ok(ServerCertVerified::assertion())
            }
            Judge::Pin(pin) if Sha256::digest(end_entity)[..] == pin[..] => {
                Ok(ServerCertVerified::assertion())
            }
            Judge::Pin(_) => Err(Error::General(format!(
                "the server's certificate is not the pinned one; its SHA-256 is {}. If the server \
                 got a new certificate, set tls.pin_sha256 to it",
                fingerprint(end_entity)
            ))),
            Judge::Chain(chain) => chain
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
                .map_err(|e| explain(&e, end_entity)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What is wrong with the certificate, and what can be done about it.
fn explain(error: &Error, certificate: &CertificateDer<'_>) -> Error {
    let what = match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "the server's certificate is signed by nobody that this system trusts (self-signed, or a private CA)".to_owned()
        }
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "the server's certificate has expired".to_owned(),
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "the server's certificate is for another name than the URL's".to_owned(),
        other => other.to_string(),
    };
    Error::General(format!(
        "{what}; if it is the right one, set tls.ca_file to its CA, or tls.pin_sha256 = \"{}\"",
        fingerprint(certificate)
    ))
}
