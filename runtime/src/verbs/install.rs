//! `install`, `upgrade` and `uninstall`.

use std::collections::BTreeMap;
use std::sync::Arc;

use samebundle_registry::trust::Verified;
use samebundle_spec::bundle::View;
use samebundle_spec::git::CommitId;
use samebundle_spec::record::{Installation, Run, RunStatus};
use samebundle_spec::{BundleName, Descriptor, Version};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::bring::{Foreseen, WORKING_COPY};
use super::copy::verified_into_store;
use super::credentials;
use super::parameters::definition;
use super::resolve::{ArchiveCheck, installation, open_installed, resolve, still_verified};
use super::{Consent, CredentialsGiven, Given, LocalName, Location, ResolvedBundle, Site, VerbError, source};
use crate::lifecycle::{self, LifecycleError};
use crate::opened::{Kind, OpenedBundle};
use crate::plan::RUN;
use crate::portable::{self, CarriedHistory, ComingRuns, TakenRuns};
use crate::record::Installations;
use crate::secret::{self, SecretValue};

/// Fetches, verifies, checks and remembers a bundle.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InstallRequest {
    /// Where the bundle is.
    pub from: Location,
    /// What the bundle has to be; none: anything.
    #[serde(default)]
    pub wanted: Option<Wanted>,
    /// Name of the installation; none: the bundle's.
    #[serde(default)]
    pub name: Option<BundleName>,
    /// Parameters for all runs.
    #[serde(default)]
    pub parameters: Given,
    /// Where the credentials of all runs come from: the sources are remembered, and the values are not.
    #[serde(default)]
    pub credentials: CredentialsGiven,
    /// Where a foreign bundle's own action runs, and what is checked; none: what works.
    #[serde(default)]
    pub environment: Option<String>,
    /// What is accepted although the policy does not.
    #[serde(default)]
    pub consent: Consent,
}

/// What a bundle that is installed has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Wanted {
    /// A program, or a bundle of another tool.
    Program,
    /// An environment.
    Environment,
}

/// Replaces an installation's bundle.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpgradeRequest {
    /// The installation, and the version that it has to have now.
    pub name: LocalName,
    /// Where the new bundle is; none: where the installed one came from.
    #[serde(default)]
    pub from: Option<Location>,
    /// Parameters for all runs, besides those that the installation has and the new bundle still takes.
    #[serde(default)]
    pub parameters: Given,
    /// Where the credentials of all runs come from, besides what the installation remembers.
    #[serde(default)]
    pub credentials: CredentialsGiven,
    /// Where a foreign bundle's own action runs, and what is checked; none: what works.
    #[serde(default)]
    pub environment: Option<String>,
    /// What is accepted although the policy does not.
    #[serde(default)]
    pub consent: Consent,
}

/// Forgets an installation.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UninstallRequest {
    /// The installation, and the version that it has to have.
    pub name: LocalName,
    /// Where a foreign bundle's own action runs; none: what works.
    #[serde(default)]
    pub environment: Option<String>,
}

/// What was installed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct InstallReport {
    /// The installation.
    pub installation: Installation,
    /// The run of a foreign bundle's own action.
    pub run: Option<ActionRun>,
    /// Whether `run` runs it without an action that is named.
    #[serde(skip)]
    pub runs: bool,
    /// The version that it replaced.
    #[serde(skip)]
    pub replaced: Option<Version>,
    /// Whether the same bundle was installed before.
    #[serde(skip)]
    pub unchanged: bool,
}

/// The run of a foreign bundle's own action.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ActionRun {
    /// Its id.
    pub id: String,
    /// What came of it.
    pub status: RunStatus,
}

impl From<&Run> for ActionRun {
    fn from(run: &Run) -> Self {
        Self {
            id: run.id.to_string(),
            status: run.status,
        }
    }
}

/// What was forgotten.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct UninstallReport {
    /// The installation that is gone.
    pub uninstalled: BundleName,
}

/// Fetches, verifies, checks and remembers a bundle.
///
/// # Errors
/// If it is not trusted, cannot be fetched, does not fit this machine, its parameters are wrong, or the name is taken.
pub async fn install(site: &Site, request: InstallRequest) -> Result<InstallReport, VerbError> {
    Box::pin(install_as(site, request, None)).await
}

/// Finds a bundle and describes the installation that [`install`] would make of it. The bundle is read where it is, nothing
/// of it is copied, and no action runs.
///
/// # Errors
/// If it is not trusted, cannot be read, its parameters are wrong, or the name is taken.
pub(super) async fn foresee(site: &Site, request: InstallRequest) -> Result<Foreseen, VerbError> {
    let (found, verified) = found(site, &request, None).await?;
    let bundle: Verified<OpenedBundle> = verified.open(found.source.as_ref()).await?;
    check_kind(request.wanted, bundle.get())?;
    let history = portable::history_of(found.source.as_ref(), &found.index).await?;
    let view = bundle.get().bundle.view();
    let new = lifecycle::NewInstallation {
        parameters: request.parameters.typed(view)?,
        name: request.name,
        source: found.recorded(),
        exported: exported_version(&request.from, &history),
        credentials: remembered(&request.credentials)?,
        secrets: BTreeMap::new(),
        replace: false,
    };
    Ok(Foreseen {
        installation: lifecycle::foresee(&site.context, &bundle, new)?,
        bundle,
    })
}

/// Installs a bundle, in the place of the installation that it replaces, if there is one.
async fn install_as(
    site: &Site,
    request: InstallRequest,
    replaced: Option<&Installation>,
) -> Result<InstallReport, VerbError> {
    let (bundle, verified) = found(site, &request, replaced).await?;
    let store = site.store().await?;
    let (_, opened) = verified_into_store(site, &bundle, verified, &store).await?;
    check_kind(request.wanted, opened.get())?;
    let history = portable::history_of(&store, &bundle.index).await?;
    let exported = exported_version(&request.from, &history);
    // What came along is checked whole before anything is installed.
    let coming = portable::prepare_runs(&site.context, &store, history).await?;
    let view = opened.get().bundle.view();
    let runs = view.action(RUN).is_some();
    credentials::check_known(opened.get(), &request.credentials)?;
    let secrets = own_secrets(site, opened.get(), request.name.as_ref(), &request.credentials).await?;
    let mut parameters = kept_parameters(site, replaced, view);
    parameters.extend(request.parameters.typed(view)?);
    let remembered = remembered(&request.credentials)?;
    let machine = site.machine(&store, request.environment.as_deref()).await?;
    let installed = lifecycle::install(
        &site.context,
        Arc::new(store.clone()),
        &machine,
        opened,
        lifecycle::NewInstallation {
            name: request.name,
            source: bundle.recorded(),
            exported,
            parameters,
            credentials: remembered,
            secrets,
            replace: replaced.is_some(),
        },
    )
    .await?;
    let installation = installed.installation;
    still_verified(site, &store, &installation).await?;
    take_runs(site, coming, &installation)?;
    Ok(InstallReport {
        run: installed.run.as_ref().map(ActionRun::from),
        installation,
        runs,
        replaced: None,
        unchanged: false,
    })
}

/// Gives the runs that came along their places. A run that is here with another record stays as it is, which is said.
pub(super) fn take_runs(
    site: &Site,
    coming: ComingRuns,
    installation: &Installation,
) -> Result<TakenRuns, VerbError> {
    let taken = coming.take(&site.context, &installation.index, &installation.name)?;
    for run in &taken.different {
        site.notice(format!(
            "run {run} is here already, and came with another record: the one that is here stays"
        ));
    }
    Ok(taken)
}

/// The version by which the export that a file holds named it. What lies beside a bundle in a registry or in the local store
/// renames nothing, because nobody signed it.
pub(super) fn exported_version(from: &Location, history: &CarriedHistory) -> Option<Version> {
    match from {
        Location::Archive(..) | Location::Layout(..) => history.installation()?.exported.clone(),
        Location::Registry(_) | Location::Local(_) | Location::Git(_) => None,
    }
}

/// The parameters of the installation that is replaced, as far as the new bundle takes them. What it does not take is said.
fn kept_parameters(site: &Site, replaced: Option<&Installation>, view: &View) -> BTreeMap<String, Value> {
    let mut kept = BTreeMap::new();
    for (name, value) in replaced.into_iter().flat_map(|before| &before.parameters) {
        let refusal = match view.parameters.get(name) {
            None => Some("the new bundle has no such parameter".to_owned()),
            Some(parameter) => {
                let checked = definition(view, &parameter.definition).and_then(|one| one.check(value));
                checked.err().map(|error| error.to_string())
            }
        };
        match refusal {
            None => drop(kept.insert(name.clone(), value.clone())),
            Some(why) => site.notice(format!("parameter {name} of the installation is not kept: {why}")),
        }
    }
    kept
}

/// Where the credentials of its runs come from, as an installation remembers it.
fn remembered(given: &CredentialsGiven) -> Result<BTreeMap<String, String>, VerbError> {
    let mut sources = BTreeMap::new();
    for set in &given.sets {
        sources.extend(secret::read_set(set)?);
    }
    sources.extend(given.sources.clone());
    let sources = sources.into_iter();
    Ok(sources.map(|(name, source)| (name, source.to_string())).collect())
}

/// Finds the bundle and the reason to trust it, or builds it of its source.
async fn found(
    site: &Site,
    request: &InstallRequest,
    replaced: Option<&Installation>,
) -> Result<(ResolvedBundle, Verified<Descriptor>), VerbError> {
    if let Location::Git(git) = &request.from {
        let before = replaced.and_then(source::of);
        // The future of a build is large, and most installations have none.
        return Box::pin(source::built(site, git, request.consent, before.as_ref())).await;
    }
    let bundle = resolve(site, &request.from, ArchiveCheck::BeforeUse).await?;
    site.step(format!("verify {}", bundle.index.digest));
    let verified = bundle.verify_to_install(site, request.consent).await?;
    site.step(format!("fetch {}", bundle.shown));
    Ok((bundle, verified))
}

/// Reads the credentials of a foreign bundle's own action.
pub(super) async fn own_secrets(
    site: &Site,
    bundle: &OpenedBundle,
    name: Option<&BundleName>,
    given: &CredentialsGiven,
) -> Result<BTreeMap<String, SecretValue>, VerbError> {
    if !bundle.kind.runs_when_installed() {
        return Ok(BTreeMap::new());
    }
    let name = name.cloned().or_else(|| bundle.bundle.view().name.parse().ok());
    let before = match &name {
        Some(name) => Installations::new(site.home()).find(name)?,
        None => None,
    };
    let action = if before.is_some() { "upgrade" } else { "install" };
    let remembered = before.map(|before| before.credentials).unwrap_or_default();
    let chosen = credentials::choose(site, bundle, action, given, &remembered)?;
    credentials::read(site, chosen).await
}

fn check_kind(wanted: Option<Wanted>, bundle: &OpenedBundle) -> Result<(), VerbError> {
    let found = match &bundle.kind {
        Kind::Program(_) | Kind::Foreign => "a program",
        Kind::Environment => "an environment",
        Kind::Addon => "an add-on",
    };
    let fits = match wanted {
        None => true,
        Some(Wanted::Program) => matches!(bundle.kind, Kind::Program(_) | Kind::Foreign),
        Some(Wanted::Environment) => matches!(bundle.kind, Kind::Environment),
    };
    let name = &bundle.bundle.view().name;
    match fits {
        true => Ok(()),
        false => Err(LifecycleError::Unfit {
            subject: format!("bundle {name:?}"),
            why: format!("it is {found}; `install` takes it"),
        }
        .into()),
    }
}

/// Replaces an installation's bundle by another version.
///
/// # Errors
/// As [`install`], or if there is no such installation.
pub async fn upgrade(site: &Site, request: UpgradeRequest) -> Result<InstallReport, VerbError> {
    let before = installation(site, &request.name)?;
    let from = match request.from {
        Some(from) => meant(&before, from),
        None => origin(&before)?,
    };
    let install = InstallRequest {
        from,
        wanted: None,
        name: Some(request.name.name),
        parameters: request.parameters,
        credentials: request.credentials,
        environment: request.environment,
        consent: request.consent,
    };
    let mut report = Box::pin(install_as(site, install, Some(&before))).await?;
    report.unchanged = before.index.digest == report.installation.index.digest;
    report.replaced = before.known_version().parse().ok();
    Ok(report)
}

/// Reads a version alone as that version where the installation came from, if that is a registry, and otherwise in the local
/// store.
fn meant(before: &Installation, from: Location) -> Location {
    let version = match &from {
        Location::Local(LocalName { name, version: None }) => {
            let numbers = name.as_str().trim_start_matches('v');
            let is_number = numbers.chars().all(|c| c.is_ascii_digit() || c == '.');
            Version::as_named(name.as_str()).ok().filter(|_| is_number)
        }
        _ => None,
    };
    let Some(version) = version else { return from };
    match (origin(before), before.bundle.parse()) {
        (Ok(Location::Registry(mut place)), _) => {
            place.tag = version.as_tag().parse().ok();
            place.digest = None;
            Location::Registry(place)
        }
        (_, Ok(name)) => Location::Local(LocalName {
            name,
            version: Some(version),
        }),
        (_, Err(_)) => from,
    }
}

/// Returns the folder of a working copy.
pub(super) fn working_copy_of(installation: &Installation) -> Option<&str> {
    let source = installation.source.strip_prefix(WORKING_COPY)?;
    Some(source.rsplit_once('@').map_or(source, |(folder, _)| folder))
}

/// Returns the location from which an installation came, without the digest to which it was pinned.
pub(super) fn origin(installation: &Installation) -> Result<Location, VerbError> {
    if let Some(git) = source::of(installation) {
        let begins = |commit: &CommitId| {
            git.reference
                .as_ref()
                .is_none_or(|one| commit.as_str().starts_with(one.as_str()))
        };
        return match git.commit.as_ref().is_some_and(begins) {
            true => Err(VerbError::Usage(format!(
                "{} was installed from a commit, which does not change: name the tag that it is to have",
                installation.name
            ))),
            false => Ok(Location::Git(git.unpinned())),
        };
    }
    if let Some(folder) = working_copy_of(installation) {
        return Err(VerbError::FromFolder {
            name: installation.name.clone(),
            folder: folder.to_owned(),
        });
    }
    let source = installation
        .source
        .rsplit_once('@')
        .map_or(installation.source.as_str(), |(source, _)| source);
    let name = source.strip_prefix("store:").unwrap_or(source);
    let location: Location = name.parse()?;
    match &location {
        Location::Registry(reference) if reference.tag.is_none() => Err(VerbError::Usage(format!(
            "{} was installed from {source} by its digest, which does not change: name the new bundle, {source}:TAG",
            installation.name
        ))),
        _ => Ok(location),
    }
}

/// Forgets an installation; its runs and the bundle's content stay.
///
/// # Errors
/// If there is no installation of that name, its bundle is not trusted any more, or a foreign bundle's own action
/// fails. Then the installation stays.
pub async fn uninstall(site: &Site, request: UninstallRequest) -> Result<UninstallReport, VerbError> {
    let installation = installation(site, &request.name)?;
    let name = request.name.name;
    let store = site.store().await?;
    let bundle = open_installed(site, &store, &installation).await?;
    let machine = site.machine(&store, request.environment.as_deref()).await?;
    let secrets = if bundle.get().kind.runs_when_installed() {
        let given = CredentialsGiven::default();
        let remembered = &installation.credentials;
        let chosen = credentials::choose(site, bundle.get(), "uninstall", &given, remembered)?;
        credentials::read(site, chosen).await?
    } else {
        BTreeMap::new()
    };
    lifecycle::uninstall(&site.context, Arc::new(store), &machine, bundle, &name, secrets).await?;
    Ok(UninstallReport { uninstalled: name })
}
