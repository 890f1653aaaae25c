//! Scopes of a policy: which places a rule is about.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Repository;

/// Where a bundle comes from, as far as that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A repository of a registry.
    Registry(Repository),
    /// An archive, a layout folder or the local store: nobody says where it was before.
    Local,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(repository) => fmt::Display::fmt(repository, f),
            Self::Local => f.write_str("a local file or store"),
        }
    }
}

/// A set of places: `*`, `local:`, a registry, or a registry with the front components of a repository.
///
/// `registry.example/team` covers `registry.example/team` and `registry.example/team/x`, not `registry.example/teams`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(Form);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Form {
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
    /// Every place.
    pub const ANY: Self = Self(Form::Any);
    /// Archives, layout folders and the local store.
    pub const LOCAL: Self = Self(Form::Local);

    /// The scope of one repository and what is below it.
    pub fn of(repository: &Repository) -> Self {
        Self(Form::Prefix(normal(repository)))
    }

    /// Tells whether the place is in the scope.
    pub fn covers(&self, place: &Place) -> bool {
        match (&self.0, place) {
            (Form::Any, _) | (Form::Local, Place::Local) => true,
            (Form::Prefix(prefix), Place::Registry(repository)) => {
                let rest = normal(repository);
                rest.strip_prefix(prefix.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            (Form::Local, Place::Registry(_)) | (Form::Prefix(_), Place::Local) => false,
        }
    }

    /// How close the scope is to a place that it covers: the larger decides. Never equal for two scopes of one place.
    pub fn specificity(&self) -> usize {
        match &self.0 {
            Form::Any => 0,
            Form::Local => 1,
            Form::Prefix(prefix) => 1 + prefix.len(),
        }
    }
}

/// Host names do not tell upper from lower case; repositories are lower case already.
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
        Ok(Self(Form::Prefix(text.to_ascii_lowercase())))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Form::Any => "*",
            Form::Local => "local:",
            Form::Prefix(prefix) => prefix,
        })
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

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
            let place = Place::Registry(place.parse().unwrap());
            assert_eq!(
                scope.parse::<Scope>().unwrap().covers(&place),
                covered,
                "{scope} {place}"
            );
        }
        assert!(Scope::ANY.covers(&Place::Local) && Scope::LOCAL.covers(&Place::Local));
        assert!(!"local".parse::<Scope>().unwrap().covers(&Place::Local));
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
