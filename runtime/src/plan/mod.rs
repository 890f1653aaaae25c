//! A plan: what a run would do, resolved and compared with the machine. Planning has no effects: nothing is made before
//! a plan has no shortfall.

mod compare;
mod error;
mod shortfall;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use samebundle_registry::trust::Verified;
use samebundle_spec::bundle::demand::Demand;
use samebundle_spec::bundle::parameter::{self, Resolved};
use samebundle_spec::record::{Installation, ParameterRecord, SetBy};
use samebundle_spec::signing::{Approvers, Right};
use samebundle_spec::{BundleName, Version};
use serde_json::Value;

use crate::driver::Offers;
use crate::engine::Reuse;
use crate::opened::{Kind, OpenedBundle, Program};
use crate::outside::{self, Outside};
use crate::secret::SecretValue;

pub use compare::shortfalls;
pub use error::PlanError;
pub use shortfall::Shortfall;
pub(crate) use shortfall::binary_size;

/// The action of our programs that runs the pipeline.
pub const RUN: &str = "run";

/// What a run would do, with everything resolved. Only [`plan`] makes one.
#[derive(Debug)]
#[non_exhaustive]
pub struct Plan {
    /// The installation's name.
    pub installation: BundleName,
    /// The version by which people know the installation.
    pub version: Version,
    /// The bundle, and why it is trusted.
    pub bundle: Verified<OpenedBundle>,
    /// The action: `run`, or one of CNAB.
    pub action: String,
    /// What carries it out.
    pub work: Work,
    /// Parameters, resolved.
    pub resolved: Resolved,
    /// Values of the credentials, by name. Whoever runs the plan reads them.
    pub secrets: BTreeMap<String, SecretValue>,
    /// What fetches content from outside. Whoever runs the plan sets it.
    pub outside: Arc<dyn Outside>,
    /// Every parameter as the record has it.
    pub parameters: BTreeMap<String, ParameterRecord>,
    /// Most containers at the same time.
    pub parallelism: usize,
    /// What is taken over of earlier runs. Whoever runs the plan decides.
    pub reuse: Reuse,
    /// Who decides about tasks that wait for a person. Whoever runs the plan sets it.
    pub approvers: Approvers,
    /// What cannot be had here; a plan with shortfalls does not run.
    pub shortfalls: Vec<Shortfall>,
}

/// What does the work of a plan.
#[derive(Debug)]
pub enum Work {
    /// The program's pipeline.
    Pipeline(Arc<Program>),
    /// The bundle's invocation image.
    Action,
}

impl Plan {
    /// Refuses a plan that this machine cannot carry out.
    ///
    /// # Errors
    /// [`PlanError::Shortfalls`].
    pub fn admit(&self) -> Result<(), PlanError> {
        match self.shortfalls.as_slice() {
            [] => Ok(()),
            some => Err(PlanError::Shortfalls(some.to_vec())),
        }
    }
}

/// Plans a run without making anything.
///
/// # Errors
/// If the installation holds another bundle, the bundle's kind or action cannot be run, a parameter is wrong or missing, or
/// the bundle asks for a right that it was not granted.
pub fn plan(
    bundle: Verified<OpenedBundle>,
    installation: &Installation,
    action: &str,
    given: &BTreeMap<String, Value>,
    offers: &Offers,
) -> Result<Plan, PlanError> {
    check_installed(&bundle, installation)?;
    let view = bundle.get().bundle.view();
    let builtin = ["install", "upgrade", "uninstall"].contains(&action);
    if !builtin && view.action(action).is_none() {
        return Err(PlanError::NoAction {
            bundle: view.name.clone(),
            action: action.to_owned(),
        });
    }
    let mut all = installation.parameters.clone();
    all.extend(given.clone());
    let resolved = parameter::resolve(view, action, &all, Some(&installation.parameters))?;
    let parameters = recorded(&resolved, installation, given);
    let version = installation
        .exported
        .clone()
        .unwrap_or_else(|| view.version.clone());
    let not_yet = |kind| PlanError::NotYet {
        bundle: view.name.clone(),
        kind,
    };
    let (work, shortfalls) = match &bundle.get().kind {
        Kind::Program(program) => {
            check_rights(program, &bundle.rights())?;
            let work = match action {
                RUN => Work::Pipeline(Arc::clone(program)),
                _ => Work::Action,
            };
            (work, short_of(program, offers)?)
        }
        Kind::Foreign => (Work::Action, Vec::new()),
        Kind::Environment => return Err(not_yet("an environment")),
        Kind::Addon => return Err(not_yet("an add-on")),
    };
    Ok(Plan {
        installation: installation.name.clone(),
        version,
        action: action.to_owned(),
        work,
        resolved,
        secrets: BTreeMap::new(),
        outside: Arc::new(outside::Nothing),
        parameters,
        parallelism: offers.containers,
        reuse: Reuse::default(),
        approvers: Approvers::default(),
        shortfalls,
        bundle,
    })
}

/// Refuses a bundle that is not the installation's.
pub(crate) fn check_installed(
    bundle: &Verified<OpenedBundle>,
    installation: &Installation,
) -> Result<(), PlanError> {
    let (verified, installed) = (bundle.get().index.digest, installation.index.digest);
    if verified == installed {
        return Ok(());
    }
    Err(PlanError::Replaced {
        installation: installation.name.to_string(),
        installed,
        verified,
    })
}

/// Returns what a program demands and this machine cannot give.
fn short_of(program: &Program, offers: &Offers) -> Result<Vec<Shortfall>, PlanError> {
    let requires = &program.extension.requires;
    let mut demands: Vec<Demand> = vec![requires.resources.demand()];
    demands.extend(program.pipeline.demands().map_err(PlanError::Demand)?);
    let addon = |wanted: &String| Shortfall::Addon {
        subject: "the bundle".to_owned(),
        wanted: wanted.clone(),
    };
    let mut missing = shortfalls(&demands, offers);
    if requires.rights.network && !offers.network {
        missing.push(Shortfall::Network {
            subject: "the bundle".to_owned(),
        });
    }
    // No local environment has an add-on.
    missing.extend(requires.addons.iter().map(addon));
    Ok(missing)
}

/// The policy must grant the signer rights beyond the default.
fn check_rights(program: &Program, granted: &BTreeSet<Right>) -> Result<(), PlanError> {
    let asked = program.extension.requires.rights.asked();
    match asked.into_iter().find(|right| !granted.contains(right)) {
        Some(right) => Err(PlanError::Right {
            right: right.word().to_owned(),
        }),
        None => Ok(()),
    }
}

fn recorded(
    resolved: &Resolved,
    installation: &Installation,
    given: &BTreeMap<String, Value>,
) -> BTreeMap<String, ParameterRecord> {
    let one = |(name, value): (&String, &Value)| {
        let set_by = match (
            given.contains_key(name),
            installation.parameters.contains_key(name),
        ) {
            (true, _) => SetBy::Run,
            (false, true) => SetBy::Installation,
            (false, false) => SetBy::Default,
        };
        let secret = resolved.secrets.contains(name);
        let value = (!secret).then(|| value.clone());
        (
            name.clone(),
            ParameterRecord {
                value,
                set_by,
                secret,
            },
        )
    };
    resolved.values.iter().map(one).collect()
}
