//! What a CNAB runtime asks: the action, the installation, the bundle (CNAB 103).

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use samebundle_spec::{ErrorKind, json, limits};
use serde_json::Value;

/// Where a runtime mounts the bundle's description.
const BUNDLE: &str = "cnab/bundle.json";
/// Where a runtime collects outputs from.
const OUTPUTS: &str = "cnab/app/outputs";

/// One invocation.
#[derive(Debug)]
pub(crate) struct Call {
    /// `CNAB_ACTION`.
    pub(crate) action: String,
    /// `CNAB_INSTALLATION_NAME`.
    pub(crate) installation: String,
    /// The bundle's description, parsed strictly.
    pub(crate) bundle: Value,
    /// Parameters as the runtime gave them, by name; empty text is "not given" (CNAB 103).
    pub(crate) parameters: Vec<(String, String)>,
    /// The folder that outputs are written to.
    pub(crate) outputs: PathBuf,
}

/// Why an invocation is refused.
#[derive(Debug)]
pub(crate) enum CallError {
    /// A variable that every CNAB runtime sets is missing.
    Variable(&'static str),
    /// The bundle's description is missing, too large or not strict JSON.
    Bundle { path: PathBuf, why: String },
    /// This program does not know the action.
    Action { action: String },
    /// Only samebundle can run the action.
    NeedsSamebundle {
        action: String,
        bundle: String,
        installation: String,
    },
    /// An output could not be written.
    Output { path: PathBuf, why: String },
}

impl CallError {
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Variable(_) | Self::Action { .. } => ErrorKind::Usage,
            Self::Bundle { .. } => ErrorKind::Input,
            Self::NeedsSamebundle { .. } => ErrorKind::Failed,
            Self::Output { .. } => ErrorKind::Environment,
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(
                f,
                "{name} is not set: this program is the run tool of a CNAB bundle and is started by a CNAB runtime"
            ),
            Self::Bundle { path, why } => {
                write!(
                    f,
                    "the bundle's description {} cannot be read: {why}",
                    path.display()
                )
            }
            Self::Action { action } => write!(
                f,
                "action {action:?} is not known to this bundle; it answers {}",
                crate::answer::ACTIONS.join(", ")
            ),
            Self::NeedsSamebundle {
                action,
                bundle,
                installation,
            } => write!(
                f,
                "action {action:?} of bundle {bundle} needs samebundle: the pipeline's tasks run in containers of their \
                 own, which a CNAB runtime does not start. Nothing was run. Do: samebundle install REFERENCE --name \
                 {installation}, then samebundle run {installation}"
            ),
            Self::Output { path, why } => write!(f, "output {} cannot be written: {why}", path.display()),
        }
    }
}

impl Call {
    /// Reads the call: files under `root` (`/`, but for tests) and variables through `variable`.
    pub(crate) fn read(root: &Path, variable: impl Fn(&str) -> Option<String>) -> Result<Self, CallError> {
        let required = |name: &'static str| {
            variable(name)
                .filter(|value| !value.is_empty())
                .ok_or(CallError::Variable(name))
        };
        let action = required("CNAB_ACTION")?;
        let installation = required("CNAB_INSTALLATION_NAME")?;
        let bundle = read_bundle(&root.join(BUNDLE))?;
        let parameters = parameters(root, &bundle, &variable);
        Ok(Self {
            action,
            installation,
            bundle,
            parameters,
            outputs: root.join(OUTPUTS),
        })
    }
}

fn read_bundle(path: &Path) -> Result<Value, CallError> {
    let refusal = |why: String| CallError::Bundle {
        path: path.to_owned(),
        why,
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limits::BUNDLE_JSON_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| refusal(error.to_string()))?;
    if bytes.len() as u64 > limits::BUNDLE_JSON_BYTES {
        return Err(refusal(format!(
            "it is larger than {} bytes",
            limits::BUNDLE_JSON_BYTES
        )));
    }
    let bundle =
        json::value(&bytes, limits::BUNDLE_JSON_BYTES).map_err(|error| refusal(error.to_string()))?;
    if !bundle.is_object() {
        return Err(refusal("it is not a JSON object".to_owned()));
    }
    Ok(bundle)
}

/// Collects the parameters that the runtime handed over, by variable or else by file.
fn parameters(
    root: &Path,
    bundle: &Value,
    variable: &impl Fn(&str) -> Option<String>,
) -> Vec<(String, String)> {
    let declared = bundle["parameters"].as_object().into_iter().flatten();
    declared
        .filter_map(|(name, parameter)| {
            let destination = &parameter["destination"];
            let by_variable = destination["env"].as_str().and_then(variable);
            let by_file = || {
                let path = destination["path"].as_str()?.trim_start_matches('/');
                let mut text = String::new();
                let file = File::open(root.join(path)).ok()?;
                file.take(limits::PARAMETER_BYTES)
                    .read_to_string(&mut text)
                    .ok()?;
                Some(text)
            };
            let value = by_variable.or_else(by_file).filter(|value| !value.is_empty())?;
            Some((name.clone(), value))
        })
        .collect()
}
