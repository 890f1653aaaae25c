//! The proof that a bundle may be used, which install and run require.
//!
//! There are two ways to one: the policy was met, or the user consented, which is recorded. It cannot be copied, so that
//! each use has its own check.

use std::collections::BTreeSet;

use async_trait::async_trait;
use samebundle_spec::record::Verification;
use samebundle_spec::signing::{
    KeyId, KeyRing, Level, Release, Right, Scope, SignatureFault, SignatureFormat,
};
use samebundle_spec::{BundleName, Descriptor};

use super::Attested;
use crate::store::Source;

/// A value that may be used, and why.
#[derive(Debug, PartialEq)]
pub struct Verified<T> {
    value: T,
    basis: Basis,
}

/// A value that is read through a descriptor, only by its digest, such as the bundle that an index holds.
#[async_trait]
pub trait Open: Sized {
    /// Why it cannot be read.
    type Error;

    /// Reads it.
    ///
    /// # Errors
    /// If it cannot be read, or does not have its format.
    async fn open(source: &dyn Source, descriptor: &Descriptor) -> Result<Self, Self::Error>;
}

/// Why a value may be used.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for a bundle in use, and most are the large one"
)]
pub enum Basis {
    /// The policy was met.
    Policy {
        /// The scope whose rule decided.
        scope: Scope,
        /// How strictly the rule is enforced.
        level: Level,
        /// The keys that signed the release; empty only if the rule does not insist.
        signers: Vec<Signer>,
        /// The release that they signed; `None` only if the rule does not insist.
        release: Option<Release>,
        /// The rights beyond the default that the rule grants.
        rights: BTreeSet<Right>,
        /// The form of a signature of another tool that sufficed; then nothing protects against rollback.
        bare: Option<SignatureFormat>,
        /// The required kinds that are attested.
        attested: Vec<Attested>,
        /// Faults that only warn at this level.
        warnings: Vec<SignatureFault>,
        /// The sequence of the newer release that was seen before, if this older one is allowed to follow it.
        downgraded_from: Option<u64>,
    },
    /// The user accepted it without a trusted signature.
    Consent {
        /// How the consent was given.
        reason: String,
    },
}

/// A trusted key that signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// Its names in the trust store; mostly one.
    pub names: Vec<BundleName>,
    /// Its id.
    pub id: KeyId,
}

impl Signer {
    pub(super) fn of(id: KeyId, keys: &KeyRing) -> Self {
        let names = keys.iter().filter(|(_, key)| key.id() == id);
        Self {
            names: names.map(|(name, _)| name.clone()).collect(),
            id,
        }
    }
}

impl Verified<Descriptor> {
    pub(super) fn new(value: Descriptor, basis: Basis) -> Self {
        Self { value, basis }
    }

    /// Accepts a bundle without a trusted signature, because the user consented. This must be recorded and shown.
    pub fn by_consent(value: Descriptor, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self {
            value,
            basis: Basis::Consent { reason },
        }
    }

    /// Reads the value that the verified descriptor names. This is the only way from the proof of a descriptor to the
    /// proof of its value, so a proof never stands for anything but the bytes that it was made for.
    ///
    /// # Errors
    /// Those of [`Open::open`].
    pub async fn open<T: Open>(self, source: &dyn Source) -> Result<Verified<T>, T::Error> {
        Ok(Verified {
            value: T::open(source, &self.value).await?,
            basis: self.basis,
        })
    }
}

impl<T> Verified<T> {
    /// The value.
    pub fn get(&self) -> &T {
        &self.value
    }

    /// Why it may be used.
    pub fn basis(&self) -> &Basis {
        &self.basis
    }

    /// The signed release, if there is one.
    pub fn release(&self) -> Option<&Release> {
        match &self.basis {
            Basis::Policy { release, .. } => release.as_ref(),
            Basis::Consent { .. } => None,
        }
    }

    /// The rights beyond the default that the signer's rule grants; none by consent.
    pub fn rights(&self) -> BTreeSet<Right> {
        match &self.basis {
            Basis::Policy { rights, .. } => rights.clone(),
            Basis::Consent { .. } => BTreeSet::new(),
        }
    }

    /// Returns value and basis, where the proof ends.
    pub fn into_parts(self) -> (T, Basis) {
        (self.value, self.basis)
    }

    /// The basis in words, for records.
    pub fn verification(&self) -> Verification {
        match &self.basis {
            Basis::Policy {
                signers,
                scope,
                release,
                ..
            } => Verification::Signature {
                keys: signers
                    .iter()
                    .map(|signer| {
                        signer
                            .names
                            .first()
                            .map_or_else(|| signer.id.to_string(), ToString::to_string)
                    })
                    .collect(),
                scope: scope.to_string(),
                sequence: release.as_ref().map_or(0, |release| release.sequence),
            },
            Basis::Consent { reason } => Verification::Consent {
                reason: reason.clone(),
            },
        }
    }
}
