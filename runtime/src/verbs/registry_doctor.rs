//! `registry doctor`: what a registry can and cannot do.

use std::collections::BTreeSet;

use samebundle_registry::remote::Check;
use samebundle_registry::remote::profile::{Profile, ProfileFile};
use samebundle_spec::{Digest, Repository};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Site, VerbError};

/// Examines a registry.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegistryDoctorRequest {
    /// The repository to try things in.
    pub repository: Repository,
    /// Other hosts, `HOST[:PORT]`, that uploads may go to when the registry sends them there, without credentials.
    #[serde(default)]
    pub upload_hosts: BTreeSet<String>,
}

/// What a registry can and cannot do.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RegistryDoctorReport {
    /// The registry, `HOST[:PORT]`.
    pub registry: String,
    /// The repository where things were tried.
    pub repository: Repository,
    /// The file that keeps the profile.
    pub file: String,
    /// What all later commands know of the registry.
    pub profile: Profile,
    /// All that was tried, in order.
    pub checks: Vec<Check>,
    /// Digests of what could not be removed.
    pub left: Vec<Digest>,
}

/// Finds out what a registry can and cannot do, and keeps that for all later commands.
///
/// # Errors
/// If the registry cannot be asked, or the profile cannot be written.
pub async fn registry_doctor(
    site: &Site,
    request: RegistryDoctorRequest,
) -> Result<RegistryDoctorReport, VerbError> {
    let folder = site.home().registries();
    // The old profile is not used: the registry is examined anew, and a damaged file is replaced.
    let remote = site.remote_unprofiled(&request.repository)?;
    let before = ProfileFile::read(&folder, &remote.address()).unwrap_or_default();
    let mut hosts = before.map(|file| file.profile.upload_hosts).unwrap_or_default();
    hosts.extend(request.upload_hosts);
    let mut profile = Profile::default();
    profile.upload_hosts = hosts.clone();
    site.step(format!("examining {}", request.repository));
    let found = remote.with_profile(profile).examine().await?;
    let mut file = ProfileFile::new(&found.registry, site.now());
    file.profile = found.profile;
    file.profile.upload_hosts = hosts;
    let path = file.write(&folder)?;
    Ok(RegistryDoctorReport {
        registry: found.registry,
        repository: request.repository,
        file: path.display().to_string(),
        profile: file.profile,
        checks: found.checks,
        left: found.left,
    })
}
