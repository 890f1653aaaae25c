//! Source in a git repository: whether it is trusted is decided before it is built, because building executes its code.

use samebundle_spec::signing::{BundleOrigin, Refusal, SignatureFault, SignedSource, decide_source};
use samebundle_spec::{BundleName, Descriptor, Timestamp};

use super::{Basis, TrustStore, Verified, verify};

/// Source that may be built. The bundle that is built of it, here and now, may be used for the same reason.
#[derive(Debug, PartialEq)]
pub struct TrustedSource(Basis);

impl TrustedSource {
    /// Decides whether source from a place is trusted, by what was found of its signature.
    ///
    /// # Errors
    /// The refusal of the policy. A rule that demands attestations refuses, because they are made by the build itself.
    pub fn judge(
        trust: &TrustStore,
        place: &BundleOrigin,
        now: Timestamp,
        examined: Result<Option<SignedSource>, SignatureFault>,
    ) -> Result<Self, Refusal> {
        let decision = decide_source(trust.policy(), trust.keys(), place, now, examined)?;
        Ok(Self(verify::basis(decision, None, Vec::new(), trust)))
    }

    /// Decides again before the bundle that was built of the source is used. Its installation has the names of the keys that
    /// signed; one that was removed since, or has lost its rule, does not count any more. How old the signature may be was
    /// decided when it was installed.
    ///
    /// # Errors
    /// As [`TrustedSource::judge`].
    pub fn again(
        trust: &TrustStore,
        place: &BundleOrigin,
        now: Timestamp,
        signers: &[String],
    ) -> Result<Self, Refusal> {
        let known = |name: &String| trust.keys().get(&name.parse::<BundleName>().ok()?);
        let examined = match signers.first() {
            None => Ok(None),
            Some(name) => match known(name) {
                Some(key) => Ok(Some(SignedSource {
                    key: key.id(),
                    issued: now,
                })),
                None => Err(SignatureFault::UnknownKey { hint: name.clone() }),
            },
        };
        Self::judge(trust, place, now, examined)
    }

    /// Takes source without a trusted signature, because the user consented. This must be recorded and shown.
    pub fn by_consent(reason: impl Into<String>) -> Self {
        Self(Basis::Consent {
            reason: reason.into(),
        })
    }

    /// Makes the proof of the bundle that was built of the source.
    pub fn built(self, index: Descriptor) -> Verified<Descriptor> {
        Verified::new(index, self.0)
    }
}
