//! Runs one action of a CNAB bundle through its invocation image (cnab-spec 103).
//!
//! The run tool `/cnab/app/run` is started with the environment and files of the bundle's parameters and credentials,
//! with `/cnab/bundle.json` byte for byte, and with an empty `/cnab/app/outputs` that is read after it ended. The
//! driver takes injected files as bytes and removes them with the container: credentials are not kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use samebundle_spec::bundle::parameter::Injection;
use samebundle_spec::bundle::view::{View, applies};
use samebundle_spec::record::{ArtifactRecord, OutputRecord};
use samebundle_spec::{Descriptor, Digest, limits};
use serde_json::Value;

use super::LifecycleError;
use crate::driver::{Content, Input, Limits, Operation, Output, Staging};
use crate::record::RUN_OUTPUTS;

/// Where the run tool looks for outputs.
const OUTPUTS: &str = "/cnab/app/outputs";

/// One action to run.
#[derive(Debug)]
pub struct Action<'a> {
    /// The run's id, a ULID; also the CNAB revision.
    pub run_id: &'a str,
    /// Name of the installation.
    pub installation: &'a str,
    /// The action.
    pub name: &'a str,
    /// `bundle.json`, byte for byte.
    pub bundle_json: &'a [u8],
    /// The content of `bundle.json`.
    pub view: &'a View,
    /// Manifest of the invocation image, one platform.
    pub image: Descriptor,
    /// Environment and files from parameters and credentials.
    pub injection: Injection,
    /// The run's folder.
    pub folder: &'a Path,
}

impl Action<'_> {
    /// Returns the operation for a driver.
    pub fn prepare(&self) -> (Operation, Staging) {
        let input = |target: &str, content: &[u8]| Input {
            target: target.to_owned(),
            content: Content::Bytes(content.to_vec()),
        };
        let mut inputs = vec![input("/cnab/bundle.json", self.bundle_json)];
        let files = self.injection.files.iter();
        inputs.extend(files.map(|(path, content)| input(path, content)));
        let output = Output::Folder {
            target: OUTPUTS.to_owned(),
            folders: Vec::new(),
        };
        let mut staging = Staging::default();
        staging.output(&output, self.outputs_folder());
        let operation = Operation {
            run_id: self.run_id.to_owned(),
            name: self.name.replace(|c: char| !c.is_ascii_alphanumeric(), "-"),
            image: self.image.clone(),
            extra_layers: Vec::new(),
            command: vec!["/cnab/app/run".to_owned()],
            environment: self.environment(),
            user: None,
            inputs,
            outputs: vec![output],
            limits: Limits::default(),
            volumes: Vec::new(),
            working_dir: None,
        };
        (operation, staging)
    }

    fn outputs_folder(&self) -> PathBuf {
        self.folder.join(RUN_OUTPUTS)
    }

    /// The environment. A parameter cannot override what CNAB reserves.
    fn environment(&self) -> BTreeMap<String, String> {
        let mut environment = self.injection.environment.clone();
        let version = self.view.version.to_string();
        let reserved = [
            ("CNAB_INSTALLATION_NAME", self.installation),
            ("CNAB_BUNDLE_NAME", &self.view.name),
            ("CNAB_BUNDLE_VERSION", version.as_str()),
            ("CNAB_ACTION", self.name),
            ("CNAB_REVISION", self.run_id),
            ("CNAB_CLAIMS_VERSION", "CNAB-Claims-1.0.0"),
        ];
        environment.extend(reserved.map(|(name, value)| (name.to_owned(), value.to_owned())));
        environment
    }

    /// Reads the outputs that apply to the action; a missing one has its default.
    ///
    /// # Errors
    /// If one is missing without a default, is no plain file, or does not fit its definition.
    pub fn outputs(&self) -> Result<BTreeMap<String, OutputRecord>, LifecycleError> {
        let applying = self
            .view
            .outputs
            .iter()
            .filter(|(_, output)| applies(&output.apply_to, self.name));
        let mut found = BTreeMap::new();
        for (name, output) in applying {
            let schema = self.view.definitions.get(&output.definition);
            let relative = output.path.trim_start_matches(OUTPUTS).trim_start_matches('/');
            let record = match read_beneath(&self.outputs_folder(), relative)? {
                Some(bytes) => record(&bytes, schema, relative),
                None => match schema.and_then(|schema| schema.get("default")) {
                    Some(default) => OutputRecord::Value(default.clone()),
                    None => {
                        return Err(LifecycleError::MissingOutput {
                            name: name.clone(),
                            path: output.path.clone(),
                        });
                    }
                },
            };
            found.insert(name.clone(), record);
        }
        Ok(found)
    }
}

/// Small text and JSON outputs are values; everything else is a file by digest.
fn record(bytes: &[u8], schema: Option<&Value>, relative: &str) -> OutputRecord {
    let is_file = schema.is_some_and(|schema| schema.get("contentEncoding").is_some());
    let text = std::str::from_utf8(bytes).ok().filter(|_| !is_file);
    let wanted = schema
        .and_then(|schema| schema.get("type"))
        .and_then(Value::as_str)
        .unwrap_or("string");
    match text {
        Some(text) if wanted == "string" => OutputRecord::Value(Value::String(text.to_owned())),
        Some(text) if serde_json::from_str::<Value>(text.trim()).is_ok() => {
            OutputRecord::Value(serde_json::from_str(text.trim()).unwrap_or(Value::Null))
        }
        _ => OutputRecord::Artifacts(vec![ArtifactRecord {
            artifact_type: "file".to_owned(),
            digest: Some(Digest::sha256(bytes)),
            folder: false,
            size: bytes.len() as u64,
            path: Some(format!("outputs/{relative}")),
            uri: None,
            metadata: BTreeMap::new(),
        }]),
    }
}

/// Reads a plain file below a folder that a container wrote, without following any link.
fn read_beneath(folder: &Path, relative: &str) -> Result<Option<Vec<u8>>, LifecycleError> {
    use rustix::fs::{Mode, OFlags, ResolveFlags};
    use std::io::Read;

    let path = folder.join(relative);
    let root = std::fs::File::open(folder).map_err(LifecycleError::io("open", folder))?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match rustix::fs::openat2(&root, relative, flags, Mode::empty(), resolve) {
        Ok(file) => std::fs::File::from(file),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(LifecycleError::io("read", &path)(error.into())),
    };
    let metadata = file.metadata().map_err(LifecycleError::io("read", &path))?;
    if !metadata.is_file() || metadata.len() > limits::PARAMETER_BYTES {
        return Err(LifecycleError::Output {
            path: relative.to_owned(),
        });
    }
    let mut bytes = Vec::new();
    let mut limited = file.take(limits::PARAMETER_BYTES);
    limited
        .read_to_end(&mut bytes)
        .map_err(LifecycleError::io("read", &path))?;
    Ok(Some(bytes))
}
