//! The decision whether signatures make a bundle trusted, by a policy, at a time. The functions are pure.
//!
//! Two steps. [`examine`] turns one signature document into a statement by a known key, or a [`SignatureFault`]: the signature is
//! verified first and the payload parsed after. [`decide`] holds the statements against the policy. Every fault refuses
//! unless the level of the rule says that it only warns; nothing that cannot be read counts as anything.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Bundle, BundleError, BundleOrigin, KeyId, KeyRing, Level, Policy, PublicKey, Refusal, Rule, Scope,
    SignatureFault, SignatureFormat, Statement, StatementError,
};
use crate::{BundleName, Descriptor, MediaType, Tag, Timestamp, Version, limits};

/// A statement and the trusted key that signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The key.
    pub key: KeyId,
    /// What it signed.
    pub statement: Statement,
}

/// What the caller knows that the release must be. Empty parts are not compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// The bundle's name.
    pub name: Option<BundleName>,
    /// The bundle's version.
    pub version: Option<Version>,
}

impl Expected {
    /// What a tag promises: the version, if the tag is one (`+` written as `_`).
    pub fn of_tag(tag: &Tag) -> Self {
        Self {
            name: None,
            version: tag.as_str().replacen('_', "+", 1).parse().ok(),
        }
    }
}

/// The question that is decided.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The bundle's index, resolved to its digest.
    pub subject: &'a Descriptor,
    /// Where the bundle comes from.
    pub place: &'a BundleOrigin,
    /// What the bundle must be.
    pub expected: &'a Expected,
    /// The time: never before a time that was trusted earlier.
    pub now: Timestamp,
}

/// Why a bundle is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The scope whose rule decided.
    pub scope: Scope,
    /// The rule.
    pub rule: Rule,
    /// The different keys that signed the release.
    pub signers: BTreeSet<KeyId>,
    /// The release; none only where the rule does not insist on one.
    pub statement: Option<Statement>,
    /// The form of the signature, where the rule accepts one without a release statement.
    pub bare: Option<SignatureFormat>,
    /// Faults that only warn at the rule's level.
    pub warnings: Vec<SignatureFault>,
}

/// Reads one signature document (a sigstore bundle) and verifies it with the trusted keys.
///
/// # Errors
/// Why the document does not count. Keys come from `keys` only, never from the document.
pub fn examine(document: &[u8], keys: &KeyRing) -> Result<Signed, SignatureFault> {
    let (key, payload) = open(document, keys)?;
    let statement = Statement::from_bytes(&payload).map_err(|error| match error {
        StatementError::OtherPredicate { found } => SignatureFault::OtherPredicate { found },
        StatementError::Form { why } => SignatureFault::BadStatement { why },
    })?;
    Ok(Signed { key, statement })
}

/// The same with one key, which need not be trusted: for a person who is asked whether it is to be.
///
/// # Errors
/// As [`examine`].
pub fn examine_with(document: &[u8], key: &PublicKey) -> Result<Signed, SignatureFault> {
    let name = "key".parse().expect("this is a name");
    examine(document, &KeyRing::from([(name, *key)]))
}

/// Reads a sigstore bundle and returns the statement in it, not parsed, and the trusted key that signed it.
pub(crate) fn open(document: &[u8], keys: &KeyRing) -> Result<(KeyId, Vec<u8>), SignatureFault> {
    let bundle = Bundle::from_bytes(document).map_err(|error| match error {
        BundleError::OtherMaterial { what } => SignatureFault::OtherMaterial { what },
        BundleError::Form { why } => SignatureFault::Unreadable { why },
    })?;
    let candidates: BTreeMap<KeyId, &PublicKey> = keys
        .values()
        .map(|key| (key.id(), key))
        .filter(|(id, _)| bundle.may_be_by(*id))
        .collect();
    if candidates.is_empty() {
        let hint = bundle.hint.chars().take(64).collect();
        return Err(SignatureFault::UnknownKey { hint });
    }
    let found = candidates.iter().find_map(|(id, key)| {
        bundle
            .envelope
            .verified_payload(key)
            .map(|payload| (*id, payload))
    });
    let Some((key, payload)) = found else {
        return Err(SignatureFault::BadSignature {
            hint: bundle.hint.chars().take(64).collect(),
        });
    };
    if bundle.envelope.payload_type() != MediaType::IN_TOTO.as_str() {
        let found = bundle.envelope.payload_type().chars().take(100).collect();
        return Err(SignatureFault::OtherPredicate { found });
    }
    Ok((key, payload.to_vec()))
}

/// A statement that counts by the policy.
struct Vote<'a> {
    signed: &'a Signed,
    scope: &'a Scope,
    rule: &'a Rule,
    warnings: Vec<SignatureFault>,
}

/// Signatures that say the same: name, version and sequence, under the same rule.
type Group<'a> = (u64, &'a Version, &'a BundleName, &'a Scope);

/// Decides whether the bundle is trusted.
///
/// A rule is met when `threshold` different keys of it signed the same name, version and sequence for this index. Of two
/// releases that meet it the one with the higher sequence counts.
///
/// # Errors
/// The [`Refusal`], with the fault of the signature that came closest.
pub fn decide(
    policy: &Policy,
    keys: &KeyRing,
    question: Question<'_>,
    examined: &[Result<Signed, SignatureFault>],
) -> Result<Decision, Refusal> {
    let base = policy.rule_for(question.place, &[]);
    if let Some((scope, rule)) = base.filter(|(_, rule)| rule.level == Level::Skip) {
        return Ok(unsigned(scope, rule, Vec::new()));
    }
    let place = question.place;
    if base.is_none() && (*place != BundleOrigin::Local || policy.rules().next().is_none()) {
        return Err(Refusal::NoRule {
            place: place.clone(),
            signed_by: signed_by(examined),
        });
    }
    let mut faults = Vec::new();
    let mut groups: BTreeMap<Group<'_>, Vec<Vote<'_>>> = BTreeMap::new();
    for candidate in examined {
        let vote = candidate.as_ref().map_err(Clone::clone);
        match vote.and_then(|signed| judge(policy, keys, question, signed)) {
            Ok(vote) => {
                let release = &vote.signed.statement.release;
                let group = (release.sequence, &release.version, &release.name, vote.scope);
                groups.entry(group).or_default().push(vote);
            }
            Err(fault) => faults.push(fault),
        }
    }
    let signers = |votes: &[Vote<'_>]| votes.iter().map(|vote| vote.signed.key).collect::<BTreeSet<_>>();
    for votes in groups.values().rev() {
        if let [first, ..] = votes.as_slice()
            && signers(votes).len() >= first.rule.threshold
        {
            return Ok(Decision {
                scope: first.scope.clone(),
                rule: first.rule.clone(),
                signers: signers(votes),
                statement: Some(first.signed.statement.clone()),
                bare: None,
                warnings: votes.iter().flat_map(|vote| vote.warnings.clone()).collect(),
            });
        }
    }
    let closest = groups.values().max_by_key(|votes| signers(votes).len());
    let few = closest.and_then(|votes| {
        let first = votes.first()?;
        Some(Refusal::TooFew {
            scope: first.scope.clone(),
            wanted: first.rule.threshold,
            found: signers(votes).len(),
        })
    });
    let refusal = few.unwrap_or_else(|| Refusal::of(place, signed_by(examined), faults.clone()));
    match base.filter(|(_, rule)| rule.level == Level::Audit) {
        Some((scope, rule)) if !faults.iter().any(SignatureFault::is_integrity) => {
            Ok(unsigned(scope, rule, faults))
        }
        _ => Err(refusal),
    }
}

/// The keys that the signatures name.
fn signed_by(examined: &[Result<Signed, SignatureFault>]) -> BTreeSet<KeyId> {
    let keys = examined.iter().filter_map(|one| match one {
        Ok(signed) => Some(signed.key),
        Err(SignatureFault::UnknownKey { hint }) => KeyId::from_hint(hint),
        Err(_) => None,
    });
    keys.collect()
}

pub(super) fn unsigned(scope: &Scope, rule: &Rule, warnings: Vec<SignatureFault>) -> Decision {
    Decision {
        scope: scope.clone(),
        rule: rule.clone(),
        signers: BTreeSet::new(),
        statement: None,
        bare: None,
        warnings,
    }
}

fn judge<'a>(
    policy: &'a Policy,
    keys: &KeyRing,
    question: Question<'_>,
    signed: &'a Signed,
) -> Result<Vote<'a>, SignatureFault> {
    let release = &signed.statement.release;
    let subject = question.subject;
    if signed.statement.subject != subject.digest
        || release.size != subject.size
        || release.media_type != subject.media_type
    {
        return Err(SignatureFault::OtherContent {
            found: signed.statement.subject,
        });
    }
    let Some((scope, rule)) = policy.rule_for(question.place, &release.repositories) else {
        return Err(SignatureFault::NoRule {
            place: question.place.clone(),
        });
    };
    if !rule.key_ids(keys).contains(&signed.key) {
        return Err(SignatureFault::KeyNotInRule {
            key: signed.key,
            scope: scope.clone(),
        });
    }
    check_identity(question, signed)?;
    let warning = check_period(question.now, rule, Some(release.issued), release.expires)?;
    Ok(Vote {
        signed,
        scope,
        rule,
        warnings: warning.into_iter().collect(),
    })
}

fn check_identity(question: Question<'_>, signed: &Signed) -> Result<(), SignatureFault> {
    let release = &signed.statement.release;
    if let Some(expected) = question
        .expected
        .name
        .clone()
        .filter(|name| *name != release.name)
    {
        return Err(SignatureFault::WrongName {
            expected,
            found: release.name.clone(),
        });
    }
    if let Some(expected) = question
        .expected
        .version
        .clone()
        .filter(|version| *version != release.version)
    {
        return Err(SignatureFault::WrongVersion {
            expected,
            found: release.version.clone(),
        });
    }
    match question.place {
        BundleOrigin::Registry(repository)
            if !release.repositories.is_empty() && !release.repositories.contains(repository) =>
        {
            Err(SignatureFault::WrongRepository {
                found: repository.clone(),
            })
        }
        _ => Ok(()),
    }
}

/// Checks that a signature is valid now, and returns what only warns at the rule's level.
pub(super) fn check_period(
    now: Timestamp,
    rule: &Rule,
    issued: Option<Timestamp>,
    expires: Option<Timestamp>,
) -> Result<Option<SignatureFault>, SignatureFault> {
    match check_time(now, rule, issued, expires) {
        Ok(()) => Ok(None),
        Err(fault) if rule.level > Level::Strict => Ok(Some(fault)),
        Err(fault) => Err(fault),
    }
}

/// Valid from `issued` (less the clock skew) to the last moment of the second `expires`. What does not say when it was made
/// is older than any age that a rule states.
fn check_time(
    now: Timestamp,
    rule: &Rule,
    issued: Option<Timestamp>,
    expires: Option<Timestamp>,
) -> Result<(), SignatureFault> {
    let skew = std::time::Duration::from_secs(limits::CLOCK_SKEW_SECONDS);
    if let Some(issued) = issued.filter(|issued| *issued > now.after(skew)) {
        return Err(SignatureFault::NotYetValid { issued, now });
    }
    if let Some(expires) = expires.filter(|expires| now.whole_seconds() > *expires) {
        return Err(SignatureFault::Expired { expires, now });
    }
    let issued = issued.unwrap_or_else(|| Timestamp::from_unix(0));
    let oldest = |days: u32| std::time::Duration::from_secs(u64::from(days) * 86_400);
    match rule.max_age_days {
        Some(days) if now > issued.after(oldest(days)) => Err(SignatureFault::TooOld { issued, days }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
