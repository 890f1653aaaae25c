//! In what the bundles of runs differ: packages, code and data. Bundles of one digest are the same and are not opened.

use std::collections::BTreeMap;
use std::path::Path;

use samebundle_registry::StoreError;
use samebundle_registry::layout::Layout;
use samebundle_registry::store::SourceExt;
use samebundle_spec::pipeline::{self, ExecutorKind, Implementation, Pipeline, install_lines};
use samebundle_spec::{Digest, limits};
use serde_json::{Value, json};

use super::code::{self, CodeDifference, Components};
use super::{Difference, differences};
use crate::opened::{Kind, OpenError, OpenedBundle, Program};
use crate::verbs::summary::RunSummary;
use crate::verbs::{Site, VerbError};

/// In what bundles differ.
#[derive(Debug, Default)]
pub(super) struct Compared {
    pub(super) packages: Vec<Difference>,
    pub(super) code: Vec<CodeDifference>,
    pub(super) data: Vec<Difference>,
}

/// What is compared of a bundle.
#[derive(Debug, Default)]
struct Parts {
    packages: BTreeMap<String, Value>,
    data: BTreeMap<String, Value>,
    components: Components,
}

/// Compares the bundles of runs, if there are several.
///
/// # Errors
/// If the store cannot be read. A bundle that is not there, or not whole, is noted.
pub(super) async fn compare(
    site: &Site,
    runs: &[RunSummary],
    notes: &mut Vec<String>,
) -> Result<Compared, VerbError> {
    if runs.iter().all(|run| run.bundle_digest == runs[0].bundle_digest) {
        return Ok(Compared::default());
    }
    let store = site.store().await?;
    let mut known: BTreeMap<Digest, Parts> = BTreeMap::new();
    for run in runs {
        if known.contains_key(&run.bundle_digest) {
            continue;
        }
        match parts(site, &store, &run.bundle_digest).await {
            Ok(Some(parts)) => drop(known.insert(run.bundle_digest, parts)),
            Ok(None) => notes.push(format!(
                "{} {} ({}) is not a program, so that its code and packages are not compared",
                run.bundle,
                run.version,
                run.bundle_digest.short()
            )),
            Err(OpenError::Store(StoreError::NotFound { .. })) => notes.push(format!(
                "{} {} ({}) is not in the store, so that its code and packages are not compared; `pull` brings it back",
                run.bundle,
                run.version,
                run.bundle_digest.short()
            )),
            Err(error) => return Err(error.into()),
        }
    }
    let all: Option<Vec<&Parts>> = runs.iter().map(|run| known.get(&run.bundle_digest)).collect();
    let Some(all) = all else {
        return Ok(Compared::default());
    };
    let mut code = Vec::new();
    for (run, parts) in runs.iter().zip(&all).skip(1) {
        if run.bundle_digest != runs[0].bundle_digest {
            code.extend(code::compare(
                (&runs[0].short, &all[0].components),
                (&run.short, &parts.components),
            ));
        }
    }
    Ok(Compared {
        packages: differences(&all, |parts| parts.packages.clone()),
        data: differences(&all, |parts| parts.data.clone()),
        code,
    })
}

async fn parts(site: &Site, store: &Layout, digest: &Digest) -> Result<Option<Parts>, OpenError> {
    let index = store
        .identify(digest)
        .await?
        .ok_or_else(|| StoreError::NotFound {
            subject: digest.to_string(),
            place: "the local store".to_owned(),
        })?;
    let opened = OpenedBundle::open(store, &index).await?;
    let Kind::Program(program) = &opened.kind else {
        return Ok(None);
    };
    let bytes = store
        .fetch_bytes(&program.pipeline_layer, limits::PIPELINE_BYTES)
        .await?;
    let documents = pipeline::documents("pipeline.yaml", &bytes)?;
    let wheels = site.home().layers().join("wheels");
    Ok(Some(Parts {
        packages: packages(program, &wheels),
        data: data(program),
        components: Components::read(&documents),
    }))
}

/// The wheels by their projects, as far as they were unpacked here, and what each component installs.
fn packages(program: &Program, unpacked: &Path) -> BTreeMap<String, Value> {
    let mut packages = BTreeMap::new();
    if let Some(layer) = &program.wheelhouse {
        packages.insert("wheelhouse".to_owned(), json!(layer.digest));
        let files = std::fs::read_dir(unpacked.join(layer.digest.hex()));
        for file in files.into_iter().flatten().flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            // NAME-VERSION-…: of a wheel as of a source distribution.
            let Some((project, rest)) = name.split_once('-') else {
                continue;
            };
            let version = rest.strip_suffix(".tar.gz").unwrap_or(rest);
            let version = version.split('-').next().unwrap_or(version);
            packages.insert(project.to_owned(), json!(version));
        }
    }
    for (component, lines) in installed(&program.pipeline) {
        packages.insert(format!("pip install of {component}"), json!(lines));
    }
    packages
}

/// What each component installs before it begins, as it is written.
fn installed(pipeline: &Pipeline) -> BTreeMap<&str, Vec<String>> {
    let components = pipeline.components.iter().filter_map(|(name, component)| {
        let Implementation::Executor(label) = &component.implementation else {
            return None;
        };
        let ExecutorKind::Container(container) = &pipeline.executors.get(label.as_str())?.kind else {
            return None;
        };
        let command: Vec<&str> = container.command.iter().map(|word| word.as_str()).collect();
        let lines = install_lines(&command).into_iter();
        let lines: Vec<String> = lines.map(|line| line.arguments.join(" ")).collect();
        (!lines.is_empty()).then_some((name.as_str(), lines))
    });
    components.collect()
}

fn data(program: &Program) -> BTreeMap<String, Value> {
    let carried = program.extension.carried.iter();
    let carried = carried.map(|one| (one.name.to_string(), json!(one.digest)));
    let pointers = program.extension.data.iter();
    let pointers = pointers.map(|one| (one.name.clone(), json!(one.digest)));
    carried.chain(pointers).collect()
}
