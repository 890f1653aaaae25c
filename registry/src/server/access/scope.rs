//! What a request needs and a token grants: actions on repositories, and the list of all repositories (distribution token
//! specification, "Resource Scope Grammar").

use super::super::route::Name;

/// An action on a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::server) enum Action {
    Pull,
    Push,
    Delete,
}

impl Action {
    const ALL: [Self; 3] = [Self::Pull, Self::Push, Self::Delete];

    const fn word(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }
}

/// One action on one repository, or the list of all repositories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) enum Scope {
    Repository { name: String, action: Action },
    Catalog,
}

const CATALOG: &str = "catalog";

impl Scope {
    pub(in crate::server) fn new(repository: &Name, action: Action) -> Self {
        Self::Repository {
            name: repository.as_str().to_owned(),
            action,
        }
    }

    /// Its type, name and action in a token.
    pub(super) fn claim(&self) -> (&'static str, &str, &'static str) {
        match self {
            Self::Repository { name, action } => ("repository", name, action.word()),
            Self::Catalog => ("registry", CATALOG, "*"),
        }
    }

    /// The action in words.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Repository { name, action } => format!("{} in {name}", action.word()),
            Self::Catalog => "list the repositories".to_owned(),
        }
    }

    /// The scope that a challenge names. A client that pushes also needs to pull.
    pub(super) fn asked(&self) -> String {
        let (kind, name, action) = self.claim();
        let action = if action == "push" { "pull,push" } else { action };
        format!("{kind}:{name}:{action}")
    }

    /// Reads `repository:<name>:<action>[,<action>]` and `registry:catalog:*`, several of them separated by spaces. All else
    /// is left out: the client then gets a token without it.
    pub(super) fn parse_all(text: &str) -> Vec<Self> {
        let one = |text: &str| -> Option<Vec<Self>> {
            let (kind, rest) = text.split_once(':')?;
            let (name, actions) = rest.rsplit_once(':')?;
            let has = |word: &str| actions.split(',').any(|action| action == "*" || action == word);
            match kind {
                "repository" => {
                    let name = Name::parse(name).ok()?;
                    let actions = Action::ALL.into_iter().filter(|action| has(action.word()));
                    Some(actions.map(|action| Self::new(&name, action)).collect())
                }
                "registry" if name == CATALOG && has("*") => Some(vec![Self::Catalog]),
                _ => None,
            }
        };
        text.split(' ').filter_map(one).flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_read_and_what_is_none_is_left_out() {
        let scopes = |text: &str| {
            let scopes = Scope::parse_all(text);
            scopes.iter().map(Scope::words).collect::<Vec<_>>()
        };
        assert_eq!(
            scopes("repository:a/b:push,pull repository:c:* registry:catalog:*"),
            [
                "pull in a/b",
                "push in a/b",
                "pull in c",
                "push in c",
                "delete in c",
                "list the repositories"
            ]
        );
        for text in [
            "",
            "registry:catalog:pull",
            "registry:other:*",
            "repository:A:pull",
            "repository:../x:pull",
            "repository:a:fly",
            "x",
        ] {
            assert_eq!(scopes(text), Vec::<String>::new(), "{text}");
        }
    }
}
