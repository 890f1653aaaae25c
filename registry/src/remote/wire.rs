//! Sends one request to a registry, with authentication, redirects and retries.
//!
//! Credentials are added to requests to the registry's own origin (scheme, host, port) only; a redirect elsewhere is
//! followed for reads, without them, and never from https to http; a write is redirected within its own origin only.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Body, Method, Request, Response, StatusCode, Url};
use samebundle_spec::{Digest, Repository, limits};

use super::answer::{RequestContext, header};
use super::auth::{Action, Auth, Scope};
use super::http::{Http, RequestError, authority};
use super::retry::{self, Failure, RetryPolicy, Try};
use crate::StoreError;

/// The path of every request of one client.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) http: Http,
    pub(super) auth: Auth,
    pub(super) retry: RetryPolicy,
    /// How often registries answered 429.
    pub(super) throttled: AtomicU64,
}

/// A request that may be sent any number of times.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) scope: Scope,
    pub(super) context: RequestContext,
}

impl Call {
    /// A request without a body to `v2/<repository>/<rest>`.
    pub(super) fn new(
        endpoint: &Endpoint,
        method: Method,
        rest: &str,
        operation: &'static str,
        subject: &str,
    ) -> Self {
        let action = match method {
            Method::GET | Method::HEAD => Action::Pull,
            Method::DELETE => Action::Delete,
            _ => Action::Push,
        };
        Self {
            method,
            url: endpoint.url(rest),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            scope: Scope::new(&endpoint.repository, action),
            context: RequestContext {
                place: endpoint.name.clone(),
                operation,
                subject: subject.to_owned(),
                digest: None,
            },
        }
    }

    /// The same, about this blob.
    pub(super) fn about(mut self, digest: &Digest) -> Self {
        self.context.digest = Some(*digest);
        self
    }

    /// Adds a header; values come from typed values and cannot be malformed.
    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }
}

/// A repository and the address of its registry.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) repository: Repository,
    pub(super) base: Url,
    /// Its name in errors, with the proxy, because that may be the cause.
    pub(super) name: String,
}

impl Endpoint {
    pub(super) fn url(&self, rest: &str) -> Url {
        let mut url = self.base.clone();
        let (path, query) = rest
            .split_once('?')
            .map_or((rest, None), |(path, query)| (path, Some(query)));
        url.set_path(&format!("/v2/{}/{path}", self.repository.path()));
        url.set_query(query);
        url
    }

    /// Resolves an address that the registry gave for the next request (upload session, next page): only its own origin
    /// is allowed.
    pub(super) fn own(&self, from: &Url, address: &str, context: &RequestContext) -> Result<Url, StoreError> {
        let mut url = from
            .join(address)
            .map_err(|_| context.broken("it names an address that is not valid"))?;
        // Registries behind a proxy that ends TLS believe that they are reached by http.
        let proxied = self.base.scheme() == "https" && url.scheme() == "http" && url.port().is_none();
        if proxied && url.host_str() == self.base.host_str() && self.base.port().is_none() {
            let _ = url.set_scheme("https");
        }
        let clean = url.username().is_empty() && url.password().is_none();
        if clean && url.origin() == self.base.origin() {
            Ok(url)
        } else {
            Err(context.broken(format!(
                "it sends us on to {}, which is not its own address",
                authority(&url)
            )))
        }
    }
}

/// A body that can be sent once.
pub(super) struct StreamedBody {
    pub(super) body: Body,
    pub(super) length: u64,
}

impl Wire {
    /// Sends a request until the answer is not a transient failure.
    pub(super) async fn send(&self, endpoint: &Endpoint, call: &Call) -> Result<Response, StoreError> {
        let mut attempts = self.retry.attempts(&call.context);
        loop {
            let tried = match self.attempt(endpoint, call).await? {
                Ok(response) if !retry::passes(response.status()) => Try::Done(response),
                Ok(response) => {
                    let (failure, why) = self.passing(&call.context, response).await;
                    Try::Again(failure, why)
                }
                Err(broken) => Try::Again(broken.failure, broken.why),
            };
            if let Some(response) = attempts.after(tried).await? {
                return Ok(response);
            }
        }
    }

    /// The failure of a transient answer.
    pub(super) async fn passing(&self, context: &RequestContext, response: Response) -> (Failure, String) {
        let spare = retry::context(response.headers(), self.retry.now());
        if spare.is_some() || response.status() == StatusCode::TOO_MANY_REQUESTS {
            self.throttled.fetch_add(1, Ordering::Relaxed);
        }
        context.passing(response, spare).await
    }

    /// Sends a request once: with authentication and redirects, without retries.
    pub(super) async fn attempt(
        &self,
        endpoint: &Endpoint,
        call: &Call,
    ) -> Result<Result<Response, RequestError>, StoreError> {
        let mut url = call.url.clone();
        let mut used = self.auth.header(&call.scope).await;
        let mut met = false;
        let mut redirects = Redirects::default();
        loop {
            let own = url.origin() == endpoint.base.origin();
            let mut request = request(call, url.clone());
            if let (true, Some(value)) = (own, &used) {
                request.headers_mut().insert(AUTHORIZATION, value.clone());
            }
            let response = match self.http.send(request).await {
                Ok(response) => response,
                Err(broken) => return Ok(Err(broken)),
            };
            if response.status() == StatusCode::UNAUTHORIZED && own && !met {
                met = true;
                let next = self.meet(call, &response, used.as_ref()).await?;
                if next.is_none() {
                    return Ok(Ok(response));
                }
                used = next;
            } else if is_redirect(&response)
                && (reads(&call.method) || self.may_send_on(endpoint, &url, &response))
            {
                redirects.one_more(&call.context)?;
                url = self.follow(call, &url, &response)?;
            } else {
                return Ok(Ok(response));
            }
        }
    }

    /// A write follows a redirect only within the registry's own origin, and only if method and body stay the same.
    fn may_send_on(&self, endpoint: &Endpoint, from: &Url, response: &Response) -> bool {
        keeps_method(response)
            && from
                .join(header(response.headers(), LOCATION.as_str()))
                .is_ok_and(|to| to.origin() == endpoint.base.origin())
    }

    async fn meet(
        &self,
        call: &Call,
        response: &Response,
        used: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, StoreError> {
        self.auth
            .meet(&self.http, &self.retry, &call.scope, response, used)
            .await
    }

    /// Sends a body that can be sent once, with the present authentication. It follows no redirects and makes no second
    /// attempt.
    pub(super) async fn send_once(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        once: StreamedBody,
    ) -> Result<Response, RequestError> {
        let mut request = request(call, call.url.clone());
        let own = call.url.origin() == endpoint.base.origin();
        if let (true, Some(value)) = (own, self.auth.header(&call.scope).await) {
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        request
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from(once.length));
        *request.body_mut() = Some(once.body);
        self.http.send(request).await
    }

    /// Answers the challenge of an answer to [`Wire::send_once`]; tells whether a second attempt makes sense. Only the
    /// registry itself may challenge.
    pub(super) async fn renew(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        refused: &Response,
    ) -> Result<bool, StoreError> {
        if refused.url().origin() != endpoint.base.origin() {
            return Ok(false);
        }
        let used = self.auth.header(&call.scope).await;
        Ok(self.meet(call, refused, used.as_ref()).await?.is_some())
    }

    fn follow(&self, call: &Call, from: &Url, response: &Response) -> Result<Url, StoreError> {
        let to = from
            .join(header(response.headers(), LOCATION.as_str()))
            .map_err(|_| {
                call.context
                    .broken("it redirects to an address that is not valid")
            })?;
        let downgrade = from.scheme() == "https" && to.scheme() != "https";
        if downgrade || !self.http.allowed(&to) {
            return Err(call.context.broken(format!(
                "it redirects to {} by {}, which is not allowed",
                authority(&to),
                to.scheme()
            )));
        }
        Ok(to)
    }
}

fn request(call: &Call, url: Url) -> Request {
    let mut request = Request::new(call.method.clone(), url);
    request.headers_mut().clone_from(&call.headers);
    if !reads(&call.method) && call.method != Method::DELETE {
        // Some registries want the length also where there is no body.
        let length = HeaderValue::from(call.body.len());
        request.headers_mut().insert(CONTENT_LENGTH, length);
        *request.body_mut() = Some(call.body.clone().into());
    }
    request
}

fn reads(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// How often a request was redirected.
#[derive(Debug, Default)]
pub(super) struct Redirects(usize);

impl Redirects {
    /// Counts one more.
    ///
    /// # Errors
    /// [`StoreError::Broken`] if it is one too many.
    pub(super) fn one_more(&mut self, context: &RequestContext) -> Result<(), StoreError> {
        self.0 += 1;
        if self.0 > limits::REDIRECTS {
            return Err(context.broken("it redirects in circles"));
        }
        Ok(())
    }
}

/// Whether a redirect wants the same request, method and body, elsewhere.
pub(super) fn keeps_method(response: &Response) -> bool {
    matches!(response.status().as_u16(), 307 | 308)
}

pub(super) fn is_redirect(response: &Response) -> bool {
    matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308)
}
