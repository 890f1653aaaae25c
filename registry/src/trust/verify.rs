//! Verifying: finds the signatures of a bundle, holds them against the policy and against what was seen before.

use samebundle_spec::signing::{Decision, Expected, Place, Question, Refusal, decide, examine};
use samebundle_spec::{Algorithm, Descriptor, Timestamp};

use super::{Basis, Marks, Signer, TrustError, TrustStore, Verified, discover};
use crate::store::{Referrers, Source, StoreError};

/// What is to be verified.
#[derive(Clone, Debug)]
pub struct Request {
    /// The bundle's index, resolved to its digest once and used by that from then on.
    pub subject: Descriptor,
    /// Where the bundle comes from; it chooses the rule.
    pub place: Place,
    /// What the caller knows that it must be, e.g. from the tag that was asked for.
    pub expected: Expected,
    /// The clock's time.
    pub now: Timestamp,
    /// The user allowed that an older release follows a newer one. What comes of it is recorded.
    pub allow_downgrade: bool,
}

impl Request {
    /// Asks about a bundle from a place, with nothing expected of it and no downgrade allowed.
    pub fn new(subject: Descriptor, place: Place, now: Timestamp) -> Self {
        Self {
            subject,
            place,
            expected: Expected::default(),
            now,
            allow_downgrade: false,
        }
    }
}

/// Decides whether a bundle is trusted, and remembers its release.
///
/// On success the descriptor is proven to be what the policy's keys signed. It binds all content by digest; whatever is
/// read through it must be read with [`SourceExt::fetch`](crate::store::SourceExt::fetch), which re-hashes.
///
/// # Errors
/// [`TrustError::Refused`] and the other refusals; [`TrustError::Lookup`] if the place could not be asked, with its own
/// kind of error: never taken for "unsigned".
pub async fn verify<S>(
    source: &S,
    request: Request,
    trust: &TrustStore,
    marks: &Marks,
) -> Result<Verified<Descriptor>, TrustError>
where
    S: Source + Referrers + ?Sized,
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
    let decision = decided.map_err(|refusal| refused(&request, refusal, found.missed))?;
    let downgrade = request.allow_downgrade || decision.rule.allow_downgrade;
    let (decision, downgraded_from) = blocking(marks, move |marks| {
        let from = match &decision.statement {
            Some(statement) => marks.advance(&decision, &statement.release, now, downgrade)?,
            None => None,
        };
        Ok((decision, from))
    })
    .await?;
    let basis = basis(decision, downgraded_from, trust);
    Ok(Verified::new(request.subject, basis))
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

/// The marks are a file behind a lock: not for the threads that serve the network.
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

fn basis(decision: Decision, downgraded_from: Option<u64>, trust: &TrustStore) -> Basis {
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
        warnings: decision.warnings,
        downgraded_from,
    }
}

#[cfg(test)]
mod tests;
