//! Verification: finds the signatures of a bundle, and checks them against the policy and the marks.

use std::collections::BTreeSet;

use samebundle_spec::signing::{
    BundleOrigin, Decision, Expected, Predicate, Question, Refusal, SignatureFault, SignatureFormat, Signed,
    decide, examine, foreign,
};
use samebundle_spec::{Algorithm, Descriptor, Timestamp};

use super::{Basis, Marks, Signer, TrustError, TrustStore, Verified, attest, discover};
use crate::store::{Origin, StoreError};

/// A request to verify a bundle.
#[derive(Clone, Debug)]
pub struct Request {
    /// The bundle's index, resolved to its digest once and used by that from then on.
    pub subject: Descriptor,
    /// The location of the bundle, which chooses the rule.
    pub place: BundleOrigin,
    /// What the caller expects of it, e.g. from the requested tag.
    pub expected: Expected,
    /// The clock's time.
    pub now: Timestamp,
    /// The user allowed that an older release follows a newer one. The result is recorded.
    pub allow_downgrade: bool,
    /// Kinds that must be attested in addition to those of the rule.
    pub attested: BTreeSet<Predicate>,
    /// Whether the release is recorded in the marks now. Otherwise it is only compared with them, and whoever uses the
    /// bundle verifies it again when that has succeeded.
    pub record: bool,
}

impl Request {
    /// Makes a request for a bundle from a location, without expectations and with no downgrade allowed.
    pub fn new(subject: Descriptor, place: BundleOrigin, now: Timestamp) -> Self {
        Self {
            subject,
            place,
            expected: Expected::default(),
            now,
            allow_downgrade: false,
            attested: BTreeSet::new(),
            record: true,
        }
    }
}

/// Decides whether a bundle is trusted, and records its release in the marks if the request says so.
///
/// On success the descriptor is proven to be the one that the policy's keys signed. It binds all blobs by digest;
/// whatever is read through it must be read with [`SourceExt::fetch`](crate::store::SourceExt::fetch), which re-hashes.
///
/// # Errors
/// [`TrustError::Refused`] and the other refusals; [`TrustError::Lookup`] if the store could not be read, with its own
/// kind of error; it never counts as "unsigned".
pub async fn verify<S>(
    source: &S,
    request: Request,
    trust: &TrustStore,
    marks: &Marks,
) -> Result<Verified<Descriptor>, TrustError>
where
    S: Origin + ?Sized,
{
    let subject = &request.subject;
    if subject.digest.algorithm() != Algorithm::Sha256 {
        return Err(TrustError::Algorithm {
            subject: subject.digest,
        });
    }
    let now = blocking(marks, move |marks| marks.time(request.now)).await?;
    let found = discover::signatures(source, subject).await?;
    let examined: Vec<_> = found
        .documents
        .iter()
        .map(|document| examine(document, trust.keys()))
        .collect();
    let question = Question {
        subject,
        place: &request.place,
        expected: &request.expected,
        now,
    };
    let decided = decide(trust.policy(), trust.keys(), question, &examined);
    let decision = match decided {
        Ok(decision) => decision,
        Err(refusal) if may_be_bare(&refusal, &examined, &found) => {
            bare(source, question, trust, &found, refusal).await?
        }
        Err(refusal) => return Err(refused(&request, refusal, found.missed)),
    };
    let wanted: BTreeSet<Predicate> = request.attested.union(&decision.rule.attested).copied().collect();
    let mut attested = Vec::new();
    for kind in wanted {
        let rule = &decision.rule;
        attested.push(attest::verify_attestation(source, subject, kind, rule, trust).await?);
    }
    let downgrade = request.allow_downgrade || decision.rule.allow_downgrade;
    let record = request.record;
    let compared = blocking(marks, move |marks| {
        let from = match &decision.statement {
            None => None,
            Some(statement) if record => marks.advance(&decision, &statement.release, now, downgrade)?,
            Some(statement) => marks.compare(&decision, &statement.release, downgrade)?,
        };
        Ok((decision, from))
    })
    .await;
    let (decision, downgraded_from) = compared.map_err(|error| expired(error, &request, &examined, now))?;
    let basis = basis(decision, downgraded_from, attested, trust);
    Ok(Verified::new(request.subject, basis))
}

/// Where the release that a mark stands for is signed here, and that signature has expired, this is the reason; not that an
/// earlier signature of the same content is older.
fn expired(
    error: TrustError,
    request: &Request,
    examined: &[Result<Signed, SignatureFault>],
    now: Timestamp,
) -> TrustError {
    let TrustError::RolledBack { newest_sequence, .. } = &error else {
        return error;
    };
    let subject = request.subject.digest;
    let statements = examined.iter().flatten().map(|signed| &signed.statement);
    let mut newest = statements
        .filter(|one| one.subject == subject && one.release.sequence == *newest_sequence)
        .filter_map(|one| one.release.expires);
    match newest.find(|expires| now.whole_seconds() > *expires) {
        Some(expires) => TrustError::Refused {
            subject,
            place: request.place.clone(),
            refusal: Refusal::Signature {
                fault: SignatureFault::Expired { expires, now },
                others: Vec::new(),
            },
        },
        None => error,
    }
}

/// Tells whether signatures without a release statement are to be looked for: a rule may accept some, nothing was missed
/// that may be a statement, and there is no statement by a trusted key, whatever is wrong with it.
fn may_be_bare(
    refusal: &Refusal,
    examined: &[Result<Signed, SignatureFault>],
    found: &discover::FoundSignatures,
) -> bool {
    !matches!(refusal, Refusal::NoRule { .. })
        && found.missed.is_none()
        && !examined.iter().any(Result::is_ok)
}

/// Decides by the signatures of other tools.
async fn bare<S: Origin + ?Sized>(
    source: &S,
    question: Question<'_>,
    trust: &TrustStore,
    found: &discover::FoundSignatures,
    refusal: Refusal,
) -> Result<Decision, TrustError> {
    let (policy, keys) = (trust.policy(), trust.keys());
    let (examined, missed) = examine_bare(source, question, trust, found).await?;
    let tells = match &refusal {
        Refusal::Unsigned => !examined.is_empty(),
        // Any other fault of a statement tells more than a signature that names no release.
        Refusal::Signature { fault, .. } => {
            let by_others = matches!(
                fault,
                SignatureFault::UnknownKey { .. }
                    | SignatureFault::OtherPredicate { .. }
                    | SignatureFault::OtherMaterial { .. }
            );
            by_others && examined.iter().any(Result::is_ok)
        }
        Refusal::NoRule { .. } | Refusal::TooFew { .. } => false,
    };
    let (subject, place) = (question.subject.digest, question.place.clone());
    match (foreign::suffices(policy, keys, question, &examined), missed) {
        (Ok(decision), _) => Ok(decision),
        (Err(_), Some(source)) => Err(TrustError::Lookup { subject, source }),
        (Err(bare), None) => Err(TrustError::Refused {
            subject,
            place,
            refusal: if tells { bare } else { refusal },
        }),
    }
}

/// Reads the signatures of other tools, and returns why not all could be read. Those that the rule does not accept are
/// read as well, because a bundle that has one is not "unsigned"; but that they could not be read is no error.
async fn examine_bare<S: Origin + ?Sized>(
    source: &S,
    question: Question<'_>,
    trust: &TrustStore,
    found: &discover::FoundSignatures,
) -> Result<(Vec<Result<foreign::Bare, SignatureFault>>, Option<StoreError>), TrustError> {
    let (keys, subject) = (trust.keys(), question.subject);
    let rule = trust.policy().rule_for(question.place, &[]);
    let accepts = |form| rule.is_some_and(|(_, rule)| rule.accept.contains(&form));
    let layers = match discover::cosign_layers(source, subject).await {
        Err(error) if accepts(SignatureFormat::Cosign) || is_cancelled(&error) => return Err(error),
        layers => layers.unwrap_or_default(),
    };
    let notation = match discover::notation(source, subject).await {
        Err(error) if accepts(SignatureFormat::Notation) || is_cancelled(&error) => return Err(error),
        notation => notation.unwrap_or_default(),
    };
    let bundles = found
        .documents
        .iter()
        .map(|document| foreign::examine_bundle(document, keys));
    let layers = layers.iter();
    let layers = layers.map(|layer| foreign::examine_payload(&layer.payload, &layer.signature, keys));
    let envelopes = notation.documents.iter();
    let envelopes = envelopes.map(|document| foreign::examine_notation(document, keys));
    let examined = bundles.chain(layers).chain(envelopes).collect();
    Ok((
        examined,
        notation.missed.filter(|_| accepts(SignatureFormat::Notation)),
    ))
}

fn is_cancelled(error: &TrustError) -> bool {
    matches!(
        error,
        TrustError::Lookup {
            source: StoreError::Cancelled,
            ..
        }
    )
}

/// A signature that could not be read may be the one that was missing, so that is the error then.
fn refused(request: &Request, refusal: Refusal, missed: Option<StoreError>) -> TrustError {
    let subject = request.subject.digest;
    match missed {
        Some(source) => TrustError::Lookup { subject, source },
        None => TrustError::Refused {
            subject,
            place: request.place.clone(),
            refusal,
        },
    }
}

/// The marks are a file behind a lock, so this must not run on the threads that serve the network.
async fn blocking<T: Send + 'static>(
    marks: &Marks,
    work: impl FnOnce(&Marks) -> Result<T, TrustError> + Send + 'static,
) -> Result<T, TrustError> {
    let marks = marks.clone();
    match tokio::task::spawn_blocking(move || work(&marks)).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

pub(super) fn basis(
    decision: Decision,
    downgraded_from: Option<u64>,
    attested: Vec<attest::Attested>,
    trust: &TrustStore,
) -> Basis {
    Basis::Policy {
        signers: decision
            .signers
            .into_iter()
            .map(|id| Signer::of(id, trust.keys()))
            .collect(),
        scope: decision.scope,
        level: decision.rule.level,
        rights: decision.rule.rights,
        release: decision.statement.map(|statement| statement.release),
        bare: decision.bare,
        attested,
        warnings: decision.warnings,
        downgraded_from,
    }
}

#[cfg(test)]
mod tests;
