//! `status`: installations with their last run, and whether a newer bundle is where they came from.

use samebundle_spec::git::GitSource;
use samebundle_spec::record::{Installation, Run, RunId, RunStatus};
use samebundle_spec::{BundleName, Digest, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::install::{origin, working_copy_of};
use super::resolve::{ArchiveCheck, installation, resolve};
use super::{LocalName, Location, Site, VerbError, source};
use crate::opened::OpenedBundle;
use crate::record::{Installations, Runs};

/// Asks how installations do.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StatusRequest {
    /// Only this installation; none: all.
    #[serde(default)]
    pub name: Option<LocalName>,
    /// Whether the places that they came from are asked for a newer bundle.
    #[serde(default)]
    pub check: bool,
}

/// How installations do.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct StatusReport {
    /// Each of them, by name.
    pub installations: Vec<InstallationStatus>,
}

/// How an installation does.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstallationStatus {
    /// Its name.
    pub name: BundleName,
    /// Version of its bundle.
    pub version: String,
    /// The bundle's index.
    pub digest: Digest,
    /// Its newest run.
    pub last_run: Option<LastRun>,
    /// What is where it came from, if that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<AtOrigin>,
}

/// The newest run of an installation.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LastRun {
    /// Its id.
    pub id: RunId,
    /// Its id as people write it.
    #[serde(skip)]
    pub short: String,
    /// What came of it.
    pub status: RunStatus,
    /// When it began.
    pub started: Timestamp,
}

/// What is where an installation came from.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum AtOrigin {
    /// The same bundle.
    Same,
    /// Another bundle, which `upgrade` takes.
    Other {
        /// Its version.
        version: String,
        /// Its index.
        digest: Digest,
    },
    /// Another commit, of which `upgrade` builds the bundle.
    Commit {
        /// Its id.
        commit: String,
    },
    /// It could not be asked.
    Unknown {
        /// Why.
        why: String,
    },
}

/// Tells how installations do. A place that cannot be asked is in the report and is no error.
///
/// # Errors
/// If there is no such installation, or a record cannot be read.
pub async fn status(site: &Site, request: &StatusRequest) -> Result<StatusReport, VerbError> {
    let installed = match &request.name {
        Some(name) => vec![installation(site, name)?],
        None => Installations::new(site.home()).list()?,
    };
    let runs = Runs::new(site.home());
    let short = runs.short_ids()?;
    let mut all = runs.list(None)?;
    for run in &mut all {
        runs.see(run)?;
    }
    let mut installations = Vec::new();
    for one in installed {
        let newest = all.iter().filter(|run| run.installation == one.name);
        let last_run = newest.max_by_key(|run| run.id.clone()).map(|run: &Run| LastRun {
            id: run.id.clone(),
            short: short.get(&run.id).cloned().unwrap_or_else(|| run.id.to_string()),
            status: run.status,
            started: run.started,
        });
        let origin = match request.check {
            true => Some(at_origin(site, &one).await),
            false => None,
        };
        installations.push(InstallationStatus {
            version: one.known_version(),
            name: one.name,
            digest: one.index.digest,
            last_run,
            origin,
        });
    }
    Ok(StatusReport { installations })
}

async fn at_origin(site: &Site, installed: &Installation) -> AtOrigin {
    if let Some(folder) = working_copy_of(installed) {
        let why = format!("a working copy: `run {folder}` builds it again");
        return AtOrigin::Unknown { why };
    }
    let found = async {
        match origin(installed)? {
            Location::Git(git) => at_repository(site, installed, &git).await,
            place => at_place(site, installed, &place).await,
        }
    };
    Box::pin(found).await.unwrap_or_else(|error| AtOrigin::Unknown {
        why: error.to_string(),
    })
}

async fn at_place(site: &Site, installed: &Installation, place: &Location) -> Result<AtOrigin, VerbError> {
    let bundle = resolve(site, place, ArchiveCheck::BeforeUse).await?;
    if bundle.index.digest == installed.index.digest {
        return Ok(AtOrigin::Same);
    }
    let opened = OpenedBundle::open(bundle.source.as_ref(), &bundle.index).await?;
    Ok(AtOrigin::Other {
        version: opened.bundle.view().version.to_string(),
        digest: bundle.index.digest,
    })
}

/// Asks a git repository which commit the tag or branch names now. What would be built of it is not known before.
async fn at_repository(
    site: &Site,
    installed: &Installation,
    git: &GitSource,
) -> Result<AtOrigin, VerbError> {
    let now = source::commit(site, git).await?;
    let before = source::of(installed).and_then(|before| before.commit);
    Ok(match before == Some(now.clone()) {
        true => AtOrigin::Same,
        false => AtOrigin::Commit {
            commit: now.to_string(),
        },
    })
}
