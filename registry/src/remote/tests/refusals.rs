use super::front::{Fault, Front, answer};
use super::*;
use crate::store::{SinkExt, SourceExt};
use samebundle_spec::manifest::Manifest;

/// A server that holds one image, tagged `v1`, and answers as `plan` has it.
async fn image(
    plan: impl Fn(&axum::http::request::Parts) -> Fault + Send + Sync + 'static,
) -> (Front, RemoteRepository, Descriptor) {
    let front = Front::start(move |parts, _| {
        if parts.method == "GET" {
            plan(parts)
        } else {
            Fault::None
        }
    })
    .await;
    let place = repository_at(&front.address, config());
    let config = place.push_bytes(MediaType::OCI_EMPTY, "{}".into()).await.unwrap();
    let manifest = Manifest::new(config.clone(), vec![config]);
    let descriptor = place
        .push_bytes(MediaType::OCI_MANIFEST, manifest.to_bytes().into())
        .await
        .unwrap();
    place.tag(&descriptor, &"v1".parse().unwrap()).await.unwrap();
    (front, place, descriptor)
}

fn lie(name: &'static str, value: &str) -> Fault {
    let value = value.to_owned();
    Fault::Change(Box::new(move |mut response| {
        response.headers_mut().insert(name, value.parse().unwrap());
        response
    }))
}

fn other_bytes(media_type: &str) -> Fault {
    let body = Manifest::new(Descriptor::empty(), Vec::new()).to_bytes();
    answer(
        200,
        &[("content-type", media_type)],
        &String::from_utf8(body).unwrap(),
    )
}

#[tokio::test]
async fn believes_bytes_only() {
    let (_front, place, descriptor) = image(|_| other_bytes(MediaType::OCI_MANIFEST.as_str())).await;
    let error = place.fetch_bytes(&descriptor, 1 << 20).await.unwrap_err();
    assert!(matches!(error, StoreError::Mismatch { .. }), "{error:?}");

    let told = format!("sha256:{}", "0".repeat(64));
    let (_front, place, descriptor) = image(move |_| lie("docker-content-digest", &told)).await;
    let error = place.fetch_bytes(&descriptor, 1 << 20).await.unwrap_err();
    assert!(matches!(error, StoreError::Mismatch { .. }), "{error:?}");
    let error = place.resolve(&"v1".parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, StoreError::Mismatch { .. }), "{error:?}");
    let blob = Descriptor::empty();
    let error = place.fetch_bytes(&blob, 1 << 20).await.unwrap_err();
    assert!(matches!(error, StoreError::Mismatch { .. }), "{error:?}");

    let (_front, place, _) = image(|_| answer(200, &[], "xx")).await;
    let error = place
        .fetch_bytes(&Descriptor::empty(), 1 << 20)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Mismatch { .. }), "{error:?}");
}

#[tokio::test]
async fn refuses_manifests_that_are_something_else_to_others() {
    for media_type in [MediaType::OCI_INDEX.as_str(), "text/html"] {
        let (_front, place, descriptor) = image(|_| lie("content-type", media_type)).await;
        let error = place.resolve(&"v1".parse().unwrap()).await.unwrap_err();
        let expected = match media_type {
            "text/html" => matches!(error, StoreError::Broken { .. }),
            _ => matches!(error, StoreError::Invalid { .. }),
        };
        assert!(expected, "{error:?}");
        assert!(place.fetch(&descriptor).await.is_err());
    }
    let both = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[],"manifests":[]}"#;
    let (_front, place, _) =
        image(move |_| answer(200, &[("content-type", MediaType::OCI_MANIFEST.as_str())], both)).await;
    let error = place.resolve(&"v1".parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, StoreError::Invalid { .. }), "{error:?}");
}

#[tokio::test]
async fn reads_no_answer_without_a_limit() {
    let huge = " ".repeat((samebundle_spec::limits::MANIFEST_BYTES + 1) as usize);
    let (_front, place, _) =
        image(move |_| answer(200, &[("content-type", MediaType::OCI_MANIFEST.as_str())], &huge)).await;
    let error = place.resolve(&"v1".parse().unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("longer than 4194304"), "{error}");
    assert!(
        matches!(error, StoreError::Broken { .. }),
        "no repetition helps: {error:?}"
    );
}

#[tokio::test]
async fn tells_denied_absent_and_broken_apart_for_referrers() {
    for (status, expected) in [
        (401, "Denied"),
        (403, "Denied"),
        (429, "Throttled"),
        (500, "Unavailable"),
        (400, "Invalid"),
    ] {
        let (_front, place, descriptor) = image(move |parts| {
            if parts.uri.path().contains("/referrers/") {
                answer(status, &[], "no")
            } else {
                Fault::None
            }
        })
        .await;
        let error = place.referrers(&descriptor, None).await.unwrap_err();
        assert!(format!("{error:?}").starts_with(expected), "{status}: {error:?}");
    }
    for status in [404, 405, 501] {
        let (_front, place, descriptor) = image(move |parts| {
            if parts.uri.path().contains("/referrers/") {
                answer(status, &[], "no")
            } else {
                Fault::None
            }
        })
        .await;
        assert_eq!(place.referrers(&descriptor, None).await.unwrap(), []);
    }
}

#[tokio::test]
async fn lists_only_what_really_refers_to_the_subject() {
    let (_front, place, descriptor) = image(|parts| {
        if !parts.uri.path().contains("/referrers/") {
            return Fault::None;
        }
        Fault::Change(Box::new(|_| {
            let config = Descriptor::empty();
            let image = Manifest::new(config.clone(), vec![config]).descriptor();
            let gone = Descriptor::of(MediaType::OCI_MANIFEST, b"gone");
            let index = samebundle_spec::manifest::Index::new(vec![image, gone]);
            let body = axum::body::Body::from(index.to_bytes());
            axum::response::Response::builder()
                .header("content-type", MediaType::OCI_INDEX.as_str())
                .body(body)
                .unwrap()
        }))
    })
    .await;
    assert_eq!(place.referrers(&descriptor, None).await.unwrap(), []);
}

/// Some registries resolve the fallback tag to the subject itself.
#[tokio::test]
async fn does_not_take_the_subject_for_its_list_of_referrers() {
    let (front, place, subject) = image(|parts| {
        if parts.uri.path().contains("/referrers/") {
            answer(404, &[], "")
        } else {
            Fault::None
        }
    })
    .await;
    place
        .tag(&subject, &Tag::referrers(&subject.digest))
        .await
        .unwrap();
    let error = place.referrers(&subject, None).await.map(|found| found.len());
    assert_eq!(error.unwrap(), 0);
    assert!(
        front
            .lines()
            .iter()
            .any(|line| line.contains("/manifests/sha256-"))
    );
    let error = place
        .add_to_fallback(&subject.digest, Descriptor::of(MediaType::OCI_MANIFEST, b"x"))
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Conflict { .. }), "{error:?}");
    assert_eq!(
        place
            .resolve(&Tag::referrers(&subject.digest))
            .await
            .unwrap()
            .digest,
        subject.digest
    );
}

#[tokio::test]
async fn stays_with_its_registry() {
    // The next page, and the upload session, elsewhere.
    let (_front, place, _) =
        image(|_| lie("link", "<http://127.0.0.1:1/v2/x/tags/list?last=a>; rel=\"next\"")).await;
    let error = place.tags().await.unwrap_err();
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");

    let front = Front::start(|parts, _| {
        if parts.method == "POST" {
            answer(202, &[("location", "http://127.0.0.1:1/upload")], "")
        } else {
            Fault::None
        }
    })
    .await;
    let place = repository_at(&front.address, config());
    let error = place
        .push_bytes(MediaType::OCI_LAYER, "x".into())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("not its own address"), "{error}");
}

#[tokio::test]
async fn follows_pages_of_tags() {
    let front = Front::start(|_, _| Fault::None).await;
    let place = repository_at(&front.address, config());
    let config = place.push_bytes(MediaType::OCI_EMPTY, "{}".into()).await.unwrap();
    let bytes = Manifest::new(config.clone(), vec![config]).to_bytes();
    let descriptor = place
        .push_bytes(MediaType::OCI_MANIFEST, bytes.into())
        .await
        .unwrap();
    let mut wanted: Vec<Tag> = (0..7).map(|index| format!("t{index}").parse().unwrap()).collect();
    for tag in &wanted {
        place.tag(&descriptor, tag).await.unwrap();
    }
    wanted.sort();
    let front_of_pages = {
        let address = front.address.clone();
        Front::start(move |parts, _| {
            let query = parts.uri.query().unwrap_or("n=3");
            answer(
                307,
                &[(
                    "location",
                    &format!("http://{address}{}?{query}", parts.uri.path()),
                )],
                "",
            )
        })
        .await
    };
    assert_eq!(place.tags().await.unwrap(), wanted);
    let paged = repository_at(&front_of_pages.address, super::config());
    assert_eq!(paged.tags().await.unwrap(), wanted);
    assert_eq!(front_of_pages.lines().len(), 3);
}

#[tokio::test]
async fn opens_nothing_when_offline() {
    let config = RemoteConfig {
        offline: true,
        ..config()
    };
    assert!(matches!(RemoteClient::new(config), Err(ClientError::Offline)));
}
