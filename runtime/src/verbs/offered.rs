//! `trust add --from`: the keys that travel with a bundle's signatures, for a person who decides whether to trust one.

use samebundle_registry::trust::discover;
use samebundle_spec::BundleName;
use samebundle_spec::signing::{BundleOrigin, KeyAlgorithm, KeyId, Release, Scope};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::resolve::{ArchiveCheck, ResolvedBundle, resolve};
use super::{AddTrustReport, Location, Site, VerbError};

/// Asks which keys travel with a bundle.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OfferedKeysRequest {
    /// The bundle.
    pub bundle: Location,
}

/// The keys that travel with a bundle.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct OfferedKeysReport {
    /// Each of them.
    pub keys: Vec<OfferedKey>,
    /// What a key would be trusted for unless something else is said.
    pub scope: Scope,
}

/// A key that travels with a bundle. It has signed the release, and nothing says whose it is.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OfferedKey {
    /// Its id.
    pub id: KeyId,
    /// What it signs with.
    pub algorithm: KeyAlgorithm,
    /// What it signed.
    pub release: Release,
    /// The name by which it is trusted here already.
    pub trusted_as: Option<BundleName>,
}

/// Trusts a key that travels with a bundle.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AddOfferedKeyRequest {
    /// Name to know the key by.
    pub name: BundleName,
    /// The bundle.
    pub bundle: Location,
    /// The id of the key, which a person has compared with what its owner says.
    pub id: KeyId,
    /// What the key may sign for; none: the repository that the bundle is in, or everything if it is in no registry.
    #[serde(default)]
    pub scope: Option<Scope>,
}

/// Lists the keys that travel with a bundle.
///
/// # Errors
/// If the bundle is not there, or none of its signatures carries a key.
pub async fn offered_keys(site: &Site, request: &OfferedKeysRequest) -> Result<OfferedKeysReport, VerbError> {
    let bundle = resolve(site, &request.bundle, ArchiveCheck::BeforeUse).await?;
    let carried = discover::carried_keys(bundle.source.as_ref(), &bundle.index).await?;
    if carried.is_empty() {
        return Err(VerbError::NoKeyOffered { bundle: bundle.shown });
    }
    let trust = site.trust()?;
    let keys = carried.into_iter().map(|one| {
        let named = trust.keys().iter().find(|(_, key)| **key == one.key);
        OfferedKey {
            id: one.key.id(),
            algorithm: one.key.algorithm(),
            release: one.release,
            trusted_as: named.map(|(name, _)| name.clone()),
        }
    });
    Ok(OfferedKeysReport {
        keys: keys.collect(),
        scope: scope_of(&bundle)?,
    })
}

fn scope_of(bundle: &ResolvedBundle) -> Result<Scope, VerbError> {
    match &bundle.place {
        BundleOrigin::Registry(repository) => Ok(repository.to_string().parse()?),
        BundleOrigin::Local => Ok(Scope::ANY),
    }
}

/// Trusts a key that travels with a bundle.
///
/// # Errors
/// As [`offered_keys`], or if no key has this id, or the name stands for another key.
pub async fn trust_add_offered(
    site: &Site,
    request: AddOfferedKeyRequest,
) -> Result<AddTrustReport, VerbError> {
    let bundle = resolve(site, &request.bundle, ArchiveCheck::BeforeUse).await?;
    let carried = discover::carried_keys(bundle.source.as_ref(), &bundle.index).await?;
    let found = carried.into_iter().find(|one| one.key.id() == request.id);
    let found = found.ok_or_else(|| VerbError::NoKeyOffered {
        bundle: format!("{} with key {}", bundle.shown, request.id),
    })?;
    let scope = match request.scope {
        Some(scope) => scope,
        None => scope_of(&bundle)?,
    };
    site.trust()?.add(&request.name, &found.key, &scope)?;
    Ok(AddTrustReport {
        key: request.name,
        id: request.id,
        scope,
    })
}
