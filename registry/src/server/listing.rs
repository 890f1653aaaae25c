//! Listings in pages: tags (end-8), referrers (end-12), and the catalog of repositories as docker-registry has it.

use axum::http::request::Parts;
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use samebundle_spec::{Descriptor, Digest, MediaType, Tag, limits};
use serde_json::{Value, json};

use super::access::Admitted;
use super::refusal::Refusal;
use super::route::{Name, parameter};
use super::storage::Storage;

/// A page: the first `n` entries after `last`.
fn page(uri: &Uri) -> Result<(usize, Option<String>), Refusal> {
    let n = match parameter(uri, "n") {
        None => limits::PAGE,
        Some(text) => text.parse::<usize>().map_err(|_| Refusal::Parameter {
            name: "n",
            why: "it is not a number".to_owned(),
        })?,
    };
    Ok((n.min(limits::PAGE), parameter(uri, "last")))
}

/// Adds `Link: <...>; rel="next"`.
fn link(response: &mut Response, path: &str, n: usize, last: &str, more: &[(&str, &str)]) {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("n", &n.to_string()).append_pair("last", last);
    for (name, value) in more {
        query.append_pair(name, value);
    }
    let text = format!("<{path}?{}>; rel=\"next\"", query.finish());
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().insert(header::LINK, value);
    }
}

/// Answers `tags/list`.
pub(super) async fn tags(storage: &Storage, parts: &Parts, repository: Name) -> Result<Response, Refusal> {
    let name = repository.as_str().to_owned();
    let tags = storage
        .run(move |storage| {
            if !storage.knows(&repository) {
                return Err(Refusal::NameUnknown {
                    name: repository.as_str().to_owned(),
                });
            }
            Ok(storage.tags(&repository)?)
        })
        .await?;
    tags_page(&parts.uri, &name, &tags)
}

/// The requested page of sorted tags.
pub(super) fn tags_page(uri: &Uri, name: &str, tags: &[Tag]) -> Result<Response, Refusal> {
    let tags: Vec<&str> = tags.iter().map(Tag::as_str).collect();
    let path = format!("/v2/{name}/tags/list");
    words_page(uri, &path, &tags, |shown| json!({ "name": name, "tags": shown }))
}

/// Answers `_catalog`: the repositories that the client may pull from.
pub(super) async fn catalog(
    storage: &Storage,
    parts: &Parts,
    admitted: Admitted,
) -> Result<Response, Refusal> {
    let names = storage.run(|storage| Ok(storage.repositories()?)).await?;
    let seen = names.iter().filter(|name| admitted.may_pull(name));
    catalog_page(&parts.uri, seen)
}

/// The requested page of sorted repositories.
pub(super) fn catalog_page<'a>(
    uri: &Uri,
    names: impl Iterator<Item = &'a Name>,
) -> Result<Response, Refusal> {
    let names: Vec<&str> = names.map(Name::as_str).collect();
    words_page(
        uri,
        "/v2/_catalog",
        &names,
        |shown| json!({ "repositories": shown }),
    )
}

/// The requested page of sorted words, in the document that `document` makes of them.
fn words_page(
    uri: &Uri,
    path: &str,
    all: &[&str],
    document: impl FnOnce(&[&str]) -> Value,
) -> Result<Response, Refusal> {
    let (n, last) = page(uri)?;
    let start = last.map_or(0, |last| all.partition_point(|word| *word <= last.as_str()));
    let shown = &all[start..all.len().min(start + n)];
    let body = document(shown).to_string();
    let mut response = ([(header::CONTENT_TYPE, "application/json")], body).into_response();
    if let Some(last) = shown.last().filter(|_| start + shown.len() < all.len()) {
        link(&mut response, path, n, last, &[]);
    }
    Ok(response)
}

/// Answers `referrers/<subject>`: an index of the manifests that refer to it, of one artifact type if that is requested.
pub(super) async fn referrers(
    storage: &Storage,
    parts: &Parts,
    repository: Name,
    subject: Digest,
) -> Result<Response, Refusal> {
    let (n, last) = page(&parts.uri)?;
    let n = n.max(1);
    let filter = parameter(&parts.uri, "artifactType");
    let path = format!("/v2/{}/referrers/{subject}", repository.as_str());
    let (shown, next) = storage
        .run(move |storage| {
            let mut digests = storage.referrers(&repository, &subject)?;
            if let Some(last) = last.and_then(|last| last.parse::<Digest>().ok()) {
                digests.retain(|digest| *digest > last);
            }
            let mut shown = Vec::new();
            for digest in &digests {
                let Some(entry) = storage.referrer(&repository, &subject, digest)? else {
                    continue;
                };
                let kind = entry.artifact_type.as_ref().map(MediaType::as_str);
                if filter.is_some() && filter.as_deref() != kind {
                    continue;
                }
                if shown.len() == n {
                    let last: Option<Digest> = shown.last().map(|entry: &Descriptor| entry.digest);
                    return Ok((shown, last));
                }
                shown.push(entry);
            }
            Ok((shown, None))
        })
        .await?;
    Ok(index(&parts.uri, n, &path, &shown, next))
}

/// The requested page of the referrers of `subject`, sorted by digest.
pub(super) fn referrers_page(
    uri: &Uri,
    repository: &Name,
    subject: &Digest,
    mut found: Vec<Descriptor>,
) -> Result<Response, Refusal> {
    let (n, last) = page(uri)?;
    let n = n.max(1);
    if let Some(last) = last.and_then(|last| last.parse::<Digest>().ok()) {
        found.retain(|entry| entry.digest > last);
    }
    let more = found.len() > n;
    found.truncate(n);
    let next = found.last().filter(|_| more).map(|entry| entry.digest);
    let path = format!("/v2/{}/referrers/{subject}", repository.as_str());
    Ok(index(uri, n, &path, &found, next))
}

/// A page of referrers; `next` is its last one if there are more.
fn index(uri: &Uri, n: usize, path: &str, shown: &[Descriptor], next: Option<Digest>) -> Response {
    let wanted = parameter(uri, "artifactType");
    let body = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_INDEX.as_str(),
        "manifests": shown,
    });
    let mut response = (
        [(header::CONTENT_TYPE, MediaType::OCI_INDEX.as_str().to_owned())],
        body.to_string(),
    )
        .into_response();
    if let Some(last) = next {
        let more: Vec<_> = wanted
            .iter()
            .map(|kind| ("artifactType", kind.as_str()))
            .collect();
        link(&mut response, path, n, &last.to_string(), &more);
    }
    if wanted.is_some() {
        response
            .headers_mut()
            .insert("oci-filters-applied", HeaderValue::from_static("artifactType"));
    }
    response
}
