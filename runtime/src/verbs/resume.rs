//! `resume`: goes on with a run whose process was killed, or that waited for a person.

use std::collections::BTreeMap;
use std::sync::Arc;

use samebundle_registry::layout::Layout;
use samebundle_spec::bundle::View;
use samebundle_spec::record::{Installation, Run, RunId, RunStatus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::credentials;
use super::metadata::{self, MetadataGiven};
use super::outside::SiteOutside;
use super::resolve::open_installed;
use super::run::{RunReport, ended};
use super::{CredentialsGiven, Given, Site, VerbError, approvals};
use crate::lifecycle::{self, Machine};
use crate::plan::{self, Plan};
use crate::record::{Installations, RecordError, Runs};

/// What is to go on.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResumeRequest {
    /// The run: its id, the beginning or end of it, `last`, or an installation for its last run.
    pub run: String,
    /// Secret parameters that the run was given, which no record has.
    #[serde(default)]
    pub parameters: Given,
    /// Where its credentials come from, beside what the installation remembers.
    #[serde(default)]
    pub credentials: CredentialsGiven,
    /// Where the run is sent to when it has ended.
    #[serde(default)]
    pub metadata: MetadataGiven,
}

/// Goes on with a run that was interrupted or about which persons decided, in the same run: tasks that had ended are not run again. The failure of the program
/// is a report and not an error.
///
/// # Errors
/// If the run ended otherwise, still waits for a person, is not of this home, or its files were removed; if the installation has another bundle by
/// now; as `run`.
pub async fn resume(site: &Site, request: ResumeRequest) -> Result<RunReport, VerbError> {
    let metadata = request.metadata.clone();
    let (id, ready) = ready(site, request).await?;
    let (store, machine, plan) = ready;
    // A caller may have little stack, and the future of a run is large.
    let goes_on = lifecycle::resume(&site.context, Arc::new(store), machine.driver, plan, &id);
    let run = Box::pin(goes_on).await?;
    Ok(ended(site, run, &metadata).await)
}

/// Makes everything that a run needs before it goes on.
pub(super) async fn ready(
    site: &Site,
    request: ResumeRequest,
) -> Result<(RunId, (Layout, Machine, Plan)), VerbError> {
    metadata::allowed(site, &request.metadata)?;
    let store = site.store().await?;
    site.resolve_interrupted(&site.drivers(&store)).await?;
    let runs = Runs::new(site.home());
    let run = runs.get(&runs.find_id(&request.run)?)?;
    check(&run)?;
    approvals::check_settled(site, &run)?;
    let environment = Some(run.driver.as_str());
    let given = (request.parameters, &request.credentials);
    let (installation, machine, mut plan) = planned(site, &store, &run, given, environment).await?;
    plan.outside = Arc::new(SiteOutside(site.clone()));
    plan.approvers = approvals::approvers(site, Some(&installation))?;
    Ok((run.id, (store, machine, plan)))
}

/// Plans what a run did, with the values that no record has, for an environment.
///
/// # Errors
/// If the installation has another bundle by now, or something that is needed is missing.
pub(super) async fn planned(
    site: &Site,
    store: &Layout,
    run: &Run,
    (parameters_given, credentials_given): (Given, &CredentialsGiven),
    environment: Option<&str>,
) -> Result<(Installation, Machine, Plan), VerbError> {
    let installation = Installations::new(site.home()).get(&run.installation)?;
    check_bundle(run, &installation)?;
    let bundle = open_installed(site, store, &installation).await?;
    let given = parameters(run, parameters_given, bundle.get().bundle.view())?;
    let credentials = credentials::choose(
        site,
        bundle.get(),
        &run.action,
        credentials_given,
        &installation.credentials,
    )?;
    let machine = site.machine(store, environment).await?;
    let mut plan = plan::plan(bundle, &installation, &run.action, &given, &machine.offers)?;
    plan.admit()?;
    plan.secrets = credentials::read(site, credentials).await?;
    Ok((installation, machine, plan))
}

/// Refuses a run that cannot go on.
fn check(run: &Run) -> Result<(), VerbError> {
    if run.imported_with.is_some() {
        return Err(RecordError::NoLog {
            id: run.id.to_string(),
        }
        .into());
    }
    if !matches!(run.status, RunStatus::Interrupted | RunStatus::Suspended) {
        let (id, status) = (run.id.to_string(), run.status.word());
        return Err(RecordError::NotInterrupted { id, status }.into());
    }
    if let Some(removed) = run.files_removed {
        return Err(VerbError::FilesRemoved {
            run: run.id.to_string(),
            removed,
            installation: run.installation.to_string(),
        });
    }
    match run.action == plan::RUN {
        true => Ok(()),
        false => Err(VerbError::Usage(format!(
            "run {} is the action {} of a bundle, which has no tasks that ended: do it again",
            run.id, run.action
        ))),
    }
}

fn check_bundle(run: &Run, installation: &Installation) -> Result<(), VerbError> {
    match installation.index.digest == run.bundle_digest {
        true => Ok(()),
        false => Err(VerbError::OtherBundle {
            run: run.id.to_string(),
            name: installation.name.clone(),
            version: run.version.clone(),
        }),
    }
}

/// Returns the parameters with which the run began. Secret ones are in no record, so that they are given again.
fn parameters(run: &Run, given: Given, view: &View) -> Result<BTreeMap<String, Value>, VerbError> {
    let given = given.typed(view)?;
    let secret = |name: &String| run.parameters.get(name).is_some_and(|one| one.secret);
    if let Some(name) = given.keys().find(|name| !secret(name)) {
        return Err(VerbError::Usage(format!(
            "a run goes on with the parameters that it began with, and {name} is not secret: leave it out"
        )));
    }
    let recorded = run.parameters.iter();
    let recorded = recorded.filter_map(|(name, one)| Some((name.clone(), one.value.clone()?)));
    Ok(recorded.chain(given).collect())
}
