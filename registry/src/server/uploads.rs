//! Uploads: in one request, in one body after a session was opened, in chunks, or by mounting (end-4 to 6, 11, 13, 14).

use std::sync::Arc;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use samebundle_spec::{Algorithm, Digest};
use tokio::sync::mpsc;

use super::access::Admitted;
use super::body::{drain, stopped};
use super::refusal::{Progress, Refusal};
use super::route::{Name, parameter};
use super::storage::{Storage, Upload};

/// Pieces of a body that wait to be written; hyper's are at most some hundred KiB.
const PIECES: usize = 16;

/// The address and position of an upload.
fn progress(repository: &Name, upload: &Upload) -> Progress {
    Progress {
        written: upload.written(),
        location: format!("/v2/{}/blobs/uploads/{}", repository.as_str(), upload.id()),
        id: upload.id().to_owned(),
    }
}

/// The answer that reports it.
fn answer(repository: &Name, upload: &Upload, status: StatusCode) -> Response {
    let mut response = status.into_response();
    progress(repository, upload).write(response.headers_mut());
    response
}

fn digest_parameter(uri: &Uri, name: &str) -> Result<Option<Digest>, Refusal> {
    parameter(uri, name).map(|text| text.parse()).transpose().map_err(
        |error: samebundle_spec::digest::DigestError| Refusal::Digest {
            why: error.to_string(),
        },
    )
}

/// Answers POST: mounts, takes the whole blob, or opens a session.
pub(super) async fn open(
    storage: &Storage,
    parts: &Parts,
    body: Body,
    repository: Name,
    admitted: Admitted,
) -> Result<Response, Refusal> {
    let uri = &parts.uri;
    if let Some(digest) = digest_parameter(uri, "mount")? {
        let from = parameter(uri, "from")
            .map(|from| Name::parse(&from))
            .transpose()?;
        if mount(storage, &repository, from, digest, admitted).await? {
            return Ok(created(&repository, &digest));
        }
    }
    let whole = digest_parameter(uri, "digest")?;
    let algorithm = match (whole, parameter(uri, "digest-algorithm").as_deref()) {
        (Some(digest), _) => digest.algorithm(),
        (None, None | Some("sha256")) => Algorithm::Sha256,
        (None, Some("sha512")) => Algorithm::Sha512,
        (None, Some(other)) => {
            return Err(Refusal::Digest {
                why: format!("algorithm {other:?} is not accepted"),
            });
        }
    };
    let name = repository.clone();
    let upload = storage
        .run(move |storage| storage.open_upload(&name, algorithm, whole.is_none()))
        .await?;
    let Some(digest) = whole else {
        return Ok(answer(&repository, &upload, StatusCode::ACCEPTED));
    };
    let result = match receive(&upload, body, None).await {
        Ok(()) => commit(storage, &upload, digest).await,
        Err(refusal) => Err(refusal),
    };
    if result.is_err() {
        storage.discard(&upload);
    }
    result?;
    Ok(created(&repository, &digest))
}

/// Mounts a blob of another repository; without `from`, of any that the client may pull from. A blob that it may not pull
/// counts as absent, and is uploaded.
async fn mount(
    storage: &Storage,
    repository: &Name,
    from: Option<Name>,
    digest: Digest,
    admitted: Admitted,
) -> Result<bool, Refusal> {
    let repository = repository.clone();
    storage
        .run(move |storage| Ok(storage.mount_blob(&repository, from.as_ref(), &digest, &admitted)?))
        .await
}

fn created(repository: &Name, digest: &Digest) -> Response {
    (
        StatusCode::CREATED,
        [(
            header::LOCATION,
            format!("/v2/{}/blobs/{digest}", repository.as_str()),
        )],
        [("docker-content-digest", digest.to_string())],
    )
        .into_response()
}

async fn commit(storage: &Storage, upload: &Arc<Upload>, digest: Digest) -> Result<(), Refusal> {
    let upload = Arc::clone(upload);
    storage.run(move |storage| storage.commit(&upload, &digest)).await
}

/// Streams a body into an upload. `length` is the length that the client stated in `Content-Range`.
async fn receive(upload: &Arc<Upload>, body: Body, length: Option<u64>) -> Result<(), Refusal> {
    let (sender, mut receiver) = mpsc::channel(PIECES);
    let target = Arc::clone(upload);
    let start = upload.written();
    let writer = tokio::task::spawn_blocking(move || target.write_from(&mut receiver, length));
    let mut body = body.into_data_stream();
    let mut cut = None;
    while let Some(piece) = body.next().await {
        match piece {
            // The writer ends early only with an error of its own, which is returned below.
            Ok(piece) => {
                if sender.send(piece).await.is_err() {
                    break;
                }
            }
            Err(error) => {
                cut = Some(error);
                break;
            }
        }
    }
    drop(sender);
    let written = writer.await.map_err(|error| super::storage::stopped(&error))?;
    if written.is_err() {
        drain(body).await;
    }
    written?;
    if let Some(error) = cut {
        return Err(stopped(error));
    }
    let received = upload.written() - start;
    match length {
        Some(length) if received != length => Err(Refusal::Size {
            why: format!("Content-Range says {length} bytes, {received} came"),
        }),
        _ => Ok(()),
    }
}

/// Answers GET: the position of the upload.
pub(super) fn status(storage: &Storage, repository: &Name, id: &str) -> Result<Response, Refusal> {
    let upload = storage.upload(repository, id)?;
    Ok(answer(repository, &upload, StatusCode::NO_CONTENT))
}

/// Answers PATCH: one more chunk.
pub(super) async fn append(
    storage: &Storage,
    parts: &Parts,
    body: Body,
    repository: &Name,
    id: &str,
) -> Result<Response, Refusal> {
    let upload = storage.upload(repository, id)?;
    let length = chunk(parts, repository, &upload)?;
    receive(&upload, body, length).await?;
    Ok(answer(repository, &upload, StatusCode::ACCEPTED))
}

/// Answers PUT: the last bytes, if any, and the digest of all of them.
pub(super) async fn finish(
    storage: &Storage,
    parts: &Parts,
    body: Body,
    repository: &Name,
    id: &str,
) -> Result<Response, Refusal> {
    let upload = storage.upload(repository, id)?;
    let digest = digest_parameter(&parts.uri, "digest")?.ok_or_else(|| Refusal::Digest {
        why: "the query has no digest".to_owned(),
    })?;
    let length = chunk(parts, repository, &upload)?;
    receive(&upload, body, length).await?;
    commit(storage, &upload, digest).await?;
    Ok(created(repository, &digest))
}

/// Answers DELETE: cancels the upload.
pub(super) fn cancel(storage: &Storage, repository: &Name, id: &str) -> Result<Response, Refusal> {
    let upload = storage.upload(repository, id)?;
    storage.discard(&upload);
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Checks `Content-Range: <start>-<end>` (both inclusive, no unit) against the upload; returns the chunk's length.
fn chunk(parts: &Parts, repository: &Name, upload: &Upload) -> Result<Option<u64>, Refusal> {
    let Some(range) = parts.headers.get(header::CONTENT_RANGE) else {
        return Ok(None);
    };
    let invalid = || Refusal::Size {
        why: "Content-Range is not <start>-<end>".to_owned(),
    };
    let text = range.to_str().map_err(|_| invalid())?;
    let (start, end) = text.split_once('-').ok_or_else(invalid)?;
    let start: u64 = start.parse().map_err(|_| invalid())?;
    let end: u64 = end.parse().map_err(|_| invalid())?;
    let length = end
        .checked_sub(start)
        .and_then(|length| length.checked_add(1))
        .ok_or_else(invalid)?;
    if start != upload.written() {
        return Err(Refusal::Chunk {
            at: progress(repository, upload),
        });
    }
    let declared = parts
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|declared| declared != length) {
        return Err(Refusal::Size {
            why: format!("Content-Range says {length} bytes, Content-Length does not"),
        });
    }
    Ok(Some(length))
}
