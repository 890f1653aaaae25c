//! Stores of blobs and manifests: keep, find, copy and trust them.
//!
//! Everything is a [`Descriptor`](samebundle_spec::Descriptor) in a graph: an index points at manifests, a manifest at its
//! config and layers, a referrer at its subject. Four kinds of store hold such graphs (memory, an OCI layout directory, an
//! archive, a registry) behind the same small traits in [`store`]; one function copies them.
//!
//! This crate never prints, exits, reads the environment or asks the time.

pub mod archive;
pub mod chunk;
pub mod copy;
pub mod durable;
mod graph;
pub mod layout;
mod path_error;
pub mod remote;
#[cfg(any(test, feature = "server"))]
pub mod server;
pub mod staged;
pub mod store;
pub mod trust;

pub use copy::copy;
pub use path_error::{NotAFile, PathError};
pub use store::{Origin, Referrers, Resolve, Sink, Source, Store, StoreError, Tags, Target};
