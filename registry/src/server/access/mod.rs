//! The user of a request, and what the user may do.
//!
//! ```text
//! request ── Access::admit ── password (users) or token ── User ── rules ── admitted, or 401 with a challenge, or 403
//!            Access::token ── password or nothing ── token of the actions that are requested and granted
//! ```
//!
//! * `users`: an htpasswd file, bcrypt hashes only.
//! * `rules`: actions by repository, a YAML file.
//! * `token`: what the `/token` endpoint issues, signed with a key that lives as long as the process.
//! * `scope`: what a request needs and a token grants.
//! * `challenge`: `Authorization` and `WWW-Authenticate` as text.
//!
//! Invariants: without a rule nobody may do anything; a token never gives more than its user has at the moment of the
//! request; a wrong password and an unknown user take the same time and get the same answer; no secret is kept in the clear
//! or logged. Files are read again when they change; if one is not valid then, the previous content stays in force.

mod challenge;
mod rules;
mod scope;
mod token;
mod user;
mod users;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use samebundle_spec::Timestamp;
use serde_json::{Value, json};

use self::challenge::{Presented, presented};
use self::rules::RuleSet;
use self::token::{Authority, Granted, SERVICE};
use self::users::Users;
use super::fresh::Fresh;
use super::refusal::Refusal;
use super::route::{Name, parameters};
use crate::StoreError;

pub(super) use scope::{Action, Scope};
pub(super) use user::User;
pub use users::set_password;

/// How clients authenticate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Name and password with each request (RFC 7617).
    Basic,
    /// Name and password for a short-lived token (distribution token specification).
    Token {
        /// The registry's address as its clients see it, without a path; `None` takes it from each request's `Host`.
        address: Option<String>,
        /// How long a token is good for.
        life: Duration,
    },
}

/// Users, their actions, and how they log in. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Access(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    scheme: Scheme,
    users: Fresh<Users>,
    rules: Option<Fresh<RuleSet>>,
    logins: users::Logins,
    authority: Authority,
    clock: fn() -> SystemTime,
}

impl Access {
    /// Reads the users, and what each may do; without rules every user may do everything, and nobody else anything.
    ///
    /// # Errors
    /// [`StoreError::Path`] and [`StoreError::Invalid`] for a file that cannot be read or does not have the expected format.
    pub fn open(
        scheme: Scheme,
        users: &Path,
        rules: Option<&Path>,
        clock: fn() -> SystemTime,
    ) -> Result<Self, StoreError> {
        let rules = rules
            .map(|path| Fresh::open("the rules of access", vec![path.to_owned()], RuleSet::read))
            .transpose()?;
        Ok(Self(Arc::new(Inner {
            scheme,
            users: Fresh::open("the users", vec![users.to_owned()], Users::read)?,
            rules,
            logins: users::Logins::new()?,
            authority: Authority::new()?,
            clock,
        })))
    }

    /// Tells whether this user may do that now.
    fn allows(&self, user: &User, scope: &Scope) -> bool {
        match (&self.0.rules, scope) {
            (None, _) => *user != User::Anonymous,
            (Some(rules), Scope::Repository { name, action }) => rules.get().allows(user, name, *action),
            (Some(rules), Scope::Catalog) => *user != User::Anonymous || rules.get().is_public(),
        }
    }

    /// Finds the user, and refuses one that may not do all of `scopes`; without scopes, one that did not log in.
    ///
    /// `secure` is whether the request came over TLS.
    pub(super) async fn admit(
        &self,
        parts: &Parts,
        secure: bool,
        scopes: &[Scope],
    ) -> Result<Admitted, Refusal> {
        let challenge = |error| Refusal::Unauthorized {
            challenge: self.challenge(&parts.headers, secure, scopes, error),
        };
        let (user, granted) = match (presented(&parts.headers), &self.0.scheme) {
            (Presented::Nothing, _) => (User::Anonymous, None),
            (Presented::Password(name, password), Scheme::Basic) => {
                match self.0.logins.check(&self.0.users.get(), name, password).await {
                    Some(user) => (user, None),
                    None => return Err(challenge(None)),
                }
            }
            (Presented::Token(token), Scheme::Token { .. }) => {
                match self.0.authority.verify(&token, self.now()) {
                    Some((user, granted)) => (user, Some(granted)),
                    None => return Err(challenge(Some("invalid_token"))),
                }
            }
            _ => return Err(challenge(None)),
        };
        for scope in scopes {
            if !self.allows(&user, scope) {
                return Err(match &user {
                    User::Anonymous => challenge(None),
                    User::Named(name) => Refusal::Denied {
                        user: name.clone(),
                        what: scope.words(),
                    },
                });
            }
            if granted.as_ref().is_some_and(|granted| !granted.covers(scope)) {
                return Err(challenge(Some("insufficient_scope")));
            }
        }
        // Clients learn from a request about the whole registry that they must log in, also if something is public.
        let is_general = scopes.iter().all(|scope| *scope == Scope::Catalog);
        if is_general && user == User::Anonymous && granted.is_none() {
            return Err(challenge(None));
        }
        Ok(Admitted {
            user,
            access: Some(self.clone()),
        })
    }

    /// Finds the user of a password, whatever the scheme.
    pub(super) async fn login(&self, parts: &Parts) -> Result<User, Refusal> {
        let found = match presented(&parts.headers) {
            Presented::Password(name, password) => {
                self.0.logins.check(&self.0.users.get(), name, password).await
            }
            _ => None,
        };
        found.ok_or_else(|| Refusal::Unauthorized {
            challenge: challenge::basic(SERVICE),
        })
    }

    fn is_public(&self) -> bool {
        self.0.rules.as_ref().is_some_and(|rules| rules.get().is_public())
    }

    fn now(&self) -> i64 {
        Timestamp::from((self.0.clock)()).as_unix()
    }

    fn challenge(
        &self,
        headers: &HeaderMap,
        secure: bool,
        scopes: &[Scope],
        error: Option<&'static str>,
    ) -> HeaderValue {
        match &self.0.scheme {
            Scheme::Basic => challenge::basic(SERVICE),
            Scheme::Token { address, .. } => {
                let address = address.clone().unwrap_or_else(|| {
                    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
                    let scheme = if secure { "https" } else { "http" };
                    format!("{scheme}://{}", host.unwrap_or("localhost"))
                });
                challenge::bearer(&address, SERVICE, scopes, error)
            }
        }
    }

    /// Answers a request for a token: `GET` with scopes in the query and perhaps a password in `Authorization`, or `POST`
    /// with the same as a form (`grant_type=password`).
    pub(super) async fn token(&self, parts: &Parts, form: &[u8]) -> Result<(User, Value), Refusal> {
        let Scheme::Token { life, .. } = &self.0.scheme else {
            return Err(Refusal::NoRoute);
        };
        let wrong = || Refusal::Unauthorized {
            challenge: challenge::basic(SERVICE),
        };
        let (password, scopes) = if form.is_empty() {
            let password = match presented(&parts.headers) {
                Presented::Nothing => None,
                Presented::Password(name, password) => Some((name, password)),
                Presented::Token(_) | Presented::Other => return Err(wrong()),
            };
            (password, parameters(&parts.uri, "scope").collect())
        } else {
            challenge::form(form).ok_or(Refusal::GrantType)?
        };
        let user = match password {
            None => User::Anonymous,
            Some((name, password)) => self
                .0
                .logins
                .check(&self.0.users.get(), name, password)
                .await
                .ok_or_else(wrong)?,
        };
        if user == User::Anonymous && !self.is_public() {
            return Err(wrong());
        }
        let asked = scopes.iter().flat_map(|text| Scope::parse_all(text));
        let granted = Granted::new(asked.filter(|scope| self.allows(&user, scope)));
        let now = self.now();
        let token = self.0.authority.issue(&user, &granted, now, *life)?;
        let answer = json!({
            "token": token,
            "access_token": token,
            "expires_in": life.as_secs(),
            "issued_at": Timestamp::from_unix(now).to_string(),
        });
        Ok((user, answer))
    }
}

/// A user whose request is allowed.
#[derive(Clone, Debug)]
pub(super) struct Admitted {
    user: User,
    /// The rules of all users, if there are users.
    access: Option<Access>,
}

impl Admitted {
    /// Anybody, if there are no users.
    pub(super) fn everybody() -> Self {
        Self {
            user: User::Anonymous,
            access: None,
        }
    }

    pub(super) fn user(&self) -> Option<&str> {
        self.user.name()
    }

    /// Whether all repositories are open to all.
    pub(super) fn is_everybody(&self) -> bool {
        self.access.is_none()
    }

    /// Tells whether blobs of this repository may be mounted from, and its name may be seen in the catalog.
    ///
    /// The user's actions decide, whatever the token of the request is for: a client that pushes asks for a token for the
    /// repository that it pushes to, and seldom for the one that it mounts from.
    pub(super) fn may_pull(&self, repository: &Name) -> bool {
        let scope = Scope::new(repository, Action::Pull);
        let allows = |access: &Access| access.allows(&self.user, &scope);
        self.access.as_ref().is_none_or(allows)
    }
}
