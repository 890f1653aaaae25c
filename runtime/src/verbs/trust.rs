//! `trust` and `sign`: who may sign what, and signing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use samebundle_registry::layout::Layout;
use samebundle_registry::trust::{self, TrustStore, keys};
use samebundle_spec::signing::{
    BundleOrigin, KeyAlgorithm, KeyId, Level, Predicate, Release, Rule, Scope, SigningKey, Statement,
};
use samebundle_spec::{BundleName, Classify, Descriptor, Digest, ErrorKind, Repository};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::resolve::{ArchiveCheck, resolve};
use super::verify::verdict;
use super::{Consent, Location, Site, VerbError, key};
use crate::opened::OpenedBundle;

/// Trusts a public key.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AddTrustRequest {
    /// Name to know the key by.
    pub name: BundleName,
    /// The public key: PEM, OpenSSH or minisign.
    pub file: PathBuf,
    /// What the key may sign for; none: everything.
    #[serde(default)]
    pub scope: Option<Scope>,
}

/// A key that is trusted now.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct AddTrustReport {
    /// Its name.
    pub key: BundleName,
    /// Its id.
    pub id: KeyId,
    /// What it may sign for.
    pub scope: Scope,
}

/// Stops trusting a key.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RemoveTrustRequest {
    /// Name of the key; none: every key of the scope, whose rule is removed, so that a wider one decides.
    #[serde(default)]
    pub name: Option<BundleName>,
    /// Where it is no longer trusted; none: everywhere.
    #[serde(default)]
    pub scope: Option<Scope>,
}

/// A key that is not trusted any more.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RemoveTrustReport {
    /// Its name.
    pub key: Option<BundleName>,
    /// Where it is no longer trusted; none: everywhere.
    pub scope: Option<Scope>,
    /// The scopes whose rules accept nobody now.
    pub nobody: Vec<Scope>,
}

/// The rules of a home.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TrustReport {
    /// Each rule, by scope.
    pub rules: Vec<ScopeRule>,
    /// The ids of the keys that are trusted.
    #[serde(skip)]
    pub keys: BTreeMap<BundleName, KeyId>,
}

/// The rule for a scope.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ScopeRule {
    /// What it decides about.
    pub scope: Scope,
    /// What it wants.
    pub rule: Rule,
}

/// Asks which rule decides about a bundle.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExplainTrustRequest {
    /// The bundle.
    pub bundle: Location,
}

/// Which rule decides about a bundle, and what comes of it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ExplainTrustReport {
    /// The rule, in words.
    pub rule: String,
    /// Why the bundle is trusted or refused, in words.
    pub verdict: String,
    /// Whether it is trusted.
    pub trusted: bool,
}

/// Signs a bundle.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignRequest {
    /// The bundle: in the local store, a layout or a registry.
    pub bundle: Location,
    /// Name of the key.
    pub key: BundleName,
    /// The sequence number; a later one replaces an earlier one. None: seconds since 1970.
    #[serde(default)]
    pub sequence: Option<u64>,
    /// Days until the signature expires; none: never.
    #[serde(default)]
    pub expires_in_days: Option<u32>,
    /// The repositories that it may be served from; empty: any.
    #[serde(default)]
    pub repositories: Vec<Repository>,
    /// Whether a version that the key has signed with other content is signed all the same.
    #[serde(default)]
    pub replace: bool,
}

/// What was signed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SignReport {
    /// The bundle's index.
    pub digest: Digest,
    /// Name of the key.
    pub key: BundleName,
    /// What it signs with.
    pub algorithm: KeyAlgorithm,
    /// What it says.
    pub statement: Release,
    /// The documents beside the bundle that were signed as well.
    pub attested: Vec<Predicate>,
}

/// Trusts a public key for a scope.
///
/// # Errors
/// If the file is no public key, the name is taken by another key, or the trust store cannot be written.
pub fn trust_add(site: &Site, request: AddTrustRequest) -> Result<AddTrustReport, VerbError> {
    let public = keys::load_public(&request.file)?;
    let scope = request.scope.unwrap_or(Scope::ANY);
    site.trust()?.add(&request.name, &public, &scope)?;
    Ok(AddTrustReport {
        key: request.name,
        id: public.id(),
        scope,
    })
}

/// Stops trusting a key, everywhere or for a scope, or removes the rule of a scope.
///
/// # Errors
/// If there is no such key or rule, or the trust store cannot be written.
pub fn trust_remove(site: &Site, request: RemoveTrustRequest) -> Result<RemoveTrustReport, VerbError> {
    let mut trust = site.trust()?;
    let empty = |trust: &TrustStore| -> BTreeSet<Scope> {
        let rules = trust.policy().rules().filter(|(_, rule)| is_for_nobody(rule));
        rules.map(|(scope, _)| scope.clone()).collect()
    };
    let before = empty(&trust);
    match (&request.name, &request.scope) {
        (Some(name), None) => trust.remove(name)?,
        (Some(name), Some(scope)) => trust.remove_from(name, scope)?,
        (None, Some(scope)) => remove_rule(&mut trust, scope)?,
        (None, None) => {
            return Err(VerbError::Usage(
                "name the key, or --scope SCOPE, or both".to_owned(),
            ));
        }
    }
    Ok(RemoveTrustReport {
        key: request.name,
        scope: request.scope,
        nobody: empty(&trust).difference(&before).cloned().collect(),
    })
}

fn remove_rule(trust: &mut TrustStore, scope: &Scope) -> Result<(), VerbError> {
    if trust.policy().get(scope).is_none() {
        return Err(VerbError::NoRule { scope: scope.clone() });
    }
    Ok(trust.remove_rule(scope)?)
}

/// Tells whether a rule wants signatures and names no key that could make them.
fn is_for_nobody(rule: &Rule) -> bool {
    rule.keys.is_empty() && rule.level != Level::Skip
}

/// Lists the rules.
///
/// # Errors
/// If the trust store cannot be read.
pub fn trust_list(site: &Site) -> Result<TrustReport, VerbError> {
    let trust = site.trust()?;
    let rules = trust.policy().rules().map(|(scope, rule)| ScopeRule {
        scope: scope.clone(),
        rule: rule.clone(),
    });
    let keys = trust.keys().iter().map(|(name, key)| (name.clone(), key.id()));
    Ok(TrustReport {
        rules: rules.collect(),
        keys: keys.collect(),
    })
}

/// Finds the rule that decides about a bundle, and the decision. A refusal is a report and not an error.
///
/// # Errors
/// If the bundle is not there, or the trust store cannot be read.
pub async fn trust_explain(
    site: &Site,
    request: ExplainTrustRequest,
) -> Result<ExplainTrustReport, VerbError> {
    if let Location::Registry(reference) = &request.bundle
        && reference.tag.is_none()
        && reference.digest.is_none()
    {
        return explain_repository(site, reference.repository.clone());
    }
    let bundle = resolve(site, &request.bundle, ArchiveCheck::BeforeUse).await?;
    let (rule, _) = rule_of(&site.trust()?, &bundle.place);
    let consent = Consent {
        allow_unsigned: false,
        allow_downgrade: true,
    };
    let (trusted, verdict) = match bundle.verify(site, consent).await {
        Ok(verified) => (true, verdict(verified.get().digest, verified.basis())),
        Err(error) if error.kind() == ErrorKind::NotTrusted => (false, format!("refused: {error}")),
        Err(error) => return Err(error),
    };
    Ok(ExplainTrustReport {
        rule,
        verdict,
        trusted,
    })
}

/// Says which rule decides about all bundles of a repository.
fn explain_repository(site: &Site, repository: Repository) -> Result<ExplainTrustReport, VerbError> {
    let verdict = format!("{repository}:TAG tells what it says about one bundle");
    let (rule, trusted) = rule_of(&site.trust()?, &BundleOrigin::Registry(repository));
    Ok(ExplainTrustReport {
        rule,
        verdict,
        trusted,
    })
}

/// The rule for a place in words, and whether it accepts anything.
fn rule_of(trust: &TrustStore, place: &BundleOrigin) -> (String, bool) {
    match trust.explain(place) {
        Some((scope, rule)) if is_for_nobody(rule) => (
            format!("the rule for {scope} decides: it accepts nobody, because it names no key"),
            false,
        ),
        Some((scope, rule)) => {
            let keys: Vec<&str> = rule.keys.iter().map(BundleName::as_str).collect();
            let (threshold, keys) = (rule.threshold, keys.join(", "));
            (
                format!("the rule for {scope} decides: {threshold} of {keys}"),
                true,
            )
        }
        None => (format!("no rule covers {place}: it is rejected"), false),
    }
}

/// Signs a bundle in its location. Outside registries it also signs the documents that are attached to it.
///
/// # Errors
/// If there is no such bundle or key, the bundle has a name that cannot be signed, or nothing can be added to its
/// location.
pub async fn sign(site: &Site, request: SignRequest) -> Result<SignReport, VerbError> {
    let bundle = resolve(site, &request.bundle, ArchiveCheck::BeforeUse).await?;
    let index = &bundle.index;
    let opened = OpenedBundle::open(bundle.source.as_ref(), index).await?;
    let statement = statement(site, &request, index, &opened)?;
    let by = &key::load(site, &request.key)?;
    signed_once(site, &request, by, &statement).await?;
    let attested = match &request.bundle {
        // Whoever may push to a registry can attach documents there, so none of them is signed. Authors sign in the
        // store and then push.
        Location::Registry(reference) => {
            let remote = site.remote(&reference.repository)?;
            trust::sign(&remote, index, &statement, by).await?;
            Vec::new()
        }
        Location::Layout(dir, _) => {
            let layout = Layout::open(dir).await?;
            trust::sign(&layout, index, &statement, by).await?;
            trust::attest::sign_documents(&layout, index, by).await?
        }
        Location::Local(_) => {
            let store = site.store().await?;
            trust::sign(&store, index, &statement, by).await?;
            trust::attest::sign_documents(&store, index, by).await?
        }
        Location::Archive(..) | Location::Git(_) => {
            return Err(VerbError::Usage(
                "an archive is not changed: sign in the store, then export".to_owned(),
            ));
        }
    };
    Ok(SignReport {
        digest: index.digest,
        algorithm: by.algorithm(),
        key: request.key,
        statement: statement.release,
        attested,
    })
}

/// Refuses to sign a second content as the same version, or says so if that is wanted.
async fn signed_once(
    site: &Site,
    request: &SignRequest,
    by: &SigningKey,
    statement: &Statement,
) -> Result<(), VerbError> {
    let store = site.store().await?;
    let Some(other) = trust::discover::signed_otherwise(&store, &by.public(), statement).await? else {
        return Ok(());
    };
    let (name, version) = (statement.release.name.clone(), statement.release.version.clone());
    if !request.replace {
        return Err(VerbError::SignedOtherwise { name, version, other });
    }
    site.notice(format!(
        "{name} {version} was signed with other content before ({other}); who has that finds that the version has changed"
    ));
    Ok(())
}

fn statement(
    site: &Site,
    request: &SignRequest,
    index: &Descriptor,
    bundle: &OpenedBundle,
) -> Result<Statement, VerbError> {
    let view = bundle.bundle.view();
    let unfit = |error: samebundle_spec::name::NameError| {
        VerbError::Usage(format!("this bundle cannot be signed: {error}"))
    };
    let issued = site.now().whole_seconds();
    let day = |days| Duration::from_secs(u64::from(days) * 86_400);
    let expires = request.expires_in_days.map(|days| issued.after(day(days)));
    let sequence = request.sequence;
    Ok(Statement {
        subject: index.digest,
        release: Release {
            name: view.name.parse().map_err(unfit)?,
            version: view.version.clone(),
            sequence: sequence.unwrap_or_else(|| u64::try_from(issued.as_unix()).unwrap_or_default()),
            media_type: index.media_type.clone(),
            size: index.size,
            issued,
            expires,
            repositories: request.repositories.clone(),
        },
    })
}
