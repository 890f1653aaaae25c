//! The tar that holds an installation's document and the records of its runs.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use samebundle_registry::archive::tar_entries::{Entries, Rules};
use samebundle_spec::limits;
use samebundle_spec::record::{self, Installation, Run, RunId};

use super::PortableError;
use crate::record::Runs;

/// The files of a run that are exported. Outputs are not, nor are the events, from which the record is made.
const FILES: [&str; 4] = ["run.json", "claim.json", "result.json", "log.jsonl"];

/// Writes the history: the same bytes for the same records.
pub(super) fn write(
    to: &Path,
    installation: &Installation,
    runs: &[Run],
    records: &Runs<'_>,
) -> Result<(), PortableError> {
    let file = File::create(to).map_err(PortableError::io("write", to))?;
    let mut tar = tar::Builder::new(io::BufWriter::new(file));
    let document = serde_json::to_vec_pretty(installation).map_err(|error| PortableError::History {
        why: error.to_string(),
    })?;
    append(&mut tar, "installation.json", &document).map_err(PortableError::io("write", to))?;
    for run in runs {
        for name in FILES {
            let path = records.folder(&run.id).join(name);
            match std::fs::read(&path) {
                Ok(bytes) => append(&mut tar, &format!("runs/{}/{name}", run.id), &bytes)
                    .map_err(PortableError::io("write", to))?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(PortableError::io("read", &path)(error)),
            }
        }
    }
    let finished = tar.into_inner().and_then(|mut writer| writer.flush());
    finished.map_err(PortableError::io("write", to))
}

fn append(tar: &mut tar::Builder<impl Write>, path: &str, bytes: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_path(path)?;
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    tar.append(&header, bytes)
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
