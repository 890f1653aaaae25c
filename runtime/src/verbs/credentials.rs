//! The credentials of a run: which are needed, where each comes from, and their values.

use std::collections::BTreeMap;
use std::path::PathBuf;

use samebundle_spec::bundle::parameter::{ParameterError, nearest};
use samebundle_spec::bundle::view::applies;
use samebundle_spec::pipeline::Needs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Site, VerbError};
use crate::opened::{Kind, OpenedBundle};
use crate::plan::PlanError;
use crate::secret::{self, CredentialSource, SecretError, SecretValue};

/// Where the credentials of a request come from; never their values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CredentialsGiven {
    /// The source of each, by name: `env:VARIABLE`, `file:PATH`, `prompt:`, `pass:ENTRY`, `age:FILE`, `vault:PATH#FIELD`,
    /// `kubernetes:NAMESPACE/SECRET#KEY`.
    pub sources: BTreeMap<String, CredentialSource>,
    /// Files of CNAB credential sets; a later one overrides an earlier one, and `sources` override both.
    pub sets: Vec<PathBuf>,
}

/// A credential with its source.
pub(super) struct Chosen {
    name: String,
    what: String,
    source: CredentialSource,
    /// What the source holds, and which part of it is wanted.
    part: Part,
}

#[derive(Clone, Debug)]
enum Part {
    /// The value as it is.
    One,
    /// A value as it is, or this key of several.
    OneOrKey(String),
    /// This key of several.
    Key(String),
    /// All keys.
    Keys,
}

/// Chooses the source of each credential that an action of a bundle needs: what the request gives, what the installation
/// remembers, the environment variable that the bundle itself names, and at last a person.
///
/// # Errors
/// If a credential is given that the bundle does not have, a set cannot be read, or a required one has no source.
pub(super) fn choose(
    site: &Site,
    bundle: &OpenedBundle,
    action: &str,
    given: &CredentialsGiven,
    remembered: &BTreeMap<String, String>,
) -> Result<Vec<Chosen>, VerbError> {
    let view = bundle.bundle.view();
    let needs = needs_of(bundle);
    let mut sources = BTreeMap::new();
    for (name, text) in remembered {
        sources.insert(name.clone(), text.parse()?);
    }
    for set in &given.sets {
        let set = secret::read_set(set)?.into_iter();
        // A set may serve several bundles.
        sources.extend(set.filter(|(name, _)| is_known(bundle, &needs, name)));
    }
    check_known(bundle, given)?;
    sources.extend(given.sources.clone());
    let stateless = view.action(action).is_some_and(|action| action.stateless);
    let mut chosen = Vec::new();
    let mut missing = Vec::new();
    for (name, credential) in &view.credentials {
        if !applies(&credential.apply_to, action) {
            continue;
        }
        let need = needs.secrets.get(name);
        let part = match need.map(|need| &need.key) {
            None => Part::One,
            Some(None) => Part::Keys,
            Some(Some(key)) => Part::OneOrKey(key.clone()),
        };
        let group = need.and_then(|need| Some((sources.get(&need.group)?, need.key.as_ref()?)));
        let variables: Vec<&String> = match need {
            Some(need) => need.variables.iter().collect(),
            None => credential.destination.env.iter().collect(),
        };
        let set = |name: &&&String| {
            site.answers()
                .variable(name)
                .is_some_and(|value| !value.is_empty())
        };
        let source = match (sources.get(name), group, variables.iter().find(set)) {
            (Some(source), _, _) => Some((source.clone(), part)),
            (None, Some((source, key)), _) => Some((source.clone(), Part::Key(key.clone()))),
            (None, None, Some(variable)) => {
                site.step(format!(
                    "take credential {name} from the environment variable {variable}"
                ));
                Some((CredentialSource::Environment((**variable).clone()), part))
            }
            (None, None, None) if !credential.required || stateless => None,
            (None, None, None) if site.answers().can_ask() => Some((CredentialSource::Prompt, part)),
            (None, None, None) => {
                missing.push((
                    name.clone(),
                    credential.description.clone().unwrap_or_default(),
                    variables.first().map(|variable| (*variable).clone()),
                ));
                None
            }
        };
        if let Some((source, part)) = source {
            chosen.push(Chosen {
                name: name.clone(),
                what: credential.description.clone().unwrap_or_default(),
                source,
                part,
            });
        }
    }
    match missing.is_empty() {
        true => Ok(chosen),
        false => Err(none_of(missing).into()),
    }
}

/// Refuses a credential that the bundle does not have. All keys of a secret may be given by the secret's name.
///
/// # Errors
/// If there is one.
pub(super) fn check_known(bundle: &OpenedBundle, given: &CredentialsGiven) -> Result<(), VerbError> {
    let needs = needs_of(bundle);
    let unknown = given.sources.keys().find(|name| !is_known(bundle, &needs, name));
    let Some(name) = unknown else { return Ok(()) };
    let credentials = bundle.bundle.view().credentials.keys();
    Err(PlanError::from(ParameterError::UnknownCredential {
        name: name.clone(),
        nearest: nearest(name, credentials),
    })
    .into())
}

fn is_known(bundle: &OpenedBundle, needs: &Needs, name: &str) -> bool {
    bundle.bundle.view().credentials.contains_key(name)
        || needs.secrets.values().any(|need| need.group == name)
}

fn needs_of(bundle: &OpenedBundle) -> Needs {
    match &bundle.kind {
        Kind::Program(program) => program.pipeline.needs(),
        Kind::Environment | Kind::Addon | Kind::Foreign => Needs::default(),
    }
}

fn none_of(missing: Vec<(String, String, Option<String>)>) -> SecretError {
    let line = missing.iter().map(|(name, _, variable)| {
        let source = match variable {
            Some(variable) => format!("env:{variable}"),
            None => "file:PATH".to_owned(),
        };
        format!(" --credential {name}={source}")
    });
    SecretError::Missing {
        line: line.collect(),
        missing: missing.into_iter().map(|(name, what, _)| (name, what)).collect(),
    }
}

/// Reads the credentials of a foreign bundle's own action, as far as the bundle itself says where they are.
///
/// # Errors
/// As [`choose`] and [`read`].
pub(super) async fn of_own_action(
    site: &Site,
    bundle: &OpenedBundle,
    action: &str,
) -> Result<BTreeMap<String, SecretValue>, VerbError> {
    if !bundle.kind.runs_when_installed() {
        return Ok(BTreeMap::new());
    }
    let given = CredentialsGiven::default();
    let chosen = choose(site, bundle, action, &given, &BTreeMap::new())?;
    read(site, chosen).await
}

/// Returns the sources in words, by the credential's name.
pub(super) fn sources(chosen: &[Chosen]) -> BTreeMap<String, String> {
    let sources = chosen.iter();
    sources
        .map(|one| (one.name.clone(), one.source.to_string()))
        .collect()
}

/// Reads the values of credentials.
///
/// # Errors
/// If a source has none.
pub(super) async fn read(
    site: &Site,
    chosen: Vec<Chosen>,
) -> Result<BTreeMap<String, SecretValue>, VerbError> {
    let mut values = BTreeMap::new();
    // One source may serve several credentials, and a person is asked once.
    let mut seen: BTreeMap<String, SecretValue> = BTreeMap::new();
    for one in chosen {
        let whole = matches!(one.part, Part::Key(_) | Part::Keys);
        let id = format!("{whole} {}", one.source);
        let value = match seen
            .get(&id)
            .filter(|_| one.source != CredentialSource::Prompt || whole)
        {
            Some(value) => value.clone(),
            None => secret::read(&one.name, &one.what, &one.source, whole, site.answers()).await?,
        };
        seen.insert(id, value.clone());
        let value = match (value, one.part) {
            (SecretValue::Keys(mut keys), Part::Key(key) | Part::OneOrKey(key)) => {
                let found = keys.remove(&key).ok_or_else(|| SecretError::NoKey {
                    name: one.name.clone(),
                    place: one.source.to_string(),
                    key,
                });
                SecretValue::One(found?)
            }
            (value, _) => value,
        };
        values.insert(one.name, value);
    }
    Ok(values)
}
