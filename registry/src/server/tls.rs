//! TLS: the certificate chain and key of a server, read again when their files change.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use samebundle_spec::limits;
use tokio_rustls::TlsAcceptor;

use super::fresh::Fresh;
use crate::{StoreError, durable};

/// A certificate chain and its key. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tls(Arc<Fresh<CertifiedKey>>);

fn read_file(path: &Path) -> Result<Vec<u8>, StoreError> {
    durable::read_named(path, limits::CERTIFICATES_BYTES).map_err(StoreError::io("read", path))
}

/// Reads `[certificates, key]`.
fn read(paths: &[PathBuf]) -> Result<CertifiedKey, StoreError> {
    let [certificates, key] = paths else {
        return Err(StoreError::Invalid {
            subject: "the files of TLS".to_owned(),
            why: "there must be two".to_owned(),
        });
    };
    let invalid = |path: &Path, why: String| StoreError::Invalid {
        subject: path.display().to_string(),
        why,
    };
    let bytes = read_file(certificates)?;
    let chain = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| invalid(certificates, error.to_string()))?;
    if chain.is_empty() {
        return Err(invalid(certificates, "it holds no certificate in PEM".to_owned()));
    }
    let bytes = zeroize::Zeroizing::new(read_file(key)?);
    let private = PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        invalid(
            key,
            "it holds no private key in PEM without a passphrase".to_owned(),
        )
    })?;
    // Also tells whether the key is that of the first certificate.
    CertifiedKey::from_der(chain, private, &ring::default_provider())
        .map_err(|error| invalid(key, error.to_string()))
}

impl Tls {
    /// Reads a chain (PEM, the server's own certificate first) and the key of its first certificate (PEM: PKCS#8, SEC1 or
    /// PKCS#1).
    ///
    /// # Errors
    /// [`StoreError::Path`]; [`StoreError::Invalid`] if they do not have the expected format or do not belong together.
    pub fn open(certificates: &Path, key: &Path) -> Result<Self, StoreError> {
        let fresh = Fresh::open(
            "the certificate and its key",
            vec![certificates.to_owned(), key.to_owned()],
            read,
        )?;
        Ok(Self(Arc::new(fresh)))
    }

    pub(super) fn acceptor(&self) -> Result<TlsAcceptor, StoreError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| StoreError::Invalid {
                subject: "the TLS settings".to_owned(),
                why: error.to_string(),
            })?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(self.clone()));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

impl ResolvesServerCert for Tls {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.get())
    }
}
