//! The files that runs left, on their way from one home to another.
//!
//! They travel as one layer beside the records: a tar with `folders/HEX`, the listing of each folder, and then `files/HEX`,
//! each file once, however many runs have it. Every entry is named by the SHA-256 of its content. The layer is cut into
//! chunks like data, so that the next export moves only what is new.
//!
//! What comes in is what nobody signed. An entry is taken only if a record in the same history names it by digest and size,
//! its bytes are hashed while they are written to a scratch folder, and it gets its place in a run's folder last.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use samebundle_registry::archive::tar_entries::{Entries, Entry as TarEntry, Rules};
use samebundle_registry::durable;
use samebundle_spec::authoring::RunFiles;
use samebundle_spec::record::{OutputRecord, Run, RunId};
use samebundle_spec::{Algorithm, Descriptor, Digest, Digester, limits};

use super::PortableError;
use super::history::append_file;
use crate::engine::native::{INPUTS, Listed, output};
use crate::image::stream::TarStream;
use crate::listing::{Entry, Listing};
use crate::record::{RUN_OUTPUTS, Runs};

#[cfg(test)]
mod tests;

const FOLDERS: &str = "folders";
const FILES: &str = "files";

/// An output whose file does not go along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftBehind {
    /// The run.
    pub run: RunId,
    /// Name of the output.
    pub output: String,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// Why.
    pub why: Why,
}

/// Why a file does not go along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is not wanted, or does not fit.
    TooLarge,
    /// It is not here.
    Absent,
    /// It is not what the run left.
    Altered,
}

impl Why {
    /// The word used in documents.
    pub const fn word(self) -> &'static str {
        match self {
            Self::TooLarge => "size",
            Self::Absent => "absent",
            Self::Altered => "altered",
        }
    }
}

/// The files that go along.
#[derive(Debug, Default)]
pub(super) struct Parcel {
    /// Listings by the digest of their folder.
    folders: BTreeMap<Digest, Listing>,
    /// Where the file of each digest is.
    files: BTreeMap<Digest, (PathBuf, u64)>,
    /// What stays behind.
    pub(super) left: Vec<LeftBehind>,
    /// How many artifacts go along, each once.
    pub(super) artifacts: usize,
    /// Bytes of the files.
    pub(super) bytes: u64,
}

/// An artifact with a file, and the name of its output.
struct Named<'a> {
    name: String,
    digest: Digest,
    folder: bool,
    path: &'a str,
    size: u64,
}

/// The artifacts of a run that have files, each once, under the names by which outputs are listed.
fn artifacts(run: &Run) -> Vec<Named<'_>> {
    let outputs = run.distinct_outputs().into_iter();
    let named = outputs.chain(given_artifacts(run)).flat_map(|(name, output)| {
        output.artifacts().iter().filter_map(move |artifact| {
            let (digest, path) = (artifact.digest?, artifact.path.as_deref()?);
            Some(Named {
                name: name.clone(),
                digest,
                folder: artifact.folder,
                path,
                size: artifact.size,
            })
        })
    });
    named.collect()
}

/// The artifacts that the person who ran gave to the pipeline, under the names of the inputs of tasks that read them.
fn given_artifacts(run: &Run) -> impl Iterator<Item = (String, &OutputRecord)> {
    let inputs = run.tasks.iter().flat_map(|task| {
        let inputs = task.inputs.iter();
        inputs.map(move |(name, input)| (format!("{}.{name}", task.name), input))
    });
    let mut seen = BTreeSet::new();
    inputs.filter(move |(_, input)| {
        let mut paths = input
            .artifacts()
            .iter()
            .filter_map(|artifact| artifact.path.as_deref());
        paths.any(|path| {
            let below = path
                .strip_prefix(RUN_OUTPUTS)
                .and_then(|rest| rest.strip_prefix('/'));
            below.is_some_and(|below| below.starts_with(INPUTS)) && seen.insert(path)
        })
    })
}

/// Tells whether a file that the record of a run names is not in its folder.
pub(super) fn lacks_files(run: &Run, folder: &Path) -> bool {
    let artifacts = artifacts(run);
    artifacts
        .iter()
        .any(|artifact| folder.join(artifact.path).symlink_metadata().is_err())
}

impl Parcel {
    /// Chooses the files of runs, of which the newest come first, and looks at each.
    ///
    /// # Errors
    /// If a file is there and cannot be read.
    pub(super) fn choose(runs: &[Run], records: &Runs<'_>, choice: RunFiles) -> Result<Self, PortableError> {
        let mut parcel = Self::default();
        for run in runs {
            let mut artifacts = artifacts(run);
            artifacts.sort_by_key(|artifact| artifact.size);
            for artifact in artifacts {
                if parcel.has(&artifact) {
                    continue;
                }
                let fits =
                    choice != RunFiles::None && parcel.bytes.saturating_add(artifact.size) <= choice.limit();
                let kept = match fits {
                    true => parcel.add(&records.folder(&run.id).join(RUN_OUTPUTS), &artifact)?,
                    false => Err(Why::TooLarge),
                };
                if let Err(why) = kept {
                    parcel.left.push(LeftBehind {
                        run: run.id.clone(),
                        output: artifact.name,
                        digest: artifact.digest,
                        size: artifact.size,
                        why,
                    });
                }
            }
        }
        Ok(parcel)
    }

    /// Tells whether an artifact goes along already. A file and a folder may have the same digest.
    fn has(&self, artifact: &Named<'_>) -> bool {
        match artifact.folder {
            true => self.folders.contains_key(&artifact.digest),
            false => self.files.contains_key(&artifact.digest),
        }
    }

    fn add(&mut self, outputs: &Path, artifact: &Named<'_>) -> Result<Result<(), Why>, PortableError> {
        let Some(below) = artifact.path.strip_prefix("outputs/") else {
            return Ok(Err(Why::Absent));
        };
        if !outputs.exists() {
            return Ok(Err(Why::Absent));
        }
        let path = outputs.join(below);
        let listed = output(outputs, below).map_err(PortableError::io("read", &path))?;
        let Some(listed) = listed else {
            return Ok(Err(Why::Absent));
        };
        let is_folder = matches!(listed, Listed::Folder(_));
        if listed.content().digest != artifact.digest || is_folder != artifact.folder {
            return Ok(Err(Why::Altered));
        }
        match listed {
            Listed::File(content) => drop(self.files.insert(content.digest, (path, content.size))),
            Listed::Folder(listing) => {
                for (place, entry) in listing.entries() {
                    if let Entry::File { digest, size } = entry {
                        let file = path.join(std::ffi::OsStr::from_bytes(&place));
                        self.files.entry(*digest).or_insert((file, *size));
                    }
                }
                self.folders.insert(artifact.digest, listing);
            }
        }
        self.artifacts += 1;
        self.bytes = self.bytes.saturating_add(artifact.size);
        Ok(Ok(()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.artifacts == 0
    }

    /// Writes the tar: the same bytes for the same files.
    ///
    /// # Errors
    /// If a file cannot be read, or is not any more what it was when it was chosen.
    pub(super) fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        let mut tar = tar::Builder::new(to);
        let place = |kind: &str, digest: &Digest| format!("{kind}/{}", digest.hex());
        for (digest, listing) in &self.folders {
            let text = listing.to_text();
            append_file(
                &mut tar,
                &place(FOLDERS, digest),
                text.len() as u64,
                text.as_bytes(),
            )?;
        }
        for (digest, (path, size)) in &self.files {
            let mut file = Hashing::new(File::open(path)?.take(*size));
            append_file(&mut tar, &place(FILES, digest), *size, &mut file)?;
            if file.digester.finish() != *digest {
                let text = format!("{} was changed while it was read", path.display());
                return Err(io::Error::other(text));
            }
        }
        tar.into_inner()?.flush()
    }
}

/// Hashes the bytes that are read through it.
struct Hashing<R> {
    inner: R,
    digester: Digester,
}

impl<R> Hashing<R> {
    fn new(inner: R) -> Self {
        let digester = Digester::new(Algorithm::Sha256);
        Self { inner, digester }
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.digester.update(&buffer[..count]);
        Ok(count)
    }
}

/// The sizes of what records and listings name: by digest, and whether it is a folder.
type Wanted = BTreeMap<(Digest, bool), u64>;

/// Files that came in, in a scratch folder that goes with this.
#[derive(Debug)]
pub(super) struct Unpacked {
    folder: tempfile::TempDir,
    folders: BTreeMap<Digest, Listing>,
    files: BTreeMap<Digest, u64>,
}

impl Unpacked {
    /// Unpacks a layer, of which only what `runs` name is taken.
    ///
    /// # Errors
    /// If an entry is not what its name says or is not named by a run, or a file cannot be written.
    pub(super) fn read(
        layer: &Descriptor,
        bytes: impl Read,
        runs: &[Run],
        scratch: &Path,
    ) -> Result<Self, PortableError> {
        let folder = tempfile::Builder::new().prefix("outputs-").tempdir_in(scratch);
        let folder = folder.map_err(PortableError::io("make a folder in", scratch))?;
        let mut unpacked = Self {
            folder,
            folders: BTreeMap::new(),
            files: BTreeMap::new(),
        };
        let named = runs.iter().flat_map(artifacts);
        let mut wanted: Wanted = named.map(|one| ((one.digest, one.folder), one.size)).collect();
        let stream = TarStream::new(layer, None, bytes).map_err(|error| PortableError::History {
            why: format!("the files of its runs: {error}"),
        })?;
        let rules = Rules {
            entries: limits::OUTPUT_ENTRIES,
            ..Rules::default()
        };
        let mut entries = Entries::new(stream, rules);
        while let Some(entry) = entries.next_entry()? {
            unpacked.take(&entry, &mut entries, &mut wanted)?;
        }
        unpacked.check_whole()?;
        Ok(unpacked)
    }

    /// Checks that every file of the folders came along.
    fn check_whole(&self) -> Result<(), PortableError> {
        let listed = self.folders.iter().flat_map(|(folder, listing)| {
            let entries = listing.entries();
            entries.filter_map(move |(_, entry)| match entry {
                Entry::File { digest, .. } => Some((folder, *digest)),
                Entry::Folder | Entry::Link(_) => None,
            })
        });
        match listed
            .into_iter()
            .find(|(_, file)| !self.files.contains_key(file))
        {
            None => Ok(()),
            Some((folder, file)) => Err(PortableError::History {
                why: format!(
                    "the folder {folder} names the file {file}, which is not among the files of its runs"
                ),
            }),
        }
    }

    fn take(
        &mut self,
        entry: &TarEntry,
        content: &mut impl Read,
        wanted: &mut Wanted,
    ) -> Result<(), PortableError> {
        let invalid = |why: &str| PortableError::History {
            why: format!("{}: {why}", entry.path),
        };
        let (kind, name) = entry.path.as_str().split_once('/').unwrap_or_default();
        let digest: Digest = format!("sha256:{name}")
            .parse()
            .map_err(|_| invalid("is no name of a file"))?;
        let size = wanted.get(&(digest, kind == FOLDERS));
        let size = *size.ok_or_else(|| invalid("no run names it"))?;
        match kind {
            FOLDERS if entry.size <= limits::RUN_BYTES => {
                let mut text = String::new();
                content
                    .read_to_string(&mut text)
                    .map_err(|error| invalid(&error.to_string()))?;
                let listing = Listing::parse(&text).map_err(|error| invalid(&error.to_string()))?;
                if Digest::sha256(text.as_bytes()) != digest || listing.size() != size {
                    return Err(invalid("it is not what the record says"));
                }
                for (_, entry) in listing.entries() {
                    if let Entry::File { digest, size } = entry {
                        wanted.insert((*digest, false), *size);
                    }
                }
                self.folders.insert(digest, listing);
            }
            FILES if entry.size == size => {
                if self.write(&digest, content)? != digest {
                    return Err(invalid("it is not what its name says"));
                }
                self.files.insert(digest, size);
            }
            _ => return Err(invalid("it is not what the record says")),
        }
        Ok(())
    }

    /// Writes a file to the scratch folder, and returns the digest of what was written.
    fn write(&self, digest: &Digest, content: &mut impl Read) -> Result<Digest, PortableError> {
        let path = self.file(digest);
        let mut file = File::create(&path).map_err(PortableError::io("make", &path))?;
        let mut content = Hashing::new(content);
        io::copy(&mut content, &mut file).map_err(PortableError::io("write", &path))?;
        durable::sync(&file).map_err(PortableError::io("sync", &path))?;
        Ok(content.digester.finish())
    }

    fn file(&self, digest: &Digest) -> PathBuf {
        self.folder.path().join(digest.hex())
    }

    /// Gives a run the files that its record names and that came in; what is there already stays. Returns how many it got.
    ///
    /// # Errors
    /// If a path of the record leads out of the run's folder, or a file cannot be written.
    pub(super) fn place(&self, run: &Run, folder: &Path) -> Result<usize, PortableError> {
        let mut placed = 0;
        let mut changed = BTreeSet::new();
        for artifact in artifacts(run) {
            let listing = self.folders.get(&artifact.digest).filter(|_| artifact.folder);
            let is_here = match artifact.folder {
                true => listing.is_some(),
                false => self.files.contains_key(&artifact.digest),
            };
            let place = is_here.then(|| place_of(folder, artifact.path)).transpose()?;
            let Some(place) = place.filter(|place| place.symlink_metadata().is_err()) else {
                continue;
            };
            let parent = durable::folder_of(&place).to_owned();
            durable::make_folder(&parent, 0o700).map_err(PortableError::io("make", &parent))?;
            inside(folder, &parent)?;
            match listing {
                None => link(&self.file(&artifact.digest), &place)?,
                Some(listing) => self.put_together(listing, &place)?,
            }
            changed.insert(parent);
            placed += 1;
        }
        for folder in changed {
            durable::sync_folder(&folder).map_err(PortableError::io("sync", &folder))?;
        }
        Ok(placed)
    }

    /// Puts a folder together beside its place, and gives it its name.
    fn put_together(&self, listing: &Listing, place: &Path) -> Result<(), PortableError> {
        let parent = durable::folder_of(place);
        let staged = tempfile::Builder::new().prefix(".new-").tempdir_in(parent);
        let staged = staged.map_err(PortableError::io("make a folder in", parent))?;
        let mut made = vec![staged.path().to_owned()];
        for (path, entry) in listing.entries() {
            // The listing was parsed: its names stay below, and no link is the folder of another entry.
            let to = staged.path().join(std::ffi::OsStr::from_bytes(&path));
            match entry {
                Entry::Folder => {
                    fs::create_dir(&to).map_err(PortableError::io("make", &to))?;
                    made.push(to);
                }
                Entry::Link(text) => {
                    let text = std::ffi::OsStr::from_bytes(text);
                    std::os::unix::fs::symlink(text, &to).map_err(PortableError::io("make", &to))?;
                }
                Entry::File { digest, .. } => link(&self.file(digest), &to)?,
            }
        }
        for folder in &made {
            durable::sync_folder(folder).map_err(PortableError::io("sync", folder))?;
        }
        let staged = staged.keep();
        fs::rename(&staged, place).map_err(PortableError::io("write", place))
    }
}

/// Gives a file another name; where the file system has no second names, it is copied.
fn link(from: &Path, to: &Path) -> Result<(), PortableError> {
    let linked = fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(drop));
    linked.map_err(PortableError::io("write", to))
}

/// The place of an artifact in its run's folder. The path is from a record that nobody signed.
fn place_of(folder: &Path, path: &str) -> Result<PathBuf, PortableError> {
    let plain = |component: Component<'_>| matches!(component, Component::Normal(_));
    let stays = path.starts_with("outputs/") && Path::new(path).components().all(plain);
    match stays {
        true => Ok(folder.join(path)),
        false => Err(PortableError::History {
            why: format!("an artifact lies at {path:?}, which is not below the outputs of its run"),
        }),
    }
}

/// Checks that a folder is below another one when links are followed: a folder that came in may hold links.
fn inside(folder: &Path, parent: &Path) -> Result<(), PortableError> {
    let real = |path: &Path| path.canonicalize().map_err(PortableError::io("read", path));
    match real(parent)?.starts_with(real(folder)?) {
        true => Ok(()),
        false => Err(PortableError::History {
            why: format!("{} leads out of the run's folder", parent.display()),
        }),
    }
}
