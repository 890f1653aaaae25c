//! `rollback` and `history`: what was installed under a name before, and the way back to it.

use std::sync::Arc;

use samebundle_spec::record::{EarlierBundle, Installation, Verification};
use samebundle_spec::{Digest, Version};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::install::own_secrets;
use super::resolve::{installation, open_installed};
use super::{ActionRun, CredentialsGiven, InstallReport, LocalName, Site, VerbError};
use crate::lifecycle;
use crate::plan::RUN;

/// Gives an installation back a bundle that it had before.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RollbackRequest {
    /// The installation, and the version that it has to have now.
    pub name: LocalName,
    /// The version to go back to; none: the one before the last change.
    #[serde(default)]
    pub to: Option<Version>,
    /// Where a foreign bundle's own action runs, and what is checked; none: what works.
    #[serde(default)]
    pub environment: Option<String>,
}

/// Asks what was installed under a name, and when.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HistoryRequest {
    /// The installation, and the version that it has to have now.
    pub name: LocalName,
}

/// What was installed under a name, and when.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct HistoryReport {
    /// The bundle that is installed, and those before it, the latest first.
    pub history: Vec<InstalledBundle>,
}

/// A bundle that is or was installed under a name.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct InstalledBundle {
    /// Its version.
    pub version: String,
    /// Its index.
    pub digest: Digest,
    /// Where it came from.
    pub source: String,
    /// Why it was let in.
    pub verification: Verification,
    /// When it was installed, RFC 3339.
    pub installed: String,
    /// Whether it is the one that is installed now.
    pub current: bool,
    /// Whether its content stays in the local store, so that `rollback` can go back to it.
    pub kept: bool,
}

/// Gives an installation back a bundle that it had before, with the parameters that it had. The bundle is verified again;
/// that it is older than the newest that was seen is what was asked for. A second rollback undoes the first.
///
/// # Errors
/// If there is no such installation or nothing earlier, the earlier bundle is not trusted any more or is not in the local
/// store any more, or its own action fails. Then the installation stays as it is.
pub async fn rollback(site: &Site, request: RollbackRequest) -> Result<InstallReport, VerbError> {
    let before = installation(site, &request.name)?;
    let name = &before.name;
    let wanted = |one: &&EarlierBundle| {
        let to = request.to.as_ref();
        to.is_none_or(|to| to.to_string() == one.version || Some(to) == one.exported.as_ref())
    };
    let earlier = before.earlier.iter().find(wanted);
    let earlier = earlier.ok_or_else(|| nothing_earlier(&before, request.to.as_ref()))?;
    let target = before.with(earlier);
    site.step(format!("verify {}", target.index.digest));
    let store = site.store().await?;
    let opened = open_installed(site, &store, &target).await?;
    let runs = opened.get().bundle.view().action(RUN).is_some();
    let secrets = own_secrets(site, opened.get(), Some(name), &CredentialsGiven::default()).await?;
    let machine = site.machine(&store, request.environment.as_deref()).await?;
    let new = lifecycle::NewInstallation {
        name: Some(name.clone()),
        source: target.source,
        exported: target.exported,
        parameters: target.parameters,
        credentials: target.credentials,
        secrets,
        replace: true,
    };
    let installed = lifecycle::install(&site.context, Arc::new(store), &machine, opened, new).await?;
    Ok(InstallReport {
        run: installed.run.as_ref().map(ActionRun::from),
        unchanged: before.index.digest == installed.installation.index.digest,
        installation: installed.installation,
        runs,
        replaced: before.known_version().parse().ok(),
    })
}

fn nothing_earlier(installation: &Installation, to: Option<&Version>) -> VerbError {
    let name = installation.name.clone();
    let versions = installation.earlier.iter().map(|one| one.version.clone());
    VerbError::NothingEarlier {
        name,
        wanted: to.cloned(),
        there: versions.collect(),
    }
}

/// Tells what was installed under a name, and when.
///
/// # Errors
/// If there is no such installation, or its record cannot be read.
pub fn history(site: &Site, request: &HistoryRequest) -> Result<HistoryReport, VerbError> {
    let now = installation(site, &request.name)?;
    let previous = now.previous.as_ref().map(|previous| previous.digest);
    let current = InstalledBundle {
        version: now.known_version(),
        digest: now.index.digest,
        source: now.source,
        verification: now.verification,
        installed: now.installed,
        current: true,
        kept: true,
    };
    let earlier = now.earlier.into_iter().map(|one| InstalledBundle {
        version: one.exported.map_or(one.version, |exported| exported.to_string()),
        digest: one.index.digest,
        source: one.source,
        verification: one.verification,
        installed: one.installed,
        current: false,
        kept: [Some(current.digest), previous].contains(&Some(one.index.digest)),
    });
    let earlier: Vec<_> = earlier.collect();
    let history = std::iter::once(current).chain(earlier).collect();
    Ok(HistoryReport { history })
}
