//! Writes archives: the same graph gives the same bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, IoSlice, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::{StreamExt, stream};
use samebundle_spec::{Descriptor, Digest, Digester, Tag, limits};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::delta::{self, Since, Treatment, pack};
use super::volumes::{self, Cut, Volume};
use crate::archive::tar_entries::{OCTAL_SIZE, stored};
use crate::chunk;
use crate::copy::Options as Copy;
use crate::durable::{self, EarlySync, NewFile};
use crate::graph::{Graph, Node};
use crate::layout::index::{LAYOUT_FILE, LayoutIndex};
use crate::store::blocking::blocking;
use crate::store::pieces::{Stopped, pump, write_pieces};
use crate::store::{Origin, Side, StoreError};

/// The format of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveFormat {
    /// A plain tar archive. It can be read in place.
    Tar,
    /// A gzip of the same bytes, stored without compression: layers and wheels are compressed already, and the bytes do not
    /// depend on the version of a compressor.
    Gzip,
}

impl ArchiveFormat {
    /// The format that a file name implies: `.tar` is plain, everything else is gzip.
    pub fn of(path: &Path) -> Self {
        if path.extension().is_some_and(|extension| extension == "tar") {
            Self::Tar
        } else {
            Self::Gzip
        }
    }
}

/// How to write: the format of the file, and the options of [`copy`](crate::copy::copy), whose tag is not used.
#[derive(Clone, Debug)]
pub struct Options {
    /// The format.
    pub format: ArchiveFormat,
    /// Referrers, concurrency of finding the graph, progress, cancelling.
    pub copy: Copy,
    /// What the other side holds, which is left out.
    pub since: Option<Arc<Since>>,
    /// Cut the file into volumes; with `None` it is one file.
    pub cut: Option<Cut>,
}

/// The result of writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// How many blobs are in the archive.
    pub contents: u64,
    /// Their length, bytes.
    pub bytes: u64,
    /// Bytes that were left out because the other side holds them.
    pub omitted: u64,
    /// The files: one, or the volumes, parity last.
    pub files: Vec<Volume>,
}

/// What the reading side sends to the writing side.
enum Piece {
    Entry { path: String, size: u64 },
    Data(Vec<Bytes>),
    End,
}

/// How many batches may wait for the disk.
const WAITING: usize = 2;

/// Extensions of archive formats that are not written here: under such a name the file would be mistaken for another format.
const NOT_WRITTEN: [&str; 13] = [
    "zst", "zstd", "xz", "txz", "bz2", "tbz2", "lz", "lz4", "zip", "7z", "gpg", "age", "enc",
];

/// Tells whether a file name has the extension of an archive format that is not written here.
pub fn is_not_written(path: &Path) -> bool {
    let ending = path.extension().map(|ending| ending.to_ascii_lowercase());
    ending.is_some_and(|ending| NOT_WRITTEN.iter().any(|other| ending == *other))
}

/// Checks whether an archive can be written at a path, before anything is read for it. [`write`] does so first.
///
/// # Errors
/// [`StoreError::OtherForm`] for the extension of another format; [`StoreError::Path`] if something other than a file
/// exists.
pub fn examine(path: &Path, cut: Option<Cut>) -> Result<(), StoreError> {
    if is_not_written(path) {
        return Err(StoreError::OtherForm {
            path: path.to_owned(),
            what: "the name of a compressed or encrypted file".to_owned(),
            remedy: "archives are written as .tar or .tgz; compress or encrypt the file afterwards"
                .to_owned(),
        });
    }
    let first = match cut {
        Some(_) => volumes::first(path),
        None => path.to_owned(),
    };
    // The error names the whole archive, also when volumes are written.
    for path in [path, &first] {
        durable::target(path).map_err(StoreError::io("write", path))?;
    }
    Ok(())
}

/// Writes everything that belongs to `roots` into one file, which appears whole or not at all.
///
/// # Errors
/// [`StoreError::OtherForm`] or [`StoreError::Path`] if such a file cannot be written there; [`StoreError::Copy`] with the
/// side that failed, or [`StoreError::Cancelled`].
pub async fn write<O: Origin + ?Sized>(
    source: &O,
    roots: &[(Descriptor, Option<Tag>)],
    path: &Path,
    options: &Options,
) -> Result<Written, StoreError> {
    examine(path, options.cut)?;
    let (pieces, waiting) = mpsc::channel(WAITING);
    let (target, format) = (path.to_owned(), options.format);
    let (cut, cancel) = (options.cut, options.copy.cancel.clone());
    let writing = tokio::spawn(blocking(move || match cut {
        Some(cut) => write_volumes(&target, format, cut, waiting, &cancel),
        None => write_file(&target, format, waiting),
    }));
    let sent = tokio::select! {
        biased;
        () = options.copy.cancel.cancelled() => Err(StoreError::Cancelled),
        sent = send(source, roots, pieces, options) => sent,
    };
    let written = match writing.await {
        Ok(written) => written,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(StoreError::Cancelled),
    };
    match (sent, written) {
        // The writer stops first if the disk fails; that the pipe is closed is only a consequence.
        (Ok(None), Err(error)) | (Ok(Some(_)), Err(error)) => Err(on(Side::Destination, error)),
        (Err(error), _) => Err(error),
        (Ok(None), Ok(_)) => Err(StoreError::Cancelled),
        (Ok(Some(sent)), Ok(files)) => Ok(Written { files, ..sent }),
    }
}

fn on(side: Side, source: StoreError) -> StoreError {
    StoreError::Copy {
        side,
        source: Box::new(source),
    }
}

/// Sends the archive's pieces; `None` if the writer went away.
async fn send<O: Origin + ?Sized>(
    source: &O,
    roots: &[(Descriptor, Option<Tag>)],
    pieces: mpsc::Sender<Piece>,
    options: &Options,
) -> Result<Option<Written>, StoreError> {
    let follow = options.copy.follow();
    let bare: Vec<Descriptor> = roots.iter().map(|(root, _)| root.clone()).collect();
    let graph = Graph::walk(source, &bare, follow, options.copy.concurrency)
        .await
        .map_err(|error| on(Side::Source, error))?;
    let plan = match &options.since {
        Some(since) => delta::plan(source, &graph, since)
            .await
            .map_err(|error| on(Side::Source, error))?,
        None => BTreeMap::new(),
    };
    let nodes = ordered(&graph);
    let all: u64 = nodes.iter().map(|node| node.descriptor.size).sum();
    let left_out = |node: &Node| plan.get(&node.descriptor.digest) == Some(&Treatment::Omitted);
    let omitted: u64 = nodes
        .iter()
        .filter(|node| left_out(node))
        .map(|node| node.descriptor.size)
        .sum();
    let mut written = Written {
        contents: nodes.iter().filter(|node| !left_out(node)).count() as u64,
        bytes: all - omitted,
        omitted,
        files: Vec::new(),
    };
    if let Some(progress) = &options.copy.progress {
        progress.planned(nodes.len(), written.bytes);
    }
    let mut index = index(&graph, roots);
    if let Some(since) = &options.since {
        index.set_delta(&since.root);
    }
    for (name, bytes) in [
        ("oci-layout", LAYOUT_FILE.to_vec()),
        ("index.json", index.sealed()),
    ] {
        let entry = Piece::Entry {
            path: name.to_owned(),
            size: bytes.len() as u64,
        };
        if pieces.send(entry).await.is_err() || pieces.send(Piece::Data(vec![bytes.into()])).await.is_err() {
            return Ok(None);
        }
    }
    for node in nodes {
        let goes_on = match plan.get(&node.descriptor.digest) {
            None => send_content(source, &graph, node, &pieces, options).await?,
            Some(Treatment::Omitted) => true,
            Some(Treatment::Packed(runs)) => {
                let sent = send_chunks(source, &graph, node, runs, &pieces, options).await?;
                let missing = node.descriptor.size - sent.unwrap_or(0);
                written.bytes -= missing;
                written.omitted += missing;
                sent.is_some()
            }
        };
        if !goes_on {
            return Ok(None);
        }
    }
    Ok(pieces.send(Piece::End).await.ok().map(|()| written))
}

/// Sends one blob; `false` if the writer went away.
async fn send_content<O: Origin + ?Sized>(
    source: &O,
    graph: &Graph,
    node: &Node,
    pieces: &mpsc::Sender<Piece>,
    options: &Options,
) -> Result<bool, StoreError> {
    let descriptor = &node.descriptor;
    let digest = descriptor.digest;
    let entry = Piece::Entry {
        path: format!("blobs/{}/{}", digest.algorithm().name(), digest.hex()),
        size: descriptor.size,
    };
    if pieces.send(entry).await.is_err() {
        return Ok(false);
    }
    let all = 0..descriptor.size;
    let content = match graph.bytes(descriptor) {
        Some(bytes) => stream::iter([Ok(bytes)]).boxed(),
        None => source
            .pieces_unverified(descriptor, all.clone())
            .await
            .map_err(|error| on(Side::Source, graph.explain(&digest, error)))?,
    };
    let digester = Arc::new(Mutex::new(Digester::new(digest.algorithm())));
    // The network, the hash and the disk each work on a batch of their own at the same time.
    let write = |_, batch: Vec<Bytes>| {
        let digester = Arc::clone(&digester);
        async move {
            let hashed = blocking(move || {
                let mut digester = digester.lock().unwrap_or_else(PoisonError::into_inner);
                batch.iter().for_each(|piece| digester.update(piece));
                Ok(batch)
            });
            let sent = pieces.send(Piece::Data(hashed.await?)).await;
            sent.map_err(|_| StoreError::Cancelled)
        }
    };
    let done = AtomicU64::new(0);
    let moved = |bytes| {
        let done = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if let Some(progress) = &options.copy.progress {
            progress.advanced(&digest, done, descriptor.size);
        }
    };
    match pump(all, content, write, moved).await {
        Ok(()) => {}
        Err(Stopped::Read(error)) => return Err(on(Side::Source, StoreError::read(digest, error))),
        Err(Stopped::Write(_)) => return Ok(false),
    }
    let digester = digester.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match digester.finish() {
        found if found == digest => Ok(true),
        found => Err(on(
            Side::Source,
            StoreError::Mismatch {
                digest,
                why: format!("content has digest {found}"),
            },
        )),
    }
}

/// Sends some chunks of a layer; returns the bytes of the layer that were sent, `None` if the writer went away.
async fn send_chunks<O: Origin + ?Sized>(
    source: &O,
    graph: &Graph,
    node: &Node,
    runs: &[Range<usize>],
    pieces: &mpsc::Sender<Piece>,
    options: &Options,
) -> Result<Option<u64>, StoreError> {
    let digest = node.descriptor.digest;
    let failed = |error| on(Side::Source, error);
    let Some(chunked) = graph.chunked.get(&digest) else {
        return Ok(None);
    };
    let index = chunk::read(source, chunked).await.map_err(failed)?;
    let header = pack::header(runs);
    let places = pack::places(&index, runs);
    let sent: u64 = places.iter().map(|place| place.end - place.start).sum();
    let entry = Piece::Entry {
        path: format!("chunks/{}/{}", digest.algorithm().name(), digest.hex()),
        size: header.len() as u64 + sent,
    };
    if pieces.send(entry).await.is_err() || pieces.send(Piece::Data(vec![header.into()])).await.is_err() {
        return Ok(None);
    }
    // Bytes that are left out count as done for the progress.
    let mut done = node.descriptor.size - sent;
    for (run, place) in runs.iter().zip(places) {
        let stream = source.fetch_range_unverified(&node.descriptor, place).await;
        let mut stream = stream.map_err(failed)?;
        for chunk in &index.chunks()[run.clone()] {
            let mut bytes = vec![0; chunk.size as usize];
            let read = stream.read_exact(&mut bytes).await;
            read.map_err(|error| failed(StoreError::read(digest, error)))?;
            if Digest::sha256(&bytes).as_bytes() != chunk.digest {
                let why = "a chunk of it is not what its chunk index says".to_owned();
                return Err(failed(StoreError::Mismatch { digest, why }));
            }
            done += u64::from(chunk.size);
            if let Some(progress) = &options.copy.progress {
                progress.advanced(&digest, done, node.descriptor.size);
            }
            if pieces.send(Piece::Data(vec![bytes.into()])).await.is_err() {
                return Ok(None);
            }
        }
    }
    Ok(Some(sent))
}

/// Nodes that were found from referrers come first, then manifests, then the rest; each blob once, sorted by digest.
fn ordered(graph: &Graph) -> Vec<&Node> {
    let mut nodes: Vec<&Node> = graph.nodes().collect();
    let rank = |node: &Node| match (node.from_referrer, node.descriptor.media_type.has_children()) {
        (true, _) => 0,
        (false, true) => 1,
        (false, false) => 2,
    };
    // The same bytes may be in the graph as a manifest and as a plain blob.
    nodes.sort_by_key(|node| (node.descriptor.digest, rank(node)));
    nodes.dedup_by_key(|node| node.descriptor.digest);
    nodes.sort_by_key(|node| (rank(node), node.descriptor.digest));
    nodes
}

/// Leaves out whatever a store says about a root beyond its digest, so that the bytes depend only on blobs and tags.
fn index(graph: &Graph, roots: &[(Descriptor, Option<Tag>)]) -> LayoutIndex {
    let mut index = LayoutIndex::empty();
    for (root, tag) in roots {
        match tag {
            Some(tag) => {
                index.set_tag(&root.bare(), tag);
            }
            None => {
                index.list(&root.bare());
            }
        }
    }
    for (tag, signature) in &graph.cosign {
        index.set_tag(&signature.bare(), tag);
    }
    for node in graph.nodes().filter(|node| node.has_subject) {
        index.list(&node.descriptor);
    }
    index
}

/// Writes the archive in its format; returns the writer, or `None` if the reading side went away.
fn write_as<W: Write>(
    writer: W,
    format: ArchiveFormat,
    pieces: mpsc::Receiver<Piece>,
) -> io::Result<Option<W>> {
    match format {
        ArchiveFormat::Tar => write_entries(writer, pieces),
        ArchiveFormat::Gzip => {
            // The encoder writes small blocks.
            let buffered = BufWriter::with_capacity(limits::STREAM_BUFFER, writer);
            match write_entries(stored::Writer::new(buffered)?, pieces)? {
                Some(gzip) => gzip.finish().and_then(finish).map(Some),
                None => Ok(None),
            }
        }
    }
}

fn write_volumes(
    path: &Path,
    format: ArchiveFormat,
    cut: Cut,
    pieces: mpsc::Receiver<Piece>,
    cancel: &CancellationToken,
) -> Result<Vec<Volume>, StoreError> {
    let volumes = volumes::Pieces::new(path, cut)?;
    let written = write_as(volumes, format, pieces).map_err(StoreError::io("write the volumes of", path))?;
    match written {
        Some(volumes) => volumes.finish(cancel),
        // The reading side went away, and reports the reason itself.
        None => Err(StoreError::Cancelled),
    }
}

fn write_file(
    path: &Path,
    format: ArchiveFormat,
    pieces: mpsc::Receiver<Piece>,
) -> Result<Vec<Volume>, StoreError> {
    let new = NewFile::create(path, 0o666).map_err(StoreError::io("write", path))?;
    let handle = new.file().try_clone().map_err(StoreError::io("open", path))?;
    let growing = Growing {
        file: Arc::new(handle),
        early: EarlySync::default(),
    };
    let written = write_as(growing, format, pieces).map_err(StoreError::io("write", path))?;
    let Some(mut growing) = written else {
        // The reading side went away, and reports the reason itself.
        return Err(StoreError::Cancelled);
    };
    growing.early.end().map_err(StoreError::io("sync", path))?;
    let metadata = new.file().metadata().map_err(StoreError::io("look at", path))?;
    new.commit().map_err(StoreError::io("write", path))?;
    Ok(vec![Volume {
        path: path.to_owned(),
        bytes: metadata.len(),
    }])
}

/// A file that is synced while it grows.
struct Growing {
    file: Arc<File>,
    early: EarlySync,
}

impl Write for Growing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let written = self.file.as_ref().write_vectored(slices)?;
        self.early.written(&self.file, written as u64)?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn finish<W: Write>(buffered: BufWriter<W>) -> io::Result<W> {
    buffered.into_inner().map_err(io::IntoInnerError::into_error)
}

/// Writes the entries; `None` if the end never came, because the reading side failed.
fn write_entries<W: Write>(mut writer: W, mut pieces: mpsc::Receiver<Piece>) -> io::Result<Option<W>> {
    const BLOCK: usize = 512;
    let zeros = [0; 2 * BLOCK];
    let mut padding = 0;
    loop {
        match pieces.blocking_recv() {
            Some(Piece::Data(batch)) => write_pieces(&batch, |slices| writer.write_vectored(slices))?,
            Some(Piece::Entry { path, size }) => {
                writer.write_all(&zeros[..padding])?;
                write_header(&mut writer, &path, size)?;
                padding = (BLOCK as u64 - size % BLOCK as u64) as usize % BLOCK;
            }
            Some(Piece::End) => {
                writer.write_all(&zeros[..padding])?;
                writer.write_all(&zeros)?;
                return Ok(Some(writer));
            }
            None => return Ok(None),
        }
    }
}

fn write_header<W: Write>(writer: &mut W, path: &str, size: u64) -> io::Result<()> {
    let mut records = String::new();
    if path.len() > 100 {
        records.push_str(&record("path", path));
    }
    if size > OCTAL_SIZE {
        records.push_str(&record("size", &size.to_string()));
    }
    if !records.is_empty() {
        let extension = header("pax", records.len() as u64, tar::EntryType::XHeader);
        writer.write_all(extension.as_bytes())?;
        records.push_str(&"\0".repeat(records.len().next_multiple_of(512) - records.len()));
        writer.write_all(records.as_bytes())?;
    }
    let stored = if size > OCTAL_SIZE { 0 } else { size };
    writer.write_all(header(path, stored, tar::EntryType::Regular).as_bytes())
}

fn header(path: &str, size: u64, kind: tar::EntryType) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    let name = &path.as_bytes()[..path.len().min(100)];
    header.as_mut_bytes()[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    header
}

/// A PAX record, whose length counts its own digits.
fn record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length += 1;
    }
    format!("{length} {key}={value}\n")
}
