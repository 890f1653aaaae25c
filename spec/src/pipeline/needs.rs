//! The secrets, config maps and volumes that the tasks of a pipeline use, with a name for each.
//!
//! On Kubernetes they are found by names that may be known only when a task starts. A person who gives them needs names
//! that stand in the bundle. So a need is named by where its name comes from: by itself if it is a constant; by the
//! parameter of the pipeline that holds it; or by the task and its output that give it, `TASK.OUTPUT`. A key follows
//! after a point: `db.password`. A secret that is mounted whole has the name alone.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::kubernetes::{Pod, Projection, ProjectionTarget};
use super::position::{PipelineFault, Position};
use super::types::{Component, Dag, Executor, ExecutorKind, Implementation, ParameterSource, Task};
use super::{Pipeline, task_path};
use crate::limits;

const WORKSPACE: &str = "{{$.workspace_path}}";
/// What the SDK writes before the names of inputs that it makes.
const CHANNEL: &str = "pipelinechannel--";

/// What the tasks of a pipeline use beside parameters and artifacts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Keys of secrets and whole secrets, by name.
    pub secrets: BTreeMap<String, Need>,
    /// Keys of config maps and whole config maps, by name.
    pub config_maps: BTreeMap<String, Need>,
    /// Volumes that outlive a task, by name.
    pub volumes: BTreeMap<String, VolumeNeed>,
    /// What each task uses, by its path.
    pub uses: BTreeMap<String, Vec<Use>>,
    /// Whether the tasks of a run share a workspace.
    pub workspace: bool,
}

/// A key of a secret or a config map, or one as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// The name of the secret or the config map without the key.
    pub group: String,
    /// The key; none: all of them, in a folder.
    pub key: Option<String>,
    /// The environment variables in which tasks find it.
    pub variables: BTreeSet<String>,
    /// The paths of the tasks.
    pub tasks: BTreeSet<String>,
    /// Whether it must be there for at least one task.
    pub required: bool,
}

/// How long a volume lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeLife {
    /// Until a person removes it.
    Kept,
    /// As long as the run.
    Run,
}

/// A volume that outlives a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeNeed {
    /// How long it lives.
    pub life: VolumeLife,
    /// The paths of the tasks that mount it.
    pub tasks: BTreeSet<String>,
}

/// One use of a need by a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// Name of the need.
    pub need: String,
    /// Whether it is a secret; otherwise it is a config map.
    pub secret: bool,
    /// Where the task finds it.
    pub target: UseTarget,
    /// Whether the task can do without it.
    pub optional: bool,
}

/// Where a task finds a need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UseTarget {
    /// In an environment variable.
    Variable(String),
    /// In a folder.
    Folder(String),
}

impl Pipeline {
    /// Returns the secrets, config maps and volumes that the tasks use.
    pub fn needs(&self) -> Needs {
        let inputs = self.root.inputs.parameters.keys().cloned();
        let mut walk = Walk {
            pipeline: self,
            needs: Needs::default(),
            secrets: Names::default(),
            config_maps: Names {
                taken: inputs.collect(),
                ..Names::default()
            },
            tasks: 0,
        };
        walk.needs.workspace = self.kubernetes.workspace.is_some();
        if let Implementation::Dag(dag) = &self.root.implementation {
            let root = Scope {
                around: None,
                component: &self.root,
                dag,
                path: "",
                depth: 0,
            };
            walk.dag(root);
        }
        walk.needs
    }

    /// Returns the path of a task of a run as the file has it, under which [`Needs::uses`] has what it uses: without the numbers
    /// of items, and where a component holds itself, that of the first time.
    pub fn place(&self, path: &str) -> String {
        let Implementation::Dag(root) = &self.root.implementation else {
            return path.to_owned();
        };
        let (mut dag, mut within) = (root, Vec::<(&str, &str)>::new());
        let mut names = path.split('/');
        while let Some(name) = names.next() {
            let Some(task) = dag.tasks.get(name) else {
                return path.to_owned();
            };
            if task.iterator.is_some() {
                names.next();
            }
            let component = task.component.as_str();
            match within.iter().position(|(held, _)| *held == component) {
                Some(first) => within.truncate(first + 1),
                None => within.push((component, name)),
            }
            match self
                .component(component)
                .map(|component| &component.implementation)
            {
                Some(Implementation::Dag(inner)) => dag = inner,
                _ => break,
            }
        }
        let names: Vec<&str> = within.into_iter().map(|(_, name)| name).collect();
        names.join("/")
    }

    /// Returns what the pipeline says to Kubernetes that has no meaning here, in the order of the file; each once, although
    /// every task may say it.
    pub fn placement_notes(&self) -> Vec<PipelineFault> {
        let pods = self.kubernetes.pods.values().flat_map(|pod| &pod.placement);
        let mut said: BTreeMap<&str, (Position, usize)> = BTreeMap::new();
        for placement in self.kubernetes.placement.iter().chain(pods) {
            let (first, times) = said.entry(placement.what).or_insert((placement.at, 0));
            *first = placement.at.min(*first);
            *times += 1;
        }
        let note = |(what, (at, times)): (&str, (Position, usize))| PipelineFault {
            file: self.file.clone(),
            at,
            task: None,
            problem: match times {
                1 => format!("{what} has no meaning outside of a cluster"),
                times => format!("{what} has no meaning outside of a cluster (said {times} times)"),
            },
            remedy: "nothing need be done".to_owned(),
        };
        let mut notes: Vec<PipelineFault> = said.into_iter().map(note).collect();
        notes.sort_by_key(|note| note.at);
        notes
    }

    /// Returns what a component's executor says of its pod.
    pub fn pod_of(&self, component: &Component) -> Option<&Pod> {
        match &component.implementation {
            Implementation::Executor(label) => self.kubernetes.pods.get(&label.value),
            Implementation::Dag(_) => None,
        }
    }

    /// Returns the executor that does a component's work.
    pub fn executor_of(&self, component: &Component) -> Option<&Executor> {
        match &component.implementation {
            Implementation::Executor(label) => self.executors.get(&label.value),
            Implementation::Dag(_) => None,
        }
    }
}

/// Where a name comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    Constant(String),
    Parameter(String),
    Output { task: String, key: String },
}

impl Origin {
    fn label(&self) -> String {
        let plain = |text: &str| {
            let text = text.replace(CHANNEL, "");
            let keep = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            let words: Vec<&str> = text.split(|c| !keep(c)).filter(|word| !word.is_empty()).collect();
            words.join("-")
        };
        match self {
            Self::Constant(name) | Self::Parameter(name) => plain(name),
            Self::Output { task, key } => format!("{}.{}", plain(&task.replace('/', ".")), plain(key)),
        }
    }
}

/// The names that were given, each for one origin.
#[derive(Default)]
struct Names {
    taken: BTreeSet<String>,
    groups: BTreeMap<Origin, String>,
    needs: BTreeMap<(String, Option<String>), String>,
}

impl Names {
    fn group(&mut self, origin: &Origin) -> String {
        if let Some(name) = self.groups.get(origin) {
            return name.clone();
        }
        let others: BTreeSet<String> = self.groups.values().chain(&self.taken).cloned().collect();
        let name = distinct(&origin.label(), &others);
        self.groups.insert(origin.clone(), name.clone());
        name
    }

    fn need(&mut self, group: &str, key: Option<&str>) -> String {
        let wanted = match key {
            Some(key) => format!("{group}.{key}"),
            None => group.to_owned(),
        };
        let id = (group.to_owned(), key.map(str::to_owned));
        if let Some(name) = self.needs.get(&id) {
            return name.clone();
        }
        let name = distinct(&wanted, &self.taken);
        self.taken.insert(name.clone());
        self.needs.insert(id, name.clone());
        name
    }
}

fn distinct(wanted: &str, taken: &BTreeSet<String>) -> String {
    let wanted = if wanted.is_empty() { "unnamed" } else { wanted };
    if !taken.contains(wanted) {
        return wanted.to_owned();
    }
    let mut numbered = (2..).map(|number: u32| format!("{wanted}-{number}"));
    numbered.find(|name| !taken.contains(name)).unwrap_or_default()
}

/// The inside of a DAG, and the task in whose place it stands.
#[derive(Clone, Copy)]
struct Scope<'a> {
    around: Option<(&'a Scope<'a>, &'a Task)>,
    component: &'a Component,
    dag: &'a Dag,
    path: &'a str,
    depth: usize,
}

impl Scope<'_> {
    fn below(&self, name: &str) -> String {
        task_path(self.path, name)
    }

    /// Follows a name to where it comes from.
    fn origin(&self, source: &ParameterSource) -> Origin {
        match source {
            ParameterSource::Constant(Value::String(text)) => Origin::Constant(text.clone()),
            ParameterSource::Constant(value) => Origin::Constant(value.to_string()),
            ParameterSource::TaskOutput(output) => Origin::Output {
                task: self.below(output.task.as_str()),
                key: output.key.value.clone(),
            },
            ParameterSource::FinalStatus(task) => Origin::Output {
                task: self.below(task.as_str()),
                key: "status".to_owned(),
            },
            ParameterSource::ComponentInput(name) => self.input(name),
        }
    }

    /// Tells whether it is within a component.
    fn is_within(&self, component: &Component) -> bool {
        let above = self.around.is_some_and(|(around, _)| around.is_within(component));
        above || std::ptr::eq(self.component, component)
    }

    fn input(&self, name: &str) -> Origin {
        let Some((around, task)) = self.around else {
            return Origin::Parameter(name.to_owned());
        };
        if let Some(given) = task.parameters.get(name) {
            return around.origin(&given.source);
        }
        let spec = self.component.inputs.parameters.get(name);
        match spec.and_then(|spec| spec.default.as_ref()) {
            Some(Value::String(default)) => Origin::Constant(default.clone()),
            // An item of a loop, or nothing at all.
            _ => Origin::Output {
                task: self.path.to_owned(),
                key: name.to_owned(),
            },
        }
    }
}

struct Walk<'a> {
    pipeline: &'a Pipeline,
    needs: Needs,
    secrets: Names,
    config_maps: Names,
    tasks: usize,
}

impl<'a> Walk<'a> {
    fn dag(&mut self, scope: Scope<'_>) {
        let pipeline = self.pipeline;
        for (name, task) in &scope.dag.tasks {
            self.tasks += 1;
            // A pipeline that was not checked may contain itself.
            if self.tasks > limits::PIPELINE_TASKS || scope.depth > limits::DOCUMENT_DEPTH {
                return;
            }
            let constants = task.parameters.values().map(|input| &input.source);
            let names_workspace = |source: &ParameterSource| match source {
                ParameterSource::Constant(value) => value.to_string().contains(WORKSPACE),
                _ => false,
            };
            self.needs.workspace |= constants.into_iter().any(names_workspace);
            let Some(component) = pipeline.component(task.component.as_str()) else {
                continue;
            };
            let path = scope.below(name);
            match &component.implementation {
                // What it holds again uses what it uses here.
                Implementation::Dag(_) if scope.is_within(component) => {}
                Implementation::Dag(dag) => self.dag(Scope {
                    around: Some((&scope, task)),
                    component,
                    dag,
                    path: &path,
                    depth: scope.depth + 1,
                }),
                Implementation::Executor(_) => self.container(scope, component, &path),
            }
        }
    }

    fn container(&mut self, scope: Scope<'_>, component: &'a Component, path: &str) {
        if let Some(container) = self.pipeline.container_of(component) {
            let mut words = container.command.iter().chain(&container.arguments);
            let variables = container.environment.iter().map(|(_, value)| value);
            self.needs.workspace |= words.any(|word| word.value.contains(WORKSPACE));
            self.needs.workspace |= variables.into_iter().any(|value| value.value.contains(WORKSPACE));
        }
        let Some(pod) = self.pipeline.pod_of(component) else {
            return;
        };
        for secret in &pod.secrets {
            self.projection(scope, secret, path, true);
        }
        for config_map in &pod.config_maps {
            self.projection(scope, config_map, path, false);
        }
        for claim in &pod.claims {
            let (name, life) = self.volume(scope, &scope.origin(&claim.name));
            let need = self.needs.volumes.entry(name).or_insert_with(|| VolumeNeed {
                life,
                tasks: BTreeSet::new(),
            });
            need.tasks.insert(path.to_owned());
        }
    }

    /// Returns the name of a volume, and how long it lives: a volume that a task makes under a name of its own is the run's.
    fn volume(&self, scope: Scope<'_>, origin: &Origin) -> (String, VolumeLife) {
        let kept = (origin.label(), VolumeLife::Kept);
        let Origin::Output { task, .. } = origin else {
            return kept;
        };
        let mut at = scope;
        let producer = loop {
            let name = match at.path {
                "" => task.as_str(),
                path => task
                    .strip_prefix(path)
                    .map_or("", |rest| rest.trim_start_matches('/')),
            };
            match (at.dag.tasks.get(name), at.around) {
                (Some(producer), _) => break producer,
                (None, Some((around, _))) => at = *around,
                (None, None) => return kept,
            }
        };
        let component = self.pipeline.component(producer.component.as_str());
        let executor = component.and_then(|component| self.pipeline.executor_of(component));
        if !executor.is_some_and(|executor| executor.kind == ExecutorKind::CreateVolume) {
            return kept;
        }
        match producer.parameters.get("pvc_name") {
            Some(given) => (at.origin(&given.source).label(), VolumeLife::Kept),
            None => (task.clone(), VolumeLife::Run),
        }
    }

    fn projection(&mut self, scope: Scope<'_>, projection: &Projection, path: &str, secret: bool) {
        let origin = scope.origin(&projection.name);
        let names = if secret {
            &mut self.secrets
        } else {
            &mut self.config_maps
        };
        let group = names.group(&origin);
        match &projection.target {
            ProjectionTarget::Folder(folder) => {
                let target = UseTarget::Folder(folder.clone());
                self.used(&group, None, target, projection.optional, path, secret);
            }
            ProjectionTarget::Variables(pairs) => {
                for (key, variable) in pairs {
                    let target = UseTarget::Variable(variable.clone());
                    self.used(&group, Some(key), target, projection.optional, path, secret);
                }
            }
        }
    }

    fn used(
        &mut self,
        group: &str,
        key: Option<&str>,
        target: UseTarget,
        optional: bool,
        path: &str,
        secret: bool,
    ) {
        let (names, needs) = match secret {
            true => (&mut self.secrets, &mut self.needs.secrets),
            false => (&mut self.config_maps, &mut self.needs.config_maps),
        };
        let name = names.need(group, key);
        let need = needs.entry(name.clone()).or_insert_with(|| Need {
            group: group.to_owned(),
            key: key.map(str::to_owned),
            ..Need::default()
        });
        need.tasks.insert(path.to_owned());
        need.required |= !optional;
        if let UseTarget::Variable(variable) = &target {
            need.variables.insert(variable.clone());
        }
        self.needs.uses.entry(path.to_owned()).or_default().push(Use {
            need: name,
            secret,
            target,
            optional,
        });
    }
}
