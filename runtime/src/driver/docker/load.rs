//! Loads images from the store into the engine: the archive for `docker load` is made while it is sent.
//!
//! The archive has the image's configuration, its layers and a `manifest.json` (Docker image-spec 1.2). Gzip and plain
//! layers are sent as they are; zstd, which Docker 20.10 cannot read, and layers without a known diff id are unpacked
//! into a temporary file first. Every layer is read here once before the engine gets it, which then checks it against
//! the configuration again.

use std::io::{self, Seek};
use std::path::Path;
use std::sync::Arc;

use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::ImportImageOptionsBuilder;
use futures::StreamExt;
use samebundle_registry::store::{ByteStream, Source, SourceExt};
use samebundle_spec::{Algorithm, Descriptor, Digest, ImageConfig, MediaType, limits};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::runtime::Handle;
use tokio_util::io::{InspectReader, ReaderStream, SyncIoBridge};

use super::failed;
use crate::driver::{DriverError, Operation, Staging};
use crate::event::Events;
use crate::image::{Image, ImageError, Layer, pack_folder, scan, write_plain};
use crate::meter::Meter;

/// The repository of our images in an engine.
const REPOSITORY: &str = "samebundle/image";

/// A layer ready to be sent.
enum Ready {
    /// The layer as the store has it.
    Stored(Box<Layer>),
    /// The unpacked layer.
    Plain(std::fs::File, u64),
}

impl Ready {
    /// The size of what is sent, bytes.
    fn size(&self) -> u64 {
        match self {
            Self::Stored(layer) => layer.blob.size,
            Self::Plain(_, size) => *size,
        }
    }
}

/// Loads an image with the operation's extra layers unless the engine has it, and returns its name there.
pub(super) async fn ensure(
    engine: &Docker,
    source: &Arc<dyn Source>,
    image: &Image,
    (operation, staging): (&Operation, &Staging),
    scratch: &Path,
    events: &dyn Events,
) -> Result<String, DriverError> {
    let name = name(image, operation)?;
    match engine.inspect_image(&name).await {
        Ok(_) => return Ok(name),
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => {}
        Err(error) => return Err(failed("look for the image", &operation.name)(error)),
    }
    let mut layers = Vec::new();
    for layer in &image.layers {
        layers.push(ready(source, layer.clone(), scratch).await?);
    }
    for layer in &operation.extra_layers {
        layers.push(match staging.layer_folder(layer) {
            Some(folder) => packed(folder, scratch).await?,
            None => ready(source, Layer::single(layer), scratch).await?,
        });
    }
    let mut config = image.config.clone();
    config.rootfs.diff_ids = layers.iter().map(|(_, diff_id)| *diff_id).collect();
    let config = document(config, operation)?;
    for (layer, _) in &layers {
        if let Ready::Stored(layer) = layer {
            check(source, Layer::clone(layer)).await?;
        }
    }
    let bytes = layers.iter().map(|(layer, _)| layer.size()).sum();
    let meter = Meter::new(
        "load the image into the engine",
        Some(layers.len() as u64),
        Some(bytes),
    );
    let sent = send(engine, source, &name, &config, layers, &meter);
    meter
        .watch(events, sent)
        .await
        .map_err(|error| DriverError::Start {
            operation: "load the image into the engine",
            container: operation.name.clone(),
            why: error.to_string(),
        })?;
    Ok(name)
}

/// Names an image by what it is made of: its configuration, and the digests of the extra layers. So nothing is unpacked
/// to find out that the engine has it.
fn name(image: &Image, operation: &Operation) -> Result<String, DriverError> {
    let mut made_of = document(image.config.clone(), operation)?;
    let extra = operation.extra_layers.iter().map(|layer| layer.digest);
    for digest in image.layers.iter().map(|layer| layer.blob.digest).chain(extra) {
        made_of.extend_from_slice(format!("\n{digest}").as_bytes());
    }
    Ok(format!("{REPOSITORY}:{}", Digest::sha256(&made_of).hex()))
}

/// Writes a configuration. A history that does not fit the layers makes an engine refuse the image.
fn document(mut config: ImageConfig, operation: &Operation) -> Result<Vec<u8>, DriverError> {
    config.history.clear();
    serde_json::to_vec(&config).map_err(|error| DriverError::Image {
        image: operation.image.digest,
        why: error.to_string(),
    })
}

/// Packs a layer that was made on this machine. The engine gets it once; no tar of it is kept.
async fn packed(folder: &Path, scratch: &Path) -> Result<(Ready, Digest), DriverError> {
    let (folder, scratch) = (folder.to_owned(), scratch.to_owned());
    let task = tokio::task::spawn_blocking(move || {
        std::fs::create_dir_all(&scratch)?;
        let mut file = tempfile::tempfile_in(&scratch)?;
        pack_folder(&folder, io::BufWriter::new(&file))?;
        file.rewind()?;
        let (diff_id, size) = Digest::of_reader(Algorithm::Sha256, &file)?;
        file.rewind()?;
        Ok((Ready::Plain(file, size), diff_id))
    });
    let packed = task
        .await
        .map_err(io::Error::other)
        .and_then(std::convert::identity);
    packed.map_err(|error| DriverError::Start {
        operation: "pack a layer of packages for",
        container: "the engine".to_owned(),
        why: error.to_string(),
    })
}

async fn ready(
    source: &Arc<dyn Source>,
    layer: Layer,
    scratch: &Path,
) -> Result<(Ready, Digest), DriverError> {
    match layer.diff_id {
        Some(diff_id) if !layer.is_zstd() => Ok((Ready::Stored(Box::new(layer)), diff_id)),
        _ => {
            let (file, size, diff_id) = plain(source, layer, scratch).await?;
            Ok((Ready::Plain(file, size), diff_id))
        }
    }
}

async fn plain(
    source: &Arc<dyn Source>,
    layer: Layer,
    scratch: &Path,
) -> Result<(std::fs::File, u64, Digest), ImageError> {
    let (source, scratch, handle) = (Arc::clone(source), scratch.to_owned(), Handle::current());
    let blob = layer.blob.digest;
    let task = tokio::task::spawn_blocking(move || {
        let stream = handle
            .block_on(source.fetch(&layer.blob))
            .map_err(|source| ImageError::Content {
                content: blob,
                source,
            })?;
        std::fs::create_dir_all(&scratch).map_err(ImageError::io("make", &scratch))?;
        let mut file = tempfile::tempfile_in(&scratch).map_err(ImageError::io("make a file in", &scratch))?;
        let bytes = SyncIoBridge::new_with_handle(stream, handle);
        let broken = |error| ImageError::unpacking(blob, &scratch, error);
        let diff_id = write_plain(&layer, bytes, &mut file).map_err(broken)?;
        let size = file.stream_position().map_err(broken)?;
        file.rewind().map_err(broken)?;
        let plain = Layer::single(&Descriptor::new(MediaType::OCI_LAYER, diff_id, size));
        scan(&plain, &file).map_err(broken)?;
        file.rewind().map_err(broken)?;
        Ok((file, size, diff_id))
    });
    task.await.map_err(|error| ImageError::Layer {
        layer: blob,
        why: error.to_string(),
    })?
}

/// Reads a layer once before the engine does, because the engine strips what is refused here, and reads on after what
/// it does not refuse.
async fn check(source: &Arc<dyn Source>, layer: Layer) -> Result<(), ImageError> {
    let (blob, handle) = (layer.blob.digest, Handle::current());
    let stream = source.fetch(&layer.blob).await;
    let stream = stream.map_err(|source| ImageError::Content {
        content: blob,
        source,
    })?;
    let task =
        tokio::task::spawn_blocking(move || scan(&layer, SyncIoBridge::new_with_handle(stream, handle)));
    let scanned = task
        .await
        .map_err(io::Error::other)
        .and_then(std::convert::identity);
    scanned.map_err(|error| ImageError::Layer {
        layer: blob,
        why: error.to_string(),
    })
}

async fn send(
    engine: &Docker,
    source: &Arc<dyn Source>,
    name: &str,
    config: &[u8],
    layers: Vec<(Ready, Digest)>,
    meter: &Meter,
) -> io::Result<()> {
    let (writer, reader) = tokio::io::duplex(limits::STREAM_BUFFER);
    let options = ImportImageOptionsBuilder::default().quiet(true).build();
    let body = ReaderStream::with_capacity(reader, limits::STREAM_BUFFER);
    let mut answers = std::pin::pin!(engine.import_image_stream(options, body, None));
    let answered = async {
        while let Some(answer) = answers.next().await {
            let answer = answer.map_err(io::Error::other)?;
            if let Some(detail) = answer.error_detail.and_then(|detail| detail.message) {
                return Err(io::Error::other(detail));
            }
        }
        Ok(())
    };
    let (written, answered) = tokio::join!(write(writer, source, name, config, layers, meter), answered);
    // The engine's answer says more than the error that it closed the stream.
    answered.and(written)
}

async fn write(
    mut to: impl AsyncWrite + Unpin,
    source: &Arc<dyn Source>,
    name: &str,
    config: &[u8],
    layers: Vec<(Ready, Digest)>,
    meter: &Meter,
) -> io::Result<()> {
    let config_name = format!("{}.json", Digest::sha256(config).hex());
    entry(&mut to, &config_name, config.len() as u64, config).await?;
    let count = |bytes: &[u8]| meter.add_bytes(bytes.len() as u64);
    let mut names = Vec::new();
    for (number, (layer, _)) in layers.into_iter().enumerate() {
        let name = format!("{number:03}/layer.tar");
        match layer {
            Ready::Stored(layer) => {
                let stream: ByteStream = source.fetch(&layer.blob).await.map_err(io::Error::other)?;
                let counted = InspectReader::new(stream, count);
                entry(&mut to, &name, layer.blob.size, counted).await?;
            }
            Ready::Plain(file, size) => {
                let file = tokio::fs::File::from_std(file);
                let counted = InspectReader::new(file, count);
                entry(&mut to, &name, size, counted).await?;
            }
        }
        meter.add_parts(1);
        names.push(name);
    }
    let manifest = json!([{ "Config": config_name, "RepoTags": [name], "Layers": names }]).to_string();
    entry(
        &mut to,
        "manifest.json",
        manifest.len() as u64,
        manifest.as_bytes(),
    )
    .await?;
    to.write_all(&[0; 1_024]).await?;
    to.shutdown().await
}

/// Writes one file of a tar.
async fn entry(
    to: &mut (impl AsyncWrite + Unpin),
    name: &str,
    size: u64,
    mut content: impl AsyncRead + Unpin,
) -> io::Result<()> {
    const BLOCK: u64 = 512;
    let mut header = tar::Header::new_gnu();
    header.set_path(name)?;
    header.set_mode(0o644);
    header.set_size(size);
    header.set_mtime(0);
    header.set_cksum();
    to.write_all(header.as_bytes()).await?;
    let written = tokio::io::copy(&mut content, to).await?;
    if written != size {
        return Err(io::Error::other(format!(
            "{name} has {written} bytes, not {size}"
        )));
    }
    let padding = usize::try_from(written.next_multiple_of(BLOCK) - written).unwrap_or(0);
    to.write_all(&[0; BLOCK as usize][..padding]).await
}
