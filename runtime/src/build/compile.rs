//! Compiles a pipeline written in Python with the real kfp SDK.
//!
//! The SDK runs in a virtual environment of its own, made once for each version under `HOME/cache`, or in the Python
//! that the user names. The project's code runs as its author runs it: in the project's folder, with that folder and
//! the pipeline's on the path. A module that it imports and that is not there is taken from what the project declares
//! ([`super::imports`]). The bundle carries the pipeline that the SDK writes, and not the Python file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use samebundle_spec::pipeline::{PipelineFault, Position, Unsupported, is_cell};
use samebundle_spec::{Classify as _, ErrorKind, limits};
use serde::{Deserialize, Serialize};

use super::imports::Imports;
use super::tools::{self, ToolError};
use super::wheelhouse::ProjectPackages;
use super::{BuildError, BuildTools};
use crate::context::Context;
use crate::event::Event;

/// The SDK and its dependencies with fixed versions, so that the same source compiles to the same bytes everywhere.
const REQUIREMENTS: &str = include_str!("kfp.txt");

/// The program that runs inside the SDK's Python.
const PROGRAM: &str = include_str!("compile.py");

/// The part of it that executes the cells of a notebook.
const NOTEBOOK: &str = include_str!("notebook.py");

const NO_PYTHON: &str = "install Python 3 with venv and pip, or give `pipeline:` as compiled YAML";

/// How many packages that are missing one after the other are fetched for one pipeline.
const ROUNDS: usize = 16;

/// A pipeline in Python.
#[derive(Clone, Copy, Debug)]
pub(super) struct PythonSource<'a> {
    /// The folder of `samebundle.yaml`, absolute.
    pub(super) project: &'a Path,
    /// The file, absolute.
    pub(super) file: &'a Path,
    /// The function, or the name of its pipeline, where the file has several.
    pub(super) function: Option<&'a str>,
    /// What the pipeline imports beside what the project declares elsewhere.
    pub(super) requirements: &'a [String],
}

/// A compiled pipeline.
#[derive(Debug)]
pub(super) struct Compiled {
    /// The pipeline as the SDK writes it.
    pub(super) yaml: Vec<u8>,
    /// Where in the author's files its parts are.
    pub(super) lines: SourceLines,
    /// What its components install from the project.
    pub(super) packages: ProjectPackages,
    /// What its author should know.
    pub(super) notes: Vec<PipelineFault>,
}

impl Compiled {
    /// A pipeline that the author has compiled.
    pub(super) fn as_is(yaml: Vec<u8>) -> Self {
        Self {
            yaml,
            lines: SourceLines::default(),
            packages: ProjectPackages::default(),
            notes: Vec::new(),
        }
    }
}

/// A line of a file of the author: the path relative to the project's folder, and the number of the line.
type SourceLine = (String, u32);

/// Where the parts of a compiled pipeline are in the author's files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SourceLines {
    tasks: BTreeMap<String, SourceLine>,
    pipeline: Option<SourceLine>,
}

impl SourceLines {
    fn find(&self, task: Option<&str>) -> Option<&SourceLine> {
        let name = task.map(|task| task.rsplit('/').next().unwrap_or(task));
        name.and_then(|name| self.tasks.get(name))
            .or(self.pipeline.as_ref())
    }

    /// Lets a fault of the compiled pipeline point into the author's file.
    pub(super) fn locate(&self, fault: &mut PipelineFault) {
        if let Some((file, line)) = self.find(fault.task.as_deref()) {
            fault.file.clone_from(file);
            fault.at = Position {
                line: *line,
                column: 1,
            };
        }
    }

    /// The same for what is not supported.
    pub(super) fn locate_unsupported(&self, found: &mut Unsupported) {
        if let Some((file, line)) = self.find(Some(&found.task)) {
            found.file.clone_from(file);
            found.at = Position {
                line: *line,
                column: 1,
            };
        }
    }
}

/// What the program is told.
#[derive(Serialize)]
struct Request<'a> {
    project: &'a Path,
    pipeline: &'a Path,
    function: Option<&'a str>,
    /// Folders with packages that are put at the end of the path.
    packages: &'a [PathBuf],
    /// Packages of the project, by name, that lie in a folder of another name.
    aliases: &'a BTreeMap<String, PathBuf>,
    output: &'a Path,
    /// A Python with pip, and the options for every pip.
    python: &'a Path,
    pip: &'a [String],
    /// The folder for wheels of what components install from the project or an address.
    wheels: &'a Path,
    /// Files of such wheels that are there already, and locked commits, by what the component names.
    built: BTreeMap<String, String>,
    commits: BTreeMap<String, String>,
}

/// What the program answers: the pipeline is compiled, or why it is not.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    refused: Option<String>,
    #[serde(default)]
    place: Option<SourceLine>,
    #[serde(default)]
    missing: Option<String>,
    /// What is said after what can be done about a missing module.
    #[serde(default)]
    further: Option<String>,
    #[serde(default)]
    tasks: BTreeMap<String, SourceLine>,
    #[serde(default)]
    pipeline: Option<SourceLine>,
    #[serde(default)]
    constraints: Vec<super::wheelhouse::Constrained>,
    #[serde(default)]
    hashes: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    built: BTreeMap<String, super::wheelhouse::MadeWheel>,
    /// What the author should know, although it compiles.
    #[serde(default)]
    notes: Vec<String>,
    /// Packages that shell lines of a notebook install, and its cells that failed.
    #[serde(default)]
    installs: Vec<String>,
    #[serde(default)]
    left_out: Vec<LeftOut>,
}

/// A cell of a notebook that failed, from there on.
#[derive(Deserialize)]
struct LeftOut {
    place: SourceLine,
    why: String,
    missing: Option<String>,
}

/// Compiles a pipeline.
///
/// # Errors
/// [`BuildError::Compile`] with the author's line; or why the SDK or a package cannot be had.
pub(super) async fn compile(
    source: PythonSource<'_>,
    tools: &BuildTools,
    context: &Context,
) -> Result<Compiled, BuildError> {
    let python = match &tools.kfp_python {
        Some(python) => python.clone(),
        None => sdk(tools, context).await?,
    };
    let mut imports = Imports::new(source, &python, tools, context);
    let failed = |source| BuildError::Write {
        operation: "make a folder for the compiler".to_owned(),
        source,
    };
    let folder = tempfile::tempdir_in(context.home.scratch()).map_err(failed)?;
    let mut unfetched = BTreeMap::new();
    for _ in 0..ROUNDS {
        let answer = run(source, &python, tools, context, folder.path(), &imports).await?;
        imports.offer(&answer.installs);
        if fetch_for_cells(&answer, &mut imports, &mut unfetched).await {
            continue;
        }
        let Some(why) = answer.refused else {
            imports.settle()?;
            return finish(answer, folder.path(), context);
        };
        if let Some(module) = &answer.missing {
            let fetched = match unfetched.remove(module) {
                Some(error) => Err(error),
                None => imports.fetch(module).await,
            };
            match fetched {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) if error.kind() == ErrorKind::Input => {
                    let why = format!(
                        "{module} is imported, and what the project declares cannot be fetched: {error}"
                    );
                    return Err(refusal(source, answer.place, (&why, ""), None, &imports));
                }
                Err(error) => return Err(error),
            }
        }
        return Err(refusal(
            source,
            answer.place,
            (&why, answer.further.as_deref().unwrap_or_default()),
            answer.missing.as_deref(),
            &imports,
        ));
    }
    let why = "it imports one missing package after the other";
    Err(refusal(source, None, (why, ""), None, &imports))
}

/// Fetches a package that a cell of a notebook misses. Returns false if there is none to fetch. That a package cannot be
/// had is kept in `unfetched`: it is an error only where there is no pipeline without it.
async fn fetch_for_cells(
    answer: &Answer,
    imports: &mut Imports<'_>,
    unfetched: &mut BTreeMap<String, BuildError>,
) -> bool {
    for module in answer.left_out.iter().filter_map(|cell| cell.missing.as_ref()) {
        match imports.fetch(module).await {
            Ok(true) => return true,
            Ok(false) => {}
            Err(error) => {
                unfetched.insert(module.clone(), error);
            }
        }
    }
    false
}

/// Says which cells of a notebook were left out, if any, in one note at the first of them.
fn note_of(left_out: Vec<LeftOut>) -> Option<PipelineFault> {
    let mut cells = left_out.into_iter();
    let LeftOut { place, why, .. } = cells.next()?;
    let mut problem = format!("the cell failed and was left out from there on: {why}");
    for other in cells {
        let place = shown(&other.place);
        let place = place.rsplit_once(": ").map_or(&*place, |(_, cell)| cell);
        problem.push_str(&format!("; so was {place}: {}", other.why));
    }
    Some(PipelineFault {
        file: place.0,
        at: Position {
            line: place.1,
            column: 1,
        },
        task: None,
        problem,
        remedy: "tag cells `skip` that the pipeline does not need".to_owned(),
    })
}

/// A line as it is shown.
fn shown((file, line): &SourceLine) -> String {
    match is_cell(file) {
        true => format!("{file}, line {line}"),
        // The lines of a notebook's file mean nothing to its author.
        false if file.ends_with(".ipynb") => file.clone(),
        false => format!("{file}:{line}"),
    }
}

fn refusal(
    source: PythonSource<'_>,
    place: Option<SourceLine>,
    (why, further): (&str, &str),
    missing: Option<&str>,
    imports: &Imports<'_>,
) -> BuildError {
    let file = source.file.strip_prefix(source.project).unwrap_or(source.file);
    let place = place.map_or_else(|| file.display().to_string(), |place| shown(&place));
    let remedy = missing.map_or_else(String::new, |module| imports.remedy(module));
    BuildError::Compile {
        place,
        why: format!("{why}{remedy}{further}"),
    }
}

/// Runs the program once.
async fn run(
    source: PythonSource<'_>,
    python: &Path,
    tools: &BuildTools,
    context: &Context,
    folder: &Path,
    imports: &Imports<'_>,
) -> Result<Answer, BuildError> {
    context.events.emit(Event::Step {
        name: format!("compile {}", source.file.display()),
    });
    let failed = |source| BuildError::Write {
        operation: "start the compiler".to_owned(),
        source,
    };
    let [program, request, answer] =
        ["compile.py", "request.json", "answer.json"].map(|name| folder.join(name));
    let wheels = folder.join("wheels");
    std::fs::create_dir_all(&wheels).map_err(failed)?;
    let known = ProjectPackages::known(source.project, &context.home.cache(), &wheels);
    let told = Request {
        project: source.project,
        pipeline: source.file,
        function: source.function,
        packages: imports.folders(),
        aliases: imports.aliases(),
        output: &folder.join("pipeline.yaml"),
        python: &tools.python,
        pip: &tools.pip_arguments,
        wheels: &wheels,
        built: known.files,
        commits: known.commits,
    };
    let told = serde_json::to_vec(&told).map_err(|error| failed(error.into()))?;
    std::fs::write(&program, PROGRAM).map_err(failed)?;
    std::fs::write(folder.join("notebook.py"), NOTEBOOK).map_err(failed)?;
    std::fs::write(&request, told).map_err(failed)?;
    let mut command = tools::command(python);
    command
        .arg(&program)
        .args([&request, &answer])
        .current_dir(source.project)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONHASHSEED", "0");
    let purpose = format!("compiling {}", source.file.display());
    tools::run(command, &purpose, NO_PYTHON, &context.cancel).await?;
    if !answer.exists() {
        return Err(BuildError::Compile {
            place: source.file.display().to_string(),
            why: "it ends the program where it is imported, without a word why (os._exit?)".to_owned(),
        });
    }
    let answered = super::read_file(&answer, limits::PIPELINE_BYTES)?;
    serde_json::from_slice(&answered).map_err(|error| BuildError::Read {
        path: answer,
        source: error.into(),
    })
}

fn finish(answer: Answer, folder: &Path, context: &Context) -> Result<Compiled, BuildError> {
    for text in answer.notes {
        context.events.emit(Event::Notice { text });
    }
    let packages = ProjectPackages::keep(
        answer.constraints,
        answer.hashes,
        answer.built,
        &folder.join("wheels"),
        &context.home.cache(),
    );
    Ok(Compiled {
        yaml: super::read_file(&folder.join("pipeline.yaml"), limits::PIPELINE_BYTES)?,
        lines: SourceLines {
            tasks: answer.tasks,
            pipeline: answer.pipeline,
        },
        packages: packages.map_err(|source| BuildError::Write {
            operation: "keep the wheels of the project".to_owned(),
            source,
        })?,
        notes: note_of(answer.left_out).into_iter().collect(),
    })
}

/// Returns the Python of the SDK's environment; makes the environment if it does not exist.
async fn sdk(tools: &BuildTools, context: &Context) -> Result<PathBuf, BuildError> {
    let key = samebundle_spec::Digest::sha256(REQUIREMENTS.as_bytes()).short();
    let cache = context.home.cache();
    let place = cache.join(format!("kfp-{key}"));
    let python = Path::new("bin/python");
    if place.join(python).exists() {
        return Ok(place.join(python));
    }
    if context.offline {
        let source = std::io::Error::other("it is fetched from a package index, and the build is offline");
        return Err(BuildError::Write {
            operation: "install the kfp SDK".to_owned(),
            source,
        });
    }
    context.events.emit(Event::Step {
        name: "install the kfp SDK (once)".to_owned(),
    });
    let failed = |source| BuildError::Write {
        operation: format!("make {}", place.display()),
        source,
    };
    std::fs::create_dir_all(&cache).map_err(failed)?;
    let folder = tempfile::tempdir_in(&cache).map_err(failed)?;
    let new = folder.path().join("kfp");
    install(&new, folder.path(), tools, context).await?;
    match std::fs::rename(&new, &place) {
        // Another process was faster; its environment is the same.
        Err(_) if place.join(python).exists() => {}
        outcome => outcome.map_err(failed)?,
    }
    Ok(place.join(python))
}

async fn install(
    new: &Path,
    scratch: &Path,
    tools: &BuildTools,
    context: &Context,
) -> Result<(), BuildError> {
    let mut command = tools::command(&tools.python);
    command.args(["-m", "venv"]).arg(new);
    tools::run(
        command,
        "making a virtual environment",
        NO_PYTHON,
        &context.cancel,
    )
    .await?;
    let list = scratch.join("kfp.txt");
    std::fs::write(&list, REQUIREMENTS).map_err(|source| BuildError::Write {
        operation: "write the list of the SDK's packages".to_owned(),
        source,
    })?;
    let mut command = tools::pip(&new.join("bin/python"), "install");
    command
        .arg("--no-deps")
        .args(&tools.pip_arguments)
        .arg("-r")
        .arg(&list);
    let packages = REQUIREMENTS.lines().filter(|line| line.contains("==")).count();
    let step = ("install the kfp SDK", Some(packages));
    let outcome = tools::run_pip(command, step, "installing the kfp SDK", NO_PYTHON, context).await;
    outcome.map(|_| ()).map_err(ToolError::into)
}
