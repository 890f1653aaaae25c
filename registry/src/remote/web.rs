//! A service that is no registry, such as a tracking server, contacted by the rules of this room: plain http only to this
//! machine and to hosts that are listed, the same proxies and certificates, bodies within limits, the same retries.
//!
//! Every request goes to the origin of the service's address, so that its credential goes nowhere else: no redirect is
//! followed.

use std::fmt;
use std::path::PathBuf;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::{Body, Method, Request, Response, StatusCode, Url};
use samebundle_spec::limits;
use tokio_util::io::ReaderStream;
use zeroize::Zeroizing;

use super::answer::{RequestContext, header};
use super::http::{Http, authority};
use super::retry::{self, RetryPolicy, Try};
use super::{ClientError, RemoteConfig};
use crate::StoreError;

/// The address of a service, without its credential.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WebAddress(Url);

impl WebAddress {
    /// Reads an address, `http://HOST[:PORT][/PATH]` or with `https`.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it. It does not repeat a credential.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| "it is no address; write http://HOST:PORT or https://HOST")?;
        match (url.scheme(), url.host_str()) {
            ("http" | "https", Some(_)) => {}
            _ => return Err("it is no address of http or https"),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "it holds a name or a password, which would be kept and shown; give them by environment variables",
            );
        }
        match url.query().is_some() || url.fragment().is_some() {
            true => Err("it has a query or a fragment; give the address of the service alone"),
            false => Ok(Self(url)),
        }
    }
}

impl fmt::Display for WebAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl fmt::Debug for WebAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a request does with the thing that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebMethod {
    /// Reads it.
    Get,
    /// Sends something to it.
    Post,
    /// Replaces it.
    Put,
}

/// What is sent.
#[derive(Clone, Debug)]
pub enum WebBody {
    /// Nothing.
    Empty,
    /// A JSON document.
    Json(Bytes),
    /// A file, read while it is sent.
    File {
        /// Where it is.
        path: PathBuf,
        /// Its bytes.
        size: u64,
    },
}

/// One request.
#[derive(Clone, Debug)]
pub struct WebCall<'a> {
    /// What it does.
    pub method: WebMethod,
    /// The path below the address of the service; its segments are encoded here.
    pub path: &'a str,
    /// The query.
    pub query: &'a [(&'a str, &'a str)],
    /// What is sent.
    pub body: WebBody,
    /// The operation for messages, an infinitive with its preposition: "could not {operation} {place}".
    pub operation: &'static str,
    /// Whether the request may be sent again after a transient failure.
    pub repeatable: bool,
}

/// An answer that is neither a transient failure nor a refusal of the credential.
#[derive(Clone, Debug)]
pub struct WebAnswer {
    /// The status of HTTP: 2xx, or 4xx.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// A service at one address.
#[derive(Debug)]
pub struct WebService {
    http: Http,
    retry: RetryPolicy,
    address: WebAddress,
    authorization: Option<HeaderValue>,
    place: String,
}

impl WebService {
    /// Sets up the requests to a service; none is sent yet. `what` names it in messages. `authorization` is the value of the
    /// header of that name; the credentials of registries in `config` are not used.
    ///
    /// # Errors
    /// [`ClientError::Offline`] if offline was asked for; [`ClientError::Service`] if the address may not be contacted as
    /// things are set up.
    pub fn new(
        config: RemoteConfig,
        what: &str,
        address: WebAddress,
        authorization: Option<&Zeroizing<String>>,
    ) -> Result<Self, ClientError> {
        let refused = |why: String| ClientError::Service {
            place: format!("{what} at {address}"),
            why,
        };
        let retry = config.retry.clone();
        let http = Http::to_others(config)?;
        if !http.allowed(&address.0) {
            return Err(refused(format!(
                "plain http is used for this machine only; give an address of https, or name {} in \
                 SAMEBUNDLE_INSECURE_REGISTRIES",
                authority(&address.0)
            )));
        }
        let authorization = authorization.map(|text| {
            let mut value = HeaderValue::from_str(text)
                .map_err(|_| refused("its credential holds characters that no header may hold".to_owned()))?;
            value.set_sensitive(true);
            Ok::<_, ClientError>(value)
        });
        Ok(Self {
            retry,
            place: match http.proxy(&address.0) {
                None => format!("{what} at {address}"),
                Some(proxy) => format!("{what} at {address} (through the proxy {proxy})"),
            },
            authorization: authorization.transpose()?,
            http,
            address,
        })
    }

    /// The service as messages name it.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Sends a request until the answer is not a transient failure.
    ///
    /// # Errors
    /// If there is no answer, the credential does not suffice, or the service fails after all retries.
    pub async fn send(&self, call: &WebCall<'_>) -> Result<WebAnswer, StoreError> {
        let context = RequestContext {
            place: self.place.clone(),
            operation: call.operation,
            subject: call.path.to_owned(),
            digest: None,
        };
        let mut attempts = self.retry.attempts(&context);
        loop {
            let request = self.request(call, &context).await?;
            let tried = match self.http.send(request).await {
                Ok(response) if !retry::passes(response.status()) => Try::Done(response),
                Ok(response) => {
                    let spare = retry::context(response.headers(), self.retry.now());
                    let (failure, why) = context.passing(response, spare).await;
                    Try::Again(failure, why)
                }
                Err(broken) => Try::Again(broken.failure, broken.why),
            };
            let tried = match tried {
                Try::Again(failure, why) if !call.repeatable => {
                    return Err(context.given_up(failure, why, 1));
                }
                tried => tried,
            };
            if let Some(response) = attempts.after(tried).await? {
                return self.answer(response, &context).await;
            }
        }
    }

    async fn request(&self, call: &WebCall<'_>, context: &RequestContext) -> Result<Request, StoreError> {
        let mut url = self.address.0.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(call.path.split('/'));
        }
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(call.query);
        }
        let method = match call.method {
            WebMethod::Get => Method::GET,
            WebMethod::Post => Method::POST,
            WebMethod::Put => Method::PUT,
        };
        let mut request = Request::new(method, url);
        if let Some(value) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, value.clone());
        }
        let (kind, length, body): (_, _, Body) = match &call.body {
            WebBody::Empty => return Ok(request),
            WebBody::Json(bytes) => ("application/json", bytes.len() as u64, bytes.clone().into()),
            WebBody::File { path, size } => {
                let file = tokio::fs::File::open(path).await;
                let file = file.map_err(|error| {
                    context.unavailable(format!("{} could not be read: {error}", path.display()))
                })?;
                let body = Body::wrap_stream(ReaderStream::new(file));
                ("application/octet-stream", *size, body)
            }
        };
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        *request.body_mut() = Some(body);
        Ok(request)
    }

    async fn answer(&self, response: Response, context: &RequestContext) -> Result<WebAnswer, StoreError> {
        let status = response.status();
        if status.is_redirection() {
            let to = header(response.headers(), LOCATION.as_str()).to_owned();
            return Err(StoreError::Unreachable {
                place: self.place.clone(),
                operation: context.operation,
                why: format!("it sends us on to {to:?}; give the address of the service itself"),
            });
        }
        let denied = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        if denied || status.is_server_error() {
            return Err(context.refused(response).await);
        }
        Ok(WebAnswer {
            status: status.as_u16(),
            body: context.read(response, limits::SERVICE_ANSWER_BYTES).await?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_holds_no_secret_and_nothing_of_a_request() {
        for (text, wanted) in [
            ("http://127.0.0.1:5000", Some("http://127.0.0.1:5000")),
            (
                "https://tracking.example/mlflow/",
                Some("https://tracking.example/mlflow"),
            ),
            ("http://user:secret@127.0.0.1:5000", None),
            ("http://127.0.0.1:5000/?a=b", None),
            ("http://127.0.0.1:5000/#a", None),
            ("file:///tmp/mlruns", None),
            ("sqlite:///mlflow.db", None),
            ("127.0.0.1:5000", None),
            ("", None),
        ] {
            let read = WebAddress::parse(text).map(|address| address.to_string());
            assert_eq!(read.as_deref().ok(), wanted, "{text}");
        }
    }

    #[test]
    fn plain_http_goes_to_this_machine_and_to_listed_hosts() {
        let made = |address: &str, insecure: &[&str]| {
            let config = RemoteConfig {
                insecure: insecure.iter().map(|host| (*host).to_owned()).collect(),
                ..RemoteConfig::default()
            };
            WebService::new(config, "it", WebAddress::parse(address).unwrap(), None)
        };
        assert!(made("http://127.0.0.1:5000", &[]).is_ok());
        assert!(made("https://tracking.example", &[]).is_ok());
        assert!(made("http://tracking.example:5000", &["tracking.example:5000"]).is_ok());
        let why = made("http://tracking.example:5000", &[]).unwrap_err().to_string();
        assert!(why.contains("SAMEBUNDLE_INSECURE_REGISTRIES"), "{why}");
    }
}
