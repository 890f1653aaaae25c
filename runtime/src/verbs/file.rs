//! `file`: signs a statement about a file that is no bundle, and checks one.
//!
//! The signature is a sigstore bundle beside the file, as a bundle's attestations are; `spec/300-signing.md`, section 3.8.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use samebundle_registry::durable;
use samebundle_registry::trust::{TrustError, keys};
use samebundle_spec::signing::{Attestation, KeyRing, Predicate, PublicKey, SignatureFault, attested};
use samebundle_spec::{Algorithm, BundleName, Digest, Digester, json, limits};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Site, VerbError, key};

/// What follows the file's name in the name of its signature.
const ENDING: &str = ".sigstore.json";

/// Signs a statement about a file.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignFileRequest {
    /// The file.
    pub file: PathBuf,
    /// What is stated of it.
    pub kind: Predicate,
    /// The document that is stated: the predicate, JSON.
    pub document: PathBuf,
    /// Name of the key.
    pub key: BundleName,
    /// Where the signature is written; none: FILE.sigstore.json.
    #[serde(default)]
    pub signature: Option<PathBuf>,
}

/// A file that was signed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SignFileReport {
    /// The file.
    pub file: String,
    /// What was signed.
    pub digest: Digest,
    /// What is stated of it.
    pub kind: Predicate,
    /// The key.
    pub key: BundleName,
    /// The signature.
    pub signature: String,
}

/// Checks the signature of a file.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VerifyFileRequest {
    /// The file.
    pub file: PathBuf,
    /// The signature; none: FILE.sigstore.json.
    #[serde(default)]
    pub signature: Option<PathBuf>,
    /// The public key; none: any key in the trust store.
    #[serde(default)]
    pub key: Option<PathBuf>,
}

/// A file that a known key signed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct VerifyFileReport {
    /// The file.
    pub file: String,
    /// What was signed.
    pub digest: Digest,
    /// Name of the key in the trust store, or its id.
    pub signer: String,
    /// What is stated.
    pub kind: Predicate,
    /// The statement.
    pub predicate: Value,
}

/// Signs a statement about a file and writes it beside the file.
///
/// # Errors
/// If the file or the document cannot be read, the document is not JSON, or the key cannot be used.
pub fn sign_file(site: &Site, request: SignFileRequest) -> Result<SignFileReport, VerbError> {
    let file = request.file;
    let named = |path: &Path| path.display().to_string();
    let invalid = |why: String| TrustError::Statement {
        why: format!("{}: {why}", named(&request.document)),
    };
    let document = durable::read_named(&request.document, limits::ATTESTATION_BYTES)
        .map_err(VerbError::io("read", &request.document))?;
    let predicate = json::value(&document, limits::ATTESTATION_BYTES);
    let name = file.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| VerbError::Usage(format!("{} has no name in UTF-8", named(&file))))?;
    let attestation = Attestation {
        name: name.to_owned(),
        subject: digest(&file)?,
        kind: request.kind,
        predicate: predicate.map_err(|error| invalid(error.to_string()))?,
    };
    let key = key::load(site, &request.key)?;
    let signature = request.signature.unwrap_or_else(|| beside(&file));
    renews(&signature, request.kind, &request.key, &key.public())?;
    let signed = attestation.sign(&key);
    let signed = signed.map_err(|error| invalid(error.to_string()))?.to_bytes();
    let signed = signed.map_err(|error| invalid(error.to_string()))?;
    durable::write(&signature, &signed, 0o644).map_err(VerbError::io("write", &signature))?;
    Ok(SignFileReport {
        file: named(&file),
        digest: attestation.subject,
        kind: request.kind,
        key: request.key,
        signature: named(&signature),
    })
}

/// Checks that a name is free for a signature, or has one that the new one renews: of the same key, and of the same kind of
/// statement.
fn renews(signature: &Path, kind: Predicate, name: &BundleName, key: &PublicKey) -> Result<(), VerbError> {
    let before = match durable::read_regular(signature, limits::ATTESTATION_BYTES) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        before => before.map_err(VerbError::io("read", signature))?,
    };
    let ring = KeyRing::from([(name.clone(), *key)]);
    match any_kind(&before, &ring) {
        Ok((_, before)) if before.kind == kind => Ok(()),
        _ => Err(VerbError::Usage(format!(
            "{} is there, and is no such statement of key {name}: it would be lost; give the new one another name with \
             --signature FILE, or remove the file",
            signature.display()
        ))),
    }
}

/// Checks that a known key signed a statement about this very file.
///
/// # Errors
/// [`VerbError::FileSignature`] if none did; otherwise what cannot be read.
pub fn verify_file(site: &Site, request: VerifyFileRequest) -> Result<VerifyFileReport, VerbError> {
    let file = request.file;
    let signature = request.signature.unwrap_or_else(|| beside(&file));
    let ring = match &request.key {
        Some(key) => KeyRing::from([("key".parse()?, keys::load_public(key)?)]),
        None => site.trust()?.keys().clone(),
    };
    let digest = digest(&file)?;
    let document = durable::read_regular(&signature, limits::ATTESTATION_BYTES)
        .map_err(VerbError::io("read", &signature))?;
    let refused = |fault| VerbError::FileSignature {
        file: file.display().to_string(),
        signature: signature.display().to_string(),
        fault,
    };
    let (id, attestation) = any_kind(&document, &ring).map_err(refused)?;
    if attestation.subject != digest {
        let found = attestation.subject;
        return Err(refused(SignatureFault::OtherContent { found }));
    }
    let signer = ring
        .iter()
        .find(|(_, public)| request.key.is_none() && public.id() == id);
    Ok(VerifyFileReport {
        file: file.display().to_string(),
        digest,
        signer: signer.map_or_else(|| id.short(), |(name, _)| name.to_string()),
        kind: attestation.kind,
        predicate: attestation.predicate,
    })
}

/// Reads a signed attestation of whatever kind it is.
fn any_kind(
    document: &[u8],
    ring: &KeyRing,
) -> Result<(samebundle_spec::signing::KeyId, Attestation), SignatureFault> {
    match attested(document, Predicate::Slsa, ring) {
        Err(SignatureFault::OtherPredicate { .. }) => attested(document, Predicate::Spdx, ring),
        result => result,
    }
}

fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ENDING);
    name.into()
}

fn digest(path: &Path) -> Result<Digest, VerbError> {
    let file = durable::open_regular(path, OpenOptions::new().read(true));
    let mut file = file.map_err(VerbError::io("open", path))?;
    let mut digester = Digester::new(Algorithm::Sha256);
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(digester.finish()),
            Ok(count) => digester.update(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(VerbError::io("read", path)(error)),
        }
    }
}
