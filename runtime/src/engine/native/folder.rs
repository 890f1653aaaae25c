//! Reads what a task wrote, never through a link. The task's process may be hostile, and it controls everything below
//! its folder. So each component of a path is opened below the handle of its parent, and devices, sockets and pipes are
//! refused, not skipped. So are links, except for those in the folder of an output that lead to a place inside of it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use samebundle_spec::{Algorithm, Digest, limits};

use super::error::TaskError;
use crate::listing::{self, Entry, Listing, ListingError, escaped};

/// Makes a folder that any user of a container may write to. Its parents get the mode of the umask.
pub(super) fn make(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777))
}

/// A folder that a task wrote to.
#[derive(Debug)]
pub(super) struct Folder {
    handle: OwnedFd,
    /// Its path in the container.
    seen_as: String,
}

/// The digest and size of the file or folder at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    /// Of a file: SHA-256 of its bytes. Of a folder: SHA-256 of its listing.
    pub(crate) digest: Digest,
    /// Bytes of all files.
    pub(crate) size: u64,
}

/// A file, or what is in a folder.
pub(crate) enum Listed {
    File(Content),
    Folder(Listing),
}

impl Listed {
    pub(crate) fn content(&self) -> Content {
        match self {
            Self::File(content) => *content,
            Self::Folder(listing) => Content {
                digest: Digest::sha256(listing.to_text().as_bytes()),
                size: listing.size(),
            },
        }
    }
}

/// Looks at an output of a run that has ended, below the folder of its outputs; none if it does not exist.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn output(outputs: &Path, path: &str) -> io::Result<Option<Listed>> {
    let folder = Folder::open(outputs, "");
    let listed = folder.and_then(|folder| folder.listed(path));
    listed.map_err(io::Error::other)
}

const FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK);

impl Folder {
    /// Opens a folder that this process made. The task saw it at the path `seen_as`.
    pub(super) fn open(path: &Path, seen_as: &str) -> Result<Self, TaskError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle =
            rustix::fs::open(path, flags, Mode::empty()).map_err(|error| TaskError::Folder(error.into()))?;
        Ok(Self {
            handle,
            seen_as: seen_as.to_owned(),
        })
    }

    /// Opens the file or folder at a path below; none if it does not exist.
    fn find(&self, path: &str) -> Result<Option<(OwnedFd, FileType)>, TaskError> {
        let mut handle = rustix::io::dup(&self.handle).map_err(unreadable(path))?;
        let mut kind = FileType::Directory;
        for component in path.split('/') {
            if kind != FileType::Directory {
                return Ok(None);
            }
            match open(&handle, component, path)? {
                Found::Item(next, found) => (handle, kind) = (next, found),
                Found::Link => return Err(special(path, FileType::Symlink)),
                Found::Nothing => return Ok(None),
            }
        }
        Ok(Some((handle, kind)))
    }

    /// Reads a whole file; none if it does not exist.
    pub(super) fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, TaskError> {
        let Some((handle, kind)) = self.find(path)? else {
            return Ok(None);
        };
        if kind != FileType::RegularFile {
            return Err(special(path, kind));
        }
        let mut bytes = Vec::new();
        let mut file = File::from(handle).take(limit + 1);
        file.read_to_end(&mut bytes)
            .map_err(|source| TaskError::Unreadable {
                path: path.to_owned(),
                source,
            })?;
        if bytes.len() as u64 > limit {
            return Err(TaskError::TooLarge {
                path: path.to_owned(),
                limit,
                unit: "bytes",
            });
        }
        Ok(Some(bytes))
    }

    /// Lists the names in a folder; none if it does not exist.
    pub(super) fn names(&self, path: &str) -> Result<Vec<String>, TaskError> {
        match self.find(path)? {
            None => Ok(Vec::new()),
            Some((handle, FileType::Directory)) => {
                let names = entries(&handle, path)?;
                Ok(names
                    .iter()
                    .map(|name| String::from_utf8_lossy(name).into_owned())
                    .collect())
            }
            Some((_, kind)) => Err(special(path, kind)),
        }
    }

    #[cfg(test)]
    fn digest(&self, path: &str) -> Result<Option<Content>, TaskError> {
        Ok(self.listed(path)?.map(|listed| listed.content()))
    }

    /// Digests a file, or lists a folder; none if it does not exist. An absolute link to a place in the folder becomes a
    /// relative one.
    pub(super) fn listed(&self, path: &str) -> Result<Option<Listed>, TaskError> {
        let Some((handle, kind)) = self.find(path)? else {
            return Ok(None);
        };
        match kind {
            FileType::RegularFile => digest_file(handle, path).map(Listed::File).map(Some),
            FileType::Directory => {
                let mut walk = Walk {
                    top: path,
                    seen_as: format!("{}/{path}", self.seen_as),
                    listing: Listing::default(),
                };
                walk.folder(&handle, &[], 0)?;
                walk.finish().map(Listed::Folder).map(Some)
            }
            other => Err(special(path, other)),
        }
    }
}

fn unreadable(path: &str) -> impl Fn(rustix::io::Errno) -> TaskError + '_ {
    move |error| TaskError::Unreadable {
        path: path.to_owned(),
        source: error.into(),
    }
}

fn special(path: &str, kind: FileType) -> TaskError {
    let kind = match kind {
        FileType::RegularFile => "file where a folder should be",
        FileType::Directory => "folder where a file should be",
        FileType::Symlink => "link",
        FileType::Fifo => "pipe",
        FileType::Socket => "socket",
        FileType::CharacterDevice | FileType::BlockDevice => "device",
        _ => "thing of unknown kind",
    };
    TaskError::Special {
        path: path.to_owned(),
        kind,
    }
}

/// What has a name in a folder.
enum Found {
    /// A file or folder.
    Item(OwnedFd, FileType),
    Link,
    Nothing,
}

/// Opens one name in a folder without following a link. Errors name `path`.
fn open(folder: &OwnedFd, name: impl rustix::path::Arg + Copy, path: &str) -> Result<Found, TaskError> {
    use rustix::io::Errno;
    match rustix::fs::openat(folder, name, FLAGS, Mode::empty()) {
        Ok(handle) => {
            let stat = rustix::fs::fstat(&handle).map_err(unreadable(path))?;
            let kind = FileType::from_raw_mode(stat.st_mode);
            match kind {
                FileType::RegularFile | FileType::Directory => Ok(Found::Item(handle, kind)),
                other => Err(special(path, other)),
            }
        }
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(Found::Nothing),
        Err(Errno::LOOP) => Ok(Found::Link),
        Err(Errno::NXIO) => Err(special(path, FileType::Socket)),
        Err(error) => Err(unreadable(path)(error)),
    }
}

/// Returns the names in a folder, sorted.
fn entries(folder: &OwnedFd, path: &str) -> Result<Vec<Vec<u8>>, TaskError> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder).map_err(unreadable(path))? {
        let entry = entry.map_err(unreadable(path))?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
        if names.len() > limits::OUTPUT_ENTRIES {
            return Err(too_many(path));
        }
    }
    names.sort();
    Ok(names)
}

fn too_many(path: &str) -> TaskError {
    TaskError::TooLarge {
        path: path.to_owned(),
        limit: limits::OUTPUT_ENTRIES as u64,
        unit: "entries",
    }
}

fn digest_file(handle: OwnedFd, path: &str) -> Result<Content, TaskError> {
    let hashed = Digest::of_reader(Algorithm::Sha256, File::from(handle));
    let (digest, size) = hashed.map_err(|source| TaskError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    Ok(Content { digest, size })
}

/// The walk through a folder that lists it.
struct Walk<'a> {
    top: &'a str,
    /// The path of the folder in the container.
    seen_as: String,
    listing: Listing,
}

impl Walk<'_> {
    /// Lists the folder of a path below the top.
    fn folder(&mut self, handle: &OwnedFd, below: &[u8], depth: usize) -> Result<(), TaskError> {
        if depth > limits::OUTPUT_DEPTH {
            return Err(TaskError::TooLarge {
                path: self.top.to_owned(),
                limit: limits::OUTPUT_DEPTH as u64,
                unit: "levels of folders",
            });
        }
        for name in entries(handle, self.top)? {
            if self.listing.len() >= limits::OUTPUT_ENTRIES {
                return Err(too_many(self.top));
            }
            let place = match below {
                [] => name.clone(),
                below => [below, &name].join(&b'/'),
            };
            let full = self.full(&place);
            match open(handle, name.as_slice(), &full)? {
                Found::Item(inner, FileType::Directory) => {
                    self.listing.add(&place, Entry::Folder);
                    self.folder(&inner, &place, depth + 1)?;
                }
                Found::Item(file, _) => {
                    let Content { digest, size } = digest_file(file, &full)?;
                    self.listing.add(&place, Entry::File { digest, size });
                }
                Found::Link => {
                    let text = self.link(handle, &name, &place)?;
                    self.listing.add(&place, Entry::Link(text));
                }
                // The container has ended, so no name is removed meanwhile.
                Found::Nothing => return Err(unreadable(&full)(rustix::io::Errno::NOENT)),
            }
        }
        Ok(())
    }

    /// Reads a link. An absolute one to a place in the output is made relative, because it would lead elsewhere on every
    /// other machine.
    fn link(&self, folder: &OwnedFd, name: &[u8], place: &[u8]) -> Result<Vec<u8>, TaskError> {
        let full = self.full(place);
        let text = rustix::fs::readlinkat(folder, name, Vec::new()).map_err(unreadable(&full))?;
        let text = text.into_bytes();
        let Some(relative) = listing::relative(place, &text, self.seen_as.as_bytes()) else {
            return Ok(text);
        };
        rustix::fs::unlinkat(folder, name, AtFlags::empty()).map_err(unreadable(&full))?;
        rustix::fs::symlinkat(relative.as_slice(), folder, name).map_err(unreadable(&full))?;
        Ok(relative)
    }

    fn full(&self, place: &[u8]) -> String {
        format!("{}/{}", self.top, escaped(place))
    }

    fn finish(self) -> Result<Listing, TaskError> {
        match self.listing.check_links() {
            Err(ListingError::Link { path, text, fault }) => Err(TaskError::Link {
                path: format!("{}/{path}", self.top),
                text,
                fault,
            }),
            _ => Ok(self.listing),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(home.path(), "/outputs/t").unwrap();
        (home, folder)
    }

    #[test]
    fn a_folder_has_the_digest_of_its_listing_whatever_the_order_and_the_times() {
        let (home, folder) = folder();
        fs::create_dir_all(home.path().join("a/b")).unwrap();
        fs::write(home.path().join("a/x"), "1").unwrap();
        fs::write(home.path().join("a/b/y z"), "22").unwrap();
        let found = folder.digest("a").unwrap().unwrap();
        let (one, two) = (Digest::sha256(b"1").hex(), Digest::sha256(b"22").hex());
        let listing = format!("folder b\nfile {two} 2 b/y%20z\nfile {one} 1 x\n");
        assert_eq!(found.digest, Digest::sha256(listing.as_bytes()));
        assert_eq!(found.size, 3);
        assert_eq!(
            folder.digest("a/x").unwrap().unwrap().digest,
            Digest::sha256(b"1")
        );
        assert_eq!(folder.digest("nothing").unwrap(), None);
        assert_eq!(folder.digest("a/x/deeper").unwrap(), None);
    }

    #[test]
    fn links_elsewhere_pipes_and_sockets_are_refused_at_every_level() {
        let (home, folder) = folder();
        let secret = home.path().join("secret");
        fs::write(&secret, "s").unwrap();
        fs::create_dir_all(home.path().join("out")).unwrap();
        symlink(&secret, home.path().join("out/file")).unwrap();
        symlink(home.path(), home.path().join("out/up")).unwrap();
        let _socket = UnixListener::bind(home.path().join("out/socket")).unwrap();
        assert!(matches!(
            Folder::open(home.path(), "/").unwrap().digest("out"),
            Err(TaskError::Special { kind: "socket", .. })
        ));
        fs::remove_file(home.path().join("out/socket")).unwrap();
        assert!(matches!(folder.digest("out"), Err(TaskError::Link { .. })));
        for path in ["out/file", "out/up", "out/up/secret"] {
            assert!(
                matches!(folder.digest(path), Err(TaskError::Special { .. })),
                "{path}"
            );
        }
        assert!(matches!(
            folder.read("out/file", 10),
            Err(TaskError::Special { kind: "link", .. })
        ));
        assert!(matches!(
            folder.read("out/up/secret", 10),
            Err(TaskError::Special { kind: "link", .. })
        ));
        assert!(matches!(folder.read("..", 10), Err(TaskError::Special { .. })));
    }

    #[test]
    fn links_in_an_output_are_kept_if_they_stay_inside() {
        let (home, folder) = folder();
        let out = home.path().join("out");
        fs::create_dir_all(out.join("runs/one two")).unwrap();
        fs::write(out.join("model-v1.bin"), "1").unwrap();
        symlink("model-v1.bin", out.join("latest")).unwrap();
        symlink("../../model-v1.bin", out.join("runs/one two/model")).unwrap();
        symlink("/outputs/t/out/runs/one two", out.join("runs/last")).unwrap();
        symlink("gone", out.join("dangling")).unwrap();
        let found = folder.digest("out").unwrap().unwrap();
        let file = Digest::sha256(b"1").hex();
        let listing = format!(
            "link gone dangling\nlink model-v1.bin latest\nfile {file} 1 model-v1.bin\nfolder runs\n\
             link ../runs/one%20two runs/last\nfolder runs/one%20two\nlink ../../model-v1.bin runs/one%20two/model\n"
        );
        assert_eq!(found.digest, Digest::sha256(listing.as_bytes()));
        assert_eq!(found.size, 1);
        // The absolute link leads to the same place on every machine now.
        assert_eq!(fs::read(out.join("runs/last/model")).unwrap(), b"1");
        assert_eq!(folder.digest("out").unwrap(), Some(found));
        symlink("../other/x", out.join("away")).unwrap();
        let refused = folder.digest("out").unwrap_err().to_string();
        assert!(
            refused.starts_with("output out/away is a link to ../other/x, which leads out of the output"),
            "{refused}"
        );
    }

    #[test]
    fn files_are_read_up_to_their_limit() {
        let (home, folder) = folder();
        fs::write(home.path().join("f"), "12345").unwrap();
        assert_eq!(folder.read("f", 5).unwrap().as_deref(), Some(&b"12345"[..]));
        assert!(matches!(
            folder.read("f", 4),
            Err(TaskError::TooLarge { limit: 4, .. })
        ));
        assert_eq!(folder.read("g", 4).unwrap(), None);
    }
}
