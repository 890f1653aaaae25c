//! The invocation image: one layer with the static runner at `/cnab/app/run`, and the folder for outputs.

use samebundle_registry::Store;
use samebundle_registry::chunk::Codec;
use samebundle_spec::{Descriptor, MediaType};

use super::error::BuildError;
use super::image;
use super::tarball::{Entry, Tarball};
use crate::context::Context;
use crate::image::Image;
use crate::layer::Layer;

/// The path of the run tool that a CNAB runtime starts (cnab-spec 102).
const RUN: &str = "cnab/app/run";

/// Makes the image. It depends on the runner's bytes and this machine's architecture alone. Returns it with the chunk index
/// of its layer.
pub(super) async fn make(
    runner: &[u8],
    store: &dyn Store,
    context: &Context,
) -> Result<(Image, Option<Descriptor>), BuildError> {
    let mut tarball = Tarball::default();
    let mut add = |path: &str, entry| {
        // Both paths are constants of this module.
        if let Ok(path) = path.parse() {
            tarball.add(path, entry);
        }
    };
    add("cnab/app/outputs", Entry::Folder);
    add(
        RUN,
        Entry::Bytes {
            content: runner.to_vec(),
            executable: true,
        },
    );
    let written = tarball
        .write_in(&context.home.scratch(), MediaType::OCI_LAYER_GZIP, Codec::Gzip)
        .await?;
    let diff_id = written.diff_id;
    let Layer { layer, index } = written.push(store).await?;
    let image = image::compose(store, None, (layer, diff_id), |config| {
        config.config.cmd = vec![format!("/{RUN}")];
    });
    Ok((image.await?, index))
}
