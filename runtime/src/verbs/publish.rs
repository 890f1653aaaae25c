//! `publish`: a folder becomes a release in a registry: built, signed with an own key, and pushed.

use std::path::PathBuf;

use samebundle_registry::StoreError;
use samebundle_registry::store::Resolve;
use samebundle_spec::{BundleName, Reference, Tag, Version};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    BuildReport, BuildRequest, CopyReport, CopyRequest, LocalName, Location, SignReport, SignRequest, Site,
    VerbError, build, copy, key, sign,
};

/// Builds, signs and pushes a folder.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PublishRequest {
    /// The folder with `samebundle.yaml`.
    pub folder: PathBuf,
    /// Which pipeline, where a Python file has several; none: what `samebundle.yaml` says.
    #[serde(default)]
    pub pipeline: Option<String>,
    /// The registry and repository; a tag must be the version.
    pub to: Location,
    /// Name of the key.
    pub key: BundleName,
}

/// What was published.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PublishReport {
    /// What was built.
    pub built: BuildReport,
    /// What the signature says.
    pub signed: SignReport,
    /// Where it is now.
    pub pushed: CopyReport,
}

/// Builds, signs and pushes a folder. A version that is at the destination already is published again only with the same
/// content.
///
/// # Errors
/// As `build`, `sign` and `push`; [`VerbError::Released`] if the version is released with other content. Then nothing is
/// signed or pushed.
pub async fn publish(site: &Site, request: PublishRequest) -> Result<PublishReport, VerbError> {
    let Location::Registry(mut to) = request.to else {
        return Err(VerbError::Usage(
            "a release goes to a registry: give REGISTRY/REPOSITORY; `export` writes a file".to_owned(),
        ));
    };
    // What can be refused is refused before the minutes that a build may take.
    key::check(site, &request.key)?;
    let built = build(
        site,
        BuildRequest {
            folder: request.folder,
            pipeline: request.pipeline,
            tag: None,
        },
    )
    .await?;
    let version: Tag = built.version.as_tag().parse()?;
    let tag = to.tag.get_or_insert_with(|| version.clone()).clone();
    // The other ways to write it are taken, as everywhere, and what is published has the whole one.
    let is_same = Version::as_written(tag.as_str()).is_ok_and(|tag| tag == built.version);
    if tag != version && !is_same {
        return Err(VerbError::Usage(format!(
            "{} is version {}: publish it without a tag, or set `version` in samebundle.yaml to what {tag} says",
            built.name, built.version
        )));
    }
    to.tag = Some(version.clone());
    refuse_other_content(site, &to, &version, &built).await?;
    let bundle = Location::Local(LocalName {
        name: built.name.clone(),
        version: Some(built.version.clone()),
    });
    let signed = sign(
        site,
        SignRequest {
            bundle: bundle.clone(),
            key: request.key,
            sequence: None,
            expires_in_days: None,
            repositories: Vec::new(),
        },
    )
    .await?;
    let pushed = copy(
        site,
        CopyRequest {
            from: bundle,
            to: Location::Registry(to),
            volumes: None,
        },
    )
    .await?;
    Ok(PublishReport {
        built,
        signed,
        pushed,
    })
}

async fn refuse_other_content(
    site: &Site,
    to: &Reference,
    tag: &Tag,
    built: &BuildReport,
) -> Result<(), VerbError> {
    match site.remote(&to.repository)?.resolve(tag).await {
        Ok(released) if released.digest == built.digest => Ok(()),
        Ok(released) => Err(VerbError::Released {
            reference: to.to_string(),
            released: released.digest,
        }),
        Err(StoreError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
