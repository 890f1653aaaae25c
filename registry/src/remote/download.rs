//! Files of any web server, by the rules of this room: plain http only to this machine and to hosts that are listed, the
//! same proxies, certificates and retries.
//!
//! Redirects are followed for as long as these rules allow the next address, and never from https to http. A name and a
//! password in the address go to its own origin only, and are in no message. A download that breaks goes on where it
//! stopped if the server marks its bytes with a strong entity tag, and begins again otherwise.

use std::io::SeekFrom;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_RANGE, ETAG, HeaderValue, IF_RANGE, LOCATION, RANGE,
};
use reqwest::{Method, Request, Response, StatusCode, Url};
use tokio::fs::File;
use tokio::io::{AsyncSeekExt, AsyncWriteExt};

use super::answer::{RequestContext, header};
use super::http::{Http, RequestError, authority, describe};
use super::retry::{self, Failure, RetryPolicy, Try};
use super::wire::{Redirects, is_redirect};
use super::{ClientError, RemoteConfig};
use crate::StoreError;

/// What messages say of every request here.
const OPERATION: &str = "fetch from";

/// Fetches files of web servers.
#[derive(Debug)]
pub struct Downloads {
    http: Http,
    retry: RetryPolicy,
}

/// A file that is fetched.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Its address; a name and a password in it are sent to its origin.
    pub url: &'a Url,
    /// The address as messages have it, without credentials.
    pub shown: &'a str,
    /// The most bytes that are taken.
    pub limit: u64,
}

/// How much of a file has arrived.
#[derive(Default)]
struct Arrived {
    bytes: u64,
    /// The strong entity tag of what the bytes belong to; empty if there is none.
    etag: String,
}

impl Downloads {
    /// Sets up the requests; none is sent yet. Credentials of registries in `config` are not used.
    ///
    /// # Errors
    /// [`ClientError::Offline`] if offline was asked for; [`ClientError::Proxy`] if a proxy's address is none.
    pub fn new(config: RemoteConfig) -> Result<Self, ClientError> {
        let retry = config.retry.clone();
        let http = Http::to_others(config)?;
        Ok(Self { http, retry })
    }

    /// Fetches a file to a path, and returns its size. `counted` is told of every piece.
    ///
    /// # Errors
    /// If the server cannot be reached, refuses or has no such file, it is larger than wanted, or it cannot be written.
    pub async fn to_file(
        &self,
        wanted: Wanted<'_>,
        path: &Path,
        counted: impl Fn(u64),
    ) -> Result<u64, StoreError> {
        let context = context(wanted);
        let mut attempts = self.retry.attempts(&context);
        let mut arrived = Arrived::default();
        // Nothing is made before the server has it.
        let mut made = None;
        loop {
            let tried = match self.answer(wanted, &arrived, &context).await? {
                Ok(response) => {
                    let mut file = match made.take() {
                        Some(file) => file,
                        None => File::create(path).await.map_err(StoreError::io("write", path))?,
                    };
                    let begun = rewind(&response, &mut arrived, &mut file).await;
                    begun.map_err(StoreError::io("write", path))?;
                    let poured = pour(response, (wanted, path), &mut arrived, &mut file, &counted).await?;
                    made = Some(file);
                    poured
                }
                Err(again) => again,
            };
            if let (Some(size), Some(file)) = (attempts.after(tried).await?, &made) {
                file.sync_all().await.map_err(StoreError::io("write", path))?;
                return Ok(size);
            }
        }
    }

    /// Fetches a short document.
    ///
    /// # Errors
    /// As [`Downloads::to_file`].
    pub async fn bytes(&self, wanted: Wanted<'_>) -> Result<Vec<u8>, StoreError> {
        let context = context(wanted);
        let mut attempts = self.retry.attempts(&context);
        loop {
            let tried = match self.answer(wanted, &Arrived::default(), &context).await? {
                Ok(response) => Try::Done(context.read(response, wanted.limit).await?),
                Err(again) => match again {
                    Try::Again(failure, why) => Try::Again(failure, why),
                    _ => Try::Next,
                },
            };
            if let Some(bytes) = attempts.after(tried).await? {
                return Ok(bytes);
            }
        }
    }

    /// Asks for what has not arrived. The answer is one with content, or why to ask again.
    async fn answer(
        &self,
        wanted: Wanted<'_>,
        arrived: &Arrived,
        context: &RequestContext,
    ) -> Result<Result<Response, Try<u64>>, StoreError> {
        let response = match self.follow(wanted.url, arrived, context).await? {
            Ok(response) => response,
            Err(broken) => return Ok(Err(Try::Again(broken.failure, broken.why))),
        };
        let status = response.status();
        if retry::passes(status) {
            let spare = retry::context(response.headers(), self.retry.now());
            let (failure, why) = context.passing(response, spare).await;
            return Ok(Err(Try::Again(failure, why)));
        }
        if arrived.bytes > 0 && status == StatusCode::RANGE_NOT_SATISFIABLE {
            let why = "it does not go on where it stopped".to_owned();
            return Ok(Err(Try::Again(Failure::Passing(None), why)));
        }
        match status {
            StatusCode::OK => Ok(Ok(response)),
            StatusCode::PARTIAL_CONTENT if goes_on(&response, arrived) => Ok(Ok(response)),
            StatusCode::PARTIAL_CONTENT => Err(context.broken("it sends another part than was asked for")),
            _ => Err(context.refused(response).await),
        }
    }

    /// Sends the request, and again to where each answer redirects it.
    async fn follow(
        &self,
        first: &Url,
        arrived: &Arrived,
        context: &RequestContext,
    ) -> Result<Result<Response, RequestError>, StoreError> {
        let (mut url, login) = without_login(first);
        let mut redirects = Redirects::default();
        loop {
            if !self.http.allowed(&url) {
                return Err(StoreError::Unreachable {
                    place: context.place.clone(),
                    operation: OPERATION,
                    why: format!(
                        "plain http is used for this machine only; give an address of https, or name {} in \
                         SAMEBUNDLE_INSECURE_REGISTRIES",
                        authority(&url)
                    ),
                });
            }
            let own = url.origin() == first.origin();
            let login = login.as_ref().filter(|_| own);
            let response = match self.http.send(request(&url, login, arrived)).await {
                Ok(response) => response,
                Err(broken) => return Ok(Err(broken)),
            };
            if !is_redirect(&response) {
                return Ok(Ok(response));
            }
            redirects.one_more(context)?;
            let next = url.join(header(response.headers(), LOCATION.as_str()));
            let next = next.map_err(|_| context.broken("it redirects to an address that is not valid"))?;
            if url.scheme() == "https" && next.scheme() != "https" {
                return Err(context.broken("it redirects from https to http"));
            }
            url = without_login(&next).0;
        }
    }
}

fn context(wanted: Wanted<'_>) -> RequestContext {
    RequestContext {
        place: authority(wanted.url),
        operation: OPERATION,
        subject: wanted.shown.to_owned(),
        digest: None,
    }
}

/// Takes the name and the password out of an address, as the value of a header.
fn without_login(url: &Url) -> (Url, Option<HeaderValue>) {
    let mut plain = url.clone();
    let (name, password) = (url.username(), url.password());
    if name.is_empty() && password.is_none() {
        return (plain, None);
    }
    // An address with a host may lose both.
    let _ = plain.set_username("");
    let _ = plain.set_password(None);
    let decoded = |text: &str| percent_decoded(text);
    let both = format!("{}:{}", decoded(name), decoded(password.unwrap_or_default()));
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(both))).ok();
    value.iter_mut().for_each(|value| value.set_sensitive(true));
    (plain, value)
}

/// Decodes `%41`. The parser of forms does, once a plus is protected from it.
fn percent_decoded(text: &str) -> String {
    let form = format!("a={}", text.replace('+', "%2B").replace('&', "%26"));
    let mut pairs = url::form_urlencoded::parse(form.as_bytes());
    pairs
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

fn request(url: &Url, login: Option<&HeaderValue>, arrived: &Arrived) -> Request {
    let mut request = Request::new(Method::GET, url.clone());
    let headers = request.headers_mut();
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some(login) = login {
        headers.insert(AUTHORIZATION, login.clone());
    }
    if arrived.bytes > 0
        && let (Ok(range), Ok(tag)) = (
            HeaderValue::from_str(&format!("bytes={}-", arrived.bytes)),
            HeaderValue::from_str(&arrived.etag),
        )
    {
        headers.insert(RANGE, range);
        headers.insert(IF_RANGE, tag);
    }
    request
}

/// Tells whether a part of the file begins where the last one stopped.
fn goes_on(response: &Response, arrived: &Arrived) -> bool {
    let range = header(response.headers(), CONTENT_RANGE.as_str());
    arrived.bytes > 0 && range.starts_with(&format!("bytes {}-", arrived.bytes))
}

/// Sets the file to where the answer goes on: after what has arrived, or at its beginning.
async fn rewind(response: &Response, arrived: &mut Arrived, file: &mut File) -> std::io::Result<()> {
    if response.status() == StatusCode::PARTIAL_CONTENT {
        return Ok(());
    }
    let etag = header(response.headers(), ETAG.as_str());
    arrived.bytes = 0;
    arrived.etag = if etag.starts_with('"') {
        etag.to_owned()
    } else {
        String::new()
    };
    file.set_len(0).await?;
    file.seek(SeekFrom::Start(0)).await.map(drop)
}

/// Writes the content of an answer to the file.
async fn pour(
    mut response: Response,
    (wanted, path): (Wanted<'_>, &Path),
    arrived: &mut Arrived,
    file: &mut File,
    counted: &impl Fn(u64),
) -> Result<Try<u64>, StoreError> {
    let before = arrived.bytes;
    loop {
        match response.chunk().await {
            Ok(None) => {
                file.flush().await.map_err(StoreError::io("write", path))?;
                return Ok(Try::Done(arrived.bytes));
            }
            Ok(Some(chunk)) => {
                arrived.bytes += chunk.len() as u64;
                if arrived.bytes > wanted.limit {
                    return Err(StoreError::Invalid {
                        subject: wanted.shown.to_owned(),
                        why: format!("it has more than {} bytes", wanted.limit),
                    });
                }
                counted(chunk.len() as u64);
                file.write_all(&chunk)
                    .await
                    .map_err(StoreError::io("write", path))?;
            }
            Err(error) => {
                let further = arrived.bytes > before && !arrived.etag.is_empty();
                if !further {
                    // What has arrived cannot be told from another version of the file.
                    *arrived = Arrived::default();
                }
                return Ok(match further {
                    true => Try::Further,
                    false => Try::Again(Failure::Passing(None), describe(&error)),
                });
            }
        }
    }
}
