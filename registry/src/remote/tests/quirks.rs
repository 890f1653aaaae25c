//! Registries as they are: each quirk has a server that behaves so, and everything arrives with its referrers, or the error
//! says why it cannot.

use std::sync::atomic::AtomicUsize;

use axum::http::request::Parts;

use super::front::{Fault, Front, Seen, answer, authorization};
use super::profile::{Profile, ProfileFile, ReferrersBy};
use super::*;
use crate::copy::{Options, copy};
use crate::store::{Memory, SinkExt, SourceExt};
use samebundle_spec::manifest::Manifest;

const MIB: u64 = 1 << 20;
/// Two whole parts and a rest that is smaller than some registries take.
const SIZE: usize = 20_000_000;

/// An image of a large and a small layer, and two referrers of it.
struct Image {
    from: Memory,
    root: Descriptor,
    layers: Vec<Descriptor>,
    referrers: Vec<Descriptor>,
}

impl Image {
    async fn new() -> Self {
        let from = Memory::new();
        let (root, layers) = image_of(&from, [noise(SIZE, 1), noise(70_000, 2)]).await;
        let mut referrers = Vec::new();
        for seed in 3..5 {
            referrers.push(attach(&from, &root, seed).await.unwrap());
        }
        referrers.sort_by_key(|entry| entry.digest);
        Self {
            from,
            root,
            layers,
            referrers,
        }
    }

    /// Pushes the image, reads it back through another client, and compares everything.
    async fn arrives(&self, address: &str, config: &RemoteConfig) {
        self.push(address, config).await.unwrap();
        let place = repository_at(address, config.clone());
        let to = Memory::new();
        let root = place.resolve(&"v1".parse().unwrap()).await.unwrap();
        assert_eq!(root.digest, self.root.digest);
        copy(&place, &to, &root, &Options::default()).await.unwrap();
        for layer in &self.layers {
            to.fetch_bytes(layer, u64::MAX).await.unwrap();
        }
        let digests = |found: &[Descriptor]| found.iter().map(|entry| entry.digest).collect::<Vec<_>>();
        let listed = place.referrers(&self.root, None).await.unwrap();
        assert_eq!(digests(&listed), digests(&self.referrers));
        let mut copied = to.referrers(&self.root, None).await.unwrap();
        copied.sort_by_key(|entry| entry.digest);
        assert_eq!(digests(&copied), digests(&self.referrers));
    }

    async fn push(&self, address: &str, config: &RemoteConfig) -> Result<(), StoreError> {
        let place = repository_at(address, config.clone());
        let options = Options::tagged("v1".parse().unwrap());
        copy(&self.from, &place, &self.root, &options).await.map(|_| ())
    }
}

/// Pushes a small artifact that refers to `subject`.
async fn attach(
    place: &(impl Sink + ?Sized),
    subject: &Descriptor,
    seed: u64,
) -> Result<Descriptor, StoreError> {
    let layer = place
        .push_bytes(MediaType::OCI_LAYER, noise(100, seed).into())
        .await?;
    place.push_bytes(MediaType::OCI_EMPTY, "{}".into()).await?;
    let manifest = Manifest::artifact(MediaType::SIGSTORE_BUNDLE, vec![layer]).with_subject(subject.bare());
    place
        .push_bytes(MediaType::OCI_MANIFEST, manifest.to_bytes().into())
        .await
}

fn length(parts: &Parts) -> u64 {
    let value = parts.headers.get("content-length");
    value.map_or(0, |value| value.to_str().unwrap().parse().unwrap())
}

fn is_listing(parts: &Parts) -> bool {
    parts.uri.path().contains("/referrers/")
}

fn is_upload(parts: &Parts) -> bool {
    parts.uri.path().contains("/blobs/uploads/")
}

/// Without the header by which a registry says that it keeps a list of referrers.
fn unclaimed() -> Fault {
    Fault::Change(Box::new(|mut response| {
        response.headers_mut().remove("oci-subject");
        response
    }))
}

fn no_api(parts: &Parts) -> Fault {
    if is_listing(parts) {
        answer(404, &[], "404 page not found")
    } else {
        unclaimed()
    }
}

fn seen(front: &Front, method: &str, part: &str) -> Vec<Seen> {
    let all = front.seen().into_iter();
    all.filter(|seen| seen.line.starts_with(method) && seen.line.contains(part))
        .collect()
}

fn sizes(front: &Front, method: &str) -> Vec<u64> {
    seen(front, method, "/blobs/uploads/")
        .iter()
        .map(|seen| seen.header("content-length").parse().unwrap())
        .collect()
}

/// With a profile of the registry at `address`, as `registry doctor` writes one.
fn profiled(folder: &tempfile::TempDir, address: &str, change: impl FnOnce(&mut Profile)) -> RemoteConfig {
    let mut file = ProfileFile::new(address, "2026-01-01T00:00:00Z".parse().unwrap());
    change(&mut file.profile);
    file.write(folder.path()).unwrap();
    RemoteConfig {
        profiles: Some(folder.path().to_owned()),
        ..config()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_referrers_api() {
    let front = Front::start(|parts, _| no_api(parts)).await;
    Image::new().await.arrives(&front.address, &config()).await;
    assert!(!seen(&front, "PUT", "/manifests/sha256-").is_empty());
}

/// Amazon's says that it recorded the subject, and lists nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_lying_oci_subject() {
    for status in [404, 405, 501] {
        let front = Front::start(move |parts, _| {
            if is_listing(parts) {
                answer(status, &[], "")
            } else {
                Fault::None
            }
        })
        .await;
        Image::new().await.arrives(&front.address, &config()).await;
        // Seen through once, not at every referrer: one reader asks for each manifest, the writer once for all.
        let lists = seen(&front, "PUT", "/manifests/sha256-").len();
        assert!(lists >= 2, "{status}: {lists}");
    }
}

/// It has the API, which never lists what was pushed: nobody would find the signature, so the push fails.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_never_lists() {
    let front = Front::start(|parts, _| {
        if is_listing(parts) {
            let empty =
                r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
            answer(200, &[("content-type", MediaType::OCI_INDEX.as_str())], empty)
        } else {
            Fault::None
        }
    })
    .await;
    let error = Image::new().await.push(&front.address, &config()).await;
    let text = format!("{:?}", error.unwrap_err());
    assert!(
        text.contains("Broken") && text.contains("does not list it"),
        "{text}"
    );
}

/// GitLab's: the tag of the list is read as the digest of the subject.
#[tokio::test(flavor = "multi_thread")]
async fn a_fallback_tag_that_is_the_subject() {
    let front = Front::start(|parts, _| {
        let path = parts.uri.path().to_owned();
        match path.split_once("/manifests/sha256-") {
            Some((repository, hex)) if parts.method != "PUT" => {
                let asked = format!("{repository}/manifests/sha256:{hex}");
                Fault::Ask(Box::new(move |parts| parts.uri = asked.parse().unwrap()))
            }
            _ => no_api(parts),
        }
    })
    .await;
    let image = Image::new().await;
    let error = image.push(&front.address, &config()).await.unwrap_err();
    let text = format!("{error:?}");
    assert!(
        text.contains("Conflict") && text.contains("cannot hold signatures"),
        "{text}"
    );
    // Without referrers it goes, and has none then.
    let place = repository_at(&front.address, config());
    let options = Options {
        referrers: false,
        ..Options::default()
    };
    copy(&image.from, &place, &image.root, &options).await.unwrap();
    assert_eq!(place.referrers(&image.root, None).await.unwrap(), []);
    // Once the subject is there, the tag is not even written.
    let before = seen(&front, "PUT", "/manifests/sha256-").len();
    let error = attach(&place, &image.root, 60).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict { .. }), "{error:?}");
    assert_eq!(seen(&front, "PUT", "/manifests/sha256-").len(), before);
}

/// GitHub's: 416 to a part of more than 4 MiB. The parts become smaller, so that a push that is cut off still goes on.
#[tokio::test(flavor = "multi_thread")]
async fn parts_of_at_most_four_mebibytes() {
    for status in [416, 413] {
        let front = Front::start(move |parts, _| match parts.method.as_str() {
            "PATCH" if length(parts) > 4 * MIB => answer(status, &[], ""),
            "PUT" if is_upload(parts) && length(parts) > 4 * MIB => answer(413, &[], ""),
            _ => no_api(parts),
        })
        .await;
        Image::new().await.arrives(&front.address, &config()).await;
        let tried = sizes(&front, "PATCH");
        assert_eq!(
            tried.iter().filter(|size| **size > 4 * MIB).count(),
            1,
            "{tried:?}"
        );
        assert!(tried.len() >= 5, "{tried:?}");

        // Known beforehand, it is not even tried.
        let folder = tempfile::tempdir().unwrap();
        let config = profiled(&folder, &front.address, |profile| {
            profile.most_part = Some(4 * MIB);
        });
        let place = repository_at(&front.address, config);
        let bytes = noise(SIZE, 9);
        let memory = Memory::new();
        let layer = memory
            .push_bytes(MediaType::OCI_LAYER, bytes.into())
            .await
            .unwrap();
        let before = sizes(&front, "PATCH").len();
        place.push_from(&layer, &memory).await.unwrap();
        let now = sizes(&front, "PATCH");
        assert!(now[before..].iter().all(|size| *size <= 4 * MIB), "{now:?}");
    }
}

/// Amazon's: 201 to a part, and none below 5 MiB or above 10 MiB but the last, which cannot be known before the end.
#[tokio::test(flavor = "multi_thread")]
async fn parts_answered_with_created_and_not_below_five_mebibytes() {
    let front = Front::start(|parts, _| {
        if parts.method != "PATCH" {
            return Fault::None;
        }
        if !(5 * MIB..=10 * MIB).contains(&length(parts)) {
            let refused =
                r#"{"errors":[{"code":"BLOB_UPLOAD_INVALID","message":"Layer part size is out of bounds"}]}"#;
            return answer(400, &[], refused);
        }
        Fault::Change(Box::new(|mut response| {
            *response.status_mut() = axum::http::StatusCode::CREATED;
            response
        }))
    })
    .await;
    let image = Image::new().await;
    // Even unknown it ends well; known, it costs nothing.
    image.arrives(&front.address, &config()).await;
    let folder = tempfile::tempdir().unwrap();
    let config = profiled(&folder, &front.address, |profile| {
        profile.least_part = Some(5 * MIB);
        profile.most_part = Some(10 * MIB);
        profile.part_count = Some(4_200);
    });
    let place = repository_at(&front.address, config);
    let unchecked = Unchecked(Memory::new());
    let layer = unchecked
        .0
        .push_bytes(MediaType::OCI_LAYER, noise(SIZE, 10).into())
        .await
        .unwrap();
    let before = sizes(&front, "PATCH").len();
    place.push_from(&layer, &unchecked).await.unwrap();
    let now = sizes(&front, "PATCH");
    assert!(
        now[before..]
            .iter()
            .all(|size| (5 * MIB..=10 * MIB).contains(size)),
        "{:?}",
        &now[before..]
    );
    assert_eq!(now[before..].iter().sum::<u64>(), SIZE as u64);
}

/// Google's: no parts at all. That is learned once, or known.
#[tokio::test(flavor = "multi_thread")]
async fn no_parts() {
    let plan = |parts: &Parts| match parts.method.as_str() {
        "PATCH" => answer(405, &[], "<html>method not allowed</html>"),
        _ => Fault::None,
    };
    let front = Front::start(move |parts, _| plan(parts)).await;
    Image::new().await.arrives(&front.address, &config()).await;
    assert!((1..=2).contains(&sizes(&front, "PATCH").len()));
    let front = Front::start(move |parts, _| plan(parts)).await;
    let folder = tempfile::tempdir().unwrap();
    let config = profiled(&folder, &front.address, |profile| profile.parts = Some(false));
    Image::new().await.arrives(&front.address, &config).await;
    assert!(sizes(&front, "PATCH").is_empty());
}

/// What one registry refuses is not held against another of the same client.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_noticed_is_of_one_registry() {
    let bad = Front::start(|parts, _| match parts.method.as_str() {
        "PATCH" => answer(405, &[], ""),
        _ => Fault::None,
    })
    .await;
    let good = Front::start(|_, _| Fault::None).await;
    let client = Arc::new(RemoteClient::new(config()).unwrap());
    let memory = Memory::new();
    let layer = memory
        .push_bytes(MediaType::OCI_LAYER, noise(SIZE, 11).into())
        .await
        .unwrap();
    for front in [&bad, &good] {
        let repository = Repository::new(&front.address, "team/digits").unwrap();
        let place = RemoteRepository::new(Arc::clone(&client), repository).unwrap();
        place.push_from(&layer, &memory).await.unwrap();
    }
    assert!(sizes(&good, "PATCH").len() >= 2);
}

/// Artifactory's: what does not exist is denied.
fn denies_absent(_: &Parts) -> Fault {
    Fault::Change(Box::new(|response| match response.status().as_u16() {
        404 => {
            let words = r#"{"errors":[{"code":"DENIED","message":"access is not permitted"}]}"#;
            axum::response::IntoResponse::into_response((axum::http::StatusCode::FORBIDDEN, words))
        }
        _ => response,
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn denied_instead_of_absent() {
    let front = Front::start(|parts, _| denies_absent(parts)).await;
    let image = Image::new().await;
    // Not known: denied is denied.
    let error = image.push(&front.address, &config()).await.unwrap_err();
    assert!(format!("{error:?}").contains("Denied"), "{error:?}");
    let folder = tempfile::tempdir().unwrap();
    let known = profiled(&folder, &front.address, |profile| {
        profile.denies_absent = Some(true);
    });
    image.arrives(&front.address, &known).await;
    let place = repository_at(&front.address, known);
    let error = place.resolve(&"no-such".parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { .. }), "{error:?}");
}

/// A tag that is listed and denied is denied, whatever is known of the registry; so is one of which the list is denied.
#[tokio::test(flavor = "multi_thread")]
async fn denied_though_there_stays_denied() {
    for list_too in [false, true] {
        let front = Front::start(move |parts, _| {
            let path = parts.uri.path();
            let hidden = parts.method == "GET" && path.ends_with("/manifests/v1");
            if hidden || (list_too && path.ends_with("/tags/list")) {
                answer(403, &[], "")
            } else {
                Fault::None
            }
        })
        .await;
        let folder = tempfile::tempdir().unwrap();
        let known = profiled(&folder, &front.address, |profile| {
            profile.denies_absent = Some(true);
        });
        Image::new().await.push(&front.address, &known).await.unwrap();
        let place = repository_at(&front.address, known);
        let error = place.resolve(&"v1".parse().unwrap()).await.unwrap_err();
        assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn throttled_listings() {
    // Every second listing is throttled, with a date that has passed by then.
    let count = AtomicUsize::new(0);
    let front = Front::start(move |parts, _| {
        let listing = is_listing(parts) || parts.uri.path().ends_with("/tags/list");
        if listing && count.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
            let now = httpdate::fmt_http_date(now());
            answer(429, &[("retry-after", &now), ("date", &now)], "<h1>Too many</h1>")
        } else {
            Fault::None
        }
    })
    .await;
    Image::new().await.arrives(&front.address, &config()).await;
    let place = repository_at(&front.address, config());
    assert_eq!(place.tags().await.unwrap().len(), 1);

    let front = Front::start(|parts, _| {
        if parts.uri.path().contains("list") || is_listing(parts) {
            answer(429, &[], "")
        } else {
            Fault::None
        }
    })
    .await;
    let place = repository_at(&front.address, config());
    let error = place.tags().await.unwrap_err();
    assert!(matches!(error, StoreError::Throttled { .. }), "{error:?}");
    let error = place.referrers(&layer(b"x"), None).await.unwrap_err();
    assert!(matches!(error, StoreError::Throttled { .. }), "{error:?}");
}

/// Relative addresses of uploads, with a query of their own; the whole address; and 308 within the registry.
#[tokio::test(flavor = "multi_thread")]
async fn addresses_of_uploads_in_every_form() {
    for whole in [false, true] {
        let front = Front::start(move |parts, _| {
            if !is_upload(parts) {
                return Fault::None;
            }
            let host = parts.headers["host"].to_str().unwrap().to_owned();
            if parts.method != "GET" && !parts.uri.query().unwrap_or("").contains("moved") {
                let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or(""));
                return answer(308, &[("location", &format!("{path}?moved=1&{query}"))], "");
            }
            Fault::Change(Box::new(move |mut response| {
                if let Some(location) = response.headers().get("location") {
                    let location = location.to_str().unwrap();
                    let form = if whole {
                        format!("http://{host}{location}?_state=a%3Db")
                    } else {
                        format!("{location}?_state=a%3Db")
                    };
                    response.headers_mut().insert("location", form.parse().unwrap());
                }
                response
            }))
        })
        .await;
        Image::new().await.arrives(&front.address, &config()).await;
        assert!(
            seen(&front, "PUT", "digest=")
                .iter()
                .any(|seen| seen.line.contains("_state=a%3Db"))
        );
    }
}

/// The upload is on another host: refused, with what to do; then allowed by the user, and without credentials.
#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_go_to_another_host() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let home = listener.local_addr().unwrap().to_string();
    let storage: Arc<Mutex<String>> = Arc::default();
    let to = Arc::clone(&storage);
    let front = Front::on(listener, move |parts, _| {
        if authorization(parts).is_empty() {
            return answer(401, &[("www-authenticate", "Basic realm=\"x\"")], "");
        }
        let to = to.lock().unwrap().clone();
        if parts.method != "POST" {
            return Fault::None;
        }
        Fault::Change(Box::new(move |mut response| {
            if let Some(location) = response.headers().get("location") {
                let moved = format!("http://{to}{}", location.to_str().unwrap());
                response.headers_mut().insert("location", moved.parse().unwrap());
            }
            response
        }))
    })
    .await;
    let elsewhere = front.beside(|_, _| Fault::None).await;
    storage.lock().unwrap().clone_from(&elsewhere.address);
    let image = Image::new().await;
    let with_password = canary_config(&home);
    let error = image.push(&home, &with_password).await.unwrap_err();
    let text = format!("{error:?}");
    assert!(
        text.contains("Broken") && text.contains(&format!("--upload-host {}", elsewhere.address)),
        "{text}"
    );
    assert!(elsewhere.seen().is_empty());

    let folder = tempfile::tempdir().unwrap();
    let allowed = profiled(&folder, &home, |profile| {
        profile.upload_hosts.insert(elsewhere.address.clone());
    });
    let allowed = RemoteConfig {
        profiles: allowed.profiles,
        ..with_password
    };
    image.arrives(&home, &allowed).await;
    assert!(elsewhere.seen().len() > 4);
    for request in elsewhere.seen() {
        assert_eq!(request.header("authorization"), "", "{request:?}");
    }
}

/// Storage on another host, as all large registries have it.
#[tokio::test(flavor = "multi_thread")]
async fn blobs_that_come_from_another_host() {
    let elsewhere: Arc<Mutex<String>> = Arc::default();
    let to = Arc::clone(&elsewhere);
    let front = Front::start(move |parts, _| {
        let to = to.lock().unwrap();
        if parts.method == "GET" && parts.uri.path().contains("/blobs/sha256:") {
            let location = format!("http://{to}{}?signature=abc", parts.uri.path());
            answer(
                307,
                &[("location", &location)],
                "<a href=\"x\">Temporary Redirect</a>",
            )
        } else {
            Fault::None
        }
    })
    .await;
    let storage = front.beside(|_, _| Fault::None).await;
    elsewhere.lock().unwrap().clone_from(&storage.address);
    Image::new().await.arrives(&front.address, &config()).await;
    assert!(!storage.seen().is_empty());
}

/// Tokens that are good for some requests, more than are made at once: they end inside a push and inside a pull.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_end_inside_a_blob() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let home = listener.local_addr().unwrap().to_string();
    let realm = format!("Bearer realm=\"http://{home}/token\",service=\"s\"");
    // Uses that are left of each token; there is one for each right.
    let tokens: Mutex<Vec<usize>> = Mutex::default();
    let cuts = AtomicUsize::new(0);
    let front = Front::on(listener, move |parts, _| {
        let mut tokens = tokens.lock().unwrap();
        if parts.uri.path() == "/token" {
            tokens.push(10);
            let token = tokens.len() - 1;
            return answer(
                200,
                &[],
                &format!("{{\"token\":\"{token}\",\"expires_in\":3600}}"),
            );
        }
        let token = authorization(parts)
            .strip_prefix("Bearer ")
            .and_then(|token| token.parse::<usize>().ok());
        let left = token.and_then(|token| tokens[token].checked_sub(1));
        if let (Some(token), Some(left)) = (token, left) {
            tokens[token] = left;
        } else {
            return answer(401, &[("www-authenticate", &realm)], "");
        }
        // A pull that breaks now and then, so that the rest is asked for with a token that has ended.
        let blob = parts.method == "GET" && parts.uri.path().contains("/blobs/sha256:");
        if blob && cuts.fetch_add(1, Ordering::SeqCst) < 3 {
            return Fault::Cut(500_000);
        }
        Fault::None
    })
    .await;
    let mut config = canary_config(&home);
    config.retry.attempts = 30;
    Image::new().await.arrives(&home, &config).await;
    let posts = seen(&front, "POST", "/blobs/uploads/").len();
    let fetched = seen(&front, "GET", "/token").len();
    assert!(fetched >= 4, "{fetched} tokens");
    // None began anew in its middle.
    let patches = sizes(&front, "PATCH").iter().sum::<u64>();
    assert!(posts <= 12, "{posts} uploads were opened");
    assert!(patches < 4 * SIZE as u64, "{patches} bytes of parts");
}

/// A web page: of a proxy that is down for a moment, of a network that wants a login.
#[tokio::test(flavor = "multi_thread")]
async fn web_pages() {
    let count = AtomicUsize::new(0);
    let front = Front::start(move |_, _| {
        if count.fetch_add(1, Ordering::SeqCst).is_multiple_of(3) {
            let page = "<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1></body></html>";
            answer(502, &[("content-type", "text/html")], page)
        } else {
            Fault::None
        }
    })
    .await;
    // Requests that go on at the same time can make every try of one of them the third request of all.
    let mut config = config();
    config.retry.attempts = 60;
    Image::new().await.arrives(&front.address, &config).await;

    let front = Front::start(|_, _| {
        answer(
            200,
            &[("content-type", "text/html")],
            "<html><form>log in</form></html>",
        )
    })
    .await;
    let place = repository_at(&front.address, self::config());
    for error in [
        place.resolve(&"v1".parse().unwrap()).await.unwrap_err(),
        place.tags().await.unwrap_err(),
        place.referrers(&layer(b"x"), None).await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Broken { .. }), "{error:?}");
    }
}

/// The list of referrers is under a tag, and many write it at once: with conditions nobody is lost.
#[tokio::test(flavor = "multi_thread")]
async fn many_writers_of_one_list() {
    let front = Front::start(|parts, _| no_api(parts)).await;
    let image = Image::new().await;
    let place = repository_at(&front.address, config());
    let options = Options {
        referrers: false,
        ..Options::default()
    };
    copy(&image.from, &place, &image.root, &options).await.unwrap();
    let mut patient = config();
    patient.retry.attempts = 200;
    let writers = (0..32).map(|seed| {
        // A client each, as separate processes have.
        let place = repository_at(&front.address, patient.clone());
        let root = image.root.clone();
        tokio::spawn(async move { attach(&place, &root, 100 + seed).await.unwrap() })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(place.referrers(&image.root, None).await.unwrap().len(), 32);
}

/// Without conditions a list that another writer overwrote is noticed, at once or a moment later, and mended.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_update_is_noticed() {
    // Our PUT never counts; or it counts, is read, and is then overwritten by what another had read before.
    for later in [false, true] {
        let (puts, gets) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let front = Front::start(move |parts, _| {
            if !parts.uri.path().contains("/manifests/sha256-") {
                return no_api(parts);
            }
            if parts.method == "PUT" {
                let first = puts.fetch_add(1, Ordering::SeqCst) == 0;
                return if first && !later {
                    answer(201, &[], "")
                } else {
                    Fault::None
                };
            }
            let gone = later && puts.load(Ordering::SeqCst) == 1 && gets.fetch_add(1, Ordering::SeqCst) >= 1;
            if gone {
                return answer(404, &[], "");
            }
            Fault::Change(Box::new(|mut response| {
                response.headers_mut().remove("etag");
                response
            }))
        })
        .await;
        let place = repository_at(&front.address, config());
        let image = Image::new().await;
        let options = Options {
            referrers: false,
            ..Options::default()
        };
        copy(&image.from, &place, &image.root, &options).await.unwrap();
        let attached = attach(&place, &image.root, 50).await.unwrap();
        let writes = seen(&front, "PUT", "/manifests/sha256-").len();
        assert_eq!(writes, 2, "later: {later}");
        let listed = place.referrers(&image.root, None).await.unwrap();
        assert_eq!(listed[0].digest, attached.digest);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_says_tag_is_believed_for_writing_and_not_for_reading() {
    let front = Front::start(|_, _| Fault::None).await;
    let folder = tempfile::tempdir().unwrap();
    let config = profiled(&folder, &front.address, |profile| {
        profile.referrers = Some(ReferrersBy::Tag);
    });
    Image::new().await.arrives(&front.address, &config).await;
    assert_eq!(seen(&front, "PUT", "/manifests/sha256-").len(), 2);
    assert!(!seen(&front, "GET", "/referrers/").is_empty());
}

#[test]
fn a_profile_that_is_damaged_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("r.example.json"), "{").unwrap();
    let config = RemoteConfig {
        profiles: Some(folder.path().to_owned()),
        ..config()
    };
    let client = Arc::new(RemoteClient::new(config).unwrap());
    let error = RemoteRepository::new(client, Repository::new("r.example", "x").unwrap()).unwrap_err();
    assert!(error.to_string().contains("registry doctor"), "{error}");
}
