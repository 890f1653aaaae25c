//! Trust: keys, policy, signing and verifying (`spec/300-signing.md`).
//!
//! | module | what |
//! | --- | --- |
//! | [`keys`] | secret and public key files: make, save, load, import |
//! | [`trust_store`] | trusted keys and policy on disk |
//! | [`attach`] | sign: attach a signature to a bundle, in the forms of cosign and notation |
//! | [`attest`] | documents attached to a bundle: attach, sign, verify |
//! | [`discover`] | find what is signed about a bundle |
//! | [`verify()`] | decide whether a bundle is trusted |
//! | [`verified`] | the proof of that, which install and run require |
//! | [`source`] | decide whether source in a git repository is trusted |
//! | [`receipt`] | what a site holds of a bundle, for the receipt that it signs |
//! | [`marks`] | the newest releases that were accepted, against rollback |
//!
//! Invariants: anything that cannot be found, read or understood leads to a refusal; an error of a lookup is never
//! "unsigned"; keys come from the trust store only. What a signature covers is the digest of the index; every store
//! re-hashes what it reads ([`SourceExt::fetch`](crate::store::SourceExt::fetch)), so it covers all blobs.

pub mod attach;
pub mod attest;
pub mod discover;
mod error;
mod guard;
pub mod keys;
pub mod marks;
pub mod receipt;
pub mod source;
pub mod trust_store;
pub mod verified;
pub mod verify;

pub use attach::{Attached, sign};
pub use attest::{Attested, verify_attestation};
pub use error::TrustError;
pub use guard::GuardError;
pub use keys::{KeyFileError, Passphrase};
pub use marks::{Marks, MarksError};
pub use source::TrustedSource;
pub use trust_store::{TrustStore, TrustStoreError};
pub use verified::{Basis, Open, Signer, Verified};
pub use verify::{Request, verify};
