//! Data of a program: it stays where it is, or a file that the bundle carries.

use serde::Deserialize;

use crate::bundle::program::DataPointer;
use crate::{BundleName, Digest, EntryPath};

/// Why an entry of `data` is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    /// Both or neither of the two ways, or one of them in part.
    #[error(
        "data needs either \"file\" (the bundle carries it; a \"uri\" says what address it stands for), or \"uri\", \"digest\" and \"size\" (it stays where it is)"
    )]
    OneOf,
    /// The name of a file that is carried is part of a path in containers.
    #[error("{name:?} cannot name data that is carried: {why}")]
    Name {
        /// The name, shortened.
        name: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Data of a program.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "DataEntry")]
pub enum Data {
    /// It stays where it is.
    Pointer(DataPointer),
    /// The bundle carries it.
    File(DataFile),
}

/// A file that the bundle carries as a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFile {
    /// The name by which the program knows it.
    pub name: BundleName,
    /// Where it is, relative to the folder of `samebundle.yaml`.
    pub file: EntryPath,
    /// The address that it stands for: an importer of that address takes it from the bundle.
    pub uri: Option<String>,
}

impl Data {
    /// The name by which the program knows it.
    pub fn name(&self) -> &str {
        match self {
            Self::Pointer(pointer) => &pointer.name,
            Self::File(file) => file.name.as_str(),
        }
    }
}

/// The fields of both ways.
#[derive(Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct DataEntry {
    /// The name by which the program knows it.
    name: String,
    /// A file that travels along, relative to this file's folder.
    file: Option<EntryPath>,
    /// Where it is; of a file that travels along, the address that it stands for.
    uri: Option<String>,
    /// Its digest.
    digest: Option<Digest>,
    /// Its size, bytes.
    size: Option<u64>,
}

impl TryFrom<DataEntry> for Data {
    type Error = DataError;

    fn try_from(entry: DataEntry) -> Result<Self, DataError> {
        let DataEntry {
            name,
            file,
            uri,
            digest,
            size,
        } = entry;
        match (file, uri, digest, size) {
            (Some(file), uri, None, None) => match name.parse() {
                Ok(name) => Ok(Self::File(DataFile { name, file, uri })),
                Err(error) => Err(DataError::Name {
                    name: name.chars().take(100).collect(),
                    why: error.to_string(),
                }),
            },
            (None, Some(uri), Some(digest), Some(size)) => Ok(Self::Pointer(DataPointer {
                name,
                uri,
                digest,
                size,
            })),
            _ => Err(DataError::OneOf),
        }
    }
}
