//! The samebundle format: bytes in, values out.
//!
//! This crate is pure. It opens no file or socket, reads no clock and no environment, and is not async. Every value that
//! comes from outside passes through one of its types once; code that holds such a value need not check it again.
//!
//! | module | what | source |
//! | --- | --- | --- |
//! | [`digest`], [`mod@reference`], [`media_type`], [`descriptor`] | names of blobs and manifests | OCI image-spec 1.1, distribution-spec 1.1 |
//! | [`manifest`], [`image_config`] | manifests, indexes, layouts, image configurations | OCI image-spec 1.1 |
//! | [`name`] | names and versions of bundles, entry paths | `spec/100-bundle.md` |
//! | [`json`], [`canonical`] | strict JSON; the one text that is signed | RFC 8259, RFC 7493, RFC 8785 |
//! | [`signing`] | keys, statements, envelopes, the trust policy | `spec/300-signing.md` |
//! | [`time`] | points in time | RFC 3339 |
//! | [`bundle`] | `bundle.json`, parameters, the bundle's index, our extension | cnab-spec 101, 103, 201 |
//! | [`authoring`], [`yaml`] | `samebundle.yaml`; strict YAML | `spec/100-bundle.md` |
//! | [`pipeline`] | KFP v2 pipelines: reading, checks and questions about them | `spec/400-programs.md` |
//! | [`chunks`] | the chunk index of a layer | `spec/210-chunks.md` |
//! | [`volume`] | the heads of the files that an archive is cut into | `spec/220-volumes.md` |
//! | [`limits`] | every size, count, depth and time taken from outside | |
//! | [`exit`] | exit codes and the kind of an error | `spec/600-exit-codes.md` |

#[cfg(feature = "full")]
pub mod approval;
#[cfg(feature = "full")]
pub mod authoring;
#[cfg(feature = "full")]
pub mod bundle;
pub mod canonical;
pub mod chunks;
pub mod descriptor;
pub mod digest;
pub mod exit;
#[cfg(feature = "full")]
pub mod git;
pub mod image_config;
pub mod json;
pub mod limits;
pub mod manifest;
pub mod media_type;
pub mod name;
#[cfg(feature = "full")]
pub mod parameter_type;
#[cfg(feature = "full")]
pub mod pipeline;
#[cfg(feature = "full")]
pub mod record;
pub mod reference;
#[cfg(any(test, feature = "schema"))]
pub mod schema;
#[cfg(feature = "full")]
pub mod signing;
pub mod text;
#[cfg(feature = "full")]
pub mod time;
#[cfg(test)]
mod vectors;
pub mod volume;
#[cfg(feature = "full")]
pub mod yaml;

#[cfg(feature = "full")]
pub use bundle::Bundle;
pub use chunks::{Chunk, ChunkIndex};
pub use descriptor::{Descriptor, Platform};
pub use digest::{Algorithm, Digest, Digester};
pub use exit::{Classify, ErrorKind};
pub use image_config::ImageConfig;
pub use manifest::{Document, Index, Manifest};
pub use media_type::MediaType;
pub use name::{BundleName, EntryPath, Version};
pub use reference::{Reference, Repository, Tag};
#[cfg(feature = "full")]
pub use time::Timestamp;
