//! `publish`: a folder becomes a release: built, signed with an own key, and pushed to a registry or written to a file.

use std::path::{Path, PathBuf};

use samebundle_spec::authoring::{RunFiles, RunMetadata, Runs};
use samebundle_spec::{BundleName, Reference, Tag, Version};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::author::TagsBefore;
use super::bring::{BringRequest, RunSource, bring};
use super::copy::never_changes;
use super::install::working_copy_of;
use super::{
    BuildReport, BuildRequest, Consent, CopyReport, CopyRequest, ExportReport, ExportRequest, LocalName,
    Location, SignReport, SignRequest, Site, VerbError, build, copy, export, key, sign,
};
use crate::record::Installations;

/// Builds, signs and pushes a folder.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PublishRequest {
    /// The folder with `samebundle.yaml`.
    pub folder: PathBuf,
    /// Which pipeline, where a Python file has several; none: what `samebundle.yaml` says.
    #[serde(default)]
    pub pipeline: Option<String>,
    /// The registry and repository, where a tag must be the version; or a file.
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
    #[serde(flatten)]
    pub place: Published,
}

/// Where a release is.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Published {
    /// In a registry.
    Pushed(CopyReport),
    /// In a file, with the runs of this home that it had.
    Exported(ExportReport),
}

/// Builds and signs a folder, and pushes it or writes it to a file. A version that is at the destination already is published again only with the same
/// content.
///
/// # Errors
/// As `build`, `sign` and `push`; [`VerbError::Released`] if the version is released with other content. Then nothing is
/// signed or pushed.
pub async fn publish(site: &Site, request: PublishRequest) -> Result<PublishReport, VerbError> {
    let to = match request.to {
        Location::Registry(to) => Destination::Registry(to),
        Location::Archive(file, None) => Destination::File(file),
        _ => {
            return Err(VerbError::Usage(
                "a release goes to a registry or into a file: give REGISTRY/REPOSITORY or FILE.tgz"
                    .to_owned(),
            ));
        }
    };
    // What can be refused is refused before the minutes that a build may take.
    key::check_key(site, &request.key)?;
    let before = TagsBefore::of(site, &request.folder).await?;
    let built = build(
        site,
        BuildRequest {
            folder: request.folder.clone(),
            pipeline: request.pipeline.clone(),
            tag: None,
        },
    )
    .await?;
    let to = match to {
        Destination::Registry(to) => {
            let (to, version) = tagged(to, &built)?;
            let sink = site.remote(&to.repository)?;
            let kept = never_changes(&sink, Some(&version), (&to.to_string(), built.digest)).await;
            if kept.is_err() {
                before.restore(site).await?;
            }
            kept?;
            Destination::Registry(to)
        }
        file @ Destination::File(_) => file,
    };
    let bundle = LocalName {
        name: built.name.clone(),
        version: Some(built.version.clone()),
    };
    let signed = signed(site, bundle.clone(), request.key).await?;
    let place = match to {
        Destination::Registry(to) => Published::Pushed(push(site, bundle, Location::Registry(to)).await?),
        Destination::File(file) => {
            renew(site, &built, request.folder, request.pipeline).await?;
            write(site, bundle, &built, file).await?
        }
    };
    Ok(PublishReport { built, signed, place })
}

async fn signed(site: &Site, bundle: LocalName, key: BundleName) -> Result<SignReport, VerbError> {
    let request = SignRequest {
        bundle: Location::Local(bundle),
        key,
        sequence: None,
        expires_in_days: None,
        repositories: Vec::new(),
        // What was signed and never arrived in the registry may change; what did arrive was refused above.
        replace: true,
    };
    sign(site, request).await
}

/// Where a release goes.
enum Destination {
    Registry(Reference),
    File(PathBuf),
}

/// Gives the destination the version as its tag. The other ways to write a version are taken, as everywhere, and what is
/// published has the whole one.
fn tagged(mut to: Reference, built: &BuildReport) -> Result<(Reference, Tag), VerbError> {
    let version: Tag = built.version.as_tag().parse()?;
    let tag = to.tag.get_or_insert_with(|| version.clone()).clone();
    let is_same = Version::as_written(tag.as_str()).is_ok_and(|tag| tag == built.version);
    if tag != version && !is_same {
        return Err(VerbError::Usage(format!(
            "{} is version {}: publish it without a tag, or set `version` in samebundle.yaml to what {tag} says",
            built.name, built.version
        )));
    }
    to.tag = Some(version.clone());
    Ok((to, version))
}

async fn push(site: &Site, bundle: LocalName, to: Location) -> Result<CopyReport, VerbError> {
    let request = CopyRequest {
        from: Location::Local(bundle),
        to,
        volumes: None,
    };
    copy(site, request).await
}

/// Lets the working copy of the folder be what was built, so that its runs travel with the release.
async fn renew(
    site: &Site,
    built: &BuildReport,
    folder: PathBuf,
    pipeline: Option<String>,
) -> Result<(), VerbError> {
    let place = folder.canonicalize().map_err(VerbError::io("read", &folder))?;
    let installed = Installations::new(site.home()).find(&built.name)?;
    let own = installed.filter(|one| working_copy_of(one).is_some_and(|folder| place == Path::new(folder)));
    if own.is_none_or(|one| one.index.digest == built.digest) {
        return Ok(());
    }
    let request = BringRequest {
        source: RunSource::Folder(folder),
        pipeline,
        consent: Consent::default(),
    };
    Box::pin(bring(site, request)).await.map(drop)
}

/// Writes the release to a file, as an export with the runs that it had here; one that never ran here has none.
async fn write(
    site: &Site,
    bundle: LocalName,
    built: &BuildReport,
    file: PathBuf,
) -> Result<Published, VerbError> {
    let installed = Installations::new(site.home()).find(&built.name)?;
    if installed.is_none_or(|installed| installed.index.digest != built.digest) {
        return Ok(Published::Pushed(
            push(site, bundle, Location::Archive(file, None)).await?,
        ));
    }
    let request = ExportRequest {
        name: LocalName {
            version: None,
            ..bundle
        },
        file: Some(file),
        folder: PathBuf::new(),
        runs: Runs::Last(5),
        metadata: RunMetadata::All,
        outputs: RunFiles::default(),
        since: None,
        since_key: None,
        volumes: None,
    };
    Ok(Published::Exported(export(site, request).await?))
}
