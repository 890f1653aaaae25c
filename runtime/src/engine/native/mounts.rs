//! What a task uses beside its parameters and artifacts: secrets, config maps, facts about its pod, and volumes.
//!
//! Layout: a volume that outlives a run is the folder `HOME/volumes/NAME`; one that a task makes for its run, and the
//! workspace, are below `RUN/volumes`, which ends with the run. Whoever mounts a volume holds its lock, `.NAME.lock` beside
//! it: shared for the whole volume, alone for a folder of it. So nobody can put a link in the place of that folder
//! between the check and the mount.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use samebundle_registry::durable;
use samebundle_spec::limits;
use samebundle_spec::pipeline::{Component, ExecutorKind, Pod, RunFact, Use, UseTarget, is_key};
use serde_json::Value;

use super::Execution;
use super::artifact::{TaskEnd, Values};
use super::error::TaskError;
use super::facts::WORKSPACE;
use crate::driver::{Content, Input, Staging, Volume};
use crate::event::{Event, Events};
use crate::image::beneath;
use crate::secret::SecretValue;

/// The name of a run's workspace. No claim has such a name.
const WORKSPACE_NAME: &str = ".workspace";

/// The variables and files that a task gets.
#[derive(Default)]
pub(super) struct Projected {
    pub(super) environment: BTreeMap<String, String>,
    pub(super) inputs: Vec<Input>,
}

/// The volumes of a task. Their locks are held until this is dropped.
#[derive(Debug, Default)]
pub(super) struct Mounted {
    volumes: Vec<(Volume, Option<PathBuf>)>,
    _locks: Vec<File>,
}

impl Mounted {
    /// Adds the volumes to where the contents of the task are.
    pub(super) fn stage(&self, staging: &mut Staging) -> Vec<Volume> {
        for (volume, path) in &self.volumes {
            if let (Some(name), Some(path)) = (&volume.name, path) {
                staging.volume(name, path.clone());
            }
        }
        self.volumes.iter().map(|(volume, _)| volume.clone()).collect()
    }
}

impl Execution<'_> {
    /// Returns the secrets and config maps that a task uses.
    pub(super) fn uses(&self, path: &str) -> impl Iterator<Item = &Use> {
        let place = self.plan.pipeline.place(path);
        self.needs.uses.get(&place).into_iter().flatten()
    }

    /// Tells whether a task reads files of secrets.
    pub(super) fn uses_secret_files(&self, path: &str) -> bool {
        let mut uses = self.uses(path);
        uses.any(|one| one.secret && matches!(one.target, UseTarget::Folder(_)))
    }

    /// Returns the secrets, config maps and facts of a task. `alone` says whether the image's user is the only one who
    /// reads files of secrets.
    pub(super) fn projected(
        &self,
        path: &str,
        component: &Component,
        alone: bool,
    ) -> Result<Projected, TaskError> {
        let mut projected = Projected::default();
        if let Some(pod) = self.plan.pipeline.pod_of(component) {
            for (variable, field) in &pod.facts {
                let fact = self.pod_fact(path, pod, field);
                projected.environment.insert(variable.clone(), fact);
            }
        }
        for one in self.uses(path) {
            let given = match one.secret {
                true => self.plan.secrets.get(&one.need).cloned(),
                false => self.plan.settings.get(&one.need).and_then(setting),
            };
            let missing = || TaskError::NotGiven {
                what: if one.secret { "credential" } else { "parameter" },
                name: one.need.clone(),
            };
            match (&one.target, given) {
                (UseTarget::Variable(variable), Some(SecretValue::One(value))) => {
                    let text = String::from_utf8(value).ok().filter(|text| !text.contains('\0'));
                    let text = text.ok_or_else(|| TaskError::NotText {
                        name: one.need.clone(),
                        variable: variable.clone(),
                    })?;
                    projected.environment.insert(variable.clone(), text);
                }
                (UseTarget::Folder(target), Some(SecretValue::Keys(files))) => {
                    if let Some(key) = files.keys().find(|key| !is_key(key)) {
                        return Err(TaskError::Key {
                            name: one.need.clone(),
                            key: key.clone(),
                        });
                    }
                    let mode = if one.secret && alone { 0o400 } else { 0o444 };
                    projected.inputs.push(Input {
                        target: target.clone(),
                        content: Content::Files { files, mode },
                    });
                }
                (UseTarget::Folder(target), None) if one.optional => {
                    let files = BTreeMap::new();
                    let content = Content::Files { files, mode: 0o444 };
                    let target = target.clone();
                    projected.inputs.push(Input { target, content });
                }
                (UseTarget::Variable(_), None) if one.optional => {}
                _ => return Err(missing()),
            }
        }
        Ok(projected)
    }

    /// Returns a fact about the pod that a task would have. As all facts, it is the same in every run.
    fn pod_fact(&self, path: &str, pod: &Pod, field: &str) -> String {
        let quoted = |name: &str| {
            let rest = field.strip_prefix(name)?;
            Some(rest.strip_prefix("['")?.strip_suffix("']")?.to_owned())
        };
        let value = |from: &BTreeMap<String, String>, key: &str| from.get(key).cloned().unwrap_or_default();
        if let Some(key) = quoted("metadata.labels") {
            return value(&pod.labels, &key);
        }
        if let Some(key) = quoted("metadata.annotations") {
            return value(&pod.annotations, &key);
        }
        match field {
            "metadata.name" => {
                let job = self.facts.get(RunFact::JobName, path);
                format!("{job}-{}", path.replace(['/', '_', '.'], "-"))
            }
            "metadata.uid" => self.facts.get(RunFact::TaskUuid, path),
            "metadata.namespace" | "spec.serviceAccountName" => "default".to_owned(),
            "spec.nodeName" => "samebundle".to_owned(),
            "status.podIP" | "status.podIPs" | "status.hostIP" | "status.hostIPs" => "127.0.0.1".to_owned(),
            _ => String::new(),
        }
    }

    /// Makes and locks the volumes of a task.
    pub(super) async fn mounted(
        &self,
        component: &Component,
        claims: &[String],
    ) -> Result<Mounted, TaskError> {
        let mut mounted = Mounted::default();
        let mut wanted: BTreeMap<(PathBuf, String), bool> = BTreeMap::new();
        let mut places = Vec::new();
        if self.needs.workspace {
            let folder = self.run_volumes();
            places.push((WORKSPACE.to_owned(), folder, WORKSPACE_NAME.to_owned(), ""));
        }
        if let Some(pod) = self.plan.pipeline.pod_of(component) {
            for (claim, name) in pod.claims.iter().zip(claims) {
                let folder = self.volumes_with(name)?;
                places.push((claim.path.clone(), folder, name.clone(), claim.sub_path.as_str()));
            }
            mounted.volumes = scratch_of(pod);
        }
        for (_, folder, name, sub_path) in &places {
            *wanted.entry((folder.clone(), name.clone())).or_default() |= !sub_path.is_empty();
        }
        // Everybody takes the locks in the same order.
        for ((folder, name), alone) in wanted {
            let file = folder.join(format!(".{name}.lock"));
            let lock = tokio::task::spawn_blocking(move || {
                make(&folder.join(&name))?;
                match alone {
                    true => durable::lock(&file),
                    false => durable::lock_shared(&file),
                }
            });
            let lock = tokio::select! {
                lock = lock => lock.map_err(io::Error::other).and_then(std::convert::identity),
                () = self.halt.cancelled() => Err(io::ErrorKind::Interrupted.into()),
            };
            mounted._locks.push(lock.map_err(TaskError::Volume)?);
        }
        for (target, folder, name, sub_path) in places {
            let whole = folder.join(&name);
            let path = below(&whole, sub_path).map_err(TaskError::Volume)?;
            let name = match sub_path {
                "" => name,
                sub_path => format!("{name}/{sub_path}"),
            };
            let volume = Volume {
                target,
                name: Some(name),
            };
            mounted.volumes.push((volume, Some(path)));
        }
        Ok(mounted)
    }

    /// Does the work of a component that is no container: it makes or removes a volume, which a cluster does by itself.
    pub(super) fn without_container(
        &self,
        component: &Component,
        inputs: &Values,
    ) -> Option<Result<TaskEnd, TaskError>> {
        let text = |name: &str| match inputs.parameters.get(name) {
            Some(Value::String(text)) => Some(text.as_str()).filter(|text| !text.is_empty()),
            _ => None,
        };
        let kind = &self.plan.pipeline.executor_of(component)?.kind;
        let done = match kind {
            ExecutorKind::CreateVolume => self.create_volume(text("pvc_name"), text("pvc_name_suffix")),
            ExecutorKind::DeleteVolume => self.delete_volume(text("pvc_name").unwrap_or_default()),
            _ => return None,
        };
        Some(done.map(TaskEnd::Done))
    }

    /// A volume with a name is kept. One with a suffix belongs to the run, as its name in a cluster does.
    fn create_volume(&self, name: Option<&str>, suffix: Option<&str>) -> Result<Values, TaskError> {
        let name = match (name, suffix) {
            (Some(name), _) => {
                let path = self.context.home.volumes().join(sound(name)?);
                if !path.exists() {
                    make(&path).map_err(TaskError::Volume)?;
                    self.own_volumes(|own| own.insert(name.to_owned(), false));
                }
                name.to_owned()
            }
            (None, suffix) => {
                let suffix = suffix.unwrap_or_default().trim_start_matches('-');
                let name = format!("{}-{suffix}", self.plan.pipeline.name.value);
                make(&self.run_volumes().join(sound(&name)?)).map_err(TaskError::Volume)?;
                self.own_volumes(|own| own.insert(name.clone(), true));
                name
            }
        };
        let mut produced = Values::default();
        produced.parameters.insert("name".to_owned(), Value::from(name));
        Ok(produced)
    }

    /// Knows a volume of this run again that a task made before the process was killed.
    pub(super) fn volume_again(&self, component: &Component, made: &Values) {
        let kind = self
            .plan
            .pipeline
            .executor_of(component)
            .map(|executor| &executor.kind);
        if let (Some(ExecutorKind::CreateVolume), Some(Value::String(name))) =
            (kind, made.parameters.get("name"))
            && self.run_volumes().join(name).is_dir()
        {
            self.own_volumes(|own| own.insert(name.clone(), true));
        }
    }

    /// Removes a volume that this run made. Only a person removes others.
    fn delete_volume(&self, name: &str) -> Result<Values, TaskError> {
        let folder = self.volumes_with(name)?;
        match self.own_volumes(|own| own.remove(name)) {
            Some(_) => beneath::remove_path(&folder.join(name)).map_err(TaskError::Volume)?,
            None => self.context.events.emit(Event::Notice {
                text: format!(
                    "volume {name} was there before this run and stays; `samebundle volume remove {name}` removes it"
                ),
            }),
        }
        Ok(Values::default())
    }

    /// Looks at the volumes that this run made, and whether each of them ends with the run.
    fn own_volumes<T>(&self, look: impl FnOnce(&mut BTreeMap<String, bool>) -> T) -> T {
        let mut own = self
            .own_volumes
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        look(&mut own)
    }

    /// Returns the folder of volumes in which the volume of this name is.
    fn volumes_with(&self, name: &str) -> Result<PathBuf, TaskError> {
        let name = sound(name)?;
        Ok(match self.own_volumes(|own| own.get(name).copied()) {
            Some(true) => self.run_volumes(),
            Some(false) | None => self.context.home.volumes(),
        })
    }

    fn run_volumes(&self) -> PathBuf {
        self.own_folder.join(RUN_VOLUMES)
    }
}

/// The folder of the volumes that end with a run, in the run's own folder.
pub(crate) const RUN_VOLUMES: &str = "volumes";

/// Removes the volumes that end with a run.
pub(super) async fn end(run_dir: &Path, events: &dyn Events) {
    let path = run_dir.join(RUN_VOLUMES);
    if !path.is_dir() {
        return;
    }
    let removed = tokio::task::spawn_blocking(move || beneath::remove_path(&path)).await;
    if let Err(error) = removed.map_err(io::Error::other).and_then(std::convert::identity) {
        events.emit(Event::Notice {
            text: format!("the volumes of the run could not be removed: {error}"),
        });
    }
}

/// Refuses a name that is no name of a folder.
fn sound(name: &str) -> Result<&str, TaskError> {
    let first = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    match first && is_key(name) && name.len() + ".partial".len() <= limits::COMPONENT_BYTES {
        true => Ok(name),
        false => Err(TaskError::VolumeName {
            name: name.chars().take(80).collect(),
        }),
    }
}

fn scratch_of(pod: &Pod) -> Vec<(Volume, Option<PathBuf>)> {
    let volume = |target: &String| Volume {
        target: target.clone(),
        name: None,
    };
    let scratch = pod.scratch.iter();
    scratch.map(|scratch| (volume(&scratch.path), None)).collect()
}

/// Makes the folder of a volume, to which any user of a container may write.
fn make(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o777))
}

/// Returns the path of a folder of a volume; it is made if it is missing. No link is followed: a task may have made it.
fn below(volume: &Path, sub_path: &str) -> io::Result<PathBuf> {
    let mut path = volume.to_owned();
    for part in sub_path.split('/').filter(|part| !part.is_empty()) {
        path.push(part);
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::NotADirectory,
                    format!("{sub_path} of the volume is no folder"),
                ));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(&path)?,
            Err(error) => return Err(error),
        }
    }
    Ok(path)
}

/// Returns a config map's value: a text, or an object of texts.
fn setting(value: &Value) -> Option<SecretValue> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone().into_bytes(),
        other => other.to_string().into_bytes(),
    };
    match value {
        Value::Null => None,
        Value::Object(entries) => {
            let entries = entries.iter().map(|(key, value)| (key.clone(), text(value)));
            Some(SecretValue::Keys(entries.collect()))
        }
        other => Some(SecretValue::One(text(other))),
    }
}
