//! Data that a bundle carries: each file becomes a layer of the content artifact, a zstd stream in chunks.

use std::fs::File;
use std::io;
use std::path::Path;

use samebundle_registry::chunk::Codec;
use samebundle_spec::MediaType;
use samebundle_spec::authoring::{Data, DataFile};
use samebundle_spec::bundle::program::CarriedData;

use super::error::BuildError;
use super::{BuildInputs, is_inside, step};
use crate::context::Context;
use crate::layer::{self, Layer};

/// Writes the files into the store, in the order of their names.
pub(super) async fn carry(
    inputs: &BuildInputs<'_>,
    data: &[Data],
    context: &Context,
) -> Result<Vec<(CarriedData, Layer)>, BuildError> {
    let mut files: Vec<&DataFile> = data
        .iter()
        .filter_map(|data| match data {
            Data::File(file) => Some(file),
            Data::Pointer(_) => None,
        })
        .collect();
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let mut carried = Vec::new();
    for file in files {
        step(context, &format!("pack data {}", file.name));
        carried.push(carry_one(inputs, file, context).await?);
    }
    Ok(carried)
}

/// Checks that the files are there, as [`carry`] does before it reads them.
pub(super) fn check(sources: &Path, data: &[Data]) -> Result<(), BuildError> {
    for data in data {
        if let Data::File(file) = data {
            open(sources, file)?;
        }
    }
    Ok(())
}

fn open(sources: &Path, file: &DataFile) -> Result<File, BuildError> {
    let path = sources.join(file.file.as_str());
    let unreadable = |source| BuildError::Read {
        path: path.clone(),
        source,
    };
    if !is_inside(&path, sources).map_err(unreadable)? {
        let why = "it leads outside the bundle's folder; copy it into the folder";
        return Err(unreadable(io::Error::other(why)));
    }
    // Before it is opened, because a pipe would wait.
    if !path.metadata().map_err(unreadable)?.is_file() {
        return Err(unreadable(io::Error::other(
            "it is not a file; pack a folder into one",
        )));
    }
    File::open(&path).map_err(unreadable)
}

async fn carry_one(
    inputs: &BuildInputs<'_>,
    file: &DataFile,
    context: &Context,
) -> Result<(CarriedData, Layer), BuildError> {
    let mut source = open(inputs.sources, file)?;
    let scratch = context.home.scratch();
    let written = layer::write_in(&scratch, MediaType::DATA, Codec::Zstd, move |mut to| {
        io::copy(&mut source, &mut to).map(drop)
    })
    .await?;
    let described = CarriedData {
        name: file.name.clone(),
        layer: written.descriptor.digest,
        digest: written.diff_id,
        size: written.plain_size,
        uri: file.uri.clone(),
    };
    Ok((described, written.push(&**inputs.store).await?))
}
