//! Writes the files of a commit from its objects, byte for byte.
//!
//! A checkout, and `git archive` as well, would run the filters that the repository's attributes name, and write other line
//! ends on other machines. Here equal commits are equal files. What no file of a bundle may be called is left out, and so
//! are submodules and symbolic links that lead outside.

use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::Path;

use samebundle_registry::PathError;
use samebundle_spec::bundle::parameter::nearest;
use samebundle_spec::git::{CommitId, GitPlace};
use samebundle_spec::{EntryPath, limits};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::ChildStdout;

use super::{Git, GitError};

/// How a pointer of Git LFS begins, which stands in place of a large file.
const LFS: &[u8] = b"version https://git-lfs.github.com/spec/";

/// What was written.
#[derive(Debug, Default)]
pub(crate) struct Exported {
    /// What is not there as the author has it, for people.
    pub notes: Vec<String>,
}

/// One file of a commit.
struct Entry {
    is_link: bool,
    is_program: bool,
    object: String,
    size: u64,
    path: EntryPath,
}

/// What a commit has.
#[derive(Default)]
struct Listing {
    entries: Vec<Entry>,
    submodules: Vec<String>,
    refused: Vec<String>,
}

/// Writes the files of a commit into a folder that is there and empty.
///
/// # Errors
/// If the folder or file of the place is not there, the source is too large, or it cannot be written.
pub(super) async fn export(
    git: &Git,
    place: &GitPlace,
    commit: &CommitId,
    folder: &Path,
) -> Result<Exported, GitError> {
    let words = ["ls-tree", "-r", "-z", "-l", "--full-tree", commit.as_str()];
    let printed = git.output("read", &words, limits::GIT_LISTING_BYTES).await?;
    let listing = Listing::read(&printed).ok_or_else(|| git.answer("its list of files"))?;
    check_size(git, &listing)?;
    check_path(git, place, commit, &listing)?;
    let failed = PathError::into::<GitError>("write", folder);
    let objects: String = listing
        .entries
        .iter()
        .map(|entry| format!("{}\n", entry.object))
        .collect();
    let entries = &listing.entries;
    let written = git.piped("read", git.batch(), objects.into_bytes(), async |stdout| {
        write_all(entries, stdout, folder).await
    });
    let pointers = written.await?.map_err(failed)?;
    let lost = outside(entries, folder).map_err(PathError::into::<GitError>("check", folder))?;
    let note = |what: &str, paths: &[String]| {
        let (first, count) = (paths.first()?, paths.len());
        Some(match count {
            1 => format!("{}: {first} {what}", git.url()),
            _ => format!("{}: {first} and {} more {what}", git.url(), count - 1),
        })
    };
    let notes = [
        note(
            "is left out: a submodule, which is a repository of its own",
            &listing.submodules,
        ),
        note(
            "is left out: its name is not safe on every system",
            &listing.refused,
        ),
        note(
            "is left out: a link that leads nowhere, or outside of the repository",
            &lost,
        ),
        note("is a pointer of Git LFS, whose content is not fetched", &pointers),
    ];
    Ok(Exported {
        notes: notes.into_iter().flatten().collect(),
    })
}

impl Listing {
    /// Reads what `git ls-tree -z -l` prints: mode, type, object and size, a tab, the path, and a zero.
    fn read(printed: &[u8]) -> Option<Self> {
        let mut listing = Self::default();
        for line in printed.split(|byte| *byte == 0).filter(|line| !line.is_empty()) {
            let text = String::from_utf8_lossy(line);
            let (facts, name) = text.split_once('\t')?;
            let facts: Vec<&str> = facts.split_whitespace().collect();
            let [mode, _, object, size] = facts.as_slice() else {
                return None;
            };
            let is_git = |part: &str| part.eq_ignore_ascii_case(".git");
            match (*mode, name.parse::<EntryPath>()) {
                ("160000", _) => listing.submodules.push(name.to_owned()),
                (_, Ok(path)) if !name.split('/').any(is_git) => listing.entries.push(Entry {
                    is_link: *mode == "120000",
                    is_program: *mode == "100755",
                    object: (*object).to_owned(),
                    size: size.parse().ok()?,
                    path,
                }),
                _ => listing.refused.push(name.escape_debug().to_string()),
            }
        }
        Some(listing)
    }
}

fn check_size(git: &Git, listing: &Listing) -> Result<(), GitError> {
    let bytes: u64 = listing
        .entries
        .iter()
        .map(|entry| entry.size)
        .fold(0, u64::saturating_add);
    let too_large = |found: String, most: String| GitError::TooLarge {
        url: git.url().to_owned(),
        found,
        most,
    };
    if listing.entries.len() > limits::GIT_FILES {
        let most = format!("{} files", limits::GIT_FILES);
        return Err(too_large(format!("{} files", listing.entries.len()), most));
    }
    if bytes > limits::GIT_BYTES {
        return Err(too_large(
            format!("{bytes} bytes"),
            format!("{} bytes", limits::GIT_BYTES),
        ));
    }
    Ok(())
}

/// Checks that the folder or file that is asked for is in the commit.
fn check_path(git: &Git, place: &GitPlace, commit: &CommitId, listing: &Listing) -> Result<(), GitError> {
    let Some(path) = place.path.as_ref().map(EntryPath::as_str) else {
        return Ok(());
    };
    let mut all = listing.entries.iter().map(|entry| entry.path.as_str());
    let is_here = |name: &str| {
        name.strip_prefix(path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if all.any(is_here) {
        return Ok(());
    }
    let folders = listing
        .entries
        .iter()
        .flat_map(|entry| Path::new(entry.path.as_str()).ancestors());
    let mut known: Vec<String> = folders
        .map(|path| path.display().to_string())
        .filter(|path| !path.is_empty())
        .collect();
    known.sort();
    known.dedup();
    Err(GitError::NoPath {
        url: git.url().to_owned(),
        path: path.to_owned(),
        reference: commit.to_string(),
        near: nearest(path, &known),
    })
}

/// Writes the files as git prints them, the links last, so that nothing is written through one. Returns the pointers of
/// Git LFS among them.
async fn write_all(entries: &[Entry], stdout: ChildStdout, folder: &Path) -> io::Result<Vec<String>> {
    let mut stdout = BufReader::with_capacity(limits::STREAM_BUFFER, stdout);
    let (mut links, mut pointers) = (Vec::new(), Vec::new());
    for entry in entries {
        let head = format!("{} blob {}\n", entry.object, entry.size);
        let mut line = String::new();
        (&mut stdout).take(head.len() as u64).read_line(&mut line).await?;
        if line != head {
            return Err(io::Error::other("git gave another object than was asked for"));
        }
        let path = folder.join(entry.path.as_str());
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        if entry.is_link {
            let size = entry.size.min(limits::PATH_BYTES as u64);
            let mut target = vec![0; size as usize];
            stdout.read_exact(&mut target).await?;
            skip(&mut stdout, entry.size - size).await?;
            links.push((path, String::from_utf8_lossy(&target).into_owned()));
        } else {
            let start = write_one(&mut stdout, entry, &path).await?;
            if start.starts_with(LFS) {
                pointers.push(entry.path.to_string());
            }
        }
        skip(&mut stdout, 1).await?;
    }
    for (path, target) in links {
        symlink(target, path)?;
    }
    Ok(pointers)
}

/// Writes one file, and returns how it begins.
async fn write_one(stdout: &mut BufReader<ChildStdout>, entry: &Entry, path: &Path) -> io::Result<Vec<u8>> {
    let mode = if entry.is_program { 0o755 } else { 0o644 };
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(mode).open(path)?;
    let mut start = Vec::new();
    let mut left = entry.size;
    while left > 0 {
        let piece = stdout.fill_buf().await?;
        if piece.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let count = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if start.is_empty() {
            start.extend_from_slice(&piece[..count.min(LFS.len())]);
        }
        file.write_all(&piece[..count])?;
        stdout.consume(count);
        left -= count as u64;
    }
    Ok(start)
}

async fn skip(stdout: &mut BufReader<ChildStdout>, mut left: u64) -> io::Result<()> {
    while left > 0 {
        let count = stdout
            .fill_buf()
            .await?
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        stdout.consume(count);
        left -= count as u64;
    }
    Ok(())
}

/// Removes the links that lead outside or nowhere, and returns them. What a link names is followed to its end, as whoever
/// opens it does.
fn outside(entries: &[Entry], folder: &Path) -> io::Result<Vec<String>> {
    let folder = folder.canonicalize()?;
    let mut lost = Vec::new();
    for entry in entries.iter().filter(|entry| entry.is_link) {
        let path = folder.join(entry.path.as_str());
        if !path
            .canonicalize()
            .is_ok_and(|target| target.starts_with(&folder))
        {
            std::fs::remove_file(&path)?;
            lost.push(entry.path.to_string());
        }
    }
    Ok(lost)
}
