//! Runs one container for one attempt of a task.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use samebundle_registry::store::SourceExt;
use samebundle_spec::bundle::quantity;
use samebundle_spec::pipeline::{Component, Container, Located};
use samebundle_spec::{Descriptor, Digest, ImageConfig, Manifest, Reference, limits};
use serde_json::Value;

use super::artifact::{Artifact, TaskEnd, Values};
use super::data::Data;
use super::error::TaskError;
use super::facts::ROOT;
use super::failure::{AttemptFailure, LastLines, TaskLog};
use super::resolve::{ContainerView, Resolver, artifact_folder};
use super::wheelhouse::{self, Wheelhouse};
use super::{Execution, ProgramError, collect, executor_input, signal};
use crate::driver::{DriverError, Input, Limits, Operation, Outcome, Output, Staging};
use crate::home::DISCARDED;
use crate::record::RUN_OUTPUTS;

impl Execution<'_> {
    /// Runs the container of a task once and collects its outputs.
    pub(super) async fn container(
        &self,
        path: &str,
        component: &Component,
        inputs: &Values,
        attempt: u32,
    ) -> Result<TaskEnd, AttemptFailure> {
        let failure = |error: TaskError| AttemptFailure {
            task: path.to_owned(),
            why: error.to_string(),
            lines: LastLines::default(),
            exit_code: None,
            left: Values::default(),
            away: Vec::new(),
        };
        if let Some(importer) = self.plan.pipeline.importer_of(component) {
            let imported = self.import(path, component, importer, inputs).await;
            return imported.map_err(failure);
        }
        if let Some(done) = self.without_container(component, inputs) {
            return done.map_err(failure);
        }
        let Some(container) = self.plan.pipeline.container_of(component) else {
            return Ok(TaskEnd::Skipped);
        };
        let image = self.image(container, inputs, path).map_err(failure)?;
        let permit = tokio::select! {
            permit = self.permits.acquire() => permit,
            () = self.halt.cancelled() => return Ok(TaskEnd::Cancelled),
        };
        let planned = executor_input::planned_outputs(component, &format!("{ROOT}/{path}"));
        let mounted = self.mounted(component, &inputs.claims).await;
        if self.halt.is_cancelled() {
            return Ok(TaskEnd::Cancelled);
        }
        let mounted = mounted.map_err(failure)?;
        let operation = self.operation(path, (component, container), image, inputs, &planned, attempt);
        let Some((mut operation, mut staging)) = operation.await.map_err(failure)? else {
            return Ok(TaskEnd::Cancelled);
        };
        if self.halt.is_cancelled() {
            return Ok(TaskEnd::Cancelled);
        }
        operation.volumes = mounted.stage(&mut staging);
        let log = TaskLog::new(path, self.log, operation.limits.network);
        let deadline = self
            .plan
            .pipeline
            .pod_of(component)
            .and_then(|pod| pod.deadline_seconds);
        let outcome = self.within(deadline, &operation, &staging, &log).await;
        drop((permit, mounted));
        let written = self.written(path, component, planned);
        let ended = self.ended(outcome, written, log.last(), deadline, &operation.limits);
        ended.await.map_err(|failure| failure.with_inputs(inputs))
    }

    fn written(&self, path: &str, component: &Component, planned: Values) -> Written {
        Written {
            component: component.clone(),
            planned,
            host: self.own_folder(path),
            folder: format!("{ROOT}/{path}"),
            path: path.to_owned(),
        }
    }

    /// Reads what a container of this run wrote before its process was killed.
    pub(super) async fn outputs_again(&self, path: &str, component: &Component) -> Option<Values> {
        let planned = executor_input::planned_outputs(component, &format!("{ROOT}/{path}"));
        let written = Written {
            host: self.plan.run_dir.join(RUN_OUTPUTS).join(path),
            ..self.written(path, component, planned)
        };
        written.outputs().await.ok()
    }

    /// Finds the image of a container, which its inputs may choose.
    pub(super) fn image(
        &self,
        container: &Container,
        inputs: &Values,
        path: &str,
    ) -> Result<&Descriptor, TaskError> {
        let resolver = Resolver {
            inputs,
            facts: &self.facts,
            task: path,
            container: None,
        };
        let name = resolver.text(container.image.as_str())?;
        let images = &self.plan.images;
        let reference = Reference::parse_docker(&name).ok();
        // The same image may be written in several ways.
        let alike = |(other, _): &(&String, &Descriptor)| {
            reference.is_some() && Reference::parse_docker(other).ok() == reference
        };
        let found = images.get(&name).or_else(|| Some(images.iter().find(alike)?.1));
        found.ok_or_else(|| TaskError::NoImage {
            name: name.chars().take(200).collect(),
            carried: images.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    }

    /// Tells what came of an attempt whose container ended so.
    async fn ended(
        &self,
        outcome: Result<Outcome, DriverError>,
        written: Written,
        lines: LastLines,
        deadline: Option<u64>,
        limits: &Limits,
    ) -> Result<TaskEnd, AttemptFailure> {
        match outcome {
            Ok(Outcome::Cancelled) if !self.halt.is_cancelled() => {
                let limit = deadline.unwrap_or_default();
                let why = format!("it took longer than its deadline of {limit} s");
                Err(self.failure(written, why, lines, None).await)
            }
            // Nobody knows what the container did, and the rest of the run is none the worse for it.
            Err(lost @ DriverError::Lost { .. }) => {
                Err(self.failure(written, lost.to_string(), lines, None).await)
            }
            Err(source) => {
                self.context.home.discard_if_full(&written.host).await;
                let task = written.path;
                self.stop(ProgramError::Driver { task, source });
                Ok(TaskEnd::Failed { message: None })
            }
            Ok(Outcome::Cancelled) => {
                self.context.home.discard_if_full(&written.host).await;
                Ok(TaskEnd::Cancelled)
            }
            Ok(Outcome::Failed { code, out_of_memory }) => {
                let memory = match out_of_memory {
                    true => ", its memory limit was reached",
                    false => "",
                };
                let why = format!("{}{memory}", signal::ending(code, limits));
                Err(self.failure(written, why, lines, Some(code)).await)
            }
            Ok(Outcome::Succeeded) => match written.outputs().await {
                Ok(outputs) => Ok(TaskEnd::Done(outputs)),
                Err(error) => Err(self
                    .failure(written, error.to_string(), LastLines::default(), Some(0))
                    .await),
            },
        }
    }

    /// Describes how an attempt failed, with what it left.
    async fn failure(
        &self,
        written: Written,
        mut why: String,
        lines: LastLines,
        exit_code: Option<i32>,
    ) -> AttemptFailure {
        let left = match self.context.home.discard_if_full(&written.host).await {
            true => {
                why.push_str(DISCARDED);
                Values::default()
            }
            false => written.left().await,
        };
        AttemptFailure {
            task: written.path,
            why,
            lines,
            exit_code,
            left,
            away: Vec::new(),
        }
    }

    /// Runs a container, and stops it at its deadline.
    async fn within(
        &self,
        deadline: Option<u64>,
        operation: &Operation,
        staging: &Staging,
        log: &TaskLog<'_>,
    ) -> Result<Outcome, DriverError> {
        let stop = self.halt.child_token();
        let run = self.driver.run(operation, staging, log, &stop);
        let Some(seconds) = deadline else {
            return run.await;
        };
        tokio::pin!(run);
        tokio::select! {
            outcome = &mut run => return outcome,
            () = tokio::time::sleep(Duration::from_secs(seconds)) => stop.cancel(),
        }
        run.await
    }

    /// Describes the container. None if the run was cancelled while packages were installed.
    pub(super) async fn operation(
        &self,
        path: &str,
        (component, container): (&Component, &Container),
        image: &Descriptor,
        inputs: &Values,
        planned: &Values,
        attempt: u32,
    ) -> Result<Option<(Operation, Staging)>, TaskError> {
        let folder = format!("{ROOT}/{path}");
        let input = executor_input::build(component, inputs, planned, &folder);
        let resolver = Resolver {
            inputs,
            facts: &self.facts,
            task: path,
            container: Some(ContainerView {
                executor_input: &input,
                outputs: planned,
                folder: &folder,
            }),
        };
        let mut command = Vec::new();
        if container.command.is_empty() && !container.arguments.is_empty() {
            command = self.entry_point(container, image).await?;
        }
        let words = container.command.iter().chain(&container.arguments);
        command.extend(resolver.command(words.map(Located::as_str))?);
        let mut environment = BTreeMap::new();
        if self.wheelhouse.is_some() {
            environment = wheelhouse::environment();
        }
        for (name, value) in &container.environment {
            environment.insert(name.clone(), resolver.text(value.as_str())?);
        }
        let alone = match self.uses_secret_files(path) {
            true => self.runs_as_root(container, image).await?,
            false => true,
        };
        let projected = self.projected(path, component, alone)?;
        environment.extend(projected.environment);
        check_lengths(&command, &environment, &input)?;
        let limits = self.limits(component, container, &resolver)?;
        let Some(installed) = self.installed_layers(path, container, image).await else {
            return Ok(None);
        };
        let (mut inputs, outputs, mut staging) = self.contents(path, component, inputs);
        inputs.extend(projected.inputs);
        let mut extra_layers = Vec::new();
        for one in installed {
            if let Some(folder) = one.folder {
                staging.layer(&one.layer, folder);
            }
            extra_layers.push(one.layer);
        }
        let operation = Operation {
            run_id: self.plan.run_id.clone(),
            name: operation_name(path, attempt),
            image: image.clone(),
            extra_layers,
            command,
            environment,
            user: None,
            inputs,
            outputs,
            volumes: Vec::new(),
            limits,
            working_dir: None,
        };
        Ok(Some((operation, staging)))
    }

    /// Arguments without a command are passed to the image's entry point.
    async fn entry_point(&self, container: &Container, image: &Descriptor) -> Result<Vec<String>, TaskError> {
        Ok(self.image_config(container, image).await?.config.entrypoint)
    }

    /// Tells whether the image's user is root.
    async fn runs_as_root(&self, container: &Container, image: &Descriptor) -> Result<bool, TaskError> {
        let config = self.image_config(container, image).await?;
        let user = config
            .config
            .user
            .split(':')
            .next()
            .unwrap_or_default()
            .to_owned();
        Ok(matches!(user.as_str(), "" | "0" | "root"))
    }

    pub(super) async fn image_config(
        &self,
        container: &Container,
        image: &Descriptor,
    ) -> Result<ImageConfig, TaskError> {
        let unreadable = |source| TaskError::ImageConfig {
            image: container.image.value.clone(),
            source,
        };
        let bytes = self.store.fetch_bytes(image, limits::MANIFEST_BYTES).await;
        let manifest: Manifest = serde_json::from_slice(&bytes.map_err(|source| unreadable(Some(source)))?)
            .map_err(|_| unreadable(None))?;
        let bytes = self
            .store
            .fetch_bytes(&manifest.config, limits::MANIFEST_BYTES)
            .await;
        serde_json::from_slice(&bytes.map_err(|source| unreadable(Some(source)))?)
            .map_err(|_| unreadable(None))
    }

    fn limits(
        &self,
        component: &Component,
        container: &Container,
        resolver: &Resolver<'_>,
    ) -> Result<Limits, TaskError> {
        let resources = &container.resources;
        let text = |field: &Option<Located<String>>| -> Result<Option<String>, TaskError> {
            let text = field
                .as_ref()
                .map(|field| resolver.text(field.as_str()))
                .transpose()?;
            Ok(text.filter(|text| !text.is_empty()))
        };
        let mut limits = self.plan.limits.clone();
        if let Some(cores) = text(&resources.cpu_limit)? {
            limits.cpus = Some(quantity::cores(&cores)?.as_f64());
        }
        if let Some(bytes) = text(&resources.memory_limit)? {
            limits.memory = Some(quantity::bytes(&bytes)?.units());
        }
        let pod = self.plan.pipeline.pod_of(component);
        if let Some(bytes) = pod.and_then(|pod| pod.shared_memory.as_deref()) {
            limits.shm = Some(quantity::bytes(bytes)?.units());
        }
        let count = text(&resources.accelerator_count)?;
        let count = count.map(|text| quantity::count(&text)).transpose()?.unwrap_or(0);
        if let (Some(resource), true) = (text(&resources.accelerator_type)?, count > 0) {
            limits.gpus.insert(resource, count);
        }
        Ok(limits)
    }

    /// Returns the folder of this machine for a task's outputs.
    fn own_folder(&self, path: &str) -> PathBuf {
        self.own_folder.join(RUN_OUTPUTS).join(path)
    }

    /// Returns the inputs of a task (the wheels, the data, its input artifacts), its outputs, and the paths of all of
    /// them.
    fn contents(
        &self,
        path: &str,
        component: &Component,
        inputs: &Values,
    ) -> (Vec<Input>, Vec<Output>, Staging) {
        let mut all: Vec<(Input, PathBuf)> = self.wheelhouse.iter().map(Wheelhouse::to_input).collect();
        all.extend(self.data.iter().map(Data::to_input));
        let artifacts = inputs.artifacts.values().flatten();
        for (input, path) in artifacts.filter_map(Artifact::to_input) {
            if all.iter().all(|(other, _)| other.target != input.target) {
                all.push((input, self.plan.run_dir.join(path)));
            }
        }
        let own = Output::Folder {
            target: format!("{ROOT}/{path}"),
            folders: own_folders(component),
        };
        let mut staging = Staging::default();
        staging.output(&own, self.own_folder(path));
        all.iter().for_each(|(input, path)| staging.input(input, path));
        let inputs = all.into_iter().map(|(input, _)| input).collect();
        (inputs, vec![own], staging)
    }
}

/// What a container wrote, and what of it are outputs.
#[derive(Clone)]
struct Written {
    component: Component,
    planned: Values,
    /// The folder of the outputs on this machine.
    host: PathBuf,
    /// That folder in the container.
    folder: String,
    /// The path of the task.
    path: String,
}

impl Written {
    async fn outputs(&self) -> Result<Values, TaskError> {
        let this = self.clone();
        let collect = move || {
            collect::outputs(
                &this.component,
                &this.planned,
                &this.host,
                &this.folder,
                &this.path,
            )
        };
        let collected = tokio::task::spawn_blocking(collect).await;
        collected.map_err(|error| TaskError::Folder(error.into()))?
    }

    /// Returns the artifacts that a task left which failed.
    async fn left(&self) -> Values {
        let this = self.clone();
        let collect = move || collect::left(&this.planned, &this.host, &this.folder, &this.path);
        tokio::task::spawn_blocking(collect).await.unwrap_or_default()
    }
}

/// Returns the folders that a task finds in its own folder, parents first.
fn own_folders(component: &Component) -> Vec<String> {
    let artifacts = component.outputs.artifacts.keys();
    ["parameters".to_owned(), "artifacts".to_owned()]
        .into_iter()
        .chain(artifacts.map(|name| artifact_folder(name)))
        .collect()
}

/// Refuses what the kernel would refuse: then the container would exit with 255 and print nothing.
fn check_lengths(
    command: &[String],
    environment: &BTreeMap<String, String>,
    executor_input: &Value,
) -> Result<(), TaskError> {
    let check = |what: &dyn Fn() -> String, bytes: usize| match bytes > limits::ARGUMENT_BYTES {
        true => Err(TaskError::ArgumentTooLong { what: what(), bytes }),
        false => Ok(()),
    };
    let input = executor_input.to_string();
    for (number, word) in command.iter().enumerate() {
        let what = || match *word == input {
            true => "the executor input".to_owned(),
            false => format!("word {} of its command", number + 1),
        };
        check(&what, word.len())?;
    }
    for (name, value) in environment {
        let what = || format!("environment variable {name}");
        check(&what, name.len() + "=".len() + value.len())?;
    }
    let words = command.iter().map(String::len);
    let variables = environment.iter().map(|(name, value)| name.len() + value.len());
    let all = words.chain(variables).sum();
    match all > limits::COMMAND_BYTES {
        true => Err(TaskError::CommandTooLong { bytes: all }),
        false => Ok(()),
    }
}

/// Names a container: readable, unique in the run, `[a-z0-9-]`, at most 63 bytes.
pub(super) fn operation_name(path: &str, attempt: u32) -> String {
    const READABLE: usize = 40;
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let readable: String = path.chars().rev().take(READABLE).map(plain).collect();
    let readable: String = readable.chars().rev().collect();
    let unique = &Digest::sha256(path.as_bytes()).hex()[..8];
    format!("{}-{unique}-{attempt}", readable.trim_matches('-'))
}
