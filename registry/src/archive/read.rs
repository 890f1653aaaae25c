//! Indexes an archive: checks all of it once, or all but large blobs, and remembers where each blob is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use samebundle_spec::{Descriptor, Digest, Digester, limits};

use super::body::{Body, Parts, Reader};
use super::delta::pack::{self, Extent};
use super::{recognise, volumes};
use crate::archive::tar_entries::{Entries, Entry, Input, Rules, TarError};
use crate::chunk::{self, Finder};
use crate::durable::{self, open_plain};
use crate::layout::index::{LayoutIndex, check_layout_file};
use crate::store::listing::{self, Listing};
use crate::store::{Chunked, StoreError, document};

/// The checked contents of an archive.
#[derive(Debug)]
pub(super) struct Inventory {
    pub(super) body: Arc<Body>,
    /// Where each blob is: offset and length, bytes.
    pub(super) blobs: BTreeMap<Digest, (u64, u64)>,
    /// `index.json`, if there is a layout.
    pub(super) index: Option<LayoutIndex>,
    /// The manifests that refer to others.
    pub(super) listings: Vec<Listing>,
    /// Files outside the layout that were requested.
    pub(super) files: BTreeMap<String, Vec<u8>>,
    /// The root that the other side holds, if this is a delta.
    pub(super) delta: Option<Digest>,
    /// Blobs that the archive has in part: the extents that it has, in order.
    pub(super) packs: BTreeMap<Digest, Vec<Extent>>,
    /// Layers that have a chunk index here.
    pub(super) chunked: Vec<Chunked>,
    /// Every digest that is pointed at, present or absent.
    pub(super) reached: BTreeSet<Digest>,
    /// Volumes that were missing or damaged, and were rebuilt.
    pub(super) mended: Vec<String>,
    /// All blobs were hashed.
    pub(super) hashed: bool,
}

/// How an archive is read, and where its files may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadOptions {
    /// The folder of the layout, with its slash.
    pub(super) layout: &'static str,
    /// Files outside the layout that are read, with the most bytes that they may have.
    pub(super) files: &'static [(&'static str, u64)],
    /// Gzip of stored blocks must have exactly the form that we write.
    pub(super) ours: bool,
    /// Blobs that are too large for a manifest are not hashed, unless the archive has to be unpacked.
    pub(super) hash_later: bool,
}

/// Opens the archive and checks everything in it. One that another program compressed is unpacked into a file without a
/// name in `quarantine`, which the system removes when it is closed.
pub(super) fn read(path: &Path, quarantine: &Path, form: ReadOptions) -> Result<Inventory, StoreError> {
    let found = durable::source(path);
    let file = match found {
        Ok(file) => file,
        // The archive may exist in volumes only.
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(StoreError::io("read", path)(error)),
    };
    let found = if form.ours { volumes::find(&file)? } else { None };
    let (parts, mended) = match found {
        Some(found) => {
            let joined = found.join(quarantine)?;
            (joined.parts, joined.faults)
        }
        None => (Parts::of(open(&file, path)?), Vec::new()),
    };
    let parts = Arc::new(parts);
    let contents = match read_form(path, &parts, quarantine, form) {
        // Other tools also store without compression, but not in our form. A sealed archive is ours, and has our form.
        Err(error) if error.is_damage() && form.ours && is_stored(&parts) => {
            let others = ReadOptions { ours: false, ..form };
            match read_form(path, &parts, quarantine, others) {
                Ok(contents) if !contents.is_sealed() => Ok(contents),
                _ => Err(error),
            }
        }
        Err(error) if form.ours => Err(recognise::explain(&file, error)),
        read => read,
    };
    Ok(Inventory { mended, ..contents? })
}

fn is_stored(parts: &Arc<Parts>) -> bool {
    matches!(Input::ours(Reader::new(parts)), Ok(Input::Stored(_)))
}

fn read_form(
    path: &Path,
    parts: &Arc<Parts>,
    quarantine: &Path,
    form: ReadOptions,
) -> Result<Inventory, StoreError> {
    let reader = Reader::new(parts);
    let input = if form.ours {
        Input::ours(reader)
    } else {
        Input::new(reader)
    };
    let mut scan = Scan::new(path, form);
    let body = match input.map_err(StoreError::io("read", path))? {
        Input::Plain(plain) => {
            scan.run(plain, form.hash_later.then_some(Entries::pass_over))?;
            Body::plain(Arc::clone(parts))
        }
        Input::Stored(stored) => {
            // Bytes that are skipped here are read for the checksum at the next step.
            scan.run(stored, form.hash_later.then_some(|_| Ok(())))?;
            Body::stored(Arc::clone(parts))
        }
        Input::Gzip(compressed) => {
            let unpacked = scan.run_unpacking(compressed, quarantine)?;
            Body::plain(Arc::new(Parts::of(unpacked)))
        }
    };
    scan.finish(body)
}

fn open(file: &Path, path: &Path) -> Result<File, StoreError> {
    open_plain(file).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => StoreError::NotFound {
            subject: "the archive".to_owned(),
            place: path.display().to_string(),
        },
        _ => StoreError::io("open", path)(error),
    })
}

/// Copies everything that is read to a writer.
struct Tee<R> {
    inner: R,
    copy: BufWriter<File>,
    /// What was copied, bytes.
    bytes: u64,
    /// The copy could not be written, which is not the archive's fault.
    failed: Option<io::Error>,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        if let Err(error) = self.copy.write_all(&buffer[..got]) {
            self.failed = Some(error);
            return Err(io::ErrorKind::Other.into());
        }
        self.bytes += got as u64;
        Ok(got)
    }
}

struct Scan<'a> {
    path: &'a Path,
    form: ReadOptions,
    blobs: BTreeMap<Digest, (u64, u64)>,
    /// Files of chunks: offset and length.
    packs: BTreeMap<Digest, (u64, u64)>,
    layout_file: Option<Vec<u8>>,
    index: Option<Vec<u8>>,
    files: BTreeMap<String, Vec<u8>>,
    hashed: bool,
    /// The first entry that does not belong in an archive of ours.
    stray: Option<String>,
}

/// Skips the content of an entry.
type PassOver<R> = fn(&mut Entries<R>) -> io::Result<()>;

/// What an entry is.
enum Role {
    LayoutFile,
    Index,
    Blob(Digest),
    Pack(Digest),
    Kept(&'static str, u64),
    /// A folder above the blobs.
    Folder,
    /// An entry that does not belong in an archive of ours.
    Stray,
}

impl<'a> Scan<'a> {
    fn new(path: &'a Path, form: ReadOptions) -> Self {
        Self {
            path,
            form,
            blobs: BTreeMap::new(),
            packs: BTreeMap::new(),
            layout_file: None,
            index: None,
            files: BTreeMap::new(),
            hashed: true,
            stray: None,
        }
    }

    fn invalid(&self, why: String) -> StoreError {
        StoreError::Invalid {
            subject: format!("archive {}", self.path.display()),
            why,
        }
    }

    fn tar(&self, error: TarError) -> StoreError {
        match error {
            TarError::Io { source, .. } => StoreError::io("read", self.path)(source),
            TarError::Refused { why, .. } if why.is_other_form() => StoreError::OtherForm {
                path: self.path.to_owned(),
                what: format!("a tar archive with {why}"),
                remedy: recognise::PACK.to_owned(),
            },
            refused @ TarError::Refused { .. } => self.invalid(refused.to_string()),
        }
    }

    /// With `pass_over`, blobs that are too large for a manifest are not hashed.
    fn run<R: Read>(&mut self, reader: R, pass_over: Option<PassOver<R>>) -> Result<R, StoreError> {
        let rules = Rules {
            others: true,
            // An archive of ours has one entry for each node of a graph.
            entries: limits::GRAPH_CONTENTS + limits::ARCHIVE_ENTRIES,
        };
        let mut entries = Entries::new(reader, rules);
        while let Some(entry) = entries.next_entry().map_err(|error| self.tar(error))? {
            match self.role(&entry) {
                Role::LayoutFile => {
                    self.layout_file = Some(self.small(&mut entries, &entry, limits::LAYOUT_INDEX_BYTES)?);
                }
                Role::Index => {
                    self.index = Some(self.small(&mut entries, &entry, limits::LAYOUT_INDEX_BYTES)?);
                }
                Role::Blob(digest) => {
                    match pass_over.filter(|_| entry.size > limits::MANIFEST_BYTES) {
                        None => self.hash(&mut entries, digest)?,
                        Some(pass_over) => {
                            pass_over(&mut entries).map_err(|error| self.tar(entries.fail(error)))?;
                            self.hashed = false;
                        }
                    }
                    self.blobs.insert(digest, (entry.offset, entry.size));
                }
                Role::Pack(digest) => {
                    self.packs.insert(digest, (entry.offset, entry.size));
                }
                Role::Kept(name, limit) => {
                    let bytes = self.small(&mut entries, &entry, limit)?;
                    self.files.insert(name.to_owned(), bytes);
                }
                Role::Folder => {}
                Role::Stray => {
                    self.stray.get_or_insert(entry.path.to_string());
                }
            }
        }
        Ok(entries.into_inner())
    }

    /// The same, and keeps what was read in a file without a name.
    fn run_unpacking(&mut self, input: impl Read, quarantine: &Path) -> Result<File, StoreError> {
        let unpacked =
            tempfile::tempfile_in(quarantine).map_err(StoreError::io("create a file in", quarantine))?;
        let copy = unpacked
            .try_clone()
            .map_err(StoreError::io("open a file in", quarantine))?;
        let mut tee = Tee {
            inner: input,
            copy: BufWriter::with_capacity(limits::STREAM_BUFFER, copy),
            bytes: 0,
            failed: None,
        };
        let run = self.run(&mut tee, None).map(|_| ());
        let failed = tee.failed.take().or_else(|| tee.copy.flush().err());
        match failed {
            None => run.map(|()| unpacked),
            Some(error) => {
                let length = fs::metadata(self.path).map_or(0, |metadata| metadata.len());
                let why = format!(
                    "{error}; {} is unpacked there and needs more than {} bytes: make room, or decompress the file first",
                    self.path.display(),
                    tee.bytes.max(length)
                );
                let error = io::Error::new(error.kind(), why);
                Err(StoreError::io("write a file in", quarantine)(error))
            }
        }
    }

    fn role(&self, entry: &Entry) -> Role {
        let path = entry.path.as_str();
        if entry.is_folder {
            let above = format!("{path}/");
            let expected = ["blobs/sha256/", "blobs/sha512/", "chunks/sha256/"];
            let known = expected
                .iter()
                .any(|folder| format!("{}{folder}", self.form.layout).starts_with(&above));
            return if known { Role::Folder } else { Role::Stray };
        }
        if let Some((name, limit)) = self.form.files.iter().find(|(name, _)| *name == path) {
            return Role::Kept(name, *limit);
        }
        let Some(inside) = path.strip_prefix(self.form.layout) else {
            return Role::Stray;
        };
        let named = |folder: &str| {
            let name = inside.strip_prefix(folder)?.replacen('/', ":", 1);
            name.parse().ok()
        };
        match inside {
            "oci-layout" => Role::LayoutFile,
            "index.json" => Role::Index,
            _ => match (named("blobs/"), named("chunks/").filter(|_| self.form.ours)) {
                (Some(digest), _) => Role::Blob(digest),
                (None, Some(digest)) => Role::Pack(digest),
                (None, None) => Role::Stray,
            },
        }
    }

    fn small<R: Read>(
        &self,
        entries: &mut Entries<R>,
        entry: &Entry,
        limit: u64,
    ) -> Result<Vec<u8>, StoreError> {
        if entry.size > limit {
            return Err(self.invalid(format!(
                "{} has {} bytes, more than {limit}",
                entry.path, entry.size
            )));
        }
        let mut bytes = Vec::new();
        let result = entries.read_to_end(&mut bytes);
        result.map_err(|error| self.tar(entries.fail(error)))?;
        Ok(bytes)
    }

    fn hash<R: Read>(&self, entries: &mut Entries<R>, digest: Digest) -> Result<(), StoreError> {
        let hashed = Digest::of_reader(digest.algorithm(), &mut *entries);
        let (found, _) = hashed.map_err(|error| self.tar(entries.fail(error)))?;
        if found != digest {
            return Err(StoreError::Mismatch {
                digest,
                why: format!("in archive {} it has digest {found}", self.path.display()),
            });
        }
        Ok(())
    }

    /// Checks that the layout is whole: everything that is reachable exists, and a sealed one has nothing else.
    fn finish(mut self, body: Body) -> Result<Inventory, StoreError> {
        let place = |name: &str| format!("{name} of archive {}", self.path.display());
        let index = match (self.layout_file.take(), self.index.take()) {
            (Some(layout_file), Some(index)) => {
                check_layout_file(&layout_file, &place("oci-layout"))?;
                let parsed = LayoutIndex::parse(&index, &place("index.json"))?;
                if self.form.ours {
                    parsed.check_seal(&index, &place("index.json"))?;
                }
                Some(parsed)
            }
            (None, None) if !self.form.ours && self.blobs.is_empty() => None,
            _ => {
                return Err(self.invalid(
                    "it is no whole OCI image layout: oci-layout or index.json is missing".to_owned(),
                ));
            }
        };
        let delta = match &index {
            Some(index) if self.form.ours => index.delta(&place("index.json"))?,
            _ => None,
        };
        let mut contents = Inventory {
            body: Arc::new(body),
            blobs: std::mem::take(&mut self.blobs),
            index,
            listings: Vec::new(),
            files: std::mem::take(&mut self.files),
            delta,
            packs: BTreeMap::new(),
            chunked: Vec::new(),
            reached: BTreeSet::new(),
            mended: Vec::new(),
            hashed: self.hashed,
        };
        contents.reached = self.reach(&mut contents)?;
        self.unpack(&mut contents)?;
        if !contents.is_sealed() {
            return Ok(contents);
        }
        if let Some(name) = &self.stray {
            return Err(self.invalid(format!("{name:?} does not belong in it")));
        }
        let mut there = contents.blobs.keys().chain(contents.packs.keys());
        match there.find(|digest| !contents.reached.contains(*digest)) {
            None => Ok(contents),
            Some(digest) => Err(self.invalid(format!("{digest} is in it, but nothing in it points there"))),
        }
    }

    /// Checks every file of chunks against the chunk index of its layer.
    fn unpack(&self, contents: &mut Inventory) -> Result<(), StoreError> {
        if let Some(digest) = self.packs.keys().find(|_| contents.delta.is_none()) {
            return Err(self.invalid(format!(
                "it has chunks of {digest}, but does not say which root the other side holds"
            )));
        }
        for (digest, (offset, size)) in &self.packs {
            if contents.blobs.contains_key(digest) {
                return Err(self.invalid(format!("{digest} is in it whole and in chunks")));
            }
            let chunked = contents.chunked.iter().find(|one| one.layer.digest == *digest);
            let chunked = chunked.ok_or_else(|| {
                self.invalid(format!("it has chunks of {digest}, but no chunk index of it"))
            })?;
            let bytes = contents.small(&chunked.index, limits::CHUNK_INDEX_BYTES)?;
            let index = chunk::parse(&bytes, chunked)?;
            let runs = pack::read(&contents.body, *offset..offset + size, &index);
            let runs = runs.map_err(|error| StoreError::read(*digest, error))?;
            contents.packs.insert(*digest, runs);
        }
        Ok(())
    }

    fn reach(&self, contents: &mut Inventory) -> Result<BTreeSet<Digest>, StoreError> {
        let entries = contents
            .index
            .as_ref()
            .map(LayoutIndex::entries)
            .unwrap_or_default();
        let mut open: VecDeque<Descriptor> = entries.iter().cloned().collect();
        let mut seen: BTreeSet<(bool, Digest)> = BTreeSet::new();
        let mut finder = Finder::default();
        while let Some(descriptor) = open.pop_front() {
            let digest = descriptor.digest;
            match contents.blobs.get(&digest) {
                Some((_, size)) if *size == descriptor.size => {}
                Some((_, size)) => {
                    return Err(self.invalid(format!(
                        "{digest} has {size} bytes, not the {} declared",
                        descriptor.size
                    )));
                }
                None if contents.delta.is_some() && !descriptor.media_type.has_children() => {}
                // Foreign layers and images of other platforms may be absent; whoever fetches them gets an error.
                None if !contents.is_sealed() => continue,
                None => {
                    return Err(
                        self.invalid(format!("{digest} is not in it, but something in it points there"))
                    );
                }
            }
            let has_children = descriptor.media_type.has_children();
            if !seen.insert((has_children, digest)) || !has_children {
                continue;
            }
            let bytes = contents.small(&descriptor, limits::MANIFEST_BYTES)?;
            let document = document(&descriptor, &bytes)?;
            finder.look(document.children());
            open.extend(document.children().cloned());
            contents.listings.extend(listing::listing(&descriptor, &bytes)?);
        }
        contents.chunked = finder.chunked().collect();
        Ok(seen.into_iter().map(|(_, digest)| digest).collect())
    }
}

impl Inventory {
    /// Only archives of ours are sealed.
    fn is_sealed(&self) -> bool {
        self.index.as_ref().is_some_and(LayoutIndex::is_sealed)
    }

    /// Reads a small blob and checks it, even if it was hashed a moment ago.
    fn small(&self, descriptor: &Descriptor, limit: u64) -> Result<Bytes, StoreError> {
        let (offset, size) = self.blobs.get(&descriptor.digest).copied().unwrap_or_default();
        if size > limit {
            return Err(StoreError::TooLarge {
                digest: descriptor.digest,
                size,
                limit,
            });
        }
        let bytes = self
            .body
            .exact(offset, usize::try_from(size).unwrap_or_default())
            .map_err(|error| StoreError::read(descriptor.digest, error))?;
        let mut digester = Digester::new(descriptor.digest.algorithm());
        digester.update(&bytes);
        let found = digester.finish();
        if found == descriptor.digest {
            Ok(bytes)
        } else {
            Err(StoreError::Mismatch {
                digest: descriptor.digest,
                why: format!("in the archive it has digest {found}"),
            })
        }
    }
}
