//! Credential sets of CNAB (cnab-spec 802 and the sets of Porter): a file that says where each credential comes from.

use std::collections::BTreeMap;
use std::path::Path;

use samebundle_registry::durable;
use samebundle_spec::{limits, yaml};
use serde::Deserialize;

use super::{CredentialSource, SecretError};

#[derive(Deserialize)]
struct Set {
    credentials: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    source: BTreeMap<String, String>,
}

/// Reads a credential set, JSON or YAML. A value that stands in the file itself is refused: such a file is a secret.
///
/// # Errors
/// If it cannot be read, is no credential set, or has a source that is not known.
pub fn read_set(path: &Path) -> Result<BTreeMap<String, CredentialSource>, SecretError> {
    let wrong = |why: String| SecretError::Set {
        path: path.display().to_string(),
        why,
    };
    let bytes =
        durable::read_named(path, limits::PARAMETER_BYTES).map_err(|error| wrong(error.to_string()))?;
    // The parser's own words may show a part of the text.
    let set: Set = yaml::from_slice(&bytes, limits::PARAMETER_BYTES)
        .map_err(|_| wrong("it has no list \"credentials\" of a name and a source each".to_owned()))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut sources = BTreeMap::new();
    for Entry { name, source } in set.credentials {
        let mut source = source.into_iter();
        let (Some((word, place)), None) = (source.next(), source.next()) else {
            return Err(wrong(format!("credential {name} has not exactly one source")));
        };
        let source = match word.as_str() {
            "env" => CredentialSource::Environment(place),
            "path" => CredentialSource::File(folder.join(place)),
            "value" | "command" => {
                return Err(wrong(format!(
                    "credential {name} has a source {word:?}, which is not taken; put it into a file and name the file"
                )));
            }
            word => {
                let source: Result<CredentialSource, _> = format!("{word}:{place}").parse();
                let source = source.map_err(|_| {
                    wrong(format!(
                        "credential {name} has a source {word:?}, which is not known"
                    ))
                })?;
                source.below(folder)
            }
        };
        sources.insert(name, source);
    }
    Ok(sources)
}
