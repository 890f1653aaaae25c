//! CNAB thick bundles (cnab-spec 104): `bundle.json`, and an OCI image layout below `artifacts/layout/`, in a gzip tar.
//!
//! They are written by other tools (Porter, cnab-go, signy) and only read here. The rules are those for archives of
//! other tools: other files may be in it, and are never used.

use std::path::Path;

use bytes::Bytes;
use samebundle_spec::limits;

use super::{ArchiveStore, read};
use crate::store::StoreError;
use crate::store::blocking::blocking;

const BUNDLE: &str = "bundle.json";
const RELOCATION: &str = "relocation-mapping.json";

const THICK: read::ReadOptions = read::ReadOptions {
    layout: "artifacts/layout/",
    files: &[
        (BUNDLE, limits::BUNDLE_JSON_BYTES),
        (RELOCATION, limits::BUNDLE_JSON_BYTES),
    ],
    ours: false,
    hash_later: false,
};

/// A thick bundle that was checked.
#[derive(Clone, Debug)]
pub struct ThickBundle {
    /// `bundle.json`, byte for byte.
    pub bundle_json: Bytes,
    /// Porter's `relocation-mapping.json`, if there is one.
    pub relocation_mapping: Option<Bytes>,
    /// The images, if the bundle has them. Entries are named by full references: see [`ArchiveStore::entries`].
    pub layout: Option<ArchiveStore>,
}

/// Opens a thick bundle and checks all of it. `quarantine` is a folder for a compressed one to be unpacked in.
///
/// # Errors
/// [`StoreError::Invalid`] or [`StoreError::Mismatch`] if anything in it is not as it must be, or if it has no
/// `bundle.json`.
pub async fn open(path: &Path, quarantine: &Path) -> Result<ThickBundle, StoreError> {
    let (path, quarantine) = (path.to_owned(), quarantine.to_owned());
    blocking(move || {
        let mut inventory = read::read(&path, &quarantine, THICK)?;
        let bundle_json = inventory
            .files
            .remove(BUNDLE)
            .ok_or_else(|| StoreError::Invalid {
                subject: format!("thick bundle {}", path.display()),
                why: "bundle.json is not at its top".to_owned(),
            })?;
        let relocation_mapping = inventory.files.remove(RELOCATION).map(Bytes::from);
        let layout = inventory
            .index
            .is_some()
            .then(|| ArchiveStore::new(path, inventory));
        Ok(ThickBundle {
            bundle_json: Bytes::from(bundle_json),
            relocation_mapping,
            layout,
        })
    })
    .await
}
