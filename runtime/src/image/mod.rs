//! OCI images as files: read a manifest, unpack its layers, pack what a container wrote.
//!
//! Layout on disk: `layers/<diff id hex>/` holds one unpacked layer in overlayfs form, made once and shared by all
//! containers (`layers/user/…` when unpacked without root, because ownership and whiteouts differ then). A layer has
//! its name only when it is complete: it is made in another folder, which is then renamed.
//!
//! Invariants: content is checked against its descriptor while it streams and against the diff id of the image's config
//! before the layer gets its name; nothing in a layer can reach outside its folder ([`beneath`]). Concurrency: one
//! kernel lock for each layer, so any number of processes may ask for the same. Failure: a kill leaves a folder that
//! ends in `.partial`, which the next process that takes the lock removes.

pub mod account;
pub mod beneath;
mod error;
mod layers;
mod normalize;
mod pack;
mod read;
pub(crate) mod stream;
#[cfg(test)]
mod tests;
mod unpack;
mod whiteout;

pub use error::ImageError;
pub use layers::Layers;
pub use normalize::normalize;
pub use pack::{pack, pack_folder};
pub use read::{Image, Layer, architecture, read};
pub use stream::write_plain;
pub use unpack::scan;
pub use whiteout::{LayerOwner, is_opaque};
