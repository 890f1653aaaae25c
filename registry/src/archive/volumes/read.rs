//! Finds the volumes of an archive, checks each, and rebuilds what is lost or damaged.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use samebundle_spec::volume::{HEAD_BYTES, VolumeError, VolumeHead, VolumeSet};
use samebundle_spec::{Algorithm, Digest};

use super::super::body::Parts;
use super::{beside, parity, whole_of};
use crate::durable::open_plain;
use crate::store::StoreError;

/// A file in the archive's folder that looks like a volume.
#[derive(Debug)]
struct Candidate {
    path: PathBuf,
    file: File,
    head: Result<VolumeHead, VolumeError>,
}

/// The files that were found as volumes of one archive.
#[derive(Debug)]
pub(in crate::archive) struct FoundVolumes {
    /// The archive's path, at which there is no file.
    path: PathBuf,
    set: VolumeSet,
    candidates: Vec<Candidate>,
}

/// Looks for volumes: `path` may be one of them, or the name of an archive that exists only in volumes. `None` if it is
/// neither.
///
/// # Errors
/// [`StoreError::Invalid`] if there are some, but none can be read or they belong to different archives.
pub(in crate::archive) fn find(path: &Path) -> Result<Option<FoundVolumes>, StoreError> {
    let start = start_of(path)?;
    let is_volume = start.as_ref().is_some_and(|start| VolumeHead::is_volume(start));
    let whole = match (whole_of(path), &start) {
        // A volume whose head is destroyed is known by its name alone; any other file is what it is.
        (Some(whole), _) => whole,
        (None, Some(_)) if !is_volume => return Ok(None),
        (None, _) => path.to_owned(),
    };
    let mut paths = beside(&whole).unwrap_or_default();
    if is_volume && !paths.iter().any(|found| found.file_name() == path.file_name()) {
        // It is a volume under whatever name.
        paths.push(path.to_owned());
    }
    let candidates: Vec<Candidate> = paths.into_iter().map(candidate).collect::<Result<_, _>>()?;
    if !candidates.iter().any(|one| one.head.is_ok()) {
        return match is_volume {
            false => Ok(None),
            true => Err(invalid(
                &whole,
                "no volume has a head that can be read".to_owned(),
            )),
        };
    }
    let named = candidates
        .iter()
        .find(|one| one.path.file_name() == path.file_name())
        .and_then(|one| one.head.as_ref().ok());
    let mut sets = candidates.iter().filter_map(|one| one.head.as_ref().ok());
    let set = match named.or_else(|| sets.clone().next()) {
        Some(head) => head.set.clone(),
        None => return Ok(None),
    };
    if named.is_none() && sets.any(|head| head.set != set) {
        let why = "there are volumes of different archives; name one of them".to_owned();
        return Err(invalid(&whole, why));
    }
    Ok(Some(FoundVolumes {
        path: whole,
        set,
        candidates,
    }))
}

fn invalid(path: &Path, why: String) -> StoreError {
    StoreError::Invalid {
        subject: format!("the volumes of archive {}", path.display()),
        why,
    }
}

/// The first bytes of a file; none if there is no such file.
fn start_of(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match open_plain(path) {
        Ok(file) => {
            let mut start = Vec::new();
            file.take(64)
                .read_to_end(&mut start)
                .map_err(StoreError::io("read", path))?;
            Ok(Some(start))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io("open", path)(error)),
    }
}

fn candidate(path: PathBuf) -> Result<Candidate, StoreError> {
    let file = open_plain(&path).map_err(StoreError::io("open", &path))?;
    let mut start = Vec::new();
    (&file)
        .take(HEAD_BYTES)
        .read_to_end(&mut start)
        .map_err(StoreError::io("read", &path))?;
    Ok(Candidate {
        head: VolumeHead::from_bytes(&start),
        path,
        file,
    })
}

impl FoundVolumes {
    /// Checks every volume and returns the archive; pieces that are lost or damaged are rebuilt in files without a name in
    /// `quarantine`.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] naming every volume that is missing or damaged, if parity does not make up for them.
    pub(in crate::archive) fn join(self, quarantine: &Path) -> Result<Joined, StoreError> {
        let (whole, faults) = self.check()?;
        let pieces = self.set.pieces();
        let lost = whole[..pieces].iter().filter(|found| found.is_none()).count();
        let helpers = whole[pieces..].iter().flatten().count();
        if lost > helpers {
            let more = lost - helpers;
            return Err(invalid(
                &self.path,
                format!(
                    "{}; bring {more} more of these {}",
                    faults.join("; "),
                    if more == 1 { "volume" } else { "volumes" },
                ),
            ));
        }
        let mut rebuilt = match lost {
            0 => BTreeMap::new(),
            _ => self.rebuild(&whole, quarantine)?,
        };
        let mut files: Vec<Option<File>> = self.candidates.into_iter().map(|one| Some(one.file)).collect();
        let mut parts = Vec::with_capacity(pieces);
        for (number, found) in whole.into_iter().take(pieces).enumerate() {
            let found = found.and_then(|at| files[at].take());
            let (file, start) = match (found, rebuilt.remove(&number)) {
                (Some(file), _) => (file, HEAD_BYTES),
                (None, Some(file)) => (file, 0),
                (None, None) => return Err(invalid(&self.path, faults.join("; "))),
            };
            parts.push((file, start, self.set.length(number)));
        }
        let parts = Parts::of_pieces(parts);
        Ok(Joined { parts, faults })
    }

    fn failed(&self) -> impl Fn(io::Error) -> StoreError + use<> {
        let path = self.path.clone();
        move |source| StoreError::io("read the volumes of", &path)(source)
    }

    /// Finds for each volume the candidate that is whole, and what is wrong with the others.
    fn check(&self) -> Result<(Vec<Option<usize>>, Vec<String>), StoreError> {
        let (mut whole, mut faults) = (Vec::new(), Vec::new());
        for number in 0..self.set.volumes.len() {
            let mut found = None;
            let mut why = None;
            for (at, one) in self.candidates.iter().enumerate() {
                match &one.head {
                    Ok(head) if head.set == self.set && head.number as usize == number => {
                        let fault = self.fault(number, one)?;
                        if fault.is_none() {
                            found = Some(at);
                            break;
                        }
                        why = fault;
                    }
                    Ok(_) => {}
                    // Only its name tells which volume it was.
                    Err(error) if one.path == super::named(&self.path, &self.set.ending(number)) => {
                        why = Some(error.to_string());
                    }
                    Err(_) => {}
                }
            }
            if found.is_none() {
                let name = super::named(&self.path, &self.set.ending(number));
                let name = name
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                faults.push(match why {
                    Some(why) => format!("{name} is damaged ({why})"),
                    None => format!("{name} is missing"),
                });
            }
            whole.push(found);
        }
        Ok((whole, faults))
    }

    /// Finds what is wrong with the content of a volume.
    fn fault(&self, number: usize, one: &Candidate) -> Result<Option<String>, StoreError> {
        let wanted = self.set.length(number);
        let read = StoreError::io("read", &one.path);
        let length = one
            .file
            .metadata()
            .map_err(StoreError::io("read", &one.path))?
            .len();
        if length != HEAD_BYTES + wanted {
            return Ok(Some(format!(
                "it has {length} bytes instead of {}",
                HEAD_BYTES + wanted
            )));
        }
        let digest = digest_from(&one.file, HEAD_BYTES);
        match digest {
            Ok(digest) if digest == self.set.volumes[number] => Ok(None),
            Ok(_) => Ok(Some("its content does not have the checksum".to_owned())),
            // Parity exists for media with bad sectors, so a read error is damage.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
                Ok(Some(error.to_string()))
            }
            Err(error) => Err(read(error)),
        }
    }

    fn rebuild(
        &self,
        whole: &[Option<usize>],
        quarantine: &Path,
    ) -> Result<BTreeMap<usize, File>, StoreError> {
        let found: Vec<Option<&File>> = whole
            .iter()
            .map(|found| found.map(|at| &self.candidates[at].file))
            .collect();
        let mut files = BTreeMap::new();
        for number in (0..self.set.pieces()).filter(|number| found[*number].is_none()) {
            let file = tempfile::tempfile_in(quarantine);
            files.insert(
                number,
                file.map_err(StoreError::io("create a file in", quarantine))?,
            );
        }
        let made = parity::decode(&self.set, &found, |number, bytes| {
            files
                .get(&number)
                .map_or(Ok(()), |mut file| file.write_all(bytes))
        });
        made.map_err(self.failed())?;
        for (number, file) in &files {
            let found = digest_from(file, 0).map_err(self.failed())?;
            if found != self.set.volumes[*number] {
                return Err(invalid(
                    &self.path,
                    format!("the parity does not belong to the pieces: what was rebuilt has digest {found}"),
                ));
            }
        }
        Ok(files)
    }
}

/// The digest of a file from a position on.
fn digest_from(mut file: &File, start: u64) -> io::Result<Digest> {
    file.seek(SeekFrom::Start(start))?;
    Ok(Digest::of_reader(Algorithm::Sha256, file)?.0)
}

/// An archive in its volumes.
#[derive(Debug)]
pub(in crate::archive) struct Joined {
    pub(in crate::archive) parts: Parts,
    /// What was wrong, and was rebuilt.
    pub(in crate::archive) faults: Vec<String>,
}
