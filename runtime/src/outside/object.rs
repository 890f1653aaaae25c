//! Objects of buckets: Amazon S3, Google Cloud Storage, and servers that speak as S3 does.
//!
//! The crate `rusty-s3` makes addresses, signs them and reads listings; it sends nothing. Requests go through
//! [`Downloads`], by the rules of all requests. Google's storage speaks the same protocol for what is public.

use std::path::Path;
use std::time::Duration;

use rusty_s3::actions::{ListObjectsV2, ListObjectsV2Response};
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};
use samebundle_registry::StoreError;
use samebundle_registry::remote::download::{Downloads, Wanted};
use samebundle_spec::limits;
use url::Url;

use super::{OutsideError, Service};
use crate::meter::Meter;

/// How long a signed address holds.
const SIGNED: Duration = Duration::from_secs(3_600);
/// The host of Google's storage.
const GCS: &str = "https://storage.googleapis.com";
/// The name space of a listing as Amazon writes it, and as Google does.
const NAME_SPACES: [&str; 2] = [
    "http://s3.amazonaws.com/doc/2006-03-01/",
    "http://doc.s3.amazonaws.com/2006-03-01",
];

/// How buckets are reached, in the words of Amazon's own tools.
#[derive(Clone, Default)]
pub(crate) struct ObjectSettings {
    /// `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL`.
    pub(crate) endpoint: Option<String>,
    /// `AWS_REGION` or `AWS_DEFAULT_REGION`.
    pub(crate) region: Option<String>,
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`.
    pub(crate) login: Option<(String, String, Option<String>)>,
}

/// An object, or what begins with its name and a slash.
#[derive(Clone, Copy)]
pub(crate) struct Object<'a> {
    pub(crate) service: Service,
    pub(crate) bucket: &'a str,
    pub(crate) key: &'a str,
    /// The address as messages have it.
    pub(crate) shown: &'a str,
}

/// Fetches an object as a file, or all objects below a prefix as a folder.
pub(crate) async fn fetch(
    downloads: &Downloads,
    settings: &ObjectSettings,
    object: Object<'_>,
    to: &Path,
    meter: &Meter,
) -> Result<(), OutsideError> {
    let reached = Reached::new(downloads, settings, object)?;
    if !object.key.is_empty() && !object.key.ends_with('/') {
        match reached.file(object.key, to, meter).await {
            Err(StoreError::NotFound { .. }) => {}
            ended => return Ok(ended.map(drop)?),
        }
    }
    let prefix = match object.key.trim_end_matches('/') {
        "" => String::new(),
        key => format!("{key}/"),
    };
    reached.folder(&prefix, to, meter).await
}

struct Reached<'a> {
    downloads: &'a Downloads,
    bucket: Bucket,
    credentials: Option<Credentials>,
    shown: &'a str,
}

impl<'a> Reached<'a> {
    fn new(
        downloads: &'a Downloads,
        settings: &ObjectSettings,
        object: Object<'a>,
    ) -> Result<Self, OutsideError> {
        let region = settings.region.as_deref();
        let (endpoint, style) = match (object.service, &settings.endpoint) {
            (Service::Gcs, _) => (GCS.to_owned(), UrlStyle::Path),
            (_, Some(endpoint)) => (endpoint.clone(), UrlStyle::Path),
            (Service::Minio, None) => {
                let why = "it is not said where the server is; name it in AWS_ENDPOINT_URL";
                return Err(OutsideError::Away(why.to_owned()));
            }
            (Service::S3, None) => {
                // The host without a region redirects what needs no signature.
                let host = match (region, &settings.login) {
                    (None, None) => "https://s3.amazonaws.com".to_owned(),
                    (region, _) => format!("https://s3.{}.amazonaws.com", region.unwrap_or("us-east-1")),
                };
                let dots = object.bucket.contains('.');
                (
                    host,
                    if dots {
                        UrlStyle::Path
                    } else {
                        UrlStyle::VirtualHost
                    },
                )
            }
        };
        let endpoint = Url::parse(&endpoint)
            .map_err(|_| OutsideError::Away("AWS_ENDPOINT_URL holds no address".to_owned()))?;
        let region = region.unwrap_or("us-east-1").to_owned();
        let bucket = Bucket::new(endpoint, style, object.bucket.to_owned(), region);
        let login = settings.login.clone().filter(|_| object.service != Service::Gcs);
        Ok(Self {
            downloads,
            bucket: bucket.map_err(|error| OutsideError::Away(error.to_string()))?,
            credentials: login.map(|(key, secret, token)| match token {
                Some(token) => Credentials::new_with_token(key, secret, token),
                None => Credentials::new(key, secret),
            }),
            shown: object.shown,
        })
    }

    fn wanted<'w>(&'w self, url: &'w Url, limit: u64) -> Wanted<'w> {
        let shown = self.shown;
        Wanted { url, shown, limit }
    }

    async fn file(&self, key: &str, to: &Path, meter: &Meter) -> Result<u64, StoreError> {
        let url = self
            .bucket
            .get_object(self.credentials.as_ref(), key)
            .sign(SIGNED);
        let wanted = self.wanted(&url, limits::IMPORT_BYTES);
        self.downloads
            .to_file(wanted, to, |bytes| meter.add_bytes(bytes))
            .await
    }

    /// Fetches all objects below a prefix.
    async fn folder(&self, prefix: &str, to: &Path, meter: &Meter) -> Result<(), OutsideError> {
        let failed = |why: String| OutsideError::Failed(why);
        let (mut token, mut count, mut bytes) = (None, 0, 0);
        loop {
            let page = self.page(prefix, token.as_deref()).await?;
            for found in page.contents {
                let Some(name) = found.key.strip_prefix(prefix).filter(|name| !name.is_empty()) else {
                    continue;
                };
                if name.ends_with('/') {
                    continue;
                }
                if name.split('/').any(|part| ["", ".", ".."].contains(&part)) || name.contains('\0') {
                    return Err(failed(format!(
                        "the object {name:?} has no name that a file can have"
                    )));
                }
                count += 1;
                let path = to.join(name);
                let parent = path.parent().unwrap_or(to);
                let made = tokio::fs::create_dir_all(parent).await;
                made.map_err(|error| failed(format!("{}: {error}", parent.display())))?;
                bytes += self.file(&found.key, &path, meter).await?;
                if count > limits::OUTPUT_ENTRIES || bytes > limits::IMPORT_BYTES {
                    return Err(failed("there are too many objects, or too large ones".to_owned()));
                }
            }
            token = page.next_continuation_token;
            if token.is_none() {
                break;
            }
        }
        match count {
            0 => Err(OutsideError::Away("there is no such object".to_owned())),
            _ => Ok(()),
        }
    }

    async fn page(&self, prefix: &str, token: Option<&str>) -> Result<ListObjectsV2Response, OutsideError> {
        let mut list = self.bucket.list_objects_v2(self.credentials.as_ref());
        list.with_prefix(prefix);
        if let Some(token) = token {
            list.with_continuation_token(token);
        }
        let url = list.sign(SIGNED);
        let wanted = self.wanted(&url, limits::SERVICE_ANSWER_BYTES);
        let bytes = self.downloads.bytes(wanted).await?;
        let [amazon, google] = NAME_SPACES;
        let text = String::from_utf8_lossy(&bytes).replace(google, amazon);
        ListObjectsV2::parse_response(&text)
            .map_err(|error| OutsideError::Away(format!("its listing cannot be read: {error}")))
    }
}
