//! Trust in TLS certificates, and errors of TLS in plain words.
//!
//! Authorities are the system's (or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name), and in addition those of the
//! registry's own folder ([`certificates_of`](super::network::certificates_of)): `*.crt` are authorities that are
//! trusted, pairs `NAME.cert` and `NAME.key` are client certificates. A certificate that is itself one of the trusted
//! ones is accepted although it claims to be an authority's, because `openssl req -x509` makes certificates of servers
//! like that.
//!
//! A file or folder without certificates is not an error by itself, because another may have them; it is reported with the
//! error when no authority vouches for a registry ([`Trusted::complaints`]).

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore};
use rustls::{Error as TlsError, SignatureScheme};
use samebundle_spec::limits;
use zeroize::Zeroizing;

use crate::durable;

/// How many of a certificate's names an error shows.
const NAMES_SHOWN: usize = 4;

/// A client certificate and its key.
type Identity = (Vec<CertificateDer<'static>>, Arc<PrivateKeyDer<'static>>);

/// The trusted authorities, and the client certificate.
#[derive(Clone, Debug, Default)]
pub(super) struct Trusted {
    anchors: Vec<CertificateDer<'static>>,
    identity: Option<Identity>,
    /// The paths where no authorities were found.
    pub(super) complaints: Vec<String>,
}

impl Trusted {
    /// The authorities of the system.
    pub(super) fn by_system() -> Self {
        if let Some(complaint) = unfit_by_environment() {
            return Self {
                complaints: vec![complaint],
                ..Self::default()
            };
        }
        let found = rustls_native_certs::load_native_certs();
        let mut complaints: Vec<_> = found.errors.iter().map(with_cause).collect();
        if found.certs.is_empty() && complaints.is_empty() {
            let why = "neither the system nor SSL_CERT_FILE or SSL_CERT_DIR names an authority (a certificate in PEM)";
            complaints.push(why.to_owned());
        }
        Self {
            anchors: found.certs,
            identity: None,
            complaints,
        }
    }

    /// The same, and the certificates in the folder of a registry.
    ///
    /// # Errors
    /// If a certificate or key of the folder cannot be read.
    pub(super) fn with_folder(&self, folder: &Path) -> Result<Self, String> {
        let mut trusted = self.clone();
        let listed = std::fs::read_dir(folder).map_err(|error| named(folder, &error))?;
        let mut files: Vec<PathBuf> = listed.flatten().map(|entry| entry.path()).collect();
        files.sort();
        for path in &files {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => trusted.anchors.extend(certificates(path)?),
                Some("cert") => {
                    let key = path.with_extension("key");
                    let bytes = durable::read_named(&key, limits::CERTIFICATES_BYTES);
                    let bytes = Zeroizing::new(bytes.map_err(|error| named(&key, &error))?);
                    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| named(&key, &error))?;
                    trusted.identity = Some((certificates(path)?, Arc::new(key)));
                }
                Some("key") => {}
                _ => trusted.complaints.push(format!(
                    "{} is not read: authorities are files whose name ends in .crt",
                    path.display()
                )),
            }
        }
        Ok(trusted)
    }

    /// The client's side of TLS.
    ///
    /// # Errors
    /// If a certificate is not valid, or does not fit its key.
    pub(super) fn config(self) -> Result<ClientConfig, String> {
        let provider = CryptoProvider::get_default().ok_or("the process has no TLS provider")?;
        let mut roots = RootCertStore::empty();
        // An authority that cannot be read is skipped.
        roots.add_parsable_certificates(self.anchors.iter().cloned());
        let inner = match roots.is_empty() {
            true => None,
            false => {
                let built =
                    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
                        .build();
                Some(built.map_err(|error| error.to_string())?)
            }
        };
        let verifier = Verifier {
            inner,
            anchors: self.anchors,
            provider: Arc::clone(provider),
        };
        let config = ClientConfig::builder_with_provider(Arc::clone(provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match self.identity {
            None => config.with_no_client_auth(),
            Some((chain, key)) => config
                .with_client_auth_cert(chain, key.clone_key())
                .map_err(|error| format!("the client certificate: {error}"))?,
        };
        config.alpn_protocols = vec!["h2".into(), "http/1.1".into()];
        Ok(config)
    }
}

/// Says why the file that `SSL_CERT_FILE` names is not read: it would be read whole, whatever it is. One that is absent is
/// reported by whoever reads it.
#[expect(
    clippy::disallowed_methods,
    reason = "what reads the system's authorities takes the variable from the environment as well"
)]
fn unfit_by_environment() -> Option<String> {
    let path = PathBuf::from(std::env::var_os("SSL_CERT_FILE")?);
    let found = std::fs::metadata(&path).ok()?;
    let fits = found.is_file() && found.len() <= limits::CERTIFICATES_BYTES;
    let most = limits::CERTIFICATES_BYTES;
    let why = format!("SSL_CERT_FILE has to name a regular file of at most {most} bytes");
    (!fits).then(|| named(&path, &why))
}

/// Reads certificates: PEM, or one in DER.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = durable::read_named(path, limits::CERTIFICATES_BYTES).map_err(|error| named(path, &error))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| named(path, &error))?;
    match found.is_empty() {
        false => Ok(found),
        true => Err(named(
            path,
            &"it holds no certificate in PEM; one in DER becomes so by `openssl x509 -inform der`",
        )),
    }
}

fn named(path: &Path, why: &dyn std::fmt::Display) -> String {
    format!("{}: {why}", path.display())
}

fn with_cause(error: &rustls_native_certs::Error) -> String {
    match &error.kind {
        rustls_native_certs::ErrorKind::Io { inner, path } => named(path, inner),
        _ => error.to_string(),
    }
}

/// Accepts certificates that the authorities vouch for, and the trusted certificates themselves.
#[derive(Debug)]
struct Verifier {
    /// `None` if no authority is trusted.
    inner: Option<Arc<WebPkiServerVerifier>>,
    anchors: Vec<CertificateDer<'static>>,
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
    ) -> Result<ServerCertVerified, TlsError> {
        let Some(inner) = &self.inner else {
            return Err(CertificateError::UnknownIssuer.into());
        };
        match inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The validity period is checked before this error.
            Err(TlsError::InvalidCertificate(error))
                if is_authority(&error) && self.anchors.iter().any(|anchor| anchor == end_entity) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Whether a certificate is refused because it is an authority's. The library has no name of its own for that.
fn is_authority(error: &CertificateError) -> bool {
    matches!(error, CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity"))
}

/// Finds the error of a type among the causes of another, also those that the system's errors wrap.
pub(super) fn cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}

/// Whether the answer is not TLS.
pub(super) fn is_no_tls(error: &TlsError) -> bool {
    matches!(error, TlsError::InvalidMessage(_))
}

/// The reason why there is no connection to the registry at `address`, and the remedy.
pub(super) fn explain(error: &TlsError, address: &str, complaints: &[String]) -> String {
    match error {
        TlsError::InvalidCertificate(error) => certificate(error, address, complaints),
        TlsError::AlertReceived(
            alert @ (AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied),
        ) => format!(
            "it does not know us by a certificate ({}); put ours into ~/.config/containers/certs.d/{address}/ as \
             NAME.cert and NAME.key",
            words(alert)
        ),
        TlsError::AlertReceived(alert) => format!("it ended the TLS handshake: {}", words(alert)),
        TlsError::PeerIncompatible(why) => {
            format!("it offers no TLS that is supported here: {}", words(why))
        }
        other => other.to_string(),
    }
}

fn certificate(error: &CertificateError, address: &str, complaints: &[String]) -> String {
    let complaints: String = complaints.iter().map(|why| format!("; {why}")).collect();
    match error {
        // The latter is another authority of the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            format!(
                "no authority that is trusted here vouches for its certificate; name the authority's certificate in PEM \
                 by SSL_CERT_FILE, or put it into ~/.config/containers/certs.d/{address}/ as ca.crt{complaints}"
            )
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired; its operator has to renew it, if the clock of this machine is right".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet; is the clock of this machine right?".to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let name = |name: &String| {
                let name = name.trim_end_matches(['"', ')']);
                name.rsplit(['(', '"']).next().unwrap_or(name).to_owned()
            };
            let shown: Vec<_> = presented.iter().take(NAMES_SHOWN).map(name).collect();
            let names = match presented.len().saturating_sub(NAMES_SHOWN) {
                _ if shown.is_empty() => "no name at all (it has no subjectAltName)".to_owned(),
                0 => shown.join(", "),
                more => format!("{} and {more} more", shown.join(", ")),
            };
            format!("its certificate is for {names}, not for {}", expected.to_str())
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "its certificate is signed in a way that is not trusted, such as RSA with SHA-1 or by a key of less than 2048 \
             bits; its operator has to make one with SHA-256 and a key of today"
                .to_owned()
        }
        error if is_authority(error) => format!(
            "its certificate is an authority's own (CA:TRUE); trust this very certificate, by SSL_CERT_FILE or as \
             ~/.config/containers/certs.d/{address}/ca.crt, or make it with -addext basicConstraints=critical,CA:FALSE{complaints}"
        ),
        other => format!("its certificate is not trusted: {}", words(other)),
    }
}

/// The name of a variant as words: `HandshakeFailure` is "handshake failure".
fn words(variant: &dyn std::fmt::Debug) -> String {
    let text = format!("{variant:?}");
    // If a variant wraps another error, the inner one has the reason.
    let text = text.trim_end_matches(')');
    let name = text.rsplit('(').next().unwrap_or(text);
    let name = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .next()
        .unwrap_or(name);
    let mut words = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !words.is_empty() && !words.ends_with(|c: char| c.is_ascii_uppercase()) {
            words.push(' ');
        }
        words.push(c);
    }
    words.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_error_shows_the_insides_of_the_library() {
        let algorithm = CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
            signature_algorithm_id: vec![6, 8, 42],
            public_key_algorithm_id: vec![6, 7],
        };
        let name = CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("localhost").unwrap(),
            presented: vec![
                "DnsName(\"a.example\")".to_owned(),
                "IpAddress(127.0.0.1)".to_owned(),
            ],
        };
        for (error, expected) in [
            (TlsError::from(CertificateError::UnknownIssuer), "SSL_CERT_FILE"),
            (
                TlsError::from(CertificateError::UnknownIssuer),
                "certs.d/r.example:5000/",
            ),
            (TlsError::from(CertificateError::UnknownIssuer), "; /x: not there"),
            (algorithm.into(), "SHA-1"),
            (name.into(), "is for a.example, 127.0.0.1, not for localhost"),
            (
                TlsError::from(CertificateError::UnhandledCriticalExtension),
                "not trusted: unhandled critical extension",
            ),
            (
                TlsError::AlertReceived(AlertDescription::HandshakeFailure),
                "ended the TLS handshake: handshake failure",
            ),
            (
                TlsError::AlertReceived(AlertDescription::CertificateRequired),
                "NAME.cert",
            ),
        ] {
            let text = explain(&error, "r.example:5000", &["/x: not there".to_owned()]);
            assert!(text.contains(expected), "{text}");
            assert!(
                !text.contains(['{', '[', '(']) || text.contains("CA:") || text.contains(" ("),
                "{text}"
            );
        }
    }
}
