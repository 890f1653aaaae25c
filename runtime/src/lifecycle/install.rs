//! Installs a verified bundle under a name, replaces it by another version, and forgets it.
//!
//! The content is in the store already. What the bundle requires is compared with the machine before anything is made.
//! A foreign CNAB bundle's own `install`, `upgrade` or `uninstall` action runs through its invocation image; if it
//! fails, nothing is installed, and the failed run stays on record.

use std::collections::BTreeMap;
use std::sync::Arc;

use samebundle_registry::store::Store;
use samebundle_registry::trust::Verified;
use samebundle_spec::record::{Format, Installation, Run, RunStatus};
use samebundle_spec::time::Timestamp;
use samebundle_spec::{BundleName, Version};
use serde_json::Value;

use super::{LifecycleError, run};
use crate::context::Context;
use crate::driver::{Driver, Offers};
use crate::opened::OpenedBundle;
use crate::plan::{check_installed, plan};
use crate::record::Installations;
use crate::secret::SecretValue;

/// What to install, and how.
#[derive(Debug)]
pub struct NewInstallation {
    /// Name of the installation; none: the bundle's.
    pub name: Option<BundleName>,
    /// Where the bundle came from, for the record.
    pub source: String,
    /// The version by which an export named it that brought it.
    pub exported: Option<Version>,
    /// Parameters for all runs.
    pub parameters: BTreeMap<String, Value>,
    /// Where the credentials of its runs come from, to be remembered; none is a value.
    pub credentials: BTreeMap<String, String>,
    /// Values of the credentials for its own action, if it has one.
    pub secrets: BTreeMap<String, SecretValue>,
    /// Whether an installation of another bundle may be replaced.
    pub replace: bool,
}

/// What was installed, and the run of a foreign bundle's action.
#[derive(Debug)]
pub struct Installed {
    /// The installation.
    pub installation: Installation,
    /// The run of its `install` or `upgrade` action.
    pub run: Option<Run>,
}

/// A driver and what its machine has.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The driver.
    pub driver: Arc<dyn Driver>,
    /// What it can give.
    pub offers: Offers,
}

/// Installs a bundle that is in the store.
///
/// # Errors
/// If a parameter is wrong, the machine cannot give what it requires, the name is taken, or its own
/// action fails.
pub async fn install(
    context: &Context,
    store: Arc<dyn Store>,
    machine: &Machine,
    bundle: Verified<OpenedBundle>,
    mut request: NewInstallation,
) -> Result<Installed, LifecycleError> {
    let (replace, secrets) = (request.replace, std::mem::take(&mut request.secrets));
    let installation = describe(context, &bundle, request)?;
    let installations = Installations::new(&context.home);
    let _lock = installations.lock(&installation.name).await?;
    let (installation, action) = in_its_place(&installations, installation, bundle.get(), replace)?;
    let runs_its_own = bundle.get().kind.runs_when_installed();
    let mut plan = plan(bundle, &installation, action, &BTreeMap::new(), &machine.offers)?;
    plan.admit()?;
    plan.secrets = secrets;
    let run = match runs_its_own {
        false => None,
        true => Some(succeeded(
            run::run(context, store, Arc::clone(&machine.driver), plan).await?,
        )?),
    };
    installations.put(&installation)?;
    Ok(Installed { installation, run })
}

/// Returns the installation that [`install`] would make of a bundle. Nothing is made, and no action runs.
///
/// # Errors
/// If the name is taken, or the bundle's own cannot be one.
pub fn foresee(
    context: &Context,
    bundle: &Verified<OpenedBundle>,
    request: NewInstallation,
) -> Result<Installation, LifecycleError> {
    let replace = request.replace;
    let installation = describe(context, bundle, request)?;
    let installations = Installations::new(&context.home);
    Ok(in_its_place(&installations, installation, bundle.get(), replace)?.0)
}

/// Puts an installation behind the one that has its name, and says by which action it comes there.
fn in_its_place(
    installations: &Installations<'_>,
    mut installation: Installation,
    bundle: &OpenedBundle,
    replace: bool,
) -> Result<(Installation, &'static str), LifecycleError> {
    let before = installations.find(&installation.name)?;
    if let Some(before) = &before
        && before.index.digest != installation.index.digest
        && !replace
    {
        return Err(LifecycleError::NameTaken {
            name: before.name.to_string(),
            bundle: before.bundle.clone(),
            version: before.version.clone(),
        });
    }
    keep_credentials(&mut installation, before.as_ref(), bundle);
    let action = if before.is_some() { "upgrade" } else { "install" };
    Ok((installation.after(before), action))
}

/// Keeps where credentials come from that the bundle still takes, unless they are given anew.
fn keep_credentials(installation: &mut Installation, before: Option<&Installation>, bundle: &OpenedBundle) {
    let known = &bundle.bundle.view().credentials;
    let before = before.into_iter().flat_map(|before| &before.credentials);
    for (name, source) in before.filter(|(name, _)| known.contains_key(*name)) {
        let kept = installation.credentials.entry(name.clone());
        kept.or_insert_with(|| source.clone());
    }
}

fn succeeded(run: Run) -> Result<Run, LifecycleError> {
    match run.status {
        RunStatus::Succeeded => Ok(run),
        RunStatus::Cancelled => Err(LifecycleError::Cancelled),
        _ => Err(LifecycleError::ActionFailed {
            run: run.id.to_string(),
            message: run.message.unwrap_or_default(),
        }),
    }
}

fn describe(
    context: &Context,
    bundle: &Verified<OpenedBundle>,
    request: NewInstallation,
) -> Result<Installation, LifecycleError> {
    let view = bundle.get().bundle.view();
    let name = match request.name {
        Some(name) => name,
        // A CNAB name may hold anything printable; an installation's may not.
        None => view.name.parse().map_err(|_| LifecycleError::Unfit {
            subject: format!("bundle {:?}", view.name),
            why: "its name cannot name an installation; give one with --name".to_owned(),
        })?,
    };
    let version = view.version.to_string();
    Ok(Installation {
        format: Format::CURRENT,
        name,
        bundle: view.name.clone(),
        exported: request
            .exported
            .filter(|exported| exported.to_string() != version),
        version,
        index: bundle.get().index.clone(),
        source: request.source,
        verification: bundle.verification(),
        parameters: request.parameters,
        credentials: request.credentials,
        installed: Timestamp::from(context.clock.now()).to_string(),
        previous: None,
        earlier: Vec::new(),
    })
}

/// Forgets an installation; its runs and the bundle's content stay. A foreign bundle's `uninstall` action runs first.
///
/// # Errors
/// If there is no such installation, it holds another bundle, or its action fails: then it stays.
pub async fn uninstall(
    context: &Context,
    store: Arc<dyn Store>,
    machine: &Machine,
    bundle: Verified<OpenedBundle>,
    name: &BundleName,
    secrets: BTreeMap<String, SecretValue>,
) -> Result<Option<Run>, LifecycleError> {
    let installations = Installations::new(&context.home);
    let _lock = installations.lock(name).await?;
    let installation = installations.get(name)?;
    check_installed(&bundle, &installation)?;
    let run = match bundle.get().kind.runs_when_installed() {
        false => None,
        true => {
            let mut plan = plan(
                bundle,
                &installation,
                "uninstall",
                &BTreeMap::new(),
                &machine.offers,
            )?;
            plan.secrets = secrets;
            Some(succeeded(
                run::run(context, store, Arc::clone(&machine.driver), plan).await?,
            )?)
        }
    };
    installations.remove(name)?;
    Ok(run)
}
