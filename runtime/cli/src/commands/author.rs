//! `init`, `lint`, `build`: from a folder to a bundle in the local store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use samebundle_registry::store::{Memory, Resolve};
use samebundle_registry::{Origin, Store, StoreError};
use samebundle_runtime::build::{self, BuildInputs, BuildTools, Built, Registries};
use samebundle_runtime::portable;
use samebundle_runtime::record::Installations;
use samebundle_spec::{BundleName, Classify, Descriptor, ErrorKind, Reference, Tag};
use serde_json::json;

use super::opened;
use crate::args;
use crate::error::CliError;
use crate::render::{Report, safe};
use crate::session::Session;

/// The static program inside invocation images, made by `build.rs`.
const RUNNER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/samebundle-runner"));

/// Opens registries with this session's credentials.
#[derive(Debug)]
struct FromSession<'a>(&'a Session);

#[async_trait]
impl Registries for FromSession<'_> {
    async fn open(&self, reference: &Reference) -> Result<(Arc<dyn Origin>, Descriptor), StoreError> {
        let place = reference.repository.to_string();
        let remote = self
            .0
            .remote(&reference.repository)
            .map_err(|error| refused(&place, &error))?;
        let index = match (&reference.digest, &reference.tag) {
            (Some(digest), _) => remote.resolve_digest(digest).await?,
            (None, Some(tag)) => remote.resolve(tag).await?,
            (None, None) => remote.resolve(&latest()?).await?,
        };
        Ok((Arc::new(remote), index))
    }
}

fn latest() -> Result<Tag, StoreError> {
    "latest".parse().map_err(
        |error: samebundle_spec::reference::ReferenceError| StoreError::Invalid {
            subject: "tag latest".to_owned(),
            why: error.to_string(),
        },
    )
}

/// A client that cannot be made is a registry that cannot be asked.
fn refused(place: &str, error: &CliError) -> StoreError {
    let (place, why) = (place.to_owned(), error.to_string());
    match error.kind() {
        ErrorKind::Denied => StoreError::Denied {
            place,
            operation: "the login",
            why,
        },
        _ => StoreError::Unavailable {
            place,
            operation: "be asked",
            why,
        },
    }
}

fn tools(session: &Session) -> BuildTools {
    let variable = |name| session.settings.variable(name).map(PathBuf::from);
    let default = BuildTools::default();
    BuildTools {
        python: variable("SAMEBUNDLE_PYTHON").unwrap_or(default.python),
        kfp_python: variable("SAMEBUNDLE_KFP_PYTHON"),
        pip_arguments: default.pip_arguments,
    }
}

/// Builds a bundle into the local store.
pub(crate) async fn build(session: &Session, args: &args::Build) -> Result<Report, CliError> {
    let store: Arc<dyn Store> = Arc::new(session.store().await?);
    let tags = args
        .tag
        .iter()
        .map(opened::local_tag)
        .collect::<Result<Vec<Tag>, CliError>>()?;
    let built = build_into(session, &args.dir, &store, &tags).await?;
    for note in &built.notes {
        session.notice(note.to_string());
    }
    let runs = attach_history(session, &built).await?;
    let text = format!("built {} {}\n{}", built.name, built.version, built.index.digest);
    let tags: Vec<&str> = built.tags.iter().map(Tag::as_str).collect();
    let json = json!({
        "name": built.name, "version": built.version, "digest": built.index.digest, "size": built.index.size,
        "bundle": built.bundle, "tags": tags, "runs": runs,
    });
    Ok(Report::new(text, json))
}

/// Attaches the author's runs if `history:` asks for some.
async fn attach_history(session: &Session, built: &Built) -> Result<Vec<String>, CliError> {
    let most = built.history.limit();
    if most == 0 {
        return Ok(Vec::new());
    }
    let runs = match Installations::new(&session.home).find(&built.name)? {
        Some(installation) => {
            let store = session.store().await?;
            portable::attach_history(&session.context, &store, &built.index, &installation, most).await?
        }
        None => Vec::new(),
    };
    if runs.is_empty() {
        let name = &built.name;
        session.notice(format!(
            "history: {} is asked for, but this home has no finished run of {name}; install and run it, then build again",
            built.history
        ));
    }
    Ok(runs)
}

async fn build_into(
    session: &Session,
    dir: &Path,
    store: &Arc<dyn Store>,
    tags: &[Tag],
) -> Result<Built, CliError> {
    let inputs = BuildInputs {
        sources: &session.settings.current_dir.join(dir),
        store,
        runner: RUNNER,
        registries: &FromSession(session),
        tools: &tools(session),
        tags,
    };
    tokio::select! {
        biased;
        () = session.context.cancel.cancelled() => Err(CliError::Interrupted("interrupted; nothing was built".to_owned())),
        built = build::build(&inputs, &session.context) => Ok(built?),
    }
}

/// Checks sources: everything that a build checks before it fetches an image.
pub(crate) async fn lint(session: &Session, args: &args::Lint) -> Result<Report, CliError> {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let sources = session.settings.current_dir.join(&args.dir);
    let inputs = BuildInputs {
        sources: &sources,
        store: &store,
        runner: RUNNER,
        registries: &FromSession(session),
        tools: &tools(session),
        tags: &[],
    };
    let checked = build::lint(&inputs, &session.context).await?;
    let notes: Vec<String> = checked.notes.iter().map(ToString::to_string).collect();
    for note in &notes {
        session.notice(note.clone());
    }
    let text = format!(
        "{} {}: no faults, {} notes",
        checked.name,
        checked.version,
        notes.len()
    );
    Ok(Report::new(
        text,
        json!({"name": checked.name, "version": checked.version, "notes": notes}),
    ))
}

/// Writes a samebundle.yaml that names the pipeline, with the rest as comments to be filled in.
pub(crate) fn init(session: &Session, args: &args::Init) -> Result<Report, CliError> {
    let dir = session.settings.current_dir.join(&args.dir);
    std::fs::create_dir_all(&dir).map_err(CliError::io("make", &dir))?;
    let path = dir.join(build::MANIFEST);
    if path.exists() {
        return Err(CliError::Usage(format!(
            "{} is there already; it is not written over",
            path.display()
        )));
    }
    let name = match &args.name {
        Some(name) => name.clone(),
        None => name_of(&dir)?,
    };
    let pipeline = match &args.from {
        Some(from) => relative(&dir, from)?,
        None => "pipeline.py".to_owned(),
    };
    std::fs::write(&path, template(&name, &pipeline)).map_err(CliError::io("write", &path))?;
    let mut text = format!("wrote {}", path.display());
    if !dir.join(&pipeline).exists() {
        text = format!("{text}; put your pipeline at {pipeline}");
    }
    let program = &session.settings.program;
    let text = format!("{text}\ncheck it with: {program} lint {}", args.dir.display());
    Ok(Report::new(
        text,
        json!({"file": path, "name": name, "pipeline": pipeline}),
    ))
}

fn name_of(dir: &Path) -> Result<BundleName, CliError> {
    let folder = dir.canonicalize().map_err(CliError::io("find", dir))?;
    let name = folder
        .file_name()
        .map(|name| name.to_string_lossy().to_lowercase())
        .unwrap_or_default();
    let why = |_| {
        CliError::Usage(format!(
            "the folder's name {:?} cannot name a bundle; give --name",
            safe(&name)
        ))
    };
    name.parse().map_err(why)
}

/// The pipeline's path as samebundle.yaml has it: below its own folder.
fn relative(dir: &Path, from: &Path) -> Result<String, CliError> {
    let below = from.strip_prefix(dir).unwrap_or(from);
    let text = below.to_string_lossy().into_owned();
    let plain = below.is_relative() && !text.contains("..") && !text.contains(['"', '\n']);
    match plain {
        true => Ok(text),
        false => Err(CliError::Usage(format!(
            "{} is not in {}: copy it there",
            from.display(),
            dir.display()
        ))),
    }
}

fn template(name: &BundleName, pipeline: &str) -> String {
    format!(
        r#"apiVersion: samebundle.dev/v1
kind: Program
name: {name}
version: 0.1.0
program:
  # A pipeline of the kfp SDK: its .py, compiled when the bundle is built, or the compiled .yaml.
  pipeline: "{pipeline}"
  # The packages that its components install travel along.
  wheelhouse: auto
# Images come from their registries unless another source is named here:
# images:
#   python:3.11: {{from: "layout:images/python"}}
# Limits on top of the pipeline's own parameters:
# parameters:
#   epochs: {{minimum: 1}}
# What it needs where it runs; said before anything is made if it cannot be had:
# requires:
#   resources: {{cpu: 2, memory: 2Gi, gpu: {{count: 0}}, disk: {{size: 1Gi, class: standard}}}}
"#
    )
}
