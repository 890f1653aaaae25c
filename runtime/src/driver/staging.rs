//! Where the inputs and outputs of one operation are on this machine. Only the code that makes an operation knows that;
//! drivers read inputs from here and return outputs.
//!
//! A driver of this machine [binds](Staging::bind) them: nothing is copied, and outputs are collected where they are
//! written. A driver of another machine [sends](Staging::send) inputs and [receives](Staging::receive) outputs, as
//! [parcels](super::parcel).

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use samebundle_registry::store::ByteStream;
use samebundle_spec::{Descriptor, Digest};
use serde::{Deserialize, Serialize};
use tokio_util::io::SyncIoBridge;

use super::{Content, Input, Operation, Output, opened, parcel};

/// Most bytes of a parcel that are buffered between two tasks.
const BUFFER: usize = 64 << 10;

/// The paths of an operation's inputs and outputs.
#[derive(Clone, Debug, Default)]
pub struct Staging {
    inputs: Vec<(Input, PathBuf)>,
    outputs: Vec<(Output, PathBuf)>,
    volumes: BTreeMap<String, PathBuf>,
    /// Unpacked layers that are in no store, by their digests.
    layers: Vec<(Digest, PathBuf)>,
}

/// A file or folder of this machine that a container sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// Absolute path on this machine.
    pub source: PathBuf,
    /// Absolute path in the container.
    pub target: String,
    /// Whether the container may write to it.
    pub writable: bool,
}

impl Staging {
    /// Sets the path of an input. Inputs that are given as bytes need none.
    pub fn input(&mut self, input: &Input, path: impl Into<PathBuf>) {
        self.inputs.push((input.clone(), path.into()));
    }

    /// Sets the path of an output: a folder, or the file of a layer. Whatever an earlier attempt left there is
    /// replaced.
    pub fn output(&mut self, output: &Output, path: impl Into<PathBuf>) {
        self.outputs.push((output.clone(), path.into()));
    }

    /// Sets the folder of a volume by its name.
    pub fn volume(&mut self, name: &str, path: impl Into<PathBuf>) {
        self.volumes.insert(name.to_owned(), path.into());
    }

    /// Sets the folder of an extra layer that is not in the store: it was made on this machine and is kept unpacked. Its
    /// digest names what it was made of, not the bytes of a tar; all of its files belong to root.
    pub fn layer(&mut self, layer: &Descriptor, folder: impl Into<PathBuf>) {
        self.layers.push((layer.digest, folder.into()));
    }

    /// Returns the folder of an extra layer, if it is not in the store.
    pub fn layer_folder(&self, layer: &Descriptor) -> Option<&Path> {
        let found = self.layers.iter().find(|(known, _)| *known == layer.digest);
        found.map(|(_, folder)| folder.as_path())
    }

    /// Makes the folders of the outputs and returns the binds of a container of this machine, parents first. `folder`
    /// is the container's own, for files that are given as bytes.
    ///
    /// # Errors
    /// If a file cannot be written, or the path of an input or output is not known.
    pub fn bind(&self, operation: &Operation, folder: &Path) -> io::Result<Vec<Bind>> {
        let mut binds = Vec::new();
        for output in &operation.outputs {
            let Output::Folder { target, folders } = output else {
                continue;
            };
            let source = self.place(output)?;
            make_folders(source, folders)?;
            binds.push(Bind {
                source: source.to_owned(),
                target: target.clone(),
                writable: true,
            });
        }
        for (number, input) in operation.inputs.iter().enumerate() {
            let source = match &input.content {
                Content::Bytes(bytes) => write(folder, number, bytes)?,
                Content::Files { files, mode } => write_all(folder, number, files, *mode)?,
                Content::Artifact { .. } | Content::Layer(_) => self.source(input)?.to_owned(),
            };
            binds.push(Bind {
                source,
                target: input.target.clone(),
                writable: false,
            });
        }
        for (number, volume) in operation.volumes.iter().enumerate() {
            let source = match &volume.name {
                Some(name) => self.volume_place(name)?.to_owned(),
                None => scratch(folder, number)?,
            };
            binds.push(Bind {
                source,
                target: volume.target.clone(),
                writable: true,
            });
        }
        binds.sort_by(|one, other| one.target.cmp(&other.target));
        Ok(binds)
    }

    /// Makes the outputs readable that a container of this machine left, whatever modes it gave them: only it knows the
    /// users in its image, and what it wrote is for the tasks after it. Drivers call this when a container has ended.
    pub async fn open_up(&self, operation: &Operation) {
        let folders = operation.outputs.iter().filter(|output| **output != Output::Root);
        let paths: Vec<PathBuf> = folders
            .filter_map(|output| self.place(output).ok().map(Path::to_owned))
            .collect();
        // It does not fail, so there is nothing to report.
        let _ =
            tokio::task::spawn_blocking(move || paths.iter().for_each(|path| opened::open_up(path))).await;
    }

    /// Returns the file for the layer of what a container wrote; none if it is not wanted.
    ///
    /// # Errors
    /// If it is wanted and its path is not known or cannot be made.
    pub fn root(&self, operation: &Operation) -> io::Result<Option<PathBuf>> {
        if !operation.outputs.contains(&Output::Root) {
            return Ok(None);
        }
        let path = self.place(&Output::Root)?;
        fs::create_dir_all(path.parent().unwrap_or(path))?;
        Ok(Some(path.to_owned()))
    }

    /// Streams an input as a parcel.
    ///
    /// # Errors
    /// If its path is not known. The stream ends early if the input cannot be read.
    pub fn send(&self, input: &Input) -> io::Result<ByteStream> {
        if let Content::Bytes(bytes) = &input.content {
            return Ok(Box::pin(io::Cursor::new(parcel::of_bytes(bytes)?)));
        }
        if let Content::Files { files, mode } = &input.content {
            return Ok(Box::pin(io::Cursor::new(parcel::of_files(files, *mode)?)));
        }
        let path = self.source(input)?.to_owned();
        Ok(stream(move |to| parcel::pack(&path, to)))
    }

    /// Receives an output: the parcel of a folder, or the bytes of a layer.
    ///
    /// # Errors
    /// If it is not valid, cannot be written, or its path is not known; then the output is not complete.
    pub async fn receive(&self, output: &Output, from: ByteStream) -> io::Result<()> {
        let path = self.place(output)?.to_owned();
        let from = SyncIoBridge::new(from);
        let is_folder = matches!(output, Output::Folder { .. });
        let received = tokio::task::spawn_blocking(move || {
            if is_folder {
                remove(&path)?;
                return parcel::unpack(from, &path);
            }
            let mut from = from;
            io::copy(&mut from, &mut fs::File::create(&path)?).map(|_| ())
        });
        received.await.map_err(io::Error::other)?
    }

    /// Streams the content of a volume as a parcel.
    ///
    /// # Errors
    /// If its path is not known. The stream ends early if the volume cannot be read.
    pub fn send_volume(&self, name: &str) -> io::Result<ByteStream> {
        let path = self.volume_place(name)?.to_owned();
        Ok(stream(move |to| parcel::pack(&path, to)))
    }

    /// Receives the content of a volume, a parcel, in place of what it had. What it had stays if the parcel is cut off.
    ///
    /// # Errors
    /// If it is not valid, cannot be written, or the path of the volume is not known.
    pub async fn receive_volume(&self, name: &str, from: ByteStream) -> io::Result<()> {
        let path = self.volume_place(name)?.to_owned();
        let from = SyncIoBridge::new(from);
        let received = tokio::task::spawn_blocking(move || {
            let mut partial = path.clone().into_os_string();
            partial.push(".partial");
            let partial = PathBuf::from(partial);
            remove(&partial)?;
            parcel::unpack(from, &partial)?;
            remove(&path)?;
            fs::rename(&partial, &path)
        });
        received.await.map_err(io::Error::other)?
    }

    fn volume_place(&self, name: &str) -> io::Result<&Path> {
        let found = self.volumes.get(name).map(PathBuf::as_path);
        found.ok_or_else(|| unknown(format!("volume {name}")))
    }

    fn source(&self, input: &Input) -> io::Result<&Path> {
        let found = self.inputs.iter().find(|(known, _)| known == input);
        found
            .map(|(_, path)| path.as_path())
            .ok_or_else(|| unknown(format!("input {}", input.target)))
    }

    fn place(&self, output: &Output) -> io::Result<&Path> {
        let found = self.outputs.iter().find(|(known, _)| known == output);
        found
            .map(|(_, path)| path.as_path())
            .ok_or_else(|| unknown(format!("{output:?}")))
    }
}

/// Streams what `pack` writes.
pub(super) fn stream(pack: impl FnOnce(&mut dyn io::Write) -> io::Result<()> + Send + 'static) -> ByteStream {
    let (ours, theirs) = tokio::io::duplex(BUFFER);
    let mut to = SyncIoBridge::new(theirs);
    tokio::task::spawn_blocking(move || {
        // The reader notices that the parcel is not complete.
        if let Err(error) = pack(&mut to).and_then(|()| to.shutdown()) {
            tracing::warn!("a parcel could not be sent: {error}");
        }
    });
    Box::pin(ours)
}

fn unknown(what: String) -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        format!("{what} has no place on this machine"),
    )
}

fn write(folder: &Path, number: usize, bytes: &[u8]) -> io::Result<PathBuf> {
    let inputs = folder.join("inputs");
    fs::create_dir_all(&inputs)?;
    let path = inputs.join(number.to_string());
    fs::write(&path, bytes)?;
    // The image's user is another one than that of this process.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    Ok(path)
}

/// Writes a folder of files. The folder above belongs to this process's user alone.
fn write_all(
    folder: &Path,
    number: usize,
    files: &BTreeMap<String, Vec<u8>>,
    mode: u32,
) -> io::Result<PathBuf> {
    let path = folder.join("inputs").join(number.to_string());
    fs::create_dir_all(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    for (name, bytes) in files {
        let file = path.join(name);
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        options.open(&file)?.write_all(bytes)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(mode))?;
    }
    Ok(path)
}

/// Makes an empty folder that ends with the container's own.
fn scratch(folder: &Path, number: usize) -> io::Result<PathBuf> {
    let path = folder.join("volumes").join(number.to_string());
    fs::create_dir_all(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777))?;
    Ok(path)
}

/// Makes an empty folder with folders in it, all of which any user of a container may write to.
fn make_folders(path: &Path, folders: &[String]) -> io::Result<()> {
    remove(path)?;
    fs::create_dir_all(path)?;
    let inner = folders.iter().map(|folder| path.join(folder));
    for folder in std::iter::once(path.to_owned()).chain(inner) {
        fs::create_dir_all(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777))?;
    }
    Ok(())
}

/// Removes a folder with everything in it, if it is there. Links are removed, not followed.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
