//! Why signatures do not make a bundle trusted.

use std::collections::BTreeSet;

use super::{BundleOrigin, KeyId, Scope, SignatureFormat};
use crate::{BundleName, Classify, Digest, ErrorKind, Repository, Timestamp, Version};

/// Why one signature does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    /// The document is not what it should be.
    #[error("the signature document cannot be read: {why}")]
    Unreadable {
        /// What is wrong.
        why: String,
    },
    /// Signed in a way that is not used for trust here.
    #[error("it is signed with {what}; only keys of the trust store count")]
    OtherMaterial {
        /// What it is signed with.
        what: &'static str,
    },
    /// No trusted key has this id.
    #[error("it is signed by {}, which nobody here trusts; if you do, add it with `trust add`", key_of(.hint))]
    UnknownKey {
        /// The document's hint at the key, shortened.
        hint: String,
    },
    /// The bytes were not signed by the key that they hint at.
    #[error("the signature of {} does not verify: the statement or the signature was altered", key_of(.hint))]
    BadSignature {
        /// The document's hint at the key, shortened.
        hint: String,
    },
    /// Signed, but it says something else than that this is a release.
    #[error("it is a statement of type {found:?}, which says nothing about a release")]
    OtherPredicate {
        /// The type, shortened.
        found: String,
    },
    /// Signed, but not a statement of the right form.
    #[error("the signed statement cannot be read: {why}")]
    BadStatement {
        /// What is wrong.
        why: String,
    },
    /// No rule says who should have signed.
    #[error("the policy has no rule for {place}")]
    NoRule {
        /// Where the bundle comes from.
        place: BundleOrigin,
    },
    /// A trusted key, but not for this.
    #[error(
        "key {}… is trusted, but not for {scope}; `trust add NAME FILE --scope {scope}`, FILE being that key, lets it sign \
         there, and `trust list` shows who may",
        key.short()
    )]
    KeyNotInRule {
        /// The key.
        key: KeyId,
        /// The scope whose rule was looked at.
        scope: Scope,
    },
    /// A trusted key in the form of a tool that the rule does not accept.
    #[error(
        "it is signed by {tool} with key {key}…, and that signature names no release; to take it all the same, add \
         \"accept\": [\"{tool}\"] to the rule for {scope} in policy.json of the trust store, or sign the bundle with `sign`",
        tool = form.word(), key = key.short()
    )]
    FormatNotAccepted {
        /// The key.
        key: KeyId,
        /// Whose form the signature has.
        form: SignatureFormat,
        /// The scope whose rule was looked at.
        scope: Scope,
    },
    /// The signature is about something else.
    #[error("the signature is about other content, {found}")]
    OtherContent {
        /// What it is about.
        found: Digest,
    },
    /// The right signature of another bundle.
    #[error("{expected} was asked for, but this is signed as {found}")]
    WrongName {
        /// The name that was asked for.
        expected: BundleName,
        /// The name that was signed.
        found: BundleName,
    },
    /// The right signature of another version.
    #[error("version {expected} was asked for, but this is signed as version {found}")]
    WrongVersion {
        /// The version that was asked for.
        expected: Version,
        /// The version that was signed.
        found: Version,
    },
    /// The statement binds itself to other repositories.
    #[error("the release may not be served from {found}")]
    WrongRepository {
        /// Where it was found.
        found: Repository,
    },
    /// Signed in the future.
    #[error("it was signed at {issued}, but now it is {now}: check this machine's clock")]
    NotYetValid {
        /// When it was signed.
        issued: Timestamp,
        /// The time.
        now: Timestamp,
    },
    /// No longer valid.
    #[error("it expired at {expires} (now {now}); ask the publisher for a fresh signature")]
    Expired {
        /// The last second in which it was valid.
        expires: Timestamp,
        /// The time.
        now: Timestamp,
    },
    /// Older than the rule takes.
    #[error("it was signed at {issued}, more than the {days} days ago that the policy allows")]
    TooOld {
        /// When it was signed.
        issued: Timestamp,
        /// The rule's limit, days.
        days: u32,
    },
}

impl SignatureFault {
    /// Tells whether the fault means that bytes are not what somebody signed; no level overlooks that.
    pub fn is_integrity(&self) -> bool {
        matches!(self, Self::BadSignature { .. } | Self::OtherContent { .. })
    }

    /// How close the signature came to counting: the closest one is shown to the user.
    fn closeness(&self) -> u8 {
        match self {
            Self::Expired { .. } | Self::NotYetValid { .. } | Self::TooOld { .. } => 9,
            Self::WrongName { .. } | Self::WrongVersion { .. } | Self::WrongRepository { .. } => 8,
            Self::KeyNotInRule { .. } | Self::FormatNotAccepted { .. } => 7,
            Self::NoRule { .. } => 6,
            Self::OtherContent { .. } => 5,
            Self::BadSignature { .. } => 4,
            Self::BadStatement { .. } | Self::Unreadable { .. } => 3,
            Self::UnknownKey { .. } => 2,
            Self::OtherPredicate { .. } => 1,
            Self::OtherMaterial { .. } => 0,
        }
    }
}

/// Why a bundle is not trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The policy's default is to reject.
    #[error("the policy has no rule for {place}{}; {}", signers(.signed_by), remedy(.place))]
    NoRule {
        /// Where the bundle comes from.
        place: BundleOrigin,
        /// The keys by which its signatures say that they are made. Nobody has checked that.
        signed_by: BTreeSet<KeyId>,
    },
    /// There is no signature at all.
    #[error("it is not signed")]
    Unsigned,
    /// The signatures are valid, but by fewer keys than the rule wants.
    #[error("{found} of the {wanted} different keys that the rule for {scope} wants have signed it")]
    TooFew {
        /// The rule's scope.
        scope: Scope,
        /// How many keys must sign.
        wanted: usize,
        /// How many did.
        found: usize,
    },
    /// None of the signatures counts; this one came closest.
    #[error("{fault}")]
    Signature {
        /// What is wrong with the one that came closest.
        fault: SignatureFault,
        /// What is wrong with the others.
        others: Vec<SignatureFault>,
    },
}

/// What somebody can do about a bundle that no rule is for: who made it signs it, who got it trusts who did.
/// Names the key that a signature hints at.
fn key_of(hint: &str) -> String {
    match (hint, KeyId::from_hint(hint)) {
        (_, Some(key)) => format!("key {}…", key.short()),
        ("", None) => "a key that it does not name".to_owned(),
        (hint, None) => format!("key {hint:?}"),
    }
}

fn signers(keys: &BTreeSet<KeyId>) -> String {
    let keys: Vec<String> = keys.iter().map(|key| format!("key {}…", key.short())).collect();
    match keys.as_slice() {
        [] => String::new(),
        keys => format!(" (its signature is by {})", keys.join(" and ")),
    }
}

fn remedy(place: &BundleOrigin) -> &'static str {
    match place {
        BundleOrigin::Registry(_) => {
            "add one with `trust add NAME FILE --scope SCOPE`, FILE being the publisher's public key, or `--from BUNDLE`, which \
             shows the key that signed it"
        }
        BundleOrigin::Local => {
            "for a bundle of somebody else, add one with `trust add NAME FILE`, FILE being the publisher's public key, or \
             `--from BUNDLE`, which shows the key that signed it; \
             your own is trusted here once you have signed it (`key generate`, `sign NAME`), or run its folder (`run DIR`)"
        }
    }
}

impl Refusal {
    /// The refusal for signatures all of which have faults; none means unsigned.
    pub(super) fn of(
        place: &BundleOrigin,
        signed_by: BTreeSet<KeyId>,
        mut faults: Vec<SignatureFault>,
    ) -> Self {
        faults.sort_by_key(|fault| std::cmp::Reverse(fault.closeness()));
        if faults.is_empty() {
            return Self::Unsigned;
        }
        match faults.remove(0) {
            SignatureFault::NoRule { .. } => Self::NoRule {
                place: place.clone(),
                signed_by,
            },
            fault => Self::Signature {
                fault,
                others: faults,
            },
        }
    }
}

impl Classify for Refusal {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoRule { .. } | Self::Unsigned | Self::TooFew { .. } | Self::Signature { .. } => {
                ErrorKind::NotTrusted
            }
        }
    }
}
