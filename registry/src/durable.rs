//! Files that after a crash are either old or new, never half written: write a temporary file, sync, rename, sync the
//! folder.
//!
//! Concurrency: two writers of one path do not disturb each other's temporary file; the last rename wins. Who needs a
//! read-modify-write holds a [`lock`] around it. Failure: an error leaves the old file in place and no temporary one.
//!
//! A rename replaces whatever has the name. So [`target`] looks first: links are followed to the file that they name, and
//! a pipe, a device, a socket or a folder is refused.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::fs::OFlags;
use rustix::io::Errno;
use samebundle_spec::limits;
use tempfile::NamedTempFile;

use crate::path_error::{NotAFile, PathError};

pub(crate) fn not_a_file(why: impl Into<String>) -> io::Error {
    NotAFile::because(why).into()
}

/// Tells what something is that is not a regular file.
pub(crate) fn kind_of(metadata: &Metadata) -> Option<&'static str> {
    let kind = metadata.file_type();
    if kind.is_file() {
        None
    } else if kind.is_dir() {
        Some("a folder")
    } else if kind.is_fifo() {
        Some("a pipe")
    } else if kind.is_socket() {
        Some("a socket")
    } else {
        Some("a device")
    }
}

/// Returns the file that writing to `path` replaces: a regular file, or a name that is free. Symbolic links are followed,
/// also to a name that is free.
///
/// # Errors
/// [`NotAFile`] if a folder, a pipe, a device or a socket has the name, or if the path cannot name a file; otherwise the
/// system's error, such as a name that is too long.
pub fn target(path: &Path) -> io::Result<PathBuf> {
    let bytes = path.as_os_str().as_bytes();
    let ends_as_folder = bytes.ends_with(b"/") || bytes.ends_with(b"/.");
    let Some(name) = path.file_name().filter(|_| !ends_as_folder) else {
        return Err(not_a_file("it names a folder; give the name of a file"));
    };
    if name == "-" {
        return Err(not_a_file(
            "nothing is written to standard output; give the name of a file",
        ));
    }
    let there = match fs::metadata(path) {
        Ok(metadata) => Some(metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if let Some(kind) = there.as_ref().and_then(kind_of) {
        let why = format!("it is {kind}, and only files are written; give the name of a file");
        return Err(not_a_file(why));
    }
    let resolved = follow(path)?;
    let found = fs::symlink_metadata(&resolved).ok();
    let same = |a: &Metadata, b: &Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    match (&there, &found) {
        (None, None) => Ok(resolved),
        (Some(there), Some(found)) if same(there, found) => Ok(resolved),
        // A link of the kernel's, below `/proc`, to a file without a name.
        _ => Err(not_a_file(
            "it leads to a file that has no name; give the name of a file",
        )),
    }
}

/// Follows symbolic links to the last name, whether it exists or not.
fn follow(path: &Path) -> io::Result<PathBuf> {
    /// The kernel follows as many.
    const LINKS: usize = 40;
    let mut named = path.to_owned();
    for _ in 0..LINKS {
        match fs::read_link(&named) {
            Ok(next) => named = folder_of(&named).join(next),
            Err(error) if [io::ErrorKind::InvalidInput, io::ErrorKind::NotFound].contains(&error.kind()) => {
                return Ok(named);
            }
            Err(error) => return Err(error),
        }
    }
    Err(Errno::LOOP.into())
}

/// Returns the regular file that `path` leads to, through symbolic links.
///
/// # Errors
/// [`NotAFile`] if it is something else; otherwise the system's error.
pub fn source(path: &Path) -> io::Result<PathBuf> {
    let hint = match kind_of(&fs::metadata(path)?) {
        None => return follow(path),
        Some("a folder") => "it is a folder; an OCI image layout is named as layout:FOLDER",
        Some("a pipe") => "it is a pipe, and it has to be read more than once; save it to a file first",
        Some("a socket") => "it is a socket, and no file",
        Some(_) => "it is a device, and no file",
    };
    Err(not_a_file(hint))
}

/// Opens a regular file for reading. Links are not followed, and a pipe does not block.
pub(crate) fn open_plain(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    let file = match opened {
        Err(error) if is_one_of(&error, &[Errno::LOOP]) => {
            let why =
                "it is a symbolic link, and none is followed in there; put the file itself in its place";
            return Err(io::Error::new(error.kind(), why));
        }
        opened => opened?,
    };
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
    }
}

/// The folder that a file is in.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A temporary file in the folder of the file that it will replace. It is removed when dropped.
#[derive(Debug)]
pub struct NewFile {
    temporary: NamedTempFile,
    target: PathBuf,
}

impl NewFile {
    /// Starts a file that will have the name `path`, with these permission bits, from which the system takes the process's
    /// mask. A file that it replaces keeps what it did not allow.
    ///
    /// # Errors
    /// Those of [`target`], and the system's.
    pub fn create(path: &Path, mode: u32) -> io::Result<Self> {
        let target = target(path)?;
        let mode = fs::metadata(&target).map_or(mode, |old| mode & old.mode());
        let temporary = temporary_in(folder_of(&target), mode)?;
        Ok(Self { temporary, target })
    }

    /// The file, to write to.
    pub fn file(&self) -> &File {
        self.temporary.as_file()
    }

    /// Makes the file durable and gives it its name.
    ///
    /// # Errors
    /// The system's error; then the old file still has the name.
    pub fn commit(self) -> io::Result<()> {
        sync(self.temporary.as_file())?;
        self.temporary
            .persist(&self.target)
            .map_err(|error| error.error)?;
        sync_folder(folder_of(&self.target))
    }
}

/// Makes a file with a name of its own in `folder`. The system takes the process's mask from `mode`.
///
/// # Errors
/// The system's error.
pub(crate) fn temporary_in(folder: &Path, mode: u32) -> io::Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix(".new-")
        .permissions(PermissionsExt::from_mode(mode))
        .tempfile_in(folder)
}

/// Writes `bytes` to `path` durably with these permission bits, from which the system takes the process's mask.
///
/// # Errors
/// Those of [`target`], and the system's; then `path` is as it was before.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let new = NewFile::create(path, mode)?;
    new.file().write_all(bytes)?;
    new.commit()
}

/// Makes a file's content durable, as far as its file system can.
///
/// # Errors
/// The system's error. It is final: a second call may say that all is well when it is not.
pub fn sync(file: &File) -> io::Result<()> {
    as_far_as_it_can(file.sync_all())
}

/// Some file systems (FUSE, CIFS) have no such call; `cp` and `tar` go on there as well.
fn as_far_as_it_can(synced: io::Result<()>) -> io::Result<()> {
    match synced {
        Err(error) if is_one_of(&error, &[Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP]) => Ok(()),
        synced => synced,
    }
}

fn is_one_of(error: &io::Error, errnos: &[Errno]) -> bool {
    let raw = error.raw_os_error();
    errnos.iter().any(|errno| Some(errno.raw_os_error()) == raw)
}

/// Syncs a large file while it is written, in a thread of its own: the disk works while bytes still come, and the sync
/// at the end has little left to wait for.
#[derive(Debug, Default)]
pub(crate) struct EarlySync {
    /// Bytes that were written since the last one began.
    bytes: u64,
    thread: Option<JoinHandle<io::Result<()>>>,
    failed: bool,
}

impl EarlySync {
    /// Records that this many more bytes were written. Begins a sync when there are enough of them and none runs.
    ///
    /// # Errors
    /// As [`end`](Self::end).
    pub(crate) fn written(&mut self, file: &Arc<File>, bytes: u64) -> io::Result<()> {
        self.bytes += bytes;
        let running = self.thread.as_ref().is_some_and(|thread| !thread.is_finished());
        if self.bytes < limits::EARLY_SYNC_BYTES || running {
            return Ok(());
        }
        self.end()?;
        self.bytes = 0;
        let file = Arc::clone(file);
        self.thread = Some(std::thread::spawn(move || as_far_as_it_can(file.sync_data())));
        Ok(())
    }

    /// Waits for the sync that runs.
    ///
    /// # Errors
    /// The error of this or of an earlier sync, each time: the system reports a lost write once, and its next sync may
    /// say that all is well.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        if let Some(thread) = self.thread.take() {
            let synced = thread
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("a sync panicked")));
            self.failed |= synced.is_err();
            synced?;
        }
        if self.failed {
            return Err(io::Error::other("an earlier sync of the file failed"));
        }
        Ok(())
    }
}

/// Reads a small file whole; `None` if it does not exist.
///
/// # Errors
/// [`io::ErrorKind::FileTooLarge`] if it has more than `limit` bytes; otherwise why it cannot be read.
pub fn read(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let why = format!("it is larger than {limit} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(Some(bytes))
}

/// Reads a file that a person named; a pipe is read as well.
///
/// # Errors
/// [`NotAFile`] if it is a folder, or has more than `limit` bytes; otherwise the system's error.
pub fn read_named(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(not_a_file("it is a folder; give the name of a file"));
    }
    bounded(file, limit)
}

/// Reads a regular file whole; a pipe, at which a reader would wait, is refused like any other kind.
///
/// # Errors
/// [`NotAFile`] if it is something else, or has more than `limit` bytes; otherwise the system's error.
pub fn read_regular(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    bounded(open_regular(path, OpenOptions::new().read(true))?, limit)
}

/// Opens a file that has to be a regular one, or is made if the options say so. Nothing is waited for.
///
/// # Errors
/// [`NotAFile`] if it is something else; otherwise the system's error.
pub fn open_regular(path: &Path, options: &OpenOptions) -> io::Result<File> {
    // Opening a pipe waits for its other end, and opening a device may do something.
    match check_regular(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        checked => checked?,
    }
    let flags = OFlags::NONBLOCK.bits();
    let file = options.clone().custom_flags(flags.cast_signed()).open(path)?;
    // Another may have come to have the name since.
    is_regular(&file.metadata()?)?;
    Ok(file)
}

fn bounded(file: File, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let why = format!("it has more than {limit} bytes, which is too large for such a file");
        return Err(not_a_file(why));
    }
    Ok(bytes)
}

/// Checks that a file which is read again when it changes is a regular one.
///
/// # Errors
/// [`NotAFile`] if it is something else; otherwise the system's error.
pub fn check_regular(path: &Path) -> io::Result<()> {
    is_regular(&fs::metadata(path)?)
}

fn is_regular(metadata: &Metadata) -> io::Result<()> {
    match kind_of(metadata) {
        None => Ok(()),
        Some(kind) => Err(not_a_file(format!("it is {kind}; give the name of a file"))),
    }
}

/// Copies a file. The error names the side that failed.
///
/// # Errors
/// If one cannot be read, or the other cannot be written.
pub fn copy(from: &Path, to: &Path) -> Result<u64, PathError> {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    fs::copy(from, to).map_err(|error| match error.kind() {
        StorageFull | QuotaExceeded | FileTooLarge => PathError::of("write", to)(error),
        _ => PathError::of("copy", from)(error),
    })
}

/// Makes a folder and those above it, durably, each with these permission bits. Nothing happens if it exists.
///
/// # Errors
/// The system's error.
pub fn make_folder(folder: &Path, mode: u32) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = match folder.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        // The root of the file system.
        None => return Ok(()),
    };
    make_folder(parent, mode)?;
    match DirBuilder::new().mode(mode).create(folder) {
        // Another process made it just now, and may not have synced it yet.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_folder(parent),
    }
}

/// Makes names that were created, renamed or removed in a folder durable.
///
/// # Errors
/// The system's error.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    sync(&File::open(folder)?)
}

/// Takes an exclusive kernel lock on a file, made if absent, and waits for it. Released when dropped, also by a kill.
///
/// # Errors
/// The system's error.
pub fn lock(path: &Path) -> io::Result<File> {
    let file = open_lock(path)?;
    with_hint(file.lock())?;
    Ok(file)
}

/// Takes a shared kernel lock on a file, made if absent, and waits for who holds it alone.
///
/// # Errors
/// The system's error.
pub fn lock_shared(path: &Path) -> io::Result<File> {
    let file = open_lock(path)?;
    with_hint(file.lock_shared())?;
    Ok(file)
}

/// Takes an exclusive kernel lock if nobody holds it.
///
/// # Errors
/// The system's error.
pub fn try_lock(path: &Path) -> io::Result<Option<File>> {
    let file = open_lock(path)?;
    Ok(try_lock_open(&file)?.then_some(file))
}

/// Takes an exclusive kernel lock on an open file and waits for it.
///
/// # Errors
/// The system's error.
pub(crate) fn lock_open(file: &File) -> io::Result<()> {
    with_hint(file.lock())
}

/// Takes an exclusive kernel lock on an open file; `false` if another holds it.
///
/// # Errors
/// The system's error.
pub fn try_lock_open(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(fs::TryLockError::WouldBlock) => Ok(false),
        Err(fs::TryLockError::Error(error)) => with_hint(Err(error)),
    }
}

/// Says what to do on a file system that has no locks.
fn with_hint<T>(locked: io::Result<T>) -> io::Result<T> {
    locked.map_err(|error| {
        if is_one_of(&error, &[Errno::NOLCK, Errno::OPNOTSUPP, Errno::NOSYS]) {
            let hint = "this file system has no locks (NFS without its lock service, Lustre without the option flock); \
                        use a folder on a local disk";
            io::Error::new(error.kind(), format!("{error}: {hint}"))
        } else {
            error
        }
    })
}

/// Of some open files, those that were last written more than `seconds` ago, by the clock of the file system that has
/// `folder`.
///
/// # Errors
/// The system's error.
pub fn older_than(
    folder: &Path,
    files: Vec<(PathBuf, File)>,
    seconds: u64,
) -> io::Result<Vec<(PathBuf, File)>> {
    let now = tempfile::tempfile_in(folder)?.metadata()?.modified()?;
    let mut old = Vec::new();
    for (path, file) in files {
        let age = now
            .duration_since(file.metadata()?.modified()?)
            .unwrap_or_default();
        if age.as_secs() > seconds {
            old.push((path, file));
        }
    }
    Ok(old)
}

/// Opens the file of a lock. Where nothing can be written, a lock is taken all the same, so that existing files can be
/// read: on the file as it is, or on its folder, which nobody can change either.
fn open_lock(path: &Path) -> io::Result<File> {
    let made = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path);
    let error = match made {
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => error,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return File::open(path).map_err(|_| error);
        }
        made => return made,
    };
    File::open(path)
        .or_else(|_| File::open(folder_of(path)))
        .map_err(|_| error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn writes_replace_whole_files_and_leave_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        write(&path, b"one", 0o600).unwrap();
        // Also through a link, a private file stays private.
        symlink("x", folder.path().join("link")).unwrap();
        write(&folder.path().join("link"), b"two", 0o644).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        std::fs::remove_file(&path).unwrap();
        write(&path, b"three", 0o644).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o644
        );
    }

    #[test]
    fn an_early_sync_that_failed_is_told_until_the_end() {
        // A file that was opened only to be named cannot be synced.
        let folder = tempfile::tempdir().unwrap();
        let named = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::PATH.bits().cast_signed())
            .open(folder.path());
        let file = Arc::new(named.unwrap());
        let mut early = EarlySync::default();
        early.written(&file, limits::EARLY_SYNC_BYTES - 1).unwrap();
        early.end().unwrap();
        early.written(&file, 1).unwrap();
        for _ in 0..3 {
            early.end().unwrap_err();
        }
        early.written(&file, limits::EARLY_SYNC_BYTES).unwrap_err();
    }

    #[test]
    fn a_lock_is_exclusive_until_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = lock(&path).unwrap();
        assert!(try_lock(&path).unwrap().is_none());
        drop(held);
        assert!(try_lock(&path).unwrap().is_some());
    }

    fn refusal(path: &Path) -> String {
        let error = write(path, b"new", 0o666).unwrap_err();
        assert!(
            error.get_ref().is_some_and(|why| why.is::<NotAFile>()),
            "{error:?}"
        );
        error.to_string()
    }

    #[test]
    fn what_is_no_file_is_refused_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("folder")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for (name, kind) in [("folder", "a folder"), ("pipe", "a pipe"), ("socket", "a socket")] {
            symlink(name, at(&format!("to-{name}"))).unwrap();
            for name in [name, &format!("to-{name}")] {
                let why = refusal(&at(name));
                assert!(why.contains(kind), "{name}: {why}");
            }
        }
        assert!(refusal(Path::new("/dev/null")).contains("a device"));
        assert!(refusal(&at("-")).contains("standard output"));
        assert!(refusal(&at("new/")).contains("names a folder"));
        let pipe = fs::symlink_metadata(at("pipe")).unwrap().file_type();
        assert!(pipe.is_fifo());
        assert!(
            source(&at("to-pipe"))
                .unwrap_err()
                .to_string()
                .contains("save it to a file first")
        );
        let long = write(&at(&"x".repeat(300)), b"", 0o666).unwrap_err();
        assert!(is_one_of(&long, &[Errno::NAMETOOLONG]), "{long:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 6);
    }

    #[test]
    fn a_link_stays_and_what_it_names_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "old").unwrap();
        for (link, to) in [("one", "file"), ("two", "one"), ("dangling", "made")] {
            symlink(to, at(link)).unwrap();
        }
        for (link, file) in [("two", "file"), ("dangling", "made")] {
            write(&at(link), link.as_bytes(), 0o666).unwrap();
            assert!(fs::symlink_metadata(at(link)).unwrap().is_symlink());
            assert_eq!(fs::read(at(file)).unwrap(), link.as_bytes());
        }
        assert_eq!(source(&at("two")).unwrap(), at("file"));
        symlink("loop", at("loop")).unwrap();
        write(&at("loop"), b"", 0o666).unwrap_err();
    }

    #[test]
    fn a_lock_that_cannot_be_made_is_taken_on_what_is_there() {
        let error = open_lock(Path::new("/proc/self/none")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        // Nobody can write below it, and nobody can make a file there.
        if let Ok(file) = open_lock(Path::new("/sys/kernel/none")) {
            assert!(file.metadata().unwrap().is_dir());
        }
    }
}
