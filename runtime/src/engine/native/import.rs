//! Importers, and the artifacts that are inputs of the pipeline: content from outside becomes an artifact of the run.
//!
//! Content is kept below the run's outputs by digest, as what tasks write is, so that it is an output, travels in an export
//! and is mounted where it is read. Where there is none to be had, the artifact is its address alone, as it is upstream: a
//! task that only needs the address runs, and one that needs the content fails with the reason.

use std::io;
use std::path::Path;

use samebundle_spec::pipeline::{Component, ImportedUri, Importer, text_of};
use samebundle_spec::record::ArtifactRecord;
use serde_json::Value;

use super::artifact::{Artifact, Origin, TaskEnd, Values};
use super::error::TaskError;
use super::facts::ROOT;
use super::folder::{self, Content, Folder, Listed};
use super::resolve::{Resolver, artifact_folder};
use super::{Execution, ProgramError};
use crate::event::Event;
use crate::image::beneath;
use crate::outside::{self, Address, ChosenBy, OutsideError, Place, path_in_container};
use crate::record::RUN_OUTPUTS;

/// The folder of the pipeline's own input artifacts among the outputs of a run. No task has such a name.
pub(crate) const INPUTS: &str = ".inputs";

/// What came of looking for the content of an address.
enum Found {
    /// It is at the path for it.
    Kept,
    /// It stays where it is, for this reason.
    Away(String),
    Cancelled,
}

impl Execution<'_> {
    /// Does the work of an importer.
    pub(super) async fn import(
        &self,
        path: &str,
        component: &Component,
        importer: &Importer,
        inputs: &Values,
    ) -> Result<TaskEnd, TaskError> {
        // The type checker refuses an importer without an output.
        let Some((name, spec)) = component.outputs.artifacts.first_key_value() else {
            return Ok(TaskEnd::Skipped);
        };
        let resolver = Resolver {
            inputs,
            facts: &self.facts,
            task: path,
            container: None,
        };
        let uri = match &importer.uri {
            ImportedUri::Constant(text) => resolver.text(text)?,
            ImportedUri::Parameter(name) => inputs.parameters.get(name).map(text_of).unwrap_or_default(),
        };
        let mut artifact = Artifact::new(name, &spec.artifact_type, uri);
        if let Value::Object(metadata) = resolver.value(&importer.metadata)? {
            artifact.metadata = metadata;
        }
        let place = format!("{path}/{}", artifact_folder(name));
        let Some(artifact) = self.bring(artifact, &place).await? else {
            return Ok(TaskEnd::Cancelled);
        };
        match &artifact.origin {
            Some(origin) if importer.content_required && origin.away.is_some() => Err(TaskError::NotHere {
                address: origin.address.clone(),
                why: origin.away.clone().unwrap_or_default(),
            }),
            _ => Ok(TaskEnd::Done(Values {
                artifacts: [(name.clone(), vec![artifact])].into(),
                ..Values::default()
            })),
        }
    }

    /// Brings the artifacts that were given to the pipeline, or takes what was brought `before`. One that is optional may be
    /// missing.
    pub(super) async fn given_artifacts(
        &self,
        values: &mut Values,
        before: bool,
    ) -> Result<(), ProgramError> {
        for (name, spec) in &self.plan.pipeline.root.inputs.artifacts {
            let given = self.plan.parameters.get(name).filter(|value| !value.is_null());
            let addresses: Vec<&str> = match given {
                Some(Value::String(text)) => vec![text],
                Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
                _ if spec.optional => continue,
                _ => return Err(ProgramError::MissingArtifact { name: name.clone() }),
            };
            let mut list = Vec::new();
            for (number, address) in addresses.into_iter().enumerate() {
                let place = match spec.list {
                    true => format!("{INPUTS}/{name}/{number}"),
                    false => format!("{INPUTS}/{name}"),
                };
                let artifact = Artifact::new(name, &spec.artifact_type, address.to_owned());
                let brought = match before {
                    true => self.brought_before(artifact, &place).await,
                    false => self.bring(artifact, &place).await,
                };
                let wrong = |source: TaskError| ProgramError::Artifact {
                    name: name.clone(),
                    why: source.to_string(),
                };
                list.extend(brought.map_err(wrong)?);
            }
            values.artifacts.insert(name.clone(), list);
        }
        Ok(())
    }

    /// Fetches the content of an artifact, whose uri is its address so far, into a folder below the run's outputs. None if
    /// the run was cancelled.
    async fn bring(&self, mut artifact: Artifact, place: &str) -> Result<Option<Artifact>, TaskError> {
        if let Some(below) = artifact
            .uri
            .strip_prefix(ROOT)
            .and_then(|rest| rest.strip_prefix('/'))
        {
            let (path, content, folder) = self.of_this_run(below).await?;
            artifact.keep(path, content, folder);
            return Ok(Some(artifact));
        }
        let address = Address::parse(&artifact.uri).map_err(|source| TaskError::Address {
            address: outside::shown(&artifact.uri),
            source,
        })?;
        let below = format!("{place}/{}", address.name());
        let outputs = self.plan.run_dir.join(RUN_OUTPUTS);
        let folder = outputs.join(place);
        blocking(move || {
            beneath::remove_path(&folder)?;
            folder::make(&folder)
        })
        .await
        .map_err(TaskError::Folder)?;
        let away = match self.content(&address, &outputs.join(&below)).await? {
            Found::Cancelled => return Ok(None),
            Found::Away(why) => {
                // What arrived before it broke is not the content.
                let part = outputs.join(&below);
                let removed = blocking(move || beneath::remove_path(&part)).await;
                removed.map_err(TaskError::Folder)?;
                Some(why)
            }
            Found::Kept => {
                let (content, folder) = digest(outputs, below.clone()).await?;
                self.is_stated(&address, content)?;
                artifact.lies_at(&below, content, folder);
                None
            }
        };
        if let Some(why) = &away {
            let text = format!("only the address of {} is kept: {why}", address.shown());
            self.context.events.emit(Event::Notice { text });
        }
        artifact.origin = Some(Origin {
            address: address.shown(),
            away,
        });
        Ok(Some(artifact))
    }

    /// Makes an artifact of what is kept at its place among the outputs of the run.
    pub(super) async fn brought_before(
        &self,
        mut artifact: Artifact,
        place: &str,
    ) -> Result<Option<Artifact>, TaskError> {
        let address = Address::parse(&artifact.uri).map_err(|source| TaskError::Address {
            address: outside::shown(&artifact.uri),
            source,
        })?;
        let below = format!("{place}/{}", address.name());
        let outputs = self.plan.run_dir.join(RUN_OUTPUTS);
        let away = match outputs.join(&below).exists() {
            true => {
                let (content, folder) = digest(outputs, below.clone()).await?;
                artifact.lies_at(&below, content, folder);
                None
            }
            false => Some("the run kept only its address".to_owned()),
        };
        artifact.origin = Some(Origin {
            address: address.shown(),
            away,
        });
        Ok(Some(artifact))
    }

    /// Refuses content that is not what the bundle states for its address.
    fn is_stated(&self, address: &Address, content: Content) -> Result<(), TaskError> {
        match self.plan.outside.stated.get(address.as_str()) {
            Some(wanted) if *wanted != content.digest => Err(TaskError::Import {
                address: address.shown(),
                why: format!(
                    "it has the digest {}, and the bundle states {wanted}; it was changed or damaged",
                    content.digest
                ),
            }),
            _ => Ok(()),
        }
    }

    /// Copies or fetches what is at an address to a path.
    async fn content(&self, address: &Address, to: &Path) -> Result<Found, TaskError> {
        let failed = |why: String| TaskError::Import {
            address: address.shown(),
            why,
        };
        if let Some(data) = self.data.iter().find(|data| data.is_at(address.as_str())) {
            let copied = copy(&data.path, to).await;
            return copied.map_err(|error| failed(error.to_string()));
        }
        let person = self.plan.outside.given.names(address);
        let by = match (address.place(), person) {
            (Place::Local(_), false) => return Err(TaskError::NotGivenPath(address.shown())),
            (Place::Local(path), true) => {
                return copy(path, to).await.map_err(|error| failed(error.to_string()));
            }
            (Place::Other(scheme), _) => {
                return Ok(Found::Away(format!("nothing is fetched by {scheme} here")));
            }
            _ if self.context.offline => return Ok(Found::Away("the run is offline".to_owned())),
            (_, true) => ChosenBy::Person,
            (_, false) if self.plan.limits.network => ChosenBy::Bundle,
            (_, false) => {
                let why = "the bundle chose the address and asks for no network; it would with \
                           requires.rights.network";
                return Ok(Found::Away(why.to_owned()));
            }
        };
        let permit = tokio::select! {
            permit = self.permits.acquire() => permit,
            () = self.halt.cancelled() => return Ok(Found::Cancelled),
        };
        let fetched = tokio::select! {
            fetched = self.plan.outside.reach.fetch(address, by, to) => fetched,
            () = self.halt.cancelled() => return Ok(Found::Cancelled),
        };
        drop(permit);
        match fetched {
            Ok(()) => Ok(Found::Kept),
            Err(OutsideError::Away(why)) => Ok(Found::Away(why)),
            Err(OutsideError::Failed(why)) => Err(failed(why)),
        }
    }

    /// Finds what a task of this run wrote, or something in it.
    async fn of_this_run(&self, below: &str) -> Result<(String, Content, bool), TaskError> {
        let path = format!("{RUN_OUTPUTS}/{below}");
        let plain = below.split('/').all(|part| !["", ".", ".."].contains(&part));
        let run = self.log.run();
        let known = run.tasks.iter().flat_map(|task| {
            let values = task.inputs.values().chain(task.outputs.values());
            values.flat_map(|value| value.artifacts())
        });
        let holds = |artifact: &&ArtifactRecord| {
            let rest = artifact.path.as_deref().and_then(|own| path.strip_prefix(own));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let found = known.into_iter().find(holds).filter(|_| plain);
        let found = found.ok_or_else(|| TaskError::NotOfThisRun(format!("{ROOT}/{below}")))?;
        if let (Some(digest), true) = (found.digest, found.path.as_ref() == Some(&path)) {
            let size = found.size;
            return Ok((path, Content { digest, size }, found.folder));
        }
        let (content, folder) = digest(self.plan.run_dir.join(RUN_OUTPUTS), below.to_owned()).await?;
        Ok((path, content, folder))
    }
}

impl Artifact {
    /// Its content lies below the outputs of the run, where tasks find it if it has no other path in containers.
    fn lies_at(&mut self, below: &str, content: Content, folder: bool) {
        self.keep(format!("{RUN_OUTPUTS}/{below}"), content, folder);
        if path_in_container(&self.uri).is_none() {
            self.uri = format!("{ROOT}/{below}");
        }
    }

    fn keep(&mut self, path: String, content: Content, folder: bool) {
        self.folder = folder;
        self.path = Some(path);
        self.digest = Some(content.digest);
        self.size = content.size;
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

async fn copy(from: &Path, to: &Path) -> io::Result<Found> {
    let (from, to) = (from.to_owned(), to.to_owned());
    blocking(move || outside::copy(&from, &to))
        .await
        .map(|()| Found::Kept)
}

/// Digests what is at a path below the outputs of a run, and tells whether it is a folder.
async fn digest(outputs: std::path::PathBuf, below: String) -> Result<(Content, bool), TaskError> {
    let digested = tokio::task::spawn_blocking(move || {
        let found = Folder::open(&outputs, ROOT)?.listed(&below)?;
        let found = found.map(|listed| (listed.content(), matches!(listed, Listed::Folder(_))));
        found.ok_or_else(|| TaskError::NotOfThisRun(format!("{ROOT}/{below}")))
    });
    digested.await.map_err(|error| TaskError::Folder(error.into()))?
}
