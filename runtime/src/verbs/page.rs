//! `show RUN --html`: a page of HTML about a run, or about several side by side.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use samebundle_registry::durable;
use samebundle_registry::layout::Layout;
use samebundle_spec::Digest;
use samebundle_spec::limits;
use samebundle_spec::pipeline::Pipeline;
use samebundle_spec::record::{RunEvent, RunId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Site, VerbError};
use crate::opened::{Kind, OpenedBundle};
use crate::page::{self, Known};
use crate::record::{Installations, RecordError, Runs};

/// The permission bits of a page: its owner sends it to whom it is for.
const MODE: u32 = 0o666;

/// Asks for a page about runs.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PageRequest {
    /// The run: its id, the beginning of it, or `last`.
    pub run: String,
    /// The runs that it is compared with; none: the page is about the one run.
    #[serde(default)]
    pub compare: Vec<String>,
    /// The file to write.
    pub file: PathBuf,
}

/// A page that was written.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PageReport {
    /// The runs that it shows.
    pub runs: Vec<RunId>,
    /// The file.
    pub file: String,
    /// Its bytes.
    pub size: u64,
}

/// Writes a page about a run, or about several side by side.
///
/// # Errors
/// If there is no such run, too many are compared, a record cannot be read, or the file cannot be written. Then the file is
/// as it was before.
pub async fn page(site: &Site, request: PageRequest) -> Result<PageReport, VerbError> {
    let count = request.compare.len() + 1;
    if count > limits::PAGE_RUNS {
        return Err(VerbError::Usage(format!(
            "{count} runs are too many for one page: compare at most {}",
            limits::PAGE_RUNS
        )));
    }
    let store = site.store_for_upkeep().await.ok();
    let mut shown = Vec::new();
    for text in std::iter::once(&request.run).chain(&request.compare) {
        shown.push(read(site, store.as_ref(), text).await?);
    }
    let runs = shown.iter().map(|one| one.run.id.clone()).collect();
    let file = request.file.clone();
    let written = tokio::task::spawn_blocking(move || write(&shown, &request.file));
    let size = written
        .await
        .map_err(|error| VerbError::io("write", &file)(error.into()))??;
    Ok(PageReport {
        runs,
        file: file.display().to_string(),
        size,
    })
}

fn write(shown: &[Known], file: &Path) -> Result<u64, VerbError> {
    let page = page::page(shown);
    durable::write(file, page.as_bytes(), MODE).map_err(VerbError::io("write", file))?;
    Ok(page.len() as u64)
}

/// Reads what is known of a run.
async fn read(site: &Site, store: Option<&Layout>, text: &str) -> Result<Known, VerbError> {
    let runs = Runs::new(site.home());
    let id = runs.find_id(text)?;
    let mut run = runs.get(&id)?;
    runs.see(&mut run)?;
    let pipeline = match store {
        Some(store) => pipeline(site, store, &run.bundle_digest).await,
        None => None,
    };
    Ok(Known {
        events: events(&runs, &id)?,
        log: runs.log(&id)?,
        pipeline,
        folder: runs.folder(&id),
        now: site.now(),
        run,
    })
}

/// The events of a run as far as they can be read; none of a run that was imported.
fn events(runs: &Runs<'_>, id: &RunId) -> Result<Vec<RunEvent>, VerbError> {
    let mut all = match runs.events(id) {
        Ok(all) => all,
        Err(RecordError::NoLog { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut events = Vec::new();
    while let Ok(Some(event)) = all.next_event() {
        events.push(event);
    }
    Ok(events)
}

/// The pipeline of a run, if its bundle is in the store. The page says less without it, and is written all the same.
async fn pipeline(site: &Site, store: &Layout, bundle: &Digest) -> Option<Arc<Pipeline>> {
    // The store does not list a working copy, which its installation names.
    let installed = Installations::new(site.home()).list().ok()?;
    let installed = installed.into_iter().map(|one| one.index);
    let all = installed.chain(store.entries().await.ok()?);
    let index = all.into_iter().find(|index| index.digest == *bundle)?;
    match OpenedBundle::open(store, &index).await.ok()?.kind {
        Kind::Program(program) => Some(Arc::clone(&program.pipeline)),
        Kind::Environment | Kind::Addon | Kind::Foreign => None,
    }
}
