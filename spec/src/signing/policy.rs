//! The trust policy: whose signatures are wanted for what comes from where. Default reject.
//!
//! The file is strict JSON: one unknown, repeated or invalid field and the whole of it is refused, so that a slip of the
//! pen never loosens it. Deciding is in [`super::decide()`].

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Approvers, BundleOrigin, KeyId, Predicate, PublicKey, Scope, SignatureFormat};
use crate::{BundleName, Repository, limits};

/// Trusted keys by name.
pub type KeyRing = BTreeMap<BundleName, PublicKey>;

/// Version of the format that is written, and the newest that is read.
const VERSION: u32 = 1;

/// All rules, by scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    rules: BTreeMap<Scope, Rule>,
}

/// What a bundle that comes from one scope must have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Names of the keys, any of which may sign. Without any, nothing from this scope is let in.
    pub keys: Vec<BundleName>,
    /// How many different keys must have signed the same release; at least 1.
    #[serde(default = "one")]
    pub threshold: usize,
    /// What happens when a check fails.
    #[serde(default)]
    pub level: Level,
    /// What bundles of these signers may ask of the machine beyond the default.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub rights: BTreeSet<Right>,
    /// Whether an older release may follow a newer one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_downgrade: bool,
    /// Tools whose signatures suffice although they name a digest and nothing else; without any, only release statements do.
    /// Such a rule has no protection against rollback.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub accept: BTreeSet<SignatureFormat>,
    /// What must be attested as well, by one of the keys.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub attested: BTreeSet<Predicate>,
    /// Oldest signature that is taken, days; none means any age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_days: Option<u32>,
    /// Who decides about tasks of these bundles that wait for a person; none means the keys of the home, any of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals: Option<ApprovalRule>,
}

/// Who decides about tasks that wait for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApprovalRule {
    /// Names of the keys, any of which may approve or reject.
    pub keys: Vec<BundleName>,
    /// How many different keys must approve with the same answers; at least 1.
    #[serde(default = "one")]
    pub threshold: usize,
}

impl ApprovalRule {
    /// Says why nobody could ever meet it.
    fn fault(&self) -> Option<String> {
        let named: BTreeSet<_> = self.keys.iter().collect();
        if named.len() != self.keys.len() {
            return Some("a key of its approvals stands twice".to_owned());
        }
        let (threshold, keys) = (self.threshold, self.keys.len());
        (threshold == 0 || threshold > keys).then(|| {
            format!("the threshold of its approvals is {threshold}, but must be from 1 to their {keys} keys")
        })
    }

    /// Returns the approvers, as far as their keys are known.
    pub fn approvers(&self, keys: &KeyRing) -> Approvers {
        let named = self.keys.iter();
        let known = named.filter_map(|name| Some((name.clone(), *keys.get(name)?)));
        Approvers {
            keys: known.collect(),
            threshold: self.threshold,
        }
    }
}

fn one() -> usize {
    1
}

/// How strictly a rule is held, as Notation defines the levels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Level {
    /// Every check refuses.
    #[default]
    Strict,
    /// Expiry and age only warn.
    Permissive,
    /// Who signed only warns as well; content that is not what a signature says still refuses.
    Audit,
    /// Nothing is checked. Not allowed for `*`.
    Skip,
}

/// A right beyond the default, asked for by a bundle and granted by a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Right {
    /// Tasks may open sockets to the outside.
    Network,
    /// Containers may run privileged.
    Privileged,
    /// Folders of the host may be mounted.
    HostPaths,
    /// The container engine's socket may be mounted: as good as root.
    DockerSocket,
}

impl Right {
    /// The word that a policy grants it by.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Privileged => "privileged",
            Self::HostPaths => "hostPaths",
            Self::DockerSocket => "dockerSocket",
        }
    }
}

/// Why a policy is refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Not of the form.
    #[error("the policy is not valid: {why}")]
    Form {
        /// What is wrong, with its place.
        why: String,
    },
    /// Written by a newer samebundle.
    #[error("the policy has version {found}, this samebundle reads {VERSION}; update samebundle")]
    Newer {
        /// Its version.
        found: u32,
    },
    /// One rule contradicts itself or the keys.
    #[error("the rule for {scope} is not valid: {why}")]
    Rule {
        /// The rule's scope.
        scope: Scope,
        /// What is wrong.
        why: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    version: u32,
    default: Default,
    scopes: BTreeMap<String, Rule>,
}

/// The only default that a policy may state.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Default {
    Reject,
}

#[derive(Deserialize)]
struct Head {
    version: u32,
}

impl Policy {
    /// Reads a policy file.
    ///
    /// # Errors
    /// If anything in it is not known, stands twice, or is not valid.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PolicyError> {
        let form = |error: crate::json::JsonError| PolicyError::Form {
            why: error.to_string(),
        };
        let head: Head = crate::json::from_slice(bytes, limits::POLICY_BYTES).map_err(form)?;
        if head.version > VERSION {
            return Err(PolicyError::Newer { found: head.version });
        }
        let wire: Wire = crate::json::from_slice(bytes, limits::POLICY_BYTES).map_err(form)?;
        let mut policy = Self::default();
        for (text, rule) in wire.scopes {
            let scope: Scope = text
                .parse()
                .map_err(|error: super::ScopeError| PolicyError::Form {
                    why: error.to_string(),
                })?;
            if policy.rules.contains_key(&scope) {
                let why = "the scope stands twice (hosts do not tell upper from lower case)".to_owned();
                return Err(PolicyError::Rule { scope, why });
            }
            policy.set(scope, rule)?;
        }
        Ok(policy)
    }

    /// Writes the policy file: indented, sorted, ending in a newline.
    pub fn to_bytes(&self) -> Vec<u8> {
        let wire = Wire {
            version: VERSION,
            default: Default::Reject,
            scopes: self
                .rules
                .iter()
                .map(|(scope, rule)| (scope.to_string(), rule.clone()))
                .collect(),
        };
        let mut text = serde_json::to_string_pretty(&wire).unwrap_or_default();
        text.push('\n');
        text.into_bytes()
    }

    /// Adds or replaces the rule of a scope.
    ///
    /// # Errors
    /// [`PolicyError::Rule`] if the rule contradicts itself.
    pub fn set(&mut self, scope: Scope, rule: Rule) -> Result<(), PolicyError> {
        let named: BTreeSet<_> = rule.keys.iter().collect();
        let fault = if named.len() != rule.keys.len() {
            Some("a key stands twice".to_owned())
        } else if rule.level == Level::Skip {
            (scope == Scope::ANY).then(|| "level skip is not allowed for '*'".to_owned())
        } else if rule.threshold == 0 || rule.threshold > rule.keys.len().max(1) {
            let (threshold, keys) = (rule.threshold, rule.keys.len());
            Some(format!(
                "its threshold is {threshold}, but must be from 1 to its {keys} keys"
            ))
        } else if rule.threshold > limits::SIGNATURES {
            Some(format!(
                "its threshold is over the {} signatures that are read",
                limits::SIGNATURES
            ))
        } else {
            rule.approvals.as_ref().and_then(ApprovalRule::fault)
        };
        match fault {
            Some(why) => Err(PolicyError::Rule { scope, why }),
            None => {
                self.rules.insert(scope, rule);
                Ok(())
            }
        }
    }

    /// Removes the rule of a scope, and returns it.
    pub fn remove(&mut self, scope: &Scope) -> Option<Rule> {
        self.rules.remove(scope)
    }

    /// Returns the rules, sorted by scope.
    pub fn rules(&self) -> impl Iterator<Item = (&Scope, &Rule)> {
        self.rules.iter()
    }

    /// Returns the rule of exactly this scope.
    pub fn get(&self, scope: &Scope) -> Option<&Rule> {
        self.rules.get(scope)
    }

    /// Checks the rules against the keys: each exists, and the threshold can be met with different keys.
    ///
    /// # Errors
    /// [`PolicyError::Rule`] for the first rule that cannot hold.
    pub fn check_keys(&self, keys: &KeyRing) -> Result<(), PolicyError> {
        for (scope, rule) in &self.rules {
            let error = |why| PolicyError::Rule {
                scope: scope.clone(),
                why,
            };
            if let Some(name) = rule.keys.iter().find(|name| !keys.contains_key(*name)) {
                return Err(error(format!("there is no trusted key {name}")));
            }
            let distinct = rule.key_ids(keys).len();
            if let Some(approvals) = &rule.approvals {
                let known = approvals.approvers(keys).keys;
                if let Some(name) = approvals.keys.iter().find(|name| !known.contains_key(*name)) {
                    return Err(error(format!(
                        "there is no trusted key {name}, which its approvals name"
                    )));
                }
                let distinct: BTreeSet<KeyId> = known.values().map(PublicKey::id).collect();
                if distinct.len() < approvals.threshold {
                    let (threshold, distinct) = (approvals.threshold, distinct.len());
                    return Err(error(format!(
                        "its approvals want {threshold} different keys, but name {distinct}"
                    )));
                }
            }
            if rule.level != Level::Skip && !rule.keys.is_empty() && distinct < rule.threshold {
                let threshold = rule.threshold;
                return Err(error(format!(
                    "it wants {threshold} different keys, but names {distinct}"
                )));
            }
        }
        Ok(())
    }

    /// Returns the rule for an origin: that of the longest scope which covers it.
    ///
    /// A file names no repository that it came from. Then a repository that the (verified) statement binds itself to
    /// decides, if one of them has a rule; otherwise the rules for `local:` and `*`.
    pub fn rule_for(&self, place: &BundleOrigin, bound_to: &[Repository]) -> Option<(&Scope, &Rule)> {
        let longest = |place: &BundleOrigin| {
            self.rules
                .iter()
                .filter(|(scope, _)| scope.covers(place))
                .max_by_key(|(scope, _)| scope.specificity())
        };
        // A statement cannot choose a rule that asks for less than its signer.
        let asks = |level| matches!(level, Level::Strict | Level::Permissive);
        let bound = bound_to
            .iter()
            .filter(|_| *place == BundleOrigin::Local)
            .find_map(|repository| {
                longest(&BundleOrigin::Registry(repository.clone()))
                    .filter(|(scope, rule)| **scope != Scope::ANY && asks(rule.level))
            });
        bound.or_else(|| longest(place))
    }
}

impl Rule {
    /// A strict rule that wants one signature by one of these keys.
    pub fn signed_by(keys: Vec<BundleName>) -> Self {
        Self {
            keys,
            threshold: 1,
            level: Level::Strict,
            rights: BTreeSet::new(),
            allow_downgrade: false,
            accept: BTreeSet::new(),
            attested: BTreeSet::new(),
            max_age_days: None,
            approvals: None,
        }
    }

    /// The different keys that this rule names. Two names of one key are one key.
    pub fn key_ids(&self, keys: &KeyRing) -> BTreeSet<KeyId> {
        self.keys
            .iter()
            .filter_map(|name| keys.get(name))
            .map(PublicKey::id)
            .collect()
    }
}

#[cfg(test)]
mod tests;
