//! A run as a Workflow Run RO-Crate: a folder, or a part of one, that describes itself in `ro-crate-metadata.json`.
//!
//! The profile is Provenance Run Crate 0.5 on RO-Crate 1.1; a run without tasks, of a foreign bundle, is a Workflow Run
//! Crate. [`crate_of`] is pure: it takes the record, and where each file is in the crate. What the profile has no term for
//! stands in `run.json`, which is always a part.

mod graph;

use std::collections::BTreeMap;
use std::path::Path;

use samebundle_registry::durable;
use samebundle_registry::staged::StagedFolder;
use samebundle_spec::record::{
    ArtifactRecord, Metrics, OutputRecord, ParameterRecord, Run, RunStatus, TaskRecord,
};
use samebundle_spec::{Digest, Timestamp};
use serde_json::{Value, json};

use super::{MetadataError, Subject, files};
use graph::{Graph, encoded, id, ids};

/// The name of the document in a crate.
pub const METADATA: &str = "ro-crate-metadata.json";
/// The workflow of a crate that [`write`] makes: the bundle's own document.
const BUNDLE: &str = "bundle.json";
/// The profiles of a run with tasks; the last is left out for a run without.
const PROFILES: [(&str, &str, &str); 4] = [
    (
        "https://w3id.org/ro/wfrun/process/0.5",
        "Process Run Crate",
        "0.5",
    ),
    (
        "https://w3id.org/ro/wfrun/workflow/0.5",
        "Workflow Run Crate",
        "0.5",
    ),
    (
        "https://w3id.org/workflowhub/workflow-ro-crate/1.0",
        "Workflow RO-Crate",
        "1.0",
    ),
    (
        "https://w3id.org/ro/wfrun/provenance/0.5",
        "Provenance Run Crate",
        "0.5",
    ),
];
/// The id of what orchestrates the tasks.
const ENGINE: &str = "https://samebundle.dev/";
/// The id of the language in which the workflow is written.
const LANGUAGE: &str = "#cnab";

/// What a crate holds beside its description.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// Path of the document of what ran, e.g. `bundle.json`; it is among the files.
    pub workflow: String,
    /// The bytes of each file, by its path in the crate.
    pub files: BTreeMap<String, u64>,
    /// Where the content of an artifact is; a folder's path ends in `/`, and its files are among the files.
    pub artifacts: BTreeMap<Digest, String>,
    /// The license of the bundle, if it says one.
    pub license: Option<String>,
}

/// Describes a run: the content of `ro-crate-metadata.json`.
pub fn crate_of(run: &Run, contents: &Contents) -> Value {
    let mut graph = Graph::default();
    let tasks: Vec<&TaskRecord> = run.tasks.iter().filter(|task| task.started.is_some()).collect();
    let crated = Crated { run, contents, tasks };
    crated.describe_root(&mut graph);
    crated.describe_files(&mut graph);
    let objects = crated.describe_parameters(&mut graph);
    let workflow = encoded(&contents.workflow);
    let results = crated.describe_results(&mut graph, &run.outputs, "output", &workflow);
    crated.describe_workflow(&mut graph);
    crated.describe_run(&mut graph, &objects, &results);
    for (position, task) in crated.tasks.iter().enumerate() {
        crated.describe_task(&mut graph, task, position + 1);
    }
    crated.describe_engine(&mut graph);
    graph.document()
}

/// A run and what its crate holds.
struct Crated<'a> {
    run: &'a Run,
    contents: &'a Contents,
    tasks: Vec<&'a TaskRecord>,
}

impl Crated<'_> {
    fn title(&self) -> String {
        format!("run {} of {} {}", self.run.id, self.run.bundle, self.run.version)
    }

    fn run_id(&self) -> String {
        format!("#run/{}", self.run.id)
    }

    fn profiles(&self) -> &'static [(&'static str, &'static str, &'static str)] {
        match self.tasks.is_empty() {
            true => &PROFILES[..3],
            false => &PROFILES,
        }
    }

    fn describe_root(&self, graph: &mut Graph) {
        let (run, contents) = (self.run, self.contents);
        graph.add(
            METADATA,
            json!({
                "@type": "CreativeWork",
                "about": id("./"),
                "conformsTo": ids(["https://w3id.org/ro/crate/1.1", "https://w3id.org/workflowhub/workflow-ro-crate/1.0"]),
            }),
        );
        let folders = contents.artifacts.values().filter(|path| path.ends_with('/'));
        let parts = contents.files.keys().chain(folders).map(|path| encoded(path));
        let mut mentions = vec![self.run_id()];
        mentions.extend(self.tasks.iter().map(|task| action_of(task)));
        graph.add(
            "./",
            json!({
                "@type": "Dataset",
                "name": self.title(),
                "description": format!("What went into a {} of {} {}, what it did, and what came out.", run.action, run.bundle, run.version),
                "datePublished": run.finished.unwrap_or(run.started).to_string(),
                "license": contents.license.as_deref().unwrap_or("The bundle states no license."),
                "conformsTo": ids(self.profiles().iter().map(|profile| profile.0)),
                "hasPart": ids(parts),
                "mainEntity": id(&encoded(&contents.workflow)),
                "mentions": ids(mentions),
            }),
        );
        for (profile, name, version) in self.profiles() {
            graph.add(
                profile,
                json!({"@type": "CreativeWork", "name": name, "version": version}),
            );
        }
    }

    fn describe_files(&self, graph: &mut Graph) {
        for (path, size) in &self.contents.files {
            graph.add(
                &encoded(path),
                json!({
                    "@type": "File",
                    "name": path,
                    "contentSize": size.to_string(),
                    "encodingFormat": media_type(path),
                }),
            );
        }
    }

    /// Describes the parameters, and returns the ids of their values.
    fn describe_parameters(&self, graph: &mut Graph) -> Vec<String> {
        let mut values = Vec::new();
        for (name, parameter) in &self.run.parameters {
            let (formal, value) = (
                format!("#parameter/{}", encoded(name)),
                format!("#value/{}", encoded(name)),
            );
            graph.add(
                &formal,
                json!({
                    "@type": "FormalParameter",
                    "additionalType": kind_of(parameter.value.as_ref()),
                    "name": name,
                    "valueRequired": false,
                    "workExample": id(&value),
                }),
            );
            graph.link(&encoded(&self.contents.workflow), "input", &formal);
            graph.add(
                &value,
                json!({
                    "@type": "PropertyValue",
                    "name": name,
                    "value": shown(parameter),
                    "description": format!("set by: {}", parameter.set_by.word()),
                    "exampleOfWork": id(&formal),
                }),
            );
            values.push(value);
        }
        values
    }

    /// Describes what came out of the workflow or a tool, whose id is `of`, and returns the ids of the entities.
    fn describe_results(
        &self,
        graph: &mut Graph,
        outputs: &BTreeMap<String, OutputRecord>,
        scope: &str,
        of: &str,
    ) -> Vec<String> {
        let mut results = Vec::new();
        for (name, output) in outputs {
            let entities = self.entities_of(graph, &format!("{scope}/{name}"), name, output);
            let formal = format!("#{}-parameter/{}", encoded(scope), encoded(name));
            self.describe_formal(graph, &formal, name, &entities);
            if !entities.is_empty() {
                graph.link(of, "output", &formal);
            }
            for entity in &entities {
                graph.link(entity, "exampleOfWork", &formal);
            }
            results.extend(entities);
        }
        results
    }

    fn describe_formal(&self, graph: &mut Graph, formal: &str, name: &str, examples: &[String]) {
        let Some(kind) = examples.first().map(|first| graph.kind(first)) else {
            return;
        };
        graph.add(
            formal,
            json!({"@type": "FormalParameter", "additionalType": kind, "name": name, "workExample": ids(examples)}),
        );
    }

    /// The entities of an input or output: a value, or each of its artifacts.
    fn entities_of(&self, graph: &mut Graph, place: &str, name: &str, output: &OutputRecord) -> Vec<String> {
        match output {
            OutputRecord::Value(value) => {
                let entity = format!("#{}", encoded(place));
                graph.add(
                    &entity,
                    json!({"@type": "PropertyValue", "name": name, "value": text(value)}),
                );
                vec![entity]
            }
            OutputRecord::Artifacts(artifacts) => {
                let each = artifacts.iter().enumerate().map(|(number, artifact)| {
                    let place = match artifacts.len() {
                        1 => place.to_owned(),
                        _ => format!("{place}/{number}"),
                    };
                    self.artifact(graph, &place, name, artifact)
                });
                each.flatten().collect()
            }
        }
    }

    /// The entities of an artifact: its file or folder if the crate holds it, else its digest; and the numbers that it says.
    fn artifact(&self, graph: &mut Graph, place: &str, name: &str, artifact: &ArtifactRecord) -> Vec<String> {
        let mut entities = Vec::new();
        let described = json!({"additionalType": artifact.artifact_type, "alternateName": name});
        let here = artifact
            .digest
            .and_then(|digest| Some((digest, self.contents.artifacts.get(&digest)?)));
        match (here, artifact.digest) {
            (Some((digest, path)), _) => {
                let entity = encoded(path);
                let kind = if path.ends_with('/') { "Dataset" } else { "File" };
                graph.add(
                    &entity,
                    json!({"@type": kind, "name": path.trim_end_matches('/')}),
                );
                graph.extend(&entity, described.clone());
                graph.extend(
                    &entity,
                    json!({"identifier": digest, "contentSize": artifact.size.to_string()}),
                );
                if kind == "File" && digest.algorithm().name() == "sha256" {
                    graph.extend(&entity, json!({"sha256": digest.hex()}));
                }
                entities.push(entity);
            }
            (None, Some(digest)) => {
                let entity = format!("#content/{}", digest.hex());
                let value =
                    json!({"@type": "PropertyValue", "propertyID": "digest", "name": name, "value": digest});
                graph.add(&entity, value);
                graph.extend(&entity, described.clone());
                entities.push(entity);
            }
            (None, None) => {}
        }
        if let Some(Metrics::Scalars(scalars)) = artifact.metrics() {
            let numbers = scalars.iter().map(|(metric, number)| (metric, json!(number)));
            let remarks = artifact.remarks().map(|(remark, value)| (remark, value.clone()));
            for (metric, value) in numbers.chain(remarks) {
                let entity = format!("#{}/{}", encoded(place), encoded(metric));
                graph.add(
                    &entity,
                    json!({"@type": "PropertyValue", "name": format!("{name}.{metric}"), "value": value}),
                );
                entities.push(entity);
            }
        } else if entities.is_empty() {
            let entity = format!("#{}", encoded(place));
            let said = serde_json::to_string(&artifact.metadata).unwrap_or_default();
            graph.add(
                &entity,
                json!({"@type": "PropertyValue", "name": name, "value": said}),
            );
            graph.extend(&entity, described);
            entities.push(entity);
        }
        entities
    }

    fn describe_workflow(&self, graph: &mut Graph) {
        let workflow = encoded(&self.contents.workflow);
        let mut types = vec!["File", "SoftwareSourceCode", "ComputationalWorkflow"];
        if !self.tasks.is_empty() {
            types.push("HowTo");
            let tools = self.tasks.iter().map(|task| tool_of(task));
            graph.extend(&workflow, json!({"hasPart": ids(tools)}));
            let steps = self.tasks.iter().map(|task| step_of(task));
            graph.extend(&workflow, json!({"step": ids(steps)}));
        }
        graph.extend(
            &workflow,
            json!({
                "@type": types,
                "name": self.run.bundle,
                "version": self.run.version,
                "identifier": self.run.bundle_digest,
                "programmingLanguage": id(LANGUAGE),
                "conformsTo": id("https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"),
            }),
        );
        graph.add(
            "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE",
            json!({"@type": "CreativeWork", "name": "ComputationalWorkflow", "version": "1.0-RELEASE"}),
        );
        graph.add(
            LANGUAGE,
            json!({
                "@type": "ComputerLanguage",
                "name": "Cloud Native Application Bundle",
                "alternateName": "CNAB",
                "version": "1.2",
                "url": id("https://cnab.io/"),
                "identifier": id("https://cnab.io/"),
            }),
        );
    }

    fn describe_run(&self, graph: &mut Graph, objects: &[String], results: &[String]) {
        let run = self.run;
        let mut action = action(
            self.title(),
            run.status,
            Some(run.started),
            run.finished,
            &encoded(&self.contents.workflow),
        );
        action["description"] = json!(format!(
            "{} with the {} driver; {}",
            run.action,
            run.driver,
            run.status.word()
        ));
        action["identifier"] = json!(run.id);
        if let (Some(message), true) = (&run.message, failed(run.status)) {
            action["error"] = json!(message);
        }
        let run = self.run_id();
        graph.add(&run, action);
        graph.extend(&run, json!({"object": ids(objects), "result": ids(results)}));
    }

    fn describe_task(&self, graph: &mut Graph, task: &TaskRecord, position: usize) {
        let (tool, step, done) = (tool_of(task), step_of(task), action_of(task));
        let version = task
            .image
            .map_or_else(|| self.run.version.to_string(), |image| image.to_string());
        graph.add(
            &tool,
            json!({"@type": "SoftwareApplication", "name": task.name, "softwareVersion": version}),
        );
        graph.add(
            &step,
            json!({"@type": "HowToStep", "position": position.to_string(), "name": task.name, "workExample": id(&tool)}),
        );
        let scope = format!("task/{}", task.name);
        let mut objects = Vec::new();
        for (name, input) in &task.inputs {
            let entities = self.entities_of(graph, &format!("{scope}/input/{name}"), name, input);
            let formal = format!("#{}/input-parameter/{}", encoded(&scope), encoded(name));
            self.describe_formal(graph, &formal, name, &entities);
            if !entities.is_empty() {
                graph.link(&tool, "input", &formal);
            }
            for entity in &entities {
                graph.link(entity, "exampleOfWork", &formal);
            }
            objects.extend(entities);
        }
        let results = self.describe_results(graph, &task.outputs, &scope, &tool);
        let ended = task.finished.or(self.run.finished);
        let mut doing = action(
            format!("task {} of {}", task.name, self.title()),
            task.status,
            task.started,
            ended,
            &tool,
        );
        doing["description"] = json!(format!(
            "{} after {} of its attempts{}",
            task.status.word(),
            task.attempts,
            task.exit_code
                .map_or_else(String::new, |code| format!(", exit code {code}"))
        ));
        if failed(task.status) {
            let message = self.run.message.as_deref().unwrap_or(task.status.word());
            doing["error"] = json!(message);
        }
        if let Some(image) = task.image {
            let container = format!("#image/{}", image.hex());
            doing["containerImage"] = id(&container);
            graph.add(
                &container,
                json!({
                    "@type": "ContainerImage",
                    "additionalType": id("https://w3id.org/ro/terms/workflow-run#DockerImage"),
                    "name": self.run.bundle,
                    "registry": "the store of the bundle",
                    "sha256": image.hex(),
                }),
            );
        }
        graph.add(&done, doing);
        graph.extend(&done, json!({"object": ids(objects), "result": ids(results)}));
        graph.add(
            &control_of(task),
            json!({"@type": "ControlAction", "name": format!("orchestration of {}", task.name), "instrument": id(&step), "object": id(&done)}),
        );
    }

    /// Describes the engine, and that it did the steps.
    fn describe_engine(&self, graph: &mut Graph) {
        if self.tasks.is_empty() {
            return;
        }
        graph.add(
            ENGINE,
            json!({"@type": "SoftwareApplication", "name": "samebundle", "softwareVersion": env!("CARGO_PKG_VERSION"), "url": id(ENGINE)}),
        );
        let controls = self.tasks.iter().map(|task| control_of(task));
        let run = self.run;
        let mut organize = json!({
            "@type": "OrganizeAction",
            "name": format!("execution of {}", self.title()),
            "instrument": id(ENGINE),
            "object": ids(controls),
            "result": id(&self.run_id()),
            "startTime": run.started.to_string(),
        });
        if let Some(finished) = run.finished {
            organize["endTime"] = json!(finished.to_string());
        }
        graph.add(&format!("#organize/{}", run.id), organize);
    }
}

fn tool_of(task: &TaskRecord) -> String {
    format!("#tool/{}", encoded(&task.name))
}

fn step_of(task: &TaskRecord) -> String {
    format!("#step/{}", encoded(&task.name))
}

fn action_of(task: &TaskRecord) -> String {
    format!("#task/{}", encoded(&task.name))
}

fn control_of(task: &TaskRecord) -> String {
    format!("#control/{}", encoded(&task.name))
}

fn failed(status: RunStatus) -> bool {
    !matches!(
        status,
        RunStatus::Succeeded | RunStatus::Skipped | RunStatus::Suspended
    )
}

fn action(
    name: String,
    status: RunStatus,
    started: Option<Timestamp>,
    finished: Option<Timestamp>,
    instrument: &str,
) -> Value {
    let status = match failed(status) {
        true => "http://schema.org/FailedActionStatus",
        false if status == RunStatus::Suspended => "http://schema.org/ActiveActionStatus",
        false => "http://schema.org/CompletedActionStatus",
    };
    let mut action = json!({
        "@type": "CreateAction",
        "name": name,
        "instrument": id(instrument),
        "actionStatus": status,
    });
    if let Some(started) = started {
        action["startTime"] = json!(started.to_string());
    }
    if let Some(finished) = finished {
        action["endTime"] = json!(finished.to_string());
    }
    action
}

fn shown(parameter: &ParameterRecord) -> String {
    parameter.value.as_ref().map_or_else(|| "***".to_owned(), text)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The type of schema.org that a value has.
fn kind_of(value: Option<&Value>) -> &'static str {
    match value {
        Some(Value::Bool(_)) => "Boolean",
        Some(Value::Number(number)) if number.is_f64() => "Float",
        Some(Value::Number(_)) => "Integer",
        _ => "Text",
    }
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "json" => "application/json",
        "jsonl" => "application/jsonl",
        "html" => "text/html",
        "md" => "text/markdown",
        "csv" => "text/csv",
        "tsv" => "text/tab-separated-values",
        "txt" => "text/plain",
        "png" => "image/png",
        "jpg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "svg" => "image/svg+xml",
        "yaml" => "application/yaml",
        _ => "application/octet-stream",
    }
}

/// Writes the crate of a run to a folder: its files with names that open, and the description. All of it or nothing.
///
/// # Errors
/// If a file cannot be read or written.
pub fn write(subject: &Subject, to: &Path) -> Result<Vec<String>, MetadataError> {
    let run = &subject.run;
    must_be_free(to, run)?;
    let files = files::collect(run, &subject.folder, &subject.scratch)?;
    let staged = StagedFolder::inside(to)?;
    let mut contents = Contents::default();
    for file in &files.files {
        let target = staged.path().join(&file.name);
        if let Some(folder) = target.parent() {
            std::fs::create_dir_all(folder).map_err(MetadataError::io("make", folder))?;
        }
        durable::copy(&file.path, &target)?;
        contents.files.insert(file.name.clone(), file.size);
    }
    for named in files::artifacts(run, &subject.folder)? {
        if let (Some(path), Some(digest)) = (&named.path, named.artifact.digest) {
            let end = if path.is_dir() { "/" } else { "" };
            contents
                .artifacts
                .entry(digest)
                .or_insert(format!("outputs/{}{end}", named.name));
        }
    }
    let bundle = bundle_of(&subject.folder);
    contents.license = bundle["license"].as_str().map(str::to_owned);
    contents.workflow = BUNDLE.to_owned();
    let size = write_document(&staged.path().join(BUNDLE), &bundle)?;
    contents.files.insert(BUNDLE.to_owned(), size);
    write_document(&staged.path().join(METADATA), &crate_of(run, &contents))?;
    staged.commit()?;
    Ok(files.absent)
}

/// The record of the run in its crate.
const RECORD: &str = "samebundle/run.json";

/// Fails if the folder holds something else than a crate of this run: a crate describes all that lies in its folder.
fn must_be_free(folder: &Path, run: &Run) -> Result<(), MetadataError> {
    let record = std::fs::read(folder.join(RECORD)).unwrap_or_default();
    let record: Value = serde_json::from_slice(&record).unwrap_or_default();
    if record["id"] == run.id.as_str() {
        return Ok(());
    }
    let found = std::fs::read_dir(folder).into_iter().flatten().flatten().next();
    let Some(found) = found else { return Ok(()) };
    Err(MetadataError::Occupied {
        folder: folder.display().to_string(),
        holds: match record["id"].as_str() {
            Some(id) => format!("the crate of run {id}"),
            None => found.file_name().to_string_lossy().into_owned(),
        },
    })
}

/// The bundle as the claim of the run has it; without a claim, an empty document.
fn bundle_of(folder: &Path) -> Value {
    let claim = std::fs::read(folder.join("claim.json")).unwrap_or_default();
    let claim: Value = serde_json::from_slice(&claim).unwrap_or_default();
    match &claim["bundle"] {
        Value::Null => json!({}),
        bundle => bundle.clone(),
    }
}

fn write_document(path: &Path, document: &Value) -> Result<u64, MetadataError> {
    let bytes = serde_json::to_vec_pretty(document).unwrap_or_default();
    std::fs::write(path, &bytes).map_err(MetadataError::io("write", path))?;
    Ok(bytes.len() as u64)
}
