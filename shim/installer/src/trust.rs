//! TLS by the certificates of one installation's CA.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// Why the CA is of no use.
#[derive(Debug, thiserror::Error)]
#[error("CA {path}: {message}", path = path.display())]
pub(crate) struct TrustError {
    path: PathBuf,
    message: String,
}

/// What believes the certificates of the CA in this PEM file, and no other.
pub(crate) fn trust(ca: &Path) -> Result<ClientConfig, TrustError> {
    let bad = |error: &dyn std::fmt::Display| TrustError { path: ca.to_owned(), message: error.to_string() };
    let pem = std::fs::read(ca).map_err(|error| bad(&error))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate.map_err(|error| bad(&error))?).map_err(|error| bad(&error))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(config.map_err(|error| bad(&error))?.with_root_certificates(roots).with_no_client_auth())
}
