//! `key`: the private keys of a home.

use std::path::{Path, PathBuf};

use samebundle_registry::durable;
use samebundle_registry::trust::TrustStore;
use samebundle_registry::trust::keys::{self, Passphrase};
use samebundle_spec::BundleName;
use samebundle_spec::signing::{self, KeyAlgorithm, KeyId, KeyRing, PublicKey, Scope, SigningKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Site, VerbError};

/// Makes a new key pair.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GenerateKeyRequest {
    /// Name of the key.
    pub name: BundleName,
    /// What it signs with; notation reads only `p256`.
    #[serde(default)]
    pub algorithm: KeyAlgorithm,
    /// Whether the private key is kept without a passphrase; otherwise the site asks for one.
    #[serde(default)]
    pub no_passphrase: bool,
}

/// Takes over a private key of another tool.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImportKeyRequest {
    /// Name of the key.
    pub name: BundleName,
    /// The private key.
    pub file: PathBuf,
}

/// Asks for a public key.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExportKeyRequest {
    /// Name of the key.
    pub name: BundleName,
    /// The certificate that stands for the key in notation's trust store, instead of the key. Only of `p256`; it needs the
    /// private key.
    #[serde(default)]
    pub certificate: bool,
    /// A file to write it to as well.
    #[serde(default)]
    pub file: Option<PathBuf>,
}

/// A key that can sign.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct KeyReport {
    /// Its name.
    pub key: BundleName,
    /// Its id.
    pub id: KeyId,
    /// What it signs with.
    pub algorithm: KeyAlgorithm,
    /// Whether its file has a passphrase.
    pub encrypted: bool,
}

/// The keys that can sign.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct KeysReport {
    /// Each of them, by name.
    pub keys: Vec<ListedKey>,
}

/// A key in a list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ListedKey {
    /// Its name.
    pub key: BundleName,
    /// Its id; none if its public half is not known.
    pub id: Option<KeyId>,
    /// What it signs with; none in the same way.
    pub algorithm: Option<KeyAlgorithm>,
    /// Whether its file has a passphrase.
    pub encrypted: bool,
    /// Whether this home trusts it.
    pub trusted: bool,
}

/// Removes a private key.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RemoveKeyRequest {
    /// Name of the key.
    pub name: BundleName,
}

/// A private key that is gone.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RemoveKeyReport {
    /// Its name.
    pub removed: BundleName,
    /// Whether this home still trusts what it signed.
    pub trusted: bool,
}

/// A public key.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ExportKeyReport {
    /// The file that was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The key or its certificate, PEM.
    pub pem: String,
}

fn key_path(site: &Site, name: &BundleName) -> PathBuf {
    site.home().keys().join(format!("{name}.key"))
}

fn public_path(site: &Site, name: &BundleName) -> PathBuf {
    site.home().keys().join(format!("{name}.pub"))
}

/// Makes a key pair, which its home trusts.
///
/// # Errors
/// If there is a key of that name, no passphrase is given, or its files cannot be written.
pub fn generate_key(site: &Site, request: GenerateKeyRequest) -> Result<KeyReport, VerbError> {
    let passphrase = match request.no_passphrase {
        true => None,
        false => Some(
            site.passphrases()
                .ask(&format!("a new passphrase for key {}", request.name), true)?,
        ),
    };
    let key = keys::generate(request.algorithm)?;
    keep(site, request.name, &key, passphrase.as_ref())
}

/// Takes over a private key of another tool, with its passphrase.
///
/// # Errors
/// If it cannot be read, its passphrase is not given or is wrong, or there is a key of that name.
pub fn import_key(site: &Site, request: ImportKeyRequest) -> Result<KeyReport, VerbError> {
    let file = request.file;
    let passphrase = passphrase_of(site, &file, &file.display().to_string())?;
    let key = keys::load(&file, passphrase.as_ref())?;
    keep(site, request.name, &key, passphrase.as_ref())
}

fn keep(
    site: &Site,
    name: BundleName,
    key: &SigningKey,
    passphrase: Option<&Passphrase>,
) -> Result<KeyReport, VerbError> {
    let mut trust = site.trust()?;
    if trust
        .keys()
        .get(&name)
        .is_some_and(|other| other.id() != key.public().id())
    {
        // It says whose name that is, and nothing is written.
        trust.add(&name, &key.public(), &Scope::ANY)?;
    }
    keys::save(&key_path(site, &name), key, passphrase)?;
    // The public half stays known when the key is no longer trusted.
    let public = public_path(site, &name);
    durable::write(&public, key.public().to_pem().as_bytes(), 0o644)
        .map_err(VerbError::io("write", &public))?;
    trust.add(&name, &key.public(), &Scope::ANY)?;
    Ok(KeyReport {
        key: name,
        id: key.public().id(),
        algorithm: key.algorithm(),
        encrypted: passphrase.is_some(),
    })
}

/// Asks for the passphrase of a key file that has one.
fn passphrase_of(site: &Site, file: &Path, what: &str) -> Result<Option<Passphrase>, VerbError> {
    Ok(match keys::is_encrypted(file)? {
        true => Some(
            site.passphrases()
                .ask(&format!("the passphrase of {what}"), false)?,
        ),
        false => None,
    })
}

/// Loads a private key, asking for its passphrase if it has one.
///
/// # Errors
/// If there is no such key, or its passphrase is not given or is wrong.
pub(super) fn load(site: &Site, name: &BundleName) -> Result<SigningKey, VerbError> {
    check_key(site, name)?;
    let path = key_path(site, name);
    let passphrase = passphrase_of(site, &path, &format!("key {name}"))?;
    Ok(keys::load(&path, passphrase.as_ref())?)
}

/// Checks that there is a private key of this name.
///
/// # Errors
/// If there is none.
pub fn check_key(site: &Site, name: &BundleName) -> Result<(), VerbError> {
    match key_path(site, name).exists() {
        true => Ok(()),
        false => Err(no_key(name)),
    }
}

/// Returns the public halves of the keys that can sign.
///
/// # Errors
/// If the folder of keys or one of them cannot be read.
pub(super) fn own_keys(site: &Site) -> Result<KeyRing, VerbError> {
    let mut own = KeyRing::new();
    for listed in list_keys(site)?.keys {
        if let Ok(public) = public(site, &listed.key) {
            own.insert(listed.key, public);
        }
    }
    Ok(own)
}

/// Tells whether a private key of this name can be used without asking a person.
///
/// # Errors
/// If its file cannot be read.
pub(super) fn is_ready(site: &Site, name: &BundleName) -> Result<bool, VerbError> {
    let path = key_path(site, name);
    Ok(path.exists() && (site.passphrases().is_ready() || !keys::is_encrypted(&path)?))
}

fn no_key(name: &BundleName) -> VerbError {
    VerbError::NoKey {
        name: name.to_string(),
    }
}

/// Lists the keys that can sign.
///
/// # Errors
/// If the folder of keys or one of them cannot be read.
pub fn list_keys(site: &Site) -> Result<KeysReport, VerbError> {
    let folder = site.home().keys();
    let trust = site.trust()?;
    let mut keys = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(VerbError::io("list", &folder))? {
        let path = entry.map_err(VerbError::io("list", &folder))?.path();
        keys.extend(listed(&path, &trust)?);
    }
    keys.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(KeysReport { keys })
}

fn listed(path: &Path, trust: &TrustStore) -> Result<Option<ListedKey>, VerbError> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.and_then(|name| name.strip_suffix(".key"));
    let Some(key) = name.and_then(|name| name.parse::<BundleName>().ok()) else {
        return Ok(None);
    };
    let encrypted = keys::is_encrypted(path)?;
    let trusted = trust.keys().get(&key);
    let public = match trusted {
        Some(public) => Some(*public),
        None if !encrypted => Some(keys::load(path, None)?.public()),
        None => keys::load_public(&path.with_extension("pub")).ok(),
    };
    Ok(Some(ListedKey {
        id: public.map(|public| public.id()),
        algorithm: public.map(|public| public.algorithm()),
        encrypted,
        trusted: trusted.is_some(),
        key,
    }))
}

/// Removes a private key and its public half; whether it is trusted does not change.
///
/// # Errors
/// If there is no such key, or its files cannot be removed.
pub fn remove_key(site: &Site, request: &RemoveKeyRequest) -> Result<RemoveKeyReport, VerbError> {
    let name = &request.name;
    check_key(site, name)?;
    for path in [key_path(site, name), public_path(site, name)] {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(VerbError::io("remove", &path)(error));
            }
            _ => {}
        }
    }
    let folder = site.home().keys();
    durable::sync_folder(&folder).map_err(VerbError::io("sync", &folder))?;
    Ok(RemoveKeyReport {
        removed: name.clone(),
        trusted: site.trust()?.keys().contains_key(name),
    })
}

/// Returns a public key or its certificate, and writes it to a file if one is named.
///
/// # Errors
/// If there is no such key, it has no certificate, or the file cannot be written.
pub fn export_key(site: &Site, request: ExportKeyRequest) -> Result<ExportKeyReport, VerbError> {
    let name = &request.name;
    let pem = match request.certificate {
        true => certificate(site, name)?,
        false => public(site, name)?.to_pem(),
    };
    if let Some(file) = &request.file {
        durable::write(file, pem.as_bytes(), 0o644).map_err(VerbError::io("write", file))?;
    }
    Ok(ExportKeyReport {
        file: request.file.map(|file| file.display().to_string()),
        pem,
    })
}

/// Makes the certificate of a key. The private key signs it, and it is the same each time.
fn certificate(site: &Site, name: &BundleName) -> Result<String, VerbError> {
    let key = load(site, name)?;
    let der = signing::certificate::self_signed(&key).ok_or_else(|| {
        let kind = key.algorithm().word();
        VerbError::Usage(format!(
            "key {name} is {kind}, and only p256 keys have a certificate: `key generate --algorithm p256`"
        ))
    })?;
    Ok(signing::certificate::to_pem(&der))
}

/// Returns a public key: it is in the trust store since the key was made, or lies beside the private key.
fn public(site: &Site, name: &BundleName) -> Result<PublicKey, VerbError> {
    let trust = site.trust()?;
    let beside = || keys::load_public(&public_path(site, name)).ok();
    trust
        .keys()
        .get(name)
        .copied()
        .or_else(beside)
        .ok_or_else(|| no_key(name))
}
