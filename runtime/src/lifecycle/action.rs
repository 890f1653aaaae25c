//! Runs one action of a CNAB bundle through its invocation image (cnab-spec 103).
//!
//! The run tool `/cnab/app/run` is started with the environment and files of the bundle's parameters and credentials, with
//! `/cnab/bundle.json` byte for byte, and with an empty `/cnab/app/outputs` that is read after it ended. Injected files
//! live in the run's folder while the container does and are removed with it: credentials are not kept.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use samebundle_registry::durable;
use samebundle_spec::bundle::parameter::Injection;
use samebundle_spec::bundle::view::{View, applies};
use samebundle_spec::record::{ArtifactRecord, OutputRecord};
use samebundle_spec::{Descriptor, Digest, limits};
use serde_json::Value;

use super::LifecycleError;
use crate::driver::{Limits, Mount, Operation};

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
    /// What it says.
    pub view: &'a View,
    /// Manifest of the invocation image, one platform.
    pub image: Descriptor,
    /// Environment and files from parameters and credentials.
    pub injection: Injection,
    /// The run's folder.
    pub folder: &'a Path,
}

impl Action<'_> {
    /// Writes the files that the container sees and returns what a driver needs.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn prepare(&self) -> Result<Operation, LifecycleError> {
        let inputs = self.folder.join("inputs");
        make_folder(&inputs, 0o755)?;
        let outputs = self.outputs_folder();
        make_folder(&outputs, 0o755)?;
        // The image's user is not this one and must be able to write.
        std::fs::set_permissions(&outputs, std::fs::Permissions::from_mode(0o777))
            .map_err(LifecycleError::io("open", &outputs))?;
        let mut mounts = vec![
            Mount {
                source: outputs,
                target: OUTPUTS.to_owned(),
                writable: true,
            },
            self.inject(&inputs, "bundle.json", self.bundle_json, "/cnab/bundle.json")?,
        ];
        for (number, (path, content)) in self.injection.files.iter().enumerate() {
            mounts.push(self.inject(&inputs, &format!("file-{number}"), content, path)?);
        }
        Ok(Operation {
            run_id: self.run_id.to_owned(),
            name: self.name.replace(|c: char| !c.is_ascii_alphanumeric(), "-"),
            image: self.image.clone(),
            extra_layers: Vec::new(),
            command: vec!["/cnab/app/run".to_owned()],
            environment: self.environment(),
            mounts,
            limits: Limits::default(),
            keep_upper: None,
            working_dir: None,
        })
    }

    fn outputs_folder(&self) -> PathBuf {
        self.folder.join("outputs")
    }

    fn inject(
        &self,
        folder: &Path,
        name: &str,
        content: &[u8],
        target: &str,
    ) -> Result<Mount, LifecycleError> {
        let source = folder.join(name);
        durable::write(&source, content, 0o644).map_err(LifecycleError::io("write", &source))?;
        Ok(Mount {
            source,
            target: target.to_owned(),
            writable: false,
        })
    }

    /// The environment; what CNAB reserves cannot be overridden by a parameter.
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

    /// Removes the injected files.
    ///
    /// # Errors
    /// If they cannot be removed.
    pub fn clean_up(&self) -> Result<(), LifecycleError> {
        let inputs = self.folder.join("inputs");
        std::fs::remove_dir_all(&inputs).map_err(LifecycleError::io("remove", &inputs))
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

fn make_folder(path: &Path, mode: u32) -> Result<(), LifecycleError> {
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(LifecycleError::io("make", path))
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
            size: bytes.len() as u64,
            path: Some(format!("outputs/{relative}")),
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
