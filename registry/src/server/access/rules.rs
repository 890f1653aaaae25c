//! Actions by repository: the file that `--access` names.
//!
//! ```yaml
//! version: 1
//! rules:
//!   - users: [anonymous]          # everybody, also without a name
//!     repositories: [public]      # public, and all that begins with public/
//!     may: [pull]
//!   - users: ["*"]                # every user of the htpasswd file
//!     repositories: ["*"]         # all
//!     may: [pull]
//!   - users: [alice, ci]
//!     repositories: [team, lab/models]
//!     may: [pull, push, delete]
//! ```
//!
//! Actions add up over all rules that match; an action that no rule gives is denied.

use std::collections::BTreeSet;
use std::path::PathBuf;

use samebundle_spec::{limits, yaml};
use serde::Deserialize;

use super::super::route::Name;
use super::scope::Action;
use super::user::{ANONYMOUS, EVERYBODY, User};
use crate::{StoreError, durable};

const VERSION: u32 = 1;

/// All rules.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleSet {
    version: u32,
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    users: BTreeSet<String>,
    repositories: BTreeSet<String>,
    may: BTreeSet<Action>,
}

impl Rule {
    fn names(&self, user: &User) -> bool {
        match user {
            User::Anonymous => self.users.contains(ANONYMOUS),
            User::Named(name) => [ANONYMOUS, EVERYBODY, name]
                .iter()
                .any(|name| self.users.contains(*name)),
        }
    }

    fn covers(&self, repository: &str) -> bool {
        self.repositories.iter().any(|prefix| {
            let rest = repository.strip_prefix(prefix.as_str());
            prefix == EVERYBODY || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }
}

impl RuleSet {
    /// Reads the file.
    ///
    /// # Errors
    /// [`StoreError::Path`]; [`StoreError::Invalid`] with line and column.
    pub(super) fn read(paths: &[PathBuf]) -> Result<Self, StoreError> {
        let [path] = paths else {
            return Ok(Self {
                version: VERSION,
                rules: Vec::new(),
            });
        };
        let bytes = durable::read_named(path, limits::ACCESS_BYTES).map_err(StoreError::io("read", path))?;
        let invalid = |why: String| StoreError::Invalid {
            subject: path.display().to_string(),
            why,
        };
        let set: Self =
            yaml::from_slice(&bytes, limits::ACCESS_BYTES).map_err(|error| invalid(error.to_string()))?;
        if set.version != VERSION {
            let found = set.version;
            return Err(invalid(format!(
                "it has version {found}, this samebundle reads {VERSION}"
            )));
        }
        for prefix in set.rules.iter().flat_map(|rule| &rule.repositories) {
            if prefix != EVERYBODY && Name::parse(prefix).is_err() {
                return Err(invalid(format!(
                    "{prefix:?} is neither \"*\" nor the first components of a repository's name, such as team or team/models"
                )));
            }
        }
        Ok(set)
    }

    pub(super) fn allows(&self, user: &User, repository: &str, action: Action) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.names(user) && rule.covers(repository) && rule.may.contains(&action))
    }

    /// Whether anything is for everybody.
    pub(super) fn is_public(&self) -> bool {
        self.rules.iter().any(|rule| rule.names(&User::Anonymous))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<RuleSet, StoreError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        RuleSet::read(&[file.path().to_owned()])
    }

    #[test]
    fn rights_add_up_by_whole_components() {
        let set = read(
            "version: 1\nrules:\n- {users: [anonymous], repositories: [public], may: [pull]}\n- {users: ['*'], repositories: ['*'], may: [pull]}\n- {users: [alice], repositories: [team, lab/models], may: [push, delete]}\n",
        )
        .unwrap();
        let named = |name: &str| User::Named(name.to_owned());
        use Action::{Delete, Pull, Push};
        for (user, repository, action, expected) in [
            (User::Anonymous, "public/x", Pull, true),
            (User::Anonymous, "public", Pull, true),
            (User::Anonymous, "publicity", Pull, false),
            (User::Anonymous, "team", Pull, false),
            (User::Anonymous, "public", Push, false),
            (named("bob"), "team/a", Pull, true),
            (named("bob"), "team/a", Push, false),
            (named("alice"), "team/a", Push, true),
            (named("alice"), "team/a", Pull, true),
            (named("alice"), "teams", Push, false),
            (named("alice"), "lab", Delete, false),
            (named("alice"), "lab/models/x", Delete, true),
            (named("bob"), "public/x", Pull, true),
            (named("bob"), "public/x", Push, false),
        ] {
            assert_eq!(
                set.allows(&user, repository, action),
                expected,
                "{user:?} {repository} {action:?}"
            );
        }
        assert!(set.is_public());
    }

    #[test]
    fn slips_of_the_pen_are_refused() {
        for text in [
            "version: 2\nrules: []",
            "rules: []",
            "version: 1\nrules: [{users: [a], repositories: [a], may: [all]}]",
            "version: 1\nrules: [{user: [a], repositories: [a], may: [pull]}]",
            "version: 1\nrules: [{users: [a], repositories: [team/], may: [pull]}]",
            "version: 1\nrules: [{users: [a], repositories: [Team], may: [pull]}]",
            "version: 1\nrules: [{users: [a], repositories: [''], may: [pull]}]",
        ] {
            assert!(matches!(read(text), Err(StoreError::Invalid { .. })), "{text}");
        }
    }
}
