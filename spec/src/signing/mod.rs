//! Keys, statements, envelopes and the trust policy (`spec/300-signing.md`). Pure: randomness and time are passed in.
//!
//! | module | what | source |
//! | --- | --- | --- |
//! | [`key`] | Ed25519 and P-256 keys, strict verification, key ids | RFC 8032, RFC 8410, FIPS 186-5 |
//! | [`statement`] | what is signed: a release | in-toto Statement v1 |
//! | [`dsse`] | how it is signed | DSSE 1.0 |
//! | [`sigstore`] | the document that holds the signature | sigstore bundle v0.3 |
//! | [`cosign`] | the second form, for cosign's tag scheme | containers/image simple signing |
//! | [`notation`], [`certificate`] | the form for notation | Notary Project signature specification, RFC 5280 |
//! | [`foreign`] | signatures that others made, which name a digest alone | |
//! | [`attestation`] | other statements about a bundle: provenance, bill of materials | SLSA v1, SPDX 2.3 |
//! | [`receipt`] | the statement of a site about a bundle that reached it | SLSA verification summary v1 |
//! | [`scope`], [`policy`] | whose signatures are trusted for which origin | |
//! | [`source`] | what git signs: tags and commits | OpenSSH PROTOCOL.sshsig |
//! | [`decide()`], [`refusal`] | the decision | |

pub mod approvers;
pub mod attestation;
pub mod certificate;
pub mod cosign;
pub mod decide;
pub mod dsse;
pub mod foreign;
pub mod key;
pub mod notation;
pub mod policy;
pub mod receipt;
pub mod refusal;
pub mod scope;
pub mod sigstore;
pub mod source;
pub mod statement;
#[cfg(test)]
mod vectors;

pub use approvers::Approvers;
pub use attestation::{Attestation, Predicate, attested};
pub use decide::{Decision, Expected, Question, Signed, decide, examine, examine_with};
pub use dsse::Envelope;
pub use foreign::{Bare, SignatureFormat};
pub use key::{KeyAlgorithm, KeyError, KeyId, PublicKey, SigningKey};
pub use policy::{ApprovalRule, KeyRing, Level, Policy, PolicyError, Right, Rule};
pub use receipt::{Outcome, Receipt, Summary};
pub use refusal::{Refusal, SignatureFault};
pub use scope::{BundleOrigin, Scope, ScopeError};
pub use sigstore::{Bundle, BundleError};
pub use source::{GitObject, SignedSource, decide_source, examine_source};
pub use statement::{RELEASE_TYPE, Release, Statement, StatementError};
