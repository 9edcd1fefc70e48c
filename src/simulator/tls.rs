//! A certificate made at start, and the TLS side that shows it.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;

use super::handle::StartError;

/// Names that the certificate is for.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A self-signed identity.
pub struct Identity {
    /// The certificate, as a client's `ca_file` takes it.
    pub pem: String,
    /// SHA-256 of the certificate's DER, in hex, as a client pins it.
    pub fingerprint: String,
    /// The server side.
    pub acceptor: TlsAcceptor,
}

impl Identity {
    /// A fresh one.
    pub fn generate() -> Result<Self, StartError> {
        let made = rcgen::generate_simple_self_signed(NAMES.map(String::from).to_vec())?;
        let der = made.cert.der().clone();
        let digest = Sha256::digest(&der);
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![der], key)?;
        Ok(Self {
            pem: made.cert.pem(),
            fingerprint: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            acceptor: TlsAcceptor::from(Arc::new(config)),
        })
    }
}
