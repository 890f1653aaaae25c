//! Tokens: from a registry's challenge to the `Authorization` of the next request (distribution token specification).
//!
//! A secret goes to its registry (scheme, host and port) and to the token service that the registry names, if that is
//! the registry itself or is listed as belonging to it ([`TokenHosts`]). Any other token service is asked without
//! credentials. Token requests follow no redirects. Tokens are kept for each repository and action until four fifths of
//! their life are over.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_auth::ChallengeRef;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Method, Request, Response, Url};
use samebundle_spec::{Repository, limits};
use serde::Deserialize;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::answer::RequestContext;
use super::credentials::{Credential, Credentials};
use super::http::{Http, authority};
use super::retry::{RetryPolicy, Try};
use crate::StoreError;

/// Life of a token that does not state it, seconds (token specification).
const DEFAULT_LIFE: u64 = 60;
/// The longest life that is accepted, seconds.
const LONGEST_LIFE: u64 = 86_400;
/// Name of this client for token services.
const CLIENT_ID: &str = "samebundle";

/// Registries whose token service is on another host, by their own documentation.
const KNOWN_TOKEN_HOSTS: [(&str, &str); 2] = [
    ("registry-1.docker.io", "auth.docker.io"),
    ("registry.gitlab.com", "gitlab.com"),
];

/// The action of a token's scope that a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Action {
    Pull,
    Push,
    Delete,
    /// Nothing of a repository: only whether the registry knows the user.
    Login,
    /// The names of the registry's repositories.
    Catalog,
}

/// The scopes of a token: a repository and an action, and repositories that blobs are mounted from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Scope {
    repository: Repository,
    action: Action,
    from: Option<String>,
}

impl Scope {
    pub(super) fn new(repository: &Repository, action: Action) -> Self {
        Self {
            repository: repository.clone(),
            action,
            from: None,
        }
    }

    pub(super) fn mounting(mut self, from: &Repository) -> Self {
        self.from = Some(from.path().to_owned());
        self
    }

    /// What the scope is of, in messages.
    fn place(&self) -> String {
        match self.action {
            Action::Login | Action::Catalog => self.repository.registry().to_owned(),
            _ => self.repository.to_string(),
        }
    }

    fn texts(&self) -> Vec<String> {
        let actions = match self.action {
            Action::Pull => "pull",
            Action::Push => "pull,push",
            Action::Delete => "pull,push,delete",
            Action::Login => return Vec::new(),
            Action::Catalog => return vec!["registry:catalog:*".to_owned()],
        };
        let own = format!("repository:{}:{actions}", self.repository.path());
        let from = self.from.as_ref().map(|from| format!("repository:{from}:pull"));
        std::iter::once(own).chain(from).collect()
    }
}

struct Grant {
    header: HeaderValue,
    ends: Option<Instant>,
}

/// Hosts of token services by registry, `host` or `host:port`.
pub type TokenHosts = Vec<(String, String)>;

/// Authenticates requests.
pub(super) struct Auth {
    credentials: Credentials,
    token_hosts: TokenHosts,
    /// Held while a token is fetched, so that requests that are refused together fetch one.
    grants: Mutex<HashMap<Scope, Grant>>,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth")
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<Zeroizing<String>>,
    access_token: Option<Zeroizing<String>>,
    expires_in: Option<u64>,
}

/// The parts of a token request.
struct Realm<'a> {
    address: Url,
    service: Option<String>,
    scope: &'a Scope,
}

impl Auth {
    pub(super) fn new(credentials: Credentials, token_hosts: TokenHosts) -> Self {
        Self {
            credentials,
            token_hosts,
            grants: Mutex::default(),
        }
    }

    /// The header that was granted before and is still valid.
    pub(super) async fn header(&self, scope: &Scope) -> Option<HeaderValue> {
        let grants = self.grants.lock().await;
        let grant = grants.get(scope)?;
        let holds = grant.ends.is_none_or(|ends| Instant::now() < ends);
        holds.then(|| grant.header.clone())
    }

    /// Answers a 401: finds the header that the registry wants. `used` is the header of the refused request.
    ///
    /// Returns `None` if there is nothing, or nothing more, to offer.
    pub(super) async fn meet(
        &self,
        http: &Http,
        retry: &RetryPolicy,
        scope: &Scope,
        refused: &Response,
        used: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, StoreError> {
        let mut grants = self.grants.lock().await;
        if let Some(grant) = grants.get(scope)
            && used.is_some_and(|used| *used != grant.header)
        {
            return Ok(Some(grant.header.clone()));
        }
        grants.remove(scope);
        let context = RequestContext {
            place: scope.place(),
            operation: "log in to",
            subject: scope.place(),
            digest: None,
        };
        let credential = self
            .credentials
            .get(&scope.repository)
            .await
            .map_err(|error| context.denied(with_source(&error)))?;
        let Some(grant) = self
            .grant(http, retry, scope, refused, credential, &context)
            .await?
        else {
            return Ok(None);
        };
        if used == Some(&grant.header) {
            return Ok(None);
        }
        let header = grant.header.clone();
        grants.insert(scope.clone(), grant);
        Ok(Some(header))
    }

    async fn grant(
        &self,
        http: &Http,
        retry: &RetryPolicy,
        scope: &Scope,
        refused: &Response,
        credential: Option<Credential>,
        context: &RequestContext,
    ) -> Result<Option<Grant>, StoreError> {
        if let Some(Credential::Bearer(token)) = &credential {
            return Ok(Some(Grant {
                header: bearer(token, context)?,
                ends: None,
            }));
        }
        match challenge(refused.headers()) {
            Some(Challenge::Bearer { realm, service }) => {
                let address =
                    Url::parse(&realm).map_err(|_| context.broken("its token service has no address"))?;
                let realm = Realm {
                    address,
                    service,
                    scope,
                };
                let credential = self.for_realm(http, refused.url(), &realm.address, credential, context)?;
                fetch(http, retry, &realm, credential, context).await.map(Some)
            }
            Some(Challenge::Basic) => match credential {
                Some(Credential::Basic { username, password }) => Ok(Some(Grant {
                    header: basic(&username, &password, context)?,
                    ends: None,
                })),
                _ => Ok(None),
            },
            None => Ok(None),
        }
    }

    /// Decides which credentials the token service receives.
    fn for_realm(
        &self,
        http: &Http,
        registry: &Url,
        realm: &Url,
        credential: Option<Credential>,
        context: &RequestContext,
    ) -> Result<Option<Credential>, StoreError> {
        let downgrade = registry.scheme() == "https" && realm.scheme() != "https";
        if downgrade || !http.allowed(realm) {
            return Err(context.denied(format!(
                "its token service at {} is not reached by https",
                authority(realm)
            )));
        }
        let pair = (authority(registry), authority(realm));
        let listed = self.token_hosts.contains(&pair)
            || KNOWN_TOKEN_HOSTS.contains(&(pair.0.as_str(), pair.1.as_str()));
        if registry.origin() == realm.origin() || listed {
            return Ok(credential);
        }
        if credential.is_some() {
            tracing::warn!(
                registry = pair.0,
                service = pair.1,
                "credentials are not sent to a token service of another host; asking without"
            );
        }
        Ok(None)
    }
}

fn with_source(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

enum Challenge {
    Bearer { realm: String, service: Option<String> },
    Basic,
}

/// The challenge that is answered: Bearer is preferred to Basic, and others are ignored.
fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let mut basic = None;
    for value in headers.get_all(WWW_AUTHENTICATE) {
        let Ok(challenges) = value.to_str().map(http_auth::parse_challenges) else {
            continue;
        };
        for challenge in challenges.into_iter().flatten() {
            if challenge.scheme.eq_ignore_ascii_case("bearer") {
                let realm = parameter(&challenge, "realm")?;
                let service = parameter(&challenge, "service");
                return Some(Challenge::Bearer { realm, service });
            }
            if challenge.scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Challenge::Basic);
            }
        }
    }
    basic
}

fn parameter(challenge: &ChallengeRef<'_>, name: &str) -> Option<String> {
    let mut parameters = challenge.params.iter();
    let (_, value) = parameters.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    Some(value.to_unescaped())
}

/// Asks the token service, again if it is busy.
async fn fetch(
    http: &Http,
    retry: &RetryPolicy,
    realm: &Realm<'_>,
    credential: Option<Credential>,
    context: &RequestContext,
) -> Result<Grant, StoreError> {
    let mut attempts = retry.attempts(context);
    loop {
        let tried = ask(http, retry, realm, credential.as_ref(), context).await?;
        if let Some(grant) = attempts.after(tried).await? {
            return Ok(grant);
        }
    }
}

/// Asks the token service once.
async fn ask(
    http: &Http,
    retry: &RetryPolicy,
    realm: &Realm<'_>,
    credential: Option<&Credential>,
    context: &RequestContext,
) -> Result<Try<Grant>, StoreError> {
    let request = token_request(realm, credential, context)?;
    let response = match http.send(request).await {
        Ok(response) => response,
        Err(broken) => {
            return Ok(Try::Again(
                broken.failure,
                format!("its token service: {}", broken.why),
            ));
        }
    };
    let status = response.status();
    if status.is_success() {
        return read_token(response, context).await.map(Try::Done);
    }
    if super::retry::passes(status) {
        let spare = super::retry::context(response.headers(), retry.now());
        let (failure, why) = context.passing(response, spare).await;
        return Ok(Try::Again(failure, format!("its token service: {why}")));
    }
    Err(match context.refused(response).await {
        StoreError::Denied { why, .. } | StoreError::Invalid { why, .. } => context.denied(why),
        StoreError::NotFound { .. } => context.denied(format!("its token service answered {status}")),
        other => other,
    })
}

fn token_request(
    realm: &Realm<'_>,
    credential: Option<&Credential>,
    context: &RequestContext,
) -> Result<Request, StoreError> {
    let scopes = realm.scope.texts();
    let mut address = realm.address.clone();
    if let Some(Credential::Identity(token)) = credential {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "refresh_token")
            .append_pair("service", realm.service.as_deref().unwrap_or_default())
            .append_pair("client_id", CLIENT_ID)
            .append_pair("scope", &scopes.join(" "))
            .append_pair("refresh_token", token);
        let mut request = Request::new(Method::POST, address);
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(CONTENT_TYPE, kind);
        *request.body_mut() = Some(form.finish().into());
        return Ok(request);
    }
    {
        let mut query = address.query_pairs_mut();
        if let Some(service) = &realm.service {
            query.append_pair("service", service);
        }
        for scope in &scopes {
            query.append_pair("scope", scope);
        }
        query.append_pair("client_id", CLIENT_ID);
    }
    let mut request = Request::new(Method::GET, address);
    if let Some(Credential::Basic { username, password }) = credential {
        let value = basic(username, password, context)?;
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    Ok(request)
}

async fn read_token(response: Response, context: &RequestContext) -> Result<Grant, StoreError> {
    let body = context.read(response, limits::LISTING_BYTES).await?;
    let body = Zeroizing::new(body);
    let answer: TokenAnswer =
        serde_json::from_slice(&body).map_err(|_| context.broken("its token service gave no token"))?;
    let token = answer
        .token
        .filter(|token| !token.is_empty())
        .or(answer.access_token)
        .ok_or_else(|| context.broken("its token service gave no token"))?;
    let life = answer.expires_in.filter(|life| *life > 0).unwrap_or(DEFAULT_LIFE);
    let life = Duration::from_secs(life.min(LONGEST_LIFE)).mul_f64(0.8);
    Ok(Grant {
        header: bearer(&token, context)?,
        ends: Some(Instant::now() + life),
    })
}

fn bearer(token: &str, context: &RequestContext) -> Result<HeaderValue, StoreError> {
    secret(&Zeroizing::new(format!("Bearer {token}")), context)
}

fn basic(username: &str, password: &str, context: &RequestContext) -> Result<HeaderValue, StoreError> {
    let pair = Zeroizing::new(format!("{username}:{password}"));
    let encoded = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
    secret(&Zeroizing::new(format!("Basic {}", encoded.as_str())), context)
}

/// A header that is never logged.
fn secret(text: &str, context: &RequestContext) -> Result<HeaderValue, StoreError> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| context.denied("the credentials hold characters that cannot be sent"))?;
    value.set_sensitive(true);
    Ok(value)
}
