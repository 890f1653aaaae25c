//! The tar that holds an installation's document and the records of its runs.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use samebundle_registry::PathError;
use samebundle_registry::archive::tar_entries::{Entries, Rules};
use samebundle_spec::authoring::RunMetadata;
use samebundle_spec::limits;
use samebundle_spec::record::{self, Installation, Run, RunId};

use super::PortableError;
use crate::metadata::ro_crate::{self, Contents};
use crate::record::{RECORD, Runs};

/// The files of a run that are exported. Outputs are not, nor are the events, from which the record is made.
const FILES: [&str; 4] = [RECORD, CLAIM, "result.json", LOG];
const CLAIM: &str = "claim.json";
const LOG: &str = "log.jsonl";

/// Writes the history: the same bytes for the same records.
pub(super) fn write(
    to: &Path,
    installation: &Installation,
    runs: &[Run],
    metadata: RunMetadata,
    records: &Runs<'_>,
) -> Result<(), PortableError> {
    let file = File::create(to).map_err(PortableError::io("write", to))?;
    let mut tar = tar::Builder::new(io::BufWriter::new(file));
    let document = serde_json::to_vec_pretty(installation).map_err(|error| PortableError::History {
        why: error.to_string(),
    })?;
    append(&mut tar, "installation.json", &document).map_err(PortableError::io("write", to))?;
    for run in runs {
        write_run(&mut tar, run, metadata, &records.folder(&run.id))?;
    }
    let finished = tar.into_inner().and_then(|mut writer| writer.flush());
    finished.map_err(PortableError::io("write", to))
}

/// Writes the files of a run, and what describes them.
fn write_run(
    tar: &mut tar::Builder<impl Write>,
    run: &Run,
    metadata: RunMetadata,
    folder: &Path,
) -> Result<(), PathError> {
    let mut contents = Contents {
        workflow: CLAIM.to_owned(),
        ..Contents::default()
    };
    let names = FILES
        .into_iter()
        .filter(|name| metadata == RunMetadata::All || *name != LOG);
    for name in names {
        let path = folder.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => {
                contents.files.insert(name.to_owned(), bytes.len() as u64);
                append(tar, &format!("runs/{}/{name}", run.id), &bytes)
                    .map_err(PathError::of("pack", &path))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(PathError::of("read", &path)(error)),
        }
    }
    // A crate describes the document of what ran, which is the claim's.
    if metadata == RunMetadata::All && contents.files.contains_key(CLAIM) {
        let described = format!("{:#}", ro_crate::crate_of(run, &contents));
        let path = format!("runs/{}/{}", run.id, ro_crate::METADATA);
        append(tar, &path, described.as_bytes()).map_err(PathError::of("describe", folder))?;
    }
    Ok(())
}

fn append(tar: &mut tar::Builder<impl Write>, path: &str, bytes: &[u8]) -> io::Result<()> {
    append_file(tar, path, bytes.len() as u64, bytes)
}

/// Appends a file to a tar of an export, so that the same content gives the same bytes.
pub(super) fn append_file(
    tar: &mut tar::Builder<impl Write>,
    path: &str,
    size: u64,
    content: impl Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_path(path)?;
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    tar.append(&header, content)
}

/// What a history holds.
#[derive(Debug)]
pub(super) struct History {
    pub(super) installation: Installation,
    /// Files of runs: id, name, content.
    pub(super) files: Vec<(RunId, &'static str, Vec<u8>)>,
}

/// Reads a history strictly: an entry that does not belong in it is an error.
pub(super) fn read(tar: impl Read) -> Result<History, PortableError> {
    let mut entries = Entries::new(tar, Rules::default());
    let mut installation = None;
    let mut files = Vec::new();
    while let Some(entry) = entries.next_entry()? {
        let invalid = |why: &str| PortableError::History {
            why: format!("{}: {why}", entry.path),
        };
        if entry.size > limits::RUN_BYTES {
            return Err(invalid("too large"));
        }
        let mut bytes = Vec::new();
        entries
            .read_to_end(&mut bytes)
            .map_err(PortableError::io("read", Path::new("the history")))?;
        let parts: Vec<&str> = entry.path.as_str().split('/').collect();
        match parts.as_slice() {
            ["installation.json"] => {
                let parsed = record::parse(&bytes, limits::BUNDLE_JSON_BYTES);
                installation = Some(parsed.map_err(|error| invalid(&error.to_string()))?);
            }
            // It is made anew from the record where it is wanted.
            ["runs", id, ro_crate::METADATA] => {
                let _: RunId = id.parse().map_err(|_| invalid("no run has this id"))?;
            }
            ["runs", id, name] => {
                let id: RunId = id.parse().map_err(|_| invalid("no run has this id"))?;
                let name = FILES
                    .into_iter()
                    .find(|known| known == name)
                    .ok_or_else(|| invalid("no file of a run"))?;
                files.push((id, name, bytes));
            }
            _ => return Err(invalid("has no place in a history")),
        }
    }
    let installation = installation.ok_or_else(|| PortableError::History {
        why: "installation.json is missing".to_owned(),
    })?;
    Ok(History { installation, files })
}
