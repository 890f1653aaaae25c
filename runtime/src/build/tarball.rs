//! Writes tar streams that depend only on their content: entries in the order of their paths, owner 0, time 0,
//! permissions 0755 or 0644, folders before what is in them, no padding beyond the format's own.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use samebundle_registry::chunk::Codec;
use samebundle_spec::{EntryPath, MediaType, limits};
use tar::{EntryType, Header};

use super::error::BuildError;
use crate::layer::{self, Written};

/// What is at a path of the tar.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    /// A folder.
    Folder,
    /// A file, copied from this machine.
    File {
        /// Its path on this machine.
        source: PathBuf,
        /// Whether it may be executed.
        executable: bool,
    },
    /// A file of these bytes.
    Bytes {
        /// Its content.
        content: Vec<u8>,
        /// Whether it may be executed.
        executable: bool,
    },
}

impl Entry {
    /// An error of writing the entry, with the file that it concerns.
    fn named(&self, error: io::Error) -> io::Error {
        match self {
            Self::File { source, .. } => {
                io::Error::new(error.kind(), format!("{}: {error}", source.display()))
            }
            Self::Folder | Self::Bytes { .. } => error,
        }
    }
}

/// Entries by path, and so in the order of their paths. Missing parents are added.
#[derive(Clone, Debug, Default)]
pub(super) struct Tarball(BTreeMap<EntryPath, Entry>);

impl Tarball {
    /// Adds an entry and the folders above it. A later entry of the same path replaces the earlier.
    pub(super) fn add(&mut self, path: EntryPath, entry: Entry) {
        for (at, _) in path.as_str().match_indices('/') {
            if let Ok(parent) = path.as_str()[..at].parse() {
                self.0.entry(parent).or_insert(Entry::Folder);
            }
        }
        self.0.insert(path, entry);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The paths in order.
    #[cfg(test)]
    pub(super) fn paths(&self) -> Vec<&str> {
        self.0.keys().map(EntryPath::as_str).collect()
    }

    /// Writes the stream as a layer to a temporary file in `scratch`, on a thread for blocking work.
    pub(super) async fn write_in(
        self,
        scratch: &Path,
        media_type: MediaType,
        codec: Codec,
    ) -> Result<Written, BuildError> {
        Ok(layer::write_in(scratch, media_type, codec, move |to| self.entries(to).map(drop)).await?)
    }

    fn entries<W: Write>(&self, writer: W) -> io::Result<W> {
        let mut builder = tar::Builder::new(writer);
        for (path, entry) in &self.0 {
            let written = match entry {
                Entry::Folder => append(&mut builder, path, EntryType::Directory, 0o755, 0, io::empty()),
                Entry::Bytes { content, executable } => {
                    let size = content.len() as u64;
                    append(
                        &mut builder,
                        path,
                        EntryType::Regular,
                        mode(*executable),
                        size,
                        content.as_slice(),
                    )
                }
                Entry::File { source, executable } => File::open(source).and_then(|file| {
                    let size = file.metadata()?.len();
                    // A file that grows or shrinks while it is read must not shift the entries after it.
                    let exact = Exact {
                        inner: BufReader::with_capacity(limits::STREAM_BUFFER, file),
                        left: size,
                    };
                    append(
                        &mut builder,
                        path,
                        EntryType::Regular,
                        mode(*executable),
                        size,
                        exact,
                    )
                }),
            };
            written.map_err(|error| entry.named(error))?;
        }
        builder.into_inner()
    }
}

fn mode(executable: bool) -> u32 {
    if executable { 0o755 } else { 0o644 }
}

fn append(
    builder: &mut tar::Builder<impl Write>,
    path: &EntryPath,
    kind: EntryType,
    mode: u32,
    size: u64,
    content: impl Read,
) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    let name = match kind {
        EntryType::Directory => format!("{path}/"),
        _ => path.to_string(),
    };
    builder.append_data(&mut header, name, content)
}

/// Yields exactly `left` bytes or fails.
struct Exact<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Exact<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Ok(0);
        }
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.inner.read(&mut buffer[..wanted])?;
        if count == 0 && wanted > 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file became shorter while it was read",
            ));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn tarball(folder: &Path) -> Tarball {
        let mut tarball = Tarball::default();
        let source = folder.join("source");
        let bytes = |text: &str| Entry::Bytes {
            content: text.into(),
            executable: false,
        };
        tarball.add(
            "b/two".parse().unwrap(),
            Entry::File {
                source,
                executable: true,
            },
        );
        tarball.add("a".parse().unwrap(), bytes("first"));
        tarball.add(
            format!("b/{}", "x".repeat(200)).parse().unwrap(),
            bytes("long name"),
        );
        tarball
    }

    #[tokio::test]
    async fn streams_depend_on_content_alone() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (folder, mode) in [(&one, 0o600), (&two, 0o777)] {
            let path = folder.path().join("source");
            std::fs::write(&path, "second").unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        }
        for codec in [Codec::Gzip, Codec::Zstd] {
            let write = async |folder: &Path| {
                let tarball = tarball(folder);
                tarball
                    .write_in(folder, MediaType::OCI_LAYER, codec)
                    .await
                    .unwrap()
            };
            let (first, second) = (write(one.path()).await, write(two.path()).await);
            assert_eq!(first.descriptor, second.descriptor);
            assert_eq!(first.diff_id, second.diff_id);
            assert_ne!(first.diff_id, first.descriptor.digest);
        }
        std::fs::write(two.path().join("source"), "changed").unwrap();
        let write = async |folder: &Path| {
            let tarball = tarball(folder);
            let written = tarball.write_in(folder, MediaType::OCI_LAYER, Codec::Gzip).await;
            written.unwrap().diff_id
        };
        assert_ne!(write(one.path()).await, write(two.path()).await);
    }

    #[test]
    fn entries_are_sorted_and_owned_by_nobody() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("source"), "second").unwrap();
        let written = tarball(folder.path()).entries(Vec::new()).unwrap();
        let mut seen = Vec::new();
        for entry in tar::Archive::new(written.as_slice()).entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!(
                (
                    header.uid().unwrap(),
                    header.gid().unwrap(),
                    header.mtime().unwrap()
                ),
                (0, 0, 0)
            );
            seen.push((
                entry.path().unwrap().display().to_string(),
                header.mode().unwrap(),
            ));
        }
        let long = format!("b/{}", "x".repeat(200));
        let wanted = [("a", 0o644), ("b/", 0o755), ("b/two", 0o755), (&long, 0o644)];
        assert_eq!(seen, wanted.map(|(path, mode)| (path.to_owned(), mode)));
    }

    #[test]
    fn a_file_that_shrinks_is_refused() {
        let mut exact = Exact {
            inner: &b"abc"[..],
            left: 4,
        };
        assert_eq!(
            exact.read_to_end(&mut Vec::new()).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
    }
}
