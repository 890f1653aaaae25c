//! `list`, `show`, `runs`, `logs`, `outputs`: what was installed and what came of it.

use std::fmt::Write;
use std::path::Path;

use samebundle_runtime::record::{Installations, LogLine, Runs};
use samebundle_spec::BundleName;
use samebundle_spec::record::{OutputRecord, Run, Verification};
use serde_json::{Value, json};

use crate::args;
use crate::error::CliError;
use crate::render::{Report, safe, size, table::table};
use crate::session::Session;

/// Lists installations.
pub(crate) fn list(session: &Session) -> Result<Report, CliError> {
    let all = Installations::new(&session.home).list()?;
    if all.is_empty() {
        return Ok(Report::new(
            "nothing is installed; `install BUNDLE` installs something",
            json!({"installations": []}),
        ));
    }
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|one| {
            vec![
                one.name.to_string(),
                one.version.clone(),
                trusted_by(&one.verification),
                one.source.clone(),
            ]
        })
        .collect();
    Ok(Report::new(
        table(&["name", "version", "trusted by", "from"], &rows),
        json!({"installations": all}),
    ))
}

/// Says why something was trusted, in a few words.
pub(crate) fn trusted_by(verification: &Verification) -> String {
    match verification {
        Verification::Signature { keys, .. } => format!("key {}", keys.join(", ")),
        Verification::Consent { reason } => format!("consent ({})", safe(reason)),
    }
}

/// Shows one installation.
pub(crate) fn show(session: &Session, name: &BundleName) -> Result<Report, CliError> {
    let one = Installations::new(&session.home).get(name)?;
    let runs = Runs::new(&session.home).list(Some(name))?;
    let mut text = String::new();
    let lines = [
        ("name", one.name.to_string()),
        ("bundle", format!("{} {}", safe(&one.bundle), safe(&one.version))),
        ("digest", one.index.digest.to_string()),
        ("from", safe(&one.source)),
        ("trusted by", trusted_by(&one.verification)),
        ("installed", one.installed.clone()),
        ("runs", runs.len().to_string()),
    ];
    for (label, value) in lines {
        writeln!(text, "{label:<11} {value}")?;
    }
    for (name, value) in &one.parameters {
        writeln!(text, "parameter   {} = {value}", safe(name))?;
    }
    Ok(Report::new(
        text.trim_end(),
        json!({"installation": one, "runs": runs.len()}),
    ))
}

/// Lists runs.
pub(crate) fn runs(session: &Session, args: &args::Runs) -> Result<Report, CliError> {
    let runs = Runs::new(&session.home).list(args.name.as_ref())?;
    if runs.is_empty() {
        return Ok(Report::new(
            "there are no runs yet; `run NAME` makes one",
            json!({"runs": []}),
        ));
    }
    let rows: Vec<Vec<String>> = runs.iter().map(run_row).collect();
    let header = [
        "run",
        "installation",
        "version",
        "action",
        "status",
        "started",
        "driver",
        "parameters",
    ];
    Ok(Report::new(table(&header, &rows), json!({"runs": runs})))
}

/// One line of the list; parameters are those that were set.
fn run_row(run: &Run) -> Vec<String> {
    let set = run
        .parameters
        .iter()
        .filter(|(_, parameter)| parameter.set_by != "default");
    let set = set.map(|(name, parameter)| match &parameter.value {
        Some(value) => format!("{name}={value}"),
        None => format!("{name}=***"),
    });
    vec![
        run.id.clone(),
        run.installation.to_string(),
        safe(&run.version),
        safe(&run.action),
        run.status.word().to_owned(),
        run.started.clone(),
        run.driver.clone(),
        safe(&set.collect::<Vec<_>>().join(" ")),
    ]
}

/// Prints what tasks printed.
pub(crate) fn logs(session: &Session, args: &args::Logs) -> Result<Report, CliError> {
    let runs = Runs::new(&session.home);
    let id = runs.find_id(&args.run)?;
    let wanted = |line: &LogLine| args.task.as_ref().is_none_or(|task| *task == line.task);
    let lines: Vec<LogLine> = runs.log(&id)?.into_iter().filter(wanted).collect();
    let text: Vec<String> = lines
        .iter()
        .map(|line| format!("{} | {}", safe(&line.task), safe(&line.line)))
        .collect();
    Ok(Report::new(text.join("\n"), json!({"run": id, "log": lines})))
}

/// Lists outputs, or writes them to a folder.
pub(crate) fn outputs(session: &Session, args: &args::Outputs) -> Result<Report, CliError> {
    let runs = Runs::new(&session.home);
    let id = runs.find_id(&args.run)?;
    let run = runs.get(&id)?;
    let mut rows = Vec::new();
    for (name, output) in &run.outputs {
        rows.extend(output_rows(name, output));
    }
    if let Some(to) = &args.to {
        write_outputs(&run, &runs.folder(&id), &session.settings.current_dir.join(to))?;
    }
    let text = match rows.is_empty() {
        true => format!("run {id} has no outputs"),
        false => table(&["output", "value", "size"], &rows),
    };
    Ok(Report::new(
        text,
        json!({"run": id, "status": run.status, "outputs": outputs_json(&run)}),
    ))
}

pub(crate) fn output_rows(name: &str, output: &OutputRecord) -> Vec<Vec<String>> {
    match output {
        OutputRecord::Value(value) => vec![vec![safe(name), safe(&value.to_string()), String::new()]],
        OutputRecord::Artifacts(artifacts) => {
            let row = |artifact: &samebundle_spec::record::ArtifactRecord| {
                let digest = artifact
                    .digest
                    .map_or_else(|| "only metadata".to_owned(), |digest| digest.to_string());
                vec![safe(name), digest, size::bytes(artifact.size)]
            };
            artifacts.iter().map(row).collect()
        }
    }
}

/// Outputs as `run --output json` has them: name to value, or to digest and size of an artifact.
pub(crate) fn outputs_json(run: &Run) -> Value {
    let one = |output: &OutputRecord| match output {
        OutputRecord::Value(value) => value.clone(),
        OutputRecord::Artifacts(artifacts) => match artifacts.as_slice() {
            [artifact] => artifact_json(artifact),
            many => many.iter().map(artifact_json).collect(),
        },
    };
    run.outputs
        .iter()
        .map(|(name, output)| (name.clone(), one(output)))
        .collect()
}

fn artifact_json(artifact: &samebundle_spec::record::ArtifactRecord) -> Value {
    json!({
        "digest": artifact.digest, "size": artifact.size, "type": artifact.artifact_type, "metadata": artifact.metadata,
    })
}

/// Writes values to `NAME.json` and copies artifacts to `NAME` (with a number if there are several).
fn write_outputs(run: &Run, folder: &Path, to: &Path) -> Result<(), CliError> {
    std::fs::create_dir_all(to).map_err(CliError::io("make", to))?;
    for (name, output) in &run.outputs {
        let name = safe_file_name(name);
        match output {
            OutputRecord::Value(value) => {
                let path = to.join(format!("{name}.json"));
                std::fs::write(&path, format!("{value}\n")).map_err(CliError::io("write", &path))?;
            }
            OutputRecord::Artifacts(artifacts) => {
                for (number, artifact) in artifacts.iter().enumerate() {
                    let name = if artifacts.len() == 1 {
                        name.clone()
                    } else {
                        format!("{name}-{number}")
                    };
                    copy_artifact(artifact, folder, &to.join(name))?;
                }
            }
        }
    }
    Ok(())
}

/// Names of outputs come from the bundle: only plain characters reach the file system.
fn safe_file_name(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect()
}

fn copy_artifact(
    artifact: &samebundle_spec::record::ArtifactRecord,
    folder: &Path,
    to: &Path,
) -> Result<(), CliError> {
    let metadata = to.with_extension("metadata.json");
    if !artifact.metadata.is_empty() {
        let text = serde_json::to_string_pretty(&artifact.metadata).unwrap_or_default();
        std::fs::write(&metadata, text).map_err(CliError::io("write", &metadata))?;
    }
    match &artifact.path {
        Some(path) => copy_tree(&folder.join(path), to),
        None => Ok(()),
    }
}

/// Copies plain files and folders; links were refused when the artifact was recorded.
fn copy_tree(from: &Path, to: &Path) -> Result<(), CliError> {
    let metadata = std::fs::symlink_metadata(from).map_err(CliError::io("read", from))?;
    if metadata.is_file() {
        std::fs::copy(from, to).map_err(CliError::io("copy", from))?;
        return Ok(());
    }
    std::fs::create_dir_all(to).map_err(CliError::io("make", to))?;
    for entry in std::fs::read_dir(from).map_err(CliError::io("list", from))? {
        let entry = entry.map_err(CliError::io("list", from))?;
        copy_tree(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}
