//! Why a bundle cannot be signed or is not trusted.

use samebundle_spec::signing::{BundleOrigin, Predicate, Refusal};
use samebundle_spec::{BundleName, Classify, Digest, ErrorKind, Timestamp, Version, limits};

use super::MarksError;
use crate::store::StoreError;

/// Why a bundle cannot be signed or is not trusted. Every refusal is exit code 4; an error that prevented the check
/// keeps its own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// The signatures do not meet the policy.
    #[error("the bundle {subject} from {place} is not trusted: {refusal}{}", remedy(.place, .refusal))]
    Refused {
        /// The bundle's index.
        subject: Digest,
        /// The store that it comes from.
        place: BundleOrigin,
        /// Why.
        refusal: Refusal,
    },
    /// A required attestation does not exist, or is not signed by a trusted key.
    #[error(
        "{subject} has no {} attestation by a key of the rule: {why}; its publisher makes it with `build` and `sign`",
        kind.word()
    )]
    NotAttested {
        /// The bundle's index.
        subject: Digest,
        /// What kind.
        kind: Predicate,
        /// What is wrong with the last one that was tried.
        why: String,
    },
    /// A newer release was seen before.
    #[error(
        "{name} {found} (sequence {sequence}) is older than the release {newest} (sequence {newest_sequence}) that was seen before; \
         take a newer one, or allow the downgrade with --allow-downgrade"
    )]
    RolledBack {
        /// The bundle's name.
        name: BundleName,
        /// Its version.
        found: Version,
        /// Its sequence.
        sequence: u64,
        /// The newest version seen.
        newest: Version,
        /// The newest sequence seen.
        newest_sequence: u64,
    },
    /// The machine's clock is far behind a time that was trusted before.
    #[error(
        "this machine's clock says {now}, but {last} was seen before: it was set back; set it right, \
         or, if the earlier time was wrong, remove \"time\" from marks.json in the trust store"
    )]
    ClockSetBack {
        /// The clock's time.
        now: Timestamp,
        /// The last trusted time.
        last: Timestamp,
    },
    /// The index is not named by SHA-256, which signatures bind.
    #[error("{subject} is not a SHA-256 digest; signatures bind only those")]
    Algorithm {
        /// The bundle's index.
        subject: Digest,
    },
    /// There are so many signatures that trying them all would be an attack.
    #[error(
        "{subject} has {found} signatures, more than the {} that are tried; remove what does not belong there",
        limits::SIGNATURES
    )]
    TooMany {
        /// The bundle's index.
        subject: Digest,
        /// How many there are.
        found: usize,
    },
    /// It is not known whether there are signatures, which is not the same as "unsigned".
    #[error("could not look for signatures of {subject}")]
    Lookup {
        /// The bundle's index.
        subject: Digest,
        /// What failed.
        #[source]
        source: StoreError,
    },
    /// The record of releases that were seen could not be read or written.
    #[error(transparent)]
    Marks(#[from] MarksError),
    /// The statement cannot be signed.
    #[error("the statement cannot be signed: {why}")]
    Statement {
        /// What is wrong.
        why: String,
    },
    /// The signature could not be pushed.
    #[error("could not attach the signature to {subject}")]
    Attach {
        /// The bundle's index.
        subject: Digest,
        /// What failed.
        #[source]
        source: StoreError,
    },
}

/// What somebody can do about a bundle without a signature. The safe way comes first.
fn remedy(place: &BundleOrigin, refusal: &Refusal) -> &'static str {
    match (refusal, place) {
        (Refusal::Unsigned, BundleOrigin::Registry(_)) => {
            "; no signature is at this place: a copy by skopeo or crane leaves signatures behind, and `copy FIRST THIS` brings \
             them from the first place; otherwise its publisher signs it with `sign`, and --allow-unsigned takes it as it is"
        }
        (Refusal::Unsigned, BundleOrigin::Local) => {
            "; `sign NAME` signs what is your own, and its publisher signs what is not; --allow-unsigned takes it as it is"
        }
        _ => "",
    }
}

impl Classify for TrustError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused { refusal, .. } => refusal.kind(),
            Self::NotAttested { .. }
            | Self::RolledBack { .. }
            | Self::ClockSetBack { .. }
            | Self::Algorithm { .. }
            | Self::TooMany { .. } => ErrorKind::NotTrusted,
            // A signature that is listed but absent was stripped.
            Self::Lookup {
                source: StoreError::NotFound { .. },
                ..
            } => ErrorKind::NotTrusted,
            Self::Lookup { source, .. } | Self::Attach { source, .. } => source.kind(),
            Self::Marks(error) => error.kind(),
            Self::Statement { .. } => ErrorKind::Input,
        }
    }
}
