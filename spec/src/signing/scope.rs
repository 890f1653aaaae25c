//! Scopes of a policy: the origins that a rule is about.

use std::fmt;
use std::str::FromStr;

use crate::Repository;

/// Where a bundle comes from, as far as that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BundleOrigin {
    /// A repository of a registry.
    Registry(Repository),
    /// An archive, a layout folder or the local store: it is not known where the bundle was before.
    Local,
}

impl fmt::Display for BundleOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(repository) => fmt::Display::fmt(repository, f),
            Self::Local => f.write_str("a local file or store"),
        }
    }
}

/// A set of origins: `*`, `local:`, a registry, or a registry with the front components of a repository.
///
/// `registry.example/team` covers `registry.example/team` and `registry.example/team/x`, not `registry.example/teams`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(ScopeKind);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum ScopeKind {
    Any,
    Local,
    Prefix(String),
}

/// A text that is no scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("scope {text:?} is none of registry[:port], registry[:port]/repository, 'local:' and '*'")]
pub struct ScopeError {
    text: String,
}

impl Scope {
    /// Every origin.
    pub const ANY: Self = Self(ScopeKind::Any);
    /// Archives, layout folders and the local store.
    pub const LOCAL: Self = Self(ScopeKind::Local);

    /// The scope of one repository and the repositories below it.
    pub fn of(repository: &Repository) -> Self {
        Self(ScopeKind::Prefix(normal(repository)))
    }

    /// Tells whether the origin is in the scope.
    pub fn covers(&self, place: &BundleOrigin) -> bool {
        match (&self.0, place) {
            (ScopeKind::Any, _) | (ScopeKind::Local, BundleOrigin::Local) => true,
            (ScopeKind::Prefix(prefix), BundleOrigin::Registry(repository)) => {
                let rest = normal(repository);
                rest.strip_prefix(prefix.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            (ScopeKind::Local, BundleOrigin::Registry(_)) | (ScopeKind::Prefix(_), BundleOrigin::Local) => {
                false
            }
        }
    }

    /// How close the scope is to an origin that it covers: the larger decides. It is never equal for two scopes of one origin.
    pub fn specificity(&self) -> usize {
        match &self.0 {
            ScopeKind::Any => 0,
            ScopeKind::Local => 1,
            ScopeKind::Prefix(prefix) => 1 + prefix.len(),
        }
    }
}

/// Host names do not depend on case; repositories are lower case already.
fn normal(repository: &Repository) -> String {
    repository.to_string().to_ascii_lowercase()
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let error = || ScopeError {
            text: text.chars().take(300).collect(),
        };
        match text {
            "*" => return Ok(Self::ANY),
            "local:" => return Ok(Self::LOCAL),
            _ => {}
        }
        if text.contains('/') {
            return text
                .parse()
                .map(|repository| Self::of(&repository))
                .map_err(|_| error());
        }
        // A registry alone is checked as one with some repository.
        Repository::new(text, "x").map_err(|_| error())?;
        Ok(Self(ScopeKind::Prefix(text.to_ascii_lowercase())))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            ScopeKind::Any => "*",
            ScopeKind::Local => "local:",
            ScopeKind::Prefix(prefix) => prefix,
        })
    }
}

crate::serde_as_text!(Scope);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers_at_component_boundaries_only() {
        for (scope, place, covered) in [
            ("r.io", "r.io/a", true),
            ("r.io", "r.io:5000/a", false),
            ("r.io:5000", "r.io:5000/a/b", true),
            ("r.io", "r.iox/a", false),
            ("r.io", "x.r.io/a", false),
            ("r.io/a", "r.io/a", true),
            ("r.io/a", "r.io/a/b", true),
            ("r.io/a", "r.io/ab", false),
            ("r.io/a/b", "r.io/a", false),
            ("R.IO/a", "r.io/a", true),
            ("r.io/a", "R.io/a", true),
            ("local:", "r.io/a", false),
            ("*", "r.io/a", true),
        ] {
            let place = BundleOrigin::Registry(place.parse().unwrap());
            assert_eq!(
                scope.parse::<Scope>().unwrap().covers(&place),
                covered,
                "{scope} {place}"
            );
        }
        assert!(Scope::ANY.covers(&BundleOrigin::Local) && Scope::LOCAL.covers(&BundleOrigin::Local));
        assert!(!"local".parse::<Scope>().unwrap().covers(&BundleOrigin::Local));
    }

    #[test]
    fn refuses_what_is_no_scope() {
        for text in [
            "",
            "/",
            "r.io/",
            "r.io/*",
            "r.io/A",
            "*.io",
            "r.io/a:1",
            "local:x",
            "r.io/../a",
            "http://r.io",
        ] {
            assert!(text.parse::<Scope>().is_err(), "{text}");
        }
    }
}
