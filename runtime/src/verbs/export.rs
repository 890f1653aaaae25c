//! `export`: an installation with its history in one file.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use samebundle_registry::archive;
use samebundle_registry::archive::volumes::Cut;
use samebundle_registry::store::Source;
use samebundle_spec::Digest;
use samebundle_spec::authoring::{RunFiles, RunMetadata, Runs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::copy::{Bytes, VolumeOptions, Written, options};
use super::resolve::{damaged, still_verified};
use super::{LocalName, Site, VerbError, receipt};
use crate::portable::{self, CarriedOutputs};
use crate::record::Installations;

/// Writes an installation with its history to one file.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExportRequest {
    /// The installation, and the version to name the export by; none: the bundle's own.
    pub name: LocalName,
    /// The file; none: `NAME-VERSION.tgz` in `folder`.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// Where the file goes that is not named.
    #[serde(default)]
    pub folder: PathBuf,
    /// Which runs go along.
    pub runs: Runs,
    /// What goes along of each of them.
    #[serde(default)]
    pub metadata: RunMetadata,
    /// Which of their files.
    #[serde(default)]
    pub outputs: RunFiles,
    /// Leave out what the other side has: an earlier export that it imported, or the receipt that it signed.
    #[serde(default)]
    pub since: Option<PathBuf>,
    /// The other side's public key, which signed the receipt; none: any that is trusted.
    #[serde(default)]
    pub since_key: Option<PathBuf>,
    /// How the file is cut; none: into one.
    #[serde(default)]
    pub volumes: Option<VolumeOptions>,
}

/// What was exported.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ExportReport {
    /// The files.
    #[serde(flatten)]
    pub written: Written,
    /// The file that was asked for.
    pub file: String,
    /// The bundle's index.
    pub digest: Digest,
    /// The version of the export.
    pub version: String,
    /// Ids of the runs that went along, newest first.
    pub runs: Vec<String>,
    /// The files of the runs.
    pub outputs: CarriedReport,
    /// What was left out because the other side has it.
    pub omitted: Bytes,
    /// The installation.
    #[serde(skip)]
    pub installation: String,
}

/// The files of runs that went along.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct CarriedReport {
    /// How many artifacts, each once.
    pub artifacts: usize,
    /// Their bytes.
    pub bytes: u64,
    /// What stayed here.
    pub left: Vec<LeftReport>,
}

/// An output of a run whose file stayed here.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LeftReport {
    /// The run.
    pub run: String,
    /// Name of the output.
    pub output: String,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// Why: `size`, `absent` (its file is not here) or `altered` (its file is not what the run left).
    pub why: String,
}

impl From<CarriedOutputs> for CarriedReport {
    fn from(carried: CarriedOutputs) -> Self {
        let left = carried.left.into_iter().map(|left| LeftReport {
            run: left.run.to_string(),
            output: left.output,
            digest: left.digest,
            size: left.size,
            why: left.why.word().to_owned(),
        });
        Self {
            artifacts: carried.artifacts,
            bytes: carried.bytes,
            left: left.collect(),
        }
    }
}

/// Writes an installation with its history to one file, which appears whole or not at all.
///
/// # Errors
/// If there is no such installation, it is not trusted any more, or the file cannot be written.
pub async fn export(site: &Site, request: ExportRequest) -> Result<ExportReport, VerbError> {
    let installation = Installations::new(site.home()).get(&request.name.name)?;
    let store = site.store().await?;
    still_verified(site, &store, &installation).await?;
    let since = since_of(site, &request).await?;
    let version = match request.name.version {
        Some(version) => version,
        None => installation.known_version().parse()?,
    };
    // The name and the version hold no character that a file system treats in its own way, except a colon, which does
    // not occur.
    let default = || PathBuf::from(format!("{}-{}.tgz", installation.name, version.as_tag()));
    let path = request.folder.join(request.file.unwrap_or_else(default));
    let name = installation.name.to_string();
    let exported = Box::pin(portable::export(
        &site.context,
        &store,
        portable::ExportOptions {
            installation,
            version: version.clone(),
            runs: request.runs.limit(),
            metadata: request.metadata,
            outputs: request.outputs,
            archive: archive::Options {
                format: archive::ArchiveFormat::of(&path),
                copy: options(site, None),
                since,
                cut: request.volumes.map(Cut::from),
            },
            path: path.clone(),
        },
    ))
    .await?;
    Ok(ExportReport {
        written: Written::of(&path, &exported.files),
        file: path.display().to_string(),
        digest: exported.index.digest,
        version: version.to_string(),
        runs: exported.runs.iter().map(ToString::to_string).collect(),
        outputs: CarriedReport::from(exported.outputs),
        omitted: Bytes {
            bytes: exported.omitted,
        },
        installation: name,
    })
}

async fn since_of(site: &Site, request: &ExportRequest) -> Result<Option<Arc<archive::Since>>, VerbError> {
    match &request.since {
        Some(file) => Ok(Some(Arc::new(
            since(site, file, request.since_key.as_deref()).await?,
        ))),
        None => Ok(None),
    }
}

/// Returns what the other side holds, according to an archive that it has imported or a receipt that it signed.
async fn since(site: &Site, file: &Path, key: Option<&Path>) -> Result<archive::Since, VerbError> {
    if key.is_some() || is_document(file)? {
        let (other, receipt) = receipt::read(site, file, key)?;
        site.step(format!("leave out what {other} holds"));
        let store = site.store().await?;
        return Ok(archive::Since {
            root: receipt.summary.subject,
            digests: receipt.held(),
            older: store.chunked().await?,
            source: Arc::new(store),
        });
    }
    let earlier = archive::open(file, &site.home().scratch()).await;
    Ok(earlier.map_err(damaged)?.since()?)
}

/// Tells whether a file is a receipt: an archive begins with a name or the magic number of gzip, a receipt is JSON.
fn is_document(path: &Path) -> Result<bool, VerbError> {
    let mut first = [0];
    let mut file = std::fs::File::open(path).map_err(VerbError::io("read", path))?;
    let read = file.read(&mut first).map_err(VerbError::io("read", path))?;
    Ok(read == 1 && first == *b"{")
}
