//! Takes over what was done already: a task's result is restored from a former end of the same work. This is the whole of
//! caching (any run, by the digest of all that the result may depend on: [`key`], [`index`]), of a rerun from a task on (one
//! run, [`afresh`]), and of going on after a crash (the same run, [`resumed`]).
//!
//! The truth is always the record of the former run together with its files, whose content is digested again
//! ([`restore`]). Whatever is missing or different is no hit, and the task runs; it is never an error.

mod afresh;
mod index;
mod key;
mod link;
mod restore;
mod resumed;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use samebundle_spec::Digest;
use samebundle_spec::pipeline::{Component, Task};
use samebundle_spec::record::{RunId, RunStatus, TakenFrom, TaskFinished, TaskRecord};

use super::Execution;
use super::artifact::Values;
use crate::home::Home;
use crate::record::Runs;

pub use afresh::{Afresh, AfreshError};
pub use resumed::Resumed;

pub(crate) use index::sweep;
use restore::Place;

/// How many results are restored at the same time: each holds some open files.
const RESTORED_AT_ONCE: usize = 4;

/// What a run takes over.
#[derive(Clone, Debug, Default)]
pub struct Reuse {
    /// Whether nothing is taken from the cache.
    pub no_cache: bool,
    /// A run whose results are taken over, also those of tasks that are not to be cached.
    pub of: Option<RunId>,
    /// The tasks that run in any case.
    pub afresh: Afresh,
    /// What the same run did before its process was killed.
    pub resumed: Resumed,
}

/// A run of before, as far as its results can be taken over.
#[derive(Debug)]
struct FormerRun {
    folder: PathBuf,
    /// Whether it came from elsewhere, where nobody signed it: then it counts only for who names it.
    imported: bool,
    tasks: HashMap<String, TaskRecord>,
}

impl FormerRun {
    fn read(home: &Home, id: &RunId) -> Option<Self> {
        let runs = Runs::new(home);
        let run = runs.get(id).ok()?;
        Some(Self {
            folder: runs.folder(id),
            imported: run.imported_with.is_some(),
            tasks: run
                .tasks
                .into_iter()
                .map(|task| (task.name.clone(), task))
                .collect(),
        })
    }
}

/// The runs of before from which results are taken. Each record is read once.
#[derive(Debug)]
pub(super) struct Former {
    home: Home,
    /// The run that takes them, which takes nothing from itself.
    own: RunId,
    /// The run that a person named.
    named: Option<RunId>,
    runs: Mutex<BTreeMap<RunId, Option<Arc<FormerRun>>>>,
    pub(super) places: tokio::sync::Semaphore,
}

impl Former {
    pub(super) fn new(home: &Home, own: RunId, named: Option<RunId>) -> Self {
        Self {
            home: home.clone(),
            own,
            named,
            runs: Mutex::default(),
            places: tokio::sync::Semaphore::new(RESTORED_AT_ONCE),
        }
    }

    fn run(&self, id: &RunId) -> Option<Arc<FormerRun>> {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let read = || FormerRun::read(&self.home, id).map(Arc::new);
        let run = runs.entry(id.clone()).or_insert_with(read).clone()?;
        let foreign = run.imported && self.named.as_ref() != Some(id);
        (*id != self.own && !foreign).then_some(run)
    }

    /// Restores the first of some results that is whole.
    fn restore(
        &self,
        candidates: Vec<TakenFrom>,
        key: Digest,
        component: &Component,
        own: &Place,
    ) -> Option<(TakenFrom, Values)> {
        candidates.into_iter().find_map(|from| {
            let run = self.run(&from.run)?;
            let task = run.tasks.get(&from.task)?;
            let fits = task.status == RunStatus::Succeeded && task.cache_key == Some(key);
            let there = Place::new(&run.folder, &from.task);
            let values = fits.then(|| restore::taken(&task.outputs, component, &there, own))??;
            Some((from, values))
        })
    }
}

impl Execution<'_> {
    /// Takes over the result of a former run, if there is one with this key.
    pub(super) async fn taken_over(
        &self,
        path: &str,
        task: &Task,
        component: &Component,
        key: Digest,
    ) -> Option<(TakenFrom, Values)> {
        let reuse = &self.plan.reuse;
        // What follows a failure as well is to tidy up or to tell somebody: each run does it.
        if reuse.afresh.has(path) || self.halt.is_cancelled() || task.trigger.always.is_some() {
            return None;
        }
        let mut candidates: Vec<TakenFrom> = Vec::new();
        candidates.extend(reuse.of.clone().map(|run| TakenFrom {
            run,
            task: path.to_owned(),
        }));
        let cached = task.caching.enabled && !reuse.no_cache;
        if candidates.is_empty() && !cached {
            return None;
        }
        let _place = self.former.places.acquire().await.ok()?;
        let former = Arc::clone(&self.former);
        let own = Place::new(&self.plan.run_dir, path);
        let component = component.clone();
        let restore = move || {
            if cached {
                candidates.extend(index::find(&former.home, key));
            }
            former.restore(candidates, key, &component, &own)
        };
        tokio::task::spawn_blocking(restore).await.ok().flatten()
    }

    /// Returns the outputs that a task of this run had, which was no container or took them over.
    pub(super) async fn kept(&self, path: &str, component: &Component, end: &TaskFinished) -> Option<Values> {
        let own = Place::new(&self.plan.run_dir, path);
        let (component, outputs) = (component.clone(), end.outputs.clone());
        let kept = move || restore::kept(&outputs, &component, &own);
        tokio::task::spawn_blocking(kept).await.ok().flatten()
    }

    /// Offers a result to later runs.
    pub(super) async fn offer(&self, path: &str, key: Digest) {
        let former = Arc::clone(&self.former);
        let task = path.to_owned();
        let offer = move || {
            let run = former.own.clone();
            index::offer(&former.home, key, &TakenFrom { run, task });
        };
        let _ = tokio::task::spawn_blocking(offer).await;
    }
}
