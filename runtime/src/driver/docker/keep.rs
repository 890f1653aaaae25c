//! Keeps what a container wrote into its root as a layer.
//!
//! The engine makes an image of the container and exports it; the last layer of that image holds what the container
//! wrote. It is written in the same form as by the embedded driver: all times are 0, and nothing that was mounted is in
//! it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use bollard::Docker;
use bollard::models::ContainerConfig;
use bollard::query_parameters::{CommitContainerOptionsBuilder, RemoveImageOptions};
use futures::StreamExt;
use samebundle_spec::limits;
use serde::Deserialize;

use crate::driver::{DriverError, Operation};
use crate::image::normalize;

const STEP: &str = "keep what the container wrote";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Manifest {
    layers: Vec<String>,
}

/// Writes the layer under another name, and renames it when it is complete.
pub(super) async fn keep_upper(
    engine: &Docker,
    container: &str,
    operation: &Operation,
    path: &Path,
    scratch: &Path,
) -> Result<(), DriverError> {
    let failed = |why: String| DriverError::Start {
        operation: STEP,
        container: operation.name.clone(),
        why,
    };
    let options = CommitContainerOptionsBuilder::default()
        .container(container)
        .pause(false)
        .build();
    let committed = engine.commit_container(options, ContainerConfig::default()).await;
    let image = committed.map_err(|error| failed(error.to_string()))?.id;
    let kept = keep(engine, &image, operation, path, scratch).await;
    let removed = engine
        .remove_image(&image, None::<RemoveImageOptions>, None)
        .await;
    kept.map_err(|error| failed(error.to_string()))?;
    removed.map(|_| ()).map_err(|error| failed(error.to_string()))
}

async fn keep(
    engine: &Docker,
    image: &str,
    operation: &Operation,
    path: &Path,
    scratch: &Path,
) -> io::Result<()> {
    std::fs::create_dir_all(scratch)?;
    let mut archive = tempfile::tempfile_in(scratch)?;
    let mut exported = std::pin::pin!(engine.export_image(image));
    while let Some(chunk) = exported.next().await {
        archive.write_all(&chunk.map_err(io::Error::other)?)?;
    }
    let left_out: BTreeSet<PathBuf> = operation
        .targets()
        .map(|target| PathBuf::from(target.trim_start_matches('/')))
        .collect();
    let path = path.to_owned();
    let task = tokio::task::spawn_blocking(move || take_last_layer(archive, &left_out, &path));
    task.await.map_err(io::Error::other)?
}

fn take_last_layer(mut archive: File, left_out: &BTreeSet<PathBuf>, path: &Path) -> io::Result<()> {
    let name = last_layer(&mut archive)?;
    archive.rewind()?;
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    for entry in tar::Archive::new(BufReader::new(archive)).entries()? {
        let mut entry = entry?;
        if entry.path_bytes().as_ref() == name.as_bytes() {
            let mut file = BufWriter::new(File::create(&partial)?);
            normalize(&mut entry, left_out, &mut file)?;
            file.flush()?;
            return std::fs::rename(&partial, path);
        }
    }
    Err(io::Error::other(format!("the engine's archive has no {name}")))
}

fn last_layer(archive: &mut File) -> io::Result<String> {
    archive.rewind()?;
    for entry in tar::Archive::new(BufReader::new(archive)).entries()? {
        let entry = entry?;
        if entry.path_bytes().as_ref() == b"manifest.json" {
            let manifest: Vec<Manifest> = serde_json::from_reader(entry.take(limits::MANIFEST_BYTES))?;
            let last = manifest
                .into_iter()
                .next()
                .and_then(|image| image.layers.into_iter().next_back());
            return last.ok_or_else(|| io::Error::other("the engine's archive names no layer"));
        }
    }
    Err(io::Error::other("the engine's archive has no manifest"))
}
