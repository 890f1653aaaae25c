//! Compiles a pipeline written in Python with the real kfp SDK.
//!
//! The SDK runs in a virtual environment of its own, made once for each version under `HOME/cache`, or in the Python
//! that the user names. The bundle carries the pipeline that the SDK writes, and not the Python file.

use std::path::{Path, PathBuf};

use samebundle_spec::limits;

use super::tools::{self, ToolError};
use super::{BuildError, BuildTools};
use crate::context::Context;
use crate::event::Event;

/// The SDK and its dependencies with fixed versions, so that the same source compiles to the same bytes everywhere.
const REQUIREMENTS: &str = include_str!("kfp.txt");

/// Runs the SDK's own command line. Its module does nothing under `python -m`.
const COMPILER: &str = "from kfp.cli.__main__ import main; main()";

const NO_PYTHON: &str = "install Python 3 with venv and pip, or give `pipeline:` as compiled YAML";

/// Compiles `source`, an absolute path, and returns the YAML.
pub(super) async fn compile(
    source: &Path,
    tools: &BuildTools,
    context: &Context,
) -> Result<Vec<u8>, BuildError> {
    let python = match &tools.kfp_python {
        Some(python) => python.clone(),
        None => sdk(tools, context).await?,
    };
    context.events.emit(Event::Step {
        name: format!("compile {}", source.display()),
    });
    let failed = |operation: &str| {
        let operation = operation.to_owned();
        move |source| BuildError::Write { operation, source }
    };
    let folder =
        tempfile::tempdir_in(context.home.scratch()).map_err(failed("make a folder for the compiler"))?;
    let output = folder.path().join("pipeline.yaml");
    let mut command = tools::command(python);
    command
        .args(["-c", COMPILER, "dsl", "compile", "--py"])
        .arg(source)
        .arg("--output")
        .arg(&output)
        .current_dir(folder.path())
        // The author's module may import its neighbours, and nothing may be written into its folder.
        .env("PYTHONPATH", source.parent().unwrap_or(Path::new(".")))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONHASHSEED", "0");
    let purpose = format!("compiling {}", source.display());
    let said = tools::run(command, &purpose, NO_PYTHON, &context.cancel).await?;
    let bytes = super::read_file(&output, limits::PIPELINE_BYTES);
    bytes.map_err(|error| match error {
        // The compiler succeeded and wrote nothing: only what it printed can explain that.
        BuildError::Read { source, path } if source.kind() == std::io::ErrorKind::NotFound => {
            BuildError::Read {
                path,
                source: std::io::Error::other(format!("the compiler wrote nothing: {said}")),
            }
        }
        other => other,
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
    let mut command = tools::command(new.join("bin/python"));
    command
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-input",
            "--disable-pip-version-check",
            "--no-deps",
        ])
        .args(&tools.pip_arguments)
        .arg("-r")
        .arg(&list);
    let outcome = tools::run(command, "installing the kfp SDK", NO_PYTHON, &context.cancel).await;
    outcome.map(|_| ()).map_err(ToolError::into)
}
