//! Refusals: the status and error code of distribution-spec 1.1 ("Error Codes") for each.
//!
//! This is a leaf: a refusal holds plain values, and all other rooms of the server use it.

use std::io;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use samebundle_spec::Digest;

use crate::StoreError;

/// The address and position of an upload: `Location` and `Range`.
#[derive(Debug)]
pub(super) struct Progress {
    /// Bytes that the registry has.
    pub(super) written: u64,
    /// The path of the upload.
    pub(super) location: String,
    /// Its name, as docker's clients know it.
    pub(super) id: String,
}

impl Progress {
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        let range = format!("0-{}", self.written.saturating_sub(1));
        for (name, value) in [("range", &range), ("docker-upload-uuid", &self.id)] {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        }
        if let Ok(value) = HeaderValue::from_str(&self.location) {
            headers.insert(header::LOCATION, value);
        }
    }
}

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("no such resource")]
    NoRoute,
    #[error("{method} is not supported here")]
    Unsupported { method: Method },
    #[error("repository name {name:?} is not valid: {why}")]
    Name { name: String, why: String },
    #[error("repository {name} is not known")]
    NameUnknown { name: String },
    #[error("blob {digest} is not in repository {repository}")]
    BlobUnknown { repository: String, digest: Digest },
    #[error("manifest {reference} is not in repository {repository}")]
    ManifestUnknown { repository: String, reference: String },
    #[error("the manifest names {digest}, which is not in repository {repository}; push it first")]
    ManifestBlobUnknown { repository: String, digest: Digest },
    #[error("the manifest is not valid: {why}")]
    ManifestInvalid { why: String },
    #[error("the manifest has more than {limit} bytes")]
    ManifestTooLarge { limit: u64 },
    #[error("the tag was changed by somebody else")]
    Precondition,
    #[error("this registry is read-only")]
    ReadOnly,
    #[error("tag {tag} exists already, and tags of this registry do not change; push another tag")]
    TagImmutable { tag: String },
    #[error("digest is not valid: {why}")]
    Digest { why: String },
    #[error("{why}")]
    Size { why: String },
    #[error("upload {id} is not known")]
    UploadUnknown { id: String },
    #[error("upload {id} is being written by another request")]
    UploadBusy { id: String },
    #[error("the body stopped: {why}")]
    BodyCut { why: String },
    #[error("nothing of the body came for too long; send it again")]
    BodyTooSlow,
    #[error("the blob has more than {limit} bytes, which is the most that this registry takes")]
    BlobTooLarge { limit: u64 },
    #[error("log in: this needs a name and a password, or a token")]
    Unauthorized { challenge: HeaderValue },
    #[error("{user} may not {what}")]
    Denied { user: String, what: String },
    #[error("tokens are given for grant_type=password, or for a GET with a password")]
    GrantType,
    #[error("the chunk does not start where the upload ends ({} bytes)", .at.written)]
    Chunk { at: Progress },
    #[error("parameter {name} is not valid: {why}")]
    Parameter { name: &'static str, why: String },
    #[error("too many uploads are open; finish or cancel one")]
    TooManyUploads,
    #[error("the range is outside the {size} bytes of the blob")]
    Range { size: u64 },
    #[error("{}", public_message(.0))]
    Storage(#[from] StoreError),
}

fn is_full(error: &StoreError) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error, StoreError::Path(error) if matches!(error.source.kind(), StorageFull | QuotaExceeded))
}

/// The message that a client gets about a failure of the registry: it names no file of the machine.
fn public_message(error: &StoreError) -> String {
    match error {
        _ if is_full(error) => {
            "the storage of the registry is full; whoever runs it has to make room, then send this again"
                .to_owned()
        }
        StoreError::Path(error) => {
            let why = match error.source.raw_os_error() {
                Some(number) => io::Error::from_raw_os_error(number).to_string(),
                None => error.source.kind().to_string(),
            };
            format!("the storage of the registry failed ({why}); its log has more")
        }
        _ => "the registry could not do it; its log says why".to_owned(),
    }
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::NoRoute
            | Self::NameUnknown { .. }
            | Self::BlobUnknown { .. }
            | Self::ManifestUnknown { .. }
            | Self::UploadUnknown { .. } => StatusCode::NOT_FOUND,
            Self::Unsupported { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Name { .. }
            | Self::ManifestBlobUnknown { .. }
            | Self::ManifestInvalid { .. }
            | Self::Digest { .. }
            | Self::Size { .. }
            | Self::BodyCut { .. }
            | Self::GrantType
            | Self::Parameter { .. } => StatusCode::BAD_REQUEST,
            Self::ManifestTooLarge { .. } | Self::BlobTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Precondition => StatusCode::PRECONDITION_FAILED,
            Self::Unauthorized { .. } => StatusCode::UNAUTHORIZED,
            Self::ReadOnly | Self::Denied { .. } => StatusCode::FORBIDDEN,
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::UploadBusy { .. } | Self::TagImmutable { .. } => StatusCode::CONFLICT,
            Self::Chunk { .. } | Self::Range { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::TooManyUploads => StatusCode::TOO_MANY_REQUESTS,
            Self::Storage(error) if is_full(error) => StatusCode::INSUFFICIENT_STORAGE,
            Self::Storage(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NoRoute | Self::Unsupported { .. } | Self::Range { .. } | Self::GrantType => "UNSUPPORTED",
            Self::Unauthorized { .. } => "UNAUTHORIZED",
            Self::Name { .. } => "NAME_INVALID",
            Self::NameUnknown { .. } => "NAME_UNKNOWN",
            Self::BlobUnknown { .. } => "BLOB_UNKNOWN",
            Self::ManifestUnknown { .. } => "MANIFEST_UNKNOWN",
            Self::ManifestBlobUnknown { .. } => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid { .. } | Self::Precondition => "MANIFEST_INVALID",
            Self::Digest { .. } => "DIGEST_INVALID",
            Self::ManifestTooLarge { .. } | Self::BlobTooLarge { .. } | Self::Size { .. } => "SIZE_INVALID",
            Self::ReadOnly | Self::TagImmutable { .. } | Self::Denied { .. } => "DENIED",
            Self::UploadUnknown { .. } => "BLOB_UPLOAD_UNKNOWN",
            Self::UploadBusy { .. } | Self::BodyCut { .. } | Self::BodyTooSlow | Self::Chunk { .. } => {
                "BLOB_UPLOAD_INVALID"
            }
            Self::Parameter { .. } => "PAGINATION_NUMBER_INVALID",
            Self::TooManyUploads => "TOOMANYREQUESTS",
            Self::Storage(_) => "UNKNOWN",
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = serde_json::json!({
            "errors": [{ "code": self.code(), "message": self.to_string() }]
        });
        let mut response = (
            self.status(),
            [(header::CONTENT_TYPE, "application/json")],
            Body::from(body.to_string()),
        )
            .into_response();
        match self {
            Self::Chunk { at } => at.write(response.headers_mut()),
            Self::Range { size } => {
                if let Ok(value) = format!("bytes */{size}").parse() {
                    response.headers_mut().insert(header::CONTENT_RANGE, value);
                }
            }
            Self::Unauthorized { challenge } => {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            }
            Self::TooManyUploads => {
                response
                    .headers_mut()
                    .insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
            }
            _ => {}
        }
        response
    }
}
