//! Trusted keys and the policy, on disk.
//!
//! Layout: `policy.json`, `keys/NAME.pub` (SPKI PEM), `lock`. Without a policy file nothing is trusted. Files and folders
//! that are symbolic links, belong to somebody else or can be written by others are refused, and with them the whole store.
//!
//! Concurrency: a writer holds the lock, reads the store again, and replaces each file whole. A key is written before the
//! rule that names it and removed after, so that a reader between the two sees a store that holds together.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use samebundle_spec::signing::{BundleOrigin, KeyRing, Level, Policy, PolicyError, PublicKey, Rule, Scope};
use samebundle_spec::{BundleName, Classify, ErrorKind, limits};

use super::guard::{self, GuardError};
use super::keys::{self, KeyFileError};
use crate::durable;

const POLICY: &str = "policy.json";
const KEYS: &str = "keys";
const LOCK: &str = "lock";
const KEY_END: &str = "pub";

/// Why the trust store cannot be used or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustStoreError {
    /// A file of it is not safe to use, or cannot be read or written.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The policy is refused.
    #[error("the policy {path} is refused")]
    Policy {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: PolicyError,
    },
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// A file in the folder of keys is not called NAME.pub.
    #[error("{path} is not called NAME.pub; remove it from the folder of trusted keys")]
    Name {
        /// The file.
        path: String,
    },
    /// The name stands for another key already.
    #[error("{name} is the name of another trusted key already; remove that first or choose another name")]
    Taken {
        /// The name.
        name: BundleName,
    },
    /// No such key.
    #[error("there is no trusted key {name}")]
    NotFound {
        /// The name.
        name: BundleName,
    },
    /// A rule wants more keys than would be left.
    #[error(
        "the rule for {scope} wants {threshold} keys, and without {name} it has fewer; change that rule first"
    )]
    Needed {
        /// The key.
        name: BundleName,
        /// The rule's scope.
        scope: Scope,
        /// How many keys must sign.
        threshold: usize,
    },
}

impl Classify for TrustStoreError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Guard(error) => error.kind(),
            Self::Key(error) => error.kind(),
            Self::Policy { .. } | Self::Name { .. } => ErrorKind::Input,
            Self::Taken { .. } | Self::Needed { .. } => ErrorKind::Conflict,
            Self::NotFound { .. } => ErrorKind::NotFound,
        }
    }
}

/// Trusted keys and the policy at the time of reading.
#[derive(Clone, Debug)]
pub struct TrustStore {
    folder: PathBuf,
    keys: KeyRing,
    policy: Policy,
}

impl TrustStore {
    /// Reads the trust store in a folder. A folder or policy that does not exist trusts nothing.
    ///
    /// # Errors
    /// If anything in it is not safe, not readable or not valid: then nothing of it is used.
    pub fn open(folder: &Path) -> Result<Self, TrustStoreError> {
        let mut store = Self {
            folder: folder.to_owned(),
            keys: KeyRing::new(),
            policy: Policy::default(),
        };
        if !guard::folder(folder)? {
            return Ok(store);
        }
        store.keys = read_keys(&folder.join(KEYS))?;
        let path = folder.join(POLICY);
        if let Some(bytes) = guard::read(&path, limits::POLICY_BYTES)? {
            store.policy = Policy::from_bytes(&bytes).map_err(policy_error(&path))?;
            store
                .policy
                .check_keys(&store.keys)
                .map_err(policy_error(&path))?;
        }
        Ok(store)
    }

    /// Trusted keys by name.
    pub fn keys(&self) -> &KeyRing {
        &self.keys
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The same keys under another policy, e.g. one that the user named for this command.
    ///
    /// # Errors
    /// If a rule cannot hold with these keys.
    pub fn with_policy(mut self, policy: Policy) -> Result<Self, PolicyError> {
        policy.check_keys(&self.keys)?;
        self.policy = policy;
        Ok(self)
    }

    /// Returns the rule that decides about bundles from a location.
    pub fn explain(&self, place: &BundleOrigin) -> Option<(&Scope, &Rule)> {
        self.policy.rule_for(place, &[])
    }

    /// Trusts a key for a scope: adds it to the scope's rule, or makes a strict rule that wants one signature.
    ///
    /// # Errors
    /// [`TrustStoreError::Taken`] if the name stands for another key; otherwise why it cannot be written.
    pub fn add(&mut self, name: &BundleName, key: &PublicKey, scope: &Scope) -> Result<(), TrustStoreError> {
        self.change(|store| {
            match store.keys.get(name) {
                Some(known) if known != key => return Err(TrustStoreError::Taken { name: name.clone() }),
                Some(_) => {}
                None => {
                    let path = store.key_path(name);
                    durable::write(&path, key.to_pem().as_bytes(), 0o644)
                        .map_err(GuardError::io("write", &path))?;
                    store.keys.insert(name.clone(), *key);
                }
            }
            let mut rule = store
                .policy
                .get(scope)
                .cloned()
                .unwrap_or_else(|| Rule::signed_by(Vec::new()));
            if !rule.keys.contains(name) {
                rule.keys.push(name.clone());
            }
            store.write_rule(scope, rule)
        })
    }

    /// Sets the rule of a scope.
    ///
    /// # Errors
    /// If the rule contradicts itself or names keys that are not there, or cannot be written.
    pub fn set_rule(&mut self, scope: &Scope, rule: Rule) -> Result<(), TrustStoreError> {
        self.change(|store| store.write_rule(scope, rule))
    }

    /// Removes the rule of a scope; a wider one or the default to reject takes its place.
    ///
    /// # Errors
    /// If the policy cannot be written.
    pub fn remove_rule(&mut self, scope: &Scope) -> Result<(), TrustStoreError> {
        self.change(|store| {
            store.policy.remove(scope);
            store.write_policy()
        })
    }

    /// Stops trusting a key. A rule that named only this key stays and accepts nothing, because a wider rule must not
    /// replace it.
    ///
    /// # Errors
    /// [`TrustStoreError::NotFound`]; [`TrustStoreError::Needed`] if a rule wants more keys than are left.
    pub fn remove(&mut self, name: &BundleName) -> Result<(), TrustStoreError> {
        self.change(|store| {
            if !store.keys.contains_key(name) {
                return Err(TrustStoreError::NotFound { name: name.clone() });
            }
            let rules = store.policy.rules().filter(|(_, rule)| {
                let approvals = rule.approvals.as_ref();
                rule.keys.contains(name) || approvals.is_some_and(|one| one.keys.contains(name))
            });
            let rules: Vec<(Scope, Rule)> =
                rules.map(|(scope, rule)| (scope.clone(), rule.clone())).collect();
            for (scope, rule) in rules {
                let rule = store.without(name, &scope, rule)?;
                let rule = store.without_approver(name, &scope, rule)?;
                store.set(&scope, rule)?;
            }
            store.write_policy()?;
            store.keys.remove(name);
            let path = store.key_path(name);
            std::fs::remove_file(&path).map_err(GuardError::io("remove", &path))?;
            durable::sync_folder(&store.folder.join(KEYS)).map_err(GuardError::io("sync", &path))?;
            Ok(())
        })
    }

    /// Stops trusting a key for one scope. Its rule stays, as in [`Self::remove`], and so does the key.
    ///
    /// # Errors
    /// [`TrustStoreError::NotFound`] if the scope's rule does not name the key; [`TrustStoreError::Needed`] if the rule wants
    /// more keys than are left.
    pub fn remove_from(&mut self, name: &BundleName, scope: &Scope) -> Result<(), TrustStoreError> {
        self.change(|store| {
            let rule = store.policy.get(scope).filter(|rule| rule.keys.contains(name));
            let Some(rule) = rule.cloned() else {
                return Err(TrustStoreError::NotFound { name: name.clone() });
            };
            let rule = store.without(name, scope, rule)?;
            store.write_rule(scope, rule)
        })
    }

    /// Takes a key out of a rule.
    fn without(&self, name: &BundleName, scope: &Scope, mut rule: Rule) -> Result<Rule, TrustStoreError> {
        rule.keys.retain(|key| key != name);
        let threshold = rule.threshold;
        let enough = rule.keys.is_empty() || rule.key_ids(&self.keys).len() >= threshold;
        if !enough && rule.level != Level::Skip {
            return Err(TrustStoreError::Needed {
                name: name.clone(),
                scope: scope.clone(),
                threshold,
            });
        }
        if rule.keys.is_empty() {
            rule.threshold = 1;
        }
        Ok(rule)
    }

    /// Takes a key out of the approvers of a rule.
    fn without_approver(
        &self,
        name: &BundleName,
        scope: &Scope,
        mut rule: Rule,
    ) -> Result<Rule, TrustStoreError> {
        let Some(approvals) = &mut rule.approvals else {
            return Ok(rule);
        };
        approvals.keys.retain(|key| key != name);
        let threshold = approvals.threshold;
        let ids = approvals.approvers(&self.keys).keys;
        let ids: BTreeSet<_> = ids.values().map(PublicKey::id).collect();
        match ids.len() >= threshold {
            true => Ok(rule),
            false => Err(TrustStoreError::Needed {
                name: name.clone(),
                scope: scope.clone(),
                threshold,
            }),
        }
    }

    /// Reads the store again under its lock, and writes the result of `change` if that succeeded.
    fn change(
        &mut self,
        change: impl FnOnce(&mut Self) -> Result<(), TrustStoreError>,
    ) -> Result<(), TrustStoreError> {
        let keys = self.folder.join(KEYS);
        make_folder(&keys)?;
        let path = self.folder.join(LOCK);
        let _lock = durable::lock(&path).map_err(GuardError::io("lock", &path))?;
        let mut store = Self::open(&self.folder)?;
        change(&mut store)?;
        *self = store;
        Ok(())
    }

    fn write_rule(&mut self, scope: &Scope, rule: Rule) -> Result<(), TrustStoreError> {
        self.set(scope, rule)?;
        self.write_policy()
    }

    fn set(&mut self, scope: &Scope, rule: Rule) -> Result<(), TrustStoreError> {
        let path = self.folder.join(POLICY);
        self.policy
            .set(scope.clone(), rule)
            .map_err(policy_error(&path))?;
        self.policy.check_keys(&self.keys).map_err(policy_error(&path))
    }

    fn write_policy(&self) -> Result<(), TrustStoreError> {
        let path = self.folder.join(POLICY);
        durable::write(&path, &self.policy.to_bytes(), 0o644).map_err(GuardError::io("write", &path))?;
        Ok(())
    }

    fn key_path(&self, name: &BundleName) -> PathBuf {
        self.folder.join(KEYS).join(format!("{name}.{KEY_END}"))
    }
}

fn policy_error(path: &Path) -> impl FnOnce(PolicyError) -> TrustStoreError {
    let path = path.display().to_string();
    move |source| TrustStoreError::Policy { path, source }
}

fn make_folder(path: &Path) -> Result<(), TrustStoreError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let mut builder = std::fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(path);
    Ok(made.map_err(GuardError::io("make", path))?)
}

fn read_keys(folder: &Path) -> Result<KeyRing, TrustStoreError> {
    let mut keys = KeyRing::new();
    if !guard::folder(folder)? {
        return Ok(keys);
    }
    for entry in std::fs::read_dir(folder).map_err(GuardError::io("list", folder))? {
        let path = entry.map_err(GuardError::io("list", folder))?.path();
        let file = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        // A temporary file of a killed writer is not a key.
        if file.starts_with(".new-") {
            continue;
        }
        let name = file.strip_suffix(KEY_END).and_then(|name| name.strip_suffix('.'));
        let Some(name) = name.and_then(|name| name.parse::<BundleName>().ok()) else {
            return Err(TrustStoreError::Name {
                path: path.display().to_string(),
            });
        };
        if let Some(bytes) = guard::read(&path, limits::KEY_FILE_BYTES)? {
            keys.insert(name, keys::parse_public(&path, bytes)?);
        }
    }
    Ok(keys)
}

#[cfg(test)]
mod tests;
