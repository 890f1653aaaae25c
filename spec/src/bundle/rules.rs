//! The rules of cnab-spec 101 beyond types: which findings are errors, and which are only notices.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::BundleError;
use super::definition::Definition;
use super::view::{BUILT_IN_ACTIONS, Destination, View, applies};
use crate::json;

/// Where outputs are, in the invocation image.
pub const OUTPUTS: &str = "/cnab/app/outputs";

/// A broken rule of cnab-spec 101 or of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokenRule {
    /// The schema version is not valid, or is of another major version.
    #[error("schemaVersion {0:?} is not a version 1 of CNAB (e.g. v1.2.0)")]
    SchemaVersion(String),
    /// An empty name, or one with characters that cannot be seen.
    #[error("name {0:?} must be one or more graphic characters, no tab, newline or invisible character")]
    Name(String),
    /// No invocation image.
    #[error("there is no invocation image; a bundle needs at least one")]
    NoInvocationImage,
    /// An image without a reference.
    #[error("the image has an empty reference")]
    ImageReference,
    /// An action with the name of a built-in one.
    #[error("action {0:?} is built in and must not be declared")]
    BuiltInAction(String),
    /// A parameter or credential that goes nowhere.
    #[error("it needs an environment variable (env) or a file (path) to go to")]
    NoDestination,
    /// The name of an environment variable is not valid or is reserved.
    #[error("environment variable {0:?} is empty, holds '=' or NUL, or begins with the reserved CNAB_")]
    Environment(String),
    /// The path is not valid, or is where outputs are.
    #[error("path {0:?} must be a file path without '..', and not beneath {OUTPUTS}")]
    Path(String),
    /// An output whose path is not beneath the outputs' directory.
    #[error("path {0:?} must be beneath {OUTPUTS}, without '..'")]
    OutputPath(String),
    /// Two outputs with one path.
    #[error("path {path:?} is also that of output {other:?}")]
    SameOutput {
        /// The path.
        path: String,
        /// The other output.
        other: String,
    },
    /// The definition does not exist.
    #[error("definition {0:?} is not among the bundle's definitions")]
    NoDefinition(String),
    /// A definition that is not JSON Schema draft-07, or reaches outside the document.
    #[error("it is not a JSON Schema (draft-07, no remote references): {0}")]
    Schema(String),
    /// A required extension that has no data.
    #[error("required extension {0:?} is not under custom")]
    NoExtension(String),
    /// A component that is not among the images.
    #[error("component {0:?} is not among the bundle's images")]
    NoComponent(String),
    /// Two data that are carried under one name.
    #[error("data {0:?} is carried twice")]
    DataTwice(String),
    /// Two extensions of ours: a bundle has one kind.
    #[error("the bundle also has the extension {0:?}; a bundle is of one kind")]
    TwoKinds(String),
    /// A version of our extension that this version does not read.
    #[error("apiVersion {0:?} is not read by this version of samebundle; install a newer one")]
    ApiVersion(String),
}

/// A notice about a bundle that is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The bundle has an unknown top-level field; it is kept.
    UnknownField(String),
    /// A draft of the specification (`v1.0.0-WD`), compatible with nothing else by its own rules.
    Draft(String),
    /// A newer minor version of the specification than 1.2.
    NewerMinor(String),
    /// A required extension that is not supported: what needs it will not work.
    Extension(String),
    /// A credential and a parameter have the same destination: an action that both apply to is refused.
    Conflict {
        /// The credential.
        credential: String,
        /// The parameter.
        parameter: String,
        /// Environment variable or path.
        place: String,
    },
    /// A default value does not fit its own schema.
    Default {
        /// The definition.
        definition: String,
        /// Why.
        why: String,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownField(name) => write!(
                f,
                "bundle.json has an unknown field {name:?}; it is kept as it is"
            ),
            Self::Draft(version) => write!(f, "the bundle follows a draft of the specification ({version})"),
            Self::NewerMinor(version) => {
                write!(
                    f,
                    "the bundle follows a newer version of the specification ({version})"
                )
            }
            Self::Extension(name) => {
                write!(
                    f,
                    "the bundle requires the extension {name}, which is not supported"
                )
            }
            Self::Conflict {
                credential,
                parameter,
                place,
            } => write!(
                f,
                "credential {credential:?} and parameter {parameter:?} both go to {place:?}; actions that need both are refused"
            ),
            Self::Default { definition, why } => {
                write!(
                    f,
                    "the default of definition {definition:?} does not fit its schema: {why}"
                )
            }
        }
    }
}

/// Required extensions that need nothing of a runtime beyond what CNAB itself asks for.
const SUPPORTED_EXTENSIONS: [&str; 1] = ["sh.porter.file-parameters"];

const FIELDS: [&str; 16] = [
    "schemaVersion",
    "name",
    "version",
    "description",
    "keywords",
    "license",
    "maintainers",
    "invocationImages",
    "images",
    "parameters",
    "credentials",
    "outputs",
    "definitions",
    "actions",
    "custom",
    "requiredExtensions",
];

fn invalid(pointer: &[&str], fault: BrokenRule) -> BundleError {
    BundleError::Invalid {
        pointer: pointer
            .iter()
            .fold(String::new(), |at, segment| json::child(&at, segment)),
        fault,
    }
}

/// Checks every rule; the first that is broken is the error.
pub(super) fn check(view: &View) -> Result<(), BundleError> {
    if schema_version(&view.schema_version).is_none_or(|(major, _, _)| major != 1) {
        let fault = BrokenRule::SchemaVersion(view.schema_version.chars().take(40).collect());
        return Err(invalid(&["schemaVersion"], fault));
    }
    if view.name.is_empty() || view.name.chars().any(|c| !graphic(c)) {
        let fault = BrokenRule::Name(view.name.chars().take(100).collect());
        return Err(invalid(&["name"], fault));
    }
    check_images(view)?;
    for name in view.actions.keys() {
        if BUILT_IN_ACTIONS.contains(&name.as_str()) {
            return Err(invalid(
                &["actions", name],
                BrokenRule::BuiltInAction(name.clone()),
            ));
        }
    }
    for (name, schema) in &view.definitions {
        Definition::new(schema, &view.definitions)
            .map_err(|error| invalid(&["definitions", name], BrokenRule::Schema(error.to_string())))?;
    }
    check_parameters(view)?;
    check_credentials(view)?;
    check_outputs(view)?;
    let missing = |name: &&String| !view.custom.contains_key(*name);
    match view.required_extensions.iter().find(missing) {
        Some(name) => Err(invalid(
            &["requiredExtensions"],
            BrokenRule::NoExtension(name.clone()),
        )),
        None => Ok(()),
    }
}

fn check_images(view: &View) -> Result<(), BundleError> {
    if view.invocation_images.is_empty() {
        return Err(invalid(&["invocationImages"], BrokenRule::NoInvocationImage));
    }
    for (index, image) in view.invocation_images.iter().enumerate() {
        if image.image.is_empty() {
            let pointer = ["invocationImages", &index.to_string(), "image"];
            return Err(invalid(&pointer, BrokenRule::ImageReference));
        }
    }
    match view.images.iter().find(|(_, image)| image.image.is_empty()) {
        Some((name, _)) => Err(invalid(&["images", name, "image"], BrokenRule::ImageReference)),
        None => Ok(()),
    }
}

fn check_parameters(view: &View) -> Result<(), BundleError> {
    for (name, parameter) in &view.parameters {
        if !view.definitions.contains_key(&parameter.definition) {
            let fault = BrokenRule::NoDefinition(parameter.definition.clone());
            return Err(invalid(&["parameters", name, "definition"], fault));
        }
        check_destination(&parameter.destination)
            .map_err(|fault| invalid(&["parameters", name, "destination"], fault))?;
    }
    Ok(())
}

fn check_credentials(view: &View) -> Result<(), BundleError> {
    for (name, credential) in &view.credentials {
        let here = ["credentials", name.as_str()];
        check_destination(&credential.destination).map_err(|fault| invalid(&here, fault))?;
    }
    Ok(())
}

fn check_outputs(view: &View) -> Result<(), BundleError> {
    let mut seen: BTreeMap<String, &String> = BTreeMap::new();
    for (name, output) in &view.outputs {
        if !view.definitions.contains_key(&output.definition) {
            let fault = BrokenRule::NoDefinition(output.definition.clone());
            return Err(invalid(&["outputs", name, "definition"], fault));
        }
        let here = ["outputs", name, "path"];
        let path = rooted(&output.path)
            .filter(|path| output.path.starts_with('/') && is_output(path))
            .ok_or_else(|| invalid(&here, BrokenRule::OutputPath(output.path.clone())))?;
        if let Some(other) = seen.insert(path.clone(), name) {
            let other = other.clone();
            return Err(invalid(&here, BrokenRule::SameOutput { path, other }));
        }
    }
    Ok(())
}

fn check_destination(destination: &Destination) -> Result<(), BrokenRule> {
    if destination.env.is_none() && destination.path.is_none() {
        return Err(BrokenRule::NoDestination);
    }
    if let Some(name) = &destination.env
        && (name.is_empty() || name.contains(['=', '\0']) || name.starts_with("CNAB_"))
    {
        return Err(BrokenRule::Environment(name.clone()));
    }
    match &destination.path {
        Some(path) if rooted(path).is_none_or(|path| path == OUTPUTS || is_output(&path)) => {
            Err(BrokenRule::Path(path.clone()))
        }
        _ => Ok(()),
    }
}

fn shared_place(a: &Destination, b: &Destination) -> Option<String> {
    if a.env.is_some() && a.env == b.env {
        return a.env.clone();
    }
    let path = |destination: &Destination| destination.path.as_deref().and_then(rooted);
    path(a).filter(|place| path(b).as_ref() == Some(place))
}

fn is_output(path: &str) -> bool {
    path.strip_prefix(OUTPUTS)
        .is_some_and(|rest| rest.starts_with('/') && rest.len() > 1)
}

/// Returns a path of an image from its root, without empty and `.` components; `None` if it is no file path or goes up.
pub(super) fn rooted(path: &str) -> Option<String> {
    if path.ends_with('/') || path.contains('\0') {
        return None;
    }
    let parts: Vec<_> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    if parts.is_empty() || parts.contains(&"..") {
        return None;
    }
    Some(format!("/{}", parts.join("/")))
}

/// Splits `v1.2.0-WD` into major, minor and marker.
fn schema_version(text: &str) -> Option<(u64, u64, Option<&str>)> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let (numbers, marker) = match text.split_once('-') {
        Some((numbers, marker)) => (numbers, Some(marker)),
        None => (text, None),
    };
    let mut parts = numbers.split('.').map(|part| part.parse::<u64>().ok());
    let major = parts.next()??;
    let minor = parts.next().unwrap_or(Some(0))?;
    let patch = parts.next().unwrap_or(Some(0));
    (patch.is_some() && parts.next().is_none()).then_some((major, minor, marker))
}

/// Unicode's graphic characters (L, M, N, P, S, Zs) as far as they can be told apart without its tables: nothing that
/// is a control, a separator of lines, a format character, or private.
fn graphic(c: char) -> bool {
    let format = matches!(c, '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{8e2}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}');
    let private = matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}');
    let nothing = matches!(c, '\u{fdd0}'..='\u{fdef}') || (c as u32) & 0xfffe == 0xfffe;
    !(c.is_control() || format || private || nothing)
}

/// Lists the notices for the user.
pub(super) fn notices(view: &View, value: &Value) -> Vec<Notice> {
    let mut notices = Vec::new();
    match schema_version(&view.schema_version) {
        Some((_, _, Some(_))) => notices.push(Notice::Draft(view.schema_version.clone())),
        Some((_, minor, None)) if minor > 2 => {
            notices.push(Notice::NewerMinor(view.schema_version.clone()));
        }
        _ => {}
    }
    let unknown = value
        .as_object()
        .into_iter()
        .flat_map(|object| object.keys())
        .filter(|key| !FIELDS.contains(&key.as_str()));
    notices.extend(unknown.cloned().map(Notice::UnknownField));
    let unsupported = view
        .required_extensions
        .iter()
        .filter(|name| !SUPPORTED_EXTENSIONS.contains(&name.as_str()));
    notices.extend(unsupported.cloned().map(Notice::Extension));
    notices.extend(conflicts(view));
    for (name, schema) in &view.definitions {
        let definition = Definition::new(schema, &view.definitions);
        if let (Ok(definition), Some(default)) = (definition, schema.get("default"))
            && let Err(error) = definition.check(default)
        {
            notices.push(Notice::Default {
                definition: name.clone(),
                why: error.to_string(),
            });
        }
    }
    notices
}

/// Lists credentials and parameters that have the same destination in some action.
fn conflicts(view: &View) -> Vec<Notice> {
    let mut found = Vec::new();
    for (name, credential) in &view.credentials {
        for (other, parameter) in &view.parameters {
            let meet = parameter.apply_to.is_empty()
                || credential.apply_to.is_empty()
                || parameter
                    .apply_to
                    .iter()
                    .any(|action| applies(&credential.apply_to, action));
            if let Some(place) = shared_place(&credential.destination, &parameter.destination)
                && meet
            {
                found.push(Notice::Conflict {
                    credential: name.clone(),
                    parameter: other.clone(),
                    place,
                });
            }
        }
    }
    found
}
